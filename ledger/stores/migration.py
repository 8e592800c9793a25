"""Applying the migrations. MariaDB needs an account that may create tables and triggers, not the service's.

Two tables say how far they have come, so that an older build goes on working on tables that were only added to.
`schema_version` names the last step that was applied. `alembic_version` names the last step that a build must know to
work on the tables, and so stands still as long as steps only add: builds that look there alone see nothing to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from sqlalchemy import URL, Column, Connection, MetaData, String, Table, delete, exc, insert, inspect, make_url, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from ledger.domain.rejection import Code
from ledger.migrations import FOUNDATION, NEWEST
from ledger.ports import StoreFault
from ledger.stores import mariadb, sqlite
from ledger.stores.earlier import take_text_over
from ledger.stores.schema import schema_version

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["FOUNDATION_TABLE", "MIGRATION_SECONDS", "migrate", "migrations"]

FOUNDATION_TABLE = "alembic_version"  # the name is Alembic's own
MIGRATION_SECONDS = 600.0  # a later step may have to copy a table of many years
TURN_SECONDS = 300  # that another process is waited for
TURN = "SELECT GET_LOCK(CONCAT('numbering migrate ', SHA1(DATABASE())), {seconds})"
BUSY_MS = 1000  # of one wait for an SQLite file
WAL_ATTEMPTS = 100
WAL_PAUSE_SECONDS = 0.02


def migrations() -> Config:
    """Give Alembic's configuration, which has no file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "ledger:migrations")
    return config


async def migrate(url: str, *, ledger_id: str | None = None, on_wait: Callable[[], None] = lambda: None) -> bool:
    """Bring a database to the newest schema, and say whether anything was changed.

    What an earlier build wrote of why writing is stopped, or lifted, perhaps since the last time, is taken over.

    A new ledger gets `ledger_id`, which only a restore gives, or one of its own. `on_wait` is called if another process
    migrates it just now, which is waited for. StoreFault says what to do.
    """
    parsed = make_url(url)
    engine = _engine(parsed)
    try:
        async with asyncio.timeout(MIGRATION_SECONDS):
            return await _migrate(engine, ledger_id, on_wait)
    except (exc.DBAPIError, OSError) as error:
        driver_error = error.orig if isinstance(error, exc.DBAPIError) else error
        dialect = sqlite if parsed.get_backend_name() == "sqlite" else mariadb
        fault = dialect.fault(driver_error) if driver_error is not None else None
        if fault is None:
            raise
        raise fault from error
    finally:
        await engine.dispose()


def _engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() != "sqlite":
        arguments = mariadb.connect_arguments(url)
        return create_async_engine(url, poolclass=NullPool, async_creator=lambda *_: mariadb.connect(arguments))
    (file,), _ = url.get_dialect()().create_connect_args(url)
    missing = sqlite.file_fault(file)
    if missing is not None and missing.code is not Code.DATABASE_NOT_MIGRATED:
        raise missing
    # Without an isolation level the driver begins nothing by itself, so that DDL can be in our transaction.
    return create_async_engine(url, poolclass=NullPool, connect_args={"isolation_level": None})


async def _migrate(engine: AsyncEngine, ledger_id: str | None, on_wait: Callable[[], None]) -> bool:
    async with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            await _wait_for_file(connection, on_wait)
        else:
            # Else asyncmy logs what IF NOT EXISTS skipped, and that MySQL's kind ignores names of primary keys.
            await connection.exec_driver_sql("SET SESSION max_error_count = 0")
            await _wait_for_turn(connection, on_wait)
        applied = await connection.run_sync(_upgrade, ledger_id)
        read = await connection.run_sync(take_text_over)
        await connection.commit()
        if engine.dialect.name == "sqlite":
            await _use_wal(connection)
        return applied or read


async def _wait_for_turn(connection: AsyncConnection, on_wait: Callable[[], None]) -> None:
    """Let one process migrate at a time: MariaDB commits each step by itself. The turn ends with the connection."""
    if (await connection.exec_driver_sql(TURN.format(seconds=0))).scalar():
        return
    on_wait()
    if not (await connection.exec_driver_sql(TURN.format(seconds=TURN_SECONDS))).scalar():
        raise StoreFault(Code.LOCK_TIMEOUT, "another process migrates the database", advice="try again when it is done")


async def _wait_for_file(connection: AsyncConnection, on_wait: Callable[[], None]) -> None:
    """Take the file's write lock, which a process that migrates holds to its end."""
    deadline = asyncio.get_running_loop().time() + TURN_SECONDS
    for attempt in count():
        try:
            await connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_MS if attempt else 0}")
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
        except exc.OperationalError as error:
            fault = sqlite.fault(error.orig) if error.orig else None
            if fault is None or not fault.contention or asyncio.get_running_loop().time() >= deadline:
                raise
            if not attempt:
                on_wait()
        else:
            return


async def _use_wal(connection: AsyncConnection) -> None:
    """Switch the file to WAL, which it then keeps. SQLite does not wait here for other processes that start now."""
    for attempt in range(WAL_ATTEMPTS):
        try:
            await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        except exc.OperationalError:
            if attempt == WAL_ATTEMPTS - 1:
                raise
            await asyncio.sleep(WAL_PAUSE_SECONDS)
        else:
            return


def _upgrade(connection: Connection, ledger_id: str | None) -> bool:
    foundation = _noted(connection, _alembic_version)
    applied = _noted(connection, schema_version)
    if foundation is not None:
        if foundation > NEWEST:
            raise _too_new(foundation)
        if applied is not None and applied >= NEWEST and foundation >= FOUNDATION:
            return False
    # Only here: Alembic takes a quarter of the time in which a service starts, and nearly none needs it.
    from alembic import command

    config = migrations()
    config.attributes.update(connection=connection, ledger_id=ledger_id)
    # Without a foundation the first migration was not finished: every statement of it may run again.
    _note(connection, schema_version, foundation and (applied or foundation))
    command.upgrade(config, "head")
    _note(connection, _alembic_version, FOUNDATION)
    return True


# As Alembic makes it by itself, and the builds that let it did.
_alembic_version = Table(FOUNDATION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))


def _noted(connection: Connection, table: Table) -> str | None:
    if not inspect(connection).has_table(table.name):
        return None
    step: str | None = connection.execute(select(table.c.version_num)).scalar()
    return step


def _note(connection: Connection, table: Table, step: str | None) -> None:
    """Let a table name one step, or none. Steps count up, so that their names tell which is later."""
    table.create(connection, checkfirst=True)
    if _noted(connection, table) != step:
        connection.execute(delete(table))
        if step is not None:
            connection.execute(insert(table).values(version_num=step))


def _too_new(step: str) -> StoreFault:
    detail = f"the database needs a build that knows its step {step}, and this one knows those up to {NEWEST}"
    return StoreFault(Code.DATABASE_TOO_NEW, f"{detail}: install a newer numbering-ledger")
