"""Closing a ledger and opening it, by tables, and the protocol of its copies: an unfenced restore has lost nothing."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from ledger.domain.commands import (
    Cancel,
    CloseLedger,
    Decidable,
    DefineSeries,
    Expire,
    Fence,
    Issue,
    OpenLedger,
    RaiseFormat,
    Reserve,
    Void,
    WithOriginal,
)
from ledger.domain.decide import decide
from ledger.domain.decisions.closing import MAX_COPIES, MAX_COPY_LENGTH
from ledger.domain.events import Event, LedgerClosed, LedgerOpened, NumbersReserved
from ledger.domain.evolve import evolve
from ledger.domain.rejection import Code, Rejection
from tests.given import NOW, PLAIN, Story, one
from tests.profiles import rounds

REASON = "because the test says so"
ARCHIVE, MIRROR = "/srv/archive", "redis://backup:6379/0"
CLOSE = CloseLedger((MIRROR, ARCHIVE), REASON)


def opened() -> Story:
    story = Story()
    story.when(RaiseFormat(3, REASON))
    story.when(DefineSeries((PLAIN,)))
    story.when(Reserve("PLAIN", "held"))
    return story


def closed() -> Story:
    story = opened()
    story.when(CLOSE)
    return story


def test_a_ledger_is_closed_for_its_copies_and_opened_for_them() -> None:
    story = opened()
    assert story.when(CLOSE) == [LedgerClosed((ARCHIVE, MIRROR))]
    assert story.state.closed == (ARCHIVE, MIRROR)
    assert story.when(CLOSE) == []
    assert story.when(OpenLedger((ARCHIVE,), (MIRROR,), REASON)) == [LedgerOpened((ARCHIVE,), (MIRROR,))]
    assert story.when(OpenLedger((ARCHIVE,), (), REASON)) == []
    assert story.when(Issue(Reserve("PLAIN", "T"), "D"))


@pytest.mark.parametrize(
    "command",
    [
        Reserve("PLAIN", "T"),
        Issue(Reserve("PLAIN", "T"), "D"),
        Cancel("held"),
        Expire("held"),
        DefineSeries((PLAIN,)),
        RaiseFormat(3, REASON),
        Fence(1, NOW, 10, REASON),
        WithOriginal(Void("0001", REASON, "T"), None),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_closed_ledger_takes_no_command(command: Decidable) -> None:
    """Not even one that would change nothing, or be refused for another reason."""
    rejection = closed().rejection(command)
    assert rejection.code is Code.LEDGER_CLOSED
    assert "numbering open-ledger" in rejection.detail


@pytest.mark.parametrize(
    ("story", "command", "code", "says"),
    [
        (opened, CloseLedger((), REASON), Code.INVALID_FORMAT, "are none"),
        (opened, CloseLedger((ARCHIVE,), ""), Code.INVALID_FORMAT, "reason"),
        (opened, CloseLedger(("a\nb",), REASON), Code.INVALID_FORMAT, "copies[0]"),
        (opened, CloseLedger(("a" * (MAX_COPY_LENGTH + 1),), REASON), Code.INVALID_FORMAT, "copies[0]"),
        (opened, CloseLedger(("a",) * (MAX_COPIES + 1), REASON), Code.INVALID_FORMAT, "at most"),
        (closed, CloseLedger((ARCHIVE,), REASON), Code.LEDGER_CLOSED, "for these copies"),
        (closed, OpenLedger((ARCHIVE,), (), REASON), Code.INVALID_FORMAT, f"lack {MIRROR}"),
        (closed, OpenLedger((), (), REASON), Code.INVALID_FORMAT, f"lack {ARCHIVE}"),
        (closed, OpenLedger((ARCHIVE, MIRROR), (MIRROR,), REASON), Code.INVALID_FORMAT, "is to hold it too"),
        (closed, OpenLedger((ARCHIVE, MIRROR), ("x",), REASON), Code.INVALID_FORMAT, "names x"),
        (closed, OpenLedger((ARCHIVE, MIRROR), (), ""), Code.INVALID_FORMAT, "reason"),
    ],
)
def test_what_is_refused(story: Any, command: Decidable, code: Code, says: str) -> None:
    rejection = story().rejection(command)
    assert (rejection.code, says in rejection.detail) == (code, True), rejection


def test_a_branch_is_closed_alone() -> None:
    state = opened().state
    branch = state.branch()
    evolve(branch, LedgerClosed((ARCHIVE,)), NOW)
    assert (state.closed, branch.closed, branch.branch().closed) == (None, (ARCHIVE,), (ARCHIVE,))
    branch.merge()
    assert state.closed == (ARCHIVE,)


# The protocol of the copies

NAMES = ("A", "B")


@dataclass
class Place:
    """A database: its log, and whether it is stopped until the copies know that it was opened."""

    log: list[Event] = field(default_factory=list)
    is_stopped: bool = False

    @property
    def story(self) -> Story:
        return Story.of([(event, NOW) for event in self.log], now=NOW)

    def do(self, command: Decidable) -> list[Event]:
        events = decide(self.story.state, command, NOW)
        if self.is_stopped or isinstance(events, Rejection):
            return []
        self.log += events
        return events


class Protocol(RuleBasedStateMachine):
    """Databases, and copies that are brought up to date, and restored from, at any time: no value is issued twice.

    A copy takes events only behind those that it holds, as archives and mirrors do. A restore without a fence asks what
    `replay.completeness` asks. Copies that nobody named may be of any age.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places = [Place()]
        for command in (RaiseFormat(3, REASON), DefineSeries((PLAIN,))):
            self.places[0].do(command)
        self.copies: dict[str, list[Event]] = {name: [] for name in NAMES}
        self.issued: set[tuple[int, int]] = set()
        self.tokens = 0

    def drawn(self, data: st.DataObject) -> Place:
        return data.draw(st.sampled_from(self.places))

    def brought(self, name: str, place: Place) -> bool:
        """Bring a copy up to date; False when it is of another history, or goes further."""
        if name not in self.copies:
            return False
        held = self.copies[name]
        if len(held) > len(place.log) or any(one is not other for one, other in zip(held, place.log, strict=False)):
            return False
        self.copies[name] = list(place.log)
        return True

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def copy(self, data: st.DataObject, name: str) -> None:
        self.brought(name, self.drawn(data))

    @rule(data=st.data())
    def issue(self, data: st.DataObject) -> None:
        self.tokens += 1
        events = self.drawn(data).do(Issue(Reserve("PLAIN", f"{self.tokens}"), "D"))
        if events:
            ranges = one(NumbersReserved, events).ranges
            assert self.issued.isdisjoint(ranges), f"{ranges} is issued again"
            self.issued.update(ranges)

    @rule(data=st.data(), names=st.sets(st.sampled_from(NAMES), min_size=1), is_interrupted=st.booleans())
    def close(self, data: st.DataObject, names: set[str], is_interrupted: bool) -> None:
        place = self.drawn(data)
        if all(self.brought(name, place) for name in sorted(names)):
            place.do(CloseLedger(tuple(names), REASON))
            for name in [] if is_interrupted else names:
                self.brought(name, place)

    @rule(data=st.data(), is_interrupted=st.booleans())
    def open(self, data: st.DataObject, is_interrupted: bool) -> None:
        """Nobody writes where a copy holds what another database has written; one that is no more is left out.

        Who leaves one out says that nobody goes on from it: also in no database that was restored from it before.
        """
        place = self.drawn(data)
        names = place.story.state.closed or ()
        lost = tuple(name for name in names if name not in self.copies)
        kept = tuple(name for name in names if name in self.copies)
        if names and place.do(OpenLedger(kept, lost, REASON)):
            place.is_stopped = True
            self.places = [place] if lost else self.places
        last = place.log[-1]
        if place.is_stopped and isinstance(last, LedgerOpened) and not is_interrupted:
            held = [name not in self.copies or self.brought(name, place) for name in last.copies]
            place.is_stopped = not all(held)

    @rule(name=st.sampled_from(NAMES))
    @precondition(lambda self: len(self.places) < 3)
    def restore(self, name: str) -> None:
        last = self.copies.get(name, [])[-1:]
        if last and isinstance(last[0], LedgerClosed) and name in last[0].copies:
            self.places.append(Place(list(self.copies[name])))

    @rule(name=st.sampled_from(NAMES), rarely=st.integers(0, 2))
    def lose(self, name: str, rarely: int) -> None:
        if not rarely:
            self.copies.pop(name, None)


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(max_examples=rounds(40, thorough=400), stateful_step_count=40, deadline=None)
