"""Where in the log the events about single values are, as the projections know it: see `ledger.ports.Index`.

It says nothing rather than something wrong: a projection that has failed, that a check found to disagree, or that was
folded from another history is not relied on.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from pyroaring import BitMap
from sqlalchemy import select

from ledger.ports import Life, StoreFault
from ledger.stores import SqlStore
from projections.checkpoints import Checkpoint
from projections.snapshot import Snapshot, snapshot

__all__ = ["ProjectedIndex"]

_log = logging.getLogger(__name__)

UNKNOWN = Life([], 0)

# Looked at for one question; what is beyond them is found in the log.
MAX_GAPS = 20_000
MAX_VALUES = 20_000
VALUES_AT_ONCE = 500

T = TypeVar("T")


class ProjectedIndex:
    def __init__(self, store: SqlStore) -> None:
        self._store = store

    async def position(self) -> int:
        try:
            async with snapshot(self._store) as seen:
                live = seen.checkpoint
            return live.position if live and await self._is_sound(live) else 0
        except StoreFault as fault:
            return _unread(fault, 0)

    async def causes(self, sequence: str, values: BitMap) -> Mapping[int, BitMap]:
        causes: dict[int, BitMap] = {}
        try:
            async with snapshot(self._store) as seen:
                place = await _place(seen, sequence)
                if place is not None:
                    sought = await _add_gaps(seen, place.sequence_at, values, causes)
                    await _add_numbers(seen, place.sequence_at, sought, causes)
                    if place.closed:
                        causes.setdefault(place.closed, BitMap())
            return causes
        except StoreFault as fault:
            return _unread(fault, {})

    async def life(self, sequence: str, value: int) -> Life:
        try:
            async with snapshot(self._store) as seen:
                return await _life_of(seen, sequence, value)
        except StoreFault as fault:
            return _unread(fault, UNKNOWN)

    async def _is_sound(self, live: Checkpoint) -> bool:
        if live.failed is not None or live.disagreement is not None or not live.position:
            return False
        records = await self._store.events_at([live.position])
        return bool(records) and records[0].hash == live.hash


def _unread(fault: StoreFault, nothing: T) -> T:
    """The log has all that the index would only find quicker."""
    _log.warning("the projections cannot be read, so the log is: %s", fault)
    return nothing


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


async def _life_of(seen: Snapshot, sequence: str, value: int) -> Life:
    place = await _place(seen, sequence)
    if place is None:
        return UNKNOWN
    numbers = seen.slot.numbers.c
    of_value = (numbers.sequence_at == place.sequence_at, numbers.value == value)
    rows = await seen.fetch(select(*(numbers[name] for name in _Row._fields)).where(*of_value))
    if rows:
        links = [position for position, _ in await _links(seen, place.sequence_at, [value])]
        return _life(_Row._make(rows[0]), links)
    causes: dict[int, BitMap] = {}
    await _add_gaps(seen, place.sequence_at, BitMap([value]), causes)
    return Life(list(causes), 0)


def _life(row: _Row, links: Sequence[int]) -> Life:
    positions = sorted({row.position, row.confirmed_position, row.changed_position, *links} - {0})
    # What was given by hand or imported may have been passed over before, and what was reissued had a life before.
    is_first = row.token and not row.earlier
    return Life(positions, 0 if is_first else row.position - 1)


async def _place(seen: Snapshot, sequence: str) -> _Place | None:
    """Find a sequence, if it has begun."""
    sequences = seen.slot.sequences.c
    rows = await seen.fetch(select(sequences.sequence_at, sequences.closed).where(sequences.id == sequence))
    return _Place._make(rows[0]) if rows else None


async def _add_gaps(seen: Snapshot, sequence_at: int, sought: BitMap, causes: dict[int, BitMap]) -> BitMap:
    """Add the causes of the gaps that some values are in; gives the other values."""
    if not sought:
        return sought
    gaps = seen.slot.gaps.c
    meets = (gaps.first <= sought.max(), gaps.last >= sought.min())
    asked = select(gaps.first, gaps.last, gaps.position).where(gaps.sequence_at == sequence_at, *meets)
    rest = sought.copy()
    for row in await seen.fetch(asked.order_by(gaps.first).limit(MAX_GAPS)):
        gap = BitMap()
        gap.add_range(row.first, row.last + 1)
        gap &= sought
        if gap:
            causes.setdefault(row.position, BitMap()).update(gap)
            rest -= gap
    return rest


async def _add_numbers(seen: Snapshot, sequence_at: int, sought: BitMap, causes: dict[int, BitMap]) -> None:
    """Add the causes of the states of numbers that were given out, and the events that gave them other documents."""
    numbers = seen.slot.numbers.c
    values = list(sought[:MAX_VALUES])
    for start in range(0, len(values), VALUES_AT_ONCE):
        wanted = numbers.value.in_(values[start : start + VALUES_AT_ONCE])
        asked = select(numbers.value, numbers.changed_position).where(numbers.sequence_at == sequence_at, wanted)
        for row in await seen.fetch(asked):
            causes.setdefault(row.changed_position, BitMap()).add(row.value)
        for position, value in await _links(seen, sequence_at, values[start : start + VALUES_AT_ONCE]):
            causes.setdefault(position, BitMap()).add(value)


async def _links(seen: Snapshot, sequence_at: int, values: Sequence[int]) -> list[tuple[int, int]]:
    """Give the positions at which some values got another document, each with the value."""
    links = seen.slot.links.c
    asked = select(links.position, links.value).where(links.sequence_at == sequence_at, links.value.in_(values))
    return [(row.position, row.value) for row in await seen.fetch(asked)]
