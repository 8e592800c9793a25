"""Whatever was lost behind any cut of any history, no number of it is given out again after the fence.

The lost events stay known to the test alone. The fence's margin is the least that is allowed: as far as any sequence
came in them, or, of the series that an operator knows, as far as any of theirs; and the operator names what they opened
ahead of its time, and no more.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.domain import calendar
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
    Expire,
    Extend,
    Fence,
    Issue,
    OpenPeriod,
    Original,
    RaiseFormat,
    ReopenPeriod,
    ReopenSeries,
    Reserve,
    ResetSequence,
    RetireSeries,
    Void,
    WithOriginal,
)
from ledger.domain.decide import decide
from ledger.domain.decisions.acts import accepting
from ledger.domain.events import (
    Event,
    NumberAssigned,
    Numbering,
    NumbersConfirmed,
    NumbersReserved,
    PeriodOpened,
    RestoreFenced,
    SequenceFenced,
    SequenceReset,
)
from ledger.domain.evolve import evolve
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.ranges import Ranges, values_of
from ledger.domain.rejection import Rejection
from ledger.domain.series import Dimension, Overflow, Reuse, Series
from ledger.domain.state import State
from tests.given import SECOND, at, one, series
from tests.profiles import rounds

REASON = "because the test says so"
START = at("2025-12-31T15:00:00Z")  # two hours before the new year in Bangkok
LETTERS = Dimension(values=("a", "b"))
YEARLY = "Y-{X}-{SEQ:2}-{YYYY}"
MONTHLY = "M-{X}-{SEQ:1}-{YYYY}{MM}"

# What each series may become. Forms that count otherwise print otherwise, as after a first use they must.
FORMS: list[list[Series]] = [
    [
        series(YEARLY, "Y", dimensions={"X": LETTERS}, reset=Reset.YEARLY, reuse=Reuse.GAPLESS),
        series(YEARLY, "Y", dimensions={"X": LETTERS}, reset=Reset.YEARLY, max_value=30, timezone="Asia/Bangkok"),
        series("YY-{SEQ:2}-{YYYY}", "Y", reset=Reset.YEARLY),
    ],
    [
        series("G-{SEQ:2}", "G", reuse=Reuse.GAPLESS, max_value=12),
        series("G-{SEQ:2}", "G", max_value=40),
        series("GM-{SEQ:2}-{YYYY}{MM}", "G", reset=Reset.MONTHLY, reuse=Reuse.GAPLESS),
    ],
    [
        series(MONTHLY, "M", dimensions={"X": LETTERS}, reset=Reset.MONTHLY, reuse=Reuse.GAPLESS),
        series(MONTHLY, "M", dimensions={"X": LETTERS}, reset=Reset.MONTHLY, overflow=Overflow.WIDEN, max_value=60),
    ],
    [series("T-{SEQ:2}", "T", start=0, reuse=Reuse.GAPLESS, timezone="Asia/Bangkok")],
]
MAXIMA = [5, 9, 12, 25, 60, 99]
DAYS = [None, None, None, date(2025, 12, 31), date(2026, 1, 1), date(2026, 2, 1), date(2027, 1, 1), date(2025, 11, 30)]
WAITS = [60, 400, 3_600, 7_200, 86_400, 20 * 86_400, 200 * 86_400, 366 * 86_400]


class Number(NamedTuple):
    sequence: str
    value: int
    printed: str
    numbering: Numbering


class Step(NamedTuple):
    """What is done: which of the things it may be done to, which way, and to how many."""

    do: str
    which: int
    way: int = 0
    many: int = 1


@dataclass
class Ledger:
    """A log of events with the state that it folds to."""

    now: int = START
    state: State = field(default_factory=State)
    log: list[tuple[Event, int]] = field(default_factory=list)
    tokens: int = 0

    @classmethod
    def of(cls, log: Iterable[tuple[Event, int]], now: int, tokens: int) -> "Ledger":
        ledger = cls(now, tokens=tokens)
        for event, recorded_at in log:
            ledger.take(event, recorded_at)
        return ledger

    def take(self, event: Event, recorded_at: int) -> None:
        evolve(self.state, event, recorded_at)
        self.log.append((event, recorded_at))

    def do(self, command: Decidable) -> list[Event]:
        """Carry out a command; one that is refused does nothing."""
        events = decide(self.state, accepting(command), self.now)
        if isinstance(events, Rejection):
            return []
        for event in events:
            self.take(event, self.now)
        return events

    def all_of(self, commands: Iterable[Decidable | int]) -> None:
        for command in commands:
            if isinstance(command, int):
                self.now += command * SECOND
            else:
                self.do(command)

    def token(self) -> str:
        self.tokens += 1
        return f"token-{self.tokens}"

    def run(self, steps: Iterable[Step]) -> None:
        for step in steps:
            for command in COMMANDS[step.do](self, step):
                self.do(command)

    def numbers(self, *kinds: type[Event], after: int = 0) -> Iterator[Number]:
        """Give the numbers that some events are about."""
        for event, _ in self.log[after:]:
            if isinstance(event, kinds):
                ranges: Ranges = getattr(event, "ranges", ())
                ranges = ranges or ((event.value, event.value),)  # type: ignore[union-attr]
                yield from self.printed(event.numbering, ranges)  # type: ignore[union-attr]

    def printed(self, of: Numbering, ranges: Ranges) -> Iterator[Number]:
        frame = self.state.series(of.series, of.series_version).frame(of.key, of.attributes, of.document_date)
        return (Number(of.sequence, value, frame.number(value), of) for value in values_of(ranges))


# Steps


def _series(step: Step) -> Series:
    forms = FORMS[step.which % len(FORMS)]
    return forms[step.way % len(forms)]


def _define(ledger: Ledger, step: Step) -> Iterator[Decidable]:
    yield DefineSeries((_series(step),))


def _reserved(ledger: Ledger, step: Step) -> Reserve | None:
    code = _series(step).code
    if not ledger.state.versions(code):
        return None
    key = dict.fromkeys(ledger.state.series_now(code).key, "ab"[step.way % 2])
    day = DAYS[step.way % len(DAYS)]
    return Reserve(code, ledger.token(), key, step.many, 300, document_date=day)


def _reserve(ledger: Ledger, step: Step) -> Iterator[Decidable]:
    asked = _reserved(ledger, step)
    if asked:
        yield asked


def _issue(ledger: Ledger, step: Step) -> Iterator[Decidable]:
    asked = _reserved(ledger, step)
    if asked:
        yield Issue(asked, "DOC")


def _of_open(make: Callable[[str], Decidable]) -> Callable[[Ledger, Step], Iterator[Decidable]]:
    def ask(ledger: Ledger, step: Step) -> Iterator[Decidable]:
        tokens = [each.token for each in ledger.state.reservations()]
        if tokens:
            yield make(tokens[step.which % len(tokens)])

    return ask


def _confirm_one(ledger: Ledger, step: Step) -> Iterator[Decidable]:
    held = ledger.state.reservations()
    if held:
        chosen = held[step.which % len(held)]
        first = next(ledger.printed(chosen.numbering, chosen.ranges))
        yield Confirm(chosen.token, "DOC", (Choice(first.printed),), release_rest=step.way % 2 == 0)


def _void(ledger: Ledger, step: Step) -> Iterator[Decidable]:
    confirmed = list(ledger.numbers(NumbersConfirmed, NumberAssigned))
    if confirmed:
        _, _, number, of = confirmed[step.which % len(confirmed)]
        original = Original(of.series_version, of.document_date, of.attributes, "DOC")
        yield WithOriginal(Void(number, REASON, ledger.token(), replace=step.way % 4 != 0), original)


def _of_sequence(make: Callable[[str, int, Step], Decidable]) -> Callable[[Ledger, Step], Iterator[Decidable]]:
    def ask(ledger: Ledger, step: Step) -> Iterator[Decidable]:
        sequences = ledger.state.sequences()
        if sequences:
            chosen = sequences[step.which % len(sequences)]
            yield make(chosen.id, chosen.high_water, step)

    return ask


def _assign(ledger: Ledger, step: Step) -> Iterator[Decidable]:
    given_out = list(ledger.numbers(NumbersReserved))
    if given_out:
        _, value, _, of = given_out[step.which % len(given_out)]
        (number,) = ledger.printed(of, ((value + step.way, value + step.way),))
        yield Assign(number.printed, "DOC", REASON)


def _maximum(ledger: Ledger, step: Step) -> Iterator[Decidable]:
    yield AdjustMaximum(_series(step).code, MAXIMA[(step.way + step.many) % len(MAXIMA)], REASON)


def _open(ledger: Ledger, step: Step) -> Iterator[Decidable]:
    code = _series(step).code
    if ledger.state.versions(code):
        present = ledger.state.series_now(code)
        today = present.period(calendar.date_at(ledger.now, present.definition.timezone))
        following = calendar.following(today, present.definition.reset, present.fiscal_year_start)
        key = dict.fromkeys(present.key, "a") if step.way % 2 else None
        yield OpenPeriod(code, following or "-", key)


def _reopen(ledger: Ledger, step: Step) -> Iterator[Decidable]:
    """Reopen all that can be: a period is closed and a series retired for that chance alone."""
    codes = [each.code for each in ledger.state.all_series() if ledger.state.is_retired(each.code)]
    yield from (ReopenSeries(code, REASON) for code in codes)
    yield from (ReopenPeriod(each.id, REASON) for each in ledger.state.sequences() if each.closed)


def _wait(ledger: Ledger, step: Step) -> Iterator[Decidable]:
    ledger.now += WAITS[step.way % len(WAITS)] * SECOND
    return (Expire(each.token) for each in ledger.state.reservations())


COMMANDS: dict[str, Callable[[Ledger, Step], Iterator[Decidable]]] = {
    "define": _define,
    "reserve": _reserve,
    "issue": _issue,
    "confirm": _of_open(lambda token: Confirm(token, "DOC")),
    "confirm one": _confirm_one,
    "extend": _of_open(lambda token: Extend(token, 600)),
    "cancel": _of_open(lambda token: Cancel(token)),
    "void": _void,
    "assign": _assign,
    "adjust": _of_sequence(lambda id, high, step: AdjustSequence(id, high + 1 + step.many, REASON)),
    "reset": _of_sequence(lambda id, high, step: ResetSequence(id)),
    "close": _of_sequence(lambda id, high, step: ClosePeriod(id)),
    "maximum": _maximum,
    "open": _open,
    "retire": lambda ledger, step: iter([RetireSeries(_series(step).code)] if step.way == 7 else []),
    "reopen": _of_sequence(lambda id, high, step: ReopenPeriod(id, REASON)),
    "reopen all": _reopen,
    "wait": _wait,
}
OFTEN = ["define", "reserve", "reserve", "reserve", "issue", "issue", "cancel", "cancel", "wait"]
STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from([*COMMANDS, *OFTEN]),
        st.integers(0, 7),
        st.integers(0, 7),
        st.sampled_from([1, 1, 2, 3, 5]),
    ),
    max_size=25,
)
CUTS = st.integers(0, 60)


# The restore


@dataclass
class Restored:
    """A ledger cut somewhere and fenced, with every number that must not be given out any more."""

    ledger: Ledger
    floor: int  # behind its RestoreFenced: no later restore is cut in front of that
    fenced: int  # behind all of its fence
    taken: set[tuple[str, int]]
    printed: set[str]

    def check(self) -> None:
        for number in self.ledger.numbers(NumbersReserved, after=self.fenced):
            assert number[:2] not in self.taken, f"{number.printed} is given out again"
            assert number.printed not in self.printed, f"{number.printed} is printed again"


def restored(lost: Ledger, cut: int, before: Restored | None = None, *, by_series: bool = False) -> Restored:
    """Lose what is behind a cut, which may be between the events of a command or of the last fence; and fence.

    Where the format allows it, `by_series` gives each series a margin of its own.
    """
    floor = before.floor if before else 0
    cut = floor + cut % (len(lost.log) - floor + 1)
    ledger = Ledger.of(lost.log[:cut], lost.now, lost.tokens)
    margin, opened = lost_behind(lost, cut)
    margins = margins_behind(lost, cut, ledger.state) if by_series and ledger.state.format >= 3 else ()
    taken = {number[:2] for number in lost.numbers(NumbersReserved, NumberAssigned)} | (
        before.taken if before else set()
    )
    printed = {number.printed for number in lost.numbers(NumbersReserved, NumberAssigned)}
    cut_time = ledger.log[-1][1] if ledger.log else 0
    events = ledger.do(Fence(cut, cut_time, margin, REASON, tuple(opened), margins))
    assert one(RestoreFenced, events).generation == (2 if before else 1)
    assert not ledger.state.reservations()
    assert not any(
        sequence.released() for sequence in ledger.state.sequences() if not ledger.state.is_retired(sequence.series)
    )
    return Restored(ledger, cut + 1, len(ledger.log), taken, printed | (before.printed if before else set()))


def lost_behind(lost: Ledger, cut: int) -> tuple[int, set[tuple[str, str]]]:
    """Say how far any sequence came behind the cut, and which periods were opened there ahead of their time."""
    came, opened = _lost_behind(lost, cut)
    return max([1, *(far for _, far in came)]), opened


def margins_behind(lost: Ledger, cut: int, kept: State) -> tuple[tuple[str, int], ...]:
    """Say how far the sequences of each series that was kept came behind the cut: nowhere, in many."""
    came, _ = _lost_behind(lost, cut)
    codes = [series.code for series in kept.all_series()]
    return tuple((code, max([0, *(far for each, far in came if each == code)])) for code in codes)


def _lost_behind(lost: Ledger, cut: int) -> tuple[list[tuple[str, int]], set[tuple[str, str]]]:
    """Say how far each sequence came, by its series' code."""
    ledger = Ledger.of(lost.log[:cut], 0, 0)
    began = {sequence.id: sequence.high_water + 1 for sequence in ledger.state.sequences()}
    opened: set[tuple[str, str]] = set()
    for event, recorded_at in lost.log[cut:]:
        match event:
            case PeriodOpened(series=code, period=period):
                opened.add((code, period))
            case SequenceReset(series=code, series_version=version, period=period):
                made = ledger.state.series(code, version)
                today = made.period(calendar.date_at(recorded_at, made.definition.timezone))
                if period > today and not ledger.state.is_opened(made, period):
                    opened.add((code, period))
            case SequenceFenced(sequence=id, skipped=skipped) if skipped:
                began[id] = skipped[-1][1] + 1
        ledger.take(event, recorded_at)
    sequences = ledger.state.sequences()
    return [(each.series, each.high_water + 1 - began.get(each.id, each.start)) for each in sequences], opened


# What a naive fence would fall to: each is what was kept, what was lost, and what comes then. Integers are seconds.

Y, Y_IN_BANGKOK, YY = FORMS[0]
G, G_NEVER, G_MONTHLY = FORMS[1]
M = FORMS[2][0]
T = FORMS[3][0]
A, B = {"X": "a"}, {"X": "b"}
HOURS = 3_600
NEW_YEAR = date(2026, 1, 1)

LOST: dict[str, tuple[list[Decidable | int], list[Decidable | int], list[Decidable | int]]] = {
    "a key used first": ([DefineSeries((Y,))], [Reserve("Y", "1", A, 3)], [Reserve("Y", "2", A)]),
    "a series defined": ([], [DefineSeries((T,)), Reserve("T", "1", {}, 3)], [DefineSeries((T,)), Reserve("T", "2")]),
    "values released before": (
        [DefineSeries((G,)), Reserve("G", "1", {}, 3), Cancel("1")],
        [Reserve("G", "2", {}, 3)],
        [Reserve("G", "3", {}, 3)],
    ),
    "values released before, of a series that is gapless again": (
        [DefineSeries((G,)), Reserve("G", "1", {}, 3), Cancel("1"), DefineSeries((G_NEVER,))],
        [DefineSeries((G,)), Reserve("G", "2", {}, 3)],
        [DefineSeries((G,)), Reserve("G", "3", {}, 3)],
    ),
    "an open reservation confirmed": (
        [DefineSeries((G,)), Reserve("G", "1")],
        [Confirm("1", "D")],
        [Cancel("1"), 400, Expire("1"), Reserve("G", "2")],
    ),
    "a maximum raised": (
        [DefineSeries((M,)), Reserve("M", "1", A, 7)],
        [DefineSeries((FORMS[2][1],)), Reserve("M", "2", A, 9), Reserve("M", "3", B, 20)],
        [DefineSeries((FORMS[2][1],)), Reserve("M", "4", A), Reserve("M", "5", B)],
    ),
    "an amendment that counts otherwise": (
        [DefineSeries((Y,)), Reserve("Y", "1", A)],
        [DefineSeries((YY,)), Reserve("Y", "2", {}, 3)],
        [DefineSeries((Y_IN_BANGKOK,)), DefineSeries((YY,)), Reserve("Y", "3")],
    ),
    "an amendment back to how it counted": (
        [DefineSeries((Y,)), Reserve("Y", "1", A), DefineSeries((YY,)), Reserve("Y", "2")],
        [DefineSeries((Y,)), Reserve("Y", "3", A, 3)],
        [DefineSeries((Y,)), Reserve("Y", "4", A)],
    ),
    "a period that had begun in another zone": (
        [DefineSeries((Y,))],
        [DefineSeries((Y_IN_BANGKOK,)), 3 * HOURS, Reserve("Y", "1", A)],
        [9 * HOURS, Reserve("Y", "2", A)],
    ),
    "a period opened": (
        [DefineSeries((Y,))],
        [OpenPeriod("Y", "2026"), Reserve("Y", "1", A, document_date=NEW_YEAR)],
        [9 * HOURS, Reserve("Y", "2", A)],
    ),
    "a period opened before": (
        [DefineSeries((M,)), OpenPeriod("M", "2026-05")],
        [Reserve("M", "1", A, document_date=date(2026, 5, 1))],
        [Reserve("M", "2", A, document_date=date(2026, 5, 1))],
    ),
    "a period begun for one key": (
        [DefineSeries((Y,))],
        [OpenPeriod("Y", "2026", A), Reserve("Y", "1", A, document_date=NEW_YEAR)],
        [9 * HOURS, Reserve("Y", "2", A)],
    ),
    "a sequence begun before and not used": (
        [DefineSeries((Y,)), OpenPeriod("Y", "2027", A)],
        [Reserve("Y", "1", A, 3, document_date=date(2027, 1, 1))],
        [Reserve("Y", "2", A, document_date=date(2027, 1, 1))],
    ),
    "an adjustment": (
        [DefineSeries((G,))],
        [AdjustSequence("G:-", 5, REASON), Reserve("G", "1")],
        [Reserve("G", "2", {}, 6)],
    ),
}


@pytest.mark.parametrize("lost", LOST)
def test_what_is_lost_is_not_given_out_again(lost: str) -> None:
    kept, tail, then = LOST[lost]
    ledger = Ledger()
    ledger.all_of(kept)
    cut = len(ledger.log)
    ledger.all_of(tail)
    after = restored(ledger, cut)
    after.ledger.all_of(then)
    assert list(after.ledger.numbers(NumbersReserved, after=after.fenced))
    after.check()


def test_what_a_restore_passed_over_is_passed_over_again() -> None:
    """The first key of the lost events began behind the first fence's margin."""
    ledger = Ledger()
    ledger.all_of([DefineSeries((Y,)), Reserve("Y", "1", A, 4)])
    first = restored(ledger, 1)
    whole = len(first.ledger.log) - first.floor
    first.ledger.all_of([Reserve("Y", "2", A, 2), Reserve("Y", "3", B, 3)])
    for cut in range(whole, len(first.ledger.log) - first.floor + 1):  # also within a command
        second = restored(first.ledger, cut, first)
        second.ledger.all_of([Reserve("Y", "4", A, 3), Reserve("Y", "5", B, 3)])
        second.check()


@settings(max_examples=rounds(100, thorough=400), deadline=None)
@given(STEPS, CUTS, STEPS, CUTS, STEPS, st.booleans())
def test_no_lost_number_is_given_out_again(
    history: list[Step], cut: int, then: list[Step], again: int, at_last: list[Step], by_series: bool
) -> None:
    ledger = Ledger()
    ledger.do(RaiseFormat(NEWEST_FORMAT, REASON))
    for forms in FORMS[:-1]:
        ledger.do(DefineSeries((forms[0],)))
    ledger.run(history)
    first = restored(ledger, cut, by_series=by_series)
    first.ledger.run(then)
    first.check()
    second = restored(first.ledger, again, first, by_series=by_series)
    second.ledger.run(at_last)
    second.check()
