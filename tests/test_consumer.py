"""The example consumer counts every confirmed number once, whatever happens to it, to Redis and to the mirror.

The mirror is played here: events of a real service are put into the stream as the relay does it.

Most take seconds: a consumer blocks a second for what is new, tries again a second after a failure, and takes over what
another has left after `IDLE_MS`.
"""

import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as Client
from redis import ResponseError

from ledger.codec import canonical
from tests.api.client import Json
from tests.numbering.process import Service, without_settings
from tests.servers import Redis, dies_with_us

CONSUMER = Path(__file__).parents[1] / "examples" / "consumer.py"
DOCUMENTS = 7
WAIT_SECONDS = 30.0
IDLE_MS = 300
GROUP = "consumer"


class Mirror:
    """A ledger with events, and a stream that holds as many of them as it is told."""

    def __init__(self, service: Service, redis: Redis) -> None:
        self.service = service
        self.redis = redis
        self.http = service.client()
        self.http.put("/v1/series/P", json={"template": "P-{SEQ:6}"}).raise_for_status()
        self.ledger_id = self.http.get("/health").json()["ledger_id"]
        self.stream = f"numbering:{self.ledger_id}:events"
        self.expected: Counter[str] = Counter()

    def issue(self, count: int) -> None:
        """Confirm numbers in every way in which they are, for a few documents."""
        commands: list[Json] = []
        for n in range(count):
            document, numbers = f"D-{n % DOCUMENTS}", n % 3 + 1
            commands.append({"op": "issue", "series": "P", "count": numbers, "document": document})
            self.expected[document] += numbers
        for start in range(0, count, 500):
            self.http.post("/v1/batch", json={"commands": commands[start : start + 500]}).raise_for_status()

    def events(self, after: int = 0) -> list[Json]:
        found: list[Json] = []
        following: int | None = after
        while following is not None:
            told = self.http.get("/v1/events", params={"after": following, "limit": 1000}).json()
            found += told["events"]
            following = told["next"]
        return found

    def relay(self, after: int = 0) -> int:
        """Append what follows to the stream, as the relay does; gives the last position."""
        events = self.events(after)
        with self._client() as client, client.pipeline() as pipeline:
            for event in events:
                hash = bytes.fromhex(event.pop("hash"))
                fields = {"type": event["type"], "version": event["version"], "body": canonical(event), "hash": hash}
                pipeline.execute_command("XADD", self.stream, f"{event['position']}-0", *chain(*fields.items()))
            pipeline.execute()
        return after + len(events)

    def deliver(self, member: str, count: int) -> None:
        """Let a member that never comes back take some entries."""
        self.redis.execute("XGROUP", "CREATE", self.stream, GROUP, "0")
        with self._client() as client:
            client.execute_command("XREADGROUP", "GROUP", GROUP, member, "COUNT", count, "STREAMS", self.stream, ">")

    def members(self) -> set[str]:
        with self._client() as client, suppress(ResponseError):  # until somebody makes the group
            return {member["name"].decode() for member in client.xinfo_consumers(self.stream, GROUP)}
        return set()

    def _client(self) -> Any:
        return Client.from_url(self.redis.url)


class Member:
    """One process of the consumer."""

    def __init__(self, mirror: Mirror, file: Path, name: str) -> None:
        self.said = file.with_suffix(f".{name}.log")
        command = [sys.executable, str(CONSUMER), "--ledger", mirror.ledger_id, "--redis", mirror.redis.url]
        command += ["--service", mirror.service.url, "--file", str(file), "--name", name, "--idle-ms", str(IDLE_MS)]
        with self.said.open("ab") as log:
            self.process = subprocess.Popen(dies_with_us(command), env=without_settings(), stderr=log)

    def waits(self) -> None:
        """Waits until it says once more that it tries again. It has then begun, so signals end it cleanly."""
        said = self._tries()
        deadline = time.monotonic() + WAIT_SECONDS
        while self._tries() == said:
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.01)

    def _tries(self) -> int:
        return self.said.read_text().count("trying again")

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(WAIT_SECONDS)


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def mirror(redis: Redis) -> Iterator[Mirror]:
    redis.execute("FLUSHALL")
    with Service() as service:
        made = Mirror(service, redis)
        yield made
        made.http.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "consumer.db"


@pytest.fixture
def begin(mirror: Mirror, file: Path) -> Iterator[Callable[[str], Member]]:
    begun: list[Member] = []

    def begin_one(name: str) -> Member:
        begun.append(Member(mirror, file, name))
        return begun[-1]

    yield begin_one
    for member in begun:
        member.process.kill()
        member.process.wait()
        assert "Traceback" not in member.said.read_text()


Begin = Callable[[str], Member]


def counted(file: Path) -> tuple[int, Counter[str]]:
    """How many positions are applied, and the numbers of each document."""
    if not file.exists():
        return 0, Counter()
    with closing(sqlite3.connect(file, timeout=10)) as database:
        try:
            (applied,) = database.execute("SELECT count(*) - 1 FROM applied").fetchone()
            return applied, Counter(dict(database.execute("SELECT document, numbers FROM documents")))
        except sqlite3.OperationalError:  # the tables are not made yet
            return 0, Counter()


def wait_for(file: Path, position: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while counted(file)[0] < position:
        assert time.monotonic() < deadline, counted(file)
        time.sleep(0.01)


def is_right(mirror: Mirror, file: Path) -> None:
    """Every event is applied, once: the counts add up, so one too many or too few would show."""
    position = mirror.http.get("/v1/events", params={"limit": 1}).json()["position"]
    wait_for(file, position)
    assert counted(file) == (position, mirror.expected)


def test_it_counts_all_and_ends_cleanly(mirror: Mirror, file: Path, begin: Begin) -> None:
    mirror.issue(50)
    reserved = mirror.http.post("/v1/reservations", json={"series": "P", "count": 4}).json()
    first, second, third, _ = (each["number"] for each in reserved["numbers"])
    body = {"document": "D-0", "numbers": [first, {"number": second, "document": "OWN"}, third]}
    mirror.http.post(f"/v1/reservations/{reserved['token']}/confirm", json=body).raise_for_status()
    assigned = {"number": "P-000500", "document": "BY HAND", "reason": "given out on paper"}
    mirror.http.post("/v1/assign", json=assigned).raise_for_status()
    mirror.expected += Counter({"D-0": 2, "OWN": 1, "BY HAND": 1})
    mirror.relay()
    member = begin("a")
    is_right(mirror, file)
    assert member.end() == 0
    assert mirror.redis.execute("XPENDING", mirror.stream, GROUP).splitlines()[0] == "0"


def test_it_goes_on_where_it_ended(mirror: Mirror, file: Path, begin: Begin) -> None:
    position = 0
    for how in (signal.SIGTERM, signal.SIGINT):
        mirror.issue(20)
        position = mirror.relay(position)
        member = begin(how.name)
        is_right(mirror, file)
        assert member.end(how) == 0


def test_members_that_are_killed_lose_and_double_nothing(mirror: Mirror, file: Path, begin: Begin) -> None:
    mirror.issue(3000)
    mirror.relay()
    for n in range(6):
        member = begin(f"killed-{n}")
        wait_for(file, 500 * (n + 1))
        member.end(signal.SIGKILL)
    begin("a")
    is_right(mirror, file)


def test_what_was_applied_and_not_acknowledged_is_not_applied_again(mirror: Mirror, file: Path, begin: Begin) -> None:
    mirror.issue(30)
    mirror.relay()
    begin("a")
    is_right(mirror, file)
    mirror.redis.execute("XGROUP", "SETID", mirror.stream, GROUP, "0")  # all is delivered again
    mirror.issue(30)
    mirror.relay(62)
    is_right(mirror, file)


def test_what_a_dead_member_left_is_taken_over(mirror: Mirror, file: Path, begin: Begin) -> None:
    mirror.issue(30)
    mirror.relay()
    mirror.deliver("dead", 40)
    begin("a")
    is_right(mirror, file)


def test_two_members_share_the_work(mirror: Mirror, file: Path, begin: Begin) -> None:
    first, _ = begin("a"), begin("b")
    begun, deadline = 0, time.monotonic() + WAIT_SECONDS
    while mirror.members() != {"a", "b"}:  # Redis knows a member from the first entry that it was given
        assert time.monotonic() < deadline
        mirror.issue(5)
        begun = mirror.relay(begun)
    mirror.issue(1500)
    half = mirror.relay(begun)
    wait_for(file, half // 2)
    first.end(signal.SIGKILL)
    begin("c")
    mirror.issue(1500)
    mirror.relay(half)
    is_right(mirror, file)


def test_a_mirror_that_is_lost_and_filled_again(mirror: Mirror, file: Path, begin: Begin) -> None:
    mirror.issue(100)
    half = mirror.relay()
    begin("a")
    wait_for(file, half)
    mirror.redis.execute("FLUSHALL")
    mirror.issue(100)
    mirror.relay()
    is_right(mirror, file)
    mirror.redis.execute("FLUSHALL")
    mirror.issue(100)
    mirror.relay(after=half)  # as from a retention floor
    is_right(mirror, file)


def test_what_was_trimmed_before_it_was_read_comes_from_the_service(mirror: Mirror, file: Path, begin: Begin) -> None:
    mirror.issue(200)
    last = mirror.relay()
    mirror.redis.execute("XTRIM", mirror.stream, "MINID", f"{last}-0")
    begin("a")
    is_right(mirror, file)


def test_what_was_trimmed_while_a_dead_member_held_it_comes_from_the_service(
    mirror: Mirror, file: Path, begin: Begin
) -> None:
    mirror.issue(200)
    last = mirror.relay()
    mirror.deliver("dead", 100)
    mirror.redis.execute("XDEL", mirror.stream, "7-0", "90-0", "150-0")
    mirror.redis.execute("XTRIM", mirror.stream, "MINID", "50-0")
    begin("a")
    is_right(mirror, file)
    mirror.redis.execute("XTRIM", mirror.stream, "MAXLEN", "0")
    mirror.issue(10)
    mirror.relay(last)
    is_right(mirror, file)


def test_a_redis_that_is_away_is_waited_for(mirror: Mirror, file: Path, begin: Begin) -> None:
    mirror.issue(50)
    last = mirror.relay()
    begin("a")
    wait_for(file, last)
    with mirror.redis.stopped():
        late = begin("b")
        late.waits()
    mirror.issue(50)
    mirror.relay(last)
    is_right(mirror, file)
    with mirror.redis.stopped():
        late.waits()
        assert late.end() == 0


def test_a_service_that_is_away_is_waited_for(mirror: Mirror, file: Path, begin: Begin) -> None:
    mirror.issue(50)
    last = mirror.relay()
    mirror.redis.execute("XTRIM", mirror.stream, "MINID", f"{last - 10}-0")
    mirror.service.kill()
    begin("a")
    wait_for(file, 11)
    mirror.service.start()
    is_right(mirror, file)
