"""Files as people have them: which are read, and what is said of the others."""

import io
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import registers
from api.registers import Columns, rows_of_csv
from ledger.domain.rejection import Code, Rejection
from tests.given import QUICK

HEADER = "document_number\n"


def rows(content: bytes | str, column: str = "document_number") -> list[tuple[int, str]]:
    data = content.encode() if isinstance(content, str) else content
    return [(row.line, row.number) for row in rows_of_csv(io.BytesIO(data), Columns(column))]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (HEADER + "A-1\nA-2\n", [(2, "A-1"), (3, "A-2")]),
        (HEADER + "A-1\nA-2", [(2, "A-1"), (3, "A-2")]),
        ("document_number\r\nA-1\r\nA-2\r\n", [(2, "A-1"), (3, "A-2")]),
        ("\ufeff" + HEADER + "A-1\n", [(2, "A-1")]),
        ('\ufeff"document_number"\n"A-1"\n', [(2, "A-1")]),
        ("title;document_number;date\nx;A-1;2025\n", [(2, "A-1")]),
        ("title\tdocument_number\nx\tA-1\n", [(2, "A-1")]),
        (" title , document_number \nx,A-1\n", [(2, "A-1")]),
        ('title,document_number\n"two\nlines",A-1\nx,A-2\n', [(2, "A-1"), (4, "A-2")]),
        (HEADER + "A-1\n\n\r\nA-2\n", [(2, "A-1"), (5, "A-2")]),
        ("title,document_number\nonly a title\nx,A-2\n", [(2, ""), (3, "A-2")]),
        ('title,document_number\n"a ""quoted"" one, with a comma",A-1\n', [(2, "A-1")]),
        (HEADER + "คคง.-สคฉ.3-0001-2568\n", [(2, "คคง.-สคฉ.3-0001-2568")]),
        (HEADER, []),
        ('"two\nlines",document_number\nx,A-1\n', [(3, "A-1")]),
        ("title,document_number\nx,A-1\n,,,\n,\n", [(2, "A-1")]),
    ],
)
def test_what_is_read(content: str, expected: list[tuple[int, str]]) -> None:
    assert rows(content) == expected


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty: its first line must name the columns, one of them document_number"),
        (b"\n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"number,title\nA-1,x\n", "has no column document_number: its first line has number, title"),
        (b"A-1\nA-2\n", "has no column document_number: its first line has A-1"),
        (b"document_number,document_number\n", "has the column document_number twice"),
        ("document_number\nA-1\n".encode("utf-16"), "is UTF-16: save it as CSV UTF-8"),
        ("document_number\nคคง.-1\n".encode("cp874"), "is not UTF-8 (line 2 holds byte 0xA4), perhaps Windows-874"),
        ("document_number\ncafé\n".encode("latin-1"), "is not UTF-8 (line 2 holds byte 0xE9)"),
        (b"PK\x03\x04\x14\x00", "is an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old Excel workbook"),
        (b"%PDF-1.7\n", "is a PDF"),
        (b"\x7fELF\x02\x01\x01\x00", "is binary (line 1 holds a zero byte)"),
        (b"document_number\nA\0-1\n", "is binary (line 2 holds a zero byte)"),
        (b"document_number\rA-1\rA-2\r", "has bare carriage returns (line 1)"),
        (b'document_number\nA-1\n"A-2\n', "cannot be read from line 3 on: unexpected end of data"),
        (b'document_number\n"A-1"x\n', "cannot be read from line 2 on: "),
        (b"document_number\n" + b"x" * 200_000, "cannot be read from line 2 on: field larger than field limit"),
    ],
)
def test_what_is_told_of_other_files(content: bytes, told: str) -> None:
    with pytest.raises(Rejection) as refused:
        rows(content)
    assert refused.value.code is Code.INVALID_FORMAT
    assert told in refused.value.detail


def test_a_file_is_read_to_its_limit_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registers, "MAX_REGISTER_BYTES", 1000)

    def endless() -> Iterable[bytes]:
        yield HEADER.encode()
        while True:
            yield b"A-1\n"

    with pytest.raises(Rejection) as refused:
        list(rows_of_csv(endless(), Columns()))
    assert refused.value.code is Code.REGISTER_TOO_LARGE


def code_of(content: bytes) -> Code | None:
    try:
        rows(content)
    except Rejection as refused:
        return refused.code
    return None


@QUICK
@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_refused(content: bytes) -> None:
    assert {code_of(content), code_of(b"document_number\n" + content)} <= {None, Code.INVALID_FORMAT}
