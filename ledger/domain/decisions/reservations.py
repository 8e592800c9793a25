"""The life of a reservation: reserve, issue, confirm, extend, cancel, expire."""

from ledger.domain import calendar
from ledger.domain.calendar import MICROSECONDS
from ledger.domain.commands import MAX_COUNT, Cancel, Confirm, Extend, Issue, Reserve
from ledger.domain.decisions.guards import (
    active_series,
    begun,
    check_document,
    check_order,
    check_printed,
    check_reason,
    fields_of,
    numbering_of,
    period_at,
)
from ledger.domain.events import (
    Event,
    NumbersConfirmed,
    NumbersReserved,
    ReservationCancelled,
    ReservationExpired,
    ReservationExtended,
)
from ledger.domain.ranges import ranges_of, values_of, without
from ledger.domain.rejection import Code, Rejection
from ledger.domain.results import event_of
from ledger.domain.series import MAX_TTL_SECONDS, Reuse, Series
from ledger.domain.state import Reservation, State

__all__ = ["cancel", "confirm", "expire", "extend", "issue", "reserve"]


def reserve(state: State, command: Reserve, now: int) -> list[Event]:
    series = active_series(state, command.series)
    assert state.reservation(command.token) is None, "tokens are drawn at random, never twice"
    if not 1 <= command.count <= MAX_COUNT:
        raise Rejection.invalid("count", f"must be 1 to {MAX_COUNT}, not {command.count}")
    lifetime = _lifetime(series, command)
    key, attributes = fields_of(series, tuple(command.key.items()), tuple(command.attributes.items()))
    day = command.document_date or calendar.date_at(now, series.definition.timezone)
    period = period_at(series, day)
    sequence, events = begun(state, series, key, period, now)
    check_order(state, series, key, period)
    numbering = numbering_of(series, key, attributes, day)
    ranges = sequence.next_ranges(command.count, series.max_value, reuse=series.definition.reuse is Reuse.GAPLESS)
    if ranges[-1][1] >= 10**series.template.width:
        check_printed(series.frame(key, attributes, day), ranges[-1][1])
    events.append(NumbersReserved(numbering, command.token, ranges, now + lifetime))
    return events


def _lifetime(series: Series, command: Reserve) -> int:
    definition = series.definition
    longest = definition.reservation_max_lifetime_seconds
    seconds = command.ttl_seconds
    if seconds is None:
        seconds = definition.reservation_ttl_seconds or min(command.default_ttl_seconds, longest)
    elif not 1 <= seconds <= MAX_TTL_SECONDS:
        raise Rejection.invalid("ttl_seconds", f"must be 1 to {MAX_TTL_SECONDS}, not {seconds}")
    if seconds > longest:
        raise Rejection(
            Code.LIFETIME_EXCEEDED,
            f"a reservation of series {series.code} lives at most {longest} seconds, not {seconds}, however often it "
            f"is extended; ask for at most {longest}",
        )
    return seconds * MICROSECONDS


def issue(state: State, command: Issue, now: int) -> list[Event]:
    check_document("document", command.document)
    events = reserve(state, command.reserve, now)
    reserved = event_of(NumbersReserved, events)
    confirmed = NumbersConfirmed(reserved.numbering, reserved.token, reserved.ranges, command.document)
    return [*events, confirmed]


def confirm(state: State, command: Confirm, now: int) -> NumbersConfirmed:
    reservation = _open(state, command.token, now)
    if command.document is not None:
        check_document("document", command.document)
    if command.numbers is None:
        return NumbersConfirmed(reservation.numbering, command.token, reservation.ranges, command.document)
    documents = _chosen(state, command, reservation)
    ranges = ranges_of(documents)
    return NumbersConfirmed(
        reservation.numbering,
        command.token,
        ranges,
        command.document,
        tuple((value, document) for value, document in sorted(documents.items()) if document is not None),
        without(reservation.ranges, ranges) if command.release_rest else (),
    )


def _chosen(state: State, command: Confirm, reservation: Reservation) -> dict[int, str | None]:
    """Map each chosen value to its own document, or None."""
    assert command.numbers is not None
    if not command.numbers:
        raise Rejection.invalid("numbers", "must name at least one number; cancel the reservation to release all")
    frame = state.frame(reservation.numbering)
    held = set(values_of(reservation.ranges))
    documents: dict[int, str | None] = {}
    for index, choice in enumerate(command.numbers):
        value = frame.value(choice.number)
        if value is None or value not in held:
            raise Rejection.invalid(f"numbers[{index}]", f"is {choice.number!r}, which this reservation does not hold")
        if value in documents:
            raise Rejection.invalid(f"numbers[{index}]", f"names {choice.number!r} a second time")
        if choice.document is not None:
            check_document(f"numbers[{index}].document", choice.document)
        documents[value] = choice.document
    return documents


def extend(state: State, command: Extend, now: int) -> ReservationExtended:
    if not 1 <= command.ttl_seconds <= MAX_TTL_SECONDS:
        raise Rejection.invalid("ttl_seconds", f"must be 1 to {MAX_TTL_SECONDS}, not {command.ttl_seconds}")
    reservation = _open(state, command.token, now)
    numbering = reservation.numbering
    series = state.series(numbering.series, numbering.series_version)
    expires_at = max(reservation.expires_at, now + command.ttl_seconds * MICROSECONDS)
    latest = reservation.reserved_at + series.definition.reservation_max_lifetime_seconds * MICROSECONDS
    if expires_at > latest:
        raise Rejection(
            Code.LIFETIME_EXCEEDED,
            f"reservation {command.token} of series {series.code} can be extended to "
            f"{calendar.instant_text(latest)} at the latest, {(latest - now) // MICROSECONDS} seconds from now",
        )
    return ReservationExtended(numbering.sequence, command.token, expires_at)


def cancel(state: State, command: Cancel, now: int) -> ReservationCancelled:
    check_reason(command.reason)
    reservation = _open(state, command.token, now)
    return ReservationCancelled(reservation.numbering, command.token, reservation.ranges)


def expire(state: State, token: str, now: int) -> list[Event]:
    reservation = state.reservation(token)
    if reservation is None or now < reservation.expires_at:
        return []
    return [ReservationExpired(reservation.numbering, token, reservation.ranges)]


def _open(state: State, token: str, now: int) -> Reservation:
    """Find an open reservation that has not expired, whether or not its expiry was recorded."""
    reservation = state.reservation(token)
    if reservation is None:
        raise Rejection(Code.RESERVATION_NOT_FOUND, f"no open reservation has the token {token}")
    if now >= reservation.expires_at:
        raise Rejection(
            Code.RESERVATION_EXPIRED,
            f"reservation {token} expired at {calendar.instant_text(reservation.expires_at)}; reserve again",
        )
    return reservation
