"""Emptying a slot that is not live, in small pieces: nobody waits long for the lock that each takes."""

from sqlalchemy import Table, TextClause, text

from ledger.stores import SqlStore
from projections.checkpoints import LOCK, checkpoints
from projections.line import Line
from projections.schema import SLOTS

__all__ = ["clear"]

PIECE = 2_000


async def clear(line: Line, store: SqlStore, slot: str) -> None:
    """Delete every row of the slot, as long as it is not live."""
    is_sqlite = store.writers.dialect.name == "sqlite"
    for table in SLOTS[slot].tables:
        piece = _piece(table, is_sqlite=is_sqlite)
        while await _delete(line, slot, piece) == PIECE:
            pass


async def _delete(line: Line, slot: str, piece: TextClause) -> int:
    await line.begin()
    (checkpoint,) = checkpoints(await line.fetch(LOCK, of_slot=slot))
    if checkpoint.live:
        await line.rollback()
        return 0
    deleted = await line.execute(piece)
    await line.commit()
    return deleted


def _piece(table: Table, *, is_sqlite: bool) -> TextClause:
    # SQLite has LIMIT there only if it was compiled with it.
    if is_sqlite:
        return text(f"DELETE FROM {table.name} WHERE rowid IN (SELECT rowid FROM {table.name} LIMIT {PIECE})")
    return text(f"DELETE FROM {table.name} LIMIT {PIECE}")
