"""A writer and wrong clocks: what it writes, what it refuses, what it says, and how it goes on.

`tests/domain/test_clocks.py` has the table of what is a leap.
"""

import asyncio
import logging
import time

import pytest

from ledger.domain.calendar import instant_text
from ledger.domain.commands import Confirm
from ledger.domain.rejection import Code
from ledger.ports import StopKind
from ledger.stores.memory import MemoryLog
from ledger.system import RandomIds, SystemClock
from ledger.writer import Outcome
from ledger.writer.clocks import ClockFault, Clocks
from replay.resumption import AcceptedStops, Beside, accept, judged
from replay.stops import Way
from tests.given import SECOND
from tests.test_writer import Bench, answer, ledger, simulated

HOUR, YEAR = 3600.0, 31_536_000.0
IDLE_SECONDS = 1.5  # longer than an idle writer waits before it looks at the clocks


def leap(bench: Bench, *, database: float = 0.0, process: float = 0.0) -> None:
    bench.store.wrong_by, bench.clock.wrong_by = database, process


def fault_of(bench: Bench) -> Code | None:
    return bench.writer.fault.code if bench.writer.fault else None


LEAPS: list[tuple[float, float]] = [
    (2 * YEAR, 0.0),
    (-2 * YEAR, 0.0),
    (HOUR, 0.0),
    (0.0, HOUR),
    (0.0, -HOUR),
    (HOUR, HOUR),
    (-HOUR, -HOUR),
    (2 * YEAR, 2 * YEAR),
]


@pytest.mark.parametrize(("database", "process"), LEAPS)
@simulated
async def test_nothing_is_written_while_a_clock_is_wrong(database: float, process: float) -> None:
    async with ledger() as bench:
        await bench.do(held := bench.reserve(ttl_seconds=600))
        before = bench.log.head
        leap(bench, database=database, process=process)
        with pytest.raises(ClockFault) as caught:
            await bench.do(bench.reserve())
        assert caught.value.code is Code.CLOCK_UNSURE
        told = caught.value.members["clocks"]
        assert told == bench.writer.clocks.times.texts()
        assert instant_text(bench.store.now())[:19] in caught.value.detail
        assert instant_text(bench.clock.now())[:19] in caught.value.detail
        await asyncio.sleep(5)  # the sweep looks too
        assert bench.log.head == before
        leap(bench)
        assert isinstance(await answer(bench.do(bench.reserve())), Outcome)
        assert fault_of(bench) is None
        await bench.do(Confirm(held.token, "D"))  # it did not expire
        assert bench.log.head.recorded_at <= bench.store.now()


@simulated
async def test_an_idle_writer_sees_a_leap_by_itself_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    async with ledger() as bench:
        leap(bench, database=2 * YEAR)
        await asyncio.sleep(10)
        assert fault_of(bench) is Code.CLOCK_UNSURE
        assert [await answer(bench.do(bench.reserve())) for _ in range(5)] == [Code.CLOCK_UNSURE] * 5
        leap(bench)
        await asyncio.sleep(IDLE_SECONDS)
        assert fault_of(bench) is None
    said = [record for record in caplog.records if record.name == "ledger.writer.clocks"]
    assert [record.levelno for record in said] == [logging.ERROR, logging.WARNING]


@simulated
async def test_what_was_done_is_told_again_whatever_the_clocks_say() -> None:
    async with ledger() as bench:
        first = await bench.do(bench.reserve(), key="K")
        leap(bench, database=HOUR)
        again = await bench.do(bench.reserve(), key="K")
        assert again.replayed
        assert again.entries == first.entries
        assert await answer(bench.do(bench.reserve(), key="other")) is Code.CLOCK_UNSURE


@simulated
async def test_the_log_is_read_whatever_the_clocks_say() -> None:
    async with ledger() as bench:
        leap(bench, database=HOUR)
        asked = [bench.start(bench.reserve()) for _ in range(20)]
        states = [await bench.writer.fresh() for _ in range(3)]
        assert all(states)
        assert [await answer(each) for each in asked] == [Code.CLOCK_UNSURE] * 20


@simulated
async def test_both_clocks_set_for_good_are_believed_after_a_minute() -> None:
    async with ledger() as bench:
        leap(bench, database=HOUR, process=HOUR)
        await asyncio.sleep(55)
        assert await answer(bench.do(bench.reserve())) is Code.CLOCK_UNSURE
        await asyncio.sleep(10)
        assert isinstance(await answer(bench.do(bench.reserve())), Outcome)
        assert bench.log.head.recorded_at > bench.store.now() - SECOND


@simulated
async def test_a_busy_writer_believes_them_as_well() -> None:
    async with ledger() as bench:
        leap(bench, database=HOUR, process=HOUR)
        codes = []
        for _ in range(70):
            await asyncio.sleep(0.99)
            codes.append(await answer(bench.do(bench.reserve())))
        refused = codes.count(Code.CLOCK_UNSURE)
        assert 59 <= refused <= 62
        assert codes[:refused] == [Code.CLOCK_UNSURE] * refused


@simulated
async def test_a_lock_that_is_long_waited_for_is_no_leap() -> None:
    async with ledger(lock_timeout_seconds=50.0) as bench:
        bench.store.steps["begin"] = [45.0]
        assert isinstance(await answer(bench.do(bench.reserve())), Outcome)
        assert fault_of(bench) is None


@simulated
async def test_a_process_that_stood_still_asks_again() -> None:
    async with ledger(lock_timeout_seconds=1000.0) as bench:
        bench.store.steps["begin"] = [500.0]
        assert isinstance(await answer(bench.do(bench.reserve())), Outcome)
        assert bench.store.calls["begin"] >= 3


# A log that a wrong clock has dated


async def begun_under_a_wrong_clock(log: MemoryLog, seconds: float) -> None:
    """A process begins while both clocks are wrong, writes, and ends."""
    async with ledger(log, sound=False) as bench:
        pass
    wrong = Bench(log)
    leap(wrong, database=seconds, process=seconds)
    wrong.writer.start()
    await wrong.do(wrong.reserve())
    await wrong.writer.stop()
    assert log.head.recorded_at > bench.store.now() + (seconds - 1) * SECOND


@simulated
async def test_a_log_that_is_dated_ahead_stops_every_process() -> None:
    log = MemoryLog("test")
    await begun_under_a_wrong_clock(log, 2 * YEAR)
    before = log.head
    benches = [Bench(log), Bench(log)]
    for bench in benches:
        bench.writer.start()
    await asyncio.sleep(IDLE_SECONDS)  # nobody asks for anything
    assert [stop.kind for stop in log.stops] == [StopKind.DATED_AHEAD]
    for bench in benches:
        assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED
        assert bench.writer.fault is not None
        assert instant_text(before.recorded_at) in bench.writer.fault.detail
        await bench.writer.stop()
    assert log.head.position == before.position


@simulated
async def test_the_stop_is_lifted_when_the_clocks_have_caught_up() -> None:
    log = MemoryLog("test")
    await begun_under_a_wrong_clock(log, HOUR)
    bench = Bench(log)
    bench.writer.start()
    assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED
    await asyncio.sleep(HOUR - 60)
    assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED
    leap(bench, database=HOUR)  # a wrong clock lifts nothing
    await asyncio.sleep(10)
    assert await answer(bench.do(bench.reserve())) in (Code.LEDGER_STOPPED, Code.CLOCK_UNSURE)
    assert [stop.kind for stop in log.stops] == [StopKind.DATED_AHEAD]
    leap(bench)
    await asyncio.sleep(60)
    assert not log.stops
    assert isinstance(await answer(bench.do(bench.reserve())), Outcome)
    await bench.writer.stop()


@pytest.mark.parametrize("seconds", [-YEAR, -HOUR, 0.0, 29.0])
@simulated
async def test_a_head_that_is_old_or_hardly_ahead_stops_nobody(seconds: float) -> None:
    log = MemoryLog("test")
    await begun_under_a_wrong_clock(log, max(seconds, 0.0))
    await asyncio.sleep(max(-seconds, 0.0) % HOUR)
    async with ledger(log, sound=False) as bench:
        assert isinstance(await answer(bench.do(bench.reserve())), Outcome)
        assert not log.stops


def test_the_boot_clock_of_this_machine_goes_on() -> None:
    first, wall = SystemClock.boot(), SystemClock.now()
    while SystemClock.now() == wall:
        time.sleep(0.0001)
    assert SystemClock.boot() > first


@simulated
async def test_what_an_operator_accepted_is_not_stopped_again() -> None:
    """The ledger goes on at the head's time, until the clocks have caught up; a later leap is another matter."""
    log = MemoryLog("test")
    await begun_under_a_wrong_clock(log, HOUR)
    dated = log.head.recorded_at
    bench = Bench(log)
    bench.writer.start()
    await asyncio.sleep(IDLE_SECONDS)
    (found,) = await judged(bench.store, beside := Beside(Clocks(bench.clock)))
    assert (found.stop.kind, found.way, found.is_fenced) == (StopKind.DATED_AHEAD, Way.ACCEPT, False)
    assert bench.writer.fold is not None
    acceptance = AcceptedStops([found.stop], "operator", "the clock was set right")
    accepted = (await accept(bench.store, bench.writer.fold, acceptance, beside, RandomIds())).recorded_at
    assert accepted == dated
    await asyncio.sleep(IDLE_SECONDS)
    for _ in range(3):
        await bench.do(bench.reserve())
        await asyncio.sleep(IDLE_SECONDS)
    assert log.head.recorded_at == accepted
    assert not log.stops
    leap(bench, database=2 * HOUR, process=2 * HOUR)
    await asyncio.sleep(70)  # until that is believed
    await bench.do(bench.reserve())
    assert log.head.recorded_at > accepted
    leap(bench)
    await asyncio.sleep(70)
    assert [stop.kind for stop in log.stops] == [StopKind.DATED_AHEAD]
    await bench.writer.stop()
