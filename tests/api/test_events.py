"""The log over HTTP: pages that an auditor can check, and a live stream for readers of any speed."""

import asyncio
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from api import events
from api.streams import PIECE_BYTES
from api.streams import Limits as StreamLimits
from ledger.domain.rejection import Code
from ledger.feed import Feed
from ledger.ports import Stop, StopKind, Store, StoreFault
from ledger.writer import Limits
from numbering.server import UNREAD_MS, listen
from numbering.settings import Settings
from tests.api.client import PLAIN_BODY, Api, Json, Time, answer, eventually, in_memory, problem, served
from tests.api.faulty import FaultyStore
from tests.api.listener import Listener, messages_of
from tests.numbering.process import GRACE_IS_OVER, Service
from tests.servers import HOST

Open = Callable[[], Store]

STREAM = "/v1/events/stream"
DOWN = StoreFault(Code.DATABASE_UNAVAILABLE, "no route to the database", transient=True)
BRISK = StreamLimits(page_events=10, heartbeat_seconds=0.1, send_seconds=0.3)
NO_POSITIONS = ["", "x", "-1", "1.0", "1e3", " 1", "%2B1", "%0A1", "1%00", "0x1", "๑", "9" * 16, "1" + "0" * 40]


@pytest.fixture
async def brisk(open_memory: Open, clock: Time) -> AsyncIterator[Api]:
    """A service whose streams have little patience."""
    async with served(open_memory(), open_memory(), clock=clock, stream_limits=BRISK) as api:
        await api.define("PLAIN", PLAIN_BODY)
        yield api


async def page(api: Api, query: str = "") -> Json:
    return answer(await api.http.get(f"/v1/events?{query}"), 200)


async def reserve(api: Api, count: int) -> None:
    for _ in range(count):
        await api.reserve()


async def all_events(api: Api, limit: int = 1000) -> list[Json]:
    found: list[Json] = []
    after: int | None = 0
    while after is not None:
        told = await page(api, f"after={after}&limit={limit}")
        found += told["events"]
        after = told["next"]
    return found


# Pages


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
async def test_an_auditor_can_check_every_hash_from_what_he_was_given(api: Api, limit: int) -> None:
    await reserve(api, 4)
    ledger_id = answer(await api.http.get("/health"), 200)["ledger_id"]
    previous = sha256(b"numbering-ledger:" + ledger_id.encode()).digest()
    told = await all_events(api, limit)
    for event in told:
        claimed = bytes.fromhex(event.pop("hash"))
        assert sha256(previous + rfc8785.dumps(event)).digest() == claimed
        previous = claimed
    head = await api.head()
    assert (previous, told[-1]["position"], len(told)) == (head.hash, head.position, 6)


async def test_an_event_is_told_as_it_is_stored(api: Api) -> None:
    await api.define("THAI", {"template": "คคง.-{SEQ:4}"})
    told = await api.http.get("/v1/events")
    for record in await api.store.events(after=0, limit=10):
        assert record.body[:-1] in told.content
        assert f'"hash":"{record.hash.hex()}"'.encode() in told.content


async def test_a_page_says_where_the_next_begins_and_the_log_ends(api: Api) -> None:
    await reserve(api, 2)
    assert [each["position"] for each in (await page(api))["events"]] == [1, 2, 3, 4]
    first = await page(api, "limit=2")
    assert (len(first["events"]), first["next"], first["position"]) == (2, 2, 4)
    for query in ("after=3&limit=1", "after=3"):
        last = await page(api, query)
        assert ([each["position"] for each in last["events"]], last["next"]) == ([4], None)
    assert await page(api, "after=4") == {"events": [], "next": None, "position": 4}


async def test_an_empty_log_has_an_empty_page(open_ledger: Open) -> None:
    async with served(open_ledger(), open_ledger()) as api:
        assert await page(api) == {"events": [], "next": None, "position": 0}


async def test_a_page_holds_a_hundred_events_unless_told_otherwise(api: Api) -> None:
    await reserve(api, 104)
    assert len((await page(api))["events"]) == 100
    assert len((await page(api, "limit=1000"))["events"]) == 106


async def test_a_page_of_large_events_ends_early_and_nothing_is_left_out(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await reserve(api, 5)
    monkeypatch.setattr(events, "PAGE_BYTES", 1200)
    first = await page(api)
    assert (len(first["events"]), first["next"]) == (2, 2)
    monkeypatch.setattr(events, "PAGE_BYTES", 1)
    assert len((await page(api))["events"]) == 1
    assert [each["position"] for each in await all_events(api)] == [1, 2, 3, 4, 5, 6, 7]


async def test_what_another_process_committed_is_there(open_ledger: Open, clock: Time) -> None:
    async with (
        served(open_ledger(), open_ledger(), clock=clock) as one,
        served(open_ledger(), open_ledger(), clock=clock) as other,
    ):
        await one.define("PLAIN", PLAIN_BODY)
        assert (await page(other))["position"] == 2
        async with Listener(other.app) as listener:
            await listener.until(text="id: 2\n")
            await one.reserve()
            await listener.until(messages=1)


async def test_a_ledger_whose_writing_is_stopped_is_still_read(api: Api) -> None:
    transaction = await api.store.begin()
    await transaction.stop(Stop(StopKind.LOG_FORKED, "position 7 was seen with another hash"))
    await transaction.commit()
    problem(await api.post("/v1/reservations", {"series": "PLAIN"}), Code.LEDGER_STOPPED)
    assert len((await page(api))["events"]) == 2
    async with Listener(api.app, f"{STREAM}?after=0") as listener:
        await listener.until(messages=2)


# What cannot be read


@pytest.mark.parametrize("path", ["/v1/events", STREAM])
@pytest.mark.parametrize("value", NO_POSITIONS)
async def test_what_is_no_position_is_refused(memory_api: Api, path: str, value: str) -> None:
    (flaw,) = problem(await memory_api.http.get(f"{path}?after={value}"), Code.INVALID_FORMAT)["errors"]
    assert flaw["field"] == "after"


@pytest.mark.parametrize("value", ["0", "1001", *NO_POSITIONS])
async def test_what_is_no_limit_is_refused(memory_api: Api, value: str) -> None:
    (flaw,) = problem(await memory_api.http.get(f"/v1/events?limit={value}"), Code.INVALID_FORMAT)["errors"]
    assert flaw["field"] == "limit"


@pytest.mark.parametrize("value", ["", "x", "-1", "1.0", "1 2", "1\t", "1\x00", "๑", "9" * 16, "1" + "0" * 40])
async def test_what_is_no_last_event_is_refused(memory_api: Api, value: str) -> None:
    response = await memory_api.http.get(STREAM, headers=[(b"last-event-id", value.encode())])
    (flaw,) = problem(response, Code.INVALID_FORMAT)["errors"]
    assert flaw["field"] == "Last-Event-ID"


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("after=1&after=1", []),
        ("", [("last-event-id", "1"), ("last-event-id", "1")]),
        ("after=2", [("last-event-id", "1")]),
        ("limit=5", []),
        ("min_position=1", []),
    ],
)
async def test_a_stream_that_is_asked_for_in_two_ways(
    memory_api: Api, query: str, headers: list[tuple[str, str]]
) -> None:
    await reserve(memory_api, 2)
    problem(await memory_api.http.get(f"{STREAM}?{query}", headers=headers), Code.INVALID_FORMAT)


@in_memory
@pytest.mark.parametrize(
    ("path", "headers"),
    [("/v1/events?after=4", {}), (f"{STREAM}?after=4", {}), (STREAM, {"last-event-id": "9007199254740991"})],
)
async def test_a_position_that_the_log_does_not_reach(api: Api, path: str, headers: dict[str, str]) -> None:
    await api.reserve()
    told = problem(await api.http.get(path, headers=headers), Code.POSITION_NOT_REACHED)
    assert told["position"] == 3
    assert "ends at position 3" in told["detail"]


async def test_events_that_are_in_the_archive_only(
    sqlite_file: Path, open_sqlite: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.writer.writer.Feed", partial(Feed, max_events=2))
    async with served(open_sqlite(), open_sqlite()) as api:
        await api.define("PLAIN", PLAIN_BODY)
        await reserve(api, 8)
        answer(await api.http.get("/v1/numbers?min_position=10"), 200)  # the projector has no more to read
        # Beside the loop: whoever has the file's lock needs it to let go.
        put_back = await asyncio.to_thread(trim, sqlite_file, up_to=5)
        for path, headers in (("/v1/events?after=4", {}), (STREAM, {"last-event-id": "4"}), ("/v1/events", {})):
            told = problem(await api.http.get(path, headers=headers), Code.EVENTS_TRIMMED)
            assert told["first"] == 6
            assert "from position 6 on (after=5)" in told["detail"]
            assert "archive" in told["detail"]
        assert [each["position"] for each in (await page(api, "after=5"))["events"]] == [6, 7, 8, 9, 10]
        async with Listener(api.app, last_event_id="5") as listener:
            await listener.until(messages=5)
        await asyncio.to_thread(put_back)


def trim(file: Path, *, up_to: int) -> Callable[[], object]:
    """Remove the oldest events, as no version does yet; gives what puts them back."""
    database = sqlite3.connect(file, timeout=30, isolation_level="IMMEDIATE", check_same_thread=False)
    triggers = [sql for (sql,) in database.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'")]
    for name in ("update", "delete", "insert"):
        database.execute(f"DROP TRIGGER events_refuse_{name}")
    rows = database.execute("SELECT * FROM events WHERE position <= ?", [up_to]).fetchall()
    database.execute("DELETE FROM events WHERE position <= ?", [up_to])
    database.commit()

    def put_back() -> None:
        database.executemany(f"INSERT INTO events VALUES ({', '.join('?' * len(rows[0]))})", rows)
        database.executescript(";".join(triggers).replace("END;", "END;;").rstrip(";") + ";")
        database.close()

    return put_back


@in_memory
@pytest.mark.parametrize("path", ["/v1/events", STREAM])
async def test_the_log_is_only_read(api: Api, path: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        told = await api.http.request(method, path)
        problem(told, Code.METHOD_NOT_ALLOWED)
        assert set(told.headers["allow"].split(", ")) == {"GET", "HEAD"}


# The stream


async def test_a_stream_says_what_a_browser_needs(brisk: Api) -> None:
    async with Listener(brisk.app, f"{STREAM}?after=0") as listener:
        await listener.until(messages=2)
        assert listener.status == 200
        assert listener.headers == {
            "content-type": "text/event-stream",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
        }
        assert listener.text.startswith("retry: 1000\nid: 0\n\n")
        _, message = listener.messages
        assert (message.id, message.event) == ("2", "SeriesDefined")
        assert message.json() == (await page(brisk))["events"][1]


async def test_a_stream_begins_at_the_end_and_tells_what_comes(brisk: Api) -> None:
    await reserve(brisk, 2)
    async with Listener(brisk.app) as listener:
        await listener.until(text="retry: 1000\nid: 4\n\n")  # so that its client can resume before anything came
        await reserve(brisk, 2)
        await listener.until(messages=2)
        assert [message.id for message in listener.messages] == ["5", "6"]


async def test_reconnecting_anywhere_loses_and_doubles_nothing(api: Api) -> None:
    await reserve(api, 250)
    whole = await all_events(api)
    taken: list[Json] = []
    async with Listener(api.app, f"{STREAM}?after=0") as listener:
        await listener.until(messages=7)
        taken += [message.json() for message in listener.messages[:7]]
    while len(taken) < len(whole):
        async with Listener(api.app, last_event_id=str(taken[-1]["position"])) as listener:
            await listener.until(messages=min(60, len(whole) - len(taken)))
            taken += [message.json() for message in listener.messages]
    assert taken == whole


async def test_a_browser_that_reconnects_sends_its_address_as_it_was(api: Api) -> None:
    await reserve(api, 2)
    async with Listener(api.app, f"{STREAM}?after=0", last_event_id="3") as listener:
        await listener.until(messages=1)
        assert [message.id for message in listener.messages] == ["4"]


async def test_a_quiet_stream_is_heard_of(brisk: Api) -> None:
    async with Listener(brisk.app) as listener:
        await listener.until(text=": nothing new\n\n: nothing new\n\n")
        await brisk.reserve()
        await listener.until(messages=1)


async def test_a_large_event_is_sent_in_pieces(memory_api: Api) -> None:
    reserved = await memory_api.reserve(count=1000)
    numbers = [each | {"document": "คคง." * 50} for each in reserved["numbers"]]
    body = {"numbers": [{name: each[name] for name in ("number", "document")} for each in numbers]}
    answer(await memory_api.post(f"/v1/reservations/{reserved['token']}/confirm", body), 200)
    async with Listener(memory_api.app, f"{STREAM}?after=3") as listener:
        await listener.until(messages=1)
        assert max(listener.sizes) == PIECE_BYTES
        assert [message.json() for message in listener.messages] == (await page(memory_api, "after=3"))["events"]


@pytest.mark.parametrize("parts", [1, 4])
async def test_a_reader_that_takes_nothing_is_cut_off(brisk: Api, parts: int) -> None:
    await reserve(brisk, 98)
    async with Listener(brisk.app, f"{STREAM}?after=0", stalls_at=parts) as listener:
        await listener.until_the_end()
        assert not listener.has_ended
        seen = 10 * (parts - 1)
        assert len(listener.messages) == seen
    async with Listener(brisk.app, last_event_id=str(seen)) as listener:
        await listener.until(messages=100 - seen)


async def test_nothing_is_made_for_a_reader_until_it_took_the_last_part(
    memory_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await reserve(memory_api, 300)
    read = 0

    async def counting(*args: Any, **options: Any) -> Any:
        nonlocal read
        read += 1
        return await read_page(*args, **options)

    read_page = events.read_page
    monkeypatch.setattr(events, "read_page", counting)
    async with Listener(memory_api.app, f"{STREAM}?after=0", stalls_at=2) as listener:
        await listener.until(messages=1)
        await asyncio.sleep(0.2)
        before = read
        listener.go_on()
        await listener.until(messages=302)
    assert before == 3  # the look whether the events are there, the part taken, and the one that is not
    assert read == 5


async def test_no_more_streams_than_allowed(open_memory: Open) -> None:
    async with served(open_memory(), open_memory(), stream_limits=StreamLimits(streams=2)) as api:
        async with Listener(api.app) as first, Listener(api.app) as second:
            await first.until(text="id: 0")
            await second.until(text="id: 0")
            refused = await api.http.get(STREAM)
            assert problem(refused, Code.TOO_MANY_STREAMS)["retry"]
        async with Listener(api.app) as third:
            await third.until(text="id: 0")


async def test_streams_end_when_the_service_does(brisk: Api) -> None:
    async with Listener(brisk.app) as listener, Listener(brisk.app, stalls_at=1) as stalled:
        await listener.until(text="id: 2")
        brisk.app.state.closing.set()
        await listener.until_the_end()
        await stalled.until_the_end()
        assert (listener.has_ended, stalled.has_ended) == (True, False)
        problem(await brisk.http.get(STREAM), Code.SHUTTING_DOWN)


async def test_a_stream_ends_when_the_log_cannot_be_read(open_memory: Open) -> None:
    database = FaultyStore(open_memory())
    limits = Limits(lock_timeout_seconds=0.3, idle_seconds=0.05)
    async with served(database, open_memory(), limits=limits, stream_limits=BRISK) as api:
        await api.define("PLAIN", PLAIN_BODY)
        async with Listener(api.app) as listener:
            await listener.until(text="id: 2")
            database.fail(DOWN)
            await listener.until_the_end()
            assert listener.has_ended
        problem(await api.http.get(STREAM), Code.DATABASE_UNAVAILABLE)
        problem(await api.http.get("/v1/events"), Code.DATABASE_UNAVAILABLE)
        database.recover()

        async def is_ready() -> bool:
            return (await api.http.get("/health/ready")).status_code == 200

        await eventually(is_ready)
        await api.reserve()
        async with Listener(api.app, last_event_id="2") as listener:
            await listener.until(messages=1)


async def test_a_head_of_a_stream_ends(api: Api) -> None:
    async with Listener(api.app, method="HEAD") as listener:
        await listener.until_the_end()
        assert (listener.status, listener.text, listener.has_ended) == (200, "", True)
        assert listener.headers["content-type"] == "text/event-stream"


# A process of its own


def connect(service: Service, query: str = "") -> socket.socket:
    """Open a stream and read nothing of it."""
    connection = socket.create_connection((HOST, service.port), timeout=60)
    connection.sendall(f"GET {STREAM}?{query} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    return connection


def read_until(connection: socket.socket, text: bytes) -> bytes:
    read = b""
    while text not in read:
        part = connection.recv(65_536)
        assert part, read[-200:]
        read += part
    return read


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_service_with_open_streams_ends_at_once(how: signal.Signals) -> None:
    with Service() as running, ExitStack() as connections:
        with running.client() as http:
            http.put("/v1/series/PLAIN", json=PLAIN_BODY).raise_for_status()
            made = {"series": "PLAIN", "count": 1, "document": "D" * 200}
            for _ in range(6):  # more than the buffers of a socket hold
                batch = {"commands": [{"op": "issue", **made} for _ in range(1000)]}
                http.post("/v1/batch", json=batch).raise_for_status()
        quiet = [connections.enter_context(connect(running)) for _ in range(5)]
        for each in quiet:
            read_until(each, b"retry: 1000")
        for _ in range(3):
            connections.enter_context(connect(running, "after=0"))
        time.sleep(0.5)  # for the buffers to be filled
        assert running.end(how) == 0
        for each in quiet:
            assert read_until(each, b"0\r\n\r\n")
        assert "Traceback" not in running.said()
        assert GRACE_IS_OVER not in running.said()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux only")
def test_connections_whose_clients_read_nothing_are_the_kernel_s_to_drop() -> None:
    with (
        listen(Settings(port=0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == UNREAD_MS


def test_a_stream_over_a_real_connection() -> None:
    with Service() as running, running.client() as http:
        http.put("/v1/series/PLAIN", json=PLAIN_BODY).raise_for_status()
        with connect(running) as connection:
            read_until(connection, b"id: 2\n")
            http.post("/v1/reservations", json={"series": "PLAIN"}).raise_for_status()
            told = read_until(connection, b"\n\n\r\n").decode()
        (message,) = messages_of(told.partition("\r\n")[2])
        assert message.json()["position"] == 3
        head = http.head(STREAM)
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream")


def test_the_documented_audit_checks_a_real_log() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reading.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    with Service() as running, running.client() as http:
        http.put("/v1/series/PLAIN", json=PLAIN_BODY).raise_for_status()
        for _ in range(2):
            batch = {"commands": [{"op": "issue", "series": "PLAIN", "document": 'คคง. é😀"\\'}] * 800}
            http.post("/v1/batch", json=batch).raise_for_status()
        last = http.get("/v1/events", params={"after": http.get("/health").json()["position"] - 1}).json()["events"][0]
        audit = [sys.executable, "-c", program.replace("http://localhost:8080", running.url)]
        told = subprocess.run(audit, capture_output=True, text=True, timeout=60, check=True)
    assert last["position"] == 2 + 2 * 2 * 800
    assert told.stdout == f"position {last['position']}: {last['hash']}\n"
