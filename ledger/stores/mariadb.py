"""A ledger in a MariaDB schema, through SQLAlchemy and asyncmy 0.2.18 or newer.

READ COMMITTED with locking reads: REPEATABLE READ of 10.11 loses updates. Connections use asyncmy's statement cache,
that is the binary protocol: all rows of a batch go out as one bulk statement, which costs client and server together
less than half of a multi-row INSERT in text.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, NamedTuple

import asyncmy
from asyncmy import errors
from sqlalchemy import URL, ColumnElement, Dialect, Executable, Integer, NullPool, literal_column
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ledger.domain.rejection import Code
from ledger.ports import Head, StoreFault
from ledger.stores.sql import HEAD, MIGRATE, MOVE_HEAD, READ_CONNECTIONS, Columns, SqlStore, SqlTransaction

__all__ = [
    "MIN_PACKET_BYTES",
    "SETTINGS",
    "MariaDBStore",
    "Setting",
    "connect",
    "connect_arguments",
    "fault",
    "judged_settings",
]

# SYSDATE is evaluated where it stands: after the lock was granted, unlike NOW and UTC_TIMESTAMP, which give the
# statement's start. A test holds the lock for a while and compares. The sessions' time zone is UTC.
NOW = literal_column("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', SYSDATE(6))", Integer)
LOCK_HEAD = HEAD.add_columns(NOW).with_for_update()

# A holder of the lock that fell silent is rolled back before those who wait for it give up, and they give up before
# our own deadline does: the server's clear answer is better than a connection thrown away. By default the first is
# never and the second 50 s. Strict mode, because a value that does not fit must be an error.
SESSION = """
    SET SESSION idle_transaction_timeout = {idle}, innodb_lock_wait_timeout = {wait}, time_zone = '+00:00',
                sql_mode = 'STRICT_ALL_TABLES'
"""
SETTINGS = """
    SELECT @@log_bin, @@sync_binlog, @@innodb_flush_log_at_trx_commit, @@binlog_format, @@max_allowed_packet,
           SYSDATE(6) > NOW(6) FROM (SELECT SLEEP(0.001)) AS waited
"""

# Without the PROCESS privilege the server shows the account's own alone.
CONNECTIONS = """
    SELECT id, user, host FROM information_schema.processlist
    WHERE db = DATABASE() AND user NOT IN ('system user', 'event_scheduler') ORDER BY id
"""

# An event of 7 MiB may double when it is escaped as text, and on a larger statement the server answers 1153 or drops
# the connection. This is MariaDB's own default.
MIN_PACKET_BYTES = 16 * 2**20

# The driver looks at the socket of a connection that it has just made. One that was closed meanwhile has none, and then
# asyncmy raises a bare RuntimeError: its words are all by which that can be told from a bug.
NO_SOCKET = "Transport does not expose socket"

# The server's settings are read again so often, which must be less than ten seconds with the time that reading takes.
RECHECK_SECONDS = 5.0
UNSAFE_RECHECK_SECONDS = 1.0

STATEMENT_CACHE = 32  # prepared statements that the server keeps for a connection; we have fewer


class MariaDBStore(SqlStore):
    connections_sql = CONNECTIONS

    def __init__(self, url: URL, *, lock_timeout_ms: int, allow_unsafe: bool = False) -> None:
        self._allow_unsafe = allow_unsafe
        self._wait_seconds = max(1, -(-lock_timeout_ms // 1000) - 1)
        self._arguments = connect_arguments(url)
        writers = self._engine(url, poolclass=NullPool, isolation_level="READ COMMITTED")
        readers = self._engine(url, pool_size=READ_CONNECTIONS, max_overflow=0, isolation_level="AUTOCOMMIT")
        super().__init__(writers, readers, lock_timeout_ms=lock_timeout_ms)
        self._cursor: Any = None
        self._check_at = 0.0
        self._unsafe: StoreFault | None = None
        self._move = _Statement(MOVE_HEAD, writers.dialect)
        lock = _Statement(LOCK_HEAD, writers.dialect)
        self._lock = lock.text, lock.values({})

    # What every transaction does goes to the driver's own cursor: SQLAlchemy's execution around a statement costs more
    # than the statement, four times for each batch. Its pool, and its Core for the text of the statements, stay.

    async def prepare(self, connection: AsyncConnection) -> None:
        # `open` has looked; that the account may not write is said with its first statement.
        self._cursor = self.driver.cursor()

    async def lock(self, connection: AsyncConnection) -> tuple[Columns | None, int]:
        # With autocommit off the first statement begins the transaction; a BEGIN would be a round trip more.
        await self._cursor.execute(*self._lock)
        row = await self._cursor.fetchone()
        return row, row[-1] if row else 0

    async def insert(self, connection: AsyncConnection, rows: Sequence[Columns]) -> int:
        await self._cursor.executemany(self.insert_sql, rows)
        inserted: int = self._cursor.rowcount
        return inserted

    async def move_head(self, connection: AsyncConnection, to: Mapping[str, object]) -> int:
        await self._cursor.execute(self._move.text, self._move.values(to))
        moved: int = self._cursor.rowcount
        return moved

    def commit(self, connection: AsyncConnection) -> Awaitable[None]:
        committed: Awaitable[None] = self.driver.commit()
        return committed

    async def rollback(self, connection: AsyncConnection) -> None:
        await self.driver.rollback()
        await connection.rollback()  # for SQLAlchemy's own view of it

    async def head(self) -> Head:
        await self._stay_safe()
        return await super().head()

    async def begin(self) -> SqlTransaction:
        await self._stay_safe()
        return await super().begin()

    async def _stay_safe(self) -> None:
        """Look at the server's settings again: what was safe when a connection was opened can be changed any time.

        Beside the writer's connection, and at most every RECHECK_SECONDS. DATABASE_UNSAFE as long as they are unsafe.
        """
        if self._allow_unsafe:
            return
        now = asyncio.get_running_loop().time()
        if now >= self._check_at:
            self._check_at = now + RECHECK_SECONDS
            try:
                await self._read_settings()
            except BaseException:
                self._check_at = now  # nothing was seen
                raise
        if self._unsafe:
            self._check_at = min(self._check_at, now + UNSAFE_RECHECK_SECONDS)
            raise self._unsafe.again()

    async def _read_settings(self) -> None:
        async def read(connection: AsyncConnection) -> Any:
            return (await connection.exec_driver_sql(SETTINGS)).one()

        self._unsafe = _unsafe(tuple(await self.aside(read)))

    def now_column(self) -> ColumnElement[int]:
        return NOW

    def connection_ids(self) -> Sequence[int]:
        return sorted(each.thread_id() for each in self.drivers if each.connected)

    def drop(self, driver: Any) -> None:
        driver.close()

    def is_taken(self, error: BaseException) -> bool:
        is_duplicate = isinstance(error, errors.IntegrityError) and error.args[:1] == (DUPLICATE,)
        return is_duplicate and POSITION_KEY in str(error.args[-1])

    def fault(self, error: BaseException) -> StoreFault | None:
        return fault(error)

    def _engine(self, url: URL, **options: Any) -> AsyncEngine:
        # What a connection did is over when it is given back, so there is nothing to roll back.
        return create_async_engine(
            url, async_creator=self.opened, pool_reset_on_return=None, skip_autocommit_rollback=True, **options
        )

    async def open(self) -> Any:
        """Open a connection whose session and server are fit to keep a ledger."""
        connection = await connect(self._arguments, stmt_cache_size=STATEMENT_CACHE)
        try:
            async with connection.cursor() as cursor:
                idle = max(1, self._wait_seconds - 1)
                await cursor.execute(SESSION.format(idle=idle, wait=self._wait_seconds))
                if not self._allow_unsafe:
                    await cursor.execute(SETTINGS)
                    if found := _unsafe(await cursor.fetchone()):
                        raise found
        except BaseException:
            connection.close()
            raise
        return connection


def _unsafe(settings: tuple[Any, ...]) -> StoreFault | None:
    """Say what is wrong with a server that could lose an acknowledged event, or that could not write at all."""
    wrong = [f"{one.name} is {one.value}: {one.advice}" for one in judged_settings(*settings) if one.advice]
    return StoreFault(Code.DATABASE_UNSAFE, "MariaDB's settings are unsafe", advice="; ".join(wrong)) if wrong else None


def connect_arguments(url: URL) -> dict[str, Any]:
    """Give what the driver's `connect` takes for a database URL."""
    arguments = dict(url.get_dialect()().create_connect_args(url)[1])
    arguments["charset"] = "utf8mb4"  # any other would lose text
    if "ssl" in arguments and not isinstance(arguments["ssl"], dict):
        arguments["ssl"] = True  # the driver refuses the text
    return arguments


async def connect(arguments: Mapping[str, Any], **options: Any) -> Any:
    """Open a connection of the driver; an error of its, or a StoreFault when it cannot log in with such an account."""
    try:
        return await asyncmy.connect(**arguments, **options)
    except Exception as error:
        if fault(error) is not None:
            raise
        # A RuntimeError or SystemError, by the plugin and the version of the driver.
        raise StoreFault(Code.DATABASE_UNAVAILABLE, LOGIN, advice=USE_PASSWORD, said=repr(error)) from error


class _Statement:
    """A statement of SQLAlchemy's Core as the driver takes it."""

    def __init__(self, statement: Executable, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        self.text = str(compiled)
        self._defaults: Mapping[str, object] = compiled.params
        self._names: Sequence[str] = compiled.positiontup

    def values(self, given: Mapping[str, object]) -> Columns:
        values = {**self._defaults, **given}
        return tuple(values[name] for name in self._names)


class Setting(NamedTuple):
    """A setting of the server on which the ledger rests; `advice` says what to do, None when it is right."""

    name: str
    value: str
    advice: str | None

    @classmethod
    def judged(cls, name: str, value: str, advice: str, *, right: bool) -> "Setting":
        return cls(name, value, None if right else advice)


def judged_settings(
    log_bin: int, sync_binlog: int, flush: int, binlog_format: str, packet: int, sysdate_moves: int
) -> list[Setting]:
    """Judge a row of SETTINGS: what is wrong could lose an acknowledged event, or let none be written."""
    judged = Setting.judged
    has_log = "ON" if log_bin else "OFF (rows are seen before they are durable)"
    moves = "moving during a statement" if sysdate_moves else "standing still during a statement"
    return [
        judged("log_bin", has_log, "start the server with --log-bin", right=bool(log_bin)),
        judged("sync_binlog", str(sync_binlog), "set it to 1", right=sync_binlog == 1),
        # 3 flushes at prepare as well
        judged("innodb_flush_log_at_trx_commit", str(flush), "set it to 1", right=flush in (1, 3)),
        # STATEMENT refuses READ COMMITTED (error 1665)
        judged("binlog_format", binlog_format, "set it to ROW", right=binlog_format != "STATEMENT"),
        judged(
            "max_allowed_packet", str(packet), f"set it to {MIN_PACKET_BYTES} or more", right=packet >= MIN_PACKET_BYTES
        ),
        judged("SYSDATE", moves, "start the server without --sysdate-is-now", right=bool(sysdate_moves)),
    ]


DUPLICATE = 1062
POSITION_KEY = "'PRIMARY'"  # as the server names it in every language
CONTENTION = {1020, 1205, 1213}
# Too many connections, out of memory, broken handshakes and lines, shutdown, a killed session or statement, limits.
LOST = {1037, 1038, 1040, 1041, 1042, 1043, 1053, 1077, 1079, 1080, 1129, 1152, *range(1156, 1162), 1184, 1203, 1226,
        1317, 1926, 1927, 1969, 4031}  # fmt: skip
CLIENT = range(2000, 3000)  # what the driver says itself: no server there, or no more
READ_ONLY = {1290, 1792, 1836}
FULL = {3, 1021, 1114}
NOT_MIGRATED = {
    1054: "a table of the ledger is not as this version needs it",
    1146: "a table of the ledger is missing",
}
LOGIN = "the driver cannot log in with this account"
USE_PASSWORD = (
    "let it identify itself by a password: ALTER USER … IDENTIFIED VIA mysql_native_password USING PASSWORD('…')"
)
EXPIRED = ("the account's password has expired", "set a new one: ALTER USER … IDENTIFIED BY '…'")

# What happened, and what to do.
CHECK = {
    1044: ("the account may not use this database", "check the grants in ops/mariadb-grants.sql"),
    1045: ("the account or its password is wrong", "check the database URL"),
    1130: ("this host may not connect to MariaDB", "create the account for this host: CREATE USER NAME@HOST"),
    1227: ("the account lacks a privilege", "run ops/mariadb-grants.sql, and migrate with an administrator's account"),
    1251: (LOGIN, USE_PASSWORD),
    1524: (LOGIN, USE_PASSWORD),
    1820: EXPIRED,
    1862: EXPIRED,
    2059: (LOGIN, USE_PASSWORD),
    3159: ("MariaDB takes TLS connections only", "add ?ssl_ca=FILE to the database URL"),
    4151: ("the account is locked", "unlock it: ALTER USER … ACCOUNT UNLOCK"),
    1049: ("there is no such database", "check the database URL, or create it"),
    1142: (
        "the account lacks a privilege",
        "run ops/mariadb-grants.sql, and migrate with an administrator's account",
    ),
    1143: ("the account lacks a privilege", "run ops/mariadb-grants.sql"),
    1419: (
        "triggers may not be made while the binary log is on",
        "set log_bin_trust_function_creators=1, or migrate with an account that has SUPER",
    ),
    1665: ("binlog_format is STATEMENT", "set it to ROW"),
    1698: ("the account may not log in like this", "check the database URL"),
}


def fault(error: BaseException) -> StoreFault | None:
    """Say what an error of asyncmy means; None for any other error."""
    if isinstance(error, OSError) or (isinstance(error, RuntimeError) and NO_SOCKET in str(error)):
        return StoreFault(Code.DATABASE_UNAVAILABLE, "no connection to MariaDB", said=str(error), transient=True)
    if not isinstance(error, errors.MySQLError):
        return None
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    said = f"MariaDB says {number}: {error.args[-1] if error.args else error}"
    if number in CHECK:
        happened, advice = CHECK[number]
        return StoreFault(Code.DATABASE_UNAVAILABLE, happened, advice=advice, said=said)
    if number in NOT_MIGRATED:
        return StoreFault(Code.DATABASE_NOT_MIGRATED, NOT_MIGRATED[number], advice=MIGRATE, said=said)
    if number in CONTENTION:
        return StoreFault(Code.LOCK_TIMEOUT, "the lock was not granted", said=said, contention=True)
    if number in READ_ONLY:
        return StoreFault(Code.DATABASE_READ_ONLY, "the database refuses writes", said=said)
    if number in FULL:
        return StoreFault(Code.DATABASE_FULL, "the database has no space left", said=said)
    if number in LOST or number in CLIENT or isinstance(error, errors.InterfaceError | errors.InternalError):
        return StoreFault(Code.DATABASE_UNAVAILABLE, "the database does not serve us", said=said, transient=True)
    return StoreFault(Code.INTERNAL_ERROR, "the database refused a statement", said=said)
