"""Acts that cannot be undone: what each needs at its bounds, what a dry run tells, and what can be reopened."""

from datetime import date
from typing import Any

import pytest

from ledger.domain.acceptance import Acceptance, Needs
from ledger.domain.calendar import Reset, months_after
from ledger.domain.commands import (
    AdjustMaximum,
    AdjustSequence,
    Assign,
    ClosePeriod,
    Decidable,
    DefineSeries,
    Fence,
    Import,
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
from ledger.domain.decisions.acts import accepting, needs_in
from ledger.domain.effects import Effect
from ledger.domain.events import (
    NumbersReserved,
    PeriodClosed,
    PeriodReopened,
    SequenceFenced,
    SeriesAmended,
    SeriesReopened,
    StartLowered,
)
from ledger.domain.formats import FIRST_FORMAT, NEWEST_FORMAT
from ledger.domain.register import Register
from ledger.domain.rejection import Code, Rejection
from ledger.domain.series import Definition, Dimension, Reuse, Series
from ledger.domain.trial import Trial, try_out
from tests.given import Story, at, dump, one, series

REASON = "because the test says so"
RUNNING = frozenset({Acceptance.RUNNING_PERIOD})
FAR = frozenset({Acceptance.FAR_PERIOD})
NONE = Needs()
A = {"X": "a"}
CLOSE = ClosePeriod("S:2025")
LETTERS = Dimension(values=("a", "b", "c", "d"))


def tried(story: Story, command: Decidable) -> Trial:
    """Try a command out; the state stays as it is."""
    before = dump(story.state)
    trial = try_out(story.state, command, story.now, NEWEST_FORMAT)
    assert dump(story.state) == before
    return trial


def needs(story: Story, command: Decidable) -> Needs:
    """Say what a command needs, as its dry run and its refusal say it."""
    told = tried(story, command).needs
    answer = decide(story.state, command, story.now)
    refused = needs_in(answer) if isinstance(answer, Rejection) else NONE
    assert told == refused
    if told != NONE:
        assert isinstance(answer, Rejection)
        assert (answer.members["needs"], answer.members["effect"]) == (told.told(), effect(story, command).told())
        assert not isinstance(decide(story.state, accepting(command, told), story.now), Rejection)
    return told


def effect(story: Story, command: Decidable) -> Effect:
    return tried(story, command).effect


# Skipping


def used(max_value: int, **changes: Any) -> Story:
    """A sequence of which one value is used, so that `max_value` - 1 are left."""
    story = Story(series("S{SEQ:6}", max_value=max_value, **changes))
    story.when(Issue(Reserve("S", "T"), "D"))
    return story


def adjusting(_: Story, skipped: int) -> AdjustSequence:
    return AdjustSequence("S:-", 2 + skipped, REASON)


def assigning(_: Story, skipped: int) -> Assign:
    return Assign(f"S{2 + skipped:06}", "D", REASON)


def importing(story: Story, skipped: int) -> Import:
    register = Register([story.state.series_now("S")], story.now)
    register.add(1, f"S{2 + skipped:06}")
    return register.command(skip_bad=False)


SKIPPING = [adjusting, assigning, importing]


@pytest.mark.parametrize("skipping", SKIPPING)
@pytest.mark.parametrize(
    ("left", "skipped", "is_much"),
    [
        (500_000, 1, False),
        (500_000, 1_000, False),
        (500_000, 1_001, True),
        (500_000, 400_000, True),
        (10_000, 1_000, False),
        (9_999, 1_000, True),
        (1_000, 100, False),
        (1_000, 101, True),
        (99, 9, False),
        (99, 10, True),
        (9, 1, True),
    ],
)
def test_a_thousand_values_and_a_tenth_are_skipped_freely(
    skipping: Any, left: int, skipped: int, is_much: bool
) -> None:
    story = used(left + 1)
    command = skipping(story, skipped)
    assert needs(story, command) == (Needs(max_skipped=skipped) if is_much else NONE)
    assert effect(story, command).skipped == skipped
    assert effect(story, command).left[0] == left


@pytest.mark.parametrize("skipping", SKIPPING)
@pytest.mark.parametrize(
    ("skipped", "max_skipped", "is_refused"),
    [(5, 5, False), (5, 4, True), (5, 0, True), (2_000, 2_000, False), (2_000, 1_999, True), (2_000, 10**9, False)],
)
def test_an_upper_bound_always_binds(skipping: Any, skipped: int, max_skipped: int, is_refused: bool) -> None:
    story = used(500_000)
    command = accepting(skipping(story, skipped), Needs(max_skipped=max_skipped))
    assert needs(story, command) == (Needs(max_skipped=skipped) if is_refused else NONE)


def test_an_upper_bound_below_nothing_is_refused() -> None:
    told = decide(used(9).state, AdjustSequence("S:-", 3, REASON, -1), 0)
    assert isinstance(told, Rejection)
    assert (told.code, told.errors[0][0]) == (Code.INVALID_FORMAT, "max_skipped")


def test_what_is_released_is_left_too() -> None:
    story = used(12, reuse=Reuse.GAPLESS)
    story.when(Reserve("S", "U", count=2))
    assert needs(story, AdjustSequence("S:-", 5, REASON)) == Needs(max_skipped=1)
    story.now += 301 * 1_000_000
    story.when(AdjustMaximum("S", 13, REASON))
    assert effect(story, AdjustSequence("S:-", 5, REASON)).left == (10, 9)
    assert needs(story, AdjustSequence("S:-", 5, REASON)) == NONE


def test_a_register_of_before_the_ledger_skips_nothing() -> None:
    story = Story(series("S{SEQ:6}"))
    assert needs(story, importing(story, 900_000)) == NONE
    assert effect(story, importing(story, 900_000)).skipped == 0


def test_every_sequence_of_a_register_may_skip_a_tenth_and_all_a_thousand() -> None:
    story = Story(series("S{X}{SEQ:4}", dimensions={"X": LETTERS}))
    for letter in "abcd":
        story.when(Issue(Reserve("S", letter, {"X": letter}), "D"))

    def register(*numbers: str) -> Import:
        read = Register([story.state.series_now("S")], story.now)
        for line, number in enumerate(numbers, 1):
            read.add(line, number)
        return read.command(skip_bad=False)

    assert needs(story, register("Sa0336", "Sb0336", "Sc0334")) == NONE
    assert needs(story, register("Sa0336", "Sb0336", "Sc0335")) == Needs(max_skipped=1_001)
    told = decide(story.state, register("Sa0336", "Sb0336", "Sc0335"), story.now)
    assert isinstance(told, Rejection)
    assert "1001 values would be skipped" in told.detail
    assert "and 2 sequences more" in told.detail


def test_what_a_restore_skips_is_told_beside_it() -> None:
    story = Story(series("S{YYYY}-{SEQ:6}", reset=Reset.YEARLY))
    story.when(Fence(1, story.now, 5_000, REASON))
    command = AdjustSequence("S:2025", 5_003, REASON)
    assert needs(story, command) == NONE
    (told,) = effect(story, command).sequences
    assert (told.skipped, told.skipped_by_restores, told.high_water) == (((5_001, 5_002),), 5_000, (0, 5_002))


def test_the_effect_of_an_assignment_in_numbers() -> None:
    """The number was meant as 000002."""
    story = Story(series("FA-{SEQ:6}", max_value=999_999))
    story.when(Issue(Reserve("S", "T"), "D"))
    told = decide(story.state, Assign("FA-999998", "D", REASON), story.now)
    assert isinstance(told, Rejection)
    assert told.code is Code.TOO_MANY_SKIPPED
    assert told.happened == (
        "999996 values would be skipped, 100.0 % of the 999998 that are left: 999996 from 2 to 999997 in sequence S:-, "
        "and without max_skipped at most 1000, or a tenth of what is left in a sequence, are skipped; nothing was done"
    )
    assert told.members["needs"] == {"max_skipped": 999_996}
    found: Any = told.members["effect"]
    assert (found["skipped"], found["left_before"], found["left_after"]) == (999_996, 999_998, 1)


# Closing and retiring while a period is running

ZONED = "Asia/Bangkok"
YEAR = {"reset": Reset.YEARLY}


@pytest.mark.parametrize(
    ("template", "changes", "over", "running"),
    [
        ("{SEQ:4}/{YYYY}", YEAR, ["2000", "2024"], ["2025", "2026"]),
        ("{SEQ:4}/{YYYY}-{MM}", {"reset": Reset.MONTHLY}, ["2025-05", "2024-12"], ["2025-06", "2025-07"]),
        ("{SEQ:4}/{YYYY}-{MM}-{DD}", {"reset": Reset.QUARTERLY}, ["2025-Q1"], ["2025-Q2", "2025-Q3"]),
        ("{SEQ:4}/{YYYY}-{MM}-{DD}", {"reset": Reset.DAILY}, ["2025-06-14"], ["2025-06-15", "2025-06-16"]),
        ("{SEQ:4}/{FY}", {"reset": Reset.FISCAL_YEAR, "fiscal_year_start": "10-01"}, ["FY2024"], ["FY2025", "FY2026"]),
        ("{SEQ:4}/{FY}", {"reset": Reset.FISCAL_YEAR, "fiscal_year_start": "06-16"}, ["FY2024"], ["FY2025"]),
        ("{SEQ:4}/{FY}", {"reset": Reset.FISCAL_YEAR, "fiscal_year_start": "06-15"}, ["FY2025"], ["FY2026"]),
        ("{SEQ:4}", {}, [], ["-"]),
    ],
)
def test_a_period_that_is_over_closes_freely(
    template: str, changes: dict[str, Any], over: list[str], running: list[str]
) -> None:
    story = Story(series(template, **changes))
    for period in running:
        if period != "-":
            story.when(OpenPeriod("S", period))
    for period in over:
        assert needs(story, ClosePeriod(f"S:{period}")) == NONE
    for period in running:
        assert needs(story, ClosePeriod(f"S:{period}")) == Needs((Acceptance.RUNNING_PERIOD,))
        assert needs(story, ClosePeriod(f"S:{period}", None, RUNNING)) == NONE
        assert needs(story, ClosePeriod(f"S:{period}", None, FAR)) == Needs((Acceptance.RUNNING_PERIOD,))


@pytest.mark.parametrize(
    ("now", "is_running"),
    [("2025-12-31T16:59:59.999999Z", True), ("2025-12-31T17:00:00Z", False)],
)
def test_a_year_is_over_at_midnight_in_the_zone_of_the_series(now: str, is_running: bool) -> None:
    story = Story(series("{SEQ:4}/{YYYY}", reset=Reset.YEARLY, timezone=ZONED), now=at(now))
    told = needs(story, ClosePeriod("S:2025"))
    assert told == (Needs((Acceptance.RUNNING_PERIOD,)) if is_running else NONE)


def test_the_running_year_that_was_never_used_is_closed_only_when_that_is_accepted() -> None:
    story = Story(series("{SEQ:4}/{YYYY}", **YEAR))
    told = decide(story.state, ClosePeriod("S:2025"), story.now)
    assert isinstance(told, Rejection)
    assert told.code is Code.ACCEPTANCE_NEEDED
    assert told.happened == (
        "period 2025 of sequence S:2025 runs until 2025-12-31: the 9999 values that are left in it could not be issued "
        "any more; nothing was done"
    )
    found = effect(story, ClosePeriod("S:2025"))
    assert found.left == (9_999, 0)
    assert "it passed no value, so it can be reopened" in "".join(found.afterwards())
    story.when(Issue(Reserve("S", "T"), "D"))
    assert list(effect(story, ClosePeriod("S:2025")).afterwards()) == [
        "sequence S:2025 issues no more numbers, and its 9998 remaining values stay unused; its numbers can only be "
        "voided or linked"
    ]


def test_open_reservations_keep_a_period_open_whatever_is_accepted() -> None:
    story = Story(series("{SEQ:4}/{YYYY}", **YEAR))
    story.when(Reserve("S", "T", count=3))
    for command in (ClosePeriod("S:2025"), ClosePeriod("S:2025", None, RUNNING)):
        told = decide(story.state, command, story.now)
        assert isinstance(told, Rejection)
        assert told.code is Code.RESERVATIONS_OPEN
        assert told.members["open_reservations"] == 1
        with pytest.raises(Rejection):
            try_out(story.state, command, story.now, NEWEST_FORMAT)
    assert effect(story, RetireSeries("S")).open_reservations == 1


def test_a_sequence_that_counts_no_more_is_over() -> None:
    story = Story(series("{X}{SEQ:4}", dimensions={"X": LETTERS}))
    story.when(Issue(Reserve("S", "T", A), "D"))
    story.when(DefineSeries((series("N{SEQ:4}"),)))
    assert needs(story, ClosePeriod("S:a:-")) == NONE


def test_a_series_is_retired_freely_when_its_running_period_is_closed() -> None:
    asked = Needs((Acceptance.RUNNING_PERIOD,))
    story = Story(series("{X}{SEQ:4}/{YYYY}", dimensions={"X": LETTERS}, **YEAR))
    assert needs(story, RetireSeries("S")) == asked  # never used
    story.when(Issue(Reserve("S", "T", A, document_date=date(2024, 5, 1)), "D"))
    assert needs(story, RetireSeries("S")) == asked  # this year may still begin
    story.when(Issue(Reserve("S", "U", A), "D"))
    story.when(Issue(Reserve("S", "V", {"X": "b"}), "D"))
    found = effect(story, RetireSeries("S"))
    assert (len(found.sequences), found.left) == (3, (3 * 9_998, 0))
    story.when(ClosePeriod("S:a:2025"))
    assert needs(story, RetireSeries("S")) == asked
    story.when(ClosePeriod("S:b:2025"))
    assert needs(story, RetireSeries("S")) == NONE
    story.when(OpenPeriod("S", "2026"))
    assert needs(story, RetireSeries("S")) == asked
    assert needs(story, RetireSeries("S", None, RUNNING)) == NONE


# Beginning a period that is far ahead

OPENING = [
    # exactly thirteen months to the first day, and a day more
    ("2026-12-01T00:00:00Z", YEAR, "{SEQ:4}/{YYYY}", "UTC", "2028", False),
    ("2026-11-30T23:59:59.999999Z", YEAR, "{SEQ:4}/{YYYY}", "UTC", "2028", True),
    ("2026-12-15T00:00:00Z", YEAR, "{SEQ:4}/{YYYY}", "UTC", "2027", False),
    ("2026-12-15T00:00:00Z", YEAR, "{SEQ:4}/{YYYY}", "UTC", "2031", True),
    # the same instant is another day in another zone
    ("2026-11-30T17:00:00Z", YEAR, "{SEQ:4}/{YYYY}", ZONED, "2028", False),
    ("2026-11-30T16:59:59.999999Z", YEAR, "{SEQ:4}/{YYYY}", ZONED, "2028", True),
    # a month that has no such day ends earlier, also in a leap year
    ("2027-01-31T12:00:00Z", {"reset": Reset.DAILY}, "{SEQ:4}/{YYYY}-{MM}-{DD}", "UTC", "2028-02-29", False),
    ("2027-01-31T12:00:00Z", {"reset": Reset.DAILY}, "{SEQ:4}/{YYYY}-{MM}-{DD}", "UTC", "2028-03-01", True),
    ("2027-01-29T12:00:00Z", {"reset": Reset.DAILY}, "{SEQ:4}/{YYYY}-{MM}-{DD}", "UTC", "2028-02-29", False),
    ("2027-01-28T12:00:00Z", {"reset": Reset.DAILY}, "{SEQ:4}/{YYYY}-{MM}-{DD}", "UTC", "2028-02-29", True),
    ("2026-01-31T12:00:00Z", {"reset": Reset.DAILY}, "{SEQ:4}/{YYYY}-{MM}-{DD}", "UTC", "2027-02-28", False),
    ("2026-01-31T12:00:00Z", {"reset": Reset.DAILY}, "{SEQ:4}/{YYYY}-{MM}-{DD}", "UTC", "2027-03-01", True),
    ("2028-02-29T12:00:00Z", {"reset": Reset.MONTHLY}, "{SEQ:4}/{YYYY}-{MM}", "UTC", "2029-03", False),
    ("2028-02-29T12:00:00Z", {"reset": Reset.MONTHLY}, "{SEQ:4}/{YYYY}-{MM}", "UTC", "2029-04", True),
    ("2026-09-01T12:00:00Z", {"reset": Reset.QUARTERLY}, "{SEQ:4}/{YYYY}-{MM}-{DD}", "UTC", "2027-Q4", False),
    ("2026-08-31T12:00:00Z", {"reset": Reset.QUARTERLY}, "{SEQ:4}/{YYYY}-{MM}-{DD}", "UTC", "2027-Q4", True),
    (
        "2026-09-01T12:00:00Z", {"reset": Reset.FISCAL_YEAR, "fiscal_year_start": "10-01"}, "{SEQ:4}/{FY}", "UTC",
        "FY2028", False,
    ),
    (
        "2026-08-31T12:00:00Z", {"reset": Reset.FISCAL_YEAR, "fiscal_year_start": "10-01"}, "{SEQ:4}/{FY}", "UTC",
        "FY2028", True,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("now", "changes", "template", "zone", "period", "is_far"), OPENING)
def test_a_period_begins_at_most_thirteen_months_ahead(
    now: str, changes: dict[str, Any], template: str, zone: str, period: str, is_far: bool
) -> None:
    story = Story(
        series(template, timezone=zone, **changes),
        series("{X}" + template, "K", timezone=zone, dimensions={"X": LETTERS}, **changes),
        now=at(now),
    )
    first = (
        "S:FY2001" if period.startswith("FY") else "S:2000-Q1" if "Q" in period else "S:2000-01-01"[: len(period) + 2]
    )
    asked = Needs((Acceptance.FAR_PERIOD,)) if is_far else NONE
    for command in (OpenPeriod("S", period), OpenPeriod("K", period), OpenPeriod("K", period, A)):
        assert needs(story, command) == asked
        assert needs(story, OpenPeriod(command.series, period, command.key, None, FAR)) == NONE
    assert needs(story, ResetSequence(first, period)) == asked
    assert needs(story, ResetSequence(first, period, None, FAR)) == NONE


def test_months_are_counted_to_the_last_day_of_a_shorter_one() -> None:
    assert [months_after(date(2026, 12, 31), months) for months in (0, 1, 2, 13)] == [
        date(2026, 12, 31),
        date(2027, 1, 31),
        date(2027, 2, 28),
        date(2028, 1, 31),
    ]
    assert months_after(date(2099, 12, 31), 13) == date(2101, 1, 31)


# What a dry run tells of the others


def test_a_maximum_changes_what_is_left() -> None:
    story = used(100)
    found = effect(story, AdjustMaximum("S", 60, REASON))
    assert (found.left, found.series[0].max_value) == ((99, 59), (100, 60))
    assert needs(story, AdjustMaximum("S", 60, REASON)) == NONE
    assert effect(story, AdjustMaximum("S", 100, REASON)) == Effect((), (), ())


def test_an_amendment_tells_the_sequences_that_it_ends() -> None:
    story = used(100)
    (ended,) = effect(story, DefineSeries((series("{X}{SEQ:4}", dimensions={"X": LETTERS}),))).series
    assert (ended.version, ended.ended) == ((1, 2), 1)
    (told,) = effect(story, DefineSeries((series("S{SEQ:6}", max_value=50),))).sequences
    assert told.left == (99, 49)
    (new,) = effect(story, DefineSeries((series("NEW{SEQ:4}", "NEW"),))).series
    assert (new.version, new.max_value, new.ended) == ((None, 1), (None, 9999), 0)


def test_a_dry_run_is_refused_as_the_command_is() -> None:
    story = used(100)
    for command in (
        AdjustSequence("S:-", 1, REASON),
        Assign("S000001", "D", REASON),
        OpenPeriod("S", "2027"),
        RetireSeries("X"),
        DefineSeries((series("S{SEQ:6}", "OTHER"),)),
    ):
        answer = decide(story.state, command, story.now)
        assert isinstance(answer, Rejection)
        with pytest.raises(Rejection) as told:
            try_out(story.state, command, story.now, NEWEST_FORMAT)
        assert (told.value.code, told.value.detail) == (answer.code, answer.detail)


# Reopening


def upgraded(*defined: Series) -> Story:
    story = Story(*defined)
    story.when(RaiseFormat(NEWEST_FORMAT, REASON))
    return story


def test_a_period_without_a_value_is_reopened() -> None:
    story = upgraded(series("{SEQ:4}/{YYYY}", **YEAR))
    story.when(ClosePeriod("S:2025"))
    (event,) = story.when(ReopenPeriod("S:2025", REASON))
    assert isinstance(event, PeriodReopened)
    assert event.sequence == "S:2025"
    story.when(Issue(Reserve("S", "T"), "D"))
    assert one(PeriodClosed, story.when(ClosePeriod("S:2025"))).high_water == 1
    assert "had passed 1 values" in story.rejection(ReopenPeriod("S:2025", REASON)).detail


@pytest.mark.parametrize(
    ("before", "command", "code", "words"),
    [
        ([], ReopenPeriod("S:2025", ""), "NB006", "reason"),
        ([], ReopenPeriod("S:2025", REASON), "NB044", "has not begun"),
        ([], ReopenPeriod("S:25", REASON), "NB044", "no sequence has the id"),
        ([ResetSequence("S:2024")], ReopenPeriod("S:2025", REASON), "NB072", "is open"),
        ([CLOSE, RetireSeries("S")], ReopenPeriod("S:2025", REASON), "NB047", "retired"),
        ([ResetSequence("S:2024"), Fence(1, 1, 9_999, REASON)], ReopenPeriod("S:2025", REASON), "NB072", "a restore"),
        (
            [AdjustSequence("S:2025", 2, REASON), ClosePeriod("S:2025")],
            ReopenPeriod("S:2025", REASON),
            "NB072",
            "1 val",
        ),
        ([], ReopenSeries("S", ""), "NB006", "reason"),
        ([], ReopenSeries("S", REASON), "NB072", "is not retired"),
        ([], ReopenSeries("X", REASON), "NB001", "no series"),
    ],
)
def test_what_cannot_be_reopened_is_refused(before: list[Decidable], command: Decidable, code: str, words: str) -> None:
    story = upgraded(series("{SEQ:4}/{YYYY}", **YEAR))
    for each in before:
        story.when(each)
    told = story.rejection(command)
    assert told.code.number == code
    assert words in told.detail


def test_a_sequence_of_an_earlier_era_is_not_reopened() -> None:
    story = upgraded(series("{SEQ:4}/{YYYY}", **YEAR))
    story.when(ClosePeriod("S:2025"))
    story.when(DefineSeries((series("N{SEQ:4}"),)))
    assert story.rejection(ReopenPeriod("S:2025", REASON)).code is Code.AMENDMENT_REFUSED


def test_a_reopened_period_skips_the_margins_of_the_restores_that_left_it_out() -> None:
    """Lost events may have reopened it before, and issued numbers."""
    story = upgraded(series("{SEQ:4}/{YYYY}", **YEAR))
    story.when(ClosePeriod("S:2025"))
    story.when(Fence(1, story.now, 7, REASON))
    story.when(Fence(1, story.now, 3, REASON))
    reopened, fenced = story.when(ReopenPeriod("S:2025", REASON))
    assert isinstance(reopened, PeriodReopened)
    assert isinstance(fenced, SequenceFenced)
    assert fenced.skipped == ((1, 10),)
    (reserved,) = story.when(Reserve("S", "T"))
    assert isinstance(reserved, NumbersReserved)
    assert story.numbers(reserved) == ["0011/2025"]


@pytest.mark.parametrize("margin", [0, 3])
def test_a_reopened_period_begins_where_its_series_does_by_then(margin: int) -> None:
    """It was closed while the start was lowered, which leaves closed periods as they are."""
    story = upgraded(series("{SEQ:4}/{YYYY}", **YEAR, start=124))
    story.when(ClosePeriod("S:2025"))
    (amended,) = story.when(DefineSeries((series("{SEQ:4}/{YYYY}", **YEAR, start=24),)))
    assert isinstance(amended, SeriesAmended)
    if margin:
        story.when(Fence(1, story.now, margin, REASON))
    reopened, *fenced, lowered = story.when(ReopenPeriod("S:2025", REASON))
    assert isinstance(reopened, PeriodReopened)
    assert [each.skipped for each in fenced if isinstance(each, SequenceFenced)] == ([((124, 126),)] if margin else [])
    assert lowered == StartLowered("S:2025", "S", 2, (), "2025", 24, ((24, 123),))
    story.when(Assign("0024/2025", "D", "found in an old binder"))
    (reserved,) = story.when(Reserve("S", "T"))
    assert isinstance(reserved, NumbersReserved)
    assert story.numbers(reserved) == [f"{124 + margin:04}/2025"]


def test_a_reopened_period_is_not_left_without_a_value() -> None:
    story = upgraded(series("{SEQ:1}/{YYYY}", **YEAR))
    story.when(ClosePeriod("S:2025"))
    story.when(Fence(1, story.now, 9, REASON))
    assert story.rejection(ReopenPeriod("S:2025", REASON)).code is Code.SEQUENCE_EXHAUSTED


def test_a_series_is_reopened_and_goes_on_behind_the_margins() -> None:
    story = upgraded(series("{X}{SEQ:2}", dimensions={"X": LETTERS}, reuse=Reuse.GAPLESS))
    for letter, count in (("a", 3), ("b", 95), ("c", 1)):
        story.when(Issue(Reserve("S", letter, {"X": letter}, count), "D"))
    story.when(ClosePeriod("S:c:-"))
    story.when(RetireSeries("S"))
    story.when(Fence(1, story.now, 7, REASON))
    reopened, a, b = story.when(ReopenSeries("S", REASON))
    assert isinstance(reopened, SeriesReopened)
    assert isinstance(a, SequenceFenced)
    assert isinstance(b, PeriodClosed)
    assert (a.sequence, a.skipped, b.sequence) == ("S:a:-", ((4, 10),), "S:b:-")
    assert "a restore" in story.rejection(ReopenPeriod("S:b:-", REASON)).detail
    story.when(Reserve("S", "T", A))
    assert story.sequence("S:a:-").high_water == 11
    story.when(RetireSeries("S"))
    assert len(story.when(ReopenSeries("S", REASON))) == 1  # it owes nothing more


def test_no_other_series_prints_the_numbers_of_one_that_may_be_reopened() -> None:
    """So a series that is reopened is proved by what was proved since."""
    story = upgraded(series("A{SEQ:4}"))
    story.when(RetireSeries("S"))
    assert story.rejection(DefineSeries((series("A{SEQ:4}", "OTHER"),))).code is Code.AMBIGUOUS_TEMPLATE
    story.when(ReopenSeries("S", REASON))
    assert story.rejection(DefineSeries((series("A{SEQ:4}", "OTHER"),))).code is Code.AMBIGUOUS_TEMPLATE
    story.when(DefineSeries((Series.define("S", Definition(template="B{SEQ:4}")),)))
    story.when(DefineSeries((series("A{SEQ:4}", "OTHER"),)))


def test_a_dry_run_in_a_ledger_of_before_says_that_it_must_be_upgraded() -> None:
    story = upgraded(series("{SEQ:4}/{YYYY}", **YEAR))
    story.when(ClosePeriod("S:2025"))
    with pytest.raises(Rejection) as told:
        try_out(story.state, ReopenPeriod("S:2025", REASON), story.now, FIRST_FORMAT)
    assert told.value.code is Code.FORMAT_NOT_RAISED
    assert try_out(story.state, RetireSeries("S"), story.now, FIRST_FORMAT).needs == NONE
