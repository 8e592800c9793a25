"""What changed in a log between two moments, and where two copies of a log part."""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum

from ledger import codec
from ledger.codec import Entry
from ledger.domain.events import ReservationEvent, SeriesEvent
from ledger.domain.sequence import Sequence, ValueState
from ledger.domain.state import Reservation
from ledger.fold import Fold
from ledger.ports import Record
from replay.combined import alike, first_difference
from replay.following import Progress
from replay.moments import Moment, Past, before_all, row_of, understood
from replay.sources import Extent, Source, Stored, event_at

__all__ = ["Between", "Comparison", "Standing", "Verdict", "between", "compare"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a sequence had come."""

    high_water: int
    counts: Mapping[ValueState, int]
    closed: bool

    @classmethod
    def of(cls, sequence: Sequence) -> "Standing":
        counts = {state: count for state, count in sequence.counts().items() if count}
        return cls(sequence.high_water, counts, sequence.closed)


class Between:
    """What changed behind a fold, which goes on.

    `sequences` has those that changed, from (None when they had not begun) and to. `opened` are the reservations that
    were not there before and are open in the end; `ended` were open before, with the event that ended each. `beyond` is
    that of `Past`.
    """

    def __init__(self, fold: Fold) -> None:
        self.position, self.recorded_at = fold.position, fold.recorded_at
        self.fold = fold
        self.beyond: int | None = None
        self.types = Counter[str]()
        self.actors = Counter[str]()
        self.series: list[Entry] = []
        self._sequences = {each.id: Standing.of(each) for each in fold.state.sequences()}
        self._reservations = {each.token: each for each in fold.state.reservations()}
        self._endings: dict[str, Entry] = {}

    def take(self, record: Record) -> None:
        """Look at the event that was folded last."""
        entry = codec.decode(record)
        self.types[record.type] += 1
        self.actors[entry.envelope.actor] += 1
        if isinstance(entry.event, SeriesEvent):
            self.series.append(entry)
        if record.token in self._reservations and isinstance(entry.event, ReservationEvent):
            self._endings[record.token] = entry

    @property
    def sequences(self) -> dict[str, tuple[Standing | None, Standing]]:
        now = {each.id: Standing.of(each) for each in self.fold.state.sequences()}
        before = self._sequences
        return {id: (before.get(id), now[id]) for id in sorted(now) if now[id] != before.get(id)}

    @property
    def opened(self) -> list[Reservation]:
        found = (each for each in self.fold.state.reservations() if each.token not in self._reservations)
        return sorted(found, key=lambda each: (each.reserved_at, each.numbering.sequence, each.ranges))

    @property
    def ended(self) -> list[tuple[Reservation, Entry]]:
        now = {each.token for each in self.fold.state.reservations()}
        gone = (each for each in self._reservations.values() if each.token not in now)
        return [(each, self._endings[each.token]) for each in sorted(gone, key=lambda each: each.reserved_at)]


async def between(
    source: Source, one: Moment, other: Moment, progress: Progress, *, allow_beyond: bool = False
) -> Between:
    """Say what changed from the earlier of two moments to the later one."""
    pasts = [await Past.of(source, moment, allow_beyond=allow_beyond) for moment in (one, other)]
    past = await Past.of(source)
    fold, found = Fold(past.ledger_id), None
    with understood():
        async with aclosing(_each(past, progress)) as records:
            async for record in records:
                held = [moment.holds(record.position, record.recorded_at) for moment in (one, other)]
                if not any(held):
                    break
                if not all(held) and found is None:
                    found = Between(fold)
                fold.take([record])
                if found:
                    found.take(record)
    found = found or Between(fold)
    found.beyond = next((each.beyond for each in pasts if each.beyond is not None), None)
    if not found.position:
        raise before_all(source, one if one.time is not None else other)
    return found


async def _each(past: Past, progress: Progress) -> AsyncGenerator[Record]:
    async with aclosing(past.events(progress)) as parts:
        async for events in parts:
            for record in map(row_of, events):
                yield record


# Two copies


class Verdict(StrEnum):
    SAME = "same"
    CONTINUES = "continues"
    DIFFER = "differ"
    APART = "apart"  # they are of two ledgers
    UNKNOWN = "unknown"  # no position is in both


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two sources stand to one another; `position` is the first at which they differ, with their events there."""

    verdict: Verdict
    extents: tuple[Extent, Extent]
    position: int | None = None
    events: tuple[Stored | None, Stored | None] = field(default=(None, None))


async def compare(one: Source, other: Source) -> Comparison:
    """Compare two sources by their hashes: each event's speaks for all before it."""
    its, others = extents = await one.extent(), await other.extent()
    low, high = max(its.first, others.first), min(its.last, others.last)
    if its.ledger_id != others.ledger_id:
        return Comparison(Verdict.APART, extents)
    if high and high < low:
        return Comparison(Verdict.UNKNOWN, extents)
    if not high or await alike(one, other, high):
        return Comparison(Verdict.SAME if its.last == others.last else Verdict.CONTINUES, extents)
    position = await first_difference(one, other, low, high)
    there = await event_at(one, position), await event_at(other, position)
    return Comparison(Verdict.DIFFER, extents, position, there)
