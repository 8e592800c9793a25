"""Reading the projections: rows and the position that they are as of, from one moment.

Numbers are given in the order in which they were given out, (position, value), and go on behind a cursor of these two.
Filters that name few numbers are answered by their index. Which of several filters names the fewest is found by
counting each up to a bound, because neither database knows: SQLite has no statistics, and MariaDB's are of a sample.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Integer, Row, TextClause, and_, column, func, or_, select, text

from ledger.ports import StoreFault
from ledger.stores import SqlStore
from ledger.stores.schema import events
from projections.checkpoints import Checkpoint, failed, live
from projections.rows import NumberRow, ReservationRow
from projections.snapshot import Snapshot, read_slots, snapshot

__all__ = ["Cursor", "Filter", "Found", "Projections", "ReservationFilter"]

MAX_LIMIT = 1_000
MAX_LOADED = 500  # rows asked for by key in one statement
POLL_SECONDS = 0.02
MAX_POLL_SECONDS = 0.25

# A filter that names no more numbers than this is answered through its index, and what it names is sorted.
FEW = 5_000

# Positions between which an instant lies are narrowed down to one in a few steps of so many.
STEPS = 64

R = TypeVar("R")

# Columns without their table: it is named with the index by which it is to be read.
_number: list[ColumnElement[Any]] = [column(each.name) for each in fields(NumberRow)]
_position: ColumnElement[int] = column("position", Integer)
_value: ColumnElement[int] = column("value", Integer)

LAST_CHARACTER = "\U0010ffff"  # sorts behind all that a number may begin with


class Cursor(NamedTuple):
    """The last number that was given; the next ones come behind it."""

    position: int
    value: int


@dataclass(frozen=True, slots=True)
class Filter:
    """What is asked of numbers; None asks nothing.

    `from_time` and `to_time` (microseconds, both included) are of the event that gave the number out last.
    """

    series: str | None = None
    states: frozenset[str] | None = None
    document: str | None = None
    actor: str | None = None
    prefix: str | None = None
    from_time: int | None = None
    to_time: int | None = None


@dataclass(frozen=True, slots=True)
class ReservationFilter:
    series: str | None = None
    states: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Found(Generic[R]):
    """Rows as of a position, with the ids of the sequences that they are of, all from one moment.

    `following` goes on behind them, None when there are no more.
    """

    rows: Sequence[R]
    sequences: Mapping[int, str]
    position: int
    following: Cursor | None = None


class Projections:
    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self._reading: asyncio.Task[Sequence[Checkpoint] | StoreFault] | None = None
        self._read_at = 0.0

    async def position(self) -> int:
        """Give the position up to which the log is in the live tables; 0 before there are any."""
        present = live(await read_slots(self._store))
        return present.position if present else 0

    async def wait(self, min_position: int, seconds: float) -> bool:
        """Wait until the tables have come to a position; False when they have not within `seconds`, or have failed."""
        pause, loop = POLL_SECONDS, asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            slots = await self._latest()
            present = live(slots)
            if (present.position if present else 0) >= min_position:
                return True
            left = deadline - loop.time()
            if left <= 0 or failed(slots):
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, MAX_POLL_SECONDS)

    async def _latest(self) -> Sequence[Checkpoint]:
        """Read the checkpoints together with all who wait: one read is under way, and serves for a moment."""
        loop = asyncio.get_running_loop()
        if self._reading is None or (self._reading.done() and loop.time() >= self._read_at + POLL_SECONDS):
            self._reading, self._read_at = loop.create_task(self._read()), loop.time()
        slots = await asyncio.shield(self._reading)
        if isinstance(slots, StoreFault):
            raise slots
        return slots

    async def _read(self) -> Sequence[Checkpoint] | StoreFault:
        try:
            return await read_slots(self._store)
        except StoreFault as fault:  # given, not raised: those who wait may all have gone
            return fault

    async def numbers(self, filter: Filter, after: Cursor | None = None, limit: int = 100) -> Found[NumberRow]:
        """Search numbers."""
        limit = min(limit, MAX_LIMIT)
        async with snapshot(self._store) as seen:
            asked = _conditions(filter)
            where = [*asked.values(), *await _between(seen, filter)]
            if after is not None:
                where.append(_behind(after))
            index = await _narrowest(seen, filter, asked)
            chosen = select(*_number).select_from(_by(seen, index)).where(*where).order_by(_position, _value)
            rows = _rows(NumberRow, await seen.fetch(chosen.limit(limit + 1)))
            following = Cursor(rows[limit - 1].position, rows[limit - 1].value) if len(rows) > limit else None
            return Found(rows[:limit], await _ids(seen, rows), seen.position, following)

    async def reservations(self, filter: ReservationFilter, after: int = 0, limit: int = 100) -> Found[ReservationRow]:
        """Give reservations in the order in which they were made, behind the position of one."""
        limit = min(limit, MAX_LIMIT)
        async with snapshot(self._store) as seen:
            table = seen.slot.reservations
            where = [table.c.position > after]
            if filter.series is not None:
                where.append(table.c.series == filter.series)
            if filter.states is not None:
                where.append(table.c.state.in_(sorted(filter.states)))
            asked = select(table).where(*where).order_by(table.c.position).limit(limit + 1)
            rows = _rows(ReservationRow, await seen.fetch(asked))
            following = Cursor(rows[limit - 1].position, 0) if len(rows) > limit else None
            return Found(rows[:limit], await _ids(seen, rows), seen.position, following)


async def _ids(seen: Snapshot, rows: Iterable[NumberRow | ReservationRow]) -> Mapping[int, str]:
    """Give the ids of the sequences that rows are of."""
    sequences = seen.slot.sequences
    found: dict[int, str] = {}
    for part in _parts(sorted({row.sequence_at for row in rows})):
        asked = select(sequences.c.sequence_at, sequences.c.id).where(sequences.c.sequence_at.in_(part))
        found.update((row.sequence_at, row.id) for row in await seen.fetch(asked))
    return found


async def _narrowest(seen: Snapshot, filter: Filter, asked: Mapping[str, ColumnElement[bool]]) -> str:
    """Name the index by which the fewest numbers have to be looked at.

    Behind one value, numbers stand in the order of the answer, however many they are; behind a prefix or several states
    they have to be sorted, so there must be few.
    """
    counts: dict[str, int] = {}
    for name, condition in asked.items():
        some = select(_value).select_from(_by(seen, name)).where(condition).limit(FEW + 1).subquery()
        ((counts[name],),) = await seen.fetch(select(func.count()).select_from(some))
        if counts[name] <= MAX_LIMIT:
            return name
    is_sorted = {name: name in ("document", "actor", "series") for name in asked}
    is_sorted["state"] = filter.states is not None and len(filter.states) == 1
    usable = [name for name, count in counts.items() if count <= FEW or is_sorted[name]]
    return min(usable, key=counts.__getitem__, default="position")


async def _between(seen: Snapshot, filter: Filter) -> list[ColumnElement[bool]]:
    """Translate times to positions."""
    found: list[ColumnElement[bool]] = []
    if filter.from_time is not None:
        found.append(await _position_before(seen, filter.from_time) < _position)
    if filter.to_time is not None:
        found.append(await _position_before(seen, filter.to_time + 1) >= _position)
    return found


async def _position_before(seen: Snapshot, time: int) -> int:
    """Give the position of the last event recorded before an instant, 0 for none: the log's time never goes back."""
    low, high = 0, seen.position
    while low < high:
        probed = sorted({low + (high - low) * step // STEPS + 1 for step in range(STEPS)})
        probed = [position for position in probed if position <= high]
        asked = select(events.c.position, events.c.recorded_at).where(events.c.position.in_(probed))
        times = {row.position: row.recorded_at for row in await seen.fetch(asked)}
        before = [position for position in probed if times[position] < time]
        after = [position for position in probed if times[position] >= time]
        low = max(before, default=low)
        high = min(after, default=high + 1) - 1
    return low


def _conditions(filter: Filter) -> dict[str, ColumnElement[bool]]:
    """Give the conditions by the name of the index that answers each, those that name few numbers mostly first."""
    found: dict[str, ColumnElement[bool]] = {}
    if filter.document is not None:
        found["document"] = column("document") == filter.document
    if filter.prefix is not None:
        found["number"] = column("number").between(filter.prefix, filter.prefix + LAST_CHARACTER)
    if filter.actor is not None:
        found["actor"] = column("actor") == filter.actor
    if filter.states is not None:
        found["state"] = column("state").in_(sorted(filter.states))
    if filter.series is not None:
        found["series"] = column("series") == filter.series
    return found


def _behind(cursor: Cursor) -> ColumnElement[bool]:
    # The first condition is implied by the second: it is what both databases make a range of an index of.
    same = and_(_position == cursor.position, _value > cursor.value)
    return and_(cursor.position <= _position, or_(cursor.position < _position, same))


def _by(seen: Snapshot, name: str) -> TextClause:
    """Name the table of numbers, to be read by one of its indexes."""
    table = seen.slot.numbers.name
    hint = "INDEXED BY {}" if seen.is_sqlite else "FORCE INDEX ({})"
    return text(f"{table} {hint.format(f'{table}_by_{name}')}")


def _rows(kind: Callable[..., R], rows: Sequence[Row[Any]]) -> list[R]:
    return [kind(*row) for row in rows]


def _parts(values: Sequence[int]) -> Iterator[Sequence[int]]:
    return (values[start : start + MAX_LOADED] for start in range(0, len(values), MAX_LOADED))
