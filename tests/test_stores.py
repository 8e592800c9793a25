"""What every store promises, on each kind of store that we have."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from ledger import chain
from ledger.domain.rejection import Code
from ledger.ports import OutcomeUnknown, Record, Snapshot, Stop, StopKind, Store, StoreFault
from tests.stores import TEXT, TOTAL_SECONDS, Ledger, append, appender, follow, patiently


class TestReading:
    async def test_a_fresh_ledger_has_only_its_beginning(self, ledger: Ledger) -> None:
        head = await ledger.open().head()
        assert (head.position, head.recorded_at, head.stopped) == (0, 0, None)
        assert head.hash == chain.genesis(head.ledger_id)
        assert await ledger.open().events(after=0, limit=10) == []

    async def test_what_is_appended_is_read_back_unchanged(self, ledger: Ledger) -> None:
        store = ledger.open()
        await append(store, 3)
        head = await store.head()
        records = follow(head, 5, stream=TEXT, type="ก" * 64, recorded_at=2**53 - 1)
        records[2] = records[2]._replace(token=None, ordinal=2**31 - 1, version=7)
        transaction = await store.begin()
        await transaction.append(records)
        await transaction.commit()
        assert await store.events(after=3, limit=10) == records
        assert all(type(event) is Record for event in await store.events(after=0, limit=1))

    async def test_a_batch_without_any_token(self, ledger: Ledger) -> None:
        store = ledger.open()
        assert await append(store, 3, token=None) == await store.events(after=0, limit=10)

    async def test_events_come_in_pages(self, ledger: Ledger) -> None:
        store = ledger.open()
        records = await append(store, 7)
        assert await store.events(after=0, limit=3) == records[:3]
        assert await store.events(after=3, limit=3) == records[3:6]
        assert await store.events(after=6, limit=3) == records[6:]
        assert await store.events(after=7, limit=3) == []

    async def test_events_are_read_by_position(self, ledger: Ledger) -> None:
        store = ledger.open()
        records = await append(store, 7)
        assert await store.events_at([5, 2, 5, 900]) == [records[1], records[4]]
        assert await store.events_at([]) == []

    async def test_events_of_a_token_are_found_whole_and_exactly(self, ledger: Ledger) -> None:
        store = ledger.open()
        first = await append(store, 1, token="tok")
        await append(store, 1, token="TOK")
        await append(store, 1, token="tok ")
        last = await append(store, 1, token="tok")
        assert await store.events_of_token("tok") == first + last
        assert await store.events_of_token("to") == []

    async def test_events_of_a_stream_come_the_newest_first_in_pages(self, ledger: Ledger) -> None:
        store = ledger.open()
        records = await append(store, 7)
        stream = records[0].stream
        of_stream = [record for record in reversed(records) if record.stream == stream]
        assert await store.events_of_stream(stream, before=8, limit=10) == of_stream
        assert await store.events_of_stream(stream, before=of_stream[0].position, limit=1) == of_stream[1:2]
        assert await store.events_of_stream(stream, before=1, limit=10) == []
        assert await store.events_of_stream(stream.lower() + " ", before=8, limit=10) == []

    async def test_events_of_commands(self, ledger: Ledger) -> None:
        store = ledger.open()
        command = os.urandom(32)
        records = await append(store, 4)
        pair = follow(records[-1], 2, command_id=command)
        pair[1] = pair[1]._replace(ordinal=1)
        transaction = await store.begin()
        await transaction.append(pair)
        assert await transaction.events_of_commands([command]) == pair
        await transaction.commit()
        transaction = await store.begin()
        found = await transaction.events_of_commands([command, os.urandom(32), records[1].command_id])
        assert found == [records[1], *pair]
        assert await transaction.events_of_commands([]) == []
        await transaction.rollback()
        assert await store.events_of_commands([command, os.urandom(32), records[1].command_id]) == [records[1], *pair]
        assert await store.events_of_commands([]) == []

    @pytest.mark.parametrize("fields", [{}, {"token": None}])  # without any token asyncmy sends text, not a bulk
    async def test_large_batches_and_large_bodies(self, ledger: Ledger, fields: dict[str, Any]) -> None:
        store = ledger.open()
        transaction = await store.begin()
        records = follow(transaction.head, 2500, **fields)
        records += large(records[-1], [1_500_000, 6_000_000, 6_000_000, 6_000_000, 10], **fields)
        await transaction.append(records)
        await transaction.commit()
        assert await store.events(after=0, limit=10_000) == records


def large(after: Record, sizes: list[int], **fields: Any) -> list[Record]:
    records = []
    for size in sizes:
        (record,) = follow(after, 1, **fields)
        body = b'"\\' * (size // 2)  # the worst case of escaping
        after = record._replace(body=body, hash=chain.link(after.hash, body))
        records.append(after)
    return records


def snapshot(position: int, body: bytes = b"body", *, fold_version: int = 4) -> Snapshot:
    return Snapshot(position, os.urandom(32), fold_version, body, os.urandom(32))


class TestSnapshots:
    async def test_there_is_none_at_first(self, ledger: Ledger) -> None:
        assert await ledger.open().newest_snapshot(4, at_most=2**53) is None

    @pytest.mark.parametrize("body", [b"", bytes(range(256)), os.urandom(9 * 2**20)], ids=["empty", "all", "large"])
    async def test_what_is_put_is_read_back_unchanged(self, ledger: Ledger, body: bytes) -> None:
        made = snapshot(2**53, body)
        await ledger.open().put_snapshot(made)
        assert await ledger.open().newest_snapshot(4, at_most=2**53) == made

    async def test_the_newest_is_that_of_the_highest_position_up_to_a_limit(self, ledger: Ledger) -> None:
        store = ledger.open()
        made = [snapshot(position) for position in (5, 10, 7)]
        for each in made:
            await store.put_snapshot(each)
        assert await store.newest_snapshot(4, at_most=10) == made[1]
        assert await store.newest_snapshot(4, at_most=9) == made[2]
        assert await store.newest_snapshot(4, at_most=4) is None

    async def test_each_version_of_the_fold_has_its_own(self, ledger: Ledger) -> None:
        store = ledger.open()
        old, new = snapshot(5), snapshot(5, fold_version=5)
        for each in (old, new, snapshot(6, fold_version=6)):
            await store.put_snapshot(each)
        assert await store.newest_snapshot(4, at_most=9) == old
        assert await store.newest_snapshot(5, at_most=9) == new
        assert await store.newest_snapshot(3, at_most=9) is None

    async def test_of_two_at_one_position_the_first_stays(self, ledger: Ledger) -> None:
        first, others = snapshot(5), [snapshot(5) for _ in range(5)]
        await ledger.open().put_snapshot(first)
        stores = [ledger.open() for _ in others]
        await asyncio.gather(*(store.put_snapshot(each) for store, each in zip(stores, others, strict=True)))
        assert await stores[0].newest_snapshot(4, at_most=9) == first

    async def test_it_is_put_beside_the_writers_transaction(self, ledger: Ledger) -> None:
        store = ledger.open()
        transaction = await store.begin()
        made = snapshot(1)
        putting = asyncio.create_task(store.put_snapshot(made))
        await asyncio.sleep(0.05)
        await transaction.append(follow(transaction.head, 1))
        await transaction.commit()
        await putting
        assert await store.newest_snapshot(4, at_most=1) == made
        await append(store, 1)


class TestTransactions:
    async def test_commit_moves_the_head(self, ledger: Ledger) -> None:
        store, other = ledger.open(), ledger.open()
        records = await append(store, 3)
        head = await other.head()
        assert (head.position, head.hash, head.recorded_at) == (3, records[-1].hash, records[-1].recorded_at)
        transaction = await other.begin()
        assert transaction.head == head
        await transaction.rollback()

    async def test_several_appends_in_one_transaction(self, ledger: Ledger) -> None:
        store = ledger.open()
        transaction = await store.begin()
        await transaction.append([])
        for _ in range(3):
            await transaction.append(follow(transaction.head, 2))
        assert [event.position for event in await transaction.events(after=1, limit=4)] == [2, 3, 4, 5]
        await transaction.commit()
        assert (await store.head()).position == 6
        assert [event.position for event in await store.events(after=0, limit=9)] == [1, 2, 3, 4, 5, 6]

    async def test_nothing_is_seen_before_commit(self, ledger: Ledger) -> None:
        store, other = ledger.open(), ledger.open()
        transaction = await store.begin()
        await transaction.append(follow(transaction.head, 2))
        assert (await other.head()).position == 0
        assert await other.events(after=0, limit=10) == []
        await transaction.commit()
        assert len(await other.events(after=0, limit=10)) == 2

    async def test_rollback_leaves_nothing(self, ledger: Ledger) -> None:
        store = ledger.open()
        before = await store.head()
        transaction = await store.begin()
        await transaction.append(follow(transaction.head, 2))
        await transaction.stop(Stop(StopKind.COPY, "nothing"))
        await transaction.rollback()
        await transaction.rollback()
        assert await store.head() == before
        assert await store.events(after=0, limit=10) == []
        await append(store, 1)

    async def test_a_closed_store_gives_up_its_lock(self, ledger: Ledger) -> None:
        store, other = ledger.open(), ledger.open()
        transaction = await store.begin()
        await transaction.append(follow(transaction.head, 2))
        await store.close()
        await append(other, 1)
        assert len(await other.events(after=0, limit=10)) == 1

    async def test_the_lock_is_waited_for_then_refused(self, ledger: Ledger) -> None:
        # The shortest that there is: databases take no less.
        patience_ms = 200 if ledger.kind == "memory" else 2000
        holder, waiter = ledger.open(lock_timeout_ms=60_000), ledger.open(lock_timeout_ms=patience_ms)
        transaction = await holder.begin()
        with pytest.raises(StoreFault) as caught:
            await waiter.begin()
        assert caught.value.contention
        assert caught.value.transient
        await transaction.append(follow(transaction.head, 1))
        await transaction.commit()
        await append(waiter, 1)

    async def test_now_is_read_after_the_wait(self, ledger: Ledger) -> None:
        holder, waiter = ledger.open(), ledger.open()
        await append(waiter, 1)  # its connection is open now
        transaction = await holder.begin()
        waiting = asyncio.create_task(waiter.begin())
        await asyncio.sleep(0.3)
        released = time.time_ns() // 1000
        await transaction.rollback()
        transaction = await waiting
        assert released - 1000 <= transaction.now <= time.time_ns() // 1000 + 1000
        await transaction.rollback()

    async def test_a_stop_is_seen_by_all(self, ledger: Ledger) -> None:
        store, other = ledger.open(), ledger.open()
        transaction = await store.begin()
        assert await transaction.stop(Stop(StopKind.COPY, "กระจกแยก: forked at 7"))
        now = transaction.now
        await transaction.commit()
        assert (await other.head()).stopped == "กระจกแยก: forked at 7"
        assert await other.stops() == [Stop(StopKind.COPY, "กระจกแยก: forked at 7", stopped_at=now)]
        transaction = await other.begin()
        assert transaction.head.stopped == "กระจกแยก: forked at 7"
        assert transaction.head.is_stopped
        assert await transaction.stops() == await other.stops()
        await transaction.rollback()

    async def test_only_one_transaction_at_a_time(self, ledger: Ledger) -> None:
        store = ledger.open()
        transaction = await store.begin()
        with pytest.raises(AssertionError):
            await store.begin()
        await transaction.commit()
        with pytest.raises(AssertionError):
            await transaction.append(follow(transaction.head, 1))


class TestRefusals:
    @pytest.mark.parametrize("position", [0, 2, 3, 5])
    async def test_a_position_out_of_turn(self, ledger: Ledger, position: int) -> None:
        store = ledger.open()
        await append(store, 3)
        await self.refused(store, lambda records: [records[0]._replace(position=position)])

    async def test_a_hole_or_a_repeat_inside_a_batch(self, ledger: Ledger) -> None:
        store = ledger.open()
        await self.refused(store, lambda records: [records[0], records[2]])
        await self.refused(store, lambda records: [records[0], records[0]])

    async def test_a_broken_chain(self, ledger: Ledger) -> None:
        store = ledger.open()
        await self.refused(store, lambda records: [records[0]._replace(hash=bytes(32))])
        await self.refused(store, lambda records: [records[0], records[1]._replace(body=b"{}")])

    async def test_a_body_too_large_for_one_statement(self, ledger: Ledger) -> None:
        await self.refused(ledger.open(), lambda records: records[:1] + large(records[0], [8 * 2**20]))

    async def test_a_command_stored_before(self, ledger: Ledger) -> None:
        store = ledger.open()
        (stored,) = await append(store, 1)
        await self.refused(store, lambda records: [records[0]._replace(command_id=stored.command_id)])
        transaction = await store.begin()
        again = follow(transaction.head, 1, command_id=stored.command_id, ordinal=1)
        await transaction.append(again)
        await transaction.commit()

    async def test_a_command_twice_in_a_batch(self, ledger: Ledger) -> None:
        await self.refused(ledger.open(), lambda records: [record._replace(command_id=bytes(32)) for record in records])

    async def refused(self, store: Store, spoil: Callable[[list[Record]], list[Record]]) -> None:
        """Appending spoiled records is a fault, and the ledger stays as it was and writable."""
        before = await store.events(after=0, limit=100)
        transaction = await store.begin()
        with pytest.raises(StoreFault) as caught:
            await transaction.append(spoil(follow(transaction.head, 3)))
        assert caught.value.code is Code.INTERNAL_ERROR
        assert not caught.value.transient
        await transaction.rollback()
        assert await store.events(after=0, limit=100) == before
        await (await store.begin()).rollback()


class TestManyWriters:
    async def test_positions_are_dense_and_a_tailing_reader_misses_none(self, ledger: Ledger) -> None:
        writers, reader = [ledger.open(), ledger.open()], ledger.open()
        await append(reader, 1)
        dice = random.Random(7)
        seen: list[Record] = []
        ended: asyncio.Future[int] = asyncio.Future()

        async def write(store: Store, name: str) -> None:
            for _ in range(15):
                transaction = await patiently(store)
                await transaction.append(follow(transaction.head, dice.randint(1, 4), name=name))
                await asyncio.sleep(0)
                await (transaction.rollback() if dice.random() < 0.2 else transaction.commit())

        async def tail() -> None:
            while not ended.done() or len(seen) < ended.result():
                page = await reader.events(after=len(seen), limit=dice.randint(1, 5))
                assert [event.position for event in page] == list(range(len(seen) + 1, len(seen) + 1 + len(page)))
                seen.extend(page)
                await asyncio.sleep(0)

        async with asyncio.timeout(TOTAL_SECONDS):
            tailing = asyncio.create_task(tail())
            await asyncio.gather(*(write(store, name) for store, name in zip(writers, "ab", strict=True)))
            ended.set_result((await reader.head()).position)
            await tailing
        assert len(seen) == ended.result()
        for before, after in pairwise(seen):
            assert after.hash == chain.link(before.hash, after.body)

    async def test_batches_of_two_processes_never_interleave(self, sql_ledger: Ledger) -> None:
        batches, size = 25, 5
        processes = [
            await asyncio.create_subprocess_exec(*appender(sql_ledger.url, batches, size, name)) for name in "ab"
        ]
        async with asyncio.timeout(TOTAL_SECONDS):
            assert [await process.wait() for process in processes] == [0, 0]
        events = await sql_ledger.open().events(after=0, limit=1000)
        assert [event.position for event in events] == list(range(1, 2 * batches * size + 1))
        for start in range(0, len(events), size):
            assert len({event.stream for event in events[start : start + size]}) == 1
        assert {event.stream for event in events} == {"a", "b"}


class TestCancellation:
    async def test_cancelled_reads_never_mix_up_rows(self, sql_ledger: Ledger) -> None:
        store, dice = sql_ledger.open(), random.Random(11)
        records = await append(store, 60)

        async def read(number: int) -> None:
            if number % 3:
                assert await store.events(after=number, limit=2) == records[number : number + 2]
            else:
                assert await store.events_of_token(f"-{number}") == [records[number]]

        async def cancel(task: asyncio.Task[None], seconds: float) -> None:
            await asyncio.sleep(seconds)
            task.cancel()

        outcomes = Counter[str]()
        async with asyncio.timeout(TOTAL_SECONDS):
            # Until each end was seen often enough, however busy the machine is.
            while min(outcomes["NoneType"], outcomes["CancelledError"]) <= 20 or outcomes.total() < 240:
                reads = [asyncio.create_task(read(dice.randrange(58))) for _ in range(12)]
                await asyncio.gather(*(cancel(task, dice.uniform(0, 0.01)) for task in reads if dice.random() < 0.7))
                for outcome in await asyncio.gather(*reads, return_exceptions=True):
                    assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
                    outcomes[type(outcome).__name__] += 1

    async def test_a_cancelled_transaction_lets_go_of_the_lock(self, ledger: Ledger) -> None:
        store, other, dice = ledger.open(), ledger.open(), random.Random(13)

        async def work() -> None:
            transaction = await patiently(store)
            try:
                await transaction.append(follow(transaction.head, 3))
                await asyncio.sleep(0)
            finally:
                await transaction.rollback()

        async with asyncio.timeout(TOTAL_SECONDS):
            for _ in range(30):
                task = asyncio.create_task(work())
                await asyncio.sleep(dice.uniform(0, 0.004))
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await (await patiently(other)).rollback()
        assert (await other.head()).position == 0

    async def test_a_commit_cancelled_at_any_moment_happens_whole_or_not_at_all(self, sql_ledger: Ledger) -> None:
        store, dice, committed, unknown = sql_ledger.open(), random.Random(17), 0, 0
        async with asyncio.timeout(TOTAL_SECONDS):
            for _ in range(30):
                transaction = await patiently(store)
                assert transaction.head.position == committed
                await transaction.append(follow(transaction.head, 3))
                commit = asyncio.create_task(transaction.commit())
                await asyncio.sleep(dice.choice([0, dice.uniform(0, 0.002)]))
                commit.cancel()
                try:
                    await commit
                except OutcomeUnknown:
                    unknown += 1
                # Only under the lock is it certain that the server has finished with the cancelled COMMIT.
                check = await patiently(store)
                assert check.head.position in (committed, committed + 3)
                assert len(await check.events(after=committed, limit=10)) == check.head.position - committed
                assert check.head.position > committed or commit.exception()
                committed = check.head.position
                await check.rollback()
        assert unknown
