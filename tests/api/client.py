"""A ledger served over HTTP in the tests' own process, and what every answer of it must look like."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from starlette.applications import Starlette

from api.app import create_app
from api.problems import STATUSES
from api.streams import Limits as StreamLimits
from ledger.domain.rejection import Code
from ledger.ports import Head, Store
from ledger.service import Ledger
from ledger.stores import SqlStore, open_store
from ledger.system import RandomIds, SystemClock, aside, spawn
from ledger.writer import Limits
from projections.index import ProjectedIndex
from projections.projector import Projector
from projections.reading import Projections
from tests.given import NOW, SECOND
from tests.invariants import check_store
from tests.projections.agreement import check_projections

__all__ = [
    "LETTER_BODY",
    "LETTER_KEY",
    "PLAIN_BODY",
    "RFA_BODY",
    "RFA_KEY",
    "Api",
    "Json",
    "RealTime",
    "Time",
    "answer",
    "eventually",
    "in_memory",
    "problem",
    "served",
    "served_once",
]

Json = dict[str, Any]

POLL_SECONDS = 0.02

LETTER_KEY = {"ORIGINATOR": "คคง.", "RECIPIENT": "สคฉ.3"}
LETTER_BODY: Json = {
    "template": "{ORIGINATOR}-{RECIPIENT}-{SEQ:4}-{YEAR:BE}",
    "dimensions": {
        "ORIGINATOR": {"values": ["คคง.", "สคฉ.3"]},
        "RECIPIENT": {"values": ["คคง.", "สคฉ.3", "สคฉ.3-01"]},
    },
    "reset": "yearly",
    "timezone": "Asia/Bangkok",
}
RFA_KEY = {"DISCIPLINE": "TER", "RFA_TYPE": "RPT"}
RFA_BODY: Json = {
    "template": "LCBP3-C2-RFA-{DISCIPLINE}-{RFA_TYPE}-{SEQ:4}-{REV}",
    "dimensions": {"DISCIPLINE": {"chars": "A-Z", "min": 3, "max": 3}, "RFA_TYPE": {"values": ["RPT", "DWG"]}},
    "attributes": {"REV": {"chars": "A-Z", "max": 1, "default": "A"}},
}
PLAIN_BODY: Json = {"template": "P-{SEQ:5}"}

# For a case that is refused, or read from the state that is folded: no store takes part in the answer.
in_memory = pytest.mark.parametrize("api", ["memory"], indirect=True)


class Time:
    """A clock that stands still until time is made to pass; only the tasks' own sleeping goes by the real one."""

    def __init__(self, now: int = NOW) -> None:
        self._now = now
        self.wrong_by = 0.0  # seconds, by which the wall clock is set wrong

    def now(self) -> int:
        return self._now + int(self.wrong_by * SECOND)

    def boot(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return time.monotonic()

    def advance(self, seconds: float) -> None:
        self._now += int(seconds * SECOND)


class RealTime(Time):
    """This machine's clock, beside a database whose clock is real too."""

    def now(self) -> int:
        return SystemClock.now() + int(self.wrong_by * SECOND)

    def boot(self) -> int:
        return SystemClock.boot()

    def advance(self, seconds: float) -> None:
        raise NotImplementedError


class Api:
    """A client of a served ledger. `store` is a second look at the log, past the service."""

    def __init__(self, http: httpx.AsyncClient, app: Starlette, ledger: Ledger, store: Store, clock: Time) -> None:
        self.http = http
        self.app = app
        self.ledger = ledger
        self.store = store
        self.clock = clock
        self.is_ambiguous = False  # set by a test whose series print the same numbers

    async def head(self) -> Head:
        return await self.store.head()

    async def define(self, code: str, body: Json) -> Json:
        return answer(await self.http.put(f"/v1/series/{code}", json=body), 201)

    async def reserve(self, series: str = "PLAIN", **fields: Any) -> Json:
        return answer(await self.http.post("/v1/reservations", json={"series": series, **fields}), 201)

    async def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        """Post JSON; `idempotency_key="K"` becomes the header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(path, content=orjson.dumps(body), headers=named)

    async def post_json(self, path: str, body: object) -> httpx.Response:
        """Post what orjson cannot write: huge integers, NaN, lone surrogates."""
        return await self.http.post(path, content=json.dumps(body).encode())

    async def shown(self, token: str) -> Json:
        return answer(await self.http.get(f"/v1/reservations/{token}"), 200)

    @asynccontextmanager
    async def unchanged(self) -> AsyncIterator[None]:
        """Hold that what happens inside leaves the log as it was."""
        before = await self.head()
        yield
        assert await self.head() == before


@asynccontextmanager
async def served(
    store: Store,
    look: Store,
    *,
    clock: Time | None = None,
    limits: Limits | None = None,
    secrets: Mapping[str, str] | None = None,
    stream_limits: StreamLimits | None = None,
) -> AsyncIterator[Api]:
    """Serve a store, projected if it is in a database.

    `look` is another store on the same log, which must hold every invariant in the end.
    """
    clock = clock or Time()
    index = ProjectedIndex(store) if isinstance(store, SqlStore) else None
    ledger = Ledger(store, clock=clock, ids=RandomIds(), spawn=spawn, aside=aside, limits=limits, index=index)
    if isinstance(store, SqlStore):
        projector = Projector(store, ledger.writer.feed, clock=clock, spawn=spawn)
        projections, running = Projections(store), _running(ledger, projector)
        app = create_app(
            ledger,
            running=running,
            projector=projector,
            projections=projections,
            secrets=secrets,
            stream_limits=stream_limits,
        )
    else:
        app = create_app(ledger, secrets=secrets, stream_limits=stream_limits)
    # As a real server does: a bug is an answer of 500 to the client, not an exception.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        api = Api(http, app, ledger, look, clock)
        yield api
    await check_store(look, ambiguous=api.is_ambiguous)
    if isinstance(look, SqlStore) and not api.is_ambiguous:
        await check_projections(look)


async def served_once(file: Path, work: Callable[[Api], Awaitable[Any]]) -> None:
    """Serve an SQLite ledger for some work, after which other tests copy the file."""
    clock = Time()
    store, look = (open_store(f"sqlite+aiosqlite:///{file}", now=clock.now) for _ in range(2))
    try:
        async with served(store, look, clock=clock) as api:
            await work(api)
    finally:
        await store.close()
        await look.close()


@asynccontextmanager
async def _running(ledger: Ledger, projector: Projector) -> AsyncIterator[None]:
    async with ledger:
        projector.start()
        try:
            yield
        finally:
            await projector.stop()


async def eventually(holds: Callable[[], Awaitable[bool]], *, within: float = 60.0) -> None:
    """Wait until something holds."""
    for _ in range(int(within / POLL_SECONDS)):
        if await holds():
            return
        await asyncio.sleep(POLL_SECONDS)
    raise AssertionError(f"not within {within:g} s")


def answer(response: httpx.Response, status: int) -> Json:
    """Expect a JSON object with a status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body: Json = response.json()
    return body


def problem(response: httpx.Response, code: Code) -> Json:
    """Expect a problem document, whole and with the status of its code."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    body: Json = response.json()
    assert body["title"] == code.name, response.text
    assert body["code"] == code.number
    assert body["status"] == response.status_code == STATUSES[code]
    assert body["type"] == f"urn:numbering-ledger:{code.number}"
    assert body["retry"] is code.retry
    assert isinstance(body["detail"], str)
    assert body["detail"]
    assert ("retry-after" in response.headers) == (response.status_code == 503)
    assert all(each.keys() == {"field", "problem"} for each in body.get("errors", ()))
    return body
