"""What the index says where events are, the log says too: whatever it knows, and however much of it is behind.

Any history takes a second: each number's is read with the index and without, from the log's end to its beginning.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pyroaring import BitMap
from sqlalchemy import text

from ledger import codec
from ledger.domain.accounting import Accounting, Cause
from ledger.domain.commands import Assign, Cancel, Choice, Confirm, DefineSeries, Envelope, Reserve, Void
from ledger.domain.events import NumberAssigned, NumbersImported, NumbersReserved
from ledger.domain.ranges import values_of
from ledger.domain.rejection import Rejection
from ledger.domain.sequence import ValueState
from ledger.domain.series import Reuse
from ledger.log import Log
from ledger.ports import Life
from ledger.service import Ledger as Service
from ledger.stores import SqlStore
from ledger.system import RandomIds, SystemClock, aside, spawn
from projections.index import ProjectedIndex
from tests.given import series
from tests.invariants import read_log
from tests.profiles import rounds
from tests.projections.agreement import catch_up
from tests.projections.histories import run_on_mariadb, run_on_sqlite
from tests.servers import MariaDB
from tests.test_machine import Machine

WHOLE = 1_000_000
REASON = "because the test says so"


def service(store: SqlStore, index: ProjectedIndex | None) -> Service:
    return Service(store, clock=SystemClock(), ids=RandomIds(), spawn=spawn, aside=aside, index=index)


async def check_index(store: SqlStore) -> None:
    """Compare all that is told of single values with an index and without, while it comes nearer to the log's end."""
    plain = service(store, None)
    plain.writer.start()
    await plain.writer.fresh()
    numbers = await numbers_of(store, plain)
    expected = await told(plain, numbers)
    for part in range(4):
        await catch_up(store, to=plain.position * part // 3)
        indexed = service(store, ProjectedIndex(store))
        indexed.writer.start()
        assert await told(indexed, numbers) == expected, f"with the index at {part} of 3"
        await indexed.writer.stop()
    await plain.writer.stop()


async def told(ledger: Service, numbers: Sequence[str]) -> list[object]:
    """Account for every sequence, and tell the history of every number."""
    found: list[object] = []
    for sequence in sorted(each.id for each in (await ledger.writer.fresh()).sequences()):
        for states in (ValueState, [ValueState.SKIPPED], [ValueState.CANCELLED, ValueState.VOIDED]):
            for first, limit in ((None, WHOLE), (3, 2)):
                _, _, accounting, closed, position = await ledger.accounting(
                    sequence, first=first, states=states, limit=limit
                )
                found.append((sequence, accounting.accounts(), accounting.following, closed, position))
    originals = await ledger._preparation.originals(Void(number, REASON, "-") for number in numbers)
    return [*found, sorted(originals.found.items()), [await history(ledger, number) for number in numbers]]


async def history(ledger: Service, number: str) -> object:
    try:
        found = await ledger.number(number)
    except Rejection as rejection:
        return rejection.code, rejection.detail
    return found.number, found.position, found.steps, found.replaces, found.replaced_by


async def numbers_of(store: Any, ledger: Service) -> list[str]:
    """Print every number that was ever given out, as it was."""
    records, _ = await read_log(store)
    numbers: dict[str, None] = {}
    for event in (codec.decode(record).event for record in records):
        match event:
            case NumbersReserved(numbering=of, ranges=ranges):
                parts = [(of, of.document_date, of.attributes, ranges)]
            case NumberAssigned(numbering=of, value=value):
                parts = [(of, of.document_date, of.attributes, ((value, value),))]
            case NumbersImported(prints=prints):
                parts = [(event, each.document_date, each.attributes, each.ranges) for each in prints]  # type: ignore[misc]
            case _:
                continue
        for place, day, attributes, ranges in parts:
            frame = ledger.state.series(place.series, place.series_version).frame(place.key, attributes, day)
            numbers.update(dict.fromkeys(map(frame.number, values_of(ranges))))
    return list(numbers)


class Indexed(Machine):
    async def _check(self) -> None:
        (store,) = self.stores
        assert isinstance(store, SqlStore)
        await check_index(store)


def test_any_history_on_sqlite(tmp_path: Path) -> None:
    run_on_sqlite(Indexed, tmp_path, examples=rounds(3, thorough=12), steps=40)


def test_any_history_on_mariadb(mariadb: MariaDB) -> None:
    run_on_mariadb(Indexed, mariadb, examples=rounds(1, thorough=3), steps=40)


@pytest.fixture
async def written(sql_ledger: Any) -> SqlStore:
    return await with_each_kind(sql_ledger.open())


async def with_each_kind(store: SqlStore) -> SqlStore:
    """Write a sequence with a number of each kind, projected to its end."""
    ledger = service(store, None)
    ledger.writer.start()
    for command in (
        DefineSeries((series("P-{SEQ:4}", "PLAIN"),)),
        Reserve("PLAIN", "a" * 32, {}, 3),
        Confirm("a" * 32, "D"),
        Assign("P-0007", "E", REASON),
        Void("P-0002", REASON, "b" * 32),
        Reserve("PLAIN", "c" * 32),
        Cancel("c" * 32, REASON),
    ):
        await ledger.execute(command, Envelope(RandomIds().command_id(), "tester"))
    await ledger.writer.stop()
    await catch_up(store)
    return store


async def test_where_events_are(written: SqlStore) -> None:
    index = ProjectedIndex(written)
    assert await index.position() == (await written.head()).position == 8
    assert await index.life("PLAIN:-", 2) == Life([3, 4, 6], 0)
    assert await index.life("PLAIN:-", 5) == Life([5], 0), "passed over"
    assert await index.life("PLAIN:-", 7) == Life([5], 4), "given by hand: what was before is not known"
    assert await index.life("PLAIN:-", 8) == Life([7, 8], 0)
    assert await index.life("PLAIN:-", 9) == await index.life("NONE:-", 1) == Life([], 0)
    assert await index.causes("PLAIN:-", BitMap([1, 2, 5, 6, 8])) == {
        4: BitMap([1]), 5: BitMap([5, 6]), 6: BitMap([2]), 8: BitMap([8])
    }  # fmt: skip
    assert await index.causes("PLAIN:-", BitMap()) == await index.causes("NONE:-", BitMap([1])) == {}


async def test_an_event_speaks_only_for_the_values_that_it_was_found_for(sql_ledger: Any) -> None:
    """What was reissued and then changed again while it was asked for is not told by an event of its earlier life."""
    store: SqlStore = sql_ledger.open()
    ledger, index = service(store, None), ProjectedIndex(store)
    ledger.writer.start()
    gapless = series("G-{SEQ:4}", "GAPLESS", reuse=Reuse.GAPLESS)
    for command in (
        DefineSeries((gapless,)),
        Reserve("GAPLESS", "a" * 32, {}, 2),
        Confirm("a" * 32, "D", (Choice("G-0002"),)),
        Reserve("GAPLESS", "b" * 32),
    ):
        await ledger.execute(command, Envelope(RandomIds().command_id(), "tester"))
    await catch_up(store)
    state, indexed = await ledger.writer.fresh(), await index.position()
    sequence = state.sequence("GAPLESS:-")
    assert sequence is not None
    accounting = Accounting(sequence.copy(), first=0, states=ValueState, limit=WHOLE)
    await ledger.execute(Confirm("b" * 32, "E"), Envelope(RandomIds().command_id(), "tester"))
    await catch_up(store)
    async for entry, only in Log(store, index).causes("GAPLESS:-", accounting.sought, indexed, indexed):
        accounting.take(entry.event, Cause(entry.position, "", "", 0, None, None), only)
        if accounting.is_complete:
            break
    assert [(each.first, each.state, each.cause.position) for each in accounting.accounts()] == [
        (1, ValueState.RESERVED, 5),
        (2, ValueState.CONFIRMED, 4),
    ]
    await ledger.writer.stop()


async def test_what_cannot_be_read_is_found_in_the_log(sqlite_only: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An account without rights to the tables, or a table that is damaged, keeps nobody from a history or a void."""
    written = await with_each_kind(sqlite_only.open())
    async with written.writers.begin() as connection:
        for table in ("numbers_a", "sequences_a", "projections"):
            await connection.execute(text(f"ALTER TABLE {table} RENAME TO {table}_away"))
    index = ProjectedIndex(written)
    assert await index.position() == 0
    assert await index.life("PLAIN:-", 1) == Life([], 0)
    assert await index.causes("PLAIN:-", BitMap([1])) == {}
    assert "the projections cannot be read, so the log is" in caplog.text
    ledger = service(written, index)
    ledger.writer.start()
    assert (await ledger.number("P-0007")).state is ValueState.CONFIRMED
    await ledger.writer.stop()


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE projections SET failed = 'a bug' WHERE live = 1",
        "UPDATE projections SET disagreement = 'a row' WHERE live = 1",
        "UPDATE projections SET hash = '00000000000000000000000000000000' WHERE live = 1",
        "UPDATE projections SET position = 900 WHERE live = 1",
        "UPDATE projections SET live = 0",
    ],
)
async def test_what_cannot_be_relied_on_says_nothing(written: SqlStore, spoil: str) -> None:
    async with written.writers.begin() as connection:
        await connection.execute(text(spoil))
    assert await ProjectedIndex(written).position() == 0
