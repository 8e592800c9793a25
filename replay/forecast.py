"""What a restore is about to do, for an operator who decides whether it shall: each number that it would cost, by name.

It is made of the events that the fence consists of, so it tells neither more nor less than what is going to happen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ledger.domain import calendar
from ledger.domain.commands import Fence
from ledger.domain.decide import decide
from ledger.domain.events import Event, PeriodClosed, ReservationFenced, SequenceEvent, SequenceFenced
from ledger.domain.ranges import count_of
from ledger.domain.rejection import Rejection
from ledger.domain.series import Reuse, Series
from ledger.domain.state import State
from replay.fence import Margin

__all__ = ["Forecast", "Skip", "forecast"]


@dataclass(frozen=True, slots=True)
class Skip:
    """What one sequence loses: the values `first` to `last` are skipped, and `left` remain up to its maximum.

    One that `is_closed` skips none, and issues none any more. `numbers` are the first and the last that are skipped, as
    they would be printed in a document of now; None where that needs attributes that only a document has.
    """

    sequence: str
    series: str
    first: int
    last: int
    left: int
    is_gapless: bool
    is_closed: bool
    numbers: tuple[str, str] | None

    @property
    def count(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Forecast:
    """A restore up to `cut`, whose last event was recorded at `cut_time`.

    `fence` is the command by which it ends, or None where nothing can be missing, for the reason `complete`.
    """

    ledger_id: str
    cut: int
    cut_time: int
    complete: str | None = None
    fence: Fence | None = None
    margin: Margin | None = None
    skips: Sequence[Skip] = ()
    ended: Sequence[ReservationFenced] = field(default=())

    @property
    def margins(self) -> Mapping[str, int]:
        """The series that have a margin of their own."""
        return dict(self.fence.margins) if self.fence else {}

    @property
    def closed(self) -> tuple[str, ...]:
        """The sequences that the margin would exhaust."""
        return tuple(each.sequence for each in self.skips if each.is_closed)

    def unasked(self) -> list[Skip]:
        """Give what gapless sequences would skip by a margin that nobody gave."""
        if self.margin is None or self.margin.is_given:
            return []
        return [each for each in self.skips if each.is_gapless and each.series not in self.margins and _costs(each)]


def forecast(ledger_id: str, state: State, fence: Fence, margin: Margin, now: int) -> Forecast:
    """Tell what a fence will do to a log that folds to `state`; raises the Rejection of one that cannot be."""
    events = decide(state, fence, now)
    if isinstance(events, Rejection):
        raise events
    skips = [_skip(state, event, now) for event in events if isinstance(event, SequenceFenced | PeriodClosed)]
    ended = [event for event in events if isinstance(event, ReservationFenced)]
    return Forecast(ledger_id, fence.cut_position, fence.cut_time, None, fence, margin, skips, ended)


def _costs(skip: Skip) -> bool:
    return skip.count > 0 or skip.is_closed


def _skip(state: State, event: SequenceFenced | PeriodClosed, now: int) -> Skip:
    sequence = state.sequence(event.sequence)
    assert sequence is not None
    series = state.series_of(sequence)
    is_closed = isinstance(event, PeriodClosed)
    first, count = sequence.high_water + 1, count_of(_skipped(event))
    last = first + count - 1
    left = 0 if is_closed else max(series.max_value - last, 0)
    is_gapless = state.series_now(event.series).definition.reuse is Reuse.GAPLESS
    numbers = _numbers(series, event, first, last, now) if count else None
    return Skip(event.sequence, event.series, first, last, left, is_gapless, is_closed, numbers)


def _skipped(event: Event) -> tuple[tuple[int, int], ...]:
    return event.skipped if isinstance(event, SequenceFenced) else ()


def _numbers(series: Series, of: SequenceEvent, first: int, last: int, now: int) -> tuple[str, str] | None:
    attributes = tuple((name, each.default) for name, each in sorted(series.definition.attributes.items()))
    if any(default is None for _, default in attributes):
        return None
    today = calendar.date_at(now, series.definition.timezone)
    begins = calendar.first_day(of.period, series.definition.reset, series.fiscal_year_start)
    day = today if begins is None or series.period(today) == of.period else begins
    frame = series.frame(of.key, tuple((name, default or "") for name, default in attributes), day)
    return frame.number(first), frame.number(last)
