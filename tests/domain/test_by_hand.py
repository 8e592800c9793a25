"""What is done by hand, by tables: what each command causes, what refuses it, and that a refusal changes nothing."""

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
    ClosePeriod,
    Confirm,
    Decidable,
    DefineSeries,
    Expire,
    Issue,
    OpenPeriod,
    Original,
    Reserve,
    ResetSequence,
    RetireSeries,
    Void,
    WithOriginal,
)
from ledger.domain.events import (
    MaximumAdjusted,
    NumberAssigned,
    NumbersConfirmed,
    NumbersReserved,
    NumberVoided,
    PeriodClosed,
    PeriodOpened,
    ReservationExpired,
    SequenceAdjusted,
    SequenceReset,
    SeriesRetired,
)
from ledger.domain.register import Register
from ledger.domain.sequence import ValueState
from ledger.domain.series import Attribute, DateOrder, Dimension, Reuse
from tests.given import SECOND, Story, one, series

REASON = "so it was decided"
REV = Attribute(Dimension(chars="A-Z", max=1), default="A")
YEARLY = series("S-{YYYY}-{SEQ:2}-{REV}", reset=Reset.YEARLY, attributes={"REV": REV}, max_value=90)
KEYED = series("K-{X}-{SEQ:2}-{YYYY}", "K", dimensions={"X": Dimension(values=("a", "b"))}, reset=Reset.YEARLY)
NEVER = series("N-{SEQ:2}", "N")
STRICT = series("M-{SEQ:2}", "M", manual=False)
ORIGINAL = Original(1, date(2025, 6, 15), (("REV", "A"),), "DOC")


@pytest.fixture
def story() -> Story:
    """1 confirmed, 2 cancelled, 3 reserved, 4 expired, 5 and 6 skipped, 7 confirmed and voided; the next is 8."""
    story = Story(YEARLY, KEYED, NEVER, STRICT)
    story.when(Issue(Reserve("S", "one"), "DOC"))
    story.when(Reserve("S", "two"))
    story.when(Cancel("two"))
    story.when(Reserve("S", "three", ttl_seconds=600))
    story.when(Reserve("S", "four", ttl_seconds=60))
    story.now += 60 * SECOND
    story.when(Expire("four"))
    story.when(AdjustSequence("S:2025", 7, REASON))
    story.when(Issue(Reserve("S", "seven"), "DOC"))
    story.when(WithOriginal(Void("S-2025-07-A", REASON, "-"), ORIGINAL))
    return story


def states(story: Story, id: str = "S:2025") -> list[tuple[int, int, str]]:
    return [(first, last, state.value) for first, last, state in story.sequence(id).ranges(0)]


def test_the_story(story: Story) -> None:
    assert states(story) == [
        (1, 1, "CONFIRMED"),
        (2, 2, "CANCELLED"),
        (3, 3, "RESERVED"),
        (4, 4, "EXPIRED"),
        (5, 6, "SKIPPED"),
        (7, 7, "VOIDED"),
    ]


# Assign


@pytest.mark.parametrize(
    ("number", "value", "skipped"),
    [
        ("S-2025-02-A", 2, ()),
        ("S-2025-04-B", 4, ()),
        ("S-2025-05-A", 5, ()),
        ("S-2025-08-A", 8, ()),
        ("S-2025-12-Z", 12, ((8, 11),)),
    ],
)
def test_assign_takes_what_nobody_holds(story: Story, number: str, value: int, skipped: Any) -> None:
    assigned = one(NumberAssigned, story.when(Assign(number, "HAND", REASON)))
    assert (assigned.value, assigned.document, assigned.skipped) == (value, "HAND", skipped)
    assert assigned.numbering.attributes == (("REV", number[-1]),)
    assert story.sequence("S:2025").state_of(value) is ValueState.CONFIRMED
    assert story.sequence("S:2025").high_water == max(7, value)


def test_assign_begins_a_sequence_and_takes_a_hole_of_a_register(story: Story) -> None:
    register = Register([KEYED], story.now)
    register.add(1, "K-a-03-2024")
    story.when(register.command(skip_bad=False))
    story.when(Assign("K-a-02-2024", "HAND", REASON))
    assert states(story, "K:a:2024") == [(1, 1, "PRE_CONTROL"), (2, 3, "CONFIRMED")]
    begun, assigned = story.when(Assign("K-b-01-2023", "HAND", REASON))
    assert isinstance(begun, SequenceReset)
    assert isinstance(assigned, NumberAssigned)
    assert assigned.numbering.document_date == date(2023, 12, 31)


def test_an_assigned_value_leaves_the_pool() -> None:
    story = Story(series("G-{SEQ:2}", reuse=Reuse.GAPLESS))
    story.when(Reserve("S", "T", count=2))
    story.when(Cancel("T"))
    story.when(Assign("G-01", "HAND", REASON))
    assert one(NumbersReserved, story.when(Reserve("S", "U", count=2))).ranges == ((2, 3),)


# Void


def test_void_takes_a_confirmed_number_out_of_use(story: Story) -> None:
    (voided,) = story.when(WithOriginal(Void("S-2025-01-A", REASON, "-"), ORIGINAL))
    assert isinstance(voided, NumberVoided)
    assert (voided.value, voided.replacement) == (1, None)
    assert states(story)[0] == (1, 1, "VOIDED")


def test_a_replacement_keeps_key_date_attributes_and_document(story: Story) -> None:
    number, original = "S-2025-01-A", replace(ORIGINAL, document_date=date(2025, 1, 2))
    for token, value in (("b", 8), ("c", 9)):  # A is replaced by B, and B by C
        voided, reserved, confirmed = story.when(WithOriginal(Void(number, REASON, token, replace=True), original))
        assert isinstance(voided, NumberVoided)
        assert voided.replacement == ("S:2025", value)
        assert isinstance(reserved, NumbersReserved)
        assert (reserved.numbering.document_date, reserved.numbering.attributes) == (date(2025, 1, 2), (("REV", "A"),))
        assert isinstance(confirmed, NumbersConfirmed)
        assert (confirmed.ranges, confirmed.document) == (((value, value),), "DOC")
        number = f"S-2025-0{value}-A"


def test_a_replacement_may_be_dated_otherwise(story: Story) -> None:
    events = story.when(
        WithOriginal(Void("S-2025-01-A", REASON, "r", replace=True, document_date=date(2024, 5, 1)), ORIGINAL)
    )
    assert one(NumberVoided, events).replacement == ("S:2024", 1)


# Sequences and periods


def test_adjust_goes_on_further_up_and_begins_what_had_not_begun(story: Story) -> None:
    (adjusted,) = story.when(AdjustSequence("S:2025", 20, REASON))
    assert isinstance(adjusted, SequenceAdjusted)
    assert adjusted.skipped == ((8, 19),)
    assert one(NumbersReserved, story.when(Reserve("S", "T"))).ranges == ((20, 20),)
    begun, adjusted = story.when(AdjustSequence("K:b:2025", 3, REASON))
    assert isinstance(begun, SequenceReset)
    assert states(story, "K:b:2025") == [(1, 2, "SKIPPED")]


def test_a_period_is_opened_for_every_key_or_begun_for_one(story: Story) -> None:
    assert one(PeriodOpened, story.when(OpenPeriod("K", "2026"))).period == "2026"
    story.when(Reserve("K", "T", {"X": "b"}, document_date=date(2026, 1, 1)))
    begun = one(SequenceReset, story.when(OpenPeriod("K", "2027", {"X": "a"}, REASON)))
    assert (begun.sequence, begun.start) == ("K:a:2027", 1)
    assert one(SequenceReset, story.when(ResetSequence("S:2025"))).sequence == "S:2026"
    assert one(SequenceReset, story.when(ResetSequence("S:2025", "2028", REASON))).sequence == "S:2028"


def test_close_freezes_the_account_and_expires_what_is_due(story: Story) -> None:
    story.now += 600 * SECOND
    expired, closed = story.when(ClosePeriod("S:2025", REASON))
    assert isinstance(expired, ReservationExpired)
    assert isinstance(closed, PeriodClosed)
    assert (closed.start, closed.high_water) == (1, 7)
    assert dict(closed.accounting) == {
        ValueState.CONFIRMED: ((1, 1),),
        ValueState.VOIDED: ((7, 7),),
        ValueState.CANCELLED: ((2, 2),),
        ValueState.EXPIRED: ((3, 4),),
        ValueState.SKIPPED: ((5, 6),),
    }
    story.when(WithOriginal(Void("S-2025-01-A", REASON, "-"), ORIGINAL))
    assert dict(closed.accounting)[ValueState.CONFIRMED] == ((1, 1),)


def test_maximum_and_retirement(story: Story) -> None:
    assert one(MaximumAdjusted, story.when(AdjustMaximum("S", 7, REASON))).max_value == 7
    assert story.rejection(Reserve("S", "T")).code.name == "SEQUENCE_EXHAUSTED"
    assert one(MaximumAdjusted, story.when(AdjustMaximum("S", 99, REASON))).max_value == 99
    assert story.when(AdjustMaximum("S", 99, REASON)) == []
    assert one(SeriesRetired, story.when(RetireSeries("S", REASON))).series == "S"
    story.when(Confirm("three", "DOC"))
    story.when(WithOriginal(Void("S-2025-01-A", REASON, "-"), ORIGINAL))


# Refusals: the command, the code, and what the sentence must say: what is wrong, and the way out

REFUSALS: list[tuple[Decidable, str, str]] = [
    (Assign("S-2025-02-A", "", REASON), "NB006", "document must have 1 to 200 characters"),
    (Assign("S-2025-02-A", "D", ""), "NB006", "reason must have 1 to 500 characters"),
    (
        Assign("S-2025-2-A", "D", REASON),
        "NB041",
        "no template of this ledger prints 'S-2025-2-A'; is it written in full?",
    ),
    (Assign("M-04", "D", REASON), "NB007", "not manual: it gives its numbers out in order; reserve one"),
    (
        Assign("S-2026-01-A", "D", REASON),
        "NB013",
        "period 2026 has not begun in UTC, where it is 2025-06-15; open it first",
    ),
    (Assign("S-2025-91-A", "D", REASON), "NB036", "has value 91, and sequence S:2025 counts from 1 to 90"),
    (Assign("S-2025-01-A", "D", REASON), "NB005", "value 1 of sequence S:2025 is CONFIRMED already"),
    (
        Assign("S-2025-03-B", "D", REASON),
        "NB005",
        "is RESERVED already, so 'S-2025-03-B' cannot be assigned; choose another",
    ),
    (Assign("S-2025-07-A", "D", REASON), "NB005", "is VOIDED already"),
    (
        WithOriginal(Void("S-2025-01-A", "too short", "-"), ORIGINAL),
        "NB006",
        "reason must have at least 10 characters, not 9; say more",
    ),
    (
        WithOriginal(Void("S-2025-01-A", REASON, "-", document_date=date(2025, 1, 1)), ORIGINAL),
        "NB006",
        "say replace, or leave it out",
    ),
    (WithOriginal(Void("X", REASON, "-"), None), "NB041", "no template of this ledger prints 'X'"),
    (
        WithOriginal(Void("S-2025-02-A", REASON, "-"), None),
        "NB042",
        "(value 2 of sequence S:2025) is CANCELLED; only a confirmed number",
    ),
    (WithOriginal(Void("S-2025-03-A", REASON, "-"), None), "NB042", "is RESERVED"),
    (WithOriginal(Void("S-2025-07-A", REASON, "-"), None), "NB042", "is VOIDED"),
    (WithOriginal(Void("S-2025-08-A", REASON, "-"), None), "NB042", "was never given out"),
    (WithOriginal(Void("S-2025-01-A", REASON, "-"), None), "NB051", "was confirmed just now; send the command again"),
    (
        WithOriginal(Void("S-2025-01-B", REASON, "-"), ORIGINAL),
        "NB043",
        "printed as 'S-2025-01-A'; name that one if it is meant",
    ),
    (
        WithOriginal(Void("S-2025-01-A", REASON, "-", replace=True, document_date=date(2026, 1, 1)), ORIGINAL),
        "NB013",
        "'S-2025-01-A' cannot be replaced: period 2026 has not begun",
    ),
    (AdjustSequence("S:2025", 9, ""), "NB006", "reason"),
    (AdjustSequence("S:20", 9, REASON), "NB044", "no sequence has the id 'S:20'; it is written CODE:value:…:period"),
    (AdjustSequence("K:2025", 9, REASON), "NB044", "no sequence has the id 'K:2025'"),
    (
        AdjustSequence("S:2025", 91, REASON),
        "NB036",
        "next_value 91 is above 90, the maximum of series S; raise it first",
    ),
    (AdjustSequence("S:2025", 8, REASON), "NB048", "goes on at 8 already, never back"),
    (AdjustSequence("S:2026", 8, REASON), "NB013", "open it first"),
    (AdjustMaximum("X", 9, REASON), "NB001", "define it first"),
    (AdjustMaximum("S", 100, REASON), "NB006", "max_value must be at least start (1) and at most 99"),
    (AdjustMaximum("S", 6, REASON), "NB012", "max_value cannot be 6: a sequence of series S has passed 7 already"),
    (OpenPeriod("X", "2026"), "NB001", "define it first"),
    (OpenPeriod("N", "2026"), "NB049", "series N never resets, so it has no periods; amend its reset first"),
    (OpenPeriod("S", "26"), "NB006", "period is '26', which is no yearly period; they are written 2000 to 2099"),
    (OpenPeriod("K", "2026", {"X": "c"}), "NB006", "key.X is 'c'"),
    (OpenPeriod("K", "2025"), "NB050", "period 2025 of series K is open already"),
    (OpenPeriod("S", "2025"), "NB050", "sequence S:2025 has begun already, and only once; name a later period"),
    (ResetSequence("N:-"), "NB049", "never resets"),
    (ResetSequence("S:2099"), "NB006", "period is not given, and none follows 2099 before 2099-12-31"),
    (ResetSequence("S:2025", "2025"), "NB048", "period 2025 does not follow 2025, that of sequence S:2025"),
    (ResetSequence("S:2025", "2020"), "NB048", "name a later one"),
    (ClosePeriod("S:20"), "NB044", "no sequence has the id 'S:20'"),
    (ClosePeriod("S:2026"), "NB013", "open it first"),
    (ClosePeriod("S:2025"), "NB046", "sequence S:2025 has 1 open reservations"),
    (RetireSeries("X"), "NB001", "define it first"),
    (RetireSeries("S", " "), "NB006", "reason begins or ends with a space"),
]


@pytest.mark.parametrize(("command", "code", "detail"), REFUSALS)
def test_refusals_say_what_is_wrong_and_the_way_out(story: Story, command: Decidable, code: str, detail: str) -> None:
    rejection = story.rejection(command)
    assert rejection.code.number == code, rejection.detail
    assert detail in rejection.detail


CLOSED: list[Decidable] = [
    Reserve("S", "T"),
    Issue(Reserve("S", "T"), "D"),
    Assign("S-2025-02-A", "D", REASON),
    AdjustSequence("S:2025", 20, REASON),
    ClosePeriod("S:2025"),
    OpenPeriod("S", "2025"),
    WithOriginal(Void("S-2025-01-A", REASON, "-", replace=True), ORIGINAL),
]


@pytest.mark.parametrize("command", CLOSED, ids=lambda each: type(each).__name__)
def test_a_closed_period_takes_nothing_but_void(story: Story, command: Decidable) -> None:
    story.when(Confirm("three", "DOC"))
    story.when(ClosePeriod("S:2025"))
    rejection = story.rejection(command)
    assert rejection.code.number == "NB045"
    assert "date the document in an open period" in rejection.detail


RETIRED: list[Decidable] = [
    Reserve("S", "T"),
    Assign("S-2025-02-A", "D", REASON),
    AdjustSequence("S:2025", 20, REASON),
    AdjustMaximum("S", 99, REASON),
    OpenPeriod("S", "2026"),
    ResetSequence("S:2025"),
    RetireSeries("S"),
    WithOriginal(Void("S-2025-01-A", REASON, "-", replace=True), ORIGINAL),
    DefineSeries((series("T-{SEQ:2}"),)),
]


@pytest.mark.parametrize("command", RETIRED, ids=lambda each: type(each).__name__)
def test_a_retired_series_takes_nothing_new(story: Story, command: Decidable) -> None:
    story.when(RetireSeries("S"))
    rejection = story.rejection(command)
    assert rejection.code.number == "NB047"
    assert "use another series" in rejection.detail


# Amendments


def test_an_earlier_era_takes_nothing_but_void() -> None:
    story = Story(NEVER)
    story.when(Issue(Reserve("N", "T"), "DOC"))
    story.when(DefineSeries((series("N{YYYY}-{SEQ:2}", "N", reset=Reset.YEARLY),)))
    for command in (AdjustSequence("N:-", 9, REASON), Assign("N-05", "D", REASON), ResetSequence("N:-")):
        rejection = story.rejection(command)
        assert rejection.code.number == "NB012"
        assert "its earlier sequences stay as they are" in rejection.detail
    story.when(WithOriginal(Void("N-01", REASON, "-"), Original(1, date(2025, 6, 15), (), "DOC")))


def test_a_number_whose_key_is_no_more_is_voided_but_not_replaced() -> None:
    story = Story(KEYED)
    story.when(Issue(Reserve("K", "T", {"X": "a"}), "DOC"))
    story.when(DefineSeries((series("L-{SEQ:2}-{YYYY}", "K", reset=Reset.YEARLY),)))
    original = Original(1, date(2025, 6, 15), (), "DOC")
    rejection = story.rejection(WithOriginal(Void("K-a-01-2025", REASON, "-", replace=True), original))
    assert "void it without a replacement, and reserve another number" in rejection.detail
    story.when(WithOriginal(Void("K-a-01-2025", REASON, "-"), original))


def test_a_new_era_is_not_bound_by_what_the_old_one_passed() -> None:
    story = Story(series("{SEQ:3}"))
    story.when(AdjustSequence("S:-", 151, REASON))
    story.when(DefineSeries((series("{YYYY}-{SEQ:2}", reset=Reset.YEARLY),)))
    assert one(NumbersReserved, story.when(Reserve("S", "T"))).numbering.sequence == "S~2:2025"


def test_the_order_of_dates_holds_for_what_is_assigned() -> None:
    story = Story(series("{YYYY}-{SEQ:2}", reset=Reset.YEARLY, date_order=DateOrder.PERIOD))
    story.when(Reserve("S", "T"))
    assert story.rejection(Assign("2024-01", "D", REASON)).code.number == "NB014"
