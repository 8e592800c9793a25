"""A Redis that fails in every way that a real one does, around one `MemoryEntries`, and each process's line to it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import TypeVar

from ledger.ports import Record
from projections.mirror.memory import MemoryEntries, MemoryStream
from projections.mirror.stream import Entry, Overview, StreamFault, Tail
from tests.simulation.scripted import simulated_now

__all__ = ["FaultyStream", "MirrorServer"]

ANSWER_SECONDS = 1.0
MAX_DELAY_SECONDS = 0.02

T = TypeVar("T")


class MirrorServer:
    """The server: what it holds, whether it is there, and what it has held before."""

    def __init__(self, random: Random, seen: Counter[str]) -> None:
        self.held = MemoryEntries(simulated_now)
        self.random = random
        self.seen = seen
        self.failing = 0.0
        self.is_away = False
        self._dump: list[Entry] = []

    def connect(self, *_: object) -> "FaultyStream":
        return FaultyStream(self)

    def draw_weather(self) -> None:
        self.failing = self.random.choice([0.0, 0.02, 0.2])

    def heal(self) -> None:
        self.is_away, self.failing = False, 0.0

    def harm(self) -> None:
        """Go away, come back, lose everything, or come back as it was."""
        match self.random.randrange(4):
            case 0:
                self.is_away = not self.is_away
                self.seen["mirror away" if self.is_away else "mirror back"] += 1
            case 1:
                self._hold([])
                self.seen["mirror flushed"] += 1
            case 2:
                self._dump = list(self.held.entries)
            case _:
                self._hold(self._dump)
                self.seen["mirror restored from a dump"] += 1

    def _hold(self, entries: list[Entry]) -> None:
        self.held.entries = list(entries)
        self.held.last = entries[-1].position if entries else 0


class FaultyStream:
    """A line to the server on which a question, or the answer to it, may be lost."""

    def __init__(self, server: MirrorServer) -> None:
        self._server = server
        self._stream = MemoryStream(server.held)

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

    async def trim(self, floor: int) -> int:
        return await self._asked(lambda: self._stream.trim(floor))

    async def overview(self) -> Overview:
        return await self._asked(self._stream.overview)

    async def is_superseded(self) -> bool:
        return await self._asked(self._stream.is_superseded)

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
