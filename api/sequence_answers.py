"""What is told of sequences: how full each is, what was done to it, and what became of every value."""

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from api.number_answers import cause_answer, ranges_answer
from ledger.domain.accounting import Account
from ledger.domain.events import (
    PeriodClosed,
    PeriodOpened,
    PeriodReopened,
    Place,
    SequenceAdjusted,
    SequenceFenced,
    SequenceReset,
)
from ledger.domain.ranges import count_of
from ledger.domain.results import event_of, event_of_if_any
from ledger.domain.sequence import Sequence as Counter
from ledger.domain.sequence import ValueState
from ledger.domain.series import Reuse, Series
from ledger.domain.state import State
from ledger.domain.utilisation import Utilisation
from ledger.views import AccountView, SequenceView
from ledger.writer import Outcome

__all__ = [
    "gaps",
    "period_closed",
    "period_opened",
    "period_reopened",
    "sequence_adjusted",
    "sequence_answer",
    "sequence_reset",
    "sequences_answer",
    "told_sequence",
]

Answer = dict[str, Any]


# What there is


def sequence_answer(view: SequenceView) -> Answer:
    return told_sequence(view) | {"position": view.position}


def sequences_answer(found: Sequence[SequenceView], limit: int, position: int) -> Answer:
    """Give a page of sequences, of which one more than `limit` was looked for; `next` is what the next comes after."""
    page = [told_sequence(each) for each in found[:limit]]
    return {"sequences": page, "next": page[-1]["sequence"] if found[limit:] else None, "position": position}


def gaps(view: AccountView, *, first: int | None, states: Container[ValueState]) -> Answer:
    """Account for the values of a sequence; `next` is the `first` of the next part.

    `frozen` is what the closing of the period found, of the same part; it does not change any more.
    """
    sequence, accounting = view.sequence, view.accounting
    answer = {
        **_place(sequence, view.series),
        "start": sequence.start,
        "high_water": sequence.high_water,
        "counts": _counts(sequence.counts()),
        "closed": sequence.closed,
        "ranges": [_account(account) for account in accounting.accounts()],
        "next": accounting.following,
    }
    if view.closing:
        answer["frozen"] = {
            **_frozen(view.closing.event),
            "ranges": list(_frozen_ranges(view.closing.event, first or 0, accounting.following, states)),
            "cause": cause_answer(view.closing.cause),
        }
    return answer | {"position": view.position}


# What was done


def sequence_adjusted(outcome: Outcome, state: State) -> Answer:
    event = event_of(SequenceAdjusted, outcome.events)
    return _of_event(event, state) | {
        "skipped": ranges_answer(event.skipped),
        "next_value": event.skipped[-1][1] + 1,
        "position": outcome.position,
    }


def sequence_reset(outcome: Outcome, state: State) -> Answer:
    """Say which sequence began, and where, if a restore passed over its first values."""
    event, fenced = event_of(SequenceReset, outcome.events), event_of_if_any(SequenceFenced, outcome.events)
    next_value = fenced.skipped[-1][1] + 1 if fenced else event.start
    return _of_event(event, state) | {"next_value": next_value, "position": outcome.position}


def period_opened(outcome: Outcome, state: State) -> Answer:
    """Say which period may be used: of a whole series, or of one sequence, which then began."""
    event = event_of_if_any(PeriodOpened, outcome.events)
    if event is None:
        return sequence_reset(outcome, state)
    return {
        "series": event.series,
        "series_version": event.series_version,
        "period": event.period,
        "position": outcome.position,
    }


def period_closed(outcome: Outcome, state: State) -> Answer:
    event = event_of(PeriodClosed, outcome.events)
    return _of_event(event, state) | {"closed": True, **_frozen(event), "position": outcome.position}


def period_reopened(outcome: Outcome, state: State) -> Answer:
    """Say which sequence goes on, and what it first skipped for restores."""
    event, fenced = event_of(PeriodReopened, outcome.events), event_of_if_any(SequenceFenced, outcome.events)
    skipped = ranges_answer(fenced.skipped) if fenced else []
    return _of_event(event, state) | {"closed": False, "skipped": skipped, "position": outcome.position}


# Parts


def told_sequence(view: SequenceView) -> Answer:
    """Tell a sequence, whatever the position is."""
    sequence, series, utilisation = view.sequence, view.series, view.utilisation
    return {
        **_place(sequence, series),
        "start": sequence.start,
        "high_water": sequence.high_water,
        "next_value": _next_value(sequence, series, utilisation),
        "max_value": utilisation.max_value,
        "left": utilisation.left,
        "percent": utilisation.percent,
        "warnings": utilisation.warnings,
        "per_day": round(utilisation.per_day, 3),
        "exhausted_on": utilisation.exhausted_on.isoformat() if utilisation.exhausted_on else None,
        "counts": _counts(sequence.counts()),
        "closed": sequence.closed,
    }


def _place(sequence: Counter, series: Series) -> Answer:
    return {
        "sequence": sequence.id,
        "series": series.code,
        "series_version": series.version,
        "key": dict(zip(series.key, sequence.key, strict=True)),
        "period": sequence.period,
    }


def _of_event(event: Place, state: State) -> Answer:
    series = state.series(event.series, event.series_version)
    return {
        "sequence": event.sequence,
        "series": event.series,
        "series_version": event.series_version,
        "key": dict(zip(series.key, event.key, strict=True)),
        "period": event.period,
    }


def _next_value(sequence: Counter, series: Series, utilisation: Utilisation) -> int | None:
    """Give the value that is reserved next; None when there is none."""
    if not utilisation.left:
        return None
    return sequence.next_ranges(1, utilisation.max_value, reuse=series.definition.reuse is Reuse.GAPLESS)[0][0]


def _counts(counts: Mapping[ValueState, int]) -> dict[str, int]:
    """Count every state, also those that no value is in."""
    return {state.value: counts.get(state, 0) for state in ValueState}


def _account(account: Account) -> Answer:
    return {
        "first": account.first,
        "last": account.last,
        "state": account.state.value,
        "cause": cause_answer(account.cause),
    }


def _frozen(closed: PeriodClosed) -> Answer:
    return {
        "start": closed.start,
        "high_water": closed.high_water,
        "counts": _counts({state: count_of(ranges) for state, ranges in closed.accounting}),
    }


def _frozen_ranges(
    closed: PeriodClosed, first: int, following: int | None, states: Container[ValueState]
) -> Iterator[Answer]:
    """Give what the closing found of the values from `first` until before `following`, in order."""
    last = closed.high_water if following is None else following - 1
    found = ((*each, state) for state, ranges in closed.accounting if state in states for each in ranges)
    for low, high, state in sorted(found):
        if low <= last and high >= first:
            yield {"first": max(low, first), "last": min(high, last), "state": state.value}
