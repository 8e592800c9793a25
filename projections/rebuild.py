"""Rebuild the projections from the log into the slot that is not live, and swap, while commands and reads go on."""

from ledger.domain.rejection import Code
from ledger.ports import StoreFault
from ledger.stores import SqlStore
from projections.check import Progress
from projections.checkpoints import beside
from projections.folding import Folding
from projections.line import Line, line
from projections.projector import begin, opened
from projections.snapshot import read_slots

__all__ = ["fold_rest", "rebuild"]

ATTEMPTS = 100  # to make the slot live, each after catching up with a projector that went on meanwhile


async def rebuild(store: SqlStore, progress: Progress = lambda done, of: None) -> int:
    """Rebuild all tables; gives the position at which the new ones went live."""
    async with line(store) as connection:
        slots = await read_slots(store)
        folding = await begin(store, connection, beside(slots))
        if folding is None:
            raise _disturbed("somebody else rebuilt the projections at the same time; look at `status`")
        for _ in range(ATTEMPTS):
            await _catch_up(store, connection, folding, progress)
            clearing = await folding.go_live(connection)
            if clearing is not None:
                await clearing.all(connection)
                return folding.position
        raise _disturbed(f"the projections could not be swapped within {ATTEMPTS} attempts; try again")


async def fold_rest(store: SqlStore) -> None:
    """Fold the last events of a log that goes on no more, if it was cut between a void and what replaces the number."""
    async with line(store) as connection:
        folding = await opened(store, connection)
        assert folding is not None
        folding.without_torn = lambda records: records
        await folding.fold_next(connection, store.events)


def _disturbed(why: str) -> StoreFault:
    """Say why it was given up; the slot that is live is whole in any case."""
    return StoreFault(Code.LOCK_TIMEOUT, why, contention=True)


async def _catch_up(store: SqlStore, connection: Line, folding: Folding, progress: Progress) -> None:
    """Fold until little is left."""
    head = await store.head()
    folding.is_behind = True
    while folding.is_behind:
        if not await folding.fold_next(connection, store.events):
            raise _disturbed("somebody else folds into the same slot; look at `status`, and try again")
        progress(folding.position, max(head.position, folding.position))
