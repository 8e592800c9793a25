"""Fold a batch of events into rows, without I/O: from the rows that they touch to the rows to write.

What is needed of the stored rows is named by `needs` and `Needs.intervals`, and must have been loaded. Events have
happened: nothing here judges. The same events in any batches give the same rows.

A number that this batch gave out is still in memory and is changed there; one that was given out before is changed
where it is stored, by ranges (`changes`). All changes are written before any whole row: one is only noted while its
number is not in memory, so it comes before the event that put it there, whose row replaces all that it did.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple, assert_never

import orjson

from ledger.codec import Entry
from ledger.domain.events import (
    DocumentLinked,
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
    PeriodClosed,
    PeriodOpened,
    PeriodReopened,
    Place,
    ReservationEnded,
    ReservationEvent,
    ReservationExtended,
    SequenceAdjusted,
    SequenceEvent,
    SequenceFenced,
    SequenceReset,
    SeriesAmended,
    SeriesDefined,
    SeriesEvent,
    SeriesReopened,
    SeriesRetired,
    StartLowered,
)
from ledger.domain.ranges import Ranges, count_of, includes, ranges_of, values_of, without
from ledger.domain.sequence import RATE_WINDOW, ValueState
from ledger.domain.series import Reuse
from ledger.domain.template import Frame
from ledger.domain.utilisation import Utilisation
from projections.gaps import Gaps
from projections.known import Counter, Known, definition_text
from projections.rows import (
    GapRow,
    LinkRow,
    NumberRow,
    ReservationRow,
    SequenceRow,
    SeriesRow,
    ranges_from,
    text_of,
)

__all__ = ["Change", "Interval", "Needs", "Unit", "needs", "values_in"]

RESERVED, CONFIRMED, VOIDED = ValueState.RESERVED.value, ValueState.CONFIRMED.value, ValueState.VOIDED.value
CANCELLED, EXPIRED, SKIPPED = ValueState.CANCELLED.value, ValueState.EXPIRED.value, ValueState.SKIPPED.value
PRE_CONTROL = ValueState.PRE_CONTROL.value

COUNTS = {state.value: state.value.lower() for state in ValueState}

# Gaps this near to one another are loaded together: reading some for nothing costs less than asking again.
NEAR = 256


class Interval(NamedTuple):
    """Values of a sequence, of which the gaps are needed."""

    sequence_at: int
    first: int
    last: int


@dataclass(slots=True)
class Change:
    """What becomes of stored numbers; '' and 0 leave `confirmed_…`, `document`, `replaced_by` as they are."""

    state: str
    changed_position: int
    event: str
    actor: str
    reason: str
    changed_at: int
    confirmed_position: int
    confirmed_at: int
    document: str
    replaced_by: str
    sequence_at: int
    first: int
    last: int


@dataclass(slots=True)
class Needs:
    """The rows that a batch needs: sequences by id, reservations by token, and what it may take from gaps."""

    sequences: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    taken: dict[str, list[Ranges]] = field(default_factory=dict)

    def intervals(self, sequences: Mapping[str, SequenceRow]) -> list[Interval]:
        """Say which gaps are needed, when the rows of the sequences are there: only those were passed before."""
        found = []
        for id, taken in self.taken.items():
            row = sequences.get(id)
            if row is not None:
                passed = [each for ranges in taken for each in ranges if each[0] <= row.high_water]
                found += [Interval(row.sequence_at, *each) for each in _merged(passed)]
        return found


def needs(events: Iterable[Event]) -> Needs:
    """Say what a batch needs."""
    found = Needs()
    begun: set[str] = set()
    for event in events:
        match event:
            case NumbersReserved():
                begun.add(event.token)
            case ReservationEvent():
                found.tokens.add(event.token)
            case NumberEvent() | SequenceEvent() | SeriesEvent() | PeriodOpened() | LedgerEvent():
                pass
            case _:
                assert_never(event)
        sequence = event.sequence
        if sequence is not None:
            found.sequences.add(sequence)
            taken = _taken(event)
            if taken:
                found.taken.setdefault(sequence, []).extend(taken)
    found.tokens -= begun
    return found


def values_in(event: Event) -> int:
    """Count the numbers of which an event makes or changes the rows."""
    match event:
        case NumbersReserved(ranges=ranges) | ReservationEnded(ranges=ranges):
            return count_of(ranges)
        case NumbersConfirmed(ranges=ranges, released=released):
            return count_of(ranges) + count_of(released)
        case NumbersImported(prints=prints):
            return sum(count_of(each.ranges) for each in prints)
        case NumberAssigned() | NumberVoided() | DocumentLinked():
            return 1
        case ReservationExtended() | SequenceEvent() | SeriesEvent() | PeriodOpened() | LedgerEvent():
            return 0
        case _:
            assert_never(event)


def _taken(event: Event) -> list[Ranges]:
    match event:
        case NumbersReserved(ranges=ranges):
            return [ranges]
        case NumbersImported(prints=prints):
            return [each.ranges for each in prints]
        case NumberAssigned(value=value):
            return [((value, value),)]
        case NumbersConfirmed() | ReservationExtended() | ReservationEnded() | NumberVoided() | DocumentLinked():
            return []
        case SequenceEvent() | SeriesEvent() | PeriodOpened() | LedgerEvent():
            return []
        case _:
            assert_never(event)


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first - merged[-1][1] <= NEAR:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


@dataclass(frozen=True, slots=True)
class _Cause:
    """An event as the rows tell it."""

    position: int
    event: str
    actor: str
    reason: str
    at: int


class Unit:
    """One batch. `known` holds the rows of `needs`, as far as they are stored, and is changed in place."""

    def __init__(self, known: Known, gaps: Iterable[GapRow] = ()) -> None:
        self.known = known
        self.gaps = Gaps(gaps)
        self.changes: list[Change] = []
        self.documents: list[tuple[str, int, int]] = []  # of stored numbers, by sequence and value; after the changes
        self.links: list[LinkRow] = []
        self.emptied: list[int] = []  # sequences of which nothing that was released before comes back
        self.series: dict[tuple[str, int], SeriesRow] = {}
        self.sequences: dict[str, SequenceRow] = {}
        self.reservations: dict[str, ReservationRow] = {}
        self._numbers: dict[int, dict[int, NumberRow]] = {}
        self._stored: set[tuple[int, int]] = set()  # of those, what replaces a stored row
        self._unevaluated: dict[str, SequenceRow] = {}
        self._awaited: dict[tuple[str, int], tuple[str, NumberRow | Change]] = {}

    def inserted(self) -> list[NumberRow]:
        """Give the rows of numbers that were never given out before."""
        return [row for row in self._all() if (row.sequence_at, row.value) not in self._stored]

    def reissued(self) -> list[NumberRow]:
        """Give the rows of numbers that replace stored ones."""
        return [row for row in self._all() if (row.sequence_at, row.value) in self._stored] if self._stored else []

    def finish(self) -> None:
        """Bring what is told of the use of sequences up to date, after the last event."""
        self._evaluate(list(self._unevaluated))

    def take(self, entry: Entry) -> None:
        event, envelope = entry.event, entry.envelope
        cause = _Cause(entry.position, type(event).__name__, envelope.actor, envelope.reason or "", entry.recorded_at)
        match event:
            case NumbersReserved():
                self._reserved(event, cause)
            case NumbersConfirmed():
                self._confirmed(event, cause)
            case ReservationEnded(token=token, ranges=ranges):
                self._settled(event.sequence, token, ranges, event.end.value, cause)
            case ReservationExtended(expires_at=expires_at):
                self._reservation(event.token).expires_at = expires_at
            case NumbersImported():
                self._imported(event, cause)
            case NumberAssigned():
                self._assigned(event, cause)
            case NumberVoided():
                self._voided(event, cause)
            case DocumentLinked():
                self._linked(event, cause)
            case SequenceAdjusted(skipped=skipped):
                self._skip(self._begun(event, cause), skipped, SKIPPED, cause)
            case StartLowered():
                self._lowered(event, cause)
            case SequenceFenced(skipped=skipped):
                row = self._begun(event, cause)
                self._skip(row, skipped, SKIPPED, cause)
                self._empty(row)
            case SequenceReset():
                self._begun(event, cause, event.start)
            case PeriodClosed():
                self._close(event, cause)
            case PeriodReopened():
                self._begun(event, cause).closed = 0
            case SeriesDefined() | SeriesAmended():
                self._defined(event, cause)
            case MaximumAdjusted(series=code, max_value=max_value):
                self._maximum(code, max_value)
            case SeriesRetired(series=code):
                self._retired(code, cause.position)
            case SeriesReopened(series=code):
                self._retired(code, 0)
            case PeriodOpened() | LedgerEvent():
                pass  # its sequences begin with their first use, and what it ends has events of its own
            case _:
                assert_never(event)

    # Giving numbers out

    def _reserved(self, event: NumbersReserved, cause: _Cause) -> None:
        numbering = event.numbering
        row = self._begun(numbering, cause)
        row.is_used = 1
        if cause.at - row.lately_at >= RATE_WINDOW:
            row.earlier_at, row.earlier_high_water = row.lately_at, row.lately_high_water
            row.lately_at, row.lately_high_water = cause.at, row.high_water
        given = self._pass(row, event.ranges)
        row.reserved += (count := count_of(event.ranges))
        self._give(
            row, numbering, numbering.document_date, numbering.attributes, event.ranges, given, cause, event.token,
            is_derived=numbering.date_is_derived,
        )  # fmt: skip
        reservation = ReservationRow(
            event.token, row.sequence_at, row.series, RESERVED, count, count, 0, text_of(event.ranges), cause.actor,
            cause.position, cause.at, event.expires_at,
        )  # fmt: skip
        self.reservations[event.token] = self.known.reservations[event.token] = reservation
        if self._awaited:
            self._replace(numbering, event.ranges)

    def _imported(self, event: NumbersImported, cause: _Cause) -> None:
        row = self._begun(event, cause)
        row.is_used = 1
        self._skip(row, event.pre_control, PRE_CONTROL, cause)
        self._skip(row, event.skipped, SKIPPED, cause)
        for each in event.prints:
            given = self._place(row, each.ranges)
            row.confirmed += count_of(each.ranges)
            self._give(
                row, event, each.document_date, each.attributes, each.ranges, given, cause,
                state=CONFIRMED, is_derived=each.date_is_derived,
            )  # fmt: skip
        for value, document in event.documents:
            self._numbers[row.sequence_at][value].document = document

    def _assigned(self, event: NumberAssigned, cause: _Cause) -> None:
        numbering, ranges = event.numbering, ((event.value, event.value),)
        row = self._begun(numbering, cause)
        row.is_used = 1
        self._skip(row, event.skipped, SKIPPED, cause)
        given = self._place(row, ranges)
        row.confirmed += 1
        self._give(
            row, numbering, numbering.document_date, numbering.attributes, ranges, given, cause,
            state=CONFIRMED, document=event.document, is_derived=numbering.date_is_derived,
        )  # fmt: skip

    def _give(
        self,
        row: SequenceRow,
        of: Place,
        day: date,
        attributes: tuple[tuple[str, str], ...],
        ranges: Ranges,
        given: Mapping[int, int],
        cause: _Cause,
        token: str = "",
        state: str = RESERVED,
        document: str = "",
        is_derived: bool = False,
    ) -> None:
        """Make the rows of values; `given` maps those that were given out before to the position of that."""
        frame: Frame = self.known.state.series(of.series, of.series_version).frame(of.key, attributes, day)
        confirmed = (cause.position, cause.at) if state == CONFIRMED else (0, 0)
        sequence_at, document_date, mark = row.sequence_at, day.isoformat(), int(is_derived)
        numbers = self._numbers.setdefault(sequence_at, {})
        for first, last in ranges:
            for value in range(first, last + 1):
                earlier = given.get(value, 0)
                if earlier and value not in numbers:
                    self._stored.add((sequence_at, value))
                numbers[value] = NumberRow(
                    sequence_at, value, frame.number(value), of.series, state, cause.position, cause.position,
                    confirmed[0], cause.event, cause.actor, cause.reason, token, document, document_date,
                    cause.at, confirmed[1], cause.at, "", "", earlier, mark,
                )  # fmt: skip

    def _pass(self, row: SequenceRow, ranges: Ranges) -> dict[int, int]:
        """Take values out of gaps, and move the high water; gives what of them was given out before, and where."""
        given: dict[int, int] = {}
        if ranges[0][0] <= row.high_water:
            for part in self.gaps.take(row.sequence_at, ranges):
                count = part.last - part.first + 1
                _add(row, part.state, -count)
                row.released -= count * part.released
                if part.given_position:
                    given.update(dict.fromkeys(range(part.first, part.last + 1), part.given_position))
        row.high_water = max(row.high_water, ranges[-1][1])
        return given

    def _place(self, row: SequenceRow, ranges: Ranges) -> dict[int, int]:
        """Pass values that do not count for the rate."""
        before = row.high_water
        given = self._pass(row, ranges)
        row.earlier_high_water += row.high_water - before
        row.lately_high_water += row.high_water - before
        return given

    def _skip(self, row: SequenceRow, ranges: Ranges, state: str, cause: _Cause) -> None:
        if ranges:
            self._place(row, ranges)
            _add(row, state, count_of(ranges))
            self._gap(row.sequence_at, ranges, state, cause)

    def _gap(
        self, sequence_at: int, ranges: Ranges, state: str, cause: _Cause, given: int = 0, token: str = "", *,
        released: bool = False,
    ) -> None:  # fmt: skip
        for first, last in ranges:
            row = GapRow(
                sequence_at, first, last, state, cause.position, cause.event, cause.actor, cause.reason, token,
                cause.at, given, int(released),
            )  # fmt: skip
            self.gaps.add(row)

    # Ends

    def _confirmed(self, event: NumbersConfirmed, cause: _Cause) -> None:
        reservation = self._reservation(event.token)
        row = self._touch(self.known.sequences[event.numbering.sequence], cause)
        count = count_of(event.ranges)
        row.reserved -= count
        row.confirmed += count
        reservation.confirmed += count
        self._change_each(row, event, cause)
        self._let_go(reservation, event.ranges, CONFIRMED, cause)
        if event.released:
            self._settled(row.id, event.token, event.released, CANCELLED, cause)

    def _change_each(self, row: SequenceRow, event: NumbersConfirmed, cause: _Cause) -> None:
        own = dict(event.documents)
        rest = without(event.ranges, ranges_of(own)) if own else event.ranges
        self._change(row, rest, CONFIRMED, cause, event.document or "")
        for value, document in own.items():
            self._change(row, ((value, value),), CONFIRMED, cause, document)

    def _settled(self, id: str, token: str, ranges: Ranges, state: str, cause: _Cause) -> None:
        """Record that reserved values became a gap: released if their series is gapless now, and no restore did it."""
        reservation = self._reservation(token)
        row = self._touch(self.known.sequences[id], cause)
        count = count_of(ranges)
        row.reserved -= count
        _add(row, state, count)
        released = state != SKIPPED and self.known.state.series_now(row.series).definition.reuse is Reuse.GAPLESS
        row.released += count * released
        self._change(row, ranges, state, cause)
        self._gap(row.sequence_at, ranges, state, cause, reservation.position, token, released=released)
        self._let_go(reservation, ranges, state, cause)

    def _let_go(self, reservation: ReservationRow, ranges: Ranges, state: str, cause: _Cause) -> None:
        left = without(ranges_from(reservation.ranges), ranges)
        reservation.ranges, reservation.held = text_of(left), count_of(left)
        if not left:
            reservation.state = CONFIRMED if reservation.confirmed else state
            reservation.closed_position, reservation.closed_at = cause.position, cause.at
            self.known.reservations.pop(reservation.token, None)

    def _voided(self, event: NumberVoided, cause: _Cause) -> None:
        numbering, value = event.numbering, event.value
        row = self._touch(self.known.sequences[numbering.sequence], cause)
        row.confirmed -= 1
        row.voided += 1
        (changed,) = self._change(row, ((value, value),), VOIDED, cause)
        if event.replacement:
            self._awaited[event.replacement] = (self._frame(numbering).number(value), changed)

    def _linked(self, event: DocumentLinked, cause: _Cause) -> None:
        """Change a number's document alone: the cause of its state stays what it is."""
        row = self._touch(self.known.sequences[event.sequence], cause)
        self.links.append(LinkRow(row.sequence_at, event.value, cause.position))
        here = self._numbers.get(row.sequence_at, {}).get(event.value)
        if here is None:
            self.documents.append((event.document, row.sequence_at, event.value))
        else:
            here.document = event.document

    def _replace(self, numbering: Numbering, ranges: Ranges) -> None:
        """Tell a voided number which one replaces it, and that one which it replaces; both are of one command."""
        for place, (voided, changed) in list(self._awaited.items()):
            if place[0] == numbering.sequence and includes(ranges, place[1]):
                row = self._numbers[self.sequences[numbering.sequence].sequence_at][place[1]]
                row.replaces, changed.replaced_by = voided, row.number
                del self._awaited[place]

    def _change(
        self, row: SequenceRow, ranges: Ranges, state: str, cause: _Cause, document: str = ""
    ) -> list[NumberRow | Change]:
        """Move numbers to another state: those in memory there, the others by ranges where they are stored."""
        numbers = self._numbers.get(row.sequence_at, {})
        here = [value for value in values_of(ranges) if value in numbers] if numbers else []
        for value in here:
            _change_here(numbers[value], state, cause, document)
        there = without(ranges, ranges_of(here)) if here else ranges
        changes = [_change(row.sequence_at, each, state, cause, document) for each in there]
        self.changes += changes
        return [*(numbers[value] for value in here), *changes]

    # Sequences

    def _begun(self, of: Place, cause: _Cause, start: int | None = None) -> SequenceRow:
        """Give the sequence to change; that of a series that never resets begins with what first happens to it."""
        row = self.known.sequences.get(of.sequence)
        if row is None:
            row = self.known.sequences[of.sequence] = self._begin(of, cause, start)
        return self._touch(row, cause)

    def _begin(self, of: Place, cause: _Cause, start: int | None) -> SequenceRow:
        is_first = self.known.state.first_used(of.series) is None
        series = self.known.use(of)
        if is_first:
            for row in self._versions(of.series):
                row.first_used = series.version
        start = series.definition.start if start is None else start
        key = orjson.dumps(dict(zip(series.key, of.key, strict=True))).decode()
        return SequenceRow(cause.position, of.sequence, of.series, of.series_version, key, of.period, start, start - 1)

    def _lowered(self, event: StartLowered, cause: _Cause) -> None:
        """Count from an earlier start on. Nothing below that of before was passed, so no gap is in the way."""
        row = self._begun(event, cause)
        row.start = event.start
        _add(row, PRE_CONTROL, count_of(event.pre_control))
        self._gap(row.sequence_at, event.pre_control, PRE_CONTROL, cause)

    def _touch(self, row: SequenceRow, cause: _Cause) -> SequenceRow:
        row.changed_position, row.changed_at = cause.position, cause.at
        self.sequences[row.id] = self._unevaluated[row.id] = row
        return row

    def _close(self, event: PeriodClosed, cause: _Cause) -> None:
        row = self._begun(event, cause, event.start)
        row.closed = cause.position
        self._empty(row)

    def _empty(self, row: SequenceRow) -> None:
        row.released = 0
        self.emptied.append(row.sequence_at)
        self.gaps.empty(row.sequence_at)

    def _evaluate(self, ids: Sequence[str]) -> None:
        """Tell the use of sequences as of their last events, by the series as it is between those and now."""
        state = self.known.state
        for id in ids:
            row = self._unevaluated.pop(id)
            counter = Counter(row)
            series = state.series_of(counter)
            told = Utilisation.of(counter, series, row.changed_at, is_over=state.is_over(counter))
            row.version, row.max_value, row.remaining = series.version, told.max_value, told.left
            row.percent, row.per_day = told.percent, told.per_day
            row.exhausted_on = told.exhausted_on.isoformat() if told.exhausted_on else ""

    # Series

    def _defined(self, event: SeriesDefined | SeriesAmended, cause: _Cause) -> None:
        code = event.series.code
        before = self._before(code)
        self.known.state.put_series(event.series)
        series = self.known.state.series_now(code)
        for row in before:
            row.present = 0
        row = SeriesRow(
            code, series.version, 1, definition_text(series), series.max_value, series.era,
            self.known.state.first_used(code) or 0, before[-1].retired if before else 0, cause.position, cause.at,
            cause.actor,
        )  # fmt: skip
        self.known.series.setdefault(code, {})[series.version] = self.series[code, series.version] = row

    def _maximum(self, code: str, max_value: int) -> None:
        row = self._before(code)[-1]
        self.known.state.put_maximum(code, max_value)
        row.max_value, row.definition = max_value, definition_text(self.known.state.series_now(code))

    def _retired(self, code: str, position: int) -> None:
        """Note where a series was retired; 0 when it issues numbers again."""
        for row in self._before(code):
            row.retired = position
        self.known.state.put_retired(code, position > 0)

    def _before(self, code: str) -> list[SeriesRow]:
        """Give the versions of a series that is about to change, after telling what was true before."""
        self._evaluate([id for id, row in self._unevaluated.items() if row.series == code])
        return self._versions(code)

    def _versions(self, code: str) -> list[SeriesRow]:
        rows = [row for _, row in sorted(self.known.series.get(code, {}).items())]
        self.series.update(((code, row.version), row) for row in rows)
        return rows

    # Looking up

    def _all(self) -> Iterable[NumberRow]:
        return (row for rows in self._numbers.values() for row in rows.values())

    def _reservation(self, token: str) -> ReservationRow:
        row = self.reservations.get(token)
        if row is None:
            row = self.reservations[token] = self.known.reservations[token]
        return row

    def _frame(self, numbering: Numbering) -> Frame:
        series = self.known.state.series(numbering.series, numbering.series_version)
        return series.frame(numbering.key, numbering.attributes, numbering.document_date)


def _change(sequence_at: int, values: tuple[int, int], state: str, cause: _Cause, document: str) -> Change:
    confirmed = (cause.position, cause.at) if state == CONFIRMED else (0, 0)
    return Change(
        state, cause.position, cause.event, cause.actor, cause.reason, cause.at, *confirmed, document, "",
        sequence_at, *values,
    )  # fmt: skip


def _change_here(row: NumberRow, state: str, cause: _Cause, document: str) -> None:
    row.state, row.changed_position, row.changed_at = state, cause.position, cause.at
    row.event, row.actor, row.reason = cause.event, cause.actor, cause.reason
    if state == CONFIRMED:
        row.confirmed_position, row.confirmed_at, row.document = cause.position, cause.at, document


def _add(row: SequenceRow, state: str, count: int) -> None:
    name = COUNTS[state]
    setattr(row, name, getattr(row, name) + count)
