"""Reopening: a period that was closed before it passed a value, and a series that was retired.

A restore's fence leaves out closed sequences and those of retired series, because they issue nothing. Lost events may
have reopened them, so each that goes on now first skips the margins of the restores of before.
"""

from ledger.domain.commands import ReopenPeriod, ReopenSeries
from ledger.domain.decisions.guards import check_reason, known_series, no_sequence, present_series
from ledger.domain.decisions.restores import passed
from ledger.domain.decisions.series import start_lowered
from ledger.domain.events import Event, PeriodReopened, SequenceFenced, SeriesReopened
from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import Sequence
from ledger.domain.state import State

__all__ = ["reopen_period", "reopen_series"]


def reopen_period(state: State, command: ReopenPeriod) -> list[Event]:
    check_reason(command.reason, at_least=1)
    sequence = state.sequence(command.sequence)
    if sequence is None:
        raise no_sequence(state, command.sequence)
    series = present_series(state, state.series_of(sequence))
    _check_closed(sequence)
    place = (sequence.id, series.code, series.version, sequence.key, sequence.period)
    # Closed sequences keep their start when that of the series is lowered; one that goes on does not.
    lowered = [start_lowered(sequence, series)] if series.definition.start < sequence.start else []
    owed = state.owed(sequence)
    if not owed:
        return [PeriodReopened(*place), *lowered]
    last = sequence.start + owed - 1
    if last >= series.max_value:
        raise Rejection(
            Code.SEQUENCE_EXHAUSTED,
            f"sequence {sequence.id} would first skip {owed} values for the restores since it was closed, which "
            f"leaves none up to its maximum {series.max_value}; raise the maximum first",
        )
    return [PeriodReopened(*place), SequenceFenced(*place, ((sequence.start, last),)), *lowered]


def _check_closed(sequence: Sequence) -> None:
    """Refuse a sequence that is open, or of which the closing froze an account that must stay as it is."""
    if not sequence.closed:
        why = "is open"
    elif sequence.closed_by_fence:
        why = "was closed by a restore, because lost events may have issued all that was left; use another period"
    elif sequence.high_water >= sequence.start:
        count = sequence.high_water - sequence.start + 1
        why = f"had passed {count} values when it was closed, so its account stays as it is; use another period"
    else:
        return
    raise Rejection(Code.REOPENING_REFUSED, f"sequence {sequence.id} {why}")


def reopen_series(state: State, command: ReopenSeries) -> list[Event]:
    """What it prints was compared with every series that was defined since, as retired series always are."""
    check_reason(command.reason, at_least=1)
    series = known_series(state, command.series)
    if not state.is_retired(series.code):
        raise Rejection(Code.REOPENING_REFUSED, f"series {series.code} is not retired")
    mine = (each for each in state.sequences() if each.series == series.code and not each.closed and state.owed(each))
    owing = sorted(mine, key=lambda each: each.id)
    fenced = (passed(each, state.series_of(each), state.owed(each), ()) for each in owing)
    return [SeriesReopened(series.code, series.version), *fenced]
