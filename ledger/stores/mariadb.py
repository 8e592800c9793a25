"""A ledger in a MariaDB schema, through asyncmy 0.2.18 or newer.

READ COMMITTED with locking reads: REPEATABLE READ of 10.11 loses updates. The writer's connection uses asyncmy's
statement cache, that is the binary protocol: all rows of a batch go out as one bulk statement, which costs client and
server together less than a third of a multi-row INSERT in text.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import asyncmy
from asyncmy import errors
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from ledger.domain.rejection import Code
from ledger.ports import Record, StoreFault
from ledger.stores.sql import READ_CONNECTIONS, Row, Session, SqlStore

__all__ = ["MariaDBStore", "fault"]

# SYSDATE is evaluated where it stands: after the lock was granted, unlike NOW and UTC_TIMESTAMP, which give the
# statement's start. A test holds the lock for a while and compares. The sessions' time zone is UTC.
LOCK_HEAD = """
    SELECT position, hash, recorded_at, ledger_id, stopped,
           TIMESTAMPDIFF(MICROSECOND, '1970-01-01', SYSDATE(6))
    FROM ledger_head WHERE id = 1 FOR UPDATE
"""

# A holder of the lock that fell silent is rolled back before those who wait for it give up, and they give up before
# our own deadline does: the server's clear answer is better than a connection thrown away. By default the first is
# never and the second 50 s. Strict mode, because a value that does not fit must be an error.
SESSION = """
    SET SESSION idle_transaction_timeout = {idle}, innodb_lock_wait_timeout = {wait}, time_zone = '+00:00',
                sql_mode = 'STRICT_ALL_TABLES'
"""
ISOLATION = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"

SETTINGS = """
    SELECT @@log_bin, @@sync_binlog, @@innodb_flush_log_at_trx_commit, @@binlog_format, @@max_allowed_packet,
           SYSDATE(6) > NOW(6) FROM (SELECT SLEEP(0.001)) AS waited
"""

STATEMENT_CACHE = 16  # prepared statements kept by the server for the writer's connection; we have fewer


class MariaDBStore(SqlStore):
    # An event of 7 MiB may double when it is escaped, and the server drops the connection (or answers 1153) on
    # anything larger than this. 16 MiB is MariaDB's own default.
    MIN_PACKET_BYTES = 16 * 2**20

    def __init__(self, url: URL, *, lock_timeout_ms: int, allow_unsafe: bool = False) -> None:
        self._url = url
        self._allow_unsafe = allow_unsafe
        self._wait_seconds = max(1, -(-lock_timeout_ms // 1000) - 1)
        _, self._arguments = url.get_dialect()().create_connect_args(url)
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
        return _Session(await self._open(autocommit=False, stmt_cache_size=STATEMENT_CACHE))

    async def lock(self, session: Session) -> tuple[Sequence[Row], int]:
        # With autocommit off the first statement begins the transaction; a BEGIN would be a round trip more.
        rows = await session.read(LOCK_HEAD)
        return rows, rows[0][5] if rows else 0

    def sql(self, statement: str) -> str:
        return _format(statement)

    def fault(self, error: BaseException) -> StoreFault | None:
        return fault(error)

    async def _open_reader(self, *_: object, **__: object) -> Any:
        return await self._open(autocommit=True)

    async def _open(self, **options: object) -> Any:
        connection = await asyncmy.connect(**self._arguments, **options)
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(ISOLATION)
                idle = max(1, self._wait_seconds - 1)
                await cursor.execute(SESSION.format(idle=idle, wait=self._wait_seconds))
                if not self._allow_unsafe:
                    await cursor.execute(SETTINGS)
                    self._check(await cursor.fetchone())
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, settings: Row) -> None:
        """Refuse a server that could lose an acknowledged event, or that could not write at all."""
        wrong = list(_wrong_settings(*settings, at_least=self.MIN_PACKET_BYTES))
        if wrong:
            raise StoreFault(Code.DATABASE_UNSAFE, f"MariaDB's settings are unsafe: {'; '.join(wrong)}")


class _Session:
    """A connection of asyncmy, which closes itself when a read is cancelled."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def read(self, sql: str, *parameters: object) -> Sequence[Row]:
        async with self._connection.cursor() as cursor:
            await cursor.execute(_format(sql), parameters or None)
            rows: Sequence[Row] = await cursor.fetchall()
            return rows

    async def write(self, sql: str, *parameters: object) -> int:
        async with self._connection.cursor() as cursor:
            matched: int = await cursor.execute(_format(sql), parameters)
            return matched

    async def insert(self, sql: str, records: Sequence[Record]) -> int:
        async with self._connection.cursor() as cursor:
            inserted: int = await cursor.executemany(_format(sql), records)
            return inserted

    async def commit(self) -> None:
        await self._connection.commit()

    async def rollback(self) -> None:
        await self._connection.rollback()

    def abandon(self) -> None:
        self._connection.close()

    async def close(self) -> None:
        await self._connection.ensure_closed()


def _format(sql: str) -> str:
    return sql.replace("?", "%s")


def _wrong_settings(
    log_bin: int, sync_binlog: int, flush: int, binlog_format: str, packet: int, sysdate_moves: int, *, at_least: int
) -> Iterable[str]:
    if not log_bin:
        yield "log_bin is OFF (rows are seen before they are durable): start the server with --log-bin"
    if sync_binlog != 1:
        yield f"sync_binlog is {sync_binlog}: set it to 1"
    if flush not in (1, 3):  # 3 flushes at prepare as well
        yield f"innodb_flush_log_at_trx_commit is {flush}: set it to 1"
    if binlog_format == "STATEMENT":
        yield "binlog_format is STATEMENT, which refuses READ COMMITTED (error 1665): set it to ROW"
    if packet < at_least:
        yield f"max_allowed_packet is {packet}: set it to {at_least} or more"
    if not sysdate_moves:
        yield "SYSDATE stands still during a statement: start the server without --sysdate-is-now"


CONTENTION = {1020, 1205, 1213}
LOST = {1053, 1158, 1159, 1160, 1161, 1927, 1926, 2003, 2006, 2013, 4031}
READ_ONLY = {1290, 1792, 1836}
FULL = {3, 1021, 1114}
CHECK = {
    1044: "the account may not use this database: check the grants in ops/mariadb-grants.sql",
    1045: "the account or its password is wrong: check the database URL",
    1049: "there is no such database: check the database URL, or create it",
    1142: "the account lacks a privilege: run ops/mariadb-grants.sql, and migrate with an administrator's account",
    1143: "the account lacks a privilege: run ops/mariadb-grants.sql",
    1419: "triggers may not be made while the binary log is on: set log_bin_trust_function_creators=1, or migrate "
    "with an account that has SUPER",
    1665: "binlog_format is STATEMENT: set it to ROW",
    1698: "the account may not log in like this: check the database URL",
}


def fault(error: BaseException) -> StoreFault | None:
    """Say what an error of asyncmy means; None for any other error."""
    if isinstance(error, OSError):
        return StoreFault(Code.DATABASE_UNAVAILABLE, f"no connection to MariaDB: {error}", transient=True)
    if not isinstance(error, errors.MySQLError):
        return None
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    detail = f"MariaDB says {number}: {error.args[-1] if error.args else error}"
    if number in CONTENTION:
        return StoreFault(Code.LOCK_TIMEOUT, detail, contention=True)
    if number in CHECK:
        return StoreFault(Code.DATABASE_UNAVAILABLE, f"{CHECK[number]} ({detail})")
    if number in READ_ONLY:
        return StoreFault(Code.DATABASE_READ_ONLY, detail)
    if number in FULL:
        return StoreFault(Code.DATABASE_FULL, detail)
    if number == 1146:
        return StoreFault(Code.DATABASE_NOT_MIGRATED, f"run `numbering migrate` ({detail})")
    if number in LOST or isinstance(error, errors.OperationalError | errors.InterfaceError | errors.InternalError):
        return StoreFault(Code.DATABASE_UNAVAILABLE, detail, transient=True)
    return StoreFault(Code.INTERNAL_ERROR, detail)
