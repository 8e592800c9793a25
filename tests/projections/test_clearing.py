"""Two that rebuild at the same time, or one beside a projector: neither deletes or adds to what is the other's."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ledger.domain.commands import DefineSeries
from ledger.stores import SqlStore
from projections import clearing
from projections.check import check
from projections.checkpoints import FAIL, NOTE_CHECK, beside
from projections.folding import Folding
from projections.line import Line, line
from projections.projector import begin, opened
from projections.snapshot import read_slots
from tests.given import GAPLESS, PLAIN
from tests.projections.agreement import catch_up, check_projections, rows_of
from tests.projections.test_folding import carried_out, used
from tests.stores import Ledger


@pytest.fixture
async def store(sql_ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> SqlStore:
    monkeypatch.setattr(clearing, "PIECE", 7)
    ledger: Any = sql_ledger.open()
    made: SqlStore = ledger
    await carried_out(made, DefineSeries((PLAIN, GAPLESS)), *used(20))
    await catch_up(made)
    return made


@pytest.fixture
async def lines(store: SqlStore) -> AsyncIterator[tuple[Line, Line]]:
    async with line(store) as one, line(store) as other:
        yield one, other


async def begun(store: SqlStore, on: Line) -> Folding:
    folding = await begin(store, on, beside(await read_slots(store)))
    assert folding is not None
    return folding


async def fold_all(folding: Folding, on: Line) -> None:
    while records := await folding.store.events(after=folding.position, limit=folding.limit):
        assert await folding.fold(on, records)


async def test_what_was_swapped_away_and_taken_over_is_not_deleted(store: SqlStore, lines: tuple[Line, Line]) -> None:
    one, other = lines
    first = await begun(store, one)
    await fold_all(first, one)
    left = await first.go_live(one)
    assert left is not None
    assert await left.piece(one)
    second = await begun(store, other)
    assert not await left.piece(one)
    await fold_all(second, other)
    assert not await left.piece(one)
    assert await second.go_live(other)
    assert not await left.piece(one)
    await check_projections(store)


async def test_what_was_swapped_away_is_deleted(store: SqlStore, lines: tuple[Line, Line]) -> None:
    one, _ = lines
    for _ in range(2):
        folding = await begun(store, one)
        await fold_all(folding, one)
        left = await folding.go_live(one)
        assert left is not None
        assert await left.all(one)
    await check_projections(store)


async def test_who_began_first_does_not_fold_into_what_was_begun_anew(
    store: SqlStore, lines: tuple[Line, Line]
) -> None:
    one, other = lines
    seen = beside(await read_slots(store))
    first = await begun(store, one)
    assert await begin(store, other, seen) is None, "it was begun since that was seen"
    second = await begun(store, other)
    records = await store.events(after=0, limit=20)
    assert not await first.fold(one, records)
    assert await first.go_live(one) is None
    assert await second.fold(other, records)
    await fold_all(second, other)
    assert await first.go_live(one) is None
    assert await second.go_live(other)
    await check_projections(store)


async def test_a_slot_that_another_may_still_be_emptying_is_begun_anew(sql_ledger: Ledger) -> None:
    store: Any = sql_ledger.open()
    await carried_out(store, DefineSeries((PLAIN, GAPLESS)), *used(2))
    async with line(store) as one, line(store) as other:
        first = await opened(store, one)
        second = await opened(store, other)
        assert first is not None
        assert second is not None
        assert second.checkpoint.epoch == first.checkpoint.epoch + 1
        assert not await first.fold(one, await store.events(after=0, limit=20))
    await check_projections(store)


async def test_nothing_is_noted_beside_what_was_begun_since(store: SqlStore, lines: tuple[Line, Line]) -> None:
    one, _ = lines
    first = (await begun(store, one)).checkpoint
    await begun(store, one)
    of = {"of_slot": first.slot, "of_epoch": first.epoch}
    await one.begin()
    assert not await one.execute(FAIL, **of, from_position=0, why="a bug", where=0)
    assert not await one.execute(NOTE_CHECK, **of, to=1, at=1, what="a row")
    await one.commit()
    assert not (await check(store)).differences
    assert (await rows_of(store))["numbers"]
