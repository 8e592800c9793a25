"""The events that one command left, read by what they are and not by their place.

Other events may stand around the one that somebody asks for: a command that reserves also begins its sequence, and
skips the margin of a restore, where that is due.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from ledger.domain.events import Event, NumbersConfirmed, NumbersReserved, NumberVoided

__all__ = ["MAX_VOID_EVENTS", "Replacement", "Voiding", "event_of", "event_of_if_any", "may_be_of_void"]

# NumberVoided, SequenceReset, SequenceFenced, NumbersReserved, NumbersConfirmed
MAX_VOID_EVENTS = 5

E = TypeVar("E", bound=Event)


def event_of_if_any(kind: type[E], events: Iterable[Event]) -> E | None:
    """Give the event of a kind of which a command leaves one at most."""
    for event in events:  # plainly, for the answer to every reservation comes by here
        if isinstance(event, kind):
            return event
    return None


def event_of(kind: type[E], events: Iterable[Event]) -> E:
    """Give the event of a kind that the command must have left."""
    for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"the command left no {kind.__name__}")


def may_be_of_void(event: Event, ordinal: int) -> bool:
    """Say whether the events beside this one, of the same command, may tell what replaces what."""
    return isinstance(event, NumberVoided) or (isinstance(event, NumbersConfirmed) and ordinal > 0)


@dataclass(frozen=True, slots=True)
class Replacement:
    """How the number that takes the place of a voided one was reserved and confirmed."""

    reserved: NumbersReserved
    confirmed: NumbersConfirmed

    @property
    def value(self) -> int:
        ((value, _),) = self.confirmed.ranges
        return value


@dataclass(frozen=True, slots=True)
class Voiding:
    """What a Void left. `replacement` is None when none was asked for, or the log is read only up to before it."""

    voided: NumberVoided
    replacement: Replacement | None

    @classmethod
    def of(cls, events: Iterable[Event]) -> "Voiding | None":
        """Name the parts of a command's events, or of the first of them; None when it voids nothing."""
        left = list(events)
        voided = event_of_if_any(NumberVoided, left)
        if voided is None:
            return None
        reserved = event_of_if_any(NumbersReserved, left)
        confirmed = event_of_if_any(NumbersConfirmed, left)
        return cls(voided, Replacement(reserved, confirmed) if reserved and confirmed else None)
