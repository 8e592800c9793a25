"""Registers: what each row is, what is refused, and what an import does to the sequences."""

import random
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain import register as module
from ledger.domain.calendar import Reset
from ledger.domain.commands import Cancel, Confirm, DefineSeries, Import, Reserve
from ledger.domain.events import NumbersImported, NumbersReserved, SequenceReset
from ledger.domain.ranges import count_of, ranges_of, values_of
from ledger.domain.register import Register
from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import ValueState
from ledger.domain.series import Dimension, Overflow, Reuse, Series
from tests.given import GAPLESS, LETTER, NOW, PLAIN, QUICK, RFA, Story, one, series

THREE = series("D-{SEQ:3}", "THREE", start=1, max_value=500)
FOUR = series("D-{SEQ:4}", "FOUR")
YEARLY = series("{YYYY}-{SEQ:3}", "YEARLY", reset=Reset.YEARLY)
WIDE = series("W{SEQ:1}", "WIDE", overflow=Overflow.WIDEN)


def register(*numbers: str, of: tuple[Series, ...]) -> Register:
    """Rows from line 2 on, as in a file with a header."""
    made = Register(of, NOW)
    for line, number in enumerate(numbers, 2):
        made.add(line, number)
    return made


def imported(story: Story, *numbers: str, of: tuple[Series, ...], skip_bad: bool = False) -> list[NumbersImported]:
    made = register(*numbers, of=of)
    made.drop_held(story.state)
    return [event for event in story.when(made.command(skip_bad=skip_bad)) if isinstance(event, NumbersImported)]


# Rows


@pytest.mark.parametrize(
    ("number", "code", "told"),
    [
        ("E-001", Code.NO_TEMPLATE, "THREE, FOUR, YEARLY"),
        ("", Code.INVALID_FORMAT, "1 to 100 characters"),
        ("D-001 ", Code.INVALID_FORMAT, "space"),
        ("D-\x00001", Code.INVALID_FORMAT, "U+0000"),
        ("D-001", Code.REPEATED_ROW, "line 2 has it already"),
        ("D-000", Code.OUT_OF_RANGE, "from 1 to 500"),
        ("D-501", Code.OUT_OF_RANGE, "from 1 to 500"),
        ("2031-001", Code.PERIOD_NOT_BEGUN, "period 2031 has not begun"),
    ],
)
def test_a_bad_row_is_told_with_its_line_and_why(number: str, code: Code, told: str) -> None:
    made = register("D-001", "D-0001", number, of=(THREE, FOUR, YEARLY))
    made.drop_held(Story(THREE, FOUR, YEARLY).state)
    (bad,) = made.bad()
    assert (bad.line, bad.number, bad.code) == (4, number, code)
    assert told in bad.detail


def test_a_row_that_two_series_print_is_told_with_both() -> None:
    letter = series("{A}-{SEQ:3}", "ANY", dimensions={"A": Dimension(values=("D", "E"))})
    (bad,) = register("D-001", "E-001", of=(THREE, letter)).bad()
    assert bad.code is Code.AMBIGUOUS_NUMBER
    assert bad.detail == "value 1 of THREE:- and value 1 of ANY:D:- both print it"


@pytest.mark.parametrize("of", [(), (THREE, THREE)])
def test_series_are_named_once(of: tuple[Series, ...]) -> None:
    with pytest.raises(Rejection, match="must name each series"):
        Register(of, NOW)


def test_a_register_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 3)
    monkeypatch.setattr(module, "MAX_SEQUENCES", 2)
    with pytest.raises(Rejection) as many_rows:
        register("D-001", "D-002", "x", "D-004", of=(THREE,))
    with pytest.raises(Rejection) as many_sequences:
        register("2023-001", "2024-001", "2025-001", of=(YEARLY,))
    assert {many_rows.value.code, many_sequences.value.code} == {Code.REGISTER_TOO_LARGE}


# What an import does


def test_holes_of_a_sequence_that_the_import_begins_are_pre_control() -> None:
    story = Story(THREE)
    (event,) = imported(story, "D-003", "D-007", "D-004", of=(THREE,))
    assert (event.pre_control, event.skipped) == (((1, 2), (5, 6)), ())
    sequence = story.sequence("THREE:-")
    assert (sequence.high_water, sequence.state_of(5)) == (7, ValueState.PRE_CONTROL)
    assert sequence.values_in(ValueState.CONFIRMED) == ((3, 4), (7, 7))


def test_the_next_reservation_continues_above_the_highest() -> None:
    story = Story(THREE)
    imported(story, "D-003", "D-007", of=(THREE,))
    assert one(NumbersReserved, story.when(Reserve("THREE", "T"))).ranges == ((8, 8),)


def test_holes_above_an_earlier_high_water_are_skipped() -> None:
    story = Story(THREE)
    story.when(Reserve("THREE", "T", count=3))
    (event,) = imported(story, "D-006", of=(THREE,))
    assert (event.pre_control, event.skipped) == ((), ((4, 5),))


def test_the_same_value_of_two_widths_is_two_numbers() -> None:
    story = Story(THREE, FOUR)
    events = imported(story, "D-001", "D-0001", of=(THREE, FOUR))
    assert sorted(event.sequence for event in events) == ["FOUR:-", "THREE:-"]


def test_a_yearly_register_begins_each_of_its_periods() -> None:
    story = Story(LETTER)
    made = register("คคง.-สคฉ.3-0003-2567", "คคง.-สคฉ.3-0001-2568", of=(LETTER,))
    events = story.when(made.command(skip_bad=False))
    assert [type(event) for event in events] == [SequenceReset, NumbersImported] * 2
    dates = [each.document_date for event in events if isinstance(event, NumbersImported) for each in event.prints]
    assert dates == [date(2024, 12, 31), date(2025, 6, 15)]


def test_what_was_printed_with_an_attribute_is_kept_with_it() -> None:
    story = Story(RFA)
    (event,) = imported(story, *(f"LCBP3-C2-RFA-TER-RPT-{rest}" for rest in ("0001-A", "0002-B", "0003-A")), of=(RFA,))
    assert {each.attributes: each.ranges for each in event.prints} == {
        (("REV", "A"),): ((1, 1), (3, 3)),
        (("REV", "B"),): ((2, 2),),
    }


def test_what_nobody_holds_may_still_be_imported() -> None:
    story = Story(GAPLESS)
    story.when(Reserve("GAPLESS", "T", count=3))
    story.when(Cancel("T"))
    imported(story, "G0002", "G0009", of=(GAPLESS,))
    (late,) = imported(story, "G0005", of=(GAPLESS,))
    assert (late.pre_control, late.skipped) == ((), ())
    assert one(NumbersReserved, story.when(Reserve("GAPLESS", "U", count=3))).ranges == ((1, 1), (3, 3), (10, 10))


def test_what_somebody_holds_is_refused() -> None:
    story = Story(THREE)
    story.when(Reserve("THREE", "T", count=2))
    story.when(Confirm("T"))
    story.when(Reserve("THREE", "U"))
    made = register("D-002", "D-003", "D-004", of=(THREE,))
    made.drop_held(story.state)
    assert [(row.line, row.code) for row in made.bad()] == [(2, Code.DUPLICATE_NUMBER), (3, Code.DUPLICATE_NUMBER)]
    assert [row.detail for row in made.bad()] == [
        f"value {value} of sequence THREE:- is held already" for value in (2, 3)
    ]
    assert story.rejection(made.command(skip_bad=False)).code is Code.IMPORT_REFUSED
    (event,) = story.when(made.command(skip_bad=True))
    assert isinstance(event, NumbersImported)
    assert event.prints[0].ranges == ((4, 4),)


def test_a_refusal_names_the_lines_and_how_many() -> None:
    made = register("D-001", *("x" for _ in range(50)), of=(THREE,))
    refused = Story(THREE).rejection(made.command(skip_bad=False))
    assert refused.detail.startswith("50 of 51 rows do not fit, so nothing was written")
    assert refused.errors[0][0] == "line 3"
    assert len(refused.errors) == 20


def test_nothing_that_fits_writes_nothing() -> None:
    story = Story(THREE)
    assert story.when(register(of=(THREE,)).command(skip_bad=False)) == []
    assert story.when(register("x", of=(THREE,)).command(skip_bad=True)) == []


def test_a_value_that_was_issued_meanwhile_is_refused() -> None:
    story = Story(THREE)
    late = register("D-001", of=(THREE,)).command(skip_bad=True)
    story.when(Reserve("THREE", "T"))
    assert story.rejection(late).code is Code.DUPLICATE_NUMBER


def test_a_series_that_was_amended_meanwhile_is_refused() -> None:
    story = Story(THREE)
    late = register("D-001", of=(THREE,)).command(skip_bad=True)
    story.when(DefineSeries((series("D-{SEQ:3}", "THREE", max_value=600),)))
    assert story.rejection(late).code is Code.SERIES_AMENDED
    assert Story().rejection(late).code is Code.CONFIG_NOT_FOUND


def test_a_large_sequence_is_imported_in_several_events() -> None:
    numbers = [f"W{value}" for value in range(3, 24_000, 2)]
    story = Story(WIDE)
    events = imported(story, *random.Random(1).sample(numbers, len(numbers)), of=(WIDE,))
    assert [sum(count_of(each.ranges) for each in event.prints) for event in events] == [5000, 5000, 1999]
    assert not any(event.skipped for event in events)
    assert story.sequence("WIDE:-").counts()[ValueState.PRE_CONTROL] == 2 + 11_998


def test_a_large_hole_costs_little() -> None:
    story = Story(WIDE)
    (event,) = imported(story, "W999999999", "W1", of=(WIDE,))
    assert event.pre_control == ((2, 999_999_998),)
    sequence = story.sequence("WIDE:-")
    assert sequence.counts()[ValueState.PRE_CONTROL] == 999_999_997
    assert sequence.state_of(5) is ValueState.PRE_CONTROL


def test_a_larger_hole_is_a_mistyped_number() -> None:
    made = register("W1", "W4000000000", of=(WIDE,))
    with pytest.raises(Rejection, match=r"'W4000000000' \(line 3\), the highest of sequence WIDE:-, mistyped\?"):
        made.drop_held(Story(WIDE).state)


def test_a_late_date_of_the_present_period_is_no_flaw() -> None:
    of = series("{YYYY}{MM}{DD}-{SEQ:3}", reset=Reset.YEARLY)
    assert register("20251224-001", of=(of,)).bad() == []


def test_few_of_many_series_are_named() -> None:
    many = tuple(series(f"{number}-{{SEQ:3}}", f"S{number}") for number in range(20))
    (bad,) = register("x", of=many).bad()
    assert bad.detail == "none of the named series prints it: S0, S1, S2, S3, S4 and others"


VALUES = st.sets(st.integers(1, 60), max_size=20)


@QUICK
@given(st.lists(VALUES, min_size=1, max_size=4), st.integers(0, 5), st.sampled_from(Reuse))
def test_registers_in_any_order_make_the_same_numbers(parts: list[set[int]], reserved: int, reuse: Reuse) -> None:
    of = series("{SEQ:2}", reuse=reuse)
    story = Story(of)
    if reserved:
        story.when(Reserve("S", "T", count=reserved))
    held = set(range(1, reserved + 1))
    for part in parts:
        imported(story, *(f"{value:02}" for value in sorted(part)), of=(of,), skip_bad=True)
        held |= part
    sequence = story.state.sequence("S:-")
    highest = max(held, default=0)
    assert (sequence.high_water if sequence else 0) == highest
    if sequence:
        confirmed = set(values_of(sequence.values_in(ValueState.CONFIRMED)))
        assert confirmed == held - set(range(1, reserved + 1))
        assert sum(sequence.counts().values()) == highest
        free = ranges_of(set(range(1, highest + 1)) - held)
        taken = [values_of(sequence.values_in(state)) for state in (ValueState.SKIPPED, ValueState.PRE_CONTROL)]
        assert ranges_of(value for values in taken for value in values) == free


def test_a_command_without_rows_is_plain_data() -> None:
    assert register(of=(PLAIN,)).command(skip_bad=True) == Import((), (), skip_bad=True)
