"""The counter of one series, key and period, with the state of every value that it ever passed.

RESERVED is not stored: a value at or below the high water that is in no other state is held by an open
reservation. So reserving, the hottest step, only moves the high water.
"""

from enum import StrEnum

from pyroaring import BitMap

from ledger.domain.ranges import Ranges, ranges_of
from ledger.domain.rejection import Code, Rejection

__all__ = ["Sequence", "ValueState"]

# A bitmap's containers of single values are folded into runs each time this many values were settled.
OPTIMIZE_EVERY = 1 << 16


class ValueState(StrEnum):
    RESERVED = "RESERVED"
    CONFIRMED = "CONFIRMED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    SKIPPED = "SKIPPED"
    PRE_CONTROL = "PRE_CONTROL"


# What nobody holds and nobody held: a number of a register, or one given by hand, may still take it.
FREE = (ValueState.CANCELLED, ValueState.EXPIRED, ValueState.SKIPPED, ValueState.PRE_CONTROL)


class Sequence:
    __slots__ = ("_pool", "_settled", "high_water", "id", "key", "period", "series", "start")

    def __init__(self, id: str, series: str, key: tuple[str, ...], period: str, start: int) -> None:
        self.id = id
        self.series = series
        self.key = key
        self.period = period
        self.start = start
        self.high_water = start - 1
        self._settled: dict[ValueState, BitMap] = {}
        self._pool = BitMap()

    def copy(self) -> "Sequence":
        twin = Sequence(self.id, self.series, self.key, self.period, self.start)
        twin.high_water = self.high_water
        twin._settled = {state: bitmap.copy() for state, bitmap in self._settled.items()}
        twin._pool = self._pool.copy() if self._pool else self._pool
        return twin

    def next_ranges(self, count: int, max_value: int) -> Ranges:
        """Choose the next `count` values: the lowest released first, then above the high water."""
        released = self._pool[:count] if self._pool else ()
        last = self.high_water + count - len(released)
        if last > max_value:
            left = max_value - self.high_water + len(self._pool)
            raise Rejection(
                Code.SEQUENCE_EXHAUSTED,
                f"sequence {self.id} has {left} values left up to its maximum {max_value}, fewer than {count}",
            )
        if not released:
            return ((self.high_water + 1, last),)
        return ranges_of((*released, *range(self.high_water + 1, last + 1)))

    def reserve(self, ranges: Ranges) -> None:
        if ranges[0][0] <= self.high_water:
            self._take_back(ranges)
        self.high_water = max(self.high_water, ranges[-1][1])

    def settle(self, ranges: Ranges, state: ValueState, *, reusable: bool = False) -> None:
        """Record the state in which reserved values end; `reusable` ones may be reserved again."""
        bitmap = self._settled.get(state)
        if bitmap is None:
            bitmap = self._settled[state] = BitMap()
        pool = BitMap(self._pool) if reusable else None
        for first, last in ranges:
            bitmap.add_range(first, last + 1)
            if pool is not None:
                pool.add_range(first, last + 1)
            if first // OPTIMIZE_EVERY != (last + 1) // OPTIMIZE_EVERY:
                bitmap.run_optimize()
        if pool is not None:
            self._pool = pool

    def place(self, ranges: Ranges, state: ValueState) -> None:
        """Put values straight into a state, whatever became of them before."""
        if ranges:
            self.reserve(ranges)
            self.settle(ranges, state)

    def held(self, values: BitMap) -> BitMap:
        """Give those of `values` that somebody holds: reserved, or confirmed for ever."""
        passed = BitMap()
        passed.add_range(self.start, self.high_water + 1)
        free = (self._settled[state] for state in FREE if state in self._settled)
        return BitMap(values & passed).difference(*free)

    def state_of(self, value: int) -> ValueState | None:
        """Give the state of a value; None for one that the sequence never passed."""
        if not self.start <= value <= self.high_water:
            return None
        for state, bitmap in self._settled.items():
            if value in bitmap:
                return state
        return ValueState.RESERVED

    def counts(self) -> dict[ValueState, int]:
        """Count the passed values by state; the counts add up to `high_water - start + 1`."""
        counts = {state: len(bitmap) for state, bitmap in self._settled.items() if bitmap}
        reserved = self.high_water - self.start + 1 - sum(counts.values())
        return counts | {ValueState.RESERVED: reserved}

    def values_in(self, state: ValueState) -> Ranges:
        """Give all values in one state, as ranges."""
        if state is not ValueState.RESERVED:
            return ranges_of(self._settled.get(state, ()))
        passed = BitMap()
        passed.add_range(self.start, self.high_water + 1)
        return ranges_of(passed.difference(*self._settled.values()))

    def _take_back(self, ranges: Ranges) -> None:
        taken = BitMap()
        for first, last in ranges:
            taken.add_range(first, last + 1)
        self._pool = self._pool - taken
        for state, bitmap in self._settled.items():
            self._settled[state] = bitmap - taken
