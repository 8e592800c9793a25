"""The harness itself: without these, a test of durability could pass on a server that is not durable."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from numbering.doctor.grants import NEEDED
from tests.servers import HOST, Database, MariaDB, Redis, ServerError

GRANTS = Path(__file__).parents[1] / "ops" / "mariadb-grants.sql"
GRANTED_TABLES = tuple(NEEDED)


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDB]:
    with MariaDB() as server:
        yield server


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def database(mariadb: MariaDB) -> Database:
    return mariadb.new_database()


async def run(url: str, *statements: str) -> None:
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement))
    finally:
        await engine.dispose()


def test_mariadb_is_durable(mariadb: MariaDB) -> None:
    settings = "@@log_bin, @@sync_binlog, @@innodb_flush_log_at_trx_commit, @@binlog_format"
    assert mariadb.execute(f"SELECT {settings}") == "1\t1\t1\tROW"


async def test_admin_may_create_tables_and_triggers(database: Database) -> None:
    await run(
        database.admin_url,
        "CREATE TABLE t (a INT)",
        "CREATE TRIGGER no_delete BEFORE DELETE ON t FOR EACH ROW SIGNAL SQLSTATE '45000'",
    )


async def test_service_may_do_nothing_before_its_grants(database: Database) -> None:
    with pytest.raises(OperationalError, match="1044"):
        await run(database.service_url, "CREATE TABLE t (a INT)")


async def test_grants_let_the_service_append_and_not_edit(database: Database) -> None:
    await run(database.admin_url, *(f"CREATE TABLE {table} (a INT)" for table in GRANTED_TABLES))
    database.grant_service(GRANTS)
    await run(database.service_url, "INSERT INTO events VALUES (1)", "SELECT a FROM events")
    for statement in ("UPDATE events SET a = 2", "DELETE FROM events", "DROP TABLE events"):
        with pytest.raises(OperationalError, match="1142"):
            await run(database.service_url, statement)


def test_mariadb_keeps_a_committed_row_through_a_crash(mariadb: MariaDB, database: Database) -> None:
    mariadb.execute("CREATE TABLE t (a INT); INSERT INTO t VALUES (7)", database=database.name)
    port = mariadb.port
    mariadb.kill()
    with pytest.raises(ServerError):
        mariadb.execute("SELECT 1")
    mariadb.restart()
    assert mariadb.port == port
    assert mariadb.execute("SELECT a FROM t", database=database.name) == "7"


def test_a_failed_start_shows_the_log(mariadb: MariaDB) -> None:
    other = MariaDB()
    other.port = mariadb.port
    with pytest.raises(ServerError, match="already in use"), other:
        pass
    assert not other.directory.exists()


def test_redis_flushes_every_write(redis: Redis) -> None:
    assert redis.execute("CONFIG", "GET", "appendonly").split() == ["appendonly", "yes"]
    assert redis.execute("CONFIG", "GET", "appendfsync").split() == ["appendfsync", "always"]


def test_redis_keeps_an_acknowledged_write_through_a_crash(redis: Redis) -> None:
    redis.execute("SET", "key", "value")
    redis.kill()
    redis.restart()
    assert redis.execute("GET", "key") == "value"


def test_a_paused_server_accepts_and_hangs_until_it_is_resumed(redis: Redis) -> None:
    redis.pause()
    with socket.create_connection((HOST, redis.port), timeout=0.2) as client:
        client.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            client.recv(1)
        redis.resume()
        client.settimeout(10)
        assert client.recv(16) == b"+PONG\r\n"


def test_a_paused_server_can_be_stopped() -> None:
    with Redis() as server:
        server.pause()
        server.stop()
