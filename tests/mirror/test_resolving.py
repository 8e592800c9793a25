"""The name of Redis is looked up one look-up at a time, however many ask, and however long it takes."""

import asyncio
import socket
from threading import Event

import pytest

from projections.mirror import resolving
from projections.mirror.redis import RedisStream
from projections.mirror.resolving import address_of
from projections.mirror.stream import EMPTY, StreamFault
from tests.servers import Redis


async def test_a_name_is_looked_up(shared_redis: Redis, key: str) -> None:
    stream = RedisStream(f"redis://localhost:{shared_redis.port}", key)
    assert await stream.tail() == EMPTY
    await stream.close()


async def test_an_address_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "_look_up", None)
    assert await address_of("127.0.0.1") == "127.0.0.1"
    assert await address_of("::1") == "::1"


async def test_a_silent_name_server_is_asked_once(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    asked, answers = [], Event()

    def silent(host: str, *_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        asked.append(host)
        answers.wait(10)
        return [(0, 0, 0, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    stream = RedisStream("redis://redis.example:6379", key, seconds=0.05)
    for _ in range(5):
        with pytest.raises(StreamFault, match="did not answer within"):
            await stream.tail()
    assert asked == ["redis.example"]
    waiting = asyncio.create_task(address_of("redis.example"))
    await asyncio.sleep(0)
    answers.set()
    assert await waiting == "127.0.0.1"
    assert asked == ["redis.example"]
    await stream.close()


async def test_a_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    stream = RedisStream("redis://nobody.example:6379", key)
    with pytest.raises(StreamFault, match="Name or service not known"):
        await stream.tail()
    await stream.close()
