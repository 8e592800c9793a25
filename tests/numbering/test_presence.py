"""A serving process is in the table of processes for as long as it serves, and serves without it as well."""

import asyncio
import logging
import os
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing

import pytest

from ledger.domain.formats import NEWEST_FORMAT
from ledger.stores import open_store
from ledger.stores.processes import Process, Processes
from numbering import presence
from numbering.presence import build
from numbering.settings import Settings
from numbering.wiring import Node
from tests.servers import MariaDB
from tests.stores import Ledger

SECONDS = 10.0


async def rows(url: str) -> list[Process]:
    store = open_store(url)
    try:
        return list((await Processes(store).all())[0])
    finally:
        await store.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await condition():  # noqa: ASYNC110  a database sets no event
            await asyncio.sleep(0.02)


async def the_row(url: str) -> Process:
    """The only row, as soon as it is there."""

    async def there() -> bool:
        return len(await rows(url)) == 1

    await until(there)
    return (await rows(url))[0]


async def test_it_is_there_while_it_serves(sql_ledger: Ledger) -> None:
    async with Node(Settings(database_url=sql_ledger.url), projects=True):
        found = await the_row(sql_ledger.url)
        assert found[1:5] == (socket.gethostname(), os.getpid(), build(), NEWEST_FORMAT)
    assert await rows(sql_ledger.url) == []


async def test_a_command_is_not(sqlite_only: Ledger) -> None:
    async with Node(Settings(database_url=sqlite_only.url)) as node:
        await node.ledger.writer.fresh()
        assert await rows(sqlite_only.url) == []


async def test_it_says_again_and_again_that_it_is_there(sqlite_only: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "REFRESH_SECONDS", 0.01)
    async with Node(Settings(database_url=sqlite_only.url), projects=True):
        first = await the_row(sqlite_only.url)

        async def again() -> bool:
            return (await the_row(sqlite_only.url)).seen_at > first.seen_at

        await until(again)


async def test_all_of_its_connections_are_its_own(
    mariadb_only: Ledger, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "REFRESH_SECONDS", 0.05)
    assert mariadb_only.database is not None
    shown = f"SELECT id FROM information_schema.processlist WHERE db = '{mariadb_only.database.name}'"
    async with Node(Settings(database_url=mariadb_only.url), projects=True) as node:
        await node.ledger.writer.fresh()

        async def claimed() -> bool:
            ids = {id for each in await rows(mariadb_only.url) for id in each.connections}
            # Whoever asked for the rows is gone when the server is asked: only what the node has open is left.
            return bool(ids) and ids == set(map(int, mariadb.execute(shown).split()))

        await until(claimed)


async def test_without_the_table_it_serves_all_the_same(
    sql_ledger: Ledger, mariadb: MariaDB, caplog: pytest.LogCaptureFixture
) -> None:
    store = sql_ledger.open()
    if sql_ledger.database:
        mariadb.execute("DROP TABLE processes", database=sql_ledger.database.name)
    else:
        with closing(sqlite3.connect(sql_ledger.url.partition("///")[2])) as connection:
            connection.execute("DROP TABLE processes")
    with caplog.at_level(logging.WARNING):
        async with Node(Settings(database_url=sql_ledger.url), projects=True) as node:
            await node.ledger.writer.fresh()

            async def said() -> bool:
                return bool(caplog.records)

            await until(said)
    assert (
        "the row of this process was not written: a table of the ledger is missing: run `numbering migrate`"
        in caplog.text
    )
    assert (await store.head()).position == 0
