"""The task that reads the log again, slowly and for ever, and judges it as `numbering verify` does.

It finds what changed in the database behind the ledger's back while nobody looked. It reads from the first event to the
head, follows what is appended, and begins anew every day. It changes nothing and stops nothing: what it finds is in
`sequence_integrity` of `/health` and in the log of the service, and an operator runs `numbering verify`.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ledger.ports import NO_LEDGER, Clock, Head, Record, Spawn, Store, StoreFault
from ledger.system import end
from replay.examination import Examination

__all__ = ["AGAIN_SECONDS", "Verification", "Verifier"]

_log = logging.getLogger(__name__)

AGAIN_SECONDS = 86_400.0  # from the beginning of one pass to that of the next
AFTER_FLAW_SECONDS = 600.0  # until the log is read again from its beginning, to see whether it was mended
LOOK_SECONDS = 2.0  # between two looks for new events
MAX_BACKOFF_SECONDS = 60.0
SLICE = 32  # events judged at a time: a millisecond or two, in which no request is served


@dataclass(frozen=True, slots=True)
class Verification:
    """How far the log was last seen whole, and what is wrong with it.

    Every event up to `position` was legal and chained when it was read, between the instants `began_at` and `ended_at`
    (microseconds since 1970 UTC; 0 before anything was read). The present pass has come to `reading`. `flaw` tells what
    is wrong at position `flawed`; None when nothing is known to be.
    """

    position: int = 0
    began_at: int = 0
    ended_at: int = 0
    reading: int = 0
    flaw: str | None = None
    flawed: int = 0


class Verifier:
    """`start` once, `stop` once. Reads at most `per_second` events a second; memory holds a fold of its own."""

    def __init__(self, store: Store, *, clock: Clock, spawn: Spawn, per_second: int) -> None:
        assert per_second > 0
        self.status = Verification()
        self._store = store
        self._clock = clock
        self._spawn = spawn
        self._pause_seconds = 1 / per_second
        self._task: asyncio.Task[None] | None = None
        self._backoff = LOOK_SECONDS

    def start(self) -> None:
        assert self._task is None, "already started"
        self._task = self._spawn(self._run(), name="verifier")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await end(task)

    async def _run(self) -> None:
        while True:
            try:
                await self._pass()
            except StoreFault:  # the writer says so; what was seen stays true of then
                await self._rest()
            except Exception:
                _log.exception("the verification of the log failed, and begins anew")
                await self._rest()

    async def _rest(self) -> None:
        await asyncio.sleep(self._backoff)
        self._backoff = min(2 * self._backoff, MAX_BACKOFF_SECONDS)

    async def _pass(self) -> None:
        """Read the log from its first event to its head, and follow it until a day has passed or a flaw is found."""
        ledger_id = (await self._store.head()).ledger_id
        began, examination = self._clock.monotonic(), Examination(ledger_id)
        began_at, is_at_head = self._clock.now(), False
        while not is_at_head or self._clock.monotonic() - began < AGAIN_SECONDS:
            head = await self._store.head()
            if head.ledger_id != ledger_id or await self._is_no_ledger(head):
                await asyncio.sleep(LOOK_SECONDS)
                return
            rows = await self._next(examination, head)
            self._backoff = LOOK_SECONDS
            is_at_head = len(rows) < SLICE
            if flaw := examination.take(rows) or (_flaw_of_end(examination, head) if is_at_head else None):
                self._tell(flaw, examination.flawed)
                await asyncio.sleep(AFTER_FLAW_SECONDS)
                return
            self._note(examination.position, began_at)
            await asyncio.sleep(LOOK_SECONDS if is_at_head else SLICE * self._pause_seconds)

    async def _next(self, examination: Examination, head: Head) -> Sequence[Record]:
        """Read the events that follow; none where the head says that there are none, which costs nothing to see."""
        if head.position == examination.position:
            return ()
        return await self._store.events(after=examination.position, limit=SLICE)

    async def _is_no_ledger(self, head: Head) -> bool:
        """Say whether this is half of a ledger, or one that is elsewhere now."""
        return head.is_stopped and any(stop.kind in NO_LEDGER for stop in await self._store.stops())

    def _note(self, position: int, began_at: int) -> None:
        """Keep what was seen whole, unless an earlier pass has seen more."""
        if position >= self.status.position:
            seen = Verification(position, began_at, self._clock.now(), position, self.status.flaw, self.status.flawed)
        else:
            seen = replace(self.status, reading=position)
        if seen.flaw and position >= seen.flawed:
            _log.warning("the log is whole again, up to position %d", position)
            seen = replace(seen, flaw=None, flawed=0)
        self.status = seen

    def _tell(self, flaw: str, position: int) -> None:
        if (flaw, position) != (self.status.flaw, self.status.flawed):
            _log.critical("the log is not whole: position %d: %s; run `numbering verify`", position, flaw)
        seen = min(self.status.position, position - 1)
        self.status = replace(self.status, position=seen, reading=position - 1, flaw=flaw, flawed=position)


def _flaw_of_end(examination: Examination, head: Head) -> str | None:
    """Say what is wrong with the end of a log that has no more events than were read; `head` was read before them."""
    if head.position > examination.position:
        return f"the log ends at position {examination.position}, and its head says {head.position}"
    if head.position == examination.position and head.hash != examination.hash:
        return "the head has another hash than its event"
    return examination.finish()
