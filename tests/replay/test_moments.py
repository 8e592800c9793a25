"""The log up to a moment, and what is refused."""

import pytest

from ledger.chain import genesis, link
from ledger.domain.calendar import instant_text
from ledger.domain.rejection import Code, Rejection
from ledger.stores import MemoryLog, MemoryStore
from replay.combined import Combined
from replay.moments import END, Moment, Past, folded, is_moment, moment_of, row_of
from replay.sources import Damaged
from tests.api.client import Time, served
from tests.given import SECOND, at
from tests.invariants import read_log
from tests.replay.past import Listed

BEGIN = at("2026-01-31T10:00:00Z")
EVENTS = 7


@pytest.fixture
async def source() -> Listed:
    """A series, behind the format, then a reservation and four more, one a second."""
    clock, log = Time(BEGIN), MemoryLog("test")
    store = MemoryStore(log, now=clock.now)
    async with served(store, MemoryStore(log, now=clock.now), clock=clock) as api:
        await api.define("PLAIN", {"template": "P-{SEQ:5}"})
        for _ in range(EVENTS - 2):
            clock.advance(1)
            await api.reserve()
    records, head = await read_log(MemoryStore(log))
    return Listed(head.ledger_id, records, BEGIN + 1000 * SECOND)


def recorded_at(position: int) -> int:
    """The series is behind the format, at the same time."""
    return BEGIN + max(position - 2, 0) * SECOND


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("7", Moment(position=7)),
        ("2026-01-31T17:00:00+07:00", Moment(time=BEGIN)),
        ("2026-01-31T10:00:00Z", Moment(time=BEGIN)),
    ],
)
def test_a_moment_is_read(text: str, moment: Moment) -> None:
    assert is_moment(text)
    assert moment_of(text) == moment


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("2026-01-31", "write 2026-01-31T00:00:00+07:00, or 2026-01-31T00:00:00Z"),
        ("2026-01-31T17:30", "write 2026-01-31T17:30+07:00"),
        ("yesterday", "neither a position nor a time"),
        ("-1", "neither a position nor a time"),
        ("2026-02-30T00:00:00Z", "neither a position nor a time"),
    ],
)
def test_what_is_no_moment_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(Rejection) as refused:
        moment_of(text)
    assert refused.value.code is Code.INVALID_FORMAT
    assert hint in refused.value.detail


@pytest.mark.parametrize("place", ["archive", "sqlite+aiosqlite:///numbering.db", "./2026-01"])
def test_a_place_is_no_moment(place: str) -> None:
    assert not is_moment(place)


@pytest.mark.parametrize(
    ("moment", "position"),
    [
        (END, EVENTS),
        (Moment(position=1), 1),
        (Moment(position=EVENTS), EVENTS),
        (Moment(time=BEGIN), 2),
        (Moment(time=BEGIN + SECOND - 1), 2),
        (Moment(time=BEGIN + SECOND), 3),
        (Moment(time=BEGIN + 1000 * SECOND), EVENTS),
    ],
)
async def test_the_log_is_read_up_to_a_moment(source: Listed, moment: Moment, position: int) -> None:
    past = await Past.of(source, moment)
    fold = await folded(past)
    assert fold.position == past.position == position
    assert fold.hash == past.hash == source.stored[position - 1][2]
    assert fold.recorded_at == past.recorded_at == recorded_at(position)
    assert all(moment.holds(at, recorded_at(at)) == (at <= position) for at in range(1, EVENTS + 1))


@pytest.mark.parametrize("moment", [Moment(position=0), Moment(position=EVENTS + 1), Moment(time=BEGIN - 1)])
async def test_what_the_log_does_not_reach_is_refused(source: Listed, moment: Moment) -> None:
    with pytest.raises(Rejection) as refused:
        await folded(await Past.of(source, moment))
    assert refused.value.code is Code.NOT_IN_HISTORY


LAST = BEGIN + (EVENTS - 2) * SECOND


@pytest.mark.parametrize(
    ("complete_until", "time", "beyond"),
    [
        (None, LAST - 1, None),
        (None, LAST, LAST - 1),  # the next event may have been recorded at the same instant
        (None, LAST + 1, LAST - 1),
        (LAST - SECOND, LAST - 1, None),
        (LAST - SECOND, LAST, LAST - 1),
        (LAST, LAST, None),
        (LAST + SECOND, LAST + SECOND, None),
        (LAST + SECOND, LAST + SECOND + 1, LAST + SECOND),
    ],
)
async def test_a_source_answers_for_no_moment_beyond_what_it_is_known_to_hold(
    source: Listed, complete_until: int | None, time: int, beyond: int | None
) -> None:
    source.complete_until = complete_until
    moment = Moment(time=time)
    past = await Past.of(source, moment, allow_beyond=True)
    assert past.beyond == beyond
    if beyond is None:
        assert (await Past.of(source, moment)).beyond is None
    else:
        with pytest.raises(Rejection, match="--beyond") as refused:
            await Past.of(source, moment)
        assert refused.value.code is Code.NOT_IN_HISTORY
        assert instant_text(beyond) in refused.value.detail
    for other in (END, Moment(position=EVENTS)):
        assert (await Past.of(source, other)).beyond is None


async def test_two_sources_know_together_what_one_of_them_knows(source: Listed) -> None:
    short = Listed(source.ledger_id, [], LAST - SECOND)
    short.stored = source.stored[:3]
    source.complete_until = None
    assert (await Combined([short, source]).extent()).complete_until == LAST - SECOND
    assert (await Past.of(Combined([short, source]), Moment(time=LAST - 1))).beyond is None
    source.complete_until = LAST + SECOND
    assert (await Combined([short, source]).extent()).complete_until == LAST + SECOND


async def test_an_empty_log_has_an_end_and_no_moments() -> None:
    with pytest.raises(Rejection, match="holds no event, and was never compared"):
        await Past.of(Listed("test", []), Moment(time=BEGIN))
    empty = Listed("test", [], BEGIN)
    assert (await folded(await Past.of(empty))).position == 0
    with pytest.raises(Rejection, match="nothing was there yet"):
        await folded(await Past.of(empty, Moment(time=BEGIN)))


async def test_a_source_that_begins_late_is_refused(source: Listed) -> None:
    del source.stored[0]
    with pytest.raises(Rejection, match="begins with position 2 only") as refused:
        await Past.of(source)
    assert refused.value.code is Code.HISTORIES_DIFFER


async def test_what_was_changed_is_found_on_the_way(source: Listed) -> None:
    position, body, hash = source.stored[2]
    source.stored[2] = position, body.replace(b"anonymous", b"another11"), hash
    assert (await folded(await Past.of(source, Moment(position=2)))).position == 2
    with pytest.raises(Damaged, match="position 3"):
        await folded(await Past.of(source, Moment(position=4)))


def retold(source: Listed, position: int, said: bytes) -> None:
    """Let an event say another position of itself, and chain all that follow to it."""
    hash = genesis(source.ledger_id)
    for place, (here, body, _) in enumerate(source.stored):
        if here == position:
            body = body.replace(b'"position":%d,' % here, b'"position":%s,' % said)
        hash = link(hash, body)
        source.stored[place] = here, body, hash


@pytest.mark.parametrize("said", [b"3", b"5", b"40"])
async def test_an_event_that_says_another_position_of_itself_is_damaged(source: Listed, said: bytes) -> None:
    retold(source, 4, said)
    with pytest.raises(Damaged, match=f"position 4: the event says of itself that it stands at position {int(said)}"):
        row_of(source.stored[3])
    past = await Past.of(source, END)
    with pytest.raises(Damaged, match="position 4: the event says of itself"):
        await folded(past)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"position":4}'])
def test_what_is_no_event_is_damaged(body: bytes) -> None:
    with pytest.raises(Damaged, match="position 4: the body is no event"):
        row_of((4, body, bytes(32)))
