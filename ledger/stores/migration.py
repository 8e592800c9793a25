"""Applying the migrations. MariaDB needs an account that may create tables and triggers, not the service's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, exc, inspect, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from ledger.domain.rejection import Code
from ledger.migrations import NEWEST
from ledger.stores import mariadb, sqlite
from ledger.stores.earlier import take_text_over

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["MIGRATION_SECONDS", "migrate", "migrations"]

MIGRATION_SECONDS = 600.0  # a later step may have to copy a table of many years
WAL_ATTEMPTS = 100
WAL_PAUSE_SECONDS = 0.02


def migrations() -> Config:
    """Give Alembic's configuration, which has no file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "ledger:migrations")
    return config


async def migrate(url: str, *, ledger_id: str | None = None) -> bool:
    """Bring a database to the newest schema, and say whether anything was changed.

    What an earlier build wrote of why writing is stopped, perhaps since the last time, is read into rows.

    A new ledger gets `ledger_id`, which only a restore gives, or one of its own. StoreFault says what to do.
    """
    parsed = make_url(url)
    engine = _engine(parsed)
    try:
        async with asyncio.timeout(MIGRATION_SECONDS):
            return await _migrate(engine, ledger_id)
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
        return create_async_engine(url, poolclass=NullPool)
    (file,), _ = url.get_dialect()().create_connect_args(url)
    missing = sqlite.file_fault(file)
    if missing is not None and missing.code is not Code.DATABASE_NOT_MIGRATED:
        raise missing
    # Without an isolation level the driver begins nothing by itself, so that DDL can be in our transaction.
    return create_async_engine(url, poolclass=NullPool, connect_args={"isolation_level": None})


async def _migrate(engine: AsyncEngine, ledger_id: str | None) -> bool:
    async with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            # Else asyncmy logs what IF NOT EXISTS skipped, and that MySQL's kind ignores names of primary keys.
            await connection.exec_driver_sql("SET SESSION max_error_count = 0")
        applied = await connection.run_sync(_upgrade, ledger_id)
        read = await connection.run_sync(take_text_over)
        await connection.commit()
        if engine.dialect.name == "sqlite":
            await _use_wal(connection)
        return applied or read


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
    if _version(connection) == NEWEST:
        return False
    # Only here: Alembic takes a quarter of the time in which a service starts, and nearly none needs it.
    from alembic import command

    config = migrations()
    config.attributes.update(connection=connection, ledger_id=ledger_id)
    command.upgrade(config, "head")
    return True


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return version
