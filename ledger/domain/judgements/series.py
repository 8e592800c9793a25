"""Whether a series may be defined, amended, limited otherwise or retired, and whether what it prints is proved."""

from collections.abc import Sequence
from typing import assert_never

from ledger.domain.events import MaximumAdjusted, SeriesAmended, SeriesDefined, SeriesReopened, SeriesRetired
from ledger.domain.judgements.places import flaw_of_present
from ledger.domain.proof import prove
from ledger.domain.rejection import Rejection
from ledger.domain.series import Series
from ledger.domain.state import State

__all__ = ["flaw_of_event", "unproved"]


Judged = SeriesDefined | SeriesAmended | MaximumAdjusted | SeriesRetired | SeriesReopened


def flaw_of_event(state: State, event: Judged) -> str | None:
    match event:
        case SeriesDefined():
            return _defined(state, event)
        case SeriesAmended():
            return _amended(state, event)
        case MaximumAdjusted():
            return _maximum_adjusted(state, event)
        case SeriesRetired():
            return _retired(state, event)
        case SeriesReopened():
            return _reopened(state, event)
        case _:
            assert_never(event)


def _defined(state: State, event: SeriesDefined) -> str | None:
    code = event.series.code
    return f"series {code} is defined a second time" if state.versions(code) else _flaw_of_version(event.series, 1)


def _amended(state: State, event: SeriesAmended) -> str | None:
    code = event.series.code
    versions = state.versions(code)
    if versions is None:
        return f"series {code!r} is not defined"
    if state.is_retired(code):
        return f"series {code} is retired"
    return _flaw_of_version(event.series, len(versions) + 1) or _flaw_of_maximum(state, event.series)


def _flaw_of_version(series: Series, expected: int) -> str | None:
    if series.version == expected:
        return None
    return f"version {series.version} of series {series.code} is not the next one, {expected}"


def _flaw_of_maximum(state: State, series: Series) -> str | None:
    passed = state.highest(series)
    if series.max_value >= passed:
        return None
    return f"the maximum {series.max_value} of series {series.code} is below {passed}, which a sequence has passed"


def _maximum_adjusted(state: State, event: MaximumAdjusted) -> str | None:
    flaw = flaw_of_present(state, event.series, event.series_version)
    if flaw:
        return flaw
    try:
        return _flaw_of_maximum(state, state.series_now(event.series).with_maximum(event.max_value))
    except Rejection as why:
        return f"the maximum of series {event.series} cannot be {event.max_value}: {why.detail}"


def _retired(state: State, event: SeriesRetired) -> str | None:
    return flaw_of_present(state, event.series, event.series_version)


def _reopened(state: State, event: SeriesReopened) -> str | None:
    """What it prints is not proved anew: the numbers of retired series take part in every proof."""
    versions = state.versions(event.series)
    if versions is None:
        return f"series {event.series!r} is not defined"
    if event.series_version != versions[-1].version:
        return f"version {event.series_version} of series {event.series} is reopened, not {versions[-1].version}"
    return None if state.is_retired(event.series) else f"series {event.series} is reopened, and is not retired"


def unproved(state: State, codes: Sequence[str]) -> tuple[int, str] | None:
    """Say which of the series that one command defined is not proved, and why; `state` holds all of them.

    They are proved together, each beside those before it, because one may take over what another gives up: event by
    event, the first would meet what the second is about to replace.
    """
    new = [state.series_now(code) for code in codes]
    others = [each for old in state.all_series() for each in state.printing(old.code) if each not in new]
    for index, series in enumerate(new):
        try:
            prove(series, others)
        except Rejection as why:
            return index, f"version {series.version} of series {series.code} is not proved: {why.detail}"
        others.append(series)
    return None
