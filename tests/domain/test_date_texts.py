"""The one table of dates says what going through all dates, one by one, would say."""

from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from ledger.domain.calendar import FIRST_DATE, LAST_DATE, Reset, fiscal_year, period_of
from ledger.domain.date_texts import dates_saying, undetermined
from ledger.domain.template import DATE_TOKENS

OCTOBER = (10, 1)
SHAPES = [(), ("YYYY",), ("YY", "MM"), ("DD", "MM", "YEAR:BE"), ("FY",), ("FY", "MM"), ("MM",), ("YYYY", "YYYY")]


def texts(tokens: tuple[str, ...]) -> Iterator[tuple[date, tuple[str, ...]]]:
    day = FIRST_DATE
    while day <= LAST_DATE:
        yield day, tuple(DATE_TOKENS[token](day, fiscal_year(day, OCTOBER)) for token in tokens)
        day += timedelta(days=1)


@pytest.mark.parametrize("tokens", SHAPES)
def test_each_date_stands_under_what_is_said_of_it(tokens: tuple[str, ...]) -> None:
    expected: dict[tuple[str, ...], list[date]] = {}
    for day, said in texts(tokens):
        expected.setdefault(said, []).append(day)
    assert dates_saying(tokens, OCTOBER) == expected


@pytest.mark.parametrize("reset", Reset)
@pytest.mark.parametrize("tokens", SHAPES)
def test_the_first_date_of_another_period_is_found(tokens: tuple[str, ...], reset: Reset) -> None:
    first: dict[tuple[str, ...], date] = {}
    expected = None
    for day, said in texts(tokens):
        since = first.setdefault(said, day)
        if period_of(since, reset, OCTOBER) != period_of(day, reset, OCTOBER):
            expected = since, day
            break
    assert undetermined(tokens, reset, OCTOBER) == expected


def test_shapes_that_print_no_fiscal_year_share_a_table_however_it_begins() -> None:
    assert dates_saying(("YYYY", "MM"), OCTOBER) is dates_saying(("YYYY", "MM"), (1, 1))
    assert dates_saying(("FY",), OCTOBER) is not dates_saying(("FY",), (1, 1))
