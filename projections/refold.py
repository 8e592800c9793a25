"""What the rows must be, told from the log by other means than those that make them.

Forward, the ledger's own fold tells every count, pool and forecast. Backward, the first event met about a value is the
cause of its state, and the first that gave it out is its row's: so a row is complete when the event that gave it out
is reached, and only what waits for that is kept in memory, beside a bitmap of the values met.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import assert_never

import orjson
from pyroaring import BitMap

from ledger.codec import Entry
from ledger.domain.events import (
    Event,
    LedgerEvent,
    MaximumAdjusted,
    NumberAssigned,
    NumberEvent,
    Numbering,
    NumbersConfirmed,
    NumbersImported,
    NumbersReserved,
    NumberVoided,
    Original,
    PeriodClosed,
    PeriodOpened,
    PeriodReopened,
    Place,
    ReservationEnded,
    ReservationEvent,
    ReservationExtended,
    ReservationFenced,
    SequenceAdjusted,
    SequenceEvent,
    SequenceFenced,
    SeriesAmended,
    SeriesDefined,
    SeriesEvent,
    SeriesReopened,
    SeriesRetired,
    StartLowered,
)
from ledger.domain.evolve import evolve
from ledger.domain.ranges import Ranges, count_of, runs, values_of
from ledger.domain.sequence import Sequence as Counter
from ledger.domain.sequence import ValueState
from ledger.domain.series import MAX_VALUE, Series
from ledger.domain.state import State
from ledger.domain.utilisation import Utilisation
from projections.known import definition_text
from projections.rows import GapRow, LinkRow, NumberRow, ReservationRow, SequenceRow, SeriesRow, text_of

__all__ = ["Backward", "Forward"]


class Forward:
    """The fold up to the end, and what it forgets of reservations, series and replacements on the way."""

    def __init__(self) -> None:
        self.state = State()
        self.sequence_at: dict[str, int] = {}
        self.replaced_by: dict[tuple[str, int], str] = {}
        self.replaces: dict[tuple[str, int], str] = {}
        self.reservations = 0
        self._open: dict[str, ReservationRow] = {}
        self._closed: list[ReservationRow] = []
        self._last: dict[str, Entry] = {}
        self._period_closed: dict[str, int] = {}
        self._told: dict[str, Utilisation] = {}
        self._versions: dict[str, int] = {}
        self._unevaluated: set[str] = set()
        self._defined: dict[tuple[str, int], Entry] = {}
        self._retired: dict[str, int] = {}
        self._voids: dict[tuple[str, int], tuple[str, int, str]] = {}

    def take(self, entry: Entry) -> None:
        event = entry.event
        if isinstance(event, SeriesEvent):
            self._evaluate()
        evolve(self.state, event, entry.recorded_at)
        self._note_series(event, entry)
        self._note_sequence(event, entry)
        self._note_reservation(event, entry)
        self._note_replacement(event)

    def closed(self) -> list[ReservationRow]:
        """Give the reservations that ended since this was asked last."""
        closed, self._closed = self._closed, []
        return closed

    def open(self) -> list[ReservationRow]:
        return list(self._open.values())

    def series(self) -> Iterator[SeriesRow]:
        for present in self.state.all_series():
            code = present.code
            for series in self.state.versions(code) or ():
                entry = self._defined[code, series.version]
                yield SeriesRow(
                    code, series.version, int(series is present), definition_text(series), series.max_value,
                    series.era, self.state.first_used(code) or 0, self._retired.get(code, 0), entry.position,
                    entry.recorded_at, entry.envelope.actor,
                )  # fmt: skip

    def sequences(self) -> Iterator[SequenceRow]:
        self._evaluate()
        return map(self._sequence, self.state.sequences())

    def pool(self, id: str) -> BitMap:
        """Give the values that may be reserved again."""
        sequence = self.state.sequence(id)
        assert sequence is not None
        count = sequence.released()
        return BitMap(values_of(sequence.next_ranges(count, MAX_VALUE))) if count else BitMap()

    def number(self, of: Place, day: date, attributes: tuple[tuple[str, str], ...], value: int) -> str:
        return self.state.series(of.series, of.series_version).frame(of.key, attributes, day).number(value)

    def _sequence(self, sequence: Counter) -> SequenceRow:
        counts = {state.value.lower(): count for state, count in sequence.counts().items()}
        told, last = self._told[sequence.id], self._last[sequence.id]
        first = self.state.series(sequence.series, self._versions[sequence.id])
        key = orjson.dumps(dict(zip(first.key, sequence.key, strict=True))).decode()
        (earlier_at, earlier), (lately_at, lately) = sequence._earlier, sequence._lately
        return SequenceRow(
            self.sequence_at[sequence.id], sequence.id, sequence.series, self._versions[sequence.id], key,
            sequence.period, sequence.start, sequence.high_water, told.max_value, **counts,
            released=sequence.released(), remaining=told.left, percent=told.percent, per_day=told.per_day,
            exhausted_on=told.exhausted_on.isoformat() if told.exhausted_on else "",
            earlier_at=earlier_at, earlier_high_water=earlier, lately_at=lately_at, lately_high_water=lately,
            is_used=int(sequence.is_used), closed=self._period_closed.get(sequence.id, 0),
            changed_position=last.position, changed_at=last.recorded_at,
        )  # fmt: skip

    def _note_series(self, event: Event, entry: Entry) -> None:
        match event:
            case SeriesDefined(series=series) | SeriesAmended(series=series):
                self._defined[series.code, series.version] = entry
            case SeriesRetired(series=code):
                self._retired[code] = entry.position
            case SeriesReopened(series=code):
                del self._retired[code]
            case MaximumAdjusted() | PeriodOpened() | LedgerEvent():
                pass
            case ReservationEvent() | NumberEvent() | SequenceEvent():
                pass
            case _:
                assert_never(event)

    def _note_sequence(self, event: Event, entry: Entry) -> None:
        if event.place is None:
            return
        id = event.place.sequence
        self.sequence_at.setdefault(id, entry.position)
        self._last[id] = entry
        self._unevaluated.add(id)
        if isinstance(event, PeriodClosed):
            self._period_closed[id] = entry.position
        elif isinstance(event, PeriodReopened):
            del self._period_closed[id]

    def _note_reservation(self, event: Event, entry: Entry) -> None:
        match event:
            case NumbersReserved(numbering=numbering, token=token, ranges=ranges):
                count = count_of(ranges)
                self.reservations += 1
                self._open[token] = ReservationRow(
                    token, self.sequence_at[numbering.sequence], numbering.series, "RESERVED", count, count, 0,
                    text_of(ranges), entry.envelope.actor, entry.position, entry.recorded_at, event.expires_at,
                )  # fmt: skip
            case ReservationExtended(token=token, expires_at=expires_at):
                self._open[token].expires_at = expires_at
            case NumbersConfirmed(token=token, ranges=ranges):
                self._open[token].confirmed += count_of(ranges)
                self._let_go(token, "CONFIRMED", entry)
            case ReservationEnded(token=token):
                self._let_go(token, event.end.value, entry)
            case NumberEvent() | SequenceEvent() | SeriesEvent() | PeriodOpened() | LedgerEvent():
                pass
            case _:
                assert_never(event)

    def _let_go(self, token: str, state: str, entry: Entry) -> None:
        row, left = self._open[token], self.state.reservation(token)
        row.ranges, row.held = (text_of(left.ranges), count_of(left.ranges)) if left else ("", 0)
        if left is None:
            row.state = "CONFIRMED" if row.confirmed else state
            row.closed_position, row.closed_at = entry.position, entry.recorded_at
            self._closed.append(self._open.pop(token))

    def _note_replacement(self, event: Event) -> None:
        match event:
            case NumberVoided(numbering=of, value=value, replacement=replacement):
                if replacement:
                    number = self.number(of, of.document_date, of.attributes, value)
                    self._voids[replacement] = (of.sequence, value, number)
            case NumbersReserved():
                if self._voids:
                    self._note_replacing(event)
            case ReservationEvent() | NumberEvent() | SequenceEvent() | SeriesEvent() | PeriodOpened() | LedgerEvent():
                pass
            case _:
                assert_never(event)

    def _note_replacing(self, event: NumbersReserved) -> None:
        of = event.numbering
        for value in values_of(event.ranges):
            if (of.sequence, value) in self._voids:
                id, voided, number = self._voids.pop((of.sequence, value))
                # Not before: until then the value may still have the row of a number that was cancelled.
                self.replaces[of.sequence, value] = number
                self.replaced_by[id, voided] = self.number(of, of.document_date, of.attributes, value)

    def _evaluate(self) -> None:
        for id in self._unevaluated:
            sequence = self.state.sequence(id)
            assert sequence is not None
            series: Series = self.state.series_of(sequence)
            is_over = self.state.is_over(sequence)
            self._told[id] = Utilisation.of(sequence, series, self._last[id].recorded_at, is_over=is_over)
            self._versions[id] = series.version
        self._unevaluated.clear()


@dataclass(slots=True)
class _Met:
    """A value of which the events met so far do not say how it was given out."""

    state: ValueState
    cause: Entry
    confirmed_position: int = 0
    confirmed_at: int = 0
    document: str = ""


@dataclass
class Backward:
    """Events are taken from the newest back; `numbers` and `gaps` fill with what they complete.

    Numbers come without `earlier`, and gaps without `given_position`. `again` are values given out before the event
    that their row tells, with the position of that.
    """

    forward: Forward
    numbers: list[NumberRow] = field(default_factory=list)
    gaps: list[GapRow] = field(default_factory=list)
    links: list[LinkRow] = field(default_factory=list)
    again: list[tuple[str, int, int]] = field(default_factory=list)
    _met: dict[str, BitMap] = field(default_factory=dict)
    _waiting: dict[tuple[str, int], _Met] = field(default_factory=dict)
    _pools: dict[str, BitMap] = field(default_factory=dict)
    _documents: dict[tuple[str, int], str] = field(default_factory=dict)  # the last of those that were linked

    def drain(self) -> tuple[list[NumberRow], list[GapRow], list[LinkRow], list[tuple[str, int, int]]]:
        """Give what was completed since this was asked last."""
        drained = self.numbers, self.gaps, self.links, self.again
        self.numbers, self.gaps, self.links, self.again = [], [], [], []
        return drained

    def take(self, entry: Entry) -> None:
        match entry.event:
            case NumbersReserved(numbering=of, token=token, ranges=ranges):
                self._give(of, ranges, entry, token)
            case NumberAssigned(numbering=of, value=value, skipped=skipped):
                self._give(of, ((value, value),), entry, "")
                self._leave(of.sequence, skipped, ValueState.SKIPPED, entry)
            case NumbersImported() as event:
                for each in event.prints:
                    self._give(event, each.ranges, entry, "")
                self._leave(event.sequence, event.pre_control, ValueState.PRE_CONTROL, entry)
                self._leave(event.sequence, event.skipped, ValueState.SKIPPED, entry)
            case NumbersConfirmed() as event:
                self._confirm(event, entry)
                self._leave(event.numbering.sequence, event.released, ValueState.CANCELLED, entry)
            case NumberVoided(numbering=of, value=value):
                self._meet(of.sequence, ((value, value),), ValueState.VOIDED, entry)
            case NumberEvent() as event:
                self._link(event, entry)
            case ReservationEnded(numbering=of, ranges=ranges) as event:
                self._leave(of.sequence, ranges, event.end, entry)
            case SequenceAdjusted(sequence=id, skipped=skipped) | SequenceFenced(sequence=id, skipped=skipped):
                self._leave(id, skipped, ValueState.SKIPPED, entry)
            case StartLowered(sequence=id, pre_control=pre_control):
                self._leave(id, pre_control, ValueState.PRE_CONTROL, entry)
            case ReservationExtended() | SequenceEvent() | SeriesEvent() | PeriodOpened() | LedgerEvent():
                pass
            case _:
                assert_never(entry.event)

    def _link(self, event: Event, entry: Entry) -> None:
        """Note the documents that an event gave to numbers in the state in which they were."""
        id = event.sequence
        for value, original in event.originals(event.linked):
            assert id is not None
            self.links.append(LinkRow(self.forward.sequence_at[id], value, entry.position))
            self._documents.setdefault((id, value), original.document or "")

    def _meet(self, id: str, ranges: Ranges, state: ValueState, entry: Entry) -> BitMap:
        """Note the cause of the values that were not met yet; gives those."""
        met = self._met.setdefault(id, BitMap())
        new = BitMap()
        for first, last in ranges:
            new.add_range(first, last + 1)
        new -= met
        met |= new
        self._met[id] = met
        if state not in (ValueState.SKIPPED, ValueState.PRE_CONTROL) or isinstance(entry.event, ReservationFenced):
            self._waiting.update(((id, value), _Met(state, entry)) for value in new)
        return new

    def _leave(self, id: str, ranges: Ranges, state: ValueState, entry: Entry) -> None:
        new = self._meet(id, ranges, state, entry)
        if not new:
            return
        if id not in self._pools:
            self._pools[id] = self.forward.pool(id)
        pool, token = self._pools[id], entry.event.token or ""
        envelope = entry.envelope
        for first, last in runs(new):
            gap = GapRow(
                self.forward.sequence_at[id], first, last, state.value, entry.position, type(entry.event).__name__,
                envelope.actor, envelope.reason or "", token, entry.recorded_at, 0, int(first in pool),
            )  # fmt: skip
            self.gaps.append(gap)

    def _confirm(self, event: NumbersConfirmed, entry: Entry) -> None:
        id, own = event.numbering.sequence, dict(event.documents)
        self._meet(id, event.ranges, ValueState.CONFIRMED, entry)
        for value in values_of(event.ranges):
            met = self._waiting[id, value]
            met.confirmed_position, met.confirmed_at = entry.position, entry.recorded_at
            met.document = self._documents.pop((id, value), own.get(value, event.document) or "")

    def _give(self, of: Numbering | NumbersImported, ranges: Ranges, entry: Entry, token: str) -> None:
        """Complete the rows of values that an event gave out, unless a later one did so again."""
        id, is_held = of.sequence, isinstance(entry.event, NumbersReserved)
        state = ValueState.RESERVED if is_held else ValueState.CONFIRMED
        self._meet(id, ranges, state, entry)
        for value, original in entry.event.originals(ranges):
            met = self._waiting.pop((id, value), None)
            if met is None:
                self.again.append((id, value, entry.position))
                continue
            if not is_held:
                met.confirmed_position, met.confirmed_at = entry.position, entry.recorded_at
                met.document = self._documents.pop((id, value), original.document or "")
            self.numbers.append(self._row(of, value, original, met, entry, token))

    def _row(self, of: Place, value: int, original: Original, met: _Met, entry: Entry, token: str) -> NumberRow:
        cause, place, day = met.cause, (of.sequence, value), original.document_date
        number = self.forward.number(of, day, original.attributes, value)
        return NumberRow(
            self.forward.sequence_at[of.sequence], value, number, of.series, met.state.value, entry.position,
            cause.position, met.confirmed_position, type(cause.event).__name__, cause.envelope.actor,
            cause.envelope.reason or "", token, met.document, day.isoformat(), entry.recorded_at, met.confirmed_at,
            cause.recorded_at, self.forward.replaced_by.get(place, ""), self.forward.replaces.get(place, ""),
            date_is_derived=int(original.date_is_derived),
        )  # fmt: skip
