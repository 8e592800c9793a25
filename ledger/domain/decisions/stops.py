"""Accepting what writing was stopped for: an operator's decision, kept in the log with the stop's own words.

Whether a stop may be accepted is judged beside the log, by who knows the database, the mirror and the archive.
"""

from ledger.domain.commands import AcceptStops
from ledger.domain.decisions.guards import check_reason
from ledger.domain.events import Event

__all__ = ["accept_stops"]


def accept_stops(command: AcceptStops) -> list[Event]:
    check_reason(command.reason, at_least=1)
    return [*command.stops]
