"""Whether values may be given out: that none is given out twice, and that none is passed without a cause."""

from ledger.domain.events import Numbering, Place
from ledger.domain.ranges import Ranges, between, bitmap_of
from ledger.domain.sequence import FREE, Sequence
from ledger.domain.series import Reuse, Series
from ledger.domain.state import State

__all__ = ["bounds_of", "flaw_of_new", "flaw_of_order", "flaw_of_ranges", "flaw_of_skipped", "given_twice"]


def bounds_of(state: State, series: Series, id: str) -> tuple[int, int]:
    """Give the start of a sequence and its high water, whether or not it has begun."""
    sequence = state.sequence(id)
    if sequence is None:
        return series.definition.start, series.definition.start - 1
    return sequence.start, sequence.high_water


def flaw_of_order(ranges: Ranges) -> str | None:
    """Say whether ranges are a set of values: ascending, disjoint, not empty."""
    if not ranges:
        return "no value is named"
    before = -1
    for first, last in ranges:
        if not before < first <= last:
            return f"the range {first} to {last} is not ascending"
        before = last
    return None


def flaw_of_ranges(ranges: Ranges, start: int, max_value: int) -> str | None:
    """Say whether ranges are values that a sequence may pass."""
    flaw = flaw_of_order(ranges)
    if flaw:
        return flaw
    if ranges[0][0] < start:
        return f"value {ranges[0][0]} is below {start}, the start"
    return f"value {ranges[-1][1]} is above {max_value}, the maximum" if ranges[-1][1] > max_value else None


def flaw_of_new(state: State, series: Series, numbering: Numbering, ranges: Ranges) -> str | None:
    """Say whether values may be reserved: those that were released, and those that follow the high water."""
    start, high_water = bounds_of(state, series, numbering.sequence)
    if len(ranges) == 1 and high_water + 1 == ranges[0][0] <= ranges[0][1] <= series.max_value:
        return None
    flaw = flaw_of_ranges(ranges, start, series.max_value)
    sequence = state.sequence(numbering.sequence)
    if flaw or sequence is None:
        return flaw or _flaw_of_hole(numbering, high_water, ranges)
    return _flaw_of_again(series, sequence, numbering, ranges) or _flaw_of_hole(numbering, high_water, ranges)


def _flaw_of_again(series: Series, sequence: Sequence, numbering: Numbering, ranges: Ranges) -> str | None:
    passed = bitmap_of((first, min(last, sequence.high_water)) for first, last in ranges)
    if series.definition.reuse is Reuse.GAPLESS:
        passed -= sequence.pool()
    return given_twice(series, sequence, numbering, passed.min()) if passed else None


def given_twice(series: Series, sequence: Sequence, numbering: Numbering, value: int) -> str:
    """Tell of a value that was passed and is not free."""
    state = sequence.state_of(value)
    what = f"value {value} of sequence {sequence.id}"
    if state in FREE:
        return f"{what} is {state} and was not released, and is reserved again"
    number = series.frame(numbering.key, numbering.attributes, numbering.document_date).number(value)
    return f"number {number!r} is given out twice: {what} is {state} already"


def _flaw_of_hole(place: Place, high_water: int, ranges: Ranges) -> str | None:
    holes = between(high_water + 1, ranges)
    return f"value {holes[0][0]} of sequence {place.sequence} is passed over without a cause" if holes else None


def flaw_of_skipped(place: Place, high_water: int, taken: Ranges, skipped: Ranges) -> str | None:
    """Say whether an event names all that a sequence passes over to reach values above its high water."""
    expected = between(high_water + 1, taken)
    if skipped == expected:
        return None
    return f"sequence {place.sequence} is said to pass over {_told(skipped)}, and passes over {_told(expected)}"


def _told(ranges: Ranges) -> str:
    return ", ".join(f"{first} to {last}" for first, last in ranges[:5]) or "nothing"
