"""Gaps are taken from, split and added to; what must be deleted and written follows."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.ranges import Ranges
from projections.gaps import Gaps
from projections.rows import GapRow
from tests.given import QUICK

GAP = GapRow(1, 0, 0, "SKIPPED", 7, "SequenceAdjusted", "anna", "", "", 1, 0, 1)


def gap(first: int, last: int, sequence_at: int = 1) -> GapRow:
    return replace(GAP, sequence_at=sequence_at, first=first, last=last)


def ends(rows: list[GapRow]) -> list[tuple[int, int]]:
    return [(row.first, row.last) for row in rows]


@pytest.mark.parametrize(
    ("taken", "parts", "deleted", "changed"),
    [
        (((1, 1),), [], [], []),
        (((3, 5),), [(3, 5)], [3], []),
        (((3, 3),), [(3, 3)], [3], [(4, 5)]),
        (((5, 5),), [(5, 5)], [], [(3, 4)]),
        (((4, 4),), [(4, 4)], [], [(3, 3), (5, 5)]),
        (((1, 4), (8, 20)), [(3, 4), (8, 8), (12, 12)], [3, 8, 12], [(5, 5)]),
    ],
)
def test_taking(
    taken: Ranges, parts: list[tuple[int, int]], deleted: list[int], changed: list[tuple[int, int]]
) -> None:
    gaps = Gaps([gap(3, 5), gap(8, 8), gap(12, 12), gap(1, 90, sequence_at=2)])
    assert ends(gaps.take(1, taken)) == parts
    assert gaps.deleted() == [(1, first) for first in deleted]
    assert sorted(ends(gaps.changed())) == changed


def test_what_was_added_and_taken_again_leaves_nothing_to_write() -> None:
    gaps = Gaps()
    gaps.add(gap(3, 5))
    gaps.add(gap(1, 1))
    assert ends(gaps.take(1, ((1, 9),))) == [(1, 1), (3, 5)]
    assert (gaps.deleted(), gaps.changed()) == ([], [])


def test_a_closed_sequence_releases_nothing() -> None:
    gaps = Gaps([gap(3, 5), gap(3, 5, sequence_at=2)])
    gaps.empty(1)
    assert [(row.sequence_at, row.released) for row in gaps.changed()] == [(1, 0)]


@QUICK
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(0, 6)), max_size=20))
def test_values_are_in_gaps_until_they_are_taken(steps: list[tuple[bool, int, int]]) -> None:
    gaps, values = Gaps(), set[int]()
    for is_taken, first, more in steps:
        span = set(range(first, first + more + 1))
        if is_taken:
            parts = gaps.take(1, ((first, first + more),))
            assert {value for row in parts for value in range(row.first, row.last + 1)} == span & values
            values -= span
        elif not span & values:
            gaps.add(gap(first, first + more))
            values |= span
    left = [value for row in gaps.changed() for value in range(row.first, row.last + 1)]
    assert sorted(left) == sorted(values)
