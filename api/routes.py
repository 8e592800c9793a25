"""The endpoints: a body becomes a command, its outcome an answer."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api import answers
from api.answers import Done
from api.requests import body_of, envelope_of, token_of
from api.schemas import (
    CancelBody,
    ConfirmBody,
    ExtendBody,
    IssueBody,
    PreviewBody,
    ReserveBody,
    SeriesBody,
    parse,
)
from ledger.domain.commands import Cancel, Command, Confirm, DefineSeries, Envelope, Extend, Issue
from ledger.domain.series import Series
from ledger.domain.state import State
from ledger.service import Ledger
from ledger.writer import Outcome

__all__ = ["routes"]


def _json(data: object, status: int = 200) -> Response:
    return Response(answers.as_json(data), status, media_type="application/json")


class Endpoints:
    """The endpoints of one ledger. `default_ttl_seconds` serves series that say none."""

    def __init__(self, ledger: Ledger, default_ttl_seconds: int) -> None:
        self._ledger = ledger
        self._default_ttl_seconds = default_ttl_seconds

    # Series

    async def one_series(self, request: Request) -> Response:
        return await (self._define(request) if request.method == "PUT" else self._show(request))

    async def _define(self, request: Request) -> Response:
        body = await body_of(request)
        series = Series.define(request.path_params["code"], parse(SeriesBody, body).definition())
        envelope = envelope_of(request, "define_series", body, self._ledger.ids)
        outcome = await self._ledger.execute(DefineSeries((series,)), envelope)
        ((series, done),) = answers.applied((series,), outcome, self._ledger.state)
        status = 201 if done is Done.DEFINED else 200
        return _marked(_json(answers.series_answer(series, outcome.position), status), outcome)

    async def _show(self, request: Request) -> Response:
        series, position = await self._ledger.series(request.path_params["code"])
        return _json(answers.series_answer(series, position))

    async def list_series(self, _: Request) -> Response:
        found, position = await self._ledger.all_series()
        return _json({"series": [answers.series_answer(series, position) for series in found], "position": position})

    # Numbers

    async def preview(self, request: Request) -> Response:
        body = parse(PreviewBody, await body_of(request))
        command = body.reserve(self._ledger.ids.token(), self._default_ttl_seconds)
        return _json(answers.previewed(*await self._ledger.preview(command)))

    async def reserve(self, request: Request) -> Response:
        body = await body_of(request)
        parsed = parse(ReserveBody, body)
        envelope = envelope_of(request, "reserve", body, self._ledger.ids)
        command = parsed.reserve(self._ledger.ids.token(), self._default_ttl_seconds, parsed.ttl_seconds)
        return await self._execute(command, envelope, answers.reserved, 201)

    async def issue(self, request: Request) -> Response:
        body = await body_of(request)
        parsed = parse(IssueBody, body)
        envelope = envelope_of(request, "issue", body, self._ledger.ids)
        command = Issue(parsed.reserve(self._ledger.ids.token(), self._default_ttl_seconds), parsed.document)
        return await self._execute(command, envelope, answers.issued, 201)

    # Reservations

    async def get_reservation(self, request: Request) -> Response:
        return _json(answers.history(*await self._ledger.reservation(token_of(request))))

    async def confirm(self, request: Request) -> Response:
        body = await body_of(request)
        parsed = parse(ConfirmBody, body)
        command = Confirm(token_of(request), parsed.document, parsed.choices(), parsed.release_rest)
        envelope = envelope_of(request, "confirm", body, self._ledger.ids)
        return await self._execute(command, envelope, answers.confirmed)

    async def extend(self, request: Request) -> Response:
        body = await body_of(request)
        command = Extend(token_of(request), parse(ExtendBody, body).ttl_seconds)
        envelope = envelope_of(request, "extend", body, self._ledger.ids)
        return await self._execute(command, envelope, answers.extended)

    async def cancel(self, request: Request) -> Response:
        body = await body_of(request)
        reason = parse(CancelBody, body).reason
        envelope = envelope_of(request, "cancel", body, self._ledger.ids, reason)
        return await self._execute(Cancel(token_of(request)), envelope, answers.cancelled)

    # Shared

    async def _execute(
        self,
        command: Command,
        envelope: Envelope,
        answer: Callable[[Outcome, State], dict[str, Any]],
        status: int = 200,
    ) -> Response:
        outcome = await self._ledger.execute(command, envelope)
        return _marked(_json(answer(outcome, self._ledger.state), status), outcome)


def _marked(response: Response, outcome: Outcome) -> Response:
    if outcome.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def routes(ledger: Ledger, default_ttl_seconds: int) -> list[Route]:
    to = Endpoints(ledger, default_ttl_seconds)
    return [
        # The hottest first: the router looks at them in order.
        Route("/v1/reservations", to.reserve, methods=["POST"]),
        Route("/v1/reservations/{token}/confirm", to.confirm, methods=["POST"]),
        Route("/v1/reservations/{token}/cancel", to.cancel, methods=["POST"]),
        Route("/v1/reservations/{token}/extend", to.extend, methods=["POST"]),
        Route("/v1/reservations/{token}", to.get_reservation, methods=["GET"]),
        Route("/v1/issue", to.issue, methods=["POST"]),
        Route("/v1/preview", to.preview, methods=["POST"]),
        Route("/v1/series", to.list_series, methods=["GET"]),
        Route("/v1/series/{code}", to.one_series, methods=["GET", "PUT"]),
    ]
