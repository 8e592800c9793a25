"""A ledger in memory, for tests: of users, of the writer, and under a simulated scheduler.

`MemoryLog` is the disk, and any number of `MemoryStore`s are the processes that have it open. What a transaction
does is seen by nobody before `commit`, and is then there at once.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from uuid import uuid4

from ledger import chain
from ledger.domain.rejection import Code
from ledger.ports import Head, Record, Snapshot, Stop, StoreFault
from ledger.stores.checks import check_chain
from ledger.stores.stops import after_lift, all_stops, text_of, with_stop
from ledger.system import SystemClock

__all__ = ["MemoryLog", "MemoryStore", "MemoryTransaction"]


class MemoryLog:
    """What is committed, and the lock on its head."""

    def __init__(self, ledger_id: str | None = None) -> None:
        ledger_id = ledger_id or str(uuid4())
        self.records: list[Record] = []
        self.head = Head(0, chain.genesis(ledger_id), 0, ledger_id)
        self.stops: Sequence[Stop] = ()
        self.lock = asyncio.Lock()
        self.snapshots: dict[tuple[int, int], Snapshot] = {}
        self._by_command: dict[bytes, list[Record]] = {}
        self._by_token: dict[str, list[Record]] = {}
        self._by_stream: dict[str, list[Record]] = {}

    def after(self, position: int, limit: int) -> list[Record]:
        return self.records[position : position + limit]

    def of_token(self, token: str) -> list[Record]:
        return list(self._by_token.get(token, ()))

    def of_stream(self, stream: str, before: int, limit: int) -> list[Record]:
        found = reversed(self._by_stream.get(stream, ()))
        return list(islice((record for record in found if record.position < before), limit))

    def of_command(self, command_id: bytes) -> list[Record]:
        return list(self._by_command.get(command_id, ()))

    def newest_snapshot(self, fold_version: int, at_most: int) -> Snapshot | None:
        fit = (each for each in self.snapshots if each[0] <= at_most and each[1] == fold_version)
        return self.snapshots.get(max(fit, default=(0, fold_version)))

    def put_snapshot(self, snapshot: Snapshot) -> None:
        self.snapshots.setdefault((snapshot.position, snapshot.fold_version), snapshot)

    def commit(self, records: Sequence[Record], head: Head, stops: Sequence[Stop] = ()) -> None:
        """Make all of it visible at once."""
        assert head.stops == len(stops)
        for record in records:
            self.records.append(record)
            self._by_command.setdefault(record.command_id, []).append(record)
            self._by_stream.setdefault(record.stream, []).append(record)
            if record.token is not None:
                self._by_token.setdefault(record.token, []).append(record)
        self.head, self.stops = head, stops


class MemoryStore:
    """One process's view of a log; at most one transaction at a time."""

    def __init__(
        self, log: MemoryLog, *, lock_timeout_ms: int = 5000, now: Callable[[], int] = SystemClock.now
    ) -> None:
        self._log = log
        self._deadline = lock_timeout_ms / 1000
        self._now = now
        self._transaction: MemoryTransaction | None = None

    async def head(self) -> Head:
        return self._log.head

    async def head_and_now(self) -> tuple[Head, int]:
        return self._log.head, self._now()

    async def stops(self) -> Sequence[Stop]:
        return all_stops(self._log.stops, self._log.head)

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        return self._log.after(after, limit)

    async def events_at(self, positions: Sequence[int]) -> Sequence[Record]:
        return [record for position in sorted(set(positions)) for record in self._log.after(position - 1, 1)]

    async def events_of_token(self, token: str) -> Sequence[Record]:
        return self._log.of_token(token)

    async def events_of_commands(self, command_ids: Sequence[bytes]) -> Sequence[Record]:
        return sorted(record for command_id in set(command_ids) for record in self._log.of_command(command_id))

    async def events_of_stream(self, stream: str, *, before: int, limit: int) -> Sequence[Record]:
        return self._log.of_stream(stream, before, limit)

    async def newest_snapshot(self, fold_version: int, *, at_most: int) -> Snapshot | None:
        return self._log.newest_snapshot(fold_version, at_most)

    async def put_snapshot(self, snapshot: Snapshot) -> None:
        self._log.put_snapshot(snapshot)

    async def begin(self) -> "MemoryTransaction":
        assert self._transaction is None or self._transaction.over, "one transaction at a time"
        try:
            async with asyncio.timeout(self._deadline):
                await self._log.lock.acquire()
        except TimeoutError as error:
            raise StoreFault(Code.LOCK_TIMEOUT, "the head is locked", contention=True) from error
        self._transaction = MemoryTransaction(self._log, self._now())
        return self._transaction

    async def close(self) -> None:
        if self._transaction is not None:
            await self._transaction.rollback()


class MemoryTransaction:
    """The head's lock, held, and what will be committed."""

    def __init__(self, log: MemoryLog, now: int) -> None:
        self.head = log.head
        self.now = now
        self.over = False
        self._log = log
        self._records: list[Record] = []
        self._stops = log.stops

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        assert not self.over, "the transaction is over"
        seen = self._log.after(after, limit)
        own = (record for record in self._records if record.position > after)
        return [*seen, *own][:limit]

    async def events_of_commands(self, command_ids: Sequence[bytes]) -> Sequence[Record]:
        assert not self.over, "the transaction is over"
        wanted = set(command_ids)
        seen = [record for command_id in wanted for record in self._log.of_command(command_id)]
        own = [record for record in self._records if record.command_id in wanted]
        return sorted(seen + own)

    async def append(self, records: Sequence[Record]) -> None:
        assert not self.over, "the transaction is over"
        if not records:
            return
        check_chain(self.head, records)
        self._refuse_duplicates(records)
        self._records.extend(records)
        last = records[-1]
        self.head = self.head._replace(position=last.position, hash=last.hash, recorded_at=last.recorded_at)

    async def stops(self) -> Sequence[Stop]:
        assert not self.over, "the transaction is over"
        return all_stops(self._stops, self.head)

    async def stop(self, stop: Stop) -> bool:
        head, after = self.head, with_stop(self._stops, self.head.stopped, stop._replace(stopped_at=self.now))
        self._note(after, text_of(after))
        return self.head != head

    async def lift(self, is_mended: Callable[[Stop], bool]) -> Sequence[Stop]:
        self._note(*after_lift(self._stops, self.head.stopped, is_mended, self.now))
        return all_stops(self._stops, self.head)

    def _note(self, after: Sequence[Stop], text: str | None) -> None:
        assert not self.over, "the transaction is over"
        self._stops, self.head = after, self.head._replace(stopped=text, stops=len(after))

    async def commit(self) -> None:
        assert not self.over, "the transaction is over"
        self._log.commit(self._records, self.head, self._stops)
        self._release()

    async def rollback(self) -> None:
        if not self.over:
            self._release()

    def _refuse_duplicates(self, records: Sequence[Record]) -> None:
        known = {(record.command_id, record.ordinal) for record in self._records}
        for record in records:
            stored = {event.ordinal for event in self._log.of_command(record.command_id)}
            if record.ordinal in stored or (record.command_id, record.ordinal) in known:
                raise StoreFault(Code.INTERNAL_ERROR, f"position {record.position} repeats a stored command")
            known.add((record.command_id, record.ordinal))

    def _release(self) -> None:
        self.over = True
        self._log.lock.release()
