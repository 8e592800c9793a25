"""A ledger in one SQLite file on a local disk, through aiosqlite.

`with_for_update` is silently nothing on SQLite, so the head's lock is the file's write lock, taken by a BEGIN IMMEDIATE
of our own. WAL lets others read meanwhile; `synchronous=FULL` makes COMMIT durable. A statement runs in the
connection's thread and cannot be cancelled, only left behind.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiosqlite
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from ledger.domain.rejection import Code
from ledger.ports import Record, StoreFault
from ledger.stores.sql import CLOSE_SECONDS, HEAD, READ_CONNECTIONS, Row, Session, SqlStore

__all__ = ["SQLiteStore", "fault", "file_fault"]

PRIMARY_CODE = 0xFF  # the low byte of an extended result code


class SQLiteStore(SqlStore):
    def __init__(self, url: URL, *, lock_timeout_ms: int, now: Callable[[], int]) -> None:
        self._now = now
        # SQLite's own wait ends first: its clear answer is better than a thread left behind.
        self._busy_seconds = max(1.0, lock_timeout_ms / 1000 - 1)
        (self._file,), self._arguments = url.get_dialect()().create_connect_args(url)
        self._left_behind: set[asyncio.Future[Any]] = set()
        readers = create_async_engine(
            url,
            async_creator=self._open_reader,
            pool_size=READ_CONNECTIONS,
            max_overflow=0,
            pool_reset_on_return=None,  # every read is a transaction of its own, so nothing is left to roll back
            skip_autocommit_rollback=True,
            isolation_level="AUTOCOMMIT",
        )
        super().__init__(readers, lock_timeout_ms=lock_timeout_ms)

    async def connect(self) -> Session:
        connection = await self._open()
        try:
            await connection.execute_fetchall("PRAGMA journal_mode = WAL")
            await connection.execute_fetchall("PRAGMA synchronous = FULL")
        except BaseException:
            connection.stop()
            raise
        return _Session(connection, self._left_behind)

    async def lock(self, session: Session) -> tuple[Sequence[Row], int]:
        await session.write("BEGIN IMMEDIATE")
        return await session.read(HEAD), self._now()

    def sql(self, statement: str) -> str:
        return statement

    def fault(self, error: BaseException) -> StoreFault | None:
        return fault(error)

    def refused(self, error: BaseException) -> StoreFault | None:
        # Frames of the write-ahead log count only behind the frame of their COMMIT, and that one was not written.
        # Of an I/O error the same cannot be said: the frame may be there and only its fsync have failed.
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            return fault(error)
        return None

    async def close(self) -> None:
        await super().close()
        if self._left_behind:
            await asyncio.wait(self._left_behind, timeout=CLOSE_SECONDS)

    async def _open_reader(self, *_: object, **__: object) -> aiosqlite.Connection:
        return await self._open()

    async def _open(self) -> aiosqlite.Connection:
        """Open the file, but never make it: only a migration does."""
        missing = file_fault(self._file)
        if missing is not None:
            raise missing
        given = self._file.startswith("file:")
        uri = self._file if given else f"file:{quote(self._file)}?mode=rw"
        options = dict(self._arguments, uri=True, timeout=self._busy_seconds, isolation_level=None)
        connection = aiosqlite.connect(uri, **options)
        # As SQLAlchemy does it: a thread that waits for a hung disk must not keep the process from ending.
        connection._thread.daemon = True
        return await connection


class _Session:
    """A connection of aiosqlite: a thread, to which every call is one trip there and back."""

    def __init__(self, connection: aiosqlite.Connection, left_behind: set[asyncio.Future[Any]]) -> None:
        self._connection = connection
        self._left_behind = left_behind

    async def read(self, sql: str, *parameters: object) -> Sequence[Row]:
        return list(await self._connection.execute_fetchall(sql, parameters))

    async def write(self, sql: str, *parameters: object) -> int:
        cursor = await self._connection.execute(sql, parameters)
        return cursor.rowcount

    async def insert(self, sql: str, records: Sequence[Record]) -> int:
        # TEXT keeps what it is given: bytes would be stored as a BLOB.
        rows = [(*record[:7], record.body.decode(), *record[8:]) for record in records]
        cursor = await self._connection.executemany(sql, rows)
        return cursor.rowcount

    async def commit(self) -> None:
        # Not the driver's commit(), which is silent when SQLite has already rolled back by itself.
        await self._connection.execute("COMMIT")

    async def rollback(self) -> None:
        await self._connection.execute("ROLLBACK")

    def abandon(self) -> None:
        # The thread finishes what it was told, then closes, and with it goes the transaction.
        stopped = self._connection.stop()
        if stopped is not None:
            self._left_behind.add(stopped)
            stopped.add_done_callback(self._left_behind.discard)

    async def close(self) -> None:
        await self._connection.close()


def file_fault(file: str) -> StoreFault | None:
    """Say what is missing of a plain path; None for nothing, or for a URI."""
    path = Path(file)
    if file.startswith("file:") or path.is_file():
        return None
    if not path.parent.is_dir():
        detail = f"the directory {path.parent} does not exist: check the database URL"
        return StoreFault(Code.DATABASE_UNAVAILABLE, detail)
    if path.exists():
        return StoreFault(Code.DATABASE_UNAVAILABLE, f"{path} is not a file: check the database URL")
    return StoreFault(Code.DATABASE_NOT_MIGRATED, f"{path} does not exist: run `numbering migrate`")


READ_ONLY = "the database file, its directory or its disk may not be written: check their permissions"
CHECK = {
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened: check the database URL and the permissions",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database: check the database URL",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged: restore it",
    sqlite3.SQLITE_PERM: "access to the database file is refused: check its permissions",
    sqlite3.SQLITE_IOERR: "the disk failed: check the system's log",
}


def fault(error: BaseException) -> StoreFault | None:
    """Say what an error of SQLite means; None for any other error."""
    if isinstance(error, ValueError) and error.args[:1] in (("Connection closed",), ("no active connection",)):
        return StoreFault(Code.DATABASE_UNAVAILABLE, "the connection is closed", transient=True)
    if not isinstance(error, sqlite3.Error):
        return None
    detail = f"SQLite says: {error}"
    match getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreFault(Code.LOCK_TIMEOUT, detail, contention=True)
        case sqlite3.SQLITE_READONLY:
            return StoreFault(Code.DATABASE_READ_ONLY, f"{READ_ONLY} ({detail})")
        case sqlite3.SQLITE_FULL:
            return StoreFault(Code.DATABASE_FULL, detail)
        case sqlite3.SQLITE_ERROR if "no such table" in str(error):
            return StoreFault(Code.DATABASE_NOT_MIGRATED, f"run `numbering migrate` ({detail})")
        case code if code in CHECK:
            return StoreFault(Code.DATABASE_UNAVAILABLE, f"{CHECK[code]} ({detail})")
        case _:
            return StoreFault(Code.INTERNAL_ERROR, detail)
