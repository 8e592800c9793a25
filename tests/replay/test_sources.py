"""Database, mirror and archive give the same events, and what is read of any of them is checked as it is read."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.ports import Head, Record
from ledger.stores import open_store
from projections.mirror.memory import MemoryEntries, MemoryStream
from projections.mirror.redis import RedisStream, connect_to, streams
from projections.mirror.stream import Entry, Stream, StreamFault, Tail, stream_key
from replay.archive.source import ArchiveSource
from replay.following import Chain, checked
from replay.sources import (
    CHUNK,
    ENTRIES,
    IN_FLIGHT_MICROSECONDS,
    Damaged,
    DatabaseSource,
    Extent,
    Stored,
    StreamSource,
    _complete_until,
    event_at,
)
from tests.given import QUICK
from tests.mirror.conftest import shared_redis
from tests.replay.places import (
    LEDGER,
    ListSource,
    archived,
    below,
    changed,
    history,
    inserted,
    mariadb_with,
    opened_sqlite,
    read,
    rechained,
    sqlite_with,
    stored,
    swapped,
    without,
)
from tests.servers import MariaDB, Redis

__all__ = ["shared_redis"]

EVENTS = 30


async def filled(stream: Stream, records: Sequence[Record]) -> Stream:
    for record in records:
        entries = await stream.entries(after=record.position - 2, limit=1) if record.position > 1 else ()
        previous = entries[0].hash if entries else b""
        assert await stream.append([record], previous, begin=record.position == records[0].position)
    return stream


@pytest.fixture(params=["memory", "redis"])
async def stream(request: pytest.FixtureRequest) -> AsyncIterator[Stream]:
    if request.param == "memory":
        yield MemoryStream(MemoryEntries())
        return
    server: Redis = request.getfixturevalue("shared_redis")
    made = RedisStream(server.url, stream_key(LEDGER))
    await made.delete()
    yield made
    await made.close()


# Each gives the same


async def test_a_database_on_sqlite(tmp_path: Path) -> None:
    records = history(2 * CHUNK + 1)
    async with opened_sqlite(await sqlite_with(records, tmp_path)) as store:
        source = DatabaseSource(store)
        assert await source.extent() == Extent(LEDGER, 1, len(records), records[-1].hash)
        assert await read(source) == stored(records)
        assert await event_at(source, CHUNK + 1) == stored(records)[CHUNK]
        assert await event_at(source, len(records) + 1) is None


async def test_a_database_on_mariadb(mariadb: MariaDB) -> None:
    records = history(EVENTS)
    database = await mariadb_with(records, mariadb)
    store = open_store(database.service_url)
    try:
        assert await read(DatabaseSource(store)) == stored(records)
    finally:
        await store.close()


async def test_a_mirror(stream: Stream) -> None:
    records = history(ENTRIES + 10)
    source = StreamSource(await filled(stream, records), LEDGER)
    assert await source.extent() == Extent(LEDGER, 1, len(records), records[-1].hash)
    assert await read(source) == stored(records)
    assert await event_at(source, 7) == stored(records)[6]


async def test_nothing(stream: Stream, tmp_path: Path) -> None:
    await archived([], tmp_path / "archive")
    async with opened_sqlite(await sqlite_with([], tmp_path)) as store:
        for source in (DatabaseSource(store), StreamSource(stream, LEDGER), ArchiveSource(tmp_path / "archive")):
            assert await source.extent() == Extent.none(LEDGER)
            assert await read(source) == []
            assert await event_at(source, 1) is None


# The mirror keeps so many events only, and goes on meanwhile


async def test_a_mirror_that_was_trimmed(stream: Stream) -> None:
    records = history(EVENTS)
    await (await filled(stream, records)).trim(12)
    source = StreamSource(stream, LEDGER)
    assert await source.extent() == Extent(LEDGER, 12, EVENTS, records[-1].hash)
    assert await read(source) == stored(records)[11:]


async def test_a_mirror_that_is_trimmed_while_it_is_read(stream: Stream) -> None:
    source = StreamSource(await filled(stream, history(EVENTS)), LEDGER)
    extent = await source.extent()
    await stream.trim(12)
    with pytest.raises(Damaged, match="position 1: the event is missing: the log goes on at 12"):
        [_ async for _ in checked(source, extent, Chain.of(LEDGER))]


async def test_a_mirror_that_grows_while_it_is_read(stream: Stream) -> None:
    records = history(EVENTS)
    source = StreamSource(await filled(stream, records[:20]), LEDGER)
    extent = await source.extent()
    await stream.append(records[20:], records[19].hash)
    parts = [part async for part in checked(source, extent, Chain.of(LEDGER))]
    assert [event for part in parts for event in part] == stored(records[:20])


async def test_a_mirror_that_lost_its_entries(stream: Stream) -> None:
    await filled(stream, history(5))
    if isinstance(stream, RedisStream):
        await stream._client.xdel(stream.key, "5-0")
        with pytest.raises(Damaged, match="position 5: the mirror has lost its last event"):
            await StreamSource(stream, LEDGER).extent()
        await stream._client.xtrim(stream.key, maxlen=0)
    else:
        stream._held.entries = []  # type: ignore[attr-defined]
    assert await StreamSource(stream, LEDGER).extent() == Extent.none(LEDGER)


class BegunLater(MemoryStream):
    """A stream to which somebody appends the first events between two questions."""

    async def tail(self) -> Tail:
        tail = await super().tail()
        await filled(MemoryStream(self._held), history(3))
        return tail


async def test_a_mirror_that_is_begun_while_it_is_asked() -> None:
    assert await StreamSource(BegunLater(MemoryEntries()), LEDGER).extent() == Extent.none(LEDGER)


class BegunAnew(MemoryStream):
    """A stream that somebody drops and begins anew between two questions."""

    async def tail(self) -> Tail:
        await self.delete()
        await filled(MemoryStream(self._held), history(3))
        return await super().tail()


async def test_a_mirror_that_is_begun_anew_while_it_is_asked() -> None:
    stream = BegunAnew(MemoryEntries())
    await (await filled(stream, history(EVENTS))).trim(12)
    assert await StreamSource(stream, LEDGER).extent() == Extent.none(LEDGER)


class TrimmedMeanwhile(MemoryStream):
    """A stream that goes on after its end was told, and is trimmed beyond that."""

    async def tail(self) -> Tail:
        tail = await super().tail()
        await self.append(history(EVENTS)[tail.position :], tail.hash)
        await self.trim(EVENTS)
        return tail


async def test_what_a_mirror_holds_never_begins_behind_its_end() -> None:
    stream = TrimmedMeanwhile(MemoryEntries())
    await filled(stream, history(EVENTS)[:20])
    extent = await StreamSource(stream, LEDGER).extent()
    assert (extent.first, extent.last) == (1, 20)


class Slow(MemoryStream):
    """A stream that cannot give more than a few entries in time."""

    asked: list[int]

    async def entries(self, *, after: int, limit: int) -> Sequence[Entry]:
        self.asked.append(limit)
        if limit > self.most:
            raise StreamFault("Redis did not answer within 10 s")
        return await super().entries(after=after, limit=limit)

    def __init__(self, held: MemoryEntries, most: int) -> None:
        super().__init__(held)
        self.asked, self.most = [], most


async def test_entries_that_are_too_large_are_read_one_by_one() -> None:
    held = MemoryEntries()
    await filled(MemoryStream(held), history(EVENTS))
    stream = Slow(held, 1)
    assert await read(StreamSource(stream, LEDGER)) == stored(history(EVENTS))
    with pytest.raises(StreamFault):
        await event_at(StreamSource(Slow(held, 0), LEDGER), 1)


async def test_the_streams_of_a_redis_are_found(shared_redis: Redis) -> None:
    shared_redis.execute("FLUSHALL")
    others = ["numbering:x", f"numbering:{LEDGER}:0:events", f"numbering:{LEDGER}:events:rebuilding", "a:events"]
    for key in others:
        shared_redis.execute("XADD", key, "1-0", "body", "x")
    assert await streams(shared_redis.url) == {}
    made = [(LEDGER, 0), (LEDGER, 2), ("other", 1)]
    for ledger_id, generation in made:
        stream = connect_to(shared_redis.url)(ledger_id, generation)
        await filled(stream, history(2))
        await stream.close()
    found = await streams(shared_redis.url)
    assert {name: sorted(generations) for name, generations in found.items()} == {LEDGER: [0, 2], "other": [1]}
    with pytest.raises(StreamFault):
        await streams("redis://127.0.0.1:1/0")


# An archive that goes on meanwhile


async def test_an_archive_that_grows_while_it_is_read(tmp_path: Path) -> None:
    records = history(EVENTS)
    await archived(records[:15], tmp_path, segment_events=10)
    source = ArchiveSource(tmp_path)
    extent = await source.extent()
    found = list[Stored]()
    async for part in checked(source, extent, Chain.of(LEDGER)):
        await archived(records[: 16 + len(found)], tmp_path, segment_events=10)
        found += part
    assert found == stored(records[:15])
    await archived(records, tmp_path, segment_events=10)
    assert await read(ArchiveSource(tmp_path)) == stored(records)


async def test_whoever_reads_no_further_leaves_nothing_behind(tmp_path: Path) -> None:
    await archived(history(EVENTS), tmp_path, segment_events=5)
    source = ArchiveSource(tmp_path)
    for position in range(1, EVENTS + 1):
        event = await event_at(source, position)
        assert event == stored(history(EVENTS))[position - 1]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await read(source)


# All that is read is checked

Tamper = Callable[[Sequence[Record], int], list[Record]]


@given(position=st.integers(1, EVENTS - 1), part=st.integers(1, EVENTS))
@pytest.mark.parametrize("tamper", [changed, swapped, without])
@QUICK
def test_what_was_tampered_with_is_named(tamper: Tamper, position: int, part: int) -> None:
    source = ListSource(stored(tamper(history(EVENTS), position)), extent=whole(), part=part)
    with pytest.raises(Damaged) as damaged:
        asyncio.run(read(source))
    assert damaged.value.position == position
    assert damaged.value.members == {"position": position}
    assert damaged.value.detail.startswith(f"position {position}: ")


@given(kept=st.integers(0, EVENTS - 1), part=st.integers(1, EVENTS))
@QUICK
def test_an_end_that_is_missing_is_named(kept: int, part: int) -> None:
    source = ListSource(stored(history(EVENTS))[:kept], extent=whole(), part=part)
    with pytest.raises(Damaged, match=f"position {kept + 1}: the event is missing"):
        asyncio.run(read(source))


def whole() -> Extent:
    return Extent(LEDGER, 1, EVENTS, history(EVENTS)[-1].hash)


@pytest.mark.parametrize(
    "forged", [inserted(history(EVENTS - 1), 9), rechained(changed(history(EVENTS), 9)), history(EVENTS, document="E")]
)
async def test_a_chain_that_was_computed_anew_has_another_end(forged: Sequence[Record]) -> None:
    assert await read(ListSource(stored(forged))) == stored(forged), "in itself it is whole"
    with pytest.raises(Damaged, match=f"position {EVENTS}: the last event of the list is not the one that its end"):
        await read(ListSource(stored(forged), extent=whole()))


async def test_an_event_that_stands_at_another_place_than_it_says() -> None:
    moved = [record._replace(position=at) for at, record in enumerate(without(history(EVENTS), 9), 1)]
    with pytest.raises(Damaged, match="the event says of itself that it stands at another position"):
        await read(ListSource(stored(rechained(moved))))
    with pytest.raises(Damaged, match="position 9: the event says of itself"):
        await read(ListSource(stored(moved)))


async def test_a_database_below_its_triggers(tmp_path: Path) -> None:
    async with opened_sqlite(await sqlite_with(history(EVENTS), tmp_path)) as store:
        await below(store, "UPDATE events SET body = replace(body, 'tester', 'Tester') WHERE position = 7")
        with pytest.raises(Damaged, match="position 7: the event does not chain"):
            await read(DatabaseSource(store))
        await below(store, "DELETE FROM events WHERE position IN (5, 6)")
        with pytest.raises(Damaged, match="position 5: the event is missing: the log goes on at 7"):
            await read(DatabaseSource(store))


@pytest.mark.parametrize(
    ("recorded_at", "now", "stops", "until"),
    [
        (1_000, 1_001, 0, 1_000),  # what is in flight has a later time
        (1_000, 1_000, 0, None),  # unless the clock stands still, or went back
        (1_000, 500, 0, None),
        (1_000, 1_000 + 2 * IN_FLIGHT_MICROSECONDS, 0, 1_000 + IN_FLIGHT_MICROSECONDS),
        (1_000, 1_000 + 2 * IN_FLIGHT_MICROSECONDS, 1, None),
    ],
)
def test_a_database_knows_how_far_it_is_complete(recorded_at: int, now: int, stops: int, until: int | None) -> None:
    assert _complete_until(Head(1, bytes(32), recorded_at, LEDGER, None, stops), now) == until
