"""A database that fails in every way that a real one does, around one `MemoryLog`, and each process's line to it.

What is on the log is decided here and nowhere else: a process that is cancelled, cut off or crashed has no part in
whether its COMMIT takes effect. Faults are drawn from the seed at every call and `seen` counts what has happened, so
that a run can show that it came through the states it is for.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import Any

from ledger.domain.rejection import Code
from ledger.ports import Head, OutcomeUnknown, Record, Snapshot, Stop, StoreFault
from ledger.stores.memory import MemoryLog, MemoryStore, MemoryTransaction

__all__ = ["CALM", "EPOCH", "OUTAGES", "SECOND", "Database", "FaultyStore", "Outage", "Weather"]

SECOND = 1_000_000  # microseconds
EPOCH = 1_750_000_000 * SECOND  # when the simulation begins: 2025-06-15, far from midnight in UTC
DEADLINE_SECONDS = 2.0  # of every call, as a real store has one
LOCK_TIMEOUT_MS = 1500
LIMBO_SECONDS = 3.0  # how long the server may go on with a COMMIT, or with a dead client's transaction


@dataclass(frozen=True, slots=True)
class Weather:
    """How likely each fault is at each call. `hangs` are answers that never come within the deadline.

    Of COMMIT: `lost_before` and `lost_after` its effect is the answer, `limbo` goes on after the connection is gone,
    `refused` is a clear answer that nothing happened.
    """

    slow: float = 0.0
    hangs: float = 0.0
    contention: float = 0.0
    lost: float = 0.0
    killed: float = 0.0
    lost_before: float = 0.0
    lost_after: float = 0.0
    limbo: float = 0.0
    refused: float = 0.0
    crash: float = 0.0

    @classmethod
    def draw(cls, random: Random) -> "Weather":
        """Leave out about half of the kinds, so that what needs many calls without them gets a chance too."""
        worst = cls(0.1, 0.01, 0.05, 0.03, 0.03, 0.1, 0.1, 0.05, 0.05, 0.006)
        scale = random.choice([0.3, 1.0, 1.0, 2.0])
        return cls(*(random.choice([0.0, scale]) * getattr(worst, field.name) for field in fields(cls)))


CALM = Weather()


@dataclass(frozen=True, slots=True)
class Outage:
    """What every call gets for a while, or every write if `writes` says so."""

    code: Code
    transient: bool
    writes: bool

    def fault(self) -> StoreFault:
        return StoreFault(self.code, f"simulated: {self.code.name}", transient=self.transient)


OUTAGES = (
    Outage(Code.DATABASE_UNAVAILABLE, transient=True, writes=False),
    Outage(Code.DATABASE_UNAVAILABLE, transient=False, writes=False),
    Outage(Code.DATABASE_READ_ONLY, transient=False, writes=True),
    Outage(Code.DATABASE_FULL, transient=False, writes=True),
)


class Database:
    """The server: its disk, its clock, whoever holds the lock, and the tasks with which it ends what it was told."""

    def __init__(self, random: Random, weather: Weather) -> None:
        self.log = MemoryLog("simulated")
        self.weather = weather
        self.outage: Outage | None = None
        self.holder: FaultyTransaction | None = None
        self.seen: Counter[str] = Counter()
        self.doubted: dict[bytes, bool] = {}  # commands whose COMMIT was not answered, and whether it took effect
        self.random = random
        self.committed: list[float] = []  # when each position became visible
        self.leap = 0.0  # by how many seconds the clock has leapt, for a moment
        self._offset = 0.0
        self._ending: list[asyncio.Task[None]] = []

    def now(self) -> int:
        return EPOCH + int((asyncio.get_running_loop().time() + self._offset + self.leap) * SECOND)

    def set_clock(self, offset_seconds: float) -> None:
        """Let the clock be wrong by so much, as clocks are."""
        back = offset_seconds < self._offset
        self._offset = offset_seconds
        self.seen["database clock stepped back" if back else "database clock jumped forward"] += 1

    def happens(self, what: str) -> bool:
        if self.random.random() >= getattr(self.weather, what):
            return False
        self.seen[what] += 1
        return True

    def break_down(self, outage: Outage) -> None:
        self.outage = outage
        self.seen[outage.code.name] += 1
        if not outage.writes:
            self.kill_holder()

    def kill_holder(self) -> None:
        """End the transaction that holds the lock, unless it is being committed: then nobody can."""
        if self.holder is not None:
            self.holder.kill()

    def heal(self) -> None:
        self.outage = None
        self.weather = CALM

    def swap(self, records: Sequence[Record], *stops: Stop, **head: Any) -> None:
        """Put another disk in the place of this one, which ends every connection."""
        self.kill_holder()
        other = MemoryLog(self.log.head.ledger_id)
        other.snapshots = self.log.snapshots  # the worst of what may be left of another history
        last = records[-1]
        known = other.head._replace(position=last.position, hash=last.hash, recorded_at=last.recorded_at)
        other.commit(records, known._replace(stops=len(stops), **head), stops)
        self.log = other

    def serve(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something that no client can stop any more."""
        self._ending.append(asyncio.get_running_loop().create_task(work, name="database"))
        return self._ending[-1]

    def doubt(self, records: Sequence[Record], *, took_effect: bool) -> None:
        self.doubted.update(dict.fromkeys((record.command_id for record in records), took_effect))

    async def settled(self) -> None:
        """Wait until nothing that was told to the server is still to be done."""
        while any(not task.done() for task in self._ending):
            await asyncio.wait(self._ending)

    def limbo_seconds(self) -> float:
        return self.random.choice([0.0, self.random.uniform(0.0, LIMBO_SECONDS)])


class FaultyStore:
    """One process's line to the database. `crash` is called where the process is to die."""

    def __init__(self, database: Database, crash: Callable[[], None] = lambda: None) -> None:
        self.database = database
        self.dead = False
        self._crash = crash
        self._transaction: FaultyTransaction | None = None

    async def head(self) -> Head:
        await self.travel()
        head = self.database.log.head
        await self.travel()
        return head

    async def head_and_now(self) -> tuple[Head, int]:
        await self.travel()
        seen = self.database.log.head, self.database.now()
        await self.travel()
        return seen

    async def stops(self) -> Sequence[Stop]:
        await self.travel()
        stops = await MemoryStore(self.database.log).stops()
        await self.travel()
        return stops

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        await self.travel()
        records = self.database.log.after(after, limit)
        await self.travel()
        return records

    async def events_of_commands(self, command_ids: Sequence[bytes]) -> Sequence[Record]:
        await self.travel()
        records = [record for command_id in command_ids for record in self.database.log.of_command(command_id)]
        await self.travel()
        return sorted(records)

    async def events_of_stream(self, stream: str, *, before: int, limit: int) -> Sequence[Record]:
        await self.travel()
        records = self.database.log.of_stream(stream, before, limit)
        await self.travel()
        return records

    async def events_at(self, positions: Sequence[int]) -> Sequence[Record]:
        await self.travel()
        records = await MemoryStore(self.database.log).events_at(positions)
        await self.travel()
        return records

    async def events_of_token(self, token: str) -> Sequence[Record]:
        await self.travel()
        records = self.database.log.of_token(token)
        await self.travel()
        return records

    async def newest_snapshot(self, fold_version: int, *, at_most: int) -> Snapshot | None:
        await self.travel()
        snapshot = self.database.log.newest_snapshot(fold_version, at_most)
        await self.travel()
        return snapshot

    async def put_snapshot(self, snapshot: Snapshot) -> None:
        await self.travel(writes=True)
        self.database.log.put_snapshot(snapshot)
        self.database.seen["snapshot written"] += 1
        await self.travel()

    async def begin(self) -> "FaultyTransaction":
        assert self._transaction is None or self._transaction.over, "one transaction at a time"
        database = self.database
        await self.travel()
        if database.happens("contention"):
            raise _contention()
        log = database.log
        inner = await MemoryStore(log, lock_timeout_ms=LOCK_TIMEOUT_MS, now=database.now).begin()
        self._transaction = FaultyTransaction(self, inner)
        if log is not database.log:  # another disk was put in its place while we waited for the lock
            self._transaction.kill()
        return await self._transaction.granted()

    @property
    def phase(self) -> str:
        return self._transaction.phase if self._transaction else "between transactions"

    async def close(self) -> None:
        assert self._transaction is None or self._transaction.over, "closed in the middle of a transaction"

    async def travel(self, *, writes: bool = False) -> None:
        """Go one way over the network, which takes its time and may fail or see the process die."""
        database = self.database
        if not self.dead and database.happens("crash"):
            self._crash()
        await self._delay()
        if self.dead:
            raise StoreFault(Code.DATABASE_UNAVAILABLE, "simulated: the process is dead", transient=True)
        outage = database.outage
        if outage is not None and (writes or not outage.writes):
            raise outage.fault()
        if database.happens("lost"):
            raise StoreFault(Code.DATABASE_UNAVAILABLE, "simulated: connection lost", transient=True)

    async def _delay(self) -> None:
        database = self.database
        if database.happens("hangs"):
            await asyncio.sleep(DEADLINE_SECONDS)
            raise StoreFault(Code.DATABASE_UNAVAILABLE, "simulated: no answer", transient=True)
        seconds = database.random.choice([0.0, 0.0, 0.001, database.random.uniform(0.0, 0.02)])
        if database.happens("slow"):
            seconds = database.random.uniform(0.0, DEADLINE_SECONDS)
        await asyncio.sleep(seconds)


class FaultyTransaction:
    """The lock, held by a process that may be slow, cut off or dead, and that the server may throw out."""

    def __init__(self, store: FaultyStore, inner: MemoryTransaction) -> None:
        self.head = inner.head
        self.now = inner.now
        self.over = False
        self._store = store
        self._database = store.database
        self._inner = inner
        self._killed = False
        self._committing = False
        self._appended: list[Record] = []
        self._database.holder = self

    @property
    def phase(self) -> str:
        """What a crash would interrupt now."""
        if self._committing:
            return "during COMMIT"
        return "between transactions" if self.over else "while holding the lock"

    async def granted(self) -> "FaultyTransaction":
        """Bring the news of the lock to the process; if it is lost on the way, so is the lock."""
        try:
            await self._travel()
        except BaseException:
            self._abandon()
            raise
        return self

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        await self._travel()
        records = await self._inner.events(after=after, limit=limit)
        await self._travel()
        return records

    async def events_of_commands(self, command_ids: Sequence[bytes]) -> Sequence[Record]:
        await self._travel()
        records = await self._inner.events_of_commands(command_ids)
        await self._travel()
        return records

    async def append(self, records: Sequence[Record]) -> None:
        await self._travel(writes=True)
        if self._database.happens("contention"):
            raise _contention()
        expected = max(self.now, self.head.recorded_at)
        assert all(record.recorded_at == expected for record in records), "not at the database's time"
        await self._inner.append(records)
        self._appended += records
        self.head = self._inner.head
        await self._travel()

    async def stops(self) -> Sequence[Stop]:
        await self._travel()
        stops = await self._inner.stops()
        await self._travel()
        return stops

    async def stop(self, stop: Stop) -> bool:
        await self._travel(writes=True)
        is_new = await self._inner.stop(stop)
        self.head = self._inner.head
        await self._travel()
        return is_new

    async def lift(self, is_mended: Callable[[Stop], bool]) -> Sequence[Stop]:
        await self._travel(writes=True)
        left = await self._inner.lift(is_mended)
        self.head = self._inner.head
        await self._travel()
        return left

    async def commit(self) -> None:
        assert not self.over, "the transaction is over"
        self.over = True
        if self._killed:
            raise OutcomeUnknown("simulated: the connection was gone at COMMIT")
        database = self._database
        database.holder = None
        if database.happens("refused"):
            await self._refuse()
        in_limbo = database.happens("limbo")
        lost_before = database.happens("lost_before") or database.outage is not None
        takes_effect = not lost_before and not (in_limbo and database.random.random() < 0.5)
        done = database.serve(self._finish(takes_effect, database.limbo_seconds() if in_limbo else 0.0))
        lost = in_limbo or lost_before or database.happens("lost_after")
        try:
            await self._answered(done, lost=lost, waits=not in_limbo)
        except OutcomeUnknown:
            database.doubt(self._appended, took_effect=takes_effect)
            raise

    async def rollback(self) -> None:
        if self.over:
            return
        self.over = True
        try:
            await self._store.travel()
        except StoreFault:
            self._abandon()
        except BaseException:
            self._abandon()
            raise
        else:
            self._end()

    def kill(self) -> None:
        """Throw the process out of its lock, without telling it."""
        if not self._killed:
            self._database.seen["lock lost while held"] += 1
            self._end()

    async def _travel(self, *, writes: bool = False) -> None:
        assert not self.over, "the transaction is over"
        if self._database.happens("killed"):
            self.kill()
        await self._store.travel(writes=writes)
        if self._killed:
            raise StoreFault(Code.DATABASE_UNAVAILABLE, "simulated: connection was killed", transient=True)

    async def _refuse(self) -> None:
        """Say clearly that nothing was committed: Galera's conflict, or SQLite's full disk."""
        await self._inner.rollback()
        if self._database.random.random() < 0.5:
            raise _contention()
        raise StoreFault(Code.DATABASE_FULL, "simulated: full at COMMIT")

    async def _answered(self, done: asyncio.Task[None], *, lost: bool, waits: bool) -> None:
        """Bring the answer of COMMIT; from here on nothing that happens to the process changes what it was."""
        self._committing = True
        try:
            if waits:
                await asyncio.wait([done])
            await self._store.travel()
        except StoreFault as fault:
            raise OutcomeUnknown("simulated: the answer to COMMIT was lost") from fault
        finally:
            self._committing = False
        if lost:
            raise OutcomeUnknown("simulated: the answer to COMMIT was lost")

    async def _finish(self, takes_effect: bool, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._database.seen["COMMIT took effect" if takes_effect else "COMMIT was undone"] += 1
        if takes_effect:
            await self._inner.commit()
            self._database.committed += [asyncio.get_running_loop().time()] * len(self._appended)
        else:
            await self._inner.rollback()

    def _abandon(self) -> None:
        """The process is gone: the server notices sooner or later, and until then the lock is held by nobody."""
        self.over = True
        if not self._killed:
            _ = self._database.serve(self._time_out(self._database.limbo_seconds()))

    async def _time_out(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._end()

    def _end(self) -> None:
        """Undo everything and give up the lock, whatever the process still believes."""
        self._killed = True
        _ = self._database.serve(self._inner.rollback())


def _contention() -> StoreFault:
    return StoreFault(Code.LOCK_TIMEOUT, "simulated: deadlock", contention=True)
