"""Where the events of a ledger are kept, each read in the same way: database, mirror, archive, or several of them.

A source gives events as it holds them, and raises `Damaged` for what it can see itself to be wrong. Whether they chain
is for `chain` to say, through which all that is read passes: a source is never trusted.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ledger.chain import genesis
from ledger.domain.rejection import Code, Rejection
from ledger.ports import Head, Record
from ledger.stores import SqlStore
from projections.mirror.stream import Stream, StreamFault

__all__ = ["Damaged", "DatabaseSource", "Extent", "Source", "Stored", "StreamSource", "apart", "event_at"]

# An event as every source keeps it: its position, the canonical bytes, and the hash that chains them. A plain tuple,
# because millions of them are made.
Stored = tuple[int, bytes, bytes]

# Longer than any transaction that has its time from the database and is not committed yet: an event of it is recorded
# before `now`, and nobody sees it. The writer's own deadline is a minute at most.
IN_FLIGHT_MICROSECONDS = 60_000_000

CHUNK = 2_000  # events read at a time from a database
ENTRIES = 500  # and from a stream: an answer of Redis's has a second


class Damaged(Rejection):
    """A source does not hold what it must; `position` is the first event of which that is known, `what` says it."""

    def __init__(self, position: int, what: str) -> None:
        super().__init__(Code.LOG_DAMAGED, f"position {position}: {what}", members={"position": position})
        self.position = position
        self.what = what


def apart(detail: str, position: int | None = None) -> Rejection:
    """Say that two histories do not belong together, from a position on if one is known."""
    return Rejection(Code.HISTORIES_DIFFER, detail, members=None if position is None else {"position": position})


@dataclass(frozen=True, slots=True)
class Extent:
    """What a source holds of a ledger: the events `first` to `last`, the last with its hash.

    It holds none when `last` is 0; then the hash is the one that stands before the first event. Every event recorded
    up to the instant `complete_until` is among them (microseconds since 1970 UTC); None when it has never been compared
    with the head of the log, and then only what is recorded before its last event is known to be.
    """

    ledger_id: str
    first: int
    last: int
    hash: bytes
    complete_until: int | None = field(default=None, compare=False)

    @classmethod
    def none(cls, ledger_id: str) -> "Extent":
        return cls(ledger_id, 1, 0, genesis(ledger_id))


class Source(Protocol):
    """`name` is what an operator calls it; `is_primary` says that this is the ledger's own log and no copy of it."""

    name: str
    is_primary: bool

    async def extent(self) -> Extent:
        """Say what it holds now."""

    def events(self, *, after: int, to: int) -> AsyncIterator[Sequence[Stored]]:
        """Read events behind a position up to another, in order, some at a time; they end early where it ends."""


class DatabaseSource:
    """The log in a database."""

    is_primary = True

    def __init__(self, store: SqlStore, name: str = "the database") -> None:
        self.name = name
        self.store = store

    async def extent(self) -> Extent:
        now = await self.store.now()
        head = await self.store.head()
        return Extent(head.ledger_id, 1, head.position, head.hash, _complete_until(head, now))

    async def events(self, *, after: int, to: int) -> AsyncIterator[Sequence[Stored]]:
        async for rows in self.rows(after=after, to=to):
            yield [(row.position, row.body, row.hash) for row in rows]

    async def rows(self, *, after: int, to: int) -> AsyncIterator[Sequence[Record]]:
        """Read the same with all their columns."""
        while after < to:
            rows = await self.store.events(after=after, limit=min(CHUNK, to - after))
            if not rows:
                return
            yield [row for row in rows if row.position <= to]
            after = rows[-1].position


def _complete_until(head: Head, now: int) -> int | None:
    """Say up to when a database holds every event, by its head, and its clock as it was read before that.

    What is not committed yet is recorded after the head, unless the clock stood still or went back. A ledger that is
    stopped may have lost its end, may go on elsewhere, or may be a copy.
    """
    if head.is_stopped or now <= head.recorded_at:
        return None
    return max(head.recorded_at, now - IN_FLIGHT_MICROSECONDS)


class StreamSource:
    """The mirror; it may begin behind the first event, because it keeps so many events only."""

    is_primary = False

    def __init__(self, stream: Stream, ledger_id: str, name: str = "the mirror") -> None:
        self.name = name
        self._stream = stream
        self._ledger_id = ledger_id

    async def extent(self) -> Extent:
        # The first one first: a stream only grows at its end, but may be trimmed beyond an end that was read before.
        first = await self._stream.entries(after=0, limit=1)
        tail = await self._stream.tail()
        if not first or first[0].position > tail.position:  # one that was begun meanwhile is as good as empty
            return Extent.none(self._ledger_id)
        if not tail.hash:
            raise Damaged(tail.position, f"{self.name} has lost its last event")
        return Extent(self._ledger_id, first[0].position, tail.position, tail.hash)

    async def events(self, *, after: int, to: int) -> AsyncIterator[Sequence[Stored]]:
        limit = ENTRIES
        while after < to:
            try:
                entries = await self._stream.entries(after=after, limit=min(limit, to - after))
            except StreamFault:
                if limit == 1:
                    raise
                limit = max(limit // 4, 1)  # they may be so large that the answer takes too long
                continue
            if not entries:
                return
            yield [(entry.position, entry.body, entry.hash) for entry in entries if entry.position <= to]
            after = entries[-1].position


async def event_at(source: Source, position: int) -> Stored | None:
    """Read one event; None where the source does not hold it."""
    async for events in source.events(after=position - 1, to=position):
        if events and events[0][0] == position:
            return events[0]
    return None
