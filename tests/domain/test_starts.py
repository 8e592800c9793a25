"""The start of a series: what lies below it can be given by hand once it is lowered, and nothing is given twice."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.calendar import Reset
from ledger.domain.commands import (
    AdjustSequence,
    Assign,
    ClosePeriod,
    DefineSeries,
    Issue,
    OpenPeriod,
    RaiseFormat,
    Reserve,
)
from ledger.domain.decisions import series as module
from ledger.domain.events import Event, NumbersImported, NumbersReserved, PeriodClosed, SeriesAmended, StartLowered
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.legality import flaw
from ledger.domain.register import Register
from ledger.domain.rejection import Code
from ledger.domain.sequence import Sequence, ValueState
from ledger.domain.series import Dimension, Series
from ledger.domain.state import State
from ledger.domain.utilisation import Utilisation
from tests.given import NOW, QUICK, Story, one, series

REASON = "found in an old binder"
YEARS: dict[str, Any] = {"reset": Reset.YEARLY}


def of(start: int, template: str = "{SEQ:4}", **changes: Any) -> Series:
    return series(template, start=start, **changes)


def begun(defined: Series, format: int = NEWEST_FORMAT) -> Story:
    story = Story()
    if format > 1:
        story.when(RaiseFormat(format, REASON))
    story.when(DefineSeries((defined,)))
    return story


def lowered_by(story: Story, amended: Series) -> list[StartLowered]:
    return [each for each in story.when(DefineSeries((amended,))) if isinstance(each, StartLowered)]


def states(sequence: Sequence) -> dict[int, ValueState | None]:
    return {value: sequence.state_of(value) for value in range(sequence.start, sequence.high_water + 1)}


def test_a_lower_start_opens_the_values_below() -> None:
    """The example: a series begun at 124 takes its older numbers, and goes on where it was."""
    story = begun(of(124))
    story.when(Issue(Reserve("S", "T"), "DOC"))
    amended, lowered = story.when(DefineSeries((of(1),)))
    assert isinstance(amended, SeriesAmended)
    assert lowered == StartLowered("S:-", "S", 2, (), "-", 1, ((1, 123),))
    story.when(Assign("0017", "OLD", REASON))
    register = Register([story.state.series_now("S")], NOW)
    for line, number in enumerate(["0001", "0017", "0123", "0124"], 1):
        register.add(line, number)
    register.drop_held(story.state)
    assert [(bad.number, bad.code) for bad in register.bad()] == [
        ("0017", Code.DUPLICATE_NUMBER),
        ("0124", Code.DUPLICATE_NUMBER),
    ]
    imported = one(NumbersImported, story.when(register.command(skip_bad=True)))
    assert (imported.pre_control, imported.skipped) == ((), ())
    assert one(NumbersReserved, story.when(Reserve("S", "U"))).ranges == ((125, 125),)
    sequence = story.sequence("S:-")
    assert sequence.values_in(ValueState.CONFIRMED) == ((1, 1), (17, 17), (123, 124))
    assert sequence.values_in(ValueState.PRE_CONTROL) == ((2, 16), (18, 122))


def test_only_open_sequences_are_lowered_and_the_account_of_a_closed_one_stands() -> None:
    story = begun(of(10, "{YYYY}-{SEQ:3}", **YEARS))
    for year in (2023, 2024, 2025):
        story.when(Issue(Reserve("S", f"T{year}", document_date=date(year, 5, 1)), "DOC"))
    closed = one(PeriodClosed, story.when(ClosePeriod("S:2023")))
    story.when(OpenPeriod("S", "2026"))
    lowered = [
        each for each in story.when(DefineSeries((of(1, "{YYYY}-{SEQ:3}", **YEARS),))) if isinstance(each, StartLowered)
    ]
    assert [each.sequence for each in lowered] == ["S:2024", "S:2025", "S:2026"]
    assert (story.sequence("S:2023").start, closed.start) == (10, 10)
    assert story.rejection(Assign("2023-005", "OLD", REASON)).code is Code.PERIOD_CLOSED
    assert story.sequence("S:2026").high_water == 9  # it goes on at 10, though it gave out nothing yet
    assert one(PeriodClosed, story.when(ClosePeriod("S:2024"))).start == 1


def test_a_higher_start_changes_no_sequence_that_has_begun() -> None:
    story = begun(of(5))
    story.when(Reserve("S", "T"))
    assert len(story.when(DefineSeries((of(50),)))) == 1
    assert one(NumbersReserved, story.when(Reserve("S", "U"))).ranges == ((6, 6),)
    assert len(story.when(DefineSeries((of(20),)))) == 1  # it begins at 5 still
    assert [each.pre_control for each in lowered_by(story, of(2))] == [((2, 4),)]


def test_a_series_that_counts_otherwise_leaves_its_earlier_sequences() -> None:
    story = begun(of(5))
    story.when(Reserve("S", "T"))
    assert len(story.when(DefineSeries((of(1, "{YYYY}-{SEQ:3}", **YEARS),)))) == 1
    assert story.sequence("S:-").start == 5


@pytest.mark.parametrize("format", [1, 2])
def test_in_an_older_format_an_amendment_needs_format_3_only_to_lower_what_has_begun(format: int) -> None:
    story = begun(of(5), format)
    assert all(each.needs <= format for each in story.when(DefineSeries((of(4),))))  # nothing has begun
    story.when(Reserve("S", "T"))
    assert all(each.needs <= format for each in story.when(DefineSeries((of(9),))))
    events = module.define(story.state, [of(1)])
    assert [each.needs for each in events] == [1, StartLowered.format]


def test_an_amendment_of_an_older_format_that_lowered_only_what_begins_later_is_made_good_by_the_next() -> None:
    """Before format 3 a lower start was for later sequences alone. The next amendment opens the others."""
    story = begun(of(5), 2)
    story.when(Reserve("S", "T"))
    story.state.put_series(of(1).as_version(2))  # as an earlier build did it
    assert len(story.when(DefineSeries((of(1, description="x"),)))) == 1
    story.when(RaiseFormat(NEWEST_FORMAT, REASON))
    _, lowered = story.when(DefineSeries((of(1, description="y"),)))
    assert isinstance(lowered, StartLowered)
    assert lowered.pre_control == ((1, 4),)


def test_so_much_is_opened_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OPENED", 10)
    story = begun(of(20, "{YYYY}-{SEQ:3}", **YEARS))
    for year in (2024, 2025):
        story.when(Reserve("S", f"T{year}", document_date=date(year, 5, 1)))
    refused = story.rejection(DefineSeries((of(10, "{YYYY}-{SEQ:3}", **YEARS),)))
    assert (refused.code, refused.errors[0][0]) == (Code.AMENDMENT_REFUSED, "start")
    assert len(story.when(DefineSeries((of(15, "{YYYY}-{SEQ:3}", **YEARS),)))) == 3


def test_what_lies_below_the_start_is_proved_too() -> None:
    """No other series may print what this one could not count yet: so nothing is printed twice when it can."""
    story = begun(of(124, "D-{SEQ:4}"))
    other = series("D-{SEQ:4}", "OTHER", max_value=99)
    assert story.rejection(DefineSeries((other,))).code is Code.AMBIGUOUS_TEMPLATE


def wrong(of_state: State, event: Event) -> str | None:
    return flaw(of_state, event, NOW)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"start": 2, "pre_control": ((2, 4),)}, "begins at 5, its series at 1, and is set to 2"),
        ({"pre_control": ((1, 5),)}, "opens other values than those from 1 to 4"),
        ({"pre_control": ((1, 3),)}, "opens other values"),
        ({"series_version": 1}, "version 2 is in force"),
        ({"sequence": "S:2025"}, "sequence S:2025 has not begun"),
    ],
)
def test_a_false_lowering_is_found(changes: dict[str, Any], told: str) -> None:
    story = begun(of(5))
    story.when(Reserve("S", "T"))
    story.state.put_series(of(1).as_version(2))
    right: dict[str, Any] = {"sequence": "S:-", "series_version": 2, "start": 1, "pre_control": ((1, 4),)}
    said = right | changes
    event = StartLowered(said["sequence"], "S", said["series_version"], (), "-", said["start"], said["pre_control"])
    assert told in (wrong(story.state, event) or "")
    assert wrong(story.state, StartLowered("S:-", "S", 2, (), "-", 1, ((1, 4),))) is None


@QUICK
@given(
    starts=st.lists(st.integers(0, 30), min_size=2, max_size=4, unique=True),
    used=st.lists(st.sampled_from(["issue", "reserve", "skip", "old"]), max_size=12),
)
def test_every_value_from_the_start_on_has_one_state_however_often_it_is_lowered(
    starts: list[int], used: list[str]
) -> None:
    starts = sorted(starts, reverse=True)
    story = begun(of(starts[0]))
    low, model = starts[0], dict[int, ValueState]()
    for index, what in enumerate([*used, "lower"] * len(starts)):
        high = max(model, default=low - 1)
        if what == "issue":
            story.when(Issue(Reserve("S", f"T{index}"), "DOC"))
            model[high + 1] = ValueState.CONFIRMED
        elif what == "reserve":
            story.when(Reserve("S", f"T{index}"))
            model[high + 1] = ValueState.RESERVED
        elif what == "skip":
            story.when(AdjustSequence("S:-", high + 3, REASON))
            model |= dict.fromkeys((high + 1, high + 2), ValueState.SKIPPED)
        elif what == "old" and low in model and model[low] is ValueState.PRE_CONTROL:
            story.when(Assign(f"{low:04}", "OLD", REASON))
            model[low] = ValueState.CONFIRMED
        elif what == "lower" and len(starts) > 1:
            had_begun = story.state.sequence("S:-") is not None
            starts = starts[1:]
            story.when(DefineSeries((of(starts[0]),)))
            if had_begun:
                model |= dict.fromkeys(range(starts[0], low), ValueState.PRE_CONTROL)
            low = starts[0]
        sequence = story.state.sequence("S:-")
        if sequence is not None:
            assert states(sequence) == model == states(sequence.copy())
            assert sum(sequence.counts().values()) == sequence.high_water - sequence.start + 1
            assert sequence.start == low
            told = Utilisation.of(sequence, story.state.series_now("S"), NOW)
            assert told.left == 9999 - sequence.high_water
    again = Story.of(story.log, now=story.now)
    if again.state.sequence("S:-"):
        assert states(again.sequence("S:-")) == model


def test_a_sequence_of_a_key_that_the_amendment_takes_out_is_lowered_with_the_others() -> None:
    """Its numbers of before are read by the version that printed them, which may take the older ones, too."""
    by = {"CO": Dimension(values=("A", "B"))}
    story = begun(of(10, "{CO}-{SEQ:3}", dimensions=by))
    story.when(Issue(Reserve("S", "T", {"CO": "A"}), "DOC"))
    lowered = lowered_by(story, of(1, "{CO}-{SEQ:3}", dimensions={"CO": Dimension(values=("B",))}))
    assert [each.sequence for each in lowered] == ["S:A:-"]
    story.when(Assign("A-004", "OLD", REASON))
    assert story.sequence("S:A:-").state_of(4) is ValueState.CONFIRMED
