"""Sequences by hand: let one go on further up, begin a period before its time, close a period."""

from collections.abc import Iterable
from itertools import product
from math import prod

from ledger.domain import calendar
from ledger.domain.calendar import Reset
from ledger.domain.commands import AdjustSequence, ClosePeriod, OpenPeriod, ResetSequence
from ledger.domain.decisions.guards import (
    active_series,
    begun,
    check_reason,
    key_of,
    place_of,
    present_series,
    sequence_of,
)
from ledger.domain.events import Event, PeriodClosed, PeriodOpened, ReservationExpired, SequenceAdjusted
from ledger.domain.ranges import Ranges
from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import Sequence, ValueState
from ledger.domain.series import DateOrder, Series
from ledger.domain.state import State

__all__ = ["MAX_CLOSED_RANGES", "adjust", "close", "closing", "open_period", "reset"]

MAX_CLOSED_RANGES = 300_000  # of one closing's event, which then stays below the store's limit
MAX_EXPIRED = 256  # expiries that a closing records by itself; the writer records more in several transactions
MAX_NAMED = 5


def adjust(state: State, command: AdjustSequence, now: int) -> list[Event]:
    check_reason(command.reason, at_least=1)
    place, key, period = place_of(state, command.sequence)
    series = present_series(state, place)
    sequence, events = begun(state, series, key, period, now)
    first, following = sequence.high_water + 1, command.next_value
    if following > series.max_value:
        raise Rejection(
            Code.OUT_OF_RANGE,
            f"next_value {following} is above {series.max_value}, the maximum of series {series.code}; raise it first",
        )
    if following <= first:
        raise Rejection(
            Code.NOT_FORWARD,
            f"next_value {following} is not ahead: sequence {sequence.id} goes on at {first} already, never back",
        )
    skipped = ((first, following - 1),)
    return [*events, SequenceAdjusted(sequence.id, series.code, series.version, key, period, skipped)]


def open_period(state: State, command: OpenPeriod, now: int) -> list[Event]:
    check_reason(command.reason)
    series = active_series(state, command.series)
    if command.key is not None or not series.key:
        key = key_of(series, command.key or {})
        return _begin(state, series, key, _checked_name(series, command.period), now)
    _checked_name(series, command.period)
    today = series.period(calendar.date_at(now, series.definition.timezone))
    if command.period <= today or state.is_opened(series, command.period):
        raise Rejection(
            Code.PERIOD_ALREADY_OPEN, f"period {command.period} of series {series.code} is open already, for every key"
        )
    _check_some_key_may_use(state, series, command.period)
    return [PeriodOpened(series.code, series.version, command.period)]


def reset(state: State, command: ResetSequence, now: int) -> list[Event]:
    check_reason(command.reason)
    place, key, period = place_of(state, command.sequence)
    series = present_series(state, place)
    following = command.period or calendar.following(period, series.definition.reset, series.fiscal_year_start)
    if following is None and series.definition.reset is not Reset.NEVER:
        raise Rejection.invalid("period", f"is not given, and none follows {period} before {calendar.LAST_DATE}")
    following = _checked_name(series, following or "-")
    if following <= period:
        raise Rejection(
            Code.NOT_FORWARD,
            f"period {following} does not follow {period}, that of sequence {command.sequence}; name a later one",
        )
    return _begin(state, series, key, following, now)


def close(state: State, command: ClosePeriod, now: int) -> list[Event]:
    check_reason(command.reason)
    sequence, series, events = _to_close(state, command.sequence, now)
    expired = _expired(state, sequence, now)
    return [*events, *expired, closing(sequence, series, expired)]


def closing(sequence: Sequence, series: Series, ended: Iterable[Event]) -> PeriodClosed:
    """Close a sequence with the account of what it passed; `ended` are events that it has not seen."""
    return PeriodClosed(
        sequence.id,
        series.code,
        series.version,
        sequence.key,
        sequence.period,
        sequence.start,
        sequence.high_water,
        _accounting(sequence, ended),
    )


def _to_close(state: State, id: str, now: int) -> tuple[Sequence, Series, list[Event]]:
    """Find a sequence, of any era; one that has not begun begins, so that its period can be closed all the same."""
    known = state.sequence(id)
    if known is not None:
        return sequence_of(state, id), state.series_of(known), []
    place, key, period = place_of(state, id)
    series = present_series(state, place)
    sequence, events = begun(state, series, key, period, now)
    return sequence, series, events


def _begin(state: State, series: Series, key: tuple[str, ...], period: str, now: int) -> list[Event]:
    """Begin a sequence before its first number."""
    _, events = begun(state, series, key, period, now, ahead=True)
    if not events:
        raise Rejection(
            Code.PERIOD_ALREADY_OPEN,
            f"sequence {series.sequence_id(key, period)} has begun already, and only once; name a later period",
        )
    latest = state.latest_period(series.stem(key))
    if series.definition.date_order is DateOrder.PERIOD and latest is not None and period < latest:
        raise _out_of_order(series, period, f"period {latest} of {series.stem(key)} was already used")
    return events


def _check_some_key_may_use(state: State, series: Series, period: str) -> None:
    """Refuse a period that no key can use any more, because each has used a later one."""
    listed = [series.definition.dimensions[name].values for name in series.key]
    if series.definition.date_order is DateOrder.NONE or not all(listed):
        return
    keys = prod(map(len, listed))
    latest = state.latest_periods() if keys <= len(state.latest_periods()) else {}
    if latest and all(latest.get(series.stem(key), "") > period for key in product(*listed)):
        raise _out_of_order(series, period, f"every key of series {series.code} has used a later period already")


def _out_of_order(series: Series, period: str, why: str) -> Rejection:
    return Rejection(
        Code.DATE_OUT_OF_ORDER,
        f"{why}, and series {series.code} uses its periods in order (`date_order`), so {period} would never take a "
        "number; name a later period",
    )


def _checked_name(series: Series, period: str) -> str:
    reset = series.definition.reset
    if reset is Reset.NEVER:
        raise Rejection(
            Code.RESET_NOT_ALLOWED, f"series {series.code} never resets, so it has no periods; amend its reset first"
        )
    if calendar.first_day(period, reset, series.fiscal_year_start) is None:
        first, last = (series.period(day) for day in (calendar.FIRST_DATE, calendar.LAST_DATE))
        raise Rejection.invalid(
            "period", f"is {period!r}, which is no {reset.value} period; they are written {first} to {last}"
        )
    return period


def _expired(state: State, sequence: Sequence, now: int) -> list[ReservationExpired]:
    """Expire what is due; a Rejection when reservations are open still."""
    if not sequence.counts().get(ValueState.RESERVED):
        return []
    held = [each for each in state.reservations() if each.numbering.sequence == sequence.id]
    still = [each for each in held if now < each.expires_at]
    if still:
        latest = calendar.instant_text(max(each.expires_at for each in still))
        tokens = ", ".join(each.token for each in still[:MAX_NAMED]) + (" and others" if still[MAX_NAMED:] else "")
        raise Rejection(
            Code.RESERVATIONS_OPEN,
            f"sequence {sequence.id} has {len(still)} open reservations, the last until {latest}: {tokens}; "
            "confirm or cancel them, or wait",
            members={"open_reservations": len(still), "until": latest},
        )
    if len(held) > MAX_EXPIRED:
        raise Rejection(
            Code.RESERVATIONS_OPEN,
            f"sequence {sequence.id} has {len(held)} reservations whose expiry is being recorded; try again shortly",
        )
    return [ReservationExpired(each.numbering, each.token, each.ranges) for each in held]


def _accounting(sequence: Sequence, ended: Iterable[Event]) -> tuple[tuple[ValueState, Ranges], ...]:
    final = sequence.copy()
    for event in ended:
        for end, ranges in event.changes:
            final.settle(ranges, end)
    found: dict[ValueState, list[tuple[int, int]]] = {}
    for total, (first, last, state) in enumerate(final.ranges(sequence.start)):
        if total == MAX_CLOSED_RANGES:
            raise Rejection(
                Code.ACCOUNTING_TOO_LARGE,
                f"sequence {sequence.id} has more than {MAX_CLOSED_RANGES} ranges of values in one state, and a "
                "closing holds no more; leave its period open",
            )
        found.setdefault(state, []).append((first, last))
    return tuple((state, tuple(found[state])) for state in ValueState if state in found)
