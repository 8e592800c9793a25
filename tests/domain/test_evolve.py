"""`evolve` records what the log holds, whether or not `decide` would allow it now."""

from datetime import date

import pytest

from ledger.domain.events import (
    Event,
    Numbering,
    NumbersConfirmed,
    NumbersReserved,
    ReservationCancelled,
    ReservationExpired,
    ReservationExtended,
    ReservationFenced,
    SequenceReset,
    SeriesDefined,
)
from ledger.domain.evolve import evolve
from ledger.domain.ranges import Ranges
from ledger.domain.sequence import Sequence, ValueState
from ledger.domain.state import State
from tests.given import GAPLESS, LETTER, NOW, PLAIN, SECOND, series

LATER = NOW + 10 * SECOND


def numbering(series: str, key: tuple[str, ...] = (), period: str = "-") -> Numbering:
    return Numbering(":".join((series, *key, period)), series, 1, key, period, date(2025, 6, 15), (), "2025b")


HELD = numbering("PLAIN")
POOLED = numbering("GAPLESS")


def folded(*events: Event) -> State:
    """A state with two series, and token T with values 1 to 5 of each event's sequence."""
    state = State()
    for event in (SeriesDefined(PLAIN), SeriesDefined(GAPLESS), SeriesDefined(LETTER), *events):
        evolve(state, event, NOW)
    return state


def sequence_of(state: State, held: Numbering) -> Sequence:
    sequence = state.sequence(held.sequence)
    assert sequence is not None
    return sequence


def test_a_reserved_block_is_held_until_it_expires() -> None:
    reservation = folded(NumbersReserved(HELD, "T", ((1, 5),), LATER)).reservation("T")
    assert reservation is not None
    assert (reservation.ranges, reservation.reserved_at, reservation.expires_at) == (((1, 5),), NOW, LATER)
    assert reservation.numbering == HELD


@pytest.mark.parametrize(
    ("event", "states", "left"),
    [
        (NumbersConfirmed(HELD, "T", ((1, 5),)), "CCCCC", ()),
        (NumbersConfirmed(HELD, "T", ((2, 3),)), "RCCRR", ((1, 1), (4, 5))),
        (NumbersConfirmed(HELD, "T", ((2, 3),), released=((1, 1), (4, 5))), "ACCAA", ()),
        (ReservationCancelled(HELD, "T", ((1, 5),)), "AAAAA", ()),
        (ReservationExpired(HELD, "T", ((1, 5),)), "EEEEE", ()),
        (ReservationFenced(HELD, "T", ((1, 5),)), "SSSSS", ()),
        (ReservationExtended("PLAIN:-", "T", LATER), "RRRRR", ((1, 5),)),
    ],
)
def test_what_becomes_of_a_reservation(event: Event, states: str, left: Ranges) -> None:
    state = folded(NumbersReserved(HELD, "T", ((1, 5),), NOW + 1), event)
    letters = {"R": "RESERVED", "C": "CONFIRMED", "A": "CANCELLED", "E": "EXPIRED", "S": "SKIPPED"}
    sequence = sequence_of(state, HELD)
    assert [sequence.state_of(value) for value in range(1, 6)] == [ValueState(letters[letter]) for letter in states]
    reservation = state.reservation("T")
    assert (() if reservation is None else reservation.ranges) == left
    assert sequence.next_ranges(1, 9999) == ((6, 6),)


@pytest.mark.parametrize(
    ("event", "released"),
    [
        (NumbersConfirmed(POOLED, "T", ((1, 5),)), ((6, 6),)),
        (NumbersConfirmed(POOLED, "T", ((1, 2),), released=((3, 5),)), ((3, 5),)),
        (ReservationCancelled(POOLED, "T", ((1, 5),)), ((1, 5),)),
        (ReservationExpired(POOLED, "T", ((1, 5),)), ((1, 5),)),
        (ReservationFenced(POOLED, "T", ((1, 5),)), ((6, 6),)),
    ],
)
def test_a_gapless_series_takes_back_what_was_released(event: Event, released: Ranges) -> None:
    sequence = sequence_of(folded(NumbersReserved(POOLED, "T", ((1, 5),), LATER), event), POOLED)
    count = sum(last - first + 1 for first, last in released)
    assert sequence.next_ranges(count, 9999) == released


def test_a_value_of_the_pool_that_is_reserved_again_has_left_its_old_state() -> None:
    state = folded(
        NumbersReserved(POOLED, "T", ((1, 5),), LATER),
        ReservationCancelled(POOLED, "T", ((1, 5),)),
        NumbersReserved(POOLED, "T2", ((1, 1), (6, 6)), LATER),
        NumbersConfirmed(POOLED, "T2", ((1, 1), (6, 6))),
    )
    sequence = sequence_of(state, POOLED)
    assert sequence.counts() == {ValueState.CANCELLED: 4, ValueState.CONFIRMED: 2, ValueState.RESERVED: 0}
    assert sequence.next_ranges(5, 9999) == ((2, 5), (7, 7))


def test_only_the_expiry_moves_when_a_reservation_is_extended() -> None:
    reserved = NumbersReserved(HELD, "T", ((1, 5),), NOW + 1)
    before = folded(reserved).reservation("T")
    after = folded(reserved, ReservationExtended("PLAIN:-", "T", LATER)).reservation("T")
    assert before is not None
    assert after is not None
    assert (after.ranges, after.reserved_at, after.expires_at) == (before.ranges, before.reserved_at, LATER)


def test_a_reset_begins_a_sequence_whose_first_number_makes_its_period_the_latest() -> None:
    key = ("คคง.", "สคฉ.3")
    new, old = (numbering("LETTER", key, period) for period in ("2025", "2024"))
    resets = [SequenceReset(each.sequence, "LETTER", 1, key, each.period, 7) for each in (new, old)]
    state = folded(*resets)
    assert sequence_of(state, new).next_ranges(1, 9999) == ((7, 7),)
    assert state.latest_period("LETTER:คคง.:สคฉ.3") is None
    used = (NumbersReserved(each, each.period, ((7, 7),), LATER) for each in (new, old))
    assert folded(*resets, *used).latest_period("LETTER:คคง.:สคฉ.3") == "2025"


def test_what_decide_would_refuse_is_recorded_all_the_same() -> None:
    long_past = NumbersReserved(HELD, "T", ((20_000, 20_001),), NOW - SECOND)
    state = folded(long_past, ReservationExtended("PLAIN:-", "T", 1), NumbersConfirmed(HELD, "T", ((20_000, 20_001),)))
    sequence = sequence_of(state, HELD)
    assert sequence.high_water == 20_001
    assert sequence.state_of(20_000) is ValueState.CONFIRMED
    assert state.reservations() == []


def test_a_second_definition_is_the_next_version() -> None:
    second = series("{SEQ:5}", "PLAIN")
    state = folded(SeriesDefined(second))
    assert state.versions("PLAIN") == (PLAIN, second)
    assert (state.series("PLAIN", 1), state.series("PLAIN", 2)) == (PLAIN, second)
