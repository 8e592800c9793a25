"""The mirror knows more than the database, or other things: every process stops writing, and says the way out.

Each test takes a second: it starts up to four services and runs as many commands, in processes of their own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from numbering.mirror_keys import write_new
from tests.fire.place import Place
from tests.fire.service import Serve, Service
from tests.mirror.attacks import forge_by_hand
from tests.numbering.process import run
from tests.servers import Redis

RECOVERED_SECONDS = 20.0
POLL_SECONDS = 0.02


@pytest.fixture
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


class Operator:
    """Who runs `numbering` on a place and its mirror."""

    def __init__(self, place: Place, redis: Redis, directory: Path) -> None:
        self.settings = {"database_url": place.url, "redis_url": redis.url}
        self._directory = directory

    def run(self, *words: str) -> CompletedProcess[str]:
        return run(*words, cwd=self._directory, **self.settings)

    def does(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def is_refused(self, *words: str) -> str:
        refused = self.run(*words)
        assert (refused.returncode, refused.stdout) == (1, "")
        return refused.stderr

    def status(self, *, exit_code: int) -> dict[str, Any]:
        told = self.run("mirror", "status", "--json")
        assert told.returncode == exit_code, told.stderr
        answer: dict[str, Any] = json.loads(told.stdout)
        return answer


@pytest.fixture
def operator(place: Place, redis: Redis, tmp_path: Path) -> Operator:
    return Operator(place, redis, tmp_path)


def issue(service: Service) -> tuple[int, Any]:
    return service.post("/v1/issue", {"series": "NEVER", "document": "D"})


def issued(service: Service) -> int:
    """Expect a number, as soon as the service is ready."""
    deadline = time.monotonic() + RECOVERED_SECONDS
    while True:
        status, body = issue(service)
        if status == 201:
            value: int = body["numbers"][0]["value"]
            return value
        assert time.monotonic() < deadline, body
        time.sleep(POLL_SECONDS)


def is_stopped(service: Service, *, reads: bool = True) -> str:
    """Expect that it writes nothing, reads on, and says why."""
    deadline = time.monotonic() + RECOVERED_SECONDS
    while (body := issue(service)[1]) is None or body.get("title") != "LEDGER_STOPPED":
        assert time.monotonic() < deadline, body
        time.sleep(POLL_SECONDS)
    assert service.get("/v1/series/NEVER")[0] == (200 if reads else 503)
    status, health = service.get("/health")
    assert (status, health["status"], health["checks"]["database"]["title"]) == (503, "down", "LEDGER_STOPPED")
    detail: str = body["detail"]
    return detail


def written_and_mirrored(place: Place, redis: Redis, serve: Serve, operator: Operator, count: int) -> None:
    service = serve(place, redis_url=redis.url)
    assert [issued(service) for _ in range(count)] == list(range(1, count + 1))
    service.stop()
    assert operator.status(exit_code=0)["lag"] == 0


def test_a_lost_end_is_taken_back_from_the_mirror(place: Place, redis: Redis, serve: Serve, operator: Operator) -> None:
    written_and_mirrored(place, redis, serve, operator, 8)
    place.rewind(by=6)
    services = [serve(place, redis_url=redis.url, until="/health/live") for _ in range(2)]
    for service in services:
        assert "run `numbering mirror adopt`" in is_stopped(service)
    told = operator.status(exit_code=1)
    assert (told["verdict"], told["last"] - told["head"]) == ("AHEAD", 6)
    assert "the database has lost its end" in told["stopped"]
    examined = operator.run("doctor")
    assert examined.returncode == 1
    assert "run `numbering mirror adopt`" in examined.stdout
    assert "the database has lost its end" in operator.is_refused("mirror", "rebuild")
    taken = "6 events were taken back from the mirror\nlifted a reason to stop writing: MIRROR_AHEAD\n"
    shown = operator.does("mirror", "adopt", "--dry-run")
    assert shown.count("NumbersConfirmed") == 3
    assert shown.endswith("6 events would be taken back from the mirror\n")
    asked = operator.run("mirror", "adopt")
    assert (asked.returncode, "say --yes" in asked.stderr) == (2, True), "there is no terminal to ask on"
    assert operator.does("mirror", "adopt", "--yes").endswith(taken)
    for service, value in zip(services, (9, 10), strict=True):
        assert issued(service) == value, "the numbers that were lost are given to nobody else"
    assert operator.does("mirror", "adopt") == "nothing to take\n"
    assert operator.status(exit_code=0)["verdict"] == "FOLLOWS"
    assert "the mirror follows the log" in operator.run("doctor").stdout


def test_a_process_that_runs_notices_with_the_others(
    place: Place, redis: Redis, serve: Serve, operator: Operator
) -> None:
    """A copy of the database is put in place below the service: its own memory notices, and a newcomer's mirror too."""
    service = serve(place, redis_url=redis.url)
    for _ in range(4):
        issued(service)
    deadline = time.monotonic() + RECOVERED_SECONDS
    while operator.status(exit_code=0)["lag"]:
        assert time.monotonic() < deadline
    place.rewind(by=2)
    assert "an older copy of the database was put in its place" in is_stopped(service, reads=False)
    newcomer = serve(place, redis_url=redis.url, until="/health/live")
    is_stopped(newcomer)
    operator.does("mirror", "adopt", "--yes")
    assert issued(newcomer) == 5
    service.stop()


def test_a_fork_stops_every_process_until_one_history_is_discarded(
    place: Place, redis: Redis, serve: Serve, operator: Operator
) -> None:
    written_and_mirrored(place, redis, serve, operator, 8)
    place.rewind(by=6)
    stray = serve(place)
    issued(stray)
    stray.stop()
    services = [serve(place, redis_url=redis.url, until="/health/live") for _ in range(2)]
    for service in services:
        assert "restore the ledger" in is_stopped(service)
    assert operator.status(exit_code=1)["verdict"] == "FORKED"
    assert "is no part of this log" in operator.run("doctor").stdout
    for words in (["adopt"], ["rebuild"]):
        assert "is no part of this log" in operator.is_refused("mirror", *words)
    operator.does("mirror", "rebuild", "--discard")
    for service, value in zip(services, (7, 8), strict=True):
        assert issued(service) == value
    assert operator.status(exit_code=0)["verdict"] == "FOLLOWS"


def test_a_fork_of_the_same_length_is_told(place: Place, redis: Redis, serve: Serve, operator: Operator) -> None:
    written_and_mirrored(place, redis, serve, operator, 8)
    place.rewind(by=4)
    stray = serve(place)
    for _ in range(4):
        issued(stray)
    stray.stop()
    is_stopped(serve(place, redis_url=redis.url, until="/health/live"))
    assert operator.status(exit_code=1)["verdict"] == "FORKED"


# Somebody else writes to Redis


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "mirror.keys"
    write_new(path)
    return path


def until_mirrored(operator: Operator) -> str:
    _until_lag_is_gone(operator)
    key: str = operator.status(exit_code=0)["stream"]
    return key


def until_it_says(service: Service, text: str) -> None:
    deadline = time.monotonic() + RECOVERED_SECONDS
    while text not in str(service.get("/health")[1]["checks"]["redis"]):
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)


def test_forged_events_stop_no_process_that_has_a_key(
    place: Place, redis: Redis, serve: Serve, operator: Operator, key_file: Path
) -> None:
    settings = {"redis_url": redis.url, "mirror_key_file": str(key_file)}
    operator.settings["mirror_key_file"] = str(key_file)
    service = serve(place, **settings)
    assert issued(service) == 1
    key = until_mirrored(operator)
    forge_by_hand(redis, key)
    until_it_says(service, "no valid MAC")
    assert [issued(service) for _ in range(3)] == [2, 3, 4]
    assert service.get("/health/numbering")[1]["fallback_mode"] is True

    newcomer = serve(place, until="/health/live", **settings)
    deadline = time.monotonic() + RECOVERED_SECONDS
    while issue(newcomer)[1]["title"] != "MIRROR_NOT_COMPARED":
        assert time.monotonic() < deadline
    told = operator.status(exit_code=1)
    assert (told["verdict"], told["stopped"], told["foreign_to"]) == ("FOREIGN", None, told["last"] + 1)
    assert "no valid MAC" in operator.is_refused("mirror", "adopt", "--yes")
    assert "no valid MAC" in operator.run("doctor").stdout
    operator.does("mirror", "rebuild", "--discard")
    assert [issued(newcomer), issued(service)] == [5, 6]
    until_mirrored(operator)
    assert operator.status(exit_code=0)["mac"] == "valid"


def test_without_a_key_forged_events_are_shown_to_who_would_adopt_them(
    place: Place, redis: Redis, serve: Serve, operator: Operator
) -> None:
    service = serve(place, redis_url=redis.url)
    assert issued(service) == 1
    forge_by_hand(redis, until_mirrored(operator))
    until_it_says(service, "goes on to position")  # a number that is issued before would make a fork of it
    assert "run `numbering mirror adopt`" in is_stopped(service)
    shown = operator.does("mirror", "adopt", "--dry-run")
    assert shown.count("somebody else") == 1
    assert operator.run("mirror", "adopt").returncode == 2
    told = json.loads(operator.does("mirror", "adopt", "--dry-run", "--json"))
    assert [(each["type"], each["actor"]) for each in told["events"]] == [("SeriesDefined", "somebody else")]
    operator.does("mirror", "rebuild", "--discard")
    assert issued(service) == 2


def test_a_lost_end_without_macs_is_adopted_by_who_vouches_for_it(
    place: Place, redis: Redis, serve: Serve, operator: Operator, key_file: Path
) -> None:
    written_and_mirrored(place, redis, serve, operator, 4)
    place.rewind(by=4)
    operator.settings["mirror_key_file"] = str(key_file)
    assert operator.status(exit_code=1)["verdict"] == "FOREIGN"
    assert "--unsigned" in operator.is_refused("mirror", "adopt", "--yes")
    told = json.loads(operator.does("mirror", "adopt", "--unsigned", "--yes", "--json"))
    assert told["adopted"] == 4
    confirmed = [each for each in told["events"] if each["type"] == "NumbersConfirmed"]
    assert [each["documents"] for each in confirmed] == [["D"], ["D"]]
    assert [each["numbers"][0]["state"] for each in confirmed] == ["CONFIRMED"] * 2
    assert operator.status(exit_code=0)["mac"] == "none"
    service = serve(place, redis_url=redis.url, mirror_key_file=str(key_file))
    assert issued(service) == 5
    until_mirrored(operator)
    assert operator.status(exit_code=0)["mac"] == "valid"


def test_an_empty_mirror_refills_and_rebuilds(place: Place, redis: Redis, serve: Serve, operator: Operator) -> None:
    written_and_mirrored(place, redis, serve, operator, 8)
    redis.execute("FLUSHALL")
    assert operator.status(exit_code=0)["verdict"] == "EMPTY"
    operator.does("mirror", "rebuild")
    told = operator.status(exit_code=0)
    assert (told["verdict"], told["entries"], told["lag"]) == ("FOLLOWS", told["head"], 0)
    operator.does("mirror", "rebuild", "--mirror-retention", "5")
    assert operator.status(exit_code=0)["entries"] == 5


def test_the_mirror_keeps_what_was_asked_for(place: Place, redis: Redis, serve: Serve, operator: Operator) -> None:
    """And what its groups still need."""
    service = serve(place, redis_url=redis.url, mirror_retention="10")
    key = operator.status(exit_code=0)["stream"]
    redis.execute("XGROUP", "CREATE", key, "slow", "0", "MKSTREAM")
    for _ in range(20):
        issued(service)
    service.stop()
    service.start()
    _until_lag_is_gone(operator)
    assert operator.status(exit_code=0)["first"] == 1
    redis.execute("XREADGROUP", "GROUP", "slow", "member", "NOACK", "COUNT", "1000", "STREAMS", key, ">")
    service.stop()
    service.start()
    deadline = time.monotonic() + RECOVERED_SECONDS
    while operator.status(exit_code=0)["entries"] > 10:
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)
    told = operator.status(exit_code=0)
    assert (told["entries"], told["last"]) == (10, told["head"])


def _until_lag_is_gone(operator: Operator) -> None:
    deadline = time.monotonic() + RECOVERED_SECONDS
    while operator.status(exit_code=0)["lag"]:
        assert time.monotonic() < deadline
