"""A replica is promoted under services that have seen more than it has applied: it is behind, for a moment or for good.

Two real servers, and a line to the one that is the primary now, as a virtual address or a proxy is. The replica has
received all that was acknowledged, as a semi-synchronous one has, and still has to apply it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import make_url

from tests.fire.load import SERIES
from tests.fire.service import Service
from tests.numbering.process import run
from tests.servers import HOST, Database, MariaDB, Redis
from tests.stores import new_mariadb

WAIT_SECONDS = 30.0
KEPT, LATE = 5, 3  # numbers that the replica has applied, and that it has only received
BEFORE = KEPT + LATE


class Line:
    """Forwards connections to one of two servers; `switch` cuts those that there are."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def switch(self, port: int) -> None:
        self._target = port
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open = []

    def close(self) -> None:
        self._listener.close()
        self.switch(0)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with closing(client), suppress(OSError), socket.create_connection((HOST, self._target)) as server:
            self._open += [client, server]
            back = threading.Thread(target=_forward, args=[server, client], daemon=True)
            back.start()
            _forward(client, server)
            back.join()


def _forward(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class Pair:
    """A primary and its replica, with a ledger, and the line that services use."""

    def __init__(self, primary: MariaDB, replica: MariaDB, directory: Path) -> None:
        self.primary, self.replica = primary, replica
        self.database: Database = new_mariadb(primary)
        self.line = Line(primary.port)
        self.url = make_url(self.database.service_url).set(port=self.line.port).render_as_string(hide_password=False)
        self._directory = directory

    def promote(self) -> None:
        """Let the replica be the primary, with what it has applied by now."""
        end = _place(self.primary.execute("SHOW MASTER STATUS").split("\t"))
        until(lambda: _place(self.replica.execute("SHOW SLAVE STATUS").split("\t")[5:]) >= end)  # it has received all
        self.line.switch(self.replica.port)

    def catch_up(self) -> None:
        self.replica.execute("START SLAVE SQL_THREAD")

    def stand_still(self) -> None:
        """Apply nothing more than what was applied by now."""
        wanted = _transactions(self.primary.execute("SELECT @@gtid_binlog_pos"))
        until(lambda: _transactions(self.replica.execute("SELECT @@gtid_slave_pos")) >= wanted)
        self.replica.execute("STOP SLAVE SQL_THREAD")

    def lose(self) -> None:
        """Drop what the replica has received and not applied."""
        self.replica.execute("STOP SLAVE; RESET SLAVE")

    def stops(self) -> list[str]:
        return self.replica.execute("SELECT kind FROM stops ORDER BY id", database=self.database.name).splitlines()

    def numbering(self, *words: str, exit_code: int = 0, redis_url: str = "") -> str:
        done = run(*words, cwd=self._directory, database_url=self.url, redis_url=redis_url)
        assert done.returncode == exit_code, (done.stdout, done.stderr)
        return done.stdout


def _transactions(gtid: str) -> int:
    """Read how many transactions the primary has done: `domain-server-number`."""
    return int(gtid.rpartition("-")[2])


def _place(columns: list[str]) -> tuple[str, int]:
    """Read a place in the binary log: the file, and how far in it."""
    return columns[0], int(columns[1])


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[MariaDB, MariaDB]]:
    with MariaDB() as primary, MariaDB(server_id=2) as replica:
        primary.execute(f"CREATE USER r@'{HOST}' IDENTIFIED BY 'r'; GRANT REPLICATION SLAVE ON *.* TO r@'{HOST}'")
        yield primary, replica


@pytest.fixture
def pair(servers: tuple[MariaDB, MariaDB], tmp_path: Path) -> Iterator[Pair]:
    primary, replica = servers
    replica.execute("STOP SLAVE; RESET SLAVE ALL; RESET MASTER")
    replica.execute(f"SET GLOBAL gtid_slave_pos = '{primary.execute('SELECT @@gtid_binlog_pos')}'")
    replica.execute(
        f"CHANGE MASTER TO MASTER_HOST='{HOST}', MASTER_PORT={primary.port}, MASTER_USER='r', MASTER_PASSWORD='r', "
        "MASTER_USE_GTID=slave_pos; START SLAVE"
    )
    made = Pair(primary, replica, tmp_path)
    yield made
    made.line.close()


@pytest.fixture(params=["without a mirror", "with a mirror"])
def redis(request: pytest.FixtureRequest) -> Iterator[Redis | None]:
    if request.param == "without a mirror":
        yield None
    else:
        with Redis() as server:
            yield server


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def issued(service: Service) -> list[int]:
    """Issue a number, as soon as the service does."""
    found: list[int] = []

    def done() -> bool:
        status, body = service.post("/v1/issue", {"series": "NEVER", "document": "D"})
        if status == 201:
            found.extend(each["value"] for each in body["numbers"])
        return status == 201

    until(done)
    return found


def refuses(service: Service) -> Callable[[], bool]:
    def refused() -> bool:
        status, body = service.post("/v1/issue", {"series": "NEVER", "document": "D"})
        return status == 503 and body["title"] == "LEDGER_STOPPED"

    return refused


def define(service: Service) -> None:
    assert service.ask("PUT", "/v1/series/NEVER", orjson.dumps(SERIES["NEVER"]))[0] == 201


@pytest.fixture
def serve(pair: Pair, redis: Redis | None) -> Iterator[Callable[..., Service]]:
    with ExitStack() as stack:

        def started(**options: Any) -> Service:
            options |= {"redis_url": redis.url} if redis else {}
            return stack.enter_context(Service(pair.url, lock_timeout_ms=2_000, **options))

        yield started


def begun(pair: Pair, serve: Callable[..., Service]) -> Service:
    """A service that has issued what the replica has, and then what it has only received."""
    service = serve()
    define(service)
    assert [value for _ in range(KEPT) for value in issued(service)] == [*range(1, KEPT + 1)]
    pair.stand_still()
    assert [value for _ in range(LATE) for value in issued(service)] == [*range(KEPT + 1, BEFORE + 1)]
    pair.promote()
    return service


@pytest.mark.parametrize("restarts", [False, True], ids=["running on", "begun anew"])
def test_what_is_behind_for_a_moment_goes_on_by_itself(
    pair: Pair, serve: Callable[..., Service], redis: Redis | None, restarts: bool
) -> None:
    service = begun(pair, serve)
    until(refuses(service))
    until(lambda: "LOG_BEHIND" in pair.stops())
    if restarts:  # it knows nothing of what the first one has seen, but for the stop
        service.end()
        service = serve(until="/health/live")
        until(refuses(service))
    pair.catch_up()
    assert issued(service) == [BEFORE + 1]
    until(lambda: pair.stops() == [])
    assert pair.numbering("resume").startswith("writing is not stopped")
    assert "whole" in pair.numbering("verify")


def test_what_stays_behind_goes_on_behind_a_fence(
    pair: Pair, serve: Callable[..., Service], redis: Redis | None
) -> None:
    service = begun(pair, serve)
    until(refuses(service))
    pair.lose()
    until(lambda: "LOG_BEHIND" in pair.stops())
    service.end()
    mirror = redis.url if redis else ""
    told = pair.numbering("resume", exit_code=1, redis_url=mirror)
    assert ("numbering mirror adopt" in told) == bool(redis)
    assert "--accept LOG_BEHIND" in told
    accept = [word for kind in dict.fromkeys(pair.stops()) for word in ("--accept", kind)]
    pair.numbering("resume", *accept, "--reason", "the replica lost its last second", redis_url=mirror)
    service = serve()
    (value,) = issued(service)
    assert value > BEFORE
    assert "whole" in pair.numbering("verify", *(["--against", mirror] if redis else []))
