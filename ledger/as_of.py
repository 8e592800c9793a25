"""The state of the ledger as it was: folds up to past positions, made beside the service and kept for a while.

Whoever asks waits a bounded time; the fold goes on, and a later try finds it. One is made at a time, in slices as short
as the rests between them, so that commands go on. A fold that is kept is never changed: what goes on from it is a
twin, which copies each sequence before it changes it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from ledger import snapshots
from ledger.codec import UnknownEvent
from ledger.domain.calendar import instant_text
from ledger.domain.rejection import Code, Rejection
from ledger.domain.state import FOLD_VERSION
from ledger.fold import BrokenChain, Fold
from ledger.ports import Aside, Clock, Fault, Record, Snapshot, Spawn, Store, StoreFault
from ledger.snapshots import Unusable
from ledger.system import end
from ledger.writer.follower import stopped

__all__ = ["AsOf"]

KEPT = 4  # folds; those that go on from one another share what did not change
MAX_WAITING = 16  # positions that were asked for and are not folded yet
PAGE = 250  # events read at a time
SLICE_SECONDS = 0.004
MAX_REST_SECONDS = 0.05
PROBES = 16  # positions looked at together, between which a time lies


class AsOf:
    """Folds of one ledger's log. `stop` once, when nobody asks any more."""

    def __init__(self, store: Store, *, clock: Clock, spawn: Spawn, aside: Aside, seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._spawn = spawn
        self._aside = aside
        self._seconds = seconds
        self._kept: OrderedDict[int, Fold] = OrderedDict()
        self._asked: dict[int, asyncio.Future[Fold]] = {}
        self._task: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await end(task)
            self._give_up()  # it may not have begun

    async def fold(self, ledger_id: str, position: int) -> Fold:
        """Give the fold up to a position, which nobody may change; a Fault, STILL_FOLDING, when it takes too long."""
        kept = self._kept.get(position)
        if kept is not None:
            self._kept.move_to_end(position)
            return kept
        asked = self._asked.get(position) or self._ask(ledger_id, position)
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.shield(asked)
        except TimeoutError:
            happened = f"the state as of position {position} is still being folded from the log"
            raise Fault(Code.STILL_FOLDING, happened, advice="ask again") from None

    async def position(self, position: int | None, time: int | None, end: int) -> int:
        """Give the position that is meant, in a log that ends at `end`; NOT_IN_HISTORY when it does not reach there."""
        if position is None:
            assert time is not None
            return await self._position_at(time, end)
        if position > end:
            detail = f"the log ends at position {end}, before position {position}"
            raise Rejection(Code.NOT_IN_HISTORY, detail, members={"position": end})
        if not position:
            raise Rejection(Code.NOT_IN_HISTORY, "the log begins with position 1: nothing was there before")
        return position

    async def _position_at(self, time: int, end: int) -> int:
        """Give the position of the last event recorded at a time or before; a Rejection when there is none."""
        low, high = 0, end
        while low < high:
            probed = sorted({low + (high - low) * step // PROBES + 1 for step in range(PROBES)})
            records = await self._store.events_at([position for position in probed if position <= high])
            low = max((each.position for each in records if each.recorded_at <= time), default=low)
            high = min((each.position for each in records if each.recorded_at > time), default=high + 1) - 1
        if not low:
            detail = f"the log begins after {instant_text(time)}: nothing was there yet"
            raise Rejection(Code.NOT_IN_HISTORY, detail)
        return low

    def _ask(self, ledger_id: str, position: int) -> asyncio.Future[Fold]:
        if len(self._asked) >= MAX_WAITING:
            raise Fault(Code.STILL_FOLDING, f"{MAX_WAITING} other moments are waited for", advice="ask again")
        future: asyncio.Future[Fold] = asyncio.get_running_loop().create_future()
        self._asked[position] = future
        if self._task is None or self._task.done():
            self._task = self._spawn(self._run(ledger_id), name="as-of")
        return future

    async def _run(self, ledger_id: str) -> None:
        """Fold what was asked for, the lowest position first: what is higher goes on from there."""
        try:
            while self._asked:
                position = min(self._asked)
                result = await self._attempted(ledger_id, position)
                future = self._asked.pop(position)
                future.set_exception(result) if isinstance(result, Exception) else future.set_result(result)
                future.exception()  # nobody may be waiting any more
        finally:
            self._give_up()

    def _give_up(self) -> None:
        for future in self._asked.values():
            future.set_exception(Fault(Code.SHUTTING_DOWN, "the service is stopping", advice="ask another process"))
            future.exception()
        self._asked.clear()

    async def _attempted(self, ledger_id: str, position: int) -> Fold | Exception:
        try:
            fold = await self._begun(ledger_id, position)
            await self._go_on(fold, position)
        except (Fault, UnknownEvent, BrokenChain) as why:
            return why if isinstance(why, Fault) else stopped(str(why))
        self._keep(fold)
        return fold

    async def _begun(self, ledger_id: str, position: int) -> Fold:
        """Begin at the fold that is nearest: one that is kept, a snapshot's, or the one before the first event."""
        nearest = max((kept for kept in self._kept if kept <= position), default=0)
        snapshot = await self._from_snapshot(ledger_id, nearest, position)
        if snapshot is not None:
            return snapshot
        return self._kept[nearest].twin() if nearest else Fold(ledger_id)

    async def _from_snapshot(self, ledger_id: str, behind: int, position: int) -> Fold | None:
        try:
            found = await self._store.newest_snapshot(FOLD_VERSION, at_most=position)
            if found is None or found.position <= behind:
                return None
            fold = await self._read(found, ledger_id)
            (last,) = await self._store.events_at([found.position])
        except (Unusable, StoreFault, ValueError):
            return None  # the events alone will do
        return fold if last.hash == fold.hash else None

    async def _read(self, snapshot: Snapshot, ledger_id: str) -> Fold:
        """Read a snapshot, which may take as long as many slices."""
        done: list[Fold] = []
        await self._aside(lambda: done.append(snapshots.read(snapshot, ledger_id)))
        return done[0]

    async def _go_on(self, fold: Fold, position: int) -> None:
        while fold.position < position:
            records = await self._store.events(after=fold.position, limit=min(PAGE, position - fold.position))
            if not records:
                raise BrokenChain(f"the log ends at position {fold.position}, before {position}")
            for part in self._slices(fold, records):
                await asyncio.sleep(part)

    def _slices(self, fold: Fold, records: Sequence[Record]) -> Iterator[float]:
        """Fold for a moment at a time; gives how long to rest then, as long as that took."""
        began = self._clock.monotonic()
        for record in records:
            fold.take([record])
            took = self._clock.monotonic() - began
            if took >= SLICE_SECONDS:
                yield min(took, MAX_REST_SECONDS)
                began = self._clock.monotonic()
        yield min(max(self._clock.monotonic() - began, 0), MAX_REST_SECONDS)

    def _keep(self, fold: Fold) -> None:
        self._kept[fold.position] = fold
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
