"""The mirror in a Redis stream, through redis-py. Redis 7.0 or newer.

What must be one step is a script, which Redis runs alone. Where a script says by its first line (`#!lua`) that it
writes, Redis refuses all of it when its memory is full, its disk fails, or it is only a replica: so a probe that
appends nothing finds out.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import chain
from typing import Any

from redis.asyncio import Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, OutOfMemoryError, RedisError

from ledger.ports import Record
from projections.mirror.macs import Authenticator, Keys
from projections.mirror.resolving import Resolving, ResolvingSSL
from projections.mirror.stream import (
    EMPTY,
    LOOKED_BACK,
    Connect,
    Entry,
    Group,
    Later,
    Overview,
    Stream,
    StreamFault,
    Tail,
    stream_key,
)

__all__ = ["RedisStream", "connect_to", "persist", "streams"]

ANSWER_SECONDS = 1.0
FLUSH_SECONDS = 2.0  # after which `appendfsync everysec` has flushed what was answered
SAVE_PROBE_SECONDS = 0.05
LATER = 16  # generations behind a stream's own that are looked for
SCANNED = 1_000  # keys of Redis's at a time

_KEY = re.compile(r"numbering:([^:]+)(?::([1-9][0-9]*))?:events")

# What redis-py connects with, and what we do instead; a unix socket has no name to look up.
RESOLVING: dict[Any, Any] = {Connection: Resolving, SSLConnection: ResolvingSSL}

# ARGV: the position in front of the first event; its hash; '1' when they may begin an empty stream; then the type,
# version, body, hash and MAC (or '') of each event. Gives the tail, its MAC, and whether the stream now holds all.
APPEND = """#!lua
local key, before, count = KEYS[1], tonumber(ARGV[1]), (#ARGV - 3) / 5
local function field(entry, name)
    for i = 1, #entry[2], 2 do
        if entry[2][i] == name then return entry[2][i + 1] end
    end
    return ''
end
local function given(position)
    if position == before then return ARGV[2] end
    return ARGV[2 + 5 * (position - before)]
end
local tail = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
local last, hash, mac, holds = '0-0', '', '', 0
if redis.call('EXISTS', key) == 1 then
    local info = redis.call('XINFO', 'STREAM', key)
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then last = info[i + 1] end
    end
end
if tail and tail[1] == last then hash, mac = field(tail, 'hash'), field(tail, 'mac') else tail = nil end
local at = tonumber(string.match(last, '^(%d+)%-0$')) or -1
local from
if not tail then
    if at == 0 and ARGV[3] == '1' then from = before end
elseif at >= before and at <= before + count then
    if given(at) == hash then from = at end
elseif at > before + count then
    local last_given = string.format('%.0f-0', before + count)
    local there = redis.call('XRANGE', key, last_given, last_given)[1]
    if there and field(there, 'hash') == given(before + count) then holds = 1 end
end
if from then
    for position = from + 1, before + count do
        local i = 5 * (position - before) - 1
        last, hash, mac = string.format('%.0f-0', position), ARGV[3 + i], ARGV[4 + i]
        local fields = {'type', ARGV[i], 'version', ARGV[1 + i], 'body', ARGV[2 + i], 'hash', hash}
        if mac ~= '' then fields[9], fields[10] = 'mac', mac end
        redis.call('XADD', key, last, unpack(fields))
    end
    holds = 1
end
return {last, hash, mac, holds}
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


def connect_to(url: str, *, seconds: float = ANSWER_SECONDS, keys: Keys | None = None) -> Connect:
    def connect(ledger_id: str, generation: int, /) -> RedisStream:
        later = {each: stream_key(ledger_id, each) for each in range(generation + 1, generation + 1 + LATER)}
        authenticator = keys.of(ledger_id, generation) if keys else None
        return RedisStream(
            url, stream_key(ledger_id, generation), seconds=seconds, later=later, authenticator=authenticator
        )

    return connect


async def streams(url: str, *, seconds: float = ANSWER_SECONDS) -> dict[str, list[int]]:
    """Find the ledgers that have streams, and of which generations."""
    client, found = _client(url, seconds), dict[str, list[int]]()
    try:
        async with _answering(seconds):
            async for key in client.scan_iter(match="numbering:*:events", count=SCANNED):
                if match := _KEY.fullmatch(key.decode(errors="replace")):
                    found.setdefault(match[1], []).append(int(match[2] or 0))
    finally:
        await client.aclose()
    return found


async def persist(url: str, *, seconds: float) -> None:
    """Return when Redis has on its disk what it holds now, so that it cannot come back from a crash with less.

    A StreamFault if it cannot write, or does not say so within `seconds`.
    """
    client = _client(url, seconds)
    try:
        async with _answering(seconds):
            info: Any = await client.info("persistence")
            if info["aof_enabled"]:
                await asyncio.sleep(await _flush_seconds(client))
                status = info["aof_last_write_status"]
            else:
                status = (await _saved(client))["rdb_last_bgsave_status"]
            if status != "ok":
                raise StreamFault("Redis cannot write to its disk: see its log")
    finally:
        await client.aclose()


async def _flush_seconds(client: Redis) -> float:
    """Say how long the file of appends may be behind what was answered."""
    with suppress(NoPermissionError):
        found: Any = await client.config_get("appendfsync")
        if found.get("appendfsync") == "always":
            return 0.0
    return FLUSH_SECONDS


async def _saved(client: Redis) -> Any:
    """Have a dump written, behind one that may be under way; gives what became of it."""
    await _until_saved(client)
    await client.bgsave()
    return await _until_saved(client)


async def _until_saved(client: Redis) -> Any:
    while True:
        info = await client.info("persistence")
        if not info["rdb_bgsave_in_progress"]:
            return info
        await asyncio.sleep(SAVE_PROBE_SECONDS)


def _client(url: str, seconds: float) -> Redis:
    """Give a client that neither retries nor waits long: the relay does both."""
    client = Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=seconds, socket_connect_timeout=seconds)
    pool = client.connection_pool
    pool.connection_class = RESOLVING.get(pool.connection_class, pool.connection_class)
    return client


class RedisStream:
    """`seconds` is how long each question may take; `later` names the streams of later generations."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        seconds: float = ANSWER_SECONDS,
        later: Mapping[int, str] | None = None,
        authenticator: Authenticator | None = None,
    ) -> None:
        self._url = url
        self.key = key
        self.authenticator = authenticator
        self._later = later or {}
        self._seconds = seconds
        self._client = _client(url, seconds)
        self._append = self._client.register_script(APPEND)

    async def tail(self) -> Tail:
        async with self._answering():
            if not await self._client.exists(self.key):
                return EMPTY
            info: Any = await self._client.xinfo_stream(self.key)
        last, entry = info["last-generated-id"], info["last-entry"]
        if entry is None or entry[0] != last:
            return Tail(_position(last), b"")
        found = _fields(*entry)
        return Tail(found.position, found.hash, found.mac)

    async def append(self, records: Sequence[Record], previous: bytes, *, begin: bool = False) -> bool:
        events: Any = chain.from_iterable(map(self._arguments, records))
        arguments: Any = (records[0].position - 1, previous, int(begin), *events)
        async with self._answering():
            _, _, _, holds = await self._append(keys=[self.key], args=arguments)
        return bool(holds)

    async def probe(self) -> Tail:
        """Ask on a connection of its own, made anew: a password or a limit that has changed since shows only there."""
        client = _client(self._url, self._seconds)
        try:
            async with self._answering():
                id, hash, mac, _ = await client.register_script(APPEND)(keys=[self.key], args=(0, b"", 0))
        finally:
            await client.aclose()
        return Tail(_position(id), hash, mac)

    async def time(self) -> int | None:
        async with self._answering():
            try:
                seconds, microseconds = await self._client.time()
            except NoPermissionError:  # it is no witness, and mirrors all the same
                return None
        return int(seconds) * 1_000_000 + int(microseconds)

    async def entries(self, *, after: int, limit: int) -> Sequence[Entry]:
        async with self._answering():
            found: Any = await self._client.xrange(self.key, min=f"{after + 1}-0", count=limit)
        return [_fields(id, fields) for id, fields in found]

    async def newest(self, *, limit: int) -> Sequence[Entry]:
        async with self._answering():
            found: Any = await self._client.xrevrange(self.key, count=limit)
        return [_fields(id, fields) for id, fields in found]

    async def trim(self, floor: int) -> int:
        async with self._answering():
            trimmed: int = await self._client.register_script(TRIM)(keys=[self.key], args=(floor,))
        return trimmed

    async def overview(self) -> Overview:
        async with self._answering():
            if not await self._client.exists(self.key):
                return Overview(0, 0, 0, ())
            info: Any = await self._client.xinfo_stream(self.key)
            of_groups: Any = await self._client.xinfo_groups(self.key)
            groups = tuple([await self._group(each) for each in of_groups])
        first = _position(info["first-entry"][0]) if info["first-entry"] else 0
        return Overview(info["length"], first, _position(info["last-generated-id"]), groups)

    async def later(self) -> Later:
        async with self._answering():
            if not self._later or not await self._client.exists(*self._later.values()):
                return Later.NONE
        if self.authenticator is None:
            return Later.GENUINE
        judged = await self._judged()
        return Later.GENUINE if any(genuine for _, genuine in judged) else Later.FOREIGN

    async def drop_foreign(self) -> None:
        foreign = [key for key, genuine in await self._judged() if not genuine]
        if foreign:
            async with self._answering():
                await self._client.unlink(*foreign)

    async def delete(self) -> None:
        async with self._answering():
            await self._client.unlink(self.key)

    def beside(self) -> "RedisStream":
        beside = f"{self.key}:rebuilding"
        return RedisStream(self._url, beside, seconds=self._seconds, authenticator=self.authenticator)

    async def put_in_place(self, other: Stream) -> None:
        assert isinstance(other, RedisStream)
        async with self._answering():
            await self._client.rename(other.key, self.key)

    async def close(self) -> None:
        with suppress(RedisError, OSError):
            await self._client.aclose()

    def _arguments(self, record: Record) -> tuple[str, int, bytes, bytes, bytes]:
        mac = self.authenticator.mac(record.position, record.hash) if self.authenticator else b""
        return record.type, record.version, record.body, record.hash, mac

    async def _judged(self) -> list[tuple[str, bool]]:
        """Name the streams of later generations that are there; say of each whether one of its entries is genuine.

        What is there may be no stream, or hold anything.
        """
        pipeline: Any = self._client.pipeline(transaction=False)
        for key in self._later.values():
            pipeline.exists(key)
            pipeline.xrevrange(key, count=LOOKED_BACK)
        async with self._answering():
            answers: Any = await pipeline.execute(raise_on_error=False)
        found = zip(self._later.items(), answers[::2], answers[1::2], strict=True)
        return [(key, self._is_genuine(generation, entries)) for (generation, key), exists, entries in found if exists]

    def _is_genuine(self, generation: int, entries: object) -> bool:
        if self.authenticator is None:
            return True
        if not isinstance(entries, list):
            return False
        authenticator = self.authenticator.of(generation)
        return any(authenticator.is_valid(*_signed(*entry)) for entry in entries)

    async def _group(self, info: dict[str, Any]) -> Group:
        pending: Any = await self._client.xpending(self.key, info["name"])
        oldest = int(pending["min"].partition(b"-")[0]) if pending["min"] else 0
        delivered = int(info["last-delivered-id"].partition(b"-")[0])
        return Group(info["name"].decode(errors="replace"), info["consumers"], info["pending"], delivered, oldest)

    def _answering(self) -> AbstractAsyncContextManager[None]:
        return _answering(self._seconds)


@asynccontextmanager
async def _answering(seconds: float) -> AsyncIterator[None]:
    """Wait for Redis no longer than is allowed, and say in words what went wrong."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (AuthenticationError, AuthorizationError, NoPermissionError) as refused:
        detail = f"Redis refuses us: {refused}; check the user and password of NUMBERING_REDIS_URL"
        raise StreamFault(detail) from refused
    except OutOfMemoryError as full:
        raise StreamFault("Redis is full and takes no more events: raise its maxmemory") from full
    except TimeoutError as silence:
        raise StreamFault(f"Redis did not answer within {seconds:g} s") from silence
    except (RedisError, OSError) as failed:
        said = " ".join(str(failed).split()).rstrip(".") or type(failed).__name__
        raise StreamFault(f"Redis does not serve the mirror: {said}") from failed


def _fields(id: bytes, fields: dict[bytes, bytes]) -> Entry:
    body, hash = fields.get(b"body"), fields.get(b"hash")
    if body is None or hash is None:
        raise _foreign(id.decode())
    return Entry(_position(id), body, hash, fields.get(b"mac", b""))


def _signed(id: bytes, fields: dict[bytes, bytes]) -> tuple[int, bytes, bytes]:
    """Read position, hash and MAC, whatever else is wrong; what is no entry has no MAC."""
    position, _, rest = id.partition(b"-")
    mac = fields.get(b"mac", b"") if rest == b"0" else b""
    return int(position), fields.get(b"hash", b""), mac


def _position(id: bytes | str) -> int:
    text = id.decode() if isinstance(id, bytes) else id
    position, _, rest = text.partition("-")
    if rest != "0":
        raise _foreign(text)
    return int(position)


def _foreign(id: str) -> StreamFault:
    return StreamFault(
        f"the mirror holds the entry {id}, which no ledger wrote: run `numbering mirror rebuild --discard`"
    )
