"""What several commands must find before they may do anything, each a Rejection when it is not so."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import lru_cache

from ledger.domain import calendar
from ledger.domain.calendar import Reset
from ledger.domain.events import Event, Numbering, SequenceFenced, SequenceReset
from ledger.domain.ranges import Ranges
from ledger.domain.reading import Reading, days_of, readings_of_all
from ledger.domain.rejection import Code, Hint, Rejection
from ledger.domain.sequence import Sequence
from ledger.domain.series import MAX_NUMBER_LENGTH, DateOrder, Series, unescaped
from ledger.domain.state import State
from ledger.domain.template import Frame
from ledger.domain.text import flaw_of_text

__all__ = [
    "MAX_DOCUMENT_LENGTH",
    "MAX_REASON_LENGTH",
    "active_series",
    "begun",
    "check_document",
    "check_era",
    "check_form",
    "check_order",
    "check_printed",
    "check_reason",
    "dated",
    "fields_of",
    "key_of",
    "known_series",
    "no_sequence",
    "numbering_of",
    "period_at",
    "period_not_begun",
    "place_of",
    "present_series",
    "reading_of",
    "sequence_of",
]

MAX_DOCUMENT_LENGTH = 200
MAX_REASON_LENGTH = 500
CACHED = 65_536  # sequences and days

_PLACE = re.compile(r"([^:~]+)(?:~([1-9]\d*))?((?::[^:]+)*):([^:]+)", re.ASCII)

Pairs = tuple[tuple[str, str], ...]
Key = tuple[str, ...]


def check_document(field: str, document: str) -> None:
    flaw = flaw_of_text(document, at_most=MAX_DOCUMENT_LENGTH)
    if flaw:
        raise Rejection.invalid(field, flaw)


def check_reason(reason: str | None, *, at_least: int = 0) -> None:
    """Refuse a reason that is too short, or is none where `at_least` is not 0."""
    if reason is None and not at_least:
        return
    flaw = flaw_of_text(reason or "", at_most=MAX_REASON_LENGTH)
    if flaw:
        raise Rejection.invalid("reason", flaw)
    if reason and len(reason) < at_least:
        raise Rejection.invalid("reason", f"must have at least {at_least} characters, not {len(reason)}; say more")


# Series


def known_series(state: State, code: str) -> Series:
    versions = state.versions(code)
    if versions is None:
        raise Rejection(Code.CONFIG_NOT_FOUND, f"no series has the code {code!r}", hint=Hint.DEFINE_SERIES)
    return versions[-1]


def active_series(state: State, code: str) -> Series:
    series = known_series(state, code)
    if state.is_retired(code):
        raise Rejection(Code.SERIES_RETIRED, f"series {code} is retired; use another series")
    return series


def present_series(state: State, place: Series) -> Series:
    """Give the present version of a series, for a sequence that it counts; one of an earlier era is history."""
    series = active_series(state, place.code)
    check_era(series, place.era)
    return series


# Key, attributes and date. The first two are asked the same again and again, for every number of a sequence on one
# day. What they give is shared by the reservations that it holds, which so take less memory.


@lru_cache(maxsize=CACHED)
def fields_of(series: Series, key: Pairs, attributes: Pairs) -> tuple[Key, Pairs]:
    """Check the key and the attributes that were given; gives them in the order of the series."""
    return key_of(series, dict(key)), _attributes(series, dict(attributes))


@lru_cache(maxsize=CACHED)
def numbering_of(series: Series, key: Key, attributes: Pairs, day: date, date_is_derived: bool = False) -> Numbering:
    frame = series.frame(key, attributes, day)
    check_printed(frame, 10**frame.width - 1)
    period = series.period(day)
    id = series.sequence_id(key, period)
    place = (id, series.code, series.version, key, period)
    return Numbering(*place, day, attributes, calendar.TZDATA_VERSION, date_is_derived)


def check_printed(frame: Frame, value: int) -> None:
    """Refuse a number that is too long, or of which parts compose where they meet: it must be NFC as a whole."""
    number = frame.number(value)
    flaw = flaw_of_text(number, at_most=MAX_NUMBER_LENGTH)
    if flaw:
        raise Rejection(Code.INVALID_FORMAT, f"the number would be {number!r}, which {flaw}; amend the template")


def key_of(series: Series, key: Mapping[str, str]) -> tuple[str, ...]:
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


def period_at(series: Series, day: date) -> str:
    if not calendar.FIRST_DATE <= day <= calendar.LAST_DATE:
        raise Rejection.invalid(
            "document_date", f"must be {calendar.FIRST_DATE} to {calendar.LAST_DATE}, not {day.isoformat()}"
        )
    return series.period(day)


def check_order(state: State, series: Series, key: Key, period: str) -> None:
    if series.definition.date_order is DateOrder.NONE:
        return
    stem = series.stem(key)
    latest = state.latest_period(stem)
    if latest is not None and period < latest:
        raise Rejection(
            Code.DATE_OUT_OF_ORDER,
            f"period {latest} of {stem} was already used, so {period} takes no more numbers; date it in {latest}, or "
            "later",
        )


# Sequences


def begun(
    state: State, series: Series, key: Key, period: str, now: int, *, ahead: bool = False
) -> tuple[Sequence, list[Event]]:
    """Give a sequence that may count, with the events that begin it if that is still to happen.

    With `ahead` the period may be one that has not begun.
    """
    sequence = state.sequence(series.sequence_id(key, period))
    if sequence is not None:
        if sequence.closed:
            raise _closed(sequence.id, period)
        return sequence, []
    if not ahead:
        _check_period(state, series, period, now)
    sequence = Sequence(series.sequence_id(key, period), series.code, key, period, series.definition.start)
    place = (sequence.id, series.code, series.version, key, period)
    events: list[Event] = []
    if series.definition.reset is not Reset.NEVER:
        events.append(SequenceReset(*place, sequence.start))
    passed = _passed_by_restores(state, series, sequence)
    if passed:
        sequence.fence(passed)
        events.append(SequenceFenced(*place, passed))
    return sequence, events


def _passed_by_restores(state: State, series: Series, sequence: Sequence) -> Ranges:
    """Give the first values of a sequence that begins, which events that a restore lost may have given out."""
    count = state.passed_over(series, sequence.period)
    last = sequence.start + count - 1
    if count and last >= series.max_value:
        raise Rejection(
            Code.SEQUENCE_EXHAUSTED,
            f"sequence {sequence.id} begins behind {count} values that a restore passed over, which leaves none up to "
            f"its maximum {series.max_value}; raise the maximum first",
        )
    return ((sequence.start, last),) if count else ()


def sequence_of(state: State, id: str) -> Sequence:
    """Find a sequence that has begun and is not closed."""
    sequence = state.sequence(id)
    if sequence is None:
        raise no_sequence(state, id)
    if sequence.closed:
        raise _closed(id, sequence.period)
    return sequence


def place_of(state: State, id: str) -> tuple[Series, Key, str]:
    """Read a sequence's id, whether it has begun or not."""
    match = _PLACE.fullmatch(id)
    if match is None or state.versions(match[1]) is None:
        raise _no_place(id)
    eras = [each for each in state.printing(match[1]) if each.era == int(match[2] or 0)]
    key = tuple(map(unescaped, match[3].split(":")[1:]))
    if not eras or len(key) != len(eras[-1].key) or eras[-1].sequence_id(key, match[4]) != id:
        raise _no_place(id)
    reset, start = eras[-1].definition.reset, eras[-1].fiscal_year_start
    if match[4] != "-" if reset is Reset.NEVER else calendar.first_day(match[4], reset, start) is None:
        raise _no_place(id)
    key_of(eras[-1], dict(zip(eras[-1].key, key, strict=True)))
    return eras[-1], key, match[4]


def no_sequence(state: State, id: str) -> Rejection:
    """Tell a sequence that has not begun from one that cannot be."""
    try:
        place_of(state, id)
    except Rejection as why:
        return why
    return Rejection(
        Code.SEQUENCE_NOT_FOUND, f"sequence {id} has not begun: no number of it was given out, and it was not opened"
    )


def _no_place(id: str) -> Rejection:
    return Rejection(
        Code.SEQUENCE_NOT_FOUND,
        f"no sequence has the id {id!r}; it is written CODE:value:…:period, as every reservation tells it",
    )


def _closed(id: str, period: str) -> Rejection:
    return Rejection(
        Code.PERIOD_CLOSED,
        f"period {period} of sequence {id} is closed, so its numbers can only be voided or linked; date the document "
        "in an open period",
    )


def _check_period(state: State, series: Series, period: str, now: int) -> None:
    """Refuse a period that has not begun in the series' zone and was not opened."""
    today = calendar.date_at(now, series.definition.timezone)
    if period > series.period(today) and not state.is_opened(series, period):
        raise period_not_begun(series, period, today)


def period_not_begun(series: Series, period: str, today: date) -> Rejection:
    where = f"{series.definition.timezone}, where it is {today.isoformat()}"
    return Rejection(Code.PERIOD_NOT_BEGUN, f"period {period} has not begun in {where}; open it first")


# Numbers


def reading_of(state: State, number: str, now: int) -> Reading:
    """Read a number by the templates of all series, in all versions that are in use; the latest that prints it."""
    versions = state.in_use()
    days = days_of(_zoned(versions), now)
    found = _read(versions, number, tuple(sorted(days.items())))
    if not found:
        raise Rejection(Code.NUMBER_NOT_FOUND, f"no template of this ledger prints {number!r}; is it written in full?")
    if len(found) > 1:  # series of before the proof
        one, other, *_ = (f"value {reading.value} of {reading.sequence}" for reading in found)
        raise Rejection(Code.AMBIGUOUS_NUMBER, f"{number!r} can be read as {one} and as {other}")
    return found[0]


@lru_cache(maxsize=4096)  # what was read before the lock was taken is remembered under it
def _read(versions: tuple[Series, ...], number: str, days: tuple[tuple[str, date], ...]) -> tuple[Reading, ...]:
    return tuple(readings_of_all(versions, number, dict(days)))


@lru_cache(maxsize=16)
def _zoned(versions: tuple[Series, ...]) -> tuple[Series, ...]:
    """Give one version of each zone."""
    return tuple({version.definition.timezone: version for version in versions}.values())


def dated(reading: Reading, day: date | None, number: str) -> Reading:
    """Give the reading of a number with the date of its document, which must print it; without one as it was read."""
    if day is None:
        return reading
    series, period = reading.series, period_at(reading.series, day)
    if period != reading.period:
        raise Rejection.invalid(
            "document_date", f"is {day.isoformat()}, in period {period}, and {number!r} is of period {reading.period}"
        )
    printed = series.frame(reading.key, reading.attributes, day).number(reading.value)
    if printed != number:
        raise Rejection.invalid("document_date", f"is {day.isoformat()}, which prints {printed!r}, and not {number!r}")
    return replace(reading, document_date=day)


def check_form(reading: Reading, series: Series, sequence: Sequence, number: str) -> None:
    """Refuse a number that only a replaced version of `series` prints, unless the sequence has passed its value.

    What was passed may be on paper as it was printed then. From there on numbers are written as they are printed now.
    """
    if reading.series.version == series.version or sequence.state_of(reading.value) is not None:
        return
    raise Rejection(
        Code.NO_TEMPLATE,
        f"{number!r} is written as version {reading.series.version} of series {series.code} printed, and value "
        f"{reading.value} was not passed yet; write it as version {series.version} prints it",
    )


def check_era(series: Series, era: int) -> None:
    """Refuse a sequence of an era in which the series counts no more: it is history."""
    if series.era != era:
        raise Rejection(
            Code.AMENDMENT_REFUSED,
            f"series {series.code} counts otherwise since version {series.era}; its earlier sequences stay as they are",
        )
