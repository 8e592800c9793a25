"""A ledger on a MariaDB of our own, which may be killed, or in an SQLite file; with processes that serve it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.fire.load import SERIES
from tests.fire.place import Place
from tests.fire.service import Serve, Service
from tests.servers import Database, MariaDB, ServerError
from tests.stores import new_mariadb, new_sqlite


@pytest.fixture(scope="package")
def mariadb() -> Iterator[MariaDB]:
    """Not the one that other tests share: this one is killed."""
    with MariaDB() as server:
        yield server


@pytest.fixture
def on_mariadb(mariadb: MariaDB) -> Place:
    return place_of_server(mariadb, new_mariadb(mariadb))


def place_of_server(mariadb: MariaDB, database: Database) -> Place:
    """What a ledger in a database of a server is to tests, whoever migrated it."""

    def execute(sql: str) -> str:
        return mariadb.execute(sql, database=database.name)

    def is_locked() -> bool:
        return execute("SELECT id FROM ledger_head FOR UPDATE SKIP LOCKED") == ""

    def hold(seconds: float) -> None:
        with suppress(ServerError):  # the server was killed meanwhile
            execute(f"BACKUP STAGE START; BACKUP STAGE BLOCK_COMMIT; DO SLEEP({seconds})")

    return Place(database.service_url, execute, is_locked, hold)


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Place:
    new_sqlite(tmp_path / "ledger.db")
    return place_of_file(tmp_path / "ledger.db")


def place_of_file(file: Path) -> Place:
    url = f"sqlite+aiosqlite:///{file}"

    def execute(sql: str, *, timeout: float = 10) -> None:
        with closing(sqlite3.connect(file, timeout=timeout)) as connection:
            connection.executescript(sql)

    def is_locked() -> bool:
        try:
            execute("BEGIN IMMEDIATE; ROLLBACK", timeout=0)
        except sqlite3.OperationalError:
            return True
        return False

    def hold(seconds: float) -> None:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)

    return Place(url, execute, is_locked, hold)


@pytest.fixture(params=["mariadb", "sqlite"])
def place(request: pytest.FixtureRequest) -> Place:
    made = request.getfixturevalue(f"on_{request.param}")
    assert isinstance(made, Place)
    return made


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts processes that serve a place, and ends them with the test; the first defines the series."""
    with ExitStack() as stack:
        defined: set[str] = set()

        def start(place: Place, **options: Any) -> Service:
            service = stack.enter_context(Service(place.url, **options))
            if place.url not in defined:
                defined.add(place.url)
                for code, series in SERIES.items():
                    assert service.ask("PUT", f"/v1/series/{code}", orjson.dumps(series))[0] == 201
            return service

        yield start
