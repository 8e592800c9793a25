"""Reading: filters, cursors, values, gaps and reservations, on both databases, beside what plain loops find."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import Executable, text

from ledger.domain.commands import Assign, Cancel, Confirm, DefineSeries, Envelope, Reserve, Void
from ledger.domain.rejection import Code
from ledger.ports import Record, StoreFault
from ledger.service import Ledger as Service
from ledger.stores import SqlStore
from ledger.system import RandomIds, SystemClock, aside, spawn
from projections import reading
from projections.checkpoints import live
from projections.reading import Cursor, Filter, Found, Projections, ReservationFilter
from projections.rebuild import rebuild
from projections.rows import GapRow, NumberRow, SequenceRow
from projections.snapshot import Snapshot, read_slots, snapshot
from tests.given import GAPLESS, LETTER, LETTER_KEY, PLAIN
from tests.projections.agreement import catch_up, check_projections, rows_of
from tests.stores import Ledger

REASON = "because the test says so"


class Written:
    """A ledger with a little of everything, and its projections."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.projections = Projections(store)
        self.ids = RandomIds()
        self.service = Service(store, clock=SystemClock(), ids=self.ids, spawn=spawn, aside=aside)
        self.numbers: list[NumberRow] = []

    async def do(self, command: Any, actor: str = "anna") -> Any:
        return await self.service.execute(command, Envelope(self.ids.command_id(), actor))

    async def reserve(self, code: str, count: int, actor: str = "anna") -> str:
        token = self.ids.token()
        await self.do(Reserve(code, token, LETTER_KEY if code == "LETTER" else {}, count), actor)
        return token

    async def write(self) -> None:
        await self.do(DefineSeries((LETTER, PLAIN, GAPLESS)))
        first = await self.reserve("LETTER", 30)
        await self.do(Confirm(first, "D-1"), "bert")
        await self.reserve("PLAIN", 5, "carl")
        gone = await self.reserve("GAPLESS", 4)
        await self.do(Cancel(gone, REASON))
        await self.reserve("GAPLESS", 2, "bert")
        await self.do(Assign("0042", "D-2", REASON))
        number = (await self._rows())[0].number
        await self.do(Void(number, REASON, self.ids.token(), True))
        await catch_up(self.store)
        self.numbers = await self._rows()

    async def _rows(self) -> list[NumberRow]:
        await catch_up(self.store)
        rows = [NumberRow(*row) for row in (await rows_of(self.store))["numbers"]]
        return sorted(rows, key=lambda row: (row.position, row.value))


@pytest.fixture
async def written(sql_ledger: Ledger) -> AsyncIterator[Written]:
    store: Any = sql_ledger.open()
    made = Written(store)
    made.service.writer.start()
    await made.write()
    yield made
    await made.service.writer.stop()


FILTERS: list[dict[str, Any]] = [
    {},
    {"series": "LETTER"},
    {"series": "NONE"},
    {"states": frozenset({"RESERVED"})},
    {"states": frozenset({"VOIDED", "CANCELLED"})},
    {"states": frozenset()},
    {"document": "D-1"},
    {"document": "D-2"},
    {"actor": "bert"},
    {"prefix": "G"},
    {"prefix": "คคง.-สคฉ.3-01-00"},
    {"prefix": "g"},
    {"actor": "anna", "series": "GAPLESS", "states": frozenset({"CANCELLED"}), "prefix": "G00"},
]


def matches(row: NumberRow, asked: dict[str, Any]) -> bool:
    return (
        all(getattr(row, name) == asked[name] for name in ("series", "document", "actor") if name in asked)
        and row.state in asked.get("states", (row.state,))
        and row.number.startswith(asked.get("prefix", ""))
    )


@pytest.mark.parametrize("few", [0, 5_000])
async def test_filters_find_what_a_loop_finds_page_by_page(
    written: Written, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "FEW", few)
    monkeypatch.setattr(reading, "MAX_LIMIT", 7)
    await check_projections(written.store)
    for asked in FILTERS:
        found, cursor = list[NumberRow](), None
        while True:
            page = await written.projections.numbers(Filter(**asked), cursor, 7)
            found += page.rows
            cursor = page.following
            assert page.position == (await written.store.head()).position
            if cursor is None:
                break
        assert found == [row for row in written.numbers if matches(row, asked)], asked


async def test_times_are_those_of_the_events_that_gave_numbers_out(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "STEPS", 3)
    records: list[Record] = list(await written.store.events(after=0, limit=1000))
    for instant in {record.recorded_at + more for record in records for more in (-1, 0, 1)}:
        late = await written.projections.numbers(Filter(from_time=instant), None, 1000)
        early = await written.projections.numbers(Filter(to_time=instant), None, 1000)
        assert list(late.rows) == [row for row in written.numbers if row.reserved_at >= instant]
        assert list(early.rows) == [row for row in written.numbers if row.reserved_at <= instant]


async def test_a_cursor_within_a_block_goes_on_within_it(written: Written) -> None:
    block = [row for row in written.numbers if row.series == "LETTER"][:30]
    page = await written.projections.numbers(Filter(series="LETTER"), Cursor(block[9].position, block[9].value), 20)
    assert list(page.rows) == block[10:30]


async def test_values_and_gaps_of_a_sequence(written: Written) -> None:
    rows = await rows_of(written.store)
    gaps = [GapRow(*row) for row in rows["gaps"]]
    sequences = {row.series: row.sequence_at for row in (SequenceRow(*row) for row in rows["sequences"])}
    numbers = {row.value: row for row in written.numbers if row.sequence_at == sequences["GAPLESS"]}
    assert [numbers[value].state for value in range(1, 5)] == ["RESERVED", "RESERVED", "CANCELLED", "CANCELLED"]
    assert numbers[1].earlier == numbers[3].position
    (gap,) = (gap for gap in gaps if gap.sequence_at == sequences["GAPLESS"])
    assert (gap.first, gap.last, gap.state, gap.given_position) == (3, 4, "CANCELLED", numbers[3].position)
    (skipped,) = (gap for gap in gaps if gap.sequence_at == sequences["PLAIN"])
    assert (skipped.first, skipped.last, skipped.state) == (6, 41, "SKIPPED")


async def test_a_replaced_number_and_its_replacement_name_one_another(written: Written) -> None:
    (voided,) = (row for row in written.numbers if row.state == "VOIDED")
    (replacement,) = (row for row in written.numbers if row.replaces)
    assert (voided.replaced_by, replacement.replaces) == (replacement.number, voided.number)
    assert (voided.document, replacement.document) == ("D-1", "D-1")


async def test_reservations_are_listed_as_they_were_made(written: Written) -> None:
    everything = await written.projections.reservations(ReservationFilter(), 0, 100)
    assert [row.state for row in everything.rows] == ["CONFIRMED", "RESERVED", "CANCELLED", "RESERVED", "CONFIRMED"]
    held = ReservationFilter(states=frozenset({"RESERVED"}))
    first = await written.projections.reservations(held, 0, 1)
    assert first.following is not None
    second = await written.projections.reservations(held, first.following.position, 1)
    assert [row.ranges for row in (*first.rows, *second.rows)] == ["1-5", "1-2"]
    assert second.following is None
    of_series = await written.projections.reservations(ReservationFilter(series="GAPLESS"))
    assert [row.state for row in of_series.rows] == ["CANCELLED", "RESERVED"]


async def test_a_reader_waits_for_a_position(written: Written) -> None:
    position = await written.projections.position()
    assert await written.projections.wait(position, 0)
    waiting = asyncio.create_task(written.projections.wait(position + 1, 10))
    await written.reserve("PLAIN", 1)
    assert not waiting.done()
    await catch_up(written.store)
    assert await waiting
    assert not await written.projections.wait(position + 2, 0.05)


async def test_many_who_wait_read_together(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0

    async def counted(store: SqlStore) -> Any:
        nonlocal reads
        reads += 1
        return await read_slots(store)

    monkeypatch.setattr(reading, "read_slots", counted)
    position = (await written.store.head()).position
    ended = await asyncio.gather(*(written.projections.wait(position + 1, 0.2) for _ in range(200)))
    assert not any(ended)
    assert reads < 15
    given_up = asyncio.create_task(written.projections.wait(position + 1, 10))
    waiting = asyncio.create_task(written.projections.wait(position + 1, 10))
    await asyncio.sleep(0.03)
    given_up.cancel()
    await written.reserve("PLAIN", 1)
    await catch_up(written.store)
    assert await waiting


async def test_nobody_waits_for_what_has_failed(written: Written) -> None:
    position = await written.projections.position()
    async with written.store.writers.begin() as connection:
        await connection.execute(text("UPDATE projections SET failed = 'a bug' WHERE live = 1"))
    async with asyncio.timeout(5):
        assert await written.projections.wait(position, 60)
        assert not await written.projections.wait(position + 1, 60)


async def test_a_fault_reaches_all_who_wait(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(store: SqlStore) -> Any:
        raise StoreFault(Code.DATABASE_UNAVAILABLE, "gone", transient=True)

    monkeypatch.setattr(reading, "read_slots", gone)
    ended = await asyncio.gather(*(written.projections.wait(1, 1) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(each, StoreFault) for each in ended)


SEARCHES: list[Callable[[Projections], Awaitable[Found[Any]]]] = [
    lambda projections: projections.numbers(Filter()),
    lambda projections: projections.reservations(ReservationFilter()),
]


@pytest.mark.parametrize("search", SEARCHES)
async def test_a_page_and_the_ids_of_its_sequences_are_of_one_moment(
    written: Written, monkeypatch: pytest.MonkeyPatch, search: Callable[[Projections], Awaitable[Found[Any]]]
) -> None:
    before = await search(written.projections)
    assert {row.sequence_at for row in before.rows} == set(before.sequences)

    async def change() -> None:
        """Write, rebuild, swap and delete the slot that was live; then call every sequence something else."""
        await written.reserve("PLAIN", 1)
        await rebuild(written.store)
        renamed = f"UPDATE sequences_{await live_slot(written.store)} SET id = REPLACE(id, ':', ';')"
        async with written.store.writers.begin() as connection:
            await connection.execute(text(renamed))

    seen: list[str] = []
    fetch = Snapshot.fetch

    async def fetch_and_change(self: Snapshot, statement: Executable, **parameters: object) -> Any:
        found = await fetch(self, statement, **parameters)
        if not seen:
            seen.append(self.slot.numbers.name)
            await change()
        return found

    async with snapshot(written.store) as first:
        early = first.slot, first.position
    monkeypatch.setattr(Snapshot, "fetch", fetch_and_change)
    found = await search(written.projections)
    monkeypatch.undo()
    async with snapshot(written.store) as second:  # what another look would have seen
        assert second.slot is not early[0]
        assert second.position > early[1]
    assert (found.rows, found.sequences, found.position) == (before.rows, before.sequences, before.position)
    late = await search(written.projections)
    assert late.position > found.position
    assert not set(late.sequences.values()) & set(found.sequences.values())


async def live_slot(store: SqlStore) -> str:
    present = live(await read_slots(store))
    assert present is not None
    return present.slot


async def test_before_there_is_a_live_slot_nothing_is_found(sql_ledger: Ledger) -> None:
    store: Any = sql_ledger.open()
    projections = Projections(store)
    assert await projections.position() == 0
    assert not (await projections.numbers(Filter())).rows
