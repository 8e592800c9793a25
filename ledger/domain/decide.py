"""Judge a command on the state: the events that it causes, or a rejection that changes nothing.

Pure: the same state, command and instant give the same answer. `now` is the log's own clock, in microseconds.
What each command asks for is in `decisions`. The guards stand in the order in which a client should mend its request,
and tests hold that order.
"""

from typing import assert_never

from ledger.domain.commands import (
    AcceptStops,
    AdjustMaximum,
    AdjustSequence,
    Assign,
    Cancel,
    CloseLedger,
    ClosePeriod,
    Confirm,
    Decidable,
    DefineSeries,
    Expire,
    Extend,
    Fence,
    Import,
    Issue,
    OpenLedger,
    OpenPeriod,
    RaiseFormat,
    ReopenPeriod,
    ReopenSeries,
    Reserve,
    ResetSequence,
    RetireSeries,
    WithOriginal,
)
from ledger.domain.decisions import (
    closing,
    formats,
    numbers,
    registers,
    reopenings,
    reservations,
    restores,
    sequences,
    series,
    stops,
)
from ledger.domain.decisions.acts import accepted
from ledger.domain.events import Event
from ledger.domain.rejection import Rejection
from ledger.domain.state import State

__all__ = ["decide"]


def decide(state: State, command: Decidable, now: int) -> list[Event] | Rejection:
    try:
        return _events(state, command, now)
    except Rejection as rejection:
        return rejection


def _events(state: State, command: Decidable, now: int) -> list[Event]:
    if state.closed is not None:
        closing.check_allowed(state, command)
    match command:
        case Reserve():
            return reservations.reserve(state, command, now)
        case Confirm():
            return [reservations.confirm(state, command, now)]
        case Issue():
            return reservations.issue(state, command, now)
        case Extend():
            return [reservations.extend(state, command, now)]
        case Cancel():
            return [reservations.cancel(state, command, now)]
        case Expire(token=token):
            return reservations.expire(state, token, now)
        case Assign():
            return accepted(state, command, numbers.assign(state, command, now), now)
        case WithOriginal():
            return numbers.correct(state, command, now)
        case AdjustSequence():
            return accepted(state, command, sequences.adjust(state, command, now), now)
        case OpenPeriod():
            return accepted(state, command, sequences.open_period(state, command, now), now)
        case ResetSequence():
            return accepted(state, command, sequences.reset(state, command, now), now)
        case ClosePeriod():
            return accepted(state, command, sequences.close(state, command, now), now)
        case ReopenPeriod():
            return reopenings.reopen_period(state, command)
        case ReopenSeries():
            return reopenings.reopen_series(state, command)
        case Import():
            return accepted(state, command, registers.take_over(state, command, now), now)
        case DefineSeries(series=all_series):
            return series.define(state, all_series)
        case AdjustMaximum():
            return series.adjust_maximum(state, command)
        case RetireSeries():
            return accepted(state, command, series.retire(state, command), now)
        case Fence():
            return restores.fence(state, command)
        case RaiseFormat():
            return formats.raise_format(state, command)
        case CloseLedger():
            return closing.close_ledger(state, command)
        case OpenLedger():
            return closing.open_ledger(state, command)
        case AcceptStops():
            return stops.accept_stops(command)
        case _:
            assert_never(command)
