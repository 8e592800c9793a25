"""The date of a number: in which zone, of which period, in which order, and that it never changes afterwards."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain import calendar
from ledger.domain.calendar import FIRST_DATE, LAST_DATE, TZDATA_VERSION, Reset, first_day, following, period_of
from ledger.domain.commands import (
    Assign,
    Cancel,
    Confirm,
    Extend,
    Issue,
    OpenPeriod,
    Original,
    Reserve,
    Void,
    WithOriginal,
)
from ledger.domain.events import NumberAssigned, NumbersConfirmed, NumbersReserved, NumberVoided, ReservationCancelled
from ledger.domain.series import DateOrder, Series
from tests.given import QUICK, SECOND, Story, at, one, series

DAILY = "{YYYY}{MM}{DD}-{SEQ:2}"


def reserved(of: Series, instant: str, day: date | None = None) -> tuple[str, str, date]:
    """Reserve one number; gives it with its period and its date."""
    story = Story(of, now=at(instant))
    event = one(NumbersReserved, story.when(Reserve(of.code, "T", document_date=day)))
    return story.numbers(event)[0], event.numbering.period, event.numbering.document_date


@pytest.mark.parametrize(
    ("reset", "template", "number", "period"),
    [
        ("never", "N-{SEQ:2}", "N-01", "-"),
        ("daily", "{YY:BE}{MM}{DD}-{SEQ:2}", "671231-01", "2024-12-31"),
        ("monthly", "{MM}/{YEAR:BE}-{SEQ:2}", "12/2567-01", "2024-12"),
        ("quarterly", "{YY}{MM}-{SEQ:2}", "2412-01", "2024-Q4"),
        ("yearly", "{YEAR:B.E.}-{SEQ:2}", "2567-01", "2024"),
        ("fiscal_year", "{FY}-{SEQ:2}", "2025-01", "FY2025"),
    ],
)
def test_each_reset_prints_its_period(reset: str, template: str, number: str, period: str) -> None:
    of = series(template, reset=Reset(reset), fiscal_year_start="10-01")
    day = date(2024, 12, 31)
    assert reserved(of, "2025-06-15T03:00:00Z", day) == (number, period, day)


@pytest.mark.parametrize(
    ("zone", "instant", "day"),
    [
        ("Asia/Bangkok", "2025-12-31T16:59:59.999999Z", "2025-12-31"),  # 23:59:59.999999 there
        ("Asia/Bangkok", "2025-12-31T17:00:00Z", "2026-01-01"),
        ("UTC", "2025-12-31T23:59:59.999999Z", "2025-12-31"),
        ("America/New_York", "2025-03-09T04:59:59Z", "2025-03-08"),  # the night in which an hour is left out
        ("America/New_York", "2025-03-09T05:00:00Z", "2025-03-09"),
        ("America/New_York", "2025-03-10T03:59:59Z", "2025-03-09"),  # four hours behind from then on
        ("Europe/Berlin", "2025-10-25T21:59:59Z", "2025-10-25"),  # the night in which an hour comes twice
        ("Europe/Berlin", "2025-10-26T22:59:59Z", "2025-10-26"),
        ("Europe/Berlin", "2025-10-26T23:00:00Z", "2025-10-27"),
        ("America/Havana", "2025-03-09T04:59:59Z", "2025-03-08"),  # midnight itself is left out
        ("America/Havana", "2025-03-09T05:00:00Z", "2025-03-09"),
        ("America/Havana", "2025-11-02T04:30:00Z", "2025-11-02"),  # the first of two half past midnights
        ("America/Havana", "2025-11-02T05:30:00Z", "2025-11-02"),
        ("Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29"),  # the day that never was there
        ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31"),
        ("Pacific/Kiritimati", "2025-12-31T10:00:00Z", "2026-01-01"),
        ("UTC", "2024-02-29T12:00:00Z", "2024-02-29"),
    ],
)
def test_now_is_a_date_of_the_series_zone(zone: str, instant: str, day: str) -> None:
    number, period, found = reserved(series(DAILY, reset=Reset.DAILY, timezone=zone), instant)
    assert (period, found.isoformat()) == (day, day)
    assert number == f"{day.replace('-', '')}-01"


@pytest.mark.parametrize(
    ("start", "day", "period"),
    [
        ("10-01", "2025-09-30", "FY2025"),
        ("10-01", "2025-10-01", "FY2026"),
        ("03-01", "2024-02-29", "FY2024"),
        ("03-01", "2024-03-01", "FY2025"),
        ("01-01", "2024-12-31", "FY2024"),
        ("12-31", "2024-12-31", "FY2025"),
    ],
)
def test_a_fiscal_year_is_named_after_the_year_in_which_it_ends(start: str, day: str, period: str) -> None:
    of = series("{FY}-{SEQ:2}", reset=Reset.FISCAL_YEAR, fiscal_year_start=start)
    number, found, _ = reserved(of, "2025-12-31T23:00:00Z", date.fromisoformat(day))
    assert (number, found) == (f"{period[2:]}-01", period)


def test_a_number_keeps_its_date_whenever_it_is_confirmed() -> None:
    """Reserved a microsecond before the new year of Bangkok, confirmed a minute later."""
    of = series("{YEAR:BE}-{MM}-{SEQ:2}", reset=Reset.YEARLY, timezone="Asia/Bangkok")
    story = Story(of, now=at("2025-12-31T16:59:59.999999Z"))
    held = one(NumbersReserved, story.when(Reserve("S", "T", ttl_seconds=600)))
    story.now += 60 * SECOND
    story.when(Extend("T", 500))
    confirmed = one(NumbersConfirmed, story.when(Confirm("T", "DOC")))
    assert confirmed.numbering == held.numbering
    assert story.numbers(confirmed) == ["2568-12-01"]
    after = one(NumbersReserved, story.when(Reserve("S", "U")))
    assert (story.numbers(after), after.numbering.sequence) == (["2569-01-01"], "S:2026")


def test_a_clock_that_steps_back_reopens_nothing() -> None:
    """The log's time never goes back; should it ever, an earlier period goes on where it was."""
    story = Story(series("{YYYY}-{SEQ:2}", reset=Reset.YEARLY), now=at("2026-01-01T00:00:00Z"))
    story.when(Reserve("S", "new"))
    story.now = at("2025-12-31T23:59:59Z")
    assert story.numbers(one(NumbersReserved, story.when(Reserve("S", "old")))) == ["2025-01"]
    story.now = at("2026-01-01T00:00:01Z")
    assert story.numbers(one(NumbersReserved, story.when(Reserve("S", "next")))) == ["2026-02"]


def test_periods_in_order_refuse_an_earlier_one_of_the_same_key() -> None:
    story = Story(series("{YYYY}-{SEQ:2}", reset=Reset.YEARLY, date_order=DateOrder.PERIOD))
    story.when(Reserve("S", "T", document_date=date(2024, 12, 31)))
    story.when(Reserve("S", "U", document_date=date(2025, 1, 1)))
    rejection = story.rejection(Reserve("S", "V", document_date=date(2024, 12, 31)))
    assert rejection.code.name == "DATE_OUT_OF_ORDER"
    assert "date it in 2025, or later" in rejection.detail
    story.when(Reserve("S", "W", document_date=date(2025, 1, 1)))  # within the period any order is right


@pytest.mark.parametrize("day", ["1999-12-31", "2100-01-01"])
def test_dates_outside_the_calendar_are_refused(day: str) -> None:
    rejection = Story(series()).rejection(Reserve("S", "T", document_date=date.fromisoformat(day)))
    assert rejection.detail == f"document_date must be 2000-01-01 to 2099-12-31, not {day}"


def test_a_period_that_has_not_begun_must_be_opened_first() -> None:
    story = Story(series("{YYYY}-{SEQ:2}", reset=Reset.YEARLY))
    ahead = Reserve("S", "T", document_date=date(2026, 1, 1))
    assert "open it first" in story.rejection(ahead).detail
    story.when(OpenPeriod("S", "2026"))
    assert story.numbers(one(NumbersReserved, story.when(ahead))) == ["2026-01"]


def test_every_numbering_event_says_by_which_time_zones() -> None:
    story = Story(series("{SEQ:2}-{YYYY}", reset=Reset.YEARLY))
    events = [*story.when(Reserve("S", "T")), *story.when(Cancel("T")), *story.when(Issue(Reserve("S", "U"), "DOC"))]
    events += story.when(Assign("09-2025", "DOC", "by hand"))
    events += story.when(
        WithOriginal(Void("09-2025", "a mistake, as said", "V"), Original(1, date(2025, 6, 15), (), "DOC"))
    )
    kinds = (NumbersReserved, NumbersConfirmed, ReservationCancelled, NumberAssigned, NumberVoided)
    told = [event.numbering.tzdata for event in events if isinstance(event, kinds)]
    assert told == [TZDATA_VERSION] * 6


# The calendar

RESETS = st.sampled_from([reset for reset in Reset if reset is not Reset.NEVER])
STARTS = st.sampled_from([(1, 1), (3, 1), (10, 1), (10, 15), (12, 31)])
DATES = st.dates(FIRST_DATE, LAST_DATE)


@QUICK
@given(DATES, RESETS, STARTS)
def test_a_day_lies_in_its_period_and_in_no_other(day: date, reset: Reset, start: tuple[int, int]) -> None:
    period = period_of(day, reset, start)
    first, after = first_day(period, reset, start), following(period, reset, start)
    assert first is not None
    assert first <= day
    assert period_of(first, reset, start) == period
    if first > FIRST_DATE:
        assert period_of(first - timedelta(days=1), reset, start) < period
    if after is not None:
        begins = first_day(after, reset, start)
        assert begins is not None
        assert day < begins
        assert period_of(begins - timedelta(days=1), reset, start) == period
        assert period < after
    else:
        assert period_of(LAST_DATE, reset, start) == period


@QUICK
@given(DATES, DATES, RESETS, STARTS)
def test_names_of_periods_sort_as_time_does(one: date, two: date, reset: Reset, start: tuple[int, int]) -> None:
    if one <= two:
        assert period_of(one, reset, start) <= period_of(two, reset, start)


@pytest.mark.parametrize("period", ["2025-13", "2025-02-30", "FY25", "2025-Q5", "2025-1", "", "-", "๒๕๖๘"])
@pytest.mark.parametrize("reset", [reset for reset in Reset if reset is not Reset.NEVER])
def test_what_is_no_period_has_no_first_day(period: str, reset: Reset) -> None:
    assert calendar.first_day(period, reset, (1, 1)) is None
