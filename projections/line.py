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

T = TypeVar("T")


class Line:
    def __init__(self, store: SqlStore, connection: AsyncConnection, driver: Any) -> None:
        self._store = store
        self._connection = connection
        self._driver = driver
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
        async with asyncio.timeout(store.deadline):
            connection = await store.writers.connect()
            driver = (await connection.get_raw_connection()).driver_connection
            if connection.dialect.name == "mariadb":
                await driver.cursor().execute(SESSION)
        yield Line(store, connection, driver)
        await connection.close()
    except BaseException as error:
        if connection is not None:
            if driver is not None:
                store.drop(driver)
            if connection.sync_connection is not None:
                connection.sync_connection.invalidate()
        store.raise_from(error)
