"""`POST /v1/batch`: many commands in one request, in order; each by itself, or with `atomic` all or none."""

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import groupby
from typing import NamedTuple, assert_never

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api import answers
from api.operations import OPERATIONS, Making, Operation, status_of
from api.problems import problem_document
from api.requests import body_of, envelope_of, flaw_of_header
from api.responses import json_response
from api.schemas import MAX_COMMANDS, ActBody, BatchBody, checked, parse
from ledger.codec import command_id
from ledger.domain.commands import Command, DefineSeries, Envelope, Issue, Reserve
from ledger.domain.decisions.series import MAX_DEFINED
from ledger.domain.events import (
    LedgerEvent,
    NumberEvent,
    NumbersConfirmed,
    NumbersReserved,
    PeriodOpened,
    ReservationEnded,
    ReservationExtended,
    SequenceEvent,
    SeriesEvent,
)
from ledger.domain.ranges import count_of
from ledger.domain.rejection import Code, Rejection
from ledger.domain.state import State
from ledger.ports import Fault, Ids
from ledger.service import Ledger
from ledger.writer import Outcome

__all__ = ["batch_routes", "carry_out"]

KEY = "idempotency_key"
MAX_NUMBERS = 100_000  # of all commands of a batch

Answer = dict[str, object]


class Item(NamedTuple):
    """One command of a batch."""

    operation: Operation
    command: Command
    envelope: Envelope
    is_dry_run: bool = False


class Tried(NamedTuple):
    """What a dry run tells."""

    answer: Answer


End = Outcome | Tried | Rejection | Fault


def batch_routes(ledger: Ledger, default_ttl_seconds: int) -> list[Route]:
    making = Making(ledger.ids, default_ttl_seconds)

    async def batch(request: Request) -> Response:
        body = await body_of(request)
        asked = parse(BatchBody, body)
        answer, replayed = await carry_out(ledger, asked, envelope_of(request, "batch", body, ledger.ids), making)
        return json_response(answer, replayed=replayed)

    return [Route("/v1/batch", batch, methods=["POST"])]


async def carry_out(ledger: Ledger, asked: BatchBody, envelope: Envelope, making: Making) -> tuple[Answer, bool]:
    """Answer the commands one by one, and say whether all that were carried out had been before.

    A Rejection of an atomic batch names the `index` of the command.
    """
    items = [_item(index, given, envelope, making) for index, given in enumerate(asked.commands)]
    _check_size(items)
    if envelope.idempotency_key is not None and not _are_tried(items):
        places = (_envelope_at(place, envelope, making.ids) for place in range(MAX_COMMANDS))
        await ledger.check_key(envelope, [each.command_id for each in places])
    carry_out_all = _try_together if _are_tried(items) else _together
    ended = await (carry_out_all(ledger, items, envelope) if asked.atomic else _each(ledger, items))
    outcomes = [each for each in ended if isinstance(each, Outcome)]
    replayed = bool(outcomes) and all(each.replayed for each in outcomes)
    told = _tell(items, ended, ledger.state)
    if not (replayed and envelope.idempotency_key):  # else the answer as a whole is the first one again
        told = [_marked(answer, end) for answer, end in zip(told, ended, strict=True)]
    position = max((outcome.position for outcome in outcomes), default=ledger.position)
    return {"answers": told, "position": position}, replayed


def _check_size(items: list[Item | Rejection]) -> None:
    """Refuse what would be answered with too many numbers, or would hold the log's lock for too long."""
    commands = [item.command for item in items if isinstance(item, Item)]
    asked = [one.reserve if isinstance(one, Issue) else one for one in commands if isinstance(one, Issue | Reserve)]
    total = sum(max(each.count, 0) for each in asked)
    if total > MAX_NUMBERS:
        raise Rejection.invalid(
            "commands", f"ask for {total} numbers, and a batch gives {MAX_NUMBERS} at most; split it"
        )
    defined = sum(isinstance(one, DefineSeries) for one in commands)
    if defined > MAX_DEFINED:
        raise Rejection.invalid("commands", f"define {defined} series, and a batch {MAX_DEFINED} at most; split it")


def _marked(answer: Answer, end: End) -> Answer:
    return answer | {"replayed": True} if isinstance(end, Outcome) and end.replayed else answer


def _are_tried(items: Sequence[Item | Rejection]) -> bool:
    """Say whether nothing that a batch holds would write anything: it is a dry run as a whole."""
    return all(item.is_dry_run for item in items if isinstance(item, Item))


async def _each(ledger: Ledger, items: list[Item | Rejection]) -> list[End]:
    """Carry out the commands in order; one that is only tried out sees what those before it have done."""
    ended = list[End]()
    for is_dry_run, group in groupby(items, lambda item: isinstance(item, Item) and item.is_dry_run):
        some = list(group)
        ended += await (_tried(ledger, some) if is_dry_run else _executed(ledger, some))
    return ended


async def _executed(ledger: Ledger, items: list[Item | Rejection]) -> list[End]:
    sound = [item for item in items if isinstance(item, Item)]
    ended = iter(await ledger.execute_each((item.command, item.envelope) for item in sound))
    return [next(ended) if isinstance(item, Item) else item for item in items]


async def _tried(ledger: Ledger, items: list[Item | Rejection]) -> list[End]:
    ended = list[End]()
    for item in items:
        assert isinstance(item, Item)
        try:
            (trial,) = await ledger.try_out([item.command])
            ended.append(Tried(answers.tried(trial, ledger.position)))
        except (Rejection, Fault) as why:
            ended.append(why)
    return ended


async def _together(ledger: Ledger, items: list[Item | Rejection], envelope: Envelope) -> list[End]:
    sound = _sound(items)
    if any(item.is_dry_run for item in sound):
        raise Rejection.invalid("commands", "must all have dry_run, or none, where the batch is atomic; split it")
    parts = [(item.command, item.envelope) for item in sound]
    return list((await ledger.execute_together(parts, envelope)).parts)


async def _try_together(ledger: Ledger, items: list[Item | Rejection], _: Envelope) -> list[End]:
    """Try out all commands of an atomic batch, each after those before it."""
    trials = await ledger.try_out([item.command for item in _sound(items)])
    return [Tried(answers.tried(trial, ledger.position)) for trial in trials]


def _sound(items: Iterable[Item | Rejection]) -> list[Item]:
    """Give all commands of an atomic batch; raises the first that cannot be read."""
    sound = []
    for index, item in enumerate(items):
        if isinstance(item, Rejection):
            raise item.of_all(index)
        sound.append(item)
    return sound


def _tell(items: list[Item | Rejection], ended: Sequence[End], state: State) -> list[Answer]:
    """Answer each command as its own endpoint would, with the status; without numbers beyond what a request carries."""
    left, told = MAX_NUMBERS, list[Answer]()
    for index, (item, end) in enumerate(zip(items, ended, strict=True)):
        if isinstance(end, Tried):
            told.append({"status": 200, **end.answer})
            continue
        if isinstance(item, Rejection) or not isinstance(end, Outcome):
            told.append(_refused(index, end))
            continue
        numbers = _numbers_in(end)
        left -= numbers
        is_whole = left >= 0 or not numbers
        answer = item.operation.answer(item.command, end, state) if is_whole else _briefly(end)
        told.append({"status": status_of(item.operation, end), **answer})
    return told


def _briefly(end: Outcome) -> Answer:
    """Say what was done, but for the numbers; `GET /v1/reservations/{token}` has them."""
    token = end.last.token if end.last else None
    named = {} if token is None else {"token": token}
    return {**named, "position": end.position, "numbers_left_out": _numbers_in(end)}


def _refused(index: int, told: Outcome | Rejection | Fault) -> Answer:
    assert not isinstance(told, Outcome)
    return problem_document(told.of_command(index) if isinstance(told, Rejection) else told)


def _numbers_in(end: Outcome) -> int:
    """Count the numbers that an answer tells."""
    match end.last:
        case None:
            return 0
        case NumbersReserved(ranges=ranges) | ReservationEnded(ranges=ranges):
            return count_of(ranges)
        case NumbersConfirmed(ranges=ranges, released=released):
            return count_of(ranges) + count_of(released)
        case ReservationExtended() | NumberEvent() | SequenceEvent() | SeriesEvent() | PeriodOpened() | LedgerEvent():
            return 0
        case other:
            assert_never(other)


# From what was sent to commands


def _item(index: int, given: object, envelope: Envelope, making: Making) -> Item | Rejection:
    try:
        return _read(index, given, envelope, making)
    except Rejection as flaw:
        return flaw


def _read(index: int, given: object, envelope: Envelope, making: Making) -> Item:
    if not isinstance(given, dict):
        raise Rejection(Code.INVALID_FORMAT, "a command must be a JSON object with op and its fields")
    fields = dict(given)
    operation = _operation(fields.pop("op", None))
    own_key = fields.pop(KEY, None)
    name = _text(operation.names, fields.pop(operation.names, None)) if operation.names else ""
    body = checked(operation.body, fields)
    command = operation.command(body, name, making)
    is_dry_run = isinstance(body, ActBody) and body.dry_run
    if own_key is None:
        return Item(operation, command, _envelope_at(index, envelope, making.ids), is_dry_run)
    return Item(operation, command, _envelope_of(operation, _key(own_key), given, envelope), is_dry_run)


def _operation(name: object) -> Operation:
    operation = OPERATIONS.get(name) if isinstance(name, str) else None
    if operation is None:
        raise Rejection.invalid("op", f"must be one of {', '.join(OPERATIONS)}")
    return operation


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise Rejection.invalid(field, "is missing" if value is None else "must be a text")
    return value


def _key(value: object) -> str:
    key = _text(KEY, value)
    flaw = flaw_of_header(key)
    if flaw:
        raise Rejection.invalid(KEY, flaw)
    return key


def _envelope_at(index: int, envelope: Envelope, ids: Ids) -> Envelope:
    """Give a command the batch's key and its place there; its fingerprint is that of the whole request."""
    if envelope.idempotency_key is None:
        return envelope._replace(command_id=ids.command_id())
    key = f"{envelope.idempotency_key}[{index}]"
    return envelope._replace(command_id=command_id(envelope.actor, "batch", key), idempotency_key=key)


def _envelope_of(operation: Operation, key: str, given: object, envelope: Envelope) -> Envelope:
    """Give a command its own key, in the name of its operation as if it came alone."""
    content = json.dumps(given, sort_keys=True, separators=(",", ":"))
    return envelope._replace(
        command_id=command_id(envelope.actor, operation.name, key),
        idempotency_key=key,
        fingerprint=sha256(f"batch\n{content}".encode()).hexdigest(),
    )
