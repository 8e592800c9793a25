"""A client of a stream in the tests' own process, which takes what it is sent only while it wants to."""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any, NamedTuple, Self

from starlette.applications import Starlette

from tests.api.client import Json

__all__ = ["Listener", "Message", "messages_of"]

Part = MutableMapping[str, Any]

WAIT_SECONDS = 60.0


class Message(NamedTuple):
    """A message as the HTML standard (9.2.6) has a browser see it."""

    id: str
    event: str
    data: str

    def json(self) -> Json:
        told: Json = json.loads(self.data)
        return told


def messages_of(text: str) -> list[Message]:
    """Give the complete messages of a stream; what is not ended by an empty line does not count."""
    messages = []
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            messages.append(Message(fields["id"], fields["event"], fields["data"]))
    return messages


class Listener:
    """`async with` sends the request, and leaving it hangs up. After `stalls_at` pieces it takes no more."""

    def __init__(
        self,
        app: Starlette,
        path: str = "/v1/events/stream",
        *,
        method: str = "GET",
        stalls_at: int | None = None,
        **headers: str,
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.sent = b""
        self.sizes: list[int] = []
        self.has_ended = False
        self._app = app
        self._scope = _scope(path, method, headers)
        self._changed = asyncio.Event()
        self._takes = asyncio.Event()
        self._stalls_at = stalls_at
        self.go_on()
        self._leaving = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._app(self._scope, self._receive, self._send))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leaving.set()
        self._takes.set()
        async with asyncio.timeout(WAIT_SECONDS):
            await self._task

    def stall(self) -> None:
        self._takes.clear()

    def go_on(self) -> None:
        self._takes.set()

    @property
    def text(self) -> str:
        return self.sent.decode(errors="ignore")  # a piece may end within a character

    @property
    def messages(self) -> list[Message]:
        return messages_of(self.text)

    async def until(self, *, messages: int = 0, text: str = "") -> None:
        """Wait until so much has come."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.messages) < messages or text not in self.text:
                self._changed.clear()
                await self._changed.wait()

    async def until_the_end(self) -> None:
        """Wait until the service is done with the request, in order or not: see `has_ended`."""
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.shield(self._task)

    async def _receive(self) -> Part:
        await self._leaving.wait()
        return {"type": "http.disconnect"}

    async def _send(self, part: Part) -> None:
        await self._takes.wait()
        if part["type"] == "http.response.start":
            self.status = part["status"]
            self.headers = {name.decode(): value.decode() for name, value in part["headers"]}
        else:
            self.sent += part["body"]
            self.sizes.append(len(part["body"]))
            if len(self.sizes) == self._stalls_at:
                self.stall()
            self.has_ended = not part.get("more_body", False)
        self._changed.set()


def _scope(path: str, method: str, headers: dict[str, str]) -> Part:
    raw, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": raw,
        "raw_path": raw.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }
