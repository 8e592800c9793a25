"""Redis fails in every way that it can, below a real service: numbers are given out, and the mirror comes back.

Each test looks afterwards: the mirror holds the log's events, whole and in order. That takes a second a test, in which
the service finds out that Redis is away, and that it is back.
"""

import asyncio
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from ledger.ports import Record
from projections.mirror.redis import RedisStream
from projections.mirror.stream import Entry, stream_key
from tests.fire.service import IMPATIENT_MS
from tests.invariants import check_store, read_log
from tests.numbering.process import Service, run
from tests.servers import Redis

PLAIN = {"template": "P-{SEQ:6}"}
PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.01
PASSWORD = "0123456789abcdef"


class Mirrored:
    """A service whose log is mirrored, and what it says of that."""

    def __init__(self, service: Service, redis: Redis, http: httpx.Client) -> None:
        self.service = service
        self.redis = redis
        self.http = http

    def issue(self, count: int = 1) -> list[int]:
        body = {"series": "PLAIN", "document": "D"}
        answers = [self.http.post("/v1/issue", json=body) for _ in range(count)]
        assert [answer.status_code for answer in answers] == [201] * count, answers[-1].text
        return [answer.json()["numbers"][0]["value"] for answer in answers]

    def health(self) -> dict[str, Any]:
        answer = self.http.get("/health/numbering")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def falls_back(self) -> dict[str, Any]:
        """Expect that the service notices; the tests of the relay say how soon, in simulated time."""
        return self._becomes(True)

    def recovers(self) -> dict[str, Any]:
        """Expect that the mirror is back and holds all that was written."""
        health = self._becomes(False)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while health["mirror"]["lag"]:
            assert time.monotonic() < deadline, health
            time.sleep(POLL_SECONDS)
            health = self._becomes(False)
        return health

    def said(self, pattern: str) -> None:
        """Expect a line in the service's log: what is over in milliseconds is too short to be asked for."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not re.search(pattern, self.service.said()):
            assert time.monotonic() < deadline, self.service.said()
            time.sleep(POLL_SECONDS)

    def is_whole(self) -> None:
        """Expect the mirror to hold every event of the log."""
        records, entries = asyncio.run(self._both())
        assert entries == [Entry(record.position, record.body, record.hash) for record in records]

    def _becomes(self, fallback_mode: bool) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (health := self.health())["fallback_mode"] is not fallback_mode:
            assert time.monotonic() < deadline, health
            time.sleep(POLL_SECONDS)
        assert health["checks"]["redis"]["status"] in (("down", "degraded") if fallback_mode else ("up",))
        assert health["status"] == ("degraded" if fallback_mode else "up")
        return health

    async def _both(self) -> tuple[list[Record], list[Entry]]:
        store = self.service.store()
        try:
            records, head = await read_log(store)
            await check_store(store)
        finally:
            await store.close()
        stream = RedisStream(self.redis.url, stream_key(head.ledger_id))
        try:
            return records, list(await stream.entries(after=0, limit=100_000))
        finally:
            await stream.close()


@contextmanager
def mirrored(redis: Redis, *options: str, url: str = "") -> Iterator[Mirrored]:
    with Service(*options, redis_url=url or redis.url) as service, service.client() as http:
        mirror = Mirrored(service, redis, http)
        assert mirror.http.put("/v1/series/PLAIN", json=PLAIN).status_code == 201
        yield mirror
        mirror.recovers()
        mirror.issue()
        assert service.end(signal.SIGTERM) == 0
        mirror.is_whole()


@pytest.fixture
def mirror(redis: Redis) -> Iterator[Mirrored]:
    with mirrored(redis) as running:
        running.issue(3)
        assert running.recovers()["mirror"]["position"] > 0
        yield running


def test_redis_is_stopped_and_started(mirror: Mirrored) -> None:
    mirror.redis.stop()
    told = mirror.falls_back()
    assert told["checks"]["redis"] | {"detail": ""} == {
        "status": "down", "code": "NB008", "title": "REDIS_UNAVAILABLE", "detail": ""
    }  # fmt: skip
    mirror.issue(20)
    assert mirror.health()["mirror"]["lag"] == 40
    mirror.redis.start()
    mirror.recovers()


def test_redis_is_killed(mirror: Mirrored) -> None:
    mirror.redis.kill()
    mirror.falls_back()
    mirror.issue(20)
    mirror.redis.start()


def test_redis_hangs(mirror: Mirrored) -> None:
    mirror.redis.pause()
    mirror.issue(20)
    mirror.falls_back()
    mirror.issue(20)
    mirror.redis.resume()


def test_redis_hangs_while_nobody_asks(mirror: Mirrored) -> None:
    mirror.redis.pause()
    mirror.falls_back()
    mirror.redis.resume()


def test_redis_is_full(mirror: Mirrored) -> None:
    mirror.redis.execute("CONFIG", "SET", "maxmemory-policy", "noeviction")
    mirror.redis.execute("CONFIG", "SET", "maxmemory", "1")
    assert "raise its maxmemory" in mirror.falls_back()["checks"]["redis"]["detail"], "although nobody writes"
    mirror.issue(20)
    mirror.redis.execute("CONFIG", "SET", "maxmemory", "0")


def test_the_password_changes(redis: Redis) -> None:
    redis.execute("CONFIG", "SET", "requirepass", PASSWORD)
    redis.password = PASSWORD
    with mirrored(redis) as mirror:
        mirror.issue(3)
        mirror.recovers()
        redis.execute("CONFIG", "SET", "requirepass", PASSWORD[::-1])
        told = mirror.falls_back()["checks"]["redis"]["detail"]
        assert "check the user and password of NUMBERING_REDIS_URL" in told
        assert PASSWORD not in told
        mirror.issue(20)
        redis.password = PASSWORD[::-1]
        redis.execute("CONFIG", "SET", "requirepass", PASSWORD)
        redis.password = PASSWORD


def test_a_password_is_asked_for_at_last(mirror: Mirrored) -> None:
    mirror.redis.execute("CONFIG", "SET", "requirepass", PASSWORD)
    mirror.falls_back()
    mirror.issue(20)
    mirror.redis.password = PASSWORD
    mirror.redis.execute("CONFIG", "SET", "requirepass", "")
    mirror.redis.password = ""


def test_redis_is_flushed(mirror: Mirrored) -> None:
    mirror.redis.execute("FLUSHALL")
    mirror.said("the mirror falls back: the mirror is not as it was left")
    mirror.recovers()
    mirror.is_whole()
    mirror.issue(3)


def test_redis_is_flushed_while_numbers_are_given_out(mirror: Mirrored) -> None:
    for _ in range(10):
        mirror.redis.execute("FLUSHALL")
        mirror.issue(5)
    mirror.said("the mirror falls back: the mirror is not as it was left")


def test_the_stream_is_emptied(mirror: Mirrored) -> None:
    key = mirror.redis.execute("KEYS", "*")
    mirror.redis.execute("XTRIM", key, "MAXLEN", "0")
    mirror.said("the mirror falls back: the mirror is not as it was left")
    mirror.recovers()
    mirror.is_whole()


def test_redis_comes_back_empty(mirror: Mirrored) -> None:
    mirror.redis.kill()
    mirror.falls_back()
    mirror.issue(3)
    shutil.rmtree(mirror.redis.directory / "appendonlydir")
    mirror.redis.start()


def test_redis_comes_back_as_it_was_some_time_ago(mirror: Mirrored) -> None:
    saved, kept = mirror.redis.directory / "appendonlydir", mirror.redis.directory / "saved"
    mirror.redis.stop()
    shutil.copytree(saved, kept)
    mirror.redis.start()
    mirror.issue(20)
    mirror.recovers()
    mirror.redis.kill()
    mirror.falls_back()
    shutil.rmtree(saved)
    kept.rename(saved)
    mirror.redis.start()
    mirror.recovers()
    mirror.issue(3)


def test_a_replica_takes_no_events(mirror: Mirrored) -> None:
    mirror.redis.execute("REPLICAOF", "127.0.0.1", "1")
    mirror.falls_back()
    mirror.issue(3)
    mirror.redis.execute("REPLICAOF", "NO", "ONE")


def test_by_unix_socket_and_with_a_password(redis: Redis) -> None:
    redis.execute("CONFIG", "SET", "requirepass", PASSWORD)
    redis.password = PASSWORD
    with mirrored(redis, url=redis.socket_url) as mirror:
        mirror.issue(3)
        mirror.recovers()
        redis.stop()
        mirror.falls_back()
        redis.start()


# At the start


@pytest.mark.parametrize("fail", [Redis.stop, Redis.pause], ids=["away", "hung"])
def test_a_service_that_cannot_compare_reads_only(redis: Redis, fail: Callable[[Redis], None]) -> None:
    with mirrored(redis, "--lock-timeout", f"{IMPATIENT_MS}") as mirror:
        mirror.issue(3)
        mirror.recovers()
        mirror.service.stop()
        fail(redis)
        mirror.service.start()
        assert mirror.http.get("/v1/series/PLAIN").status_code == 200
        assert mirror.http.get("/v1/numbers/P-000002").json()["state"] == "CONFIRMED"
        refused = mirror.http.post("/v1/issue", json={"series": "PLAIN", "document": "D"})
        assert (refused.status_code, refused.json()["title"]) == (503, "MIRROR_NOT_COMPARED")
        assert "--start-unverified" in refused.json()["detail"]
        health = mirror.http.get("/health/numbering")
        assert (health.status_code, health.json()["fallback_mode"]) == (503, True)
        assert health.json()["checks"]["redis"]["status"] == "down"
        assert health.json()["checks"]["database"]["status"] == "up"
        redis.resume() if fail is Redis.pause else redis.start()
        _until_ready(mirror)
        assert mirror.issue() == [4]


def test_a_command_waits_for_the_comparison(redis: Redis) -> None:
    with mirrored(redis) as mirror:
        mirror.service.stop()
        mirror.service.start()
        assert mirror.issue() == [1]


def test_start_unverified_writes_without_the_mirror(redis: Redis) -> None:
    redis.stop()
    with mirrored(redis, "--start-unverified") as mirror:
        assert mirror.issue(3) == [1, 2, 3]
        mirror.falls_back()
        redis.start()


def test_without_a_mirror_nothing_falls_back() -> None:
    with Service() as service, service.client() as http:
        http.put("/v1/series/PLAIN", json=PLAIN).raise_for_status()  # which waits until the log was read
        told = http.get("/health/numbering").json()
        assert (told["fallback_mode"], told["mirror"], told["status"]) == (False, None, "up")


def test_the_command_line_mirrors_what_it_writes(redis: Redis) -> None:
    with mirrored(redis) as mirror:
        mirror.issue(2)
        mirror.recovers()
        mirror.service.stop()
        settings = {"redis_url": redis.url, "database_url": f"sqlite+aiosqlite:///{mirror.service.file}"}
        settings["lock_timeout"] = f"{IMPATIENT_MS}"  # so long a command waits for the comparison
        issued = run("issue", "PLAIN", "--document", "D", cwd=mirror.service.directory, **settings)
        assert issued.returncode == 0, issued.stderr
        mirror.is_whole()
        redis.stop()
        refused = run("issue", "PLAIN", "--document", "D", cwd=mirror.service.directory, **settings)
        assert refused.returncode == 3
        assert "MIRROR_NOT_COMPARED" in refused.stderr
        shown = run("show", "P-000003", cwd=mirror.service.directory, **settings)
        assert shown.returncode == 0, shown.stderr
        redis.start()
        mirror.service.start()
        _until_ready(mirror)


def _until_ready(mirror: Mirrored) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while mirror.http.get("/health/ready").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)
