"""Is the process alive, and can it number? Load balancers read the status, people the body."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.responses import json_response
from ledger.service import Ledger

__all__ = ["health_routes"]


def health_routes(ledger: Ledger) -> list[Route]:
    async def live(_: Request) -> Response:
        return json_response({"status": "up"}, 200)

    async def ready(_: Request) -> Response:
        fault = ledger.writer.fault
        return json_response(_status(ledger), 503 if fault else 200)

    async def health(_: Request) -> Response:
        fault = ledger.writer.fault
        checks = {"database": _status(ledger)}
        body = {
            "status": checks["database"]["status"],
            "checks": checks,
            "ledger_id": ledger.writer.fold.ledger_id if ledger.writer.fold else None,
            "position": ledger.position,
            "waiting": ledger.writer.waiting,
        }
        return json_response(body, 503 if fault else 200)

    return [
        Route("/health", health, methods=["GET"]),
        Route("/health/live", live, methods=["GET"]),
        Route("/health/ready", ready, methods=["GET"]),
    ]


def _status(ledger: Ledger) -> dict[str, str]:
    fault = ledger.writer.fault
    if fault is None:
        return {"status": "up"}
    return {"status": "down", "code": fault.code.number, "title": fault.code.name, "detail": fault.detail}
