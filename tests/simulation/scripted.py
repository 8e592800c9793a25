"""A memory store whose calls do what a test says, for tests of one thing at a time."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence

from ledger.ports import Head, OutcomeUnknown, Record, Snapshot, Stop, StoreFault
from ledger.stores.memory import MemoryLog, MemoryStore, MemoryTransaction
from tests.simulation.database import EPOCH, SECOND

__all__ = ["ScriptedStore", "Step", "simulated_now"]

# What one call does first: fail, wait for the test, take some seconds, run something, or nothing special.
Step = BaseException | asyncio.Event | float | Callable[[], Awaitable[None]] | None


def simulated_now() -> int:
    return EPOCH + int(asyncio.get_running_loop().time() * SECOND)


class ScriptedStore:
    """`steps` names for each call what it does the next times, `always` what it does after those.

    A failing step fails before the call has had any effect, but for `answer`, which is COMMIT's: it has.
    """

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.steps: defaultdict[str, list[Step]] = defaultdict(list)
        self.always: dict[str, Step] = {}
        self.calls: Counter[str] = Counter()
        self.batches: list[int] = []
        self.wrong_by = 0.0  # seconds, of the database's clock

    def now(self) -> int:
        return simulated_now() + int(self.wrong_by * SECOND)

    async def step(self, name: str) -> None:
        self.calls[name] += 1
        step = self.steps[name].pop(0) if self.steps[name] else self.always.get(name)
        match step:
            case BaseException():
                raise step
            case asyncio.Event():
                await step.wait()
            case None | float():
                await asyncio.sleep(step or 0.0)
            case run:
                await run()

    async def head(self) -> Head:
        await self.step("head")
        return self.log.head

    async def head_and_now(self) -> tuple[Head, int]:
        return await self.head(), self.now()

    async def stops(self) -> Sequence[Stop]:
        await self.step("stops")
        return await MemoryStore(self.log).stops()

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        await self.step("events")
        return self.log.after(after, limit)

    async def events_of_commands(self, command_ids: Sequence[bytes]) -> Sequence[Record]:
        await self.step("commands")
        return sorted(record for command_id in command_ids for record in self.log.of_command(command_id))

    async def events_of_stream(self, stream: str, *, before: int, limit: int) -> Sequence[Record]:
        await self.step("stream")
        return self.log.of_stream(stream, before, limit)

    async def events_at(self, positions: Sequence[int]) -> Sequence[Record]:
        await self.step("at")
        return await MemoryStore(self.log).events_at(positions)

    async def events_of_token(self, token: str) -> Sequence[Record]:
        await self.step("token")
        return self.log.of_token(token)

    async def newest_snapshot(self, fold_version: int, *, at_most: int) -> Snapshot | None:
        await self.step("newest snapshot")
        return self.log.newest_snapshot(fold_version, at_most)

    async def put_snapshot(self, snapshot: Snapshot) -> None:
        await self.step("put snapshot")
        self.log.put_snapshot(snapshot)

    async def begin(self) -> "ScriptedTransaction":
        await self.step("begin")
        return ScriptedTransaction(self, await MemoryStore(self.log, now=self.now).begin())

    async def close(self) -> None:
        await self.step("close")


class ScriptedTransaction:
    def __init__(self, store: ScriptedStore, inner: MemoryTransaction) -> None:
        self.head = inner.head
        self.now = inner.now
        self._store = store
        self._inner = inner
        self._size = 0

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        await self._store.step("events under lock")
        return await self._inner.events(after=after, limit=limit)

    async def events_of_commands(self, command_ids: Sequence[bytes]) -> Sequence[Record]:
        await self._store.step("lookup")
        return await self._inner.events_of_commands(command_ids)

    async def append(self, records: Sequence[Record]) -> None:
        await self._store.step("append")
        await self._inner.append(records)
        self._size += len(records)

    async def stops(self) -> Sequence[Stop]:
        await self._store.step("stops under lock")
        return await self._inner.stops()

    async def stop(self, stop: Stop) -> bool:
        await self._store.step("stop")
        return await self._inner.stop(stop)

    async def lift(self, is_mended: Callable[[Stop], bool]) -> Sequence[Stop]:
        await self._store.step("lift")
        return await self._inner.lift(is_mended)

    async def commit(self) -> None:
        try:
            await self._store.step("commit")
        except (OutcomeUnknown, StoreFault):
            await self._inner.rollback()
            raise
        await self._inner.commit()
        self._store.batches.append(self._size)
        await self._store.step("answer")

    async def rollback(self) -> None:
        await self._inner.rollback()
