"""Series: define and amend them, adjust their maximum, retire them.

A series is accepted only if it is proved that it prints no number twice, and none that another series prints: of all
versions that are in use, retired ones included.
"""

from collections.abc import Iterator, Sequence

from ledger.domain.commands import AdjustMaximum, RetireSeries
from ledger.domain.decisions.guards import active_series, check_reason
from ledger.domain.events import Event, MaximumAdjusted, SeriesAmended, SeriesDefined, SeriesRetired, StartLowered
from ledger.domain.proof import prove
from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import Sequence as Counter
from ledger.domain.series import Series
from ledger.domain.state import State

__all__ = ["MAX_DEFINED", "adjust_maximum", "as_next", "define", "proofs", "retire", "start_lowered"]

MAX_LOWERED = 10_000  # sequences whose start one amendment lowers, each by an event
MAX_OPENED = 1_000_000_000  # values that it opens
MAX_DEFINED = 500  # series of one command: each is compared with all others under the log's lock


def define(state: State, all_series: Sequence[Series]) -> list[Event]:
    if len(all_series) > MAX_DEFINED:
        raise Rejection.invalid("series", f"names {len(all_series)}, and {MAX_DEFINED} are defined at once; split them")
    codes = [series.code for series in all_series]
    repeated = {code for code in codes if codes.count(code) > 1}
    if repeated:
        raise Rejection.invalid("series", f"names {', '.join(sorted(repeated))} twice; define each once")
    events = [event for series in all_series for event in _defined(state, series)]
    for series, others in proofs(state, all_series):
        prove(series, others)
    return events


def proofs(state: State, all_series: Sequence[Series]) -> Iterator[tuple[Series, list[Series]]]:
    """Give each series that would change what the ledger prints, with all versions that it must not collide with.

    What a version printed that none of its numbers was given out by is forgotten when the version is replaced.
    """
    new = [series for series in all_series if not _is_unchanged(state, series)]
    replaced = {series.code for series in new if not state.first_used(series.code)}
    others = [
        each for series in state.all_series() if series.code not in replaced for each in state.printing(series.code)
    ]
    for series in new:
        yield as_next(state, series), list(others)
        others.append(as_next(state, series))


def as_next(state: State, series: Series) -> Series:
    """Give a definition as the version that it would be."""
    return series.as_version(len(state.versions(series.code) or ()) + 1)


def _is_unchanged(state: State, series: Series) -> bool:
    versions = state.versions(series.code)
    return versions is not None and versions[-1].definition == series.definition


def _defined(state: State, series: Series) -> list[Event]:
    versions = state.versions(series.code)
    if versions is None:
        return [SeriesDefined(as_next(state, series))]
    if _is_unchanged(state, series):
        return []
    present = active_series(state, series.code)
    _check_maximum(state, series)
    new = as_next(state, series)
    return [SeriesAmended(new), *_lowered(state, present, new)]


def _lowered(state: State, present: Series, new: Series) -> list[Event]:
    """Open the values below the start of each sequence that goes on with a version which begins earlier.

    In a ledger of an earlier format that is done only when the start is lowered by this amendment, and is refused then:
    a sequence that kept its later start before goes on with it.
    """
    era, start = state.era_of(new), new.definition.start
    if era is None or (state.format < StartLowered.format and start >= present.definition.start):
        return []
    later = [each for each in state.sequences() if each.series == new.code and each.era == era and not each.closed]
    later = [each for each in later if each.start > start]
    if len(later) > MAX_LOWERED or sum(each.start - start for each in later) > MAX_OPENED:
        raise Rejection(
            Code.AMENDMENT_REFUSED,
            f"start cannot be {start}: that opens values in {len(later)} sequences, and one amendment opens up to "
            f"{MAX_OPENED} values in up to {MAX_LOWERED}; close those that are over, or choose a later start",
            [("start", "opens too many values")],
        )
    return [start_lowered(each, new) for each in sorted(later, key=lambda each: each.id)]


def start_lowered(sequence: Counter, series: Series) -> StartLowered:
    """Open the values below the start of a sequence, down to that of its series, which is earlier."""
    start = series.definition.start
    opened = ((start, sequence.start - 1),)
    return StartLowered(sequence.id, series.code, series.version, sequence.key, sequence.period, start, opened)


def _check_maximum(state: State, series: Series) -> None:
    passed = state.highest(series)
    if series.max_value < passed:
        raise Rejection(
            Code.AMENDMENT_REFUSED,
            f"max_value cannot be {series.max_value}: a sequence of series {series.code} has passed {passed} already",
            [("max_value", f"must be at least {passed}")],
        )


def adjust_maximum(state: State, command: AdjustMaximum) -> list[Event]:
    check_reason(command.reason, at_least=1)
    series = active_series(state, command.series)
    adjusted = series.with_maximum(command.max_value)
    _check_maximum(state, adjusted)
    if adjusted.definition == series.definition:
        return []
    return [MaximumAdjusted(series.code, series.version, adjusted.max_value)]


def retire(state: State, command: RetireSeries) -> list[Event]:
    check_reason(command.reason)
    series = active_series(state, command.series)
    return [SeriesRetired(series.code, series.version)]
