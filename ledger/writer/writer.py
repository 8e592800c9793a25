"""The writer: one task per process, through which every command reaches the log.

While a transaction is in flight, commands gather; the next transaction takes them all. The rules that it keeps:

- an answer leaves only after COMMIT, and every answer of a batch, rejections too, is dropped when COMMIT is in doubt;
- commands are decided under the head's lock, on state folded up to that head, at the database's time;
- nothing is written by a clock that may be wrong (`ledger/domain/clocks`);
- what failed before COMMIT was sent did not happen; what is in doubt is looked up in the log by command id;
- it stops rather than write after a head that is behind it, forked from it, or marked as stopped, or while it is held;
- it marks the head as stopped only for what is true under the head's lock, and ends there what is true no more;
- a request task never touches a connection: cancelling a request cancels no COMMIT.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ledger import codec
from ledger.codec import Entry, UnknownEvent
from ledger.continuity import Seen, ended, lift_ended
from ledger.domain.clocks import TOLERANCE_SECONDS
from ledger.domain.commands import Decidable, Envelope
from ledger.domain.rejection import Code, Hint
from ledger.domain.state import State
from ledger.feed import Feed
from ledger.fold import BrokenChain, Fold
from ledger.ports import (
    NO_LEDGER,
    Clock,
    Fault,
    OutcomeUnknown,
    Record,
    Spawn,
    Stop,
    StopKind,
    Store,
    StoreFault,
    Transaction,
)
from ledger.writer.batch import Batch, entries_by_command
from ledger.writer.clocks import Clocks
from ledger.writer.follower import Follower, stopped, stopped_by
from ledger.writer.waiting import Answer, Outcome, Queue, Together, Waiting

__all__ = ["Copy", "Limits", "Writer"]

_log = logging.getLogger(__name__)

ALARM_GRACE_SECONDS = 0.1

# Compares a copy of the log with it, and returns the last event that the copy holds, if it holds any; raises a Fault
# when the two disagree, or when they cannot be compared now.
Copy = Callable[[], Awaitable[Seen | None]]

ANSWER_SHARES = 6  # about as many turns of the event loop as the next transaction's round trips take


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of the writer.

    `lock_timeout_seconds` is how long a command may wait to be drawn; `outcome_seconds` how long the log is asked
    about a COMMIT in doubt; `shutdown_seconds` how long accepted commands may take to finish;
    `clock_tolerance_seconds` how far the database's clock may be from this process's. With the largest body
    that a request can make, escaped, a batch of `batch_bytes` stays well below MariaDB's 16 MiB packet.
    """

    queue: int = 10_000
    batch: int = 512
    small_batch: int = 32
    answers_at_once: int = 4
    batch_bytes: int = 2 << 20
    lookup: int = 1024
    sweep: int = 256
    fold_under_lock: int = 1000
    fold_chunk: int = 1000
    attempts: int = 5
    lock_timeout_seconds: float = 5.0
    outcome_seconds: float = 15.0
    shutdown_seconds: float = 20.0
    idle_seconds: float = 1.0  # also between two looks at whether a stop has ended
    backoff_seconds: float = 0.05
    max_backoff_seconds: float = 1.0
    clock_tolerance_seconds: float = TOLERANCE_SECONDS


class Writer:
    """Submit commands with `submit` or `enqueue`; follow the log with `fresh`. `start` once, `stop` once.

    With `self_check`, the audit rules judge each command before it is committed. `copies` are compared before a stop is
    ended: add each mirror and archive that is configured.
    """

    def __init__(
        self, store: Store, *, clock: Clock, spawn: Spawn, limits: Limits = Limits(), self_check: bool = True
    ) -> None:
        self.feed = Feed(store)
        self.clocks = Clocks(clock, tolerance_seconds=limits.clock_tolerance_seconds)
        self.copies: list[Copy] = []
        self._store = store
        self._clock = clock
        self._spawn = spawn
        self._limits = limits
        self._self_check = self_check
        self._queue = Queue(limits.queue)
        self._wake = asyncio.Event()
        self._follower = Follower(
            store, self.feed, self.clocks, chunk=limits.fold_chunk, under_lock=limits.fold_under_lock
        )
        self._task: asyncio.Task[None] | None = None
        self._readers: list[tuple[float, asyncio.Future[State]]] = []
        self._fault: Fault | None = Fault(Code.DATABASE_UNAVAILABLE, "the service is still reading the log")
        self._fault_since = clock.monotonic()
        self._is_unreadable = True  # whether `_fault` keeps from reading too
        self._is_writing = False  # in this turn, or when the last one failed
        self._write_at = 0.0
        self._stopped: Fault | None = None
        self._may_be_mended = False
        self._held: Fault | None = None
        self._held_since = 0.0
        self._to_mark: list[tuple[Stop, int]] = []
        self._tells_break = False  # whether the head is yet to be marked for what this process found of the log itself
        self._looks_at = 0.0  # when it may look again whether a stop has ended
        self._backoff = 0.0
        self._behind = True
        self._more_due = False
        self._contentions = 0
        self._closing_at: float | None = None
        self._decided: deque[tuple[Waiting, Answer]] = deque()
        self._is_answering = False

    # What request tasks call

    async def submit(self, command: Decidable | Together, envelope: Envelope) -> Outcome:
        """Have a command carried out, once; raises its Rejection or a Fault. Cancelling the caller cancels nothing."""
        return await self.enqueue(command, envelope)

    def enqueue(self, command: Decidable | Together, envelope: Envelope) -> asyncio.Future[Outcome]:
        """Let a command wait behind all that wait already; gives its outcome later, or a Fault at once."""
        self._refuse_if_useless()
        if self._held and self._clock.monotonic() - self._held_since >= self._limits.lock_timeout_seconds:
            raise (self.fault or self._held).again()
        now = self._clock.monotonic()
        waiting = Waiting(
            command,
            envelope,
            now,
            now + self._limits.lock_timeout_seconds,
            asyncio.get_running_loop().create_future(),
        )
        self._queue.put(waiting)
        self._wake.set()
        return waiting.future

    async def fresh(self) -> State:
        """Give the state folded from all that was committed when this was called. Read it before you await."""
        self._refuse_if_useless(writes=False)
        reader: asyncio.Future[State] = asyncio.get_running_loop().create_future()
        self._readers.append((self._clock.monotonic() + self._limits.lock_timeout_seconds, reader))
        self._wake.set()
        return await reader

    @property
    def fault(self) -> Fault | None:
        """Why commands are not served now, or None when they are."""
        if self._follower.stops and not self._stopped:
            return stopped_by(self._follower.stops)
        return self._stopped or self._held or self._fault or self.clocks.fault

    @property
    def fold(self) -> Fold | None:
        """The log as this process has folded it, which may be behind; None before the log was first read."""
        return self._follower.fold

    @property
    def began_at(self) -> int:
        """The position of the snapshot at which the fold began; 0 when it began before the first event."""
        return self._follower.began_at

    @property
    def is_forbidden(self) -> bool:
        """Whether there is any doubt that the log as this process folded it is the ledger's."""
        return bool(self._stopped or self._held or self._follower.stops)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def oldest_wait_seconds(self) -> float:
        """How long the first of the waiting commands has waited."""
        since = self._queue.oldest()
        return 0.0 if since is None else self._clock.monotonic() - since

    def _refuse_if_useless(self, *, writes: bool = True) -> None:
        if self._closing_at is not None:
            raise Fault(Code.SHUTTING_DOWN, "the service is stopping", advice="try again with another process")
        if self._stopped:
            raise self._stopped.again()
        is_in_the_way = writes or self._is_unreadable
        if (
            self._fault
            and is_in_the_way
            and self._clock.monotonic() - self._fault_since > self._limits.lock_timeout_seconds
        ):
            raise self._fault.again()

    # What decides beside the writer whether it may write

    def hold(self, why: Fault) -> None:
        """Write nothing until `release`. Commands wait for that as long as for their turn, and are then told why."""
        if self._held is None:
            self._held_since = self._clock.monotonic()
        self._held = why

    def release(self) -> None:
        self._held = None
        self._to_mark = []
        self._wake.set()

    def witness(self, position: int) -> None:
        """Write nothing to a log that ends before a position which it is known to have reached."""
        self._follower.witnessed = position

    def forbid(self, stop: Stop, *, at: int) -> None:
        """Write nothing until `release`, and stop every process at the head, if it still is at the position `at`."""
        self._to_mark = [(stop, at)]
        others = [each for each in self._follower.stops if not each.is_as(stop)]
        self.refuse(stopped_by([*others, stop]))

    def refuse(self, why: Fault) -> None:
        """Write nothing until `release`, and tell at once why: it does not pass by itself."""
        self._held, self._held_since = why, float("-inf")
        waiting = self._queue.draw(len(self._queue))
        self._queue.put_back(each for each in waiting if each.in_doubt)
        for each in waiting:
            if not each.in_doubt:
                each.answer(self._held.again())
        self._wake.set()

    # Life

    def start(self) -> None:
        self._task = self._spawn(self._run(), name="writer")

    async def stop(self) -> None:
        """Finish what was accepted, within `shutdown_seconds`, and end."""
        self._closing_at = self._clock.monotonic() + self._limits.shutdown_seconds
        self._wake.set()
        if self._task:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while not self._is_finished():
                await self._rest()
                await self._turn()
        finally:
            self._closing_at = self._closing_at or self._clock.monotonic()
            self._answer(len(self._decided))
            self._is_writing = False
            self._fail_all(Fault(Code.SHUTTING_DOWN, "the service stopped before it began this command"))

    def _is_finished(self) -> bool:
        if self._closing_at is None:
            return False
        return not self._queue or self._held is not None or self._clock.monotonic() >= self._closing_at

    async def _rest(self) -> None:
        """Pause after a failure; else wait until there is something to do."""
        if self._backoff and not self._is_writing:
            await asyncio.sleep(self._at_most(self._backoff))
        elif self._backoff:
            await self._wait(self._backoff)  # who only reads need not wait for that
        elif not self._has_work():
            await self._wait(self._limits.idle_seconds)
        self._wake.clear()

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._at_most(seconds)):
                await self._wake.wait()

    def _at_most(self, seconds: float) -> float:
        """Give so many seconds, or those until a command must be answered if that is sooner."""
        deadline = self._queue.next_deadline()
        if deadline is None:
            return seconds
        return min(seconds, max(deadline - self._clock.monotonic(), self._limits.backoff_seconds))

    def _has_work(self) -> bool:
        if self._closing_at is not None or self._readers or (self._queue and not self._held):
            return True
        return (self._behind or self._more_due or self._contentions > 0) and not self._stopped

    async def _turn(self) -> None:
        """Serve what waits, once, and translate every way in which that can fail."""
        self._drop_overdue()
        self._set_alarm()
        self._is_writing = False
        try:
            await self._serve()
            self._recover()
        except StoreFault as fault:
            self._suffer(fault)
        except OutcomeUnknown as doubt:
            self._note(Fault(Code.DATABASE_UNAVAILABLE, "COMMIT is in doubt and looked up", said=str(doubt)))
            self._retreat()
        except (BrokenChain, UnknownEvent) as why:
            await self._halt(why)
        except Fault as fault:
            self._refuse(fault)
        except Exception:
            _log.exception("the writer failed")
            self._suffer(StoreFault(Code.INTERNAL_ERROR, "the service failed", hint=Hint.SEE_LOG, transient=True))
        finally:
            self._alarm.cancel()

    def _set_alarm(self) -> None:
        """Have overdue commands answered, whatever the turn waits for: for the lock, say, which another process holds.

        A little late, because what the store itself says after as long tells more.
        """
        now = self._clock.monotonic()
        soonest = [at for at, _ in self._readers[:1]]
        if (first := self._queue.first_deadline()) is not None:
            soonest.append(first)
        delay = max(min(soonest, default=now + self._limits.lock_timeout_seconds) - now, 0.0) + ALARM_GRACE_SECONDS
        self._alarm = asyncio.get_running_loop().call_later(delay, self._ring)

    def _ring(self) -> None:
        self._drop_overdue()
        self._set_alarm()

    async def _serve(self) -> None:
        if (self._to_mark or self._tells_break) and self.fold:
            await self._mark_head()
        if self._stopped and not await self._is_mended():
            raise self._stopped.again()
        if self._follower.stops and not self._held and self._clock.monotonic() >= self._looks_at:
            await self._lift_ended()
        if self._behind or self._readers or self._held or not (self._queue or self._is_due()):
            await self._catch_up()
        if self._has_caught_up():
            await self._lift_dated_ahead()
        if not self._behind and not self._held and self._has_reason_to_lock():
            self._is_writing = True
            if self._clock.monotonic() >= self._write_at:
                await self._attempt()

    async def _catch_up(self) -> None:
        """Follow the log without the lock, a part at a time, for all who had asked for it before."""
        asked = tuple(self._readers)
        fold = await self._follower.catch_up()
        self._behind = fold is None
        if fold is None:
            return
        self._is_unreadable = False
        served = {id(reader) for _, reader in asked}  # those who came meanwhile may have seen more
        self._readers = [each for each in self._readers if id(each[1]) not in served]
        for _, reader in asked:
            if not reader.done():
                reader.set_result(fold.state)

    def _has_reason_to_lock(self) -> bool:
        return bool(self._queue) or self._more_due or self._is_due() or self._seems_dated_ahead()

    def _is_due(self) -> bool:
        # The process's clock says when to look; the database's clock, under the lock, says what has expired.
        expiry = self.fold.state.next_expiry() if self.fold and self.fold.state.closed is None else None
        return expiry is not None and expiry <= self._clock.now()

    # Writing

    async def _attempt(self) -> None:
        drawn: list[Waiting] = []
        self._more_due = False
        before = self.clocks.instant()
        transaction = await self._store.begin()
        try:
            doubt = self.clocks.doubt(before, transaction.now)
            fold = await self._follower.join(transaction)
            if fold is None:
                self._behind = True
                await transaction.rollback()
                return
            if doubt is None:
                await self._stop_dated_ahead(transaction, fold.state.dated_until)
            drawn = self._queue.draw(self._share())
            batch = await self._decide(transaction, fold, drawn, doubt)
            if self._held:  # since this began
                self._queue.put_back(drawn)
                await transaction.rollback()
                return
            if batch.records:
                await transaction.append(batch.records)
        except BaseException:
            self._queue.put_back(drawn)
            await transaction.rollback()
            raise
        await self._end(transaction, batch, drawn)
        batch.keep()
        self.feed.put(batch.records, batch.entries)
        self._queue.put_back(batch.left)
        self._decided.extend(batch.answers)
        if not self._is_answering:
            self._answer_some()

    async def _stop_dated_ahead(self, transaction: Transaction, accepted_until: int) -> None:
        """Stop every process when a wrong clock has dated the log: it would date all that follows, and expire nothing.

        The clocks agree now, and the head's lock is held.
        """
        stop = self.clocks.dated_ahead(transaction.head, transaction.now, accepted_until)
        if stop is None:
            return
        await transaction.stop(stop)
        await transaction.commit()
        self._follower.stops = [stop]
        raise stopped_by([stop])

    def _seems_dated_ahead(self) -> bool:
        now, fold = self.clocks.times.database, self.fold
        if fold is None or now is None or self.clocks.fault or self._follower.stops:
            return False
        return self.clocks.is_ahead(fold.recorded_at, now, fold.state.dated_until)

    def _has_caught_up(self) -> bool:
        """Whether the clocks, when they were last read, had caught up with a head that was dated ahead of them."""
        if not any(stop.kind is StopKind.DATED_AHEAD for stop in self._follower.stops):
            return False
        now = self.clocks.times.database
        return self.fold is not None and now is not None and not self.clocks.fault and now >= self.fold.recorded_at

    async def _lift_dated_ahead(self) -> None:
        """Lift the stop, under the head's lock and by a reading that was taken there."""
        before = self.clocks.instant()
        transaction = await self._store.begin()
        try:
            doubt = self.clocks.doubt(before, transaction.now)
            if doubt is None and transaction.now >= transaction.head.recorded_at:
                self._follower.stops = await transaction.lift(lambda stop: stop.kind is StopKind.DATED_AHEAD)
                await transaction.commit()
                _log.warning("the clocks have caught up with the log's last event: writing goes on")
        finally:
            await transaction.rollback()

    def _answer_some(self) -> None:
        """Answer a few at a time, so that the next transaction's round trips need not queue behind all of them."""
        self._answer(max(self._limits.answers_at_once, len(self._decided) // ANSWER_SHARES))
        self._is_answering = bool(self._decided)
        if self._is_answering:
            asyncio.get_running_loop().call_soon(self._answer_some)

    def _answer(self, at_most: int) -> None:
        for _ in range(min(at_most, len(self._decided))):
            waiting, answer = self._decided.popleft()
            waiting.answer(answer)

    def _share(self) -> int:
        """Draw half of what waits, so that the other half's requests keep the processor busy while we commit.

        Clients that wait for their answers otherwise fall into step: all of them wait for the disk, then all of them
        for the processor.
        """
        return min(self._limits.batch, max(self._limits.small_batch, len(self._queue) // 2))

    async def _decide(
        self, transaction: Transaction, fold: Fold, drawn: Sequence[Waiting], doubt: Fault | None
    ) -> Batch:
        known = await self._known(transaction, drawn)
        for waiting in drawn:
            if not any(entry.envelope.command_id in known for entry in waiting.attempted):
                waiting.attempted = ()  # under the lock the log's word is final: it did not happen
        now = max(transaction.now, transaction.head.recorded_at)
        batch = Batch(fold, now, self._limits.batch_bytes, self_check=self._self_check, doubt=doubt)
        batch.decide(drawn, known)
        self._more_due = batch.expire(self._limits.sweep) == self._limits.sweep
        return batch

    async def _known(self, transaction: Transaction, drawn: Sequence[Waiting]) -> dict[bytes, tuple[Entry, ...]]:
        """Look up the commands that the log may hold already: those with an idempotency key, or in doubt."""
        ids = {
            envelope.command_id
            for waiting in drawn
            for envelope in waiting.envelopes()
            if envelope.idempotency_key is not None or waiting.in_doubt
        }
        records: list[Record] = []
        wanted = sorted(ids)
        for start in range(0, len(wanted), self._limits.lookup):
            records += await transaction.events_of_commands(wanted[start : start + self._limits.lookup])
        return entries_by_command(map(codec.decode, records))

    async def _end(self, transaction: Transaction, batch: Batch, drawn: Sequence[Waiting]) -> None:
        """Commit, or roll back a batch of rejections alone; put commands in doubt back to be looked up."""
        if not batch.records:
            await transaction.rollback()
            return
        try:
            await transaction.commit()
        except StoreFault:
            self._queue.put_back(drawn)
            raise
        except BaseException as error:
            outcome_deadline = self._clock.monotonic() + self._limits.outcome_seconds
            for waiting, answer in batch.answers:
                if isinstance(answer, Outcome) and not answer.replayed:
                    waiting.doubt(answer.entries, outcome_deadline)
            self._queue.put_back(drawn)
            if isinstance(error, Exception):
                raise OutcomeUnknown(str(error)) from error
            raise

    # Failing

    def _recover(self) -> None:
        if self._is_writing and self._clock.monotonic() < self._write_at:
            return  # it only read, and still has to write what failed
        # With a time to write at and no backoff, the next command would be waited for without a pause.
        self._backoff, self._contentions, self._write_at = 0.0, 0, 0.0
        if not self._behind:
            self._fault = None

    def _suffer(self, fault: StoreFault) -> None:
        """Keep the commands for another try when the fault may pass, else answer them all with it."""
        if fault.contention:
            self._contentions += 1
            if self._contentions % self._limits.attempts:
                return  # somebody else was quicker: try again at once
            _log.info("%s, %d times in a row", fault.detail, self._contentions)
        else:
            self._note(fault)
        self._retreat()
        if not fault.transient:
            self._fail_all(fault)

    def _note(self, fault: Fault) -> None:
        if self._fault is None:
            self._fault_since = self._clock.monotonic()
        if self._fault is None or self._fault.detail != fault.detail:
            _log.warning("%s: %s", fault.code.name, fault.detail)
        self._fault, self._is_unreadable = fault, not self._is_writing

    def _retreat(self) -> None:
        """Pause, longer each time, and read the log before the next try."""
        limits = self._limits
        self._behind = True
        self._backoff = min(max(2 * self._backoff, limits.backoff_seconds), limits.max_backoff_seconds)
        if self._is_writing:
            self._write_at = self._clock.monotonic() + self._backoff

    def _refuse(self, fault: Fault) -> None:
        """Answer all that wait; the next command looks again whether the reason still stands."""
        self._note(fault)
        self._fault_since = self._clock.monotonic()
        self._fail_all(fault)

    async def _halt(self, why: BrokenChain | UnknownEvent) -> None:
        """Stop for good: what this process knows and what the log says cannot both be true."""
        self._stopped, self._is_writing = stopped(str(why)), False  # nor can it be read
        # What it could not fold has spoilt the state; and a newer process knows the event that this one does not.
        self._may_be_mended = isinstance(why, BrokenChain)
        _log.critical("%s", self._stopped.detail)
        if self._may_be_mended:
            self._tells_break = True
            await self._mark_head()
        self._fail_all(self._stopped)

    async def _is_mended(self) -> bool:
        """See whether the log is again the one that was folded: then follow it again."""
        if self.fold is None or not self._may_be_mended:
            return False
        head = await self._store.head()
        if await self._follower.broken(head, self._store):
            return False
        _log.warning("the log is whole again, up to position %d", head.position)
        self._stopped, self._tells_break, self._behind = None, False, True
        return True

    async def _lift_ended(self) -> None:
        """End the stops whose event the log holds again, if each copy of the log agrees with it.

        Those that stand, and that the head does not count any more, are counted again.
        """
        self._looks_at = self._clock.monotonic() + self._limits.idle_seconds
        self._behind = True
        head = await self._store.head()
        copies = await self._agreeing() if await ended(self._follower.stops, head, self._store) else None
        if copies is None and head.is_stopped:
            return
        self._is_writing = True
        transaction = await self._store.begin()
        try:
            lifted = [] if copies is None else await lift_ended(transaction, copies)
            counted = () if head.is_stopped else await transaction.lift(lambda _: False)
            if lifted or counted:
                await transaction.commit()
        finally:
            await transaction.rollback()
        for stop in lifted:
            _log.warning("a reason to stop writing is over, and was lifted: %s", stop.text)

    async def _agreeing(self) -> Sequence[Seen] | None:
        """Give the last event of each copy of the log; None when one does not agree with it, or cannot be asked."""
        try:
            return [last for copy in self.copies if (last := await copy())]
        except Fault as why:
            _log.warning("a reason to stop writing is over, but a copy of the log does not agree: %s", why)
            return None

    async def _mark_head(self) -> None:
        """Write into the log's database why writing must stop, so that every process sees it under the lock."""
        try:
            transaction = await self._store.begin()
            try:
                marks = self._to_mark
                if await self._mark(transaction):
                    standing = await transaction.stops()
                    await transaction.commit()
                    self._follower.stops = standing  # it looks at them again, whatever the head says by then
            finally:
                await transaction.rollback()
            self._tells_break = False
            if self._to_mark is marks:  # else there is another one since
                self._to_mark = []
        except (StoreFault, OutcomeUnknown) as error:
            _log.error("the head could not be marked as stopped, trying again: %s", error)

    async def _mark(self, transaction: Transaction) -> bool:
        """Mark what is true of the locked head; says whether that was anything.

        What was found of the log before is judged again. What was found beside it is not true of another head than the
        one it was found of, and nothing is true of half a ledger.
        """
        head, fold = transaction.head, self.fold
        is_ours = fold is not None and head.ledger_id == fold.ledger_id
        if fold is None or not is_ours or any(stop.kind in NO_LEDGER for stop in await transaction.stops()):
            return False
        true = [stop for stop, at in self._to_mark if at == head.position]
        why = await self._follower.broken(head, transaction) if self._tells_break else None
        if why is not None:
            true.append(Stop(why.kind, str(why), fold.position, fold.hash))
        return any([await transaction.stop(stop) for stop in true])

    def _drop_overdue(self) -> None:
        now = self._clock.monotonic()
        for waiting in self._queue.draw_overdue(now):
            waiting.answer(self._overdue(waiting))
        if any(deadline <= now for deadline, _ in self._readers):
            self._fail_readers(self._fault or _too_late(self._limits), now)

    def _fail_readers(self, fault: Fault, overdue_at: float) -> None:
        overdue = [reader for deadline, reader in self._readers if deadline <= overdue_at]
        self._readers = [(deadline, reader) for deadline, reader in self._readers if deadline > overdue_at]
        for reader in overdue:
            if not reader.done():
                reader.set_exception(fault.again())

    def _overdue(self, waiting: Waiting) -> Fault:
        if waiting.in_doubt:
            return _outcome_unknown()
        return (self._held or self._fault or _too_late(self._limits)).again()

    def _fail_all(self, fault: Fault) -> None:
        for waiting in self._queue.draw(len(self._queue)):
            waiting.answer(_outcome_unknown() if waiting.in_doubt else fault.again())
        if not self._is_writing:  # what keeps from writing keeps nobody from reading
            self._fail_readers(fault, float("inf"))


def _too_late(limits: Limits) -> Fault:
    return Fault(Code.LOCK_TIMEOUT, f"not begun within {limits.lock_timeout_seconds:g} seconds", advice="try again")


def _outcome_unknown() -> Fault:
    happened = "the database did not say whether the command was committed"
    return Fault(Code.OUTCOME_UNKNOWN, happened, hint=Hint.SEND_AGAIN_WITH_KEY)
