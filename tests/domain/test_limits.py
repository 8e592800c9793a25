"""Where a sequence ends, and what it gives out again: never a value twice, above the maximum, or below the start."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.commands import AdjustSequence, Cancel, Choice, ClosePeriod, Confirm, Expire, Extend, Reserve
from ledger.domain.events import NumbersReserved
from ledger.domain.ranges import values_of
from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import ValueState
from ledger.domain.series import Overflow, Reuse
from tests.given import QUICK, SECOND, Story, one, series


def test_the_width_is_the_end_unless_the_series_widens() -> None:
    story = Story(series("E{SEQ:1}", "E", start=9), series("W{SEQ:1}", "W", start=9, overflow=Overflow.WIDEN))
    for code, numbers in (("E", ["E9"]), ("W", ["W9"])):
        assert story.numbers(one(NumbersReserved, story.when(Reserve(code, code)))) == numbers
    rejection = story.rejection(Reserve("E", "T"))
    assert rejection.code is Code.SEQUENCE_EXHAUSTED
    assert rejection.detail == (
        "sequence E:- has 0 values left up to its maximum 9, fewer than 1; raise the maximum, or ask for less"
    )
    assert story.numbers(one(NumbersReserved, story.when(Reserve("W", "T", count=2)))) == ["W10", "W11"]


@pytest.mark.parametrize("reuse", list(Reuse))
@given(data=st.data())
@QUICK
def test_no_value_is_held_twice_or_lies_outside(reuse: Reuse, data: st.DataObject) -> None:
    story = Story(series("{SEQ:2}", start=3, max_value=20, reuse=reuse))
    held: dict[str, set[int]] = {}
    ever: set[int] = set()
    for step in range(data.draw(st.integers(1, 25))):
        match data.draw(st.sampled_from(["reserve", "reserve", "cancel", "expire", "adjust"])):
            case "reserve":
                events = _tried(story, Reserve("S", f"T{step}", count=data.draw(st.integers(1, 4)), ttl_seconds=60))
                for event in events:
                    assert isinstance(event, NumbersReserved)
                    values = set(values_of(event.ranges))
                    assert not any(values & others for others in held.values())
                    assert values <= set(range(3, 21))
                    assert reuse is Reuse.GAPLESS or not values & ever
                    held[event.token] = values
                    ever |= values
            case "adjust":
                _tried(story, AdjustSequence("S:-", data.draw(st.integers(1, 22)), "further up"))
            case ending if held:
                token = data.draw(st.sampled_from(sorted(held)))
                if ending == "expire":
                    story.now += 60 * SECOND
                    for each in sorted(held):
                        story.when(Expire(each))
                    held.clear()
                else:
                    story.when(Cancel(token))
                    del held[token]


def _tried(story: Story, command: Reserve | AdjustSequence) -> list[object]:
    try:
        return list(story.when(command))
    except Rejection:
        return []


# Gapless: released values come back, the lowest first, but never while their holder could still confirm them


def test_the_lowest_released_value_comes_first_until_the_period_is_closed() -> None:
    story = Story(series("{SEQ:2}", reuse=Reuse.GAPLESS))
    for token in "abcd":
        story.when(Reserve("S", token))
    for token in "ca":
        story.when(Cancel(token))
    assert one(NumbersReserved, story.when(Reserve("S", "e", count=3))).ranges == ((1, 1), (3, 3), (5, 5))
    for token in "bde":
        story.when(Confirm(token, "DOC") if token == "b" else Cancel(token))
    story.when(ClosePeriod("S:-"))
    assert story.sequence("S:-").released() == 0
    assert story.sequence("S:-").counts()[ValueState.CANCELLED] == 4


def test_a_value_that_expired_and_was_not_recorded_is_not_given_out_again() -> None:
    """Whoever holds it is refused already; still it comes back only with the event that ends the reservation."""
    story = Story(series("{SEQ:2}", reuse=Reuse.GAPLESS))
    story.when(Reserve("S", "old", ttl_seconds=60))
    story.now += 60 * SECOND
    assert story.rejection(Confirm("old", "DOC")).code is Code.RESERVATION_EXPIRED
    assert one(NumbersReserved, story.when(Reserve("S", "new"))).ranges == ((2, 2),)
    story.when(Expire("old"))
    assert one(NumbersReserved, story.when(Reserve("S", "again"))).ranges == ((1, 1),)
    assert story.rejection(Confirm("old", "DOC")).code is Code.RESERVATION_NOT_FOUND


def test_a_reservation_that_was_extended_keeps_its_values() -> None:
    story = Story(series("{SEQ:2}", reuse=Reuse.GAPLESS))
    story.when(Reserve("S", "old", ttl_seconds=60))
    story.when(Extend("old", 600))
    story.now += 60 * SECOND
    assert story.when(Expire("old")) == []
    assert one(NumbersReserved, story.when(Reserve("S", "new"))).ranges == ((2, 2),)
    story.when(Confirm("old", "DOC"))


def test_what_a_partial_confirmation_keeps_is_not_released() -> None:
    story = Story(series("{SEQ:2}", reuse=Reuse.GAPLESS))
    story.when(Reserve("S", "T", count=3))
    story.when(Confirm("T", "DOC", (Choice("02"),), release_rest=False))
    assert one(NumbersReserved, story.when(Reserve("S", "U"))).ranges == ((4, 4),)
    story.when(Confirm("T", "DOC", (Choice("03"),)))
    assert one(NumbersReserved, story.when(Reserve("S", "V"))).ranges == ((1, 1),)
