"""A ledger in MariaDB: the server's settings, the account, the tables and the head.

The session may only read, and the server ends what takes too long, so that nothing goes on after a check was given up.
"""

import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from asyncmy.errors import MySQLError
from sqlalchemy import URL

from ledger.domain.clocks import TOLERANCE_SECONDS
from ledger.stores import mariadb
from ledger.stores.mariadb import SETTINGS, connect, connect_arguments, judged_settings
from ledger.stores.schema import metadata
from numbering.doctor import grants, ledger
from numbering.doctor.clocks import compared
from numbering.doctor.findings import (
    CHECK_SECONDS,
    Check,
    Finding,
    error,
    fault,
    in_order,
    in_thread,
    ok,
    warning,
)
from numbering.doctor.machine import disk
from numbering.settings import PREFIX, is_loopback

__all__ = [
    "collations",
    "connections",
    "datadir_is_here",
    "durability",
    "engines",
    "examine",
    "version",
]

MIN_VERSION = (10, 11)
COLLATION = "utf8mb4_nopad_bin"
TRIGGERS = {"events_refuse_update", "events_refuse_delete"}
BUSY_SHARE = 0.8
MICROSECONDS = 1_000_000
NO_SUCH_TABLE = 1146

SESSION = "SET SESSION TRANSACTION READ ONLY"
SESSION_OF_MARIADB = f"SET SESSION max_statement_time = {CHECK_SECONDS:g}, time_zone = '+00:00'"
NOW = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', SYSDATE(6))"
CONNECTIONS = """
    SELECT variable_value, @@max_connections FROM information_schema.global_status
    WHERE variable_name = 'THREADS_CONNECTED'
"""
NAMES = ", ".join(f"'{name}'" for name in metadata.tables)
ENGINES = f"""
    SELECT table_name, engine FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_name IN ({NAMES})
"""
COLLATIONS = f"""
    SELECT table_name, '', table_collation FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_name IN ({NAMES})
    UNION ALL
    SELECT table_name, column_name, collation_name FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name IN ({NAMES}) AND collation_name IS NOT NULL
"""
TRIGGERS_OF_EVENTS = """
    SELECT trigger_name, action_statement FROM information_schema.triggers
    WHERE event_object_schema = DATABASE() AND event_object_table = 'events'
"""


async def examine(url: URL, *, tolerance_seconds: float = TOLERANCE_SECONDS) -> list[Finding]:
    server = Server(url, tolerance_seconds)
    try:
        return await in_order([*_checks(server)], "mariadb")
    finally:
        server.drop()


class Server:
    """A line to the server, opened when it is needed. After any failure it is not used again."""

    def __init__(self, url: URL, tolerance_seconds: float = TOLERANCE_SECONDS) -> None:
        self.url = url
        self.tolerance_seconds = tolerance_seconds
        self._connection: Any = None
        self._arguments = connect_arguments(url)

    async def ask(self, sql: str) -> Sequence[tuple[Any, ...]]:
        try:
            if self._connection is None:
                await self._open()
            return await self._execute(sql)
        except BaseException:
            self.drop()
            raise

    async def grants(self) -> list[grants.Grant]:
        return grants.parse(line for (line,) in await self.ask("SHOW GRANTS"))

    def drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    async def _open(self) -> None:
        self._connection = await connect(self._arguments, autocommit=True)
        await self._execute(SESSION)
        ((server,),) = await self._execute("SELECT VERSION()")
        if "MariaDB" in server:
            await self._execute(SESSION_OF_MARIADB)

    async def _execute(self, sql: str) -> Sequence[tuple[Any, ...]]:
        async with self._connection.cursor() as cursor:
            await cursor.execute(sql)
            return list(await cursor.fetchall())


def _checks(server: Server) -> Iterator[Check]:
    for name, look, gate in (
        ("connection", _connection, True),
        ("version", _version, True),
        ("settings", _settings, False),
        ("read_only", _read_only, False),
        ("connections", _connections, False),
        ("disk", _disk, False),
        ("clock", _clock, False),
        ("privileges", _privileges, False),
        ("migrations", _migrations, True),
        ("engine", _engines, False),
        ("collation", _collations, False),
        ("triggers", _triggers, False),
        ("head", _head, False),
        ("format", _format, False),
        ("closed", _closing, False),
    ):
        yield Check(f"mariadb {name}", partial(_said, f"mariadb {name}", look, server), gate)


async def _said(check: str, look: Any, server: Server) -> Iterable[Finding]:
    """Let an error of the database speak for itself."""
    try:
        found: Iterable[Finding] = await look(check, server)
    except (MySQLError, OSError) as failed:
        told = mariadb.fault(failed)
        if told is None:
            raise
        return [fault(check, told, when_away=f"start the server, or check {PREFIX}DATABASE_URL")]
    return found


async def _connection(check: str, server: Server) -> Iterable[Finding]:
    ((account, database),) = await server.ask("SELECT CURRENT_USER(), DATABASE()")
    return [ok(check, f"{account} in {database} at {server.url.host}:{server.url.port or 3306}")]


async def _version(check: str, server: Server) -> Iterable[Finding]:
    ((text,),) = await server.ask("SELECT VERSION()")
    return [version(check, text)]


def version(check: str, text: str) -> Finding:
    advice = f"use MariaDB {'.'.join(map(str, MIN_VERSION))} or newer"
    if "MariaDB" not in text:
        return error(check, f"{text} is not MariaDB: collations, settings and locks differ", advice)
    # Some proxies and old clients' servers put 5.5.5- before the true version.
    major, minor = text.removeprefix("5.5.5-").split(".")[:2]
    if (int(major), int(minor)) < MIN_VERSION:
        return error(check, f"{text} is too old", advice)
    return ok(check, text)


async def _settings(_: str, server: Server) -> Iterable[Finding]:
    (row,) = await server.ask(SETTINGS)
    return durability(row)


def durability(row: Sequence[Any]) -> Iterator[Finding]:
    """Give a finding for each setting, in the words with which the service would refuse it."""
    for name, value, advice in judged_settings(*row):
        yield error(f"mariadb {name}", value, advice) if advice else ok(f"mariadb {name}", value)


async def _read_only(check: str, server: Server) -> Iterable[Finding]:
    ((value,),) = await server.ask("SELECT @@read_only")
    if value:
        return [error(check, "the server is read-only", "SET GLOBAL read_only = OFF, or use the primary server")]
    return [ok(check, "OFF")]


async def _connections(check: str, server: Server) -> Iterable[Finding]:
    ((used, limit),) = await server.ask(CONNECTIONS)
    return [connections(check, int(used), int(limit))]


def connections(check: str, used: int, limit: int) -> Finding:
    detail = f"{used} of {limit} in use"
    if used < limit * BUSY_SHARE:
        return ok(check, detail)
    return warning(check, detail, "raise max_connections, or find out who holds so many")


async def _disk(check: str, server: Server) -> Iterable[Finding]:
    ((directory, hostname),) = await server.ask("SELECT @@datadir, @@hostname")
    if not datadir_is_here(server.url.host or "", hostname):
        return [ok(check, f"cannot be seen from here: look at the free space of {directory} on {hostname}")]
    return [await in_thread(partial(_datadir, check, directory))]


def datadir_is_here(host: str, hostname: str) -> bool:
    # A loopback address may also lead through a tunnel or into a container, which has another name.
    here = socket.gethostname()
    return hostname == here and (is_loopback(host) or host == here)


def _datadir(check: str, directory: str) -> Finding:
    if not os.access(directory, os.X_OK):
        return ok(check, f"this user may not look at {directory}: look at its free space")
    return disk(check, directory)


async def _clock(check: str, server: Server) -> Iterable[Finding]:
    await server.ask("SELECT 1")  # a connection that is made now would count as the clock's delay
    before = time.time()
    ((theirs,),) = await server.ask(NOW)
    return [compared(check, theirs / MICROSECONDS, before, time.time(), server.tolerance_seconds)]


async def _privileges(check: str, server: Server) -> Iterable[Finding]:
    return grants.privileges(check, await server.grants(), server.url.database or "")


async def _migrations(check: str, server: Server) -> Iterable[Finding]:
    tables = ledger.FOUNDATION_TABLE, ledger.STEP_TABLE
    return [ledger.migrations_applied(check, {table: await _noted(server, table) for table in tables})]


async def _noted(server: Server, table: str) -> Sequence[str]:
    try:
        return [step for (step,) in await server.ask(f"SELECT version_num FROM {table}")]
    except MySQLError as failed:
        if failed.args[0] != NO_SUCH_TABLE:
            raise
        return []


async def _engines(check: str, server: Server) -> Iterable[Finding]:
    return [engines(check, dict(await server.ask(ENGINES)))]


def engines(check: str, found: dict[str, str]) -> Finding:
    if missing := sorted(set(metadata.tables) - set(found)):
        advice = "restore the ledger, or run ops/mariadb-grants.sql if the account merely cannot see them"
        return error(check, f"there is no table {', '.join(missing)}", advice)
    if wrong := [f"{table} is {engine}" for table, engine in found.items() if engine != "InnoDB"]:
        advice = "stop the service, and ALTER TABLE … ENGINE = InnoDB: others have no transactions"
        return error(check, ", ".join(wrong), advice)
    return ok(check, f"InnoDB for {', '.join(sorted(found))}")


async def _collations(check: str, server: Server) -> Iterable[Finding]:
    return [collations(check, await server.ask(COLLATIONS))]


def collations(check: str, found: Iterable[tuple[str, str, str]]) -> Finding:
    wrong = [(table, column, collation) for table, column, collation in found if collation != COLLATION]
    if not wrong:
        return ok(check, COLLATION)
    detail = ", ".join(f"{table}{column and '.'}{column} is {collation}" for table, column, collation in wrong)
    alter = f"CONVERT TO CHARACTER SET utf8mb4 COLLATE {COLLATION}"
    tables = "; ".join(f"ALTER TABLE {table} {alter}" for table in sorted({table for table, *_ in wrong}))
    return error(check, f"{detail}: different texts may count as equal", f"stop the service, and {tables}")


async def _triggers(check: str, server: Server) -> Iterable[Finding]:
    if not grants.may(await server.grants(), "TRIGGER", server.url.database or "", "events"):
        return [ok(check, "this account cannot see them: run `numbering doctor` also with the account that migrates")]
    return [ledger.triggers(check, dict(await server.ask(TRIGGERS_OF_EVENTS)), TRIGGERS)]


async def _format(check: str, server: Server) -> Iterable[Finding]:
    ((is_empty,),) = await server.ask(ledger.IS_EMPTY)
    bodies = [body for (body,) in await server.ask(ledger.FORMAT)]
    return [ledger.format(check, bodies, is_empty=bool(is_empty))]


async def _closing(check: str, server: Server) -> Iterable[Finding]:
    return [ledger.closing(check, await server.ask(ledger.CLOSING))]


async def _head(check: str, server: Server) -> Iterable[Finding]:
    rows = await server.ask(ledger.HEAD_AND_LAST)
    stops = ledger.standing(await server.ask(ledger.HEAD_AND_STOPS))
    ((now,),) = await server.ask(NOW)
    return ledger.findings(
        "mariadb", [ledger.State(*row) for row in rows], stops, now, "the database's clock", server.tolerance_seconds
    )
