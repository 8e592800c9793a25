"""A ledger in operation: services on MariaDB, their mirror, an archive, and clients that note what they were told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import quote

import orjson

from api.answers import issued
from ledger.domain.commands import Envelope, Issue, Reserve
from ledger.service import Ledger
from ledger.stores import migrate, open_store
from ledger.system import RandomIds, SystemClock, aside, spawn
from tests.api.client import Time
from tests.fire.service import Service
from tests.given import SECOND
from tests.numbering.process import run, run_installed
from tests.servers import Database, MariaDB, Redis
from tests.stores import GRANTS
from tests.test_machine import Timed

__all__ = ["Clients", "Site"]

SERIES = {
    "PLAIN": {"template": "P-{SEQ:6}"},
    "LETTER": {
        "template": "L-{TO}-{SEQ:5}-{YYYY}",
        "reset": "yearly",
        "timezone": "Asia/Bangkok",
        "dimensions": {"TO": {"chars": "A-Z", "max": 2}},
    },
    "GAPLESS": {"template": "G-{SEQ:6}", "reuse": "gapless"},
}
RECOVERY_SECONDS = 60.0


@dataclass
class Site:
    """`database` is where the ledger is now; a restore names another."""

    directory: Path
    mariadb: MariaDB
    redis: Redis | None
    database: Database = field(init=False)

    def __post_init__(self) -> None:
        self.database = self.new_database()
        asyncio.run(migrate(self.database.admin_url))
        self.database.grant_service(GRANTS)

    @property
    def archive(self) -> Path:
        return self.directory / "archive"

    def new_database(self) -> Database:
        return self.mariadb.new_database()

    def service(self, *, installed: bool = False, **settings: Any) -> Service:
        """A process that serves the ledger. One whose start is measured is `installed`: it has to be loaded first."""
        if self.redis:
            settings.setdefault("redis_url", self.redis.url)
        return Service(self.database.service_url, installed=installed, **settings)

    def numbering(self, *words: str, exit_code: int = 0, installed: bool = False, **settings: str) -> str:
        """Run a command as an operator would, on the ledger; gives what it said."""
        known = {"database_url": self.database.admin_url} | ({"redis_url": self.redis.url} if self.redis else {})
        done = (run_installed if installed else run)(*words, cwd=self.directory, **(known | settings))
        assert done.returncode == exit_code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def lose_database(self) -> None:
        self.mariadb.execute(f"DROP DATABASE `{self.database.name}`")

    def forge(self) -> int:
        """Change an event below the triggers, as only an administrator could; gives its position."""
        self.mariadb.execute(
            """
            DROP TRIGGER events_refuse_update;
            UPDATE events SET body = REPLACE(body, '"document":"D"', '"document":"X"') WHERE position = 31;
            """,
            database=self.database.name,
        )
        return 31

    def write_ahead(self, years: int) -> str:
        """Issue a number while all clocks are wrong; gives it."""
        return asyncio.run(_written_ahead(self.database.service_url, years))

    def copy(self) -> Site:
        """A faithful copy of the database as it is now, as a backup has it."""
        stale, new = Site.of(self), self.new_database()
        self.mariadb.execute(self.mariadb.dump(self.database.name), database=new.name)
        new.grant_service(GRANTS)
        stale.database = new
        return stale

    @classmethod
    def of(cls, other: Site) -> Site:
        """The same place, whatever becomes of the other."""
        twin = cls(other.directory, other.mariadb, other.redis)
        twin.database = other.database
        return twin

    def restore(self, *words: str, installed: bool = False) -> str:
        """Restore into a new database, which is the ledger's from then on."""
        new = self.new_database()
        said = self.numbering("restore", *words, "--into", new.admin_url, installed=installed)
        self.database = new
        new.grant_service(GRANTS)
        return said


@dataclass
class Clients:
    """Clients of all series; `told` maps each number that was acknowledged to when that was.

    None may ever be told twice, which `issue` and `recovered` look at.
    """

    service: Service
    told: dict[str, float] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    _over: Event = field(default_factory=Event)

    def define(self) -> None:
        for code, series in SERIES.items():
            status, answer = self.service.ask("PUT", f"/v1/series/{code}", orjson.dumps(series))
            assert status in (200, 201), answer

    def issue(self, count: int = 1) -> list[str]:
        """Expect to be given numbers of every series, none of which anybody was told before."""
        given = [number for _ in range(count) for number in self._round(must=True)]
        assert not self.twice, f"given out twice: {self.twice}"
        return given

    def recovered(self, since: float) -> float:
        """Wait until a number is given out; gives the seconds since an instant."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while not self._round(must=False):
            assert time.monotonic() < deadline, "no number was given out"
        assert not self.twice, f"given out twice: {self.twice}"
        return time.monotonic() - since

    def longest_pause(self, since: float) -> float:
        """The longest time between two numbers from an instant on."""
        times = [since, *sorted(at for at in self.told.values() if at > since)]
        return max(later - earlier for earlier, later in pairwise(times))

    def lost_seconds(self, disaster: float) -> float:
        """How long before a disaster the first number was acknowledged that the ledger does not know any more."""
        first = disaster
        for number, at in reversed(self.told.items()):  # they were told in the order of the log, which lost its end
            if at > disaster:
                continue
            if self._is_known(number):
                break
            first = at
        return disaster - first

    def _is_known(self, number: str) -> bool:
        status, answer = self.service.get(f"/v1/numbers/{quote(number, safe='')}")
        assert status in (200, 404), answer
        return status == 200 and answer["state"] == "CONFIRMED"

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Ask on and on in the background."""
        self._over.clear()
        worker = Thread(target=self._work, daemon=True)
        worker.start()
        try:
            yield
        finally:
            self._over.set()
            worker.join()

    def _work(self) -> None:
        while not self._over.is_set():
            self._round(must=False)

    def _round(self, *, must: bool) -> list[str]:
        given = []
        for body in _bodies():
            status, answer = self.service.post("/v1/issue", body)
            assert status == 201 or not must, answer
            if status == 201:
                given += [each["number"] for each in answer["numbers"]]
            else:
                time.sleep(0.02)
        self.twice += [number for number in given if number in self.told]
        self.told.update(dict.fromkeys(given, time.monotonic()))
        return given


def _bodies() -> Iterator[dict[str, Any]]:
    yield {"series": "PLAIN", "document": "D"}
    yield {"series": "LETTER", "key": {"TO": "A"}, "document": "D"}
    yield {"series": "GAPLESS", "document": "D"}


async def _written_ahead(url: str, years: int) -> str:
    clock = Time(SystemClock.now() + years * 365 * 86_400 * SECOND)
    timed: Any = Timed(open_store(url), clock)
    async with Ledger(timed, clock=clock, ids=RandomIds(), spawn=spawn, aside=aside) as ledger:
        issue = Issue(Reserve("PLAIN", ledger.ids.token()), "early")
        outcome = await ledger.execute(issue, Envelope(ledger.ids.command_id(), "tester"))
        (number,) = issued(outcome, ledger.state)["numbers"]
    return str(number["number"])
