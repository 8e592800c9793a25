"""The check that all events pass which are read from anywhere: dense, and each chained to the one before."""

from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import sha256

from ledger.chain import genesis
from replay.sources import Damaged, Extent, Source, Stored, event_at

__all__ = ["Chain", "Progress", "check_end", "checked"]

Progress = Callable[[int, int], None]  # up to which position, and where it ends


class Chain:
    """How far a history was followed: `position`, and the hash that the next event must chain from."""

    def __init__(self, position: int, hash: bytes) -> None:
        self.position = position
        self.hash = hash

    @classmethod
    def of(cls, ledger_id: str) -> "Chain":
        """Begin before the first event."""
        return cls(0, genesis(ledger_id))

    @classmethod
    async def at(cls, source: Source, extent: Extent) -> "Chain":
        """Begin where a source does; that its first event is rightly there, only another source can tell."""
        if extent.first == 1:
            return cls.of(extent.ledger_id)
        first = await event_at(source, extent.first)
        if first is None:
            raise Damaged(extent.first, f"the event, with which {source.name} began, is missing")
        return cls(extent.first, first[2])

    def follow(self, events: Sequence[Stored]) -> None:
        """Go on over events; Damaged at the first that does not follow."""
        position, previous = self.position, self.hash
        for at, body, hash in events:
            position += 1
            # What `ledger.chain.link` does, without a call for each of millions.
            if at != position or sha256(previous + body).digest() != hash:
                raise _damage(position, at, body)
            previous = hash
        if events:
            self.check_told(*events[-1][:2])
        self.position, self.hash = position, previous

    @staticmethod
    def check_told(position: int, body: bytes) -> None:
        """Hold the position that a body tells against its place: in a dense chain one of many tells of all.

        Quotes inside a string are escaped, and no field within the data has this name.
        """
        if b'"position":%d,' % position not in body:
            raise Damaged(position, "the event says of itself that it stands at another position")


def _damage(expected: int, at: int, body: bytes) -> Damaged:
    if at > expected:
        return Damaged(expected, f"the event is missing: the log goes on at {at}")
    if at < expected:
        return Damaged(expected, f"the event of position {at} stands here once more")
    if b'"position":%d,' % at not in body:
        return Damaged(at, "the event says of itself that it stands at another position")
    return Damaged(at, "the event does not chain from the one before it: one of the two was changed")


async def checked(
    source: Source, extent: Extent, chain: Chain, progress: Progress = lambda done, of: None
) -> AsyncIterator[Sequence[Stored]]:
    """Read what a source holds behind `chain`, up to the end that `extent` gives, and check it on the way."""
    async for events in source.events(after=chain.position, to=extent.last):
        chain.follow(events)
        yield events
        progress(chain.position, extent.last)
    check_end(source, extent, chain.position, chain.hash)


def check_end(source: Source, extent: Extent, position: int, hash: bytes) -> None:
    """See that what was read of a source goes up to the end that it had named; Damaged when not."""
    if position < extent.last:
        raise Damaged(position + 1, f"the event is missing: {source.name} should go on to {extent.last}")
    if hash != extent.hash:
        raise Damaged(extent.last, f"the last event of {source.name} is not the one that its end names")
