"""Fold one event into the state. History has already happened: nothing here judges."""

from dataclasses import replace
from typing import assert_never

from ledger.domain.events import (
    DATED_AHEAD,
    DocumentLinked,
    Event,
    FormatRaised,
    LedgerClosed,
    LedgerOpened,
    MaximumAdjusted,
    NumberAssigned,
    NumbersConfirmed,
    NumbersImported,
    NumbersReserved,
    NumberVoided,
    PeriodClosed,
    PeriodOpened,
    PeriodReopened,
    Place,
    ReservationEnded,
    ReservationExtended,
    RestoreFenced,
    SequenceAdjusted,
    SequenceFenced,
    SequenceReset,
    SeriesAmended,
    SeriesDefined,
    SeriesReopened,
    SeriesRetired,
    StartLowered,
    StopAccepted,
)
from ledger.domain.ranges import Ranges, without
from ledger.domain.sequence import Sequence, ValueState
from ledger.domain.series import Reuse
from ledger.domain.state import Reservation, RestoreFence, State

__all__ = ["evolve"]


def evolve(state: State, event: Event, recorded_at: int) -> None:
    """Record `event`, which the log holds since `recorded_at` (microseconds), in `state`, in place."""
    match event:
        case NumbersReserved():
            _reserved(state, event, recorded_at)
        case NumbersConfirmed(token=token, ranges=ranges, released=released):
            _settle(state, token, ranges, ValueState.CONFIRMED)
            if released:
                _settle(state, token, released, ValueState.CANCELLED)
        case NumbersImported():
            _imported(state, event)
        case ReservationExtended(token=token, expires_at=expires_at):
            reservation = _open(state, token)
            state.put_reservation(token, replace(reservation, expires_at=expires_at))
        case ReservationEnded(token=token, ranges=ranges):
            _settle(state, token, ranges, event.end)
        case NumberAssigned():
            _assigned(state, event)
        case NumberVoided(numbering=numbering, value=value):
            state.sequence_to_change(numbering.sequence).void(value)
        case DocumentLinked(numbering=numbering, value=value, document=document):
            state.put_link(numbering.sequence, value, document)
        case SequenceAdjusted():
            _adjusted(state, event)
        case StartLowered(start=start):
            state.sequence_to_change(event.sequence).lower(start)
        case SequenceFenced(skipped=skipped):
            sequence = _begun(state, event)
            sequence.fence(skipped)
            sequence.generation = state.generation
            state.put_passed(sequence)
        case RestoreFenced(generation=generation, margin=margin, opened=opened, margins=margins):
            state.put_fence(RestoreFence(generation, recorded_at, margin, frozenset(opened), dict(margins)))
        case FormatRaised(format=format):
            state.put_format(format)
        case LedgerClosed(copies=copies):
            state.put_closed(copies)
        case LedgerOpened():
            state.put_closed(None)
        case StopAccepted(kind=kind):
            if kind == DATED_AHEAD:
                state.put_dated_until(recorded_at)
        case SequenceReset():
            _begin(state, event, event.start)
        case PeriodClosed():
            _close(state, event)
        case PeriodReopened():
            _begun(state, event).reopen()
        case SeriesDefined(series=series) | SeriesAmended(series=series):
            state.put_series(series)
        case MaximumAdjusted(series=code, max_value=max_value):
            state.put_maximum(code, max_value)
        case PeriodOpened(series=code, series_version=version, period=period):
            state.put_opened(state.series(code, version), period)
        case SeriesRetired(series=code):
            state.put_retired(code)
        case SeriesReopened(series=code):
            state.put_retired(code, False)
        case _:
            assert_never(event)


def _reserved(state: State, event: NumbersReserved, recorded_at: int) -> None:
    numbering = event.numbering
    sequence = _used(state, numbering)
    sequence.reserve(event.ranges, recorded_at)
    state.put_passed(sequence)
    reservation = Reservation(event.token, numbering, event.ranges, recorded_at, event.expires_at)
    state.put_reservation(event.token, reservation)


def _imported(state: State, event: NumbersImported) -> None:
    sequence = _used(state, event)
    sequence.place(event.pre_control, ValueState.PRE_CONTROL)
    sequence.place(event.skipped, ValueState.SKIPPED)
    for each in event.prints:
        sequence.place(each.ranges, ValueState.CONFIRMED)
    state.put_passed(sequence)


def _assigned(state: State, event: NumberAssigned) -> None:
    sequence = _used(state, event.numbering)
    sequence.place(event.skipped, ValueState.SKIPPED)
    sequence.place(((event.value, event.value),), ValueState.CONFIRMED)
    state.put_passed(sequence)


def _adjusted(state: State, event: SequenceAdjusted) -> None:
    sequence = _begun(state, event)
    sequence.place(event.skipped, ValueState.SKIPPED)
    state.put_passed(sequence)


def _close(state: State, event: PeriodClosed) -> None:
    """Close a sequence. One that owes the margin of a restore, and is of no retired series, is closed by its fence.

    Every other command finds the margins skipped: by the fence, when the sequence begins, or when it is reopened.
    """
    sequence = _begun(state, event, event.start)
    sequence.close(by_fence=bool(state.owed(sequence)) and not state.is_retired(event.series))


def _used(state: State, of: Place) -> Sequence:
    """Give the sequence that is about to give out a number."""
    sequence = _begun(state, of)
    if not sequence.is_used:
        sequence.is_used = True
        state.put_used(sequence, state.series(of.series, of.series_version))
    return sequence


def _begun(state: State, of: Place, start: int | None = None) -> Sequence:
    """Give the sequence to change; that of a series that never resets begins with what first happens to it."""
    if state.sequence(of.sequence) is None:
        _begin(state, of, start)
    return state.sequence_to_change(of.sequence)


def _begin(state: State, of: Place, start: int | None = None) -> None:
    """Let a sequence begin; at the start of its series, if the event does not say where."""
    series = state.series(of.series, of.series_version)
    start = series.definition.start if start is None else start
    sequence = Sequence(of.sequence, of.series, of.key, of.period, start)
    sequence.generation = 0 if state.passed_over(series, of.period) else state.generation
    state.put_sequence(sequence, series)
    state.put_passed(sequence)


def _settle(state: State, token: str, ranges: Ranges, end: ValueState) -> None:
    """Move reserved values to the state in which they end, and close the reservation when none is left."""
    reservation = _open(state, token)
    numbering = reservation.numbering
    reuse = state.series_now(numbering.series).definition.reuse
    reusable = reuse is Reuse.GAPLESS and end in (ValueState.CANCELLED, ValueState.EXPIRED)
    state.sequence_to_change(numbering.sequence).settle(ranges, end, reusable=reusable)
    left = without(reservation.ranges, ranges)
    state.put_reservation(token, replace(reservation, ranges=left) if left else None)


def _open(state: State, token: str) -> Reservation:
    reservation = state.reservation(token)
    assert reservation is not None
    return reservation
