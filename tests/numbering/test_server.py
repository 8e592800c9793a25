"""The real service in a process of its own, through real sockets.

What waits here for a database waits for two seconds, the shortest time that can be set; a service that ends gives a
client that takes nothing a second.
"""

import asyncio
import json
import re
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.invariants import check_store
from tests.numbering.process import GRACE_IS_OVER, Service, run
from tests.servers import HOST, free_port

PLAIN = {"template": "P-{SEQ:6}"}
RESERVE = {"series": "PLAIN"}
SECRET = "0123456789abcdef"
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.01


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """One service for the tests that do not end it, with the series PLAIN."""
    with Service() as running:
        define(running)
        yield running
        assert running.end(signal.SIGTERM) == 0
        is_sound(running)


def define(service: Service) -> None:
    with service.client() as http:
        assert http.put("/v1/series/PLAIN", json=PLAIN).status_code == 201


def is_sound(service: Service) -> list[int]:
    """Check the log that a service left behind; give the values of PLAIN that it passed."""

    async def check() -> list[int]:
        store = service.store()
        try:
            sequence = (await check_store(store)).state.sequence("PLAIN:-")
        finally:
            await store.close()
        return [] if sequence is None else list(range(sequence.start, sequence.high_water + 1))

    return asyncio.run(check())


def talk(service: Service, data: bytes) -> bytes:
    """Send bytes as they are, and read until the service closes the connection."""
    with socket.create_connection((HOST, service.port), timeout=WAIT_SECONDS) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def told(answer: bytes) -> tuple[int, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


# Beginning and ending


def test_it_says_where_it_listens_and_that_only_this_machine_may_ask(service: Service) -> None:
    assert f"numbering: listening on {service.url} (loopback only: no credentials are configured)" in service.said()


def test_its_default_ledger_is_in_the_current_directory(service: Service) -> None:
    assert service.file.exists()


def test_a_free_port_is_announced_and_credentials_open_the_door() -> None:
    with Service("--port", "0", "--host", "0.0.0.0", credentials=f"erp:{SECRET}", reservation_ttl="7000") as running:
        line = re.search(r"numbering: listening on http://0\.0\.0\.0:(\d+)\n", running.said())
        assert line is not None
        running.port = int(line[1])
        with running.client() as http:
            assert http.get("/health/live").status_code == 200
            assert http.get("/v1/series").status_code == 401
            http.headers["Authorization"] = f"Bearer {SECRET}"
            assert http.get("/v1/series").status_code == 200
            lives_for(http, seconds=7000)
            # No path may be spelled so that it is taken for a health check and served as something else.
        for path in ("/health/../v1/series", "/health/%2e%2e/v1/series", "/v1/series#/health", "//health/../v1/series"):
            status, body = told(talk(running, request("GET", path)))
            assert (status, "series" in body) in {(401, False), (404, False), (400, False)}, path


def lives_for(http: httpx.Client, *, seconds: int) -> None:
    """A reservation of a series that does not say how long lives as long as the settings say."""
    http.put("/v1/series/PLAIN", json=PLAIN).raise_for_status()
    expires_at = datetime.fromisoformat(http.post("/v1/reservations", json=RESERVE).json()["expires_at"])
    assert abs((expires_at - datetime.now(UTC)).total_seconds() - seconds) < 60


@pytest.mark.parametrize("log_level", ["info", "critical"])
def test_a_port_in_use_is_one_clear_line(service: Service, tmp_path: Path, log_level: str) -> None:
    ended = run("serve", "--port", str(service.port), "--log-level", log_level, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (3, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("numbering: ")
    assert f"{HOST}:{service.port}" in line
    assert "in use" in line


def test_a_host_that_is_not_here_is_one_clear_line(tmp_path: Path) -> None:
    ended = run("serve", "--host", "192.0.2.1", "--port", "0", cwd=tmp_path, credentials=f"erp:{SECRET}")
    assert ended.returncode == 3
    (line,) = ended.stderr.splitlines()
    assert line.startswith("numbering: ")
    assert "192.0.2.1" in line


def test_a_database_that_is_away_at_the_start_is_waited_for() -> None:
    nobody = free_port()
    url = f"mariadb+asyncmy://user:password@{HOST}:{nobody}/ledger"
    with Service("--database-url", url, lock_timeout="2000") as running, running.client() as http:
        assert http.get("/health/live").status_code == 200
        assert http.get("/health/ready").status_code == 503
        told = http.post("/v1/reservations", json=RESERVE)
        assert (told.status_code, told.json()["title"]) == (503, "DATABASE_UNAVAILABLE")
        assert "retry-after" in told.headers
        assert "password" not in running.said() + told.text + http.get("/health").text
        assert running.end(signal.SIGTERM) == 0
        assert "Traceback" not in running.said()


# What was acknowledged stays


class Load:
    """Threads that reserve until the service goes away, and what they were told."""

    def __init__(self, service: Service, threads: int) -> None:
        self.acknowledged: list[int] = []
        self.refusals: list[str] = []
        self._service = service
        self._pool = ThreadPoolExecutor(threads)
        self._work = [self._pool.submit(self._reserve) for _ in range(threads)]

    def end(self) -> None:
        for work in self._work:
            work.result(timeout=WAIT_SECONDS)
        self._pool.shutdown()

    def wait_for(self, count: int) -> None:
        while len(self.acknowledged) < count and not all(each.done() for each in self._work):
            time.sleep(0.005)
        assert len(self.acknowledged) >= count

    def _reserve(self) -> None:
        with self._service.client() as http:  # a client is not made for several threads
            while True:
                try:
                    response = http.post("/v1/reservations", json=RESERVE)
                except httpx.TransportError as error:
                    self.refusals.append(type(error).__name__)
                    return
                if response.status_code != 201:
                    assert response.status_code == 503, response.text
                    self.refusals.append(response.json()["title"])
                    return
                self.acknowledged.append(value_of(response))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_ending_it_under_load_loses_nothing_that_it_accepted(how: signal.Signals) -> None:
    with Service() as running:
        define(running)
        load = Load(running, 8)
        load.wait_for(40)
        assert running.end(how) == 0
        load.end()
        assert "Traceback" not in running.said()
        # Nobody was told of a value that is not there, and no value is there that nobody was told of.
        assert sorted(load.acknowledged) == is_sound(running)


def test_ending_it_finishes_what_waits_for_the_database() -> None:
    with Service() as running, ThreadPoolExecutor(11) as pool:
        define(running)
        other = sqlite3.connect(running.file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        asked = [pool.submit(reserved, running, 1) for _ in range(10)]
        wait_until(lambda: queued(running) == 10)
        assert not any(each.done() for each in asked)
        ended = pool.submit(running.end, signal.SIGTERM)
        wait_until(lambda: not listens(running))
        other.close()
        responses = [response for each in asked for response in each.result(timeout=WAIT_SECONDS)]
        assert [response.status_code for response in responses] == [201] * 10
        assert ended.result(timeout=WAIT_SECONDS) == 0
        assert sorted(map(value_of, responses)) == is_sound(running)


def reserved(service: Service, count: int) -> list[httpx.Response]:
    """Reserve so often with a client of its own: no client is made for several threads."""
    with service.client() as http:
        return [http.post("/v1/reservations", json=RESERVE) for _ in range(count)]


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(int(WAIT_SECONDS / POLL_SECONDS)):
        if holds():
            return
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"not within {WAIT_SECONDS:g} s")


def queued(service: Service) -> int:
    with service.client() as http:
        depth: int = http.get("/health/numbering").json()["queue_depth"]
        return depth


def listens(service: Service) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, service.port)) == 0


def test_ending_it_does_not_wait_for_a_client_that_takes_nothing() -> None:
    with Service() as running, socket.socket() as connection:
        with running.client() as http:
            assert http.put("/v1/series/LONG", json={"template": "L" * 60 + "{SEQ:6}"}).status_code == 201
        # A whole answer, larger than what the kernel takes of it for a client.
        body = json.dumps({"commands": [{"op": "reserve", "series": "LONG", "count": 10_000}] * 10}).encode()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(WAIT_SECONDS)
        connection.connect((HOST, running.port))
        connection.sendall(
            request("POST", "/v1/batch", body=body).replace(b"Connection: close", b"Connection: keep-alive")
        )
        assert connection.recv(1, socket.MSG_PEEK)
        assert running.end(signal.SIGTERM) == 0
        assert GRACE_IS_OVER not in running.said()


def test_killing_it_under_load_loses_nothing_that_it_acknowledged() -> None:
    with Service() as running:
        define(running)
        first = reserve_with_key(running)
        load = Load(running, 8)
        load.wait_for(40)
        running.kill()
        load.end()
        acknowledged = [value_of(first), *load.acknowledged]
        assert len(set(acknowledged)) == len(acknowledged)
        assert set(acknowledged) <= set(is_sound(running))
        running.start()
        again = reserve_with_key(running)
        assert again.headers["idempotent-replayed"] == "true"
        assert (again.status_code, again.content) == (first.status_code, first.content)
        with running.client() as http:
            assert value_of(http.post("/v1/reservations", json=RESERVE)) > max(acknowledged)
        assert running.end(signal.SIGINT) == 0
        is_sound(running)


def reserve_with_key(service: Service) -> httpx.Response:
    with service.client() as http:
        return http.post("/v1/reservations", json=RESERVE, headers={"Idempotency-Key": "K"})


def value_of(response: httpx.Response) -> int:
    value: int = response.json()["numbers"][0]["value"]
    return value


def test_many_connections_at_once_get_different_values(service: Service) -> None:
    with ThreadPoolExecutor(40) as pool:
        responses = pool.map(lambda _: reserved(service, 5), range(40))
    values = [value_of(response) for some in responses for response in some]
    assert len(set(values)) == 200
    assert max(values) - min(values) == 199


# What only a real connection can carry


def test_a_client_that_hangs_up_in_the_middle_disturbs_nobody(service: Service) -> None:
    whole = request("POST", "/v1/reservations", body=json.dumps(RESERVE).encode())
    before = service.said()
    for size in (10, len(whole) - 20, len(whole) - 1, len(whole)):
        with socket.create_connection((HOST, service.port)) as connection:
            connection.sendall(whole[:size])
    with service.client() as http:
        assert http.post("/v1/reservations", json=RESERVE).status_code == 201
    assert "Traceback" not in service.said().removeprefix(before)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_one_mebibyte_is_refused_while_it_comes(service: Service, chunked: bool) -> None:
    content = json.dumps(RESERVE).encode().ljust((1 << 20) + 1)
    with service.client() as http:
        body = iter([content[: 1 << 19], content[1 << 19 :]]) if chunked else content
        response = http.post("/v1/reservations", content=body)
        assert (response.status_code, response.json()["title"]) == (413, "BODY_TOO_LARGE")
        assert http.post("/v1/reservations", json=RESERVE).status_code == 201


def test_an_endless_body_is_not_waited_for(service: Service) -> None:
    with socket.create_connection((HOST, service.port), timeout=WAIT_SECONDS) as connection:
        connection.sendall(b"POST /v1/reservations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        assert b" 413 " in connection.recv(100)


def test_a_head_has_no_body(service: Service) -> None:
    answer = talk(service, request("HEAD", "/v1/series"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head
    assert body == b""


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("GET", "/v1/reservations/%00"), 422),
        (request("GET", "/v1/reservations/" + "a" * 8000), 422),
        (request("GET", "/v1/series/..%2f..%2fetc"), 404),
        (request("GET", "http://elsewhere.example/v1/series/X"), 404),
        (request("GET", "/v1/series/X?" + "q" * 8000), 422),
        (request("GET", "/v1/series/X", "Host: ["), 404),
        (request("POST", "/v1/reservations", "Content-Type: text/plain", body=b"{"), 400),
        (request("POST", "/v1/reservations", "Content-Encoding: gzip", body=b"\x1f\x8b\x08"), 400),
        (request("DELETE", "/v1/series"), 405),
        (request("GET", "/nowhere"), 404),
        (request("POST", "/v1/reservations", "Idempotency-Key:", body=b'{"series": "PLAIN"}'), 422),
        (request("POST", "/v1/reservations", "Idempotency-Key: caf\xe9", body=b'{"series": "PLAIN"}'), 422),
        (request("POST", "/v1/reservations", "Idempotency-Key: a\tb", body=b'{"series": "PLAIN"}'), 422),
    ],
    ids=lambda value: ascii(value)[2:50] if isinstance(value, bytes) else str(value),
)
def test_odd_requests_get_a_problem(service: Service, sent: bytes, status: int) -> None:
    answer = talk(service, sent)
    assert b"content-type: application/problem+json" in answer.lower()
    found, body = told(answer)
    assert (found, body["status"]) == (status, status)


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1/series HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n",
        b"GET /v1/series HTTP/1.1\r\nHost: x\r\nIdempotency-Key: a\x01b\r\n\r\n",
        b"POST /v1/reservations HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/preview HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/reservations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        "GET /v1/series/คคง. HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(),
        b"GET /v1/series/\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
    ids=ascii,
)
def test_what_is_no_http_is_refused_and_nothing_breaks(service: Service, sent: bytes) -> None:
    before = service.said()
    answer = talk(service, sent)
    assert answer == b"" or b" 4" in answer[:13], answer
    assert "Traceback" not in service.said().removeprefix(before)
    with service.client() as http:
        assert http.get("/health/ready").status_code == 200


def test_it_names_neither_itself_nor_its_version(service: Service) -> None:
    with service.client() as http:
        assert "server" not in http.get("/health").headers


def test_a_service_reads_its_log_again_and_says_so(service: Service) -> None:
    with service.client() as http:
        position = http.post("/v1/reservations", json=RESERVE).json()["position"]
        deadline = time.monotonic() + WAIT_SECONDS
        while (check := http.get("/health").json()["checks"]["sequence_integrity"])["verified"]["position"] < position:
            assert time.monotonic() < deadline, check
            time.sleep(POLL_SECONDS)
        assert check["status"] == "up"
