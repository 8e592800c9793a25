"""Acts that cannot be undone: what each needs before it is carried out.

Beyond a bound an act is refused unless it says what it accepts. It is judged by its own events, after all other
guards, so that the refusal can tell the whole effect in numbers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar, assert_never

from ledger.domain import calendar
from ledger.domain.acceptance import MAX_FREELY_SKIPPED, MAX_MONTHS_AHEAD, Acceptance, Needs
from ledger.domain.calendar import Reset
from ledger.domain.commands import (
    AdjustSequence,
    Assign,
    BaseCommand,
    ClosePeriod,
    Import,
    OpenPeriod,
    ResetSequence,
    RetireSeries,
)
from ledger.domain.effects import Effect, effect_of, left_in, skips
from ledger.domain.events import Event, PeriodClosed, PeriodOpened, SequenceReset
from ledger.domain.ranges import Ranges, count_of
from ledger.domain.rejection import Code, Hint, Rejection
from ledger.domain.sequence import Sequence
from ledger.domain.series import Series
from ledger.domain.state import State

__all__ = ["Act", "accepted", "accepting", "needs_in"]

Ending = ClosePeriod | RetireSeries
Beginning = OpenPeriod | ResetSequence
Skipping = AdjustSequence | Assign | Import
Act = Ending | Beginning | Skipping

Asked = TypeVar("Asked", bound=BaseCommand)

ENOUGH = 2**53 - 1  # values: more than any sequence holds


def accepted(state: State, command: Act, events: list[Event], now: int) -> list[Event]:
    """Returns the events of an act that needs no more than it says; raises a Rejection with its effect otherwise."""
    match command:
        case AdjustSequence() | Assign() | Import():
            _check_skipped(state, command, events, now)
        case ClosePeriod():
            _check_running(state, command, events, now, _closed_early(state, events, now))
        case RetireSeries(series=code):
            _check_running(state, command, events, now, _retired_early(state, state.series_now(code), now))
        case OpenPeriod() | ResetSequence():
            _check_far(state, command, events, now)
        case _:
            assert_never(command)
    return events


def accepting(command: Asked, needs: Needs | None = None) -> Asked:
    """Returns the command with all that it `needs`, or with all that there is to accept."""
    if isinstance(command, Skipping):
        limit = ENOUGH if needs is None or needs.max_skipped is None else needs.max_skipped
        return replace(command, max_skipped=limit)
    if isinstance(command, Ending | Beginning):
        return replace(command, accept=frozenset(Acceptance) if needs is None else command.accept | {*needs.accept})
    return command


def needs_in(rejection: Rejection) -> Needs | None:
    """Returns what a refused command needs to be carried out; None when that is not why it was refused."""
    if not isinstance(rejection, _Needed):
        return None
    return rejection.needs


class _Needed(Rejection):
    """The refusal of an act that must accept more than it does; its members hold the needs and the effect."""

    def __init__(self, code: Code, happened: str, hint: Hint, needs: Needs, effect: Effect) -> None:
        super().__init__(code, happened, members={"needs": needs.told(), "effect": effect.told()}, hint=hint)
        self.needs = needs


# Skipping


def _check_skipped(state: State, command: Skipping, events: list[Event], now: int) -> None:
    """Refuse to skip more than `max_skipped`, or without it more than is skipped freely."""
    limit = command.max_skipped
    if limit is not None and limit < 0:
        raise Rejection.invalid("max_skipped", f"must be 0 or more, not {limit}")
    skipped = skips(events)
    total = sum(map(count_of, skipped.values()))
    if limit is None:
        is_too_much = total > MAX_FREELY_SKIPPED or any(
            _is_tenth(state, events, *each, now) for each in skipped.items()
        )
        told = (
            f"without max_skipped at most {MAX_FREELY_SKIPPED}, or a tenth of what is left in a sequence, are skipped"
        )
    else:
        is_too_much, told = total > limit, f"max_skipped is {limit}"
    if is_too_much:
        effect = effect_of(state, events, now)
        happened = f"{_told_skips(skipped, effect)}, and {told}; nothing was done"
        raise _Needed(Code.TOO_MANY_SKIPPED, happened, Hint.RAISE_MAX_SKIPPED, Needs(max_skipped=total), effect)


def _is_tenth(state: State, events: list[Event], id: str, skipped: Ranges, now: int) -> bool:
    """Say whether more than a tenth of what is left in a sequence would be skipped."""
    sequence = state.sequence(id)
    if sequence is None:
        place = next(event.place for event in events if event.place and event.place.sequence == id)
        start = state.series(place.series, place.series_version).definition.start
        sequence = Sequence(id, place.series, place.key, place.period, start)
    return 10 * count_of(skipped) > left_in(state, sequence, now)


def _told_skips(skipped: Mapping[str, Ranges], effect: Effect) -> str:
    id, ranges = max(skipped.items(), key=lambda each: count_of(each[1]))
    more = f" (and {len(skipped) - 1} sequences more)" if len(skipped) > 1 else ""
    return (
        f"{effect.skipped} values would be skipped, {effect.percent_skipped} % of the {effect.left[0]} that are left: "
        f"{count_of(ranges)} from {ranges[0][0]} to {ranges[-1][1]} in sequence {id}{more}"
    )


# Ending


def _closed_early(state: State, events: list[Event], now: int) -> str | None:
    """Say that the period is still running: it is today's in the zone of the series, or a later one.

    A sequence that issues no more numbers, because its series is retired or counts otherwise now, is over.
    """
    closed = next(event for event in events if isinstance(event, PeriodClosed))
    series = state.series(closed.series, closed.series_version)
    known = state.sequence(closed.sequence)
    if closed.period < _today(series, now) or (known is not None and state.is_over(known)):
        return None
    return f"period {closed.period} of sequence {closed.sequence} {_told_end(series, closed.period)}"


def _retired_early(state: State, series: Series, now: int) -> str | None:
    """Say that today's period, or a later one, is still running: until all sequences of it are closed."""
    today = _today(series, now)
    mine = (each for each in state.sequences() if each.series == series.code and each.era == series.era)
    current = [each for each in mine if each.period >= today]
    is_opened = any(period > today for period in state.opened_periods(series))
    if current and all(each.closed for each in current) and not is_opened:
        return None
    return f"period {today} of series {series.code} {_told_end(series, today)}"


def _check_running(state: State, command: Ending, events: list[Event], now: int, running: str | None) -> None:
    if running is None or Acceptance.RUNNING_PERIOD in command.accept:
        return
    effect = effect_of(state, events, now)
    lost = f"the {effect.left[0] - effect.left[1]} values that are left in it"
    if isinstance(command, RetireSeries):
        count = len(effect.sequences)
        lost = f"{lost}, in {count} sequence{'s' * (count != 1)}, and those of sequences that have not begun,"
    happened = f"{running}: {lost} could not be issued any more; nothing was done"
    needs = Needs((Acceptance.RUNNING_PERIOD,))
    raise _Needed(Code.ACCEPTANCE_NEEDED, happened, Hint.ACCEPT_RUNNING_PERIOD, needs, effect)


def _today(series: Series, now: int) -> str:
    return series.period(calendar.date_at(now, series.definition.timezone))


def _told_end(series: Series, period: str) -> str:
    reset, start = series.definition.reset, series.fiscal_year_start
    if reset is Reset.NEVER:
        return "never ends"
    following = calendar.following(period, reset, start)
    first = calendar.first_day(following, reset, start) if following else None
    last = first - timedelta(days=1) if first else calendar.LAST_DATE
    return f"runs until {last.isoformat()}"


# Beginning


def _check_far(state: State, command: Beginning, events: list[Event], now: int) -> None:
    if Acceptance.FAR_PERIOD in command.accept:
        return
    for series, period in _begun(state, events):
        first = calendar.first_day(period, series.definition.reset, series.fiscal_year_start)
        today = calendar.date_at(now, series.definition.timezone)
        if first is not None and first > calendar.months_after(today, MAX_MONTHS_AHEAD):
            raise _Needed(
                Code.ACCEPTANCE_NEEDED,
                f"period {period} of series {series.code} begins on {first.isoformat()}, {(first - today).days} days "
                f"ahead, which is more than {MAX_MONTHS_AHEAD} months; nothing was done",
                Hint.ACCEPT_FAR_PERIOD,
                Needs((Acceptance.FAR_PERIOD,)),
                effect_of(state, events, now),
            )


def _begun(state: State, events: list[Event]) -> Iterator[tuple[Series, str]]:
    for event in events:
        if isinstance(event, PeriodOpened | SequenceReset):
            yield state.series(event.series, event.series_version), event.period
