"""The counter of one series, key and period, with the state of every value that it ever passed.

RESERVED is not stored: a value at or below the high water that is in no other state is held by an open
reservation. So reserving, the hottest step, only moves the high water. And the values from the start on that were all
confirmed are one number, not a bitmap: a sequence without gaps takes the same memory however long it grows.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from heapq import heapify, heappop, heapreplace
from operator import attrgetter
from typing import Any

from pyroaring import BitMap

from ledger.domain.ranges import Ranges, ranges_of, runs
from ledger.domain.rejection import Code, Rejection

__all__ = ["Sequence", "ValueState"]

# A bitmap's containers of single values are folded into runs each time this many values were settled.
OPTIMIZE_EVERY = 1 << 16

# The present rate is that of the last window or two.
RATE_WINDOW = 14 * 86_400 * 1_000_000  # microseconds


class ValueState(StrEnum):
    RESERVED = "RESERVED"
    CONFIRMED = "CONFIRMED"
    VOIDED = "VOIDED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    SKIPPED = "SKIPPED"
    PRE_CONTROL = "PRE_CONTROL"


# What nobody holds: a number of a register, or one given by hand, may still take it.
FREE = (ValueState.CANCELLED, ValueState.EXPIRED, ValueState.SKIPPED, ValueState.PRE_CONTROL)


class Sequence:
    __slots__ = (
        "_earlier",
        "_lately",
        "_pool",
        "_settled",
        "_whole",
        "closed",
        "closed_by_fence",
        "era",
        "generation",
        "high_water",
        "id",
        "is_used",
        "key",
        "period",
        "series",
        "start",
    )

    def __init__(self, id: str, series: str, key: tuple[str, ...], period: str, start: int) -> None:
        self.id = id
        # The era of the series in which it counts: its id begins with `CODE~era:`, or `CODE:` for 0.
        self.era = int(id.partition(":")[0].partition("~")[2] or 0)
        self.series = series
        self.key = key
        self.period = period
        self.start = start
        self.high_water = start - 1
        self.closed = False
        self.closed_by_fence = False  # the margin of a restore would have exhausted it
        self.generation = 0  # of the last fence whose margin it has passed over, or need not
        self.is_used = False  # whether a number of it was given out; an adjustment gives out none
        # Confirmed values stay among the confirmed when they are voided: what is voided hides them.
        self._settled: dict[ValueState, BitMap] = {}
        self._whole = start - 1  # all from the start up to it were confirmed
        self._pool = BitMap()
        # Two marks of (instant, high water), at least one window apart; the later is set anew when it is a window old.
        self._earlier = self._lately = (0, 0)

    def parts(self) -> tuple[Any, ...]:
        """Give all that a snapshot holds of it, in the order in which `of` takes it."""
        return _PARTS(self)

    @classmethod
    def of(
        cls, id: str, series: str, key: tuple[str, ...], period: str, start: int, high_water: int, *rest: Any
    ) -> "Sequence":
        """Give the sequence whose `parts` these are."""
        sequence = cls(id, series, key, period, start)
        sequence.high_water = high_water
        sequence.closed, sequence.closed_by_fence, sequence.is_used, sequence.generation, *marks = rest[:-2]
        sequence._pool, sequence._settled = rest[-2:]
        sequence._whole, sequence._earlier, sequence._lately = marks
        return sequence

    def copy(self) -> "Sequence":
        twin = Sequence(self.id, self.series, self.key, self.period, self.start)
        twin.high_water = self.high_water
        twin.closed = self.closed
        twin.closed_by_fence = self.closed_by_fence
        twin.generation = self.generation
        twin.is_used = self.is_used
        twin._whole = self._whole
        twin._earlier, twin._lately = self._earlier, self._lately
        twin._settled = {state: bitmap.copy() for state, bitmap in self._settled.items()}
        twin._pool = self._pool.copy() if self._pool else self._pool
        return twin

    def next_ranges(self, count: int, max_value: int, *, reuse: bool = True) -> Ranges:
        """Choose the next `count` values: the lowest released first, if reused, then above the high water."""
        released = self._pool[:count] if self._pool and reuse else ()
        last = self.high_water + count - len(released)
        if last > max_value:
            left = max(max_value - self.high_water, 0) + (len(self._pool) if reuse else 0)
            raise Rejection(
                Code.SEQUENCE_EXHAUSTED,
                f"sequence {self.id} has {left} values left up to its maximum {max_value}, fewer than {count}; "
                "raise the maximum, or ask for less",
            )
        if not released:
            return ((self.high_water + 1, last),)
        return ranges_of((*released, *range(self.high_water + 1, last + 1)))

    def reserve(self, ranges: Ranges, at: int) -> None:
        """Hold values from the instant `at` on."""
        if at - self._lately[0] >= RATE_WINDOW:
            self._earlier, self._lately = self._lately, (at, self.high_water)
        self._pass(ranges)

    def _pass(self, ranges: Ranges) -> None:
        if ranges[0][0] <= self.high_water:
            self._take_back(ranges)
        self.high_water = max(self.high_water, ranges[-1][1])

    def settle(self, ranges: Ranges, state: ValueState, *, reusable: bool = False) -> None:
        """Record the state in which reserved values end; `reusable` ones may be reserved again."""
        bitmap = self._settled.get(state)
        if bitmap is None:
            bitmap = self._settled[state] = BitMap()
        if reusable and not self._pool:
            self._pool = BitMap()  # copies share an empty one
        for first, last in ranges:
            if state is ValueState.CONFIRMED and first == self._whole + 1:
                self._whole = last
                continue
            bitmap.add_range(first, last + 1)
            if reusable:
                self._pool.add_range(first, last + 1)
            if first // OPTIMIZE_EVERY != (last + 1) // OPTIMIZE_EVERY:
                bitmap.run_optimize()
        if state is ValueState.CONFIRMED and self._whole + 1 in bitmap:
            first, self._whole = next(runs(bitmap))
            bitmap.remove_range(first, self._whole + 1)

    def place(self, ranges: Ranges, state: ValueState) -> None:
        """Put values straight into a state, whatever became of them before; they do not count for the rate."""
        if not ranges:
            return
        before = self.high_water
        self._pass(ranges)
        self.settle(ranges, state)
        jump = self.high_water - before
        self._earlier, self._lately = ((at, high_water + jump) for at, high_water in (self._earlier, self._lately))

    def fence(self, ranges: Ranges) -> None:
        """Pass over values, and give out nothing again that was released."""
        self.place(ranges, ValueState.SKIPPED)
        self._pool = BitMap()

    def lower(self, start: int) -> None:
        """Count from an earlier start on: what lies below that of before was there before the ledger."""
        assert start < self.start
        if self._whole >= self.start:  # it is whole from its start on no more
            self._settled.setdefault(ValueState.CONFIRMED, BitMap()).add_range(self.start, self._whole + 1)
        first, self.start, self._whole = self.start, start, start - 1
        self.settle(((start, first - 1),), ValueState.PRE_CONTROL)

    def void(self, value: int) -> None:
        """Take a confirmed value out of use."""
        self.settle(((value, value),), ValueState.VOIDED)

    def close(self, *, by_fence: bool = False) -> None:
        """End the period: what was released stays a gap."""
        self.closed = True
        self.closed_by_fence = by_fence
        self._pool = BitMap()

    def reopen(self) -> None:
        """Let the period go on, which was closed before it passed a value."""
        self.closed = False

    def held(self, values: BitMap) -> BitMap:
        """Give those of `values` that somebody holds: reserved, or confirmed for ever."""
        passed = _all_between(self.start, self.high_water)
        free = (self._settled[state] for state in FREE if state in self._settled)
        return BitMap(values & passed).difference(*free)

    def state_of(self, value: int) -> ValueState | None:
        """Give the state of a value; None for one that the sequence never passed."""
        if not self.start <= value <= self.high_water:
            return None
        for state, bitmap in self._settled.items():
            if value in bitmap and state is not ValueState.CONFIRMED:
                return state
        confirmed = value <= self._whole or value in self._settled.get(ValueState.CONFIRMED, ())
        return ValueState.CONFIRMED if confirmed else ValueState.RESERVED

    def counts(self) -> dict[ValueState, int]:
        """Count the passed values by state; the counts add up to `high_water - start + 1`."""
        counts = {state: len(bitmap) for state, bitmap in self._settled.items()}
        confirmed = counts.get(ValueState.CONFIRMED, 0) + self._whole - self.start + 1
        counts[ValueState.CONFIRMED] = confirmed - counts.get(ValueState.VOIDED, 0)
        reserved = self.high_water - self.start + 1 - sum(counts.values())
        return {state: count for state, count in counts.items() if count} | {ValueState.RESERVED: reserved}

    def values_in(self, state: ValueState) -> Ranges:
        """Give all values in one state, as ranges."""
        return tuple(runs(self._values(state)))

    def ranges(
        self, first: int, states: Iterable[ValueState] = tuple(ValueState)
    ) -> Iterator[tuple[int, int, ValueState]]:
        """Give the passed values from `first` on that are in some states, in order, as ranges of one state each."""
        ways = {state: runs(self._values(state, first)) for state in states}
        heads = [(*head, state) for state, way in ways.items() if (head := next(way, None))]
        heapify(heads)
        while heads:
            low, high, state = heads[0]
            yield low, high, state
            following = next(ways[state], None)
            heapreplace(heads, (*following, state)) if following else heappop(heads)

    def released(self) -> int:
        """Count the values that may be reserved again."""
        return len(self._pool)

    def pool(self) -> BitMap:
        """Give the values that may be reserved again, in a bitmap that must not be changed."""
        return self._pool

    def pace(self, now: int) -> tuple[int, int]:
        """Give how many new values were reserved lately, and in how many microseconds."""
        for since, high_water in (self._earlier, self._lately):
            if since and now - since < 2 * RATE_WINDOW:
                return self.high_water - high_water, now - since
        return 0, 0

    def _values(self, state: ValueState, first: int = 0) -> BitMap:
        passed = _all_between(max(first, self.start), self.high_water)
        if state in (ValueState.RESERVED, ValueState.CONFIRMED):
            others = (bitmap for other, bitmap in self._settled.items() if other is not ValueState.CONFIRMED)
            live = passed.difference(*others)
            confirmed = _all_between(self.start, self._whole) | self._settled.get(ValueState.CONFIRMED, BitMap())
            return live & confirmed if state is ValueState.CONFIRMED else live - confirmed
        return passed & self._settled.get(state, BitMap())

    def _take_back(self, ranges: Ranges) -> None:
        held = [self._settled[state] for state in FREE if state in self._settled]
        for first, last in ranges:
            for bitmap in (self._pool, *held) if self._pool else held:
                bitmap.remove_range(first, last + 1)


# All but the era, which the id tells.
_PARTS = attrgetter(
    "id", "series", "key", "period", "start", "high_water",
    "closed", "closed_by_fence", "is_used", "generation", "_whole", "_earlier", "_lately", "_pool", "_settled",
)  # fmt: skip


def _all_between(first: int, last: int) -> BitMap:
    values = BitMap()
    values.add_range(first, last + 1)
    return values
