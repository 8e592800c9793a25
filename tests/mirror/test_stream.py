"""What every stream keeps, in memory and in Redis: contiguous, unforked, whoever appends and however often."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import chain
from ledger.ports import Head, Record
from ledger.system import SystemClock
from projections.mirror.memory import MemoryEntries, MemoryStream
from projections.mirror.redis import RedisStream
from projections.mirror.stream import EMPTY, Entry, Overview, Stream, StreamFault, Tail
from tests.profiles import rounds
from tests.servers import HOST, Redis
from tests.stores import follow

Open = Callable[[], Stream]

GENESIS = Head(0, chain.genesis("mirrored"), 0, "mirrored", None)
LOG = follow(GENESIS, 40)
OTHER = follow(LOG[9]._replace(hash=bytes(32)), 20)  # another history, from position 11 on


def some(first: int, last: int, log: Sequence[Record] = LOG) -> list[Record]:
    """The events from one position to another."""
    return [record for record in log if first <= record.position <= last]


def before(records: Sequence[Record], log: Sequence[Record] = LOG) -> bytes:
    """The hash in front of the first of them; none in front of the log's first."""
    return next((record.hash for record in log if record.position == records[0].position - 1), b"")


async def held(stream: Stream) -> list[Entry]:
    return list(await stream.entries(after=0, limit=1000))


def entries_of(records: Sequence[Record]) -> list[Entry]:
    return [Entry(record.position, record.body, record.hash) for record in records]


async def filled(stream: Stream, last: int) -> None:
    assert await stream.append(some(1, last), b"", begin=True)


async def test_a_stream_that_never_was_is_empty(open_stream: Open) -> None:
    stream = open_stream()
    assert await stream.tail() == await stream.probe() == EMPTY
    assert await held(stream) == []
    assert await stream.overview() == Overview(0, 0, 0, ())
    assert await stream.trim(5) == 0
    await stream.delete()


async def test_events_are_kept_as_they_are(open_stream: Open) -> None:
    stream = open_stream()
    await filled(stream, 40)
    assert await held(stream) == entries_of(LOG)
    assert await stream.tail() == await stream.probe() == Tail(40, LOG[-1].hash)
    assert await stream.overview() == Overview(40, 1, 40, ())
    assert list(await stream.entries(after=12, limit=3)) == entries_of(some(13, 15))


async def test_the_time_of_the_server(open_stream: Open) -> None:
    before = SystemClock.now()
    told = await open_stream().time()
    assert told is not None
    assert before <= told <= SystemClock.now()


async def test_an_account_that_may_not_ask_the_time(shared_redis: Redis, key: str) -> None:
    """As mirrors were told to have it before: it mirrors all the same, and is no witness."""
    shared_redis.execute("ACL", "SETUSER", "timeless", "on", ">secret", "~*", "+@all", "-time")
    stream = RedisStream(f"redis://timeless:secret@{HOST}:{shared_redis.port}", key)
    try:
        assert await stream.time() is None
        await filled(stream, 3)
    finally:
        await stream.close()


async def test_only_who_may_begin_begins(open_stream: Open) -> None:
    stream = open_stream()
    assert not await stream.append(some(1, 5), b"")
    assert not await stream.append(some(6, 9), LOG[4].hash)
    assert await held(stream) == []


async def test_a_stream_may_begin_at_the_floor_of_its_retention(open_stream: Open) -> None:
    stream = open_stream()
    assert await stream.append(some(20, 25), LOG[18].hash, begin=True)
    assert await held(stream) == entries_of(some(20, 25))
    assert await stream.append(some(26, 30), LOG[24].hash)
    assert (await stream.overview()).first == 20


@pytest.mark.parametrize(
    ("first", "last", "fits"),
    [(11, 12, True), (5, 12, True), (10, 11, True), (1, 40, True), (3, 7, True), (10, 10, True), (12, 14, False)],
)
async def test_what_is_there_is_passed_over_and_no_hole_is_left(
    open_stream: Open, first: int, last: int, fits: bool
) -> None:
    stream, records = open_stream(), some(first, last)
    await filled(stream, 10)
    assert await stream.append(records, before(records), begin=False) is fits
    assert await held(stream) == entries_of(some(1, max(last, 10) if fits else 10))


@pytest.mark.parametrize(("first", "last"), [(11, 12), (11, 20), (15, 30), (20, 22), (18, 19)])
async def test_another_history_is_refused(open_stream: Open, first: int, last: int) -> None:
    stream = open_stream()
    await filled(stream, 20)
    records = some(first, last, OTHER)
    assert not await stream.append(records, before(records, [*LOG[:10], *OTHER]))
    assert await held(stream) == entries_of(some(1, 20))


async def test_an_event_that_follows_another_hash_is_refused(open_stream: Open) -> None:
    stream = open_stream()
    await filled(stream, 10)
    assert not await stream.append(some(11, 12), OTHER[0].hash)
    assert not await stream.append(some(11, 12), b"")


async def test_a_trimmed_stream_goes_on(open_stream: Open) -> None:
    stream = open_stream()
    await filled(stream, 20)
    assert await stream.trim(15) == 14
    assert await held(stream) == entries_of(some(15, 20))
    assert not await stream.append(some(3, 7), LOG[1].hash), "what it cannot see it does not vouch for"
    assert await stream.append(some(21, 30), LOG[19].hash)
    assert await held(stream) == entries_of(some(15, 30))


async def test_the_last_entry_is_never_trimmed(open_stream: Open) -> None:
    stream = open_stream()
    await filled(stream, 20)
    assert await stream.trim(1000) == 19
    assert await stream.tail() == Tail(20, LOG[19].hash)


async def test_a_deleted_stream_can_be_filled_again(open_stream: Open) -> None:
    stream = open_stream()
    await filled(stream, 20)
    await stream.delete()
    assert await stream.tail() == EMPTY
    assert not await stream.append(some(21, 22), LOG[19].hash), "the relay that had filled it does not know yet"
    await filled(stream, 5)
    assert await held(stream) == entries_of(some(1, 5))


def test_any_relays_in_any_order_leave_a_prefix(shared_redis: Redis) -> None:
    """Two relays, each with a cursor of its own and one of another history, lose and repeat what they like."""
    steps = st.tuples(st.integers(0, 1), st.integers(0, 39), st.integers(1, 12), st.booleans())

    @settings(
        max_examples=rounds(20, thorough=60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.lists(steps, max_size=12), st.uuids())
    def run(done: list[tuple[int, int, int, bool]], id: object) -> None:
        asyncio.run(agree(done, str(id)))

    async def agree(done: list[tuple[int, int, int, bool]], id: str) -> None:
        memory, redis = MemoryStream(MemoryEntries()), RedisStream(shared_redis.url, id)
        histories = (LOG, [*LOG[:10], *OTHER])
        for which, first, count, begin in done:
            log = histories[which]
            records = some(first + 1, first + count, log)
            if not records:
                continue
            answers = [await each.append(records, before(records, log), begin=begin) for each in (memory, redis)]
            assert answers[0] == answers[1]
            entries = await held(redis)
            assert entries == await held(memory)
            assert any(entries == entries_of(some(entries[0].position, entries[-1].position, log)) for log in histories
                       ) if entries else True  # fmt: skip
        await redis.delete()
        await redis.close()

    run()


# What only Redis does


async def test_many_relays_at_once(open_redis: Open) -> None:
    streams = [open_redis() for _ in range(8)]

    async def relay(stream: Stream, size: int) -> None:
        for first in range(1, 41, size):
            records = some(first, first + size - 1)
            assert await stream.append(records, before(records), begin=True)

    await asyncio.gather(*(relay(stream, size) for size, stream in enumerate(streams, 1)))
    assert await held(streams[0]) == entries_of(LOG)


async def test_a_stream_emptied_by_others_remembers_how_far_it_came(
    open_redis: Open, shared_redis: Redis, key: str
) -> None:
    stream = open_redis()
    await filled(stream, 20)
    shared_redis.execute("XTRIM", key, "MAXLEN", "0")
    assert await stream.tail() == await stream.probe() == Tail(20, b"")
    assert await stream.overview() == Overview(0, 0, 20, ())
    assert not await stream.append(some(21, 22), LOG[19].hash), "nothing proves that it continues"
    assert not await stream.append(some(21, 22), LOG[19].hash, begin=True)


async def test_a_group_that_was_made_first_does_not_keep_a_stream_from_beginning(
    open_redis: Open, shared_redis: Redis, key: str
) -> None:
    shared_redis.execute("XGROUP", "CREATE", key, "early", "0", "MKSTREAM")
    stream = open_redis()
    assert await stream.tail() == EMPTY
    await filled(stream, 5)
    (group,) = (await stream.overview()).groups
    assert (group.name, group.delivered, group.pending, group.oldest_pending) == ("early", 0, 0, 0)


async def test_trimming_leaves_what_any_group_still_needs(open_redis: Open, shared_redis: Redis, key: str) -> None:
    stream = open_redis()
    await filled(stream, 30)
    for group, count in (("quick", "30"), ("slow", "12"), ("forgetful", "25")):
        shared_redis.execute("XGROUP", "CREATE", key, group, "0")
        shared_redis.execute("XREADGROUP", "GROUP", group, "member", "COUNT", count, "STREAMS", key, ">")
    shared_redis.execute("XACK", key, "quick", *(f"{position}-0" for position in range(1, 31)))
    shared_redis.execute("XACK", key, "slow", *(f"{position}-0" for position in range(1, 13)))
    shared_redis.execute("XACK", key, "forgetful", *(f"{position}-0" for position in range(1, 26) if position != 9))
    assert await stream.trim(28) == 8, "one entry was never acknowledged by `forgetful`"
    shared_redis.execute("XACK", key, "forgetful", "9-0")
    assert await stream.trim(28) == 3, "`slow` was given 12 and nothing after it"
    overview = await stream.overview()
    assert overview.first == 12
    assert {group.name: (group.delivered, group.pending) for group in overview.groups} == {
        "quick": (30, 0), "slow": (12, 0), "forgetful": (25, 0)
    }  # fmt: skip
    shared_redis.execute("XGROUP", "CREATE", key, "new", "0")
    assert await stream.trim(28) == 0


@pytest.mark.parametrize("id", ["1700000000000-0", "21-1"])
async def test_an_entry_of_somebody_else_is_named(open_redis: Open, shared_redis: Redis, key: str, id: str) -> None:
    stream = open_redis()
    await filled(stream, 20)
    shared_redis.execute("XADD", key, id, "hello", "world")
    with pytest.raises(StreamFault, match=rf"holds the entry {id}, which no ledger wrote: run `numbering mirror reb"):
        await stream.tail()
    assert not await stream.append(some(21, 22), LOG[19].hash)


async def test_a_tail_that_was_deleted_is_not_forgotten(open_redis: Open, shared_redis: Redis, key: str) -> None:
    """Redis takes no entry in its place, and what it was is evidence."""
    stream = open_redis()
    await filled(stream, 20)
    shared_redis.execute("XDEL", key, "20-0")
    assert await stream.tail() == await stream.probe() == Tail(20, b"")
    assert not await stream.append(some(20, 22), LOG[18].hash)


async def test_another_stream_is_put_in_its_place(open_stream: Open) -> None:
    stream = open_stream()
    await filled(stream, 20)
    beside = stream.beside()
    assert await beside.tail() == EMPTY
    assert await beside.append(some(5, 9), LOG[3].hash, begin=True)
    assert await stream.tail() == Tail(20, LOG[19].hash)
    await stream.put_in_place(beside)
    await beside.close()
    assert await held(stream) == entries_of(some(5, 9))


async def test_a_key_of_another_kind_is_named(open_redis: Open, shared_redis: Redis, key: str) -> None:
    shared_redis.execute("SET", key, "a string")
    stream = open_redis()
    with pytest.raises(StreamFault, match="WRONGTYPE"):
        await stream.tail()
    beside = stream.beside()
    assert await beside.append(some(1, 9), b"", begin=True)
    await stream.put_in_place(beside)
    await beside.close()
    assert await held(stream) == entries_of(some(1, 9))
