"""A writer's connection for the projections, beside the one of the ledger's own writer.

Rows go through the driver's own `executemany`: on MariaDB, with its statement cache, that is one bulk statement in
binary, and SQLAlchemy would look at each value. All else is Core's. After any failure the connection is thrown away.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import Executable, Row
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.stores import SqlStore
from projections.statements import Bulk

__all__ = ["Line", "line"]

# Between two parts of a long list of rows others get their turn on the event loop.
ROWS_AT_ONCE = 250

# A statement may change thousands of rows; the ledger's own deadline is of statements for which clients wait. MariaDB
# ends a statement before we give it up: one that was only left behind would go on, and keep the checkpoint's lock.
STATEMENT_SECONDS = 30.0
SESSION = f"SET SESSION max_statement_time = {STATEMENT_SECONDS - 1:g}"

FORGET_SECONDS = 1.0  # to open a connection that nobody wants any more

T = TypeVar("T")


class Line:
    def __init__(self, store: SqlStore, connection: AsyncConnection, driver: Any) -> None:
        self._store = store
        self._connection = connection
        self.is_sqlite = store.writers.dialect.name == "sqlite"
        self._many: Callable[[str, Any], Awaitable[Any]] = (
            driver.executemany if self.is_sqlite else driver.cursor().executemany
        )

    async def begin(self) -> None:
        """Take SQLite's write lock; MariaDB begins with the first statement."""
        if self.is_sqlite:
            await self._ask(self._connection.exec_driver_sql("BEGIN IMMEDIATE"))

    async def commit(self) -> None:
        if self.is_sqlite:
            await self._ask(self._connection.exec_driver_sql("COMMIT"))
        await self._ask(self._connection.commit())

    async def rollback(self) -> None:
        await self._ask(self._connection.rollback())

    async def fetch(self, statement: Executable, **parameters: object) -> Sequence[Row[Any]]:
        return (await self._ask(self._connection.execute(statement, parameters))).all()

    async def execute(self, statement: Executable, **parameters: object) -> int:
        """Carry out a statement that changes rows; gives how many it found."""
        return (await self._ask(self._connection.execute(statement, parameters))).rowcount

    async def many(self, bulk: Bulk, rows: Sequence[tuple[Any, ...]]) -> None:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            await self._ask(self._many(bulk.text, bulk.rows(rows[start : start + ROWS_AT_ONCE])))

    async def _ask(self, answer: Awaitable[T]) -> T:
        async with asyncio.timeout(max(STATEMENT_SECONDS, self._store.deadline)):
            return await answer


@asynccontextmanager
async def line(store: SqlStore) -> AsyncIterator[Line]:
    """Open a line; what goes wrong on it is raised as the StoreFault that it means."""
    connection: AsyncConnection | None = None
    driver: Any = None
    try:
        connection, driver = await _opened(store)
        if connection.dialect.name == "mariadb":
            async with asyncio.timeout(store.deadline):
                await driver.cursor().execute(SESSION)
        yield Line(store, connection, driver)
        await connection.close()
    except BaseException as error:
        if connection is not None:
            _drop(store, connection, driver)
        store.raise_from(error)


async def _opened(store: SqlStore) -> tuple[AsyncConnection, Any]:
    """Connect; what is cancelled or late meanwhile is closed once it is open.

    SQLAlchemy asks something of a new connection before it hands it out. Cancelled there, it would forget it open.
    """
    opening = asyncio.create_task(_connected(store))
    try:
        async with asyncio.timeout(store.deadline):
            return await asyncio.shield(opening)
    except BaseException:
        opening.add_done_callback(lambda done: _forget(store, done))
        await asyncio.wait([opening], timeout=FORGET_SECONDS)
        raise


async def _connected(store: SqlStore) -> tuple[AsyncConnection, Any]:
    connection = await store.writers.connect()
    return connection, (await connection.get_raw_connection()).driver_connection


def _forget(store: SqlStore, opening: asyncio.Task[tuple[AsyncConnection, Any]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        _drop(store, *opening.result())


def _drop(store: SqlStore, connection: AsyncConnection, driver: Any) -> None:
    store.drop(driver)
    sync = connection.sync_connection
    if sync is not None and not sync.closed:  # now SQLAlchemy has nobody left to say goodbye to
        sync.invalidate()
