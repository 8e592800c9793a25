"""A command's events are found by what they are, whatever stands around them."""

from datetime import date
from itertools import permutations

import pytest

from ledger.domain.calendar import Reset
from ledger.domain.commands import Issue, Original, Reserve, Void, WithOriginal
from ledger.domain.events import NumbersConfirmed, NumbersReserved, NumberVoided, SequenceReset
from ledger.domain.results import Replacement, Voiding, event_of, event_of_if_any, may_be_of_void
from tests.given import Story, series

REASON = "sent to the wrong customer"


@pytest.fixture
def story() -> Story:
    return Story(series("N-{SEQ:2}-{YYYY}", "N", reset=Reset.YEARLY))


def void(*, replace: bool, day: date | None = None) -> WithOriginal:
    original = Original(1, date(2025, 6, 15), (), "DOC")
    return WithOriginal(Void("N-01-2025", REASON, "another", replace, day), original)


def test_an_event_is_found_by_its_kind_in_any_order(story: Story) -> None:
    events = story.when(Issue(Reserve("N", "token"), "DOC"))
    for order in permutations(events):
        assert event_of(NumbersReserved, order).token == "token"
        assert event_of(NumbersConfirmed, order).document == "DOC"
        assert event_of_if_any(NumberVoided, order) is None
        with pytest.raises(AssertionError, match="left no NumberVoided"):
            event_of(NumberVoided, order)


def test_the_parts_of_a_void_have_names(story: Story) -> None:
    story.when(Issue(Reserve("N", "token"), "DOC"))
    events = story.when(void(replace=True, day=date(2024, 5, 1)))
    assert [type(event) for event in events] == [NumberVoided, SequenceReset, NumbersReserved, NumbersConfirmed]
    done = Voiding.of(events)
    assert done is not None
    assert done == Voiding(
        event_of(NumberVoided, events),
        Replacement(event_of(NumbersReserved, events), event_of(NumbersConfirmed, events)),
    )
    assert done.replacement is not None
    assert done.voided.replacement == (done.replacement.confirmed.numbering.sequence, done.replacement.value)
    for count in range(1, len(events)):  # a restore may have cut the log there
        assert Voiding.of(events[:count]) == Voiding(done.voided, None)


def test_a_void_without_a_replacement_has_one_part(story: Story) -> None:
    story.when(Issue(Reserve("N", "token"), "DOC"))
    (voided,) = story.when(void(replace=False))
    assert isinstance(voided, NumberVoided)
    assert Voiding.of([voided]) == Voiding(voided, None)


def test_what_voids_nothing_has_no_such_parts(story: Story) -> None:
    events = story.when(Issue(Reserve("N", "token"), "DOC"))
    assert Voiding.of(events) is None
    assert [may_be_of_void(event, ordinal) for ordinal, event in enumerate(events)] == [False, False, True]
