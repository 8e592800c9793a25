"""Raising the ledger's format, and what it keeps from being written until then."""

from collections.abc import Iterable

from ledger.domain.commands import RaiseFormat
from ledger.domain.events import Event, FormatRaised
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.rejection import Code, Rejection
from ledger.domain.state import State

__all__ = ["not_raised", "raise_format", "unwritable"]


def raise_format(state: State, command: RaiseFormat) -> list[Event]:
    """Never back: a ledger that is there already, or further, is left as it is."""
    assert command.format <= NEWEST_FORMAT, "a format that this build does not know"
    return [FormatRaised(command.format)] if command.format > state.format else []


def unwritable(events: Iterable[Event], format: int) -> Rejection | None:
    """Returns the refusal of events of which one may not be written yet."""
    for event in events:
        if event.format > format and type(event) is not FormatRaised:
            return not_raised(event, format)
    return None


def not_raised(event: Event, format: int) -> Rejection:
    return Rejection(
        Code.FORMAT_NOT_RAISED,
        f"{type(event).__name__} needs format {event.needs}, and the ledger is at format {format}, so that earlier "
        "versions of numbering-ledger can write to it: when none of their processes is left, run `numbering upgrade`",
    )
