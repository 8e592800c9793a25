"""Whether a reservation may be made, and whether what ends it is its own."""

from typing import assert_never

from ledger.domain import calendar
from ledger.domain.events import (
    Numbering,
    NumbersConfirmed,
    NumbersReserved,
    ReservationCancelled,
    ReservationExpired,
    ReservationExtended,
    ReservationFenced,
)
from ledger.domain.judgements.places import flaw_of_open, flaw_of_place, flaw_of_present
from ledger.domain.judgements.values import flaw_of_new, flaw_of_order
from ledger.domain.ranges import Ranges, bitmap_of
from ledger.domain.series import DateOrder, Series
from ledger.domain.state import Reservation, State

__all__ = ["flaw_of_date_order", "flaw_of_end", "flaw_of_event", "flaw_of_reserved", "not_open"]


# That a restore ended a reservation is judged with the fence.
Judged = NumbersReserved | NumbersConfirmed | ReservationCancelled | ReservationExpired | ReservationExtended


def flaw_of_event(state: State, event: Judged, recorded_at: int) -> str | None:
    match event:
        case NumbersReserved():
            return flaw_of_reserved(state, event, recorded_at)
        case NumbersConfirmed():
            return _confirmed(state, event, recorded_at)
        case ReservationCancelled():
            return _cancelled(state, event, recorded_at)
        case ReservationExpired():
            return _expired(state, event, recorded_at)
        case ReservationExtended():
            return _extended(state, event, recorded_at)
        case _:
            assert_never(event)


def flaw_of_reserved(state: State, event: NumbersReserved, recorded_at: int) -> str | None:
    numbering = event.numbering
    versions = state.versions(numbering.series)
    if not versions or versions[-1].version != numbering.series_version or state.is_retired(numbering.series):
        return flaw_of_present(state, numbering.series, numbering.series_version)
    series, sequence = versions[-1], state.sequence(numbering.sequence)
    flaw = flaw_of_place(series, numbering)
    if not flaw and (sequence is None or sequence.closed):
        flaw = flaw_of_open(state, series, numbering)
    if not flaw and series.definition.date_order is not DateOrder.NONE:
        flaw = flaw_of_date_order(state, series, numbering)
    flaw = flaw or _flaw_of_token(state, event, recorded_at)
    if not flaw and sequence is not None and len(event.ranges) == 1:
        ((first, last),) = event.ranges
        if sequence.high_water + 1 == first <= last <= series.max_value:
            return None  # nearly always
    return flaw or flaw_of_new(state, series, numbering, event.ranges)


def flaw_of_date_order(state: State, series: Series, numbering: Numbering) -> str | None:
    if series.definition.date_order is DateOrder.NONE:
        return None
    latest = state.latest_period(series.stem(numbering.key))
    if latest is None or latest <= numbering.period:
        return None
    return f"period {numbering.period} is numbered after {latest} was, against the date order of {series.code}"


def _flaw_of_token(state: State, event: NumbersReserved, recorded_at: int) -> str | None:
    # That a token never comes again after its end is not asked: memory would grow with every reservation.
    if state.reservation(event.token) is not None:
        return f"reservation {event.token} is open already"
    if event.expires_at <= recorded_at:
        return f"reservation {event.token} expires before it is made"
    return None


def _confirmed(state: State, event: NumbersConfirmed, recorded_at: int) -> str | None:
    reservation = state.reservation(event.token)
    if reservation is None:
        return not_open(event.token)
    flaw = _flaw_of_late(reservation, "confirmed", recorded_at) or _flaw_of_numbering(reservation, event.numbering)
    if flaw or (event.ranges == reservation.ranges and not event.documents and not event.released):
        return flaw  # nearly always: all that it holds
    return _flaw_of_parts(reservation, event) or _flaw_of_documents(event)


def _flaw_of_parts(reservation: Reservation, event: NumbersConfirmed) -> str | None:
    """Say whether what is confirmed and what is let go are different parts of what is held."""
    flaw = flaw_of_order(event.ranges) or (event.released and flaw_of_order(event.released))
    if flaw:
        return flaw
    left = bitmap_of(reservation.ranges)
    for ranges in (event.ranges, event.released):
        values = bitmap_of(ranges)
        if values - left:
            return f"value {(values - left).min()} is not held by reservation {event.token}"
        left -= values
    return None


def _flaw_of_documents(event: NumbersConfirmed) -> str | None:
    seen, of_event = bitmap_of(()), bitmap_of(event.ranges)
    for value, document in event.documents:
        if value not in of_event:
            return f"document {document!r} is of value {value}, which is not confirmed"
        if value in seen:
            return f"value {value} has a second document, {document!r}"
        seen.add(value)
    return None


def _cancelled(state: State, event: ReservationCancelled, recorded_at: int) -> str | None:
    reservation = state.reservation(event.token)
    if reservation is None:
        return not_open(event.token)
    return _flaw_of_late(reservation, "cancelled", recorded_at) or flaw_of_end(reservation, event)


def _expired(state: State, event: ReservationExpired, recorded_at: int) -> str | None:
    reservation = state.reservation(event.token)
    if reservation is None:
        return not_open(event.token)
    if recorded_at < reservation.expires_at:
        until = calendar.instant_text(reservation.expires_at)
        return f"reservation {event.token} is expired before its time, which is {until}"
    return flaw_of_end(reservation, event)


def _extended(state: State, event: ReservationExtended, recorded_at: int) -> str | None:
    reservation = state.reservation(event.token)
    if reservation is None:
        return not_open(event.token)
    if event.sequence != reservation.numbering.sequence:
        return _of_another(reservation, event.sequence)
    if event.expires_at < reservation.expires_at:
        return f"reservation {event.token} is shortened"
    return _flaw_of_late(reservation, "extended", recorded_at)


def _flaw_of_late(reservation: Reservation, what: str, recorded_at: int) -> str | None:
    if recorded_at < reservation.expires_at:
        return None
    at = calendar.instant_text(reservation.expires_at)
    return f"reservation {reservation.token} is {what} after it expired, at {at}"


def flaw_of_end(
    reservation: Reservation, event: ReservationCancelled | ReservationExpired | ReservationFenced
) -> str | None:
    """Say whether an end is that of all that a reservation holds."""
    return _flaw_of_numbering(reservation, event.numbering) or _flaw_of_all(reservation, event.ranges)


def _flaw_of_all(reservation: Reservation, ranges: Ranges) -> str | None:
    if ranges == reservation.ranges:
        return None
    return f"the values that end are not those that reservation {reservation.token} holds"


def _flaw_of_numbering(reservation: Reservation, numbering: Numbering) -> str | None:
    if numbering is reservation.numbering or numbering == reservation.numbering:
        return None
    if numbering.sequence != reservation.numbering.sequence:
        return _of_another(reservation, numbering.sequence)
    return f"reservation {reservation.token} was made for numbers that are printed otherwise"


def _of_another(reservation: Reservation, sequence: str) -> str:
    return f"reservation {reservation.token} is of sequence {reservation.numbering.sequence}, not of {sequence}"


def not_open(token: str) -> str:
    return f"reservation {token} is not open"
