"""Events as sources keep them, as rows of a log."""

from ledger.codec import record_of
from ledger.ports import Record
from replay.sources import Damaged, Stored

__all__ = ["row_of"]


def row_of(event: Stored) -> Record:
    """Give the row of an event; Damaged when its body is none."""
    position, body, hash = event
    try:
        found = record_of(body, hash)
    except (ValueError, LookupError, TypeError) as error:
        raise Damaged(position, "the body is no event") from error
    if found.position != position:
        raise Damaged(position, f"the event says of itself that it stands at position {found.position}")
    return found
