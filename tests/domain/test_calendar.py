from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.calendar import FIRST_DATE, LAST_DATE, Reset, date_at, fiscal_year, instant_text, period_of, zone
from tests.given import QUICK, at

DAYS = st.dates(FIRST_DATE, LAST_DATE)
STARTS = st.dates(date(2001, 1, 1), date(2001, 12, 31)).map(lambda day: (day.month, day.day))


@pytest.mark.parametrize(
    ("instant", "zone_name", "day"),
    [
        ("2025-12-31T16:59:59.999999Z", "Asia/Bangkok", "2025-12-31"),
        ("2025-12-31T17:00:00Z", "Asia/Bangkok", "2026-01-01"),
        ("2025-12-31T17:00:00Z", "UTC", "2025-12-31"),
        ("2025-12-31T23:59:59.999999Z", "UTC", "2025-12-31"),
        ("2024-02-28T16:59:59.999999Z", "Asia/Bangkok", "2024-02-28"),
        ("2024-02-28T17:00:00Z", "Asia/Bangkok", "2024-02-29"),
        ("2025-02-28T17:00:00Z", "Asia/Bangkok", "2025-03-01"),
        # New York: midnight is at 05:00 UTC until its clocks go forward on 9 March, then at 04:00, until 2 November
        ("2025-03-09T04:59:59.999999Z", "America/New_York", "2025-03-08"),
        ("2025-03-09T05:00:00Z", "America/New_York", "2025-03-09"),
        ("2025-03-10T03:59:59.999999Z", "America/New_York", "2025-03-09"),
        ("2025-03-10T04:00:00Z", "America/New_York", "2025-03-10"),
        ("2025-11-02T04:00:00Z", "America/New_York", "2025-11-02"),
        ("2025-11-03T04:59:59.999999Z", "America/New_York", "2025-11-02"),
        # Samoa had no 30 December 2011
        ("2011-12-30T09:59:59.999999Z", "Pacific/Apia", "2011-12-29"),
        ("2011-12-30T10:00:00Z", "Pacific/Apia", "2011-12-31"),
        ("2099-12-31T16:59:59.999999Z", "Asia/Bangkok", "2099-12-31"),
    ],
)
def test_date_at(instant: str, zone_name: str, day: str) -> None:
    assert date_at(at(instant), zone_name) == date.fromisoformat(day)


@pytest.mark.parametrize(
    "name",
    ["", "Asia", "Asia/Nowhere", "asia/bangkok", "Asia/Bangkok ", "../zones", "zones", "/etc/localtime", "+07:00"],
)
def test_an_unknown_zone_is_a_key_error(name: str) -> None:
    with pytest.raises(KeyError):
        zone(name)


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_767_200_399_999_999, "2025-12-31T16:59:59.999999Z"),
        (1_767_200_400_000_000, "2025-12-31T17:00:00.000000Z"),
    ],
)
def test_instant_text(instant: int, text: str) -> None:
    assert instant_text(instant) == text
    assert at(text) == instant


@pytest.mark.parametrize(
    ("day", "reset", "period"),
    [
        ("2025-03-09", Reset.NEVER, "-"),
        ("2025-03-09", Reset.DAILY, "2025-03-09"),
        ("2024-02-29", Reset.DAILY, "2024-02-29"),
        ("2025-03-09", Reset.MONTHLY, "2025-03"),
        ("2025-12-31", Reset.MONTHLY, "2025-12"),
        ("2025-01-01", Reset.QUARTERLY, "2025-Q1"),
        ("2025-03-31", Reset.QUARTERLY, "2025-Q1"),
        ("2025-04-01", Reset.QUARTERLY, "2025-Q2"),
        ("2025-06-30", Reset.QUARTERLY, "2025-Q2"),
        ("2025-07-01", Reset.QUARTERLY, "2025-Q3"),
        ("2025-09-30", Reset.QUARTERLY, "2025-Q3"),
        ("2025-10-01", Reset.QUARTERLY, "2025-Q4"),
        ("2025-12-31", Reset.QUARTERLY, "2025-Q4"),
        ("2025-12-31", Reset.YEARLY, "2025"),
        ("2026-01-01", Reset.YEARLY, "2026"),
        ("2025-09-30", Reset.FISCAL_YEAR, "FY2025"),
        ("2025-10-01", Reset.FISCAL_YEAR, "FY2026"),
        ("2099-12-31", Reset.FISCAL_YEAR, "FY2100"),
    ],
)
def test_period_of_with_a_fiscal_year_from_october(day: str, reset: Reset, period: str) -> None:
    assert period_of(date.fromisoformat(day), reset, (10, 1)) == period


@pytest.mark.parametrize(
    ("day", "start", "year"),
    [
        ("2025-01-01", (1, 1), 2025),
        ("2025-12-31", (1, 1), 2025),
        ("2025-01-01", (1, 2), 2025),
        ("2025-01-02", (1, 2), 2026),
        ("2024-02-29", (3, 1), 2024),
        ("2024-03-01", (3, 1), 2025),
        ("2025-04-05", (4, 6), 2025),
        ("2025-04-06", (4, 6), 2026),
        ("2025-12-30", (12, 31), 2025),
        ("2025-12-31", (12, 31), 2026),
    ],
)
def test_a_fiscal_year_is_named_after_the_year_in_which_it_ends(day: str, start: tuple[int, int], year: int) -> None:
    assert fiscal_year(date.fromisoformat(day), start) == year


@QUICK
@given(DAYS, STARTS)
def test_a_fiscal_year_ends_where_the_next_begins(day: date, start: tuple[int, int]) -> None:
    year = fiscal_year(day, start)
    began = year if start == (1, 1) else year - 1
    assert date(began, *start) <= day < date(began + 1, *start)


@QUICK
@given(DAYS, st.integers(0, 400), st.sampled_from(Reset), STARTS)
def test_periods_sort_as_text_in_the_order_of_time(day: date, days: int, reset: Reset, start: tuple[int, int]) -> None:
    assert period_of(day, reset, start) <= period_of(day + timedelta(days), reset, start)
