"""The projector: it keeps up, hands over, waits out faults, fails alone, and is rebuilt beside what is read."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import func, select, text

from ledger.codec import Entry, UnknownEvent
from ledger.domain.commands import Cancel, Confirm, DefineSeries, Envelope, Reserve
from ledger.domain.rejection import Code
from ledger.ports import StoreFault
from ledger.service import Ledger as Service
from ledger.stores import SqlStore
from ledger.system import RandomIds, SystemClock, aside, spawn
from projections import apply, checkpoints, clearing, projector
from projections import check as check_module
from projections.check import check, note_check
from projections.checkpoints import Checkpoint
from projections.projector import Activity, Projector
from projections.reading import Filter, Projections
from projections.rebuild import rebuild
from projections.schema import SLOTS
from projections.snapshot import read_slots
from tests.given import GAPLESS, PLAIN
from tests.projections.agreement import catch_up, check_projections, rows_of
from tests.stores import Ledger

PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.01


class Process:
    """One process that serves the ledger: its store, its writer and its projector."""

    def __init__(self, ledger: Ledger) -> None:
        store: Any = ledger.open()
        self.store: SqlStore = store
        self.ids = RandomIds()
        self.service = Service(self.store, clock=SystemClock(), ids=self.ids, spawn=spawn, aside=aside)
        self.projector = Projector(self.store, self.service.writer.feed, clock=SystemClock(), spawn=spawn)

    async def do(self, command: Any) -> int:
        position: int = (await self.service.execute(command, Envelope(self.ids.command_id(), "tester"))).position
        return position

    async def use(self, times: int) -> int:
        """Reserve, confirm and cancel."""
        position = 0
        for _ in range(times):
            token = self.ids.token()
            await self.do(Reserve("PLAIN", token, {}, 2))
            await self.do(Confirm(token, "D"))
            gone = self.ids.token()
            await self.do(Reserve("GAPLESS", gone))
            position = await self.do(Cancel(gone))
        return position

    async def projected(self, position: int) -> None:
        assert await Projections(self.store).wait(position, PATIENCE_SECONDS), self.projector.status

    async def live(self) -> Checkpoint:
        slots = await read_slots(self.store)
        return next(slot for slot in slots if slot.live)


@pytest.fixture
async def start(sql_ledger: Ledger) -> AsyncIterator[Callable[[], Process]]:
    """Start processes on one ledger, which are all stopped in the end."""
    processes: list[Process] = []

    def started(*, projects: bool = True) -> Process:
        process = Process(sql_ledger)
        process.service.writer.start()
        if projects:
            process.projector.start()
        processes.append(process)
        return process

    yield started
    for process in processes:
        await process.projector.stop()
        await process.service.writer.stop()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(projector, "STALL_SECONDS", 0.2)


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not what():  # noqa: ASYNC110  what it waits for sets no event
            await asyncio.sleep(POLL_SECONDS)


async def change(store: SqlStore, statement: str) -> None:
    """Change a row behind the projections' back."""
    async with store.writers.connect() as connection:
        assert (await connection.execute(text(statement))).rowcount == 1
        await connection.commit()


async def test_it_keeps_up(start: Any) -> None:
    process = start()
    await process.do(DefineSeries((PLAIN, GAPLESS)))
    await process.projected(await process.use(10))
    assert process.projector.status.activity is Activity.WORKING
    await until(lambda: process.projector.position == process.service.position)
    await check_projections(process.store)


async def test_one_works_and_another_takes_over(start: Any) -> None:
    first = start()
    await first.do(DefineSeries((PLAIN, GAPLESS)))
    await first.projected(await first.use(2))
    second = start()
    for _ in range(5):
        await asyncio.gather(first.projected(await first.use(2)), second.projected(await second.use(1)))
    await first.projector.stop()
    await second.projected(await first.use(3))
    assert second.projector.status.activity is Activity.WORKING
    assert first.projector.status.activity is Activity.STOPPED
    await check_projections(first.store)


async def test_it_may_be_ended_at_any_moment(start: Any) -> None:
    process = start()
    await process.do(DefineSeries((PLAIN, GAPLESS)))
    using = asyncio.create_task(process.use(30))
    turn = 0
    while not using.done():
        turn += 1
        await asyncio.sleep(0.003 * (turn % 7))
        await process.projector.stop()
        process.projector.start()
    await process.projected(await using)
    await check_projections(process.store)


async def test_what_cannot_be_folded_stops_the_projection_and_nothing_else(
    start: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(unit: Any, entry: Entry) -> None:
        raise ZeroDivisionError("a bug")

    process = start()
    await process.do(DefineSeries((PLAIN, GAPLESS)))
    await process.projected(await process.use(1))
    with monkeypatch.context() as patched:
        patched.setattr(apply.Unit, "take", broken)
        await process.use(1)
        await until(lambda: process.projector.status.activity is Activity.FAILED)
        await until_failed(process)
    assert [record.levelname for record in caplog.records if "stopped" in record.message] == ["CRITICAL"]
    position = await process.use(2)  # the ledger goes on
    failed = await process.live()
    assert "ZeroDivisionError: a bug" in (failed.failed or "")
    assert failed.position == failed.failed_position < position
    await asyncio.sleep(0.3)
    assert "ZeroDivisionError" in (process.projector.status.why or "")
    await rebuild(process.store)  # a bug no more
    await process.projected(await process.use(1))
    await until(lambda: process.projector.status.activity is Activity.WORKING)
    await check_projections(process.store)


async def test_a_number_that_is_there_already_stops_the_projection(start: Any, caplog: Any) -> None:
    process = start(projects=False)
    await process.do(DefineSeries((PLAIN, GAPLESS)))
    await process.use(1)
    await catch_up(process.store)
    slot = (await process.live()).slot
    await change(process.store, f"UPDATE numbers_{slot} SET number = '0003' WHERE number = '0001'")
    process.projector.start()
    await process.use(1)
    await until(lambda: process.projector.status.activity is Activity.FAILED)
    await until_failed(process)
    assert "rebuild" in caplog.text


@pytest.mark.parametrize("is_first", [True, False])
async def test_what_fails_before_it_is_live_is_told_and_not_repeated(
    start: Any, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    taken: list[int] = []

    def broken(unit: Any, entry: Entry) -> None:
        taken.append(entry.position)
        raise ZeroDivisionError("a bug")

    process = start(projects=False)
    await process.do(DefineSeries((PLAIN, GAPLESS)))
    await process.use(1)
    if not is_first:
        await catch_up(process.store)
        await change(process.store, "UPDATE projections SET version = 0 WHERE live = 1")
    with monkeypatch.context() as patched:
        patched.setattr(apply.Unit, "take", broken)
        process.projector.start()
        await until(lambda: process.projector.status.activity is Activity.FAILED)
        await asyncio.sleep(2 * projector.STALL_SECONDS)
    assert taken == [1]
    assert process.projector.status.activity is Activity.FAILED
    assert "ZeroDivisionError: a bug" in (process.projector.status.why or "")
    await rebuild(process.store)
    await process.projected(await process.use(1))
    await check_projections(process.store)


async def test_a_log_that_ends_before_the_checkpoint_is_waited_for(
    start: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    process = start(projects=False)
    await process.do(DefineSeries((PLAIN, GAPLESS)))
    before = await process.use(1)
    await process.use(1)
    await catch_up(process.store)
    head, events = await process.store.head(), process.store.events

    async def shorter(*, after: int, limit: int) -> Any:
        return [each for each in await events(after=after, limit=limit) if each.position <= before]

    async def earlier() -> Any:
        return head._replace(position=before)

    with monkeypatch.context() as patched:
        patched.setattr(process.store, "events", shorter)
        patched.setattr(process.store, "head", earlier)
        process.projector.start()
        await until(lambda: process.projector.status.activity is Activity.WAITING)
        assert f"ends at position {before}" in (process.projector.status.why or "")
    await process.projected(await process.use(1))  # the events are there again
    assert (await process.live()).failed is None
    assert "Traceback" not in caplog.text


async def until_failed(process: Process) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await process.live()).failed is None:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)


async def test_a_projection_of_another_history_fails(start: Any, caplog: Any) -> None:
    process = start(projects=False)
    await process.do(DefineSeries((PLAIN, GAPLESS)))
    await process.use(1)
    await catch_up(process.store)
    before = await process.live()
    zeros = "X'" + "00" * 32 + "'"
    await change(process.store, f"UPDATE projections SET hash = {zeros} WHERE live = 1")
    process.projector.start()
    await until_failed(process)
    assert "another history" in ((await process.live()).failed or "")
    assert "Traceback" not in caplog.text, "it is a finding, not a bug"
    assert (await process.live()).position == before.position
    report = await check(process.store)
    assert "another history" in report.differences[0]


async def test_events_that_only_newer_code_knows_are_waited_for(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(unit: Any, entry: Entry) -> None:
        raise UnknownEvent("of a newer version")

    process = start()
    await process.do(DefineSeries((PLAIN, GAPLESS)))
    with monkeypatch.context() as patched:
        patched.setattr(apply.Unit, "take", unknown)
        await process.use(1)
        await until(lambda: process.projector.status.activity is Activity.WAITING)
    await process.projected(process.service.position)
    assert (await process.live()).failed is None


async def test_an_older_version_is_rebuilt_and_a_newer_one_left_alone(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start()
    await process.do(DefineSeries((PLAIN, GAPLESS)))
    await process.projected(await process.use(2))
    await process.projector.stop()
    old = await process.live()
    await change(process.store, "UPDATE projections SET version = 0 WHERE live = 1")
    process.projector.start()
    await process.projected(await process.use(1))
    await until(lambda: process.projector.status.activity is Activity.WORKING)
    new = await process.live()
    assert new.slot != old.slot
    await check_projections(process.store)
    await process.projector.stop()
    await change(process.store, "UPDATE projections SET version = 99 WHERE live = 1")
    process.projector.start()
    position = await process.use(1)
    await until(lambda: process.projector.status.why is not None)
    assert "newer version" in (process.projector.status.why or "")
    assert (await process.live()).position < position


async def test_it_folds_on_while_an_older_version_is_deleted(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    process = start(projects=False)
    await process.do(DefineSeries((PLAIN, GAPLESS)))
    await process.use(20)
    await catch_up(process.store)
    old = (await process.live()).slot
    await change(process.store, "UPDATE projections SET version = 0 WHERE live = 1")
    monkeypatch.setattr(clearing, "PIECE", 1)
    process.projector.start()
    for _ in range(3):
        await process.projected(await process.use(1))
    assert await count(process.store, old) > 0
    monkeypatch.setattr(clearing, "PIECE", 1_000)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await count(process.store, old):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
    await check_projections(process.store)


async def count(store: SqlStore, slot: str) -> int:
    """Count what is left in the tables of a slot."""
    async with store.readers.connect() as connection:
        return sum([await connection.scalar(select(func.count()).select_from(each)) for each in SLOTS[slot].tables])


async def test_a_rebuild_goes_on_beside_commands_and_reads(start: Any) -> None:
    process = start()
    await process.do(DefineSeries((PLAIN, GAPLESS)))
    await process.projected(await process.use(20))
    projections, seen = Projections(process.store), list[int]()

    async def read() -> None:
        while True:
            found = await projections.numbers(Filter(series="PLAIN"), None, 1000)
            assert len(found.rows) >= 40
            seen.append(found.position)

    reading, using = asyncio.create_task(read()), asyncio.create_task(process.use(20))
    told: list[tuple[int, int]] = []
    for _ in range(2):  # into each slot once
        before = (await process.live()).slot
        await rebuild(process.store, lambda done, of: told.append((done, of)))
        assert (await process.live()).slot != before
    await process.projected(await using)
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    assert seen == sorted(seen), "a reader went back in time"
    assert all(0 < done <= of for done, of in told)
    await check_projections(process.store)
    assert await count(process.store, checkpoints.beside(await read_slots(process.store)).slot) == 0


CHANGED = {
    "series": "UPDATE series_{slot} SET retired = 7 WHERE code = 'PLAIN'",
    "sequence ": "UPDATE sequences_{slot} SET confirmed = confirmed + 1 WHERE id = 'PLAIN:-'",
    "reservation": "UPDATE reservations_{slot} SET expires_at = expires_at + 1 WHERE position = 4",
    "number": "UPDATE numbers_{slot} SET actor = 'eve' WHERE number = '0001'",
    "number ": "UPDATE numbers_{slot} SET date_is_derived = 1 WHERE number = '0001'",
    "gap": "UPDATE gaps_{slot} SET reason = 'none' WHERE first = 1",
    "numbers_{slot} has": """
        INSERT INTO numbers_{slot}
        SELECT sequence_at, 77, '0077', series, state, 99, changed_position, confirmed_position, event, actor, reason,
               token, document, document_date, reserved_at, confirmed_at, changed_at, replaced_by, replaces, earlier,
               date_is_derived
        FROM numbers_{slot} WHERE number = '0001'
    """,
    "gap sequence_at": "DELETE FROM gaps_{slot} WHERE first = 1",
    "number sequence_at": "DELETE FROM numbers_{slot} WHERE number = '0002'",
}


@pytest.mark.parametrize("named", CHANGED)
async def test_a_check_finds_one_changed_value(start: Any, named: str) -> None:
    process = start(projects=False)
    await process.do(DefineSeries((PLAIN, GAPLESS)))
    await process.use(2)
    await check_projections(process.store)
    assert (await process.live()).disagreement is None
    slot = (await process.live()).slot
    await change(process.store, CHANGED[named].format(slot=slot))
    report = await check(process.store)
    assert report.differences[0].startswith(named.format(slot=slot))
    assert (await process.live()).disagreement is None
    await note_check(process.store, report, now=1)
    noted = await process.live()
    assert noted.disagreement == "; ".join(report.differences)
    assert noted.checked_position == report.position
    await rebuild(process.store)
    assert not (await check(process.store)).differences
    assert (await process.live()).disagreement is None


async def test_what_is_stored_of_long_texts_is_short(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(unit: Any, entry: Entry) -> None:
        raise ZeroDivisionError("x" * 100_000)

    process = start(projects=False)
    await process.do(DefineSeries((PLAIN, GAPLESS)))
    await process.use(2)
    await catch_up(process.store)
    slot = (await process.live()).slot
    long = "y" * 100_000  # more than MariaDB's TEXT takes
    await change(process.store, f"UPDATE series_{slot} SET definition = '{long}' WHERE code = 'PLAIN'")
    report = await check(process.store)
    assert len(report.differences) == 1
    assert len(report.differences[0]) < 600
    await note_check(process.store, report, now=1)
    assert (await process.live()).disagreement == "; ".join(report.differences)
    await rebuild(process.store)
    await process.use(1)
    with monkeypatch.context() as patched:
        patched.setattr(apply.Unit, "take", broken)
        process.projector.start()
        await until_failed(process)
    assert len((await process.live()).failed or "") == checkpoints.MAX_TEXT


async def test_a_report_that_cannot_be_noted_is_logged(
    start: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def cut(store: Any) -> Any:
        raise StoreFault(Code.DATABASE_UNAVAILABLE, "gone", transient=True)

    process = start(projects=False)
    await process.do(DefineSeries((PLAIN, GAPLESS)))
    await catch_up(process.store)
    monkeypatch.setattr(check_module, "line", cut)
    await note_check(process.store, await check(process.store), now=1)
    assert "could not be noted" in caplog.text


async def test_the_views_show_the_live_slot(start: Any) -> None:
    process = start(projects=False)
    await process.do(DefineSeries((PLAIN, GAPLESS)))
    await process.use(1)
    url = process.store.writers.url
    for _ in range(2):
        await rebuild(process.store)
        rows = await rows_of(process.store)
        if url.get_backend_name() == "sqlite":  # on MariaDB the service's account need not read them
            async with process.store.readers.connect() as connection:
                for name, its in rows.items():
                    found = (await connection.execute(text(f"SELECT * FROM {name}"))).all()
                    assert sorted(map(tuple, found)) == its


def test_a_slot_is_chosen_by_version_and_failure() -> None:
    def slot(name: str, **fields: Any) -> Checkpoint:
        made = {"live": False, "version": 1, "position": 5, "hash": b"", "recorded_at": 0, "failed": None}
        zeros = dict.fromkeys(("epoch", "failed_position", "checked_position", "checked_at"), 0)
        return Checkpoint(name, **(made | zeros | {"disagreement": None} | fields))  # type: ignore[arg-type]

    table = [
        (slot("a"), slot("b"), "a"),
        (slot("a", live=True), slot("b"), "a"),
        (slot("a"), slot("b", live=True), "b"),
        (slot("a", live=True, version=0), slot("b"), "b"),
        (slot("a", live=True, version=2), slot("b"), None),
        (slot("a", live=True, failed="why"), slot("b"), None),
        (slot("a", live=True, version=0, failed="why"), slot("b"), "b"),
        (slot("a", live=True, version=0), slot("b", failed="why"), None),
        (slot("a", live=True, version=0), slot("b", failed="why", version=0), "b"),
        (slot("a", failed="why"), slot("b"), None),
        (slot("a", failed="why", version=0), slot("b"), "a"),
        (slot("a", failed="why"), slot("b", live=True), "b"),
    ]
    for first, second, expected in table:
        slots = [first, second]
        chosen, failed = checkpoints.target(slots), checkpoints.failed(slots)
        assert (chosen.slot if chosen else None) == expected
        assert (failed is not None) == (chosen is None and all(each.version < 2 for each in slots))
