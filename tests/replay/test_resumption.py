"""Stops that are lifted, and stops that are accepted with an event, on each kind of store."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ledger.codec import Entry, decode, encode
from ledger.domain.commands import Envelope, Fence
from ledger.domain.events import FormatRaised, RestoreFenced, SequenceFenced, SeriesRetired, StopAccepted
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.rejection import Code, Rejection
from ledger.ports import Fault, Head, OutcomeUnknown, Record, Stop, StopKind, Store
from ledger.queries import Reader
from ledger.system import RandomIds, SystemClock
from ledger.writer.clocks import Clocks
from projections.mirror.stream import StreamFault
from replay.archive.writing import archive
from replay.resumption import AcceptedStops, Beside, accept, judged, lift_over
from replay.sources import Extent
from replay.stops import Way
from tests.invariants import check_store, read_log
from tests.replay.places import ListSource, behind, closed, history, rechained, silent, stored
from tests.stores import Ledger

EVENTS = 13
NEWEST = behind(history(EVENTS - 1), FormatRaised(NEWEST_FORMAT))  # of the newest format
HASH = bytes(range(32))
HOUR = 3_600_000_000
BEHIND = Stop(StopKind.LOG_BEHIND, "the log ends at position 12, but this process has seen 40", 40, HASH)
FORKED = Stop(StopKind.ARCHIVE_FORKED, "the archive /a tells another history", 5, HASH)
BY_HAND = Stop(StopKind.EARLIER_BUILD, "หยุดเพื่อบำรุงรักษา")
GONE = StreamFault("connection refused")


@pytest.fixture
async def store(ledger: Ledger) -> Store:
    return await filled(ledger, NEWEST)


async def filled(ledger: Ledger, records: Sequence[Record]) -> Store:
    """Append a history that was made for another ledger's id: chained anew."""
    store = ledger.open()
    head = await store.head()
    transaction = await store.begin()
    await transaction.append(rechained(records, head.ledger_id))
    await transaction.commit()
    return store


async def stopped(store: Store, *stops: Stop) -> None:
    transaction = await store.begin()
    for stop in stops:
        await transaction.stop(stop)
    await transaction.commit()


def of(records: Sequence[Record], ledger_id: str) -> ListSource:
    last = records[-1]
    return ListSource(stored(records), extent=Extent(ledger_id, 1, last.position, last.hash))


def beside(stream: Any = None, archive: Path | None = None, clock: Any = None) -> Beside:
    return Beside(Clocks(clock or SystemClock()), stream, archive)


async def resumed(store: Store, *, fence: bool, clock: Any = None, stops: Any = None) -> Head:
    reader = Reader(store)
    await reader.fresh()
    assert reader.fold is not None
    end = reader.fold
    command = Fence(end.position, end.recorded_at, 30, "it was lost") if fence else None
    standing = await store.stops() if stops is None else stops
    acceptance = AcceptedStops(standing, "operator", "it was lost", command)
    return await accept(store, end, acceptance, beside(clock=clock), RandomIds())


async def kinds(store: Store) -> list[StopKind]:
    return [stop.kind for stop in await store.stops()]


async def written(store: Store) -> list[Record]:
    return (await read_log(store))[0][EVENTS:]


class TestOver:
    async def test_a_stop_whose_event_is_there_is_lifted(self, store: Store) -> None:
        records, _ = await read_log(store)
        there = BEHIND._replace(position=7, hash=records[6].hash)
        await stopped(store, there, BEHIND)
        assert [each.way for each in await judged(store, beside())] == [Way.OVER, Way.ACCEPT]
        assert [each.position for each in await lift_over(store, beside())] == [7]
        assert [each.position for each in await store.stops()] == [40]
        assert await lift_over(store, beside()) == []
        assert await written(store) == []

    @pytest.mark.parametrize("kind", [StopKind.MOVED, StopKind.COPY, StopKind.RESTORING])
    async def test_not_where_this_is_no_ledger_to_write_to(self, store: Store, kind: StopKind) -> None:
        records, _ = await read_log(store)
        await stopped(store, BEHIND._replace(position=7, hash=records[6].hash), Stop(kind, "so it is"))
        assert await lift_over(store, beside()) == []
        assert len(await store.stops()) == 2

    async def test_not_while_a_copy_cannot_be_compared_or_disagrees(self, store: Store, tmp_path: Path) -> None:
        records, _ = await read_log(store)
        await stopped(store, BEHIND._replace(position=7, hash=records[6].hash))
        for other in (beside(Away()), beside(archive=tmp_path / "none")):
            assert await lift_over(store, other) == []
            assert [each.way for each in await judged(store, other)] == [Way.OTHER]
        id = (await store.head()).ledger_id
        longer = rechained(behind(NEWEST, SeriesRetired("PLAIN", 1)), id)
        await archive(of(longer, id), tmp_path / "archive", silent)
        (found,) = await judged(store, beside(archive=tmp_path / "archive"))
        assert (found.way, f"goes on to position {EVENTS + 1}" in found.found) == (Way.OTHER, True)
        await archive(of(longer[:5], id), tmp_path / "shorter", silent)
        assert len(await lift_over(store, beside(archive=tmp_path / "shorter"))) == 1

    async def test_dated_ahead_when_the_clocks_have_caught_up(self, store: Store) -> None:
        await stopped(store, Stop(StopKind.DATED_AHEAD, "the event at position 12 …"))
        assert await kinds(store) == [StopKind.DATED_AHEAD]
        assert [each.kind for each in await lift_over(store, beside())] == [StopKind.DATED_AHEAD]
        assert await kinds(store) == []


class TestAccepted:
    async def test_the_log_keeps_what_was_accepted_and_a_fence(self, store: Store) -> None:
        await stopped(store, BEHIND, FORKED)
        head = await resumed(store, fence=True)
        assert await kinds(store) == []
        assert head == await store.head()
        fold = await check_store(store)
        events = [decode(each).event for each in await written(store)]
        assert events[-2:] == [
            StopAccepted("LOG_BEHIND", BEHIND.detail, 40, HASH.hex()),
            StopAccepted("ARCHIVE_FORKED", FORKED.detail, 5, HASH.hex()),
        ]
        fence, *fenced = events[:-2]
        assert isinstance(fence, RestoreFenced)
        assert (fence.cut_position, fence.margin, fence.generation) == (EVENTS, 30, 1)
        assert {each.sequence for each in fenced if isinstance(each, SequenceFenced)}
        assert fold.state.generation == 1
        envelopes = {(decode(each).envelope.actor, decode(each).envelope.reason) for each in await written(store)}
        assert envelopes == {("operator", "it was lost")}

    async def test_without_a_fence_where_nothing_is_lost(self, store: Store) -> None:
        await stopped(store, BY_HAND)
        await resumed(store, fence=False)
        assert await kinds(store) == []
        assert [decode(each).event for each in await written(store)] == [StopAccepted("EARLIER_BUILD", BY_HAND.detail)]
        await check_store(store)

    async def test_a_log_that_is_dated_ahead_goes_on_at_its_time(self, store: Store) -> None:
        last = (await store.head()).recorded_at
        await stopped(store, Stop(StopKind.DATED_AHEAD, "a clock was wrong"))
        await resumed(store, fence=False)
        fold = await check_store(store)
        (record,) = await written(store)
        assert fold.state.dated_until == record.recorded_at >= last

    @pytest.mark.parametrize("another", [FORKED, BEHIND._replace(position=41)])
    async def test_not_if_another_reason_came_meanwhile(self, store: Store, another: Stop) -> None:
        await stopped(store, BEHIND)
        standing = await store.stops()
        await stopped(store, another)
        refused = await refusal(resumed(store, fence=True, stops=standing))
        assert (refused.code, "for another reason by now" in refused.detail) == (Code.LEDGER_STOPPED, True)
        assert len(await store.stops()) == 2
        assert await written(store) == []

    async def test_not_if_a_reason_was_lifted_meanwhile(self, store: Store) -> None:
        await stopped(store, BEHIND)
        refused = await refusal(resumed(store, fence=True, stops=[*await store.stops(), FORKED]))
        assert (refused.code, "lifted meanwhile" in refused.detail) == (Code.LEDGER_STOPPED, True)
        assert await written(store) == []

    async def test_not_if_the_log_is_another_one_by_now(self, store: Store) -> None:
        await stopped(store, BEHIND)
        reader = Reader(store)
        await reader.fresh()
        assert reader.fold
        await resumed(store, fence=True)
        await stopped(store, BEHIND)
        acceptance = AcceptedStops(await store.stops(), "operator", "late", None)
        before = await written(store)
        refused = await refusal(accept(store, reader.fold, acceptance, beside(), RandomIds()))
        assert refused.code is Code.HISTORIES_DIFFER
        assert await written(store) == before

    async def test_not_by_a_clock_that_may_be_wrong(self, store: Store) -> None:
        await stopped(store, BY_HAND)
        with pytest.raises(Fault) as caught:
            await resumed(store, fence=False, clock=Leapt())
        assert caught.value.code is Code.CLOCK_UNSURE
        assert await kinds(store) == [StopKind.EARLIER_BUILD]
        assert await written(store) == []

    async def test_without_a_reason_nothing_is_accepted(self, store: Store) -> None:
        await stopped(store, BY_HAND)
        reader = Reader(store)
        await reader.fresh()
        assert reader.fold
        for reason in ("", "\n", "x" * 5_000):
            acceptance = AcceptedStops(await store.stops(), "operator", reason)
            with pytest.raises(Rejection):
                await accept(store, reader.fold, acceptance, beside(), RandomIds())
        assert await kinds(store) == [StopKind.EARLIER_BUILD]

    @pytest.mark.parametrize("is_committed", [True, False])
    async def test_a_commit_in_doubt_is_run_again(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, is_committed: bool
    ) -> None:
        await stopped(store, BEHIND)
        monkeypatch.setattr(store, "begin", doubtful(store.begin, is_committed=is_committed))
        with pytest.raises(Fault) as caught:
            await resumed(store, fence=True)
        assert caught.value.code is Code.OUTCOME_UNKNOWN
        monkeypatch.undo()
        assert bool(await store.stops()) is not is_committed
        if await store.stops():
            await resumed(store, fence=True)
        assert (await check_store(store)).state.generation == 1


async def test_an_older_format_is_raised_with_it(ledger: Ledger) -> None:
    store = await filled(ledger, history(EVENTS))
    await stopped(store, BEHIND)
    await resumed(store, fence=True)
    events = [decode(each).event for each in await written(store)]
    assert isinstance(events[0], RestoreFenced)
    assert events[-2:] == [
        FormatRaised(NEWEST_FORMAT),
        StopAccepted("LOG_BEHIND", BEHIND.detail, 40, HASH.hex()),
    ]
    await check_store(store)


async def test_behind_a_closed_ledger_nothing_is_written(ledger: Ledger) -> None:
    store = await filled(ledger, closed(history(EVENTS), "/srv/archive"))
    await stopped(store, BEHIND)
    (found,) = await judged(store, beside())
    assert (found.way, "LedgerClosed" in found.needs) == (Way.OTHER, True)
    assert (await refusal(resumed(store, fence=True))).code is Code.LEDGER_CLOSED
    assert await kinds(store) == [StopKind.LOG_BEHIND]


async def test_an_empty_log_may_be_behind(ledger: Ledger) -> None:
    store = ledger.open()
    await stopped(store, BEHIND)
    await resumed(store, fence=True)
    await check_store(store)
    assert await kinds(store) == []


async def test_the_last_event_that_is_not_dated_ahead_is_named(store: Store) -> None:
    records, head = await read_log(store)
    now = (await store.head_and_now())[1]
    later = [now + HOUR, now + 2 * HOUR]
    assert all(each.recorded_at < now for each in records)
    transaction = await store.begin()
    await transaction.append(dated(head, later))
    await transaction.stop(Stop(StopKind.DATED_AHEAD, "a clock was wrong"))
    await transaction.commit()
    (found,) = await judged(store, beside())
    assert (found.way, f"--to {EVENTS} " in found.needs) == (Way.ACCEPT, True)
    assert await lift_over(store, beside()) == []


def dated(head: Head, times: Sequence[int]) -> list[Record]:
    """Make events that follow a head, recorded at some times."""
    found, previous = list[Record](), head.hash
    for number, time in enumerate(times, 1):
        event = StopAccepted("EARLIER_BUILD", str(number))
        entry = Entry(head.position + number, event, Envelope(bytes([number] * 32), "tester"), 0, time)
        found.append(encode(entry, previous))
        previous = found[-1].hash
    return found


async def refusal(work: Awaitable[object]) -> Rejection:
    with pytest.raises(Rejection) as caught:
        await work
    return caught.value


class Away:
    """A mirror that cannot be reached."""

    authenticator = None

    def __getattr__(self, name: str) -> Any:
        async def failed(*_: object, **__: object) -> Any:
            raise GONE

        return failed


class Leapt(SystemClock):
    @staticmethod
    def now() -> int:
        return SystemClock.now() + HOUR


def doubtful(begin: Callable[[], Awaitable[Any]], *, is_committed: bool) -> Callable[[], Awaitable[Any]]:
    """Lose the answer to COMMIT, which the database carries out or not."""

    async def begun() -> Any:
        transaction = await begin()
        commit = transaction.commit

        async def lost() -> None:
            await (commit() if is_committed else transaction.rollback())
            raise OutcomeUnknown("the connection was lost")

        transaction.commit = lost
        return transaction

    return begun
