"""What an administrator might write into a log, each told in words. That every true history is legal is asked of all.

`Story.when` judges each event that the other tests of the domain decide, and `tests.invariants` each log that is
written to a store; here is what is illegal. A case decides a command, lets something happen meanwhile, and forges one
of the events.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pytest

from ledger.domain.calendar import Reset
from ledger.domain.commands import (
    AcceptStops,
    AdjustMaximum,
    AdjustSequence,
    Assign,
    Cancel,
    Choice,
    CloseLedger,
    ClosePeriod,
    Confirm,
    Decidable,
    DefineSeries,
    Expire,
    Extend,
    Fence,
    Import,
    Issue,
    OpenLedger,
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
from ledger.domain.events import Print, StopAccepted
from ledger.domain.evolve import evolve
from ledger.domain.formats import FIRST_FORMAT, NEWEST_FORMAT
from ledger.domain.judgements.series import unproved
from ledger.domain.legality import flaw
from ledger.domain.register import Register
from ledger.domain.rejection import Rejection
from ledger.domain.sequence import ValueState
from ledger.domain.series import DateOrder, Dimension, Reuse, Series
from tests.given import GAPLESS, LETTER, LETTER_KEY, NOW, PLAIN, RFA, RFA_KEY, SECOND, Story, series

REASON = "so it was decided"
TTL = 300
DAY = date(2025, 6, 15)
ORDERED = series("O{SEQ:4}-{YYYY}", "ORDERED", reset=Reset.YEARLY, date_order=DateOrder.PERIOD)
SMALL = series("S{SEQ:4}", "SMALL", start=2, max_value=9)
MADE = "LETTER:คคง.:สคฉ.3-01:2025"


def imported(of: Series, *numbers: str) -> Import:
    register = Register([of], NOW)
    for line, number in enumerate(numbers):
        register.add(line, number)
    return register.command(skip_bad=False)


def issue(code: str, token: str = "T", key: dict[str, str] | None = None, count: int = 1) -> Issue:
    return Issue(Reserve(code, token, key or {}, count=count), "D")


def void(number: str) -> WithOriginal:
    return WithOriginal(Void(number, REASON, "another"), Original(1, DAY, (), "D"))


def amend(of: Series, **changes: Any) -> DefineSeries:
    return DefineSeries((Series.define(of.code, replace(of.definition, **changes)),))


def numbered(**changes: Any) -> Callable[[Any], Any]:
    return lambda event: replace(event, numbering=replace(event.numbering, **changes))


def changed(**changes: Any) -> Callable[[Any], Any]:
    return lambda event: replace(event, **changes)


def as_it_is(event: Any) -> Any:
    return event


@dataclass(frozen=True)
class Case:
    """`event` is the place of the forged event among those of the command; those in front of it happen, unless torn."""

    words: str
    of: Series
    command: Decidable
    forge: Callable[[Any], Any] = as_it_is
    before: tuple[Decidable, ...] = ()
    meanwhile: tuple[Decidable, ...] = ()
    seconds: int = 0
    event: int = -1
    is_torn: bool = field(default=False, kw_only=True)
    format: int = field(default=NEWEST_FORMAT, kw_only=True)

    def judged(self) -> str | None:
        story = Story(self.of)
        if self.format > FIRST_FORMAT:
            story.when(RaiseFormat(self.format, REASON))
        for command in self.before:
            story.when(command)
        events = decide(story.state, accepting(self.command), story.now)
        assert not isinstance(events, Rejection), events
        kept = events[: len(events) - 1 if self.event == -1 else self.event]
        for event in kept if not self.is_torn else ():
            assert flaw(story.state, event, story.now) is None
            evolve(story.state, event, story.now)
        for command in self.meanwhile:
            story.when(command)
        return flaw(story.state, self.forge(events[self.event]), story.now + self.seconds * SECOND)


RESERVE = Reserve("PLAIN", "T", ttl_seconds=TTL)
LETTERS = Reserve("LETTER", "T", LETTER_KEY, ttl_seconds=TTL)
BLOCK = Reserve("PLAIN", "T", count=5, ttl_seconds=TTL)
CHOSEN = Confirm("T", "D", (Choice("0001", "D-1"), Choice("0003", "D-3")))
HELD = (RESERVE,)
ISSUED = (issue("PLAIN", "U"),)

RESERVED = [
    Case("series 'X' is not defined", PLAIN, RESERVE, numbered(series="X")),
    Case("version 2 of series PLAIN is named, and version 1 is in force", PLAIN, RESERVE, numbered(series_version=2)),
    Case("version 1 of series PLAIN is named, and version 2", PLAIN, RESERVE, meanwhile=(amend(PLAIN, max_value=7),)),
    Case("series PLAIN is retired", PLAIN, RESERVE, meanwhile=(RetireSeries("PLAIN"),)),
    Case("the key has 1 values, and series PLAIN counts by 0", PLAIN, RESERVE, numbered(key=("A",))),
    Case("the key's RECIPIENT is 'nobody'", LETTER, LETTERS, numbered(key=("คคง.", "nobody"))),
    Case("the sequence is called 'PLAIN:2025', and that of its", PLAIN, RESERVE, numbered(sequence="PLAIN:2025")),
    Case("that of its key and period is", LETTER, LETTERS, numbered(period="2026")),
    Case("is not in period 2025", LETTER, LETTERS, numbered(document_date=date(2026, 1, 1))),
    Case("1999-12-31 is no date of a document", PLAIN, RESERVE, numbered(document_date=date(1999, 12, 31))),
    Case("attributes are none, not those of", RFA, Reserve("LCBP3-RFA", "T", RFA_KEY), numbered(attributes=())),
    Case(
        "the attribute REV is 'a'", RFA, Reserve("LCBP3-RFA", "T", RFA_KEY), numbered(attributes=(("REV", "a"),))
    ),
    Case("has not begun", LETTER, LETTERS, is_torn=True),
    Case("period 2025 of sequence", LETTER, LETTERS, meanwhile=(ClosePeriod(MADE),)),
    Case(
        "period 2024 is numbered after 2025 was",
        ORDERED,
        Reserve("ORDERED", "T", document_date=date(2024, 1, 1)),
        meanwhile=(issue("ORDERED", "U"),),
    ),
    Case("reservation T is open already", PLAIN, RESERVE, meanwhile=HELD),
    Case("reservation T expires before it is made", PLAIN, RESERVE, seconds=TTL),
    Case("no value is named", PLAIN, RESERVE, changed(ranges=())),
    Case("the range 3 to 2 is not ascending", PLAIN, RESERVE, changed(ranges=((3, 2),))),
    Case("the range 2 to 4 is not ascending", PLAIN, RESERVE, changed(ranges=((1, 2), (2, 4)))),
    Case("value 1 is below 2, the start", SMALL, Reserve("SMALL", "T"), changed(ranges=((1, 2),))),
    Case("value 10 is above 9, the maximum", SMALL, Reserve("SMALL", "T"), changed(ranges=((2, 10),))),
    Case("value 1 of sequence PLAIN:- is passed over without a cause", PLAIN, RESERVE, changed(ranges=((2, 2),))),
    Case("value 2 of sequence PLAIN:- is passed over", PLAIN, RESERVE, changed(ranges=((3, 3),)), ISSUED),
    Case("number '0001' is given out twice: value 1 of sequence PLAIN:- is CONFIRMED", PLAIN, RESERVE, meanwhile=(
        *ISSUED,)),
    Case("is given out twice: value 1 of sequence GAPLESS:- is RESERVED", GAPLESS, Reserve("GAPLESS", "T"), meanwhile=(
        Reserve("GAPLESS", "U"),)),
    Case("is given out twice: value 1 of sequence PLAIN:- is VOIDED", PLAIN, RESERVE, meanwhile=(
        *ISSUED, void("0001"))),
    Case("value 1 of sequence PLAIN:- is CANCELLED and was not released", PLAIN, RESERVE, meanwhile=(
        Reserve("PLAIN", "U"), Cancel("U"))),
    Case("value 1 of sequence PLAIN:- is CANCELLED and was not released", PLAIN, RESERVE, changed(ranges=((1, 1),)), (
        Reserve("PLAIN", "U"), Cancel("U"), amend(PLAIN, reuse=Reuse.GAPLESS))),
]  # fmt: skip

ENDED = [
    *(
        Case("reservation T is not open", PLAIN, command, before=HELD, meanwhile=(Cancel("T"),))
        for command in (Confirm("T"), Cancel("T"), Extend("T", 400))
    ),
    *(
        Case("after it expired, at 2025-06-15T03:05:00.000000Z", PLAIN, command, before=HELD, seconds=TTL)
        for command in (Confirm("T"), Cancel("T"), Extend("T", 400))
    ),
    *(
        Case("reservation T is of sequence PLAIN:-, not of X", PLAIN, command, numbered(sequence="X"), HELD)
        for command in (Confirm("T"), Cancel("T"))
    ),
    Case("reservation T is of sequence PLAIN:-, not of X", PLAIN, Extend("T", 400), changed(sequence="X"), HELD),
    Case("printed otherwise", PLAIN, Confirm("T"), numbered(document_date=date(2025, 6, 14)), HELD),
    Case("reservation T is shortened", PLAIN, Extend("T", 400), changed(expires_at=NOW + 1), HELD),
    Case("are not those that reservation T holds", PLAIN, Cancel("T"), changed(ranges=((1, 4),)), (BLOCK,)),
    Case("value 6 is not held by reservation T", PLAIN, Confirm("T"), changed(ranges=((1, 6),)), (BLOCK,)),
    Case("value 2 is not held by reservation T", PLAIN, Confirm("T"), changed(ranges=((2, 2),)), (
        RESERVE, Reserve("PLAIN", "U"))),
    Case("value 1 is not held by reservation T", PLAIN, CHOSEN, changed(released=((1, 2), (4, 5))), (BLOCK,)),
    Case("no value is named", PLAIN, CHOSEN, changed(ranges=()), (BLOCK,)),
    Case("the range 2 to 4 is not ascending", PLAIN, CHOSEN, changed(released=((5, 5), (2, 4))), (BLOCK,)),
    Case("document 'D-4' is of value 4, which is not confirmed", PLAIN, CHOSEN, changed(documents=((4, "D-4"),)), (
        BLOCK,)),
    Case("value 1 has a second document, 'E'", PLAIN, CHOSEN, changed(documents=((1, "D"), (1, "E"))), (BLOCK,)),
]  # fmt: skip

BY_HAND = [
    Case("series 'X' is not defined", PLAIN, Assign("0003", "D", REASON), numbered(series="X")),
    Case("version 3 of series PLAIN is not in use; it has 1", PLAIN, Assign("0003", "D", REASON), numbered(
        series_version=3)),
    Case("version 1 of series PLAIN is not in use", PLAIN, Assign("0003", "D", REASON), meanwhile=(
        amend(PLAIN, max_value=7),)),
    Case("series PLAIN is retired", PLAIN, Assign("0003", "D", REASON), meanwhile=(RetireSeries("PLAIN"),)),
    Case("series PLAIN is not manual", PLAIN, Assign("0003", "D", REASON), before=ISSUED, meanwhile=(
        amend(PLAIN, manual=False),)),
    Case("value 8 is new, and printed by version 1", PLAIN, Assign("0008", "D", REASON), before=ISSUED, meanwhile=(
        amend(PLAIN, description="new"),)),
    Case("value 12 is above 9, the maximum", SMALL, Assign("S0003", "D", REASON), changed(value=12)),
    Case("number '0003' is given out twice", PLAIN, Assign("0003", "D", REASON), meanwhile=(
        Assign("0003", "D", REASON),)),
    Case("is said to pass over 1 to 1, and passes over 1 to 2", PLAIN, Assign("0003", "D", REASON), changed(
        skipped=((1, 1),))),
    Case("is said to pass over nothing, and passes over 1 to 2", PLAIN, Assign("0003", "D", REASON), changed(
        skipped=())),
    Case("series PLAIN is retired", PLAIN, imported(PLAIN, "0002"), meanwhile=(RetireSeries("PLAIN"),)),
    Case("1999-12-31 is no date of a document", PLAIN, imported(PLAIN, "0002"), changed(
        prints=(Print(date(1999, 12, 31), (), ((2, 2),)),))),
    Case("value 10000 is above 9999", PLAIN, imported(PLAIN, "0002"), changed(
        prints=(Print(DAY, (), ((2, 10_000),)),))),
    Case("given out twice: value 2 of sequence PLAIN:- is held", PLAIN, imported(PLAIN, "0002"), changed(
        prints=(Print(DAY, (), ((2, 2),)), Print(DAY, (), ((2, 3),))))),
    Case("given out twice: value 1 of sequence PLAIN:- is held", PLAIN, imported(PLAIN, "0001"), meanwhile=ISSUED),
    Case("both of before the ledger and skipped", PLAIN, imported(PLAIN, "0002"), changed(skipped=((1, 1),))),
    Case("is said to pass over nothing", PLAIN, imported(PLAIN, "0002"), changed(pre_control=())),
    Case("is voided, and is VOIDED", PLAIN, void("0001"), before=ISSUED, meanwhile=(void("0001"),)),
    Case("value 2 of sequence PLAIN:- is voided, and is not passed yet", PLAIN, void("0001"), changed(value=2),
        ISSUED),
    Case("series 'X' is not defined", PLAIN, void("0001"), numbered(series="X"), ISSUED),
    Case("sequence LETTER:คคง.:สคฉ.3-01:2024 has not begun", LETTER, void("คคง.-สคฉ.3-01-0001-2568"), numbered(
        sequence="LETTER:คคง.:สคฉ.3-01:2024", period="2024", document_date=date(2024, 1, 1)), (
            issue("LETTER", "T", LETTER_KEY),)),
]  # fmt: skip

UNUSED = (ClosePeriod("PLAIN:-"),)
REOPEN = ReopenPeriod("PLAIN:-", REASON)

BY_SEQUENCE = [
    Case("version 2 of series LETTER is named", LETTER, OpenPeriod("LETTER", "2026", LETTER_KEY), changed(
        series_version=2)),
    Case("series PLAIN never resets", LETTER, OpenPeriod("LETTER", "2026", LETTER_KEY), changed(
        sequence="PLAIN:-", key=(), series="PLAIN", period="-"), meanwhile=(DefineSeries((PLAIN,)),)),
    Case("'2025-13' is no period of series LETTER", LETTER, OpenPeriod("LETTER", "2026", LETTER_KEY), changed(
        period="2025-13", sequence="LETTER:คคง.:สคฉ.3-01:2025-13")),
    Case("begins a second time", LETTER, ResetSequence(MADE, "2027"), meanwhile=(ResetSequence(MADE, "2027"),)),
    Case("begins at 7, not at 1", LETTER, ResetSequence(MADE, "2027"), changed(start=7)),
    Case("series LETTER is retired", LETTER, OpenPeriod("LETTER", "2026"), meanwhile=(RetireSeries("LETTER"),)),
    Case("series PLAIN never resets", LETTER, OpenPeriod("LETTER", "2026"), changed(series="PLAIN"), meanwhile=(
        DefineSeries((PLAIN,)),)),
    Case("'FY2026' is no period", LETTER, OpenPeriod("LETTER", "2026"), changed(period="FY2026")),
    Case("is opened a second time", LETTER, OpenPeriod("LETTER", "2026"), meanwhile=(OpenPeriod("LETTER", "2026"),)),
    Case("series PLAIN is retired", PLAIN, AdjustSequence("PLAIN:-", 5, REASON), meanwhile=(RetireSeries("PLAIN"),)),
    Case("period - of sequence PLAIN:- is closed", PLAIN, AdjustSequence("PLAIN:-", 5, REASON), meanwhile=(
        ClosePeriod("PLAIN:-"),)),
    Case("no value is named", PLAIN, AdjustSequence("PLAIN:-", 5, REASON), changed(skipped=())),
    Case("passes over 2 to 4", PLAIN, AdjustSequence("PLAIN:-", 5, REASON), meanwhile=ISSUED),
    Case("passes over nothing", PLAIN, AdjustSequence("PLAIN:-", 5, REASON), changed(skipped=((1, 1),)), meanwhile=(
        *ISSUED, issue("PLAIN", "V"))),
    Case("series 'X' is not defined", PLAIN, ClosePeriod("PLAIN:-"), changed(series="X")),
    Case("period - of sequence PLAIN:- is closed", PLAIN, ClosePeriod("PLAIN:-"), meanwhile=(ClosePeriod("PLAIN:-"),)),
    Case("is closed as 1 to 0, and went from 1 to 1", PLAIN, ClosePeriod("PLAIN:-"), meanwhile=ISSUED),
    Case("is closed while values of it are reserved", PLAIN, ClosePeriod("PLAIN:-"), changed(high_water=1),
        meanwhile=HELD),
    Case("is false: not these values are CONFIRMED", PLAIN, ClosePeriod("PLAIN:-"), changed(
        accounting=((ValueState.VOIDED, ((1, 1),)),)), ISSUED),
    Case("is false: not these values are VOIDED", PLAIN, ClosePeriod("PLAIN:-"), changed(
        accounting=((ValueState.CONFIRMED, ((1, 1),)), (ValueState.VOIDED, ((2, 2),)))), ISSUED),
    Case("version 2 of series PLAIN is named", PLAIN, REOPEN, changed(series_version=2), UNUSED),
    Case("series PLAIN is retired", PLAIN, REOPEN, before=UNUSED, meanwhile=(RetireSeries("PLAIN"),)),
    Case("is reopened, and is not closed", PLAIN, REOPEN, before=UNUSED, meanwhile=(REOPEN,)),
    Case("is reopened, and is not closed", PLAIN, REOPEN, changed(sequence="PLAIN:2025"), UNUSED),
    Case("is reopened, and has passed 1 values", PLAIN, REOPEN, before=UNUSED, meanwhile=(
        REOPEN, *ISSUED, *UNUSED)),
    Case("is reopened, and was closed by a restore", SMALL, ReopenPeriod("SMALL:-", REASON), before=(
        ClosePeriod("SMALL:-"),), meanwhile=(ReopenPeriod("SMALL:-", REASON), Fence(1, NOW, 9, REASON))),
    Case("is of no key in period -, and the event says otherwise", PLAIN, REOPEN, changed(period="2025"), UNUSED),
]  # fmt: skip

RETIRED = (RetireSeries("PLAIN"),)
REOPEN_SERIES = ReopenSeries("PLAIN", REASON)

BY_SERIES = [
    Case("series GAPLESS is defined a second time", PLAIN, DefineSeries((GAPLESS,)), meanwhile=(
        DefineSeries((GAPLESS,)),)),
    Case("version 3 of series GAPLESS is not the next one, 1", PLAIN, DefineSeries((GAPLESS,)), changed(
        series=GAPLESS.as_version(3))),
    Case("series 'GAPLESS' is not defined", PLAIN, amend(PLAIN, max_value=7), changed(series=GAPLESS)),
    Case("series PLAIN is retired", PLAIN, amend(PLAIN, max_value=7), meanwhile=(RetireSeries("PLAIN"),)),
    Case("version 2 of series PLAIN is not the next one, 3", PLAIN, amend(PLAIN, max_value=7), meanwhile=(
        amend(PLAIN, max_value=8),)),
    Case("the maximum 7 of series PLAIN is below 8", PLAIN, amend(PLAIN, max_value=7), meanwhile=(
        issue("PLAIN", "U", count=8),)),
    Case("the maximum 7 of series PLAIN is below 8", PLAIN, AdjustMaximum("PLAIN", 7, REASON), meanwhile=(
        issue("PLAIN", "U", count=8),)),
    Case("the maximum of series PLAIN cannot be 10000", PLAIN, AdjustMaximum("PLAIN", 7, REASON), changed(
        max_value=10_000)),
    Case("series PLAIN is retired", PLAIN, AdjustMaximum("PLAIN", 7, REASON), meanwhile=(RetireSeries("PLAIN"),)),
    Case("series PLAIN is retired", PLAIN, RetireSeries("PLAIN"), meanwhile=(RetireSeries("PLAIN"),)),
    Case("series 'X' is not defined", PLAIN, REOPEN_SERIES, changed(series="X"), RETIRED),
    Case("version 2 of series PLAIN is reopened, not 1", PLAIN, REOPEN_SERIES, changed(series_version=2), RETIRED),
    Case("series PLAIN is reopened, and is not retired", PLAIN, REOPEN_SERIES, before=RETIRED, meanwhile=(
        REOPEN_SERIES,)),
]  # fmt: skip

FENCE = Fence(1, NOW, 5, REASON)
BY_SERIES_TOO = replace(FENCE, margins=(("PLAIN", 2),))
RAISED = RaiseFormat(3, REASON)
BY_RESTORE = [
    Case("it is called fence 2, and is the 1th", PLAIN, FENCE, changed(generation=2), event=0),
    Case("it is called fence 1, and is the 2th", PLAIN, FENCE, meanwhile=(FENCE,), event=0),
    Case("the fence has no margin", PLAIN, FENCE, changed(margin=0), event=0),
    Case("which is no series, or is negative", PLAIN, BY_SERIES_TOO, changed(margins=(("X", 1),)), (RAISED,), event=0),
    Case("or is negative", PLAIN, BY_SERIES_TOO, changed(margins=(("PLAIN", -1),)), (RAISED,), event=0),
    Case("a series twice", PLAIN, BY_SERIES_TOO, changed(margins=(("PLAIN", 1), ("PLAIN", 2))), (RAISED,), event=0),
    Case("needs format 3, and the ledger is at 1", PLAIN, FENCE, changed(margins=(("PLAIN", 1),)), event=0, format=1),
    Case("passes over ((2, 6),), which is not the margin", PLAIN, BY_SERIES_TOO, changed(skipped=((2, 6),)), (
        RAISED, *ISSUED,
    )),
    Case("reservation T is not open", PLAIN, FENCE, before=HELD, meanwhile=(Cancel("T"),), event=1),
    Case("reservation X is not open", PLAIN, FENCE, changed(token="X"), HELD, event=1),
    Case("holds", PLAIN, FENCE, changed(ranges=((1, 2),)), HELD, event=1),
    Case("PLAIN", PLAIN, FENCE, numbered(sequence="PLAIN:1"), HELD, event=1),
    Case("series 'X' is not defined", PLAIN, FENCE, changed(series="X"), ISSUED),
    Case("version 2 of series PLAIN is not in use", PLAIN, FENCE, changed(series_version=2), ISSUED),
    Case("the sequence is called 'PLAIN:1'", PLAIN, FENCE, changed(sequence="PLAIN:1"), ISSUED),
    Case("passes over ((3, 6),), which is not the margin", PLAIN, FENCE, changed(skipped=((3, 6),)), ISSUED),
    Case("passes over ((2, 5),), which is not the margin", PLAIN, FENCE, changed(skipped=((2, 5),)), ISSUED),
    Case("passes over ((2, 7),), which is not the margin", PLAIN, FENCE, changed(skipped=((2, 7),)), ISSUED),
    Case("passes over ((1, 5),), which is not the margin", PLAIN, FENCE, changed(skipped=((1, 5),)), ISSUED),
    Case("passes over ((2, 6),), which is not the margin", PLAIN, FENCE, before=ISSUED, meanwhile=(
        issue("PLAIN", "W"),)),
    Case("period - of sequence PLAIN:- is closed", PLAIN, FENCE, before=ISSUED, meanwhile=(ClosePeriod("PLAIN:-"),)),
]  # fmt: skip

# Of a dimension that lost a value: its sequences stay what they are, and nothing new is of it.
ORDERS = series("{CO}-PO-{SEQ:4}", "PO", dimensions={"CO": Dimension(values=("ABC", "DEF"))})
YEARLY_ORDERS = series(
    "{CO}-PO-{SEQ:4}-{YYYY}", "PO", dimensions={"CO": Dimension(values=("ABC", "DEF"))}, reset=Reset.YEARLY
)
ABC, DEF = {"CO": "ABC"}, {"CO": "DEF"}
ABC_LOST = {"dimensions": {"CO": Dimension(values=("DEF",))}}
BOTH_ISSUED = (issue("PO", "1", ABC), issue("PO", "2", DEF))
NO_LONGER_ABC = (*BOTH_ISSUED, amend(ORDERS, **ABC_LOST))
OTHER_ERA = (*BOTH_ISSUED, amend(ORDERS, template="PO-{SEQ:4}", dimensions={}, key=()))
CLOSED = ClosePeriod("PO:ABC:-")
FENCED_DEF = (issue("PO", "1", DEF), amend(YEARLY_ORDERS, **ABC_LOST), FENCE)
LOST_ABC = Assign("ABC-PO-0003-2025", "D", REASON)
BY_KEY = [
    Case("PO:ABC:- is of ABC in period -, and", ORDERS, CLOSED, changed(key=("DEF",)), NO_LONGER_ABC),
    Case("PO:ABC:- is of ABC in period -, and", ORDERS, CLOSED, changed(key=()), NO_LONGER_ABC),
    Case("PO:ABC:- is of ABC in period -, and", ORDERS, CLOSED, changed(period="2025"), NO_LONGER_ABC),
    Case("is closed as 1 to 1, and went from 1 to 0", ORDERS, CLOSED, changed(sequence="PO:DEF:-", key=("DEF",)), (
        issue("PO", "1", ABC), amend(ORDERS, **ABC_LOST))),
    Case("the key's CO is 'XYZ'", ORDERS, CLOSED, changed(sequence="PO:XYZ:-", key=("XYZ",)), NO_LONGER_ABC),
    Case("the sequence is called 'PO:ABC:1'", ORDERS, ClosePeriod("PO:DEF:-"), changed(sequence="PO:ABC:1"),
        NO_LONGER_ABC),
    Case("version 2 of series PO does not count in sequence PO:ABC:-", ORDERS, CLOSED, changed(series_version=2),
        OTHER_ERA),
    Case("is false: not these values are CONFIRMED", ORDERS, CLOSED, changed(
        accounting=((ValueState.CANCELLED, ((1, 1),)),)), NO_LONGER_ABC),
    Case("the key's CO is 'ABC'", ORDERS, Reserve("PO", "T", ABC), before=BOTH_ISSUED, meanwhile=(
        amend(ORDERS, **ABC_LOST),), forge=numbered(series_version=2)),
    Case("the key's CO is 'ABC'", ORDERS, AdjustSequence("PO:ABC:-", 5, REASON), changed(series_version=2),
        BOTH_ISSUED, (amend(ORDERS, **ABC_LOST),)),
    Case("the key's CO is 'ABC'", ORDERS, imported(ORDERS, "ABC-PO-0005"), changed(series_version=2), BOTH_ISSUED, (
        amend(ORDERS, **ABC_LOST),)),
    Case("the key's CO is 'XYZ'", ORDERS, FENCE, changed(sequence="PO:XYZ:-", key=("XYZ",)), (
        issue("PO", "2", DEF), amend(ORDERS, **ABC_LOST)), event=1),
    Case("PO:ABC:- is of ABC in period -, and", ORDERS, FENCE, changed(key=("DEF",)), NO_LONGER_ABC, event=1),
    # A number of before, which a restore passed over, may begin its sequence by hand: no other key does.
    Case("the key's CO is 'XYZ'", YEARLY_ORDERS, LOST_ABC, changed(sequence="PO:XYZ:2025", key=("XYZ",)), FENCED_DEF,
        event=0),
    Case("the key's CO is 'ABC'", YEARLY_ORDERS, LOST_ABC, changed(sequence="PO:DEF:2025"),
        FENCED_DEF, event=0),
    Case("the key's CO is 'ABC'", YEARLY_ORDERS, OpenPeriod("PO", "2027", DEF), changed(
        sequence="PO:ABC:2027", key=("ABC",)), FENCED_DEF, event=0),
]  # fmt: skip

COPIES = ("/srv/archive", "redis://backup:6379/0")
CLOSE, OPEN = CloseLedger(COPIES, REASON), OpenLedger(COPIES[:1], COPIES[1:], REASON)
ACCEPT = AcceptStops((StopAccepted("LOG_BEHIND", "it ends too early", 9, "0f" * 32),), REASON)
ONLY_OPENED = "the ledger is closed, and only LedgerOpened may follow"
BY_CLOSING = [
    Case("it names no copy", PLAIN, CLOSE, changed(copies=()), (RAISED,)),
    Case(ONLY_OPENED, PLAIN, CLOSE, before=(RAISED,), meanwhile=(CLOSE,)),
    Case(ONLY_OPENED, PLAIN, RESERVE, before=(RAISED,), meanwhile=(CLOSE,)),
    Case(ONLY_OPENED, PLAIN, FENCE, before=(RAISED,), meanwhile=(CLOSE,), event=0),
    Case("it opens the ledger, which is open", PLAIN, OPEN, before=(RAISED, CLOSE), meanwhile=(OPEN,)),
    Case("it opens the ledger without redis://backup", PLAIN, OPEN, changed(without=()), (RAISED, CLOSE)),
    Case("it opens the ledger without /srv/archive", PLAIN, OPEN, changed(copies=()), (RAISED, CLOSE)),
    Case(ONLY_OPENED, PLAIN, ACCEPT, before=(RAISED,), meanwhile=(CLOSE,)),
]

BY_ACCEPTING = [
    Case("a stop of kind 'no kind'", PLAIN, ACCEPT, changed(kind="no kind"), (RAISED,)),
    Case("it names half of an event", PLAIN, ACCEPT, changed(hash=None), (RAISED,)),
    Case("it names half of an event", PLAIN, ACCEPT, changed(position=None), (RAISED,)),
    Case("it names position -1", PLAIN, ACCEPT, changed(position=-1), (RAISED,)),
    Case("it names an event by what is no hash", PLAIN, ACCEPT, changed(hash="0F" * 32), (RAISED,)),
]

CASES = [*RESERVED, *ENDED, *BY_HAND, *BY_SEQUENCE, *BY_SERIES, *BY_RESTORE, *BY_KEY, *BY_CLOSING, *BY_ACCEPTING]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{type(case.command).__name__}: {case.words}")
def test_what_cannot_have_happened_is_told(case: Case) -> None:
    found = case.judged()
    assert found is not None
    assert case.words in found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{type(case.command).__name__}: {case.words}")
def test_it_is_the_forgery_that_is_told(case: Case) -> None:
    happened = replace(case, forge=as_it_is, meanwhile=(), seconds=0, is_torn=False)
    assert happened.judged() is None


def expiring(seconds: int, forge: Callable[[Any], Any] = as_it_is) -> str | None:
    story = Story(PLAIN)
    story.when(RESERVE)
    (event,) = [*_expired(story)]
    return flaw(story.state, forge(event), NOW + seconds * SECOND)


def _expired(story: Story) -> list[Any]:
    events = decide(story.state, Expire("T"), NOW + TTL * SECOND)
    assert not isinstance(events, Rejection)
    return events


def test_a_reservation_expires_when_its_time_has_come() -> None:
    assert expiring(TTL) is None
    assert "expired before its time, which is 2025-06-15T03:05:00" in str(expiring(TTL - 1))
    assert "reservation U is not open" in str(expiring(TTL, changed(token="U")))
    assert "not those that reservation T holds" in str(expiring(TTL, changed(ranges=((1, 2),))))


# Proofs


def test_series_of_one_command_are_proved_together() -> None:
    """One takes over what the other gives up: refused event by event, and legal as a whole."""
    story = Story(series("A{SEQ:4}", "ONE"), series("B{SEQ:4}", "TWO"))
    story.when(DefineSeries((series("B{SEQ:4}", "ONE"), series("C{SEQ:4}", "TWO"))))
    assert unproved(story.state, ["ONE", "TWO"]) is None


def test_a_series_that_prints_what_another_does_is_told() -> None:
    story = Story(PLAIN)
    story.state.put_series(series("{SEQ:4}", "OTHER"))
    found = unproved(story.state, ["PLAIN", "OTHER"])
    assert found is not None
    assert found[0] == 1
    assert found[1].startswith("version 1 of series OTHER is not proved: ")


def test_what_a_version_in_use_printed_stays_its_own() -> None:
    story = Story(PLAIN)
    story.when(issue("PLAIN"))
    story.when(amend(PLAIN, template="P{SEQ:4}"))
    story.state.put_series(series("{SEQ:4}", "OTHER"))
    assert unproved(story.state, ["OTHER"]) is not None
