"""What a command does, in numbers: for its dry run, and for the refusal of an act that must be accepted first.

An effect is measured, not foretold: the events of the command are folded on a branch of the state, and each sequence
and series is compared with what it was. So a dry run tells what the same command then does on the same state.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from ledger.domain import calendar
from ledger.domain.events import (
    Event,
    LedgerEvent,
    MaximumAdjusted,
    NumberAssigned,
    NumberEvent,
    NumbersImported,
    PeriodOpened,
    ReservationEvent,
    SequenceAdjusted,
    SequenceEvent,
    SequenceFenced,
    SequenceReset,
    SeriesAmended,
    SeriesDefined,
    SeriesEvent,
    SeriesReopened,
    SeriesRetired,
)
from ledger.domain.evolve import evolve
from ledger.domain.ranges import Ranges, count_of
from ledger.domain.sequence import Sequence as Counted
from ledger.domain.state import State
from ledger.domain.utilisation import Utilisation

__all__ = ["Effect", "OpenedPeriod", "SequenceEffect", "SeriesEffect", "effect_of", "left_in", "skips"]

MAX_TOLD = 100  # sequences of one effect; the sums are of all
MAX_RANGES = 20  # of what one sequence skips


@dataclass(frozen=True, slots=True)
class SequenceEffect:
    """What becomes of a sequence; pairs are before and after. `left` counts the values that it can still issue."""

    sequence: str
    period: str
    begins: bool
    closed: tuple[bool, bool]
    high_water: tuple[int, int]
    passed: int  # values in all, after
    left: tuple[int, int]
    skipped: Ranges
    skipped_by_restores: int
    open_reservations: int

    def told(self) -> dict[str, object]:
        skipped = count_of(self.skipped)
        return {
            "sequence": self.sequence,
            "period": self.period,
            "begins": self.begins,
            "closed": self.closed[1],
            "high_water_before": self.high_water[0],
            "high_water_after": self.high_water[1],
            "left_before": self.left[0],
            "left_after": self.left[1],
            "skipped": skipped,
            "ranges": [{"first": first, "last": last} for first, last in self.skipped[:MAX_RANGES]],
            "percent_of_left": _percent(skipped, self.left[0]),
            "skipped_by_restores": self.skipped_by_restores,
            "open_reservations": self.open_reservations,
        }


@dataclass(frozen=True, slots=True)
class SeriesEffect:
    """What becomes of a series; pairs are before and after, and None before it is defined.

    `ended` counts the sequences that could issue numbers before and cannot after.
    """

    series: str
    version: tuple[int | None, int]
    max_value: tuple[int | None, int]
    retired: bool
    ended: int

    def told(self) -> dict[str, object]:
        return {
            "series": self.series,
            "version_before": self.version[0],
            "version_after": self.version[1],
            "max_value_before": self.max_value[0],
            "max_value_after": self.max_value[1],
            "retired": self.retired,
            "sequences_ended": self.ended,
        }


@dataclass(frozen=True, slots=True)
class OpenedPeriod:
    """A period that may be used before its time; `days_ahead` counts from today in the zone of the series."""

    series: str
    period: str
    first_day: str
    days_ahead: int

    def told(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("series", "period", "first_day", "days_ahead")}


@dataclass(frozen=True, slots=True)
class Effect:
    """What a command does; `sequences` are all that it changes, in the order of their ids."""

    sequences: tuple[SequenceEffect, ...]
    series: tuple[SeriesEffect, ...]
    opened: tuple[OpenedPeriod, ...]

    @property
    def skipped(self) -> int:
        """The values that the command skips, apart from what it skips for a restore."""
        return sum(count_of(each.skipped) for each in self.sequences)

    @property
    def percent_skipped(self) -> float:
        """The part of what is left that is skipped, in percent."""
        return _percent(self.skipped, self.left[0])

    @property
    def left(self) -> tuple[int, int]:
        """How many values the sequences can issue, before and after."""
        return sum(each.left[0] for each in self.sequences), sum(each.left[1] for each in self.sequences)

    @property
    def open_reservations(self) -> int:
        return sum(each.open_reservations for each in self.sequences)

    def told(self) -> dict[str, object]:
        """Returns the effect as JSON: the sums, the parts, and in words what can no longer be done afterwards."""
        return {
            "skipped": self.skipped,
            "percent_of_left": self.percent_skipped,
            "left_before": self.left[0],
            "left_after": self.left[1],
            "open_reservations": self.open_reservations,
            "sequences_concerned": len(self.sequences),
            "sequences": [each.told() for each in self.sequences[:MAX_TOLD]],
            "series": [each.told() for each in self.series[:MAX_TOLD]],
            "opened": [each.told() for each in self.opened],
            "afterwards": list(self.afterwards()),
        }

    def afterwards(self) -> Iterator[str]:
        """Yields what can no longer be done when the command has been carried out."""
        if self.skipped:
            yield f"{self.skipped} skipped values are not issued any more, except by assign or import"
        for each in self.series[:MAX_TOLD]:
            yield from _after_series(each)
        closed = [each for each in self.sequences if each.closed == (False, True)]
        for sequence in closed[:MAX_TOLD]:
            yield _after_closing(sequence)
        for opened in self.opened:
            yield (
                f"period {opened.period} of series {opened.series} stays open: it takes numbers from now on, and can "
                "only be closed"
            )


def _after_series(effect: SeriesEffect) -> Iterator[str]:
    if effect.retired:
        yield (
            f"series {effect.series} issues no more numbers and cannot be amended, unless it is reopened; no other "
            "series may print its numbers"
        )
    elif effect.ended:
        yield f"{effect.ended} sequences of series {effect.series} take only void and link"


def _after_closing(effect: SequenceEffect) -> str:
    start = f"sequence {effect.sequence} issues no more numbers, and its {effect.left[0]} remaining values stay unused"
    if not effect.passed:
        return f"{start}; it passed no value, so it can be reopened"
    return f"{start}; its numbers can only be voided or linked"


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


# Measuring


def skips(events: Iterable[Event]) -> dict[str, Ranges]:
    """Returns what the command itself skips in each sequence; what a sequence owes to a restore is not among it."""
    found: dict[str, Ranges] = {}
    for event in events:
        match event:
            case SequenceAdjusted(skipped=skipped) | NumbersImported(skipped=skipped):
                found[event.sequence] = found.get(event.sequence, ()) + skipped
            case NumberAssigned(numbering=numbering, skipped=skipped):
                found[numbering.sequence] = found.get(numbering.sequence, ()) + skipped
            case SequenceEvent() | NumberEvent() | ReservationEvent() | SeriesEvent() | PeriodOpened() | LedgerEvent():
                pass
            case _:
                assert_never(event)
    return {id: ranges for id, ranges in found.items() if ranges}


def left_in(state: State, sequence: Counted, now: int) -> int:
    """Count the values that a sequence can still issue; one that has not begun counts by the present version."""
    has_begun = state.sequence(sequence.id) is not None
    series = state.series_of(sequence) if has_begun else state.series_now(sequence.series)
    return Utilisation.of(sequence, series, now, is_over=state.is_over(sequence)).left


def effect_of(state: State, events: Sequence[Event], now: int) -> Effect:
    """Returns what `events`, decided on `state` at the instant `now`, do to it; `state` stays as it is."""
    after = state.branch()
    for event in events:
        evolve(after, event, now)
    codes = list(dict.fromkeys(code for event in events if (code := _series_of(event)) is not None))
    ids = {event.place.sequence for event in events if event.place is not None}
    whole = {each.id for each in state.sequences() if each.series in codes} if codes else set[str]()
    measured = _Measured(state, after, now, skips(events), _fenced(events))
    sequences = tuple(measured.sequence(id) for id in sorted(ids | whole) if id in ids or measured.changes(id))
    return Effect(
        sequences,
        tuple(measured.series(code) for code in sorted(codes)),
        tuple(_opened(after, event, now) for event in events if isinstance(event, PeriodOpened | SequenceReset)),
    )


def _series_of(event: Event) -> str | None:
    """Returns the series that an event changes as a whole."""
    match event:
        case SeriesDefined(series=series) | SeriesAmended(series=series):
            return series.code
        case MaximumAdjusted(series=code) | SeriesRetired(series=code) | SeriesReopened(series=code):
            return code
        case SequenceEvent() | NumberEvent() | ReservationEvent() | PeriodOpened() | LedgerEvent():
            return None
        case _:
            assert_never(event)


def _fenced(events: Iterable[Event]) -> dict[str, int]:
    return {each.sequence: count_of(each.skipped) for each in events if isinstance(each, SequenceFenced)}


def _opened(state: State, event: PeriodOpened | SequenceReset, now: int) -> OpenedPeriod:
    series = state.series(event.series, event.series_version)
    first = calendar.first_day(event.period, series.definition.reset, series.fiscal_year_start)
    assert first is not None
    today = calendar.date_at(now, series.definition.timezone)
    return OpenedPeriod(series.code, event.period, first.isoformat(), (first - today).days)


class _Measured:
    """Two states to compare: before the events of a command, and after."""

    def __init__(
        self, before: State, after: State, now: int, skipped: Mapping[str, Ranges], fenced: Mapping[str, int]
    ) -> None:
        self._before = before
        self._after = after
        self._now = now
        self._skipped = skipped
        self._fenced = fenced
        self._held = Counter(each.numbering.sequence for each in before.reservations() if now < each.expires_at)

    def sequence(self, id: str) -> SequenceEffect:
        after = self._after.sequence(id)
        assert after is not None
        known = self._before.sequence(id)
        before = known or Counted(id, after.series, after.key, after.period, after.start)
        return SequenceEffect(
            id,
            after.period,
            known is None,
            (before.closed, after.closed),
            (before.high_water, after.high_water),
            after.high_water - after.start + 1,
            (left_in(self._before, before, self._now), left_in(self._after, after, self._now)),
            self._skipped.get(id, ()),
            self._fenced.get(id, 0),
            self._held[id],
        )

    def changes(self, id: str) -> bool:
        """Say whether a sequence can issue another number of values after the events than before."""
        before, after = self._before.sequence(id), self._after.sequence(id)
        assert before is not None
        assert after is not None
        return left_in(self._before, before, self._now) != left_in(self._after, after, self._now)

    def series(self, code: str) -> SeriesEffect:
        before, after = self._before.versions(code), self._after.series_now(code)
        mine = [each for each in self._before.sequences() if each.series == code] if before else []
        return SeriesEffect(
            code,
            (before[-1].version if before else None, after.version),
            (before[-1].max_value if before else None, after.max_value),
            self._after.is_retired(code),
            sum(not self._before.is_over(each) and self._after.is_over(each) for each in mine),
        )
