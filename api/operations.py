"""The operations: how a body, and what the path names, become a command, and how its outcome is told.

A batch and the single endpoints do the same by this table. An operation's name is stored in the ids of commands with
an idempotency key: it is never changed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from api import answers
from api.requests import checked_token
from api.schemas import (
    AdjustMaximumBody,
    AdjustSequenceBody,
    AssignBody,
    Body,
    CancelBody,
    ClosePeriodBody,
    ConfirmBody,
    DefineSeriesBody,
    ExtendBody,
    IssueBody,
    LinkBody,
    OpenPeriodBody,
    ReopenBody,
    ReserveBody,
    ResetSequenceBody,
    RetireSeriesBody,
    VoidBody,
)
from ledger.domain.commands import (
    AdjustMaximum,
    AdjustSequence,
    Assign,
    Cancel,
    ClosePeriod,
    Command,
    Confirm,
    DefineSeries,
    Extend,
    Issue,
    Link,
    OpenPeriod,
    ReopenPeriod,
    ReopenSeries,
    ResetSequence,
    RetireSeries,
    Void,
)
from ledger.domain.events import (
    Event,
    NumberAssigned,
    NumbersReserved,
    PeriodOpened,
    SequenceReset,
    SeriesDefined,
)
from ledger.domain.series import Series
from ledger.domain.state import State
from ledger.ports import Ids
from ledger.writer import Outcome

__all__ = ["OPERATIONS", "Making", "Operation", "status_of"]

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Making:
    """What a command takes from the service: fresh tokens, and the lifetime for series that say none."""

    ids: Ids
    default_ttl_seconds: int


@dataclass(frozen=True, slots=True)
class Operation:
    """`path` is where it is posted to, '' where others go there too. `names` is what the path names: token, number,
    sequence or series, or nothing.

    `command` makes the command of a body and the name, `answer` tells the outcome of that command. The answer's status
    is 201 when one of `creates` happened.
    """

    name: str
    path: str
    names: str
    body: type[Body]
    command: Callable[[Any, str, Making], Command]
    answer: Callable[[Any, Outcome, State], Answer]
    creates: tuple[type[Event], ...] = ()


def status_of(operation: Operation, outcome: Outcome) -> int:
    created = any(isinstance(entry.event, operation.creates) for entry in outcome.entries)
    return 201 if created else 200


def _reserve(body: ReserveBody, _: str, making: Making) -> Command:
    return body.reserve(making.ids.token(), making.default_ttl_seconds, body.ttl_seconds)


def _issue(body: IssueBody, _: str, making: Making) -> Command:
    return Issue(body.reserve(making.ids.token(), making.default_ttl_seconds), body.document)


def _confirm(body: ConfirmBody, token: str, _: Making) -> Command:
    return Confirm(checked_token(token), body.document, body.choices(), body.release_rest)


def _extend(body: ExtendBody, token: str, _: Making) -> Command:
    return Extend(checked_token(token), body.ttl_seconds)


def _cancel(body: CancelBody, token: str, _: Making) -> Command:
    return Cancel(checked_token(token), body.reason)


def _assign(body: AssignBody, _: str, __: Making) -> Command:
    return Assign(body.number, body.document, body.reason, body.day(), body.max_skipped)


def _void(body: VoidBody, number: str, making: Making) -> Command:
    return Void(number, body.reason, making.ids.token(), body.replace, body.day())


def _link(body: LinkBody, number: str, _: Making) -> Command:
    return Link(number, body.document, body.reason)


def _define(body: DefineSeriesBody, code: str, _: Making) -> Command:
    return DefineSeries((Series.define(code, body.definition()),))


def _adjust_maximum(body: AdjustMaximumBody, code: str, _: Making) -> Command:
    return AdjustMaximum(code, body.max_value, body.reason)


def _retire(body: RetireSeriesBody, code: str, _: Making) -> Command:
    return RetireSeries(code, body.reason, frozenset(body.accept))


def _reopen_series(body: ReopenBody, code: str, _: Making) -> Command:
    return ReopenSeries(code, body.reason)


def _open_period(body: OpenPeriodBody, code: str, _: Making) -> Command:
    return OpenPeriod(code, body.period, body.key, body.reason, frozenset(body.accept))


def _adjust_sequence(body: AdjustSequenceBody, id: str, _: Making) -> Command:
    return AdjustSequence(id, body.next_value, body.reason, body.max_skipped)


def _reset(body: ResetSequenceBody, id: str, _: Making) -> Command:
    return ResetSequence(id, body.period, body.reason, frozenset(body.accept))


def _close(body: ClosePeriodBody, id: str, _: Making) -> Command:
    return ClosePeriod(id, body.reason, frozenset(body.accept))


def _reopen_period(body: ReopenBody, id: str, _: Making) -> Command:
    return ReopenPeriod(id, body.reason)


def _of(answer: Callable[[Outcome, State], Answer]) -> Callable[[Command, Outcome, State], Answer]:
    """Tell an outcome by its events alone."""
    return lambda _, outcome, state: answer(outcome, state)


_BEGUN = (PeriodOpened, SequenceReset)
_ALL = (
    Operation("reserve", "", "", ReserveBody, _reserve, _of(answers.reserved), (NumbersReserved,)),
    Operation("issue", "/v1/issue", "", IssueBody, _issue, _of(answers.issued), (NumbersReserved,)),
    Operation("confirm", "/v1/reservations/{token}/confirm", "token", ConfirmBody, _confirm, _of(answers.confirmed)),
    Operation("extend", "/v1/reservations/{token}/extend", "token", ExtendBody, _extend, _of(answers.extended)),
    Operation("cancel", "/v1/reservations/{token}/cancel", "token", CancelBody, _cancel, _of(answers.cancelled)),
    Operation("assign", "/v1/assign", "", AssignBody, _assign, _of(answers.assigned), (NumberAssigned,)),
    Operation("void", "/v1/numbers/{number}/void", "number", VoidBody, _void, _of(answers.voided)),
    Operation("link", "/v1/numbers/{number}/document", "number", LinkBody, _link, answers.linked),
    Operation("define_series", "", "series", DefineSeriesBody, _define, answers.defined, (SeriesDefined,)),
    Operation(
        "adjust_maximum",
        "/v1/series/{series}/maximum",
        "series",
        AdjustMaximumBody,
        _adjust_maximum,
        answers.maximum_adjusted,
    ),
    Operation(
        "retire_series", "/v1/series/{series}/retire", "series", RetireSeriesBody, _retire, _of(answers.series_retired)
    ),
    Operation(
        "reopen_series",
        "/v1/series/{series}/reopen",
        "series",
        ReopenBody,
        _reopen_series,
        _of(answers.series_reopened),
    ),
    Operation(
        "open_period",
        "/v1/series/{series}/periods",
        "series",
        OpenPeriodBody,
        _open_period,
        _of(answers.period_opened),
        _BEGUN,
    ),
    Operation(
        "adjust_sequence",
        "/v1/sequences/{sequence}/adjust",
        "sequence",
        AdjustSequenceBody,
        _adjust_sequence,
        _of(answers.sequence_adjusted),
    ),
    Operation(
        "reset_sequence",
        "/v1/sequences/{sequence}/reset",
        "sequence",
        ResetSequenceBody,
        _reset,
        _of(answers.sequence_reset),
        _BEGUN,
    ),
    Operation(
        "close_period",
        "/v1/sequences/{sequence}/close",
        "sequence",
        ClosePeriodBody,
        _close,
        _of(answers.period_closed),
    ),
    Operation(
        "reopen_period",
        "/v1/sequences/{sequence}/reopen",
        "sequence",
        ReopenBody,
        _reopen_period,
        _of(answers.period_reopened),
    ),
)
OPERATIONS = {operation.name: operation for operation in _ALL}
