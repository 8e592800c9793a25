"""The relay: one task per process that copies the log to its mirror, and says when the two disagree.

It is never on the path of an answer: whatever happens to the mirror, commands go on, and `fallback_mode` tells that the
mirror is behind or away. Two things alone stop writing, because both mean that numbers could be issued again: a mirror
that was not compared since the process began, and one that knows of another history or of a later one.

With a key, what the mirror knows counts only if it bears a valid MAC. Foreign entries hold a process that begins, until
an operator decides, because this may be a stale copy all the same; a process that was compared once goes on.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass

from ledger.continuity import Seen
from ledger.domain.rejection import Code
from ledger.log import generation
from ledger.ports import Clock, Fault, Spawn, StopKind, Store, StoreFault
from ledger.system import end
from ledger.writer import Writer
from ledger.writer.follower import stopped
from projections.mirror.comparison import Comparison, Verdict, compare
from projections.mirror.copier import Copier
from projections.mirror.stream import EMPTY, Connect, Stream, StreamFault

__all__ = ["Limits", "MirrorStatus", "Relay"]

_log = logging.getLogger(__name__)


class _Disagreement(Exception):
    """The mirror knows of another history, or of a later one; or it is the mirror of another generation by now."""


class _Foreign(Exception):
    """The mirror goes on with entries without a valid MAC, or there is such a stream of a later generation."""

    def __init__(self, found: Comparison) -> None:
        super().__init__(found.reason)
        self.found = found


class _Unfinished(Exception):
    """A restore fills the ledger: only when it is finished is it known which history this is, and of which stream."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of the relay. A mirror that fails is noticed within `probe_seconds` and the time of one answer.

    One that has not held all of the log for `behind_seconds` falls back too.
    """

    probe_seconds: float = 0.5
    gather_seconds: float = 0.01
    trim_seconds: float = 10.0
    behind_seconds: float = 1.5
    backoff_seconds: float = 0.1
    max_backoff_seconds: float = 2.0
    flush_seconds: float = 1.0
    max_flush_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    """`position` is how far the mirror is known to reach; `detail` says why it falls back, None when it does not.

    A mirror that `is_reached` is only behind, and catching up.
    """

    position: int
    is_reached: bool
    detail: str | None

    @property
    def fallback_mode(self) -> bool:
        return self.detail is not None


class Relay:
    """`start` it before the writer that it follows, and `stop` it behind it, so that the last events are mirrored too.

    `retention` is how many events the mirror keeps, 0 for all. `verified` lets the writer write before a comparison.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        connect: Connect,
        *,
        clock: Clock,
        spawn: Spawn,
        retention: int = 0,
        verified: bool = False,
        limits: Limits = Limits(),
    ) -> None:
        self._store = store
        self._writer = writer
        self._connect = connect
        self._clock = clock
        self._spawn = spawn
        self._retention = retention
        self._limits = limits
        self._name = "", 0  # of the stream: the ledger's id, and how often it was fenced
        self._copier: Copier | None = None  # of the latest comparison
        self._cursor = EMPTY
        self._head = 0
        self._detail: str | None = "the mirror was not compared with the log yet"
        self._logged: str | None = None
        self._is_verified = verified
        self._is_well = False
        self._is_warned = False
        self._backoff = limits.backoff_seconds
        self._probe_at = self._trim_at = self._rested_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._hold("Redis was not asked yet")

    @property
    def status(self) -> MirrorStatus:
        return MirrorStatus(self._cursor.position, self._is_well, self._detail)

    def start(self) -> None:
        self._task = self._spawn(self._run(), name="relay")

    async def stop(self) -> None:
        assert self._task is not None
        await end(self._task)
        await self._flush()

    async def last(self) -> Seen | None:
        """Compare the mirror with the log now, and give its last event, if it holds any: the writer's `Copy`.

        This takes a connection of its own, beside that of the task.
        """
        try:
            stream = self._connect(*await self._named())
            try:
                found = await compare(stream, self._store)
            finally:
                await stream.close()
        except _Unfinished as why:
            raise stopped(str(why)) from why
        except StreamFault as fault:
            raise _not_compared(str(fault)) from fault
        if found.forbids_writing:
            raise stopped(found.stop.text)
        return Seen(found.tail.position, found.tail.hash) if found.tail.hash else None

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except _Disagreement as found:
                self._fall_back(str(found))
            except _Foreign as foreign:
                self._fall_back(str(foreign))
                self._await_operator(foreign.found)
            except _Unfinished as why:
                self._fall_back(str(why))
                self._refuse(str(why))
            except (StreamFault, StoreFault) as fault:
                self._fall_back(str(fault))
                self._hold(str(fault))
            except Exception:
                _log.exception("the relay failed")
                self._fall_back("the relay failed; the service's log has the cause")
            await asyncio.sleep(self._backoff)
            self._backoff = min(2 * self._backoff, self._limits.max_backoff_seconds)

    async def _follow(self) -> None:
        """Compare, and then relay until the stream is not as it was left, again and again."""
        self._name = await self._named()
        stream = self._connect(*self._name)
        try:
            copier = Copier(self._store, stream, self._writer.feed.read, self._retention)
            while True:
                await self._compare(copier)
                self._probe_at = 0.0
                await self._relay(copier)
                self._fall_back("the mirror is not as it was left: flushed, or restored from an older copy")
        finally:
            await stream.close()

    async def _named(self) -> tuple[str, int]:
        """Name the stream of the ledger by its id and by how often it was fenced; neither changes once it is whole."""
        for stop in await self._store.stops():
            if stop.kind is StopKind.RESTORING:
                raise _Unfinished(stop.text)
        return (await self._store.head()).ledger_id, await generation(self._store)

    async def _compare(self, copier: Copier) -> None:
        found = await copier.compare()
        if await self._named() != self._name:  # before it is believed: what was compared is none of this stream's
            raise _Disagreement("the ledger was restored meanwhile")
        self._cursor = found.tail
        if found.forbids_writing:
            self._writer.forbid(found.stop, at=found.head.position)
            raise _Disagreement(found.stop.text)
        if found.verdict is Verdict.FOREIGN:
            raise _Foreign(found)
        self._copier, self._cursor, self._head = copier, copier.cursor, found.head.position
        self._is_verified = self._is_well = True
        self._writer.witness(self._head)
        self._writer.release()
        if found.tail.mac and copier.stream.authenticator is None and not self._is_warned:
            self._is_warned = True
            _log.warning("the mirror's entries bear MACs, and this process has no key: give it the file of the others")

    async def _relay(self, copier: Copier) -> None:
        while True:
            if self._clock.monotonic() >= self._probe_at and not await self._probe(copier):
                return
            self._check_generation()
            if self._cursor.position >= self._log_end:
                await self._rest(copier.stream)
            elif not await self._copy(copier):
                return

    def _check_generation(self) -> None:
        """See that the log, as far as it is known, is still of the stream's generation: a fence begins another."""
        fold = self._writer.fold
        if fold is not None and fold.state.generation > self._name[1]:
            raise _Disagreement("the ledger was fenced: it goes on in another stream")

    async def _copy(self, copier: Copier) -> bool:
        """Append some; as long as the mirror is far behind, leave as much of the time to others."""
        began = self._clock.monotonic()
        if not await copier.copy():
            return False
        self._cursor, now = copier.cursor, self._clock.monotonic()
        if now - self._rested_at > self._limits.behind_seconds:
            behind = self._log_end - self._cursor.position
            self._detail = f"the mirror is {behind} events behind the log, and catching up"
        if self._detail is not None:
            await asyncio.sleep(now - began)
        return True

    @property
    def _log_end(self) -> int:
        """The end of the log as this process knows it."""
        return max(self._head, self._writer.feed.position)

    async def _probe(self, copier: Copier) -> bool:
        """See whether the stream is as it was left; when it went on beyond the log as it is known, ask the log."""
        tail = await copier.probe()
        self._probe_at = self._clock.monotonic() + self._limits.probe_seconds
        if tail is None:
            return False
        if tail.position > self._log_end:
            if copier.is_signed(tail):  # whatever becomes of Redis or the database before they are compared
                self._writer.witness(tail.position)
            await self._compare(copier)
        await self._ask_time(copier.stream)
        return True

    async def _ask_time(self, stream: Stream) -> None:
        """Let the server's clock bear witness. Whether it does keeps the mirror from nothing."""
        clocks = self._writer.clocks
        before = clocks.instant()
        with suppress(StreamFault):
            told = await stream.time()
            if told is not None:
                clocks.witness(before, told)

    async def _rest(self, stream: Stream) -> None:
        """All is mirrored: say so, trim, and wait for more, or for the time of the next probe."""
        self._recover()
        self._rested_at = self._clock.monotonic()
        if self._retention and self._clock.monotonic() >= self._trim_at:
            self._trim_at = self._clock.monotonic() + self._limits.trim_seconds
            await self._trim(stream)
        wait = self._probe_at - self._clock.monotonic()
        await self._writer.feed.wait(self._cursor.position, seconds=max(wait, 0.0))
        await asyncio.sleep(self._limits.gather_seconds)  # else each batch of the writer would be an append of its own

    async def _trim(self, stream: Stream) -> None:
        """Drop what need not be kept. That it cannot be done keeps the mirror from nothing else."""
        floor = self._cursor.position - self._retention + 1
        try:
            if floor > 1:
                await stream.trim(floor)
        except StreamFault as fault:
            _log.warning("the mirror cannot be trimmed: %s", fault)

    def _recover(self) -> None:
        self._backoff = self._limits.backoff_seconds
        if self._detail is not None:
            _log.info("the mirror follows the log, at position %d", self._cursor.position)
        self._detail = self._logged = None

    def _fall_back(self, detail: str) -> None:
        if detail != self._logged:
            _log.warning("the mirror falls back: %s", detail)
        self._detail, self._logged, self._is_well = detail, detail, False

    def _hold(self, detail: str) -> None:
        if not self._is_verified:
            self._writer.hold(_not_compared(detail))

    def _await_operator(self, found: Comparison) -> None:
        if not self._is_verified:
            advice = f"{found.advice}, or serve with --start-unverified"
            happened = f"this may be a stale copy of the ledger, and its mirror cannot be believed: {found.detail}"
            self._writer.refuse(Fault(Code.MIRROR_NOT_COMPARED, happened, advice=advice))

    def _refuse(self, detail: str) -> None:
        if not self._is_verified:
            self._writer.refuse(stopped(detail))

    async def _flush(self) -> None:
        """Mirror the last events; the next process does the rest.

        This compares anew, on a new connection, whatever the relay found last: it may have been interrupted in the
        middle of an append, and a process that was busy for a second takes a mirror for hung that is well. It ends when
        nothing was mirrored for `flush_seconds`, and after `max_flush_seconds` in any case.
        """
        if self._copier is None or self._cursor.position >= self._log_end:
            return
        stream = self._connect(*self._name)
        copier = Copier(self._store, stream, self._writer.feed.read, self._retention)
        try:
            with suppress(_Unfinished, StreamFault, StoreFault, TimeoutError):
                async with asyncio.timeout(self._limits.flush_seconds) as limit:
                    await self._copy_the_rest(copier, limit)
        finally:
            await stream.close()

    async def _copy_the_rest(self, copier: Copier, limit: asyncio.Timeout) -> None:
        time = asyncio.get_running_loop().time
        latest = time() + self._limits.max_flush_seconds
        found = await copier.compare()
        if found.forbids_writing or await self._named() != self._name:
            return  # or the ledger was restored meanwhile: its mirror is another stream
        self._cursor = copier.cursor
        while self._cursor.position < self._log_end and await copier.copy():
            if copier.cursor == self._cursor:
                return  # the log lost its end: the next comparison finds and reports it
            self._cursor = copier.cursor
            limit.reschedule(min(time() + self._limits.flush_seconds, latest))


def _not_compared(detail: str) -> Fault:
    return Fault(
        Code.MIRROR_NOT_COMPARED,
        f"this may be a stale copy of the ledger, and its mirror could not be compared with it: {detail}",
        advice="start Redis, or serve with --start-unverified if this database is known to be the newest",
    )
