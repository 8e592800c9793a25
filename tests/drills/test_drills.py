"""The disasters of docs/recovery.md, each by what that says is to be typed, with what was lost and how long it took.

Whatever is lost, no number that somebody was told is given out again.

A drill takes seconds, because it starts up to eight processes, and loads those of which the start is measured as an
operator's machine would. No drill needs another: they may run side by side, in as many workers as there are.
"""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from tests.drills.site import Clients, Site
from tests.servers import MariaDB, Redis

Note = Callable[[str, str, float, str, float | None], None]


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Note:
    """Tell a drill's outcome: what happened, the required RTO and measured seconds, the same of RPO."""

    def noted(what: str, rto: str, recovery: float, rpo: str, lost: float | None) -> None:
        lost_seconds = "0" if lost is None else f"{lost:.2f} s"
        record_property("drill", (what, rto, f"{recovery:.2f} s", rpo, lost_seconds))

    return noted


@pytest.fixture
def site(tmp_path: Path, mariadb: MariaDB, redis: Redis) -> Site:
    return Site(tmp_path, mariadb, redis)


AT_WORK_SECONDS = 0.5
YEARS_AHEAD = 2
ROUNDS = 20  # behind a restore: enough to come to what a fence without effect would give out again


def test_a_service_process_dies(site: Site, note: Note) -> None:
    with site.service() as one, site.service() as other:
        clients = Clients(one)
        clients.define()
        with clients.at_work():
            time.sleep(AT_WORK_SECONDS)
            one.kill()
            disaster = time.monotonic()
        clients.service = other
        recovery = clients.recovered(disaster)
        note("a service process dies", "0", recovery, "0", clients.lost_seconds(disaster))
        assert clients.lost_seconds(disaster) == 0


def test_redis_dies(site: Site, note: Note) -> None:
    assert site.redis
    with site.service() as service:
        clients = Clients(service)
        clients.define()
        with clients.at_work():
            time.sleep(AT_WORK_SECONDS)
            site.redis.kill()
            disaster = time.monotonic()
            time.sleep(AT_WORK_SECONDS)
        assert service.get("/health/numbering")[1]["fallback_mode"]
        longest = clients.longest_pause(disaster)
        site.redis.start()
        note("Redis dies", "0", longest, "0", clients.lost_seconds(disaster))
        assert clients.lost_seconds(disaster) == 0
        until(lambda: not service.get("/health/numbering")[1]["fallback_mode"])
    assert "whole" in site.numbering("verify")


def test_the_database_process_dies(tmp_path: Path, own_mariadb: MariaDB, redis: Redis, note: Note) -> None:
    site = Site(tmp_path, own_mariadb, redis)
    with site.service() as service:
        clients = Clients(service)
        clients.define()
        with clients.at_work():
            time.sleep(AT_WORK_SECONDS)
            site.mariadb.kill()
            disaster = time.monotonic()
            site.mariadb.start()
        recovery = clients.recovered(disaster)
        note("the database process dies, its files are whole", "5 min", recovery, "0", clients.lost_seconds(disaster))
        assert clients.lost_seconds(disaster) == 0
    assert "whole" in site.numbering("verify")


def test_the_databases_files_are_lost(site: Site, note: Note) -> None:
    with site.service() as service:
        clients = Clients(service)
        clients.define()
        with clients.at_work():
            time.sleep(AT_WORK_SECONDS)
            site.lose_database()
            disaster = time.monotonic()
    assert site.redis
    site.restore("--from", site.redis.url, installed=True)
    with site.service(installed=True) as service:
        clients.service = service
        recovery = clients.recovered(disaster)
        note("the database's files are lost", "1 h", recovery, "lag of the mirror", clients.lost_seconds(disaster))
        clients.issue(ROUNDS)
    assert "whole" in site.numbering("verify")


def test_the_machine_is_lost(site: Site, note: Note) -> None:
    with site.service() as service:
        clients = Clients(service)
        clients.define()
        with clients.at_work():
            time.sleep(AT_WORK_SECONDS)
            site.numbering("archive", str(site.archive))
            time.sleep(AT_WORK_SECONDS)
        disaster = time.monotonic()
        service.kill()
    site.lose_database()
    assert site.redis
    site.redis.execute("FLUSHALL")
    site.restore("--from", str(site.archive), installed=True)
    with site.service(installed=True) as service:
        clients.service = service
        recovery = clients.recovered(disaster)
        lost = clients.lost_seconds(disaster)
        note("the machine is lost", "1 h", recovery, "15 min", lost)
        assert lost > 0, "the drill lost nothing"
        clients.issue(ROUNDS)
    site.numbering("archive", str(site.archive))
    assert "whole" in site.numbering("verify", "--against", str(site.archive))


def test_corruption_is_found_and_cut_away(site: Site, note: Note) -> None:
    with site.service() as service:
        clients = Clients(service)
        clients.define()
        clients.issue(20)
        site.numbering("archive", str(site.archive))
        clients.issue(5)
        disaster = time.monotonic()
    position = site.forge()
    said = site.numbering("verify", "--against", str(site.archive), exit_code=1, installed=True)
    assert re.search(rf"the database +{position} ", said), said
    site.restore(
        "--from", str(site.archive), "--to", str(position - 1), "--reason", "an event was forged", installed=True
    )
    with site.service(installed=True) as service:
        clients.service = service
        recovery = clients.recovered(disaster)
        note("corruption is found and cut away", "4 h", recovery, "1 day", clients.lost_seconds(disaster))
        clients.issue(ROUNDS)
    site.numbering("archive", str(site.directory / "new archive"))
    assert "whole" in site.numbering("verify", "--against", str(site.directory / "new archive"))
    assert "two histories" in site.numbering("archive", str(site.archive), exit_code=1)


def test_an_orderly_stop_skips_no_number(site: Site, note: Note) -> None:
    """A gapless series goes on with its next number, although another series had a burst."""
    assert site.redis
    with site.service() as service:
        clients = Clients(service)
        clients.define()
        clients.issue(5)
        service.post("/v1/reservations", {"series": "PLAIN", "count": 500})
        site.numbering("close-ledger", "--copy", "mirror", "--copy", str(site.archive), "--reason", "orderly stop")
        refused = service.post("/v1/issue", {"series": "PLAIN", "document": "D"})
        assert (refused[0], refused[1]["title"]) == (503, "LEDGER_CLOSED"), refused
        assert service.get("/health/numbering")[1]["closed"]
        disaster = time.monotonic()
    before = Site.of(site)
    said = site.restore("--from", site.redis.url, "--from", str(site.archive), installed=True)
    assert "nothing can be missing" in said
    site.numbering("open-ledger", "--reason", "restored")
    with site.service(installed=True) as service:
        clients.service = service
        recovery = clients.recovered(disaster)
        note("an orderly stop", "1 h", recovery, "0", clients.lost_seconds(disaster))
        assert {number for number in clients.told if number.startswith("G-")} == {f"G-{n:06}" for n in range(1, 7)}
        clients.issue(ROUNDS)
    before.numbering("open-ledger", "--reason", "by mistake", exit_code=1)
    assert "whole" in site.numbering("verify", "--against", str(site.archive))


@pytest.mark.parametrize("guard", ["mirror", "archive"])
def test_a_stale_copy_is_started_by_mistake(site: Site, note: Note, guard: str) -> None:
    with site.service() as service:
        clients = Clients(service)
        clients.define()
        clients.issue(5)
        stale = site.copy()
        clients.issue(5)
        site.numbering("archive", str(site.archive))
    settings = {"archive": str(site.archive), "redis_url": ""} if guard == "archive" else {}
    began = time.monotonic()
    with stale.service(installed=True, until="/health/live", **settings) as service:
        refused = service.post("/v1/issue", {"series": "PLAIN", "document": "D"})
        assert (refused[0], refused[1]["title"]) == (503, "LEDGER_STOPPED"), refused
        assert service.get("/v1/numbers/P-000001")[0] == 200
        note(f"a stale copy is started by mistake ({guard})", "0", time.monotonic() - began, "0", None)
    with site.service() as service:
        clients.service = service
        clients.issue()


def test_a_wrong_clock_has_dated_the_log(site: Site, note: Note) -> None:
    """Two years forward for one event, written by a process that began while all clocks were wrong."""
    with site.service() as service:
        clients = Clients(service)
        clients.define()
        clients.issue(5)
    dated = site.write_ahead(YEARS_AHEAD)
    disaster = time.monotonic()
    with site.service(until="/health/live") as service:
        refused = service.post("/v1/issue", {"series": "PLAIN", "document": "D"})
        assert (refused[0], refused[1]["title"]) == (503, "LEDGER_STOPPED"), refused
        until(lambda: "was recorded at" in service.get("/health")[1]["checks"]["database"].get("detail", ""))
    assert "DATED_AHEAD" in site.numbering("doctor", exit_code=1)
    now = f"{datetime.now(UTC):%FT%TZ}"
    position = orjson.loads(site.numbering("replay", "--at", now, "--json"))["position"]
    assert f"--to {position} --into" in site.numbering("resume", exit_code=1)
    later = site.directory / "later"
    site.numbering("export", "events", "--since", now, "--out", str(later))
    assert any("early" in each.read_text() for each in later.rglob("*.csv"))
    source = site.database.admin_url
    site.restore("--from", source, "--to", str(position), "--reason", "dated ahead by a wrong clock", installed=True)
    with site.service(installed=True) as service:
        clients.service = service
        recovery = clients.recovered(disaster)
        note("a wrong clock has dated the log", "1 h", recovery, "what it dated", clients.lost_seconds(disaster))
        assert dated not in clients.issue(ROUNDS)
        status, answer = service.post("/v1/assign", {"number": dated, "document": "early", "reason": "dated ahead"})
        assert status == 201, answer
    assert "whole" in site.numbering("verify")


def test_a_wrong_clock_has_dated_the_log_and_that_is_accepted(site: Site, note: Note) -> None:
    """The ledger goes on at the time of its last event, under the processes that run."""
    with site.service() as service:
        clients = Clients(service)
        clients.define()
        clients.issue(5)
    dated = site.write_ahead(YEARS_AHEAD)
    disaster = time.monotonic()
    with site.service(until="/health/live") as service:
        clients.service = service
        until(lambda: "was recorded at" in service.get("/health")[1]["checks"]["database"].get("detail", ""))
        site.numbering("resume", "--accept", "DATED_AHEAD", "--reason", "the clock was set right")
        recovery = clients.recovered(disaster)
        note("a wrong clock has dated the log (accepted)", "1 h", recovery, "0", None)
        assert dated not in clients.issue(ROUNDS)
    with site.service() as service:  # and under those that begin later
        clients.service = service
        clients.issue(5)
    assert site.redis is not None
    assert "whole" in site.numbering("verify", "--against", site.redis.url)


def test_the_database_of_before_a_restore_refuses_to_write(site: Site) -> None:
    with site.service() as service:
        clients = Clients(service)
        clients.define()
        clients.issue(5)
        site.numbering("archive", str(site.archive))
    stale = Site.of(site)
    site.restore("--from", str(site.archive))
    with site.service() as service:
        clients.service = service
        clients.issue(5)
    with stale.service(until="/health/live") as service:
        refused = service.post("/v1/issue", {"series": "PLAIN", "document": "D"})
        assert (refused[0], refused[1]["title"]) == (503, "LEDGER_STOPPED"), refused


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
