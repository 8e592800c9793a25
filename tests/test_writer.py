"""The writer, one promise at a time, on the memory store and in simulated time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import wraps
from itertools import zip_longest
from typing import Any

import pytest

from ledger.codec import Entry, command_id, decode, encode
from ledger.continuity import Seen
from ledger.domain.commands import (
    Cancel,
    CloseLedger,
    Confirm,
    Decidable,
    DefineSeries,
    Envelope,
    Extend,
    Issue,
    OpenLedger,
    RaiseFormat,
    Reserve,
)
from ledger.domain.decide import decide
from ledger.domain.events import FormatRaised, NumbersConfirmed, NumbersReserved, SeriesDefined
from ledger.domain.evolve import evolve
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.ranges import values_of
from ledger.domain.rejection import Code, Rejection
from ledger.domain.series import Definition, Series
from ledger.domain.state import State
from ledger.ports import Fault, OutcomeUnknown, Stop, StopKind, StoreFault
from ledger.stores.memory import MemoryLog, MemoryStore
from ledger.writer import Limits, Outcome, Together, Writer
from ledger.writer import batch as batch_module
from ledger.writer.follower import stopped_by
from ledger.writer.writer import ALARM_GRACE_SECONDS
from tests.invariants import check_store
from tests.simulation.database import SECOND
from tests.simulation.loop import simulate
from tests.simulation.scripted import ScriptedStore, simulated_now
from tests.simulation.surgery import forked, one_more, put, unknown_next

SERIES = Series.define("S", Definition(template="S-{SEQ:6}"))

DOWN = StoreFault(Code.DATABASE_UNAVAILABLE, "down", transient=True)
FULL = StoreFault(Code.DATABASE_FULL, "full")
BUSY = StoreFault(Code.LOCK_TIMEOUT, "busy", contention=True)
LOST = OutcomeUnknown("lost")


async def slow_lock() -> None:
    await asyncio.sleep(4.0)
    raise BUSY


def lost_after(seconds: float) -> Callable[[], Coroutine[Any, Any, None]]:
    async def lose() -> None:
        await asyncio.sleep(seconds)
        raise LOST

    return lose


Test = Callable[..., Coroutine[Any, Any, None]]


def simulated(test: Test) -> Callable[..., None]:
    """Run a test in simulated time, where an hour costs nothing and waiting for ever is an error."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        simulate(test(*args, **kwargs), max_steps=200_000)

    return run


class LoopClock:
    """A process's clocks; the wall clock may be wrong by some seconds."""

    wrong_by = 0.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> int:
        return simulated_now() + int(self.wrong_by * SECOND)

    def boot(self) -> int:
        return simulated_now()


def spawn(work: Coroutine[Any, Any, None], /, *, name: str) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work, name=name)


class Bench:
    """A writer on a scripted store, and what clients did with it."""

    def __init__(self, log: MemoryLog, **limits: Any) -> None:
        self.log = log
        self.store = ScriptedStore(log)
        self.clock = LoopClock()
        self.writer = Writer(self.store, clock=self.clock, spawn=spawn, limits=Limits(**limits))
        self.acknowledged: list[Outcome] = []

    def reserve(self, **fields: Any) -> Reserve:
        return Reserve("S", f"token-{next(_ids)}", **fields)

    async def do(self, command: Decidable, key: str | None = None, body: str = "") -> Outcome:
        outcome = await self.writer.submit(command, envelope(key, body))
        self.acknowledged.append(outcome)
        return outcome

    def start(self, command: Decidable, key: str | None = None, body: str = "") -> asyncio.Task[Outcome]:
        return asyncio.get_running_loop().create_task(self.do(command, key, body), name="client")

    async def start_many(self, count: int) -> list[asyncio.Task[Outcome]]:
        """Let `count` clients ask, and time pass only when all have."""
        tasks = [self.start(self.reserve()) for _ in range(count)]
        await asyncio.sleep(0.001)
        return tasks


_ids = iter(range(1 << 30))


def envelope(key: str | None = None, body: str = "") -> Envelope:
    if key is None:
        return Envelope(next(_ids).to_bytes(32, "big"), "test")
    return Envelope(command_id("test", "reserve", key), "test", idempotency_key=key, fingerprint=body)


@asynccontextmanager
async def ledger(log: MemoryLog | None = None, *, sound: bool = True, **limits: Any) -> AsyncIterator[Bench]:
    """A writer with the series S defined, stopped at the end, on a log that must then be `sound`."""
    bench = Bench(log or MemoryLog("test"), **limits)
    bench.writer.start()
    await bench.do(DefineSeries((SERIES,)))
    yield bench
    await bench.writer.stop()
    if sound:
        await check_store(MemoryStore(bench.log), acknowledged=bench.acknowledged)


async def answer(waiting: Coroutine[Any, Any, Outcome] | asyncio.Task[Outcome]) -> Code | Outcome:
    try:
        return await waiting
    except (Fault, Rejection) as error:
        return error.code


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  what the store has counted sets no event
        await asyncio.sleep(0.001)


async def all_values(tasks: Sequence[asyncio.Task[Outcome]]) -> list[int]:
    return sorted(value for outcome in await asyncio.gather(*tasks) for value in values(outcome))


def now() -> float:
    return asyncio.get_running_loop().time()


def values(outcome: Outcome) -> list[int]:
    event = outcome.entries[-1].event
    assert isinstance(event, NumbersReserved | NumbersConfirmed)
    return list(values_of(event.ranges))


def types(log: MemoryLog) -> list[str]:
    return [record.type for record in log.records]


class TestGroupCommit:
    @simulated
    async def test_a_batch_takes_what_has_gathered_while_the_one_before_was_in_flight(self) -> None:
        async with ledger() as bench:
            held = asyncio.Event()
            bench.store.steps["commit"] = [held]
            first = bench.start(bench.reserve())
            await until(lambda: bench.store.calls["append"] == 2)
            rest = await bench.start_many(5)
            held.set()
            assert values(await first) == [1]
            assert await all_values(rest) == [2, 3, 4, 5, 6]
            assert bench.store.batches == [2, 1, 5]

    @simulated
    async def test_commands_are_decided_in_the_order_in_which_they_came(self) -> None:
        async with ledger() as bench:
            bench.store.steps["begin"] = [0.5]
            tasks = []
            for _ in range(4):
                tasks.append(bench.start(bench.reserve()))
                await asyncio.sleep(0.01)
            assert [values(await task) for task in tasks] == [[1], [2], [3], [4]]

    @simulated
    async def test_a_batch_is_bounded_in_commands(self) -> None:
        async with ledger(batch=2) as bench:
            bench.store.steps["begin"] = [0.5]
            for task in await bench.start_many(5):
                await task
            assert bench.store.batches == [2, 2, 2, 1]

    @simulated
    async def test_a_batch_over_batch_bytes_is_split_and_the_rest_keeps_its_order(self) -> None:
        async with ledger(batch_bytes=1) as bench:
            bench.store.steps["begin"] = [0.5]
            for task in await bench.start_many(3):
                await task
            assert bench.store.batches == [2, 1, 1, 1]

    @simulated
    async def test_a_batch_of_rejections_writes_nothing(self) -> None:
        async with ledger() as bench:
            assert await answer(bench.do(Cancel("unknown"))) is Code.RESERVATION_NOT_FOUND
            assert await answer(bench.do(replace(bench.reserve(), series="T"))) is Code.CONFIG_NOT_FOUND
            assert bench.store.calls["commit"] == 1  # that of the series

    @simulated
    async def test_each_command_sees_what_those_before_it_in_the_batch_did(self) -> None:
        async with ledger() as bench:
            bench.store.steps["begin"] = [0.5]
            reserve = bench.reserve()
            tasks = [bench.start(reserve)]
            await asyncio.sleep(0.01)
            tasks += [bench.start(Confirm(reserve.token, "doc"))]
            await asyncio.sleep(0.01)
            cancel = bench.start(Cancel(reserve.token))
            assert [values(await task) for task in tasks] == [[1], [1]]
            assert await answer(cancel) is Code.RESERVATION_NOT_FOUND
            assert bench.store.batches == [2, 2]

    @simulated
    async def test_answers_leave_only_after_commit(self) -> None:
        async with ledger() as bench:
            held = asyncio.Event()
            bench.store.steps["commit"] = [held]
            tasks = [bench.start(bench.reserve()), bench.start(Cancel("unknown"))]
            await asyncio.sleep(3)
            assert not any(task.done() for task in tasks)
            held.set()
            assert isinstance(await answer(tasks[0]), Outcome)
            assert await answer(tasks[1]) is Code.RESERVATION_NOT_FOUND


class TestBounds:
    @simulated
    async def test_a_full_queue_refuses_at_once_and_does_nothing(self) -> None:
        async with ledger(queue=3) as bench:
            held = asyncio.Event()
            bench.store.steps["begin"] = [held]
            tasks = await bench.start_many(3)
            began = now()
            assert await answer(bench.do(bench.reserve())) is Code.QUEUE_FULL
            assert now() == began
            held.set()
            assert await all_values(tasks) == [1, 2, 3]

    @simulated
    async def test_a_command_that_is_not_drawn_by_its_deadline_is_dropped(self) -> None:
        async with ledger() as bench:
            bench.store.always["begin"] = BUSY
            began = now()
            assert await answer(bench.do(bench.reserve())) is Code.LOCK_TIMEOUT
            assert 5.0 <= now() - began <= 6.0
            bench.store.always.clear()
            assert values(await bench.do(bench.reserve())) == [1]

    @simulated
    async def test_the_deadline_holds_when_each_wait_for_the_lock_is_long(self) -> None:
        """As it is when another process hangs with the lock: MariaDB says 1205 after some seconds, again and again."""
        async with ledger() as bench:
            bench.store.always["begin"] = slow_lock
            began = now()
            assert await answer(bench.do(bench.reserve())) is Code.LOCK_TIMEOUT
            assert now() - began <= 5.0 + ALARM_GRACE_SECONDS
            bench.store.always.clear()

    @simulated
    @pytest.mark.parametrize("busy", ["begin", "append", "commit"])
    async def test_each_is_told_in_time_whatever_the_writer_waits_for(self, busy: str) -> None:
        async with ledger() as bench:
            held = asyncio.Event()
            bench.store.steps[busy] = [held]
            first = bench.start(bench.reserve())
            await asyncio.sleep(3)
            began, second = now(), bench.start(bench.reserve())
            assert await answer(second) is Code.LOCK_TIMEOUT
            assert now() - began <= 5.0 + ALARM_GRACE_SECONDS
            assert first.done() == (busy == "begin"), "what was drawn is not given up"
            held.set()
            await answer(first)

    @simulated
    async def test_a_reader_is_told_in_time_and_the_next_one_is_served(self) -> None:
        async with ledger() as bench:
            held = asyncio.Event()
            bench.store.steps["head"] = [held]
            began, first = now(), asyncio.ensure_future(bench.writer.fresh())
            await asyncio.sleep(4)
            second = asyncio.ensure_future(bench.writer.fresh())
            with pytest.raises(Fault):
                await first
            assert now() - began <= 5.0 + ALARM_GRACE_SECONDS
            held.set()
            assert (await second).series_now("S") == SERIES

    @simulated
    async def test_contention_is_tried_again_at_once(self) -> None:
        async with ledger() as bench:
            bench.store.steps["begin"] = [BUSY]
            bench.store.steps["append"] = [BUSY, BUSY]
            began = now()
            assert values(await bench.do(bench.reserve())) == [1]
            assert now() == began

    @simulated
    async def test_a_store_that_is_down_is_waited_for_until_the_deadline(self) -> None:
        async with ledger() as bench:
            bench.store.always["begin"] = bench.store.always["head"] = DOWN
            tasks = [bench.start(bench.reserve()) for _ in range(2)]
            await asyncio.sleep(2)
            bench.store.always.clear()
            assert await all_values(tasks) == [1, 2]

    @simulated
    async def test_a_store_that_stays_down_is_reported_and_later_refused_at_once(self) -> None:
        async with ledger() as bench:
            bench.store.always["begin"] = bench.store.always["head"] = DOWN
            began = now()
            assert await answer(bench.do(bench.reserve())) is Code.DATABASE_UNAVAILABLE
            assert 5.0 <= now() - began <= 6.0
            await asyncio.sleep(1)
            began = now()
            assert await answer(bench.do(bench.reserve())) is Code.DATABASE_UNAVAILABLE
            assert now() == began
            bench.store.always.clear()
            await asyncio.sleep(1.5)
            assert values(await bench.do(bench.reserve())) == [1]

    @simulated
    async def test_a_fault_that_does_not_pass_is_answered_at_once(self) -> None:
        async with ledger() as bench:
            bench.store.steps["append"] = [FULL]
            began = now()
            assert await answer(bench.do(bench.reserve())) is Code.DATABASE_FULL
            assert now() == began
            assert values(await bench.do(bench.reserve())) == [1]

    @simulated
    async def test_a_service_that_starts_before_its_database_waits_for_it(self) -> None:
        bench = Bench(MemoryLog("test"))
        bench.store.always["head"] = DOWN
        bench.writer.start()
        defining = bench.start(DefineSeries((SERIES,)))
        await asyncio.sleep(3)
        faults = [bench.writer.fault]
        bench.store.always.clear()
        assert (await defining).position == 2
        faults.append(bench.writer.fault)
        assert [fault and fault.code for fault in faults] == [Code.DATABASE_UNAVAILABLE, None]
        await bench.writer.stop()


class TestFaults:
    @simulated
    async def test_a_fault_before_commit_did_nothing_and_is_tried_again(self) -> None:
        async with ledger() as bench:
            bench.store.steps["append"] = [DOWN]
            bench.store.steps["lookup"] = [DOWN]
            assert values(await bench.do(bench.reserve(), key="k")) == [1]
            assert types(bench.log) == ["FormatRaised", "SeriesDefined", "NumbersReserved"]

    @pytest.mark.parametrize("fault", [BUSY, DOWN], ids=["contention", "down"])
    def test_a_commit_that_is_clearly_refused_did_nothing_and_is_tried_again(self, fault: StoreFault) -> None:
        @simulated
        async def run() -> None:
            async with ledger() as bench:
                bench.store.steps["commit"] = [fault]
                outcome = await bench.do(bench.reserve())
                assert (values(outcome), outcome.replayed) == ([1], False)
                assert bench.store.calls["lookup"] == 0

        run()

    @simulated
    async def test_a_full_disk_that_is_noticed_at_commit_is_answered_at_once(self) -> None:
        async with ledger() as bench:
            bench.store.steps["commit"] = [FULL]
            assert await answer(bench.do(bench.reserve())) is Code.DATABASE_FULL
            assert values(await bench.do(bench.reserve())) == [1]

    @simulated
    async def test_a_command_that_hits_a_bug_fails_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with ledger() as bench:
            bench.store.steps["begin"] = [0.5]
            bad = bench.reserve()
            monkeypatch.setattr(batch_module, "decide", failing(decide, lambda command: command == bad))
            good = await bench.start_many(2)
            culprit = bench.start(bad)
            await asyncio.sleep(0.01)
            last = bench.start(bench.reserve())
            assert await answer(culprit) is Code.INTERNAL_ERROR
            assert await all_values([*good, last]) == [1, 2, 3]
            assert bench.store.batches == [2, 3]

    @simulated
    async def test_a_bug_half_way_through_a_command_leaves_nothing_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first event of an Issue is folded already when its second one fails."""
        async with ledger() as bench:
            bench.store.steps["begin"] = [0.5]
            fails = failing(evolve, lambda event: isinstance(event, NumbersConfirmed))
            monkeypatch.setattr(batch_module, "evolve", fails)
            good = await bench.start_many(1)
            culprit = bench.start(Issue(bench.reserve(), "doc"))
            await asyncio.sleep(0.01)
            last = bench.start(bench.reserve())
            assert await answer(culprit) is Code.INTERNAL_ERROR
            assert [values(await task) for task in [*good, last]] == [[1], [2]]

    @simulated
    async def test_text_that_cannot_be_stored_fails_alone(self) -> None:
        async with ledger() as bench:
            broken = envelope()._replace(reason="\ud800")
            with pytest.raises(Fault) as error:
                await bench.writer.submit(bench.reserve(), broken)
            assert error.value.code is Code.INTERNAL_ERROR
            assert values(await bench.do(bench.reserve())) == [1]

    @simulated
    async def test_a_bug_of_the_store_is_survived(self) -> None:
        async with ledger() as bench:
            bench.store.steps["append"] = [ZeroDivisionError()]
            assert values(await bench.do(bench.reserve())) == [1]


class TestCancellation:
    @simulated
    async def test_a_request_that_goes_before_it_is_drawn_is_dropped(self) -> None:
        async with ledger() as bench:
            held = asyncio.Event()
            bench.store.steps["begin"] = [held]
            gone, stays = await bench.start_many(2)
            gone.cancel()
            await asyncio.wait([gone])
            held.set()
            assert values(await stays) == [1]
            assert types(bench.log) == ["FormatRaised", "SeriesDefined", "NumbersReserved"]

    @simulated
    async def test_a_request_that_goes_after_it_was_drawn_is_kept(self) -> None:
        async with ledger() as bench:
            held = asyncio.Event()
            bench.store.steps["commit"] = [held]
            (gone,) = await bench.start_many(1)
            await asyncio.sleep(1)
            gone.cancel()
            await asyncio.wait([gone])
            held.set()
            assert values(await bench.do(bench.reserve())) == [2]

    @simulated
    async def test_a_request_that_goes_while_its_commit_is_in_doubt(self) -> None:
        async with ledger() as bench:
            bench.store.steps["answer"] = [LOST]
            bench.store.steps["head"] = [3.0]
            (gone,) = await bench.start_many(1)
            await asyncio.sleep(1)
            gone.cancel()
            await asyncio.wait([gone])
            assert values(await bench.do(bench.reserve())) == [2]


class TestIdempotency:
    @simulated
    async def test_a_repetition_in_the_same_batch(self) -> None:
        async with ledger() as bench:
            bench.store.steps["begin"] = [0.5]
            tasks = [bench.start(bench.reserve(), key="k") for _ in range(3)]
            outcomes = [await task for task in tasks]
            assert [values(outcome) for outcome in outcomes] == [[1], [1], [1]]
            assert sorted(outcome.replayed for outcome in outcomes) == [False, True, True]

    @simulated
    async def test_a_repetition_later_and_through_another_process(self) -> None:
        async with ledger() as bench:
            first = await bench.do(bench.reserve(), key="k")
            await bench.do(bench.reserve())
            again = await bench.do(bench.reserve(), key="k")
            assert (again.entries, again.position, again.replayed) == (first.entries, first.position, True)
            async with another(bench) as other:
                again = await other.do(other.reserve(), key="k")
                assert (again.entries, again.position, again.replayed) == (first.entries, first.position, True)

    @simulated
    async def test_a_repetition_is_answered_even_when_the_command_would_be_rejected_now(self) -> None:
        async with ledger() as bench:
            reserve = bench.reserve()
            await bench.do(reserve)
            first = await bench.do(Cancel(reserve.token), key="k")
            assert (await bench.do(Cancel(reserve.token), key="k")).entries == first.entries

    @simulated
    async def test_a_key_with_another_request_is_refused(self) -> None:
        async with ledger() as bench:
            bench.store.steps["begin"] = [0.5]
            first = bench.start(bench.reserve(), key="k", body="one")
            await asyncio.sleep(0.01)
            assert await answer(bench.do(bench.reserve(), key="k", body="two")) is Code.IDEMPOTENCY_KEY_REUSED
            assert values(await first) == [1]
            assert await answer(bench.do(bench.reserve(), key="k", body="two")) is Code.IDEMPOTENCY_KEY_REUSED

    @simulated
    async def test_a_rejection_binds_no_key(self) -> None:
        async with ledger() as bench:
            unknown = replace(bench.reserve(), series="T")
            assert await answer(bench.do(unknown, key="k")) is Code.CONFIG_NOT_FOUND
            assert values(await bench.do(bench.reserve(), key="k", body="other")) == [1]

    @simulated
    async def test_a_command_without_a_key_needs_no_look_up(self) -> None:
        async with ledger() as bench:
            await bench.do(bench.reserve())
            assert bench.store.calls["lookup"] == 0


class TestDoubt:
    @pytest.mark.parametrize("key", [None, "k"])
    @pytest.mark.parametrize("lost", ["commit", "answer"])
    def test_a_commit_in_doubt_is_answered_from_the_log(self, lost: str, key: str | None) -> None:
        @simulated
        async def run() -> None:
            async with ledger() as bench:
                bench.store.steps[lost] = [LOST]
                outcome = await bench.do(bench.reserve(), key=key)
                assert (values(outcome), outcome.replayed) == ([1], False)
                assert types(bench.log) == ["FormatRaised", "SeriesDefined", "NumbersReserved"]

        run()

    @simulated
    async def test_a_series_whose_commit_is_in_doubt_is_no_repetition(self) -> None:
        async with ledger() as bench:
            bench.store.steps["answer"] = [LOST]
            outcome = await bench.do(DefineSeries((Series.define("T", Definition(template="T-{SEQ:4}")),)), key="k")
            assert (outcome.position, outcome.replayed) == (3, False)

    @simulated
    async def test_commits_that_are_lost_every_time_are_a_fault_that_health_can_see(self) -> None:
        async with ledger() as bench:
            bench.store.always["commit"] = LOST
            asked = bench.start(bench.reserve())
            await asyncio.sleep(3)
            fault = bench.writer.fault
            bench.store.always.clear()
            await asked
            assert fault is not None

    @simulated
    async def test_rejections_of_a_batch_in_doubt_are_judged_again(self) -> None:
        """The series was full only because of a reservation in a batch that never happened."""
        async with ledger() as bench:
            await bench.do(DefineSeries((Series.define("ONE", Definition(template="ONE-{SEQ:1}", max_value=1)),)))
            bench.store.steps["begin"] = [0.5]
            bench.store.steps["commit"] = [lost_after(0.5)]
            first = bench.start(replace(bench.reserve(), series="ONE"))
            await asyncio.sleep(0.1)
            second = bench.start(replace(bench.reserve(), series="ONE"))
            await asyncio.sleep(0.6)
            assert bench.store.calls["append"] == 3  # both were decided, and the second rejected
            first.cancel()
            assert values(await second) == [1]

    @simulated
    async def test_a_repetition_in_a_batch_in_doubt_is_still_a_repetition(self) -> None:
        async with ledger() as bench:
            await bench.do(bench.reserve(), key="k")
            bench.store.steps["begin"] = [0.5]
            bench.store.steps["answer"] = [LOST]
            again = bench.start(bench.reserve(), key="k")
            other = bench.start(bench.reserve())
            assert (await again).replayed
            assert not (await other).replayed

    @simulated
    async def test_doubt_that_another_process_ended_is_a_repetition(self) -> None:
        """Our COMMIT was undone, and the client's other request with the same key came through elsewhere."""
        async with ledger() as bench, ledger(bench.log) as other:
            bench.store.steps["commit"] = [LOST]
            bench.store.steps["head"] = [1.0]
            ours = bench.start(bench.reserve(), key="k")
            await asyncio.sleep(0.5)
            theirs = await other.do(other.reserve(), key="k")
            assert not theirs.replayed
            outcome = await ours
            assert (outcome.entries, outcome.replayed) == (theirs.entries, True)

    @simulated
    async def test_doubt_that_cannot_be_ended_is_said_at_its_bound(self) -> None:
        async with ledger() as bench:
            bench.store.steps["answer"] = [LOST]
            bench.store.steps["head"] = [DOWN] * 1000
            began = now()
            assert await answer(bench.do(bench.reserve(), key="k")) is Code.OUTCOME_UNKNOWN
            assert 15.0 <= now() - began <= 5.0 + 15.0 + 2.0
            bench.store.steps.clear()
            await asyncio.sleep(2)
            assert values(await bench.do(bench.reserve(), key="k")) == [1]

    @simulated
    async def test_a_commit_that_is_lost_every_time_is_answered_at_its_bound_too(self) -> None:
        """As on a full disk under SQLite, which says so only at COMMIT."""
        async with ledger() as bench:
            bench.store.always["commit"] = LOST
            asked = bench.start(bench.reserve())
            await asyncio.wait([asked], timeout=60.0)
            bench.store.always.clear()
            assert asked.done(), "a client waits for ever"
            assert await answer(asked) in (Code.OUTCOME_UNKNOWN, Code.DATABASE_UNAVAILABLE)

    @simulated
    async def test_a_commit_that_is_lost_every_time_is_not_tried_without_a_pause(self) -> None:
        async with ledger() as bench:
            bench.store.always["commit"] = LOST
            asked = bench.start(bench.reserve())
            await asyncio.sleep(1.0)
            bench.store.always.clear()
            assert bench.store.calls["commit"] < 50
            assert values(await asked) == [1]

    @simulated
    async def test_doubt_at_shutdown(self) -> None:
        async with ledger(shutdown_seconds=3.0) as bench:
            bench.store.steps["answer"] = [LOST]
            bench.store.always["head"] = DOWN
            asked = bench.start(bench.reserve())
            await asyncio.sleep(0.5)
            began = now()
            await bench.writer.stop()
            assert 3.0 <= now() - began <= 5.0
            assert await answer(asked) is Code.OUTCOME_UNKNOWN


class TestShutdown:
    @simulated
    async def test_what_was_accepted_is_finished_and_the_rest_refused(self) -> None:
        async with ledger(batch=1) as bench:
            bench.store.steps["begin"] = [0.5]
            accepted = await bench.start_many(3)
            stopping = asyncio.get_running_loop().create_task(bench.writer.stop())
            await asyncio.sleep(0)
            await asyncio.sleep(0.1)
            assert await answer(bench.do(bench.reserve())) is Code.SHUTTING_DOWN
            with pytest.raises(Fault):
                await bench.writer.fresh()
            assert await all_values(accepted) == [1, 2, 3]
            await stopping

    @simulated
    async def test_all_that_is_committed_is_answered_before_the_end(self) -> None:
        async with ledger(small_batch=400) as bench:
            bench.store.steps["begin"] = [0.5]
            tasks = await bench.start_many(400)
            await bench.writer.stop()
            assert not bench.writer._decided  # a loop that ends now would lose them
            assert len(await all_values(tasks)) == 400

    @simulated
    async def test_shutdown_is_bounded(self) -> None:
        async with ledger(shutdown_seconds=3.0) as bench:
            bench.store.always["begin"] = bench.store.always["head"] = DOWN
            asked = bench.start(bench.reserve())
            await asyncio.sleep(0.1)
            began = now()
            await bench.writer.stop()
            assert now() - began <= 5.0
            assert await answer(asked) is Code.SHUTTING_DOWN

    @simulated
    async def test_a_writer_whose_task_is_killed_answers_all_and_refuses_the_next(self) -> None:
        async with ledger() as bench:
            held = asyncio.Event()
            bench.store.steps["begin"] = [held]
            (asked,) = await bench.start_many(1)
            assert bench.writer._task is not None
            bench.writer._task.cancel()
            assert await answer(asked) is Code.SHUTTING_DOWN
            late = bench.start(bench.reserve())
            await asyncio.wait([late], timeout=60.0)
            assert late.done(), "a client waits for ever"
            assert await answer(late) is Code.SHUTTING_DOWN


class TestFollowing:
    @simulated
    async def test_fresh_sees_what_another_process_committed(self) -> None:
        async with ledger() as bench, ledger(bench.log) as other:
            await other.do(other.reserve(count=3))
            sequence = (await bench.writer.fresh()).sequence("S:-")
            assert sequence is not None
            assert sequence.high_water == 3

    @simulated
    async def test_fresh_does_not_wait_for_ever(self) -> None:
        async with ledger() as bench:
            bench.store.always["begin"] = bench.store.always["head"] = DOWN
            began = now()
            with pytest.raises(Fault) as error:
                await bench.writer.fresh()
            assert error.value.code is Code.DATABASE_UNAVAILABLE
            assert now() - began <= 6.0

    @simulated
    async def test_what_others_appended_is_folded_under_the_lock(self) -> None:
        async with ledger() as bench, ledger(bench.log) as other:
            for _ in range(3):
                await other.do(other.reserve())
            assert values(await bench.do(bench.reserve())) == [4]
            assert bench.store.calls["events under lock"] == 1

    @simulated
    async def test_a_long_log_makes_nobody_wait_beyond_the_deadline(self) -> None:
        async with ledger() as bench:
            for _ in range(40):
                await bench.do(bench.reserve())
            late = Bench(bench.log, fold_chunk=1)
            late.store.always["events"] = 1.0
            late.writer.start()
            began = now()
            assert await answer(late.do(late.reserve())) is Code.DATABASE_UNAVAILABLE
            assert now() - began <= 6.0
            await asyncio.sleep(40)
            assert values(await late.do(late.reserve())) == [41]
            await late.writer.stop()

    @simulated
    async def test_a_long_log_is_read_without_pauses_once_the_database_is_back(self) -> None:
        async with ledger() as bench:
            for _ in range(40):
                await bench.do(bench.reserve())
            late = Bench(bench.log, fold_chunk=1)
            late.store.steps["head"] = [DOWN] * 10  # until the pauses between tries are as long as they get
            late.writer.start()
            await until(lambda: not late.store.steps["head"])
            began = now()
            await until(lambda: late.writer.fold is not None and late.writer.fold.position == 42)
            assert now() - began <= 1.0 + 0.1  # one pause more, and then none
            await late.writer.stop()

    @simulated
    async def test_a_long_tail_is_folded_before_the_lock_is_kept(self) -> None:
        async with ledger(fold_under_lock=2, fold_chunk=2) as bench, ledger(bench.log) as other:
            for _ in range(5):
                await other.do(other.reserve())
            assert values(await bench.do(bench.reserve())) == [6]
            assert bench.store.calls["events under lock"] == 0


class TestExpiry:
    @simulated
    async def test_what_is_due_is_expired_by_itself_in_bounded_sweeps(self) -> None:
        async with ledger(sweep=3) as bench:
            for _ in range(10):
                await bench.do(bench.reserve(ttl_seconds=2))
            kept = bench.reserve(ttl_seconds=100)
            await bench.do(kept)
            await asyncio.sleep(4)
            assert types(bench.log).count("ReservationExpired") == 10
            assert bench.store.batches[-4:] == [3, 3, 3, 1]
            assert [reservation.token for reservation in (await bench.writer.fresh()).reservations()] == [kept.token]

    @simulated
    async def test_a_confirmation_that_comes_too_late_is_rejected_swept_or_not(self) -> None:
        async with ledger(idle_seconds=60.0) as bench:
            first, second = bench.reserve(ttl_seconds=2), bench.reserve(ttl_seconds=2)
            await bench.do(first)
            await bench.do(second)
            await asyncio.sleep(2.5)
            assert await answer(bench.do(Confirm(first.token))) is Code.RESERVATION_EXPIRED
            assert types(bench.log).count("ReservationExpired") == 2  # in the same transaction

    @simulated
    async def test_an_extension_in_time_is_not_swept(self) -> None:
        async with ledger() as bench:
            reserve = bench.reserve(ttl_seconds=2)
            await bench.do(reserve)
            await asyncio.sleep(1)
            await bench.do(Extend(reserve.token, 10))
            await asyncio.sleep(5)
            assert values(await bench.do(Confirm(reserve.token))) == [1]

    @simulated
    async def test_two_processes_expire_each_reservation_once(self) -> None:
        async with ledger() as bench, ledger(bench.log) as other:
            for _ in range(5):
                await bench.do(bench.reserve(ttl_seconds=2))
                await other.do(other.reserve(ttl_seconds=2))
            await asyncio.sleep(5)
            assert types(bench.log).count("ReservationExpired") == 10


def failing(function: Callable[..., Any], when: Callable[[Any], bool]) -> Callable[..., Any]:
    """The function, with a bug."""

    def fails(state: State, subject: Any, instant: int) -> Any:
        if when(subject):
            raise ZeroDivisionError
        return function(state, subject, instant)

    return fails


class TestStopping:
    """Whatever happens next, nothing is appended any more."""

    @pytest.mark.parametrize("idle", [True, False], ids=["seen when idle", "seen by a command"])
    @pytest.mark.parametrize("damage", ["set back", "forked", "forked earlier", "another ledger"])
    def test_a_log_that_is_not_the_one_seen_before_stops_every_process(self, damage: str, idle: bool) -> None:
        @simulated
        async def run() -> None:
            async with ledger(sound=False) as bench, ledger(bench.log, sound=False) as other:
                for _ in range(4):
                    await bench.do(bench.reserve())
                await other.writer.fresh()
                self.harm(bench.log, damage)
                before = list(bench.log.records)
                await asyncio.sleep(3 if idle else 0)
                assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED
                assert await answer(other.do(other.reserve())) is Code.LEDGER_STOPPED
                assert bench.writer.fault is not None
                assert bench.log.records == before
                assert (bench.log.head.stopped is not None) == (damage != "another ledger")

        run()

    def harm(self, log: MemoryLog, damage: str) -> None:
        match damage:
            case "set back":
                put(log, log.records[:-1])
            case "forked":
                put(log, forked(log.records, 5))
            case "forked earlier":
                put(log, forked(one_more(log.records), 3))
            case _:
                log.head = log.head._replace(ledger_id="another")

    @simulated
    async def test_the_mark_on_the_head_is_tried_until_it_is_made(self) -> None:
        """A process that starts on the older copy knows nothing: only the mark keeps it from issuing numbers again."""
        async with ledger(sound=False) as bench:
            for _ in range(4):
                await bench.do(bench.reserve())
            put(bench.log, bench.log.records[:-2])
            bench.store.steps["begin"] = [DOWN, BUSY]
            await asyncio.sleep(10)
            assert bench.log.head.stopped is not None

    @simulated
    async def test_a_head_marked_as_stopped_is_refused_until_it_is_cleared(self) -> None:
        async with ledger() as bench:
            bench.log.head = bench.log.head._replace(stopped="an operator looks at it")
            for pause in (0, 2, 10):
                await asyncio.sleep(pause)
                assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED
                assert bench.writer.fault is not None
            bench.log.head = bench.log.head._replace(stopped=None)
            assert values(await bench.do(bench.reserve())) == [1]
            assert bench.writer.fault is None

    @simulated
    async def test_a_stopped_head_can_still_be_read(self) -> None:
        async with ledger() as bench:
            bench.log.head = bench.log.head._replace(stopped="an operator looks at it")
            assert (await bench.writer.fresh()).versions("S")
            bench.log.head = bench.log.head._replace(stopped=None)

    @simulated
    async def test_a_stop_in_the_middle_of_a_sweep_is_not_asked_without_a_pause(self) -> None:
        async with ledger(sweep=1) as bench:
            for _ in range(5):
                await bench.do(bench.reserve(ttl_seconds=2))
            bench.store.steps["answer"] = [stop_after(bench.log)]
            await asyncio.sleep(10)
            assert types(bench.log).count("ReservationExpired") == 1
            assert bench.store.calls["begin"] < 100

    @simulated
    async def test_an_unknown_event_stops_an_old_process_and_not_the_log(self) -> None:
        async with ledger(sound=False) as bench:
            put(bench.log, unknown_next(bench.log.records))
            before = list(bench.log.records)
            assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED
            await asyncio.sleep(3)
            assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED
            assert bench.log.records == before
            assert bench.log.head.stopped is None

    @simulated
    async def test_an_unknown_event_is_noticed_at_the_start_too(self) -> None:
        async with ledger(sound=False) as bench:
            put(bench.log, unknown_next(bench.log.records))
            late = Bench(bench.log)
            late.writer.start()
            assert await answer(late.do(late.reserve())) is Code.LEDGER_STOPPED
            await late.writer.stop()

    @simulated
    async def test_commands_in_doubt_are_told_so_when_the_writer_stops(self) -> None:
        async with ledger(sound=False) as bench:
            await bench.do(bench.reserve())
            bench.store.steps["answer"] = [LOST]
            bench.store.steps["head"] = [1.0]
            asked = bench.start(bench.reserve())
            await asyncio.sleep(0.5)
            put(bench.log, bench.log.records[:1])
            assert await answer(asked) is Code.OUTCOME_UNKNOWN


def stop_after(log: MemoryLog) -> Callable[[], Coroutine[Any, Any, None]]:
    async def stop() -> None:
        log.head = log.head._replace(stopped="an operator looks at it")

    return stop


def together(*commands: Decidable, keys: Sequence[str | None] = ()) -> Together:
    return Together(tuple((each, envelope(key)) for each, key in zip_longest(commands, keys)))


class TestTogether:
    @simulated
    async def test_all_are_carried_out_in_order(self) -> None:
        async with ledger() as bench:
            first, second = bench.reserve(), bench.reserve(count=2)
            outcome = await bench.writer.submit(together(first, second, Confirm(first.token, "D")), envelope())
            assert [values(part) for part in outcome.parts[:2]] == [[1], [2, 3]]
            assert outcome.position == outcome.parts[-1].position == 5

    @simulated
    async def test_none_is_carried_out_when_one_is_rejected(self) -> None:
        async with ledger() as bench:
            before = (await bench.store.head()).position
            with pytest.raises(Rejection) as caught:
                await bench.writer.submit(together(bench.reserve(), Cancel("none"), bench.reserve()), envelope())
            assert caught.value.members == {"index": 1}
            assert "none of the commands was carried out" in caught.value.detail
            assert (await bench.store.head()).position == before
            assert values(await bench.do(bench.reserve())) == [1]  # and nothing is left in memory

    @simulated
    async def test_what_was_rejected_leaves_its_neighbours_in_the_batch_alone(self) -> None:
        async with ledger() as bench:
            bench.store.steps["begin"] = [0.5]
            submitted = (
                bench.start(bench.reserve()),
                asyncio.ensure_future(answer(bench.writer.submit(together(bench.reserve(), Cancel("-")), envelope()))),
                bench.start(bench.reserve()),
            )
            first, refused, second = await asyncio.gather(*submitted)
            assert isinstance(first, Outcome)
            assert isinstance(second, Outcome)
            assert refused is Code.RESERVATION_NOT_FOUND
            assert sorted(values(first) + values(second)) == [1, 2]

    @simulated
    async def test_what_was_rejected_binds_no_key_for_its_neighbours(self) -> None:
        async with ledger() as bench:
            bench.store.steps["begin"] = [0.5]
            asked = together(bench.reserve(), Cancel("-"), keys=["a"])
            refused = asyncio.ensure_future(answer(bench.writer.submit(asked, envelope())))
            alone = bench.start(bench.reserve(), key="a")
            assert await refused is Code.RESERVATION_NOT_FOUND
            outcome = await alone
            assert isinstance(outcome, Outcome)
            assert (values(outcome), outcome.replayed) == ([1], False)
            assert (await bench.store.head()).position == outcome.position

    @simulated
    async def test_a_repetition_gets_the_first_answers(self) -> None:
        async with ledger() as bench:
            asked = together(bench.reserve(), bench.reserve(), keys=["a", "b"])
            first = await bench.writer.submit(asked, envelope())
            again = await bench.writer.submit(asked, envelope())
            assert again.replayed
            assert [part.entries for part in again.parts] == [part.entries for part in first.parts]
            # one that was sent before, with one that was not
            asked = together(bench.reserve(), bench.reserve(), keys=["b", "c"])
            mixed = await bench.writer.submit(asked, envelope())
            assert [part.replayed for part in mixed.parts] == [True, False]
            assert not mixed.replayed

    @simulated
    async def test_a_key_that_stands_twice_has_one_effect(self) -> None:
        async with ledger() as bench:
            asked = together(bench.reserve(), bench.reserve(), keys=["a", "a"])
            outcome = await bench.writer.submit(asked, envelope())
            assert [part.replayed for part in outcome.parts] == [False, True]
            assert values(outcome.parts[0]) == values(outcome.parts[1]) == [1]

    @simulated
    async def test_a_commit_in_doubt_is_looked_up(self) -> None:
        async with ledger() as bench:
            bench.store.steps["answer"] = [LOST]
            outcome = await bench.writer.submit(together(bench.reserve(), bench.reserve()), envelope())
            assert [values(part) for part in outcome.parts] == [[1], [2]]
            assert values(await bench.do(bench.reserve())) == [3]

    @simulated
    async def test_a_commit_that_did_not_happen_is_tried_again(self) -> None:
        async with ledger() as bench:
            bench.store.steps["commit"] = [LOST]
            outcome = await bench.writer.submit(together(bench.reserve(), bench.reserve()), envelope())
            assert [values(part) for part in outcome.parts] == [[1], [2]]


# What decides beside the writer


NOT_COMPARED = Fault(Code.MIRROR_NOT_COMPARED, "Redis is away")
AHEAD = Stop(StopKind.MIRROR_AHEAD, "is ahead")


@simulated
async def test_a_held_writer_lets_commands_wait_and_reads() -> None:
    async with ledger() as bench:
        bench.writer.hold(NOT_COMPARED)
        waiting = await bench.start_many(3)
        assert (await bench.writer.fresh()).versions("S")
        await asyncio.sleep(1)
        assert not any(task.done() for task in waiting)
        assert bench.writer.fault is NOT_COMPARED
        bench.writer.release()
        assert len({outcome.position for outcome in await asyncio.gather(*waiting)}) == 3
        assert bench.writer.fault is None


@simulated
async def test_who_waits_too_long_for_the_release_is_told_why() -> None:
    async with ledger(lock_timeout_seconds=2) as bench:
        bench.writer.hold(NOT_COMPARED)
        began = asyncio.get_running_loop().time()
        assert await answer(bench.do(bench.reserve())) is Code.MIRROR_NOT_COMPARED
        assert 2 <= asyncio.get_running_loop().time() - began <= 2.1
        assert await answer(bench.do(bench.reserve())) is Code.MIRROR_NOT_COMPARED, "and now at once"
        assert asyncio.get_running_loop().time() - began <= 2.1
        assert bench.log.head.position == 2
        bench.writer.release()
        await bench.do(bench.reserve())


@simulated
async def test_a_held_writer_expires_nothing_and_ends_at_once() -> None:
    async with ledger(shutdown_seconds=1000) as bench:
        await bench.do(bench.reserve(ttl_seconds=1))
        before = bench.log.head.position
        bench.writer.hold(NOT_COMPARED)
        await asyncio.sleep(30)
        assert bench.log.head.position == before
        bench.writer.release()
        bench.writer.hold(NOT_COMPARED)  # anew: else what comes is told at once why
        waiting = bench.start(bench.reserve())
        await asyncio.sleep(0.1)
        assert bench.writer.waiting == 1
        began = asyncio.get_running_loop().time()
        await bench.writer.stop()
        assert await answer(waiting) is Code.SHUTTING_DOWN
        assert asyncio.get_running_loop().time() - began < 5


@simulated
async def test_forbidding_answers_who_waits_and_stops_every_process_at_the_head() -> None:
    async with ledger(sound=False) as bench, another(bench) as neighbour:
        bench.writer.hold(NOT_COMPARED)
        waiting = await bench.start_many(3)
        bench.writer.forbid(AHEAD, at=bench.log.head.position)
        assert [await answer(task) for task in waiting] == [Code.LEDGER_STOPPED] * 3
        await asyncio.sleep(2)
        assert bench.log.head.stopped == "the mirror is ahead"
        assert await standing(bench) == [AHEAD.kind]
        assert await answer(neighbour.do(neighbour.reserve())) is Code.LEDGER_STOPPED
        assert (await bench.writer.fresh()).versions("S")
        await lift(bench)
        bench.writer.release()
        for each in (bench, neighbour):
            await each.do(each.reserve())


@simulated
async def test_a_second_reason_is_marked_beside_the_first_and_each_must_be_lifted() -> None:
    async with ledger(sound=False) as bench:
        archive = Stop(StopKind.ARCHIVE_AHEAD, "the archive has more", 90, bytes(32))
        await mark(bench, archive)
        bench.writer.forbid(AHEAD, at=bench.log.head.position)
        await asyncio.sleep(2)
        assert await standing(bench) == [archive.kind, AHEAD.kind]
        with pytest.raises(Fault) as refused:
            await bench.do(bench.reserve())
        assert refused.value.happened == stopped_by([archive, AHEAD]).happened
        bench.writer.release()
        for kind in (AHEAD.kind, archive.kind):
            await bench.writer.fresh()
            assert bench.writer.fault is not None
            assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED
            await lift(bench, kind)
        await bench.do(bench.reserve())


@simulated
async def test_all_reasons_are_told() -> None:
    async with ledger(sound=False) as bench:
        archive = Stop(StopKind.ARCHIVE_AHEAD, "the archive has more", 90, bytes(32))
        await mark(bench, archive, AHEAD)
        with pytest.raises(Fault) as caught:
            await bench.do(bench.reserve())
        assert archive.text in caught.value.detail
        assert AHEAD.text in caught.value.detail


@simulated
async def test_nothing_is_made_of_a_fault_while_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns are many, and faults few."""
    async with ledger() as bench:
        made: list[str] = []
        init = Fault.__init__

        def counted(self: Fault, code: Code, happened: str, **fields: Any) -> None:
            made.append(happened)
            init(self, code, happened, **fields)

        monkeypatch.setattr(Fault, "__init__", counted)
        for _ in range(5):
            await bench.do(bench.reserve())
            await bench.writer.fresh()
            await asyncio.sleep(2)
        assert made == []


@simulated
async def test_two_reasons_that_could_not_be_marked_are_both_marked_later() -> None:
    """What the process knows by itself, and what it hears of the mirror."""
    async with ledger(sound=False) as bench:
        for _ in range(3):
            await bench.do(bench.reserve())
        whole = list(bench.log.records)
        put(bench.log, whole[:-2])
        bench.store.steps["begin"] = [DOWN] * 5
        await asyncio.sleep(2)
        bench.writer.forbid(AHEAD, at=bench.log.head.position)
        await asyncio.sleep(30)
        assert set(await standing(bench)) == {StopKind.LOG_BEHIND, AHEAD.kind}


@simulated
async def test_half_a_ledger_is_marked_by_nobody_but_the_restore() -> None:
    """What was found of the half is not true of the whole, and would still stand when it is whole."""
    async with ledger(sound=False) as bench:
        await mark(bench, Stop(StopKind.RESTORING, "run it again"))
        bench.writer.forbid(AHEAD, at=bench.log.head.position)
        await asyncio.sleep(2)
        assert await standing(bench) == [StopKind.RESTORING]


@simulated
async def test_what_was_found_of_an_earlier_head_does_not_stop_a_later_one() -> None:
    async with ledger() as bench:
        bench.writer.forbid(AHEAD, at=bench.log.head.position - 1)
        await asyncio.sleep(2)
        assert bench.log.head.stopped is None
        assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED
        bench.writer.release()
        await bench.do(bench.reserve())


@simulated
async def test_a_head_that_cannot_be_marked_now_is_marked_later() -> None:
    async with ledger(sound=False) as bench:
        bench.store.steps["begin"] = [DOWN] * 5
        bench.writer.forbid(AHEAD, at=bench.log.head.position)
        await asyncio.sleep(20)
        assert bench.log.head.stopped == "the mirror is ahead"


@simulated
async def test_releasing_takes_back_a_mark_that_was_not_made_yet() -> None:
    async with ledger() as bench:
        bench.store.steps["begin"] = [DOWN]
        bench.writer.forbid(AHEAD, at=bench.log.head.position)
        await asyncio.sleep(0.5)
        bench.writer.release()
        await asyncio.sleep(20)
        assert bench.log.head.stopped is None
        await bench.do(bench.reserve())


@simulated
async def test_nothing_is_written_before_what_the_log_is_known_to_have_reached() -> None:
    """Whoever witnessed it, this process itself has not seen it."""
    async with ledger() as bench:
        position = bench.log.head.position
        bench.writer.witness(position + 3)
        assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED
        assert (bench.log.head.position, bench.log.head.stopped) == (position, None)
        assert (await bench.writer.fresh()).versions("S")
        bench.writer.witness(position)
        await bench.do(bench.reserve())


@simulated
async def test_a_batch_that_was_begun_is_not_written_after_the_writer_is_held() -> None:
    async with ledger() as bench:
        position, deciding = bench.log.head.position, asyncio.Event()
        bench.store.steps["lookup"] = [deciding]
        waiting = bench.start(bench.reserve(), key="K")
        await asyncio.sleep(1)
        bench.writer.hold(NOT_COMPARED)
        deciding.set()
        await asyncio.sleep(1)
        assert bench.log.head.position == position
        bench.writer.release()
        assert (await waiting).position == position + 1


@simulated
async def test_a_process_that_had_stopped_goes_on_when_the_log_is_whole_again() -> None:
    async with ledger(sound=False) as bench:
        for _ in range(3):
            await bench.do(bench.reserve())
        whole = list(bench.log.records)
        put(bench.log, whole[:-2])
        assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED
        await asyncio.sleep(3)
        (stop,) = bench.log.stops
        assert (stop.kind, stop.position, stop.hash) == (StopKind.LOG_BEHIND, len(whole), whole[-1].hash)
        seen = f"seen: position {len(whole)}, hash {whole[-1].hash.hex()}"
        assert (bench.log.head.stopped or "").endswith(f"({seen})"), "which earlier builds read"
        put(bench.log, whole)
        await asyncio.sleep(3)
        assert (await bench.do(bench.reserve())).position > len(whole)


@asynccontextmanager
async def another(bench: Bench) -> AsyncIterator[Bench]:
    """Another process on the same log."""
    neighbour = Bench(bench.log)
    neighbour.writer.start()
    await neighbour.writer.fresh()
    yield neighbour
    await neighbour.writer.stop()


async def mark(bench: Bench, *stops: Stop) -> None:
    transaction = await MemoryStore(bench.log).begin()
    for stop in stops:
        await transaction.stop(stop)
    await transaction.commit()


async def lift(bench: Bench, *kinds: StopKind) -> None:
    transaction = await MemoryStore(bench.log).begin()
    await transaction.lift(lambda stop: stop.kind in (kinds or StopKind))
    await transaction.commit()


async def standing(bench: Bench) -> list[StopKind]:
    return [stop.kind for stop in await MemoryStore(bench.log).stops()]


class TestBeginning:
    """An empty log begins with FormatRaised, which is of no command."""

    @simulated
    async def test_a_new_ledger_begins_at_the_newest_format(self) -> None:
        async with ledger() as bench:
            assert types(bench.log) == ["FormatRaised", "SeriesDefined"]
            (defined,) = bench.acknowledged
            assert [entry.position for entry in defined.entries] == [2]
            first = decode(bench.log.records[0])
            assert (first.event, first.envelope.actor) == (FormatRaised(NEWEST_FORMAT), "ledger")
            assert (await bench.writer.fresh()).format == NEWEST_FORMAT

    @simulated
    async def test_what_is_refused_begins_nothing(self) -> None:
        async with empty() as bench:
            assert await answer(bench.do(bench.reserve())) is Code.CONFIG_NOT_FOUND
            both = together(DefineSeries((SERIES,)), replace(bench.reserve(), series="T"))
            assert await answer(bench.writer.submit(both, envelope())) is Code.CONFIG_NOT_FOUND
            assert types(bench.log) == []
            await bench.do(DefineSeries((SERIES,)))
            assert types(bench.log) == ["FormatRaised", "SeriesDefined"]

    @simulated
    async def test_an_atomic_batch_may_be_the_first(self) -> None:
        async with empty() as bench:
            outcome = await bench.writer.submit(together(DefineSeries((SERIES,)), bench.reserve()), envelope())
            assert types(bench.log) == ["FormatRaised", "SeriesDefined", "NumbersReserved"]
            assert [len(part.entries) for part in outcome.parts] == [1, 1]

    @simulated
    async def test_who_raises_the_format_first_begins_with_that(self) -> None:
        async with empty() as bench:
            outcome = await bench.do(RaiseFormat(NEWEST_FORMAT, "by a test"))
            assert (types(bench.log), outcome.position) == (["FormatRaised"], 1)

    @pytest.mark.parametrize("step", ["commit", "answer"])
    def test_a_first_commit_in_doubt_begins_it_once(self, step: str) -> None:
        @simulated
        async def run() -> None:
            async with empty() as bench:
                bench.store.steps[step] = [LOST]
                await bench.do(DefineSeries((SERIES,)), key="k")
                assert types(bench.log) == ["FormatRaised", "SeriesDefined"]

        run()

    @simulated
    async def test_of_two_processes_one_begins_it(self) -> None:
        async with empty() as bench, empty(bench.log) as other:
            await asyncio.gather(bench.do(DefineSeries((SERIES,))), other.do(DefineSeries((SERIES,))))
            assert types(bench.log) == ["FormatRaised", "SeriesDefined"]


class TestClosed:
    @simulated
    async def test_what_comes_behind_the_closing_is_refused(self) -> None:
        """By each process, within one command already; a repetition gets its first answer."""
        async with ledger() as bench, ledger(bench.log) as other:
            first = await bench.do(bench.reserve(), key="k")
            both = together(CLOSE, bench.reserve())
            assert await answer(bench.writer.submit(both, envelope())) is Code.LEDGER_CLOSED
            assert types(bench.log)[-1] == "NumbersReserved"
            await bench.do(CLOSE)
            assert await answer(bench.do(bench.reserve())) is Code.LEDGER_CLOSED
            assert await answer(other.do(other.reserve())) is Code.LEDGER_CLOSED
            again = await bench.do(bench.reserve(), key="k")
            assert again.entries == first.entries
            assert types(bench.log)[-1] == "LedgerClosed"
            await other.do(OpenLedger(CLOSE.copies, (), "again"))
            assert values(await bench.do(bench.reserve())) == [2]

    @simulated
    async def test_nothing_expires_and_nobody_looks_for_it(self) -> None:
        """The head's lock is not taken on and on for reservations that are due, as many as there are."""
        async with ledger(sweep=1) as bench:
            for _ in range(3):
                await bench.do(bench.reserve(ttl_seconds=1))
            await bench.do(CLOSE)
            await asyncio.sleep(5)
            begun = bench.store.calls["begin"]
            await asyncio.sleep(60)
            assert bench.store.calls["begin"] == begun
            assert types(bench.log)[-1] == "LedgerClosed"
            await bench.do(OpenLedger(CLOSE.copies, (), "again"))
            await asyncio.sleep(5)
            assert types(bench.log).count("ReservationExpired") == 3


CLOSE = CloseLedger(("/srv/archive",), "by a test")


class TestFormat:
    """A ledger of before: its log begins with no FormatRaised."""

    @pytest.fixture
    def later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let confirmations be of the newest format."""
        monkeypatch.setattr(NumbersConfirmed, "format", NEWEST_FORMAT)

    @simulated
    async def test_what_it_does_not_allow_is_refused_and_changes_nothing(self, later: None) -> None:
        async with ledger(log_of_before()) as bench:
            reserved = await bench.do(bench.reserve())
            confirm = Confirm(token_of(reserved), "D")
            assert await answer(bench.do(confirm)) is Code.FORMAT_NOT_RAISED
            assert bench.log.head.position == reserved.position
            assert values(await bench.do(bench.reserve())) == [2]

    @simulated
    async def test_all_of_an_atomic_batch_is_refused(self, later: None) -> None:
        async with ledger(log_of_before()) as bench:
            reserve = bench.reserve()
            both = together(reserve, Confirm(reserve.token, "D"))
            assert await answer(bench.writer.submit(both, envelope())) is Code.FORMAT_NOT_RAISED
            assert types(bench.log) == ["SeriesDefined"]

    @simulated
    async def test_once_it_is_raised_it_is_allowed_in_the_same_batch(self, later: None) -> None:
        async with ledger(log_of_before()) as bench:
            reserve = bench.reserve()
            raising = RaiseFormat(NEWEST_FORMAT, "by a test")
            await bench.writer.submit(together(raising, reserve, Confirm(reserve.token, "D")), envelope())
            assert types(bench.log)[-3:] == ["FormatRaised", "NumbersReserved", "NumbersConfirmed"]

    @simulated
    async def test_it_is_raised_once(self) -> None:
        async with ledger(log_of_before()) as bench:
            command = RaiseFormat(NEWEST_FORMAT, "by a test")
            first, second = await bench.do(command), await bench.do(command)
            assert [entry.event for entry in first.entries] == [FormatRaised(NEWEST_FORMAT)]
            assert (second.entries, second.position) == ((), first.position)

    @simulated
    async def test_a_process_that_does_not_know_it_stops_and_marks_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with ledger(log_of_before(), sound=False) as bench:
            monkeypatch.setattr("ledger.codec.NEWEST_FORMAT", NEWEST_FORMAT + 1)
            record = encode(
                Entry(2, FormatRaised(NEWEST_FORMAT + 1), envelope()._replace(reason="by a later build"), 0, 1),
                bench.log.head.hash,
            )
            bench.log.commit([record], bench.log.head._replace(position=2, hash=record.hash, recorded_at=1))
            monkeypatch.setattr("ledger.codec.NEWEST_FORMAT", NEWEST_FORMAT)
            assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED
            assert bench.writer.fault
            assert "by a later build" in bench.writer.fault.detail
            assert not bench.log.head.is_stopped


@asynccontextmanager
async def empty(log: MemoryLog | None = None) -> AsyncIterator[Bench]:
    """A writer on a log without events, or on that of another one."""
    bench = Bench(log or MemoryLog("test"))
    bench.writer.start()
    yield bench
    await bench.writer.stop()
    await check_store(MemoryStore(bench.log), acknowledged=bench.acknowledged)


def log_of_before() -> MemoryLog:
    """A log that an earlier build began, with the series S."""
    log = MemoryLog("test")
    record = encode(Entry(1, SeriesDefined(SERIES), envelope(), 0, 0), log.head.hash)
    log.commit([record], log.head._replace(position=1, hash=record.hash))
    return log


def token_of(outcome: Outcome) -> str:
    token = outcome.entries[-1].event.token
    assert token is not None
    return token


MISSING = "the log ends before what a process had seen"


async def seen_by_copy(last: Seen | None) -> Seen | None:
    return last


class TestTransientBreaks:
    """A promoted replica that still applies its relay log is behind for a moment: nothing of that may last."""

    @simulated
    async def test_a_log_that_was_behind_for_a_moment_is_not_marked_when_it_is_whole_again(self) -> None:
        async with ledger() as bench:
            await bench.do(bench.reserve())
            await bench.do(bench.reserve())
            whole = list(bench.log.records)
            put(bench.log, whole[:-1])
            bench.store.steps["begin"] = [DOWN] * 3  # the head cannot be marked at once
            await asyncio.sleep(1.5)
            assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED
            put(bench.log, whole)
            await asyncio.sleep(10)
            assert await standing(bench) == []
            assert values(await bench.do(bench.reserve())) == [3]

    @simulated
    async def test_a_mark_ends_by_itself_when_its_event_is_there_again(self) -> None:
        async with ledger() as bench:
            await bench.do(bench.reserve())
            await bench.do(bench.reserve())
            whole = list(bench.log.records)
            put(bench.log, whole[:-1])
            await asyncio.sleep(5)
            (stop,) = await bench.store.stops()
            assert (stop.kind, stop.position) == (StopKind.LOG_BEHIND, len(whole))
            put(bench.log, whole, stops=[stop])
            await asyncio.sleep(5)
            assert await standing(bench) == []
            assert values(await bench.do(bench.reserve())) == [3]

    @simulated
    @pytest.mark.parametrize("is_over", [True, False])
    @pytest.mark.parametrize("begins_anew", [True, False])
    async def test_a_mark_that_the_head_does_not_count_any_more(self, is_over: bool, begins_anew: bool) -> None:
        """A replica that applies what it received overwrites the head, and leaves the rows that were written beside."""
        async with ledger(sound=False) as bench:
            await bench.do(bench.reserve())
            last = bench.log.records[-1]
            hash = last.hash if is_over else bytes(32)
            await mark(bench, Stop(StopKind.LOG_FORKED, MISSING, last.position, hash))
            if not begins_anew:
                bench.store.steps["begin"] = [DOWN] * 2
                await asyncio.sleep(1.2)
            bench.log.head = bench.log.head._replace(stops=0, stopped=None)
            async with another(bench) as other:
                await asyncio.sleep(10)
                assert await standing(bench) == ([] if is_over else [StopKind.LOG_FORKED])
                assert bench.log.head.is_stopped is not is_over
                found = await answer(other.do(other.reserve()))
                assert (found is Code.LEDGER_STOPPED) is not is_over

    @simulated
    async def test_it_ends_in_a_process_that_was_begun_since(self) -> None:
        async with ledger() as bench:
            await bench.do(bench.reserve())
            last = bench.log.records[-1]
            await mark(bench, Stop(StopKind.LOG_BEHIND, MISSING, last.position, last.hash))
            async with another(bench) as other:
                await asyncio.sleep(5)
                assert await standing(bench) == []
                assert values(await other.do(other.reserve())) == [2]

    @simulated
    @pytest.mark.parametrize(
        ("kind", "position", "hash"),
        [
            (StopKind.LOG_BEHIND, 4, None),  # the log does not reach so far
            (StopKind.LOG_FORKED, 3, bytes(32)),  # it has another event there
            (StopKind.LOG_FORKED, None, None),  # nothing tells what it must hold
            (StopKind.EARLIER_BUILD, None, None),
            (StopKind.MIRROR_FORKED, None, None),
        ],
    )
    async def test_no_other_ends_by_itself(self, kind: StopKind, position: int | None, hash: bytes | None) -> None:
        async with ledger(sound=False) as bench:
            await bench.do(bench.reserve())
            await mark(bench, Stop(kind, MISSING, position, hash or (bytes(32) if position else None)))
            await asyncio.sleep(10)
            assert await standing(bench) == [kind]

    @simulated
    @pytest.mark.parametrize("kind", [StopKind.MOVED, StopKind.RESTORING, StopKind.COPY])
    async def test_nothing_ends_beside_one_that_says_that_this_is_no_ledger(self, kind: StopKind) -> None:
        async with ledger(sound=False) as bench:
            await bench.do(bench.reserve())
            last = bench.log.records[-1]
            await mark(bench, Stop(StopKind.LOG_BEHIND, MISSING, last.position, last.hash))
            await mark(bench, Stop(kind, "elsewhere"))
            await asyncio.sleep(10)
            assert set(await standing(bench)) == {kind, StopKind.LOG_BEHIND}

    @simulated
    @pytest.mark.parametrize("copy", ["ahead", "another event", "cannot be asked"])
    async def test_it_does_not_end_while_a_copy_of_the_log_disagrees(self, copy: str) -> None:
        async with ledger(sound=False) as bench:
            await bench.do(bench.reserve())
            last = bench.log.records[-1]

            async def asked() -> Seen | None:
                if copy == "cannot be asked":
                    raise Fault(Code.REDIS_UNAVAILABLE, "no answer")
                return Seen(last.position + (copy == "ahead"), bytes(32))

            bench.writer.copies.append(asked)
            await mark(bench, Stop(StopKind.LOG_BEHIND, MISSING, last.position, last.hash))
            await asyncio.sleep(10)
            assert await standing(bench) == [StopKind.LOG_BEHIND]
            bench.writer.copies[:] = [lambda: seen_by_copy(Seen(last.position, last.hash)), lambda: seen_by_copy(None)]
            await asyncio.sleep(10)
            assert await standing(bench) == []
