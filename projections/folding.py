"""Fold batches of the log into one slot: load what they need, apply them in memory, write, and move the checkpoint.

Loading and applying come before the lock: what was loaded is true if the checkpoint has not moved when its row is
locked, because only who holds that lock changes rows. So on SQLite, where it is the lock of the whole file, the
ledger's own writer waits for the writing alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from time import perf_counter
from typing import Protocol, TypeVar

from sqlalchemy import ColumnElement, Table, and_, bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError

from ledger import chain, codec
from ledger.codec import Entry
from ledger.domain.events import NumbersConfirmed, NumberVoided
from ledger.domain.results import MAX_VOID_EVENTS
from ledger.ports import Record, StoreFault
from ledger.stores import SqlStore
from ledger.stores.schema import events, ledger_head, stops
from projections.apply import Change, Interval, Needs, Unit, needs, values_in
from projections.checkpoints import ALL, LOCK, LOCK_ALL, MOVE, SWAP, Checkpoint, beside, checkpoints, live
from projections.clearing import Clearing
from projections.known import Known
from projections.line import Line
from projections.rows import GapRow, ReservationRow, SequenceRow, SeriesRow, plain
from projections.schema import SLOTS
from projections.statements import statements

__all__ = ["Folding", "ForeignHistory", "LogIsBehind", "whole"]

MAX_EVENTS = 2_000
FIRST_EVENTS = 50
MAX_VALUES = 5_000  # changed by a batch, or by one statement; a single event may change more
MAX_LOADED = 500  # rows asked for by key in one statement

# How long the lock may be held: a batch that took longer is followed by smaller ones, in the end of one event each.
HOLD_SECONDS = 0.05

# After so many events others get their turn on the event loop.
TURN = 50

T = TypeVar("T")
R = TypeVar("R")

# What the database holds at the end of a batch, where its log ends, and how far somebody has seen it who stopped it.
HELD = (
    select(ledger_head.c.position, events.c.hash, select(func.max(stops.c.position)).scalar_subquery().label("seen"))
    .select_from(ledger_head.outerjoin(events, events.c.position == bindparam("at")))
    .where(ledger_head.c.id == 1)
)


class Read(Protocol):
    """How the log is read."""

    def __call__(self, *, after: int, limit: int) -> Awaitable[Sequence[Record]]: ...


class LogIsBehind(Exception):
    """The log ends before the checkpoint: what is missing may come back, as when the mirror is adopted."""


class ForeignHistory(Exception):
    """The log does not go on from the checkpoint: the projection was folded from another history."""


@dataclass(slots=True)
class Folding:
    """A slot, as this process last saw its checkpoint, with what it remembers of its rows.

    `seen` gives the position up to which this process has seen the log; None where an operator asks for the rows, of
    whatever the database holds. `limit` is how many events make a batch, `is_behind` whether there was much left to
    fold behind the last one.
    """

    store: SqlStore
    checkpoint: Checkpoint
    decoded: Callable[[Record], Entry] = codec.decode
    seen: Callable[[], int] | None = None
    without_torn: Callable[[Sequence[Record]], Sequence[Record]] = lambda records: whole(records)
    limit: int = FIRST_EVENTS
    is_behind: bool = True
    held_seconds: float = 0.0
    _known: Known | None = None

    @property
    def position(self) -> int:
        return self.checkpoint.position

    async def fold_next(self, line: Line, read: Read) -> bool:
        """Fold a batch of what is next in the log, if anything is; False as of `fold`."""
        limit = max(self.limit, MAX_VOID_EVENTS)
        records = self.without_torn(await read(after=self.position, limit=limit))
        taken = await self.fold(line, records) if records else 0
        # Under load there is always something more, but then it is little.
        self.is_behind = taken < len(records) or len(records) >= limit // 2
        return not records or taken > 0

    async def fold(self, line: Line, records: Sequence[Record]) -> int:
        """Fold as many of the next events as make a batch in one transaction; gives how many those were.

        0 when somebody else moved the checkpoint meanwhile. When this gives 0, or raises, what is remembered is no
        longer true: begin anew.
        """
        known, self._known = self._known or await self._load_series(line), None
        entries = await self._batch(records)
        try:
            unit = await self._applied(line, known, entries)
        except (StoreFault, SQLAlchemyError, OSError):  # a TimeoutError is an OSError
            raise  # of the line, on which nothing more can be asked
        except Exception:
            # What is remembered and what was loaded are of two moments when somebody else has moved the checkpoint:
            # that it cannot be applied to is then no failure of the projection.
            if await self._is_overtaken(line):
                return 0
            raise
        begun = perf_counter()
        await line.begin()
        if not await self._is_mine(line):
            await line.rollback()
            return 0
        last = records[len(entries) - 1]
        await self._check_held(line, last)
        await self._write(line, unit)
        to = {"to": last.position, "last_hash": last.hash, "last_recorded_at": last.recorded_at}
        await line.execute(MOVE, of_slot=self.checkpoint.slot, **to)
        await line.commit()
        self._moved(last, perf_counter() - begun, len(entries))
        known.forget()
        self._known = known
        return len(entries)

    async def go_live(self, line: Line) -> Clearing | None:
        """Make the slot the live one, unless the one that is has come further, or somebody moved this one.

        Gives what is to be cleared then: the other slot.
        """
        await line.begin()
        slots = checkpoints(await line.fetch(LOCK_ALL))
        mine = next(each for each in slots if each.slot == self.checkpoint.slot)
        present = live(slots)
        if mine.place != self.checkpoint.place or (present is not None and present.position > self.position):
            await line.rollback()
            return None
        for each in slots:
            await line.execute(SWAP, of_slot=each.slot, is_live=int(each is mine))
        swapped = checkpoints(await line.fetch(ALL))
        await line.commit()
        self.checkpoint = next(each for each in swapped if each.live)
        return Clearing(beside(swapped))

    async def _batch(self, records: Sequence[Record]) -> list[Entry]:
        """Read as many of the events as make a batch."""
        first = records[0]
        if first.position != self.position + 1 or chain.link(self.checkpoint.hash, first.body) != first.hash:
            raise ForeignHistory(
                f"the log does not go on from position {self.position} as the projection knows it: it was folded from "
                "another history"
            )
        entries: list[Entry] = []
        values = 0
        for record in records[: self.limit]:
            entry = self.decoded(record)
            values += values_in(entry.event)
            if values > MAX_VALUES and entries:
                break
            entries.append(entry)
            if len(entries) % TURN == 0:
                await asyncio.sleep(0)
        count = len(self.without_torn(records[: len(entries)])) or len(self.without_torn(records[:MAX_VOID_EVENTS]))
        entries += map(self.decoded, records[len(entries) : count])
        return entries[:count]

    async def _applied(self, line: Line, known: Known, entries: Sequence[Entry]) -> Unit:
        needed = needs(entry.event for entry in entries)
        unit = Unit(known, await self._load(line, known, needed))
        for count, entry in enumerate(entries):
            unit.take(entry)
            if count % TURN == 0:
                await asyncio.sleep(0)
        unit.finish()
        return unit

    async def _is_overtaken(self, line: Line) -> bool:
        await line.begin()
        is_mine = await self._is_mine(line)
        await line.rollback()
        return not is_mine

    async def _is_mine(self, line: Line) -> bool:
        """Lock the checkpoint, and see whether it is where it was."""
        (now,) = checkpoints(await line.fetch(LOCK, of_slot=self.checkpoint.slot))
        return now.is_present and now.place == self.checkpoint.place

    async def _check_held(self, line: Line, last: Record) -> None:
        """Raise LogIsBehind unless this database's log holds the batch, and all that this process has seen.

        The events may come from memory, and the database may be another by now: a replica that was promoted, and has
        still to apply what it received. Rows that were written there would stand in the way of that.
        """
        if self.seen is None:
            return
        (held,) = await line.fetch(HELD, at=last.position)
        seen = max(self.seen(), last.position, held.seen or 0)
        if held.position < seen:
            raise LogIsBehind(f"the log ends at position {held.position}, and was seen up to {seen}")
        if held.hash != last.hash:
            raise LogIsBehind(f"the log has another event at position {last.position} than was seen there")

    def _moved(self, last: Record, seconds: float, count: int) -> None:
        self.checkpoint = replace(self.checkpoint, position=last.position, hash=last.hash, recorded_at=last.recorded_at)
        self.held_seconds = seconds
        if seconds > HOLD_SECONDS:
            self.limit = max(1, self.limit // 2)
        elif count >= self.limit // 2:
            self.limit = min(MAX_EVENTS, self.limit * 2)

    # Loading

    async def _load_series(self, line: Line) -> Known:
        return Known(await self._rows(line, SeriesRow, SLOTS[self.checkpoint.slot].series, []))

    async def _load(self, line: Line, known: Known, needed: Needs) -> list[GapRow]:
        slot = SLOTS[self.checkpoint.slot]
        for ids in _parts(needed.sequences.difference(known.sequences)):
            for sequence in await self._rows(line, SequenceRow, slot.sequences, [slot.sequences.c.id.in_(ids)]):
                known.sequences[sequence.id] = sequence
        for tokens in _parts(needed.tokens.difference(known.reservations)):
            of_tokens = slot.reservations.c.token.in_(tokens)
            for reservation in await self._rows(line, ReservationRow, slot.reservations, [of_tokens]):
                known.reservations[reservation.token] = reservation
        return [gap for each in needed.intervals(known.sequences) for gap in await self._gaps(line, slot.gaps, each)]

    async def _gaps(self, line: Line, gaps: Table, interval: Interval) -> list[GapRow]:
        """Read the gaps that meet an interval: those that begin in it, and the last that begins before."""
        of_sequence = gaps.c.sequence_at == interval.sequence_at
        before = select(func.max(gaps.c.first)).where(of_sequence, gaps.c.first <= interval.first).scalar_subquery()
        first = func.coalesce(before, interval.first)
        return await self._rows(
            line, GapRow, gaps, [and_(of_sequence, gaps.c.first >= first, gaps.c.first <= interval.last)]
        )

    async def _rows(
        self, line: Line, kind: Callable[..., R], table: Table, where: list[ColumnElement[bool]]
    ) -> list[R]:
        return [kind(*row) for row in await line.fetch(select(table).where(*where))]

    # Writing

    async def _write(self, line: Line, unit: Unit) -> None:
        to = statements(self.checkpoint.slot, self.store.writers.dialect)
        for changes in _by_width(unit.changes):
            await line.many(to.change_numbers, [astuple(change) for change in changes])
        await line.many(to.link_numbers, unit.documents)
        await line.many(to.insert_links, plain(unit.links))
        await line.many(to.reissue_numbers, plain(unit.reissued()))
        await line.many(to.insert_numbers, plain(unit.inserted()))
        await line.many(to.empty_gaps, [(sequence_at,) for sequence_at in unit.emptied])
        await line.many(to.delete_gaps, unit.gaps.deleted())
        await line.many(to.put_gaps, plain(unit.gaps.changed()))
        await line.many(to.put_reservations, plain(unit.reservations.values()))
        await line.many(to.put_sequences, plain(unit.sequences.values()))
        await line.many(to.put_series, plain(unit.series.values()))


def whole(records: Sequence[Record]) -> Sequence[Record]:
    """Leave out a void at the end whose replacement is not there yet: the numbers of both name one another."""
    for back in range(1, min(MAX_VOID_EVENTS, len(records) + 1)):
        record = records[-back]
        if record.type == NumbersConfirmed.__name__:
            break
        if record.type == NumberVoided.__name__ and codec.decode(record).event.replacement:  # type: ignore[union-attr]
            return records[:-back]
        if record.ordinal == 0:  # what stands in front of it is over, though a restore may have cut it in the middle
            break
    return records


def _by_width(changes: Iterable[Change]) -> Iterator[list[Change]]:
    """Divide changes of ranges so that no statement changes very many numbers."""
    part: list[Change] = []
    width = 0
    for change in changes:
        for first in range(change.first, change.last + 1, MAX_VALUES):
            last = min(first + MAX_VALUES - 1, change.last)
            width += last - first + 1
            if part and width > MAX_VALUES:
                yield part
                part, width = [], last - first + 1
            part.append(replace(change, first=first, last=last))
    if part:
        yield part


def _parts(keys: Iterable[T]) -> Iterable[list[T]]:
    given = list(keys)
    return (given[start : start + MAX_LOADED] for start in range(0, len(given), MAX_LOADED))
