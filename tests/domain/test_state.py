"""Branches against a direct fold, and expiry against a model."""

from dataclasses import dataclass, replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ledger.domain.calendar import Reset
from ledger.domain.commands import (
    AdjustMaximum,
    Cancel,
    Choice,
    Confirm,
    Decidable,
    DefineSeries,
    Expire,
    Extend,
    Fence,
    OpenPeriod,
    Reserve,
)
from ledger.domain.decide import decide
from ledger.domain.events import Event
from ledger.domain.evolve import evolve
from ledger.domain.rejection import Rejection
from ledger.domain.series import DateOrder
from ledger.domain.state import State
from tests.given import GAPLESS, NOW, PLAIN, QUICK, SECOND, Story, dump, series

DAILY = series("{YYYY}-{MM}-{DD}/{SEQ:2}", "DAILY", reset=Reset.DAILY, date_order=DateOrder.PERIOD)
SERIES = (PLAIN, GAPLESS, DAILY)
FAR = NOW + 10**15


@dataclass(frozen=True)
class Step:
    kind: str
    which: int
    count: int
    flag: bool
    wait: int


KINDS = ("reserve", "confirm", "confirm one", "extend", "cancel", "expire", "define", "fence", "open")
STEPS = st.builds(
    Step, st.sampled_from(KINDS), st.integers(0, 5), st.integers(1, 4), st.booleans(), st.sampled_from((0, 0, 1, 2))
)
BATCHES = st.lists(st.tuples(st.lists(STEPS, max_size=6), st.booleans()), max_size=6)


def command_of(step: Step, state: State, serial: int) -> Decidable:
    token = f"T{step.which}"
    match step.kind:
        case "define":
            return DefineSeries((SERIES[step.which % 3],))
        case "reserve":
            day = date(2025, 6, 14) if step.flag else None
            return Reserve(SERIES[step.which % 3].code, f"T{serial}", {}, step.count, step.count, document_date=day)
        case "confirm one":
            return Confirm(token, "D", (Choice(first_number(state, token)),), release_rest=step.flag)
        case "extend":
            return Extend(token, step.count)
        case "confirm":
            return Confirm(token)
        case "cancel":
            return Cancel(token)
        case "fence":
            return Fence(0, 0, step.count, "so it was restored")
        case "open":
            return OpenPeriod("DAILY", f"2025-06-{16 + step.which}")
        case _:
            return Expire(token)


def first_number(state: State, token: str) -> str:
    reservation = state.reservation(token)
    if reservation is None:
        return "0001"
    numbering = reservation.numbering
    frame = state.series(numbering.series, 1).frame(numbering.key, numbering.attributes, numbering.document_date)
    return frame.number(reservation.ranges[0][0])


class Writer:
    """Decides batches on branches of `root`; `direct` folds only what was kept."""

    def __init__(self) -> None:
        self.root, self.direct = State(), State()
        self.now = NOW
        self.serial = 0
        self.write([Step("define", which, 1, False, 0) for which in range(3)], keep=True)

    def write(self, steps: list[Step], *, keep: bool) -> None:
        before = dump(self.root)
        branch = self.root.branch()
        check_in_use(branch)
        events = [event for step in steps for event in self.carry_out(step, branch)]
        assert dump(self.root) == before
        check_in_use(self.root)
        if not keep:
            return
        for event, now in events:
            evolve(self.direct, event, now)
        assert dump(branch) == dump(self.direct)
        branch.merge()
        assert dump(self.root) == dump(self.direct)
        check_in_use(self.root)
        check_in_use(self.direct)

    def carry_out(self, step: Step, branch: State) -> list[tuple[Event, int]]:
        self.now += step.wait * SECOND
        command = command_of(step, branch, self.serial)
        self.serial += isinstance(command, Reserve)
        events = decide(branch, command, self.now)
        if isinstance(events, Rejection):
            return []
        for event in events:
            evolve(branch, event, self.now)
            check_in_use(branch)
        return [(event, self.now) for event in events]


def check_in_use(state: State) -> None:
    """What is remembered of the series in use is what they are."""
    series = state.in_use()
    assert series == tuple(version for each in state.all_series() for version in state.printing(each.code))
    assert state.in_use() is series


@QUICK
@given(BATCHES)
def test_merged_branches_equal_a_direct_fold_and_dropped_ones_leave_no_trace(
    batches: list[tuple[list[Step], bool]],
) -> None:
    writer = Writer()
    for steps, keep in batches:
        writer.write(steps, keep=keep)
    open_tokens = {reservation.token for reservation in writer.direct.reservations()}
    assert set(writer.root.due(FAR, 1000)) == set(writer.direct.due(FAR, 1000)) == open_tokens


def test_a_branch_sees_its_base_and_its_own_changes() -> None:
    story = Story(PLAIN)
    story.when(Reserve("PLAIN", "T1"))
    branch = story.state.branch()
    for event in decide_all(branch, Cancel("T1"), DefineSeries((GAPLESS,)), Reserve("PLAIN", "T2")):
        evolve(branch, event, NOW)
    assert [reservation.token for reservation in branch.reservations()] == ["T2"]
    assert [each.code for each in branch.all_series()] == ["GAPLESS", "PLAIN"]
    assert story.state.reservation("T1") is not None
    assert [each.code for each in story.state.all_series()] == ["PLAIN"]


def test_a_branch_of_a_branch_lists_all_that_both_hold() -> None:
    story = Story(PLAIN)
    story.when(Reserve("PLAIN", "T1"))
    nested = story.state.branch().branch()
    assert dump(nested) == dump(story.state)


def test_the_series_in_use_follow_all_that_changes_them() -> None:
    root = State()
    steps: tuple[tuple[Decidable, list[tuple[str, int]]], ...] = (
        (DefineSeries((PLAIN,)), [("PLAIN", 1)]),
        (DefineSeries((series("P{SEQ:4}", "PLAIN"),)), [("PLAIN", 2)]),
        (Reserve("PLAIN", "T1"), [("PLAIN", 2)]),
        (DefineSeries((series("Q{SEQ:4}", "PLAIN"), GAPLESS)), [("GAPLESS", 1), ("PLAIN", 2), ("PLAIN", 3)]),
        (AdjustMaximum("PLAIN", 900, "so it was ordered"), [("GAPLESS", 1), ("PLAIN", 2), ("PLAIN", 3)]),
    )
    for command, expected in steps:
        check_in_use(root)
        branch = root.branch()
        nested = branch.branch()
        for event in decide_all(nested, command):
            evolve(nested, event, NOW)
        for state in (nested, branch, root):
            check_in_use(state)
        nested.merge()
        for state in (branch, root):
            check_in_use(state)
        branch.merge()
        check_in_use(root)
        assert [(each.code, each.version) for each in root.in_use()] == expected
    assert root.in_use()[-1].max_value == 900


def decide_all(branch: State, *commands: Decidable) -> list[Event]:
    answers = [decide(branch, command, NOW) for command in commands]
    return [event for answer in answers if not isinstance(answer, Rejection) for event in answer]


class Expiries(RuleBasedStateMachine):
    """`due` never misses an expiry, and never returns a reservation that lives or is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Story(PLAIN)
        self.open: dict[str, int] = {}
        self.serial = 0

    @rule(ttl=st.integers(1, 3), count=st.integers(1, 3), merged=st.booleans())
    def reserve(self, ttl: int, count: int, merged: bool) -> None:
        self.serial += 1
        token = f"T{self.serial}"
        self.change(Reserve("PLAIN", token, count=count, ttl_seconds=ttl), merged)
        self.open[token] = self.story.now + ttl * SECOND

    @precondition(lambda self: self.live())
    @rule(data=st.data(), ttl=st.integers(1, 4), merged=st.booleans())
    def extend(self, data: st.DataObject, ttl: int, merged: bool) -> None:
        token = data.draw(st.sampled_from(self.live()))
        self.change(Extend(token, ttl), merged)
        self.open[token] = max(self.open[token], self.story.now + ttl * SECOND)

    @precondition(lambda self: self.live())
    @rule(data=st.data(), merged=st.booleans())
    def confirm_one(self, data: st.DataObject, merged: bool) -> None:
        token = data.draw(st.sampled_from(self.live()))
        choice = Choice(first_number(self.story.state, token))
        self.change(Confirm(token, "D", (choice,), release_rest=False), merged)
        if self.story.state.reservation(token) is None:
            del self.open[token]

    @precondition(lambda self: self.live())
    @rule(data=st.data(), merged=st.booleans())
    def cancel(self, data: st.DataObject, merged: bool) -> None:
        token = data.draw(st.sampled_from(self.live()))
        self.change(Cancel(token), merged)
        del self.open[token]

    @rule(microseconds=st.sampled_from((1, SECOND - 1, SECOND, 2 * SECOND)))
    def wait(self, microseconds: int) -> None:
        self.story.now += microseconds

    @rule(seconds=st.integers(1, 3), limit=st.integers(0, 3))
    def lose_a_transaction(self, seconds: int, limit: int) -> None:
        """Its clock was ahead, and goes back: later instants than that of the last event were never recorded."""
        self.story.state.due(self.story.now + seconds * SECOND, limit)

    @rule(limit=st.integers(1, 3), committed=st.booleans())
    def sweep(self, limit: int, committed: bool) -> None:
        tokens = self.story.state.due(self.story.now, limit)
        expired = sorted(instant for instant in self.open.values() if instant <= self.story.now)
        assert len(set(tokens)) == len(tokens)
        assert [self.open[token] for token in tokens] == expired[:limit]
        for token in tokens if committed else ():
            assert len(self.story.when(Expire(token))) == 1
            del self.open[token]

    @invariant()
    def the_next_expiry_is_not_too_late(self) -> None:
        upcoming = self.story.state.next_expiry()
        if self.open:
            assert upcoming is not None
            assert upcoming <= min(self.open.values())

    def change(self, command: Decidable, merged: bool) -> None:
        """Carry out a command on the state or, as the writer does, on a branch that is merged."""
        if not merged:
            self.story.when(command)
            return
        root = self.story.state
        self.story.state = root.branch()
        self.story.when(command)
        self.story.state.merge()
        self.story.state = root

    def live(self) -> list[str]:
        return [token for token, instant in self.open.items() if instant > self.story.now]


TestExpiries = Expiries.TestCase
TestExpiries.settings = QUICK


# Neither puts a second entry for the same token and instant into the heap.
@pytest.mark.parametrize("command", [Extend("T", 1), Confirm("T", "D", (Choice("0001"),), release_rest=False)])
def test_a_reservation_whose_expiry_did_not_change_is_due_once(command: Decidable) -> None:
    story = Story(PLAIN)
    story.when(Reserve("PLAIN", "T", count=2))
    story.when(command)
    assert story.state.due(FAR, 10) == ["T"]


def test_a_closed_reservation_takes_no_place_of_an_open_one() -> None:
    story = Story(PLAIN)
    for serial in range(3):
        story.when(Reserve("PLAIN", f"T{serial}", ttl_seconds=1 + serial))
    story.when(Cancel("T1"))
    assert story.state.due(FAR, 2) == ["T0", "T2"]


# The clock can go back between a transaction that was lost and the next.
def test_when_the_clock_went_back_nothing_that_lives_is_due() -> None:
    story = Story(PLAIN)
    story.when(Reserve("PLAIN", "T"))
    assert story.state.due(NOW + 300 * SECOND, 1) == ["T"]
    assert story.state.due(NOW + 300 * SECOND - 1, 1) == []
    assert story.state.due(NOW + 300 * SECOND, 1) == ["T"]


# Bug: what was once due is looked at first, though something reserved since then expires before it.
def test_when_the_clock_went_back_the_next_expiry_is_still_the_earliest() -> None:
    story = Story(PLAIN)
    story.when(Reserve("PLAIN", "T"))
    assert story.state.due(NOW + 300 * SECOND, 1) == ["T"]
    story.when(Reserve("PLAIN", "T2", ttl_seconds=60))
    assert story.state.next_expiry() == NOW + 60 * SECOND
    assert story.state.due(NOW + 300 * SECOND, 2) == ["T2", "T"]


def test_many_closed_reservations_are_forgotten_and_hide_no_open_one() -> None:
    story = Story(PLAIN)
    story.when(Reserve("PLAIN", "T"))
    pattern = story.state.reservation("T")
    assert pattern is not None
    for serial in range(3000):
        instant = NOW + serial * 7919 % 3000  # each once, in no order
        held = replace(pattern, token=f"T{instant}", expires_at=instant)
        story.state.put_reservation(held.token, held)
        if instant % 10 != 5:
            story.state.put_reservation(held.token, None)
    upcoming = story.state.next_expiry()
    assert upcoming is not None
    assert upcoming > NOW  # that of the first, long closed
    assert story.state.due(FAR, 1000) == [*(f"T{instant}" for instant in range(NOW + 5, NOW + 3000, 10)), "T"]


def test_due_gives_no_more_than_asked_and_goes_on_where_it_stopped() -> None:
    story = Story(PLAIN)
    for serial in range(5):
        story.when(Reserve("PLAIN", f"T{serial}", ttl_seconds=5 - serial))
    story.now += 4 * SECOND
    assert story.state.due(story.now, 3) == ["T4", "T3", "T2"]
    assert story.state.due(story.now, 0) == []
    for token in ("T4", "T3", "T2"):
        story.when(Expire(token))
    assert story.state.due(story.now, 3) == ["T1"]
    assert story.state.next_expiry() == NOW + 4 * SECOND


def test_an_empty_state_has_no_expiry() -> None:
    assert State().next_expiry() is None
    assert State().due(FAR, 1) == []
