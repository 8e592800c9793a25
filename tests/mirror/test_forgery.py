"""Somebody writes to Redis, or a process without the key does: what processes with the key, and without, make of it.

The table is in `attacks`: each attack, tried at a process that starts and at one that runs, with a key and without.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis as Client

from ledger.domain.rejection import Code
from ledger.ports import Record, StopKind, StoreFault
from ledger.stores.memory import MemoryLog, MemoryStore
from ledger.writer import Outcome
from projections.mirror.comparison import Verdict, compare
from projections.mirror.macs import Authenticator, Keys
from projections.mirror.memory import MemoryEntries, MemoryStream
from projections.mirror.redis import connect_to
from projections.mirror.relay import Relay
from projections.mirror.stream import Entry, Stream, Tail
from projections.mirror.upkeep import Refused, rebuild
from tests.given import QUICK
from tests.mirror.attacks import (
    ATTACKS,
    KEYS,
    NEW,
    OLD,
    OTHERS,
    Attack,
    InMemory,
    InRedis,
    Scene,
    keyed,
    plain,
    supersede,
    supersede_by_replay,
    supersede_without_key,
)
from tests.mirror.test_relay import some_events, until
from tests.mirror.test_upkeep import adopt_all, silent
from tests.servers import Redis
from tests.simulation.loop import simulate
from tests.simulation.surgery import one_more, put
from tests.test_writer import Bench, LoopClock, answer, simulated, spawn

STOPS = {
    Verdict.AHEAD: StopKind.MIRROR_AHEAD,
    Verdict.FORKED: StopKind.MIRROR_FORKED,
    Verdict.SUPERSEDED: StopKind.MIRROR_SUPERSEDED,
}
WITH_KEY = [pytest.param(True, id="key"), pytest.param(False, id="no key")]


@pytest.fixture(params=ATTACKS, ids=[each.name for each in ATTACKS])
def attack(request: pytest.FixtureRequest) -> Attack:
    made: Attack = request.param
    return made


async def mirrored(log: MemoryLog, held: InMemory, authenticator: Authenticator | None) -> MemoryStream:
    stream = MemoryStream(held.held, authenticator, held.generations)
    assert await stream.append(log.records, b"", begin=True)
    return stream


async def lost(log: MemoryLog, count: int) -> Sequence[Record]:
    """Let a database lose its last events; gives the whole log."""
    whole = list(log.records)
    if count:
        put(log, whole[:-count])
    return whole


# What a comparison finds, in memory and in Redis


async def compared(
    attack: Attack, mirror: InMemory | InRedis, stream: Stream, log: MemoryLog, ours: Authenticator
) -> Verdict:
    assert await stream.append(log.records, b"", begin=True)
    whole = await lost(log, attack.lost)
    await attack.make(Scene(mirror, log.records, whole, ours, log.head.ledger_id))
    return (await compare(stream, MemoryStore(log))).verdict


@pytest.mark.parametrize("has_key", WITH_KEY)
def test_what_a_comparison_finds_in_memory(attack: Attack, has_key: bool) -> None:
    async def found() -> Verdict:
        log, held = await some_events(), InMemory()
        ours = KEYS.of(log.head.ledger_id, 0)
        stream = MemoryStream(held.held, ours if has_key else None, held.generations)
        return await compared(attack, held, stream, log, ours)

    verdicts: list[Verdict] = []

    async def run() -> None:
        verdicts.append(await found())

    simulate(run(), max_steps=200_000)
    assert verdicts == [attack.keyed if has_key else attack.plain]


@cache
def made_events() -> Sequence[Record]:
    made: list[Record] = []

    async def run() -> None:
        made.extend((await some_events()).records)

    simulate(run(), max_steps=200_000)
    return made


@pytest.fixture
def events() -> Sequence[Record]:
    return made_events()


@pytest.mark.parametrize("has_key", WITH_KEY)
async def test_what_a_comparison_finds_in_redis(
    attack: Attack, has_key: bool, shared_redis: Redis, events: Sequence[Record]
) -> None:
    """All of these ledgers have one id, so each test drops what is there."""
    log = MemoryLog("test")
    put(log, events)
    client = Client.from_url(shared_redis.url)
    stream = connect_to(shared_redis.url, keys=KEYS if has_key else None)("test", 0)
    try:
        await client.delete("numbering:test:events", *(f"numbering:test:{each}:events" for each in (1, 3)))
        verdict = await compared(attack, InRedis(client, "test"), stream, log, KEYS.of("test", 0))
        assert verdict is (attack.keyed if has_key else attack.plain)
    finally:
        await stream.close()
        await client.aclose()


macs = st.sampled_from([lambda _: b"", lambda _: bytes(32), *(
    lambda entry, keys=keys, id=id, generation=generation: keys.of(id, generation).mac(entry.position, entry.hash)
    for keys, id, generation in ((OTHERS, "test", 0), (KEYS, "another", 0), (KEYS, "test", 12))
)])  # fmt: skip


@QUICK
@given(data=st.data(), kept=st.integers(0, 11), lost=st.integers(0, 9))
def test_nothing_stops_a_ledger_that_no_holder_of_the_key_has_written(
    data: st.DataObject, kept: int, lost: int
) -> None:
    """However entries are made: and a single genuine one that the log lacks stops it, whatever stands around it."""
    events, ours = made_events(), KEYS.of("test", 0)
    log, held = MemoryLog("test"), InMemory()
    put(log, events[: len(events) - lost])
    entries = [each for each in keyed(events, ours) if each.position <= min(kept, log.head.position)]
    for _ in range(data.draw(st.integers(0, 4))):
        position = (entries[-1].position if entries else 0) + data.draw(st.integers(1, 3))
        hash = data.draw(st.sampled_from([bytes(32), *(each.hash for each in events)]))
        entry = Entry(position, b"{}", hash)
        entries.append(entry._replace(mac=data.draw(macs)(entry)))
    generations = {each: MemoryEntries() for each in data.draw(st.sets(st.integers(1, 9), max_size=2))}
    for generation in generations.values():
        generation.entries = [each._replace(mac=data.draw(macs)(each)) for each in plain(events[:2])]
    asyncio.run(held.add(entries))
    stream = MemoryStream(held.held, ours, generations)
    assert not asyncio.run(compare(stream, MemoryStore(log))).forbids_writing
    beyond = Entry(held.held.last + log.head.position + 1, b"{}", bytes(32))
    asyncio.run(held.add([beyond._replace(mac=ours.mac(beyond.position, beyond.hash))]))
    for after in range(data.draw(st.integers(0, 3))):
        asyncio.run(held.add([Entry(beyond.position + 1 + after, b"{}", bytes(32))]))
    assert asyncio.run(compare(stream, MemoryStore(log))).forbids_writing


@pytest.mark.parametrize("value", ["a string", "a list"])
async def test_a_key_of_another_kind_is_no_generation(shared_redis: Redis, value: str) -> None:
    ledger_id = str(uuid4())
    later = f"numbering:{ledger_id}:2:events"
    shared_redis.execute(*(("SET", later, value) if value == "a string" else ("RPUSH", later, value)))
    stream = connect_to(shared_redis.url, keys=KEYS)(ledger_id, 0)
    assert (await compare(stream, MemoryStore(MemoryLog(ledger_id)))).verdict is Verdict.FOREIGN
    await stream.drop_foreign()
    assert (await compare(stream, MemoryStore(MemoryLog(ledger_id)))).verdict is Verdict.EMPTY
    await stream.close()


@pytest.mark.parametrize("place", ["memory", "redis"])
async def test_what_is_appended_bears_the_mac_of_the_first_key(
    place: str, shared_redis: Redis, events: Sequence[Record]
) -> None:
    ledger_id = str(uuid4())
    stream = (
        MemoryStream(InMemory().held, KEYS.of(ledger_id, 2))
        if place == "memory"
        else connect_to(shared_redis.url, keys=KEYS)(ledger_id, 2)
    )
    assert await stream.append(events, b"", begin=True)
    only = Keys(KEYS.secrets[:1]).of(ledger_id, 2)
    assert list(await stream.entries(after=0, limit=100)) == keyed(events, only)
    assert list(await stream.newest(limit=3)) == keyed(events, only)[:-4:-1]
    last = events[-1]
    assert (
        await stream.tail()
        == await stream.probe()
        == Tail(last.position, last.hash, only.mac(last.position, last.hash))
    )
    await stream.close()


# What a process does, in simulated time


@asynccontextmanager
async def relayed(bench: Bench, mirror: InMemory, keys: Keys | None, *, verified: bool = False) -> AsyncIterator[Relay]:
    def connect(ledger_id: str, generation: int, /) -> MemoryStream:
        return MemoryStream(mirror.held, keys.of(ledger_id, generation) if keys else None, mirror.generations)

    relay = Relay(bench.store, bench.writer, connect, clock=LoopClock(), spawn=spawn, verified=verified)
    relay.start()
    bench.writer.start()
    yield relay
    await bench.writer.stop()
    await relay.stop()


def stops(log: MemoryLog) -> set[StopKind]:
    return {stop.kind for stop in log.stops}


@pytest.mark.parametrize("has_key", WITH_KEY)
def test_what_a_process_does_that_starts(attack: Attack, has_key: bool) -> None:
    @simulated
    async def run() -> None:
        log, mirror = await some_events(), InMemory()
        ours = KEYS.of(log.head.ledger_id, 0)
        await mirrored(log, mirror, ours if has_key else None)
        whole = await lost(log, attack.lost)
        await attack.make(Scene(mirror, log.records, whole, ours, log.head.ledger_id))
        bench, before = Bench(log), log.head.position
        async with relayed(bench, mirror, KEYS if has_key else None) as relay:
            told = await answer(bench.do(bench.reserve()))
            match attack.keyed if has_key else attack.plain:
                case Verdict.FOLLOWS | Verdict.EMPTY:
                    assert isinstance(told, Outcome)
                case Verdict.FOREIGN:
                    assert (told, stops(log)) == (Code.MIRROR_NOT_COMPARED, set())
                    assert log.head.position == before
                    assert "valid MAC" in (relay.status.detail or "")
                case verdict:
                    assert told is Code.LEDGER_STOPPED
                    await until(lambda: stops(log) == {STOPS[verdict]})
                    assert log.head.position == before

    run()


# What a database has lost under a process that runs, its own memory tells it: tests/mirror/test_relay.
@pytest.mark.parametrize("attack", [each for each in ATTACKS if not each.lost], ids=lambda each: each.name)
@pytest.mark.parametrize("has_key", WITH_KEY)
def test_what_a_process_does_that_runs(attack: Attack, has_key: bool) -> None:

    @simulated
    async def run() -> None:
        log, mirror = await some_events(), InMemory()
        bench, ours = Bench(log), KEYS.of(log.head.ledger_id, 0)
        async with relayed(bench, mirror, KEYS if has_key else None) as relay:
            await bench.do(bench.reserve())
            await until(lambda: mirror.held.last == log.head.position and not relay.status.fallback_mode)
            await attack.make(Scene(mirror, list(log.records), list(log.records), ours, log.head.ledger_id))
            match attack.keyed if has_key else attack.plain:
                case Verdict.FOLLOWS | Verdict.EMPTY:
                    await asyncio.sleep(3)
                    assert isinstance(await answer(bench.do(bench.reserve())), Outcome)
                    await until(lambda: mirror.held.last == log.head.position and not relay.status.fallback_mode)
                case Verdict.FOREIGN:
                    for _ in range(10):
                        await asyncio.sleep(0.3)
                        assert isinstance(await answer(bench.do(bench.reserve())), Outcome)
                    assert "valid MAC" in (relay.status.detail or "")
                    assert stops(log) == set()
                case verdict:
                    await until(lambda: stops(log) == {STOPS[verdict]})
                    assert await answer(bench.do(bench.reserve())) is Code.LEDGER_STOPPED

    run()


@simulated
async def test_a_forged_end_is_not_taken_as_seen() -> None:
    """The database is away when the mirror is asked: what is remembered then would stop the process for ever."""
    log, mirror = await some_events(), InMemory()
    bench = Bench(log)
    async with relayed(bench, mirror, KEYS):
        await bench.do(bench.reserve())
        await until(lambda: mirror.held.last == log.head.position)
        bench.store.steps["head"] = [StoreFault(Code.DATABASE_UNAVAILABLE, "away", transient=True)] * 3
        await mirror.add(plain([one_more(log.records)[-1]]))
        await asyncio.sleep(3)
        assert bench.writer._follower.witnessed <= log.head.position
        assert isinstance(await answer(bench.do(bench.reserve())), Outcome)


@simulated
async def test_a_process_that_was_told_to_start_unverified_writes_beside_foreign_entries() -> None:
    log, mirror = await some_events(), InMemory()
    await mirrored(log, mirror, KEYS.of(log.head.ledger_id, 0))
    await mirror.add(plain([one_more(log.records)[-1]]))
    bench = Bench(log)
    async with relayed(bench, mirror, KEYS, verified=True) as relay:
        assert isinstance(await answer(bench.do(bench.reserve())), Outcome)
        await until(lambda: "valid MAC" in (relay.status.detail or ""))
        assert stops(log) == set()


async def discard(store: MemoryStore, stream: MemoryStream) -> None:
    await rebuild(store, stream, silent, retention=0, discard=True)


async def adopt_unsigned(store: MemoryStore, stream: MemoryStream) -> None:
    assert await adopt_all(store, stream, unsigned=True) == 1


@pytest.mark.parametrize("decide", [discard, adopt_unsigned])
@simulated
async def test_a_process_that_is_held_writes_when_an_operator_has_decided(
    decide: Callable[[MemoryStore, MemoryStream], Awaitable[None]],
) -> None:
    log, mirror = await some_events(), InMemory()
    stream = await mirrored(log, mirror, KEYS.of(log.head.ledger_id, 0))
    await mirror.add(plain([one_more(log.records)[-1]]))
    bench = Bench(log)
    async with relayed(bench, mirror, KEYS) as relay:
        assert await answer(bench.do(bench.reserve())) is Code.MIRROR_NOT_COMPARED
        for refused in (
            adopt_all(MemoryStore(log), stream),
            rebuild(MemoryStore(log), stream, silent, retention=0, discard=False),
        ):
            with pytest.raises(Refused, match="no valid MAC"):
                await refused
        await decide(MemoryStore(log), stream)
        await until(lambda: not relay.status.fallback_mode)
        assert isinstance(await answer(bench.do(bench.reserve())), Outcome)
        await until(lambda: mirror.held.last == log.head.position)


@pytest.mark.parametrize("make", [supersede_without_key, supersede_by_replay])
@simulated
async def test_a_forged_generation_is_dropped_by_who_discards_it(make: Callable[[Scene], Awaitable[None]]) -> None:
    log, mirror = await some_events(), InMemory()
    ours = KEYS.of(log.head.ledger_id, 0)
    stream = await mirrored(log, mirror, ours)
    await make(Scene(mirror, log.records, log.records, ours, log.head.ledger_id))
    await discard(MemoryStore(log), stream)
    assert (await compare(stream, MemoryStore(log))).verdict is Verdict.FOLLOWS


@simulated
async def test_a_genuine_generation_is_not_dropped() -> None:
    log, mirror = await some_events(), InMemory()
    ours = KEYS.of(log.head.ledger_id, 0)
    stream = await mirrored(log, mirror, ours)
    await supersede(Scene(mirror, log.records, log.records, ours, log.head.ledger_id))
    await discard(MemoryStore(log), stream)
    assert (await compare(stream, MemoryStore(log))).verdict is Verdict.SUPERSEDED


# Processes with different keys on one ledger


@pytest.mark.parametrize(
    "others", [None, Keys((OLD,)), Keys((OLD, NEW)), OTHERS], ids=["none", "old", "turned", "foreign"]
)
@simulated
async def test_processes_with_other_keys_or_none_mirror_beside_one_another(others: Keys | None) -> None:
    """What equals the log is true whoever wrote it: nobody stops, falls back or appends to another history."""
    log, mirror = await some_events(), InMemory()
    one, other = Bench(log), Bench(log)
    async with relayed(one, mirror, KEYS) as relay, relayed(other, mirror, others) as second:
        for _ in range(10):
            for bench in (one, other):
                assert isinstance(await answer(bench.do(bench.reserve())), Outcome)
                await asyncio.sleep(0.2)
        await until(lambda: mirror.held.last == log.head.position)
        assert [each.hash for each in mirror.held.entries] == [each.hash for each in log.records]
        assert (relay.status.fallback_mode, second.status.fallback_mode, stops(log)) == (False, False, set())
    signed = {NEW: Keys((NEW,)).of(log.head.ledger_id, 0)}
    assert any(signed[NEW].is_valid(each.position, each.hash, each.mac) for each in mirror.held.entries)


@pytest.mark.parametrize(
    ("present", "verdict"),
    [
        (Keys((OLD, NEW)), Verdict.AHEAD),  # the new one is everywhere, and signs nowhere yet
        (Keys((NEW, OLD)), Verdict.AHEAD),  # it signs
        (Keys((NEW,)), Verdict.FOREIGN),  # too early: nothing was signed by it
    ],
    ids=["added", "first", "alone"],
)
@simulated
async def test_a_key_is_turned(present: Keys, verdict: Verdict) -> None:
    """The tail was signed by the old key, and the database has lost it."""
    log, mirror = await some_events(), InMemory()
    await mirrored(log, mirror, Keys((OLD,)).of(log.head.ledger_id, 0))
    await lost(log, 4)
    stream = MemoryStream(mirror.held, present.of(log.head.ledger_id, 0))
    assert (await compare(stream, MemoryStore(log))).verdict is verdict


@simulated
async def test_a_stream_of_before_the_key_is_taken_over() -> None:
    """All of it equals the log; what is written next is signed, and its MAC speaks for all before it."""
    log, mirror = await some_events(), InMemory()
    await mirrored(log, mirror, None)
    bench, ours = Bench(log), KEYS.of(log.head.ledger_id, 0)
    async with relayed(bench, mirror, KEYS):
        assert isinstance(await answer(bench.do(bench.reserve())), Outcome)
    whole = await lost(log, 5)
    stream = MemoryStream(mirror.held, ours)
    assert (await compare(stream, MemoryStore(log))).verdict is Verdict.AHEAD
    assert await adopt_all(MemoryStore(log), stream) == 5
    assert log.records == whole
    assert not mirror.held.entries[0].mac
    await rebuild(MemoryStore(log), stream, silent, retention=0, discard=False)
    assert all(ours.is_valid(each.position, each.hash, each.mac) for each in mirror.held.entries)
