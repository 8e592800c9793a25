"""Emptying a slot that is not live, in small pieces: nobody waits long for the lock that each takes."""

from sqlalchemy import Table, TextClause, text

from projections.checkpoints import LOCK, Checkpoint, checkpoints
from projections.line import Line
from projections.schema import SLOTS

__all__ = ["Clearing"]

PIECE = 2_000


class Clearing:
    """What is left to delete of a slot, as long as nobody else begins anew or swaps."""

    def __init__(self, slot: Checkpoint) -> None:
        self._slot = slot
        self._tables = list(SLOTS[slot.slot].tables)
        self.is_mine = True

    async def all(self, line: Line) -> bool:
        """Delete every row; False when the slot was taken over meanwhile."""
        while await self.piece(line):
            pass
        return self.is_mine

    async def piece(self, line: Line) -> bool:
        """Delete some rows; False when there are no more, or the slot was taken over."""
        await line.begin()
        (now,) = checkpoints(await line.fetch(LOCK, of_slot=self._slot.slot))
        self.is_mine = now.place == self._slot.place
        if not self.is_mine or now.live:
            await line.rollback()
            return False
        limit = PIECE
        deleted = await line.execute(_piece(self._tables[0], limit, is_sqlite=line.is_sqlite))
        await line.commit()
        if deleted < limit:
            del self._tables[0]
        return bool(self._tables)


def _piece(table: Table, limit: int, *, is_sqlite: bool) -> TextClause:
    # SQLite has LIMIT there only if it was compiled with it.
    if is_sqlite:
        return text(f"DELETE FROM {table.name} WHERE rowid IN (SELECT rowid FROM {table.name} LIMIT {limit})")
    return text(f"DELETE FROM {table.name} LIMIT {limit}")
