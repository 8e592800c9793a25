"""The mirror in a Redis stream, through redis-py. Redis 7.0 or newer.

What must be one step is a script, which Redis runs alone. Where a script says by its first line (`#!lua`) that it
writes, Redis refuses all of it when its memory is full, its disk fails, or it is only a replica: so a probe that
appends nothing finds out.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import chain
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, OutOfMemoryError, RedisError

from ledger.ports import Record
from projections.mirror.stream import EMPTY, Connect, Entry, Group, Overview, Stream, StreamFault, Tail, stream_key

__all__ = ["ANSWER_SECONDS", "RedisStream", "client_of", "connect_to"]

ANSWER_SECONDS = 1.0

# ARGV: the position in front of the first event; its hash; '1' when they may begin an empty stream; then the type,
# version, body and hash of each event. Gives the tail, and whether the stream now holds all of them.
APPEND = """#!lua
local key, before, count = KEYS[1], tonumber(ARGV[1]), (#ARGV - 3) / 4
local function hash_of(entry)
    for i = 1, #entry[2], 2 do
        if entry[2][i] == 'hash' then return entry[2][i + 1] end
    end
    return ''
end
local function given(position)
    if position == before then return ARGV[2] end
    return ARGV[3 + 4 * (position - before)]
end
local tail = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
local last, hash, holds = '0-0', '', 0
if tail then
    last, hash = tail[1], hash_of(tail)
elseif redis.call('EXISTS', key) == 1 then
    local info = redis.call('XINFO', 'STREAM', key)
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then last = info[i + 1] end
    end
end
local at = tonumber(string.match(last, '^(%d+)%-0$')) or -1
local from
if not tail then
    if at == 0 and ARGV[3] == '1' then from = before end
elseif at >= before and at <= before + count then
    if given(at) == hash then from = at end
elseif at > before + count then
    local last_given = string.format('%.0f-0', before + count)
    local there = redis.call('XRANGE', key, last_given, last_given)[1]
    if there and hash_of(there) == given(before + count) then holds = 1 end
end
if from then
    for position = from + 1, before + count do
        local i = 4 * (position - before)
        last, hash = string.format('%.0f-0', position), ARGV[3 + i]
        redis.call('XADD', key, last, 'type', ARGV[i], 'version', ARGV[1 + i], 'body', ARGV[2 + i], 'hash', hash)
    end
    holds = 1
end
return {last, hash, holds}
"""

# ARGV: the floor. Entries that a group was not given yet, or has not acknowledged, stay; and so does the last.
TRIM = """#!lua flags=allow-oom
local key, floor = KEYS[1], tonumber(ARGV[1])
local tail = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
if not tail then return 0 end
local function keep(id)
    floor = math.min(floor, tonumber(string.match(id, '^%d+')))
end
keep(tail[1])
for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local fields = {}
    for i = 1, #group, 2 do fields[group[i]] = group[i + 1] end
    keep(fields['last-delivered-id'])
    if fields['pending'] > 0 then keep(redis.call('XPENDING', key, fields['name'])[2]) end
end
return redis.call('XTRIM', key, 'MINID', '=', string.format('%.0f-0', floor))
"""


def client_of(url: str) -> Redis:
    """Give a client that neither retries nor waits: the relay does both."""
    return Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
    )


def connect_to(url: str) -> Connect:
    return lambda ledger_id: RedisStream(url, stream_key(ledger_id))


class RedisStream:
    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self.key = key
        self._client = client_of(url)
        self._append = self._client.register_script(APPEND)

    async def tail(self) -> Tail:
        async with _answering():
            found: Any = await self._client.xrevrange(self.key, count=1)
            if found:
                return _entry_tail(*found[0])
            if not await self._client.exists(self.key):
                return EMPTY
            info: Any = await self._client.xinfo_stream(self.key)
        return Tail(_position(info["last-generated-id"]), b"")

    async def append(self, records: Sequence[Record], previous: bytes, *, begin: bool = False) -> bool:
        events: Any = chain.from_iterable((each.type, each.version, each.body, each.hash) for each in records)
        arguments: Any = (records[0].position - 1, previous, int(begin), *events)
        async with _answering():
            _, _, holds = await self._append(keys=[self.key], args=arguments)
        return bool(holds)

    async def probe(self) -> Tail:
        """Ask on a connection of its own, made anew: a password or a limit that has changed since shows only there."""
        client = client_of(self._url)
        try:
            async with _answering():
                id, hash, _ = await client.register_script(APPEND)(keys=[self.key], args=(0, b"", 0))
        finally:
            await client.aclose()
        return Tail(_position(id), hash)

    async def entries(self, *, after: int, limit: int) -> Sequence[Entry]:
        async with _answering():
            found: Any = await self._client.xrange(self.key, min=f"{after + 1}-0", count=limit)
        return [Entry(_position(id), fields.get(b"body", b""), fields.get(b"hash", b"")) for id, fields in found]

    async def trim(self, floor: int) -> int:
        async with _answering():
            trimmed: int = await self._client.register_script(TRIM)(keys=[self.key], args=(floor,))
        return trimmed

    async def overview(self) -> Overview:
        async with _answering():
            if not await self._client.exists(self.key):
                return Overview(0, 0, 0, ())
            info: Any = await self._client.xinfo_stream(self.key)
            of_groups: Any = await self._client.xinfo_groups(self.key)
            groups = tuple([await self._group(each) for each in of_groups])
        first = _position(info["first-entry"][0]) if info["first-entry"] else 0
        return Overview(info["length"], first, _position(info["last-generated-id"]), groups)

    async def delete(self) -> None:
        async with _answering():
            await self._client.unlink(self.key)

    def beside(self) -> "RedisStream":
        return RedisStream(self._url, f"{self.key}:rebuilding")

    async def put_in_place(self, other: Stream) -> None:
        assert isinstance(other, RedisStream)
        async with _answering():
            await self._client.rename(other.key, self.key)

    async def close(self) -> None:
        with suppress(RedisError, OSError):
            await self._client.aclose()

    async def _group(self, info: dict[str, Any]) -> Group:
        pending: Any = await self._client.xpending(self.key, info["name"])
        oldest = int(pending["min"].partition(b"-")[0]) if pending["min"] else 0
        delivered = int(info["last-delivered-id"].partition(b"-")[0])
        return Group(info["name"].decode(errors="replace"), info["consumers"], info["pending"], delivered, oldest)


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    """Wait for Redis no longer than `ANSWER_SECONDS`, and say in words what went wrong."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            yield
    except (AuthenticationError, AuthorizationError, NoPermissionError) as refused:
        detail = f"Redis refuses us: {refused}; check the user and password of NUMBERING_REDIS_URL"
        raise StreamFault(detail) from refused
    except OutOfMemoryError as full:
        raise StreamFault("Redis is full and takes no more events: raise its maxmemory") from full
    except TimeoutError as silence:
        raise StreamFault(f"Redis did not answer within {ANSWER_SECONDS:g} s") from silence
    except (RedisError, OSError) as failed:
        said = " ".join(str(failed).split()) or type(failed).__name__
        raise StreamFault(f"Redis does not serve the mirror: {said}") from failed


def _entry_tail(id: bytes, fields: dict[bytes, bytes]) -> Tail:
    return Tail(_position(id), fields.get(b"hash", b""))


def _position(id: bytes | str) -> int:
    text = id.decode() if isinstance(id, bytes) else id
    position, _, rest = text.partition("-")
    if rest != "0":
        raise StreamFault(f"the stream holds the entry {text}, which no ledger wrote: run `numbering mirror rebuild`")
    return int(position)
