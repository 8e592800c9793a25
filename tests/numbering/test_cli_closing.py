"""`numbering close-ledger` and `open-ledger`, with archives and a mirror, and what stops in between."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ledger.domain.rejection import Code
from ledger.ports import Fault, OutcomeUnknown, Stop, StopKind
from ledger.stores.sql import SqlTransaction
from ledger.system import SystemClock
from numbering.sources import place_name
from projections.mirror.redis import persist
from projections.mirror.stream import StreamFault
from projections.mirror.upkeep import Refused, rebuild
from replay.archive.source import ArchiveSource
from replay.opening import let_write
from tests.invariants import check_store
from tests.mirror.conftest import shared_redis
from tests.numbering.command import asked, elsewhere_in, fault, ran, rejection, said
from tests.replay.places import silent
from tests.replay.restoring import fresh, opened, url_of
from tests.servers import Redis

__all__ = ["shared_redis"]

SERIES = """\
[series.BOOK]
template = "B-{SEQ:4}"
reuse = "gapless"
[series.BUSY]
template = "X-{SEQ:6}"
"""
WHY = ("--reason", "the data centre moves")


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    """A ledger with two numbers of a gapless series, and a burst of another."""
    (tmp_path / "series.toml").write_text(SERIES)
    with elsewhere_in(tmp_path):
        fresh(tmp_path, "numbering")
        said("series", "apply", "series.toml")
        issue(count="2")
        said("reserve", "BUSY", "--count", "200")
        yield tmp_path


def issue(*words: str, count: str = "1") -> list[str]:
    numbers = asked("issue", "BOOK", "--document", "D", "--count", count, *words)["numbers"]
    return [each["number"] for each in numbers]


def at(file: str) -> tuple[str, str]:
    return "--database-url", url_of(Path(file))


def test_a_closed_ledger_is_restored_whole_and_goes_on_with_the_next_number(ledger: Path) -> None:
    told = asked("close-ledger", "--copy", "archive-a", *WHY)
    assert (told["closed"], told["copies"]) == (True, [str(ledger / "archive-a")])
    assert rejection("issue", "BOOK", "--document", "D").startswith("NB076 LEDGER_CLOSED")
    foretold = asked("restore", "--from", "archive-a", "--dry-run")
    assert (foretold["fence"], foretold["skipped"]) == (False, 0)
    assert "were not used" in said("restore", "--from", "archive-a", "--dry-run", "--margin", "BOOK=3")
    restored = asked("restore", "--from", "archive-a", "--into", url_of(Path("new.db")))
    assert (restored["margin"], restored["head"]) == (None, told["head"])
    assert rejection("issue", "BOOK", "--document", "D", *at("new.db")).startswith("NB076")
    assert asked("open-ledger", *WHY, *at("new.db"))["opened"]
    assert issue(*at("new.db")) == ["B-0003"]
    assert asked("verify", url_of(Path("new.db")))["whole"]
    asyncio.run(check("new.db"))


def test_the_doctor_says_that_a_ledger_is_closed_until_it_is_opened(ledger: Path) -> None:
    def told() -> tuple[str, str]:
        (finding,) = (each for each in asked("doctor")["findings"] if each["check"] == "sqlite closed")
        return finding["level"], f"{finding['detail']} {finding['advice']}"

    assert told()[0] == "OK"
    asked("close-ledger", "--copy", "archive-a", *WHY)
    level, text = told()
    assert (level, str(ledger / "archive-a") in text, "numbering open-ledger" in text) == ("WARNING", True, True)
    asked("open-ledger", *WHY)
    assert told()[0] == "OK"


async def check(file: str) -> None:
    async with opened(Path(file)) as (store,):
        await check_store(store)


def test_of_two_databases_that_are_opened_one_writes(ledger: Path) -> None:
    """The copy that was named takes what the first one writes, and nothing of the other."""
    said("close-ledger", "--copy", "archive-a", *WHY)
    said("restore", "--from", "archive-a", "--into", url_of(Path("new.db")))
    said("open-ledger", *WHY, *at("new.db"))
    assert rejection("open-ledger", *WHY).startswith("NB060 HISTORIES_DIFFER")
    assert rejection("issue", "BOOK", "--document", "D").startswith("NB076")


def test_it_may_be_asked_for_again(ledger: Path) -> None:
    first = asked("close-ledger", "--copy", "archive-a", *WHY)
    assert asked("close-ledger", "--copy", "archive-a", "--reason", "again")["head"] == first["head"]
    assert rejection("close-ledger", "--copy", "archive-b", *WHY).startswith("NB076")
    opening = asked("open-ledger", *WHY)
    assert (opening["position"], opening["copies"]) == (first["position"] + 1, [str(ledger / "archive-a")])
    assert asked("open-ledger", *WHY)["opened"] is False
    assert issue() == ["B-0003"]


@pytest.mark.parametrize("words", [(), ("--copy", "mirror"), ("--copy", "sqlite+aiosqlite:///x.db")])
def test_a_ledger_is_closed_for_copies_that_there_are(ledger: Path, words: tuple[str, ...]) -> None:
    assert ran("close-ledger", *WHY, *words).exit_code == 2
    assert issue() == ["B-0003"]


def test_what_cannot_be_reached_is_found_before_anything_is_written(ledger: Path) -> None:
    (ledger / "occupied").mkdir()
    (ledger / "occupied" / "file").touch()
    assert rejection("close-ledger", "--copy", "occupied", *WHY).startswith("NB059 ARCHIVE_UNUSABLE")
    assert fault("close-ledger", "--copy", "redis://127.0.0.1:1/0", *WHY).startswith("NB008")
    assert issue() == ["B-0003"]


def test_nobody_writes_before_every_copy_knows_that_the_ledger_was_opened(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said("close-ledger", "--copy", "archive-a", "--copy", "archive-b", *WHY)

    async def away(settings: Any, place: str, position: int, hash: bytes) -> None:
        if place.endswith("archive-b"):
            raise Fault(Code.STORAGE_FAILED, "archive-b is away")

    with monkeypatch.context() as patch:
        patch.setattr("numbering.cli.closing.check_holds", away)
        assert "archive-b does not hold that yet" in fault("open-ledger", *WHY)
    assert "run `numbering open-ledger` again" in fault("issue", "BOOK", "--document", "D")
    asyncio.run(only_opening_lifts(ledger))
    assert asked("open-ledger", *WHY)["opened"]
    assert issue() == ["B-0003"]


async def only_opening_lifts(directory: Path) -> None:
    from tests.replay.test_restore import stream_of

    async with opened(directory / "numbering.db") as (store,):
        assert [stop.kind for stop in await store.stops()] == [StopKind.OPENING]
        stream = (await stream_of([]))._stream
        for discard in (False, True):
            with pytest.raises(Refused, match="open-ledger"):
                await rebuild(store, stream, silent, retention=0, discard=discard)
        assert [stop.kind for stop in await store.stops()] == [StopKind.OPENING]


def test_a_copy_that_is_no_more_is_left_out_by_name(ledger: Path) -> None:
    said("close-ledger", "--copy", "archive-a", "--copy", "archive-b", *WHY)
    (ledger / "archive-b").rename(ledger / "moved")
    refused = rejection("open-ledger", *WHY, "--copy", "archive-a", "--copy", "moved")
    assert "for which the ledger was closed" in refused
    assert not (ledger / "archive-b").exists()
    told = asked("open-ledger", *WHY, "--copy", "archive-a", "--copy", "moved", "--without", "archive-b")
    assert told["copies"] == [str(ledger / "archive-a"), str(ledger / "moved")]
    assert issue() == ["B-0003"]
    assert ArchiveSource(ledger / "moved").manifest.position == told["position"]


@pytest.mark.parametrize("commits", range(2))
@pytest.mark.parametrize("is_committed", [False, True])
def test_an_opening_that_is_not_answered(
    ledger: Path, monkeypatch: pytest.MonkeyPatch, commits: int, is_committed: bool
) -> None:
    """Whatever became of the COMMIT, it is run again, and then nothing is missing."""
    said("close-ledger", "--copy", "archive-a", *WHY)
    left, commit = [commits], SqlTransaction.commit

    async def breaking(transaction: SqlTransaction) -> None:
        left[0] -= 1
        if left[0] == -1:
            if is_committed:
                await commit(transaction)
            raise OutcomeUnknown("the line was cut")
        await commit(transaction)

    with monkeypatch.context() as patch:
        patch.setattr(SqlTransaction, "commit", breaking)
        assert fault("open-ledger", *WHY).startswith("NB016 OUTCOME_UNKNOWN")
    asked("open-ledger", *WHY)
    assert issue() == ["B-0003"]
    assert asked("verify")["whole"]


def test_a_stopped_ledger_is_not_opened(ledger: Path) -> None:
    said("close-ledger", "--copy", "archive-a", *WHY)

    async def stopped() -> None:
        async with opened(ledger / "numbering.db") as (store,):
            transaction = await store.begin()
            await transaction.stop(Stop(StopKind.MIRROR_AHEAD, "goes on"))
            await transaction.commit()
            await let_write(store)  # lifts nothing but its own
            assert [stop.kind for stop in await store.stops()] == [StopKind.MIRROR_AHEAD]

    asyncio.run(stopped())
    assert rejection("open-ledger", *WHY).startswith("NB023 LEDGER_STOPPED")


# A mirror


def test_a_mirror_holds_it_too(ledger: Path, shared_redis: Redis) -> None:
    """The ledger names the mirror without its password, and reaches it by the settings."""
    shared_redis.execute("FLUSHALL")
    url = ("--redis-url", shared_redis.url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBERING_REDIS_URL", shared_redis.url)
        told = asked("close-ledger", *WHY)
        assert told["copies"] == [f"redis://127.0.0.1:{shared_redis.port}/0"]
        assert asked("mirror", "status", *url)["lag"] == 0
        assert asked("restore", "--from", shared_redis.url, "--into", url_of(Path("new.db")))["margin"] is None
        opening = asked("open-ledger", *WHY, *at("new.db"))
        assert asked("mirror", "status", *url, *at("new.db"))["last"] == opening["position"]
        assert issue(*at("new.db")) == ["B-0003"]


async def test_what_redis_has_on_its_disk_is_waited_for(shared_redis: Redis) -> None:
    await persist(shared_redis.url, seconds=10)
    shared_redis.execute("CONFIG", "SET", "appendonly", "no")
    try:
        shared_redis.execute("SET", "changed", "1")
        await persist(shared_redis.url, seconds=10)
        assert "rdb_changes_since_last_save:0" in shared_redis.execute("INFO", "persistence")
        with pytest.raises(StreamFault, match="does not serve"):
            await persist("redis://127.0.0.1:1/0", seconds=1)
    finally:
        shared_redis.execute("CONFIG", "SET", "appendonly", "yes")


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("redis://user:secret@backup", "redis://backup:6379/0"),
        ("redis://:secret@backup:7000/3", "redis://backup:7000/3"),
        ("rediss://backup?db=2&password=secret", "rediss://backup:6379/2"),
        ("redis://[::1]:6380/", "redis://[::1]:6380/0"),
        ("unix:///run/redis.sock?db=1&password=secret", "unix:///run/redis.sock?db=1"),
        ("/srv/a/../archive", "/srv/archive"),
    ],
)
def test_a_copy_is_named_without_what_is_secret(place: str, name: str) -> None:
    assert place_name(place) == name


def test_no_clock_that_may_be_wrong_dates_the_opening(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked("close-ledger", "--copy", "archive-a", *WHY)
    real = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", staticmethod(lambda: real() + 3_600_000_000))
    assert fault("open-ledger", *WHY).startswith("NB069 CLOCK_UNSURE")
    monkeypatch.setattr(SystemClock, "now", staticmethod(real))
    assert asked("open-ledger", *WHY)["opened"]
    assert issue() == ["B-0003"]
