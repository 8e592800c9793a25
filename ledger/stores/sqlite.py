"""A ledger in one SQLite file on a local disk, through aiosqlite.

`with_for_update` is silently nothing on SQLite, so the head's lock is the file's write lock, taken by a BEGIN IMMEDIATE
of our own. WAL lets others read meanwhile; `synchronous=FULL` makes COMMIT durable. A statement runs in the
connection's thread and cannot be cancelled, only left behind.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import aiosqlite
from sqlalchemy import URL, AsyncAdaptedQueuePool, BigInteger, ColumnElement, NullPool, bindparam, delete, false
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ledger.domain.rejection import Code
from ledger.ports import StoreFault
from ledger.stores.schema import ledger_head
from ledger.stores.sql import CLOSE_SECONDS, HEAD, MIGRATE, READ_CONNECTIONS, Columns, SqlStore

__all__ = ["CHECK_URL", "SQLiteStore", "fault", "file_fault", "file_of"]

CHECK_URL = "check the database URL"
CLOSE_POLL_SECONDS = 0.005
FETCHED_ROWS = 64  # in one turn of the driver's thread, as aiosqlite.connect has it
PRIMARY_CODE = 0xFF  # the low byte of an extended result code


class SQLiteStore(SqlStore):
    def __init__(self, url: URL, *, lock_timeout_ms: int, now: Callable[[], int]) -> None:
        self._now = now
        # SQLite's own wait ends first: its clear answer is better than a thread left behind.
        self._busy_seconds = max(1.0, lock_timeout_ms / 1000 - 1)
        (self._file,), self._arguments = url.get_dialect()().create_connect_args(url)
        self._threads: set[Thread] = set()
        writers = self._engine(url, poolclass=NullPool)
        readers = self._engine(url, poolclass=AsyncAdaptedQueuePool, pool_size=READ_CONNECTIONS, max_overflow=0)
        super().__init__(writers, readers, lock_timeout_ms=lock_timeout_ms)

    async def lock(self, connection: AsyncConnection) -> tuple[Columns | None, int]:
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
        return (await connection.execute(HEAD)).one_or_none(), self._now()

    async def prepare(self, connection: AsyncConnection) -> None:
        # A file that may only be read lets BEGIN IMMEDIATE pass, without any lock. It refuses this, which does
        # nothing else.
        await connection.execute(delete(ledger_head).where(false()))
        await connection.commit()

    async def commit(self, connection: AsyncConnection) -> None:
        # The driver's own commit is silent when SQLite has already rolled back by itself; this one is not.
        await connection.exec_driver_sql("COMMIT")
        await connection.commit()

    def now_column(self) -> ColumnElement[int]:
        return bindparam(None, callable_=self._now, type_=BigInteger(), unique=True)

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
        # Threads that were left behind still report to the event loop, so it must not end before them.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while any(thread.is_alive() for thread in self._threads):  # noqa: ASYNC110  a thread sets no event
                    await asyncio.sleep(CLOSE_POLL_SECONDS)

    def drop(self, driver: aiosqlite.Connection) -> None:
        driver.stop()  # the thread finishes what it was told, then closes

    def _engine(self, url: URL, **options: Any) -> AsyncEngine:
        # The driver begins nothing by itself: a read commits by itself, and a transaction begins where we say.
        return create_async_engine(url, async_creator=self.opened, pool_reset_on_return=None, **options)

    async def open(self) -> aiosqlite.Connection:
        """Open the file, but never make it: only a migration does."""
        missing = file_fault(self._file)
        if missing is not None:
            raise missing
        given = self._file.startswith("file:")
        connection = await self.connected(self._file if given else f"file:{quote(self._file)}?mode=rw")
        try:
            await connection.execute_fetchall("PRAGMA journal_mode = WAL")
            await connection.execute_fetchall("PRAGMA synchronous = FULL")
        except BaseException:
            connection.stop()
            raise
        return connection

    async def connected(self, uri: str) -> aiosqlite.Connection:
        options = dict(self._arguments, uri=True, timeout=self._busy_seconds, isolation_level=None, factory=_Connection)
        driver = _Driver(partial(sqlite3.connect, uri, **options))
        self._threads = {thread for thread in self._threads if thread.is_alive()} | {driver._thread}
        return await driver  # starts the thread


class _Driver(aiosqlite.Connection):
    """A connection that its thread closes when the thread ends.

    aiosqlite 0.22.1 leaves it open when the wait for it is cancelled, and when it is closed after it was stopped. An
    open connection may hold the lock of the file. In the second case aiosqlite also waits for ever: hence one `stop`.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        opened = list[sqlite3.Connection]()

        def connected() -> sqlite3.Connection:
            opened.append(connect())
            return opened[-1]

        super().__init__(connected, iter_chunk_size=FETCHED_ROWS)
        self._stopped: asyncio.Future[Any] | None = None
        # As SQLAlchemy does it: a thread that waits for a hung disk must not keep the process from ending.
        self._thread = Thread(target=_work, args=(self._thread.run, opened), daemon=True)

    def stop(self) -> asyncio.Future[Any] | None:
        if self._stopped is None:
            self._stopped = super().stop()
        return self._stopped


def _work(work: Callable[[], None], opened: Sequence[sqlite3.Connection]) -> None:
    """Runs a driver's thread. Does not refer to the driver, so that the garbage collector can find that."""
    try:
        work()
    finally:
        for connection in opened:
            connection.close()


class _Connection(sqlite3.Connection):
    def close(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # it is closed already
            # With a cursor still open, as a cancellation leaves it, SQLite would keep the transaction and its lock.
            if self.in_transaction:
                self.rollback()
        super().close()


def file_of(url: URL) -> Path:
    """Give the path of the file that a URL names."""
    (name,), _ = url.get_dialect()().create_connect_args(url)
    return Path(unquote(urlsplit(name).path) if name.startswith("file:") else name)


def file_fault(file: str) -> StoreFault | None:
    """Say what is missing of a plain path; None for nothing, or for a URI."""
    path = Path(file)
    if file.startswith("file:") or path.is_file():
        return None
    if not path.parent.is_dir():
        happened = f"the directory {path.parent} does not exist"
        return StoreFault(Code.DATABASE_UNAVAILABLE, happened, advice=CHECK_URL)
    if path.exists() and not path.is_file():  # another process may have made it just now
        return StoreFault(Code.DATABASE_UNAVAILABLE, f"{path} is not a file", advice=CHECK_URL)
    return StoreFault(Code.DATABASE_NOT_MIGRATED, f"{path} does not exist", advice=MIGRATE)


# What happened, and what to do.
READ_ONLY = ("the database file, its directory or its disk may not be written", "check their permissions")
CHECK = {
    sqlite3.SQLITE_CANTOPEN: ("the database file cannot be opened", "check the database URL and the permissions"),
    sqlite3.SQLITE_NOTADB: ("the file is no SQLite database", CHECK_URL),
    sqlite3.SQLITE_CORRUPT: ("the database file is damaged", "restore it"),
    sqlite3.SQLITE_PERM: ("access to the database file is refused", "check its permissions"),
    sqlite3.SQLITE_IOERR: ("the disk failed", "check the system's log"),
}
# For what it does not know in a statement SQLite has one code, of which its words alone say more.
NOT_MIGRATED = {
    "no such table": "a table of the ledger is missing",
    "no such column": "a table of the ledger is not as this version needs it",
}
# aiosqlite's own errors have no type and no number.
CLOSED = (("Connection closed",), ("no active connection",))


def fault(error: BaseException) -> StoreFault | None:
    """Say what an error of SQLite means; None for any other error."""
    if isinstance(error, ValueError) and error.args[:1] in CLOSED:
        return StoreFault(Code.DATABASE_UNAVAILABLE, "the connection is closed", transient=True)
    if not isinstance(error, sqlite3.Error):
        return None
    said = f"SQLite says: {error}"
    match getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return StoreFault(Code.LOCK_TIMEOUT, "the lock was not granted", said=said, contention=True)
        case sqlite3.SQLITE_READONLY:
            happened, advice = READ_ONLY
            return StoreFault(Code.DATABASE_READ_ONLY, happened, advice=advice, said=said)
        case sqlite3.SQLITE_FULL:
            return StoreFault(Code.DATABASE_FULL, "the database has no space left", said=said)
        case sqlite3.SQLITE_ERROR if lacking := [words for words in NOT_MIGRATED if words in str(error)]:
            return StoreFault(Code.DATABASE_NOT_MIGRATED, NOT_MIGRATED[lacking[0]], advice=MIGRATE, said=said)
        case code if code in CHECK:
            happened, advice = CHECK[code]
            return StoreFault(Code.DATABASE_UNAVAILABLE, happened, advice=advice, said=said)
        case _:
            return StoreFault(Code.INTERNAL_ERROR, "the database refused a statement", said=said)
