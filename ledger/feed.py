"""The end of the log, as this process has seen it, for those who follow the log beside the writer.

The writer puts here what it has committed, and what it has folded of others, so that a mirror, a projection or a reader
of the live log need not read back from the database what was just sent to it. What is no longer held is read there.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from ledger import codec
from ledger.codec import Entry
from ledger.ports import Record, Store

__all__ = ["Feed"]

MAX_EVENTS = 4_000
MAX_BYTES = 32 << 20


class Feed:
    """The newest events in memory, at most about `max_events` or `max_bytes` of them, in front of the store."""

    def __init__(self, store: Store, *, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._store = store
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._records: list[Record] = []
        self._entries: list[Entry | None] = []
        self._bytes = 0
        self._waiting: dict[asyncio.Future[None], None] = {}  # woken in the order in which they came
        self.position = 0

    def begin(self, position: int) -> None:
        """Stand behind a position without the events up to it, which were folded from a snapshot."""
        assert not self._records, "begun already"
        self.position = position
        self._wake()

    def put(self, records: Sequence[Record], entries: Sequence[Entry] = ()) -> None:
        """Take events that were committed and follow the last ones, with what they say if that is known."""
        if not records:
            return
        self._records += records
        self._entries += entries or [None] * len(records)
        self._bytes += sum(len(record.body) for record in records)
        self.position = records[-1].position
        # Dropping half at once keeps the cost of a drop in proportion to what was put.
        while self._records and (len(self._records) > self._max_events or self._bytes > self._max_bytes):
            self._drop(len(self._records) // 2 + 1)
        self._wake()

    async def read(self, *, after: int, limit: int) -> Sequence[Record]:
        """Read up to `limit` committed events behind a position, in order, from memory if they are there."""
        return self.held(after=after, limit=limit) or await self._store.events(after=after, limit=limit)

    def held(self, *, after: int, limit: int) -> Sequence[Record]:
        """Give what memory has of them: nothing when the first of them is not there."""
        first = self.position - len(self._records) + 1
        return self._records[after + 1 - first :][:limit] if after + 1 >= first else ()

    def decoded(self, record: Record) -> Entry:
        """Give what an event says; UnknownEvent for a type or version that is not known."""
        place = record.position - self.position - 1  # from the end back
        known = None
        if -len(self._records) <= place < 0 and self._records[place] is record:
            known = self._entries[place]
        return known or codec.decode(record)

    async def wait(self, position: int, *, seconds: float) -> bool:
        """Wait until an event behind `position` is known; False when none was within `seconds`."""
        if self.position <= position:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[future] = None
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await future
            finally:
                del self._waiting[future]
        return self.position > position

    def _drop(self, count: int) -> None:
        self._bytes -= sum(len(record.body) for record in self._records[:count])
        del self._records[:count]
        del self._entries[:count]

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
