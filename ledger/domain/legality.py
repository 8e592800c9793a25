"""Judge an event that the log holds: whether the fold up to it allows it. For auditors, not for the writer.

`decide` judges what is asked, `evolve` records what happened, and this judges what is said to have happened. It asks
by other means than `decide`, so that one mistake is not made in both, and only for what an auditor relies on: every
event that any version of `decide` ever gave is legal. Of its rules follows that no number is printed twice: each
definition is proved to print no number of another, and each value of a sequence is given out once, or again only when
it was released and never confirmed.

A definition alone is judged here; whether it is proved is asked of all those of its command (`unproved`). What else
is told by a command as a whole is judged by `replay.judgement`.
"""

from typing import assert_never

from ledger.domain.events import (
    Event,
    FormatRaised,
    LedgerClosed,
    LedgerOpened,
    NumberEvent,
    NumbersConfirmed,
    NumbersReserved,
    PeriodOpened,
    ReservationEvent,
    ReservationFenced,
    RestoreFenced,
    SequenceEvent,
    SequenceFenced,
    SeriesEvent,
    StopAccepted,
)
from ledger.domain.judgements import closing, fences, formats, numbers, reservations, sequences, series, stops
from ledger.domain.state import State

__all__ = ["flaw"]


def flaw(state: State, event: Event, recorded_at: int) -> str | None:
    """Say in words what is wrong with an event that is about to be folded onto `state`; None when it is legal."""
    if type(event) is NumbersReserved and event.needs <= state.format and state.closed is None:  # nearly half of all
        return reservations.flaw_of_reserved(state, event, recorded_at)
    return (
        formats.flaw_of_event(state, event) or closing.flaw_of_event(state, event) or _flaw(state, event, recorded_at)
    )


def _flaw(state: State, event: Event, recorded_at: int) -> str | None:
    match event:
        case NumbersReserved() | NumbersConfirmed():  # nearly all
            return reservations.flaw_of_event(state, event, recorded_at)
        case RestoreFenced() | ReservationFenced() | SequenceFenced():
            return fences.flaw_of_event(state, event)
        case ReservationEvent():
            return reservations.flaw_of_event(state, event, recorded_at)
        case NumberEvent():
            return numbers.flaw_of_event(state, event)
        case SequenceEvent() | PeriodOpened():
            return sequences.flaw_of_event(state, event)
        case SeriesEvent():
            return series.flaw_of_event(state, event)
        case StopAccepted():
            return stops.flaw_of_event(event)
        case FormatRaised() | LedgerClosed() | LedgerOpened():
            return None  # judged before
        case _:
            assert_never(event)
