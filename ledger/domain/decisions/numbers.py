"""Single numbers, named as they are printed: give one by hand, link another document, or take one out of use."""

from dataclasses import replace
from typing import assert_never

from ledger.domain.commands import Assign, Link, Original, Reserve, Void, WithOriginal
from ledger.domain.decisions.guards import (
    begun,
    check_document,
    check_form,
    check_order,
    check_reason,
    dated,
    known_series,
    numbering_of,
    present_series,
    reading_of,
)
from ledger.domain.decisions.reservations import reserve
from ledger.domain.events import (
    DocumentLinked,
    Event,
    NumberAssigned,
    Numbering,
    NumbersConfirmed,
    NumbersReserved,
    NumberVoided,
    SequenceValue,
)
from ledger.domain.formats import DERIVED_DATES
from ledger.domain.reading import Reading
from ledger.domain.rejection import Code, Rejection
from ledger.domain.results import Replacement, event_of
from ledger.domain.sequence import FREE, Sequence, ValueState
from ledger.domain.series import Series
from ledger.domain.state import State

__all__ = ["MIN_VOID_REASON_LENGTH", "assign", "correct"]

MIN_VOID_REASON_LENGTH = 10


def assign(state: State, command: Assign, now: int) -> list[Event]:
    check_document("document", command.document)
    check_reason(command.reason, at_least=1)
    reading = reading_of(state, command.number, now)
    series = present_series(state, reading.series)
    if not series.definition.manual:
        raise Rejection(
            Code.MANUAL_OVERRIDE_NOT_ALLOWED,
            f"series {series.code} is not manual: it gives its numbers out in order; reserve one",
        )
    sequence, events = begun(state, series, reading.key, reading.period, now)
    check_order(state, series, reading.key, reading.period)
    check_form(reading, series, sequence, command.number)
    _check_free(sequence, reading.value, series, command.number)
    reading = dated(reading, command.document_date, command.number)
    is_derived = command.document_date is None and state.format >= DERIVED_DATES
    numbering = numbering_of(reading.series, reading.key, reading.attributes, reading.document_date, is_derived)
    first = sequence.high_water + 1
    skipped = ((first, reading.value - 1),) if first < reading.value else ()
    return [*events, NumberAssigned(numbering, reading.value, command.document, skipped)]


def _check_free(sequence: Sequence, value: int, series: Series, number: str) -> None:
    if not sequence.start <= value <= series.max_value:
        raise Rejection(
            Code.OUT_OF_RANGE,
            f"{number!r} has value {value}, and sequence {sequence.id} counts from {sequence.start} to "
            f"{series.max_value}; choose one of these, or adjust the maximum first",
        )
    held = sequence.state_of(value)
    if held is not None and held not in FREE:
        raise Rejection(
            Code.DUPLICATE_NUMBER,
            f"value {value} of sequence {sequence.id} is {held.value} already, so {number!r} cannot be assigned; "
            "choose another number",
        )


def correct(state: State, prepared: WithOriginal, now: int) -> list[Event]:
    correction = prepared.command
    match correction:
        case Void():
            return _void(state, correction, prepared, now)
        case Link():
            return _link(state, correction, prepared, now)
        case _:
            assert_never(correction)


def _void(state: State, command: Void, prepared: WithOriginal, now: int) -> list[Event]:
    check_reason(command.reason, at_least=MIN_VOID_REASON_LENGTH)
    if command.document_date is not None and not command.replace:
        raise Rejection.invalid("document_date", "is that of the replacement; say replace, or leave it out")
    reading = reading_of(state, command.number, now)
    original = _still_original(state, reading, prepared, "voided")
    voided = NumberVoided(_as_printed(state, reading, original, command.number), reading.value)
    if not command.replace:
        return [voided]
    begun, replacement = _replacement(state, voided, command, original, now)
    in_its_place = SequenceValue(replacement.reserved.numbering.sequence, replacement.value)
    return [replace(voided, replacement=in_its_place), *begun, replacement.reserved, replacement.confirmed]


def _link(state: State, command: Link, prepared: WithOriginal, now: int) -> list[Event]:
    # Its sequence may be closed, of an earlier era, or of a retired series: documents come late, and no value moves.
    check_document("document", command.document)
    check_reason(command.reason, at_least=1)
    reading = reading_of(state, command.number, now)
    original = _still_original(state, reading, prepared, "linked to a document", unknown=Code.NUMBER_NOT_FOUND)
    numbering = _as_printed(state, reading, original, command.number)
    if original.document == command.document:
        return []
    return [DocumentLinked(numbering, reading.value, command.document, original.document, original.token)]


def _still_original(
    state: State, reading: Reading, prepared: WithOriginal, what: str, *, unknown: Code = Code.NUMBER_NOT_CONFIRMED
) -> Original:
    """Give what was looked up of a number, which must be confirmed now as it was then, with the document of now.

    A number that was never given out is refused as `unknown`.
    """
    number, original = prepared.command.number, prepared.original
    sequence = state.sequence(reading.sequence)
    found = sequence.state_of(reading.value) if sequence else None
    if found is not ValueState.CONFIRMED:
        is_what = "was never given out" if found is None else f"is {found.value}"
        raise Rejection(
            unknown if found is None else Code.NUMBER_NOT_CONFIRMED,
            f"{number!r} (value {reading.value} of sequence {reading.sequence}) {is_what}; only a confirmed "
            f"number can be {what}",
        )
    if original is None:
        raise Rejection(Code.CHANGED_MEANWHILE, f"{number!r} was confirmed just now; send the command again, by itself")
    if not state.knows_links_since(prepared.links):
        raise Rejection(
            Code.CHANGED_MEANWHILE,
            f"{number!r} may have another document since it was looked up; send the command again",
        )
    linked = state.document_since(reading.sequence, reading.value, prepared.links)
    return original if linked is None else replace(original, document=linked)


def _as_printed(state: State, reading: Reading, original: Original, number: str) -> Numbering:
    """Give how a number was printed, which must be as it is named now."""
    printed = state.series(reading.series.code, original.series_version)
    day, is_derived = original.document_date, original.date_is_derived
    numbering = numbering_of(printed, reading.key, original.attributes, day, is_derived)
    as_printed = printed.frame(numbering.key, numbering.attributes, numbering.document_date).number(reading.value)
    if as_printed != number:
        raise Rejection(
            Code.NUMBER_PRINTED_OTHERWISE,
            f"{number!r} was never given out: value {reading.value} of sequence {numbering.sequence} was "
            f"printed as {as_printed!r}; name that one if it is meant",
        )
    return numbering


def _replacement(
    state: State, voided: NumberVoided, command: Void, original: Original, now: int
) -> tuple[list[Event], Replacement]:
    """Reserve and confirm the next number of the key for the same document, after what begins its sequence.

    A date that was derived for the voided number is as little known of the one that takes its place.
    """
    old = voided.numbering
    names = state.series(old.series, old.series_version).key
    declared = known_series(state, old.series).definition.attributes
    asked = Reserve(
        old.series,
        command.token,
        dict(zip(names, old.key, strict=True)),
        document_date=command.document_date or original.document_date,
        attributes={name: value for name, value in original.attributes if name in declared},
    )
    try:
        events = reserve(state, asked, now)
    except Rejection as why:
        way_out = "void it without a replacement, and reserve another number"
        detail = f"{command.number!r} cannot be replaced: {why.detail}; {way_out} if that cannot be helped"
        raise Rejection(why.code, detail) from None
    found = event_of(NumbersReserved, events)
    is_derived = original.date_is_derived and command.document_date is None
    reserved = replace(found, numbering=replace(found.numbering, date_is_derived=is_derived)) if is_derived else found
    confirmed = NumbersConfirmed(reserved.numbering, reserved.token, reserved.ranges, original.document)
    return [each for each in events if each is not found], Replacement(reserved, confirmed)
