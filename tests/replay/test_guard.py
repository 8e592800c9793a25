"""A ledger beside its archive, before it is written to: a stale or forked copy of it writes nothing."""

import json
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from ledger.domain.rejection import Code, Rejection
from ledger.ports import Head, Stop, StopKind
from ledger.stores import SqlStore
from numbering.doctor import Level
from numbering.doctor.archive import examine
from numbering.settings import Settings
from replay.archive.manifest import BadArchive, Manifest
from replay.guard import guard, standing
from tests.mirror.conftest import redis
from tests.numbering.process import Service, run
from tests.replay.places import LEDGER, archived, history, opened_sqlite, put_records, sqlite_with
from tests.servers import Redis

__all__ = ["redis"]

EVENTS = 20
SOON_SECONDS = 5.0  # a second is promised; the machine may be busy


@pytest.fixture
async def archive(tmp_path: Path) -> Path:
    await archived(history(EVENTS), tmp_path / "archive", segment_events=7)
    return tmp_path / "archive"


async def guarded(file: Path, archive: Path) -> Head:
    async with opened_sqlite(file) as store:
        await guard(store, archive)
        return await store.head()


@pytest.mark.parametrize("count", [EVENTS, EVENTS + 5])
async def test_a_log_that_goes_on_from_its_archive(archive: Path, tmp_path: Path, count: int) -> None:
    file = await sqlite_with(history(count), tmp_path)
    assert (await guarded(file, archive)).stopped is None


@pytest.mark.parametrize("count", [0, 1, EVENTS - 1])
async def test_a_log_that_is_behind(archive: Path, tmp_path: Path, count: int) -> None:
    head = await guarded(await sqlite_with(history(count), tmp_path), archive)
    stopped = head.stopped
    assert stopped
    assert head.stops == 1
    assert f"goes on to position {EVENTS}, but the log ends at {count}: this is a stale copy" in stopped
    assert stopped.endswith(f"(seen: position {EVENTS}, hash {history(EVENTS)[-1].hash.hex()})")


@pytest.mark.parametrize("count", [EVENTS, EVENTS + 5])
async def test_a_fork(archive: Path, tmp_path: Path, count: int) -> None:
    stopped = (await guarded(await sqlite_with(history(count, document="E"), tmp_path), archive)).stopped
    assert stopped
    assert f"tells another history than this log, at position {EVENTS} at the latest" in stopped


async def test_a_fork_that_is_being_written_to(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others append while the two are compared does not make it another log."""
    file = await sqlite_with(history(EVENTS, document="E"), tmp_path)
    async with opened_sqlite(file) as store, opened_sqlite(file) as other:
        looked = store.events_at

        async def slow(positions: list[int]) -> object:
            monkeypatch.undo()
            await put_records(other, history(EVENTS + 1, document="E"))
            return await looked(positions)

        monkeypatch.setattr(store, "events_at", slow)
        await guard(store, archive)
        head = await store.head()
    assert head.position == EVENTS + 1
    assert head.stopped


async def test_a_stop_that_stands_is_left(archive: Path, tmp_path: Path) -> None:
    async with opened_sqlite(await sqlite_with(history(3), tmp_path)) as store:
        transaction = await store.begin()
        await transaction.stop(Stop(StopKind.COPY, "a copy for reading"))
        await transaction.commit()
        for _ in range(2):
            await guard(store, archive)
            assert (await store.head()).stopped == "a copy for reading"
            assert [stop.kind for stop in await store.stops()] == [StopKind.COPY, StopKind.ARCHIVE_AHEAD]


async def test_half_a_ledger_is_not_compared(archive: Path, tmp_path: Path) -> None:
    """What is found of it would still stand when the restore has filled the rest."""
    async with opened_sqlite(await sqlite_with(history(3), tmp_path)) as store:
        transaction = await store.begin()
        await transaction.stop(Stop(StopKind.RESTORING, "run it again"))
        await transaction.commit()
        await guard(store, archive)
        assert [stop.kind for stop in await store.stops()] == [StopKind.RESTORING]


async def test_another_ledger(archive: Path, tmp_path: Path) -> None:
    foreign = "99999999-0000-0000-0000-000000000000"
    file = await sqlite_with(history(5, ledger_id=foreign), tmp_path, foreign)
    with pytest.raises(Rejection, match=f"is the archive of ledger {LEDGER}, and this is {foreign}") as refused:
        await guarded(file, archive)
    assert refused.value.code is Code.HISTORIES_DIFFER


async def test_what_cannot_be_compared(archive: Path, tmp_path: Path) -> None:
    file = await sqlite_with(history(5), tmp_path)
    with pytest.raises(BadArchive, match=r"is no archive: run `numbering archive .*` once, or mount it"):
        await guarded(file, tmp_path / "missing")
    (archive / "manifest.json").write_bytes(b"{")
    with pytest.raises(BadArchive, match="is not JSON"):
        await guarded(file, archive)


async def test_a_ledger_that_is_just_begun(tmp_path: Path) -> None:
    file = await sqlite_with([], tmp_path)
    assert (await guarded(file, tmp_path / "missing")).stopped is None
    await archived([], tmp_path / "archive")
    assert (await guarded(file, tmp_path / "archive")).stopped is None


async def test_how_they_stand(archive: Path, tmp_path: Path) -> None:
    async with opened_sqlite(await sqlite_with(history(EVENTS + 2), tmp_path)) as store:
        found = await standing(store, archive)
        assert (found.head.position, found.manifest, found.stop) == (EVENTS + 2, Manifest.read(archive), None)


# The doctor


async def doctor(file: Path, archive: Path | str) -> tuple[Level, str]:
    (finding,) = await examine(Settings(database_url=f"sqlite+aiosqlite:///{file}", archive=str(archive)))
    return finding.level, finding.detail


async def test_the_doctor_tells(archive: Path, tmp_path: Path) -> None:
    assert await examine(Settings(archive="")) == []
    file = await sqlite_with(history(EVENTS), tmp_path)
    whole = f"the archive ends at position {EVENTS}, 0 events before the log"
    assert await doctor(file, archive) == (Level.OK, whole)
    async with opened_sqlite(file) as store:
        await tells_what_stands(store, file, archive)
    level, detail = await doctor(file, tmp_path / "missing")
    assert level is Level.ERROR
    assert "is no archive" in detail
    level, detail = await doctor(tmp_path / "missing.db", archive)
    assert level is Level.ERROR
    assert "does not exist" in detail


async def tells_what_stands(store: SqlStore, file: Path, archive: Path) -> None:
    await put_records(store, history(EVENTS + 3))
    level, detail = await doctor(file, archive)
    assert level is Level.WARNING, "its last event is of years ago"
    assert detail.startswith(f"the archive ends at position {EVENTS}, 3 events before the log, with an event of 2025-")
    await put_records(store, history(EVENTS - 3))
    assert (await doctor(file, archive))[0] is Level.ERROR
    assert (await store.head()).stopped is None, "the doctor changes nothing"


# Services and commands

ISSUE = {"series": "A", "document": "D"}


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that has written and archived a little; `old.db` is its database of before the last numbers."""
    service = Service(archive="archive")
    try:
        service.start()
        service.file.with_name("a.toml").write_text('[series.A]\ntemplate = "A-{SEQ:4}"\n')
        assert command(service, "series", "apply", "a.toml", archive="").returncode == 0
        with service.client() as client:
            assert client.post("/v1/issue", json=ISSUE).status_code == 201
            copied(service, "old.db")
            assert client.post("/v1/issue", json=ISSUE).status_code == 201
        assert command(service, "archive").returncode == 0
        service.stop()
        yield service
    finally:
        service.close()


def command(service: Service, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return run(*words, cwd=service.directory, **(service.settings | settings))


def copied(service: Service, name: str) -> None:
    with closing(sqlite3.connect(service.file)) as one, closing(sqlite3.connect(service.directory / name)) as other:
        one.backup(other)


def stopped(service: Service) -> str:
    with closing(sqlite3.connect(service.file)) as connection:
        return str(connection.execute("SELECT stopped FROM ledger_head").fetchone()[0])


def put_back(service: Service) -> None:
    for path in service.directory.glob("numbering.db*"):
        path.unlink()
    shutil.copy(service.directory / "old.db", service.file)


def refused(answer: httpx.Response) -> str:
    assert answer.status_code == 503
    assert answer.json()["title"] == "LEDGER_STOPPED"
    detail: str = answer.json()["detail"]
    return detail


def test_a_stale_copy_is_read_and_not_written(service: Service) -> None:
    put_back(service)
    service.start()
    with service.client() as client:
        assert "this is a stale copy" in refused(client.post("/v1/issue", json=ISSUE))
        assert client.get("/v1/numbers/A-0001").status_code == 200
        assert client.get("/v1/events").json()["events"]
    ended = command(service, "issue", "A", "--document", "D", archive="")
    assert ended.returncode == 3
    assert "LEDGER_STOPPED" in ended.stderr
    shown = command(service, "show", "A-0001", "--json")
    assert json.loads(shown.stdout)["state"] == "CONFIRMED"


def test_a_command_alone_stops_it_too(service: Service) -> None:
    put_back(service)
    ended = command(service, "issue", "A", "--document", "D")
    assert ended.returncode == 3
    assert "this is a stale copy" in ended.stderr


def test_one_that_is_known_to_be_the_newest_is_written(service: Service) -> None:
    put_back(service)
    service.options = ("--start-unverified",)
    service.start()
    with service.client() as client:
        assert client.post("/v1/issue", json=ISSUE).status_code == 201


def test_without_its_archive_it_does_not_start(service: Service) -> None:
    (service.directory / "archive").rename(service.directory / "elsewhere")
    ended = command(service, "serve", "--port", str(service.port))
    assert ended.returncode == 1
    assert "ARCHIVE_UNUSABLE" in ended.stderr
    assert "or mount it" in ended.stderr


def test_a_stop_is_lifted_when_the_mirror_has_what_was_lost(service: Service, redis: Redis) -> None:
    service.settings["redis_url"] = redis.url
    service.start()
    wait_for(lambda: redis.execute("KEYS", "numbering:*:events") != "")
    service.stop()
    put_back(service)
    service.start()
    with service.client() as client:
        refused(client.post("/v1/issue", json=ISSUE))
        assert "this is a stale copy" in stopped(service)
        adopted = command(service, "mirror", "adopt", "--yes", "--json")
        told = json.loads(adopted.stdout)
        assert told.keys() == {"adopted", "events", "left", "lifted"}, adopted.stderr
        assert told["adopted"] == 2
        assert {"ARCHIVE_AHEAD"} <= set(told["lifted"]) <= {"ARCHIVE_AHEAD", "MIRROR_AHEAD"}
        wait_for(lambda: client.post("/v1/issue", json=ISSUE).status_code == 201)
        assert client.get("/v1/numbers/A-0003").status_code == 200


# A mirror of a later generation


def test_a_database_of_before_a_restore_is_not_written(service: Service, redis: Redis) -> None:
    """The restored ledger mirrors to a stream of its own, of which the old database's service must hear in time."""
    service.settings["redis_url"] = redis.url
    service.start()
    with service.client() as client:
        wait_for(lambda: client.post("/v1/issue", json=ISSUE).status_code == 201)
        wait_for(lambda: not client.get("/health/numbering").json()["fallback_mode"])
        (key,) = redis.execute("KEYS", "numbering:*:events").split()
        later = key.replace(":events", ":1:events")
        redis.execute("XADD", later, "1-0", "body", "x", "hash", "x")
        wait_for(lambda: client.post("/v1/issue", json=ISSUE).status_code == 503)
        assert "restored since, to another database" in refused(client.post("/v1/issue", json=ISSUE))
        assert client.get("/v1/numbers/A-0001").status_code == 200
    service.restart()
    with service.client() as client:
        assert "restored since" in refused(client.post("/v1/issue", json=ISSUE))
    ended = command(service, "mirror", "adopt")
    assert ended.returncode == 1
    assert "LEDGER_STOPPED" in ended.stderr


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
