"""What a worker keeps of the rows between its batches: all series, and the sequences and reservations used lately.

It is true as long as nobody else moves the checkpoint, and thrown away whenever a batch was not committed.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from ledger.definitions import definition_data, definition_of
from ledger.domain.events import Place
from ledger.domain.sequence import Sequence
from ledger.domain.series import Series
from ledger.domain.state import State
from projections.rows import ReservationRow, SequenceRow, SeriesRow

__all__ = ["Counter", "Known", "definition_text"]

MAX_SEQUENCES = 20_000
MAX_RESERVATIONS = 50_000


class Counter(Sequence):
    """A sequence as its row has it, for the rules that look at one as a whole; it holds no values."""

    __slots__ = ("_released",)

    def __init__(self, row: SequenceRow) -> None:
        super().__init__(row.id, row.series, (), row.period, row.start)
        self.high_water = row.high_water
        self.closed = bool(row.closed)
        self._earlier = (row.earlier_at, row.earlier_high_water)
        self._lately = (row.lately_at, row.lately_high_water)
        self._released = row.released

    def released(self) -> int:
        return self._released


class Known:
    """`state` knows the series alone: their versions, eras, first use and retirement, by the ledger's own rules."""

    def __init__(self, series: Iterable[SeriesRow] = ()) -> None:
        self.state = State()
        self.series: dict[str, dict[int, SeriesRow]] = {}
        self.sequences: dict[str, SequenceRow] = {}
        self.reservations: dict[str, ReservationRow] = {}
        for row in sorted(series, key=lambda row: row.version):
            self.series.setdefault(row.code, {})[row.version] = row
            definition = definition_of(orjson.loads(row.definition))
            # The state would give an era of its own only to versions that come after the first use.
            self.state.put_series(Series.define(row.code, definition, row.version).in_era(row.era))
        for versions in self.series.values():
            self._settle(versions[max(versions)])

    def _settle(self, last: SeriesRow) -> None:
        if last.first_used:
            place = Sequence(last.code, last.code, (), "", 0)
            self.state.put_sequence(place, self.state.series(last.code, last.first_used))
        if last.retired:
            self.state.put_retired(last.code)

    def use(self, of: Place) -> Series:
        """Give the series of a sequence that begins, and note when it is the first one."""
        series = self.state.series(of.series, of.series_version)
        if self.state.first_used(of.series) is None:
            self.state.put_sequence(Sequence(of.sequence, of.series, (), of.period, 0), series)
        return series

    def forget(self) -> None:
        """Keep memory in bounds, those used longest ago first."""
        _shorten(self.sequences, MAX_SEQUENCES)
        _shorten(self.reservations, MAX_RESERVATIONS)


def _shorten(rows: dict[str, Any], length: int) -> None:
    while len(rows) > length:
        del rows[next(iter(rows))]


def definition_text(series: Series) -> str:
    return orjson.dumps(definition_data(series.definition), option=orjson.OPT_SORT_KEYS).decode()
