"""`decide` by tables: what each command causes, each rejection with its code, and which of two is told first."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from itertools import combinations
from typing import Any

import pytest

from ledger.domain.calendar import TZDATA_VERSION, Reset
from ledger.domain.commands import (
    Cancel,
    Choice,
    Confirm,
    Decidable,
    DefineSeries,
    Expire,
    Extend,
    Issue,
    RaiseFormat,
    Reserve,
)
from ledger.domain.decide import decide
from ledger.domain.events import (
    NumbersConfirmed,
    NumbersReserved,
    ReservationCancelled,
    ReservationExpired,
    ReservationExtended,
    SequenceReset,
    SeriesAmended,
    SeriesDefined,
)
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.ranges import Ranges, count_of
from ledger.domain.rejection import Code
from ledger.domain.series import Attribute, DateOrder, Dimension, Overflow, Reuse, Series
from ledger.domain.state import State
from tests.given import GAPLESS, LETTER, LETTER_KEY, NOW, PLAIN, RFA, RFA_KEY, SECOND, Story, at, one, series

TTL = 300 * SECOND
DATED = "{YYYY}-{MM}-{DD}/{SEQ:4}"  # tells every period


def holding(count: int = 5, **changes: Any) -> Story:
    """Token T holds values 1 to `count` of PLAIN."""
    story = Story(PLAIN)
    story.when(Reserve("PLAIN", "T", count=count, **changes))
    return story


# Series


def test_a_series_is_defined_once_and_again_without_an_event() -> None:
    story = Story()
    assert story.when(DefineSeries((PLAIN,))) == [SeriesDefined(PLAIN)]
    assert story.when(DefineSeries((series("{SEQ:4}", "PLAIN"),))) == []
    assert story.state.versions("PLAIN") == (PLAIN,)


@pytest.mark.parametrize("changes", [{"start": 2}, {"template": "{SEQ:5}"}, {"description": "other"}])
def test_a_series_defined_otherwise_is_amended(changes: dict[str, Any]) -> None:
    story = Story(PLAIN)
    (amended,) = story.when(DefineSeries((series(code="PLAIN", **changes),)))
    assert isinstance(amended, SeriesAmended)
    assert amended.series.version == 2
    assert story.state.versions("PLAIN") == (PLAIN, amended.series)
    assert story.when(DefineSeries((series(code="PLAIN", **changes),))) == []


def test_numbers_already_issued_keep_their_version() -> None:
    story = Story(PLAIN)
    before = one(NumbersReserved, story.when(Reserve("PLAIN", "T1")))
    story.when(DefineSeries((series(code="PLAIN", description="other"),)))
    after = one(NumbersReserved, story.when(Reserve("PLAIN", "T2")))
    confirmed = one(NumbersConfirmed, story.when(Confirm("T1")))
    versions = [event.numbering.series_version for event in (before, after, confirmed)]
    assert versions == [1, 2, 1]


@pytest.mark.parametrize(
    "changes",
    [{"template": "{SEQ:5}"}, {"start": 0}, {"start": 9}, {"reuse": Reuse.GAPLESS}, {"fiscal_year_start": "10-01"}],
)
def test_an_amendment_that_counts_alike_goes_on_with_the_sequence(changes: dict[str, Any]) -> None:
    story = holding(3)
    story.when(RaiseFormat(NEWEST_FORMAT, "for the test"))
    story.when(DefineSeries((series(code="PLAIN", **changes),)))
    reserved = one(NumbersReserved, story.when(Reserve("PLAIN", "T2")))
    assert (reserved.numbering.sequence, reserved.ranges) == ("PLAIN:-", ((4, 4),))


BY: dict[str, Any] = {"dimensions": {"A": Dimension(values=("A",)), "B": Dimension(values=("B",))}}
FISCAL: dict[str, Any] = {"template": "{FY}-{SEQ:4}", "reset": Reset.FISCAL_YEAR}


# Each with a template that prints nothing that the first version prints.
@pytest.mark.parametrize(
    ("before", "after", "key", "id"),
    [
        ({}, {"template": "{YYYY}-{SEQ:4}", "reset": Reset.YEARLY}, {}, "S~2:2025"),
        ({"template": "{A}{B}{SEQ:4}"} | BY, {"template": "{A}{B}-{SEQ:4}", "key": ("B", "A")} | BY, "AB", "S~2:B:A:-"),
        (FISCAL, FISCAL | {"template": "F{FY}-{SEQ:4}", "fiscal_year_start": "10-01"}, {}, "S~2:FY2025"),
    ],
)
def test_an_amendment_that_counts_otherwise_begins_an_era_with_sequences_of_its_own(
    before: dict[str, Any], after: dict[str, Any], key: Any, id: str
) -> None:
    key = {name: name for name in key}
    story = Story(series(**before))
    first = one(NumbersReserved, story.when(Reserve("S", "T1", key, count=3)))
    story.when(DefineSeries((series(**after),)))
    second = one(NumbersReserved, story.when(Reserve("S", "T2", key)))
    assert (second.numbering.sequence, second.ranges) == (id, ((1, 1),))
    assert story.sequence(first.numbering.sequence).high_water == 3
    confirmed = one(NumbersConfirmed, story.when(Confirm("T1")))
    assert confirmed.numbering == first.numbering


def test_a_series_that_counts_again_as_it_did_goes_on_where_it_was() -> None:
    story = holding(3)
    story.when(DefineSeries((series("{YYYY}-{SEQ:4}", "PLAIN", reset=Reset.YEARLY),)))
    story.when(Reserve("PLAIN", "T2"))
    story.when(DefineSeries((PLAIN,)))
    reserved = one(NumbersReserved, story.when(Reserve("PLAIN", "T3")))
    assert (reserved.numbering.sequence, reserved.numbering.series_version) == ("PLAIN:-", 3)
    assert reserved.ranges == ((4, 4),)


def test_before_its_first_use_a_series_may_count_in_any_way_without_an_era() -> None:
    story = Story(PLAIN)
    story.when(DefineSeries((series("{YYYY}-{SEQ:4}", "PLAIN", reset=Reset.YEARLY),)))
    assert one(NumbersReserved, story.when(Reserve("PLAIN", "T"))).numbering.sequence == "PLAIN:2025"


def test_the_maximum_cannot_come_below_what_was_issued() -> None:
    refused = holding(3).rejection(DefineSeries((series(code="PLAIN", max_value=2),)))
    assert refused.code is Code.AMENDMENT_REFUSED
    assert refused.errors == (("max_value", "must be at least 3"),)


def test_the_maximum_may_come_down_to_what_was_issued() -> None:
    assert len(holding(3).when(DefineSeries((series(code="PLAIN", max_value=3),)))) == 1


def test_series_are_defined_and_amended_all_or_nothing() -> None:
    story = holding(3)
    other = series("X{SEQ:4}", "OTHER")
    assert story.rejection(DefineSeries((other, series(code="PLAIN", max_value=2)))).code is Code.AMENDMENT_REFUSED
    assert story.rejection(DefineSeries((other, other))).code is Code.INVALID_FORMAT
    done = story.when(DefineSeries((other, series(code="PLAIN", max_value=3))))
    assert [type(event) for event in done] == [SeriesDefined, SeriesAmended]


# Reserve


def test_a_letter() -> None:
    story = Story(LETTER)
    reset, reserved = story.when(Reserve("LETTER", "T", LETTER_KEY, count=2))
    key = ("คคง.", "สคฉ.3-01")
    assert reset == SequenceReset("LETTER:คคง.:สคฉ.3-01:2025", "LETTER", 1, key, "2025", 1)
    assert isinstance(reserved, NumbersReserved)
    numbering = reserved.numbering
    assert (numbering.sequence, numbering.period) == ("LETTER:คคง.:สคฉ.3-01:2025", "2025")
    assert (numbering.series, numbering.series_version, numbering.key) == ("LETTER", 1, key)
    assert (numbering.document_date, numbering.attributes) == (date(2025, 6, 15), ())
    assert numbering.tzdata == TZDATA_VERSION
    assert (reserved.token, reserved.ranges, reserved.expires_at) == ("T", ((1, 2),), NOW + TTL)
    assert story.numbers(reserved) == ["คคง.-สคฉ.3-01-0001-2568", "คคง.-สคฉ.3-01-0002-2568"]


def test_a_request_for_approval_never_resets_and_its_revision_does_not_count() -> None:
    story = Story(RFA)
    (first,) = story.when(Reserve("LCBP3-RFA", "T1", RFA_KEY))
    (second,) = story.when(Reserve("LCBP3-RFA", "T2", RFA_KEY, attributes={"REV": "B"}, document_date=date(2030, 1, 1)))
    (other,) = story.when(Reserve("LCBP3-RFA", "T3", RFA_KEY | {"RFA_TYPE": "DWG"}))
    printed = [story.numbers(event) for event in (first, second, other) if isinstance(event, NumbersReserved)]
    assert printed == [
        ["LCBP3-C2-RFA-TER-RPT-0001-A"],
        ["LCBP3-C2-RFA-TER-RPT-0002-B"],
        ["LCBP3-C2-RFA-TER-DWG-0001-A"],
    ]


def test_a_block_of_10_000_is_one_event() -> None:
    (event,) = Story(series("{SEQ:5}")).when(Reserve("S", "T", count=10_000))
    assert isinstance(event, NumbersReserved)
    assert event.ranges == ((1, 10_000),)


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("NONE", {}),
        ("LETTER", LETTER_KEY | {"RECIPIENT": "สคฉ.3"}),
        ("LETTER", LETTER_KEY | {"ORIGINATOR": "สคฉ.3-01"}),
    ],
)
def test_each_key_counts_by_itself(code: str, key: dict[str, str]) -> None:
    story = Story(LETTER, series(code="NONE"))
    story.when(Reserve("LETTER", "T1", LETTER_KEY, count=3))
    assert one(NumbersReserved, story.when(Reserve(code, "T2", key))).ranges == ((1, 1),)
    assert one(NumbersReserved, story.when(Reserve("LETTER", "T3", LETTER_KEY))).ranges == ((4, 4),)


@pytest.mark.parametrize(
    ("zone", "now", "period"),
    [
        ("Asia/Bangkok", "2025-12-31T16:59:59.999999Z", "2025"),
        ("Asia/Bangkok", "2025-12-31T17:00:00Z", "2026"),
        ("UTC", "2025-12-31T17:00:00Z", "2025"),
        ("UTC", "2025-12-31T23:59:59.999999Z", "2025"),
        ("UTC", "2026-01-01T00:00:00Z", "2026"),
        ("America/New_York", "2026-01-01T04:59:59.999999Z", "2025"),
        ("America/New_York", "2026-01-01T05:00:00Z", "2026"),
    ],
)
def test_without_a_document_date_the_period_is_that_of_now_in_the_zone(zone: str, now: str, period: str) -> None:
    story = Story(series("{SEQ:4}/{YYYY}", reset=Reset.YEARLY, timezone=zone), now=at(now))
    reserved = one(NumbersReserved, story.when(Reserve("S", "T")))
    assert reserved.numbering.period == period
    assert story.numbers(reserved) == [f"0001/{period}"]


@pytest.mark.parametrize("reset", Reset)
def test_a_new_period_begins_again_with_an_event_and_a_known_one_goes_on(reset: Reset) -> None:
    story = Story(series(DATED, reset=reset, start=7))
    story.when(Reserve("S", "T1", document_date=date(2024, 1, 1)))
    second = story.when(Reserve("S", "T2", document_date=date(2025, 1, 1)))
    third = story.when(Reserve("S", "T3", document_date=date(2025, 1, 1)))
    begins = reset is not Reset.NEVER
    assert [type(event) for event in second] == [SequenceReset] * begins + [NumbersReserved]
    assert one(NumbersReserved, second).ranges == (((7, 7),) if begins else ((8, 8),))
    assert one(NumbersReserved, third).ranges == (((8, 8),) if begins else ((9, 9),))


def test_a_number_reserved_before_midnight_keeps_its_year_when_confirmed_after() -> None:
    story = Story(LETTER, now=at("2025-12-31T16:59:59.999999Z"))
    story.when(Reserve("LETTER", "T", LETTER_KEY))
    story.now += 1
    assert story.numbers(one(NumbersConfirmed, story.when(Confirm("T")))) == ["คคง.-สคฉ.3-01-0001-2568"]


@pytest.mark.parametrize(
    ("reset", "day", "code"),
    [
        (Reset.YEARLY, "2025-12-31", None),  # later than today, but in a period that has begun
        (Reset.YEARLY, "2026-01-01", Code.PERIOD_NOT_BEGUN),
        (Reset.YEARLY, "2024-12-31", None),
        (Reset.QUARTERLY, "2025-06-30", None),
        (Reset.QUARTERLY, "2025-07-01", Code.PERIOD_NOT_BEGUN),
        (Reset.MONTHLY, "2025-06-30", None),
        (Reset.MONTHLY, "2025-07-01", Code.PERIOD_NOT_BEGUN),
        (Reset.DAILY, "2025-06-15", None),
        (Reset.DAILY, "2025-06-16", Code.PERIOD_NOT_BEGUN),
        (Reset.FISCAL_YEAR, "2025-09-30", None),
        (Reset.FISCAL_YEAR, "2025-10-01", Code.PERIOD_NOT_BEGUN),
        (Reset.NEVER, "2099-12-31", None),
        (Reset.NEVER, "2100-01-01", Code.INVALID_FORMAT),
        (Reset.NEVER, "2000-01-01", None),
        (Reset.NEVER, "1999-12-31", Code.INVALID_FORMAT),
        (Reset.YEARLY, "2100-01-01", Code.INVALID_FORMAT),
        (Reset.YEARLY, "2024-02-29", None),
    ],
)
def test_document_dates(reset: Reset, day: str, code: Code | None) -> None:
    story = Story(series(DATED, reset=reset, fiscal_year_start="10-01"))
    command = Reserve("S", "T", document_date=date.fromisoformat(day))
    if code is None:
        assert one(NumbersReserved, story.when(command)).numbering.document_date == date.fromisoformat(day)
    else:
        assert story.rejection(command).code is code


def test_a_period_begins_at_midnight_of_the_zone() -> None:
    story = Story(LETTER, now=at("2025-12-31T16:59:59.999999Z"))
    command = Reserve("LETTER", "T", LETTER_KEY, document_date=date(2026, 1, 1))
    assert story.rejection(command).code is Code.PERIOD_NOT_BEGUN
    story.now += 1
    assert story.numbers(one(NumbersReserved, story.when(command))) == ["คคง.-สคฉ.3-01-0001-2569"]


def test_a_clock_outside_the_window_needs_a_document_date() -> None:
    story = Story(PLAIN, now=at("2100-01-01T00:00:00Z"))
    assert story.rejection(Reserve("PLAIN", "T")).errors[0][0] == "document_date"
    story.when(Reserve("PLAIN", "T", document_date=date(2099, 12, 31)))


@pytest.mark.parametrize(
    ("order", "used", "day", "refused"),
    [
        (DateOrder.PERIOD, ["2024-05-01"], "2023-12-31", True),
        (DateOrder.PERIOD, ["2024-05-01"], "2024-01-01", False),  # the order is one of periods, not of days
        (DateOrder.PERIOD, ["2024-05-01"], "2025-01-01", False),
        (DateOrder.PERIOD, ["2023-05-01", "2024-05-01"], "2023-05-01", True),
        (DateOrder.PERIOD, [], "2001-01-01", False),
        (DateOrder.NONE, ["2024-05-01"], "2023-12-31", False),
    ],
)
def test_date_order(order: DateOrder, used: list[str], day: str, refused: bool) -> None:
    story = Story(series(DATED, reset=Reset.YEARLY, date_order=order))
    for earlier in used:
        story.when(Reserve("S", earlier, document_date=date.fromisoformat(earlier)))
    command = Reserve("S", "T", document_date=date.fromisoformat(day))
    if refused:
        assert story.rejection(command).code is Code.DATE_OUT_OF_ORDER
    else:
        story.when(command)


def test_date_order_is_each_keys_own() -> None:
    story = Story(Series.define("LETTER", replace(LETTER.definition, date_order=DateOrder.PERIOD)))
    story.when(Reserve("LETTER", "T1", LETTER_KEY))
    other = LETTER_KEY | {"RECIPIENT": "สคฉ.3"}
    story.when(Reserve("LETTER", "T2", other, document_date=date(2024, 1, 1)))
    command = Reserve("LETTER", "T3", LETTER_KEY, document_date=date(2024, 1, 1))
    assert story.rejection(command).code is Code.DATE_OUT_OF_ORDER


@pytest.mark.parametrize(
    ("own", "default", "given", "seconds"),
    [
        (None, 300, None, 300),
        (None, 60, None, 60),
        (None, 100_000, None, 86_400),  # a default never passes the series' longest
        (900, 300, None, 900),
        (900, 300, 30, 30),
        (None, 300, 86_400, 86_400),
        (None, 300, 1, 1),
    ],
)
def test_the_lifetime(own: int | None, default: int, given: int | None, seconds: int) -> None:
    story = Story(series(reservation_ttl_seconds=own))
    command = Reserve("S", "T", ttl_seconds=given, default_ttl_seconds=default)
    assert one(NumbersReserved, story.when(command)).expires_at == NOW + seconds * SECOND


@pytest.mark.parametrize(
    ("overflow", "start", "count", "ranges"),
    [
        (Overflow.ERROR, 8, 2, ((8, 9),)),
        (Overflow.ERROR, 8, 3, None),
        (Overflow.WIDEN, 8, 3, ((8, 10),)),
        (Overflow.ERROR, 0, 10, ((0, 9),)),
        (Overflow.ERROR, 0, 11, None),
    ],
)
def test_overflow(overflow: Overflow, start: int, count: int, ranges: Ranges | None) -> None:
    story = Story(series("{SEQ:1}", overflow=overflow, start=start))
    command = Reserve("S", "T", count=count)
    if ranges is None:
        assert story.rejection(command).code is Code.SEQUENCE_EXHAUSTED
    else:
        assert one(NumbersReserved, story.when(command)).ranges == ranges


def test_a_widened_number() -> None:
    story = Story(series("A{SEQ:1}B", overflow=Overflow.WIDEN, start=9))
    assert story.numbers(one(NumbersReserved, story.when(Reserve("S", "T", count=2)))) == ["A9B", "A10B"]


def test_what_one_sequence_lacks_another_has() -> None:
    story = Story(series("{YYYY}-{MM}-{DD}/{SEQ:1}", reset=Reset.DAILY))
    story.when(Reserve("S", "T1", count=9))
    assert story.rejection(Reserve("S", "T2")).code is Code.SEQUENCE_EXHAUSTED
    story.when(Reserve("S", "T3", count=9, document_date=date(2025, 6, 14)))


@pytest.mark.parametrize("release", [Cancel("T1"), Expire("T1")])
def test_gapless_takes_the_lowest_released_first_and_never_a_confirmed_value(release: Decidable) -> None:
    story = Story(GAPLESS)
    for token in ("T1", "T2", "T3"):
        story.when(Reserve("GAPLESS", token, count=2, ttl_seconds=1 if token == "T1" else 300))
    story.when(Confirm("T2", numbers=(Choice("G0004"),)))
    story.now += SECOND if isinstance(release, Expire) else 0
    story.when(release)
    assert one(NumbersReserved, story.when(Reserve("GAPLESS", "T4"))).ranges == ((1, 1),)
    assert one(NumbersReserved, story.when(Reserve("GAPLESS", "T5", count=4))).ranges == ((2, 3), (7, 8))


@pytest.mark.parametrize("release", [Cancel("T1"), Expire("T1"), Confirm("T1", numbers=(Choice("0001"),))])
def test_without_gapless_a_released_value_stays_a_gap(release: Decidable) -> None:
    story = Story(PLAIN)
    story.when(Reserve("PLAIN", "T1", count=3, ttl_seconds=1))
    story.now += SECOND if isinstance(release, Expire) else 0
    story.when(release)
    assert one(NumbersReserved, story.when(Reserve("PLAIN", "T2"))).ranges == ((4, 4),)


# Which rejection of Reserve is told: a series that can be wronged in every way, the flaws in the order of their guards.

FULL = series(
    "{YYYY}/{ORG}-{TYPE}-{SEQ:1}-{REV}e{NOTE}",
    "FULL",
    dimensions={"ORG": Dimension(values=("A", "B")), "TYPE": Dimension(chars="A-Z")},
    attributes={
        "REV": Attribute(Dimension(chars="A-Z"), default="A"),
        "NOTE": Attribute(Dimension(values=("x", "\u0301"))),
    },
    reset=Reset.YEARLY,
    date_order=DateOrder.PERIOD,
)
GOOD: dict[str, Any] = {"series": "FULL", "key": {"ORG": "A", "TYPE": "X"}, "attributes": {"NOTE": "x"}}
FLAWS: list[tuple[str, dict[str, Any], Code, str | None]] = [
    ("unknown series", {"series": "FULLER"}, Code.CONFIG_NOT_FOUND, None),
    ("count of none", {"count": 0}, Code.INVALID_FORMAT, "count"),
    ("count too high", {"count": 10_001}, Code.INVALID_FORMAT, "count"),
    ("ttl of none", {"ttl_seconds": 0}, Code.INVALID_FORMAT, "ttl_seconds"),
    ("ttl too long for any", {"ttl_seconds": 366 * 86_400 + 1}, Code.INVALID_FORMAT, "ttl_seconds"),
    ("ttl too long", {"ttl_seconds": 86_401}, Code.LIFETIME_EXCEEDED, None),
    ("undeclared dimension", {"key": {"REV": "A"}}, Code.INVALID_FORMAT, "key.REV"),
    ("first dimension", {"key": {"ORG": "C"}}, Code.INVALID_FORMAT, "key.ORG"),
    ("second dimension", {"key": {"TYPE": "x"}}, Code.INVALID_FORMAT, "key.TYPE"),
    ("undeclared attribute", {"attributes": {"ORG": "A"}}, Code.INVALID_FORMAT, "attributes.ORG"),
    ("attribute", {"attributes": {"REV": "1"}}, Code.INVALID_FORMAT, "attributes.REV"),
    ("date too early", {"document_date": date(1999, 12, 31)}, Code.INVALID_FORMAT, "document_date"),
    ("date too late", {"document_date": date(2100, 1, 1)}, Code.INVALID_FORMAT, "document_date"),
    ("period not begun", {"document_date": date(2026, 1, 1)}, Code.PERIOD_NOT_BEGUN, None),
    ("earlier period", {"document_date": date(2024, 12, 31)}, Code.DATE_OUT_OF_ORDER, None),
    ("not normal as a whole", {"attributes": {"NOTE": "\u0301"}}, Code.INVALID_FORMAT, None),
    ("exhausted", {"count": 9}, Code.SEQUENCE_EXHAUSTED, None),
]


def full(*flaws: Mapping[str, Any]) -> Reserve:
    given = GOOD
    for flaw in flaws:
        given = given | {
            name: given[name] | value if isinstance(value, dict) else value for name, value in flaw.items()
        }
    return Reserve(token="T", **given)


def full_story() -> Story:
    story = Story(FULL)
    story.when(replace(full(), token="T0"))
    return story


def independent(one_flaw: dict[str, Any], other: dict[str, Any]) -> bool:
    """Can both stand in one command? Not when one would overwrite the other."""
    for name in one_flaw.keys() & other.keys():
        if not isinstance(other[name], dict) or one_flaw[name].keys() & other[name].keys():
            return False
    return True


PAIRS = [pair for pair in combinations(FLAWS, 2) if independent(pair[0][1], pair[1][1])]


def test_the_command_without_a_flaw_is_accepted() -> None:
    full_story().when(full())


@pytest.mark.parametrize(("changes", "code", "path"), [flaw[1:] for flaw in FLAWS], ids=[flaw[0] for flaw in FLAWS])
def test_each_flaw_of_reserve_has_its_code(changes: dict[str, Any], code: Code, path: str | None) -> None:
    rejection = full_story().rejection(full(changes))
    assert rejection.code is code
    assert [name for name, _ in rejection.errors] == ([] if path is None else [path])


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=[f"{one[0]}, then {two[0]}" for one, two in PAIRS])
def test_of_two_flaws_the_earlier_is_told(first: tuple[Any, ...], second: tuple[Any, ...]) -> None:
    story = full_story()
    alone, both = story.rejection(full(first[1])), story.rejection(full(first[1], second[1]))
    assert (both.code, both.errors, both.detail) == (alone.code, alone.errors, alone.detail)


@pytest.mark.parametrize(
    ("key", "attributes", "errors"),
    [
        ({}, {}, [("key.ORG", "is missing"), ("key.TYPE", "is missing")]),
        ({"ORG": "A", "Z": "1"}, {}, [("key.TYPE", "is missing"), ("key.Z", "is not declared")]),
        (GOOD["key"], {}, [("attributes.NOTE", "is missing")]),
        (GOOD["key"], {"Z": "1"}, [("attributes.NOTE", "is missing"), ("attributes.Z", "is not declared")]),
    ],
)
def test_all_missing_and_undeclared_names_are_told(key: Any, attributes: Any, errors: list[tuple[str, str]]) -> None:
    rejection = full_story().rejection(Reserve("FULL", "T", key, attributes=attributes))
    assert rejection.code is Code.INVALID_FORMAT
    assert rejection.errors == tuple(errors)


# Confirm


@pytest.mark.parametrize(
    ("command", "ranges", "documents", "released"),
    [
        (Confirm("T"), ((1, 5),), (), ()),
        (Confirm("T", "D"), ((1, 5),), (), ()),
        (Confirm("T", "D", release_rest=False), ((1, 5),), (), ()),
        (Confirm("T", "D", (Choice("0002"),)), ((2, 2),), (), ((1, 1), (3, 5))),
        (Confirm("T", "D", (Choice("0002"),), release_rest=False), ((2, 2),), (), ()),
        (Confirm("T", "D", (Choice("0004"), Choice("0001"))), ((1, 1), (4, 4)), (), ((2, 3), (5, 5))),
        (
            Confirm("T", None, (Choice("0004", "X"), Choice("0001", "Y"))),
            ((1, 1), (4, 4)),
            ((1, "Y"), (4, "X")),
            ((2, 3), (5, 5)),
        ),
        (Confirm("T", "D", (Choice("0002"), Choice("0001", "Y"))), ((1, 2),), ((1, "Y"),), ((3, 5),)),
        (Confirm("T", "D", tuple(Choice(f"000{value}") for value in range(1, 6))), ((1, 5),), (), ()),
    ],
)
def test_confirm(command: Confirm, ranges: Ranges, documents: tuple[tuple[int, str], ...], released: Ranges) -> None:
    story = holding()
    reserved = story.state.reservation("T")
    assert reserved is not None
    expected = NumbersConfirmed(reserved.numbering, "T", ranges, command.document, documents, released)
    assert story.when(command) == [expected]
    left = 0 if command.release_rest else 5 - count_of(ranges)
    after = story.state.reservation("T")
    assert (0 if after is None else count_of(after.ranges)) == left


def test_a_block_is_confirmed_in_parts() -> None:
    story = holding()
    story.when(Confirm("T", "A", (Choice("0002"),), release_rest=False))
    assert story.rejection(Confirm("T", "B", (Choice("0002"),))).errors[0][0] == "numbers[0]"
    assert one(NumbersConfirmed, story.when(Confirm("T", "B"))).ranges == ((1, 1), (3, 5))
    assert story.rejection(Confirm("T", "C")).code is Code.RESERVATION_NOT_FOUND


def test_confirm_compares_with_the_number_as_it_was_printed() -> None:
    story = Story(RFA)
    story.when(Reserve("LCBP3-RFA", "T", RFA_KEY, attributes={"REV": "A"}))
    rejection = story.rejection(Confirm("T", numbers=(Choice("LCBP3-C2-RFA-TER-RPT-0001-B"),)))
    assert rejection.errors[0][0] == "numbers[0]"
    story.when(Confirm("T", numbers=(Choice("LCBP3-C2-RFA-TER-RPT-0001-A"),)))


BAD_DOCUMENTS = ["", "x" * 201, "a\nb", "e\u0301", " a", "a\u200b"]


@pytest.mark.parametrize("document", BAD_DOCUMENTS)
def test_a_bad_document_is_refused_wherever_it_stands(document: str) -> None:
    story = holding()
    assert story.rejection(Confirm("T", document)).errors[0][0] == "document"
    rejection = story.rejection(Confirm("T", "D", (Choice("0001"), Choice("0002", document))))
    assert rejection.errors[0][0] == "numbers[1].document"
    assert story.rejection(Issue(Reserve("PLAIN", "T2"), document)).errors[0][0] == "document"


# The flaws of a Confirm in the order of their guards; T0 is unknown, T1 expired, T holds 0001 to 0005.
@pytest.mark.parametrize(
    ("command", "code", "path"),
    [
        (Confirm("T0", "", ()), Code.RESERVATION_NOT_FOUND, None),
        (Confirm("T1", "", ()), Code.RESERVATION_EXPIRED, None),
        (Confirm("T", "", ()), Code.INVALID_FORMAT, "document"),
        (Confirm("T", "", (Choice("0006"),)), Code.INVALID_FORMAT, "document"),
        (Confirm("T", "D", ()), Code.INVALID_FORMAT, "numbers"),
        (Confirm("T", "D", (Choice("0006", ""), Choice("0001", ""))), Code.INVALID_FORMAT, "numbers[0]"),
        (Confirm("T", "D", (Choice("0001"), Choice("0006"))), Code.INVALID_FORMAT, "numbers[1]"),
        (Confirm("T", "D", (Choice("0001"), Choice("00001"))), Code.INVALID_FORMAT, "numbers[1]"),
        (Confirm("T", "D", (Choice("0001"), Choice("0000"))), Code.INVALID_FORMAT, "numbers[1]"),
        (Confirm("T", "D", (Choice("0001"), Choice("0001", ""))), Code.INVALID_FORMAT, "numbers[1]"),
        (Confirm("T", "D", (Choice("0001", ""), Choice("0006"))), Code.INVALID_FORMAT, "numbers[0].document"),
    ],
)
def test_each_flaw_of_confirm_and_which_is_told(command: Confirm, code: Code, path: str | None) -> None:
    story = Story(PLAIN)
    story.when(Reserve("PLAIN", "T", count=5))
    story.when(Reserve("PLAIN", "T1", ttl_seconds=1))
    story.now += SECOND
    rejection = story.rejection(command)
    assert rejection.code is code
    assert [name for name, _ in rejection.errors] == ([] if path is None else [path])


# Expiry


@pytest.mark.parametrize("command", [Confirm("T"), Confirm("T", "D", (Choice("0001"),)), Extend("T", 60), Cancel("T")])
def test_at_expires_at_it_is_too_late_and_a_microsecond_before_it_is_not(command: Decidable) -> None:
    story = holding()
    story.now = NOW + TTL
    assert story.rejection(command).code is Code.RESERVATION_EXPIRED
    story.now -= 1
    story.when(command)


@pytest.mark.parametrize("command", [Confirm("T"), Extend("T", 60), Cancel("T")])
def test_once_swept_the_state_has_forgotten_it(command: Decidable) -> None:
    story = holding()
    story.now = NOW + TTL
    story.when(Expire("T"))
    assert story.rejection(command).code is Code.RESERVATION_NOT_FOUND  # `history` tells why


def test_expire_takes_what_is_due_and_nothing_else() -> None:
    story = holding()
    story.when(Confirm("T", "D", (Choice("0003"),), release_rest=False))
    story.now = NOW + TTL - 1
    assert story.when(Expire("T")) == []
    assert story.when(Expire("T0")) == []
    story.now += 1
    assert one(ReservationExpired, story.when(Expire("T"))).ranges == ((1, 2), (4, 5))
    assert story.when(Expire("T")) == []


@pytest.mark.parametrize("count", [1, 5])
def test_cancel_gives_back_what_is_still_held(count: int) -> None:
    story = holding(count)
    reserved = story.state.reservation("T")
    assert reserved is not None
    assert story.when(Cancel("T")) == [ReservationCancelled(reserved.numbering, "T", ((1, count),))]
    assert story.rejection(Cancel("T")).code is Code.RESERVATION_NOT_FOUND


# Extend


@pytest.mark.parametrize(
    ("after", "ttl", "until"),
    [
        (0, 600, 600),
        (0, 300, 300),
        (0, 1, 300),  # never shorter
        (299, 1, 300),
        (299, 2, 301),
        (0, 86_400, 86_400),
        (100, 86_300, 86_400),
    ],
)
def test_extend(after: int, ttl: int, until: int) -> None:
    story = holding()
    story.now += after * SECOND
    assert story.when(Extend("T", ttl)) == [ReservationExtended("PLAIN:-", "T", NOW + until * SECOND)]


def test_an_extended_reservation_lives_on_and_ends_later() -> None:
    story = holding()
    story.when(Extend("T", 600))
    story.now = NOW + 600 * SECOND - 1
    assert story.when(Expire("T")) == []
    story.when(Extend("T", 1))
    story.now += SECOND
    assert story.rejection(Confirm("T")).code is Code.RESERVATION_EXPIRED


@pytest.mark.parametrize(
    ("after", "command", "code"),
    [
        (0, Extend("T", 86_401), Code.LIFETIME_EXCEEDED),
        (100, Extend("T", 86_301), Code.LIFETIME_EXCEEDED),
        (0, Extend("T", 0), Code.INVALID_FORMAT),
        (0, Extend("T", -1), Code.INVALID_FORMAT),
        (0, Extend("T", 366 * 86_400 + 1), Code.INVALID_FORMAT),
        (0, Extend("T0", 60), Code.RESERVATION_NOT_FOUND),
        # which of two is told
        (0, Extend("T0", 0), Code.INVALID_FORMAT),
        (300, Extend("T", 0), Code.INVALID_FORMAT),
        (0, Extend("T0", 86_401), Code.RESERVATION_NOT_FOUND),
        (300, Extend("T", 86_401), Code.RESERVATION_EXPIRED),
    ],
)
def test_each_flaw_of_extend_and_which_is_told(after: int, command: Extend, code: Code) -> None:
    story = holding()
    story.now += after * SECOND
    assert story.rejection(command).code is code


def test_the_longest_lifetime_of_all() -> None:
    longest = 366 * 86_400
    story = Story(series(reservation_max_lifetime_seconds=longest))
    story.when(Reserve("S", "T1", ttl_seconds=longest))
    story.when(Reserve("S", "T2"))
    assert one(ReservationExtended, story.when(Extend("T2", longest))).expires_at == NOW + longest * SECOND


def test_the_rejected_extension_says_how_far_it_could_go() -> None:
    story = holding()
    story.now += 100 * SECOND + 1
    assert "2025-06-16T03:00:00.000000Z at the latest, 86299 seconds" in story.rejection(Extend("T", 86_400)).detail
    story.when(Extend("T", 86_299))


# Issue


def test_issue_reserves_and_confirms() -> None:
    story = Story(LETTER)
    reset, reserved, confirmed = story.when(Issue(Reserve("LETTER", "T", LETTER_KEY, count=3), "D"))
    assert isinstance(reset, SequenceReset)
    assert isinstance(reserved, NumbersReserved)
    assert confirmed == NumbersConfirmed(reserved.numbering, "T", ((1, 3),), "D")
    assert story.state.reservations() == []


@pytest.mark.parametrize("flaw", [flaw[1] for flaw in FLAWS], ids=[flaw[0] for flaw in FLAWS])
def test_issue_tells_the_document_first_and_then_what_reserve_tells(flaw: dict[str, Any]) -> None:
    story = full_story()
    assert story.rejection(Issue(full(flaw), "")).errors[0][0] == "document"
    issued, reserved = story.rejection(Issue(full(flaw), "D")), story.rejection(full(flaw))
    assert (issued.code, issued.detail) == (reserved.code, reserved.detail)


def test_the_same_state_command_and_instant_give_the_same_answer() -> None:
    story = full_story()
    assert decide(story.state, full(), NOW) == decide(story.state, full(), NOW)
    assert decide(State(), DefineSeries((FULL,)), NOW) == decide(State(), DefineSeries((FULL,)), NOW)
