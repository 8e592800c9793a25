"""Dates, periods and time zones, from the project's own copy of the IANA database and never from the server's.

Instants are integers: microseconds since 1970-01-01 UTC.
"""

import re
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cache, lru_cache
from importlib import resources

import tzdata

__all__ = [
    "FIRST_DATE",
    "LAST_DATE",
    "MICROSECONDS",
    "TZDATA_VERSION",
    "Reset",
    "date_at",
    "first_day",
    "fiscal_year",
    "following",
    "instant_of",
    "instant_text",
    "latest_date_at",
    "months_after",
    "period_of",
    "zone",
]

MICROSECONDS = 1_000_000
FIRST_DATE = date(2000, 1, 1)
LAST_DATE = date(2099, 12, 31)
TZDATA_VERSION: str = tzdata.IANA_VERSION

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Reset(StrEnum):
    """When a series begins a new sequence."""

    NEVER = "never"
    DAILY = "daily"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"
    FISCAL_YEAR = "fiscal_year"


@cache
def zone(name: str) -> zoneinfo.ZoneInfo:
    """Load an IANA zone from the `tzdata` package, so that TZDATA_VERSION is true of it; KeyError when unknown."""
    if name not in _zone_names():
        raise KeyError(name)
    with resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return zoneinfo.ZoneInfo.from_file(file, key=name)


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(resources.files("tzdata").joinpath("zones").read_text().split())


@lru_cache(maxsize=1024)  # all commands of a batch are decided at one instant
def date_at(instant: int, zone_name: str) -> date:
    """Give the calendar date of an instant in a zone."""
    return (_EPOCH + timedelta(microseconds=instant)).astimezone(zone(zone_name)).date()


def latest_date_at(instant: int) -> date:
    """Give the latest calendar date that any zone has at an instant: no zone is further ahead than this one."""
    return date_at(instant, "Pacific/Kiritimati")


def months_after(day: date, months: int) -> date:
    """Returns the same day so many months later, or the last day of that month if it has no such day."""
    year, month = divmod(12 * day.year + day.month - 1 + months, 12)
    following = date(year + month // 11, (month + 1) % 12 + 1, 1)
    return date(year, month + 1, min(day.day, (following - timedelta(days=1)).day))


@lru_cache(maxsize=1024)
def instant_text(instant: int) -> str:
    """Write an instant in RFC 3339, UTC, with microseconds: `2025-12-31T16:59:59.999999Z`."""
    moment = _EPOCH + timedelta(microseconds=instant)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def instant_of(moment: datetime) -> int:
    """Give the instant of a moment with its offset, in microseconds since 1970 UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def fiscal_year(day: date, start: tuple[int, int]) -> int:
    """Give the fiscal year of `day`, named after the calendar year in which it ends (Thai and US federal practice)."""
    if start == (1, 1) or (day.month, day.day) < start:
        return day.year
    return day.year + 1


@lru_cache(maxsize=1024)
def period_of(day: date, reset: Reset, fiscal_year_start: tuple[int, int]) -> str:
    """Name the period of `day`; names of one reset rule sort as text in the order of time."""
    match reset:
        case Reset.NEVER:
            return "-"
        case Reset.DAILY:
            return day.isoformat()
        case Reset.MONTHLY:
            return f"{day.year}-{day.month:02d}"
        case Reset.QUARTERLY:
            return f"{day.year}-Q{(day.month + 2) // 3}"
        case Reset.YEARLY:
            return str(day.year)
        case Reset.FISCAL_YEAR:
            return f"FY{fiscal_year(day, fiscal_year_start)}"


# From the first day of any period, so many days lead into the next one.
_LONGEST = {Reset.DAILY: 1, Reset.MONTHLY: 31, Reset.QUARTERLY: 92, Reset.YEARLY: 366, Reset.FISCAL_YEAR: 366}

_NAME = re.compile(r"(?:FY)?(\d{4})(?:-(?:Q(\d)|(\d{2})(?:-(\d{2}))?))?", re.ASCII)


def first_day(period: str, reset: Reset, fiscal_year_start: tuple[int, int]) -> date | None:
    """Give the day on which a period begins, at the earliest FIRST_DATE; None for what is no period of this rule."""
    match = _NAME.fullmatch(period)
    if match is None or reset is Reset.NEVER:
        return None
    year, quarter, month, day = (int(part) if part else None for part in match.groups())
    assert year is not None
    if reset is Reset.FISCAL_YEAR:
        first = (year if fiscal_year_start == (1, 1) else year - 1, *fiscal_year_start)
    else:
        first = (year, 3 * quarter - 2 if quarter else month or 1, day or 1)
    try:
        found = max(date(*first), FIRST_DATE)
    except ValueError:
        return None
    return found if found <= LAST_DATE and period_of(found, reset, fiscal_year_start) == period else None


def following(period: str, reset: Reset, fiscal_year_start: tuple[int, int]) -> str | None:
    """Name the next period; None after the last, or when there is none."""
    day = first_day(period, reset, fiscal_year_start)
    if day is None:
        return None
    found = period_of(min(day + timedelta(days=_LONGEST[reset]), LAST_DATE), reset, fiscal_year_start)
    return found if found != period else None
