"""Files of registers: the numbers of one column of a CSV, with the lines on which they stand.

Made by people with spreadsheets, so whatever a file is instead is told in their words. Only UTF-8 is taken: any other
encoding would have to be guessed, and a number read wrong is a number lost.
"""

import codecs
import csv
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from ledger.domain.rejection import Code, Rejection

__all__ = ["DEFAULT_COLUMN", "MAX_REGISTER_BYTES", "lines_of", "numbers_of_csv", "too_large"]

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


def numbers_of_csv(lines: Iterable[bytes], column: str) -> Iterator[tuple[int, str]]:
    """Give line (from 1) and number of each row; blank lines are none. A Rejection says what the file is instead."""
    if not column.strip():
        raise Rejection.invalid("column", "must name the column that holds the numbers")
    text = _decoded(lines)
    header = _header(text)
    if not "".join(header).strip():
        raise _flaw(f"is empty: its first line must name the columns, one of them {column}")
    delimiter, index = _place(header, column)
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
            yield line, row[index] if index < len(row) else ""
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


def _place(header: list[str], column: str) -> tuple[str, int]:
    """Find the delimiter under which the header names the column, and the column's place."""
    for delimiter in DELIMITERS:
        names = _names(header, delimiter)
        if names.count(column) > 1:
            raise _flaw(f"has the column {column} twice")
        if column in names:
            return delimiter, names.index(column)
    named = max((_names(header, delimiter) for delimiter in DELIMITERS), key=len)
    told = ", ".join(name[:40] for name in named[:20])
    raise _flaw(f"has no column {column}: its first line has {told}; name the column that holds the numbers")


def _names(header: list[str], delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader(header, delimiter=delimiter, strict=True))]
    except csv.Error:
        return []


def _flaw(told: str) -> Rejection:
    return Rejection(Code.INVALID_FORMAT, f"the register {told}", [("register", told)])
