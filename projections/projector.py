"""The task that keeps the projections up with the log, in every process that serves the ledger; one of them works.

Whoever gets the checkpoint's lock works. A process that finds the checkpoint moved by somebody else stands by, looks
now and then, and takes over when the checkpoint stands still although the log went on. A fault of the database is
waited out. What cannot be folded stops the projection, and nothing of the ledger: `failed` is written beside the
checkpoint, and a rebuild is the way out. A live slot of an older version is rebuilt in the other slot and replaced.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ledger import chain
from ledger.codec import UnknownEvent
from ledger.domain.rejection import Code
from ledger.feed import Feed
from ledger.ports import Clock, Head, Spawn, StoreFault
from ledger.stores import SqlStore
from ledger.system import end
from projections.checkpoints import BEGIN, FAIL, LOCK, Checkpoint, checkpoints, failed, live, shortened, target
from projections.clearing import Clearing
from projections.folding import Folding, ForeignHistory, LogIsBehind
from projections.line import Line, line
from projections.snapshot import read_checkpoints, read_slots

__all__ = ["Activity", "Projector", "Status", "begin", "check_history", "opened"]

_log = logging.getLogger(__name__)

POLL_SECONDS = 0.25  # between two looks of one that stands by
IDLE_SECONDS = 1.0  # without news, the log is asked: other processes append to it too
LOOK_SECONDS = 1.0  # between two looks of one that works for what a check has found
STALL_SECONDS = 1.0  # so long the checkpoint stands still before another process takes over
FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 5.0

# Between two batches of one that is behind, so much of the time that the lock was held is left to the ledger's writer.
REST = 0.5

# One that keeps up lets events gather: each transaction flushes the disk, for which the ledger's writer waits too.
GATHER_SECONDS = 0.05


# These pass; of anything else the log gets the traceback.
EXPECTED = (StoreFault, UnknownEvent, LogIsBehind)


class Activity(StrEnum):
    """What a projector is doing; `waiting` is for the database, or for code that knows the log's events."""

    STARTING = "starting"
    WORKING = "working"
    REBUILDING = "rebuilding"
    STANDING_BY = "standing by"
    WAITING = "waiting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Status:
    """`position` is that of the slot that readers see; `why` says what it is waiting for, or why it failed.

    `disagreement` is what the last check of the rows found wrong.
    """

    position: int
    activity: Activity
    why: str | None = None
    disagreement: str | None = None


class Projector:
    def __init__(self, store: SqlStore, feed: Feed, *, clock: Clock, spawn: Spawn) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock
        self._spawn = spawn
        self._task: asyncio.Task[None] | None = None
        self._backoff = FIRST_BACKOFF_SECONDS
        self.position = 0
        self._activity = Activity.STARTING
        self._why: str | None = None
        self._waited_for: str | None = None  # what the log was told last
        self._disagreement: str | None = None
        self._look_at = 0.0

    @property
    def status(self) -> Status:
        return Status(self.position, self._activity, self._why, self._disagreement)

    def start(self) -> None:
        assert self._task is None, "already started"
        self._task = self._spawn(self._run(), name="projector")

    async def stop(self) -> None:
        """End the task; a batch under way is committed or not, and the checkpoint says which."""
        task, self._task = self._task, None
        if task is not None:
            await end(task)
        self._is(Activity.STOPPED)

    async def _run(self) -> None:
        is_first = True
        while True:
            try:
                if is_first or await self._is_stalled():
                    await self._work()
                    self._backoff = FIRST_BACKOFF_SECONDS
                is_first = False
            except EXPECTED as why:
                await self._wait_out(why)
            except Exception as bug:  # of the folding: `_work` has noted what can be noted
                await self._wait_out(bug)

    # Standing by

    async def _is_stalled(self) -> bool:
        """Look at the checkpoint until it has stood still for a while although there is something to do."""
        seen, since = None, self._clock.monotonic()
        while True:
            slots, head = await read_checkpoints(self._store)
            slot = target(slots)
            self._look(slots, slot, head)
            place = slot and slot.place
            now = self._clock.monotonic()
            if slot is None or place != seen or not _has_work(slot, head):
                seen, since = place, now
            elif now - since >= STALL_SECONDS:
                return True
            await asyncio.sleep(POLL_SECONDS)

    def _look(self, slots: Sequence[Checkpoint], slot: Checkpoint | None, head: Head) -> None:
        present, stopped = live(slots), failed(slots)
        self.position = present.position if present else 0
        self._disagreement = present.disagreement if present else None
        if stopped is not None:
            self._is(Activity.FAILED, stopped.failed)
        elif slot is not None and slot.live and slot.position > head.position:
            self._is(Activity.WAITING, _behind(slot, head))
        elif slot is not None:
            self._is(Activity.STANDING_BY)
        else:
            self._is(Activity.STANDING_BY, "the projection is of a newer version of numbering-ledger")

    # Working

    async def _work(self) -> None:
        """Fold until somebody else moves the checkpoint, or it cannot be gone on."""
        folding: Folding | None = None
        try:
            async with line(self._store) as connection:
                folding = await opened(self._store, connection)
                if folding is not None:
                    folding.decoded, folding.seen = self._feed.decoded, lambda: self._feed.position
                    self._is(Activity.WORKING if folding.checkpoint.live else Activity.REBUILDING)
                    await self._fold_on(folding, connection)
        except (UnknownEvent, LogIsBehind):
            raise
        except Exception as error:
            # The line is closed by now: its transaction would hold the very row to be written.
            is_fault = isinstance(error, StoreFault) and error.code is not Code.INTERNAL_ERROR
            if folding is None or is_fault:
                raise
            await self._fail(folding.checkpoint, error)

    async def _fold_on(self, folding: Folding, connection: Line) -> None:
        await check_history(self._store, folding.checkpoint)
        clearing: Clearing | None = None
        while True:
            if not await folding.fold_next(connection, self._feed.read):
                return
            if not folding.checkpoint.live and not folding.is_behind:
                clearing = await folding.go_live(connection)
                if clearing is None:
                    return
                self._is(Activity.WORKING)
            self._moved(folding)
            # A piece between two batches: readers would see no news for as long as it takes to delete everything.
            if clearing is not None and not await clearing.piece(connection):
                clearing = None
            await self._look_for_disagreement()
            if folding.is_behind:
                await asyncio.sleep(folding.held_seconds * REST)
                continue
            await asyncio.sleep(GATHER_SECONDS)
            if clearing is None:
                await self._feed.wait(folding.position, seconds=IDLE_SECONDS)

    async def _look_for_disagreement(self) -> None:
        """See now and then what a check has found since, of rows that this process only writes."""
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            present = live(await read_slots(self._store))
            self._disagreement = present.disagreement if present else None

    def _moved(self, folding: Folding) -> None:
        self._backoff, self._waited_for = FIRST_BACKOFF_SECONDS, None
        if folding.checkpoint.live:
            self.position = folding.position

    async def _fail(self, checkpoint: Checkpoint, error: Exception) -> None:
        why = shortened(error.detail if isinstance(error, StoreFault) else f"{type(error).__name__}: {error}")
        _log.critical(
            "the projection stopped behind position %s: %s; mend it with `numbering projections rebuild`",
            checkpoint.position, why, exc_info=None if isinstance(error, ForeignHistory) else error,
        )  # fmt: skip
        self._is(Activity.FAILED, why)
        async with line(self._store) as connection:
            await connection.begin()
            of = {"of_slot": checkpoint.slot, "of_epoch": checkpoint.epoch, "from_position": checkpoint.position}
            await connection.execute(FAIL, **of, why=why, where=checkpoint.position)
            await connection.commit()

    async def _wait_out(self, why: Exception) -> None:
        if self._waited_for != str(why):
            _log.warning("the projection waits: %s", why, exc_info=not isinstance(why, EXPECTED))
        self._waited_for = str(why)
        self._is(Activity.WAITING, str(why))
        await asyncio.sleep(self._backoff)
        self._backoff = min(2 * self._backoff, MAX_BACKOFF_SECONDS)

    def _is(self, activity: Activity, why: str | None = None) -> None:
        self._activity, self._why = activity, why


def _has_work(slot: Checkpoint, head: Head) -> bool:
    return not slot.live or slot.position < head.position


def _behind(slot: Checkpoint, head: Head) -> str:
    return f"the log ends at position {head.position}, before the projection, which is at {slot.position}"


async def opened(store: SqlStore, connection: Line) -> Folding | None:
    """Give the slot to fold into, begun anew if it must be; None when there is nothing to do for this code."""
    slot = target(await read_slots(store))
    if slot is None:
        return None
    # Where nothing was folded yet, another may still be deleting what was there before.
    if not slot.live and not (slot.is_present and slot.position and await _is_in_log(store, slot)):
        return await begin(store, connection, slot)
    return Folding(store, slot)


async def begin(store: SqlStore, connection: Line, slot: Checkpoint) -> Folding | None:
    """Empty a slot that is not live, and begin it anew; None when somebody else did, or swapped, meanwhile."""
    genesis = chain.genesis((await store.head()).ledger_id)
    await connection.begin()
    is_begun = await connection.execute(BEGIN, of_slot=slot.slot, of_epoch=slot.epoch, genesis=genesis)
    (begun,) = checkpoints(await connection.fetch(LOCK, of_slot=slot.slot))
    await connection.commit()
    if is_begun and await Clearing(begun).all(connection):
        return Folding(store, begun)
    return None


async def check_history(store: SqlStore, slot: Checkpoint) -> None:
    """Raise LogIsBehind or ForeignHistory unless the log holds the event at which the slot stands."""
    if not slot.position or await _is_in_log(store, slot):
        return
    head = await store.head()
    if head.position < slot.position:
        raise LogIsBehind(_behind(slot, head))
    raise ForeignHistory(
        f"the projection stands at position {slot.position}, where the log has another event: "
        "it was folded from another history"
    )


async def _is_in_log(store: SqlStore, slot: Checkpoint) -> bool:
    records = await store.events(after=slot.position - 1, limit=1)
    return bool(records) and records[0].hash == slot.hash
