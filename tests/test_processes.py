"""The rows of the processes that serve a ledger, in both databases."""

import asyncio
import os
from typing import Any

from ledger.stores import SqlStore
from ledger.stores.processes import STALE_SECONDS, Process, Processes
from tests.servers import MariaDB
from tests.stores import Ledger

HOUR = 3_600_000_000


def process() -> Process:
    return Process(os.urandom(16).hex(), "a-host", 4711, "0.1.0", 2)


def opened(ledger: Ledger, **options: Any) -> SqlStore:
    store = ledger.open(**options)
    assert isinstance(store, SqlStore)
    return store


async def test_a_process_is_there_until_it_ends(sql_ledger: Ledger) -> None:
    table, mine = Processes(opened(sql_ledger)), process()
    await table.see(mine)
    (found,), now = await table.all()
    assert found[:5] == mine[:5]
    assert now - HOUR < found.started_at <= found.seen_at <= now
    await table.forget(mine)
    assert (await table.all())[0] == []


async def test_it_is_seen_again_and_again(sql_ledger: Ledger) -> None:
    table, mine = Processes(opened(sql_ledger)), process()
    await table.see(mine)
    (first,), _ = await table.all()
    await asyncio.sleep(0.01)
    await table.see(mine)
    (second,), _ = await table.all()
    assert second.started_at == first.started_at
    assert second.seen_at > first.seen_at


async def test_a_row_that_was_taken_away_comes_back(sql_ledger: Ledger) -> None:
    table, mine, other = Processes(opened(sql_ledger)), process(), process()
    for each in (mine, other):
        await table.see(each)
    await table.forget(mine)
    await table.see(mine)
    assert {each.id for each in (await table.all())[0]} == {mine.id, other.id}


async def test_who_was_not_seen_for_long_is_forgotten(sqlite_only: Ledger) -> None:
    def then() -> int:
        return 5 * HOUR

    def later() -> int:
        return then() + (STALE_SECONDS + 1) * 1_000_000

    dead, alive = process(), process()
    await Processes(opened(sqlite_only, now=then)).see(dead)
    table = Processes(opened(sqlite_only, now=later))
    await table.see(alive)
    (found,), now_read = await table.all()
    assert (found.id, now_read) == (alive.id, later())


async def test_its_connections_are_those_that_the_server_shows(mariadb_only: Ledger, mariadb: MariaDB) -> None:
    assert mariadb_only.database is not None
    store = opened(mariadb_only)
    table, mine = Processes(store), process()
    await (await store.begin()).rollback()
    await table.see(mine)
    (found,), _ = await table.all()
    shown = mariadb.execute(
        f"SELECT id FROM information_schema.processlist WHERE db = '{mariadb_only.database.name}'"
    ).split()
    assert sorted(found.connections) == sorted(map(int, shown))
    assert len(found.connections) == 2  # the writer's and a reader's
    store.discard()
    await table.see(mine)
    (found,), _ = await table.all()
    assert len(found.connections) == 1
