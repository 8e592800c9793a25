"""The relay, one promise at a time, on memory and in simulated time; whole runs of it are in the simulation."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from ledger.domain.commands import Fence, RaiseFormat
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.rejection import Code
from ledger.fold import Fold
from ledger.ports import Record, Stop, StopKind
from ledger.queries import Reader
from ledger.stores.memory import MemoryLog
from ledger.system import RandomIds
from ledger.writer import Outcome
from ledger.writer.clocks import Clocks
from projections.mirror.copier import EVENTS
from projections.mirror.memory import MemoryEntries, MemoryStream
from projections.mirror.redis import ANSWER_SECONDS
from projections.mirror.relay import Limits, Relay
from projections.mirror.stream import Entry, StreamFault, Tail
from replay.fence import records_of
from replay.restore import RESTORING
from replay.resumption import AcceptedStops, Beside, accept
from tests.mirror.test_upkeep import Place
from tests.simulation.database import SECOND
from tests.simulation.scripted import simulated_now
from tests.simulation.surgery import put
from tests.test_writer import Bench, LoopClock, answer, envelope, ledger, mark, now, simulated, spawn, values


class Line(MemoryStream):
    """A line to the stream that can be told to fail, and to take its time."""

    failing: frozenset[str] = frozenset()
    seconds: float = 0.0
    is_hung: bool = False

    def __getattribute__(self, name: str) -> Any:
        if name in Line.failing:
            raise StreamFault(f"{name} fails")
        return super().__getattribute__(name)

    async def probe(self) -> Tail:
        if Line.is_hung:
            await asyncio.sleep(ANSWER_SECONDS)
            raise StreamFault("no answer")
        return await super().probe()

    async def append(self, *arguments: Any, **options: Any) -> bool:
        await asyncio.sleep(Line.seconds)
        return await super().append(*arguments, **options)


@pytest.fixture(autouse=True)
def whole_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Line, "failing", frozenset())
    monkeypatch.setattr(Line, "seconds", 0.0)
    monkeypatch.setattr(Line, "is_hung", False)


@asynccontextmanager
async def mirrored(bench: Bench, **options: Any) -> AsyncIterator[tuple[Relay, MemoryEntries]]:
    held: MemoryEntries = options.pop("held", None) or MemoryEntries()
    relay = Relay(
        bench.store, bench.writer, lambda *_: Line(held), clock=LoopClock(), spawn=spawn, limits=Limits(), **options
    )
    relay.start()
    yield relay, held
    await relay.stop()


def entries(log: MemoryLog) -> list[Entry]:
    return [Entry(record.position, record.body, record.hash) for record in log.records]


async def until(holds: Callable[[], bool], within: float = 10.0) -> None:
    for _ in range(int(within / 0.01)):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within {within} s")


@simulated
async def test_what_was_just_committed_is_not_read_back() -> None:
    async with ledger() as bench, mirrored(bench) as (relay, held):
        await until(lambda: not relay.status.fallback_mode)
        before = bench.store.calls["events"]
        for _ in range(50):
            await asyncio.gather(*(bench.do(bench.reserve()) for _ in range(20)))
        await until(lambda: held.entries == entries(bench.log))
        assert len(held.entries) > 1000
        assert bench.store.calls["events"] == before


@simulated
async def test_the_last_events_are_mirrored_when_it_ends() -> None:
    async with ledger() as bench:
        async with mirrored(bench) as (relay, held):
            await until(lambda: not relay.status.fallback_mode)
            await bench.do(bench.reserve())
        assert held.entries == entries(bench.log)


@pytest.mark.parametrize("begins", [True, False])
@simulated
async def test_what_is_written_at_once_after_the_comparison_is_mirrored_when_it_ends(begins: bool) -> None:
    """As the command line does: it waits for the comparison, writes once and ends before a probe was answered."""
    log = MemoryLog("L") if begins else await some_events()
    held = MemoryEntries()
    if not begins:
        await MemoryStream(held).append(log.records, b"", begin=True)
    Line.is_hung = True
    async with ledger(log) as bench:
        async with mirrored(bench, held=held):
            await bench.do(bench.reserve())
            assert held.entries != entries(log)
        assert held.entries == entries(log)


@pytest.mark.parametrize("begins", [True, False])
@simulated
async def test_what_was_written_while_the_mirror_seemed_to_hang_is_mirrored_when_it_ends(begins: bool) -> None:
    """A command that defines series computes for seconds, in which it sees no answer of a mirror that is well."""
    log = MemoryLog("L") if begins else await some_events()
    held = MemoryEntries()
    if not begins:
        await MemoryStream(held).append(log.records, b"", begin=True)
    async with ledger(log) as bench:
        async with mirrored(bench, held=held) as (relay, _):
            await until(lambda: not relay.status.fallback_mode)
            Line.is_hung = True
            await until(lambda: relay.status.fallback_mode)
            await bench.do(bench.reserve())
            assert held.entries != entries(log)
        assert held.entries == entries(log)
        assert relay.status.position == log.head.position


@simulated
async def test_all_that_the_mirror_lacks_is_mirrored_when_it_ends_as_long_as_that_goes_on() -> None:
    log, held = MemoryLog("L"), MemoryEntries()
    async with ledger(log) as bench:
        for _ in range(20):
            await asyncio.gather(*(bench.do(bench.reserve()) for _ in range(100)))
        Line.seconds = 0.9 * Limits().flush_seconds
        async with mirrored(bench, held=held) as (relay, _):
            await until(lambda: relay.status.is_reached)
        assert log.head.position > 4 * EVENTS
        assert held.entries == entries(log)


@simulated
async def test_it_ends_in_time_although_the_mirror_takes_nothing() -> None:
    async with ledger() as bench:
        async with mirrored(bench) as (relay, held):
            await until(lambda: not relay.status.fallback_mode)
            before = list(held.entries)
            Line.seconds = 1_000.0
            await bench.do(bench.reserve())
            began = now()
        assert now() - began <= Limits().flush_seconds + 0.1
        assert held.entries == before


@pytest.mark.parametrize("is_finished", [True, False])
@simulated
async def test_nothing_of_a_restored_log_is_mirrored_when_it_ends(is_finished: bool) -> None:
    log, held = await some_events(), MemoryEntries()
    whole = list(log.records)
    await MemoryStream(held).append(whole[:5], b"", begin=True)
    before = list(held.entries)
    Line.is_hung = True
    async with mirrored(Bench(log), held=held) as (relay, _):
        await until(lambda: relay.status.is_reached)
        if is_finished:
            put(log, fenced(whole[:7], log))
        else:
            put(log, whole[:7], stops=[RESTORING])
    assert held.entries == before


@simulated
async def test_it_ends_although_a_driver_forgets_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forgetful(stream: Line) -> Tail:
        monkeypatch.undo()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1_000)
        return await stream.tail()

    async with ledger() as bench:
        async with mirrored(bench) as (relay, _):
            await until(lambda: not relay.status.fallback_mode)
            monkeypatch.setattr(Line, "probe", forgetful)
            await asyncio.sleep(1)
        assert relay._task
        assert relay._task.done()


@simulated
async def test_a_process_writes_nothing_before_what_it_has_seen_mirrored() -> None:
    """Another process wrote and mirrored while this one did nothing; then the database lost what that one wrote."""
    async with ledger(sound=False, idle_seconds=10_000) as bench, mirrored(bench) as (relay, held):
        await until(lambda: not relay.status.fallback_mode)
        place = Place(bench.log)
        place.held, place.stream = held, MemoryStream(held)
        seen = bench.log.head.position
        async with ledger(bench.log, sound=False) as other:
            assert isinstance(await answer(other.do(other.reserve())), Outcome)
        await place.mirror()
        await asyncio.sleep(2)
        place.cut(seen)
        assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED
        assert bench.log.head.position == seen


@simulated
async def test_a_mirror_that_hangs_is_noticed_although_nobody_writes() -> None:
    """Within the time to the next probe and that of its answer."""
    async with ledger() as bench, mirrored(bench) as (relay, _):
        await until(lambda: not relay.status.fallback_mode)
        Line.is_hung, began = True, now()
        await until(lambda: relay.status.fallback_mode)
        assert now() - began <= Limits().probe_seconds + ANSWER_SECONDS + 0.1
        Line.is_hung = False
        await until(lambda: not relay.status.fallback_mode)


@simulated
async def test_a_mirror_that_stays_behind_falls_back() -> None:
    """Each answer comes in time, and yet it falls further behind."""
    async with ledger() as bench, mirrored(bench) as (relay, held):
        await until(lambda: not relay.status.fallback_mode)
        Line.seconds = 0.9
        done = False

        async def load() -> None:
            while not done:
                await bench.do(bench.reserve())
                await asyncio.sleep(0.001)

        loading = asyncio.create_task(load())
        await until(lambda: "events behind the log, and catching up" in (relay.status.detail or ""))
        assert relay.status.is_reached
        Line.seconds, done = 0.0, True
        await loading
        await until(lambda: not relay.status.fallback_mode)
        assert held.entries == entries(bench.log)


@simulated
async def test_what_cannot_be_trimmed_keeps_the_mirror_from_nothing_else() -> None:
    async with ledger() as bench, mirrored(bench, retention=3) as (relay, held):
        await until(lambda: not relay.status.fallback_mode)
        Line.failing = frozenset({"trim"})
        for _ in range(20):
            await bench.do(bench.reserve())
            await asyncio.sleep(1)
            assert not relay.status.fallback_mode
        assert held.entries == entries(bench.log)
        Line.failing = frozenset()
        await until(lambda: len(held.entries) == 3, within=20.0)


@simulated
async def test_nothing_is_trimmed_of_a_log_that_is_shorter_than_what_is_kept() -> None:
    async with ledger() as bench, mirrored(bench, retention=1000) as (relay, held):
        for _ in range(5):
            await bench.do(bench.reserve())
        await asyncio.sleep(30)
        assert not relay.status.fallback_mode
        assert held.entries == entries(bench.log)


@simulated
async def test_an_outage_is_one_line_in_the_log() -> None:
    async with ledger() as bench, mirrored(bench) as (relay, _):
        await until(lambda: not relay.status.fallback_mode)
        Line.failing = frozenset({"probe"})
        await until(lambda: relay.status.fallback_mode)
        logged = relay._logged
        for _ in range(50):
            await asyncio.sleep(1)
            assert relay.status.fallback_mode
            assert relay._logged == logged == "probe fails"
        Line.failing = frozenset()
        await until(lambda: not relay.status.fallback_mode)


@simulated
async def test_the_position_of_a_mirror_that_disagrees_is_told() -> None:
    held = MemoryEntries()
    held.entries, held.last = [Entry(7, b"{}", b"another history's")], 7
    async with ledger(sound=False) as bench, mirrored(bench, held=held) as (relay, _):
        await until(lambda: bench.log.head.stopped is not None)
        assert relay.status.position == 7
        assert "is no part of this log" in (relay.status.detail or "")


# Restores beside a service that runs


class Streams:
    """What a Redis holds of a ledger, by the generation of each stream; `ask` happens before one tells its end."""

    def __init__(self) -> None:
        self.held: dict[int, MemoryEntries] = {}
        self.ask: Callable[[], None] = lambda: None

    def connect(self, _: str, generation: int) -> MemoryStream:
        return _Asked(self.held.setdefault(generation, MemoryEntries()), self)


class _Asked(MemoryStream):
    def __init__(self, held: MemoryEntries, streams: Streams) -> None:
        super().__init__(held)
        self._streams = streams

    async def tail(self) -> Tail:
        self._streams.ask()
        return await super().tail()


@asynccontextmanager
async def relayed(bench: Bench, streams: Streams) -> AsyncIterator[Relay]:
    relay = Relay(bench.store, bench.writer, streams.connect, clock=LoopClock(), spawn=spawn)
    relay.start()
    yield relay
    await relay.stop()


def fenced(records: Sequence[Record], log: MemoryLog) -> list[Record]:
    """Give what a restore of these records leaves."""
    fold = Fold(log.head.ledger_id)
    fold.take(records)
    last = records[-1]
    end = log.head._replace(position=last.position, hash=last.hash, recorded_at=last.recorded_at)
    fence = Fence(last.position, last.recorded_at, 10, "the disk was lost")
    return [*records, *records_of(fold.state, end, fence, envelope(), last.recorded_at + 1)]


async def some_events() -> MemoryLog:
    async with ledger() as bench:
        for _ in range(9):
            await bench.do(bench.reserve())
    return bench.log


@simulated
async def test_a_fence_begins_another_stream() -> None:
    """Whatever the stream of before says: who starts next compares with the new one, and must find there what was told.

    The database was lost and restored under a process that ran on, and noticed it only when that was finished.
    """
    streams = Streams()
    async with ledger() as bench, relayed(bench, streams) as relay:
        await until(lambda: not relay.status.fallback_mode)
        for _ in range(3):
            await bench.do(bench.reserve())
        before = list(bench.log.records)
        await until(lambda: streams.held[0].entries == entries(bench.log))
        put(bench.log, fenced(before, bench.log))
        for _ in range(3):
            await bench.do(bench.reserve())
        await until(lambda: 1 in streams.held and streams.held[1].entries == entries(bench.log))
        assert not relay.status.fallback_mode
        assert streams.held[0].entries == entries(bench.log)[: len(before)]
    whole = bench.log.head.position
    put(bench.log, bench.log.records[:-2])
    async with ledger(bench.log, sound=False) as bench, relayed(bench, streams):
        await until(lambda: bench.log.head.stops == 1)
        assert bench.log.stops[0].kind is StopKind.MIRROR_AHEAD
        assert bench.log.head.position == whole - 2


@simulated
async def test_a_fence_that_an_operator_accepted_begins_another_stream_too() -> None:
    """Under a process that runs on, and that nobody asks for anything: it follows the log, and the log its fence."""
    streams = Streams()
    async with ledger() as bench, relayed(bench, streams) as relay:
        await until(lambda: not relay.status.fallback_mode)
        await bench.do(RaiseFormat(NEWEST_FORMAT, "by a test"))
        await bench.do(bench.reserve())
        await until(lambda: streams.held[0].entries == entries(bench.log))
        before = list(bench.log.records)
        await mark(bench, Stop(StopKind.EARLIER_BUILD, "an operator looks at it"))
        reader = Reader(bench.store)
        await reader.fresh()
        assert reader.fold is not None
        end = reader.fold
        fence = Fence(end.position, end.recorded_at, 10, "lost")
        acceptance = AcceptedStops(await bench.store.stops(), "operator", "lost", fence)
        await accept(bench.store, end, acceptance, Beside(Clocks(bench.clock)), RandomIds())
        await until(lambda: 1 in streams.held and streams.held[1].entries == entries(bench.log))
        assert streams.held[0].entries == entries(bench.log)[: len(before)]
        await until(lambda: not relay.status.fallback_mode)
        assert values(await bench.do(bench.reserve())) == [12]
    assert streams.held[1].entries == entries(bench.log)


@pytest.mark.parametrize("held", [0, 4, 10])
@simulated
async def test_nothing_is_mirrored_of_half_a_restore(held: int) -> None:
    """It may be given up for another one. Who asks is told of the restore, and not what half of a log looks like."""
    log, streams = await some_events(), Streams()
    whole = list(log.records)
    await streams.connect("", 0).append(whole[: held or 1], b"", begin=True)
    streams.held[0].entries = streams.held[0].entries[:held]
    before = list(streams.held[0].entries)
    put(log, whole[:6], stops=[RESTORING])
    bench = Bench(log)
    async with relayed(bench, streams) as relay:
        bench.writer.start()
        for _ in range(20):
            assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED
            await asyncio.sleep(0.1)
        assert "a restore into this database was not finished" in (relay.status.detail or "")
        assert (streams.held[0].entries, streams.held[0].last, log.stops) == (before, held or 1, [RESTORING])
        put(log, fenced(whole, log))
        await until(lambda: not relay.status.fallback_mode)
        await bench.do(bench.reserve())
        await until(lambda: streams.held[1].entries == entries(log))
        assert (streams.held[0].entries, streams.held[0].last) == (before, held or 1)
        await bench.writer.stop()


@pytest.mark.parametrize("asked", range(1, 4))
@pytest.mark.parametrize("lost", [0, 2])
@simulated
async def test_a_restore_is_finished_while_its_log_is_compared(asked: int, lost: int) -> None:
    """The stream of before is of another generation then, and neither takes the fence nor stops the ledger."""
    log, streams = await some_events(), Streams()
    whole, times = list(log.records), iter(range(1, 1_000))
    await streams.connect("", 0).append(whole, b"", begin=True)
    before = list(streams.held[0].entries)
    log = MemoryLog(log.head.ledger_id)

    def finish() -> None:
        if next(times) == asked:
            put(log, fenced(whole[: len(whole) - lost], log))

    streams.ask = finish
    bench = Bench(log)
    async with relayed(bench, streams) as relay:
        bench.writer.start()
        await until(lambda: log.head.position > 0 and not relay.status.fallback_mode)
        await bench.do(bench.reserve())
        await until(lambda: streams.held[1].entries == entries(log))
        assert (streams.held[0].entries, log.head.is_stopped) == (before, False)
        await bench.writer.stop()


@pytest.mark.parametrize("redis_leaps", [True, False])
def test_redis_bears_witness(redis_leaps: bool) -> None:
    """Whether the clocks of database and process were set right, or leapt together."""

    @simulated
    async def run() -> None:
        held = MemoryEntries(lambda: simulated_now() + int(wrong_by * SECOND))
        wrong_by = 0.0
        async with ledger() as bench, mirrored(bench, held=held) as (relay, _):
            await until(lambda: not relay.status.fallback_mode)
            await until(lambda: bench.writer.clocks.times.witness is not None)
            bench.store.wrong_by = bench.clock.wrong_by = 3600.0
            wrong_by = 3600.0 if redis_leaps else 0.0
            await asyncio.sleep(70)
            outcome = await answer(bench.do(bench.reserve()))
            assert (outcome is Code.CLOCK_UNSURE) is not redis_leaps
            assert bench.writer.clocks.times.witness is not None
            bench.store.wrong_by = bench.clock.wrong_by = wrong_by = 0.0
            await asyncio.sleep(70)

    run()


@simulated
async def test_a_witness_that_cannot_be_asked_keeps_the_mirror_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Line, "failing", frozenset({"time"}))
    async with ledger() as bench, mirrored(bench) as (relay, held):
        await until(lambda: not relay.status.fallback_mode)
        await bench.do(bench.reserve())
        await until(lambda: held.entries == entries(bench.log))
        assert not relay.status.fallback_mode
        assert bench.writer.clocks.times.witness is None
