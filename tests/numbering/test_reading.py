"""No command that reads writes, or needs a right to: on a stopped ledger, a copy, a read-only file or server."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from starlette.routing import Route

from ledger.domain.acceptance import Acceptance
from ledger.domain.calendar import Reset
from ledger.domain.commands import DefineSeries, Envelope, Issue, Reserve, RetireSeries
from ledger.domain.series import Definition, Series
from ledger.ports import Stop, StopKind
from ledger.service import Ledger
from ledger.stores import open_store
from ledger.system import RandomIds, SystemClock, aside, spawn
from numbering.cli import main
from numbering.cli.definitions import read_definitions
from numbering.cli.effects import Effect
from numbering.cli.main import EFFECTS
from numbering.reading import only_reads
from numbering.server import app_of
from numbering.settings import load
from numbering.wiring import Node
from tests.numbering.command import LETTERS, asked, elsewhere_in, ran, said
from tests.numbering.readonly import looked_at, read_only, without_rights
from tests.servers import MariaDB, Redis
from tests.stores import new_mariadb, new_sqlite, setting

HOUR = 3_600 * 1_000_000
TOKEN = "0123456789abcdef0123456789abcdef"
SEQUENCE = "RFA:RPT:-"
NUMBER = "RFA-RPT-0001-A"
YEARLY = Series.define("YEARLY", Definition(template="Y-{YYYY}-{SEQ:3}", reset=Reset.YEARLY))
OLD = Series.define("OLD", Definition(template="OLD-{SEQ:3}"))
WRITTEN = "written"  # a directory of the test's, in which files are made

# Every command that reads, with the words after it; a few say what they found by their exit code.
READING: dict[str, Sequence[str]] = {
    "series list": (),
    "series show": ("RFA",),
    "preview": ("RFA", "-k", "TYPE=RPT"),
    "reservation": (TOKEN,),
    "show": (NUMBER,),
    "sequences": (),
    "sequence": (SEQUENCE,),
    "gaps": (SEQUENCE,),
    "series apply": ("{beside}/letters.toml", "--dry-run"),
    "assign": ("RFA-RPT-0003-A", "--document", "D", "--reason", "by hand", "--dry-run"),
    "adjust": (SEQUENCE, "--next", "5", "--reason", "forms", "--dry-run"),
    "open": ("YEARLY", "2099", "--accept", "far_period", "--dry-run"),
    "reset": ("YEARLY:2025", "--dry-run"),
    "close": ("YEARLY:2025", "--dry-run"),
    "maximum": ("RFA", "9000", "--reason", "fewer", "--dry-run"),
    "reopen": ("OLD", "--reason", "again", "--dry-run"),
    "retire": ("YEARLY", "--accept", "running_period", "--dry-run"),
    "import": ("{beside}/register.csv", "--series", "RFA", "--dry-run"),
    "verify": (),
    "history": (NUMBER,),
    "replay": ("--numbers",),
    "diff": ("2", "4"),
    "export events": ("--out", "{written}/events"),
    "export numbers": ("--out", "{written}/numbers"),
    "export verify": ("{beside}/export",),
    "archive": ("{written}/archive",),
    "restore": ("--dry-run",),
    "resume": ("--dry-run",),
    "mirror status": (),
    "projections status": (),
    "projections check": (),
    "upgrade": ("--dry-run",),
    "doctor": (),
}
FINDS = {"doctor", "mirror status", "resume"}  # an account that can only read is a finding, and so is a stop


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a ledger in which a reservation is due, and the expiry is not recorded."""
    directory = tmp_path_factory.mktemp("base")
    new_sqlite(directory / "numbering.db")
    (directory / "letters.toml").write_text(LETTERS, encoding="utf-8")
    (directory / "register.csv").write_text("document_number\nRFA-RPT-0100-A\n")
    asyncio.run(_begun(sqlite_url(directory), read_definitions([directory / "letters.toml"])))
    with elsewhere_in(directory):
        said("projections", "rebuild")
        said("export", "numbers", "--out", "export")
    return directory


async def _begun(url: str, series: tuple[Series, ...]) -> None:
    then = SystemClock.now() - HOUR
    store = open_store(url, now=lambda: then)
    ids = RandomIds()
    async with Ledger(store, clock=_Then(then), ids=ids, spawn=spawn, aside=aside) as ledger:
        for command in (
            DefineSeries((*series, YEARLY, OLD)),
            RetireSeries("OLD", "not used", frozenset(Acceptance)),
            Issue(Reserve("YEARLY", ids.token(), document_date=date(2025, 1, 2)), "DOC-0"),
            Issue(Reserve("RFA", ids.token(), {"TYPE": "RPT"}), "DOC-1"),
            Reserve("RFA", TOKEN, {"TYPE": "RPT"}, ttl_seconds=60),
        ):
            await ledger.execute(command, Envelope(ids.command_id(), "tester"))


class _Then(SystemClock):
    def __init__(self, then: int) -> None:
        self._then = then

    def now(self) -> int:  # type: ignore[override]
        return self._then


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def place(base: Path, tmp_path: Path) -> Path:
    """A directory with a copy of the ledger's directory in it, and one for what is written elsewhere."""
    shutil.copytree(base, tmp_path / "ledger")
    (tmp_path / WRITTEN).mkdir(mode=0o777)
    (tmp_path / WRITTEN).chmod(0o777)
    return tmp_path


def words_of(name: str, place: Path, beside: Path) -> list[str]:
    return [*name.split(), *(word.format(written=place / WRITTEN, beside=beside) for word in READING[name])]


def read_all(
    place: Path, beside: Path, url: str, redis: Redis, look: Callable[[], object], names: Sequence[str] = tuple(READING)
) -> None:
    """Run commands that read, and see that each answered, and changed nothing."""
    before = look()
    for name in names:
        options = ["--from" if name == "restore" else "--database-url", url]
        options += ["--redis-url", redis.url] if name == "mirror status" else []
        with elsewhere_in(place / WRITTEN):
            result = ran(*words_of(name, place, beside), *options)
        assert result.exit_code == 0 or (name in FINDS and result.exit_code == 1), (name, result.output)
        assert result.stdout, name
        assert look() == before, name


def sqlite_url(directory: Path, name: str = "numbering.db") -> str:
    return f"sqlite+aiosqlite:///{directory}/{name}"


def leaves(command: click.Command, name: str = "") -> Iterator[str]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            assert found
            yield from leaves(found, f"{name} {each}".strip())
    else:
        yield name


def test_every_command_says_whether_it_reads() -> None:
    assert sorted(leaves(main)) == sorted(EFFECTS)


def test_every_command_that_reads_is_tried_here() -> None:
    others = (Effect.WRITES, Effect.IS_ELSEWHERE)
    assert set(READING) == {name for name, effect in EFFECTS.items() if effect not in others}


def test_a_file_that_can_be_written_is_left_as_it_is(place: Path, redis: Redis) -> None:
    here = place / "ledger"
    read_all(place, here, sqlite_url(here), redis, lambda: looked_at(here))


def test_a_stopped_ledger_is_read(place: Path, redis: Redis) -> None:
    here = place / "ledger"
    asyncio.run(stop(sqlite_url(here)))
    read_all(place, here, sqlite_url(here), redis, lambda: looked_at(here))


async def stop(url: str) -> None:
    store = open_store(url)
    transaction = await store.begin()
    await transaction.stop(Stop(StopKind.MIRROR_FORKED, "was changed", 1, bytes(32)))
    await transaction.commit()
    await store.close()


@pytest.mark.parametrize("bound", [read_only, without_rights])
def test_a_read_only_file_system(place: Path, redis: Redis, bound: Callable[[Path], Any]) -> None:
    here = place / "ledger"
    with bound(here) as there:
        read_all(place, there, sqlite_url(there), redis, lambda: looked_at(here))


def test_a_copy_on_a_read_only_file_system_says_that_it_is_one(place: Path, redis: Redis) -> None:
    here = place / "ledger"
    with elsewhere_in(here):
        said("replay", "--sqlite", "copy.db")
    with read_only(here) as there:
        url = sqlite_url(there, "copy.db")
        read_all(place, there, url, redis, lambda: looked_at(here))
        head = asked("gaps", SEQUENCE, "--database-url", url)["copy"]
        assert head["position"] == asked("sequences", "--database-url", url)["position"] > 4
        others = {*FINDS, "upgrade", "verify", "export verify", "archive", "restore"}
        for name in set(READING) - others:
            words = [word.replace(WRITTEN, "again") for word in words_of(name, place, there)]
            with elsewhere_in(place / WRITTEN):
                assert asked(*words, "--database-url", url)["copy"] == head, name
        first, *_ = said("gaps", SEQUENCE, "--database-url", url).splitlines()
        assert first == f"A COPY of the ledger, as of position {head['position']}, {head['recorded_at']}"


@contextmanager
def crashed(file: Path, *, shm: bool) -> Iterator[None]:
    """Leave of a process that died what it had written, in the file's -wal."""
    program = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('PRAGMA wal_autocheckpoint = 0');"
        "c.execute(\"UPDATE ledger_head SET stopped = 'in the log alone'\"); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, file], check=True)
    if not shm:
        file.with_name(f"{file.name}-shm").unlink()
    yield


@pytest.mark.parametrize("shm", [True, False])
def test_what_stands_in_the_write_ahead_log_alone_is_read(place: Path, redis: Redis, *, shm: bool) -> None:
    here = place / "ledger"
    with crashed(here / "numbering.db", shm=shm), read_only(here) as there:
        url = sqlite_url(there)
        read_all(place, there, url, redis, lambda: looked_at(here), ["gaps", "mirror status", "verify"])
        told = said("mirror", "status", "--database-url", url, "--redis-url", redis.url, exit_code=1)
        assert "in the log alone" in told


def test_a_server_and_an_account_that_can_only_read(place: Path, mariadb: MariaDB, redis: Redis) -> None:
    here, database = place / "ledger", new_mariadb(mariadb)
    with elsewhere_in(here):
        said("restore", "--from", sqlite_url(here), "--move", "--into", database.admin_url)
        said("projections", "rebuild", "--database-url", database.service_url)
    mariadb.execute(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {database.service.quoted}")
    mariadb.execute(f"GRANT SELECT ON `{database.name}`.* TO {database.service.quoted}")
    before = mariadb.dump(database.name)
    with setting(mariadb, "read_only", "1"):
        read_all(place, here, database.service_url, redis, lambda: 0)
    assert mariadb.dump(database.name) == before


# Over HTTP

PATHS = [
    "/v1/series",
    "/v1/series/RFA",
    f"/v1/reservations/{TOKEN}",
    "/v1/reservations",
    f"/v1/numbers/{NUMBER}",
    "/v1/numbers?series=RFA",
    "/v1/sequences",
    f"/v1/sequences/{SEQUENCE}",
    f"/v1/sequences/{SEQUENCE}/gaps",
    "/v1/events",
    "/v1/as-of?position=3",
    "/health/live",
]


def check_served(url: str, look: Callable[[], object], code: str) -> None:
    """Ask everything of a service that can only read, and see that what would write is refused and changes nothing."""
    settings = load({"database_url": url}, {})
    before = look()

    async def ask() -> None:
        found = await only_reads(settings)
        why, clock = found or (None, None)
        node = Node(settings, projects=True, only_reads=why, clock=clock)
        app = app_of(node, settings)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://x") as http,
        ):
            for path in PATHS * 2:
                response = await http.get(path)
                assert response.status_code == 200, (path, response.text)
                assert look() == before, path
            preview = await http.post("/v1/preview", json={"series": "RFA", "key": {"TYPE": "RPT"}})
            assert (preview.status_code, preview.json()["numbers"][0]["value"]) == (200, 3)
            refused = await http.post("/v1/issue", json={"series": "RFA", "key": {"TYPE": "RPT"}, "document": "D"})
            assert (refused.status_code, refused.json()["title"]) == (503, code)
            for path in PATHS:
                assert (await http.get(path)).status_code == 200, path
            health = (await http.get("/health")).json()
            assert (health["status"], health["checks"]["database"]["title"]) == ("down", code)

    asyncio.run(ask())
    assert look() == before


def test_a_service_on_a_read_only_file_system(place: Path) -> None:
    here = place / "ledger"
    with read_only(here) as there:
        check_served(sqlite_url(there), lambda: looked_at(here), "DATABASE_READ_ONLY")


def test_a_service_of_a_copy(place: Path) -> None:
    here = place / "ledger"
    with elsewhere_in(here):
        said("replay", "--sqlite", "copy.db")
    check_served(sqlite_url(here, "copy.db"), lambda: looked_at(here), "LEDGER_STOPPED")


def test_a_service_with_an_account_that_can_only_read(place: Path, mariadb: MariaDB) -> None:
    here, database = place / "ledger", new_mariadb(mariadb)
    with elsewhere_in(here):
        said("restore", "--from", sqlite_url(here), "--move", "--into", database.admin_url)
        said("projections", "rebuild", "--database-url", database.service_url)
    mariadb.execute(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {database.service.quoted}")
    mariadb.execute(f"GRANT SELECT ON `{database.name}`.* TO {database.service.quoted}")
    before = mariadb.dump(database.name)
    check_served(database.service_url, lambda: 0, "DATABASE_UNAVAILABLE")
    assert mariadb.dump(database.name) == before


def test_every_path_that_is_read_is_tried_here(base: Path) -> None:
    settings = load({"database_url": sqlite_url(base)}, {})
    routes = app_of(Node(settings, projects=True), settings).routes
    read = {route.path for route in routes if isinstance(route, Route) and "GET" in (route.methods or ())}
    tried = {path for path in read for asked_for in PATHS if is_of(path, asked_for.partition("?")[0])}
    assert read - tried == {"/v1/events/stream", "/health", "/health/ready", "/health/numbering"}


def is_of(path: str, asked_for: str) -> bool:
    parts, others = path.split("/"), asked_for.split("/")
    return len(parts) == len(others) and all(
        one.startswith("{") or one == other for one, other in zip(parts, others, strict=True)
    )


# The past, at the command line

TOLD = ["series list", "series show", "reservation", "show", "sequences", "sequence", "gaps"]


@pytest.mark.parametrize("name", TOLD)
def test_the_past_is_told_by_any_source(place: Path, redis: Redis, name: str) -> None:
    here = place / "ledger"
    url, words = sqlite_url(here), words_of(name, place, here)
    with elsewhere_in(here):
        head = asked("sequences")["position"]
        said("mirror", "rebuild", "--redis-url", redis.url)
        said("archive", "archive")
        before = ran(*words, "--at", str(head), "--json").stdout
        said("issue", "RFA", "-k", "TYPE=RPT", "--document", "later")
        said("maximum", "RFA", "500", "--reason", "later")
        for source in (url, "archive"):
            then = ran(*words, "--from", source, "--at", str(head), "--json")
            assert (then.exit_code, then.stdout) == (0, before), (source, then.output)
        mirror = ran(*words, "--from", redis.url, "--from", "archive", "--at", str(head), "--json")
        assert mirror.stdout == before
        assert said(*words, "--at", str(head))
        assert "ends at position" in ran(*words, "--at", str(head + 50)).output


def test_a_moment_that_is_ill_written_is_wrong_usage(place: Path) -> None:
    with elsewhere_in(place / "ledger"):
        assert "neither a position nor a time" in said("sequences", "--at", "yesterday", exit_code=2)


def test_reading_a_due_reservation_records_nothing(place: Path) -> None:
    with elsewhere_in(place / "ledger"):
        assert "RESERVED" in said("gaps", SEQUENCE)
        assert asked("reservation", TOKEN)["state"] == "RESERVED"
        assert "ReservationExpired" not in said("replay", "--json")
