"""A register of numbers that were kept before the ledger, read row by row for `Import`.

Each row goes to the one named series whose template prints it, and is read as Assign reads a number: by the templates
of replaced versions too, up to the high water. What a row cannot be is found here; what the state says of it, such as
whether its value is still free, is asked last, and judged again under the log's lock.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from pyroaring import BitMap

from ledger.domain.commands import BadRow, Import, ImportedSequence, Slice
from ledger.domain.decisions.guards import (
    active_series,
    begun,
    check_document,
    check_era,
    check_form,
    dated,
    period_not_begun,
)
from ledger.domain.events import Print
from ledger.domain.ranges import ranges_of
from ledger.domain.reading import Reading, days_of, readings_of_all
from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import Sequence as Counter
from ledger.domain.series import MAX_NUMBER_LENGTH, Series
from ledger.domain.state import State
from ledger.domain.text import flaw_of_text

__all__ = ["MAX_ROWS", "MAX_SEQUENCES", "Register", "RegisterRow"]

# Bounds of one import: what it holds in memory, and how long it keeps the log's lock.
MAX_ROWS = 100_000
MAX_SEQUENCES = 10_000
MAX_PASSED = 1_000_000_000  # values: what they cost in memory is little, but they are surely a mistyped number
MAX_IMPORTED = 5_000  # values of one event, which then stays below the store's limit whatever they print
MAX_DOCUMENTED = 1_000  # values of one event that tells documents, which may be long
MAX_TOLD_LENGTH = 200
MAX_NAMED = 5

Pairs = tuple[tuple[str, str], ...]


_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class RegisterRow(NamedTuple):
    """A row as it stands in a register: `line` counts from 1, and what it does not tell is empty."""

    line: int
    number: str
    document_date: str = ""
    document: str = ""


@dataclass(frozen=True, slots=True)
class _Row:
    """`reading` has the date that the register gives, or one that is derived where it `is_derived`."""

    line: int
    number: str
    reading: Reading
    is_derived: bool
    document: str


@dataclass(slots=True)
class _Sequence:
    """The rows of one sequence, by value; `series` is the present version."""

    series: Series
    key: tuple[str, ...]
    period: str
    rows: dict[int, _Row] = field(default_factory=dict)

    def parts(self, id: str) -> Iterator[ImportedSequence]:
        """Give the rows by the version that reads them, the first first."""
        read: dict[Series, list[int]] = {}
        for value, row in self.rows.items():
            read.setdefault(row.reading.series, []).append(value)
        for series in sorted(read, key=lambda each: each.version):
            values = sorted(read[series])
            yield ImportedSequence(id, series, self.key, self.period, BitMap(values), tuple(self._slices(values)))

    def _slices(self, values: Sequence[int]) -> Iterator[Slice]:
        """Cut values, which ascend, into parts of a bounded size, each with how they were printed."""
        size = MAX_DOCUMENTED if any(self.rows[value].document for value in values) else MAX_IMPORTED
        for start in range(0, len(values), size):
            mine = values[start : start + size]
            alike: dict[tuple[date, Pairs, bool], list[int]] = {}
            for value in mine:
                row = self.rows[value]
                printed = row.reading.document_date, row.reading.attributes, row.is_derived
                alike.setdefault(printed, []).append(value)
            prints = (
                Print(day, attributes, ranges_of(some), is_derived)
                for (day, attributes, is_derived), some in sorted(alike.items())
            )
            documents = ((value, told) for value in mine if (told := self.rows[value].document))
            yield Slice(ranges_of(mine), tuple(prints), tuple(documents))


class Register:
    """Rows as they are read, for the present versions of some series, at the log's instant `now`.

    `replaced` are their other versions that are in use, the first first.
    """

    def __init__(self, series: Sequence[Series], now: int, replaced: Iterable[Series] = ()) -> None:
        codes = [each.code for each in series]
        if not codes or len(set(codes)) != len(codes):
            raise Rejection.invalid("series", "must name each series that the numbers may be of, once")
        self._present = {each.code: each for each in series}
        self._versions = (*replaced, *series)
        self._now = now
        self._today = days_of(self._versions, now)
        self._sequences: dict[str, _Sequence] = {}
        named = ", ".join(codes[:MAX_NAMED]) + (" and others" if len(codes) > MAX_NAMED else "")
        self._no_template = f"none of the named series prints it: {named}"
        self._bad: list[BadRow] = []
        self.rows = 0

    def bad(self) -> list[BadRow]:
        """Give the rows that do not fit, by line."""
        return sorted(self._bad, key=lambda row: row.line)

    def add(self, line: int, number: str, document_date: str = "", document: str = "") -> None:
        """Read a row; a Rejection only when the register is too large."""
        self.rows += 1
        if self.rows > MAX_ROWS:
            raise Rejection(Code.REGISTER_TOO_LARGE, f"more than {MAX_ROWS} rows; split the register")
        try:
            if document:
                check_document("document", document)
            reading = dated(self._read(number), _day(document_date), number)
            self._put(_Row(line, number, reading, not document_date, document))
        except Rejection as flaw:
            if flaw.code is Code.REGISTER_TOO_LARGE:
                raise
            self._bad.append(BadRow(line, number[:MAX_TOLD_LENGTH], flaw.code, flaw.detail))

    def drop_held(self, state: State) -> None:
        """Find the rows that do not fit the state; a Rejection when the others leave too many holes."""
        holes = 0
        for id, mine in self._sequences.items():
            try:
                active_series(state, mine.series.code)
                theirs, _ = begun(state, mine.series, mine.key, mine.period, self._now)
            except Rejection as flaw:  # it is retired, say, or closed, or its period has not begun
                self._drop_all(mine, flaw)
                continue
            self._drop_misfits(mine, theirs)
            self._drop(id, theirs.held(BitMap(mine.rows)))
            holes += max(max(mine.rows, default=0) - theirs.high_water, 0)
            if holes > MAX_PASSED:
                raise _passed_too_many(id, mine.rows[max(mine.rows)])

    def drop_all_but(self, imported: Mapping[str, BitMap]) -> None:
        """Leave the rows that an earlier delivery of this register imported; the others did not fit, or were held."""
        for id, mine in self._sequences.items():
            for value in BitMap(mine.rows) - imported.get(id, BitMap()):
                if flaw := self._flaw_at_first(mine, mine.rows[value].reading):
                    self._bad.append(_bad_row(mine.rows.pop(value), flaw))
            self._drop(id, BitMap(mine.rows) - imported.get(id, BitMap()))

    def _flaw_at_first(self, mine: _Sequence, reading: Reading) -> Rejection | None:
        """Say what was wrong with a row by its series alone, whatever its sequence was like then."""
        series, today = mine.series, self._today[mine.series.definition.timezone]
        if reading.period > series.period(today):
            return period_not_begun(series, reading.period, today)
        if not series.definition.start <= reading.value <= series.max_value:
            return _out_of_range(reading.sequence, series.definition.start, series)
        return None

    def _drop_all(self, mine: _Sequence, flaw: Rejection) -> None:
        self._bad += [_bad_row(row, flaw) for row in mine.rows.values()]
        mine.rows.clear()

    def _drop_misfits(self, mine: _Sequence, theirs: Counter) -> None:
        for value, row in list(mine.rows.items()):
            try:
                _check_fits(row, mine.series, theirs)
            except Rejection as flaw:
                del mine.rows[value]
                self._bad.append(_bad_row(row, flaw))

    def _drop(self, id: str, values: BitMap) -> None:
        rows = self._sequences[id].rows
        for value in values:
            row = rows.pop(value)
            detail = f"value {value} of sequence {id} is held already"
            self._bad.append(BadRow(row.line, row.number, Code.DUPLICATE_NUMBER, detail))

    @property
    def derived(self) -> int:
        """Count the rows that fit and give no date."""
        return sum(row.is_derived for mine in self._sequences.values() for row in mine.rows.values())

    def command(self, *, skip_bad: bool, max_skipped: int | None = None) -> Import:
        sequences = (part for id, mine in self._sequences.items() for part in mine.parts(id))
        return Import(tuple(sequences), tuple(self.bad()), skip_bad, max_skipped)

    def _read(self, number: str) -> Reading:
        flaw = flaw_of_text(number, at_most=MAX_NUMBER_LENGTH)
        if flaw:
            raise Rejection(Code.INVALID_FORMAT, f"the number {flaw}")
        found = readings_of_all(self._versions, number, self._today)
        if not found:
            raise Rejection(Code.NO_TEMPLATE, self._no_template)
        if len(found) > 1:
            raise Rejection(Code.AMBIGUOUS_NUMBER, f"{_told(found[0])} and {_told(found[1])} both print it")
        return found[0]

    def _put(self, row: _Row) -> None:
        reading = row.reading
        series, value = self._present[reading.series.code], reading.value
        check_era(series, reading.series.era)
        mine = self._sequence(series, reading)
        first = mine.rows.get(value)
        if first is not None:
            raise Rejection(Code.REPEATED_ROW, f"line {first.line} has it already, as {first.number}")
        mine.rows[value] = row

    def _sequence(self, series: Series, reading: Reading) -> _Sequence:
        id = reading.sequence
        mine = self._sequences.get(id)
        if mine is None:
            if len(self._sequences) == MAX_SEQUENCES:
                raise Rejection(Code.REGISTER_TOO_LARGE, f"more than {MAX_SEQUENCES} sequences; split the register")
            mine = self._sequences[id] = _Sequence(series, reading.key, reading.period)
        return mine


def _day(text: str) -> date | None:
    """Read the date of a row; None where it has none."""
    if not text:
        return None
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise Rejection.invalid("document_date", f"is {text[:MAX_TOLD_LENGTH]!r}; write a date as 2025-03-31")


def _bad_row(row: _Row, flaw: Rejection) -> BadRow:
    return BadRow(row.line, row.number, flaw.code, flaw.detail)


def _check_fits(row: _Row, series: Series, sequence: Counter) -> None:
    """Refuse a row that the ledger could not take, whoever holds its value."""
    value = row.reading.value
    check_form(row.reading, series, sequence, row.number)
    if not sequence.start <= value <= series.max_value:  # it may have begun at another start than that of the series
        raise _out_of_range(sequence.id, sequence.start, series)


def _out_of_range(id: str, start: int, series: Series) -> Rejection:
    return Rejection(Code.OUT_OF_RANGE, f"sequence {id} counts from {start} to {series.max_value}")


def _passed_too_many(id: str, row: _Row) -> Rejection:
    return Rejection(
        Code.REGISTER_TOO_LARGE,
        f"the import would pass over more than {MAX_PASSED} values; is {row.number!r} (line {row.line}), the highest "
        f"of sequence {id}, mistyped?",
    )


def _told(reading: Reading) -> str:
    return f"value {reading.value} of {reading.sequence}"
