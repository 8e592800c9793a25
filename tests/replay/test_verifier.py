"""The log is read again in the background: what it finds, what it says meanwhile, and what is no finding."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ledger.domain.commands import DefineSeries, Issue
from ledger.ports import Stop, StopKind
from ledger.stores.memory import MemoryLog
from replay.verifier import AFTER_FLAW_SECONDS, AGAIN_SECONDS, LOOK_SECONDS, SLICE, Verifier
from tests.simulation.scripted import simulated_now
from tests.simulation.surgery import forked, one_more, put
from tests.test_writer import DOWN, SERIES, Bench, LoopClock, simulated, spawn

PER_SECOND = 10


@asynccontextmanager
async def running(*, issued: int = 3) -> AsyncIterator[tuple[Bench, Verifier]]:
    """A log with some numbers, and its verifier."""
    bench = Bench(MemoryLog("test"))
    bench.writer.start()
    await bench.do(DefineSeries((SERIES,)))
    await issue(bench, issued)
    verifier = Verifier(bench.store, clock=LoopClock(), spawn=spawn, per_second=PER_SECOND)
    verifier.start()
    yield bench, verifier
    await verifier.stop()
    await bench.writer.stop()


async def issue(bench: Bench, count: int) -> None:
    for _ in range(count):
        await bench.do(Issue(bench.reserve(), "DOC"))


def end_of(bench: Bench) -> int:
    return bench.log.head.position


@simulated
async def test_it_says_up_to_where_and_when_the_log_was_whole() -> None:
    async with running() as (bench, verifier):
        began = simulated_now()
        await asyncio.sleep(5)
        seen = verifier.status
        assert (seen.position, seen.reading, seen.flaw) == (end_of(bench), end_of(bench), None)
        assert began <= seen.began_at <= began + 1_000_000 < seen.ended_at <= simulated_now()


@simulated
async def test_it_follows_what_is_appended() -> None:
    async with running() as (bench, verifier):
        await asyncio.sleep(5)
        await issue(bench, 2)
        await asyncio.sleep(5)
        assert verifier.status.position == end_of(bench)


@simulated
async def test_it_reads_no_faster_than_it_may() -> None:
    async with running(issued=5 * SLICE) as (bench, verifier):
        seconds = 2 * SLICE / PER_SECOND
        await asyncio.sleep(seconds + 0.1)
        assert verifier.status.position <= 3 * SLICE
        await asyncio.sleep(end_of(bench) / PER_SECOND)
        assert verifier.status.position == end_of(bench)


@simulated
async def test_what_changed_behind_what_it_read_is_found_a_day_later(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as (bench, verifier):
        await asyncio.sleep(5)
        await bench.writer.stop()
        records = list(bench.log.records)
        bench.log.records[5] = records[5]._replace(body=records[5].body.replace(b"DOC", b"TOC"))
        await asyncio.sleep(AGAIN_SECONDS - 20)
        assert verifier.status.flaw is None
        await asyncio.sleep(30)
        seen = verifier.status
        assert (seen.flawed, seen.position) == (6, 5)
        assert seen.flaw is not None
        assert "hash" in seen.flaw
        assert "the log is not whole: position 6" in caplog.text
        await asyncio.sleep(3 * AFTER_FLAW_SECONDS)
        assert len([each for each in caplog.records if each.levelno == logging.CRITICAL]) == 1, "said once"
        bench.log.records[5] = records[5]
        await asyncio.sleep(2 * AFTER_FLAW_SECONDS)
        assert (verifier.status.flaw, verifier.status.position) == (None, end_of(bench))


@simulated
async def test_a_log_that_ends_before_its_head_is_not_whole() -> None:
    async with running() as (bench, verifier):
        del bench.log.records[-1]
        await asyncio.sleep(5)
        assert verifier.status.flaw is not None
        assert "its head says" in verifier.status.flaw


@simulated
async def test_an_illegal_event_that_chains_is_found() -> None:
    async with running() as (bench, verifier):
        put(bench.log, forked(one_more(bench.log.records), 3))
        await asyncio.sleep(5)
        assert verifier.status.flaw is None, "another actor, and a series of its own: legal, though it is a fork"
        bad = bench.log.records[4]
        put(bench.log, [*bench.log.records[:4], bad._replace(position=5, ordinal=3)])
        await verifier.stop()
        verifier.start()
        await asyncio.sleep(5)
        assert verifier.status.flawed == 5


@simulated
async def test_a_database_that_is_away_is_asked_again() -> None:
    async with running() as (bench, verifier):
        bench.store.steps["head"] = [DOWN, DOWN]
        bench.store.steps["events"] = [DOWN]
        await asyncio.sleep(30)
        assert verifier.status.position == end_of(bench)


@pytest.mark.parametrize("kind", [StopKind.RESTORING, StopKind.MOVED])
def test_half_of_a_ledger_is_not_judged(kind: StopKind) -> None:
    @simulated
    async def test() -> None:
        async with running() as (bench, verifier):
            whole = list(bench.log.records)
            put(bench.log, whole[:-1], stops=[Stop(kind, "run it again")])  # in the middle of a command
            await asyncio.sleep(5)
            assert (verifier.status.flaw, verifier.status.position) == (None, 0)
            put(bench.log, whole)
            await asyncio.sleep(5)
            assert verifier.status.position == end_of(bench)

    test()


@simulated
async def test_an_empty_log_is_whole() -> None:
    bench = Bench(MemoryLog("test"))
    verifier = Verifier(bench.store, clock=LoopClock(), spawn=spawn, per_second=PER_SECOND)
    verifier.start()
    await asyncio.sleep(3 * LOOK_SECONDS)
    assert (verifier.status.flaw, verifier.status.position) == (None, 0)
    assert verifier.status.ended_at > 0
    await verifier.stop()
