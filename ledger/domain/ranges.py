"""Sets of values as ascending, disjoint, inclusive ranges: `((1, 4), (9, 9))` is 1, 2, 3, 4 and 9."""

from collections.abc import Iterable, Iterator

from pyroaring import BitMap

__all__ = ["Ranges", "between", "bitmap_of", "count_of", "includes", "ranges_of", "runs", "values_of", "without"]

Ranges = tuple[tuple[int, int], ...]


def count_of(ranges: Ranges) -> int:
    return sum(last - first + 1 for first, last in ranges)


def includes(ranges: Ranges, value: int) -> bool:
    return any(first <= value <= last for first, last in ranges)


def values_of(ranges: Ranges) -> Iterator[int]:
    for first, last in ranges:
        yield from range(first, last + 1)


def ranges_of(values: Iterable[int]) -> Ranges:
    """Gather values, in any order, into ranges."""
    ranges: list[tuple[int, int]] = []
    for value in sorted(set(values)):
        if ranges and ranges[-1][1] == value - 1:
            ranges[-1] = (ranges[-1][0], value)
        else:
            ranges.append((value, value))
    return tuple(ranges)


def bitmap_of(ranges: Iterable[tuple[int, int]]) -> BitMap:
    """Gather ranges, of which empty ones do not matter, into a bitmap."""
    values = BitMap()
    for first, last in ranges:
        values.add_range(first, last + 1)
    return values


def runs(values: BitMap) -> Iterator[tuple[int, int]]:
    """Give a bitmap's ranges in ascending order, in time and memory that grow with their number alone."""
    if not values:
        return
    first, end = values.min(), values.max() + 1
    holes = values.flip(first, end)
    while first < end:
        hole = next(holes.iter_equal_or_larger(first), end)
        yield first, hole - 1
        first = next(values.iter_equal_or_larger(hole), end)


def between(first: int, ranges: Ranges) -> Ranges:
    """Give the holes from `first` to the end of `ranges`, of which those below `first` do not matter."""
    holes = []
    for low, high in ranges:
        if first < low:
            holes.append((first, low - 1))
        first = max(first, high + 1)
    return tuple(holes)


def without(ranges: Ranges, taken: Ranges) -> Ranges:
    """Give what is left of `ranges` when `taken` is removed."""
    if ranges == taken:
        return ()
    return ranges_of(set(values_of(ranges)).difference(values_of(taken)))
