"""Whether a restore may have fenced a ledger so: what it ends, and what every sequence passes over."""

from typing import assert_never

from ledger.domain.events import ReservationFenced, RestoreFenced, SequenceFenced
from ledger.domain.judgements.places import flaw_of_known, flaw_of_open, flaw_of_sequence
from ledger.domain.judgements.reservations import flaw_of_end, not_open
from ledger.domain.judgements.values import bounds_of
from ledger.domain.ranges import Ranges
from ledger.domain.series import MAX_VALUE, Series
from ledger.domain.state import State

__all__ = ["flaw_of_event"]


def flaw_of_event(state: State, event: RestoreFenced | ReservationFenced | SequenceFenced) -> str | None:
    match event:
        case RestoreFenced():
            return _restore_fenced(state, event)
        case ReservationFenced():
            return _reservation_fenced(state, event)
        case SequenceFenced():
            return _sequence_fenced(state, event)
        case _:
            assert_never(event)


def _restore_fenced(state: State, event: RestoreFenced) -> str | None:
    if event.generation != state.generation + 1:
        return f"it is called fence {event.generation}, and is the {state.generation + 1}th"
    return None if event.margin > 0 else "the fence has no margin"


def _reservation_fenced(state: State, event: ReservationFenced) -> str | None:
    reservation = state.reservation(event.token)
    return not_open(event.token) if reservation is None else flaw_of_end(reservation, event)


def _sequence_fenced(state: State, event: SequenceFenced) -> str | None:
    flaw = flaw_of_known(state, event.series, event.series_version)
    if flaw:
        return flaw
    series = state.series(event.series, event.series_version)
    return (
        flaw_of_sequence(state, series, event)
        or flaw_of_open(state, series, event)
        or _flaw_of_passed(state, series, event)
    )


def _flaw_of_passed(state: State, series: Series, event: SequenceFenced) -> str | None:
    """A sequence passes over what it owes to the fences; one that begins, to those that cover its period."""
    _, high_water = bounds_of(state, series, event.sequence)
    sequence = state.sequence(event.sequence)
    counts = {state.passed_over(series, event.period), state.owed(sequence) if sequence else 0}
    if event.skipped in [_behind(high_water, count) for count in counts]:
        return None
    return f"sequence {event.sequence} passes over {event.skipped}, which is not the margin of the fences"


def _behind(high_water: int, count: int) -> Ranges:
    last = min(high_water + count, MAX_VALUE)
    return ((high_water + 1, last),) if last > high_water else ()
