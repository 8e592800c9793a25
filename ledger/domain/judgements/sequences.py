"""Whether a sequence may begin, go on further up, and be closed."""

from typing import assert_never

from ledger.domain.calendar import Reset
from ledger.domain.events import (
    PeriodClosed,
    PeriodOpened,
    PeriodReopened,
    SequenceAdjusted,
    SequenceReset,
    StartLowered,
)
from ledger.domain.judgements.places import (
    flaw_of_beginning,
    flaw_of_begun,
    flaw_of_known,
    flaw_of_open,
    flaw_of_period,
    flaw_of_place,
    flaw_of_present,
    flaw_of_sequence,
)
from ledger.domain.judgements.values import bounds_of, flaw_of_ranges, flaw_of_skipped
from ledger.domain.sequence import ValueState
from ledger.domain.series import Series
from ledger.domain.state import State

__all__ = ["flaw_of_event"]


Judged = SequenceReset | SequenceAdjusted | StartLowered | PeriodOpened | PeriodClosed | PeriodReopened


def flaw_of_event(state: State, event: Judged) -> str | None:
    match event:
        case SequenceReset():
            return _reset(state, event)
        case SequenceAdjusted():
            return _adjusted(state, event)
        case StartLowered():
            return _lowered(state, event)
        case PeriodOpened():
            return _opened(state, event)
        case PeriodClosed():
            return _closed(state, event)
        case PeriodReopened():
            return _reopened(state, event)
        case _:
            assert_never(event)


def _reset(state: State, event: SequenceReset) -> str | None:
    flaw = flaw_of_present(state, event.series, event.series_version)
    if flaw:
        return flaw
    series = state.series_now(event.series)
    return _flaw_of_never(series) or flaw_of_beginning(state, series, event) or _flaw_of_first(state, series, event)


def _flaw_of_never(series: Series) -> str | None:
    return f"series {series.code} never resets" if series.definition.reset is Reset.NEVER else None


def _flaw_of_first(state: State, series: Series, event: SequenceReset) -> str | None:
    if state.sequence(event.sequence) is not None:
        return f"sequence {event.sequence} begins a second time"
    start = series.definition.start
    return None if event.start == start else f"sequence {event.sequence} begins at {event.start}, not at {start}"


def _opened(state: State, event: PeriodOpened) -> str | None:
    flaw = flaw_of_present(state, event.series, event.series_version)
    if flaw:
        return flaw
    series = state.series_now(event.series)
    return _flaw_of_never(series) or flaw_of_period(series, event.period) or _flaw_of_opened(state, series, event)


def _flaw_of_opened(state: State, series: Series, event: PeriodOpened) -> str | None:
    is_opened = state.is_opened(series, event.period)
    return f"period {event.period} of series {event.series} is opened a second time" if is_opened else None


def _adjusted(state: State, event: SequenceAdjusted) -> str | None:
    flaw = flaw_of_present(state, event.series, event.series_version)
    if flaw:
        return flaw
    series = state.series_now(event.series)
    return flaw_of_place(series, event) or flaw_of_open(state, series, event) or _flaw_of_adjusted(state, series, event)


def _flaw_of_adjusted(state: State, series: Series, event: SequenceAdjusted) -> str | None:
    start, high_water = bounds_of(state, series, event.sequence)
    flaw = flaw_of_ranges(event.skipped, start, series.max_value)
    if flaw:
        return flaw
    last = event.skipped[-1][1]
    return flaw_of_skipped(event, high_water, ((last + 1, last + 1),), event.skipped)


def _lowered(state: State, event: StartLowered) -> str | None:
    """A start is lowered to that of the series, and what lies between the two was never passed."""
    flaw = flaw_of_present(state, event.series, event.series_version)
    if flaw:
        return flaw
    series, sequence = state.series_now(event.series), state.sequence(event.sequence)
    flaw = flaw_of_begun(state, event) or flaw_of_sequence(state, series, event) or flaw_of_open(state, series, event)
    if flaw or sequence is None:
        return flaw
    if event.start != series.definition.start or event.start >= sequence.start:
        start = series.definition.start
        return (
            f"sequence {event.sequence} begins at {sequence.start}, its series at {start}, and is set to {event.start}"
        )
    if event.pre_control != ((event.start, sequence.start - 1),):
        return f"sequence {event.sequence} opens other values than those from {event.start} to {sequence.start - 1}"
    return None


def _closed(state: State, event: PeriodClosed) -> str | None:
    """The version may be an earlier one, and the series retired: what counts no more can be closed all the same."""
    flaw = flaw_of_known(state, event.series, event.series_version)
    if flaw:
        return flaw
    series = state.series(event.series, event.series_version)
    return (
        flaw_of_sequence(state, series, event)
        or flaw_of_open(state, series, event)
        or _flaw_of_frozen(state, series, event)
    )


def _flaw_of_frozen(state: State, series: Series, event: PeriodClosed) -> str | None:
    start, high_water = bounds_of(state, series, event.sequence)
    if (event.start, event.high_water) != (start, high_water):
        told, found = f"{event.start} to {event.high_water}", f"{start} to {high_water}"
        return f"sequence {event.sequence} is closed as {told}, and went from {found}"
    return _flaw_of_accounting(state, event)


def _flaw_of_accounting(state: State, event: PeriodClosed) -> str | None:
    sequence = state.sequence(event.sequence)
    found = {each: sequence.values_in(each) if sequence else () for each in ValueState}
    if found[ValueState.RESERVED]:
        return f"sequence {event.sequence} is closed while values of it are reserved"
    said = dict(event.accounting)
    wrong = next((each for each in ValueState if said.get(each, ()) != found[each]), None)
    return f"the accounting of sequence {event.sequence} is false: not these values are {wrong}" if wrong else None


def _reopened(state: State, event: PeriodReopened) -> str | None:
    """What was frozen in an account stays so: only a sequence without one value has none."""
    flaw = flaw_of_present(state, event.series, event.series_version)
    if flaw:
        return flaw
    what, sequence = f"sequence {event.sequence}", state.sequence(event.sequence)
    if sequence is None or not sequence.closed:
        return f"{what} is reopened, and is not closed"
    if sequence.closed_by_fence:
        return f"{what} is reopened, and was closed by a restore"
    passed = sum(sequence.counts().values())
    if passed:
        return f"{what} is reopened, and has passed {passed} values"
    return flaw_of_sequence(state, state.series_now(event.series), event)
