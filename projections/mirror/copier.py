"""Copies a log into its stream from where the stream ends, as far as the two agree."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.chain import genesis, link
from ledger.domain.events import RestoreFenced
from ledger.ports import Record, Store
from projections.mirror.comparison import Comparison, Verdict, compare
from projections.mirror.stream import EMPTY, Later, Stream, StreamFault, Tail

__all__ = ["Copier", "Read"]

EVENTS = 500  # in one append
BYTES = 1 << 20
FENCE = RestoreFenced.__name__


class Read(Protocol):
    def __call__(self, *, after: int, limit: int) -> Awaitable[Sequence[Record]]:
        """Read committed events of the log."""


@dataclass(slots=True)
class Copier:
    """`cursor` is the last event that the stream is known to hold; `retention` is how many an empty one begins with.

    `head` is where the log ended when it was compared, in the generation of the stream. A fence behind that begins
    another generation, whose stream takes it, and all that follows.
    """

    store: Store
    stream: Stream
    read: Read
    retention: int = 0
    cursor: Tail = EMPTY
    head: int = 0
    _begins: bool = False
    _read: Sequence[Record] = ()

    async def compare(self) -> Comparison:
        """Find out where to go on; when the comparison forbids it, nothing is changed."""
        found, self._read = await compare(self.stream, self.store), ()
        self.head = found.head.position
        if found.verdict is Verdict.EMPTIED:
            await self.stream.delete()  # its old ids would not let it be filled again
        if found.verdict in (Verdict.EMPTY, Verdict.EMPTIED):
            self.cursor, self._begins = await self._floor(found.head.position), True
        elif found.verdict is Verdict.FOLLOWS:
            self.cursor, self._begins = found.tail, False
        return found

    async def copy(self) -> bool:
        """Append the events that follow, as many as one append takes.

        False when the stream is not as it was left, or is not the one that takes what follows.
        """
        if not self._read or self._read[0].position != self.cursor.position + 1:
            read = await self.read(after=self.cursor.position, limit=EVENTS)
            await self._check(read)
            self._read = self._of_generation(read)
            if read and not self._read:
                return False
        records, self._read = _divided(self._read)
        if not records:
            return True
        if not await self.stream.append(records, self.cursor.hash, begin=self._begins):
            return False
        self.cursor, self._begins = Tail(records[-1].position, records[-1].hash), False
        return True

    async def _check(self, records: Sequence[Record]) -> None:
        """Copy nothing of a log that was damaged: the stream may be the last whole copy."""
        previous = self.cursor.hash or genesis((await self.store.head()).ledger_id)
        for position, record in enumerate(records, self.cursor.position + 1):
            if record.position != position or link(previous, record.body) != record.hash:
                raise StreamFault(
                    f"the log is damaged at position {position}: it is missing there, or does not chain; run "
                    "`numbering doctor`, and restore the ledger"
                )
            previous = record.hash

    def _of_generation(self, records: Sequence[Record]) -> Sequence[Record]:
        """Give those in front of the first fence that was made since the comparison."""
        for index, record in enumerate(records):
            if record.type == FENCE and record.position > self.head:
                return records[:index]
        return records

    async def probe(self) -> Tail | None:
        """Ask as a newcomer would, and give the tail; None when the stream is not as it was left, or no longer in use.

        One that was flushed, restored from an old dump or is full shows only so.
        """
        tail = await self.stream.probe()
        if await self.stream.later() is not Later.NONE:
            return None
        goes_on = tail.position > self.cursor.position
        is_as_left = tail.position == 0 if self._begins else goes_on or tail.is_at(self.cursor)
        return tail if is_as_left else None

    def is_signed(self, tail: Tail) -> bool:
        """Say whether a tail counts by itself; without a key, each does."""
        authenticator = self.stream.authenticator
        return authenticator is None or authenticator.is_valid(*tail)

    async def _floor(self, head: int) -> Tail:
        position = head - self.retention
        if not self.retention or position <= 0:
            return EMPTY
        record = (await self.store.events(after=position - 1, limit=1))[0]
        return Tail(record.position, record.hash)


def _divided(records: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Record]]:
    """Give as many of the records as one append may hold, at least one, and the rest."""
    size = 0
    for count, record in enumerate(records):
        size += len(record.body)
        if count and size > BYTES:
            return records[:count], records[count:]
    return records, ()
