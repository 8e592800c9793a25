"""Runs in which writing must stop: the disk is swapped under two busy processes, and nobody may append again.

At last an operator accepts it, and they write on, behind a fence where events are lost.
"""

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum
from random import Random

from ledger.domain.commands import Fence, Issue, Reserve
from ledger.domain.rejection import Code, Rejection
from ledger.fold import Fold
from ledger.ports import Fault, OutcomeUnknown, Record, Stop, StopKind
from ledger.queries import Reader
from ledger.stores.stops import all_stops, text_of
from ledger.writer.clocks import Clocks
from projections.mirror.stream import Entry
from replay.resumption import AcceptedStops, Beside, accept, judged
from replay.stops import Way
from tests.invariants import check_log
from tests.simulation.clients import Intent
from tests.simulation.database import FaultyStore, Weather
from tests.simulation.loop import SimulatedLoop, run
from tests.simulation.process import SeededIds, SkewedClock
from tests.simulation.surgery import forked, one_more, unknown_next
from tests.simulation.world import NAMES, World, watched_log

__all__ = ["Damage", "run_stop"]

NOTICE_SECONDS = 30.0  # how long a process may take to see it when all calls work again


class Damage(StrEnum):
    SET_BACK = "an older copy of the log"
    FORKED = "another event at the end"
    FORKED_EARLIER = "another event earlier, and more of them"
    STOPPED = "the head is marked as stopped"
    STOPPED_AND_SET_BACK = "an older copy of the log, which is stopped for another reason"
    UNKNOWN = "an event that only a later version knows"


# What a process notices by itself it must tell, through the head; it must not for what only it cannot read.
MARKED: dict[Damage, set[StopKind]] = {
    Damage.SET_BACK: {StopKind.LOG_BEHIND},
    Damage.FORKED: {StopKind.LOG_FORKED},
    Damage.FORKED_EARLIER: {StopKind.LOG_FORKED},
    Damage.STOPPED: {StopKind.EARLIER_BUILD},
    Damage.STOPPED_AND_SET_BACK: {StopKind.MIRROR_FORKED, StopKind.LOG_BEHIND},
    Damage.UNKNOWN: set(),
}
BY_MIRROR = {StopKind.MIRROR_AHEAD, StopKind.MIRROR_FORKED}  # which may hold what was taken away, or not yet
OF_THE_MIRROR = Stop(StopKind.MIRROR_FORKED, "tells another history", stopped_at=1)


async def until(condition: Callable[[], bool], seconds: float) -> None:
    while not condition():  # noqa: ASYNC110  no event is set by what processes have folded
        await asyncio.sleep(seconds)


class StopWorld(World):
    def __init__(self, seed: int | str, loop: SimulatedLoop, damage: Damage) -> None:
        super().__init__(seed, loop)
        self.damage = damage
        self.lost: list[Record] = []  # the log as it was before the damage

    async def run(self) -> None:
        self.start_processes()
        await self.define_series()
        # Nobody dies before the mark is made: a process that forgets what it has seen could not tell.
        weather = Weather.draw(self.random)
        self.database.weather = Weather(*(getattr(weather, name) for name in Weather.__slots__[:-1]))
        clients = [self._start(client.run(), "client") for client in self.clients()]
        await asyncio.sleep(self.random.uniform(1.0, 6.0))
        await self._harm()
        frozen = list(self.database.log.records)
        await asyncio.gather(*clients)
        await self.calm_down()
        await asyncio.sleep(NOTICE_SECONDS)
        await self._check_refused()
        self._check_marked()
        await self._restart()
        await self._check_refused()
        self._check_marked()
        assert self.database.log.records == frozen, "something was appended after the stop"
        if self.damage is not Damage.UNKNOWN:
            await self._resume()
            await self._check_resumed()
        await self.close()

    async def _harm(self) -> None:
        """Wait until both processes have seen what the damage takes away, and do it."""
        await until(self._seen_by_all, 0.001)
        records = list(self.database.log.records)
        check_log(records, self.database.log.head)
        stops = [OF_THE_MIRROR] if self.damage is Damage.STOPPED_AND_SET_BACK else []
        self.lost = records
        text = "operator" if self.damage is Damage.STOPPED else text_of(stops)
        self.database.swap(self._damaged(records), *stops, stopped=text)
        self.seen[self.damage.value] += 1

    async def _resume(self) -> None:
        """Let an operator accept what stands, who asks again as often as he is not told that it was done."""
        random = Random(f"{self.seed}/operator")
        id = self.database.log.head.ledger_id
        beside = Beside(Clocks(SkewedClock(random)), self.mirror.connect(id, 0) if random.random() < 0.5 else None)
        self.database.weather = Weather.draw(random)
        store, ids = FaultyStore(self.database), SeededIds(random)
        while True:
            try:
                if not await store.stops():
                    break
                await self._accept(store, beside, ids)
            except (Fault, OutcomeUnknown, Rejection):  # or what was in doubt has happened meanwhile
                self.seen["resume: asked again"] += 1
                await asyncio.sleep(1.0)
        await self.calm_down()
        assert not self.database.log.head.is_stopped
        self.seen["resumed"] += 1

    async def _accept(self, store: FaultyStore, beside: Beside, ids: SeededIds) -> None:
        found = await judged(store, beside)
        assert {each.way for each in found} <= {Way.ACCEPT}, found
        reader = Reader(store)
        await reader.fresh()
        assert reader.fold is not None
        end = reader.fold
        is_fenced = any(each.is_fenced for each in found)
        assert is_fenced is (self.damage is not Damage.STOPPED)
        fence = Fence(end.position, end.recorded_at, self._margin(end.position), "simulated") if is_fenced else None
        accepted = AcceptedStops([each.stop for each in found], "operator", "simulated", fence)
        await accept(store, end, accepted, beside, ids)

    def _margin(self, position: int) -> int:
        """Say how many values any sequence issued in what was lost, as the operator knows, and one more."""
        left = self._high_waters(self.database.log.records[:position])
        return max(high - left.get(id, 0) for id, high in self._high_waters(self.lost).items()) + 1

    def _high_waters(self, records: Sequence[Record]) -> dict[str, int]:
        fold = Fold(self.database.log.head.ledger_id)
        fold.take(records)
        return {each.id: each.high_water for each in fold.state.sequences()}

    async def _check_resumed(self) -> None:
        """Processes write again; no number that was told is issued again, though the log has lost its event."""
        if self.damage is not Damage.STOPPED:
            for process in self.desk.up():
                process.crash()  # one that has seen what was lost goes on refusing, rightly
            await until(lambda: len(self.desk.up()) == len(NAMES), 0.1)
        for name in NAMES:
            for _ in range(3):
                intent = Intent("issue", lambda ids: Issue(Reserve("NEVER", ids.token()), "late"), "operator")
                await self.insist(lambda process, name=name: process.name == name, intent)  # type: ignore[misc]
        await asyncio.sleep(NOTICE_SECONDS)
        records, head = list(self.database.log.records), self.database.log.head
        check_log(records, head)
        self._check_no_number_twice([attempt.outcome for _, attempt in self.desk.attempts if attempt.outcome])
        held = [each._replace(mac=b"") for each in self.mirror.held.entries]
        assert held == [Entry(each.position, each.body, each.hash) for each in records]

    def _seen_by_all(self) -> bool:
        end = self.database.log.head.position
        must_have_seen = end if self.damage is Damage.FORKED else end - 1
        seen = [process.ledger.position for process in self.desk.up()]
        return end > 6 and len(seen) == len(NAMES) and min(seen) >= must_have_seen

    def _damaged(self, records: list[Record]) -> list[Record]:
        match self.damage:
            case Damage.SET_BACK | Damage.STOPPED_AND_SET_BACK:
                return records[: -self.random.randint(2, 4)]
            case Damage.FORKED:
                return forked(records, len(records))
            case Damage.FORKED_EARLIER:
                return forked(one_more(records), len(records) - self.random.randint(1, 3))
            case Damage.UNKNOWN:
                return unknown_next(records)
            case Damage.STOPPED:
                return records

    def _check_marked(self) -> None:
        """Every reason stands, whichever was found first, and a build of before sees that there is one."""
        log = self.database.log
        kinds, marked = {stop.kind for stop in all_stops(log.stops, log.head)}, MARKED[self.damage]
        assert marked <= kinds <= marked | BY_MIRROR
        assert log.head.stops == len(log.stops)
        assert (log.head.stopped is not None) == bool(kinds)
        self.seen.update(f"stopped: {kind}" for kind in kinds)

    async def _check_refused(self) -> None:
        for process in self.desk.up():
            intent = Intent("issue", lambda ids: Issue(Reserve("NEVER", ids.token()), "late"), "operator")
            attempt, task = self.desk.ask(process, intent)
            await asyncio.wait([task])
            assert isinstance(attempt.answer, Fault), f"{process.name} wrote after the stop: {attempt}"
            assert attempt.answer.code is Code.LEDGER_STOPPED

    async def _restart(self) -> None:
        for process in self.desk.up():
            process.crash()
        await until(lambda: len(self.desk.up()) == len(NAMES), 0.1)
        await asyncio.sleep(NOTICE_SECONDS)


def run_stop(seed: int | str, damage: Damage) -> list[Record]:
    loop = SimulatedLoop(Random(f"{seed}/loop"))
    world = StopWorld(f"{seed}/{damage.name}", loop, damage)
    with watched_log():
        run(loop, world.run())
    return world.database.log.records
