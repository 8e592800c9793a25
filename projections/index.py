"""Where in the log the events about single values are, as the projections know it: see `ledger.ports.Index`.

It says nothing rather than something wrong: a projection that has failed, that a check found to disagree, or that was
folded from another history is not relied on.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pyroaring import BitMap
from sqlalchemy import select

from ledger.ports import Life
from ledger.stores import SqlStore
from projections.checkpoints import Checkpoint
from projections.snapshot import Snapshot, snapshot

__all__ = ["ProjectedIndex"]

# Looked at for one question; what is beyond them is found in the log.
MAX_GAPS = 20_000
MAX_VALUES = 20_000
VALUES_AT_ONCE = 500


class ProjectedIndex:
    def __init__(self, store: SqlStore) -> None:
        self._store = store

    async def position(self) -> int:
        async with snapshot(self._store) as seen:
            live = seen.checkpoint
        return live.position if live and await self._is_sound(live) else 0

    async def causes(self, sequence: str, values: Iterable[int]) -> Sequence[int]:
        sought = BitMap(values)
        async with snapshot(self._store) as seen:
            place = await _place(seen, sequence)
            if place is None:
                return []
            of_gaps = await _gap_causes(seen, place.sequence_at, sought)
            of_numbers = await _number_causes(seen, place.sequence_at, sought)
        return [*of_gaps, *of_numbers, *([place.closed] if place.closed else [])]

    async def life(self, sequence: str, value: int) -> Life:
        async with snapshot(self._store) as seen:
            place = await _place(seen, sequence)
            if place is None:
                return Life([], 0)
            numbers = seen.slot.numbers.c
            of_value = (numbers.sequence_at == place.sequence_at, numbers.value == value)
            rows = await seen.fetch(select(*(numbers[name] for name in _Row._fields)).where(*of_value))
            if not rows:
                return Life(await _gap_causes(seen, place.sequence_at, BitMap([value])), 0)
        return _life(_Row._make(rows[0]))

    async def _is_sound(self, live: Checkpoint) -> bool:
        if live.failed is not None or live.disagreement is not None or not live.position:
            return False
        records = await self._store.events_at([live.position])
        return bool(records) and records[0].hash == live.hash


class _Place(NamedTuple):
    """A sequence's id in the other tables, and the position of the event that closed it, or 0."""

    sequence_at: int
    closed: int


class _Row(NamedTuple):
    position: int
    confirmed_position: int
    changed_position: int
    token: str
    earlier: int


def _life(row: _Row) -> Life:
    positions = sorted({row.position, row.confirmed_position, row.changed_position} - {0})
    # What was given by hand or imported may have been passed over before, and what was reissued had a life before.
    is_first = row.token and not row.earlier
    return Life(positions, 0 if is_first else row.position - 1)


async def _place(seen: Snapshot, sequence: str) -> _Place | None:
    """Find a sequence, if it has begun."""
    sequences = seen.slot.sequences.c
    rows = await seen.fetch(select(sequences.sequence_at, sequences.closed).where(sequences.id == sequence))
    return _Place._make(rows[0]) if rows else None


async def _gap_causes(seen: Snapshot, sequence_at: int, sought: BitMap) -> list[int]:
    """Give the causes of the gaps that some values are in, and leave only the others sought."""
    if not sought:
        return []
    gaps = seen.slot.gaps.c
    meets = (gaps.first <= sought.max(), gaps.last >= sought.min())
    asked = select(gaps.first, gaps.last, gaps.position).where(gaps.sequence_at == sequence_at, *meets)
    found: set[int] = set()
    for row in await seen.fetch(asked.order_by(gaps.first).limit(MAX_GAPS)):
        before = len(sought)
        sought.remove_range(row.first, row.last + 1)
        if len(sought) < before:
            found.add(row.position)
    return list(found)


async def _number_causes(seen: Snapshot, sequence_at: int, sought: BitMap) -> list[int]:
    """Give the causes of the states of numbers that were given out."""
    numbers, found = seen.slot.numbers.c, set[int]()
    values = list(sought[:MAX_VALUES])
    for start in range(0, len(values), VALUES_AT_ONCE):
        wanted = numbers.value.in_(values[start : start + VALUES_AT_ONCE])
        asked = select(numbers.changed_position).distinct().where(numbers.sequence_at == sequence_at, wanted)
        found.update(row.changed_position for row in await seen.fetch(asked))
    return list(found)
