"""Fixtures that many test files share: one private MariaDB for the whole run, and fresh ledgers."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.servers import MariaDB
from tests.stores import Ledger, mariadb_ledger, memory_ledger, sqlite_ledger


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A private MariaDB; a test that changes or breaks it puts it right again."""
    with MariaDB() as server:
        yield server


async def _ledger(kind: str, request: pytest.FixtureRequest, directory: Path) -> Ledger:
    match kind:
        case "memory":
            return memory_ledger()
        case "sqlite":
            return await sqlite_ledger(directory)
        case _:
            # Asked for only here, so that a run without MariaDB's tests starts none.
            return await mariadb_ledger(request.getfixturevalue("mariadb"))


@pytest.fixture(params=["memory", "sqlite", "mariadb"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    """A fresh ledger of each kind."""
    made = await _ledger(request.param, request, tmp_path)
    yield made
    await made.close()


@pytest.fixture(params=["sqlite", "mariadb"])
async def sql_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    """A fresh ledger of each kind that outlives its process."""
    made = await _ledger(request.param, request, tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def mariadb_only(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    made = await _ledger("mariadb", request, tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def sqlite_only(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    made = await _ledger("sqlite", request, tmp_path)
    yield made
    await made.close()
