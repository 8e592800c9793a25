"""Whenever a read is cancelled, or its store is closed meanwhile, no connection is left open."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import aiosqlite
import pytest

from ledger.ports import StoreFault
from ledger.stores import SqlStore, sqlite
from tests.stores import TOTAL_SECONDS, Ledger


async def interrupted(
    work: Coroutine[Any, Any, object], at: int, then: Callable[[], Awaitable[BaseException | None]], *, late: bool
) -> None:
    """Do some work, and call `then` when it waits for the time `at`; what that gives is raised where the work waits.

    One that is `late` is called when what the work waits for is done.
    """
    count, error = 0, None
    while True:
        try:
            future = work.throw(error) if error else work.send(None)
        except StopIteration:
            return
        count, error = count + 1, None
        if future is not None:
            future._asyncio_future_blocking = False  # as a task does that takes it over
        if count == at and not late:
            error = await then()
            if error and future is not None:
                future.cancel()  # as a task does that is cancelled
        await (asyncio.sleep(0) if future is None else asyncio.wait([future]))
        if count == at and late:
            error = await then()


@pytest.fixture
def drivers(monkeypatch: pytest.MonkeyPatch, sql_ledger: Ledger) -> list[Any]:
    """Keeps every connection that is opened, also in vain, so that none is closed by being forgotten."""
    store = sql_ledger.open()
    assert isinstance(store, SqlStore)
    opened, opener = list[Any](), type(store).open

    async def noting(of: SqlStore) -> Any:
        opened.append(await opener(of))
        return opened[-1]

    class Noted(sqlite._Connection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            opened.append(self)

    monkeypatch.setattr(type(store), "open", noting)
    monkeypatch.setattr(sqlite, "_Connection", Noted)
    monkeypatch.setattr(sqlite, "CLOSE_SECONDS", 0.05)  # nor does it wait for a connection that is just being opened
    return opened


def is_open(driver: Any) -> bool:
    match driver:
        case sqlite3.Connection():
            with suppress(sqlite3.ProgrammingError):  # it is closed
                return driver.total_changes >= 0
            return False
        case aiosqlite.Connection():
            return driver._connection is not None
    return bool(driver.connected)


async def are_closed(drivers: list[Any]) -> None:
    async with asyncio.timeout(TOTAL_SECONDS):
        while any(map(is_open, drivers)):  # noqa: ASYNC110  SQLite's are closed by threads, which set no event
            await asyncio.sleep(0.001)
    drivers.clear()


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("is_closed", [False, True])
async def test_a_read_is_interrupted_at_any_wait(
    sql_ledger: Ledger, drivers: list[Any], is_closed: bool, late: bool
) -> None:
    waits = 0
    async with asyncio.timeout(TOTAL_SECONDS):
        while True:
            store, called = sql_ledger.open(), list[bool]()

            async def then(store: Any = store, called: list[bool] = called) -> BaseException | None:
                called.append(True)
                if not is_closed:
                    return asyncio.CancelledError()
                await store.close()
                return None

            with suppress(asyncio.CancelledError, StoreFault):
                await interrupted(store.head(), waits + 1, then, late=late)
            if not is_closed:
                await store.close()
            if not called:
                break
            await are_closed(drivers)
            waits += 1
    assert waits >= 8


async def test_a_store_that_was_closed_opens_nothing(sql_ledger: Ledger, drivers: list[Any]) -> None:
    store = sql_ledger.open()
    await store.head()
    await (await store.begin()).rollback()
    await store.close()
    await are_closed(drivers)
    for work in (store.head, store.begin, store.stops):
        with pytest.raises(StoreFault, match="the store is closed"):
            await work()
    assert not drivers


async def test_closing_is_cancelled(sql_ledger: Ledger, drivers: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """As one who is in a hurry does: what the pools still hold is dropped all the same."""
    store = sql_ledger.open()
    assert isinstance(store, SqlStore)
    await asyncio.gather(*(store.head() for _ in range(8)))
    await (await store.begin()).rollback()
    assert len(drivers) > 2

    async def hanging(_: object) -> None:
        await asyncio.sleep(TOTAL_SECONDS)

    monkeypatch.setattr(type(store.readers), "dispose", hanging)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await store.close()
    await are_closed(drivers)
