"""Judge a command on the state: the events that it causes, or a rejection that changes nothing.

Pure: the same state, command and instant give the same answer. `now` is the log's own clock, in microseconds.
The guards stand in the order in which a client should mend its request, and tests hold that order.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from functools import lru_cache

from ledger.domain import calendar
from ledger.domain.calendar import MICROSECONDS, Reset
from ledger.domain.commands import (
    MAX_COUNT,
    Cancel,
    Command,
    Confirm,
    DefineSeries,
    Expire,
    Extend,
    Import,
    ImportedSequence,
    Issue,
    Reserve,
)
from ledger.domain.events import (
    Event,
    Numbering,
    NumbersConfirmed,
    NumbersImported,
    NumbersReserved,
    ReservationCancelled,
    ReservationExpired,
    ReservationExtended,
    SequenceReset,
    SeriesAmended,
    SeriesDefined,
)
from ledger.domain.ranges import between, ranges_of, values_of, without
from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import Sequence
from ledger.domain.series import MAX_TTL_SECONDS, DateOrder, Series
from ledger.domain.state import Reservation, State
from ledger.domain.text import flaw_of_text

__all__ = ["MAX_DOCUMENT_LENGTH", "decide"]

MAX_DOCUMENT_LENGTH = 200
CACHED = 65_536  # sequences and days
MAX_TOLD = 20  # rows named in a refusal; the face has them all

# What makes a value of a sequence the same one in every version of its series.
# A template could print a number again for another value; only a proof over all versions could allow another one.
COUNTING = ("template", "key", "reset", "fiscal_year_start", "start", "reuse")


def decide(state: State, command: Command, now: int) -> list[Event] | Rejection:
    try:
        return _events(state, command, now)
    except Rejection as rejection:
        return rejection


def _events(state: State, command: Command, now: int) -> list[Event]:
    match command:
        case Reserve():
            return _reserve(state, command, now)
        case Confirm():
            return [_confirm(state, command, now)]
        case Issue():
            return _issue(state, command, now)
        case Import():
            return _import(state, command)
        case Extend():
            return [_extend(state, command, now)]
        case Cancel(token=token):
            reservation = _open(state, token, now)
            return [ReservationCancelled(reservation.numbering, token, reservation.ranges)]
        case Expire(token=token):
            return _expire(state, token, now)
        case DefineSeries(series=all_series):
            return _define(state, all_series)


def _define(state: State, all_series: tuple[Series, ...]) -> list[Event]:
    codes = [series.code for series in all_series]
    repeated = {code for code in codes if codes.count(code) > 1}
    if repeated:
        raise Rejection.invalid("series", f"names {', '.join(sorted(repeated))} twice; define each once")
    highest: dict[str, int] = {}
    for each in state.sequences() if any(map(state.versions, codes)) else ():
        highest[each.series] = max(each.high_water, highest.get(each.series, 0))
    return [event for series in all_series for event in _defined(state, series, highest.get(series.code))]


def _defined(state: State, series: Series, highest: int | None) -> list[Event]:
    versions = state.versions(series.code)
    if versions is None:
        return [SeriesDefined(series.as_version(1))]
    if versions[-1].definition == series.definition:
        return []
    if highest is not None:
        _check_amendment(versions[-1], series, highest)
    return [SeriesAmended(series.as_version(len(versions) + 1))]


def _check_amendment(before: Series, after: Series, highest: int) -> None:
    """Refuse what would let numbers that were issued be printed or counted again, or count them otherwise."""
    changed = [name for name in COUNTING if getattr(before.definition, name) != getattr(after.definition, name)]
    if changed:
        raise Rejection(
            Code.AMENDMENT_REFUSED,
            f"series {before.code} has issued numbers, so its {' and '.join(changed)} cannot change; "
            "define a series of another code",
            [(name, "cannot change once numbers were issued") for name in changed],
        )
    if after.max_value < highest:
        raise Rejection(
            Code.AMENDMENT_REFUSED,
            f"series {before.code} has issued value {highest}, so its max_value cannot be {after.max_value}",
            [("max_value", f"must be at least {highest}")],
        )


def _reserve(state: State, command: Reserve, now: int) -> list[Event]:
    versions = state.versions(command.series)
    if versions is None:
        raise Rejection(Code.CONFIG_NOT_FOUND, f"no series has the code {command.series!r}; define it first")
    series = versions[-1]
    assert state.reservation(command.token) is None, "tokens are drawn at random, never twice"
    if not 1 <= command.count <= MAX_COUNT:
        raise Rejection.invalid("count", f"must be 1 to {MAX_COUNT}, not {command.count}")
    lifetime = _lifetime(series, command)
    key, attributes = _fields(series, tuple(command.key.items()), tuple(command.attributes.items()))
    today = calendar.date_at(now, series.definition.timezone)
    day = command.document_date or today
    period = _period(series, day, today)
    _check_order(state, series, key, period)
    numbering = _numbering(series, key, attributes, day)
    events: list[Event] = []
    sequence = state.sequence(numbering.sequence)
    if sequence is None:
        sequence = Sequence(numbering.sequence, series.code, key, period, series.definition.start)
        if series.definition.reset is not Reset.NEVER:
            events.append(SequenceReset(sequence.id, series.code, series.version, key, period, sequence.start))
    ranges = sequence.next_ranges(command.count, series.max_value)
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
            f"a reservation of series {series.code} lives at most {longest} seconds, not {seconds}; "
            "ask for less and extend it",
        )
    return seconds * MICROSECONDS


Pairs = tuple[tuple[str, str], ...]


# The next two are asked the same again and again, for every number of a sequence on one day. What they give is shared
# by the reservations that it holds, which so take less memory.


@lru_cache(maxsize=CACHED)
def _fields(series: Series, key: Pairs, attributes: Pairs) -> tuple[tuple[str, ...], Pairs]:
    """Check the key and the attributes that were given; gives them in the order of the series."""
    return _key(series, dict(key)), _attributes(series, dict(attributes))


@lru_cache(maxsize=CACHED)
def _numbering(series: Series, key: tuple[str, ...], attributes: Pairs, day: date) -> Numbering:
    series.frame(key, attributes, day)  # rejects what could not be printed
    period = series.period(day)
    id = series.sequence_id(key, period)
    return Numbering(id, series.code, series.version, key, period, day, attributes, calendar.TZDATA_VERSION)


def _key(series: Series, key: Mapping[str, str]) -> tuple[str, ...]:
    _check_names("key", key, series.key, series.key)
    for name in series.key:
        flaw = series.definition.dimensions[name].flaw(key[name])
        if flaw:
            raise Rejection.invalid(f"key.{name}", flaw)
    return tuple(key[name] for name in series.key)


def _attributes(series: Series, given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    declared = series.definition.attributes
    if not declared and not given:
        return ()
    required = [name for name, attribute in declared.items() if attribute.default is None]
    _check_names("attributes", given, required, declared)
    chosen = []
    for name, attribute in sorted(declared.items()):
        value = given.get(name, attribute.default)
        assert value is not None
        flaw = attribute.form.flaw(value)
        if flaw:
            raise Rejection.invalid(f"attributes.{name}", flaw)
        chosen.append((name, value))
    return tuple(chosen)


def _check_names(field: str, given: Mapping[str, str], required: tuple[str, ...] | list[str], allowed: object) -> None:
    missing = [f"{field}.{name}" for name in required if name not in given]
    extra = [f"{field}.{name}" for name in given if name not in allowed]  # type: ignore[operator]
    if missing or extra:
        errors = [(path, "is missing") for path in missing] + [(path, "is not declared") for path in extra]
        raise Rejection(Code.INVALID_FORMAT, "; ".join(f"{path} {flaw}" for path, flaw in errors), errors)


def _period(series: Series, day: date, today: date) -> str:
    if not calendar.FIRST_DATE <= day <= calendar.LAST_DATE:
        raise Rejection.invalid(
            "document_date", f"must be {calendar.FIRST_DATE} to {calendar.LAST_DATE}, not {day.isoformat()}"
        )
    period = series.period(day)
    if day > today and period > series.period(today):
        raise Rejection(
            Code.PERIOD_NOT_BEGUN,
            f"document_date {day.isoformat()} lies in period {period}, which has not begun in "
            f"{series.definition.timezone}, where it is {today.isoformat()}",
        )
    return period


def _check_order(state: State, series: Series, key: tuple[str, ...], period: str) -> None:
    if series.definition.date_order is DateOrder.NONE:
        return
    stem = series.stem(key)
    latest = state.latest_period(stem)
    if latest is not None and period < latest:
        raise Rejection(
            Code.DATE_OUT_OF_ORDER,
            f"period {latest} of {stem} was already used, so {period} takes no more numbers",
        )


def _issue(state: State, command: Issue, now: int) -> list[Event]:
    _check_document("document", command.document)
    events = _reserve(state, command.reserve, now)
    reserved = events[-1]
    assert isinstance(reserved, NumbersReserved)
    confirmed = NumbersConfirmed(reserved.numbering, reserved.token, reserved.ranges, command.document)
    return [*events, confirmed]


def _confirm(state: State, command: Confirm, now: int) -> NumbersConfirmed:
    reservation = _open(state, command.token, now)
    if command.document is not None:
        _check_document("document", command.document)
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
    numbering = reservation.numbering
    frame = state.series(numbering.series, numbering.series_version).frame(
        numbering.key, numbering.attributes, numbering.document_date
    )
    held = set(values_of(reservation.ranges))
    documents: dict[int, str | None] = {}
    for index, choice in enumerate(command.numbers):
        value = frame.value(choice.number)
        if value is None or value not in held:
            raise Rejection.invalid(f"numbers[{index}]", f"is {choice.number!r}, which this reservation does not hold")
        if value in documents:
            raise Rejection.invalid(f"numbers[{index}]", f"names {choice.number!r} a second time")
        if choice.document is not None:
            _check_document(f"numbers[{index}].document", choice.document)
        documents[value] = choice.document
    return documents


def _import(state: State, command: Import) -> list[Event]:
    if command.bad and not command.skip_bad:
        rows = len(command.bad) + sum(len(part.values) for part in command.sequences)
        raise Rejection(
            Code.IMPORT_REFUSED,
            f"{len(command.bad)} of {rows} rows do not fit, so nothing was written: mend them, or skip them",
            [(f"line {row.line}", f"{row.number!r}: {row.detail}") for row in command.bad[:MAX_TOLD]],
        )
    return [event for part in command.sequences for event in _imported(state, part)]


def _imported(state: State, part: ImportedSequence) -> Iterator[Event]:
    """Take over the numbers of one sequence, in events of a bounded size."""
    series = part.series
    versions = state.versions(series.code)
    if versions is None or versions[-1].version != series.version:
        raise Rejection(Code.SERIES_AMENDED, f"series {series.code} was amended while the register was read; try again")
    sequence = state.sequence(part.sequence)
    if sequence is None:
        sequence = Sequence(part.sequence, series.code, part.key, part.period, series.definition.start)
        if series.definition.reset is not Reset.NEVER:
            yield SequenceReset(sequence.id, series.code, series.version, part.key, part.period, sequence.start)
    held = sequence.held(part.values)
    if held:
        raise Rejection(
            Code.DUPLICATE_NUMBER,
            f"value {held[0]} of sequence {sequence.id} was issued while the register was read; try again",
        )
    begun, first = sequence.high_water >= sequence.start, sequence.high_water + 1
    for imported, prints in part.slices:
        holes = between(first, imported)
        first = max(first, imported[-1][1] + 1)
        yield NumbersImported(
            sequence.id,
            series.code,
            series.version,
            part.key,
            part.period,
            calendar.TZDATA_VERSION,
            prints,
            pre_control=() if begun else holes,
            skipped=holes if begun else (),
        )


def _extend(state: State, command: Extend, now: int) -> ReservationExtended:
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


def _expire(state: State, token: str, now: int) -> list[Event]:
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


def _check_document(field: str, document: str) -> None:
    flaw = flaw_of_text(document, at_most=MAX_DOCUMENT_LENGTH)
    if flaw:
        raise Rejection.invalid(field, flaw)
