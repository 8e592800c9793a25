"""A read transaction: all that is read in it is as of one moment, position included."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Executable, Row, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.ports import Head
from ledger.stores import SqlStore
from ledger.stores.sql import READ_ATTEMPTS, has_died
from projections.checkpoints import ALL, Checkpoint, checkpoints, live
from projections.schema import SLOTS, Slot

__all__ = ["Snapshot", "read_checkpoints", "read_slots", "snapshot"]

# Under READ COMMITTED, which may be the server's default, each statement would see another moment.
BEGIN = {
    "mariadb": (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    ),
    "sqlite": ("BEGIN",),
}


class Snapshot:
    """`checkpoint` is the live slot's, None as long as there is none."""

    def __init__(self, connection: AsyncConnection, slots: Sequence[Checkpoint], seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self.checkpoint = live(slots)
        self.is_sqlite = connection.dialect.name == "sqlite"

    @property
    def position(self) -> int:
        return self.checkpoint.position if self.checkpoint else 0

    @property
    def slot(self) -> Slot:
        """The live tables; before there are any, those of a slot without rows would do as well."""
        return SLOTS[self.checkpoint.slot if self.checkpoint else "a"]

    async def fetch(self, statement: Executable, **parameters: object) -> Sequence[Row[Any]]:
        async with asyncio.timeout(self._seconds):
            return (await self._connection.execute(statement, parameters)).all()

    async def keep(self) -> None:
        """Ask something: MariaDB ends a transaction in which nothing is asked for some seconds."""
        await self.fetch(select(literal_column("1")))


@asynccontextmanager
async def snapshot(store: SqlStore, *, seconds: float | None = None) -> AsyncIterator[Snapshot]:
    """Open a read transaction, of which each statement has so long, else the store's deadline.

    A StoreFault when the database cannot be read.
    """
    try:
        for attempt in range(READ_ATTEMPTS):
            async with store.readers.connect() as connection:
                try:
                    async with asyncio.timeout(store.deadline):
                        slots = await _begun(connection)
                except Exception as error:
                    await connection.invalidate()
                    if has_died(error) and attempt < READ_ATTEMPTS - 1:
                        continue  # with another connection: this one takes no statement until it was rolled back
                    raise
                try:
                    yield Snapshot(connection, slots, seconds or store.deadline)
                    await connection.exec_driver_sql("ROLLBACK")
                except BaseException:
                    # Given back to the pool it would keep its transaction, and show its next user the past.
                    await connection.invalidate()
                    raise
                return
    except Exception as error:
        store.raise_from(error)


async def _begun(connection: AsyncConnection) -> list[Checkpoint]:
    for statement in BEGIN[connection.dialect.name]:
        await connection.exec_driver_sql(statement)
    return checkpoints((await connection.execute(ALL)).all())


async def read_slots(store: SqlStore) -> list[Checkpoint]:
    async def read(connection: AsyncConnection) -> list[Checkpoint]:
        return checkpoints((await connection.execute(ALL)).all())

    return await store.aside(read)


async def read_checkpoints(store: SqlStore) -> tuple[list[Checkpoint], Head]:
    """Read the checkpoints, and then the log's head, which is not behind them."""
    slots = await read_slots(store)
    return slots, await store.head()
