"""All that write the log and all that follow it, killed in turn at random points: in the end all agree.

It takes seconds: each kill is followed by a restart and a random time at work, and the end by all that expires.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import select

from ledger import codec
from ledger.domain.events import DocumentLinked, NumberAssigned, NumbersConfirmed
from ledger.domain.ranges import values_of
from ledger.ports import Record
from ledger.stores import SqlStore, open_store
from projections.check import check
from projections.mirror.redis import RedisStream
from projections.mirror.stream import Entry, stream_key
from projections.reading import Projections
from projections.snapshot import snapshot
from tests.fire.parts import (
    SHORT_SECONDS,
    Part,
    start_consumer,
    start_mirror,
    start_projector,
    start_service,
    start_writer,
)
from tests.fire.place import Place
from tests.fire.service import Serve
from tests.invariants import check_store, read_log
from tests.profiles import rounds
from tests.servers import Redis

KILLS = rounds(36, thorough=210)
REDIS_EVERY = 15
MAX_PAUSE_SECONDS = 0.25
SETTLED_SECONDS = 120.0
POLL_SECONDS = 0.2


@pytest.fixture
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


def test_whatever_is_killed_all_agree_in_the_end(on_mariadb: Place, redis: Redis, serve: Serve, tmp_path: Path) -> None:
    service = serve(on_mariadb)  # from which consumers read what the stream has no more
    ledger_id = service.get("/health")[1]["ledger_id"]
    acknowledged, applied = tmp_path / "acknowledged", tmp_path / "consumer.db"
    url, random = on_mariadb.url, Random(7)
    consumer = ("--ledger", ledger_id, "--redis", redis.url, "--service", service.url, "--file", str(applied))
    with ExitStack() as stack:
        parts = [
            start_writer("writer", url, acknowledged),
            start_service("service", url, redis.url, acknowledged),
            start_projector("projector", url),
            start_mirror("mirror", url, redis.url),
            start_consumer("consumer 1", *consumer, "--name", "one", "--idle-ms", "500"),
            start_consumer("consumer 2", *consumer, "--name", "two", "--idle-ms", "500"),
        ]
        for part in parts:
            stack.callback(part.close)
        _kill_in_turn(parts, redis, random)
        for part in parts[:2]:
            part.close()
        time.sleep(2 * SHORT_SECONDS)  # in which what is due expires
        _settle(url, redis, ledger_id, applied)
    told = [line.split() for line in acknowledged.read_text(encoding="utf-8").splitlines()]
    asyncio.run(_check(url, redis, ledger_id, told, applied))
    assert min(part.kills for part in parts) >= KILLS // len(parts)


def _kill_in_turn(parts: list[Part], redis: Redis, random: Random) -> None:
    for kill in range(KILLS):
        time.sleep(random.uniform(0.0, MAX_PAUSE_SECONDS))
        part = parts[kill % len(parts)]
        part.kill()
        part.start()
        if kill % REDIS_EVERY == REDIS_EVERY - 1:
            redis.kill()
            redis.start()
        if kill == KILLS // 2:
            redis.execute("FLUSHALL")  # and with it the consumers' group


def _settle(url: str, redis: Redis, ledger_id: str, applied: Path) -> None:
    """Wait until mirror, projections and consumers have what the writers left."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while not asyncio.run(_is_settled(url, redis, ledger_id, applied)):
        assert time.monotonic() < deadline, "not all that follows the log comes up to its end"
        time.sleep(POLL_SECONDS)


async def _is_settled(url: str, redis: Redis, ledger_id: str, applied: Path) -> bool:
    store, stream = open_store(url), RedisStream(redis.url, stream_key(ledger_id))
    try:
        head = (await store.head()).position
        mirrored = (await stream.tail()).position
        projected = await Projections(store).position()
    finally:
        await store.close()
        await stream.close()
    with closing(sqlite3.connect(applied)) as file:
        ((seen,),) = file.execute("SELECT COUNT(*) FROM applied WHERE position > 0").fetchall()
    return head == mirrored == projected == int(seen)


async def _check(url: str, redis: Redis, ledger_id: str, told: list[list[str]], applied: Path) -> None:
    store = open_store(url)
    try:
        await check_store(store)
        records, _ = await read_log(store)
        await _check_mirror(redis, ledger_id, records)
        report = await check(store)
        assert (report.position, report.differences) == (len(records), ())
        await _check_acknowledged(store, told)
    finally:
        await store.close()
    _check_consumer(applied, records)


async def _check_mirror(redis: Redis, ledger_id: str, records: list[Record]) -> None:
    stream = RedisStream(redis.url, stream_key(ledger_id))
    try:
        for first in range(0, len(records), 1000):
            part = records[first : first + 1000]
            entries = await stream.entries(after=first, limit=1000)
            assert entries == [Entry(record.position, record.body, record.hash) for record in part]
        assert (await stream.tail()).position == len(records)
    finally:
        await stream.close()


async def _check_acknowledged(store: SqlStore, told: list[list[str]]) -> None:
    """Whatever a client was told is among the projected numbers, and was told once unless its series reuses."""
    assert len(told) > KILLS, "too few numbers were given out for the kills to mean anything"
    never = Counter(number for _, number in told if number.startswith("NEVER"))
    assert not [number for number, times in never.items() if times > 1]
    async with snapshot(store) as seen:
        projected = {row.number for row in await seen.fetch(select(seen.slot.numbers.c.number))}
    assert {number for _, number in told} <= projected


def _check_consumer(applied: Path, records: list[Record]) -> None:
    expected = Counter[str]()
    for record in records:
        expected.update(_confirmed(codec.decode(record).event))
    with closing(sqlite3.connect(applied)) as file:
        positions = [position for (position,) in file.execute("SELECT position FROM applied ORDER BY position")]
        documents = dict(file.execute("SELECT document, numbers FROM documents"))
    assert positions == list(range(len(records) + 1))
    assert documents == expected


def _confirmed(event: object) -> Counter[str]:
    match event:
        case NumbersConfirmed(ranges=ranges, document=document, documents=documents):
            own = dict(documents)
            given = (own.get(value, document) for value in values_of(ranges))
            return Counter(document for document in given if document)
        case NumberAssigned(document=document):
            return Counter([document])
        case DocumentLinked(document=document, previous=previous):
            counts = Counter([document])
            counts.subtract([previous] if previous else [])
            return counts
        case _:
            return Counter()
