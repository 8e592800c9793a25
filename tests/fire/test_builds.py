"""The build of before and this one on one ledger, at once and by turns, until its format is raised.

What docs/upgrading.md promises: replaced one by one, there and back, under load; refused while one of before is left;
final once it is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from ledger.domain.formats import FIRST_FORMAT, NEWEST_FORMAT
from ledger.stores import migrate
from tests.fire.audit import check
from tests.fire.conftest import place_of_file, place_of_server
from tests.fire.earlier import BEFORE_FORMATS, Earlier, ServiceOfEarlier
from tests.fire.load import NEVER, SERIES, Load
from tests.fire.place import Place
from tests.fire.service import Service
from tests.fire.test_fire import wait_until
from tests.numbering.command import elsewhere_in, ran
from tests.numbering.process import run
from tests.servers import MariaDB, Redis
from tests.stores import GRANTS

IN_VAIN_SECONDS = 1.0
REASON = "linked after it was confirmed"


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Earlier]:
    build = Earlier(BEFORE_FORMATS, tmp_path_factory.mktemp("earlier"))
    yield build
    build.close()


@dataclass(frozen=True)
class Ground:
    """A ledger as the build of before made it, and how this build migrates it."""

    place: Place
    migrate: Callable[[], None]


def on_mariadb(mariadb: MariaDB, earlier: Earlier) -> Ground:
    database = mariadb.new_database()
    made = earlier.run("migrate", database_url=database.admin_url)
    assert made.returncode == 0, made.stderr
    database.grant_service(earlier.grants)

    def migrated() -> None:
        assert asyncio.run(migrate(database.admin_url))
        database.grant_service(GRANTS)

    return Ground(place_of_server(mariadb, database), migrated)


def on_sqlite(earlier: Earlier, directory: Path) -> Ground:
    place = place_of_file(directory / "ledger.db")
    made = earlier.run("migrate", database_url=place.url)
    assert made.returncode == 0, made.stderr
    return Ground(place, lambda: None)  # `serve` migrates it


@pytest.fixture(params=["mariadb", "sqlite"])
def ground(request: pytest.FixtureRequest, earlier: Earlier, tmp_path: Path) -> Ground:
    if request.param == "sqlite":
        return on_sqlite(earlier, tmp_path)
    return on_mariadb(request.getfixturevalue("mariadb"), earlier)


class Fleet:
    """The services of one ledger, of two builds, and the clients that use whichever serve now."""

    def __init__(self, ground: Ground, build: Earlier, stack: ExitStack) -> None:
        self.url = ground.place.url
        self.build = build
        self.load = Load([], clients=8)
        self.settings: dict[str, str] = {}
        self._stack = stack

    def old(self) -> Service:
        return self._used(ServiceOfEarlier(self.build, self.url, **self.settings))

    def new(self) -> Service:
        return self._used(Service(self.url, **self.settings))  # type: ignore[arg-type]

    # Services that the clients do not use, and that need not be able to number

    def older(self) -> Service:
        return self._stack.enter_context(ServiceOfEarlier(self.build, self.url, until="/health/live"))

    def newer(self) -> Service:
        return self._stack.enter_context(Service(self.url, until="/health/live"))

    def replace(self, service: Service, begin: Callable[[], Service]) -> Service:
        """End a service as an upgrade does, begin another, and wait until the clients have used it."""
        self.load.urls.remove(service.url)
        assert service.end() == 0
        begun = begin()
        self.load.progress(30)
        return begun

    def refused_upgrade(self) -> tuple[int, dict[str, Any]]:
        """Run it while a process of before is there, for which it waits in vain: not as long as it usually does."""
        with elsewhere_in(self.build.root), pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr("numbering.cli.upgrade.PATIENCE_SECONDS", IN_VAIN_SECONDS)
            done = ran("upgrade", "--json", "--database-url", self.url)
        assert not done.stderr, done.stderr
        return done.exit_code, orjson.loads(done.stdout)

    def upgrade(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Run `numbering upgrade` with the services' account, which sees their connections."""
        done = run("upgrade", "--json", *options, cwd=self.build.root, database_url=self.url)
        assert not done.stderr, done.stderr
        return done.returncode, orjson.loads(done.stdout)

    def _used(self, service: Service) -> Service:
        self._stack.enter_context(service)
        self.load.urls.append(service.url)
        return service


@pytest.fixture
def fleet(ground: Ground, earlier: Earlier) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(ground, earlier, stack)


def define(service: Service) -> None:
    for code, series in SERIES.items():
        assert service.ask("PUT", f"/v1/series/{code}", orjson.dumps(series))[0] in (200, 201)


def issued(service: Service) -> str:
    status, answer = service.post("/v1/issue", {"series": NEVER, "document": "D"})
    assert status == 201
    number: str = answer["numbers"][0]["number"]
    return number


def link(service: Service, number: str) -> tuple[int, Any]:
    return service.post(f"/v1/numbers/{number}/document", {"document": "E", "reason": REASON})


def format_of(service: Service) -> int:
    present: int = service.get("/health/numbering")[1]["format"]["present"]
    return present


def test_there_and_back_and_there(ground: Ground, fleet: Fleet) -> None:
    one, two = fleet.old(), fleet.old()
    define(one)
    with fleet.load as load:
        load.progress()
        ground.migrate()
        one = fleet.replace(one, fleet.new)  # from here on both kinds write at once
        two = fleet.replace(two, fleet.new)
        one = fleet.replace(one, fleet.old)
        two = fleet.replace(two, fleet.old)
        one = fleet.replace(one, fleet.new)
        assert format_of(one) == FIRST_FORMAT
        number = issued(one)
        status, refused = link(one, number)
        assert (status, refused["title"]) == (409, "FORMAT_NOT_RAISED")
        code, refused = fleet.refused_upgrade()
        assert (code, refused["title"], refused["format"]) == (1, "OLDER_PROCESSES", FIRST_FORMAT)
        two = fleet.replace(two, fleet.new)
        assert fleet.upgrade("--dry-run")[1]["raised"] is False
        code, raised = fleet.upgrade()
        assert (code, raised["raised"], raised["format"], raised["unknown"]) == (0, True, NEWEST_FORMAT, [])
        load.progress()
        assert link(two, number)[0] == 200
        refuses_to_write(fleet.older())
        load.progress()
        load.end()
    check(fleet.url, load)
    verified = run("verify", cwd=fleet.build.root, database_url=fleet.url)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def refuses_to_write(service: Service) -> None:
    def refused() -> Any:
        return service.post("/v1/reservations", {"series": NEVER})[1]

    answer = refused()
    assert answer["title"] == "LEDGER_STOPPED"
    assert "FormatRaised" in answer["detail"]


@pytest.mark.parametrize("first", ["old", "new"])
def test_a_stop_of_one_build_stops_the_other(ground: Ground, fleet: Fleet, first: str) -> None:
    ground.migrate()
    witness, another = fleet.old(), fleet.newer
    define(witness)  # a ledger that this build begins is none for that of before
    if first == "new":
        before, witness, another = witness, fleet.new(), fleet.older
        before.kill()
    issued(witness)
    ground.place.rewind(by=1)  # an older copy of the database is put in its place
    status, told = witness.post("/v1/reservations", {"series": NEVER})
    assert (status, told["title"]) == (503, "LEDGER_STOPPED")
    status, told = another().post("/v1/reservations", {"series": NEVER})
    assert (status, told["title"]) == (503, "LEDGER_STOPPED")
    assert "an older copy" in told["detail"]


def test_both_mirror_one_log(ground: Ground, fleet: Fleet) -> None:
    """Whichever build's relay appends an event; after the format is raised as well."""
    ground.migrate()
    with Redis() as redis:
        fleet.settings["redis_url"] = redis.url
        one, two = fleet.old(), fleet.new()
        define(one)
        with fleet.load as load:
            load.progress()
            fleet.load.urls.remove(one.url)
            assert one.end() == 0
            load.progress()
            load.end()
        assert fleet.upgrade()[0] == 0
        issued(two)
        wait_until(lambda: two.get("/health/numbering")[1]["mirror"]["lag"] == 0, "all is mirrored")
        assert two.end() == 0
        compared = run("mirror", "status", "--json", cwd=fleet.build.root, database_url=fleet.url, redis_url=redis.url)
        assert compared.returncode == 0, compared.stdout + compared.stderr
        log = check(fleet.url, load)
        assert redis.execute("XLEN", f"numbering:{log.head.ledger_id}:events") == str(len(log.records))
