"""`POST /v1/imports`: a register as CSV (its options in the query), or as JSON."""

import asyncio
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api import answers
from api.problems import problem_response
from api.registers import MAX_REGISTER_BYTES, OPTIONS, Columns, rows_of_csv
from api.requests import body_of, envelope_of
from api.responses import json_response
from api.schemas import ImportBody, checked, parse
from ledger.domain.commands import Envelope, Import
from ledger.domain.register import Register, RegisterRow
from ledger.domain.rejection import Code, Rejection
from ledger.queries import Queries
from ledger.service import Ledger

__all__ = ["dry_run", "import_routes"]

COLUMNS = dict(zip(Columns._fields, OPTIONS, strict=True))
SWITCHES = {"true": True, "1": True, "": True, "false": False, "0": False}


def import_routes(ledger: Ledger) -> list[Route]:
    alone = asyncio.Lock()  # one register at a time in memory

    async def imports(request: Request) -> Response:
        body = await body_of(request, at_most=MAX_REGISTER_BYTES)
        # Here the query says what to do, so it is part of what was sent.
        sent = request.scope["query_string"] + b"\n" + body
        envelope = envelope_of(request, "import", sent, ledger.ids)
        async with alone:
            return await _import(ledger, await asyncio.to_thread(_asked, request, body), envelope)

    return [Route("/v1/imports", imports, methods=["POST"])]


async def _import(ledger: Ledger, asked: "_Asked", envelope: Envelope) -> Response:
    options = asked.options
    register = await ledger.register(options.series)
    await _in_thread(register, asked)
    position = await ledger.drop_held(register)
    command = await asyncio.to_thread(
        register.command, skip_bad=options.skip_bad or options.dry_run, max_skipped=options.max_skipped
    )
    if options.dry_run:
        return json_response(await dry_run(ledger, register, command))
    try:
        outcome = await ledger.execute(command, envelope)
    except Rejection as refusal:
        if refusal.code is not Code.IMPORT_REFUSED:
            raise
        return problem_response(refusal, **answers.imported(register, command, position))
    if not outcome.replayed:
        return json_response(answers.imported(register, command, outcome.position))
    register = await ledger.register_again(options.series, outcome)
    await _in_thread(register, asked)
    return json_response(answers.imported_again(register, outcome), replayed=True)


async def dry_run(ledger: Queries, register: Register, command: Import) -> dict[str, Any]:
    """Tell what an import of the rows that fit would do."""
    (trial,) = await ledger.try_out([command])
    return answers.imported(register, command, ledger.position) | answers.tried(trial, ledger.position)


async def _in_thread(register: Register, asked: "_Asked") -> None:
    """Read the rows while others are served; the thread ends with the request."""
    gone = Event()
    try:
        await asyncio.to_thread(_read, register, asked, gone)
    finally:
        gone.set()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What to import and how; `csv` None means that `options` holds the numbers."""

    options: ImportBody
    csv: bytes | None
    columns: Columns


def _asked(request: Request, body: bytes) -> _Asked:
    query = _query(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/csv":
        named = {name: str(query.pop(option)) for name, option in COLUMNS.items() if option in query}
        return _Asked(checked(ImportBody, query), body, Columns(**named))
    try:
        parsed = parse(ImportBody, body)
    except Rejection as flaw:
        if flaw.code is Code.MALFORMED_JSON:
            raise Rejection(flaw.code, f"{flaw.detail}; send a CSV with Content-Type: text/csv") from None
        raise
    if query.keys() - {"dry_run", "skip_bad", "max_skipped"}:
        raise Rejection.invalid(
            "query", "may hold dry_run, skip_bad and max_skipped beside JSON; the rest is in the body"
        )
    return _Asked(checked(ImportBody, parsed.model_dump() | query), None, Columns())


def _query(request: Request) -> dict[str, object]:
    """Read the query as the options that it names; what it does not name stays the body's or the default."""
    given: dict[str, object] = {}
    for name, value in request.query_params.multi_items():
        if name == "series":
            given["series"] = [*request.query_params.getlist("series")]
        elif name in ("dry_run", "skip_bad"):
            if value.lower() not in SWITCHES:
                raise Rejection.invalid(name, "must be true or false")
            given[name] = SWITCHES[value.lower()]
        elif name == "max_skipped":
            given["max_skipped"] = _whole(name, value)
        elif name in OPTIONS:
            given[name] = value
        else:
            known = ", ".join(("series", *OPTIONS, "dry_run", "skip_bad", "max_skipped"))
            raise Rejection.invalid(name[:100], f"is not a known option; known are {known}")
    return given


def _whole(name: str, value: str) -> int:
    if not re.fullmatch(r"\d{1,16}", value, re.ASCII):
        raise Rejection.invalid(name, "must be a whole number")
    return int(value)


def _read(register: Register, asked: _Asked, gone: Event) -> None:
    rows = _rows(asked.options) if asked.csv is None else rows_of_csv(io.BytesIO(asked.csv), asked.columns)
    for row in rows:
        if gone.is_set():
            return
        register.add(*row)


def _rows(options: ImportBody) -> Iterator[RegisterRow]:
    for line, row in enumerate(options.numbers, 1):
        yield RegisterRow(line, row.number, row.document_date, row.document)
