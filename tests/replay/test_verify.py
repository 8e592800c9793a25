"""What somebody could do to a ledger, and the position at which `numbering verify` finds it; and nothing else."""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ledger import chain, codec
from ledger.codec import Entry
from ledger.domain.commands import Cancel, Confirm, DefineSeries, Envelope, Issue, Reserve
from ledger.domain.events import Event, NumbersConfirmed, NumbersReserved, SeriesDefined
from ledger.ports import Fault, Record
from ledger.stores import SqlStore
from projections.mirror.memory import MemoryEntries, MemoryStream
from projections.mirror.redis import RedisStream
from projections.mirror.stream import Entry as MirrorEntry
from projections.mirror.stream import Tail, stream_key
from replay.archive.source import ArchiveSource
from replay.archive.writing import archive
from replay.sources import DatabaseSource, Source, StreamSource
from replay.verify import verify
from tests.given import GAPLESS, PLAIN
from tests.mirror.conftest import shared_redis
from tests.numbering.command import asked, said
from tests.profiles import rounds
from tests.projections.agreement import catch_up
from tests.projections.histories import run_on_sqlite
from tests.replay.places import (
    LEDGER,
    ListSource,
    archived,
    below,
    changed,
    history,
    put_records,
    silent,
    sqlite_with,
    stored,
    swapped,
    without,
)
from tests.replay.restoring import check_whole, fresh, opened, restored, served, source_of, url_of
from tests.servers import MariaDB, Redis
from tests.stores import mariadb_ledger
from tests.test_machine import Machine

__all__ = ["shared_redis"]

EVENTS = 40
RECORDS = history(EVENTS)
AT = 23
LAST = f"{EVENTS}:{RECORDS[-1].hash.hex()}"


@dataclass(frozen=True)
class Place:
    """A ledger with everything that follows it: projections, an archive, a mirror, and what was written down."""

    file: Path
    archive: Path
    redis: Redis

    def tamper(self, records: Sequence[Record]) -> None:
        self.alter(lambda store: put_records(store, records))

    def alter(self, work: Callable[[SqlStore], Any]) -> None:
        async def altered() -> None:
            async with opened(self.file) as (store,):
                await work(store)

        asyncio.run(altered())

    def execute(self, sql: str) -> None:
        self.alter(lambda store: below(store, sql))

    def flaws(self, *words: str, source: str = "") -> list[tuple[str, int | None, str]]:
        """What `numbering verify` finds in the ledger, or in another source."""
        given = [source] if source else ["--database-url", url_of(self.file)]
        answer = asked("verify", *given, *words, exit_code=1)
        assert not answer["whole"]
        return [(each["where"], each["position"], each["what"]) for each in answer["flaws"]]

    def whole(self, *words: str, source: str = "") -> dict[str, Any]:
        given = [source] if source else ["--database-url", url_of(self.file)]
        answer = asked("verify", *given, *words)
        assert answer["whole"]
        return answer

    @property
    def copies(self) -> dict[str, tuple[str, ...]]:
        """By each, what was done by whoever can write all of the database is found."""
        return {
            "the mirror": ("--redis-url", self.redis.url),
            f"the archive {self.archive}": ("--archive", str(self.archive)),
            "the saved head": ("--head", LAST),
        }


async def mirrored(records: Sequence[Record], redis: Redis, keep: int = 1) -> None:
    redis.execute("FLUSHALL")
    stream = RedisStream(redis.url, stream_key(LEDGER))
    assert await stream.append(records, b"", begin=True)
    await stream.trim(keep)
    await stream.close()


@pytest.fixture
def place(tmp_path: Path, shared_redis: Redis) -> Place:
    async def made() -> Place:
        await mirrored(RECORDS, shared_redis)
        await archived(RECORDS, tmp_path / "archive", segment_events=9)
        file = await sqlite_with(RECORDS, tmp_path)
        async with opened(file) as (store,):
            await catch_up(store)
        return Place(file, tmp_path / "archive", shared_redis)

    return asyncio.run(made())


# What the log says by itself


def edited(position: int, old: bytes, new: bytes) -> list[Record]:
    """One event with another content, and its hash as if it had always been so; those behind it are left."""
    record, previous = RECORDS[position - 1], RECORDS[position - 2].hash
    body = record.body.replace(old, new)
    assert body != record.body
    fitting = record._replace(body=body, hash=chain.link(previous, body))
    return [*RECORDS[: position - 1], fitting, *RECORDS[position:]]


def columned(**changes: Any) -> list[Record]:
    return [*RECORDS[: AT - 1], RECORDS[AT - 1]._replace(**changes), *RECORDS[AT:]]


def with_more(*more: Event) -> list[Record]:
    """The log with events that somebody wrote into it at AT, and everything behind chained to that."""
    entries = [codec.decode(record) for record in RECORDS]
    at = entries[AT - 2].recorded_at
    new = [Entry(0, event, Envelope(bytes([255, index] * 16), "forger"), 0, at) for index, event in enumerate(more)]
    records, previous = list[Record](), chain.genesis(LEDGER)
    for position, entry in enumerate([*entries[: AT - 1], *new, *entries[AT - 1 :]], 1):
        records.append(codec.encode(entry._replace(position=position), previous))
        previous = records[-1].hash
    return records


def reused() -> list[Record]:
    """A value that was confirmed is reserved and confirmed once more, as every event of the kind is written."""
    events = [codec.decode(record).event for record in RECORDS]
    reserved = next(each for each in events if isinstance(each, NumbersReserved))
    confirmed = next(each for each in events if isinstance(each, NumbersConfirmed))
    return with_more(
        replace(reserved, token="again", expires_at=RECORDS[-1].recorded_at + 300_000_000),
        replace(confirmed, token="again"),
    )


FORGED: dict[str, tuple[Callable[[], Sequence[Record]], int, str, bool]] = {
    "one byte": (lambda: changed(RECORDS, AT), AT, "does not follow", True),
    "one byte, and its hash": (lambda: edited(AT, b'"tester"', b'"Tester"'), AT + 1, "does not follow", True),
    "a column": (lambda: columned(token="another"), AT, "column token", False),
    "the time in the column": (lambda: columned(recorded_at=1), AT, "column recorded_at", False),
    "two that changed places": (lambda: swapped(RECORDS, AT), AT, "", True),
    "one that is gone": (lambda: without(RECORDS, AT), AT, "missing", True),
    "a value that is given out again": (reused, AT, "given out", False),
}


@pytest.mark.parametrize("forged", FORGED)
def test_what_is_forged_is_found(place: Place, forged: str) -> None:
    make, position, words, is_of_chain = FORGED[forged]
    place.tamper(make())
    where, at, what = place.flaws()[0]
    assert (where, at) == ("the database", position)
    assert words in what, what
    assert (f"{position} " in said("verify", "--database-url", url_of(place.file), exit_code=1)) is True
    if is_of_chain:
        assert place.flaws("--chain")[0][:2] == ("the database", position)
    else:
        place.whole("--chain")


@pytest.mark.parametrize("forged", FORGED)
async def test_what_is_forged_is_found_on_mariadb(mariadb_forged: SqlStore, forged: str) -> None:
    make, position, words, _ = FORGED[forged]
    await put_records(mariadb_forged, make())
    report = await verify(DatabaseSource(mariadb_forged))
    assert report.flaws[0].position == position
    assert words in report.flaws[0].what


@pytest.fixture(scope="module")
def mariadb_url(mariadb: MariaDB) -> str:
    made = mariadb_ledger(mariadb)
    assert made.database
    return made.database.admin_url


@pytest.fixture
async def mariadb_forged(mariadb_url: str) -> Any:
    async with opened(mariadb_url) as (store,):
        yield store


# What only a copy tells


def test_what_is_inserted_is_found_by_every_copy(place: Place) -> None:
    """A series that nobody uses: with the chain computed anew, nothing is wrong with the log by itself."""
    place.tamper(with_more(SeriesDefined(GAPLESS)))
    place.whole("--chain")
    for where, words in place.copies.items():
        for chain_only in ((), ("--chain",)):
            ((found, position, what),) = place.flaws(*chain_only, *words)[:1]
            assert (found, position) == (where, EVENTS if where == "the saved head" else AT)
            assert "two histories" in what or "written anew" in what


def test_a_tail_that_is_gone_is_found(place: Place) -> None:
    place.execute("DELETE FROM events WHERE position > 30")
    assert place.flaws()[0] == ("the database", 31, "the event is missing: the database should go on to 40")
    assert place.flaws("--chain")[0][:2] == ("the database", 31)
    place.tamper(RECORDS[:30])  # and the head with it
    place.whole("--chain")
    for where, words in place.copies.items():
        ((found, position, what),) = place.flaws("--chain", *words)
        assert (found, position) == (where, 31)
        assert "goes on to 40" in what or "had reached 40" in what


def test_a_whole_ledger_in_the_place_of_another_is_found(place: Place) -> None:
    other = "22222222-2222-3333-4444-555555555555"
    place.alter(lambda store: put_records(store, history(EVENTS, ledger_id=other), other))
    place.whole("--chain")
    for where, words in place.copies.items():
        if where != "the mirror":  # is looked for by the ledger's id, and has none of this
            ((found, _, what),) = place.flaws("--chain", *words)
            assert found == where
            assert other in what or "written anew" in what


# What stands beside the events


def test_an_event_behind_the_end_is_found(place: Place) -> None:
    more = history(EVENTS + 1)
    place.alter(lambda store: put_records(store, more))
    place.execute(
        f"UPDATE ledger_head SET position = {EVENTS}, hash = X'{RECORDS[-1].hash.hex()}',"
        f" recorded_at = {RECORDS[-1].recorded_at}"
    )
    assert place.flaws()[0][:2] == ("the database", EVENTS + 1)


@pytest.mark.parametrize("position", [0, -5])
def test_an_event_in_front_of_the_first_is_found(place: Place, position: int) -> None:
    """It is in no chain, and yet it would be found by its token or its command."""
    columns = "type, version, stream, token, ordinal, body, recorded_at, hash"
    place.execute(
        f"INSERT INTO events (position, command_id, {columns}) SELECT {position}, X'{'ee' * 32}', {columns} FROM events"
        " WHERE position = 7"
    )
    assert place.flaws()[0][:2] == ("the database", position)


def test_a_row_of_a_projection_is_found(place: Place) -> None:
    assert place.whole()["rows"] > 0
    place.execute("UPDATE numbers_a SET document = 'another' WHERE value = 2")
    where, position, what = place.flaws()[0]
    assert (where, position) == ("the projections", None)
    assert "another" in what
    place.whole("--chain")


def test_a_snapshot_is_never_believed(place: Place) -> None:
    record = RECORDS[AT - 1]
    place.execute(
        "INSERT INTO snapshots (position, hash, fold_version, body, sha256) VALUES"
        f" ({AT}, X'{record.hash.hex()}', 1, X'00', X'{'00' * 32}')"
    )
    place.whole()


# Archives and mirrors as the log, and as copies


def test_an_archive_without_a_segment_is_found(place: Place) -> None:
    missing = sorted(place.archive.glob("events-*"))[1]
    missing.unlink()
    for found in (place.flaws(source=str(place.archive)), place.flaws("--archive", str(place.archive))):
        assert found[0][0] == f"the archive {place.archive}"
        assert "the events 10 to 18 are missing" in found[0][2]


def test_a_mirror_that_keeps_the_last_events(place: Place) -> None:
    asyncio.run(mirrored(RECORDS, place.redis, keep=AT))
    assert place.whole("--redis-url", place.redis.url)["copies"] == {"the mirror": EVENTS}
    alone = place.whole(source=place.redis.url)
    assert (alone["first"], alone["head"]) == (AT, LAST)
    place.whole("--head", LAST, source=place.redis.url)
    earlier = f"{AT - 1}:{RECORDS[AT - 2].hash.hex()}"
    ((where, _, what),) = place.flaws("--head", earlier, source=place.redis.url)
    assert (where, f"begins at {AT}" in what) == ("the saved head", True)
    place.tamper(with_more(SeriesDefined(GAPLESS)))
    assert place.flaws("--chain", "--redis-url", place.redis.url)[0][:2] == ("the mirror", AT)


def test_after_a_fence_the_mirror_is_the_new_one(place: Place, tmp_path: Path) -> None:
    """Also when there is none yet: what the old one holds behind the cut is of another history."""
    restored_file = fresh(tmp_path, "restored")

    async def restore() -> None:
        async with opened(restored_file) as (store,):
            await restored(source_of(RECORDS[:30]), store)

    asyncio.run(restore())
    after = replace(place, file=restored_file)
    assert after.whole("--redis-url", place.redis.url)["copies"] == {"the mirror": 0}

    async def relay() -> None:
        async with opened(restored_file) as (store,):
            stream = RedisStream(place.redis.url, stream_key(LEDGER, 1))
            assert await stream.append(await store.events(after=0, limit=1000), b"", begin=True)
            await stream.close()

    asyncio.run(relay())
    assert after.whole("--redis-url", place.redis.url)["copies"]["the mirror"] > 30
    assert place.flaws("--redis-url", place.redis.url)[0][1] == 31  # the database of before the restore


# Healthy


def test_nothing_is_found_in_any_history(tmp_path: Path) -> None:
    class Verified(Machine):
        async def _check(self) -> None:
            (store,) = self.stores
            assert isinstance(store, SqlStore)
            await catch_up(store)
            await check_whole(store)

    run_on_sqlite(Verified, tmp_path, examples=rounds(2, thorough=8), steps=30)


class Busy(MemoryStream):
    """A mirror that takes `each` events more at the questions from `at` to `until`, and keeps only so many."""

    def __init__(self, records: Sequence[Record], *, at: int, until: int, each: int, keep: int) -> None:
        super().__init__(MemoryEntries())
        self.records, self.at, self.until, self.each, self.keep = records, at, until, each, keep
        self.asked = 0

    async def tail(self) -> Tail:
        await self._go_on()
        return await super().tail()

    async def entries(self, *, after: int, limit: int) -> Sequence[MirrorEntry]:
        await self._go_on()
        return await super().entries(after=after, limit=limit)

    async def _go_on(self) -> None:
        self.asked += 1
        if self.at <= self.asked <= self.until:
            await self.take(self.each)

    async def take(self, count: int) -> None:
        before = self._held.last
        if more := self.records[before : before + count]:
            assert await self.append(more, self.records[before - 1].hash if before else b"", begin=True)
        await self.trim(self._held.last - self.keep + 1)


class Log(ListSource):
    is_primary = True


BUSY = [(at, until, each, keep) for at in range(1, 9) for until in (at, 30) for each in (1, 5, 20) for keep in (1, 4)]


@pytest.mark.parametrize("is_forged", [False, True])
async def test_a_mirror_is_trimmed_at_any_moment(is_forged: bool) -> None:
    """Nothing is found of what was there and is dropped by rule; and what is wrong is found nevertheless."""
    log = Log(stored(with_more(SeriesDefined(GAPLESS))[:EVENTS] if is_forged else RECORDS))
    for at, until, each, keep in BUSY:
        stream = Busy(RECORDS, at=at, until=until, each=each, keep=keep)
        await stream.take(AT + 1)
        report = await verify(log, [StreamSource(stream, LEDGER)])
        if is_forged:
            assert [flaw.where for flaw in report.flaws] == ["the mirror"], (at, until, each, keep)
            assert "two histories" in report.flaws[0].what
        else:
            assert not report.flaws, (report.flaws, at, until, each, keep)
            assert AT + 1 <= report.copies["the mirror"] <= EVENTS


@pytest.mark.parametrize("chain_only", [False, True])
async def test_a_mirror_alone_is_trimmed_at_any_moment(chain_only: bool) -> None:
    for begun in (5, AT + 1):
        for at, until, each, keep in BUSY:
            stream = Busy(RECORDS, at=at, until=until, each=each, keep=keep)
            await stream.take(begun)
            report = await verify(StreamSource(stream, LEDGER), [source_of(RECORDS)], chain_only=chain_only)
            assert not report.flaws, (report.flaws, at, until, each, keep)
            assert report.hash == RECORDS[report.position - 1].hash
            assert report.recorded_at == RECORDS[report.position - 1].recorded_at
            assert report.first <= report.position


async def test_a_mirror_that_drops_events_before_they_are_read_is_no_finding() -> None:
    many = history(4_000)
    stream = Busy(many, at=1, until=1_000, each=5, keep=1)
    await stream.take(1)
    with pytest.raises(Fault, match="drops its events before they are read"):
        await verify(StreamSource(stream, LEDGER))


async def test_nothing_is_found_while_a_service_writes(tmp_path: Path, shared_redis: Redis) -> None:
    """Mirror, archive and projections follow behind, and the mirror is trimmed meanwhile."""
    shared_redis.execute("FLUSHALL")
    file = fresh(tmp_path)
    async with opened(file, file, file) as (store, watched, projected):
        head = await store.head()
        stream = RedisStream(shared_redis.url, stream_key(head.ledger_id))
        over = asyncio.Event()

        async def mirror() -> None:
            position, previous = 0, b""
            while not over.is_set():
                records = await watched.events(after=position, limit=7)
                if records:
                    assert await stream.append(records, previous, begin=not position)
                    position, previous = records[-1].position, records[-1].hash
                    await stream.trim(max(position - 20, 1))

        async def others() -> None:
            while not over.is_set():
                await archive(DatabaseSource(watched), tmp_path / "archive", silent)
                await catch_up(projected)

        async with served(store) as ledger:

            async def write() -> None:
                await ledger.execute(DefineSeries((PLAIN,)), envelope())
                for number in range(10_000):
                    token = f"{number}"
                    await ledger.execute(Reserve("PLAIN", token), envelope())
                    await ledger.execute(Cancel(token) if number % 3 else Confirm(token, "D"), envelope())
                    await ledger.execute(Issue(Reserve("PLAIN", f"{token}-at once"), "D"), envelope())
                    if over.is_set():
                        return

            tasks = [asyncio.create_task(each()) for each in (write, mirror, others)]
            while not (tmp_path / "archive" / "manifest.json").exists() or not (await stream.tail()).position:
                await watched.head()
            try:
                position = 0
                while position < 150:
                    copies: list[Source] = [StreamSource(stream, head.ledger_id), ArchiveSource(tmp_path / "archive")]
                    report = await verify(DatabaseSource(watched), copies)
                    assert not report.flaws, report.flaws
                    assert len(report.copies) == 2
                    position = report.position
            finally:
                over.set()
                await asyncio.gather(*tasks)
        await stream.close()


def envelope() -> Envelope:
    return Envelope(os.urandom(32), "tester")
