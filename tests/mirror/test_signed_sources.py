"""A mirror with a key as a source: it ends at its last MAC, whatever anybody has appended, and `verify` says so."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis as Client

from ledger.chain import genesis
from ledger.ports import Record
from numbering.settings import Settings
from numbering.sources import left_out, opened_sources
from projections.mirror.memory import MemoryStream
from projections.mirror.redis import connect_to
from projections.mirror.stream import LOOKED_BACK, Entry
from replay.sources import DatabaseSource, Extent, StreamSource
from replay.verify import Report, verify
from tests.mirror.attacks import KEYS, NEW, OTHERS, InMemory, InRedis, Mirror, keyed, plain
from tests.replay.places import LEDGER, archived, history, opened_sqlite, read, sqlite_with, stored
from tests.servers import Redis

EVENTS = 30
RECORDS = history(EVENTS)
OURS = KEYS.of(LEDGER, 0)


@pytest.fixture(params=["memory", "redis"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Mirror, StreamSource]]:
    if request.param == "memory":
        held = InMemory()
        yield held, StreamSource(MemoryStream(held.held, OURS), LEDGER)
        return
    server: Redis = request.getfixturevalue("shared_redis")
    server.execute("FLUSHALL")
    client, stream = Client.from_url(server.url), connect_to(server.url, keys=KEYS)(LEDGER, 0)
    yield InRedis(client, LEDGER), StreamSource(stream, LEDGER)
    await stream.close()
    await client.aclose()


def extent_of(records: Sequence[Record], first: int = 1) -> Extent:
    return Extent(LEDGER, first, records[-1].position, records[-1].hash)


@pytest.mark.parametrize("foreign", [0, 1, 5, 2 * LOOKED_BACK])
async def test_a_mirror_ends_at_its_last_mac(place: tuple[Mirror, StreamSource], foreign: int) -> None:
    """Which speaks for all before it, signed or not; however many entries somebody appends."""
    mirror, source = place
    await mirror.add(
        [*plain(RECORDS[:10]), *keyed(RECORDS[10:12], OURS), *plain(RECORDS[12:19]), *keyed(RECORDS[19:20], OURS)]
    )
    await mirror.add([Entry(21 + each, b"{}", bytes(32), bytes(32)) for each in range(foreign)])
    assert await source.extent() == extent_of(RECORDS[:20])
    assert await read(source) == stored(RECORDS[:20])
    assert (source.unsigned.last if source.unsigned else None) == (20 + foreign if foreign else None)
    assert len(list(left_out([source]))) == bool(foreign)


async def test_a_mirror_without_a_mac_is_empty(place: tuple[Mirror, StreamSource]) -> None:
    mirror, source = place
    await mirror.add([*plain(RECORDS[:10]), *keyed(RECORDS[10:], OTHERS.of(LEDGER, 0))])
    assert await source.extent() == Extent.none(LEDGER)
    assert source.unsigned == extent_of(RECORDS)


async def verified(source: StreamSource, tmp_path: Path) -> Report:
    async with opened_sqlite(await sqlite_with(RECORDS[:25], tmp_path)) as store:
        return await verify(DatabaseSource(store), [source], chain_only=True)


@pytest.mark.parametrize("signed", [0, 10, 20])
async def test_what_the_log_holds_too_needs_no_mac(
    place: tuple[Mirror, StreamSource], signed: int, tmp_path: Path
) -> None:
    mirror, source = place
    await mirror.add([*keyed(RECORDS[:signed], OURS), *plain(RECORDS[signed:20])])
    report = await verified(source, tmp_path)
    assert (report.flaws, report.copies) == ([], {"the mirror": 20})


@pytest.mark.parametrize("signed", [0, 20, 25])
async def test_what_is_beyond_the_log_without_a_mac_is_a_finding(
    place: tuple[Mirror, StreamSource], signed: int, tmp_path: Path
) -> None:
    mirror, source = place
    await mirror.add([*keyed(RECORDS[:signed], OURS), *plain(RECORDS[signed:])])
    report = await verified(source, tmp_path)
    (flaw,) = report.flaws
    assert (flaw.where, flaw.position) == ("the mirror", signed + 1)
    assert f"from here to {EVENTS} bear no valid MAC" in flaw.what


async def test_a_mirror_alone_is_verified_up_to_its_last_mac(place: tuple[Mirror, StreamSource]) -> None:
    mirror, source = place
    await mirror.add([*keyed(RECORDS[:20], OURS), *plain(RECORDS[20:])])
    report = await verify(source, chain_only=True)
    assert (report.position, [flaw.position for flaw in report.flaws]) == (20, [21])


# Which of Redis's streams


@pytest.fixture
async def redis(shared_redis: Redis) -> AsyncIterator[Client]:
    shared_redis.execute("FLUSHALL")
    async with Client.from_url(shared_redis.url) as client:
        yield client


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "keys"
    file.write_text(f"{NEW.hex()}\n")
    file.chmod(0o600)
    return Settings(mirror_key_file=str(file))


async def test_forged_ledgers_and_generations_are_not_asked(
    shared_redis: Redis, redis: Client, settings: Settings, tmp_path: Path
) -> None:
    """Alone, and beside an archive that says which ledger is meant."""
    await InRedis(redis, LEDGER).add(keyed(RECORDS[:20], KEYS.of(LEDGER, 1)), generation=1)
    await InRedis(redis, LEDGER).add(plain(RECORDS), generation=7)
    await InRedis(redis, "another").add([Entry(1, b"{}", genesis("another"))])
    await redis.set(f"numbering:{LEDGER}:9:events", "no stream")
    await archived(RECORDS[:5], tmp_path / "archive")
    for places in ([shared_redis.url], [str(tmp_path / "archive"), shared_redis.url]):
        async with opened_sources(places, settings) as sources:
            assert await sources[-1].extent() == extent_of(RECORDS[:20])
    async with opened_sources([str(tmp_path / "archive"), shared_redis.url], Settings()) as sources:
        with pytest.raises(Exception, match="WRONGTYPE"):
            await sources[-1].extent()


async def test_a_stream_of_before_the_key_is_found_and_left_out(
    shared_redis: Redis, redis: Client, settings: Settings
) -> None:
    await InRedis(redis, LEDGER).add(plain(RECORDS))
    async with opened_sources([shared_redis.url], settings) as sources:
        assert (await sources[0].extent()).last == 0
        (said,) = left_out(sources)
        assert f"up to position {EVENTS}" in said
    async with opened_sources([shared_redis.url], Settings()) as sources:
        assert await sources[0].extent() == extent_of(RECORDS)
        assert list(left_out(sources)) == []
