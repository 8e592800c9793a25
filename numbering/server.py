"""Wire the ledger to HTTP and serve it until a signal comes."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable

import uvicorn

from api.app import create_app
from ledger.domain.rejection import Code
from ledger.ports import StoreFault
from ledger.service import Ledger
from ledger.stores import migrate, open_store
from ledger.system import RandomIds, SystemClock, spawn
from ledger.writer import Limits
from numbering.settings import Settings

__all__ = ["prepare", "serve"]

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 30
GRACE_SECONDS = 25  # longer than the writer takes to finish what it accepted


def prepare(settings: Settings, *, allow_unsafe: bool) -> None:
    """Migrate an SQLite ledger, and look at the database once: a StoreFault when serving it would be wrong.

    A database that is merely away is waited for by the service itself, which answers 503 until it is back.
    """
    try:
        asyncio.run(_look(settings, allow_unsafe=allow_unsafe))
    except StoreFault as fault:
        if settings.database_url.startswith("sqlite") or fault.code is Code.DATABASE_UNSAFE:
            raise
        logging.getLogger(__name__).warning("%s: %s", fault.code.name, fault.detail)


async def _look(settings: Settings, *, allow_unsafe: bool) -> None:
    if settings.database_url.startswith("sqlite"):
        await migrate(settings.database_url)
    store = open_store(settings.database_url, lock_timeout_ms=settings.lock_timeout, allow_unsafe=allow_unsafe)
    try:
        await store.head()
    finally:
        await store.close()


class _Server(uvicorn.Server):
    """Says where it listens, once it does."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[str], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: object = None) -> None:
        await super().startup(sockets)  # type: ignore[arg-type]
        for server in self.servers:
            for socket in server.sockets:
                host, port = socket.getsockname()[:2]
                self._announce(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def serve(settings: Settings, *, allow_unsafe: bool) -> int:
    """Serve until SIGINT or SIGTERM, finish what was accepted, and give the exit code."""
    store = open_store(settings.database_url, lock_timeout_ms=settings.lock_timeout, allow_unsafe=allow_unsafe)
    limits = Limits(lock_timeout_seconds=settings.lock_timeout / 1000)
    ledger = Ledger(store, clock=SystemClock(), ids=RandomIds(), spawn=spawn, limits=limits)
    app = create_app(ledger, default_ttl_seconds=settings.reservation_ttl, secrets=settings.secrets())
    server = _Server(_config(app, settings), lambda url: _say_where(url, settings))
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn raises the signal once more after it has shut down; by then the wish is granted.
        signal.signal(number, lambda *_: None)
    server.run()
    return 0 if server.started else 3


def _config(app: object, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _say_where(url: str, settings: Settings) -> None:
    access = "" if settings.credentials else " (loopback only: no credentials are configured)"
    print(f"numbering: listening on {url}{access}", file=sys.stderr, flush=True)
