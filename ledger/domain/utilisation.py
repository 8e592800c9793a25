"""How full a sequence is, which warnings that gives, and when it will be exhausted at the present rate."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Self

from ledger.domain import calendar
from ledger.domain.sequence import Sequence
from ledger.domain.series import Reuse, Series

__all__ = ["Utilisation"]

DAY = 86_400 * calendar.MICROSECONDS


@dataclass(frozen=True, slots=True)
class Utilisation:
    """`left` values up to `max_value`; `percent` of all are used, rounded down; `warnings` are the thresholds reached.

    `per_day` is the rate of the last four weeks at most. `exhausted_on` is None when no value is reserved lately, or
    the values last longer than the period, or than the ledger's calendar. A sequence that `is_over`, because it is
    closed, or its series is retired or counts otherwise now, has nothing left and gives no warning.
    """

    max_value: int
    left: int
    percent: int
    warnings: tuple[int, ...]
    per_day: float
    exhausted_on: date | None

    @classmethod
    def of(cls, sequence: Sequence, series: Series, now: int, *, is_over: bool = False) -> Self:
        """Tell it at the instant `now`, by the latest version that counts in the sequence."""
        capacity = max(series.max_value - sequence.start + 1, 0)
        released = sequence.released() if series.definition.reuse is Reuse.GAPLESS else 0
        left = max(series.max_value - sequence.high_water, 0) + released
        used = capacity - left
        values, microseconds = sequence.pace(now)
        per_day = values * DAY / max(microseconds, DAY)
        percent = 100 * used // capacity if capacity else 100
        if is_over:
            return cls(series.max_value, 0, percent, (), per_day, None)
        return cls(
            series.max_value,
            left,
            percent,
            tuple(percent for percent in sorted(series.definition.warn_at_percent) if 100 * used >= percent * capacity),
            per_day,
            _exhausted_on(series, sequence.period, left, per_day, now),
        )


def _exhausted_on(series: Series, period: str, left: int, per_day: float, now: int) -> date | None:
    today = calendar.date_at(now, series.definition.timezone)
    if left and (not per_day or left / per_day > (calendar.LAST_DATE - today).days):
        return None
    day = today + timedelta(days=int(left / per_day) if left else 0)
    reset, start = series.definition.reset, series.fiscal_year_start
    following = calendar.following(period, reset, start)
    ends = calendar.first_day(following, reset, start) if following else None
    return day if ends is None or day < ends else None
