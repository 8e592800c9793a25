"""Fill an empty ledger with the events of another place, checked as they pass.

Until it is finished the head says that it is not, and nobody can write: so a restore may be interrupted anywhere, and
goes on where it was when it is run again. One that may have lost the end of the log finishes with a fence, in the same
transaction that lets processes write.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from ledger.codec import Entry, recorded_at
from ledger.domain.clocks import TOLERANCE_SECONDS
from ledger.domain.commands import Envelope, Fence
from ledger.domain.decide import decide
from ledger.domain.decisions.restores import MAX_MARGIN
from ledger.domain.events import PeriodClosed
from ledger.domain.rejection import Code, Rejection
from ledger.domain.state import State
from ledger.ports import Clock, Fault, Head, Ids, OutcomeUnknown, Record, Stop, StopKind, Transaction, reasons
from ledger.stores import SqlStore
from ledger.stores.sql import SqlTransaction
from ledger.writer.clocks import Clocks
from replay.combined import Combined
from replay.completeness import completeness
from replay.examination import Examination
from replay.fence import MIN_MARGIN, Margin, Pace, records_of
from replay.following import Progress, check_end
from replay.forecast import Forecast, forecast
from replay.sources import Damaged, DatabaseSource, Extent, Source, apart, event_at

__all__ = ["Plan", "Restored", "foresee", "restore"]

COPIED_AT_ONCE = 2_000  # events in one transaction
COPIED_BYTES = 8 << 20

RESTORING = Stop(StopKind.RESTORING, "run `numbering restore` again, it goes on where it was")
MOVED = Stop(StopKind.MOVED, "by `numbering restore --move`")


@dataclass(frozen=True, slots=True)
class Plan:
    """How to restore: up to the event `to` (None: all there is), by whom and why.

    It ends with a fence unless nothing can have been lost. `move` makes sure of that: the source is a database, which
    takes no more events then. Else a log is complete that ends with LedgerClosed in a copy which this names: `names`
    are those of the sources, in their order, or `complete` says that one of them is such a copy.

    `margin` None is computed; `margins` are of the series, by code, that have another one. `opened` names series and
    coming periods that may have been opened before their time in what was lost.
    """

    actor: str
    reason: str
    to: int | None = None
    complete: bool = False
    move: bool = False
    margin: int | None = None
    opened: tuple[tuple[str, str], ...] = ()
    margins: Mapping[str, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored: the events up to `cut`, the last of which was recorded at `cut_time`.

    The log now ends at `position`, behind the fence if there is one; `closed` are the sequences that it would have
    exhausted. `forecast` is what was told before.
    """

    ledger_id: str
    cut: int
    cut_time: int
    copied: int
    position: int
    hash: bytes
    margin: int | None
    closed: tuple[str, ...]
    forecast: Forecast


# Asked when everything is copied, and before the ledger is opened: raises a Rejection to leave it as it is.
Agree = Callable[[Forecast], None]


async def restore(
    source: Source,
    store: SqlStore,
    plan: Plan,
    *,
    clock: Clock,
    ids: Ids,
    progress: Progress = lambda done, of: None,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    agree: Agree = lambda _: None,
) -> Restored:
    """Fill the ledger in `store`, which must be empty or half restored from the same events, and let processes write.

    NOT_IN_HISTORY when there is no event `to`, TARGET_NOT_EMPTY, Damaged, HISTORIES_DIFFER when what is there already
    is not what the source holds; a Fault when a database fails, or when no clock can date a fence. In each
    case, and when it is not agreed to, it may be run again.
    """
    _check_plan(plan)
    await _check_finished(source)
    if plan.move:
        await _check_movable(source)
    extent = await _cut(source, plan)
    complete = await _complete(source, extent, plan)
    clocks = Clocks(clock, tolerance_seconds=tolerance_seconds)
    if complete is None:  # the fence takes its margin from the time that has passed
        before = clocks.instant()
        _raise(clocks.doubt(before, (await store.head_and_now())[1]))
    reading = _Reading(extent, max(clock.now() - await _instant(source, extent.last), 0))
    copying = _Copying(store, reading, await _begun(store, extent), clocks)
    await copying.all(source, extent, progress)
    if plan.move:
        extent = await _retired(source)
        await copying.all(source, extent, progress)
    found = reading.forecast(extent, plan, complete, clock.now())
    agree(found)
    return await copying.finish(found, plan, ids)


async def foresee(source: Source, plan: Plan, *, clock: Clock, progress: Progress = lambda done, of: None) -> Forecast:
    """Read and examine everything as `restore` would, write nothing anywhere, and tell what it would do."""
    _check_plan(plan)
    await _check_finished(source)
    if plan.move:
        assert isinstance(source, DatabaseSource)
        _check_stopped(await source.store.stops())
    extent = await _cut(source, plan)
    complete = await _complete(source, extent, plan)
    reading = _Reading(extent, max(clock.now() - await _instant(source, extent.last), 0))
    async for _ in reading.parts(source, extent):
        progress(reading.position, extent.last)
    return reading.forecast(extent, plan, complete, clock.now())


async def _complete(source: Source, extent: Extent, plan: Plan) -> str | None:
    """Say why nothing can be missing behind what is restored; None when something may be."""
    if plan.move:
        return "the database that is given up takes no more events"
    return await completeness(source, extent, plan.names, is_claimed=plan.complete)


def _raise(fault: Fault | None) -> None:
    if fault:
        raise fault


def _check_plan(plan: Plan) -> None:
    """Refuse now what the fence would be refused for, when everything was copied."""
    if not plan.move:
        found = decide(State(), Fence(0, 0, plan.margin or MIN_MARGIN, plan.reason, plan.opened), 0)
        if isinstance(found, Rejection):
            raise found


async def _check_finished(source: Source) -> None:
    """A database that is half restored is no ledger yet: how much it lacks, no window tells."""
    for each in source.sources if isinstance(source, Combined) else [source]:
        stops = await each.store.stops() if isinstance(each, DatabaseSource) else []
        if _is_half(stops):
            raise Rejection(Code.LEDGER_STOPPED, f"{each.name} is not to be restored from: {reasons(stops)}")


def _is_half(stops: Sequence[Stop]) -> bool:
    return any(stop.kind is StopKind.RESTORING for stop in stops)


async def _check_movable(source: Source) -> None:
    """See that the database can be stopped, and was not stopped for another reason, which would be forgotten."""
    assert isinstance(source, DatabaseSource)
    transaction = await source.store.begin()
    try:
        _check_stopped(await transaction.stops())
        await transaction.stop(MOVED)
    finally:
        await transaction.rollback()


def _check_stopped(stops: Sequence[Stop]) -> None:
    if any(stop.kind is not StopKind.MOVED for stop in stops):
        raise Rejection(Code.LEDGER_STOPPED, f"what is stopped is not moved: {reasons(stops)}")


async def _cut(source: Source, plan: Plan) -> Extent:
    """Say what is to be restored."""
    extent, to = await source.extent(), plan.to
    if to is None or to == extent.last:
        return extent
    if plan.complete or plan.move:
        raise Rejection.invalid("to", f"must be {extent.last}, where {source.name} ends: what is cut off needs a fence")
    last = await event_at(source, to) if 0 < to < extent.last else None
    if last is None:
        detail = f"there is no position {to} in {source.name}, which ends at {extent.last}"
        raise Rejection(Code.NOT_IN_HISTORY, detail)
    return replace(extent, last=to, hash=last[2])


async def _instant(source: Source, position: int) -> int:
    """Give the time of an event."""
    event = await event_at(source, position) if position else None
    return recorded_at(event[1]) if event else 0


async def _begun(store: SqlStore, extent: Extent) -> Head:
    """Mark the target, unless it is marked; TARGET_NOT_EMPTY when it holds what is not half of this restore."""
    transaction = await store.begin()
    try:
        head = transaction.head
        if _is_half(await transaction.stops()):
            _check_same(head, extent)
            return head
        if head.position:
            detail = f"the database holds a ledger already, with {head.position} events: name an empty one"
            raise Rejection(Code.TARGET_NOT_EMPTY, detail)
        if head.ledger_id != extent.ledger_id:
            await transaction.found(extent.ledger_id)
        await transaction.lift(lambda _: True)  # what was said of an empty log is not true of this one
        await transaction.stop(RESTORING)
        await transaction.commit()
        return transaction.head
    finally:
        await transaction.rollback()


def _check_same(head: Head, extent: Extent) -> None:
    if head.ledger_id != extent.ledger_id or head.position > extent.last:
        detail = (
            f"the database holds half of another restore: of ledger {head.ledger_id}, up to position {head.position}; "
            "name an empty one"
        )
        raise Rejection(Code.TARGET_NOT_EMPTY, detail)


async def _retired(source: Source) -> Extent:
    """Let nobody write to the database that is moved, whatever it holds by now."""
    assert isinstance(source, DatabaseSource)
    transaction = await source.store.begin()
    try:
        _check_stopped(await transaction.stops())
        await transaction.stop(MOVED)
        await transaction.commit()
    finally:
        await transaction.rollback()
    return await source.extent()


def _ignored(entry: Entry, row: Record) -> None:
    pass


class _Reading:
    """Every event of the source, examined, with what the fence must know of them. `note` is told each one."""

    def __init__(self, extent: Extent, window: int) -> None:
        self.note: Callable[[Entry, Record], None] = _ignored
        self._pace = Pace(window)
        self._examined = Examination(extent.ledger_id, self._take)
        self._cut_time = 0

    @property
    def position(self) -> int:
        return self._examined.position

    @property
    def state(self) -> State:
        return self._examined.state

    async def parts(self, source: Source, extent: Extent) -> AsyncIterator[None]:
        """Examine what the source holds behind what was examined, and pause behind each part."""
        examined = self._examined
        async for events in source.events(after=examined.position, to=extent.last):
            if flaw := await asyncio.to_thread(examined.take_bare, events):
                raise Damaged(examined.flawed, flaw)
            yield
        check_end(source, extent, examined.position, examined.hash)

    def forecast(self, extent: Extent, plan: Plan, complete: str | None, now: int) -> Forecast:
        """Tell what is going to be, now that everything was read; `complete` says why nothing can be missing."""
        self._check_last_command(extent, is_fenced=complete is None)
        cut, cut_time = extent.last, self._cut_time
        if complete is not None:
            return Forecast(extent.ledger_id, cut, cut_time, complete)
        margin = Margin(plan.margin) if plan.margin else self._computed_margin()
        fence = Fence(cut, cut_time, margin.values, plan.reason, plan.opened, tuple(plan.margins.items()))
        return forecast(extent.ledger_id, self.state, fence, margin, now)

    def _take(self, entry: Entry, row: Record) -> None:
        self._pace.take(entry)
        self._cut_time = entry.recorded_at
        self.note(entry, row)

    def _check_last_command(self, extent: Extent, *, is_fenced: bool) -> None:
        """Refuse to end within a command whose first events alone are not legal, whatever follows them."""
        flaw = self._examined.finish(is_cut=is_fenced)
        if flaw and is_fenced:
            whole = self._examined.whole
            raise Damaged(self._examined.flawed, f"{flaw}; its command goes on behind {extent.last}: `--to {whole}`")
        if flaw:
            raise Damaged(self._examined.flawed, f"{flaw}; events are missing behind {extent.last}: a fence is needed")

    def _computed_margin(self) -> Margin:
        margin = self._pace.margin
        if margin.values > MAX_MARGIN:
            detail = f"would be {margin.values}, of which a fence passes over {MAX_MARGIN} at most: say how many"
            raise Rejection.invalid("margin", detail)
        return margin


class _Copying:
    """All events are read, and those that the target lacks are stored, while the next ones are read."""

    def __init__(self, store: SqlStore, reading: _Reading, begun: Head, clocks: Clocks) -> None:
        self._store = store
        self._clocks = clocks
        self._begun = begun
        self._reading = reading
        reading.note = self._gather
        self._pending: list[Record] = []
        self._bytes = 0
        self._end = begun
        self._storing: asyncio.Task[None] | None = None

    async def all(self, source: Source, extent: Extent, progress: Progress) -> None:
        """Copy what the source holds behind what was copied, but for the last events, which `finish` stores."""
        try:
            await self._copy(source, extent, progress)
            await self._stored()
        finally:
            if self._storing:  # there is another reason to end
                await asyncio.gather(self._storing, return_exceptions=True)

    async def _copy(self, source: Source, extent: Extent, progress: Progress) -> None:
        async for _ in self._reading.parts(source, extent):
            if len(self._pending) >= COPIED_AT_ONCE or self._bytes >= COPIED_BYTES:
                await self._stored()
                self._storing = asyncio.create_task(self._put(self._pending))
                self._pending, self._bytes = [], 0
            progress(self._reading.position, extent.last)

    def _gather(self, _: Entry, row: Record) -> None:
        if row.position > self._begun.position:
            self._pending.append(row)
            self._bytes += len(row.body)
        elif row.position == self._begun.position and row.hash != self._begun.hash:
            raise apart("the database holds half of a restore from another history: name an empty one")

    async def _put(self, records: Sequence[Record]) -> None:
        async with self._transaction() as transaction:
            await transaction.append(records)
            await self._commit(transaction)

    async def _stored(self) -> None:
        """Wait until what was given to the database is stored."""
        if self._storing:
            await self._storing
            self._storing = None

    async def finish(self, found: Forecast, plan: Plan, ids: Ids) -> Restored:
        """Store the last events, fence the ledger, and let processes write: all of that or nothing."""
        before = self._clocks.instant()
        async with self._transaction() as transaction:
            if found.fence:
                _raise(self._clocks.doubt(before, transaction.now))
            await transaction.append(self._pending)
            cut = transaction.head
            records = self._fence(found.fence, plan, transaction, ids) if found.fence else []
            await transaction.append(records)
            await transaction.lift(lambda stop: stop.kind is StopKind.RESTORING)
            await self._commit(transaction)
        closed = tuple(each.stream for each in records if each.type == PeriodClosed.__name__)
        copied, end = cut.position - self._begun.position, self._end
        margin = found.margin.values if found.margin else None
        where = cut.position, cut.recorded_at, copied, end.position, end.hash
        return Restored(found.ledger_id, *where, margin, closed, found)

    def _fence(self, fence: Fence, plan: Plan, transaction: Transaction, ids: Ids) -> Sequence[Record]:
        end = transaction.head
        assert (end.position, end.recorded_at) == (fence.cut_position, fence.cut_time), (
            "the forecast was of another end"
        )
        envelope = Envelope(ids.command_id(), plan.actor, plan.reason)
        return records_of(self._reading.state, end, fence, envelope, max(transaction.now, end.recorded_at))

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[SqlTransaction]:
        """Hold the target's lock, on the head that was left there."""
        transaction = await self._store.begin()
        try:
            head, end = transaction.head, self._end
            if not _is_half(await transaction.stops()) or (head.position, head.hash) != (end.position, end.hash):
                raise apart(
                    "somebody else wrote to the database meanwhile: let only one restore run, into an empty one"
                )
            yield transaction
        finally:
            await transaction.rollback()

    async def _commit(self, transaction: SqlTransaction) -> None:
        """Commit; where no clear answer came, the head tells."""
        try:
            await transaction.commit()
        except OutcomeUnknown as doubt:
            if await self._store.head() != transaction.head:
                raise Fault(Code.OUTCOME_UNKNOWN, str(doubt), advice="run it again, it goes on where it was") from doubt
        self._end = transaction.head
