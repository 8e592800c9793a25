"""Files of registers: the numbers of one column of a CSV, with their lines, and columns of dates and documents.

Made by people with spreadsheets, so whatever a file is instead is told in their words. Only UTF-8 is taken: any other
encoding would have to be guessed, and a number read wrong is a number lost.
"""

import codecs
import csv
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from ledger.domain.register import RegisterRow
from ledger.domain.rejection import Code, Rejection

__all__ = ["DEFAULT_COLUMN", "MAX_REGISTER_BYTES", "Columns", "lines_of", "rows_of_csv", "too_large"]

DEFAULT_COLUMN = "document_number"
MAX_REGISTER_BYTES = 16 << 20
MAX_HEADER_LINES = 20
DELIMITERS = ",;\t"

SAVE_AGAIN = "save it as CSV UTF-8"
STARTS = {
    codecs.BOM_UTF16_LE: f"is UTF-16: {SAVE_AGAIN}",
    codecs.BOM_UTF16_BE: f"is UTF-16: {SAVE_AGAIN}",
    b"PK\x03\x04": f"is an Excel workbook or a ZIP archive: {SAVE_AGAIN}",
    b"\xd0\xcf\x11\xe0": f"is an old Excel workbook: {SAVE_AGAIN}",
    b"%PDF": "is a PDF: export the register as CSV UTF-8",
}


def lines_of(content: BinaryIO) -> Iterator[bytes]:
    """Give the lines of a file, none of them longer than a register may be."""
    return iter(lambda: content.readline(MAX_REGISTER_BYTES + 1), b"")


def too_large() -> Rejection:
    megabytes = MAX_REGISTER_BYTES >> 20
    return Rejection(Code.REGISTER_TOO_LARGE, f"the register is larger than {megabytes} MiB: split it")


class Columns(NamedTuple):
    """The columns of a CSV by name; None where the register has none, and then what it would tell is not known."""

    number: str = DEFAULT_COLUMN
    document_date: str | None = None
    document: str | None = None

    def check(self) -> None:
        """Refuse names that name no column, or one column twice."""
        for option, what in zip(OPTIONS, WHAT, strict=True):
            name = self[OPTIONS.index(option)]
            if name is not None and not name.strip():
                raise Rejection.invalid(option, f"must name the column that holds the {what}")
        named = [name for name in self if name is not None]
        if len(set(named)) < len(named):
            raise Rejection.invalid("column", f"names {', '.join(named)}; name each column once")


OPTIONS = ("column", "date_column", "document_column")
WHAT = ("numbers", "dates", "documents")


def rows_of_csv(lines: Iterable[bytes], columns: Columns) -> Iterator[RegisterRow]:
    """Give each row with its line, from 1; blank lines are none. A Rejection says what the file is instead."""
    columns.check()
    text = _decoded(lines)
    header = _header(text)
    if not "".join(header).strip():
        raise _flaw(f"is empty: its first line must name the columns, one of them {columns.number}")
    delimiter, places = _places(header, columns)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    line = 1 + len(header)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise _flaw(f"cannot be read from line {line} on: {error}") from None
        if row is None:
            return
        if any(row):  # a spreadsheet ends with lines of delimiters
            yield RegisterRow(line, *("" if at is None or at >= len(row) else row[at] for at in places))
        line = 1 + len(header) + reader.line_num


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    size = 0
    for number, raw in enumerate(lines, 1):
        size += len(raw)
        if size > MAX_REGISTER_BYTES:
            raise too_large()
        if number == 1:
            _refuse_other_kinds(raw)
            raw = raw.removeprefix(codecs.BOM_UTF8)
        yield _text(number, raw)


def _refuse_other_kinds(first: bytes) -> None:
    for start, told in STARTS.items():
        if first.startswith(start):
            raise _flaw(told)


def _text(number: int, raw: bytes) -> str:
    if b"\0" in raw:
        raise _flaw(f"is binary (line {number} holds a zero byte): {SAVE_AGAIN}")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        culprit = raw[error.start]
        raise _flaw(
            f"is not UTF-8 (line {number} holds byte 0x{culprit:02X}), perhaps Windows-874 or Latin-1: {SAVE_AGAIN}"
        ) from None
    if "\r" in text.removesuffix("\n").removesuffix("\r"):
        raise _flaw(f"has bare carriage returns (line {number}): {SAVE_AGAIN}")
    return text


def _header(text: Iterator[str]) -> list[str]:
    """Take the lines of the first row: more than one where a column's name holds a line break."""
    taken: list[str] = []
    for line in text:
        taken.append(line)
        if "".join(taken).count('"') % 2 == 0 or len(taken) == MAX_HEADER_LINES:
            break
    return taken


def _places(header: list[str], columns: Columns) -> tuple[str, list[int | None]]:
    """Find the delimiter under which the header names the column of the numbers, and the places of all columns."""
    for delimiter in DELIMITERS:
        names = _names(header, delimiter)
        if columns.number in names:
            told = zip(columns, WHAT, strict=True)
            return delimiter, [None if name is None else _place(names, name, what) for name, what in told]
    named = max((_names(header, delimiter) for delimiter in DELIMITERS), key=len)
    raise _no_column(named, columns.number, WHAT[0])


def _place(names: list[str], column: str, what: str) -> int:
    if names.count(column) > 1:
        raise _flaw(f"has the column {column} twice")
    if column not in names:
        raise _no_column(names, column, what)
    return names.index(column)


def _no_column(names: list[str], column: str, what: str) -> Rejection:
    told = ", ".join(name[:40] for name in names[:20])
    return _flaw(f"has no column {column}: its first line has {told}; name the column that holds the {what}")


def _names(header: list[str], delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader(header, delimiter=delimiter, strict=True))]
    except csv.Error:
        return []


def _flaw(told: str) -> Rejection:
    return Rejection(Code.INVALID_FORMAT, f"the register {told}", [("register", told)])
