"""The endpoints: a body becomes a command, its outcome an answer."""

from collections.abc import Callable, Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api import answers
from api.operations import OPERATIONS, Making, Operation, status_of
from api.paths import RawRoute, decoded
from api.requests import body_of, envelope_of, read_query, token_of
from api.responses import found_response, json_response
from api.schemas import ActBody, GapsQuery, PreviewBody, Query, SequencesQuery, parse
from api.searches import Searches
from ledger.service import Ledger

__all__ = ["routes"]

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class Endpoints:
    """The endpoints of one ledger. `default_ttl_seconds` serves series that say none; `searches` are None in memory."""

    def __init__(self, ledger: Ledger, default_ttl_seconds: int, searches: Searches | None) -> None:
        self._ledger = ledger
        self._searches = searches
        self._making = Making(ledger.ids, default_ttl_seconds)

    def write(self, name: str) -> Endpoint:
        """Serve one operation."""
        operation = OPERATIONS[name]

        async def endpoint(request: Request) -> Response:
            return await self._carry_out(operation, request)

        return endpoint

    async def _carry_out(self, operation: Operation, request: Request) -> Response:
        body = await body_of(request)
        parsed = parse(operation.body, body)
        envelope = envelope_of(request, operation.name, body, self._ledger.ids)
        named = decoded(request, operation.names) if operation.names else ""
        command = operation.command(parsed, named, self._making)
        if isinstance(parsed, ActBody) and parsed.dry_run:
            (trial,) = await self._ledger.try_out([command])
            return json_response(answers.tried(trial, self._ledger.position))
        outcome = await self._ledger.execute(command, envelope)
        answer = operation.answer(command, outcome, self._ledger.state)
        return json_response(answer, status_of(operation, outcome), replayed=outcome.replayed)

    # Series

    async def one_series(self, request: Request) -> Response:
        if request.method == "PUT":
            return await self._carry_out(OPERATIONS["define_series"], request)
        await read_query(request, Query, self._ledger)
        found = await self._ledger.series(decoded(request, "series"))
        return found_response(request, answers.series_answer(found))

    async def list_series(self, request: Request) -> Response:
        await read_query(request, Query, self._ledger)
        return found_response(request, answers.all_series(*await self._ledger.all_series()))

    # Reservations and numbers

    async def reservations(self, request: Request) -> Response:
        if request.method == "POST":
            return await self._carry_out(OPERATIONS["reserve"], request)
        assert self._searches
        return await self._searches.reservations(request)

    async def preview(self, request: Request) -> Response:
        body = parse(PreviewBody, await body_of(request))
        command = body.reserve(self._making.ids.token(), self._making.default_ttl_seconds)
        return json_response(answers.previewed(await self._ledger.preview(command)))

    async def reservation(self, request: Request) -> Response:
        await read_query(request, Query, self._ledger)
        return found_response(request, answers.history(*await self._ledger.reservation(token_of(request))))

    async def number(self, request: Request) -> Response:
        await read_query(request, Query, self._ledger)
        history = await self._ledger.number(decoded(request, "number"))
        return found_response(request, answers.number_history(history, self._ledger.state))

    # Sequences

    async def list_sequences(self, request: Request) -> Response:
        query = await read_query(request, SequencesQuery, self._ledger)
        found, position = await self._ledger.sequences(query.series, after=query.after, limit=query.limit + 1)
        return found_response(request, answers.sequences_answer(found, query.limit, position))

    async def sequence(self, request: Request) -> Response:
        await read_query(request, Query, self._ledger)
        found = await self._ledger.sequence(decoded(request, "sequence"))
        return found_response(request, answers.sequence_answer(found))

    async def gaps(self, request: Request) -> Response:
        query = await read_query(request, GapsQuery, self._ledger, lists=("state",))
        id, first, states = decoded(request, "sequence"), query.first, query.state
        found = await self._ledger.accounting(id, first=first, states=states, limit=query.limit)
        return found_response(request, answers.gaps(found, first=first, states=states))


def routes(ledger: Ledger, default_ttl_seconds: int, searches: Searches | None) -> list[Route]:
    to = Endpoints(ledger, default_ttl_seconds, searches)

    posted = [RawRoute(each.path, to.write(each.name), methods=["POST"]) for each in OPERATIONS.values() if each.path]
    return [
        # The hottest first: the router looks at them in order.
        RawRoute("/v1/reservations", to.reservations, methods=["POST", "GET"] if searches else ["POST"]),
        *(each for each in posted if each.path.startswith("/v1/reservations/")),
        RawRoute("/v1/reservations/{token}", to.reservation, methods=["GET"]),
        *(each for each in posted if not each.path.startswith("/v1/reservations/")),
        RawRoute("/v1/preview", to.preview, methods=["POST"]),
        RawRoute("/v1/series", to.list_series, methods=["GET"]),
        RawRoute("/v1/series/{series}", to.one_series, methods=["GET", "PUT"]),
        *([RawRoute("/v1/numbers", searches.numbers, methods=["GET"])] if searches else []),
        RawRoute("/v1/numbers/{number}", to.number, methods=["GET"]),
        RawRoute("/v1/sequences", to.list_sequences, methods=["GET"]),
        # An id may hold `%`, as in `S:A%2FB:2025`: quoted it is `S:A%252FB:2025`, and decoded once it is itself again.
        RawRoute("/v1/sequences/{sequence}", to.sequence, methods=["GET"]),
        RawRoute("/v1/sequences/{sequence}/gaps", to.gaps, methods=["GET"]),
    ]
