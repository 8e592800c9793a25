"""`numbering upgrade`, and what `numbering serve` does of it by itself on SQLite."""

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncmy
import pytest
from sqlalchemy import make_url

from ledger.codec import Entry, decode, encode
from ledger.domain.commands import Envelope
from ledger.domain.events import FormatRaised, SeriesDefined
from ledger.domain.formats import FIRST_FORMAT, NEWEST_FORMAT
from ledger.ports import Record
from ledger.stores import migrate, open_store
from ledger.stores.processes import Process, Processes
from tests import opener
from tests.given import PLAIN
from tests.numbering.command import asked, said
from tests.numbering.process import Service
from tests.servers import Database, MariaDB
from tests.stores import new_mariadb

WAIT_SECONDS = 30.0
HOST = socket.gethostname()
RAISED = f"the ledger's format was raised from {FIRST_FORMAT} to {NEWEST_FORMAT}"
REMAINS = f"the ledger stays at format {FIRST_FORMAT}"
NEWEST = {"format": NEWEST_FORMAT, "newest": NEWEST_FORMAT}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numbering.cli.upgrade.PATIENCE_SECONDS", 0.6)


async def begin(url: str) -> None:
    """Make a ledger as a build of before begins it: there is no FormatRaised in front."""
    store = open_store(url)
    transaction = await store.begin()
    first = Entry(1, SeriesDefined(PLAIN), Envelope(bytes(32), "somchai"), 0, 1)
    await transaction.append([encode(first, transaction.head.hash)])
    await transaction.commit()
    await store.close()


async def note(url: str, process: Process) -> None:
    store = open_store(url)
    await Processes(store).see(process)
    await store.close()


async def last(url: str) -> Record:
    store = open_store(url)
    head = await store.head()
    (record,) = await store.events(after=head.position - 1, limit=1)
    await store.close()
    return record


def process(format: int, pid: int = 4711) -> Process:
    return Process("0" * 32, "elsewhere", pid, "0.0.9", format)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "numbering.db"
    asyncio.run(migrate(f"sqlite+aiosqlite:///{made}"))
    asyncio.run(begin(f"sqlite+aiosqlite:///{made}"))
    return made


@pytest.fixture
def database(mariadb: MariaDB) -> Database:
    made = new_mariadb(mariadb)
    asyncio.run(begin(made.service_url))
    return made


@pytest.fixture(params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{request.getfixturevalue('file')}"
    made: Database = request.getfixturevalue("database")
    return made.service_url


def test_it_raises_the_format_once(url: str) -> None:
    raised = asked("upgrade", "--database-url", url)
    assert raised == NEWEST | {"raised": True, "processes": [], "unknown": [], "position": 2}
    entry = decode(asyncio.run(last(url)))
    assert entry.event == FormatRaised(NEWEST_FORMAT)
    assert (entry.envelope.reason or "").startswith("by numbering-ledger ")
    again = asked("upgrade", "--database-url", url)
    assert (again["raised"], again["format"]) == (False, NEWEST_FORMAT)
    assert "the newest: there is nothing to do" in said("upgrade", "--database-url", url)


def test_a_dry_run_changes_nothing(url: str) -> None:
    told = said("upgrade", "--dry-run", "--database-url", url)
    assert f"raised from 1 to {NEWEST_FORMAT}; nothing was changed" in told
    assert asyncio.run(last(url)).position == 1


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--force",)])
def test_a_process_of_an_earlier_format_is_named(url: str, options: tuple[str, ...]) -> None:
    asyncio.run(note(url, process(FIRST_FORMAT)))
    refused = asked("upgrade", *options, "--database-url", url, exit_code=1)
    assert refused["title"] == "OLDER_PROCESSES"
    assert "process 4711 on elsewhere, of build 0.0.9, which knows format 1 (last seen " in refused["detail"]
    (told,) = refused["processes"]
    assert (told["pid"], told["format"]) == (4711, FIRST_FORMAT)
    assert asyncio.run(last(url)).position == 1


def test_people_see_who_is_there(url: str) -> None:
    asyncio.run(note(url, process(FIRST_FORMAT)))
    shown = said("upgrade", "--database-url", url, exit_code=1)
    assert "elsewhere  4711  0.0.9" in shown
    assert "end or upgrade it first" in shown


def test_a_process_that_knows_the_format_is_no_hindrance(url: str) -> None:
    asyncio.run(note(url, process(NEWEST_FORMAT)))
    assert asked("upgrade", "--database-url", url)["raised"] is True


@pytest.fixture
def another() -> Iterator[Callable[[Path], int]]:
    """Begins a process that has a file open; gives its id."""
    with ExitStack() as stack:
        yield lambda file: stack.enter_context(opener.another(file))


class TestMariaDB:
    def test_a_connection_that_no_process_claims_is_named(self, database: Database) -> None:
        async def beside_another() -> tuple[int, dict[str, object]]:
            url = make_url(database.service_url)
            _, arguments = url.get_dialect()().create_connect_args(url)
            connection = await asyncmy.connect(**arguments)
            try:
                words = "upgrade", "--database-url", database.service_url
                return connection.thread_id(), await asyncio.to_thread(asked, *words, exit_code=1)
            finally:
                connection.close()

        id, refused = asyncio.run(beside_another())
        assert refused["title"] == "OLDER_PROCESSES"
        assert f"connection {id} of {database.service.user} from " in str(refused["detail"])
        assert "--force" in str(refused["detail"])
        assert asked("upgrade", "--database-url", database.service_url)["raised"] is True

    def test_an_administrator_who_sees_only_his_own_connections_is_told(self, database: Database) -> None:
        refused = asked("upgrade", "--database-url", database.admin_url, exit_code=1)
        assert "the connections of other accounts" in refused["detail"]
        assert "PROCESS" in refused["detail"]
        assert asyncio.run(last(database.service_url)).position == 1

    def test_one_who_sees_all_may_say_that_they_are_none_of_the_ledger_s(
        self, mariadb: MariaDB, database: Database
    ) -> None:
        mariadb.execute(f"GRANT PROCESS ON *.* TO {database.admin.quoted}")

        async def beside_another() -> tuple[dict[str, object], dict[str, object]]:
            store = open_store(database.service_url)
            await store.head()
            try:
                words = "upgrade", "--database-url", database.admin_url
                refused = await asyncio.to_thread(asked, *words, exit_code=1)
                return refused, await asyncio.to_thread(asked, *words, "--force")
            finally:
                await store.close()

        refused, forced = asyncio.run(beside_another())
        assert database.service.user in str(refused["unknown"])
        assert "other accounts" not in str(refused["unknown"])
        assert forced["raised"] is True


class TestSQLite:
    def test_a_process_that_has_the_file_open_is_named(self, file: Path, another: Callable[[Path], int]) -> None:
        pid = another(file)
        words = "upgrade", "--database-url", f"sqlite+aiosqlite:///{file}"
        refused = asked(*words, exit_code=1)
        assert f"process {pid} on {HOST}, which has the file open" in refused["detail"]
        assert asked(*words, "--force")["raised"] is True

    def test_serve_raises_it_when_it_is_alone(self, file: Path) -> None:
        with Service(database_url=f"sqlite+aiosqlite:///{file}") as service:
            wait_for(service, RAISED)
            assert service.end(signal.SIGTERM) == 0
        assert asyncio.run(last(f"sqlite+aiosqlite:///{file}")).type == "FormatRaised"

    def test_serve_leaves_it_when_somebody_else_is_there(self, file: Path, another: Callable[[Path], int]) -> None:
        another(file)
        with Service(database_url=f"sqlite+aiosqlite:///{file}") as service:
            wait_for(service, REMAINS)
            assert "numbering upgrade" in service.said()
            assert service.end(signal.SIGTERM) == 0
        assert asyncio.run(last(f"sqlite+aiosqlite:///{file}")).position == 1

    def test_services_of_this_build_are_no_hindrance(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("numbering.cli.upgrade.PATIENCE_SECONDS", WAIT_SECONDS)  # until both have their rows
        url = f"sqlite+aiosqlite:///{file}"
        with ExitStack() as stack:
            with opener.another(file):  # while it is there, no service raises the format by itself
                first, second = (stack.enter_context(Service(database_url=url)) for _ in range(2))
                wait_for(first, REMAINS)
            told = asked("upgrade", "--database-url", url)
            assert {each["pid"] for each in told["processes"]} == {first.pid, second.pid}
            assert (told["unknown"], told["format"]) == ([], NEWEST_FORMAT)


def wait_for(service: Service, words: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while words not in service.said():
        assert time.monotonic() < deadline, f"it did not say within {WAIT_SECONDS:g} s: {words}"
        time.sleep(0.02)
