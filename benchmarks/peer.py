"""The classical way to give out document numbers, written as a competent team writes it: one transaction a number.

A lock in Redis (SET NX PX with a token, released by compare-and-delete, retried with jitter) keeps most contenders
away from the database; the row lock (SELECT … FOR UPDATE) is what makes it right. Every number leaves an audit row.
Statements are prepared and cached by the connection, as they are for the ledger.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import redis.asyncio as redis
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

__all__ = ["Busy", "RowLock", "counters", "create_tables", "numbers"]

Answer = dict[str, Any]

POOL = 32
REDIS_CONNECTIONS = 1000  # every waiting request may be asking at once; redis-py's default is too few for that
STATEMENT_CACHE = 32
LOCK_MS = 10_000  # longer than any transaction; a holder that died frees it by this
WAIT_SECONDS = 5.0  # as long as the ledger lets a command wait
# Tried from 1 to 400 ms on two cores: shorter waits keep the processor busy with asking, longer ones give the lock to
# whoever had it last and let the others starve.
MIN_RETRY_SECONDS = 0.01
MAX_RETRY_SECONDS = 0.1
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

metadata = MetaData()
counters = Table(
    "counters",
    metadata,
    Column("sequence", String(200), primary_key=True),
    Column("value", BigInteger, nullable=False),
    mariadb_engine="InnoDB",
    mariadb_charset="utf8mb4",
)
numbers = Table(
    "numbers",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("sequence", String(200), nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("number", String(200), nullable=False),
    Column("token", String(32), nullable=False),
    Column("actor", String(100), nullable=False),
    Column("expires_at", DateTime, nullable=False),
    UniqueConstraint("sequence", "value"),
    mariadb_engine="InnoDB",
    mariadb_charset="utf8mb4",
)

COUNTER = select(counters.c.value).where(counters.c.sequence == bindparam("one")).with_for_update()
COUNT = update(counters).where(counters.c.sequence == bindparam("one")).values(value=bindparam("next"))
AUDIT = insert(numbers)


class Busy(Exception):
    """The lock could not be had in time."""


def create_tables(connection: Connection, sequence: str) -> None:
    metadata.create_all(connection)
    connection.execute(insert(counters), {"sequence": sequence, "value": 0})


class RowLock:
    """Numbers from `database_url`, one holder at a time by a lock in `redis_url`; `waiting` counts the unanswered."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self._engine: AsyncEngine = create_async_engine(
            database_url,
            pool_size=POOL,
            isolation_level="READ COMMITTED",
            pool_reset_on_return=None,  # every transaction is ended before its connection is given back
            connect_args={"stmt_cache_size": STATEMENT_CACHE},
        )
        self._redis = redis.Redis.from_url(redis_url, max_connections=REDIS_CONNECTIONS)
        self._release = self._redis.register_script(RELEASE)
        self.waiting = 0

    async def close(self) -> None:
        await self._redis.aclose()
        await self._engine.dispose()

    async def reserve(self, sequence: str, print_number: Callable[[int], str], ttl_seconds: int) -> Answer:
        """Give the next number of a sequence, as the body of an answer; Busy when others were always first."""
        token = os.urandom(16).hex()
        self.waiting += 1
        try:
            async with self._locked(f"lock:{sequence}", token):
                return await self._count(sequence, print_number, token, ttl_seconds)
        finally:
            self.waiting -= 1

    @asynccontextmanager
    async def _locked(self, name: str, token: str) -> AsyncIterator[None]:
        deadline = time.monotonic() + WAIT_SECONDS
        while not await self._redis.set(name, token, nx=True, px=LOCK_MS):
            if time.monotonic() > deadline:
                raise Busy(f"{name} could not be had within {WAIT_SECONDS:g} s")
            await asyncio.sleep(random.uniform(MIN_RETRY_SECONDS, MAX_RETRY_SECONDS))
        try:
            yield
        finally:
            await self._release(keys=[name], args=[token])

    async def _count(self, sequence: str, print_number: Callable[[int], str], token: str, ttl_seconds: int) -> Answer:
        expires_at = datetime.now(UTC) + timedelta(seconds=ttl_seconds)
        async with self._engine.begin() as connection:
            value: int = (await connection.execute(COUNTER, {"one": sequence})).scalar_one() + 1
            await connection.execute(COUNT, {"one": sequence, "next": value})
            row = {"sequence": sequence, "value": value, "number": print_number(value), "token": token}
            await connection.execute(AUDIT, row | {"actor": "anonymous", "expires_at": expires_at.replace(tzinfo=None)})
        return {
            "token": token,
            "state": "RESERVED",
            "numbers": [{"number": row["number"], "value": value}],
            "sequence": sequence,
            "expires_at": f"{expires_at:%Y-%m-%dT%H:%M:%S.%fZ}",
        }
