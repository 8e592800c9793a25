"""Several sources as one: each goes on where the one before it ends, and they must agree where they overlap."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from replay.sources import Damaged, Extent, Source, Stored, apart, event_at

__all__ = ["Combined", "agree", "alike", "first_difference"]


@dataclass(frozen=True, slots=True)
class _Part:
    source: Source
    extent: Extent


class Combined:
    """`extent` asks each source how far it reaches, in the order in which they are given, and then they are read so."""

    def __init__(self, sources: Sequence[Source]) -> None:
        assert sources
        self.name = " and ".join(source.name for source in sources)
        self.is_primary = any(source.is_primary for source in sources)
        self.sources = sources
        self._parts: list[_Part] = []

    async def extent(self) -> Extent:
        """Say how far they reach together; HISTORIES_DIFFER when they are of several ledgers, or do not agree."""
        self._parts = [_Part(source, await source.extent()) for source in self.sources]
        furthest = max(self._parts, key=lambda part: part.extent.last)
        for one, other in combinations(self._parts, 2):  # two that overlap may both end before the furthest begins
            await agree(one.source, one.extent, other.source, other.extent)
        first = min(part.extent.first for part in self._parts)
        # They agree, so what one of them knows to hold, all of them hold together.
        until = max((each for part in self._parts if (each := part.extent.complete_until) is not None), default=None)
        return Extent(furthest.extent.ledger_id, first, furthest.extent.last, furthest.extent.hash, until)

    async def events(self, *, after: int, to: int) -> AsyncIterator[Sequence[Stored]]:
        while after < to:
            part = self._part_at(after + 1)
            if part is None:
                following = min(
                    (each.extent.first for each in self._parts if each.extent.first > after), default=to + 1
                )
                raise Damaged(after + 1, f"the events {after + 1} to {following - 1} are neither in {self._names}")
            async for events in part.source.events(after=after, to=min(to, part.extent.last)):
                yield events
                if events:
                    after = events[-1][0]
            if after < min(to, part.extent.last):
                raise Damaged(after + 1, f"the event is missing: {part.source.name} should go on")

    def _part_at(self, position: int) -> _Part | None:
        return next((each for each in self._parts if each.extent.first <= position <= each.extent.last), None)

    @property
    def _names(self) -> str:
        return " nor in ".join(source.name for source in self.sources)


async def agree(one: Source, its: Extent, other: Source, others: Extent) -> None:
    """See that two sources hold the same history as far as both reach; HISTORIES_DIFFER where they do not.

    Each is chained in itself, so that the last event that both hold speaks for all before it.
    """
    if its.ledger_id != others.ledger_id:
        raise apart(f"{one.name} holds ledger {its.ledger_id}, and {other.name} holds {others.ledger_id}")
    low, high = max(its.first, others.first), min(its.last, others.last)
    if high < low or await alike(one, other, high):
        return
    position = await first_difference(one, other, low, high)
    raise apart(f"{one.name} and {other.name} tell two histories: they differ from position {position} on", position)


async def first_difference(one: Source, other: Source, low: int, high: int) -> int:
    """Find the first position at which two sources, which differ at `high`, hold different events."""
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if await alike(one, other, middle) else (low, middle)
    return low


async def alike(one: Source, other: Source, position: int) -> bool:
    """Say whether two sources hold the same event at a position: then all before it is the same too."""
    hashes = []
    for source in (one, other):
        event = await event_at(source, position)
        if event is None:
            raise Damaged(position, f"the event is missing in {source.name}")
        hashes.append(event[2])
    return hashes[0] == hashes[1]
