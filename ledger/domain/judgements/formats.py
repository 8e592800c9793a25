"""Is a format raised as it may be, and before the events that need it?"""

from ledger.domain.events import Event, FormatRaised
from ledger.domain.state import State

__all__ = ["flaw_of_event"]


def flaw_of_event(state: State, event: Event) -> str | None:
    """Say what is wrong with the format of any event. That this version knows it was seen when it was read."""
    if isinstance(event, FormatRaised):
        if event.format <= state.format:
            return f"it raises the format to {event.format}, and the ledger is at {state.format} already"
    elif event.needs > state.format:
        return f"it needs format {event.needs}, and the ledger is at {state.format}"
    return None
