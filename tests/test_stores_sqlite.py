"""What only SQLite can do to a ledger: a file, its directory, and statements that other databases refuse."""

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from ledger.domain.rejection import Code
from ledger.ports import Snapshot, Store, StoreFault
from ledger.stores import migrate, open_store
from ledger.stores import sqlite as dialect
from tests.stores import TOTAL_SECONDS, Ledger, append, fault_of, follow, opened


@pytest.fixture
def ledger(sqlite_only: Ledger) -> Ledger:
    return sqlite_only


@pytest.fixture
def file(ledger: Ledger) -> Path:
    return Path(ledger.url.removeprefix("sqlite+aiosqlite:///"))


async def faults_of(url: str) -> list[StoreFault]:
    async with opened(url) as store:
        return [await fault_of(store.begin()), await fault_of(store.head())]


COLUMNS = "type, version, stream, token, command_id, ordinal, body, recorded_at, hash"
NEW = f"INSERT INTO events SELECT {{position}}, {COLUMNS} FROM events WHERE position = 2".replace(
    "command_id", "randomblob(32)"
)


class TestHistory:
    @pytest.mark.parametrize(
        "edit",
        [
            "UPDATE events SET body = '{}' WHERE position = 2",
            "UPDATE OR REPLACE events SET position = 2 WHERE position = 3",
            "DELETE FROM events WHERE position = 3",
            "DELETE FROM events",
            "INSERT INTO events SELECT * FROM events WHERE position = 2",
            "REPLACE INTO events SELECT * FROM events WHERE position = 2",
            "INSERT OR REPLACE INTO events SELECT * FROM events WHERE position = 2",
            f"INSERT OR REPLACE INTO events SELECT 4, {COLUMNS} FROM events WHERE position = 2",
            "INSERT OR IGNORE INTO events SELECT * FROM events WHERE position = 2",
            "INSERT INTO events SELECT * FROM events WHERE position = 2 ON CONFLICT DO UPDATE SET body = '{}'",
            NEW.format(position=5),
            NEW.format(position=0),
            NEW.format(position="NULL"),
            NEW.format(position=3).replace("INSERT", "INSERT OR REPLACE"),
        ],
    )
    async def test_it_cannot_be_edited(self, ledger: Ledger, file: Path, edit: str) -> None:
        records = await append(ledger.open(), 3)
        with (
            closing(sqlite3.connect(file)) as connection,
            pytest.raises((sqlite3.IntegrityError, sqlite3.OperationalError), match="events are append-only"),
        ):
            connection.execute(edit)
        assert await ledger.open().events(after=0, limit=10) == records

    async def test_the_next_position_is_not_refused(self, ledger: Ledger, file: Path) -> None:
        await append(ledger.open(), 3)
        with closing(sqlite3.connect(file)) as connection:
            connection.execute(NEW.format(position=4))


class TestFiles:
    async def test_a_missing_file_is_not_made(self, tmp_path: Path) -> None:
        for fault in await faults_of(f"sqlite+aiosqlite:///{tmp_path}/none.db"):
            assert fault.code is Code.DATABASE_NOT_MIGRATED
        assert os.listdir(tmp_path) == []

    async def test_an_empty_file_is_left_without_tables(self, tmp_path: Path) -> None:
        file = tmp_path / "empty.db"
        file.touch()
        for fault in await faults_of(f"sqlite+aiosqlite:///{file}"):
            assert fault.code is Code.DATABASE_NOT_MIGRATED
            assert "numbering migrate" in fault.detail
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)

    @pytest.mark.parametrize("name", ["no/such/directory/ledger.db", "directory"])
    async def test_a_wrong_path_says_what_to_check(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "directory").mkdir()
        url = f"sqlite+aiosqlite:///{tmp_path}/{name}"
        for fault in [*await faults_of(url), await fault_of(migrate(url))]:
            assert fault.code is Code.DATABASE_UNAVAILABLE
            assert "check the database URL" in fault.detail
            assert not fault.transient

    async def test_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        file = tmp_path / "letter.txt"
        file.write_text("Dear auditor, " * 1000)
        for fault in await faults_of(f"sqlite+aiosqlite:///{file}"):
            assert fault.code is Code.DATABASE_UNAVAILABLE
            assert "no SQLite database" in fault.detail

    async def test_a_name_that_a_uri_would_cut(self, tmp_path: Path) -> None:
        file = tmp_path / "สมุด #1 100%.db"
        url = f"sqlite+aiosqlite:///{file}"
        await migrate(url)
        async with opened(url) as store:
            await append(store, 1)
        assert file.exists()

    async def test_a_file_that_may_only_be_read(self, ledger: Ledger, file: Path) -> None:
        records = await append(ledger.open(), 2)
        async with opened(f"sqlite+aiosqlite:///file:{file}?mode=ro&uri=true") as store:
            assert await store.events(after=0, limit=10) == records
            fault = await fault_of(store.begin())
            assert fault.code is Code.DATABASE_READ_ONLY

    async def test_no_space_left(self, ledger: Ledger) -> None:
        store = ledger.open()
        await append(store, 1)
        await limit_pages(store, 60)
        transaction = await store.begin()
        fault = await fault_of(transaction.append(follow(transaction.head, 2000)))
        assert fault.code is Code.DATABASE_FULL
        await transaction.rollback()
        assert (await store.head()).position == 1
        await append(store, 1)  # by a new connection, which has no limit

    async def test_no_space_left_for_a_snapshot(self, ledger: Ledger) -> None:
        store: Any = ledger.open()
        await append(store, 1)
        async with store.readers.connect() as connection:  # the pool gives this very one again
            await connection.exec_driver_sql("PRAGMA max_page_count = 60")
        fault = await fault_of(store.put_snapshot(Snapshot(1, bytes(32), 4, bytes(2**20), bytes(32))))
        assert fault.code is Code.DATABASE_FULL
        assert await store.newest_snapshot(4, at_most=1) is None
        await append(store, 1)

    async def test_no_space_left_for_the_commit(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        store = ledger.open()
        transaction = await store.begin()
        await transaction.append(follow(transaction.head, 2))
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorcode = sqlite3.SQLITE_FULL

        async def commit(*_: object) -> None:
            raise full

        with monkeypatch.context() as patch:
            patch.setattr(store, "commit", commit)
            assert (await fault_of(transaction.commit())).code is Code.DATABASE_FULL
        await append(store, 1)

    async def test_a_commit_is_durable(self, ledger: Ledger) -> None:
        store = ledger.open()
        await append(store, 1)
        driver = driver_connection(store)
        assert await driver.execute_fetchall("PRAGMA journal_mode") == [("wal",)]
        assert await driver.execute_fetchall("PRAGMA synchronous") == [(2,)]

    async def test_another_clock(self, ledger: Ledger) -> None:
        transaction = await ledger.open(now=lambda: 12345).begin()
        assert transaction.now == 12345
        await transaction.rollback()

    async def test_a_copy_is_the_same_ledger(self, ledger: Ledger, file: Path, tmp_path: Path) -> None:
        records = await append(ledger.open(), 2)
        await ledger.close()
        copy = tmp_path / "copy.db"
        shutil.copy(file, copy)
        async with opened(f"sqlite+aiosqlite:///{copy}") as store:
            assert await store.events(after=0, limit=10) == records


def driver_connection(store: Store) -> Any:
    assert isinstance(store, dialect.SQLiteStore)
    return store.driver


async def limit_pages(store: Store, pages: int) -> None:
    await driver_connection(store).execute_fetchall(f"PRAGMA max_page_count = {pages}")


@pytest.mark.parametrize(
    ("number", "code", "contention"),
    [
        (sqlite3.SQLITE_BUSY, Code.LOCK_TIMEOUT, True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Code.LOCK_TIMEOUT, True),
        (sqlite3.SQLITE_LOCKED, Code.LOCK_TIMEOUT, True),
        (sqlite3.SQLITE_READONLY_DIRECTORY, Code.DATABASE_READ_ONLY, False),
        (sqlite3.SQLITE_FULL, Code.DATABASE_FULL, False),
        (sqlite3.SQLITE_IOERR_FSYNC, Code.DATABASE_UNAVAILABLE, False),
        (sqlite3.SQLITE_CORRUPT, Code.DATABASE_UNAVAILABLE, False),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, Code.INTERNAL_ERROR, False),
    ],
)
def test_result_codes(number: int, code: Code, contention: bool) -> None:
    error = sqlite3.OperationalError("says SQLite")
    error.sqlite_errorcode = number
    fault = dialect.fault(error)
    assert fault is not None
    assert (fault.code, fault.contention) == (code, contention)
    assert "says SQLite" in fault.detail


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite+aiosqlite://", "needs a file"),
        ("sqlite+aiosqlite:///:memory:", "needs a file"),
        ("sqlite:///x.db", "use mariadb"),
        ("postgresql+asyncpg://h/x", "use mariadb"),
        ("numbering.db", "of the form"),
    ],
)
def test_urls_that_no_store_has(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        open_store(url)
    with pytest.raises(ValueError, match="2000 or more"):
        open_store("sqlite+aiosqlite:///x.db", lock_timeout_ms=1999)


async def test_a_driver_that_is_closed_while_it_stops_lets_go_of_the_file(ledger: Ledger, file: Path) -> None:
    """As a pool does that is disposed of beside an interruption."""
    async with opened(ledger.url) as store:
        assert isinstance(store, dialect.SQLiteStore)
        driver = await store.open()
        await driver.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(TOTAL_SECONDS):
            driver.stop()
            with suppress(ValueError):  # aiosqlite's word for what is closed
                await driver.close()
        with closing(sqlite3.connect(file, timeout=TOTAL_SECONDS, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
