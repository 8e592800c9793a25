"""What every request carries beside its meaning: a bounded body, who asks, and an idempotency key."""

from collections.abc import Container
from hashlib import sha256
from typing import TypeVar

from starlette.requests import Request

from api.schemas import Query, checked
from ledger.codec import command_id
from ledger.domain.commands import Envelope
from ledger.domain.rejection import Code, Rejection
from ledger.domain.text import flaw_of_text
from ledger.ports import Ids
from ledger.service import Ledger

__all__ = [
    "MAX_BODY_BYTES",
    "beyond_the_log",
    "body_of",
    "check_header",
    "checked_token",
    "envelope_of",
    "flaw_of_header",
    "query_of",
    "read_query",
    "token_of",
]

MAX_BODY_BYTES = 1 << 20
MAX_HEADER_LENGTH = 200
STORED = {b"x-request-id", b"idempotency-key"}
MEANT = STORED | {b"origin"}

AnyQuery = TypeVar("AnyQuery", bound=Query)


async def body_of(request: Request, *, at_most: int = MAX_BODY_BYTES) -> bytes:
    """Read the body; a Rejection as soon as it passes `at_most` bytes."""
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > at_most:
            raise Rejection(Code.BODY_TOO_LARGE, f"the body is larger than {at_most} bytes; send less at a time")
        chunks.append(chunk)
    return b"".join(chunks)


async def read_query(
    request: Request, model: type[AnyQuery], ledger: Ledger, *, lists: Container[str] = ()
) -> AnyQuery:
    """Read the query of a GET, and see to it that what is read after this is as fresh as the query asks.

    A read of the state folds all that was committed when it began, so only a position beyond the log's end cannot be
    served. What reads a projection has to wait for that one besides, here and within a bound.
    """
    query = checked(model, query_of(request, lists=lists))
    if query.min_position > ledger.position:
        await ledger.writer.fresh()
        if query.min_position > ledger.position:
            raise beyond_the_log("min_position", query.min_position, ledger.position)
    return query


def beyond_the_log(field: str, asked: int, end: int) -> Rejection:
    """POSITION_NOT_REACHED, with the position at which the log ends."""
    detail = (
        f"{field} is {asked}, but the log ends at position {end}: the position is of another ledger, "
        "or of events that were lost"
    )
    return Rejection(Code.POSITION_NOT_REACHED, detail, [(field, f"is beyond the log's end, {end}")], {"position": end})


def query_of(request: Request, *, lists: Container[str] = ()) -> dict[str, object]:
    """Read the query; a Rejection for a name that stands twice and is not one of `lists`."""
    query: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if name in query and name not in lists:
            raise Rejection.invalid(name[:100], "is given more than once; give it once")
        query.setdefault(name, []).append(value)
    return {name: values if name in lists else values[0] for name, values in query.items()}


def envelope_of(request: Request, operation: str, body: bytes, ids: Ids) -> Envelope:
    """Say who asks and how a second delivery is recognised."""
    headers = _headers(request)
    _refuse_other_origins(request, headers.get("origin"))
    actor = request.scope.get("principal", "anonymous")
    request_id, key = headers.get("x-request-id"), headers.get("idempotency-key")
    if key is None:
        return Envelope(ids.command_id(), actor, None, request_id)
    sent = f"{request.method} {request.scope['raw_path'].decode('latin-1')}\n".encode() + body
    return Envelope(command_id(actor, operation, key), actor, None, request_id, key, sha256(sent).hexdigest())


def _refuse_other_origins(request: Request, origin: str | None) -> None:
    """Keep web pages of other sites, open in a browser on this machine, from using up numbers.

    Browsers send `Origin` with every POST and PUT of a page (Fetch standard, 3.1); services send none.
    """
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise Rejection(Code.CROSS_ORIGIN, f"a page of {origin[:100]} may not write here; send it from a service")


def token_of(request: Request) -> str:
    """Read the token in the path; a Rejection when it has not the form of one."""
    return checked_token(request.path_params["token"])


def checked_token(token: str) -> str:
    if len(token) != 32 or not set(token) <= set("0123456789abcdef"):
        raise Rejection.invalid("token", "must be the 32 lower-case hexadecimal digits that the reservation gave")
    return token


def _headers(request: Request) -> dict[str, str]:
    """Read the headers that mean something here, in one pass; a Rejection for one that may not enter the log."""
    found: dict[str, str] = {}
    for name, value in request.scope["headers"]:
        if name in MEANT:
            title = name.decode()
            if title in found and name in STORED:
                raise Rejection.invalid(title.title(), "is sent more than once; send one")
            found.setdefault(title, value.decode("latin-1"))
            if name in STORED:
                check_header(title, found[title])
    return found


def check_header(name: str, value: str) -> None:
    """Refuse what may not enter the log as an idempotency key or a request's id."""
    flaw = flaw_of_header(value)
    if flaw:
        raise Rejection.invalid(name.title(), flaw)


def flaw_of_header(value: str) -> str | None:
    """Say why a text may not be an idempotency key or a request's id, or None when it may."""
    flaw = flaw_of_text(value, at_most=MAX_HEADER_LENGTH)
    return "must be ASCII" if flaw is None and not value.isascii() else flaw
