"""The log over HTTP, in pages and live.

An event leaves as it is stored: its canonical bytes, with `hash` added. Whoever takes `hash` away again and writes the
rest in RFC 8785 form has the bytes that were hashed, and can follow the chain.
"""

import asyncio
from collections.abc import Sequence

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.paths import RawRoute
from api.requests import beyond_the_log, query_of, read_query
from api.responses import found_response
from api.schemas import EventsQuery, LastEventId, StreamQuery, checked
from api.streams import EventStream, Limits, Streams
from ledger.domain.rejection import Code, Rejection
from ledger.feed import Feed
from ledger.ports import Fault, Record
from ledger.service import Ledger

__all__ = ["event_routes"]

LAST_EVENT_ID = "Last-Event-ID"
PAGE_BYTES = 4 << 20
PART = 32  # events read at once: a body may have 7 MiB, and how long it is, is known only when it was read


def event_routes(ledger: Ledger, closing: asyncio.Event, limits: Limits) -> list[Route]:
    """Serve the log. Streams end when `closing` is set."""
    streams = Streams(limits)

    async def events(request: Request) -> Response:
        query = await read_query(request, EventsQuery, ledger)
        end = await _end(ledger, "after", query.after)
        limit = min(query.limit, end - query.after)
        page = await read_page(ledger.writer.feed, after=query.after, limit=limit, max_bytes=PAGE_BYTES)
        last = page[-1].position if page else end
        shown = [orjson.Fragment(event_json(record)) for record in page]
        following = last if last < end else None
        answer = {"events": shown, "next": following, "position": end}
        return found_response(request, answer, is_final=following is not None)

    async def stream(request: Request) -> Response:
        field, after = _begin(request)
        end = await _end(ledger, field, after or 0)
        if after is not None and after < end:
            # Once the stream has begun, no problem can be told any more.
            await read_page(ledger.writer.feed, after=after, limit=1, max_bytes=1)
        if closing.is_set():
            raise Fault(Code.SHUTTING_DOWN, "the service is stopping", advice="try again with another process")
        streams.check()
        return EventStream(streams, _Reader(ledger, limits, end if after is None else after), closing)

    return [
        RawRoute("/v1/events", events, methods=["GET"]),
        RawRoute("/v1/events/stream", stream, methods=["GET"]),
    ]


async def _end(ledger: Ledger, field: str, after: int) -> int:
    """Give the position at which the log ends now; a Rejection when `after` lies beyond it."""
    await ledger.writer.fresh()
    if after > ledger.position:
        raise beyond_the_log(field, after, ledger.position)
    return ledger.position


async def read_page(feed: Feed, *, after: int, limit: int, max_bytes: int) -> Sequence[Record]:
    """Read `limit` events, all of which were committed, or as many as fit into `max_bytes` and at least one."""
    page: list[Record] = []
    size = 0
    while len(page) < limit:
        expected = after + len(page) + 1
        part = await feed.read(after=expected - 1, limit=min(PART, limit - len(page)))
        if not part or part[0].position != expected:
            raise _trimmed(expected - 1, part[0].position if part else None)
        for record in part:
            size += len(record.body)
            if page and size > max_bytes:
                return page
            page.append(record)
    return page


def _trimmed(after: int, first: int | None) -> Rejection:
    kept = "none behind it are" if first is None else f"they are from position {first} on (after={first - 1})"
    detail = f"the events behind position {after} are no longer in the database: {kept}; the archive has the others"
    return Rejection(Code.EVENTS_TRIMMED, detail, members={"first": first})


def event_json(record: Record) -> bytes:
    """Give the stored bytes with the hash as one more member."""
    return record.body[:-1] + b',"hash":"%b"}' % record.hash.hex().encode()


# The stream


def _begin(request: Request) -> tuple[str, int | None]:
    """Say behind which position a stream begins, and what asks for that; None is the end of the log.

    A browser that reconnects sends the address that it was given, with its `after`, and how far it has come since: the
    header then says more. Only a header from before `after` contradicts it.
    """
    after = checked(StreamQuery, query_of(request)).after
    given = request.headers.getlist(LAST_EVENT_ID)
    if not given:
        return "after", after
    if len(given) > 1:
        raise Rejection.invalid(LAST_EVENT_ID, "is sent more than once; send one")
    last = checked(LastEventId, {LAST_EVENT_ID: given[0]}).position
    if after is not None and last < after:
        raise Rejection.invalid(LAST_EVENT_ID, f"is {last}, but after={after} asks for what follows later; send one")
    return LAST_EVENT_ID, last


class _Reader:
    """What one client of the stream has still to be told."""

    def __init__(self, ledger: Ledger, limits: Limits, position: int) -> None:
        self.position = position
        self._ledger = ledger
        self._limits = limits

    async def next(self) -> bytes | None:
        """Give some events as they are sent, the next ones; None when for a while there were none.

        None is proved: the log was looked at. A Fault when it cannot be.
        """
        feed = self._ledger.writer.feed
        if not await feed.wait(self.position, seconds=self._limits.heartbeat_seconds):
            await self._ledger.writer.fresh()
        limit = min(self._limits.page_events, feed.position - self.position)
        if limit <= 0:
            return None
        page = await read_page(feed, after=self.position, limit=limit, max_bytes=self._limits.page_bytes)
        self.position = page[-1].position
        return b"".join(map(_message, page))


def _message(record: Record) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (record.position, record.type.encode(), event_json(record))
