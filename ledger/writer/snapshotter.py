"""The task that writes a snapshot of the fold now and then, so that the next start need not fold the whole log.

Every service has one, and each looks what the others wrote. That a snapshot cannot be written is no fault of the
ledger: it is logged once, and tried again later. Old ones stay, because the service's account deletes nothing.
"""

import asyncio
import logging

from ledger import snapshots
from ledger.domain.state import FOLD_VERSION
from ledger.fold import Fold
from ledger.ports import Aside, Snapshot, Spawn, Store, StoreFault
from ledger.system import end
from ledger.writer.writer import Writer

__all__ = ["EVERY", "Snapshotter"]

_log = logging.getLogger(__name__)

EVERY = 20_000  # events, which are folded in a second or so; a start that has to fold no more than that takes three
LOOK_SECONDS = 1.0
FIRST_BACKOFF_SECONDS = 10.0
MAX_BACKOFF_SECONDS = 600.0


class Snapshotter:
    """`start` once, `stop` once. A snapshot is due when the fold is `every` events beyond the newest that is known."""

    def __init__(self, store: Store, writer: Writer, *, spawn: Spawn, aside: Aside, every: int = EVERY) -> None:
        self._store = store
        self._writer = writer
        self._spawn = spawn
        self._aside = aside
        self._every = every
        self._known = 0
        self._logged = ""
        self._backoff = FIRST_BACKOFF_SECONDS
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        assert self._task is None, "already started"
        self._task = self._spawn(self._run(), name="snapshotter")

    async def stop(self) -> None:
        """End the task; a snapshot under way is written whole or not at all."""
        task, self._task = self._task, None
        if task is not None:
            await end(task)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except Exception as why:
                self._say(why)
                await asyncio.sleep(self._backoff)
                self._backoff = min(2 * self._backoff, MAX_BACKOFF_SECONDS)

    def _say(self, why: Exception) -> None:
        if str(why) != self._logged:
            _log.warning("no snapshot was written: %s", why, exc_info=not isinstance(why, StoreFault))
        self._logged = str(why)

    async def _look(self) -> None:
        fold = self._due()
        if fold is None:
            return
        await self._note_others(fold)
        fold = self._due()  # what it was before is past
        if fold is None:
            return
        snapshot = await self._snapshot(fold)
        if not self._writer.is_forbidden:
            await self._store.put_snapshot(snapshot)
            self._known = snapshot.position
            self._logged, self._backoff = "", FIRST_BACKOFF_SECONDS

    def _due(self) -> Fold | None:
        """Give the fold when a snapshot of it is due, and nothing forbids one."""
        fold = self._writer.fold
        if fold is None or fold.is_spoilt or self._writer.is_forbidden:
            return None
        newest = max(self._known, self._writer.began_at)
        return fold if fold.position - newest >= self._every else None

    async def _note_others(self, fold: Fold) -> None:
        """See whether another process wrote one since, of this very log."""
        newest = await self._store.newest_snapshot(FOLD_VERSION, at_most=fold.position)
        if newest is not None and snapshots.is_whole(newest):
            here = await self._store.events_at([newest.position])
            if here and here[0].hash == newest.hash:
                self._known = max(self._known, newest.position)

    async def _snapshot(self, fold: Fold) -> Snapshot:
        """Write a fold down, line by line, with everybody else in between; the rest is done aside."""
        lines: list[bytes] = []
        with snapshots.draft(fold) as draft:
            for line in draft.lines:
                lines.append(line)
                await asyncio.sleep(0)
        made: list[Snapshot] = []
        await self._aside(lambda: made.append(snapshots.pack(draft.position, draft.hash, lines)))
        return made[0]
