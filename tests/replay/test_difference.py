"""What changed between two moments, and where two copies part."""

import pytest

from ledger.domain.events import SeriesRetired
from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import ValueState
from replay.difference import Verdict, between, compare
from replay.moments import Moment
from tests.replay.past import Listed
from tests.replay.restoring import ignored

RESERVED, CONFIRMED, VOIDED, CANCELLED = (
    ValueState.RESERVED, ValueState.CONFIRMED, ValueState.VOIDED, ValueState.CANCELLED,
)  # fmt: skip
ISSUED, HELD, END = 5, 7, 12


async def test_what_changed_is_told(letters_log: Listed) -> None:
    found = await between(letters_log, Moment(position=ISSUED), Moment(position=HELD), ignored)
    ((before, after),) = found.sequences.values()
    assert before is not None
    assert (before.high_water, before.counts) == (2, {CONFIRMED: 2})
    assert (after.high_water, after.counts) == (5, {CONFIRMED: 2, RESERVED: 3})
    assert [each.ranges for each in found.opened] == [((3, 4),), ((5, 5),)]
    assert not found.ended
    assert found.types == {"NumbersReserved": 2}
    assert found.actors == {"anonymous": 2}


async def test_what_ended_is_told_with_its_event(letters_log: Listed) -> None:
    found = await between(letters_log, Moment(position=HELD), Moment(position=END), ignored)
    ((reservation, ending),) = found.ended
    assert (reservation.ranges, type(ending.event).__name__) == (((3, 4),), "ReservationCancelled")
    ((_, after),) = found.sequences.values()
    assert after.counts == {CONFIRMED: 2, VOIDED: 1, CANCELLED: 2, RESERVED: 1}
    assert [type(entry.event) for entry in found.series] == [SeriesRetired]
    assert not found.opened


async def test_the_order_of_the_moments_does_not_matter(letters_log: Listed) -> None:
    moments = Moment(position=ISSUED), Moment(position=HELD)
    one, other = await between(letters_log, *moments, ignored), await between(letters_log, *moments[::-1], ignored)
    assert (one.position, one.sequences, one.types) == (other.position, other.sequences, other.types)


async def test_between_a_moment_and_itself_nothing_changed(letters_log: Listed) -> None:
    found = await between(letters_log, Moment(position=HELD), Moment(position=HELD), ignored)
    assert (found.position, found.fold.position) == (HELD, HELD)
    assert not any((found.sequences, found.opened, found.ended, found.series, found.types))


@pytest.mark.parametrize("moment", [Moment(position=END + 1), Moment(position=0), Moment(time=0)])
async def test_what_the_log_does_not_reach_is_refused(letters_log: Listed, moment: Moment) -> None:
    for moments in ((moment, Moment(position=HELD)), (Moment(position=HELD), moment)):
        with pytest.raises(Rejection) as refused:
            await between(letters_log, *moments, ignored)
        assert refused.value.code is Code.NOT_IN_HISTORY


def part_of(log: Listed, first: int, last: int) -> Listed:
    part = Listed(log.ledger_id, [])
    part.stored = log.stored[first - 1 : last]
    return part


@pytest.mark.parametrize(
    ("first", "last", "verdict"),
    [(1, END, Verdict.SAME), (1, 5, Verdict.CONTINUES), (4, END, Verdict.SAME), (4, 8, Verdict.CONTINUES)],
)
async def test_a_part_is_continued_by_the_whole(letters_log: Listed, first: int, last: int, verdict: Verdict) -> None:
    part = part_of(letters_log, first, last)
    assert (await compare(letters_log, part)).verdict is verdict
    assert (await compare(part, letters_log)).verdict is verdict


async def test_an_empty_log_is_continued_by_all_of_its_ledger(letters_log: Listed) -> None:
    empty = Listed(letters_log.ledger_id, [])
    assert (await compare(letters_log, empty)).verdict is Verdict.CONTINUES
    assert (await compare(letters_log, Listed("other", []))).verdict is Verdict.APART


async def test_parts_that_do_not_meet_say_nothing_of_one_another(letters_log: Listed) -> None:
    found = await compare(part_of(letters_log, 1, 3), part_of(letters_log, 5, 8))
    assert found.verdict is Verdict.UNKNOWN


async def test_the_first_difference_is_found(letters_log: Listed) -> None:
    fork = part_of(letters_log, 1, END)
    fork.stored = fork.stored[:6] + [(position, body, bytes(32)) for position, body, _ in fork.stored[6:9]]
    found = await compare(letters_log, fork)
    assert (found.verdict, found.position) == (Verdict.DIFFER, 7)
    assert found.events == (letters_log.stored[6], fork.stored[6])
