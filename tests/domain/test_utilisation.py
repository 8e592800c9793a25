from datetime import date

import pytest

from ledger.domain.calendar import Reset
from ledger.domain.commands import Cancel, DefineSeries, RaiseFormat, Reserve, ResetSequence
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.series import Reuse
from ledger.domain.utilisation import Utilisation
from tests.given import SECOND, Story, series

DAY = 86_400 * SECOND


def told(story: Story, id: str = "S:-") -> Utilisation:
    return Utilisation.of(story.sequence(id), story.state.series_now("S"), story.now)


@pytest.mark.parametrize(
    ("used", "percent", "warnings"),
    [(1, 0, ()), (179, 89, ()), (180, 90, (90,)), (189, 94, (90,)), (190, 95, (90, 95)), (200, 100, (90, 95))],
)
def test_the_percentage_is_rounded_down_and_gives_the_warnings(
    used: int, percent: int, warnings: tuple[int, ...]
) -> None:
    story = Story(series(start=10, max_value=209, warn_at_percent=(95, 90)))
    story.when(Reserve("S", "T", count=used))
    found = told(story)
    assert (found.max_value, found.left, found.percent, found.warnings) == (209, 200 - used, percent, warnings)


@pytest.mark.parametrize(("reuse", "left"), [(Reuse.GAPLESS, 100), (Reuse.NEVER, 90)])
def test_what_was_released_is_left_where_it_is_reused(reuse: Reuse, left: int) -> None:
    story = Story(series(max_value=100, reuse=reuse))
    story.when(Reserve("S", "T", count=10))
    story.when(Cancel("T"))
    assert told(story).left == left


@pytest.mark.parametrize(
    ("used", "days", "per_day", "exhausted_on"),
    [
        (10, 0, 10.0, date(2025, 6, 24)),  # less than a day counts as one
        (10, 10, 1.0, date(2025, 9, 23)),
        (100, 5, 20.0, date(2025, 6, 20)),  # none is left: today
    ],
)
def test_the_forecast_is_that_of_the_present_rate(used: int, days: int, per_day: float, exhausted_on: date) -> None:
    story = Story(series(max_value=100))
    story.when(Reserve("S", "T", count=used))
    story.now += days * DAY
    found = told(story)
    assert (found.per_day, found.exhausted_on) == (per_day, exhausted_on)


def test_a_sequence_that_is_over_has_nothing_left_and_warns_of_nothing() -> None:
    story = Story(series("{SEQ:2}", max_value=10))
    story.when(Reserve("S", "T", count=9))
    found = Utilisation.of(story.sequence("S:-"), story.state.series_now("S"), story.now, is_over=True)
    assert (found.left, found.percent, found.warnings, found.exhausted_on) == (0, 90, (), None)


def test_a_full_sequence_of_a_period_that_is_over_was_not_exhausted_today() -> None:
    story = Story(series("{YYYY}-{SEQ:2}", reset=Reset.YEARLY, max_value=10))
    story.when(Reserve("S", "T", count=10))
    assert told(story, "S:2025").exhausted_on == date(2025, 6, 15)
    story.now += 365 * DAY
    assert told(story, "S:2025").exhausted_on is None


def test_values_that_outlast_their_period_have_no_forecast() -> None:
    story = Story(series("{YYYY}-{SEQ:4}", reset=Reset.YEARLY))
    story.when(Reserve("S", "T", count=10))
    assert told(story, "S:2025").exhausted_on is None


def test_a_sequence_of_which_nothing_was_reserved_lately_has_no_rate() -> None:
    story = Story(series(max_value=100))
    story.when(Reserve("S", "T", count=50))
    story.now += 400 * DAY
    found = told(story)
    assert (found.per_day, found.exhausted_on) == (0, None)


def test_a_sequence_that_began_above_the_maximum_has_nothing_left() -> None:
    """It was begun ahead, at 9, by a version that was amended before its first number."""
    yearly = "{YYYY}-{SEQ:4}"
    story = Story(series(yearly, reset=Reset.YEARLY, start=9))
    story.when(ResetSequence("S:2025", "2026"))
    story.when(RaiseFormat(NEWEST_FORMAT, "for the test"))
    story.when(DefineSeries((series(yearly, reset=Reset.YEARLY, max_value=8),)))
    found = told(story, "S:2026")
    assert (found.left, found.percent) == (0, 100)
