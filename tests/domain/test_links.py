"""Linking a confirmed number to another document: what may be linked, and what it leaves as it is."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from ledger.domain.calendar import Reset
from ledger.domain.commands import (
    AdjustSequence,
    Assign,
    Cancel,
    ClosePeriod,
    Confirm,
    DefineSeries,
    Issue,
    Link,
    Original,
    RaiseFormat,
    Reserve,
    RetireSeries,
    Void,
    WithOriginal,
)
from ledger.domain.events import DocumentLinked, Event, NumberAssigned, NumbersConfirmed, NumberVoided
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.history import ReservationHistory
from ledger.domain.legality import flaw
from ledger.domain.ranges import count_of
from ledger.domain.rejection import Code
from ledger.domain.sequence import ValueState
from ledger.domain.series import Attribute, Dimension
from ledger.domain.state import MAX_LINKS, State
from tests.given import Story, one, series

REASON = "filed under another name"
REV = Attribute(Dimension(chars="A-Z", max=1), default="A")
YEARLY = series("S-{YYYY}-{SEQ:2}-{REV}", reset=Reset.YEARLY, attributes={"REV": REV})
NUMBER, LATE = "S-2025-01-A", "LATE"
ORIGINAL = Original(1, date(2025, 6, 15), (("REV", "A"),), "DOC", "T")


def linking(
    document: str = LATE, number: str = NUMBER, original: Original | None = ORIGINAL, *, links: int = 0
) -> WithOriginal:
    return WithOriginal(Link(number, document, REASON), original, links)


@pytest.fixture
def story() -> Story:
    story = Story(YEARLY)
    story.when(RaiseFormat(NEWEST_FORMAT, REASON))
    story.when(Issue(Reserve("S", "T"), "DOC"))
    return story


def test_a_confirmed_number_gets_another_document(story: Story) -> None:
    before = story.sequence("S:2025").counts()
    linked = one(DocumentLinked, story.when(linking()))
    assert (linked.value, linked.document, linked.previous, linked.token) == (1, LATE, "DOC", "T")
    assert (linked.stream, linked.place, linked.linked, linked.changes) == (
        "S:2025", linked.numbering, ((1, 1),), (),
    )  # fmt: skip
    confirmed = next(event for event, _ in story.log if isinstance(event, NumbersConfirmed))
    assert linked.numbering == confirmed.numbering
    assert story.sequence("S:2025").counts() == before
    assert (linked.version, linked.format) == (1, 2)


def test_a_number_without_a_document_gets_its_first(story: Story) -> None:
    story.when(Reserve("S", "U"))
    story.when(Confirm("U"))
    original = replace(ORIGINAL, document=None, token="U")
    linked = one(DocumentLinked, story.when(linking(number="S-2025-02-A", original=original)))
    assert (linked.document, linked.previous, linked.token) == (LATE, None, "U")


def test_the_document_that_it_has_changes_nothing(story: Story) -> None:
    assert story.when(linking("DOC")) == []
    story.when(linking())
    assert story.when(linking()) == []  # by what the state knows, whatever the log said before


def test_what_was_linked_since_the_log_was_read_is_not_forgotten(story: Story) -> None:
    story.when(linking("B"))
    assert one(DocumentLinked, story.when(linking("C"))).previous == "B"
    assert one(DocumentLinked, story.when(linking("DOC"))).previous == "C"
    known = replace(ORIGINAL, document="DOC")
    assert one(DocumentLinked, story.when(linking("D", original=known, links=story.state.links))).previous == "DOC"


def test_a_branch_knows_what_its_base_does_and_the_base_what_is_merged(story: Story) -> None:
    state = story.state
    state.put_link("S:2025", 1, "B")
    branch = state.branch()
    inner = branch.branch()
    inner.put_link("S:2025", 1, "C")
    assert (state.links, branch.links, inner.links) == (1, 1, 2)
    assert (inner.document_since("S:2025", 1, 0), inner.document_since("S:2025", 1, 2)) == ("C", None)
    assert branch.document_since("S:2025", 1, 0) == "B"
    inner.merge()
    branch.merge()
    assert (state.links, state.document_since("S:2025", 1, 1)) == (2, "C")


def test_what_is_remembered_of_links_is_bounded(story: Story) -> None:
    state = story.state
    for value in range(MAX_LINKS + 3):
        state.put_link("S:2025", value, "B")
    assert (state.links, state.knows_links_since(2), state.knows_links_since(3)) == (MAX_LINKS + 3, False, True)
    told = story.rejection(linking())
    assert (told.code, told.code.retry) == (Code.CHANGED_MEANWHILE, True)
    story.when(linking(links=state.links))


def test_a_state_from_a_snapshot_knows_that_it_forgot() -> None:
    state = State()
    state.put_link("S:-", 1, "B")
    with state.kept() as parts:
        again = State.of(dict(parts))
    assert (again.links, again.knows_links_since(0), again.knows_links_since(1)) == (1, False, True)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (linking(document=""), Code.INVALID_FORMAT),
        (replace(linking(), command=Link(NUMBER, LATE, "")), Code.INVALID_FORMAT),
        (linking(number="S-2025-09-A"), Code.NUMBER_NOT_FOUND),
        (linking(number="X-2025-09-A"), Code.NUMBER_NOT_FOUND),
        (linking(number="S-2025-01-B"), Code.NUMBER_PRINTED_OTHERWISE),
        (linking(original=None), Code.CHANGED_MEANWHILE),
        (linking(number="S-2025-02-A"), Code.NUMBER_NOT_CONFIRMED),
        (linking(number="S-2025-03-A"), Code.NUMBER_NOT_CONFIRMED),
        (linking(number="S-2025-04-A"), Code.NUMBER_NOT_CONFIRMED),
    ],
)
def test_what_cannot_be_linked(story: Story, command: WithOriginal, code: Code) -> None:
    """2 is reserved, 3 cancelled, 4 skipped."""
    story.when(Reserve("S", "two"))
    story.when(Reserve("S", "three"))
    story.when(Cancel("three"))
    story.when(AdjustSequence("S:2025", 5, REASON))
    assert story.rejection(command).code is code


def test_a_voided_number_is_linked_no_more(story: Story) -> None:
    story.when(linking())
    voided = WithOriginal(Void(NUMBER, "sent to the wrong office", "R", replace=True), ORIGINAL)
    events = story.when(voided)
    assert one(NumbersConfirmed, events).document == LATE
    assert story.rejection(linking("X")).code is Code.NUMBER_NOT_CONFIRMED


def test_documents_come_late(story: Story) -> None:
    """To a closed period, an earlier era and a retired series; and nothing that was frozen changes by it."""
    story.when(ClosePeriod("S:2025"))
    closed = story.sequence("S:2025").counts()
    story.when(linking("B"))
    assert story.sequence("S:2025").counts() == closed
    story.when(DefineSeries((series("N-{SEQ:3}"),)))
    story.when(linking("C"))
    story.when(RetireSeries("S"))
    story.when(linking("D"))


def test_what_was_assigned_and_imported_is_of_no_reservation(story: Story) -> None:
    assigned = one(NumberAssigned, story.when(Assign("S-2025-02-A", "HAND", REASON)))
    original = assigned.original(2)
    assert original is not None
    linked = one(DocumentLinked, story.when(linking(number="S-2025-02-A", original=original)))
    assert (linked.previous, linked.token) == ("HAND", None)


# What others make of the event


def test_a_reservation_tells_the_document_of_now(story: Story) -> None:
    story.when(linking())
    events = [(event, position, at) for position, (event, at) in enumerate(story.log, 1) if event.token == "T"]
    history = ReservationHistory.of(events)
    assert history is not None
    assert history.values == {1: (ValueState.CONFIRMED, LATE)}
    assert (history.state, history.position) == (ValueState.CONFIRMED, events[-1][1])
    assert f"already confirmed, at position {events[-2][1]}" in history.closed().detail  # not by the link


def linked(story: Story, **changes: Any) -> Event:
    numbering = next(event.numbering for event, _ in story.log if isinstance(event, NumbersConfirmed))
    return replace(DocumentLinked(numbering, 1, LATE, "DOC", "T"), **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"previous": LATE}, "value 1 of sequence S:2025 is linked to the document that it has"),
        ({"value": 2}, "value 2 of sequence S:2025 is linked to a document, and is not passed yet"),
    ],
)
def test_what_an_auditor_says(story: Story, changes: dict[str, object], words: str | None) -> None:
    assert flaw(story.state, linked(story, **changes), story.now) == words


def test_what_an_auditor_says_of_what_follows(story: Story) -> None:
    story.when(linking("B"))
    told = flaw(story.state, linked(story), story.now)
    assert told == "value 1 of sequence S:2025 is told to have had document 'DOC', and had 'B'"
    assert flaw(story.state, linked(story, previous="B"), story.now) is None
    story.when(WithOriginal(Void(NUMBER, "sent to the wrong office", "R"), ORIGINAL))
    assert "is linked to a document, and is VOIDED" in (flaw(story.state, linked(story, previous="B"), story.now) or "")


def test_it_is_about_its_value_alone(story: Story) -> None:
    event = one(DocumentLinked, story.when(linking()))
    assert (event.is_about(1), event.is_about(2), event.original(2)) == (True, False, None)
    assert count_of(event.linked) == 1
    assert event.original(1) == replace(ORIGINAL, document=LATE)
    assert not NumberVoided(event.numbering, 1).linked
