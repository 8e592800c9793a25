"""Clients that use a ledger over HTTP while its processes are killed, and that keep record of every answer.

They run in a thread with an event loop of its own, so that a test can start, kill and wait in the main thread, in
the order in which it is read. Every attempt carries a request id of its own, which the ledger stores with its events:
so the log says of each attempt whether it had an effect, whatever its client was told.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any, Self

import httpx
import orjson

__all__ = ["ANSWER_SECONDS", "GAPLESS", "NEVER", "SERIES", "Attempt", "Load", "Request"]

NEVER, GAPLESS = "NEVER", "GAPLESS"
SERIES = {
    NEVER: {"template": "NEVER-{SEQ:6}"},
    GAPLESS: {"template": "GAPLESS-{SEQ:6}", "reuse": "gapless"},
}

CLIENTS = 16
ANSWER_SECONDS = 30.0  # longer than the service takes to say that it does not know
SETTLE_SECONDS = 40.0  # in which every request with a key gets an answer once the load ends
PROGRESS_SECONDS = 40.0
RETRY_SECONDS = 0.05
REST_SECONDS = 0.05  # between two lives of a client: enough of them are in every batch, and others need the processor
LONG_TTL, SHORT_TTL = 600, 1

KEYED = 0.7
DOUBLED = 0.2
ASKED_AGAIN = 0.1

_loads = itertools.count()


@dataclass(frozen=True, eq=False)
class Request:
    """What a client wants once, however often it sends it."""

    operation: str
    path: str
    body: bytes
    key: str | None = None


@dataclass(frozen=True, eq=False)
class Attempt:
    """One delivery of a request to one service, and what came back; status 0 when no answer came."""

    request: Request
    id: str
    url: str
    began: float
    ended: float
    status: int
    content: bytes
    replayed: bool

    @property
    def is_acknowledged(self) -> bool:
        return self.status in (200, 201)

    @property
    def is_refused(self) -> bool:
        """Whether the answer promises that nothing happened."""
        return self.status >= 400 and self.status != 504

    @property
    def is_fault(self) -> bool:
        """Whether the service could not serve it, so that a client with a key tries again."""
        return self.status == 0 or (self.status >= 500 and bool(self.answer["retry"]))

    @property
    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = orjson.loads(self.content)
        return answer


@dataclass
class Load:
    """Clients of one or more services of the same ledger, from `__enter__` until `end`."""

    urls: list[str]
    clients: int = CLIENTS
    seed: int = 0
    attempts: list[Attempt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._name = f"load{next(_loads)}-{time.time_ns()}"
        self._ids = itertools.count()
        self._ending = threading.Event()
        self._ends_at = float("inf")
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)

    # What a test does, in the main thread

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, of a test that failed too, in which what the clients wait for may never come."""
        self._finish(0.0)

    def end(self) -> None:
        """Let every client finish what it began, then raise what went wrong with one of them."""
        self._finish(SETTLE_SECONDS)
        if self._failure:
            raise self._failure

    def _finish(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._ending.set()
        self._thread.join()

    def progress(self, count: int = 50) -> None:
        """Wait until so many more requests were acknowledged."""
        aim = len(self.acknowledged()) + count
        deadline = time.monotonic() + PROGRESS_SECONDS
        while len(self.acknowledged()) < aim:
            assert time.monotonic() < deadline, f"no {count} requests were acknowledged in {PROGRESS_SECONDS:g} s"
            assert self._thread.is_alive(), f"the clients ended: {self._failure!r}"
            time.sleep(0.01)

    def acknowledged(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts.copy() if attempt.is_acknowledged]

    def replay(self) -> None:
        """Send acknowledged requests with a key once more, as clients of another day; each is acknowledged again."""
        requests = {attempt.request: None for attempt in self.acknowledged() if attempt.request.key}
        replayed = len(self.acknowledged()) + len(requests)
        self._ends_at = time.monotonic() + SETTLE_SECONDS
        asyncio.run(self._send_all(list(requests)))
        assert len(self.acknowledged()) == replayed

    # What the clients do, in their own

    def _run(self) -> None:
        try:
            asyncio.run(self._all_clients())
        except BaseException as failure:
            self._failure = failure

    async def _all_clients(self) -> None:
        async with self._client() as client, asyncio.TaskGroup() as group:
            for index in range(self.clients):
                group.create_task(self._live(client, Random(f"{self.seed}-{index}")))

    async def _send_all(self, requests: list[Request]) -> None:
        random = Random(self.seed)
        async with self._client() as client:
            for first in range(0, len(requests), self.clients):
                some = requests[first : first + self.clients]
                await asyncio.gather(*(self._send(client, request, random) for request in some))

    async def _live(self, client: httpx.AsyncClient, random: Random) -> None:
        while not self._ending.is_set():
            await self._one_life(client, random)
            await asyncio.sleep(REST_SECONDS)

    async def _one_life(self, client: httpx.AsyncClient, random: Random) -> None:
        """Issue a number; or reserve some, then confirm all or one, cancel, or leave them to expire."""
        numbering: dict[str, Any] = {"series": random.choice(list(SERIES)), "count": random.choice((1, 1, 1, 3))}
        fate = random.choice(("issue", "confirm", "confirm", "confirm one", "cancel", "leave"))
        if fate == "issue":
            await self._want(client, random, "issue", "/v1/issue", numbering | {"document": "D"})
            return
        numbering["ttl_seconds"] = SHORT_TTL if fate == "leave" else LONG_TTL
        reserved = await self._want(client, random, "reserve", "/v1/reservations", numbering)
        if reserved is not None and fate != "leave":
            await self._close(client, random, fate, reserved.answer)

    async def _close(self, client: httpx.AsyncClient, random: Random, fate: str, reserved: dict[str, Any]) -> None:
        operation = "cancel" if fate == "cancel" else "confirm"
        body: dict[str, Any] = {"document": "D"} if fate == "confirm" else {}
        if fate == "confirm one":
            body = {"numbers": [reserved["numbers"][0]["number"]]}
        await self._want(client, random, operation, f"/v1/reservations/{reserved['token']}/{operation}", body)

    async def _want(
        self, client: httpx.AsyncClient, random: Random, operation: str, path: str, body: dict[str, Any]
    ) -> Attempt | None:
        """Have something done once, perhaps asking for it twice; give an answer that acknowledged it."""
        key = f"{self._name}-{next(self._ids)}" if random.random() < KEYED else None
        request = Request(operation, path, orjson.dumps(body), key)
        times = 2 if key and random.random() < DOUBLED else 1
        answers = await asyncio.gather(*(self._send(client, request, random) for _ in range(times)))
        if key and random.random() < ASKED_AGAIN:
            answers.append(await self._send(client, request, random))
        return next((answer for answer in answers if answer and answer.is_acknowledged), None)

    async def _send(self, client: httpx.AsyncClient, request: Request, random: Random) -> Attempt | None:
        """Send a request, with a key until the answer is no fault; None when its outcome stays unknown."""
        while True:
            attempt = await self._attempt(client, request, random.choice(self.urls))
            self.attempts.append(attempt)
            if not attempt.is_fault:
                return attempt
            if request.key is None:
                return None
            assert time.monotonic() < self._ends_at, f"{request} never got an answer; the last was {attempt}"
            await asyncio.sleep(RETRY_SECONDS)

    async def _attempt(self, client: httpx.AsyncClient, request: Request, url: str) -> Attempt:
        id = f"{self._name}-{next(self._ids)}"
        headers = {"X-Request-Id": id} | ({"Idempotency-Key": request.key} if request.key else {})
        began = time.monotonic()
        status, content, replayed = 0, b"", False
        try:
            response = await client.post(url + request.path, content=request.body, headers=headers)
            status, content = response.status_code, response.content
            replayed = response.headers.get("Idempotent-Replayed") == "true"
        except httpx.TransportError:
            pass  # it may have been done, and it may not: status 0
        return Attempt(request, id, url, began, time.monotonic(), status, content, replayed)

    def _client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=4 * self.clients, max_keepalive_connections=4 * self.clients)
        return httpx.AsyncClient(timeout=ANSWER_SECONDS, limits=limits, trust_env=False)
