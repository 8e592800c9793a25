"""Whether single numbers may be given by hand, taken from a register, linked to a document, or voided."""

from typing import assert_never

from ledger.domain.events import (
    DocumentLinked,
    NumberAssigned,
    Numbering,
    NumbersConfirmed,
    NumbersImported,
    NumberVoided,
    Place,
)
from ledger.domain.formats import REPLACED_FORMS
from ledger.domain.judgements.places import (
    flaw_of_begun,
    flaw_of_date,
    flaw_of_known,
    flaw_of_open,
    flaw_of_place,
    flaw_of_present,
)
from ledger.domain.judgements.reservations import flaw_of_date_order
from ledger.domain.judgements.values import bounds_of, flaw_of_ranges, flaw_of_skipped, given_twice
from ledger.domain.ranges import Ranges, bitmap_of, includes, runs
from ledger.domain.sequence import FREE, ValueState
from ledger.domain.series import Series
from ledger.domain.state import State

__all__ = ["begins", "flaw_of_event", "is_replacement"]


def flaw_of_event(state: State, event: NumberAssigned | NumbersImported | NumberVoided | DocumentLinked) -> str | None:
    match event:
        case NumberAssigned():
            return _assigned(state, event)
        case NumbersImported():
            return _imported(state, event)
        case NumberVoided():
            return _voided(state, event)
        case DocumentLinked():
            return _linked(state, event)
        case _:
            assert_never(event)


def _assigned(state: State, event: NumberAssigned) -> str | None:
    """The number may be written as an earlier version printed it, if its value was passed."""
    numbering = event.numbering
    flaw = flaw_of_known(state, numbering.series, numbering.series_version)
    if flaw:
        return flaw
    series, present = state.series(numbering.series, numbering.series_version), state.series_now(numbering.series)
    return (
        _flaw_of_by_hand(state, present)
        or flaw_of_place(series, numbering)
        or flaw_of_open(state, present, numbering)
        or flaw_of_date_order(state, present, numbering)
        or _flaw_of_assigned(state, event, series, present)
    )


def _flaw_of_by_hand(state: State, present: Series) -> str | None:
    if state.is_retired(present.code):
        return f"series {present.code} is retired"
    return None if present.definition.manual else f"series {present.code} is not manual, and a number is given by hand"


def _flaw_of_assigned(state: State, event: NumberAssigned, series: Series, present: Series) -> str | None:
    numbering, value = event.numbering, event.value
    taken = ((value, value),)
    start, high_water = bounds_of(state, present, numbering.sequence)
    flaw = flaw_of_ranges(taken, start, present.max_value)
    if flaw:
        return flaw
    if series is not present and (value > high_water or series.era != present.era):
        return f"value {value} is new, and printed by version {series.version} of series {series.code}, not the present"
    sequence = state.sequence(numbering.sequence)
    if sequence and value <= high_water and sequence.state_of(value) not in FREE:
        return given_twice(series, sequence, numbering, value)
    return flaw_of_skipped(numbering, high_water, taken, event.skipped)


def _imported(state: State, event: NumbersImported) -> str | None:
    """The numbers may be written as an earlier version printed them, if their values were passed."""
    flaw = flaw_of_known(state, event.series, event.series_version)
    if flaw:
        return flaw
    series, present = state.series(event.series, event.series_version), state.series_now(event.series)
    return (
        flaw_of_present(state, event.series, present.version)
        or flaw_of_place(series, event)
        or flaw_of_open(state, present, event)
        or _flaw_of_prints(series, event)
        or _flaw_of_earlier(state, event, series, present)
        or _flaw_of_imported(state, present, event)
    )


def _flaw_of_earlier(state: State, event: NumbersImported, series: Series, present: Series) -> str | None:
    if series is present:
        return None
    highest = max(each.ranges[-1][1] for each in event.prints)
    _, high_water = bounds_of(state, present, event.sequence)
    if highest <= high_water and series.era == present.era and state.format >= REPLACED_FORMS:
        return None
    return f"value {highest} is new, and printed by version {series.version} of series {series.code}, not the present"


def _flaw_of_prints(series: Series, event: NumbersImported) -> str | None:
    flaws = (flaw_of_date(series, event.period, each.document_date, each.attributes) for each in event.prints)
    return next((flaw for flaw in flaws if flaw), None)


def _flaw_of_imported(state: State, series: Series, event: NumbersImported) -> str | None:
    start, high_water = bounds_of(state, series, event.sequence)
    seen, sequence = bitmap_of(()), state.sequence(event.sequence)
    for each in event.prints:
        flaw = flaw_of_ranges(each.ranges, start, series.max_value)
        if flaw:
            return flaw
        values = bitmap_of(each.ranges)
        held = (sequence.held(values) if sequence else bitmap_of(())) | (values & seen)
        if held:
            return f"a number is given out twice: value {held.min()} of sequence {event.sequence} is held already"
        seen |= values
    documented = [value for value, _ in event.documents]
    if len(set(documented)) < len(documented) or not seen.issuperset(bitmap_of((each, each) for each in documented)):
        return f"the import of sequence {event.sequence} tells documents of other numbers, or two of one"
    return _flaw_of_holes(event, high_water, tuple(runs(seen)))


def _flaw_of_holes(event: NumbersImported, high_water: int, taken: Ranges) -> str | None:
    if event.pre_control and event.skipped:
        return "holes of one import are both of before the ledger and skipped"
    return flaw_of_skipped(event, high_water, taken, event.pre_control or event.skipped)


def begins(state: State, event: NumbersImported) -> bool:
    """Say whether an import is the first that happens to its sequence; then holes are of before the ledger."""
    sequence = state.sequence(event.sequence)
    return sequence is None or sequence.high_water < sequence.start


def _voided(state: State, event: NumberVoided) -> str | None:
    return _flaw_of_confirmed(state, event.numbering, event.value, "voided")


def _linked(state: State, event: DocumentLinked) -> str | None:
    """What its document was before is asked if it was linked of late, else memory would grow with every number."""
    what = f"value {event.value} of sequence {event.sequence}"
    if event.document == event.previous:
        return f"{what} is linked to the document that it has"
    last = state.document_since(event.sequence, event.value, 0)
    if last is not None and last != event.previous:
        return f"{what} is told to have had document {event.previous!r}, and had {last!r}"
    return _flaw_of_confirmed(state, event.numbering, event.value, "linked to a document")


def _flaw_of_confirmed(state: State, numbering: Numbering, value: int, what: str) -> str | None:
    """Say whether a number is confirmed, and may be printed as it is told to have been."""
    flaw = flaw_of_known(state, numbering.series, numbering.series_version)
    if flaw:
        return flaw
    series = state.series(numbering.series, numbering.series_version)
    flaw = flaw_of_place(series, numbering) or flaw_of_begun(state, numbering)
    if flaw:
        return flaw
    sequence = state.sequence(numbering.sequence)
    found = sequence.state_of(value) if sequence else None
    if found is ValueState.CONFIRMED:
        return None
    return f"value {value} of sequence {numbering.sequence} is {what}, and is {found or 'not passed yet'}"


def is_replacement(state: State, old: NumberVoided, new: NumbersConfirmed) -> bool:
    """Say whether a confirmation is what a void names: a number of the same series and key."""
    assert old.replacement is not None
    sequence, value = old.replacement
    is_named = new.numbering.sequence == sequence and includes(new.ranges, value)
    return is_named and _identity(state, old.numbering) == _identity(state, new.numbering)


def _identity(state: State, of: Place) -> object:
    """Give the series and its key by name: an amendment may have put the key's dimensions in another order."""
    return of.series, dict(zip(state.series(of.series, of.series_version).key, of.key, strict=True))
