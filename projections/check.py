"""Compare the live tables, row by row and in both directions, with what the log says that they must be.

All rows are read in one transaction, so a projector may go on meanwhile. Memory grows with the number of series and
sequences, and with what is open between an event and the one that gave its value out, not with the numbers.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any

from sqlalchemy import ColumnElement, Table, func, select

from ledger import chain, codec
from ledger.ports import Record, StoreFault
from ledger.stores import SqlStore
from projections.apply import values_in
from projections.checkpoints import NOTE_CHECK, shortened
from projections.line import line
from projections.refold import Backward, Forward
from projections.rows import GapRow, LinkRow, NumberRow, ReservationRow, SequenceRow, SeriesRow
from projections.snapshot import Snapshot, snapshot

__all__ = ["Progress", "Report", "check", "note_check"]

MAX_SHOWN = 200  # characters of a value: a definition may have a hundred thousand
MAX_DIFFERENCES = 20  # are told; then nobody needs more to know that it is to be rebuilt
CHUNK = 1_000  # events read at a time
MAX_NUMBERS = 20_000  # compared at a time, beside those of one event
STATEMENT_SECONDS = 600.0  # to count the rows of a table of many years
MAX_LOADED = 500  # rows asked for by key in one statement

_log = logging.getLogger(__name__)

KEYS: dict[type[Any], tuple[str, ...]] = {
    SeriesRow: ("code", "version"),
    SequenceRow: ("sequence_at",),
    ReservationRow: ("token",),
    NumberRow: ("sequence_at", "value"),
    GapRow: ("sequence_at", "first"),
    LinkRow: ("sequence_at", "value", "position"),
}

Progress = Callable[[int, int], None]  # so many of so many steps are done


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found at a position; no `differences` means that every row is as the log says.

    `slot` and `epoch` name the tables; the slot is empty when none is live.
    """

    position: int
    rows: int
    differences: tuple[str, ...]
    slot: str = ""
    epoch: int = 0


class _Enough(Exception):
    """More differences need not be looked for."""


async def check(store: SqlStore, progress: Progress = lambda done, of: None) -> Report:
    """Check the live tables at their checkpoint. Nothing is written."""
    async with snapshot(store, seconds=STATEMENT_SECONDS) as seen:
        if seen.checkpoint is None:
            return Report(0, 0, ("no projection is live yet: start the service, or rebuild",))
        comparison = _Comparison(store, seen, progress)
        with suppress(_Enough):
            await comparison.run()
        of = seen.checkpoint
        return Report(seen.position, comparison.rows, tuple(comparison.differences), of.slot, of.epoch)


async def note_check(store: SqlStore, report: Report, *, now: int) -> None:
    """Note the result of a check beside the checkpoint that it is of."""
    of = {"of_slot": report.slot, "of_epoch": report.epoch}
    what = shortened("; ".join(report.differences)) or None
    try:
        async with line(store) as connection:
            await connection.begin()
            await connection.execute(NOTE_CHECK, **of, to=report.position, at=now, what=what)
            await connection.commit()
    except StoreFault as fault:  # what was found, after hours perhaps, is to be told all the same
        _log.warning("the result of the check could not be noted: %s", fault)


@dataclass
class _Comparison:
    store: SqlStore
    seen: Snapshot
    progress: Progress
    rows: int = 0
    differences: list[str] = field(default_factory=list)
    _earlier: dict[tuple[int, int], int] = field(default_factory=dict)

    async def run(self) -> None:
        forward = Forward()
        await self._forward(forward)
        await self._compare_all(self.seen.slot.series, SeriesRow, forward.series())
        await self._compare_all(self.seen.slot.sequences, SequenceRow, forward.sequences())
        await self._backward(forward)

    # The log

    async def _forward(self, forward: Forward) -> None:
        """Fold the log up to the checkpoint, and compare each reservation when it is closed."""
        checkpoint = self.seen.checkpoint
        assert checkpoint is not None
        previous = chain.genesis((await self.store.head()).ledger_id)
        async for records in self._chunks():
            for record in records:
                if chain.link(previous, record.body) != record.hash:
                    self._differ(f"the log is broken at position {record.position}: verify it")
                previous = record.hash
                forward.take(codec.decode(record))
            await self._compare_reservations(forward.closed())
            await self.seen.keep()
            self._tell(records[-1].position)
        if previous != checkpoint.hash:
            self._differ(f"the checkpoint at position {self.seen.position} is of another history than the log")
        await self._compare_reservations(forward.open())
        await self._compare_count(self.seen.slot.reservations, forward.reservations)

    async def _backward(self, forward: Forward) -> None:
        """Compare each number with the event that gave it out last, and each gap with its cause."""
        backward, high, numbers, gaps, links, count = Backward(forward), self.seen.position, 0, 0, 0, 0
        while high:
            low = max(high - CHUNK, 0)
            entries = [codec.decode(record) for record in await self._read(low, high)]
            while entries:
                entry = entries.pop()
                backward.take(entry)
                count += values_in(entry.event)
                if count >= MAX_NUMBERS or not entries:
                    found = backward.drain()
                    await self._compare_part(entry.position - 1, high, *found, forward)
                    numbers, gaps, links = numbers + len(found[0]), gaps + len(found[1]), links + len(found[2])
                    high, count = entry.position - 1, 0
                    self._tell(2 * self.seen.position - high)
        for (sequence_at, value), position in self._earlier.items():
            if position:
                self._differ(f"numbers: value {value} of sequence {sequence_at} has no life at {position}")
        await self._compare_count(self.seen.slot.numbers, numbers)
        await self._compare_count(self.seen.slot.gaps, gaps)
        await self._compare_count(self.seen.slot.links, links)

    async def _chunks(self) -> AsyncIterator[Sequence[Record]]:
        position = 0
        while position < self.seen.position:
            records = await self._read(position, min(position + CHUNK, self.seen.position))
            yield records
            position = records[-1].position

    async def _read(self, after: int, to: int) -> Sequence[Record]:
        """Read a part of the log that must be there."""
        records: list[Record] = []
        while after + len(records) < to:
            found = await self.store.events(after=after + len(records), limit=to - after - len(records))
            if not found:
                self._differ(f"the log ends at position {after + len(records)}, before the checkpoint")
                raise _Enough
            records += found
        return records

    def _tell(self, done: int) -> None:
        self.progress(done, 2 * self.seen.position)

    # The rows

    async def _compare_part(
        self,
        after: int,
        to: int,
        numbers: list[NumberRow],
        gaps: list[GapRow],
        links: list[LinkRow],
        again: list[tuple[str, int, int]],
        forward: Forward,
    ) -> None:
        """Compare the rows of which the events `after` to `to` say what they are."""
        stored = await self._of_part(self.seen.slot.numbers, NumberRow, after, to)
        for row in stored:
            if row.earlier:
                self._earlier[row.sequence_at, row.value] = row.earlier
        for id, value, position in again:
            self._check_earlier((forward.sequence_at[id], value), position)
        self._compare(NumberRow, numbers, [replace(row, earlier=0) for row in stored])
        found = await self._of_part(self.seen.slot.gaps, GapRow, after, to)
        given = await self._given({gap.token for gap in gaps if gap.token})
        expected = [replace(gap, given_position=given.get(gap.token, 0)) for gap in gaps]
        self._compare(GapRow, expected, found)
        self._compare(LinkRow, links, await self._of_part(self.seen.slot.links, LinkRow, after, to))

    def _check_earlier(self, place: tuple[int, int], position: int) -> None:
        """Compare the life before the one that a row tells; those before that are in no table."""
        told = self._earlier.get(place)
        if told != position and told != 0:
            self._differ(
                f"numbers: value {place[1]} of sequence {place[0]}: earlier is {told or 0}, and should be {position}"
            )
        self._earlier[place] = 0

    async def _given(self, tokens: set[str]) -> dict[str, int]:
        """Give the positions of reservations, whose rows were compared before."""
        found: dict[str, int] = {}
        table, given = self.seen.slot.reservations, sorted(tokens)
        for start in range(0, len(given), MAX_LOADED):
            asked = select(table.c.token, table.c.position).where(table.c.token.in_(given[start : start + MAX_LOADED]))
            found.update((row.token, row.position) for row in await self.seen.fetch(asked))
        return found

    async def _compare_reservations(self, rows: Sequence[ReservationRow]) -> None:
        table = self.seen.slot.reservations
        for start in range(0, len(rows), MAX_LOADED):
            part = rows[start : start + MAX_LOADED]
            stored = await self._stored(table, ReservationRow, table.c.token.in_([row.token for row in part]))
            self._compare(ReservationRow, part, stored)

    async def _compare_all(self, table: Table, kind: type[Any], expected: Iterable[Any]) -> None:
        self._compare(kind, expected, await self._stored(table, kind))

    async def _of_part(self, table: Table, kind: type[Any], after: int, to: int) -> list[Any]:
        return await self._stored(table, kind, table.c.position > after, table.c.position <= to)

    async def _stored(self, table: Table, kind: type[Any], *where: ColumnElement[bool]) -> list[Any]:
        return [kind(*row) for row in await self.seen.fetch(select(table).where(*where))]

    async def _compare_count(self, table: Table, expected: int) -> None:
        """Find rows that no event accounts for, wherever they are."""
        ((count,),) = await self.seen.fetch(select(func.count()).select_from(table))
        if count != expected:
            self._differ(f"{table.name} has {count} rows, and should have {expected}")

    def _compare(self, kind: type[Any], expected: Iterable[Any], stored: Iterable[Any]) -> None:
        theirs = {_key(row): row for row in stored}
        for row in expected:
            self.rows += 1
            found = theirs.pop(_key(row), None)
            if found is None:
                self._differ(f"{_named(row)} is missing")
            elif found != row:
                self._differ(f"{_named(row)}: {_difference(found, row)}")
        for row in theirs.values():
            self._differ(f"{_named(row)} should not be there")

    def _differ(self, what: str) -> None:
        self.differences.append(what)
        if len(self.differences) >= MAX_DIFFERENCES:
            raise _Enough


def _key(row: Any) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in KEYS[type(row)])


def _named(row: Any) -> str:
    kind = type(row).__name__.removesuffix("Row").lower()
    return f"{kind} " + ", ".join(f"{name} {_shown(getattr(row, name), str)}" for name in KEYS[type(row)])


def _difference(found: Any, expected: Any) -> str:
    pairs = ((each.name, getattr(found, each.name), getattr(expected, each.name)) for each in fields(found))
    return ", ".join(
        f"{name} is {_shown(one)}, and should be {_shown(other)}" for name, one, other in pairs if one != other
    )


def _shown(value: object, as_text: Callable[[object], str] = repr) -> str:
    text = as_text(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text)} characters)"
