"""Restores from every source and into every database: what they refuse, and what they do when they are interrupted."""

import asyncio
import os
from asyncio.subprocess import DEVNULL
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ledger.codec import decode
from ledger.domain.clocks import TOLERANCE_SECONDS
from ledger.domain.commands import (
    Cancel,
    Confirm,
    DefineSeries,
    Envelope,
    Issue,
    Reserve,
)
from ledger.domain.decisions.restores import MAX_MARGIN
from ledger.domain.events import LedgerOpened, ReservationFenced, RestoreFenced, SequenceFenced
from ledger.domain.rejection import Code, Rejection
from ledger.ports import Fault, OutcomeUnknown, Record, Stop, StopKind, StoreFault
from ledger.stores import migrate
from ledger.stores.sql import SqlTransaction
from ledger.system import SystemClock
from projections.mirror.memory import MemoryEntries, MemoryStream
from projections.mirror.upkeep import Refused, rebuild
from replay import restore as restoring
from replay.archive.source import ArchiveSource
from replay.combined import Combined
from replay.restore import Plan, foresee
from replay.sources import Damaged, DatabaseSource, Extent, Source, StreamSource
from tests.api.client import Time
from tests.given import GAPLESS, LETTER, PLAIN, SECOND, one, series
from tests.invariants import check_store, read_log
from tests.mirror.test_upkeep import adopt_all
from tests.numbering.process import NUMBERING
from tests.projections.agreement import check_projections
from tests.replay.places import (
    LEDGER,
    archived,
    behind,
    changed,
    closed,
    history,
    inserted,
    put_records,
    rechained,
    silent,
    sqlite_with,
    without,
)
from tests.replay.restoring import (
    GONE,
    Breaking,
    check_whole,
    decided,
    fresh,
    opened,
    restored,
    served,
    source_of,
    url_of,
)
from tests.servers import MariaDB
from tests.stores import GRANTS

MOVED = "the ledger was moved to another database"
RESTORING = "a restore into this database was not finished"
EVENTS = 40
MOVED = "the ledger was moved to another database"
RESTORING = "a restore into this database was not finished"
RECORDS = history(EVENTS)
REASON = "because the test says so"
HERE, THERE = "/srv/archive", "redis://backup:6379/0"


async def stream_of(records: Sequence[Record]) -> StreamSource:
    stream = MemoryStream(MemoryEntries())
    if records:
        assert await stream.append(records, b"", begin=True)
    return StreamSource(stream, LEDGER)


async def archive_of(records: Sequence[Record], directory: Path) -> ArchiveSource:
    await archived(records, directory, segment_events=7)
    return ArchiveSource(directory)


async def refused(code: Code, source: Source, store: Any, **plan: Any) -> str:
    with pytest.raises(Rejection) as caught:
        await restored(source, store, **plan)
    assert caught.value.code is code, caught.value
    return caught.value.detail


async def check_restored(store: Any, records: Sequence[Record] = RECORDS, *, fences: int = 1) -> None:
    """The log begins with these events, then comes a fence, and everything else follows from that."""
    log, head = await read_log(store)
    assert log[: len(records)] == list(records)
    assert (head.ledger_id, head.stopped) == (LEDGER, None)
    assert [record.type for record in log].count("RestoreFenced") == fences
    await check_store(store)
    await check_whole(store)
    await check_projections(store)


async def check_writable(store: Any) -> None:
    async with served(store) as ledger:
        for token in ("after-1", "after-2"):
            envelope = Envelope(os.urandom(32), "tester")
            await ledger.execute(Issue(Reserve("PLAIN", token), "D"), envelope)
    await check_store(store)


# Sources

ARCHIVE = [(40, 0, 40), (25, 0, 40), (40, 10, 25), (25, 10, 40), (25, 25, 40), (0, 0, 40), (40, 40, 40), (40, 0, 0)]


@pytest.mark.parametrize(("in_archive", "first", "last"), ARCHIVE)
async def test_from_archive_and_mirror(tmp_path: Path, in_archive: int, first: int, last: int) -> None:
    """Either reaches further, they overlap or touch, and the mirror may keep the last events only."""
    archive = await archive_of(RECORDS[:in_archive], tmp_path / "archive")
    mirror = await stream_of(RECORDS[first:last])
    orders: list[list[Source]] = [[archive, mirror], [mirror, archive]]
    for sources in orders:
        async with opened(fresh(tmp_path, f"{sources.index(archive)}")) as (store,):
            assert (await restored(Combined(sources), store)).cut == EVENTS
            await check_restored(store)


async def test_from_a_mirror_and_from_an_archive_alone(tmp_path: Path) -> None:
    sources: list[Source] = [await archive_of(RECORDS, tmp_path / "archive"), await stream_of(RECORDS)]
    for number, source in enumerate(sources):
        async with opened(fresh(tmp_path, f"{number}")) as (store,):
            await restored(source, store)
            await check_restored(store)
            await check_writable(store)


async def test_a_mirror_that_was_trimmed_is_not_enough(tmp_path: Path) -> None:
    async with opened(fresh(tmp_path)) as (store,):
        said = await refused(Code.LOG_DAMAGED, await stream_of(RECORDS[10:]), store)
        assert "position 1 is missing" in said
        between = Combined([await archive_of(RECORDS[:8], tmp_path / "archive"), await stream_of(RECORDS[10:])])
        assert "9 to 10" in await refused(Code.LOG_DAMAGED, between, store)
        await restored(source_of(RECORDS), store)
        await check_restored(store)


async def test_from_a_database_that_may_be_served(tmp_path: Path) -> None:
    file = await sqlite_with(RECORDS, tmp_path)
    async with opened(file, fresh(tmp_path)) as (source, store):
        await restored(DatabaseSource(source), store)
        await check_restored(store)
        assert (await source.head()).stopped is None


async def test_into_an_empty_mariadb_and_one_that_was_migrated(mariadb: MariaDB, tmp_path: Path) -> None:
    for is_migrated in (False, True):
        database = mariadb.new_database()
        await migrate(database.admin_url, ledger_id=None if is_migrated else LEDGER)
        async with opened(database.admin_url) as (store,):
            half = Breaking(source_of(RECORDS), 20, GONE)
            with pytest.raises(OSError, match="gone"):
                await restored(half, store)
            done = await restored(source_of(RECORDS), store)
            assert done.cut == EVENTS
            await check_restored(store)
        database.grant_service(GRANTS)
        async with opened(database.service_url) as (store,):
            await check_writable(store)
            await check_projections(store)


# What a restore leaves


async def test_a_command_of_before_the_cut_is_not_carried_out_again(tmp_path: Path) -> None:
    keyed = Envelope(b"\x07" * 32, "tester", None, None, "a key", "what was asked")
    command = Issue(Reserve("PLAIN", "T"), "D")
    async with opened(fresh(tmp_path, "before"), fresh(tmp_path)) as (source, store):
        async with served(source) as ledger:
            await ledger.execute(DefineSeries((PLAIN,)), Envelope(os.urandom(32), "tester"))
            first = await ledger.execute(command, keyed)
        await restored(DatabaseSource(source), store)
        async with served(store) as ledger:
            again = await ledger.execute(command, keyed)
        assert again.replayed
        assert again.entries == first.entries
        assert [record.type for record in (await read_log(store))[0]].count("NumbersReserved") == 1


async def test_the_fence_is_as_decided(tmp_path: Path) -> None:
    small = series("S{SEQ:1}", "SMALL")
    coming = series("C{SEQ:4}-{YYYY}", "COMING", reset=LETTER.definition.reset)
    records = decided(
        DefineSeries((PLAIN, GAPLESS, small, coming)),
        Issue(Reserve("PLAIN", "T", count=3), "D"),
        Reserve("GAPLESS", "U", count=2),
        Cancel("U"),
        Reserve("GAPLESS", "V"),
        Issue(Reserve("SMALL", "W", count=5), "D"),
    )
    async with opened(fresh(tmp_path)) as (store,):
        done = await restored(source_of(records), store, margin=4, opened=(("COMING", "2099"),))
        assert (done.cut, done.margin, done.closed) == (len(records), 4, ("SMALL:-",))
        fence = [decode(record).event for record in (await read_log(store))[0][len(records) :]]
        expected = RestoreFenced(1, len(records), records[-1].recorded_at, 4, (("COMING", "2099"),))
        assert one(RestoreFenced, fence) == expected
        assert {each.sequence: each.skipped for each in fence if isinstance(each, SequenceFenced)} == {
            "PLAIN:-": ((4, 7),),
            "GAPLESS:-": ((3, 6),),
        }
        await check_restored(store, records)


async def test_a_second_restore_is_fenced_anew(tmp_path: Path) -> None:
    async with opened(fresh(tmp_path, "one"), fresh(tmp_path, "two")) as (first, second):
        await restored(source_of(RECORDS), first)
        await check_writable(first)
        log = (await read_log(first))[0]
        await restored(DatabaseSource(first), second)
        await check_restored(second, log, fences=2)


@pytest.mark.parametrize("seconds", [20, 2_000_000_000])
async def test_the_clock_has_gone_back(tmp_path: Path, seconds: int) -> None:
    """The last event is of later than the target's clock: the log's own time goes on, if that may be."""
    now = SystemClock.now() + seconds * SECOND
    ahead = decided(DefineSeries((PLAIN,)), Issue(Reserve("PLAIN", "T"), "D"), now=now)
    async with opened(fresh(tmp_path)) as (store,):
        done = await restored(source_of(ahead), store)
        assert done.margin == 10
        assert (await read_log(store))[0][-1].recorded_at == ahead[-1].recorded_at
        await check_restored(store, ahead)
        if seconds <= TOLERANCE_SECONDS:
            await check_writable(store)
            return
        with pytest.raises(Fault, match="was recorded at"):
            await check_writable(store)
        assert [stop.kind for stop in await store.stops()] == [StopKind.DATED_AHEAD]


async def test_no_fence_is_dated_by_a_wrong_clock(tmp_path: Path) -> None:
    """Neither its events, nor the time that has passed, from which it takes its margin."""
    clock = Time(SystemClock.now() + 3600 * SECOND)
    async with opened(fresh(tmp_path)) as (store,):
        with pytest.raises(Fault) as caught:
            await restored(source_of(RECORDS), store, clock=clock)
        assert caught.value.code is Code.CLOCK_UNSURE
        assert (await store.head()).position == 0
        await restored(source_of(RECORDS), store)
        await check_restored(store)


# The margin


async def test_the_margin_is_of_the_busiest_time_as_long_as_the_loss(tmp_path: Path) -> None:
    """One number a second for a minute, then seven at once of another sequence: each is counted by itself."""
    commands: list[Any] = [DefineSeries((PLAIN, GAPLESS))]
    commands += [Reserve("PLAIN", f"{number}") for number in range(60)]
    commands += [Reserve("GAPLESS", "at once", count=7)]
    records = decided(*commands)
    for lost_seconds, margin, at_most in ((0.001, 70, 70), (3, 70, 70), (16, 160, 180), (1_000, 600, 600)):
        clock = Time(records[-1].recorded_at + int(lost_seconds * SECOND))
        async with opened(fresh(tmp_path, f"{lost_seconds}"), now=clock.now) as (store,):
            done = await restored(source_of(records), store, clock=clock)
            assert margin <= (done.margin or 0) <= at_most


async def test_a_margin_that_no_fence_has(tmp_path: Path) -> None:
    """One that is given is refused before anything is stored, one that is computed says what to do."""
    wide = series("{SEQ:9}", "PLAIN")
    busy = decided(
        DefineSeries((wide,)), *(Reserve("PLAIN", f"{each}", count=10_000) for each in range(MAX_MARGIN // 100_000 + 1))
    )
    async with opened(fresh(tmp_path)) as (store,):
        for plan in ({"margin": MAX_MARGIN + 1}, {"reason": ""}, {"opened": (("", "2026"),)}):
            await refused(Code.INVALID_FORMAT, source_of(busy), store, **plan)
        assert not (await store.head()).stopped
        assert "say how many" in await refused(Code.INVALID_FORMAT, source_of(busy, part=5_000), store)
        assert (await restored(source_of(busy), store, margin=MAX_MARGIN)).margin == MAX_MARGIN


# Refused


@pytest.mark.parametrize("to", [0, -1, EVENTS + 1, 10**12])
async def test_there_is_no_such_position(tmp_path: Path, to: int) -> None:
    async with opened(fresh(tmp_path)) as (store,):
        await refused(Code.NOT_IN_HISTORY, source_of(RECORDS), store, to=to)
        assert not (await store.head()).stopped


async def test_a_part_of_a_ledger_is_never_called_complete(tmp_path: Path) -> None:
    async with opened(fresh(tmp_path)) as (store,):
        all_of_it = closed(RECORDS, HERE)
        for plan in ({"complete": True}, {"names": (HERE,), "complete": True}):
            said = await refused(Code.INVALID_FORMAT, source_of(all_of_it), store, to=EVENTS - 1, **plan)
            assert "needs a fence" in said
        assert not (await store.head()).stopped
        assert (await restored(source_of(all_of_it), store, to=EVENTS + 2, complete=True)).position == EVENTS + 2


async def test_a_place_that_is_not_empty(tmp_path: Path) -> None:
    async with opened(await sqlite_with(RECORDS, tmp_path)) as (store,):
        for source in (source_of(RECORDS), DatabaseSource(store)):
            assert "name an empty one" in await refused(Code.TARGET_NOT_EMPTY, source, store)
        assert (await store.head()).position == EVENTS


async def test_half_of_something_else(tmp_path: Path) -> None:
    other = history(EVENTS, ledger_id="22222222-2222-3333-4444-555555555555")
    fork = rechained(changed(RECORDS, 1))
    async with opened(fresh(tmp_path)) as (store,):
        await begun(store, 30)
        foreign = source_of(other)
        foreign._extent = Extent("22222222-2222-3333-4444-555555555555", 1, EVENTS, other[-1].hash)
        assert "half of another restore" in await refused(Code.TARGET_NOT_EMPTY, foreign, store)
        assert "half of another restore" in await refused(Code.TARGET_NOT_EMPTY, source_of(RECORDS[:20]), store)
        await refused(Code.HISTORIES_DIFFER, source_of(fork), store)
        await restored(source_of(RECORDS), store)
        await check_restored(store)


async def begun(store: Any, events: int) -> None:
    """Leave a restore that was interrupted behind so many events."""
    with pytest.raises(OSError, match="gone"):
        await restored(Breaking(source_of(RECORDS), events, GONE), store)
    assert (await store.head()).stopped.startswith(RESTORING)


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "COPIED_AT_ONCE", 5)


DAMAGE: dict[str, Callable[[Sequence[Record]], Sequence[Record]]] = {
    "a byte": lambda records: changed(records, 23),
    "a hole": lambda records: without(records, 23),
    "no event": lambda records: [*records[:22], records[22]._replace(body=b"{}"), *records[23:]],
    "an unknown type": lambda records: rechained(
        [
            *records[:22],
            records[22]._replace(body=records[22].body.replace(records[22].type.encode(), b"NumbersForgotten")),
            *records[23:],
        ]
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_nothing_behind_a_damage_is_stored(tmp_path: Path, damage: str) -> None:
    async with opened(fresh(tmp_path)) as (store,):
        with pytest.raises(Damaged) as caught:
            await restored(source_of(DAMAGE[damage](RECORDS)), store)
        assert caught.value.position == 23
        log, head = await read_log(store)
        assert head.stopped
        assert 0 < len(log) < 23
        assert log == list(RECORDS[: len(log)])
        await restored(source_of(RECORDS), store)
        await check_restored(store)


async def test_sources_that_disagree(tmp_path: Path) -> None:
    archive = await archive_of(inserted(RECORDS, 30)[:35], tmp_path / "archive")
    async with opened(fresh(tmp_path)) as (store,):
        source = Combined([archive, await stream_of(RECORDS)])
        assert "from position 30 on" in await refused(Code.HISTORIES_DIFFER, source, store)
        assert (await store.head()).stopped is None


async def test_a_source_without_events(tmp_path: Path) -> None:
    archive = await archive_of([], tmp_path / "archive")
    async with opened(fresh(tmp_path)) as (store,):
        await refused(Code.NOT_COMPLETE, archive, store, complete=True)
        done = await restored(archive, store)
        assert (done.cut, done.position) == (0, 1)
        await check_restored(store, [], fences=1)


async def test_a_ledger_that_is_half_restored_is_no_source(tmp_path: Path) -> None:
    """Not even of itself: nobody knows how much it lacks."""
    async with opened(fresh(tmp_path), fresh(tmp_path, "other")) as (store, other):
        await begun(store, 30)
        for target in (other, store):
            for plan in ({}, {"complete": True}, {"move": True}):
                await refused(Code.LEDGER_STOPPED, DatabaseSource(store), target, **plan)
        beside = Combined([DatabaseSource(store), source_of(RECORDS[:10])])
        await refused(Code.LEDGER_STOPPED, beside, other)
        await restored(source_of(RECORDS), store)
        await check_restored(store)


# Complete


@pytest.mark.parametrize("plan", [{"names": (HERE,)}, {"names": (THERE,)}, {"complete": True}])
async def test_a_ledger_that_was_closed_is_complete_without_a_fence(tmp_path: Path, plan: Any) -> None:
    """Where the copy is one of those that were named, or somebody says so; it is closed there too."""
    records = closed(RECORDS, HERE, THERE)
    async with opened(fresh(tmp_path)) as (store,):
        done = await restored(source_of(records), store, **plan)
        assert (done.position, done.margin) == (len(records), None)
        assert "LedgerClosed" in (done.forecast.complete or "")
        await check_restored(store, records, fences=0)
        async with served(store) as ledger:
            with pytest.raises(Rejection) as caught:
                await ledger.execute(Issue(Reserve("PLAIN", "after"), "D"), Envelope(os.urandom(32), "tester"))
        assert caught.value.code is Code.LEDGER_CLOSED


INCOMPLETE: dict[str, tuple[Sequence[Record], dict[str, Any], Code, str]] = {
    "not closed": (RECORDS, {"complete": True, "names": (HERE,)}, Code.NOT_COMPLETE, "not with LedgerClosed"),
    "another place": (closed(RECORDS, HERE), {"names": ("/mnt/copy",)}, Code.NOT_COMPLETE, f"names {HERE}"),
    "no name": (closed(RECORDS, HERE), {}, Code.NOT_COMPLETE, f"--to {EVENTS + 1}"),
    "opened since": (
        behind(closed(RECORDS, HERE), LedgerOpened((HERE,))), {"to": EVENTS + 2, "names": (HERE,)},
        Code.INVALID_FORMAT, "opened again",
    ),
    "opened at last": (
        behind(closed(RECORDS, HERE), LedgerOpened((HERE,))), {"complete": True, "names": (HERE,)},
        Code.NOT_COMPLETE, "not with LedgerClosed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", INCOMPLETE)
async def test_what_is_not_known_to_be_complete(tmp_path: Path, why: str) -> None:
    """It is refused before anything is stored, and says what to do; in front of LedgerClosed a fence may stand."""
    records, plan, code, says = INCOMPLETE[why]
    async with opened(fresh(tmp_path)) as (store,):
        assert says in await refused(code, source_of(records), store, **plan)
        assert not (await store.head()).stopped
        await restored(source_of(records), store, to=EVENTS)
        await check_restored(store)


async def test_only_a_copy_that_holds_the_closing_itself_speaks_for_it(tmp_path: Path) -> None:
    """The named one was set back to before: it may be that it held the opening, too."""
    records = closed(RECORDS, HERE)
    behind_it, other = source_of(RECORDS[:30]), source_of(records)
    async with opened(fresh(tmp_path)) as (store,):
        for sources, names in (([behind_it, other], (HERE, "B")), ([other, behind_it], ("B", HERE))):
            await refused(Code.NOT_COMPLETE, Combined(sources), store, names=names)
        await restored(Combined([behind_it, other]), store, names=("A", HERE))
        await check_restored(store, records, fences=0)


async def test_a_ledger_that_was_opened_is_fenced(tmp_path: Path) -> None:
    records = behind(closed(RECORDS, HERE), LedgerOpened((HERE,)))
    async with opened(fresh(tmp_path)) as (store,):
        await restored(source_of(records), store, names=(HERE,))
        await check_restored(store, records)
        await check_writable(store)


async def test_a_closed_ledger_is_moved_and_stays_closed(tmp_path: Path) -> None:
    records = closed(RECORDS, HERE)
    async with opened(await sqlite_with(records, tmp_path), fresh(tmp_path)) as (source, store):
        assert (await restored(DatabaseSource(source), store, move=True)).position == len(records)
        await check_restored(store, records, fences=0)


async def test_what_is_foreseen_is_what_happens(tmp_path: Path) -> None:
    for records, plan in ((RECORDS, {"margin": 7}), (closed(RECORDS, HERE), {"names": (HERE,)})):
        chosen = Plan("tester", REASON, **plan)
        found = await foresee(source_of(records), chosen, clock=SystemClock())
        async with opened(fresh(tmp_path, f"{len(records)}")) as (store,):
            done = await restored(source_of(records), store, **plan)
            assert (done.forecast, done.cut) == (found, found.cut)
            log = [decode(record).event for record in (await read_log(store))[0][len(records) :]]
        skipped = {each.sequence: each.skipped for each in log if isinstance(each, SequenceFenced)}
        assert {each.sequence: ((each.first, each.last),) for each in found.skips} == skipped
        assert [each for each in log if isinstance(each, ReservationFenced)] == list(found.ended)


# Interrupted


@pytest.mark.parametrize("events", range(1, EVENTS + 1, 6))
async def test_a_source_that_fails_anywhere(tmp_path: Path, events: int) -> None:
    async with opened(fresh(tmp_path)) as (store,):
        with pytest.raises(OSError, match="gone"):
            await restored(Breaking(source_of(RECORDS), events - 1, GONE), store)
        await refuses_to_write(store)
        await restored(source_of(RECORDS), store)
        await check_restored(store)


async def refuses_to_write(store: Any) -> None:
    async with served(store) as ledger:
        with pytest.raises(Fault, match="a restore into this database was not finished") as caught:
            await ledger.execute(DefineSeries((series("X{SEQ:4}", "X"),)), Envelope(os.urandom(32), "tester"))
        assert caught.value.code is Code.LEDGER_STOPPED


@pytest.mark.parametrize("is_committed", [False, True])
@pytest.mark.parametrize("commits", range(8))
async def test_a_commit_that_is_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commits: int, is_committed: bool
) -> None:
    """Of what was committed all the same the head tells, and else it is run again: the end is the same."""
    left, commit = [commits], SqlTransaction.commit

    async def breaking(transaction: SqlTransaction) -> None:
        left[0] -= 1
        if left[0] == -1:
            if is_committed:
                await commit(transaction)
            raise OutcomeUnknown("the line was cut")
        await commit(transaction)

    async with opened(fresh(tmp_path)) as (store,):
        monkeypatch.setattr(SqlTransaction, "commit", breaking)
        try:
            await restored(source_of(RECORDS), store)
            assert is_committed
        except (Fault, OutcomeUnknown):
            await restored(source_of(RECORDS), store)
        assert left[0] < 0
        monkeypatch.undo()
        await check_restored(store)


async def test_killed_and_run_again(tmp_path: Path) -> None:
    """A process that is killed in the middle, from outside."""
    many = history(6_000)
    await archived(many, tmp_path / "archive")
    target = fresh(tmp_path)
    words = ["restore", "--from", str(tmp_path / "archive"), "--into", url_of(target)]
    async with opened(target) as (store,), asyncio.timeout(60):
        process = await asyncio.create_subprocess_exec(NUMBERING, *words, stdout=DEVNULL, stderr=DEVNULL)
        while not (await store.head()).position:
            assert process.returncode is None
            await asyncio.sleep(0.01)
        process.kill()
        await process.wait()
        head = await store.head()
        assert head.stopped
        assert 0 < head.position < len(many)
        await refuses_to_write(store)
        await restored(ArchiveSource(tmp_path / "archive"), store)
        assert (await read_log(store))[0][: len(many)] == list(many)
        await check_whole(store)


# Beside others


async def test_two_at_once(tmp_path: Path) -> None:
    """One of them fills it, whichever; it is never filled twice, nor fenced twice."""
    file = fresh(tmp_path)
    async with opened(file, file) as stores:
        work = (restored(source_of(RECORDS, part=3), store) for store in stores)
        ended = await asyncio.gather(*work, return_exceptions=True)
        wrong = [each for each in ended if isinstance(each, BaseException)]
        assert len(wrong) == 1
        assert isinstance(wrong[0], Rejection | StoreFault), wrong
        await check_restored(stores[0])


async def test_one_that_comes_too_late_changes_nothing(tmp_path: Path) -> None:
    """It has read everything when the other one finishes, and a service may be writing already."""
    file = fresh(tmp_path)
    async with opened(file, file) as (one_store, other):
        source = Late(source_of(RECORDS), lambda: restored(source_of(RECORDS), one_store))
        await begun(one_store, EVENTS - 1)
        assert "somebody else" in await refused(Code.HISTORIES_DIFFER, source, other)
        await check_restored(one_store)


class Late(Breaking):
    """A source that lets something happen before its last events."""

    def __init__(self, source: Source, meanwhile: Callable[[], Any]) -> None:
        super().__init__(source, 10**9, GONE)
        self._meanwhile = meanwhile

    async def events(self, *, after: int, to: int) -> Any:
        async for events in super().events(after=after, to=to):
            if to - after > 7 and events[-1][0] == to:
                await self._meanwhile()
            yield events


async def test_a_service_that_is_started_too_early(tmp_path: Path) -> None:
    """It follows the log as it is filled, refuses to write, and goes on by itself when the restore is finished."""
    file = fresh(tmp_path)
    async with opened(file, file) as (store, watched):
        await begun(store, 20)
        async with served(watched) as ledger:
            with pytest.raises(Fault, match="was not finished"):
                await ledger.execute(Cancel("T"), Envelope(os.urandom(32), "tester"))
            await restored(source_of(RECORDS), store)
            async with asyncio.timeout(20):
                while True:
                    try:
                        await ledger.execute(Issue(Reserve("PLAIN", "after"), "D"), Envelope(os.urandom(32), "tester"))
                        break
                    except Fault:
                        await asyncio.sleep(0.05)
        await check_restored(store)


@pytest.mark.parametrize("is_moved", [False, True])
async def test_the_mirror_lifts_neither_half_a_restore_nor_a_move(tmp_path: Path, is_moved: bool) -> None:
    """Nor does it change the log, or the mirror, which may be the last copy."""
    mirror = await stream_of(RECORDS)
    async with opened(fresh(tmp_path), fresh(tmp_path, "other")) as (store, other):
        if is_moved:
            await put_records(store, RECORDS[:30])
            await restored(DatabaseSource(store), other, move=True)
        else:
            await begun(store, 20)
        before = await store.head()
        for discard in (False, True):
            with pytest.raises(Refused, match=MOVED if is_moved else RESTORING):
                await rebuild(store, mirror._stream, silent, retention=0, discard=discard)
        with pytest.raises(Refused, match=MOVED if is_moved else RESTORING):
            await adopt_all(store, mirror._stream)
        assert await store.head() == before
        assert (await mirror.extent()).last == EVENTS


# Moved


async def test_a_ledger_is_moved_with_what_is_written_meanwhile(tmp_path: Path) -> None:
    async with opened(fresh(tmp_path, "before"), fresh(tmp_path)) as (source, store):
        async with served(source) as ledger:
            for command in (DefineSeries((PLAIN,)), Reserve("PLAIN", "held")):
                await ledger.execute(command, Envelope(os.urandom(32), "tester"))

            async def write() -> None:
                await ledger.execute(Issue(Reserve("PLAIN", "meanwhile"), "D"), Envelope(os.urandom(32), "tester"))

            meanwhile: Any = DatabaseSource(source)
            meanwhile.rows = written_to(meanwhile.rows, write)
            done = await restored(meanwhile, store, move=True)
            with pytest.raises(Fault, match=MOVED):
                await write()
        assert (await source.head()).stopped.startswith(MOVED)  # type: ignore[union-attr]
        log, old = (await read_log(store))[0], (await read_log(source))[0]
        assert log == old
        assert (done.cut, done.margin) == (5, None)
        async with served(store) as ledger:
            await ledger.execute(Confirm("held", "D"), Envelope(os.urandom(32), "tester"))
        await check_whole(store)


def written_to(rows: Any, write: Callable[[], Any]) -> Any:
    """Let something be written when events have been read, once."""
    left = [1]

    async def read(*, after: int, to: int) -> Any:
        async for each in rows(after=after, to=to):
            yield each
        if left and after == 0:
            left.clear()
            await write()

    return read


async def test_a_move_that_is_interrupted_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(await sqlite_with(RECORDS, tmp_path), fresh(tmp_path)) as (source, store):
        finish = restoring._Copying.finish

        async def broken(*_: Any) -> Any:
            raise GONE

        monkeypatch.setattr(restoring._Copying, "finish", broken)
        with pytest.raises(OSError, match="gone"):
            await restored(DatabaseSource(source), store, move=True)
        for each in (source, store):
            async with served(each) as ledger:
                with pytest.raises(Fault, match="stopped"):
                    await ledger.execute(Reserve("PLAIN", "X"), Envelope(os.urandom(32), "tester"))
        monkeypatch.setattr(restoring._Copying, "finish", finish)
        await restored(DatabaseSource(source), store, move=True)
        await check_restored(store, fences=0)


async def test_what_cannot_be_stopped_is_not_moved(tmp_path: Path) -> None:
    """Nor what was stopped for another reason, which the new ledger would not know of."""
    file = await sqlite_with(RECORDS, tmp_path)
    async with opened(file, fresh(tmp_path)) as (source, store):
        transaction = await source.begin()
        await transaction.stop(Stop(StopKind.MIRROR_AHEAD, "goes on"))
        await transaction.commit()
        said = await refused(Code.LEDGER_STOPPED, DatabaseSource(source), store, move=True)
        assert "the mirror goes on" in said
        assert (await store.head()).stopped is None


async def test_a_database_that_is_read_only_is_not_moved(mariadb: MariaDB, tmp_path: Path) -> None:
    database = mariadb.new_database()
    await migrate(database.admin_url, ledger_id=LEDGER)
    async with opened(database.admin_url) as (store,):
        await put_records(store, RECORDS)
    mariadb.execute(f"GRANT SELECT ON `{database.name}`.* TO {database.service.quoted}")
    async with opened(database.service_url, fresh(tmp_path)) as (source, store):
        with pytest.raises(StoreFault):
            await restored(DatabaseSource(source), store, move=True)
        assert (await store.head()).stopped is None
        await restored(DatabaseSource(source), store)
        await check_restored(store)
