"""A register of numbers that were kept before the ledger, read row by row for `Import`.

Each row goes to the one named series whose template prints it. What a row cannot be is found here; whether its value
is still free is asked last, of the state, and judged again under the log's lock.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from pyroaring import BitMap

from ledger.domain import calendar
from ledger.domain.commands import BadRow, Import, ImportedSequence
from ledger.domain.events import Print
from ledger.domain.ranges import ranges_of
from ledger.domain.reading import Reading, readings
from ledger.domain.rejection import Code, Rejection
from ledger.domain.series import MAX_NUMBER_LENGTH, Series
from ledger.domain.state import State
from ledger.domain.text import flaw_of_text

__all__ = ["MAX_ROWS", "MAX_SEQUENCES", "Register"]

# Bounds of one import: what it holds in memory, and how long it keeps the log's lock.
MAX_ROWS = 100_000
MAX_SEQUENCES = 10_000
MAX_TOLD_LENGTH = 200


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    number: str
    document_date: date
    attributes: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Sequence:
    """The rows of one sequence, by value."""

    series: Series
    key: tuple[str, ...]
    period: str
    rows: dict[int, _Row] = field(default_factory=dict)

    def prints(self) -> Iterable[Print]:
        alike: dict[tuple[date, tuple[tuple[str, str], ...]], list[int]] = {}
        for value, row in self.rows.items():
            alike.setdefault((row.document_date, row.attributes), []).append(value)
        return (Print(*printed, ranges_of(values)) for printed, values in sorted(alike.items()))


class Register:
    """Rows as they are read, for the present versions of some series, at the log's instant `now`."""

    def __init__(self, series: Sequence[Series], now: int) -> None:
        codes = [each.code for each in series]
        if not codes or len(set(codes)) != len(codes):
            raise Rejection.invalid("series", "must name each series that the numbers may be of, once")
        self._series = series
        self._today = {each.code: calendar.date_at(now, each.definition.timezone) for each in series}
        self._sequences: dict[str, _Sequence] = {}
        self._bad: list[BadRow] = []
        self._held: dict[str, dict[int, BadRow]] = {}
        self.rows = 0

    def bad(self, *, but: Mapping[str, BitMap] | None = None) -> list[BadRow]:
        """Give the rows that do not fit, by line; `but` has the values, by sequence, that this very import holds."""
        ours = but or {}
        held = (row for id, rows in self._held.items() for value, row in rows.items() if value not in ours.get(id, ()))
        return sorted((*self._bad, *held), key=lambda row: row.line)

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
        """Find the rows whose value somebody holds already."""
        for id, mine in self._sequences.items():
            theirs = state.sequence(id)
            for value in theirs.held(BitMap(mine.rows)) if theirs else ():
                row = mine.rows.pop(value)
                assert theirs is not None
                told = theirs.state_of(value)
                assert told is not None
                detail = f"value {value} of sequence {id} is {told.value} already"
                bad = BadRow(row.line, row.number, Code.DUPLICATE_NUMBER, detail)
                self._held.setdefault(id, {})[value] = bad

    def command(self, *, skip_bad: bool) -> Import:
        sequences = (
            ImportedSequence(id, mine.series, mine.key, mine.period, tuple(mine.prints()))
            for id, mine in self._sequences.items()
            if mine.rows
        )
        return Import(tuple(sequences), tuple(self.bad()), skip_bad)

    def _read(self, number: str) -> Reading:
        flaw = flaw_of_text(number, at_most=MAX_NUMBER_LENGTH)
        if flaw:
            raise Rejection(Code.INVALID_FORMAT, f"the number {flaw}")
        found = [each for series in self._series for each in readings(series, number, self._today[series.code])]
        if not found:
            raise Rejection(Code.NO_TEMPLATE, f"none of the named series prints it: {self._codes()}")
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
        if reading.document_date > today:
            raise Rejection(Code.PERIOD_NOT_BEGUN, f"it is of {reading.document_date} or later, and today is {today}")
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

    def _codes(self) -> str:
        return ", ".join(series.code for series in self._series)


def _told(reading: Reading) -> str:
    return f"value {reading.value} of {reading.sequence}"
