"""The HTTP face of a ledger."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect

from api.as_of import as_of_routes
from api.batch import batch_routes
from api.credentials import CredentialsMiddleware
from api.events import event_routes
from api.health import Verifying, health_routes
from api.imports import import_routes
from api.problems import gone, http_problem, internal_problem, problem
from api.routes import routes
from api.searches import Searches
from api.streams import Limits as StreamLimits
from ledger.domain.rejection import Rejection
from ledger.ports import Fault
from ledger.service import Ledger
from projections.mirror.relay import Relay
from projections.projector import Projector
from projections.reading import Projections

__all__ = ["create_app"]


def create_app(
    ledger: Ledger,
    *,
    running: AbstractAsyncContextManager[object] | None = None,
    mirror: Relay | None = None,
    projector: Projector | None = None,
    verifier: Verifying | None = None,
    projections: Projections | None = None,
    default_ttl_seconds: int = 300,
    secrets: Mapping[str, str] | None = None,
    stream_limits: StreamLimits | None = None,
) -> Starlette:
    """Serve `ledger`. What is `running` starts and stops with the application: the ledger alone, if nothing is given.

    Without `projections` nothing is searched; without a `mirror` or a `projector` none is told of.
    `secrets` maps principals to bearer secrets. Whoever shuts the server down sets `state.closing` first: a stream of
    events would else be waited for.
    """
    closing = asyncio.Event()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with running or ledger:
            yield

    app = Starlette(
        routes=[
            *routes(ledger, default_ttl_seconds, Searches(ledger, projections) if projections else None),
            *batch_routes(ledger, default_ttl_seconds),
            *import_routes(ledger),
            *as_of_routes(ledger),
            *event_routes(ledger, closing, stream_limits or StreamLimits()),
            *health_routes(ledger, mirror, projector, verifier),
        ],
        middleware=[Middleware(CredentialsMiddleware, secrets=secrets)] if secrets else [],
        exception_handlers={
            Rejection: problem,
            Fault: problem,
            HTTPException: http_problem,
            ClientDisconnect: gone,
            Exception: internal_problem,
        },
        lifespan=lifespan,
    )
    app.state.closing = closing
    app.router.redirect_slashes = False  # another path is another path
    return app
