"""What an amendment leaves as it was: sequences that began before it, numbers that were printed, periods."""

from datetime import date

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
    Issue,
    OpenPeriod,
    Reserve,
    ResetSequence,
)
from ledger.domain.events import NumberAssigned, NumbersReserved, PeriodClosed, SequenceReset
from ledger.domain.register import Register
from ledger.domain.series import DateOrder, Dimension, Overflow, Reuse, Series
from tests.given import Story, one, series

REASON = "so it was decided"
DAY_OF_2024 = date(2024, 5, 1)


def amended(*versions: Series) -> Story:
    """A series that gave out one number by each version but the last."""
    story = Story(versions[0])
    for number, version in enumerate(versions[1:]):
        story.when(Issue(Reserve("S", f"v{number}"), "DOC"))
        story.when(DefineSeries((version,)))
    return story


def refused(story: Story, command: Decidable) -> str:
    return story.rejection(command).code.number


# Sequences that count no more


def test_a_sequence_that_counts_no_more_is_closed_as_it_counted() -> None:
    of = {name: Dimension(values=("x", "y")) for name in ("A", "B")}
    story = Story(series("{A}-{SEQ:3}", dimensions={"A": of["A"]}))
    story.when(Issue(Reserve("S", "T", {"A": "x"}), "DOC"))
    story.when(DefineSeries((series("{A}/{B}/{SEQ:3}", dimensions=of),)))
    closed = one(PeriodClosed, story.when(ClosePeriod("S:x:-", REASON)))
    assert (closed.series_version, closed.key, closed.high_water) == (1, ("x",), 1)


def test_an_opened_period_is_of_the_fiscal_year_that_was_meant() -> None:
    def fiscal(start: str) -> Series:
        form = Dimension(values=("x",))
        return series("{X}{FY}-{SEQ:3}", dimensions={"X": form}, reset=Reset.FISCAL_YEAR, fiscal_year_start=start)

    story = Story(fiscal("10-01"))
    story.when(OpenPeriod("S", "FY2026"))
    story.when(DefineSeries((fiscal("07-01"),)))
    assert refused(story, Reserve("S", "T", {"X": "x"}, document_date=date(2025, 8, 1))) == "NB013"


# Numbers by hand


def test_a_number_in_an_old_form_is_assigned_only_where_its_value_was_passed() -> None:
    story = amended(series("A-{SEQ:3}"), series("B-{SEQ:3}"))
    story.when(AdjustSequence("S:-", 9, REASON))
    assert one(NumberAssigned, story.when(Assign("A-005", "DOC", REASON))).value == 5
    assert refused(story, Assign("A-009", "DOC", REASON)) == "NB033"
    assert one(NumberAssigned, story.when(Assign("B-009", "DOC", REASON))).value == 9


def test_a_number_in_an_old_form_keeps_the_present_rules() -> None:
    yearly = {"reset": Reset.YEARLY}
    story = amended(
        series("A-{SEQ:3}-{YYYY}", **yearly),
        series("B-{SEQ:3}-{YYYY}", **yearly, start=100, date_order=DateOrder.PERIOD),
    )
    assert refused(story, Assign("A-005-2024", "DOC", REASON)) == "NB014"
    assert refused(story, Assign("A-005-2023", "DOC", REASON)) == "NB014"


def test_an_old_form_begins_no_sequence() -> None:
    story = amended(
        series("A-{SEQ:3}-{YYYY}", reset=Reset.YEARLY), series("B-{SEQ:3}-{YYYY}", reset=Reset.YEARLY, start=100)
    )
    assert refused(story, Assign("A-005-2024", "DOC", REASON)) == "NB033"
    (begun, reserved) = story.when(Reserve("S", "T", document_date=DAY_OF_2024))
    assert isinstance(begun, SequenceReset)
    assert isinstance(reserved, NumbersReserved)
    assert (begun.start, reserved.ranges) == (100, ((100, 100),))


# What is used


def test_an_adjustment_uses_no_period() -> None:
    story = Story(series("{YYYY}-{SEQ:2}", reset=Reset.YEARLY, date_order=DateOrder.PERIOD))
    story.when(Issue(Reserve("S", "one"), "DOC"))
    story.when(ResetSequence("S:2025"))
    story.when(AdjustSequence("S:2026", 5, REASON))
    story.when(Issue(Reserve("S", "two"), "DOC"))
    story.when(Issue(Reserve("S", "three", document_date=date(2026, 1, 1)), "DOC"))
    assert refused(story, Reserve("S", "four")) == "NB014"


def test_a_period_without_a_number_can_be_closed() -> None:
    story = Story(series("{YYYY}-{SEQ:2}", reset=Reset.YEARLY), series("N-{SEQ:2}", "N"))
    begun, closed = story.when(ClosePeriod("S:2024", REASON))
    assert isinstance(begun, SequenceReset)
    assert isinstance(closed, PeriodClosed)
    assert (closed.start, closed.high_water, closed.accounting) == (1, 0, ())
    assert refused(story, Reserve("S", "T", document_date=DAY_OF_2024)) == "NB045"
    story.when(ClosePeriod("N:-", REASON))
    assert refused(story, Reserve("N", "T")) == "NB045"


@pytest.mark.parametrize(
    ("before", "after", "again"), [(Reuse.NEVER, Reuse.GAPLESS, 1), (Reuse.GAPLESS, Reuse.NEVER, 2)]
)
def test_what_is_let_go_goes_by_what_the_series_says_then(before: Reuse, after: Reuse, again: int) -> None:
    story = Story(series("{SEQ:2}", reuse=before))
    story.when(Reserve("S", "T"))
    story.when(DefineSeries((series("{SEQ:2}", reuse=after),)))
    story.when(Cancel("T"))
    assert one(NumbersReserved, story.when(Reserve("S", "U"))).ranges == ((again, again),)


# Limits that moved


def test_a_number_that_is_too_long_is_refused_where_it_is_given_out() -> None:
    full = series("L" * 99 + "{SEQ:1}", overflow=Overflow.WIDEN, max_value=9)
    story = Story(full)
    story.when(Reserve("S", "T", count=9))
    story.when(AdjustMaximum("S", 99, REASON))
    assert "must have 1 to 100 characters, not 101" in story.rejection(Reserve("S", "U")).detail
    story.when(Confirm("T", "DOC"))


def test_a_register_is_refused_when_the_maximum_was_lowered_meanwhile() -> None:
    story = Story(series("{SEQ:3}"))
    register = Register([story.state.series_now("S")], story.now)
    register.add(1, "500")
    register.drop_held(story.state)
    story.when(AdjustMaximum("S", 10, REASON))
    assert refused(story, register.command(skip_bad=False)) == "NB037"


def test_so_many_series_are_defined_at_once() -> None:
    many = tuple(series(f"{each:03d}-{{SEQ:1}}", f"S{each}") for each in range(501))
    assert "names 501, and 500 are defined at once" in Story().rejection(DefineSeries(many)).detail
    assert len(Story().when(DefineSeries(many[:500]))) == 500


def test_series_that_change_places_are_judged_as_they_will_be() -> None:
    story = Story(series("A-{SEQ:2}", "A"), series("B-{SEQ:2}", "B"))
    story.when(DefineSeries((series("B-{SEQ:2}", "A"), series("A-{SEQ:2}", "B"))))
    story.when(Issue(Reserve("A", "T"), "DOC"))
    assert refused(story, DefineSeries((series("A-{SEQ:2}", "A"), series("B-{SEQ:2}", "B")))) == "NB039"
