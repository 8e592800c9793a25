"""Definition files: TOML with a table `[series.CODE]` for each series. An error names the file and the path in it."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from api.schemas import SeriesBody, checked
from ledger.domain.rejection import Code, Rejection
from ledger.domain.series import Series
from numbering.cli.output import Unreadable

__all__ = ["read_definitions"]

MAX_FILE_BYTES = 1 << 20  # as of a body over HTTP

HOW_TO_WRITE = "write a table [series.CODE] for each series"


def read_definitions(files: Sequence[Path]) -> tuple[Series, ...]:
    """Read all series of all files; a Rejection for the first that is wrong, or that two files define."""
    found: dict[str, tuple[Path, Series]] = {}
    for file in files:
        for code, table in _tables(file).items():
            if code in found:
                problem = f"is in {found[code][0]} too; define it in one place"
                raise _wrong(file, [(f"series.{code}", problem)])
            found[code] = file, _series(file, code, table)
    return tuple(series for _, series in found.values())


def _series(file: Path, code: str, table: object) -> Series:
    if not isinstance(table, dict):
        raise _wrong(file, [(f"series.{code}", f"is no table; {HOW_TO_WRITE}")])
    try:
        return Series.define(code, checked(SeriesBody, table).definition())
    except Rejection as rejection:
        raise _within(file, code, rejection) from None


def _within(file: Path, code: str, rejection: Rejection) -> Rejection:
    """Say the same of a path in the file."""
    if not rejection.errors:
        return _wrong(file, [(f"series.{code}", f"is wrong: {rejection.detail}")], rejection.code)
    paths = [(f"series.{code}" if path == "code" else f"series.{code}.{path}", flaw) for path, flaw in rejection.errors]
    return _wrong(file, paths, rejection.code)


def _wrong(file: Path, errors: Sequence[tuple[str, str]], code: Code = Code.INVALID_FORMAT) -> Rejection:
    return Rejection(code, f"{file}: {'; '.join(f'{path} {flaw}' for path, flaw in errors[:3])}", errors)


def _tables(file: Path) -> dict[str, Any]:
    parsed = _parsed(file)
    unknown = [name for name in parsed if name != "series"]
    if unknown:
        raise _wrong(file, [(unknown[0], f"is not a known table; {HOW_TO_WRITE}")])
    tables = parsed.get("series")
    if not isinstance(tables, dict) or not tables:
        raise Rejection(Code.INVALID_FORMAT, f"{file}: defines no series; {HOW_TO_WRITE}")
    return tables


def _parsed(file: Path) -> dict[str, Any]:
    text = _text(file)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(file, f"is not TOML: {error}") from None
    except RecursionError:
        raise _unreadable(file, "is not TOML: it is nested too deeply") from None


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _unreadable(file, f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise _unreadable(file, f"is larger than {MAX_FILE_BYTES} bytes; apply it in parts")
    try:
        return content.decode("utf-8-sig")  # some editors begin a file with the mark of its encoding
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(file, f"is not UTF-8 (at line {line}); save it as UTF-8") from None


def _unreadable(file: Path, why: str) -> Unreadable:
    return Unreadable(Code.INVALID_FORMAT, f"{file}: {why}")
