"""Closing the ledger as a whole, and opening it again.

A log that ends with LedgerClosed, in a copy that this event names, is known to be complete: nothing is written behind
it but LedgerOpened, and nothing behind that before each copy that was named holds it too.
"""

from collections.abc import Sequence

from ledger.domain.commands import CloseLedger, Decidable, OpenLedger
from ledger.domain.decisions.guards import check_reason
from ledger.domain.events import Event, LedgerClosed, LedgerOpened
from ledger.domain.rejection import Code, Rejection
from ledger.domain.state import State
from ledger.domain.text import flaw_of_text

__all__ = ["MAX_COPIES", "MAX_COPY_LENGTH", "check_allowed", "close_ledger", "open_ledger"]

MAX_COPIES = 20
MAX_COPY_LENGTH = 500


def check_allowed(state: State, command: Decidable) -> None:
    """Refuse whatever does not open a ledger that is closed, or close it once more."""
    if not isinstance(command, CloseLedger | OpenLedger):
        raise _closed()


def close_ledger(state: State, command: CloseLedger) -> list[Event]:
    """Give no event when it is closed already for the same copies: it can be asked for until all of them hold it."""
    check_reason(command.reason, at_least=1)
    copies = _checked("copies", command.copies)
    if not copies:
        raise Rejection.invalid("copies", "are none: name the mirror or the archive that shall hold that it is closed")
    if state.closed is None:
        return [LedgerClosed(copies)]
    if copies != state.closed:
        named = ", ".join(state.closed)
        raise Rejection(Code.LEDGER_CLOSED, f"the ledger is closed already, for these copies: {named}; name the same")
    return []


def open_ledger(state: State, command: OpenLedger) -> list[Event]:
    check_reason(command.reason, at_least=1)
    copies, without = _checked("copies", command.copies), _checked("without", command.without)
    if state.closed is None:
        return []
    if both := set(copies) & set(without):
        raise Rejection.invalid("without", f"names a copy that is to hold it too: {min(both)}")
    if strangers := set(without) - set(state.closed):
        raise Rejection.invalid("without", f"names {min(strangers)}, and the ledger was closed for {_listed(state)}")
    if missing := set(state.closed) - set(copies) - set(without):
        raise Rejection.invalid("copies", f"lack {min(missing)}, for which the ledger was closed")
    return [LedgerOpened(copies, without)]


def _closed() -> Rejection:
    return Rejection(
        Code.LEDGER_CLOSED,
        "the ledger is closed, and nothing is written; an operator opens it: `numbering open-ledger`",
    )


def _listed(state: State) -> str:
    return ", ".join(state.closed or ())


def _checked(field: str, copies: Sequence[str]) -> tuple[str, ...]:
    if len(copies) > MAX_COPIES:
        raise Rejection.invalid(field, f"are {len(copies)}, of {MAX_COPIES} at most")
    for index, copy in enumerate(copies):
        flaw = flaw_of_text(copy, at_most=MAX_COPY_LENGTH)
        if flaw:
            raise Rejection.invalid(f"{field}[{index}]", flaw)
    return tuple(sorted(set(copies)))
