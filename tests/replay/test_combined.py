"""Several sources as one: each event once, in order, wherever they overlap, and never two histories in one."""

import asyncio
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.rejection import Code, Rejection
from replay.archive.source import ArchiveSource
from replay.combined import Combined, agree
from replay.sources import Damaged, Extent, Source, Stored
from tests.given import QUICK
from tests.replay.places import LEDGER, ListSource, archived, history, read, stored

EVENTS = 40
WHOLE = stored(history(EVENTS))
OTHER = stored(history(EVENTS, document="E"))
SAME = next(at for at, (one, other) in enumerate(zip(WHOLE, OTHER, strict=True)) if one != other)  # so many are alike

Range = tuple[int, int]
ranges = st.tuples(st.integers(1, EVENTS), st.integers(1, EVENTS)).map(lambda pair: (min(pair), max(pair)))


def part(events: Sequence[Stored], held: Range, name: str = "the list", size: int = 7) -> ListSource:
    return ListSource(events[held[0] - 1 : held[1]], name=name, part=size)


@given(held=st.lists(ranges, min_size=1, max_size=5), size=st.integers(1, EVENTS))
@QUICK
def test_each_event_once_or_the_first_hole_named(held: list[Range], size: int) -> None:
    combined = Combined([part(WHOLE, each, size=size) for each in held])
    there = {position for low, high in held for position in range(low, high + 1)}
    first, last = min(there), max(there)
    hole = next((position for position in range(first, last) if position not in there), None)
    if hole is None:
        assert asyncio.run(read(combined)) == WHOLE[first - 1 : last]
    else:
        following = min(position for position in there if position > hole)
        with pytest.raises(Damaged, match=f"the events {hole} to {following - 1} are neither in the list"):
            asyncio.run(read(combined))


@given(
    archive_to=st.integers(0, EVENTS),
    mirror=ranges,
    database_to=st.integers(0, EVENTS),
    order=st.permutations(range(3)),
)
@QUICK
def test_archive_mirror_and_database_in_any_order(
    archive_to: int, mirror: Range, database_to: int, order: list[int]
) -> None:
    made = [part(WHOLE, (1, archive_to)), part(WHOLE, mirror), part(WHOLE, (1, database_to))]
    begun = max(archive_to, database_to)
    combined = Combined([made[each] for each in order])
    if begun or mirror[0] == 1:
        end = max(begun, mirror[1])
        if mirror[0] > begun + 1:
            with pytest.raises(Damaged, match=f"position {begun + 1}: "):
                asyncio.run(read(combined))
        else:
            assert asyncio.run(read(combined)) == WHOLE[:end]


@given(data=st.data(), held=st.lists(ranges, min_size=2, max_size=4))
@QUICK
def test_two_histories_are_never_told_as_one(data: st.DataObject, held: list[Range]) -> None:
    """Where two of them overlap, they are compared; where they only meet, the chain does it."""
    forked = [data.draw(st.booleans()) for _ in held]
    sources = [part(OTHER if fork else WHOLE, each) for fork, each in zip(forked, held, strict=True)]
    found = outcome(sources)
    if isinstance(found, Damaged):
        assert "are neither in" in found.what or found.position > SAME
    elif isinstance(found, Rejection):
        assert found.code is Code.HISTORIES_DIFFER
        firsts = [max(SAME + 1, low, other) for low, _ in held for other, _ in held]
        assert (found.members or {})["position"] in firsts
    else:
        at = slice(found[0][0] - 1, found[-1][0])
        assert found in (WHOLE[at], OTHER[at])
        told = {fork for (_, high), fork in zip(held, forked, strict=True) if high > SAME}
        assert len(told) < 2, "two histories, and neither was named"


def outcome(sources: Sequence[Source]) -> list[Stored] | Rejection:
    try:
        return asyncio.run(read(Combined(sources)))
    except Rejection as rejection:
        return rejection


@pytest.mark.parametrize("overlap", range(SAME + 1, EVENTS + 1, 3))
async def test_the_first_difference_is_named(overlap: int) -> None:
    one, other = part(WHOLE, (1, EVENTS), "the one"), part(OTHER, (1, overlap), "the other")
    with pytest.raises(Rejection, match=f"tell two histories: they differ from position {SAME + 1} on"):
        await Combined([one, other]).extent()


async def test_any_two_are_compared() -> None:
    """Not only each with the one that goes furthest, which may begin where the others have ended."""
    parts = [part(OTHER, (1, 20)), part(WHOLE, (10, 30)), part(WHOLE, (31, EVENTS))]
    for sources in permutations(parts):
        with pytest.raises(Rejection, match="tell two histories: they differ from position 10 on"):
            await Combined(sources).extent()


async def test_an_event_that_one_has_lost_is_no_other_history() -> None:
    one = part(WHOLE, (1, EVENTS))
    other = ListSource(WHOLE[:19] + WHOLE[20:25], name="the other")
    shorter = part(WHOLE, (1, 20))
    await agree(one, await one.extent(), other, await other.extent())
    with pytest.raises(Damaged, match="position 20: the event is missing in the other"):
        await agree(shorter, await shorter.extent(), other, await other.extent())


async def test_several_ledgers() -> None:
    other = "99999999-0000-0000-0000-000000000000"
    empty = ListSource([], extent=Extent.none(other), name="the other")
    for sources in ([part(WHOLE, (1, 5)), empty], [empty, part(WHOLE, (1, 5))]):
        with pytest.raises(Rejection, match=rf"holds ledger .*{LEDGER}|holds .*{LEDGER}") as refused:
            await Combined(sources).extent()
        assert refused.value.code is Code.HISTORIES_DIFFER


async def test_nothing_at_all() -> None:
    empty = Combined([ListSource([]), ListSource([])])
    assert await empty.extent() == Extent.none(LEDGER)
    assert await read(empty) == []


async def test_a_real_archive_and_what_follows_it(tmp_path: Path) -> None:
    await archived(history(EVENTS)[:25], tmp_path, segment_events=10)
    archive, mirror = ArchiveSource(tmp_path), part(WHOLE, (20, EVENTS), "the mirror")
    assert await read(Combined([archive, mirror])) == WHOLE
    assert await read(Combined([mirror, archive])) == WHOLE
    with pytest.raises(Rejection, match="tell two histories"):
        await read(Combined([archive, part(OTHER, (20, EVENTS))]))
