"""The ledger's format: how it is raised, what it lets be written, and what an auditor says of that."""

import pytest

from ledger.domain.commands import RaiseFormat, Reserve
from ledger.domain.decisions.formats import not_raised
from ledger.domain.events import FormatRaised, NumbersReserved
from ledger.domain.formats import FIRST_FORMAT, FORMAT_STREAM, NEWEST_FORMAT
from ledger.domain.legality import flaw
from ledger.domain.rejection import Code
from ledger.domain.state import State
from tests.given import NOW, PLAIN, Story

RAISE = RaiseFormat(NEWEST_FORMAT, "by numbering-ledger 0.1.0")


def raised() -> State:
    story = Story()
    story.when(RAISE)
    return story.state


def reserved() -> NumbersReserved:
    *_, event = Story(PLAIN).when(Reserve(PLAIN.code, "t"))
    assert isinstance(event, NumbersReserved)
    return event


def test_a_ledger_is_of_the_first_format_until_an_event_says_another() -> None:
    assert State().format == FIRST_FORMAT
    assert raised().format == NEWEST_FORMAT


def test_it_is_raised_once() -> None:
    story = Story()
    assert story.when(RAISE) == [FormatRaised(NEWEST_FORMAT)]
    assert story.when(RAISE) == []


def test_it_is_never_lowered() -> None:
    story = Story()
    story.when(RAISE)
    assert story.when(RaiseFormat(FIRST_FORMAT, "by an earlier build")) == []


def test_its_event_is_of_no_sequence_and_no_generation() -> None:
    event = FormatRaised(NEWEST_FORMAT)
    assert (event.stream, event.sequence, event.token, event.place) == (FORMAT_STREAM, None, None, None)


def test_a_branch_has_it_of_its_base_and_gives_it_back() -> None:
    base = State()
    branch = base.branch()
    branch.put_format(NEWEST_FORMAT)
    inner = branch.branch()
    assert (base.format, inner.format) == (FIRST_FORMAT, NEWEST_FORMAT)
    branch.merge()
    assert base.format == NEWEST_FORMAT


def test_a_branch_that_is_dropped_leaves_it() -> None:
    base = State()
    base.branch().put_format(NEWEST_FORMAT)
    assert base.format == FIRST_FORMAT


def test_what_must_wait_is_told_what_to_run() -> None:
    rejection = not_raised(FormatRaised(NEWEST_FORMAT), FIRST_FORMAT)
    assert rejection.code is Code.FORMAT_NOT_RAISED
    assert "numbering upgrade" in rejection.detail


class TestLegality:
    def test_it_may_be_raised(self) -> None:
        assert flaw(State(), FormatRaised(NEWEST_FORMAT), NOW) is None

    @pytest.mark.parametrize("format", [FIRST_FORMAT, NEWEST_FORMAT])
    def test_it_may_not_be_lowered_or_repeated(self, format: int) -> None:
        assert "already" in (flaw(raised(), FormatRaised(format), NOW) or "")

    def test_an_event_may_not_come_before_its_format(self, monkeypatch: pytest.MonkeyPatch) -> None:
        event = reserved()
        state = Story(PLAIN).state
        assert flaw(state, event, NOW) is None
        monkeypatch.setattr(NumbersReserved, "format", NEWEST_FORMAT)
        assert flaw(state, event, NOW) == f"it needs format {NEWEST_FORMAT}, and the ledger is at {FIRST_FORMAT}"
        state.put_format(NEWEST_FORMAT)
        assert flaw(state, event, NOW) is None
