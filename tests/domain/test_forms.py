"""A number is read in one way, whoever names it: Assign and a register take the same forms, also after amendments."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.domain.calendar import Reset
from ledger.domain.commands import (
    AdjustSequence,
    Assign,
    ClosePeriod,
    Decidable,
    DefineSeries,
    Fence,
    Issue,
    OpenPeriod,
    RaiseFormat,
    ReopenPeriod,
    ReopenSeries,
    Reserve,
    ResetSequence,
    RetireSeries,
)
from ledger.domain.decide import decide
from ledger.domain.decisions.acts import accepting
from ledger.domain.events import Event, NumberAssigned, NumbersImported
from ledger.domain.formats import DERIVED_DATES, NEWEST_FORMAT, REPLACED_FORMS
from ledger.domain.legality import flaw
from ledger.domain.register import Register
from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import ValueState
from ledger.domain.series import DateOrder, Dimension, Series
from tests.given import NOW, QUICK, Story, one, series
from tests.profiles import rounds

REASON = "a correction"
OLD, NEW = series("OLD-{SEQ:3}", start=2), series("NEW-{SEQ:4}", start=2)


def amended(format: int = NEWEST_FORMAT) -> Story:
    """Tell of a sequence with value 2 confirmed, 3 to 9 skipped and 10 reserved, and of what it printed otherwise."""
    story = Story()
    if format > 1:
        story.when(RaiseFormat(format, REASON))
    story.when(DefineSeries((OLD,)))
    story.when(Issue(Reserve("S", "T"), "DOC"))
    story.when(AdjustSequence("S:-", 10, REASON))
    story.when(Reserve("S", "U"))
    story.when(DefineSeries((NEW,)))
    return story


def register(story: Story, *numbers: str) -> Register:
    """Read a register as the service does, up to the state."""
    present, *_ = versions = list(reversed(story.state.printing("S")))
    replaced = reversed(versions[1:]) if story.state.format >= REPLACED_FORMS else ()
    made = Register([present], NOW, replaced)
    for line, number in enumerate(numbers, 1):
        made.add(line, number)
    made.drop_held(story.state)
    return made


FORMS = ["OLD-002", "OLD-003", "OLD-010", "OLD-011", "OLD-001", "NEW-0002", "NEW-0003", "NEW-0010", "NEW-0011", "X-1"]


@pytest.mark.parametrize("number", FORMS)
def test_a_register_takes_what_can_be_assigned(number: str) -> None:
    """And refuses the rest, when it is read, before anything is written: so a dry run tells it too."""
    story = amended()
    assigned = decide(story.state, Assign(number, "DOC", REASON), NOW)
    made = register(story, number)
    assert [each.code for each in made.bad()] == ([assigned.code] if isinstance(assigned, Rejection) else []) or (
        isinstance(assigned, Rejection)
        and (assigned.code, made.bad()[0].code) == (Code.NUMBER_NOT_FOUND, Code.NO_TEMPLATE)  # of the ledger, of these
    )
    if not isinstance(assigned, Rejection):
        story.when(made.command(skip_bad=False))
        assert story.sequence("S:-").state_of(int(number[4:])) is ValueState.CONFIRMED


YEARLY: dict[str, Any] = {"reset": Reset.YEARLY, "dimensions": {"K": Dimension(values=("a", "b"))}}
VERSIONS = [
    series("O-{K}-{SEQ:2}-{YYYY}", **YEARLY, start=3),
    series("N-{K}-{SEQ:2}-{YYYY}", **YEARLY, start=3),
    series("N-{K}-{SEQ:2}-{YYYY}", **YEARLY, start=1),
    series("O-{K}-{SEQ:2}-{YYYY}", **YEARLY, start=1, max_value=20),
]
SEQUENCES = [f"S:{key}:{year}" for key in "ab" for year in (2024, 2025, 2026)]
NUMBERS = [
    f"{form}-{key}-{value:02}-{year}"
    for form in "ON" for key in "ab" for value in (0, 1, 3, 5, 12, 20, 21) for year in (2024, 2025, 2026)
]  # fmt: skip
STEPS = st.one_of(
    st.sampled_from(VERSIONS).map(lambda version: DefineSeries((version,))),
    st.sampled_from([3, 30]).map(lambda margin: Fence(1, NOW, margin, REASON)),
    st.sampled_from(SEQUENCES).map(ClosePeriod),
    st.sampled_from(SEQUENCES).map(lambda id: ReopenPeriod(id, REASON)),
    st.sampled_from(SEQUENCES).map(ResetSequence),
    st.just(OpenPeriod("S", "2026")),
    st.sampled_from(SEQUENCES).map(lambda id: AdjustSequence(id, 6, REASON)),
    st.sampled_from(NUMBERS).map(lambda number: Assign(number, "D", REASON)),
    st.just(RetireSeries("S", REASON)),
    st.just(ReopenSeries("S", REASON)),
)
ALIKE = {Code.NUMBER_NOT_FOUND: Code.NO_TEMPLATE}  # of the ledger, and of the series that a register names


def codes(story: Story, number: str) -> tuple[Code | None, Code | None]:
    """Say how a number is refused as assigned, and as the only row of a register; None where it is taken."""
    assigned = decide(story.state, accepting(Assign(number, "D", REASON)), story.now)
    try:
        made = register(story, number)
        if made.bad():
            return code_of(assigned), made.bad()[0].code
        taken = decide(story.state, accepting(made.command(skip_bad=False)), story.now)
    except Rejection as refused:
        taken = refused
    return code_of(assigned), code_of(taken)


def code_of(answer: list[Event] | Rejection) -> Code | None:
    return ALIKE.get(answer.code, answer.code) if isinstance(answer, Rejection) else None


@given(st.lists(STEPS, max_size=8))
@settings(QUICK, max_examples=rounds(60, thorough=600))
def test_in_every_history_a_register_takes_what_can_be_assigned(steps: list[Decidable]) -> None:
    """Amended, fenced, closed, reopened, opened ahead: a row fits exactly when its number can be assigned."""
    story = Story()
    story.when(RaiseFormat(NEWEST_FORMAT, REASON))
    story.when(DefineSeries((VERSIONS[0],)))
    for step in steps:
        if not isinstance(decide(story.state, step := accepting(step), story.now), Rejection):
            story.when(step)
    for number in NUMBERS:
        assigned, imported = codes(story, number)
        # A register says first what no state could mend: then something else may be wrong with the number too.
        is_first = assigned is not None and imported is Code.OUT_OF_RANGE
        assert assigned is imported or is_first, (number, assigned, imported)


def test_each_version_has_an_event_of_its_own() -> None:
    story = amended()
    events = story.when(register(story, "NEW-0012", "OLD-005", "NEW-0004").command(skip_bad=False))
    told = [
        (each.series_version, each.prints[0].ranges, each.skipped)
        for each in events
        if isinstance(each, NumbersImported)
    ]
    assert told == [(1, ((5, 5),), ()), (2, ((4, 4), (12, 12)), ((11, 11),))]


@pytest.mark.parametrize("format", [1, 2])
def test_in_an_older_format_a_register_is_read_as_before(format: int) -> None:
    (bad,) = register(amended(format), "OLD-003", "NEW-0004").bad()
    assert (bad.line, bad.code) == (1, Code.NO_TEMPLATE)


def test_an_amendment_while_the_register_is_read_leaves_only_what_was_passed() -> None:
    story = amended()
    made = [register(story, "NEW-0004"), register(story, "NEW-0012")]
    story.when(DefineSeries((series("NEWER-{SEQ:4}", start=2),)))
    (event,) = story.when(made[0].command(skip_bad=False))
    assert isinstance(event, NumbersImported)
    assert event.series_version == 2
    assert story.rejection(made[1].command(skip_bad=False)).code is Code.SERIES_AMENDED


def test_a_row_below_the_start_of_its_sequence_is_told_when_it_is_read() -> None:
    story = Story(series("{SEQ:3}", start=5))
    story.when(Reserve("S", "T"))
    story.when(RaiseFormat(NEWEST_FORMAT, REASON))
    (bad,) = register(story, "001").bad()
    assert bad.code is Code.OUT_OF_RANGE


# Periods that can never be used

YEARS = {"reset": Reset.YEARLY, "date_order": DateOrder.PERIOD}
PLAIN = series("{YYYY}-{SEQ:2}", **YEARS)
LISTED = series("{CO}-{YYYY}-{SEQ:2}", dimensions={"CO": Dimension(values=("A", "B"))}, **YEARS)
OPEN = series("{CO}-{YYYY}-{SEQ:2}", dimensions={"CO": Dimension(chars="AB", max=1)}, **YEARS)
FREE = series("{YYYY}-{SEQ:2}", reset=Reset.YEARLY)


@pytest.mark.parametrize(
    ("of", "used", "command", "code"),
    [
        (PLAIN, [{}], OpenPeriod("S", "2026"), Code.DATE_OUT_OF_ORDER),
        (PLAIN, [{}], OpenPeriod("S", "2024"), Code.DATE_OUT_OF_ORDER),
        (PLAIN, [{}], OpenPeriod("S", "2028"), None),
        (PLAIN, [{}], ResetSequence("S:2025", "2026"), Code.DATE_OUT_OF_ORDER),
        (PLAIN, [{}], ResetSequence("S:2025", "2028"), None),
        (FREE, [{}], OpenPeriod("S", "2026"), None),
        (LISTED, [{"CO": "A"}], OpenPeriod("S", "2026", {"CO": "A"}), Code.DATE_OUT_OF_ORDER),
        (LISTED, [{"CO": "A"}], OpenPeriod("S", "2026", {"CO": "B"}), None),
        (LISTED, [{"CO": "A"}], OpenPeriod("S", "2026"), None),
        (LISTED, [{"CO": "A"}, {"CO": "B"}], OpenPeriod("S", "2026"), Code.DATE_OUT_OF_ORDER),
        (LISTED, [{"CO": "A"}, {"CO": "B"}], OpenPeriod("S", "2028"), None),
        (OPEN, [{"CO": "A"}, {"CO": "B"}], OpenPeriod("S", "2026"), None),  # a class of characters may be of any size
    ],
)
def test_a_period_that_the_order_of_dates_rules_out_is_not_opened(
    of: Series, used: list[dict[str, str]], command: Decidable, code: Code | None
) -> None:
    story = Story(of)
    story.when(OpenPeriod("S", "2027"))
    for index, key in enumerate(used):
        story.when(Issue(Reserve("S", f"T{index}", key, document_date=date(2027, 1, 1)), "DOC"))
    answer = decide(story.state, accepting(command), story.now)
    assert (answer.code if isinstance(answer, Rejection) else None) is code


# Dates that nobody gave


def wrongly(story: Story, event: Event) -> str | None:
    return flaw(story.state, event, story.now)


@pytest.mark.parametrize("format", [1, 2, NEWEST_FORMAT])
def test_a_derived_date_is_marked_from_format_3_on(format: int) -> None:
    story = amended(format)
    (event,) = story.when(Assign("NEW-0004", "DOC", REASON))
    assert isinstance(event, NumberAssigned)
    assert event.numbering.date_is_derived is (format >= DERIVED_DATES)
    made = register(story, "NEW-0005")
    (imported,) = story.when(made.command(skip_bad=False))
    assert isinstance(imported, NumbersImported)
    assert imported.prints[0].date_is_derived is (format >= DERIVED_DATES)
    assert (event.needs, imported.needs) == ((DERIVED_DATES,) * 2 if format >= DERIVED_DATES else (1, 1))


@pytest.mark.parametrize("day", [date(2024, 12, 31), date(2025, 3, 30), date(1999, 1, 1)])
def test_a_date_that_the_number_does_not_bear_is_refused(day: date) -> None:
    story = Story(series("{YYYY}-{MM}-{SEQ:2}", reset=Reset.YEARLY))
    assert story.rejection(Assign("2025-04-01", "D", REASON, day)).errors[0][0] == "document_date"
    made = Register([story.state.series_now("S")], NOW)
    made.add(1, "2025-04-01", day.isoformat(), "D")
    assert [each.code for each in made.bad()] == [Code.INVALID_FORMAT]
    event = one(NumberAssigned, story.when(Assign("2025-04-01", "D", REASON, date(2025, 4, 7))))
    assert (event.numbering.document_date, event.numbering.date_is_derived) == (date(2025, 4, 7), False)


def test_the_mark_of_an_event_needs_its_format() -> None:
    story = amended(2)
    (event,) = story.when(Assign("NEW-0004", "DOC", REASON, date(2025, 1, 1)))
    assert isinstance(event, NumberAssigned)
    marked = replace(event, value=5, numbering=replace(event.numbering, date_is_derived=True))
    assert wrongly(story, marked) == "it needs format 3, and the ledger is at 2"


def test_a_register_with_documents_needs_its_format() -> None:
    story = amended(2)
    made = Register([story.state.series_now("S")], NOW)
    made.add(1, "NEW-0004", "2025-01-01", "D-1")
    events = decide(story.state, made.command(skip_bad=False), NOW)
    assert not isinstance(events, Rejection)
    assert [each.needs for each in events] == [DERIVED_DATES]
