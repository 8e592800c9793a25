from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.ranges import Ranges, count_of, ranges_of, values_of, without
from tests.given import QUICK

VALUES = st.sets(st.integers(0, 30))


@pytest.mark.parametrize(
    ("values", "ranges"),
    [
        ([], ()),
        ([0], ((0, 0),)),
        ([3, 1, 2], ((1, 3),)),
        ([1, 2, 4, 5, 9], ((1, 2), (4, 5), (9, 9))),
        ([7, 7, 8], ((7, 8),)),
        (range(1, 10_001), ((1, 10_000),)),
    ],
)
def test_ranges_of(values: list[int], ranges: Ranges) -> None:
    assert ranges_of(values) == ranges


@pytest.mark.parametrize(
    ("ranges", "taken", "left"),
    [
        (((1, 9),), (), ((1, 9),)),
        (((1, 9),), ((1, 9),), ()),
        (((1, 9),), ((1, 1), (5, 5), (9, 9)), ((2, 4), (6, 8))),
        (((1, 3), (7, 9)), ((3, 7),), ((1, 2), (8, 9))),
        (((1, 3),), ((4, 5),), ((1, 3),)),
    ],
)
def test_without(ranges: Ranges, taken: Ranges, left: Ranges) -> None:
    assert without(ranges, taken) == left


@QUICK
@given(VALUES)
def test_ranges_are_ascending_and_apart_and_hold_just_their_values(values: set[int]) -> None:
    ranges = ranges_of(values)
    assert list(values_of(ranges)) == sorted(values)
    assert count_of(ranges) == len(values)
    assert all(first <= last for first, last in ranges)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(ranges))


@QUICK
@given(VALUES, VALUES)
def test_without_is_the_difference_of_sets(values: set[int], taken: set[int]) -> None:
    assert without(ranges_of(values), ranges_of(taken)) == ranges_of(values - taken)
