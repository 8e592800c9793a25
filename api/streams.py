"""Server-sent events (HTML standard, 9.2) to readers of any speed, and to those who do not read at all.

Nothing gathers for a client: the next part is made when the socket has taken the last one. Who does not take it within
`send_seconds` is cut off, and resumes later behind the last event that reached him. A stream also ends, in order, when
the log cannot be read, and at once when the service shuts down.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ledger.domain.rejection import Code, Rejection
from ledger.ports import Fault

__all__ = ["EventStream", "Limits", "Streams"]

_log = logging.getLogger(__name__)

RETRY_MS = 1000
PIECE_BYTES = 64 << 10  # uvicorn's own high water: it asks us to wait when more is not yet sent
END_SECONDS = 1.0  # for saying goodbye to a client that takes nothing
HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events back until it has a bufferful
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of the streams of one process; `page_bytes` may be passed by one event that alone is larger."""

    streams: int = 256
    page_events: int = 100
    page_bytes: int = 64 << 10
    heartbeat_seconds: float = 10.0
    send_seconds: float = 30.0


class Reader(Protocol):
    """Where a client is in the log."""

    position: int

    async def next(self) -> bytes | None:
        """Give the next part; None when nothing came for a while."""


class Streams:
    """How many streams this process serves now."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._open = 0

    def check(self) -> None:
        """Refuse one too many."""
        if self._open >= self.limits.streams:
            raise Fault(
                Code.TOO_MANY_STREAMS,
                f"{self._open} streams are open, as many as one process serves",
                advice="try again, or read /v1/events",
            )

    @contextmanager
    def opened(self) -> Iterator[None]:
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


class EventStream(Response):
    """The answer that goes on until its client leaves, the log cannot be read, or `closing` is set."""

    def __init__(self, streams: Streams, reader: Reader, closing: asyncio.Event) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(HEADERS)
        self._streams = streams
        self._reader = reader
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if not await self._is_taken(start, send):
            return
        if scope["method"] == "HEAD" or await self._serve(receive, send):
            with suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await send(_body(b"", more_body=False))

    async def _serve(self, receive: Receive, send: Send) -> bool:
        """Send until there is a reason to end; False when the client is to be cut off."""
        with self._streams.opened():
            sending = asyncio.ensure_future(self._send(send))
            waiting = [sending, asyncio.ensure_future(_left(receive)), asyncio.ensure_future(self._closing.wait())]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waiting:
                    each.cancel()
                await asyncio.wait(waiting)
        return sending.cancelled() or sending.result()

    async def _send(self, send: Send) -> bool:
        """Send part by part; False when one was not taken in time, True when there are no more."""
        # A client without any event yet has a place in the log too, from which it can resume.
        part: bytes | None = b"retry: %d\nid: %d\n\n" % (RETRY_MS, self._reader.position)
        try:
            while True:
                for piece in _pieces(part or b": nothing new\n\n"):
                    if not await self._is_taken(_body(piece), send):
                        return False
                part = await self._reader.next()
        except (Fault, Rejection) as why:
            _log.info("a stream ended at position %d: %s", self._reader.position, why)
            return True

    async def _is_taken(self, message: Message, send: Send) -> bool:
        # The server takes a message when the socket has room: it says so by letting the next one wait.
        seconds = self._streams.limits.send_seconds
        try:
            async with asyncio.timeout(seconds):
                await send(message)
        except TimeoutError:
            _log.warning("a stream was cut off: its client took nothing for %g s", seconds)
            return False
        return True


def _body(content: bytes, *, more_body: bool = True) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more_body}


def _pieces(part: bytes) -> Iterator[bytes]:
    return (part[start : start + PIECE_BYTES] for start in range(0, len(part), PIECE_BYTES))


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
