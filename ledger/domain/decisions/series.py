"""Series: define and amend them, adjust their maximum, retire them.

A series is accepted only if it is proved that it prints no number twice, and none that another series prints: of all
versions that are in use, retired ones included.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from ledger.domain.commands import AdjustMaximum, RetireSeries
from ledger.domain.decisions.guards import active_series, check_reason
from ledger.domain.events import Event, MaximumAdjusted, SeriesAmended, SeriesDefined, SeriesRetired
from ledger.domain.proof import prove
from ledger.domain.rejection import Code, Rejection
from ledger.domain.series import Series
from ledger.domain.state import State

__all__ = ["adjust_maximum", "define", "proofs", "retire"]


def define(state: State, all_series: Sequence[Series]) -> list[Event]:
    codes = [series.code for series in all_series]
    repeated = {code for code in codes if codes.count(code) > 1}
    if repeated:
        raise Rejection.invalid("series", f"names {', '.join(sorted(repeated))} twice; define each once")
    highest = _highest(state, [code for code in codes if state.versions(code)])
    events = [event for series in all_series for event in _defined(state, series, highest)]
    for series, others in proofs(state, all_series):
        prove(series, others)
    return events


def proofs(state: State, all_series: Sequence[Series]) -> Iterator[tuple[Series, list[Series]]]:
    """Give each series that would change what the ledger prints, with all versions that it must not collide with."""
    printing = {each.code: state.printing(each.code) for each in state.all_series()}
    for series in all_series:
        before = printing.pop(series.code, ())
        used = before if state.first_used(series.code) else ()
        if not before or before[-1].definition != series.definition:
            yield series, [*used, *(each for versions in printing.values() for each in versions)]
        printing[series.code] = (*used, series)


def _highest(state: State, codes: Collection[str]) -> Mapping[object, int]:
    """Give the highest value that any sequence of these series passed, by code and how it counts."""
    highest: dict[object, int] = {}
    for each in state.sequences() if codes else ():
        if each.series in codes:
            counting = each.series, state.series_of(each).counting
            highest[counting] = max(each.high_water, highest.get(counting, -1))
    return highest


def _defined(state: State, series: Series, all_highest: Mapping[object, int]) -> list[Event]:
    versions = state.versions(series.code)
    if versions is None:
        return [SeriesDefined(series.as_version(1))]
    if versions[-1].definition == series.definition:
        return []
    active_series(state, series.code)
    highest = all_highest.get((series.code, series.counting), -1)
    if series.max_value < highest:
        raise Rejection(
            Code.AMENDMENT_REFUSED,
            f"series {series.code} has issued value {highest}, so its max_value cannot be {series.max_value}",
            [("max_value", f"must be at least {highest}")],
        )
    return [SeriesAmended(series.as_version(len(versions) + 1))]


def adjust_maximum(state: State, command: AdjustMaximum) -> list[Event]:
    check_reason(command.reason, at_least=1)
    series = active_series(state, command.series)
    adjusted = series.with_maximum(command.max_value)
    highest = _highest(state, [series.code]).get((series.code, series.counting), -1)
    if adjusted.max_value < highest:
        raise Rejection.invalid(
            "max_value", f"must be at least {highest}, which a sequence of {series.code} has passed already"
        )
    if adjusted.definition == series.definition:
        return []
    return [MaximumAdjusted(series.code, series.version, adjusted.max_value)]


def retire(state: State, command: RetireSeries) -> list[Event]:
    check_reason(command.reason)
    series = active_series(state, command.series)
    return [SeriesRetired(series.code, series.version)]
