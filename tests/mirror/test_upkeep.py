"""What an operator does with the mirror, on real events: nothing that it does may lose the last whole copy, or lie."""

from collections.abc import AsyncIterator, Callable

import pytest

from ledger.chain import link
from ledger.codec import Entry as LogEntry
from ledger.codec import canonical, decode, encode
from ledger.domain.commands import DefineSeries, Envelope, Issue, Reserve
from ledger.domain.events import NumbersConfirmed, NumberVoided, SequenceValue
from ledger.ports import Record, Stop, StopKind, Store
from ledger.service import Ledger
from ledger.stores.memory import MemoryLog, MemoryStore
from ledger.system import RandomIds, SystemClock, aside, spawn
from projections.mirror.comparison import Verdict, compare
from projections.mirror.copier import Copier
from projections.mirror.macs import Keys
from projections.mirror.memory import MemoryEntries, MemoryStream
from projections.mirror.stream import Entry, Stream, StreamFault
from projections.mirror.upkeep import Refused, adopt, judged, rebuild
from replay.examination import Examination
from tests.given import PLAIN
from tests.invariants import check_store
from tests.mirror.attacks import KEYS, plain
from tests.simulation.surgery import forked, put

EVENTS = 12
AHEAD = Stop(StopKind.MIRROR_AHEAD, "goes on to position 12")


def silent(_: int, __: int) -> None:
    pass


async def adopt_all(store: Store, stream: Stream, *, unsigned: bool = False) -> int:
    """Judge what the mirror has, and adopt it at once."""
    examination = Examination((await store.head()).ledger_id)
    adoption = await judged(store, stream, examination, silent, unsigned=unsigned)
    return await adopt(store, stream, adoption, silent)


class Place:
    """A log of real events and the mirror of it."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.held = MemoryEntries()
        self.store = MemoryStore(log)
        self.stream = MemoryStream(self.held)

    async def mirror(self) -> None:
        copier = Copier(self.store, self.stream, self.store.events)
        await copier.compare()
        assert await copier.copy()

    def cut(self, position: int, *stops: Stop, stopped: str | None = None) -> None:
        """Lose the end of the log, as a crash or an older copy does."""
        self.put(self.log.records[:position], *stops, stopped=stopped)

    def put(self, records: list[Record], *stops: Stop, stopped: str | None = None) -> None:
        put(self.log, records, stopped=stopped, stops=stops)

    async def verdict(self) -> Verdict:
        return (await compare(self.stream, self.store)).verdict

    def entries(self) -> list[Entry]:
        return [Entry(record.position, record.body, record.hash) for record in self.log.records]

    async def adopt(self, *, unsigned: bool = False) -> int:
        return await adopt_all(self.store, self.stream, unsigned=unsigned)

    async def rebuild(self, *, retention: int = 0, discard: bool = False) -> int:
        return await rebuild(self.store, self.stream, silent, retention=retention, discard=discard)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    log = MemoryLog()
    ledger = Ledger(MemoryStore(log), clock=SystemClock(), ids=RandomIds(), spawn=spawn, aside=aside)
    async with ledger:
        await ledger.execute(DefineSeries((PLAIN,)), Envelope(RandomIds().command_id(), "tester"))
        for _ in range(5):
            command = Issue(Reserve("PLAIN", ledger.ids.token()), "D")
            await ledger.execute(command, Envelope(ledger.ids.command_id(), "tester"))
    place = Place(log)
    assert log.head.position == EVENTS
    await place.mirror()
    yield place
    if log.head.stopped is None:
        await check_store(MemoryStore(log))


async def test_what_was_lost_is_taken_back(place: Place) -> None:
    whole = list(place.log.records)
    place.cut(4, AHEAD)
    assert await place.verdict() is Verdict.AHEAD
    assert await place.adopt() == EVENTS - 4
    assert (place.log.records, place.log.head.stopped) == (whole, None)
    assert await place.adopt() == 0


async def test_a_stop_is_lifted_when_what_a_process_had_seen_is_there_again(place: Place) -> None:
    place.cut(4, Stop(StopKind.LOG_BEHIND, "it ends at 4", EVENTS, place.log.head.hash))
    assert await place.adopt() == EVENTS - 4
    assert (place.log.head.stopped, place.log.head.stops) == (None, 0)


async def test_a_mirror_that_lost_its_own_end_lifts_nothing(place: Place) -> None:
    place.cut(4, AHEAD)
    del place.held.entries[-2:]  # it remembers that there was more
    with pytest.raises(Refused, match="not all that is missing was in the mirror"):
        await place.adopt()
    assert place.log.head.position == EVENTS - 2, "what there is is taken all the same"
    assert await place.store.stops() == [AHEAD]


async def test_what_is_mended_is_lifted_and_the_rest_is_named(place: Place) -> None:
    seen = Stop(StopKind.LOG_BEHIND, "this process has seen", EVENTS, place.log.head.hash)
    more = Stop(StopKind.ARCHIVE_AHEAD, "the archive has", 20, bytes(32))
    place.cut(4, AHEAD, seen, more)
    with pytest.raises(Refused, match="for what the mirror does not hold: the archive has"):
        await place.adopt()
    assert await place.store.stops() == [more]
    assert place.log.head.stopped == more.text, "earlier builds are shown what is left"


@pytest.mark.parametrize(
    ("stops", "text"),
    [
        ([Stop(StopKind.LOG_BEHIND, "this process has seen 20", 20, bytes(32))], None),
        ([Stop(StopKind.LOG_BEHIND, "this process has seen another", EVENTS, bytes(32))], None),
        ([Stop(StopKind.COPY, "this is a copy")], None),
        ([Stop(StopKind.LATER_BUILD, "the mirror is of a kind that nobody here knows")], None),
        ([], "an operator's own words"),
        ([], "the mirror goes on to position 11, says a build of before"),
    ],
)
async def test_what_the_mirror_cannot_mend_stays_stopped(place: Place, stops: list[Stop], text: str | None) -> None:
    place.cut(4, *stops, stopped=text)
    stopped = place.log.head.stopped
    with pytest.raises(Refused, match="writing stays stopped"):
        await place.adopt()
    assert place.log.head.position == EVENTS, "what there is is taken all the same"
    with pytest.raises(Refused, match="writing stays stopped"):
        await place.rebuild()
    assert place.log.head.stopped == stopped
    await place.rebuild(discard=True)
    assert (place.log.head.stopped, place.log.head.stops) == (None, 0)


async def test_another_history_is_not_taken(place: Place) -> None:
    place.put(forked(place.log.records, EVENTS))
    assert await place.verdict() is Verdict.FORKED
    for refused in (place.adopt, place.rebuild):
        with pytest.raises(Refused, match="is no part of this log"):
            await refused()
    await place.rebuild(discard=True)
    assert place.held.entries == place.entries()


async def test_an_empty_mirror_has_nothing_to_take(place: Place) -> None:
    await place.stream.delete()
    with pytest.raises(Refused, match="there is nothing to take back; `numbering mirror rebuild` fills it"):
        await place.adopt()
    assert await place.rebuild() == EVENTS
    assert place.held.entries == place.entries()


async def test_as_many_events_as_are_kept(place: Place) -> None:
    await place.rebuild(retention=3)
    assert place.held.entries == place.entries()[-3:]


def no_json(body: bytes) -> bytes:
    return b"no JSON"


def of_later(body: bytes) -> bytes:
    return body.replace(b'"version":1}', b'"version":9}')


def impossible(body: bytes) -> bytes:
    return body.replace(b'"type":"NumbersConfirmed"', b'"type":"ReservationCancelled"').replace(
        b'"token":"', b'"token":"0'
    )


def without_place(body: bytes) -> bytes:
    return canonical({"type": "NumbersConfirmed", "version": 1})


@pytest.mark.parametrize("spoil", [no_json, of_later, impossible, without_place])
async def test_nothing_is_stored_that_cannot_be_folded(place: Place, spoil: Callable[[bytes], bytes]) -> None:
    """The chain has no key: whoever may write to Redis can make one that fits."""
    place.cut(EVENTS - 1)
    last, before = place.held.entries[-1], place.log.head
    body = spoil(last.body)
    assert body != last.body
    place.held.entries[-1] = Entry(last.position, body, link(before.hash, body))
    with pytest.raises(Refused):
        await place.adopt()
    assert place.log.head == before


def twice(records: list[Record]) -> list[Record]:
    """The last number is confirmed once more, by a command of its own: no fold minds."""
    entry = decode(records[-1])
    again = entry._replace(position=entry.position + 1, ordinal=0, envelope=Envelope(b"again" * 6 + b"!!", "forger"))
    return [*records, encode(again, records[-1].hash)]


def torn(records: list[Record]) -> list[Record]:
    """A void names a replacement, and its command ends there."""
    last = decode(records[-1])
    assert isinstance(last.event, NumbersConfirmed)
    numbering = last.event.numbering
    event = NumberVoided(numbering, last.event.ranges[0][0], SequenceValue(numbering.sequence, 6))
    void = LogEntry(last.position + 1, event, Envelope(bytes(32), "tester", "for a test"), 0, last.recorded_at)
    return [*records, encode(void, records[-1].hash)]


@pytest.mark.parametrize("spoil", [twice, torn])
@pytest.mark.parametrize("keys", [None, KEYS], ids=["no key", "key"])
async def test_nothing_is_stored_that_no_auditor_would_accept(
    place: Place, spoil: Callable[[list[Record]], list[Record]], keys: Keys | None
) -> None:
    """Not even if it bears a valid MAC: who has the key may have a flaw."""
    place.stream = MemoryStream(place.held, keys.of(place.log.head.ledger_id, 0) if keys else None)
    spoilt = spoil(place.log.records)
    assert await place.stream.append(spoilt[-1:], place.log.head.hash)
    place.cut(EVENTS - 4)
    before = place.log.head
    with pytest.raises(Refused, match="the mirror's events cannot be taken back: position 13: "):
        await place.adopt()
    assert place.log.head == before, "nor is anything of what was before it"


async def test_only_what_was_judged_is_stored(place: Place) -> None:
    """Somebody changes the mirror while the operator reads what it holds."""
    whole = list(place.log.records)
    place.cut(4)
    adoption = await judged(place.store, place.stream, Examination(place.log.head.ledger_id), silent)
    place.held.entries = plain(forked(whole, 10))
    with pytest.raises(Refused, match="the mirror changed after it was judged"):
        await adopt(place.store, place.stream, adoption, silent)
    assert place.log.head.position == 4
    place.held.entries = plain(whole)
    assert await adopt(place.store, place.stream, adoption, silent) == EVENTS - 4
    with pytest.raises(Refused, match="another process wrote to the log meanwhile"):
        await adopt(place.store, place.stream, adoption, silent)


# A log that was damaged


def with_hole(records: list[Record]) -> list[Record]:
    return records[:5] + records[6:]


def with_other_bytes(records: list[Record]) -> list[Record]:
    return [*records[:5], records[5]._replace(body=b"{}"), *records[6:]]


class Damaged:
    """A store in which somebody deleted or changed an event, past every trigger."""

    def __init__(self, store: Store, records: list[Record]) -> None:
        self._store = store
        self._records = records

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def events(self, *, after: int, limit: int) -> list[Record]:
        return [record for record in self._records if record.position > after][:limit]


@pytest.mark.parametrize("damage", [with_hole, with_other_bytes])
async def test_a_damaged_log_does_not_spoil_the_last_whole_copy(
    place: Place, damage: Callable[[list[Record]], list[Record]]
) -> None:
    whole = list(place.held.entries)
    store = Damaged(place.store, damage(place.log.records))
    with pytest.raises(StreamFault, match="the log is damaged at position 6"):
        await rebuild(store, place.stream, silent, retention=0, discard=False)  # type: ignore[arg-type]
    assert place.held.entries == whole
    await place.stream.delete()
    copier = Copier(store, place.stream, store.events)  # type: ignore[arg-type]
    await copier.compare()
    with pytest.raises(StreamFault, match="the log is damaged at position 6"):
        await copier.copy()
    assert place.held.entries == []
