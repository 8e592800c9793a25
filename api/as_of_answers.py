"""What is told of a ledger as it was: the state that its events fold to up to a position."""

from typing import Any

from api.number_answers import cause_answer, ranges_answer
from api.sequence_answers import told_sequence
from ledger.domain.calendar import instant_text
from ledger.domain.roll import Roll, Told
from ledger.domain.sequence import Sequence as Counter
from ledger.domain.sequence import ValueState
from ledger.domain.state import Reservation, State
from ledger.domain.utilisation import Utilisation
from ledger.fold import Fold
from ledger.views import SequenceView

__all__ = ["moment_answer", "numbers_then", "reservation_then", "reservations_of", "sequence_then", "sequences_of"]

Answer = dict[str, Any]


def moment_answer(fold: Fold) -> Answer:
    """Say as of when it is: the last event that had happened."""
    return {
        "position": fold.position,
        "recorded_at": instant_text(fold.recorded_at) if fold.position else None,
    }


def sequence_then(fold: Fold, sequence: Counter) -> Answer:
    """Tell a sequence as `GET /v1/sequences` would have at the moment of the last event."""
    state = fold.state
    series = state.series_of(sequence)
    utilisation = Utilisation.of(sequence, series, fold.recorded_at, is_over=state.is_over(sequence))
    return told_sequence(SequenceView(sequence, series, utilisation, fold.position))


def reservation_then(reservation: Reservation) -> Answer:
    """Tell what an open reservation held; the state knows no more of it."""
    return {
        "token": reservation.token,
        "state": ValueState.RESERVED.value,
        "series": reservation.numbering.series,
        "sequence": reservation.numbering.sequence,
        "held": ranges_answer(reservation.ranges),
        "reserved_at": instant_text(reservation.reserved_at),
        "expires_at": instant_text(reservation.expires_at),
    }


def numbers_then(fold: Fold, sequence: Counter, roll: Roll) -> Answer:
    """Tell the numbers of a sequence; `next` is the `first` of the next part."""
    told = sorted(roll.told.items())
    return moment_answer(fold) | {
        "sequence": sequence.id,
        "numbers": [_number(fold.state, sequence, value, each) for value, each in told],
        "next": roll.following,
    }


def _number(state: State, sequence: Counter, value: int, told: Told) -> Answer:
    series = state.series(sequence.series, told.original.series_version)
    frame = series.frame(sequence.key, told.original.attributes, told.original.document_date)
    return {
        "value": value,
        "number": frame.number(value),
        "state": told.state.value,
        "document": told.document,
        "cause": cause_answer(told.cause),
    }


def sequences_of(state: State, series: str | None) -> list[Counter]:
    """Give the sequences of one series or of all, by their ids."""
    found = [each for each in state.sequences() if series in (None, each.series)]
    return sorted(found, key=lambda each: each.id)


def reservations_of(state: State, series: str | None) -> list[Reservation]:
    """Give the open reservations of one series or of all, the oldest first."""
    found = [each for each in state.reservations() if series in (None, each.numbering.series)]
    return sorted(found, key=lambda each: (each.reserved_at, each.numbering.sequence, each.ranges))
