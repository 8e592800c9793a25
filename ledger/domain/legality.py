"""Judge an event that the log holds: whether the fold up to it allows it. For auditors, not for the writer.

`decide` judges what is asked, `evolve` records what happened, and this judges what is said to have happened. It asks
by other means than `decide`, so that one mistake is not made in both, and only for what an auditor relies on: every
event that any version of `decide` ever gave is legal. Of its rules follows that no number is printed twice: each
definition is proved to print no number of another, and each value of a sequence is given out once, or again only when
it was released and never confirmed.

A definition alone is judged here; whether it is proved is asked of all those of its command (`unproved`). What else
is told by a command as a whole is judged by `replay.judgement`.
"""

from ledger.domain.events import (
    Event,
    MaximumAdjusted,
    NumberAssigned,
    NumbersConfirmed,
    NumbersImported,
    NumbersReserved,
    NumberVoided,
    PeriodClosed,
    PeriodOpened,
    ReservationCancelled,
    ReservationExpired,
    ReservationExtended,
    ReservationFenced,
    RestoreFenced,
    SequenceAdjusted,
    SequenceFenced,
    SequenceReset,
    SeriesAmended,
    SeriesDefined,
    SeriesRetired,
)
from ledger.domain.judgements import fences, numbers, reservations, sequences, series
from ledger.domain.state import State

__all__ = ["flaw"]


def flaw(state: State, event: Event, recorded_at: int) -> str | None:
    """Say in words what is wrong with an event that is about to be folded onto `state`; None when it is legal."""
    match event:
        case NumbersReserved():
            return reservations.reserved(state, event, recorded_at)
        case NumbersConfirmed():
            return reservations.confirmed(state, event, recorded_at)
        case ReservationCancelled():
            return reservations.cancelled(state, event, recorded_at)
        case ReservationExpired():
            return reservations.expired(state, event, recorded_at)
        case ReservationExtended():
            return reservations.extended(state, event, recorded_at)
        case NumberAssigned():
            return numbers.assigned(state, event)
        case NumbersImported():
            return numbers.imported(state, event)
        case NumberVoided():
            return numbers.voided(state, event)
        case SequenceReset():
            return sequences.reset(state, event)
        case SequenceAdjusted():
            return sequences.adjusted(state, event)
        case PeriodOpened():
            return sequences.opened(state, event)
        case PeriodClosed():
            return sequences.closed(state, event)
        case SeriesDefined():
            return series.defined(state, event)
        case SeriesAmended():
            return series.amended(state, event)
        case MaximumAdjusted():
            return series.maximum_adjusted(state, event)
        case SeriesRetired():
            return series.retired(state, event)
        case RestoreFenced():
            return fences.restore_fenced(state, event)
        case ReservationFenced():
            return fences.reservation_fenced(state, event)
        case SequenceFenced():
            return fences.sequence_fenced(state, event)
