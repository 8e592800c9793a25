"""Reading the projections."""

from sqlalchemy import select

from ledger.ports import Head
from ledger.stores import SqlStore
from ledger.stores.schema import ledger_head
from projections.checkpoints import ALL, Checkpoint, checkpoints

__all__ = ["read_checkpoints"]


async def read_checkpoints(store: SqlStore) -> tuple[list[Checkpoint], Head]:
    """Read the checkpoints, and then the log's head, which is not behind them."""
    async with store.readers.connect() as connection:
        slots = checkpoints((await connection.execute(ALL)).all())
        head = (await connection.execute(select(*(ledger_head.c[name] for name in Head._fields)))).one()
    return slots, Head(*head)
