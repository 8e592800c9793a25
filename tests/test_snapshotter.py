"""The task that writes snapshots: when it does, when it must not, and what it does about a store that fails."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ledger.domain.commands import DefineSeries
from ledger.domain.rejection import Code
from ledger.domain.state import FOLD_VERSION
from ledger.fold import Fold
from ledger.ports import Fault, Snapshot, Stop, StopKind, StoreFault
from ledger.snapshots import read
from ledger.stores import migrate
from ledger.stores.memory import MemoryLog
from ledger.writer.snapshotter import FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, Snapshotter
from numbering.settings import Settings
from numbering.wiring import Node
from tests.given import dump
from tests.simulation.surgery import one_more, put
from tests.test_writer import DOWN, FULL, SERIES, Bench, envelope, simulated

EVERY = 10
NOT_COMPARED = Fault(Code.MIRROR_NOT_COMPARED, "not compared yet")


async def at_once(work: Callable[[], None], /) -> None:
    work()


@asynccontextmanager
async def running(log: MemoryLog | None = None, **limits: Any) -> AsyncIterator[Bench]:
    """A writer with its snapshotter, both stopped at the end."""
    bench = Bench(log or MemoryLog("test"), **limits)
    spawn = asyncio.get_running_loop().create_task
    snapshotter = Snapshotter(bench.store, bench.writer, spawn=spawn, aside=at_once, every=EVERY)
    bench.writer.start()
    snapshotter.start()
    if log is None:
        await bench.do(DefineSeries((SERIES,)))
    yield bench
    await snapshotter.stop()
    await bench.writer.stop()


async def grow(bench: Bench, events: int) -> None:
    for _ in range(events):
        await bench.do(bench.reserve())


def positions(log: MemoryLog) -> list[int]:
    return sorted(position for position, _ in log.snapshots)


async def long_log(events: int) -> MemoryLog:
    bench = Bench(MemoryLog("test"))
    bench.writer.start()
    await bench.do(DefineSeries((SERIES,)))
    await grow(bench, events - 2)
    await bench.writer.stop()
    return bench.log


class TestWhen:
    @simulated
    async def test_one_is_written_every_so_many_events(self) -> None:
        async with running() as bench:
            await grow(bench, EVERY - 3)
            await asyncio.sleep(5)
            assert positions(bench.log) == []
            await grow(bench, 1)
            await asyncio.sleep(5)
            assert positions(bench.log) == [EVERY]
            await grow(bench, EVERY - 1)
            await asyncio.sleep(5)
            assert positions(bench.log) == [EVERY]
            await grow(bench, 5)
            await asyncio.sleep(5)
            assert positions(bench.log) == [EVERY, 2 * EVERY + 4]

    @simulated
    async def test_it_is_the_fold_of_the_log(self) -> None:
        async with running() as bench:
            await grow(bench, EVERY)
            await asyncio.sleep(5)
            (snapshot,) = bench.log.snapshots.values()
            twin, fold = read(snapshot, "test"), Fold("test")
            fold.take(bench.log.records)
            assert (twin.position, twin.hash, dump(twin.state)) == (fold.position, fold.hash, dump(fold.state))

    @simulated
    async def test_a_process_that_began_far_behind_writes_one_soon(self) -> None:
        log = await long_log(EVERY)
        async with running(log):
            await asyncio.sleep(2)
            assert positions(log) == [EVERY]

    @simulated
    async def test_a_process_that_began_at_one_does_not(self) -> None:
        log = await long_log(EVERY)
        async with running(log):
            await asyncio.sleep(2)
        async with running(log) as bench:
            await grow(bench, EVERY - 1)
            await asyncio.sleep(5)
            assert bench.writer.began_at == EVERY
            assert positions(log) == [EVERY]

    @simulated
    async def test_a_process_that_never_catches_up_writes_them_too(self) -> None:
        log = await long_log(5 * EVERY)
        async with running(log, fold_chunk=1) as bench:
            bench.store.always["events"] = 0.5
            await asyncio.sleep(20)
            assert bench.writer.fold is not None
            assert bench.writer.fold.position < log.head.position
            assert len(positions(log)) >= 2

    @simulated
    async def test_commands_are_carried_out_while_one_is_written(self) -> None:
        async with running() as bench:
            await grow(bench, EVERY)
            made = asyncio.Event()
            bench.store.steps["put snapshot"] = [made]
            await asyncio.sleep(5)
            await grow(bench, 3)
            made.set()
            await asyncio.sleep(5)
            assert positions(bench.log) == [EVERY + 2]


class TestOthers:
    @simulated
    async def test_one_that_another_process_wrote_is_not_written_again(self) -> None:
        async with running() as bench, running(bench.log) as other:
            await other.writer.fresh()
            other.store.steps["newest snapshot"] = [3.0]  # it is slower
            await grow(bench, EVERY)
            await asyncio.sleep(10)
            assert positions(bench.log) == [EVERY + 2]
            assert other.store.calls["put snapshot"] == 0
            assert other.store.calls["newest snapshot"] == 2

    @pytest.mark.parametrize("spoilt", ["hash", "sha256"])
    def test_one_that_no_start_would_use_is_not_counted(self, spoilt: str) -> None:
        @simulated
        async def run() -> None:
            log = await long_log(EVERY)
            digest = bytes(32) if spoilt == "sha256" else sha256(b"").digest()
            hash = bytes(32) if spoilt == "hash" else log.records[EVERY - 2].hash
            log.put_snapshot(Snapshot(EVERY - 1, hash, FOLD_VERSION, b"", digest))
            async with running(log):
                await asyncio.sleep(5)
                assert positions(log) == [EVERY - 1, EVERY]

        run()


class TestForbidden:
    @simulated
    async def test_none_is_written_while_the_head_is_stopped(self) -> None:
        log = await long_log(2 * EVERY)
        log.head = log.head._replace(stopped="an operator looks at it")
        async with running(log):
            await asyncio.sleep(10)
            assert positions(log) == []
            log.head = log.head._replace(stopped=None)
            await asyncio.sleep(5)
            assert positions(log) == [2 * EVERY]

    @simulated
    async def test_none_is_written_before_the_mirror_was_compared_or_when_it_forbids(self) -> None:
        log = await long_log(2 * EVERY)
        async with running(log) as bench:
            bench.writer.hold(NOT_COMPARED)
            await asyncio.sleep(10)
            assert positions(log) == []
            bench.writer.forbid(Stop(StopKind.MIRROR_FORKED, "a fork"), at=0)
            await asyncio.sleep(10)
            assert positions(log) == []
            bench.writer.release()
            await asyncio.sleep(5)
            assert positions(log) == [2 * EVERY]

    @simulated
    async def test_none_is_put_when_the_writer_was_forbidden_meanwhile(self) -> None:
        async with running() as bench:

            async def forbid() -> None:
                bench.writer.forbid(Stop(StopKind.MIRROR_FORKED, "a fork"), at=0)

            await grow(bench, EVERY)
            bench.store.steps["newest snapshot"] = [forbid]
            await asyncio.sleep(10)
            assert positions(bench.log) == []
            bench.writer.release()

    @simulated
    async def test_none_is_written_of_a_log_that_became_another_one(self) -> None:
        async with running() as bench:
            await grow(bench, EVERY - 3)
            put(bench.log, one_more(bench.log.records[:-2]))
            await asyncio.sleep(20)
            assert bench.log.head.stopped is not None
            assert positions(bench.log) == []


class TestFaults:
    @simulated
    async def test_a_store_that_fails_is_tried_again_later(self) -> None:
        async with running() as bench:
            bench.store.steps["put snapshot"] = [FULL, DOWN]
            await grow(bench, EVERY)
            await asyncio.sleep(FIRST_BACKOFF_SECONDS)
            assert positions(bench.log) == []
            await asyncio.sleep(3 * FIRST_BACKOFF_SECONDS)
            assert positions(bench.log) == [EVERY + 2]

    @pytest.mark.parametrize("fault", [FULL, RuntimeError("a bug")])
    def test_a_store_that_goes_on_failing_is_logged_once_and_asked_seldom(
        self, fault: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        @simulated
        async def run() -> None:
            async with running() as bench:
                bench.store.always["put snapshot"] = fault
                await grow(bench, EVERY)
                await asyncio.sleep(20 * MAX_BACKOFF_SECONDS)
                assert 20 < bench.store.calls["put snapshot"] < 40
                await grow(bench, 1)

        with caplog.at_level(logging.WARNING):
            run()
        (said,) = [record for record in caplog.records if record.name == "ledger.writer.snapshotter"]
        assert str(fault) in said.getMessage()
        assert bool(said.exc_info) == (not isinstance(fault, StoreFault))


async def test_a_service_writes_them_and_a_command_does_not(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/ledger.db"
    assert await migrate(url)
    settings = Settings(database_url=url)
    assert Node(settings).snapshotter is None
    node = Node(settings, projects=True)
    assert node.snapshotter is not None
    node.snapshotter._every = 1
    async with node, asyncio.timeout(60):
        await node.ledger.execute(DefineSeries((SERIES,)), envelope())
        # The task looks once a second.
        while await node.store.newest_snapshot(FOLD_VERSION, at_most=2) is None:  # noqa: ASYNC110  no event tells
            await asyncio.sleep(0.1)
