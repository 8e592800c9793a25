"""Do the projections agree with the log? For any test that wrote to a ledger in SQL, after its run."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from ledger.domain.results import MAX_VOID_EVENTS
from ledger.stores import SqlStore
from projections.check import check
from projections.checkpoints import target
from projections.folding import whole
from projections.line import line
from projections.projector import opened
from projections.schema import SLOTS
from projections.snapshot import Snapshot, read_slots, snapshot
from tests.invariants import Model, SequenceModel, read_log

__all__ = ["catch_up", "check_projections", "rows_of"]

AGAIN_SECONDS = 0.01
MAX_POSITION = 1 << 53


async def check_projections(store: SqlStore, *, batch: int | None = None) -> None:
    """Bring the projections of a ledger that nobody writes to up to its head, and compare every row with the log."""
    await catch_up(store, batch=batch)
    report = await check(store)
    assert not report.differences, "\n".join(report.differences)
    assert report.position == (await store.head()).position
    await _check_values(store)


async def catch_up(store: SqlStore, *, batch: int | None = None, to: int = MAX_POSITION) -> None:
    """Fold the log up to about a position, in batches of so many events, each in memory of nothing that was before."""
    is_done = False
    while not is_done:
        async with line(store) as connection:
            folding = await opened(store, connection)
            if folding is None:  # begun anew by another process at the same time
                assert target(await read_slots(store)), "the projections have failed"
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            folding.limit = batch or folding.limit
            while True:
                left = max(to - folding.position, 0)
                found = await store.events(after=folding.position, limit=min(max(folding.limit, MAX_VOID_EVENTS), left))
                records = whole(found[: folding.limit]) or whole(found)
                if not records and folding.checkpoint.live:
                    is_done = True
                    break
                if not records:
                    is_mine = await folding.go_live(connection) is not None
                else:
                    is_mine = await folding.fold(connection, records) > 0
                if not is_mine or (records and batch):  # a projector of another process may work on it too
                    break


async def rows_of(store: SqlStore) -> dict[str, list[tuple[Any, ...]]]:
    """Give every row of the live tables."""
    async with snapshot(store) as seen:
        names = ("series", "sequences", "reservations", "numbers", "gaps", "links")
        return {name: await _rows(seen, index) for index, name in enumerate(names)}


async def _rows(seen: Snapshot, index: int) -> list[tuple[Any, ...]]:
    table = seen.slot.tables[index]
    return sorted(tuple(row) for row in await seen.fetch(select(table)))


async def _check_values(store: SqlStore) -> None:
    """Every value has the state that plain dictionaries say, in `numbers` or `gaps`, and in both where it must."""
    records, _ = await read_log(store)
    model = Model.of(records)
    begun: dict[str, int] = {}
    for record in records:
        begun.setdefault(json.loads(record.body)["data"].get("sequence", ""), record.position)
    async with snapshot(store) as seen:
        assert seen.slot in SLOTS.values()
        for id, sequence in model.sequences.items():
            await _check_sequence(seen, begun[id], sequence)


async def _check_sequence(seen: Snapshot, sequence_at: int, sequence: SequenceModel) -> None:
    states = {value: state.value for value, state in sequence.states.items()}
    numbers, gaps = seen.slot.numbers, seen.slot.gaps
    of_sequence = numbers.c.sequence_at == sequence_at
    given = await seen.fetch(select(numbers.c.value, numbers.c.state).where(of_sequence))
    documents = await seen.fetch(select(numbers.c.value, numbers.c.document).where(of_sequence))
    free = await seen.fetch(select(gaps).where(gaps.c.sequence_at == sequence_at))
    left = _states(free)
    assert dict(map(tuple, given)) == {value: states[value] for value in sequence.given}
    assert {row.value: row.document for row in documents if row.document} == sequence.documents
    held = ("RESERVED", "CONFIRMED", "VOIDED")
    assert left == {value: state for value, state in states.items() if state not in held}


def _states(gaps: Sequence[Any]) -> dict[int, str]:
    states: dict[int, str] = {}
    for gap in gaps:
        for value in range(gap.first, gap.last + 1):
            assert value not in states, f"value {value} is in two gaps"
            states[value] = gap.state
    return states
