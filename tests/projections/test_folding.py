"""Folding on real databases: large blocks, bulk statements, faults in between, and voids that are cut by a read."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import text

from ledger import chain
from ledger.domain.commands import Cancel, Confirm, DefineSeries, Envelope, Reserve, Void
from ledger.ports import Record, Stop, StopKind, StoreFault
from ledger.service import Ledger as Service
from ledger.stores import SqlStore
from ledger.system import RandomIds, SystemClock, aside, spawn
from projections import folding
from projections import line as line_module
from projections import rebuild as rebuild_module
from projections.apply import Unit
from projections.folding import LogIsBehind, whole
from projections.line import Line, line
from projections.projector import opened
from projections.rows import SequenceRow
from projections.snapshot import read_slots
from tests.given import GAPLESS, PLAIN, series
from tests.projections.agreement import catch_up, check_projections, rows_of
from tests.servers import MariaDB
from tests.stores import Ledger

MOST_STATEMENTS = 30
REASON = "because the test says so"


async def carried_out(store: SqlStore, *commands: Any) -> None:
    service = Service(store, clock=SystemClock(), ids=RandomIds(), spawn=spawn, aside=aside)
    service.writer.start()
    try:
        for command in commands:
            await service.execute(command, Envelope(RandomIds().command_id(), "tester"))
    finally:
        await service.writer.stop()


def used(times: int) -> list[Any]:
    commands: list[Any] = []
    for number in range(times):
        token = f"{number:032x}"
        commands += [Reserve("PLAIN", token), Confirm(token, "D") if number % 2 else Cancel(token, REASON)]
    return commands


async def test_large_blocks(sql_ledger: Ledger) -> None:
    """The largest blocks that there are: tens of thousands of rows are written, and compared, which takes seconds."""
    store: Any = sql_ledger.open()
    wide = series("W{SEQ:6}", "WIDE", reuse=GAPLESS.definition.reuse)
    await carried_out(
        store,
        DefineSeries((wide,)),
        Reserve("WIDE", "a" * 32, {}, 10_000),
        Reserve("WIDE", "b" * 32, {}, 10_000),
        Cancel("a" * 32, REASON),
        Confirm("b" * 32, "D"),
        Reserve("WIDE", "c" * 32, {}, 9_000),
        Reserve("WIDE", "d" * 32, {}, 2_000),
        Confirm("d" * 32, "E"),
    )
    await check_projections(store)
    rows = await rows_of(store)
    (sequence,) = (SequenceRow(*row) for row in rows["sequences"])
    assert (sequence.reserved, sequence.confirmed, sequence.high_water) == (9_000, 12_000, 21_000)
    assert not rows["gaps"]


async def test_a_batch_is_few_statements_on_mariadb(mariadb_only: Ledger, mariadb: MariaDB) -> None:
    """A column that is NULL in every row, or of mixed types, would silently cost a statement for each row."""
    store: Any = mariadb_only.open()
    await carried_out(store, DefineSeries((PLAIN,)), *used(100))
    await catch_up(store)
    later = [Reserve("PLAIN", f"{number:032x}", {}, 2) for number in range(1000, 1100)]
    await carried_out(store, *later)
    await catch_up(store)
    await carried_out(store, *(Confirm(command.token, "D") for command in later))
    async with line(store) as connection:
        work = await opened(store, connection)
        assert work is not None
        work.limit = 500
        records = await store.events(after=work.position, limit=500)
        before = statements_of(mariadb)
        assert await work.fold(connection, records)
        assert len(records) == 100
        assert statements_of(mariadb) - before < 40
    await check_projections(store)


def statements_of(server: MariaDB) -> int:
    return int(server.execute("SHOW GLOBAL STATUS LIKE 'Questions'").split()[1])


async def folded(store: SqlStore, before: Callable[[Line], object]) -> None:
    """Fold a batch on a line to which something happens before."""
    async with line(store) as connection:
        work = await opened(store, connection)
        assert work is not None
        before(connection)
        assert await work.fold(connection, await store.events(after=work.position, limit=50))


class Failing:
    """A line of which so many statements pass."""

    def __init__(self, passing: int) -> None:
        self.left = passing

    def cut(self, connection: Line) -> None:
        connection._ask = self.ask  # type: ignore[method-assign]

    async def ask(self, answer: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            answer.close()
            raise ConnectionResetError("cut")
        return await answer


async def test_a_fault_at_any_statement_leaves_nothing_half_done(sql_ledger: Ledger) -> None:
    store: Any = sql_ledger.open()
    await carried_out(store, DefineSeries((PLAIN, GAPLESS)), *used(20))
    for passing in range(MOST_STATEMENTS):
        failing = Failing(passing)
        with suppress(StoreFault, ConnectionResetError):  # to SQLite the second is no error of its own
            await folded(store, failing.cut)
        if any(slot.position for slot in await read_slots(store)):
            break
    assert passing > 8
    await check_projections(store)


async def test_a_killed_connection_is_a_fault_that_passes(mariadb_only: Ledger, mariadb: MariaDB) -> None:
    store: Any = mariadb_only.open()
    await carried_out(store, DefineSeries((PLAIN,)), *used(5))
    assert mariadb_only.database is not None
    kill = f"KILL USER {mariadb_only.database.service.quoted}"
    with pytest.raises(StoreFault) as caught:
        await folded(store, lambda _: mariadb.execute(kill))
    assert caught.value.transient
    await check_projections(store)


async def test_a_void_is_folded_with_its_replacement(sqlite_only: Ledger) -> None:
    store: Any = sqlite_only.open()
    confirm = (Reserve("PLAIN", "a" * 32), Confirm("a" * 32, "D"))
    await carried_out(store, DefineSeries((PLAIN,)), *confirm, Void("0001", REASON, "b" * 32, True))
    records = await store.events(after=0, limit=100)
    kinds = [record.type for record in records]
    assert kinds[-3:] == ["NumberVoided", "NumbersReserved", "NumbersConfirmed"]
    assert [len(whole(records[:end])) for end in range(len(records) + 1)] == [0, 1, 2, 3, 4, 4, 4, 7]
    await check_projections(store, batch=1)
    voided = (await rows_of(store))["numbers"][0]
    assert "0002" in voided


async def test_batches_are_bounded_by_the_values_that_they_change(
    sqlite_only: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Any = sqlite_only.open()
    tokens = [f"{number:032x}" for number in range(6)]
    await carried_out(
        store,
        DefineSeries((PLAIN,)),
        *(Reserve("PLAIN", token, {}, 10) for token in tokens),
        *(Cancel(token, REASON) for token in tokens[:3]),
        *(Confirm(token, "D") for token in tokens[3:]),
    )
    monkeypatch.setattr(folding, "MAX_VALUES", 25)
    async with line(store) as connection:
        work = await opened(store, connection)
        assert work is not None
        positions = []
        while records := await store.events(after=work.position, limit=100):
            assert await work.fold(connection, records)
            positions.append(work.position)
    assert positions == [4, 6, 8, 10, 12, 14]
    await check_projections(store)


async def test_a_statement_changes_few_values(sql_ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    widths: list[int] = []

    class Noting(Line):
        async def many(self, bulk: Any, rows: Any) -> None:
            if "UPDATE numbers" in bulk.text and " BETWEEN " in bulk.text:
                widths.append(sum(row[-1] - row[-2] + 1 for row in rows))
            await super().many(bulk, rows)

    monkeypatch.setattr(line_module, "Line", Noting)
    monkeypatch.setattr(folding, "MAX_VALUES", 40)
    store: Any = sql_ledger.open()
    tokens = [f"{number:032x}" for number in range(5)]
    await carried_out(store, DefineSeries((PLAIN,)), *(Reserve("PLAIN", token, {}, 100) for token in tokens))
    await catch_up(store)
    await carried_out(store, *(Cancel(token, REASON) for token in tokens))
    await check_projections(store)
    assert sum(widths) == 500
    assert max(widths) == 40


async def test_a_batch_may_be_one_event_and_a_void_is_still_whole(
    sqlite_only: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "HOLD_SECONDS", 0.0)
    store: Any = sqlite_only.open()
    confirm = (Reserve("PLAIN", "a" * 32), Confirm("a" * 32, "D"))
    void = Void("0001", REASON, "b" * 32, True)
    await carried_out(store, DefineSeries((PLAIN,)), *confirm, void, *used(3))
    positions = [0]
    async with line(store) as connection:
        work = await opened(store, connection)
        assert work is not None
        work.limit = 1
        while work.is_behind:
            assert await work.fold_next(connection, store.events)
            positions.append(work.position)
    # A void may be five events, so as many are taken where it begins; this one is four, positions 5 to 8.
    assert positions == [0, 1, 2, 3, 4, *range(9, (await store.head()).position + 1)]
    await check_projections(store)


async def test_a_rebuild_catches_up_before_it_swaps(sqlite_only: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that were read and were too many for a batch are still to be folded."""
    store: Any = sqlite_only.open()
    tokens = [f"{number:032x}" for number in range(20)]
    await carried_out(store, DefineSeries((PLAIN,)), *(Reserve("PLAIN", token, {}, 10) for token in tokens))
    await catch_up(store)
    monkeypatch.setattr(folding, "MAX_VALUES", 15)
    monkeypatch.setattr(rebuild_module, "ATTEMPTS", 1)
    assert await rebuild_module.rebuild(store) == 22


async def test_a_statement_that_takes_long_ends_in_the_server_first(mariadb_only: Ledger) -> None:
    store: Any = mariadb_only.open()
    async with line(store) as connection:
        ((seconds,),) = await connection.fetch(text("SELECT @@max_statement_time"))
    assert store.deadline < seconds < line_module.STATEMENT_SECONDS


async def test_rows_of_two_moments_are_no_failure_of_the_projection(
    sql_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped for a while remembers what it folded, and loads what another one wrote since."""
    store: Any = sql_ledger.open()
    await carried_out(store, DefineSeries((PLAIN,)), *used(4))
    async with line(store) as one, line(store) as other:
        first = await opened(store, one)
        assert first is not None
        while await first.fold_next(one, store.events) and first.position < (await store.head()).position:
            pass
        assert await first.go_live(one)
        second = await opened(store, other)
        assert second is not None
        await carried_out(store, Reserve("PLAIN", "f" * 32, {}, 3))
        records = await store.events(after=first.position, limit=50)
        assert await second.fold(other, records)

        def of_two_moments(*_: object) -> None:
            raise KeyError((3, 22))

        monkeypatch.setattr(Unit, "take", of_two_moments)
        assert not await first.fold(one, records)
        monkeypatch.undo()
        await carried_out(store, Cancel("f" * 32, REASON))
        monkeypatch.setattr(Unit, "take", of_two_moments)
        with pytest.raises(KeyError):
            await second.fold(other, await store.events(after=second.position, limit=50))
        monkeypatch.undo()
    await check_projections(store)


@pytest.mark.parametrize("how", ["from memory", "seen", "named by a stop"])
async def test_a_log_that_is_behind_for_a_moment_gets_no_rows(sql_ledger: Ledger, how: str) -> None:
    """As that of a replica which still applies what it received: rows of ours would stand in the way of its own."""
    store: Any = sql_ledger.open()
    await carried_out(store, DefineSeries((PLAIN,)), *used(2))
    await catch_up(store)
    await carried_out(store, *used(4)[4:])
    head = await store.head()
    records = list(await store.events(after=head.position - 2, limit=2))
    before = await rows_of(store)
    if how == "named by a stop":
        transaction = await store.begin()
        await transaction.stop(Stop(StopKind.LOG_BEHIND, "it ends too early", head.position + 1, bytes(32)))
        await transaction.commit()
    async with line(store) as connection:
        work = await opened(store, connection)
        assert work is not None
        work.seen = lambda: head.position + (how == "seen")
        if how == "from memory":
            last = records[-1]
            body = last.body.replace(b'"position":%d' % last.position, b'"position":%d' % (last.position + 1))
            later = last._replace(position=last.position + 1, body=body, hash=chain.link(last.hash, body))
            records.append(later)

        async def read(*, after: int, limit: int) -> list[Record]:
            return [*await store.events(after=after, limit=limit), *records[2:]]

        with pytest.raises(LogIsBehind):
            await work.fold_next(connection, read)
        await connection.rollback()
    assert await rows_of(store) == before
    if how == "named by a stop":
        assert await rebuild_module.rebuild(store) == head.position  # an operator asked for it
