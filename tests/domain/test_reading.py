"""Reading numbers back: what was printed is read, what was not is not, and every reading prints what was read."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain import calendar
from ledger.domain.calendar import Reset
from ledger.domain.reading import Reading, readings
from ledger.domain.rejection import Rejection
from ledger.domain.series import Attribute, Dimension, Overflow, Series
from tests.given import LETTER, PLAIN, QUICK, RFA, series

TODAY = date(2025, 6, 15)
LETTERS = Dimension(chars="A-Z", min=1, max=3)
WIDE = Dimension(chars="A-Z", min=1, max=20)


def read(of: Series, number: str) -> list[tuple[tuple[str, ...], str, int]]:
    return [(each.key, each.period, each.value) for each in readings(of, number, TODAY)]


def printed(reading: Reading) -> str:
    return reading.series.frame(reading.key, reading.attributes, reading.document_date).number(reading.value)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("คคง.-สคฉ.3-0042-2568", (("คคง.", "สคฉ.3"), "2025", 42)),
        ("คคง.-สคฉ.3-01-0042-2568", (("คคง.", "สคฉ.3-01"), "2025", 42)),
        ("สคฉ.3-01-สคฉ.3-01-0001-2568", (("สคฉ.3-01", "สคฉ.3-01"), "2025", 1)),
        ("คคง.-สคฉ.3-0042-2543", (("คคง.", "สคฉ.3"), "2000", 42)),
    ],
)
def test_a_letter(number: str, expected: object) -> None:
    assert read(LETTER, number) == [expected]


@pytest.mark.parametrize(
    "number",
    [
        "",
        "-",
        "คคง.-สคฉ.3-042-2568",
        "คคง.-สคฉ.3-00042-2568",
        "คคง.-สคฉ.3-๐๐๔๒-2568",
        "คคง.-สคฉ.3-0042-2542",  # 1999
        "คคง.-สคฉ.3-0042-2568 ",
        "คคง.-สคฉ.3-0042-256",
        "กทท.-สคฉ.3-0042-2568",
        "x" * 101,
    ],
)
def test_no_letter(number: str) -> None:
    assert read(LETTER, number) == []


def test_attributes_are_read_and_do_not_count() -> None:
    (reading,) = readings(RFA, "LCBP3-C2-RFA-TER-RPT-0042-B", TODAY)
    assert (reading.sequence, reading.value) == ("LCBP3-RFA:TER:RPT:-", 42)
    assert reading.attributes == (("REV", "B"),)


def test_a_number_without_a_date_is_of_today() -> None:
    assert readings(PLAIN, "0042", TODAY)[0].document_date == TODAY


@pytest.mark.parametrize(
    ("template", "number", "period", "day"),
    [
        ("{YYYY}-{SEQ:3}", "2025-001", "2025", TODAY),
        ("{YYYY}-{SEQ:3}", "2024-001", "2024", date(2024, 12, 31)),
        ("{YYYY}-{SEQ:3}", "2031-001", "2031", date(2031, 1, 1)),
        ("{YY}{MM}{DD}-{SEQ:3}", "240229-001", "2024", date(2024, 2, 29)),
        ("{MM}/{YY:BE}-{SEQ:3}", "02/67-001", "2024", date(2024, 2, 29)),
    ],
)
def test_the_date_is_the_last_that_prints_it_and_is_not_after_today(
    template: str, number: str, period: str, day: date
) -> None:
    (reading,) = readings(series(template, reset=Reset.YEARLY), number, TODAY)
    assert (reading.period, reading.document_date) == (period, day)


@pytest.mark.parametrize("number", ["230229-001", "251301-001", "250010-001"])
def test_the_tokens_of_a_date_are_read_jointly(number: str) -> None:
    assert read(series("{YY}{MM}{DD}-{SEQ:3}"), number) == []


def test_a_fiscal_year_and_a_month() -> None:
    of = series("{FY}/{MM}-{SEQ:3}", reset=Reset.FISCAL_YEAR, fiscal_year_start="10-01")
    (reading,) = readings(of, "2025/10-001", TODAY)
    assert (reading.period, reading.document_date) == ("FY2025", date(2024, 10, 31))


@pytest.mark.parametrize("reset", [Reset.YEARLY, Reset.DAILY])
def test_what_resets_without_showing_it_has_two_readings_and_no_more_are_sought(reset: Reset) -> None:
    assert len(read(series("{MM}-{SEQ:3}", reset=reset), "06-001")) == 2


def test_a_wider_value() -> None:
    wide = series("{SEQ:2}", overflow=Overflow.WIDEN)
    assert [read(wide, text) for text in ("7", "07", "107", "007", "4000000000")] == [
        [],
        [((), "-", 7)],
        [((), "-", 107)],
        [],
        [((), "-", 4_000_000_000)],
    ]


def test_two_readings_are_both_told() -> None:
    of = series("{A}{B}{SEQ:2}", dimensions={"A": LETTERS, "B": LETTERS})
    assert sorted(read(of, "XYZ01")) == [(("X", "YZ"), "-", 1), (("XY", "Z"), "-", 1)]


def test_a_field_that_stands_twice_says_the_same_twice() -> None:
    of = series("{A}-{A}{SEQ:2}", dimensions={"A": LETTERS})
    assert read(of, "XY-XY01") == [(("XY",), "-", 1)]
    assert read(of, "XY-XZ01") == []


def test_a_hopeless_template_is_refused_in_bounded_time() -> None:
    names = [f"F{n}" for n in range(20)]
    hopeless = series("".join(f"{{{name}}}" for name in names) + "{SEQ:2}", dimensions=dict.fromkeys(names, WIDE))
    assert len(read(hopeless, "X" * 98 + "01")) == 2
    assert read(hopeless, "X" * 98 + "0y") == []
    assert read(hopeless, "X" * 97 + "-01") == []


def test_attributes_may_split_in_more_ways_than_can_be_tried() -> None:
    names = ("P", "Q", "R")
    of = series("".join(f"{{{name}}}" for name in names) + "-{SEQ:2}", attributes=dict.fromkeys(names, Attribute(WIDE)))
    assert read(of, "A" * 45 + "-05") == [((), "-", 5)]


def test_a_name_that_stands_twice_leaves_one_reading() -> None:
    fields = dict.fromkeys("ABC", Dimension(chars="A-Z-", min=1, max=20))
    of = series("{A}{B}{C}/{A}/{B}/{SEQ:2}", dimensions=fields)
    assert read(of, "ABCDEFGHIJKLMNOPQR/ABCDEF/GHIJKL/07") == [(("ABCDEF", "GHIJKL", "MNOPQR"), "-", 7)]


TOKENS = ["{YYYY}", "{YEAR:BE}", "{MM}", "{DD}", "{FY}", "{YY}", "{A}", "{B}", "{REV}", "-", "/", "ก", "7"]
FORMS = st.sampled_from(
    [Dimension(values=("คคง.", "สคฉ.3", "สคฉ.3-01")), LETTERS, Dimension(chars="0-9-", min=1, max=2)]
)


@st.composite
def numbers(draw: st.DrawFn) -> tuple[Series, tuple[str, ...], tuple[tuple[str, str], ...], date, int, str]:
    """A series, and a number that it printed."""
    parts = draw(st.permutations([*draw(st.lists(st.sampled_from(TOKENS), max_size=6)), "{SEQ:2}"]))
    used = [name for name in ("A", "B") if f"{{{name}}}" in parts]
    rev: dict[str, Any] = {"REV": Attribute(LETTERS)} if "{REV}" in parts else {}
    of = series(
        "".join(parts),
        dimensions={name: draw(FORMS) for name in used},
        attributes=rev,
        reset=draw(st.sampled_from(Reset)),
        fiscal_year_start=draw(st.sampled_from(["01-01", "10-01"])),
        overflow=draw(st.sampled_from(Overflow)),
    )
    key = tuple(draw(values_of(of.definition.dimensions[name])) for name in of.key)
    attributes = tuple((name, draw(values_of(LETTERS))) for name in rev)
    day = draw(st.dates(calendar.FIRST_DATE, TODAY))
    value = draw(st.integers(0, min(of.max_value, 2000)))
    return of, key, attributes, day, value, of.frame(key, attributes, day).number(value)


def values_of(form: Dimension) -> st.SearchStrategy[str]:
    if form.values:
        return st.sampled_from(form.values)
    return st.text(st.sampled_from("AZ" if form.chars == "A-Z" else "09-"), min_size=form.min, max_size=form.max)


@QUICK
@given(numbers())
def test_what_was_printed_is_read_and_every_reading_prints_it(
    case: tuple[Series, tuple[str, ...], tuple[tuple[str, str], ...], date, int, str],
) -> None:
    of, key, _, day, value, number = case
    try:
        found = readings(of, number, TODAY)
    except Rejection:  # too ambiguous to tell
        return
    read_back = {(each.key, each.period, each.value) for each in found}
    assert len(found) == 2 or read_back == {(key, of.period(day), value)}
    assert {printed(each) for each in found} == {number}
    assert all(each.document_date <= TODAY or each.period > of.period(TODAY) for each in found)
