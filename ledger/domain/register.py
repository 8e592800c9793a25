"""A register of numbers that were kept before the ledger, read row by row for `Import`.

Each row goes to the one named series whose template prints it. What a row cannot be is found here; whether its value
is still free is asked last, of the state, and judged again under the log's lock.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from pyroaring import BitMap

from ledger.domain import calendar
from ledger.domain.commands import BadRow, Import, ImportedSequence
from ledger.domain.events import Print
from ledger.domain.ranges import Ranges, ranges_of
from ledger.domain.reading import Reading, readings
from ledger.domain.rejection import Code, Rejection
from ledger.domain.series import MAX_NUMBER_LENGTH, Series
from ledger.domain.state import State
from ledger.domain.text import flaw_of_text

__all__ = ["MAX_ROWS", "MAX_SEQUENCES", "Register"]

# Bounds of one import: what it holds in memory, and how long it keeps the log's lock.
MAX_ROWS = 100_000
MAX_SEQUENCES = 10_000
MAX_PASSED = 1_000_000_000  # values: what they cost in memory is little, but they are surely a mistyped number
MAX_IMPORTED = 5_000  # values of one event, which then stays below the store's limit whatever they print
MAX_TOLD_LENGTH = 200
MAX_NAMED = 5

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    number: str
    document_date: date
    attributes: Pairs


@dataclass(slots=True)
class _Sequence:
    """The rows of one sequence, by value."""

    series: Series
    key: tuple[str, ...]
    period: str
    rows: dict[int, _Row] = field(default_factory=dict)

    def slices(self) -> Iterator[tuple[Ranges, tuple[Print, ...]]]:
        """Cut the values, from the lowest up, into parts of up to MAX_IMPORTED, each with how they were printed."""
        values = sorted(self.rows)
        for start in range(0, len(values), MAX_IMPORTED):
            mine = values[start : start + MAX_IMPORTED]
            alike: dict[tuple[date, Pairs], list[int]] = {}
            for value in mine:
                row = self.rows[value]
                alike.setdefault((row.document_date, row.attributes), []).append(value)
            prints = (Print(*printed, ranges_of(some)) for printed, some in sorted(alike.items()))
            yield ranges_of(mine), tuple(prints)


class Register:
    """Rows as they are read, for the present versions of some series, at the log's instant `now`."""

    def __init__(self, series: Sequence[Series], now: int) -> None:
        codes = [each.code for each in series]
        if not codes or len(set(codes)) != len(codes):
            raise Rejection.invalid("series", "must name each series that the numbers may be of, once")
        self._series = series
        self._today = {each.code: calendar.date_at(now, each.definition.timezone) for each in series}
        self._sequences: dict[str, _Sequence] = {}
        named = ", ".join(codes[:MAX_NAMED]) + (" and others" if len(codes) > MAX_NAMED else "")
        self._no_template = f"none of the named series prints it: {named}"
        self._bad: list[BadRow] = []
        self.rows = 0

    def bad(self) -> list[BadRow]:
        """Give the rows that do not fit, by line."""
        return sorted(self._bad, key=lambda row: row.line)

    def add(self, line: int, number: str) -> None:
        """Read a row; a Rejection only when the register is too large."""
        self.rows += 1
        if self.rows > MAX_ROWS:
            raise Rejection(Code.REGISTER_TOO_LARGE, f"more than {MAX_ROWS} rows; split the register")
        try:
            self._put(line, number, self._read(number))
        except Rejection as flaw:
            if flaw.code is Code.REGISTER_TOO_LARGE:
                raise
            self._bad.append(BadRow(line, number[:MAX_TOLD_LENGTH], flaw.code, flaw.detail))

    def drop_held(self, state: State) -> None:
        """Find the rows whose value somebody holds already; a Rejection when the others leave too many holes."""
        holes = 0
        for id, mine in self._sequences.items():
            theirs = state.sequence(id)
            if theirs:
                self._drop(id, theirs.held(BitMap(mine.rows)))
            high_water = theirs.high_water if theirs else mine.series.definition.start - 1
            holes += max(max(mine.rows, default=0) - high_water, 0)
            if holes > MAX_PASSED:
                raise _passed_too_many(id, mine.rows[max(mine.rows)])

    def drop_all_but(self, imported: Mapping[str, BitMap]) -> None:
        """Leave the rows that an earlier delivery of this register imported; the others were held then."""
        for id, mine in self._sequences.items():
            self._drop(id, BitMap(mine.rows) - imported.get(id, BitMap()))

    def _drop(self, id: str, values: BitMap) -> None:
        rows = self._sequences[id].rows
        for value in values:
            row = rows.pop(value)
            detail = f"value {value} of sequence {id} is held already"
            self._bad.append(BadRow(row.line, row.number, Code.DUPLICATE_NUMBER, detail))

    def command(self, *, skip_bad: bool, max_skipped: int | None = None) -> Import:
        sequences = (
            ImportedSequence(id, mine.series, mine.key, mine.period, BitMap(mine.rows), tuple(mine.slices()))
            for id, mine in self._sequences.items()
            if mine.rows
        )
        return Import(tuple(sequences), tuple(self.bad()), skip_bad, max_skipped)

    def _read(self, number: str) -> Reading:
        flaw = flaw_of_text(number, at_most=MAX_NUMBER_LENGTH)
        if flaw:
            raise Rejection(Code.INVALID_FORMAT, f"the number {flaw}")
        found = [each for series in self._series for each in readings(series, number, self._today[series.code])]
        if not found:
            raise Rejection(Code.NO_TEMPLATE, self._no_template)
        if len(found) > 1:
            raise Rejection(Code.AMBIGUOUS_NUMBER, f"{_told(found[0])} and {_told(found[1])} both print it")
        return found[0]

    def _put(self, line: int, number: str, reading: Reading) -> None:
        series, value = reading.series, reading.value
        if not series.definition.start <= value <= series.max_value:
            raise Rejection(
                Code.OUT_OF_RANGE,
                f"series {series.code} counts from {series.definition.start} to {series.max_value}",
            )
        today = self._today[series.code]
        if reading.document_date > today and reading.period > series.period(today):
            raise Rejection(Code.PERIOD_NOT_BEGUN, f"it is of period {reading.period}, which has not begun on {today}")
        mine = self._sequence(reading)
        first = mine.rows.get(value)
        if first is not None:
            raise Rejection(Code.REPEATED_ROW, f"line {first.line} has it already, as {first.number}")
        mine.rows[value] = _Row(line, number, reading.document_date, reading.attributes)

    def _sequence(self, reading: Reading) -> _Sequence:
        id = reading.sequence
        mine = self._sequences.get(id)
        if mine is None:
            if len(self._sequences) == MAX_SEQUENCES:
                raise Rejection(Code.REGISTER_TOO_LARGE, f"more than {MAX_SEQUENCES} sequences; split the register")
            mine = self._sequences[id] = _Sequence(reading.series, reading.key, reading.period)
        return mine


def _passed_too_many(id: str, row: _Row) -> Rejection:
    return Rejection(
        Code.REGISTER_TOO_LARGE,
        f"the import would pass over more than {MAX_PASSED} values; is {row.number!r} (line {row.line}), the highest "
        f"of sequence {id}, mistyped?",
    )


def _told(reading: Reading) -> str:
    return f"value {reading.value} of {reading.sequence}"
