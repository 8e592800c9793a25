"""The end of the log in memory: what is held is read there, what is not is read from the store, and nothing twice."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.feed import Feed
from ledger.ports import Record
from ledger.stores import MemoryLog, MemoryStore
from tests.stores import follow


def grown(log: MemoryLog, *sizes: int) -> list[list[Record]]:
    """Commit batches of these sizes to the log, past any lock."""
    batches = []
    for size in sizes:
        records = follow(log.head, size)
        last = records[-1]
        log.commit(records, log.head._replace(position=last.position, hash=last.hash))
        batches.append(records)
    return batches


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    unseen=st.integers(0, 20),
    max_events=st.integers(1, 20),
    after=st.integers(0, 80),
    limit=st.integers(1, 30),
)
async def test_what_is_read_is_what_the_log_holds(
    sizes: list[int], unseen: int, max_events: int, after: int, limit: int
) -> None:
    log = MemoryLog()
    if unseen:
        grown(log, unseen)
    feed = Feed(MemoryStore(log), max_events=max_events)
    for batch in grown(log, *sizes):
        feed.put(batch)
    assert await feed.read(after=after, limit=limit) == log.after(after, limit)


async def test_it_holds_no_more_than_it_may() -> None:
    log = MemoryLog()
    feed = Feed(MemoryStore(log), max_events=1000, max_bytes=5_000)
    for batch in grown(log, *[10] * 40):
        feed.put(batch)
        assert sum(len(record.body) for record in feed._records) <= 5_000


async def test_who_waits_is_woken_by_what_it_waits_for() -> None:
    log = MemoryLog()
    feed = Feed(MemoryStore(log))
    waiting = asyncio.create_task(feed.wait(0, seconds=60))
    await asyncio.sleep(0)
    feed.put(grown(log, 3)[0])
    assert await waiting
    assert await feed.wait(2, seconds=60)


@pytest.mark.parametrize("seconds", [0, 0.01])
async def test_nothing_new_in_time_is_told(seconds: float) -> None:
    assert not await Feed(MemoryStore(MemoryLog())).wait(0, seconds=seconds)


async def test_a_cancelled_wait_leaves_the_others_waiting() -> None:
    log = MemoryLog()
    feed = Feed(MemoryStore(log))
    gone, waiting = (asyncio.create_task(feed.wait(0, seconds=60)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    feed.put(grown(log, 1)[0])
    assert await waiting
