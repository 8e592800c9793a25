"""A served ledger, in memory and in a real SQLite file. After each test the log itself must still be right."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ledger.ports import Store
from ledger.stores import MemoryLog, MemoryStore, open_store
from tests.api.client import PLAIN_BODY, Api, Time, answer, served, served_once
from tests.stores import new_sqlite

Open = Callable[[], Store]
OpenFile = Callable[[object], Store]


@pytest.fixture(scope="session")
def plain_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite ledger that was served, with the series PLAIN, to be copied: its projections have begun."""
    file = tmp_path_factory.mktemp("served") / "plain.db"
    new_sqlite(file)
    asyncio.run(served_once(file, lambda api: api.define("PLAIN", PLAIN_BODY)))
    return file


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    file = tmp_path / "ledger.db"
    new_sqlite(file)
    return file


@pytest.fixture
def open_memory(clock: Time) -> Open:
    log = MemoryLog()
    return lambda: MemoryStore(log, now=clock.now)


@pytest.fixture
async def open_file(clock: Time) -> AsyncIterator[OpenFile]:
    """Opens an SQLite file, given as it stands in a URL, and closes it in the end."""
    opened: list[Store] = []

    def open_one(file: object) -> Store:
        url = f"sqlite+aiosqlite:///{file}"
        opened.append(open_store(url, lock_timeout_ms=2000, now=clock.now))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
def open_sqlite(sqlite_file: Path, open_file: OpenFile) -> Open:
    return lambda: open_file(sqlite_file)


@pytest.fixture(params=["memory", "sqlite"])
def open_ledger(request: pytest.FixtureRequest) -> Open:
    """Opens the same fresh ledger as often as it is called."""
    opener: Open = request.getfixturevalue(f"open_{request.param}")
    return opener


@pytest.fixture(params=["memory", "sqlite"])
def api(request: pytest.FixtureRequest) -> Api:
    """A served ledger with one series, PLAIN, whose numbers are P-00001 and so on."""
    served_api: Api = request.getfixturevalue(f"{request.param}_api")
    return served_api


@pytest.fixture
async def sqlite_api(plain_file: Path, sqlite_file: Path, open_sqlite: Open, clock: Time) -> AsyncIterator[Api]:
    """The same, in an SQLite file only: for what is read from the projections."""
    shutil.copy(plain_file, sqlite_file)
    async with served(open_sqlite(), open_sqlite(), clock=clock) as served_api:
        answer(await served_api.http.get("/v1/series/PLAIN"), 200)  # once it has read the log
        yield served_api


@pytest.fixture
async def memory_api(open_memory: Open, clock: Time) -> AsyncIterator[Api]:
    """The same, in memory only: for what no store takes part in."""
    async with served(open_memory(), open_memory(), clock=clock) as served_api:
        await served_api.define("PLAIN", PLAIN_BODY)
        yield served_api
