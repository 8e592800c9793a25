"""The service as `numbering serve` runs it, with the endpoints that it is compared with: python -m benchmarks.server

- `POST /benchmarks/noop` reads and parses the same body and sends an answer of the same size: what HTTP alone costs.
- `POST /benchmarks/row_lock` gives a number the classical way; see peer.py.
- `GET /benchmarks/waiting` tells how many requests are still being worked on, so that runs do not overlap.
"""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import click
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from api.answers import as_json
from api.requests import body_of
from api.schemas import ReserveBody, parse
from benchmarks.peer import Busy, RowLock
from benchmarks.workload import KEY, TTL_SECONDS, YEAR, number_of, sequence_of
from ledger.service import Ledger
from numbering.server import BACKLOG, app_of, collect_less_often, uvicorn_config
from numbering.settings import load
from numbering.wiring import Node
from tests.servers import HOST

__all__ = ["main"]

SAMPLE = as_json(
    {
        "token": "0123456789abcdef0123456789abcdef",
        "state": "RESERVED",
        "numbers": [{"number": number_of(KEY)(12345), "value": 12345}],
        "sequence": sequence_of(KEY),
        "period": YEAR,
        "expires_at": "2026-01-01T00:00:00.000000Z",
        "position": 12345,
    }
)


class Endpoints:
    """What the ledger is compared with; `peer` is None where it is not asked for."""

    def __init__(self, ledger: Ledger, peer: RowLock | None) -> None:
        self._ledger = ledger
        self._peer = peer

    def routes(self) -> list[Route]:
        return [
            Route("/benchmarks/noop", self.noop, methods=["POST"]),
            Route("/benchmarks/row_lock", self.row_lock, methods=["POST"]),
            Route("/benchmarks/waiting", self.waiting, methods=["GET"]),
        ]

    async def noop(self, request: Request) -> Response:
        parse(ReserveBody, await body_of(request))
        return _created(SAMPLE)

    async def row_lock(self, request: Request) -> Response:
        assert self._peer is not None
        body = parse(ReserveBody, await body_of(request))
        try:
            answer = await self._peer.reserve(sequence_of(body.key), number_of(body.key), TTL_SECONDS)
        except Busy as why:
            return PlainTextResponse(str(why), 503)
        return _created(as_json(answer))

    async def waiting(self, _: Request) -> Response:
        return PlainTextResponse(str(self._ledger.writer.waiting + (self._peer.waiting if self._peer else 0)))


def _created(body: bytes) -> Response:
    return Response(body, 201, media_type="application/json")


def compared(app: Starlette, ledger: Ledger, peer: RowLock | None) -> Starlette:
    """The product's application with our endpoints right behind its hottest, so that no router's walk is longer."""
    app.router.routes[1:1] = Endpoints(ledger, peer).routes()
    product = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(served: Starlette) -> AsyncIterator[Any]:
        async with product(served) as state:
            yield state
        if peer is not None:
            await peer.close()

    app.router.lifespan_context = lifespan
    return app


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--database-url", required=True, help="the ledger")
@click.option("--peer-database-url", default="", help="a schema with the peer's tables")
@click.option("--redis-url", default="", help="where the peer takes its locks")
@click.option("--mirror-url", default="", help="the mirror's Redis")
@click.option("--projects", is_flag=True, help="keep the projections too")
def main(
    port: int, database_url: str, peer_database_url: str, redis_url: str, mirror_url: str, *, projects: bool
) -> None:
    """Serve on 127.0.0.1 until SIGTERM."""
    collect_less_often()
    settings = load({"database_url": database_url, "redis_url": mirror_url})
    node = Node(settings, projects=projects)
    peer = RowLock(peer_database_url, redis_url) if peer_database_url else None
    app = compared(app_of(node, settings), node.ledger, peer)
    listener = socket.create_server((HOST, port), backlog=BACKLOG)
    uvicorn.Server(uvicorn_config(app)).run([listener])


if __name__ == "__main__":
    main()
