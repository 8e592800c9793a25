"""Whatever is decided, the audit accepts: whole commands with their ends, in any history of amendments and restores.

A history is decided, written and read back, and judged as an auditor judges it, without a store: so many histories are
asked in a second, and what is found shrinks quickly. `tests/test_machine.py` asks the same of the stores, with real
restores. What was found so stands below as a case of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import codec
from ledger.chain import genesis
from ledger.codec import Entry
from ledger.domain import calendar
from ledger.domain.calendar import Reset
from ledger.domain.commands import (
    AdjustMaximum,
    AdjustSequence,
    Assign,
    Cancel,
    ClosePeriod,
    Decidable,
    DefineSeries,
    Envelope,
    Fence,
    Issue,
    Link,
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
from ledger.domain.decisions import sequences
from ledger.domain.decisions.acts import accepting
from ledger.domain.events import Event
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.ranges import values_of
from ledger.domain.register import Register
from ledger.domain.rejection import Rejection
from ledger.domain.sequence import ValueState
from ledger.domain.series import Attribute, DateOrder, Definition, Dimension, Overflow, Reuse, Series
from ledger.judgement import Judge
from tests.domain.test_fence import COMMANDS as OF_FENCES
from tests.domain.test_fence import START, Ledger, Step
from tests.given import series
from tests.profiles import rounds

REASON = "because the test says so"
NEVER, YEARLY, MONTHLY, FISCAL = Reset.NEVER, Reset.YEARLY, Reset.MONTHLY, Reset.FISCAL_YEAR
GENESIS = genesis("audited")


class Form(NamedTuple):
    """What a series is made of, each part of which an amendment may change."""

    counting: int = 0
    of_x: Dimension = Dimension(values=("a", "b"))
    of_y: Dimension = Dimension(chars="A-C", max=1)
    zone: str = "UTC"
    start: int = 1
    max_value: int | None = None
    overflow: Overflow = Overflow.ERROR
    attributes: tuple[tuple[str, str], ...] = ()
    reuse: Reuse = Reuse.NEVER
    date_order: DateOrder = DateOrder.NONE
    manual: bool = True


# Each prints something of its own, as an amendment that counts otherwise must.
COUNTINGS: list[tuple[tuple[str, ...], Reset, str]] = [
    (("X", "Y"), NEVER, "01-01"),
    (("X", "Y"), YEARLY, "01-01"),
    (("Y", "X"), NEVER, "01-01"),
    (("Y", "X"), YEARLY, "01-01"),
    (("X",), MONTHLY, "01-01"),
    ((), YEARLY, "01-01"),
    (("X",), FISCAL, "10-01"),
    (("X",), FISCAL, "04-01"),
]
CHANGES: dict[str, list[Any]] = {
    "counting": list(range(len(COUNTINGS))),
    "of_x": [Dimension(values=("b",)), Dimension(values=("a", "b", "c")), Dimension(values=("a",))],
    "of_y": [Dimension(chars="A-B", max=1), Dimension(values=("C",)), Dimension(chars="A-C", max=2)],
    "zone": ["UTC", "Pacific/Kiritimati", "America/Los_Angeles", "Asia/Bangkok"],
    "start": [1, 0, 3, 8],
    "max_value": [None, 9, 12, 30],
    "overflow": list(Overflow),
    "attributes": [(), (("REV", "A-Z"),), (("REV", "A-B"),), (("BY", "A-Z"), ("REV", "A-Z"))],
    "reuse": list(Reuse),
    "date_order": list(DateOrder),
    "manual": [True, False],
}
AXES = ["of_x", "of_y", *CHANGES]  # what a key may be, above all
BEGINNING = {"P": Form(), "Q": Form(counting=1, reuse=Reuse.GAPLESS)}
CODES = tuple(BEGINNING)
DAYS = [None, None, date(2025, 12, 31), date(2026, 1, 1), date(2025, 3, 31), date(2026, 4, 1), date(2025, 9, 30)]


@cache
def made(code: str, form: Form) -> Series:
    key, reset, fiscal = COUNTINGS[form.counting]
    parts = [f"{code}{form.counting}", *(f"{{{name}}}" for name in key)]
    parts += [] if reset is NEVER else ["{YYYY}{MM}{DD}"]
    parts += ["{SEQ:1}" if form.overflow is Overflow.WIDEN else "{SEQ:2}"]
    parts += [f"{{{name}}}" for name, _ in form.attributes]
    return Series.define(
        code,
        Definition(
            template="-".join(parts),
            dimensions={name: {"X": form.of_x, "Y": form.of_y}[name] for name in key},
            attributes={name: Attribute(Dimension(chars=chars, max=1), chars[0]) for name, chars in form.attributes},
            reset=reset,
            fiscal_year_start=fiscal,
            timezone=form.zone,
            date_order=form.date_order,
            start=form.start,
            max_value=form.max_value,
            overflow=form.overflow,
            reuse=form.reuse,
            manual=form.manual,
        ),
    )


def replace_of(of: Series, **changes: Any) -> Series:
    return Series.define(of.code, replace(of.definition, **changes))


class Audited(Ledger):
    """A ledger of which each command is written, read back, and judged to its end."""

    def __init__(self) -> None:
        super().__init__(START)
        self.judge = Judge()
        self.entries: list[Entry] = []
        self.forms = dict(BEGINNING)
        self.commands = 0
        self.state = self.judge.state

    def do(self, command: Decidable) -> list[Event]:
        """Carry out a command; one that is refused does nothing."""
        events = decide(self.state, accepting(command), self.now)
        if isinstance(events, Rejection):
            return []
        self.commands += 1
        envelope = Envelope(self.commands.to_bytes(32, "big"), "tester")
        entries = [
            Entry(len(self.entries) + 1 + ordinal, event, envelope, ordinal, self.now)
            for ordinal, event in enumerate(events)
        ]
        self.read(entries)
        found = self.judge.finish()
        assert found is None, f"{command} ends otherwise: {found}"
        return events

    def read(self, entries: Sequence[Entry]) -> None:
        """Judge what is read of the log."""
        for entry in entries:
            read = codec.decode(codec.encode(entry, GENESIS))
            found = self.judge.take(read)
            assert found is None, f"{entry.event} is not legal: {found}"
            self.entries.append(read)
            self.log.append((read.event, read.recorded_at))

    def cut(self, at: int) -> None:
        """Lose what stands behind an event, or behind its command where a part of that is no history."""
        kept = self.entries[:at]
        self._begin_again(kept)
        while self.judge.finish(is_cut=True) is not None:  # series that trade places are not cut apart
            kept = kept[:-1]
            self._begin_again(kept)

    def _begin_again(self, kept: Sequence[Entry]) -> None:
        self.judge, self.entries, self.log = Judge(), [], []
        self.state = self.judge.state
        self.read(kept)


# Steps


def _amend(ledger: Audited, step: Step) -> Iterator[Decidable]:
    code, axis = CODES[step.which % 2], AXES[step.way % len(AXES)]
    options = CHANGES[axis]
    form = ledger.forms[code]._replace(**{axis: options[step.many % len(options)]})
    before = len(ledger.log)
    yield DefineSeries((made(code, form),))
    if len(ledger.log) > before:
        ledger.forms[code] = form


def _define_both(ledger: Audited, step: Step) -> Iterator[Decidable]:
    yield DefineSeries(tuple(made(code, form) for code, form in ledger.forms.items()))


def _key(names: Sequence[str], step: Step) -> dict[str, str]:
    return {name: {"X": "abc", "Y": "ABC"}[name][(step.way + at) % 3] for at, name in enumerate(names)}


def _reserved(ledger: Audited, step: Step) -> Reserve:
    code = CODES[step.which % 2]
    key = _key(ledger.state.series_now(code).key, step)
    day = DAYS[(step.way + step.many) % len(DAYS)]
    return Reserve(code, ledger.token(), key, step.many, 300, document_date=day)


def _reserve(ledger: Audited, step: Step) -> Iterator[Decidable]:
    yield _reserved(ledger, step)


def _issue(ledger: Audited, step: Step) -> Iterator[Decidable]:
    yield Issue(_reserved(ledger, step), "DOC")


def _confirmed(ledger: Audited, step: Step) -> tuple[str, Original] | None:
    """Choose a number that somebody got, as it was printed."""
    found = [
        (event, value)
        for event, _ in ledger.log
        for state, ranges in event.changes
        if state is ValueState.CONFIRMED
        for value in values_of(ranges)
    ]
    if not found:
        return None
    event, value = found[(step.which + 3 * step.many) % len(found)]
    original, place = event.original(value), event.place
    assert original is not None
    assert place is not None
    printed = ledger.state.series(place.series, original.series_version)
    return printed.frame(place.key, original.attributes, original.document_date).number(value), original


def _void(ledger: Audited, step: Step) -> Iterator[Decidable]:
    found = _confirmed(ledger, step)
    if found:
        number, original = found
        yield WithOriginal(Void(number, REASON, ledger.token(), replace=step.way % 3 != 0), original)


def _link(ledger: Audited, step: Step) -> Iterator[Decidable]:
    found = _confirmed(ledger, step)
    if found:
        number, original = found
        yield WithOriginal(Link(number, f"DOC-{step.way}", REASON), original)


def _numbers(ledger: Audited, step: Step) -> list[str]:
    """Print numbers of some sequence by some version of its series, given out or not."""
    known = ledger.state.sequences()
    numbers = []
    for turn in range(step.many):
        chosen = known[(step.which + turn) % len(known)]
        versions = [each for each in ledger.state.printing(chosen.series) if each.era == chosen.era]
        version = versions[step.way % len(versions)]
        attributes = tuple((name, "A") for name in sorted(version.definition.attributes))
        day = calendar.first_day(chosen.period, version.definition.reset, version.fiscal_year_start)
        frame = version.frame(chosen.key, attributes, day or calendar.date_at(ledger.now, "UTC"))
        numbers.append(frame.number(max(chosen.high_water + step.way - 3, 0) + turn))
    return numbers


def _assign(ledger: Audited, step: Step) -> Iterator[Decidable]:
    if ledger.state.sequences():
        yield Assign(_numbers(ledger, step)[0], "DOC", REASON)


def _assign_elsewhere(ledger: Audited, step: Step) -> Iterator[Decidable]:
    """Assign a number of any key, as any version prints it: its sequence may not have begun."""
    code = CODES[step.which % 2]
    versions = ledger.state.printing(code)
    version = versions[step.many % len(versions)]
    day = DAYS[step.way % len(DAYS)] or calendar.date_at(ledger.now, "UTC")
    attributes = tuple((name, "A") for name in sorted(version.definition.attributes))
    frame = version.frame(tuple(_key(version.key, step).values()), attributes, day)
    yield Assign(frame.number(step.many), "DOC", REASON)


def _take_over(ledger: Audited, step: Step) -> Iterator[Decidable]:
    if ledger.state.sequences():
        numbers = _numbers(ledger, step)
        register = Register([ledger.state.series_now(CODES[step.which % 2])], ledger.now)
        for line, number in enumerate(numbers):
            register.add(line, number)
        register.drop_held(ledger.state)
        yield register.command(skip_bad=True)


def _of_sequence(make: Callable[[str, int, Step], Decidable]) -> Callable[[Audited, Step], Iterator[Decidable]]:
    """Choose a sequence that there is, or one that may begin so."""

    def ask(ledger: Audited, step: Step) -> Iterator[Decidable]:
        known = {each.id: each.high_water for each in ledger.state.sequences()}
        present = ledger.state.series_now(CODES[step.which % 2])
        today = present.period(calendar.date_at(ledger.now, present.definition.timezone))
        ids = [*known, present.sequence_id(tuple(_key(present.key, step).values()), today)]
        chosen = ids[(step.which + step.many) % len(ids)]
        yield make(chosen, known.get(chosen, 0), step)

    return ask


def _adjust_far(ledger: Audited, step: Step) -> Iterator[Decidable]:
    """Leave nothing, or next to nothing, of a sequence."""
    found = [each for each in ledger.state.sequences() if not ledger.state.is_over(each)]
    if found:
        chosen = found[step.which % len(found)]
        yield AdjustSequence(chosen.id, ledger.state.series_now(chosen.series).max_value - step.many // 2, REASON)


def _maximum(ledger: Audited, step: Step) -> Iterator[Decidable]:
    yield AdjustMaximum(CODES[step.which % 2], [3, 5, 9, 12, 30, 99][step.way % 6], REASON)


def _open(ledger: Audited, step: Step) -> Iterator[Decidable]:
    code = CODES[step.which % 2]
    present = ledger.state.series_now(code)
    today = present.period(calendar.date_at(ledger.now, present.definition.timezone))
    following = calendar.following(today, present.definition.reset, present.fiscal_year_start)
    yield OpenPeriod(code, following or "-", _key(present.key, step) if step.many % 2 else None)


def _retire(ledger: Audited, step: Step) -> Iterator[Decidable]:
    if step.way == 7:
        yield RetireSeries(CODES[step.which % 2])


def _fenced(ledger: Audited, step: Step) -> Iterator[Decidable]:
    last = ledger.log[-1][1]
    opened = ((CODES[step.which % 2], ["2026", "2026-01", "FY2027"][step.way % 3]),) if step.way > 5 else ()
    yield Fence(len(ledger.log), last, step.many, REASON, opened)


def _restored(ledger: Audited, step: Step) -> Iterator[Decidable]:
    """Lose some of the last events, maybe within a command, before the fence."""
    ledger.cut(max(len(ledger.log) - step.which, 2 + len(CODES)))
    ledger.forms = dict(BEGINNING)  # what they became may be lost as well
    return _fenced(ledger, step)


COMMANDS: dict[str, Callable[[Any, Step], Iterator[Decidable]]] = {
    "amend": _amend,
    "define both": _define_both,
    "reserve": _reserve,
    "issue": _issue,
    "confirm": OF_FENCES["confirm"],
    "confirm one": OF_FENCES["confirm one"],
    "extend": OF_FENCES["extend"],
    "cancel": OF_FENCES["cancel"],
    "void": _void,
    "link": _link,
    "assign": _assign,
    "assign elsewhere": _assign_elsewhere,
    "take over": _take_over,
    "adjust": _of_sequence(lambda id, high, step: AdjustSequence(id, high + 1 + step.many, REASON)),
    "adjust far": _adjust_far,
    "reset": _of_sequence(lambda id, high, step: ResetSequence(id)),
    "close": _of_sequence(lambda id, high, step: ClosePeriod(id)),
    "maximum": _maximum,
    "open": _open,
    "retire": _retire,
    "reopen": _of_sequence(lambda id, high, step: ReopenPeriod(id, REASON)),
    "reopen all": OF_FENCES["reopen all"],
    "wait": OF_FENCES["wait"],
    "fence": _fenced,
    "restore": _restored,
}
OFTEN = ["amend", "amend", "amend", "issue", "issue", "reserve", "reserve", "close", "fence"]
STEP = st.builds(
    Step,
    st.sampled_from([*COMMANDS, *OFTEN]),
    st.integers(0, 7),
    st.integers(0, len(AXES) - 1),
    st.integers(1, 5),
)
# Several lists, because one would mostly be short.
STEPS = st.tuples(*[st.lists(STEP, max_size=12)] * 5).map(lambda parts: [*chain.from_iterable(parts)])


def audited(steps: Sequence[Step]) -> Audited:
    ledger = Audited()
    ledger.do(RaiseFormat(NEWEST_FORMAT, REASON))
    ledger.do(DefineSeries(tuple(made(code, form) for code, form in BEGINNING.items())))
    for step in steps:
        for command in COMMANDS[step.do](ledger, step):
            ledger.do(command)
    return ledger


# What was found so, each the shortest history; the audit judged what is last by the present version.

ORDERS = series("{CO}-PO-{SEQ:4}", "PO", dimensions={"CO": Dimension(values=("ABC", "DEF"))})
BY_CLASS = series("C{CO}-PO-{SEQ:4}", "PO", dimensions={"CO": Dimension(chars="A-F", min=3, max=3)})
YEARLY_ORDERS = replace_of(ORDERS, template="{CO}-PO-{SEQ:4}-{YYYY}", reset=YEARLY)
ABC, DEF = {"CO": "ABC"}, {"CO": "DEF"}
DEF_ALONE = Dimension(values=("DEF",))
FENCE = Fence(1, START, 5, REASON)


def only_def(of: Series, **changes: Any) -> DefineSeries:
    return DefineSeries((replace_of(of, dimensions={"CO": DEF_ALONE}, **changes),))


def issued(key: dict[str, str], token: str = "T", count: int = 1) -> Issue:
    return Issue(Reserve("PO", token, key, count, 300), "DOC")


HISTORIES: dict[str, list[Decidable]] = {
    "a period is closed whose key is declared no longer": [
        DefineSeries((ORDERS,)), issued(ABC), only_def(ORDERS), ClosePeriod("PO:ABC:-"),
    ],
    "a period is closed whose key is not of the narrower class": [
        DefineSeries((BY_CLASS,)), issued(ABC), DefineSeries((replace_of(BY_CLASS, dimensions={
            "CO": Dimension(chars="D-F", min=3, max=3)}),)), ClosePeriod("PO:ABC:-"),
    ],
    "a period is closed when its reservation of an earlier version was cancelled": [
        DefineSeries((ORDERS,)), Reserve("PO", "T", ABC, 3, 300), only_def(ORDERS), Cancel("T"),
        ClosePeriod("PO:ABC:-"),
    ],
    "a period of a retired series is closed": [
        DefineSeries((ORDERS,)), issued(ABC), only_def(ORDERS), RetireSeries("PO"), ClosePeriod("PO:ABC:-"),
    ],
    "a period of an earlier era is closed": [
        DefineSeries((ORDERS,)), issued(ABC), only_def(ORDERS), DefineSeries((series("PO-{SEQ:4}", "PO"),)),
        ClosePeriod("PO:ABC:-"),
    ],
    "a fence passes over values of a key that is declared no longer": [
        DefineSeries((ORDERS,)), issued(ABC), only_def(ORDERS), FENCE,
    ],
    "a fence ends a reservation of such a key": [
        DefineSeries((ORDERS,)), Reserve("PO", "T", ABC, 3, 300), only_def(ORDERS), FENCE,
    ],
    "a fence closes a sequence of such a key, of which it leaves nothing": [
        DefineSeries((ORDERS,)), issued(ABC), only_def(ORDERS, max_value=5), FENCE,
    ],
    "a second fence passes over values of such a key in an earlier era": [
        DefineSeries((ORDERS,)), issued(ABC), only_def(ORDERS), DefineSeries((series("PO-{SEQ:4}", "PO"),)), FENCE,
        issued({}, "U"), FENCE,
    ],
    "a lost number of such a key begins its sequence by hand": [
        DefineSeries((YEARLY_ORDERS,)), issued(DEF), only_def(YEARLY_ORDERS), FENCE,
        Assign("ABC-PO-0003-2025", "DOC", REASON),
    ],
    "the same in a series that never resets": [
        DefineSeries((ORDERS,)), issued(DEF), only_def(ORDERS), FENCE, Assign("ABC-PO-0003", "DOC", REASON),
        ClosePeriod("PO:ABC:-"),
    ],
    "a period of such a key is reopened, behind a fence": [
        RaiseFormat(NEWEST_FORMAT, REASON), DefineSeries((YEARLY_ORDERS,)), OpenPeriod("PO", "2026", ABC),
        ClosePeriod("PO:ABC:2026"), only_def(YEARLY_ORDERS), FENCE, ReopenPeriod("PO:ABC:2026", REASON),
    ],
    "a series with sequences of such a key is reopened, behind two fences": [
        RaiseFormat(NEWEST_FORMAT, REASON), DefineSeries((ORDERS,)), issued(ABC), issued(DEF, "U"), only_def(ORDERS),
        RetireSeries("PO"), FENCE, FENCE, ReopenSeries("PO", REASON), issued(DEF, "V"),
    ],
    "a void of such a key, behind a fence": [
        DefineSeries((ORDERS,)), issued(ABC), only_def(ORDERS), FENCE,
        WithOriginal(Void("ABC-PO-0001", REASON, "U"), Original(1, date(2025, 12, 31), (), "DOC")),
    ],
}  # fmt: skip


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_what_was_written_about_an_earlier_version_is_legal(history: list[Decidable]) -> None:
    ledger = Audited()
    for command in history:
        assert ledger.do(command), f"{command} is refused"
    ledger.do(FENCE)  # what is legal can be restored, and fenced again


@settings(max_examples=rounds(60, thorough=1500), deadline=None)
@given(steps=STEPS, ranges=st.sampled_from([sequences.MAX_CLOSED_RANGES, 2]))
def test_what_is_decided_is_legal(steps: list[Step], ranges: int) -> None:
    """Where an account has more than so many ranges, its period is not closed, and a fence goes beyond the maximum."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "MAX_CLOSED_RANGES", ranges)
        audited(steps)
