"""Streams to mirror to: a real Redis that all tests share, each with a stream of its own, and memory."""

from collections.abc import AsyncIterator, Callable, Iterator
from uuid import uuid4

import pytest

from projections.mirror.memory import MemoryEntries, MemoryStream
from projections.mirror.redis import RedisStream
from projections.mirror.stream import Stream, stream_key
from tests.servers import Redis

Open = Callable[[], Stream]


@pytest.fixture(scope="package")
def shared_redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def redis() -> Iterator[Redis]:
    """A Redis of one test, which may do to it what it likes."""
    with Redis() as server:
        yield server


@pytest.fixture
def key() -> str:
    return stream_key(str(uuid4()))


@pytest.fixture
async def open_redis(shared_redis: Redis, key: str) -> AsyncIterator[Open]:
    """Connects to the same stream as often as it is called."""
    opened: list[Stream] = []

    def open_one() -> Stream:
        opened.append(RedisStream(shared_redis.url, key))
        return opened[-1]

    yield open_one
    for stream in opened:
        await stream.close()


@pytest.fixture
def open_memory() -> Open:
    held = MemoryEntries()
    return lambda: MemoryStream(held)


@pytest.fixture(params=["memory", "redis"])
def open_stream(request: pytest.FixtureRequest) -> Open:
    opener: Open = request.getfixturevalue(f"open_{request.param}")
    return opener
