"""A mirror in memory, for tests and under a simulated scheduler.

`MemoryEntries` is what the server holds, and any number of `MemoryStream`s are the processes that are connected to it.
"""

from collections.abc import Callable, MutableMapping, Sequence

from ledger.ports import Record
from ledger.system import SystemClock
from projections.mirror.macs import Authenticator
from projections.mirror.stream import EMPTY, LOOKED_BACK, Entry, Later, Overview, Stream, Tail

__all__ = ["MemoryEntries", "MemoryStream"]


class MemoryEntries:
    """The entries, in order, the last id that was ever given, and the server's clock."""

    def __init__(self, now: Callable[[], int] = SystemClock.now) -> None:
        self.now = now
        self.entries: list[Entry] = []
        self.last = 0

    def tail(self) -> Tail:
        if self.entries:
            return Tail(self.last, self.entries[-1].hash, self.entries[-1].mac)
        return Tail(self.last, b"") if self.last else EMPTY

    def hash_at(self, position: int) -> bytes | None:
        return next((entry.hash for entry in self.entries if entry.position == position), None)


class MemoryStream:
    """`generations` are the streams of the ledger's later generations, by their number."""

    def __init__(
        self,
        held: MemoryEntries,
        authenticator: Authenticator | None = None,
        generations: MutableMapping[int, MemoryEntries] | None = None,
    ) -> None:
        self._held = held
        self.authenticator = authenticator
        self._generations = {} if generations is None else generations

    async def tail(self) -> Tail:
        return self._held.tail()

    async def probe(self) -> Tail:
        return self._held.tail()

    async def append(self, records: Sequence[Record], previous: bytes, *, begin: bool = False) -> bool:
        held, before = self._held, records[0].position - 1
        given = {before: previous} | {record.position: record.hash for record in records}
        if not held.entries:
            if held.last or not begin:
                return False
        elif held.last > records[-1].position:
            return held.hash_at(records[-1].position) == records[-1].hash
        elif given.get(held.last) != held.entries[-1].hash:
            return False
        new = [self._entry(each) for each in records if each.position > held.last]
        held.entries += new
        held.last = records[-1].position
        return True

    async def time(self) -> int | None:
        return self._held.now()

    async def entries(self, *, after: int, limit: int) -> Sequence[Entry]:
        return [entry for entry in self._held.entries if entry.position > after][:limit]

    async def newest(self, *, limit: int) -> Sequence[Entry]:
        return self._held.entries[: -limit - 1 : -1]

    async def trim(self, floor: int) -> int:
        kept = [entry for entry in self._held.entries if entry.position >= min(floor, self._held.last)]
        trimmed = len(self._held.entries) - len(kept)
        self._held.entries = kept
        return trimmed

    async def overview(self) -> Overview:
        entries = self._held.entries
        return Overview(len(entries), entries[0].position if entries else 0, self._held.last, ())

    async def later(self) -> Later:
        if not self._generations:
            return Later.NONE
        return Later.GENUINE if any(map(self._is_genuine, self._generations)) else Later.FOREIGN

    async def drop_foreign(self) -> None:
        for generation in [each for each in self._generations if not self._is_genuine(each)]:
            del self._generations[generation]

    async def delete(self) -> None:
        self._held.entries, self._held.last = [], 0

    def beside(self) -> "MemoryStream":
        return MemoryStream(MemoryEntries(), self.authenticator)

    async def put_in_place(self, other: Stream) -> None:
        assert isinstance(other, MemoryStream)
        self._held.entries, self._held.last = other._held.entries, other._held.last

    async def close(self) -> None:
        pass

    def _entry(self, record: Record) -> Entry:
        mac = self.authenticator.mac(record.position, record.hash) if self.authenticator else b""
        return Entry(record.position, record.body, record.hash, mac)

    def _is_genuine(self, generation: int) -> bool:
        if self.authenticator is None:
            return True
        authenticator, entries = self.authenticator.of(generation), self._generations[generation].entries
        return any(authenticator.is_valid(each.position, each.hash, each.mac) for each in entries[-LOOKED_BACK:])
