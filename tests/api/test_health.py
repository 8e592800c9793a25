"""The health checks, and what clients see while the database is away, read-only, unmigrated or full."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.applications import Starlette

from api.health import health_routes
from ledger.domain.calendar import instant_text
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.rejection import Code
from ledger.ports import Stop, StopKind, Store, StoreFault
from ledger.service import Ledger
from ledger.stores import MemoryLog, MemoryStore, migrate
from ledger.stores.sqlite import SQLiteStore
from ledger.system import RandomIds, aside, spawn
from ledger.writer import Limits
from replay.verifier import Verification
from tests.api.client import PLAIN_BODY, Api, Json, Time, answer, eventually, problem, served
from tests.api.faulty import COMMITTING, EVERYTHING, WRITING, FaultyStore
from tests.given import at

# The service's own patience, shortened; the waiting itself is tested with the writer. Slow are the tests in which a
# doubt lasts until `outcome_seconds` after the deadline, or SQLite waits for a lock: for a second at least.
IMPATIENT = Limits(lock_timeout_seconds=0.4, outcome_seconds=1.0, idle_seconds=0.1)
GUARD_SECONDS = 60.0  # more than any of these bounds, however busy the machine is
RESERVE: Json = {"series": "PLAIN"}

DOWN = StoreFault(Code.DATABASE_UNAVAILABLE, "no route to the database", transient=True)
REFUSED = StoreFault(Code.DATABASE_UNAVAILABLE, "access denied")
LOCKED = StoreFault(Code.LOCK_TIMEOUT, "the head is locked", contention=True)
READ_ONLY = StoreFault(Code.DATABASE_READ_ONLY, "the disk is mounted read-only")
FULL = StoreFault(Code.DATABASE_FULL, "no space left")
UNMIGRATED = StoreFault(Code.DATABASE_NOT_MIGRATED, "no such table")
UNSAFE = StoreFault(Code.DATABASE_UNSAFE, "sync_binlog is 0")
BROKEN = StoreFault(Code.INTERNAL_ERROR, "what we did not foresee")

Open = Callable[[], Store]
OpenFile = Callable[[object], Store]


@pytest.fixture
def database(open_memory: Open) -> FaultyStore:
    return FaultyStore(open_memory())


@pytest.fixture
async def faulty(database: FaultyStore, open_memory: Open, clock: Time) -> AsyncIterator[Api]:
    """A service whose `database` can be broken."""
    async with served(database, open_memory(), clock=clock, limits=IMPATIENT) as api:
        await api.define("PLAIN", PLAIN_BODY)
        yield api


async def ready(api: Api) -> bool:
    return (await api.http.get("/health/ready")).status_code == 200


async def recovers(api: Api, value: int) -> None:
    """Wait until the service works again by itself, and see that nothing had happened meanwhile."""
    await eventually(lambda: ready(api))
    assert (await api.reserve())["numbers"][0]["value"] == value
    answer(await api.http.get("/health/ready"), 200)


async def is_down(api: Api, code: Code) -> None:
    """The process lives, is not ready, and says why."""
    answer(await api.http.get("/health/live"), 200)
    told = answer(await api.http.get("/health/ready"), 503)
    assert (told["status"], told["code"], told["title"]) == ("down", code.number, code.name)
    whole = answer(await api.http.get("/health"), 503)
    assert (whole["status"], whole["checks"]["database"]["code"]) == ("down", code.number)


async def test_a_healthy_service(api: Api) -> None:
    assert answer(await api.http.get("/health/live"), 200) == {"status": "up"}
    assert answer(await api.http.get("/health/ready"), 200) == {"status": "up"}
    head = await api.head()
    assert answer(await api.http.get("/health"), 200) == {
        "status": "up",
        "checks": {
            "redis": {"status": "up", "detail": "no mirror is configured"},
            "database": {"status": "up"},
            "sequence_integrity": {"status": "up"},
        },
        "ledger_id": head.ledger_id,
        "position": head.position,
        "waiting": 0,
    }


async def test_what_lags_and_what_waits(sqlite_api: Api) -> None:
    position = (await sqlite_api.reserve())["position"]
    await eventually(lambda: is_projected(sqlite_api, position))
    told = answer(await sqlite_api.http.get("/health/numbering"), 200)
    assert {
        name: told[name] for name in ("position", "fallback_mode", "mirror", "queue_depth", "oldest_waiting_ms")
    } == {
        "position": position,
        "fallback_mode": False,
        "mirror": None,
        "queue_depth": 0,
        "oldest_waiting_ms": 0,
    }
    assert told["projections"] == {"position": position, "lag": 0, "activity": "working", "why": None}


async def test_the_ledger_s_format(sqlite_api: Api) -> None:
    told = answer(await sqlite_api.http.get("/health/numbering"), 200)
    assert told["format"] == {"present": NEWEST_FORMAT, "newest": NEWEST_FORMAT}
    assert told["closed"] is None


async def is_projected(api: Api, position: int) -> bool:
    told = answer(await api.http.get("/health/numbering"), 200)
    return bool(told["projections"]["position"] == position)


async def test_a_command_that_waits_is_told(faulty: Api, database: FaultyStore) -> None:
    database.fail(LOCKED, frozenset({"begin"}))
    waiting = asyncio.create_task(faulty.post("/v1/reservations", RESERVE))
    await eventually(lambda: waits(faulty), within=IMPATIENT.lock_timeout_seconds)
    problem(await waiting, Code.LOCK_TIMEOUT)


async def waits(api: Api) -> bool:
    told = (await api.http.get("/health/numbering")).json()
    return bool(told["queue_depth"] == 1 and told["oldest_waiting_ms"] > 0)


async def test_a_sequence_above_its_maximum_is_told(memory_api: Api) -> None:
    """No command makes one: a log that was edited, or a rule of ours that is wrong, would."""
    await memory_api.reserve(count=20)
    state = memory_api.ledger.state
    state.put_maximum("PLAIN", 10)
    told = answer(await memory_api.http.get("/health"), 200)
    assert told["status"] == "degraded"
    assert told["checks"]["sequence_integrity"] == {
        "status": "degraded", "detail": "a sequence of PLAIN is above the maximum 10"
    }  # fmt: skip


# The database fails, at the port


@pytest.mark.parametrize(
    ("fault", "at"),
    [
        (DOWN, EVERYTHING),
        (REFUSED, EVERYTHING),
        (UNMIGRATED, EVERYTHING),
        (UNSAFE, EVERYTHING),
        (LOCKED, frozenset({"begin"})),
        (DOWN, WRITING),
        (READ_ONLY, WRITING),
        (FULL, WRITING),
        (FULL, COMMITTING),
        (READ_ONLY, COMMITTING),
    ],
    ids=lambda each: each.code.name if isinstance(each, StoreFault) else "+".join(sorted(each)),
)
async def test_a_fault_is_its_own_problem_and_passes_by_itself(
    faulty: Api, database: FaultyStore, fault: StoreFault, at: frozenset[str]
) -> None:
    async with faulty.unchanged():
        database.fail(fault, at)
        async with asyncio.timeout(GUARD_SECONDS):
            told = problem(await faulty.post("/v1/reservations", RESERVE), fault.code)
        assert told["retry"] is fault.code.retry
        answer(await faulty.http.get("/health/live"), 200)
        if at == EVERYTHING:  # else reading works, and the service is ready to try again
            await is_down(faulty, fault.code)
    database.recover()
    await recovers(faulty, value=1)


async def test_no_endpoint_hides_that_the_database_is_away(faulty: Api, database: FaultyStore) -> None:
    token = (await faulty.reserve())["token"]
    own = f"/v1/reservations/{token}"
    requests: list[tuple[str, str, Json | None]] = [
        ("PUT", "/v1/series/NEW", {"template": "N{SEQ:4}"}),
        ("GET", "/v1/series", None),
        ("GET", "/v1/series/PLAIN", None),
        ("POST", "/v1/preview", RESERVE),
        ("POST", "/v1/reservations", RESERVE),
        ("POST", "/v1/issue", RESERVE | {"document": "D"}),
        ("GET", own, None),
        ("POST", f"{own}/confirm", {}),
        ("POST", f"{own}/extend", {"ttl_seconds": 600}),
        ("POST", f"{own}/cancel", {}),
    ]
    async with faulty.unchanged():
        database.fail(DOWN)
        sent = (faulty.http.request(method, path, json=body) for method, path, body in requests)
        for response in await asyncio.gather(*sent):
            problem(response, Code.DATABASE_UNAVAILABLE)
    database.recover()
    await eventually(lambda: ready(faulty))
    assert (await faulty.shown(token))["state"] == "RESERVED"


async def test_an_outage_shorter_than_the_patience_is_not_seen(faulty: Api, database: FaultyStore) -> None:
    database.fail(DOWN)
    asked = asyncio.create_task(faulty.post("/v1/reservations", RESERVE))
    await asyncio.sleep(0.1)
    database.recover()
    assert answer(await asked, 201)["numbers"][0]["value"] == 1


async def test_what_waited_too_long_does_not_happen_later(faulty: Api, database: FaultyStore) -> None:
    database.fail(DOWN)
    sent = (faulty.post("/v1/reservations", RESERVE) for _ in range(20))
    for response in await asyncio.gather(*sent):
        problem(response, Code.DATABASE_UNAVAILABLE)
    database.recover()
    await recovers(faulty, value=1)
    assert (await faulty.head()).position == 3


async def test_bad_input_is_told_even_while_the_database_is_away(faulty: Api, database: FaultyStore) -> None:
    database.fail(DOWN)
    problem(await faulty.post("/v1/reservations", {"serie": "PLAIN"}), Code.INVALID_FORMAT)


async def test_a_database_away_at_the_start(database: FaultyStore, open_memory: Open) -> None:
    database.fail(DOWN)
    async with served(database, open_memory(), limits=IMPATIENT) as api:
        await is_down(api, Code.DATABASE_UNAVAILABLE)
        assert answer(await api.http.get("/health"), 503)["ledger_id"] is None
        problem(await api.http.put("/v1/series/PLAIN", json=PLAIN_BODY), Code.DATABASE_UNAVAILABLE)
        database.recover()
        await eventually(lambda: ready(api))
        await api.define("PLAIN", PLAIN_BODY)
        await api.reserve()


async def test_a_fault_that_nobody_foresaw_is_an_answer_too(faulty: Api, database: FaultyStore) -> None:
    async with faulty.unchanged():
        database.fail(BROKEN, WRITING)
        told = problem(await faulty.post("/v1/reservations", RESERVE), Code.INTERNAL_ERROR)
        assert told["status"] == 500
    database.recover()
    await recovers(faulty, value=1)


# The answer to COMMIT is lost


@pytest.mark.parametrize("is_committed", [True, False])
async def test_a_commit_in_doubt_is_looked_up(faulty: Api, database: FaultyStore, is_committed: bool) -> None:
    before = (await faulty.head()).position
    database.lose_commit(is_committed=is_committed)
    first = await faulty.post("/v1/reservations", RESERVE, idempotency_key="K")
    assert answer(first, 201)["numbers"][0]["value"] == 1
    assert "idempotent-replayed" not in first.headers
    assert (await faulty.post("/v1/reservations", RESERVE, idempotency_key="K")).content == first.content
    assert (await faulty.head()).position == before + 1


@pytest.mark.parametrize("is_committed", [True, False])
async def test_a_doubt_that_does_not_end_is_said(faulty: Api, database: FaultyStore, is_committed: bool) -> None:
    """Then the same key tells what happened, and however often it is sent there is one effect."""
    database.lose_commit(is_committed=is_committed, then=DOWN)
    async with asyncio.timeout(GUARD_SECONDS):
        told = problem(await faulty.post("/v1/reservations", RESERVE, idempotency_key="K"), Code.OUTCOME_UNKNOWN)
    assert told["retry"]
    assert "same Idempotency-Key" in told["detail"]
    database.recover()
    await eventually(lambda: ready(faulty))
    again = await faulty.post("/v1/reservations", RESERVE, idempotency_key="K")
    assert answer(again, 201)["numbers"][0]["value"] == 1
    assert ("idempotent-replayed" in again.headers) == is_committed
    assert (await faulty.head()).position == 3


# Real SQLite files


@pytest.mark.parametrize("content", [None, b""], ids=["missing", "empty"])
async def test_a_file_that_is_not_migrated(tmp_path: Path, open_file: OpenFile, content: bytes | None) -> None:
    file = tmp_path / "new.db"
    if content is not None:
        file.write_bytes(content)
    async with served(open_file(file), open_file(file), limits=IMPATIENT) as api:
        told = problem(await api.http.put("/v1/series/PLAIN", json=PLAIN_BODY), Code.DATABASE_NOT_MIGRATED)
        assert "numbering migrate" in told["detail"]
        await is_down(api, Code.DATABASE_NOT_MIGRATED)
        assert await migrate(f"sqlite+aiosqlite:///{file}")
        await eventually(lambda: ready(api))
        await api.define("PLAIN", PLAIN_BODY)
        await api.reserve()


async def test_a_file_that_may_only_be_read(sqlite_file: Path, open_sqlite: Open, open_file: OpenFile) -> None:
    async with served(open_sqlite(), open_sqlite()) as api:
        await api.define("PLAIN", PLAIN_BODY)
        token = (await api.reserve())["token"]
    read_only = open_file(f"file:{sqlite_file}?mode=ro&uri=true")
    async with served(read_only, open_sqlite(), limits=IMPATIENT) as api, api.unchanged():
        problem(await api.post("/v1/reservations", RESERVE), Code.DATABASE_READ_ONLY)
        problem(await api.post(f"/v1/reservations/{token}/confirm", {}), Code.DATABASE_READ_ONLY)
        assert (await api.shown(token))["state"] == "RESERVED"
        answer(await api.post("/v1/preview", RESERVE), 200)
        answer(await api.http.get("/v1/series/PLAIN"), 200)


class SmallStore(SQLiteStore):
    """An SQLite file that may not grow beyond `pages`."""

    pages = 1 << 30

    async def prepare(self, connection: AsyncConnection) -> None:
        await super().prepare(connection)
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {self.pages}")
        await connection.commit()


async def test_a_file_that_is_full(sqlite_file: Path, open_sqlite: Open, clock: Time) -> None:
    store = SmallStore(make_url(f"sqlite+aiosqlite:///{sqlite_file}"), lock_timeout_ms=2000, now=clock.now)
    store.pages = 40
    async with served(store, open_sqlite(), clock=clock, limits=IMPATIENT) as api:
        await api.define("PLAIN", PLAIN_BODY)
        last = await fill(api)
        assert last.json()["code"] == Code.DATABASE_FULL.number
        async with api.unchanged():
            problem(await api.post("/v1/issue", RESERVE | {"document": "D" * 200, "count": 200}), Code.DATABASE_FULL)
        store.pages = 1 << 30
        answered = (await api.head()).position - 2
        await recovers(api, value=answered + 1)


async def fill(api: Api) -> httpx.Response:
    """Reserve until it is refused; everything acknowledged is in the log."""
    for value in range(1, 1000):
        before = await api.head()
        response = await api.post("/v1/reservations", RESERVE, idempotency_key=f"{value}".rjust(200, "K"))
        if not response.is_success:
            assert await api.head() == before
            return response
    raise AssertionError("the file was never full")


async def test_a_file_that_another_process_keeps_locked(sqlite_file: Path, open_sqlite: Open) -> None:
    limits = Limits(lock_timeout_seconds=2.0)
    async with served(open_sqlite(), open_sqlite(), limits=limits) as api:
        await api.define("PLAIN", PLAIN_BODY)
        other = sqlite3.connect(sqlite_file, isolation_level=None, check_same_thread=False)
        # In a thread: who holds the lock now, in this very loop, must be able to finish.
        await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
        async with api.unchanged():
            problem(await api.post("/v1/reservations", RESERVE), Code.LOCK_TIMEOUT)
        other.close()
        await recovers(api, value=1)


async def test_a_ledger_that_was_stopped(api: Api) -> None:
    """A fork or a lost tail was noticed somewhere: no process writes until an operator has looked."""
    token = (await api.reserve())["token"]
    transaction = await api.store.begin()
    await transaction.stop(Stop(StopKind.LOG_FORKED, "position 7 was seen with another hash"))
    await transaction.commit()
    async with api.unchanged():
        for path in ("/v1/reservations", f"/v1/reservations/{token}/confirm"):
            told = problem(await api.post(path, RESERVE if path.endswith("s") else {}), Code.LEDGER_STOPPED)
            assert "another hash" in told["detail"]
        await is_down(api, Code.LEDGER_STOPPED)
    assert (await api.shown(token))["state"] == "RESERVED"


async def test_a_projection_that_has_failed_or_disagrees_is_told(sqlite_api: Api, sqlite_file: Path) -> None:
    """And the ledger goes on."""
    await sqlite_api.reserve()
    for what, found in (("disagreement", "numbers: value 1 is VOIDED"), ("failed", "ValueError: a bug")):
        position = (await sqlite_api.reserve())["position"]
        answer(await sqlite_api.http.get(f"/v1/numbers?min_position={position}"), 200)
        await asyncio.to_thread(note, sqlite_file, what, found)
        await eventually(lambda found=found: is_degraded(sqlite_api, found))  # type: ignore[misc]
        await sqlite_api.reserve()
        await asyncio.to_thread(note, sqlite_file, what, None)


def note(file: Path, what: str, found: str | None) -> None:
    connection = sqlite3.connect(file)
    connection.execute(f"UPDATE projections SET {what} = ? WHERE live = 1", [found])
    connection.commit()
    connection.close()


async def is_degraded(api: Api, why: str) -> bool:
    """A projection that fails is seen when there is something to fold."""
    await api.reserve()
    told = answer(await api.http.get("/health"), 200)
    check = told["checks"]["sequence_integrity"]
    return bool(told["status"] == check["status"] == "degraded" and why in check["detail"])


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (
            Verification(0, 0, 0, 0),
            {"status": "up", "verified": {"position": 0, "began_at": None, "ended_at": None, "reading": 0}},
        ),
        (
            Verification(7, at("2026-01-01T00:00:00Z"), at("2026-01-01T00:01:00Z"), 3),
            {
                "status": "up",
                "verified": {
                    "position": 7,
                    "began_at": "2026-01-01T00:00:00.000000Z",
                    "ended_at": "2026-01-01T00:01:00.000000Z",
                    "reading": 3,
                },
            },
        ),
        (
            Verification(2, 0, 0, 2, "it is a forgery", 3),
            {
                "status": "degraded",
                "detail": "the log is not whole: position 3: it is a forgery; run `numbering verify`",
                "verified": {"position": 2, "began_at": None, "ended_at": None, "reading": 2},
            },
        ),
    ],
)
async def test_it_says_up_to_where_the_log_was_last_seen_whole(seen: Verification, told: Json) -> None:
    class Verifier:
        status = seen

    ledger = Ledger(MemoryStore(MemoryLog("test")), clock=Time(), ids=RandomIds(), spawn=spawn, aside=aside)
    transport = httpx.ASGITransport(Starlette(routes=health_routes(ledger, None, None, Verifier())))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.get("/health")).json()["checks"]["sequence_integrity"] == told


async def test_a_wrong_clock_is_told(api: Api) -> None:
    """The wall clock of the machine leaps, and with it that of the database, which is a part of it."""
    await api.reserve()
    assert (await told_clock(api, 200))["status"] == "up"
    before = await api.head()
    api.clock.wrong_by = 3600.0
    refused = await api.post("/v1/reservations", RESERVE)
    body = problem(refused, Code.CLOCK_UNSURE)
    assert body["clocks"] == {name: body["clocks"][name] for name in ("database", "process", "witness")}
    assert body["clocks"]["database"] == body["clocks"]["process"] == instant_text(api.clock.now())
    assert "leapt forward by 3600 s" in body["detail"]
    await is_down(api, Code.CLOCK_UNSURE)
    clock = await told_clock(api, 503)
    assert (clock["code"], clock["database"]) == (Code.CLOCK_UNSURE.number, body["clocks"]["database"])
    assert answer(await api.http.get("/v1/series/PLAIN"), 200)
    assert await api.head() == before
    api.clock.wrong_by = 0.0
    await recovers(api, 2)


async def told_clock(api: Api, status: int) -> Json:
    told: Json = answer(await api.http.get("/health/numbering"), status)["clock"]
    return told
