"""Fixtures that many test files share: one private MariaDB for the whole run, and fresh ledgers."""

import gc
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests import profiles
from tests.servers import MariaDB
from tests.shares import shared_out
from tests.stores import Ledger, mariadb_ledger, memory_ledger, sqlite_ledger


def pytest_report_header() -> str:
    return f"profile: {profiles.current()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1:
        files = defaultdict[str, list[pytest.Item]](list)
        for item in items:
            files[item.nodeid.partition("::")[0]].append(item)
        items[:] = shared_out(files, workers)


def pytest_collection_finish() -> None:
    """Spare the collector what lives as long as the run: thousands of tests, and the modules that they use."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _collected_as_ever() -> Iterator[None]:
    """A service collects less often, and a test may be one; the next is none."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what the drills measured, beside what docs/recovery.md requires."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    drills = [value for report in reports for name, value in report.user_properties if name == "drill"]
    if drills:
        terminalreporter.section("drills")
        for row in [("disaster", "RTO", "measured", "RPO", "measured"), *drills]:
            terminalreporter.write_line("{:<52} {:>6} {:>10} {:>20} {:>10}".format(*row))


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
            return mariadb_ledger(request.getfixturevalue("mariadb"))


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
