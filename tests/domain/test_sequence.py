import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ledger.domain.ranges import Ranges, count_of, ranges_of, values_of
from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import Sequence, ValueState
from ledger.domain.series import MAX_VALUE
from tests.given import NOW, QUICK

CANCELLED, CONFIRMED, EXPIRED, RESERVED = (
    ValueState.CANCELLED,
    ValueState.CONFIRMED,
    ValueState.EXPIRED,
    ValueState.RESERVED,
)
MAXIMUM = 30


def sequence(start: int = 1, passed: int = 0, released: Ranges = ()) -> Sequence:
    """A sequence that passed some values, of which all but the released ones are reserved."""
    made = Sequence("S:-", "S", (), "-", start)
    if passed:
        made.reserve(((start, start + passed - 1),), NOW)
    if released:
        made.settle(released, CANCELLED, reusable=True)
    return made


@pytest.mark.parametrize(
    ("of", "count", "ranges"),
    [
        (sequence(), 1, ((1, 1),)),
        (sequence(), 10_000, ((1, 10_000),)),
        (sequence(start=0), 2, ((0, 1),)),
        (sequence(start=100), 1, ((100, 100),)),
        (sequence(passed=9), 3, ((10, 12),)),
        (sequence(passed=9, released=((3, 3),)), 1, ((3, 3),)),
        (sequence(passed=9, released=((3, 4), (7, 7))), 2, ((3, 4),)),
        (sequence(passed=9, released=((3, 3), (7, 7))), 2, ((3, 3), (7, 7))),
        (sequence(passed=9, released=((3, 3), (9, 9))), 4, ((3, 3), (9, 11))),
        (sequence(start=0, passed=2, released=((0, 0),)), 1, ((0, 0),)),
    ],
)
def test_the_next_values_are_the_lowest_released_then_those_above(of: Sequence, count: int, ranges: Ranges) -> None:
    assert of.next_ranges(count, MAX_VALUE) == ranges


@pytest.mark.parametrize(
    ("of", "count", "left"),
    [
        (sequence(), 31, 30),
        (sequence(passed=30), 1, 0),
        (sequence(passed=29), 2, 1),
        (sequence(start=0, passed=31), 1, 0),
        (sequence(start=30, passed=1), 1, 0),
        (sequence(passed=30, released=((4, 6),)), 4, 3),
        (sequence(passed=29, released=((4, 6),)), 5, 4),
    ],
)
def test_an_exhausted_sequence_gives_all_or_nothing(of: Sequence, count: int, left: int) -> None:
    with pytest.raises(Rejection, match=f"has {left} values left") as caught:
        of.next_ranges(count, MAXIMUM)
    assert caught.value.code is Code.SEQUENCE_EXHAUSTED
    if left:
        assert count_of(of.next_ranges(left, MAXIMUM)) == left


def test_the_highest_value_of_all() -> None:
    made = sequence(start=MAX_VALUE)
    assert made.next_ranges(1, MAX_VALUE) == ((MAX_VALUE, MAX_VALUE),)
    made.reserve(((MAX_VALUE, MAX_VALUE),), NOW)
    made.settle(((MAX_VALUE, MAX_VALUE),), CONFIRMED)
    assert made.state_of(MAX_VALUE) is CONFIRMED
    with pytest.raises(Rejection):
        made.next_ranges(1, MAX_VALUE)


@pytest.mark.parametrize("start", [0, 1, 100])
def test_a_new_sequence_passed_nothing(start: int) -> None:
    made = sequence(start)
    assert made.high_water == start - 1
    assert made.counts() == {RESERVED: 0}
    assert made.values_in(RESERVED) == ()
    assert [made.state_of(value) for value in (start - 1, start)] == [None, None]


def test_a_copy_is_apart() -> None:
    made = sequence(passed=9, released=((3, 4),))
    made.settle(((1, 1),), CONFIRMED)
    before = made.counts(), made.next_ranges(3, MAXIMUM), made.high_water
    twin = made.copy()
    twin.settle(((2, 2),), CONFIRMED)
    twin.settle(((5, 5),), CANCELLED, reusable=True)
    twin.settle(((6, 6),), EXPIRED)
    twin.reserve(((3, 3), (10, 12)), NOW)
    assert (made.counts(), made.next_ranges(3, MAXIMUM), made.high_water) == before
    assert twin.counts() == {RESERVED: 7, CONFIRMED: 2, CANCELLED: 2, EXPIRED: 1}


def test_many_values_stay_exact_when_the_bitmaps_are_folded_into_runs() -> None:
    made = sequence(passed=200_000)
    for first in range(1, 200_001, 1000):
        made.settle(((first, first + 998),), CONFIRMED)
    assert made.counts() == {CONFIRMED: 200 * 999, RESERVED: 200}
    assert made.values_in(RESERVED) == tuple((value, value) for value in range(1000, 200_001, 1000))


class Accounts(RuleBasedStateMachine):
    """Every value has exactly one state, the counts add up, and no confirmed value comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.sequence = sequence(start=0)
        self.states: dict[int, ValueState] = {}
        self.pool: set[int] = set()

    @rule(count=st.integers(1, 8))
    def reserve(self, count: int) -> None:
        lowest_first = sorted(self.pool) + [value for value in range(MAXIMUM + 1) if value not in self.states]
        try:
            ranges = self.sequence.next_ranges(count, MAXIMUM)
        except Rejection:
            assert len(lowest_first) < count
            return
        assert list(values_of(ranges)) == lowest_first[:count]
        self.sequence.reserve(ranges, NOW)
        self.pool -= set(lowest_first[:count])
        self.states.update(dict.fromkeys(lowest_first[:count], RESERVED))

    @precondition(lambda self: self._reserved())
    @rule(data=st.data(), end=st.sampled_from((CONFIRMED, CANCELLED, EXPIRED)), reusable=st.booleans())
    def settle(self, data: st.DataObject, end: ValueState, reusable: bool) -> None:
        chosen = data.draw(st.sets(st.sampled_from(self._reserved()), min_size=1))
        self.sequence.settle(ranges_of(chosen), end, reusable=reusable and end is not CONFIRMED)
        self.states.update(dict.fromkeys(chosen, end))
        if reusable and end is not CONFIRMED:
            self.pool |= chosen

    @rule()
    def copy(self) -> None:
        self.sequence = self.sequence.copy()

    @invariant()
    def every_value_has_one_state(self) -> None:
        for value in range(-1, MAXIMUM + 2):
            assert self.sequence.state_of(value) is self.states.get(value)
        for state in ValueState:
            held = [value for value, its in self.states.items() if its is state]
            assert self.sequence.values_in(state) == ranges_of(held)
            assert self.sequence.counts().get(state, 0) == len(held)

    @invariant()
    def the_counts_add_up(self) -> None:
        assert sum(self.sequence.counts().values()) == self.sequence.high_water + 1 == len(self.states)

    def _reserved(self) -> list[int]:
        return [value for value, state in self.states.items() if state is RESERVED]


TestAccounts = Accounts.TestCase
TestAccounts.settings = QUICK


@QUICK
@given(st.sets(st.integers(1, MAXIMUM)), st.integers(1, MAXIMUM))
def test_the_high_water_never_falls(released: set[int], count: int) -> None:
    made = sequence(passed=MAXIMUM, released=ranges_of(released))
    made.reserve(made.next_ranges(count, MAX_VALUE), NOW)
    assert made.high_water == MAXIMUM + max(0, count - len(released))
