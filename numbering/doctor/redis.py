"""The mirror's Redis: whether it would keep a mirror. All is read from one INFO, which needs no right to CONFIG."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError

from numbering.doctor.clocks import of_redis
from numbering.doctor.findings import Check, Finding, error, in_order, ok, warning
from numbering.settings import PREFIX

__all__ = ["examine", "judge"]

ANSWER_SECONDS = 2.0
MIN_VERSION = (7, 0)  # scripts that say by their first line that they write
FULL_SHARE = 0.8
MIB = 2**20
ADVICE = f"start Redis, or check {PREFIX}REDIS_URL"


async def examine(url: str) -> list[Finding]:
    if not url:
        return [ok("redis", "no mirror configured")]
    checks = [
        Check("redis connection", partial(_ping, url), gate=True),
        Check("redis settings", partial(_info, url)),
        Check("redis clock", partial(_clock, url)),
    ]
    return await in_order(checks, "redis", seconds=2 * ANSWER_SECONDS)


def _client(url: str) -> Redis:
    return Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
    )


async def _ping(url: str) -> Iterable[Finding]:
    check = "redis connection"
    try:
        async with asyncio.timeout(ANSWER_SECONDS), aclosing(_client(url)) as client:
            await client.ping()
    except (AuthenticationError, AuthorizationError, NoPermissionError) as refused:
        return [error(check, f"Redis refuses us: {refused}", f"check the user and password of {PREFIX}REDIS_URL")]
    except TimeoutError:
        return [error(check, f"no answer from Redis within {ANSWER_SECONDS:g} s", ADVICE)]
    except (RedisError, OSError) as failed:
        said = " ".join(str(failed).split()) or type(failed).__name__
        return [error(check, f"no answer from Redis: {said}", ADVICE)]
    return [ok(check, "answers")]


async def _info(url: str) -> Iterable[Finding]:
    try:
        async with aclosing(_client(url)) as client:
            return list(judge(await client.info()))
    except NoPermissionError as refused:
        return [error("redis settings", f"INFO is refused: {refused}", "ACL SETUSER … +info for the user of the URL")]


async def _clock(url: str) -> Iterable[Finding]:
    check = "redis clock"
    try:
        async with aclosing(_client(url)) as client:
            await client.ping()  # a connection that is made now would count as the clock's delay
            before = time.time()
            seconds, microseconds = await client.time()
    except NoPermissionError:
        return [warning(check, "cannot be asked: after clocks were set, it cannot bear witness", "ACL SETUSER … +time")]
    return [of_redis(check, int(seconds) + int(microseconds) / 1_000_000, before, time.time())]


def judge(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge what INFO says."""
    yield _version(str(info["redis_version"]))
    yield _role(info["role"], info.get("master_host"))
    yield _policy(info.get("maxmemory_policy", "unknown"))
    yield _appendonly(info)
    yield _memory(int(info["used_memory"]), int(info.get("maxmemory", 0)))


def _version(text: str) -> Finding:
    major, minor = text.split(".")[:2]
    if (int(major), int(minor)) < MIN_VERSION:
        return error("redis version", f"{text} is too old", f"use Redis {'.'.join(map(str, MIN_VERSION))} or newer")
    return ok("redis version", text)


def _role(role: str, master: str | None) -> Finding:
    if role == "master":
        return ok("redis role", role)
    return error("redis role", f"{role} of {master}: it takes no writes", f"name the master in {PREFIX}REDIS_URL")


def _policy(policy: str) -> Finding:
    if policy == "noeviction":
        return ok("redis maxmemory-policy", policy)
    advice = "CONFIG SET maxmemory-policy noeviction, and in redis.conf"
    return error("redis maxmemory-policy", f"{policy} may drop the mirror when memory is short", advice)


def _appendonly(info: Mapping[str, Any]) -> Finding:
    check = "redis appendonly"
    if not info.get("aof_enabled"):
        advice = "CONFIG SET appendonly yes, and in redis.conf"
        return warning(check, "no: a restart of Redis would lose the mirror's last events", advice)
    if info.get("aof_last_write_status", "ok") != "ok":
        return error(check, "yes, but its last write failed", "look at the log and the disk of Redis")
    return ok(check, "yes")


def _memory(used: int, limit: int) -> Finding:
    check = "redis memory"
    if not limit:
        return ok(check, f"{used / MIB:.0f} MiB used, no maxmemory")
    detail = f"{used / MIB:.0f} of {limit / MIB:.0f} MiB used"
    if used < limit * FULL_SHARE:
        return ok(check, detail)
    return warning(check, detail, "raise maxmemory: at the limit the mirror cannot grow")
