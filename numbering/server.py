"""Wire the ledger to HTTP and serve it until a signal comes."""

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.app import create_app
from ledger.domain.rejection import Code
from ledger.ports import StoreFault
from ledger.stores import migrate
from numbering.census import other_holders
from numbering.exits import FAULT
from numbering.settings import Settings
from numbering.wiring import Node, opened_store
from replay.guard import guard

__all__ = ["BACKLOG", "UNREAD_MS", "app_of", "collect_less_often", "listen", "prepare", "serve", "uvicorn_config"]

_log = logging.getLogger(__name__)

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 30
GC_THRESHOLDS = (50_000, 20, 50)  # of Python's three generations; its own are 700, 10 and 10
LOOK_SECONDS = 0.1  # between two looks for connections that keep the service from ending
STALLED_LOOKS = 10  # in which a client takes nothing of its answer
UNREAD_MS = 30_000
GRACE_SECONDS = 25  # longer than the writer takes to finish what it accepted


def prepare(settings: Settings, *, allow_unsafe: bool, start_unverified: bool) -> bool:
    """Migrate an SQLite ledger, and look at it once: a StoreFault or a Rejection when serving it would be wrong.

    Says whether nobody else has it open, which nobody knows of a server.

    A database that is merely away is waited for by the service itself, which answers 503 until it is back; but not
    where there is an archive, with which it must be compared first.
    """
    is_alone = settings.database_url.startswith("sqlite") and not other_holders(settings.database_url)
    try:
        asyncio.run(_look(settings, allow_unsafe=allow_unsafe, start_unverified=start_unverified))
    except StoreFault as fault:
        if settings.database_url.startswith("sqlite") or fault.code is Code.DATABASE_UNSAFE or settings.archive:
            raise
        _log.warning("%s: %s", fault.code.name, fault.detail)
    return is_alone


async def _look(settings: Settings, *, allow_unsafe: bool, start_unverified: bool) -> None:
    if settings.database_url.startswith("sqlite"):
        await migrate(settings.database_url)
    async with opened_store(settings, allow_unsafe=allow_unsafe) as store:
        await store.head()
        if settings.archive and not start_unverified:
            await guard(store, Path(settings.archive))


def collect_less_often() -> None:
    """Keep Python's cycle collector from walking the ledger's state again and again.

    The state is many small objects that live long and make no cycles, and requests in flight look to the collector
    like more of them: with its own thresholds it spends 40 % of a busy service's time on finding nothing.
    """
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def serve(settings: Settings, *, allow_unsafe: bool, start_unverified: bool, is_alone: bool) -> int:
    """Serve until SIGINT or SIGTERM, finish what was accepted, and give the exit code."""
    collect_less_often()
    node = Node(
        settings, allow_unsafe=allow_unsafe, start_unverified=start_unverified, projects=True, is_alone=is_alone
    )
    app = app_of(node, settings)
    try:
        listener = listen(settings)
    except OSError as error:
        print(f"numbering: cannot listen on {settings.host}:{settings.port}: {error.strerror}", file=sys.stderr)
        return FAULT
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn raises the signal once more after it has shut down; by then the wish is granted.
        signal.signal(number, lambda *_: None)
    server = _Server(uvicorn_config(app), lambda: _say_where(listener, settings), app.state.closing)
    server.run([listener])
    return 0 if server.started else FAULT


def app_of(node: Node, settings: Settings) -> Starlette:
    """Serve a node, which starts and stops with the application."""
    return create_app(
        node.ledger,
        running=node,
        mirror=node.relay,
        projector=node.projector,
        verifier=node.verifier,
        projections=node.projections,
        default_ttl_seconds=settings.reservation_ttl,
        secrets=settings.secrets(),
    )


class _Server(uvicorn.Server):
    """Says where it listens, once it does, and tells the application when it begins to shut down."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None], closing: asyncio.Event) -> None:
        super().__init__(config)
        self._announce = announce
        self._closing = closing

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()  # uvicorn waits for every answer, and a stream ends only when told
        dropping = asyncio.create_task(self._drop_stalled())  # uvicorn waits for those too
        try:
            await super().shutdown(sockets)
        finally:
            dropping.cancel()

    async def _drop_stalled(self) -> None:
        """Drop closing connections whose answer was given up, or whose client takes nothing of what is left of it."""
        looks: dict[HttpToolsProtocol, tuple[int, int]] = {}  # bytes that are left, and how often they were as many
        while True:
            closing = [each for each in self._connections() if each.transport.is_closing()]
            looks = {each: _looked(each, *looks.get(each, (-1, 0))) for each in closing}
            for each, (_, count) in looks.items():
                if _is_given_up(each) or count >= STALLED_LOOKS:
                    each.transport.abort()
            await asyncio.sleep(LOOK_SECONDS)

    def _connections(self) -> list[HttpToolsProtocol]:
        return [each for each in self.server_state.connections if isinstance(each, HttpToolsProtocol)]


def _looked(connection: HttpToolsProtocol, left_before: int, count: int) -> tuple[int, int]:
    left = connection.transport.get_write_buffer_size()
    return (left, count + 1) if left == left_before else (left, 0)


def _is_given_up(connection: HttpToolsProtocol) -> bool:
    # Before its first request a connection has no cycle at all.
    return not getattr(connection.cycle, "response_complete", True)


def listen(settings: Settings) -> socket.socket:
    """Give the socket on which the service listens; an OSError when it cannot be had."""
    family, _, _, _, address = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.create_server(address, family=family, backlog=BACKLOG)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Connections inherit it: Linux drops those whose clients are gone, or stopped reading what was sent. What
        # waits in our own buffers for a connection that was closed would else wait as long as the client lives.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
    return listener


def uvicorn_config(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _say_where(listener: socket.socket, settings: Settings) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    access = "" if settings.secrets() else " (loopback only: no credentials are configured)"
    print(f"numbering: listening on {url}{access}", file=sys.stderr, flush=True)
