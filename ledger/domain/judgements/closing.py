"""Is a ledger that was closed left alone until it is opened, and is that known where it was said to be closed?"""

from ledger.domain.events import Event, LedgerClosed, LedgerOpened
from ledger.domain.state import State

__all__ = ["flaw_of_event"]


def flaw_of_event(state: State, event: Event) -> str | None:
    """Say what is wrong with any event in a ledger that is closed, or that is closed or opened by it."""
    closed = state.closed
    if closed is None:
        if isinstance(event, LedgerOpened):
            return "it opens the ledger, which is open"
        return "it names no copy" if isinstance(event, LedgerClosed) and not event.copies else None
    if not isinstance(event, LedgerOpened):
        return "the ledger is closed, and only LedgerOpened may follow"
    left_out = set(closed).difference(event.copies, event.without)
    return f"it opens the ledger without {min(left_out)}, for which it was closed" if left_out else None
