"""The fence of a restore, by tables: what it passes over and closes, and what begins behind it."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from ledger.domain.calendar import Reset
from ledger.domain.commands import (
    AdjustMaximum,
    AdjustSequence,
    Assign,
    Cancel,
    Choice,
    ClosePeriod,
    Confirm,
    Decidable,
    DefineSeries,
    Fence,
    Issue,
    OpenPeriod,
    Original,
    RaiseFormat,
    Reserve,
    ResetSequence,
    RetireSeries,
    Void,
    WithOriginal,
)
from ledger.domain.decisions import sequences
from ledger.domain.decisions.restores import MAX_MARGIN, MAX_OPENED
from ledger.domain.events import (
    NumbersImported,
    NumbersReserved,
    PeriodClosed,
    ReservationFenced,
    RestoreFenced,
    SequenceFenced,
    SequenceReset,
)
from ledger.domain.ranges import Ranges
from ledger.domain.register import Register
from ledger.domain.rejection import Code
from ledger.domain.results import MAX_VOID_EVENTS
from ledger.domain.sequence import ValueState
from ledger.domain.series import Dimension, Overflow, Reuse, Series
from tests.given import NOW, SECOND, Story, at, one, series

REASON = "restored from the archive"
FENCE = Fence(7, NOW, 10, REASON)
KEYED = series("K-{X}-{SEQ:2}-{YYYY}", "K", dimensions={"X": Dimension(values=("a", "b"))}, reset=Reset.YEARLY)
GAPLESS = series("G-{SEQ:2}", "G", reuse=Reuse.GAPLESS)
NEVER = series("N-{SEQ:2}", "N", start=5)
SMALL = series("S-{SEQ:1}", "S", reuse=Reuse.GAPLESS)
A, B = {"X": "a"}, {"X": "b"}
NEXT_YEAR = date(2026, 3, 1)


def fenced(*defined: Series, fence: Fence = FENCE) -> Story:
    story = Story(*(defined or (KEYED, GAPLESS, NEVER)))
    story.when(fence)
    return story


def states(story: Story, id: str) -> list[tuple[int, int, str]]:
    return [(first, last, state.value) for first, last, state in story.sequence(id).ranges(0)]


# The fence


def test_a_fence_of_nothing_is_one_event() -> None:
    story = Story()
    assert story.when(Fence(0, 0, 1, REASON)) == [RestoreFenced(1, 0, 0, 1)]
    assert story.when(replace(FENCE, opened=(("K", "2027"), ("G", "x"), ("K", "2027")))) == [
        RestoreFenced(2, 7, NOW, 10, (("G", "x"), ("K", "2027")))
    ]
    assert [(each.generation, each.fenced_at, each.margin) for each in story.state.fences] == [
        (1, NOW, 1),
        (2, NOW, 10),
    ]


def test_each_sequence_passes_over_the_margin_and_each_reservation_ends() -> None:
    story = Story(KEYED, GAPLESS, NEVER)
    story.when(Reserve("N", "z"))
    story.when(Reserve("G", "y", count=4))
    story.when(Confirm("y", "D", (Choice("G-02"),), release_rest=False))
    story.when(Reserve("G", "x"))
    story.when(Cancel("x"))
    story.when(Issue(Reserve("K", "-", A), "D"))
    first, *ended, g, k, n = story.when(FENCE)
    assert first == RestoreFenced(1, 7, NOW, 10)
    assert [(each.token, each.ranges) for each in ended if isinstance(each, ReservationFenced)] == [
        ("y", ((1, 1), (3, 4))), ("z", ((5, 5),))
    ]  # fmt: skip
    assert g == SequenceFenced("G:-", "G", 1, (), "-", ((6, 15),))
    assert k == SequenceFenced("K:a:2025", "K", 1, ("a",), "2025", ((2, 11),))
    assert n == SequenceFenced("N:-", "N", 1, (), "-", ((6, 15),))
    assert states(story, "G:-") == [
        (1, 1, "SKIPPED"), (2, 2, "CONFIRMED"), (3, 4, "SKIPPED"), (5, 5, "CANCELLED"), (6, 15, "SKIPPED")
    ]  # fmt: skip
    assert (story.state.reservations(), story.sequence("G:-").released()) == ([], 0)
    assert one(NumbersReserved, story.when(Reserve("G", "next"))).ranges == ((16, 16),)


def test_a_series_may_have_a_margin_of_its_own() -> None:
    """Or none: then its sequences skip nothing. What was released or reserved is lost all the same."""
    story = Story(KEYED, GAPLESS, NEVER)
    story.when(RaiseFormat(3, REASON))
    story.when(Issue(Reserve("N", "z"), "D"))
    story.when(Reserve("G", "y", count=2))
    story.when(Cancel("y"))
    story.when(Reserve("G", "x"))
    fenced, ended, g, n = story.when(replace(FENCE, margins=(("K", 3), ("G", 0))))
    assert fenced == RestoreFenced(1, 7, NOW, 10, (), (("G", 0), ("K", 3)))
    assert isinstance(ended, ReservationFenced)
    assert g == SequenceFenced("G:-", "G", 1, (), "-", ())
    assert n == SequenceFenced("N:-", "N", 1, (), "-", ((6, 15),))
    assert one(NumbersReserved, story.when(Reserve("G", "next"))).ranges == ((3, 3),)
    assert one(SequenceFenced, story.when(Reserve("K", "first", A))).skipped == ((1, 3),)
    again = story.when(replace(FENCE, margins=(("K", 0),)))
    assert [each.skipped for each in again if isinstance(each, SequenceFenced)] == [((4, 13),), (), ((16, 25),)]
    assert one(SequenceFenced, story.when(Reserve("K", "second", B))).skipped == ((1, 3),)


def test_a_full_sequence_without_a_margin_is_not_closed() -> None:
    story = Story(SMALL)
    story.when(RaiseFormat(3, REASON))
    story.when(Issue(Reserve("S", "T", count=9), "D"))
    assert story.when(replace(FENCE, margins=(("S", 0),)))[-1] == SequenceFenced("S:-", "S", 1, (), "-", ())
    assert isinstance(story.when(FENCE)[-1], PeriodClosed)


def test_margins_of_series_need_the_format_and_the_rest_does_not() -> None:
    """A ledger of before is restored as it is: nobody may be kept from writing to it on the worst of nights."""
    story = Story(GAPLESS)
    rejection = story.rejection(replace(FENCE, margins=(("G", 0),)))
    assert rejection.code is Code.FORMAT_NOT_RAISED
    assert story.when(FENCE)


def test_what_gives_out_nothing_any_more_is_left_as_it_is() -> None:
    story = Story(KEYED, GAPLESS, NEVER)
    story.when(Issue(Reserve("K", "-", A), "D"))
    story.when(ClosePeriod("K:a:2025"))
    story.when(Reserve("G", "T"))
    story.when(RetireSeries("G"))
    assert [type(event) for event in story.when(FENCE)] == [RestoreFenced, ReservationFenced]


def test_a_sequence_of_an_earlier_era_is_fenced_by_the_version_that_counts_in_it() -> None:
    story = Story(NEVER)
    story.when(Reserve("N", "T"))
    story.when(DefineSeries((series("{YYYY}/N-{SEQ:2}", "N", reset=Reset.YEARLY, start=5),)))
    assert story.when(FENCE)[-1] == SequenceFenced("N:-", "N", 1, (), "-", ((6, 15),))


@pytest.mark.parametrize(
    ("margin", "last"),
    [
        (4, SequenceFenced("S:-", "S", 1, (), "-", ((5, 8),))),
        (5, PeriodClosed("S:-", "S", 1, (), "-", 1, 4, (
            (ValueState.CONFIRMED, ((2, 2),)), (ValueState.CANCELLED, ((1, 1), (3, 3))), (ValueState.SKIPPED, ((4, 4),))
        ))),
    ],
)  # fmt: skip
def test_a_sequence_that_would_have_nothing_left_is_closed(margin: int, last: object) -> None:
    story = Story(SMALL)
    story.when(Reserve("S", "T", count=3))
    story.when(Reserve("S", "U"))
    story.when(Confirm("T", "D", (Choice("S-2"),)))
    assert story.when(replace(FENCE, margin=margin))[-1] == last
    assert story.sequence("S:-").released() == 0


def test_what_is_too_large_to_be_closed_passes_over_the_margin_beyond_its_maximum(monkeypatch: Any) -> None:
    """The maximum may have been raised in the lost events, and be raised again."""
    monkeypatch.setattr(sequences, "MAX_CLOSED_RANGES", 0)
    story = Story(series("S-{SEQ:2}", "S", max_value=9))
    story.when(Reserve("S", "T", count=3))
    assert story.when(FENCE)[-1] == SequenceFenced("S:-", "S", 1, (), "-", ((4, 13),))
    assert story.rejection(Reserve("S", "U")).code.number == "NB002"
    assert story.rejection(AdjustMaximum("S", 12, REASON)).code.number == "NB012"
    story.when(AdjustMaximum("S", 14, REASON))
    assert one(NumbersReserved, story.when(Reserve("S", "U"))).ranges == ((14, 14),)


def test_nothing_is_passed_over_beyond_the_highest_value_of_all(monkeypatch: Any) -> None:
    monkeypatch.setattr(sequences, "MAX_CLOSED_RANGES", 0)
    story = Story(series("S-{SEQ:1}", "S", overflow=Overflow.WIDEN))
    story.when(AdjustSequence("S:-", 3_999_999_992, REASON))
    assert story.when(FENCE)[-1] == SequenceFenced("S:-", "S", 1, (), "-", ((3_999_999_992, 4_000_000_000),))
    assert story.when(FENCE)[-1] == SequenceFenced("S:-", "S", 1, (), "-", ())


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"reason": ""}, "reason must have 1 to 500 characters, not 0"),
        ({"margin": 0}, f"margin must be 1 to {MAX_MARGIN}, not 0"),
        ({"margin": MAX_MARGIN + 1}, f"margin must be 1 to {MAX_MARGIN}, not {MAX_MARGIN + 1}"),
        ({"margins": (("X", 1),)}, "margin of X is of no series of the restored log"),
        ({"margins": (("K", -1),)}, f"margin of K must be 0 to {MAX_MARGIN}, not -1"),
        ({"margins": (("K", MAX_MARGIN + 1),)}, f"margin of K must be 0 to {MAX_MARGIN}, not {MAX_MARGIN + 1}"),
        ({"margins": (("K", 1), ("K", 2))}, "margin of K is given twice"),
        ({"opened": (("K", "2026"), ("", "2026"))}, "opened[1].series must have 1 to 50 characters, not 0"),
        ({"opened": (("K", "2026\n"),)}, "opened[0].period holds a control, format or unassigned character, U+000A"),
        ({"opened": (("K", "2026"),) * (MAX_OPENED + 1)}, f"opened names {MAX_OPENED + 1} periods"),
    ],
)
def test_what_no_fence_can_be(changes: dict[str, Any], detail: str) -> None:
    rejection = Story(KEYED).rejection(replace(FENCE, **changes))
    assert (rejection.code.number, rejection.detail[: len(detail)]) == ("NB006", detail)


def test_a_fence_holds_whatever_periods_it_may_name() -> None:
    opened = tuple((f"S{number}", "2026") for number in range(MAX_OPENED))
    assert Story().when(replace(FENCE, margin=MAX_MARGIN, opened=opened))


# What begins behind it

_REGISTER = Register([KEYED], NOW)
_REGISTER.add(1, "K-a-03-2025")
_REGISTER.add(2, "K-a-14-2025")


@pytest.mark.parametrize(
    ("command", "left"),
    [
        (Reserve("K", "T", A, 2), [(1, 10, "SKIPPED"), (11, 12, "RESERVED")]),
        (Issue(Reserve("K", "T", A), "D"), [(1, 10, "SKIPPED"), (11, 11, "CONFIRMED")]),
        (Assign("K-a-04-2025", "D", REASON), [(1, 3, "SKIPPED"), (4, 4, "CONFIRMED"), (5, 10, "SKIPPED")]),
        (Assign("K-a-13-2025", "D", REASON), [(1, 12, "SKIPPED"), (13, 13, "CONFIRMED")]),
        (AdjustSequence("K:a:2025", 14, REASON), [(1, 13, "SKIPPED")]),
        (ClosePeriod("K:a:2025", REASON), [(1, 10, "SKIPPED")]),
        (OpenPeriod("K", "2025", A), [(1, 10, "SKIPPED")]),
        (ResetSequence("K:a:2024", "2025"), [(1, 10, "SKIPPED")]),
        (_REGISTER.command(skip_bad=False), [
            (1, 2, "SKIPPED"), (3, 3, "CONFIRMED"), (4, 13, "SKIPPED"), (14, 14, "CONFIRMED")
        ]),
    ],
    ids=lambda each: type(each).__name__,
)  # fmt: skip
def test_whatever_begins_a_sequence_passes_over_the_margin(command: Decidable, left: list[Any]) -> None:
    story = fenced()
    begun, passed, *_ = story.when(command)
    assert begun == SequenceReset("K:a:2025", "K", 1, ("a",), "2025", 1)
    assert passed == SequenceFenced("K:a:2025", "K", 1, ("a",), "2025", ((1, 10),))
    assert states(story, "K:a:2025") == left
    assert not story.sequence("K:a:2025").released()


def test_a_closing_accounts_for_what_it_passed_over() -> None:
    closed = one(PeriodClosed, fenced().when(ClosePeriod("K:a:2025", REASON)))
    assert (closed.high_water, closed.accounting) == (10, ((ValueState.SKIPPED, ((1, 10),)),))


def test_a_register_has_no_holes_from_before_the_ledger_where_a_restore_passed_over() -> None:
    imported = one(NumbersImported, fenced().when(_REGISTER.command(skip_bad=False)))
    assert (imported.pre_control, imported.skipped) == ((), ((11, 13),))


def test_a_replacement_that_begins_a_sequence_passes_over_the_margin() -> None:
    story = Story(KEYED)
    story.when(Issue(Reserve("K", "T", A, document_date=date(2024, 5, 1)), "D"))
    story.when(FENCE)
    original = Original(1, date(2024, 5, 1), (), "D")
    void = WithOriginal(
        Void("K-a-01-2024", "it was of this year", "U", replace=True, document_date=date(2025, 6, 15)), original
    )
    events = story.when(void)
    assert [type(event).__name__ for event in events] == [
        "NumberVoided", "SequenceReset", "SequenceFenced", "NumbersReserved", "NumbersConfirmed"
    ]  # fmt: skip
    assert len(events) == MAX_VOID_EVENTS
    assert states(story, "K:a:2025") == [(1, 10, "SKIPPED"), (11, 11, "CONFIRMED")]


def test_a_series_that_never_resets_begins_with_what_it_passes_over() -> None:
    story = fenced()
    passed, reserved = story.when(Reserve("N", "T"))
    assert passed == SequenceFenced("N:-", "N", 1, (), "-", ((5, 14),))
    assert isinstance(reserved, NumbersReserved)
    assert reserved.ranges == ((15, 15),)
    assert not story.when(Reserve("N", "U"))[1:]


def test_the_margins_of_all_fences_that_cover_a_period_add_up() -> None:
    story = fenced(KEYED, fence=replace(FENCE, margin=3))
    story.now = at("2026-01-01T00:00:00Z")
    story.when(replace(FENCE, margin=20))
    assert one(SequenceFenced, story.when(Reserve("K", "T", A, document_date=date(2025, 5, 1)))).skipped == ((1, 23),)
    assert one(SequenceFenced, story.when(Reserve("K", "U", A))).skipped == ((1, 20),)
    story.now = at("2027-01-01T00:00:00Z")
    assert not [event for event in story.when(Reserve("K", "V", A)) if isinstance(event, SequenceFenced)]


@pytest.mark.parametrize("opened", ["before", "after", "named", "not"])
def test_a_fence_covers_a_period_that_was_opened_ahead_before_it(opened: str) -> None:
    story = Story(KEYED)
    if opened == "before":
        story.when(OpenPeriod("K", "2026"))
    story.when(replace(FENCE, opened=(("K", "2026"),) if opened == "named" else (("K", "2027"), ("N", "2026"))))
    if opened != "before":
        story.when(OpenPeriod("K", "2026"))
    reserved = one(NumbersReserved, story.when(Reserve("K", "T", A, document_date=NEXT_YEAR)))
    assert reserved.ranges[0][0] == (11 if opened in ("before", "named") else 1)


@pytest.mark.parametrize(("instant", "first"), [("2025-12-31T09:59:59Z", 1), ("2025-12-31T10:00:00Z", 11)])
def test_a_period_has_begun_where_it_begins_first(instant: str, first: int) -> None:
    """The zone of the series may have been another in the events that were lost."""
    story = Story(KEYED, now=at(instant))
    story.when(FENCE)
    story.now += 86_400 * SECOND
    assert one(NumbersReserved, story.when(Reserve("K", "T", A))).ranges == ((first, first),)


@pytest.mark.parametrize(
    "command",
    [
        Reserve("S", "T"),
        Issue(Reserve("S", "T"), "D"),
        Assign("S-7", "D", REASON),
        AdjustSequence("S:-", 7, REASON),
        ClosePeriod("S:-", REASON),
    ],
    ids=lambda each: type(each).__name__,
)
def test_where_the_margin_leaves_nothing_the_maximum_must_be_raised_first(command: Decidable) -> None:
    story = fenced(series("S-{SEQ:1}", "S", overflow=Overflow.WIDEN, max_value=10))
    rejection = story.rejection(command)
    assert rejection.code.number == "NB002"
    assert rejection.detail == (
        "sequence S:- begins behind 10 values that a restore passed over, which leaves none up to its maximum 10; "
        "raise the maximum first"
    )
    story.when(AdjustMaximum("S", 11, REASON))
    assert one(NumbersReserved, story.when(Reserve("S", "U"))).ranges == ((11, 11),)


# A log that was cut within a command


@pytest.mark.parametrize(("events", "passed"), [(1, ((1, 13),)), (2, ((11, 13),))])
def test_a_sequence_of_which_only_the_beginning_is_left_passes_over_what_it_owes(events: int, passed: Ranges) -> None:
    """Its command had passed over the margin of the fence before, and its numbers came behind that."""
    story = fenced(KEYED)
    begun = len(story.log)
    story.when(Reserve("K", "T", A))
    left = cut(story, begun + events)
    assert left.when(replace(FENCE, margin=3))[-1] == SequenceFenced("K:a:2025", "K", 1, ("a",), "2025", passed)


def test_a_sequence_that_a_torn_fence_did_not_reach_passes_over_both() -> None:
    story = Story(KEYED)
    story.when(Issue(Reserve("K", "T", A), "D"))
    story.when(Issue(Reserve("K", "U", B), "D"))
    story.when(FENCE)
    left = cut(story, len(story.log) - 1)
    assert [event.skipped for event in left.when(replace(FENCE, margin=3)) if isinstance(event, SequenceFenced)] == [
        ((12, 14),), ((2, 14),)
    ]  # fmt: skip


def cut(story: Story, events: int) -> Story:
    return Story.of(story.log[:events], now=story.now)
