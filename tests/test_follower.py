"""Where a process begins to fold: at a snapshot that fits the log, else before the first event."""

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import pytest

from ledger.domain.commands import Cancel, Confirm, DefineSeries, Envelope, Issue, Reserve
from ledger.domain.rejection import Code
from ledger.domain.state import FOLD_VERSION
from ledger.fold import Fold
from ledger.ports import Clock, Fault, Record, Snapshot, Store
from ledger.service import Ledger as Served
from ledger.stores import MemoryLog, MemoryStore
from ledger.system import RandomIds, SystemClock, aside, spawn
from tests.given import GAPLESS, PLAIN, dump
from tests.simulation.scripted import simulated_now
from tests.simulation.surgery import forked, put, unknown_next
from tests.stores import Ledger
from tests.test_snapshots import snapshot_of
from tests.test_writer import DOWN, FULL, Bench, LoopClock, simulated, until

NUMBERS = 15  # each is two events, behind two definitions
AT = 20


class Watched:
    """A store that notes which events were read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.read: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        records = await self._store.events(after=after, limit=limit)
        self.read += [record.position for record in records]
        return records


@asynccontextmanager
async def served(store: Any, clock: Clock | None = None) -> AsyncIterator[Served]:
    ledger = Served(store, clock=clock or SystemClock(), ids=RandomIds(), spawn=spawn, aside=aside)
    ledger.writer.start()
    try:
        yield ledger
    finally:
        await ledger.writer.stop()


async def do(ledger: Served, *commands: Any) -> None:
    for command in commands:
        await ledger.execute(command, Envelope(ledger.ids.command_id(), "tester"))


async def history(store: Store, clock: Clock | None = None) -> Sequence[Record]:
    """A log that holds what a snapshot must carry: an open reservation, a pool, two series."""
    async with served(store, clock) as ledger:
        await do(ledger, DefineSeries((PLAIN,)), DefineSeries((GAPLESS,)), Reserve("GAPLESS", "a"), Cancel("a"))
        await do(ledger, Reserve("PLAIN", "open", count=3))
        await do(ledger, *(Issue(Reserve("PLAIN", f"t{number}"), "D") for number in range(NUMBERS)))
    return await store.events(after=0, limit=1000)


async def fold_at(store: Store, position: int) -> Fold:
    fold = Fold((await store.head()).ledger_id)
    fold.take(await store.events(after=0, limit=position))
    return fold


async def check_service(store: Store, watched: Watched, began_at: int) -> None:
    """Start, fold, be in the very state of a fold of everything, and write."""
    head = await store.head()
    async with served(watched) as ledger:
        state = await ledger.writer.fresh()
        assert ledger.writer.began_at == began_at
        assert ledger.position == ledger.writer.feed.position == head.position
        assert ledger.writer.fold is not None
        assert ledger.writer.fold.hash == head.hash
        if not watched.read or watched.read[0] <= 1:
            assert dump(state) == dump((await fold_at(store, head.position)).state)
        await do(ledger, Confirm("open"), Issue(Reserve("GAPLESS", "again"), "D"))
        counter = state.sequence("GAPLESS:-")
        assert counter is not None
        assert counter.high_water == 1  # the released value was given out again
    assert (await store.head()).position > head.position


async def test_only_the_events_behind_a_snapshot_are_read(ledger: Ledger) -> None:
    store = ledger.open()
    records = await history(store)
    await store.put_snapshot(snapshot_of(await fold_at(store, AT)))
    watched = Watched(ledger.open())
    before = dump((await fold_at(store, len(records))).state)
    async with served(watched) as service:
        assert dump(await service.writer.fresh()) == before
    assert min(watched.read) == AT  # for its hash alone
    watched = Watched(ledger.open())
    await check_service(store, watched, AT)


async def test_a_snapshot_of_the_whole_log(ledger: Ledger) -> None:
    store = ledger.open()
    records = await history(store)
    await store.put_snapshot(snapshot_of(await fold_at(store, len(records))))
    watched = Watched(ledger.open())
    await check_service(store, watched, len(records))
    assert watched.read[:1] == [len(records)]


def moved(fold: Fold, position: int) -> Snapshot:
    fold.position = position
    return snapshot_of(fold)


def rehashed(fold: Fold) -> Snapshot:
    fold.hash = bytes(32)
    return snapshot_of(fold)


def foreign(fold: Fold) -> Snapshot:
    fold.ledger_id = "another"
    return snapshot_of(fold)


# What is put in the place of the snapshot of AT, and what is said of it; `len` stands for the end of the log.
ODD: dict[str, tuple[int, Callable[[Fold], Snapshot], str | None]] = {
    "another SHA-256": (AT, lambda fold: snapshot_of(fold)._replace(sha256=bytes(32)), "another SHA-256"),
    "rubbish": (AT, lambda fold: snapshot_of(fold)._replace(body=b"?", sha256=sha256(b"?").digest()), "cannot be read"),
    "another version": (AT, lambda fold: snapshot_of(fold)._replace(fold_version=FOLD_VERSION + 1), None),
    "another ledger": (AT, foreign, "of ledger another"),
    "another hash": (AT, rehashed, "another event there"),
    "another hash at the end": (0, rehashed, "another event there"),
    "the state of another position": (AT, lambda fold: moved(fold, AT + 1), "another event there"),
    "beyond the head": (0, lambda fold: moved(fold, fold.position + 1), None),
}


@pytest.mark.parametrize("kind", ODD)
async def test_a_snapshot_that_does_not_fit_is_ignored(
    ledger: Ledger, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = ledger.open()
    records = await history(store)
    at, spoil, why = ODD[kind]
    await store.put_snapshot(spoil(await fold_at(store, at or len(records))))
    watched = Watched(ledger.open())
    with caplog.at_level(logging.WARNING):
        await check_service(store, watched, 0)
    assert 1 in watched.read
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (why is not None)
    assert all(why in each and "folded from its beginning" in each for each in said if why)


async def test_a_body_that_the_database_spoilt(sql_ledger: Ledger) -> None:
    store = sql_ledger.open()
    await history(store)
    await store.put_snapshot(snapshot_of(await fold_at(store, AT)))
    administer(sql_ledger, "UPDATE snapshots SET body = 'spoilt'")
    await check_service(store, Watched(sql_ledger.open()), 0)


def administer(ledger: Ledger, sql: str) -> None:
    if ledger.database:
        ledger.database.server.execute(sql, database=ledger.database.name)
    else:
        with sqlite3.connect(ledger.url.removeprefix("sqlite+aiosqlite:///")) as file:
            file.executescript(sql)
        file.close()


@pytest.mark.parametrize("gone", [AT - 1, AT])
async def test_events_that_the_database_holds_no_longer_are_not_missed(sql_ledger: Ledger, gone: int) -> None:
    store = sql_ledger.open()
    records = await history(store)
    await store.put_snapshot(snapshot_of(await fold_at(store, AT)))
    administer(sql_ledger, f"DROP TRIGGER events_refuse_delete; DELETE FROM events WHERE position <= {gone};")
    watched = Watched(sql_ledger.open())
    await check_service(store, watched, AT)
    assert min(watched.read) == gone + 1
    assert (await store.head()).position == len(records) + 3


async def test_a_log_that_does_not_go_on_from_a_snapshot_says_what_it_would_say_without(sql_ledger: Ledger) -> None:
    store = sql_ledger.open()
    await history(store)
    await store.put_snapshot(snapshot_of(await fold_at(store, AT)))
    administer(sql_ledger, f"DROP TRIGGER events_refuse_delete; DELETE FROM events WHERE position <= {AT + 1};")
    async with served(sql_ledger.open()) as service:
        with pytest.raises(Fault, match="position 1 is missing"):
            await service.writer.fresh()
        assert service.writer.began_at == 0


async def test_a_log_that_goes_on_from_another_event(sql_ledger: Ledger) -> None:
    store = sql_ledger.open()
    await history(store)
    await store.put_snapshot(rehashed(await fold_at(store, AT)))
    administer(sql_ledger, f"DROP TRIGGER events_refuse_delete; DELETE FROM events WHERE position = {AT};")
    async with served(sql_ledger.open()) as service:
        with pytest.raises(Fault, match=f"position {AT} is missing"):
            await service.writer.fresh()
        assert service.writer.began_at == 0


async def test_an_older_database_in_its_place_is_folded_from_its_beginning(sql_ledger: Ledger) -> None:
    store = sql_ledger.open()
    await history(store)
    await store.put_snapshot(snapshot_of(await fold_at(store, AT + 4)))
    administer(
        sql_ledger,
        f"""
        DROP TRIGGER events_refuse_delete;
        DELETE FROM events WHERE position > {AT};
        UPDATE ledger_head SET position = {AT}, hash = (SELECT hash FROM events WHERE position = {AT}),
            recorded_at = (SELECT recorded_at FROM events WHERE position = {AT});
        """,
    )
    await check_service(store, Watched(sql_ledger.open()), 0)
    # The log goes on as another one, past the snapshot, which is now of another history.
    async with served(sql_ledger.open()) as service:
        await do(service, *(Issue(Reserve("PLAIN", f"new{number}"), "D") for number in range(4)))
    watched = Watched(sql_ledger.open())
    async with served(watched) as service:
        await service.writer.fresh()
        assert service.writer.began_at == 0
    assert min(watched.read) == 1


class TestFaults:
    """Of the database, and of a snapshot whose state is wrong: on a store that does as it is told."""

    async def log(self, spoil: Callable[[Fold], None] = lambda _: None, at: int = AT) -> MemoryLog:
        log = MemoryLog("test")
        store = MemoryStore(log, now=simulated_now)
        await history(store, LoopClock())
        fold = await fold_at(store, at)
        spoil(fold)
        log.put_snapshot(snapshot_of(fold))
        return log

    @simulated
    async def test_a_database_that_comes_back_gives_its_snapshot(self) -> None:
        bench = Bench(await self.log())
        bench.store.steps["newest snapshot"] = [DOWN, DOWN]
        bench.writer.start()
        await bench.writer.fresh()
        assert bench.writer.began_at == AT
        await bench.writer.stop()

    @pytest.mark.parametrize(("fault", "times"), [(FULL, 1), (DOWN, 3)])
    def test_a_snapshot_that_cannot_be_had_is_done_without(self, fault: Fault, times: int) -> None:
        @simulated
        async def run() -> None:
            bench = Bench(await self.log())
            bench.store.always["newest snapshot"] = fault
            bench.writer.start()
            await bench.writer.fresh()
            assert bench.writer.began_at == 0
            assert bench.store.calls["newest snapshot"] == times
            await bench.writer.stop()

        run()

    @simulated
    async def test_a_wrong_state_is_folded_again_from_the_events_when_one_does_not_fit(self) -> None:
        def forget(fold: Fold) -> None:
            fold.state.put_reservation("open", None)

        log = await self.log(forget)
        bench, other = Bench(log), Bench(log, fold_chunk=3)
        bench.writer.start()
        await bench.writer.fresh()
        assert bench.writer.began_at == AT  # nothing was found yet
        other.writer.start()
        other.writer._follower._attempts = 0  # this one folds events alone
        await other.do(Confirm("open"))
        state = await bench.writer.fresh()
        assert bench.writer.began_at == 0
        assert dump(state) == dump(await other.writer.fresh())
        feed = bench.writer.feed
        held = [record.position for record in feed.held(after=AT, limit=1000)]
        assert held == list(range(AT + 1, log.head.position + 1))
        assert bench.writer.fault is None
        await bench.writer.stop()
        await other.writer.stop()

    @simulated
    async def test_an_unknown_event_is_not_the_snapshots_fault(self) -> None:
        log = await self.log()
        put(log, unknown_next(log.records))
        bench = Bench(log)
        bench.writer.start()
        await until(lambda: bench.writer.fault is not None and bench.writer.fault.code is Code.LEDGER_STOPPED)
        assert bench.writer.began_at == AT
        await bench.writer.stop()

    @simulated
    async def test_what_was_seen_behind_a_snapshot_is_never_forgotten(self) -> None:
        """A log that becomes another one stops the writer, though a fold from its beginning would find nothing."""
        log = await self.log(at=2 * NUMBERS + 6)
        bench = Bench(log)
        bench.writer.start()
        await bench.writer.fresh()
        assert bench.writer.began_at == log.head.position
        put(log, forked(log.records, AT))
        await until(lambda: log.head.stopped is not None)
        assert bench.writer.fault is not None
        await bench.writer.stop()
