"""A Redis that fails in every way that a real one does, around one `MemoryEntries`, and each process's line to it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from random import Random
from typing import TypeVar

from ledger.chain import link
from ledger.ports import Record
from projections.mirror.macs import Keys
from projections.mirror.memory import MemoryEntries, MemoryStream
from projections.mirror.stream import Entry, Later, Overview, StreamFault, Tail
from tests.simulation.scripted import simulated_now

__all__ = ["FaultyStream", "MirrorServer"]

ANSWER_SECONDS = 1.0
MAX_DELAY_SECONDS = 0.02
KEYS = Keys((bytes(range(32)), bytes(range(32, 64))))
FORGED = b"forged"

T = TypeVar("T")


class HavingKeys(Enum):
    """Which of the processes have the key."""

    NONE = "no process has the key"
    SOME = "some processes have the key"
    ALL = "every process has the key"


class MirrorServer:
    """The server: what it holds, whether it is there, and what it has held before."""

    def __init__(self, random: Random, seen: Counter[str]) -> None:
        self.generations = {0: MemoryEntries(simulated_now)}
        self.random = random
        self.seen = seen
        self.failing = 0.0
        self.is_away = False
        self.keys = random.choice(list(HavingKeys))
        self.seen[f"mirror: {self.keys.value}"] += 1
        self._dump: list[Entry] = []

    @property
    def held(self) -> MemoryEntries:
        """The entries of the ledger's present generation."""
        return self.generations[max(self.generations)]

    def connect(self, ledger_id: str, generation: int, /) -> "FaultyStream":
        held = self.generations.setdefault(generation, MemoryEntries(simulated_now))
        has_key = self.keys is HavingKeys.ALL or (self.keys is HavingKeys.SOME and self.random.random() < 0.5)
        later = {number: entries for number, entries in self.generations.items() if number > generation}
        return FaultyStream(self, MemoryStream(held, KEYS.of(ledger_id, generation) if has_key else None, later))

    def draw_weather(self) -> None:
        self.failing = self.random.choice([0.0, 0.02, 0.2])

    def heal(self) -> None:
        """Let an operator, too, decide about what was forged: he drops it all."""
        self.is_away, self.failing = False, 0.0
        if self.held.entries and self.held.entries[-1].body == FORGED:
            self._hold([])

    def harm(self) -> None:
        """Go away, come back, lose everything, come back as it was, or be written to by somebody."""
        match self.random.randrange(8 if self.keys is HavingKeys.ALL else 4):
            case 0:
                self.is_away = not self.is_away
                self.seen["mirror away" if self.is_away else "mirror back"] += 1
            case 1:
                self._hold([])
                self.seen["mirror flushed"] += 1
            case 2:
                self._dump = list(self.held.entries)
            case 4 | 5 | 6 | 7 if self.held.entries:
                self._forge()
                self.seen["mirror forged"] += 1
            case _:
                self._hold(self._dump)
                self.seen["mirror restored from a dump"] += 1

    def _forge(self) -> None:
        """Append an event that chains."""
        last = self.held.entries[-1]
        self._hold([*self.held.entries, Entry(last.position + 1, FORGED, link(last.hash, FORGED))])

    def _hold(self, entries: list[Entry]) -> None:
        self.held.entries = list(entries)
        self.held.last = entries[-1].position if entries else 0


class FaultyStream:
    """A line to the server on which a question, or the answer to it, may be lost."""

    def __init__(self, server: MirrorServer, stream: MemoryStream) -> None:
        self._server = server
        self._stream = stream
        self.authenticator = stream.authenticator

    async def tail(self) -> Tail:
        return await self._asked(self._stream.tail)

    async def probe(self) -> Tail:
        return await self._asked(self._stream.probe)

    async def time(self) -> int | None:
        return await self._asked(self._stream.time)

    async def append(self, records: Sequence[Record], previous: bytes, *, begin: bool = False) -> bool:
        return await self._asked(lambda: self._stream.append(records, previous, begin=begin))

    async def entries(self, *, after: int, limit: int) -> Sequence[Entry]:
        return await self._asked(lambda: self._stream.entries(after=after, limit=limit))

    async def newest(self, *, limit: int) -> Sequence[Entry]:
        return await self._asked(lambda: self._stream.newest(limit=limit))

    async def trim(self, floor: int) -> int:
        return await self._asked(lambda: self._stream.trim(floor))

    async def overview(self) -> Overview:
        return await self._asked(self._stream.overview)

    async def later(self) -> Later:
        return await self._asked(self._stream.later)

    async def drop_foreign(self) -> None:
        await self._asked(self._stream.drop_foreign)

    async def delete(self) -> None:
        await self._asked(self._stream.delete)

    def beside(self) -> "FaultyStream":
        raise NotImplementedError

    async def put_in_place(self, other: object) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        pass

    async def _asked(self, question: Callable[[], Awaitable[T]]) -> T:
        server, random = self._server, self._server.random
        await asyncio.sleep(random.uniform(0, MAX_DELAY_SECONDS))
        if server.is_away or random.random() < server.failing:
            await self._lost("asked")
        answer = await question()
        if random.random() < server.failing:
            await self._lost("answered")
        return answer

    async def _lost(self, what: str) -> None:
        self._server.seen[f"mirror lost what was {what}"] += 1
        await asyncio.sleep(self._server.random.choice([0.0, ANSWER_SECONDS]))
        raise StreamFault(f"simulated: lost what was {what}")
