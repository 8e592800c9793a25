"""Opening a ledger that was closed: nothing is written behind LedgerOpened before every named copy holds that event.

LedgerOpened is appended together with a stop, in one transaction. The stop is lifted when the copies were seen to hold
the event. So a process may die anywhere in between: it is run again.
"""

from ledger.codec import decode
from ledger.domain.commands import Envelope, OpenLedger
from ledger.domain.events import CLOSING_STREAM, LedgerOpened
from ledger.domain.rejection import Code, Rejection
from ledger.fold import Fold
from ledger.log import MAX_POSITION
from ledger.ports import Fault, OutcomeUnknown, Record, Stop, StopKind, Store, Transaction, reasons
from ledger.writer.clocks import Clocks
from replay.fence import records_of
from replay.sources import apart

__all__ = ["append_opened", "last_opened", "let_write"]

OPENING = Stop(
    StopKind.OPENING,
    "the ledger was opened again, and not every copy is known to hold that: run `numbering open-ledger` again",
)


async def append_opened(store: Store, fold: Fold, command: OpenLedger, envelope: Envelope, clocks: Clocks) -> None:
    """Append LedgerOpened behind a fold that reaches to the head; nobody writes before `let_write`.

    CLOCK_UNSURE while the clocks may not date it.
    """
    before = clocks.instant()
    transaction = await store.begin()
    try:
        head = transaction.head
        if doubt := clocks.doubt(before, transaction.now):
            raise doubt
        if stops := await transaction.stops():
            raise Rejection(Code.LEDGER_STOPPED, f"what is stopped is not opened: {reasons(stops)}")
        if (head.position, head.hash) != (fold.position, fold.hash):
            raise apart("somebody else wrote to the database meanwhile: run it again")
        now = max(transaction.now, head.recorded_at)
        await transaction.append(records_of(fold.state, head, command, envelope, now))
        await transaction.stop(OPENING)
        await _commit(transaction)
    finally:
        await transaction.rollback()


async def last_opened(store: Store) -> tuple[Record, LedgerOpened] | None:
    """Give the event by which the ledger was opened last; None when it never was, or is closed."""
    for record in await store.events_of_stream(CLOSING_STREAM, before=MAX_POSITION, limit=1):
        event = decode(record).event
        if isinstance(event, LedgerOpened):
            return record, event
    return None


async def let_write(store: Store) -> None:
    """Lift the stop, now that every copy holds LedgerOpened; whatever else stops writing stays."""
    transaction = await store.begin()
    try:
        await transaction.lift(lambda stop: stop.kind is StopKind.OPENING)
        await _commit(transaction)
    finally:
        await transaction.rollback()


async def _commit(transaction: Transaction) -> None:
    try:
        await transaction.commit()
    except OutcomeUnknown as doubt:
        raise Fault(Code.OUTCOME_UNKNOWN, str(doubt), advice="run it again, it goes on where it was") from doubt
