"""A store whose database fails when told to, at the port: what the service does then can be seen over HTTP."""

import asyncio
from collections.abc import Callable, Sequence

from ledger.ports import Head, OutcomeUnknown, Record, Snapshot, Stop, Store, StoreFault, Transaction

__all__ = ["COMMITTING", "EVERYTHING", "WRITING", "FaultyStore"]

EVERYTHING = frozenset(
    {
        "head",
        "stops",
        "events",
        "events_at",
        "events_of_commands",
        "events_of_stream",
        "events_of_token",
        "newest_snapshot",
        "put_snapshot",
        "begin",
    }
)
WRITING = frozenset({"append"})
COMMITTING = frozenset({"commit"})


class FaultyStore:
    """`fault` is raised by each of the calls named in `at`, until `recover`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fault: StoreFault | None = None
        self.at = EVERYTHING
        self.loses_commit = False
        self.is_committed = False
        self.then: StoreFault | None = None

    def fail(self, fault: StoreFault, at: frozenset[str] = EVERYTHING) -> None:
        self.fault, self.at = fault, at

    def lose_commit(self, *, is_committed: bool, then: StoreFault | None = None) -> None:
        """Lose the answer to the next COMMIT, which got through or not; after it everything fails with `then`."""
        self.loses_commit, self.is_committed, self.then = True, is_committed, then

    def recover(self) -> None:
        self.fault = None

    def check(self, call: str) -> None:
        if self.fault is not None and call in self.at:
            raise self.fault

    async def head(self) -> Head:
        self.check("head")
        return await self._store.head()

    async def head_and_now(self) -> tuple[Head, int]:
        self.check("head")
        return await self._store.head_and_now()

    async def stops(self) -> Sequence[Stop]:
        self.check("stops")
        return await self._store.stops()

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        self.check("events")
        return await self._store.events(after=after, limit=limit)

    async def events_of_commands(self, command_ids: Sequence[bytes]) -> Sequence[Record]:
        self.check("events_of_commands")
        return await self._store.events_of_commands(command_ids)

    async def events_of_stream(self, stream: str, *, before: int, limit: int) -> Sequence[Record]:
        self.check("events_of_stream")
        return await self._store.events_of_stream(stream, before=before, limit=limit)

    async def events_at(self, positions: Sequence[int]) -> Sequence[Record]:
        self.check("events_at")
        return await self._store.events_at(positions)

    async def events_of_token(self, token: str) -> Sequence[Record]:
        self.check("events_of_token")
        return await self._store.events_of_token(token)

    async def newest_snapshot(self, fold_version: int, *, at_most: int) -> Snapshot | None:
        self.check("newest_snapshot")
        return await self._store.newest_snapshot(fold_version, at_most=at_most)

    async def put_snapshot(self, snapshot: Snapshot) -> None:
        self.check("put_snapshot")
        await self._store.put_snapshot(snapshot)

    async def begin(self) -> Transaction:
        self.check("begin")
        return FaultyTransaction(self, await self._store.begin())

    async def close(self) -> None:
        await self._store.close()


class FaultyTransaction:
    def __init__(self, store: FaultyStore, transaction: Transaction) -> None:
        self.head = transaction.head
        self.now = transaction.now
        self._store = store
        self._transaction = transaction

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        return await self._transaction.events(after=after, limit=limit)

    async def events_of_commands(self, command_ids: Sequence[bytes]) -> Sequence[Record]:
        return await self._transaction.events_of_commands(command_ids)

    async def append(self, records: Sequence[Record]) -> None:
        self._store.check("append")
        await self._transaction.append(records)

    async def stops(self) -> Sequence[Stop]:
        return await self._transaction.stops()

    async def stop(self, stop: Stop) -> bool:
        return await self._transaction.stop(stop)

    async def lift(self, is_mended: Callable[[Stop], bool]) -> Sequence[Stop]:
        return await self._transaction.lift(is_mended)

    async def commit(self) -> None:
        await asyncio.sleep(0)  # as a real COMMIT does: a writer that only tries again must not stop the loop
        store = self._store
        if store.loses_commit:
            store.loses_commit, store.fault, store.at = False, store.then, EVERYTHING
            await (self._transaction.commit() if store.is_committed else self._transaction.rollback())
            raise OutcomeUnknown("the line was cut")
        try:
            store.check("commit")
        except StoreFault:
            await self._transaction.rollback()
            raise
        await self._transaction.commit()

    async def rollback(self) -> None:
        await self._transaction.rollback()
