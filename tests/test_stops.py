"""Why writing is stopped, on each kind of store: several reasons at once, each lifted by itself, none ever lost.

An earlier build knows one text in the head and no rows; it may write that text, and clear it, beside us.
"""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import create_async_engine

from ledger.ports import Head, Stop, StopKind, Store, Transaction
from ledger.stores.memory import MemoryStore
from ledger.stores.stops import all_stops, text_of
from tests.stores import Ledger, append

HASH = bytes(range(32))
AHEAD = Stop(StopKind.MIRROR_AHEAD, "goes on to position 20, but the log ends at 10")
BEHIND = Stop(StopKind.LOG_BEHIND, "the log ends at position 10, but this process has seen 20", 20, HASH)
ARCHIVE = Stop(StopKind.ARCHIVE_FORKED, "the archive /a tells another history than this log", 15, HASH)
MOVED = Stop(StopKind.MOVED, "by `numbering restore --move`")
RESTORING = Stop(StopKind.RESTORING, "run `numbering restore` again, it goes on where it was")


async def stopped(store: Store, *stops: Stop) -> list[bool]:
    """Say of each whether it was new."""
    transaction = await store.begin()
    new = [await transaction.stop(stop) for stop in stops]
    await transaction.commit()
    return new


async def lifted(store: Store, *kinds: StopKind) -> list[StopKind]:
    """Lift some kinds, and give those that still stand."""
    transaction = await store.begin()
    left = await transaction.lift(lambda stop: stop.kind in kinds)
    assert list(await transaction.stops()) == list(left)
    await transaction.commit()
    return [stop.kind for stop in left]


async def kinds(store: Store) -> list[StopKind]:
    return [stop.kind for stop in await store.stops()]


async def written_by_an_earlier_build(ledger: Ledger, store: Store, text: str | None) -> None:
    """Change the text alone, as a build does that knows nothing else."""
    if isinstance(store, MemoryStore):
        store._log.head = store._log.head._replace(stopped=text)
        return
    engine = create_async_engine(ledger.url)
    async with engine.begin() as connection:
        await connection.execute(sql("UPDATE ledger_head SET stopped = :text WHERE id = 1"), {"text": text})
    await engine.dispose()


class TestSeveral:
    async def test_none_stands_at_first(self, ledger: Ledger) -> None:
        store = ledger.open()
        head = await store.head()
        assert (head.stopped, head.stops, head.is_stopped) == (None, 0, False)
        assert await store.stops() == []
        assert await lifted(store, *StopKind) == []

    async def test_all_are_told_in_the_order_in_which_they_came(self, ledger: Ledger) -> None:
        store, other = ledger.open(), ledger.open()
        assert await stopped(store, AHEAD, BEHIND) == [True, True]
        assert await stopped(other, ARCHIVE) == [True]
        told = await store.stops()
        assert [each._replace(stopped_at=0) for each in told] == [AHEAD, BEHIND, ARCHIVE]
        assert all(each.stopped_at > 0 for each in told)
        head = await other.head()
        assert (head.stops, head.is_stopped) == (3, True)
        transaction = await store.begin()
        assert transaction.head == head
        assert list(await transaction.stops()) == told
        await transaction.rollback()

    async def test_the_same_reason_is_none_more_however_it_is_worded(self, ledger: Ledger) -> None:
        store = ledger.open()
        assert await stopped(store, BEHIND, BEHIND._replace(detail="the same")) == [True, False]
        assert await stopped(store, BEHIND) == [False]
        assert await stopped(store, BEHIND._replace(position=21), BEHIND._replace(hash=bytes(32))) == [True, True]
        assert (await store.head()).stops == 3

    async def test_what_is_lifted_leaves_the_others(self, ledger: Ledger) -> None:
        store = ledger.open()
        await stopped(store, AHEAD, BEHIND, ARCHIVE)
        assert await lifted(store, StopKind.LOG_BEHIND) == [StopKind.MIRROR_AHEAD, StopKind.ARCHIVE_FORKED]
        assert await lifted(store, StopKind.COPY) == [StopKind.MIRROR_AHEAD, StopKind.ARCHIVE_FORKED]
        assert await stopped(store, BEHIND) == [True]
        assert await lifted(store, StopKind.MIRROR_AHEAD, StopKind.ARCHIVE_FORKED) == [StopKind.LOG_BEHIND]
        assert (await store.head()).stops == 1
        assert await lifted(store, StopKind.LOG_BEHIND) == []
        assert not (await store.head()).is_stopped

    async def test_what_is_not_committed_is_not_there(self, ledger: Ledger) -> None:
        store, other = ledger.open(), ledger.open()
        await stopped(store, AHEAD)
        before = await other.head()
        transaction = await store.begin()
        await transaction.stop(BEHIND)
        await transaction.lift(lambda stop: stop.kind is StopKind.MIRROR_AHEAD)
        assert (await other.head(), await kinds(other)) == (before, [StopKind.MIRROR_AHEAD])
        await transaction.rollback()
        assert (await other.head(), await kinds(other)) == (before, [StopKind.MIRROR_AHEAD])

    async def test_two_processes_that_stop_at_once_are_both_heard(self, ledger: Ledger) -> None:
        stores = [ledger.open() for _ in range(4)]
        reasons = [BEHIND._replace(position=position) for position in range(20, 24)]
        await asyncio.gather(*(stopped(store, each) for store, each in zip(stores, reasons, strict=True)))
        assert sorted(stop.position or 0 for stop in await stores[0].stops()) == [20, 21, 22, 23]
        assert (await stores[0].head()).stops == 4

    async def test_the_log_may_grow_under_them(self, ledger: Ledger) -> None:
        """A restore and a copy append while nobody else may."""
        store = ledger.open()
        await stopped(store, RESTORING)
        await append(store, 3)
        head = await store.head()
        assert (head.position, head.stops) == (3, 1)
        assert await kinds(store) == [StopKind.RESTORING]


class TestEarlierBuilds:
    """What such a build reads, and what it writes."""

    async def test_it_is_shown_the_reason_that_is_hardest_to_lift(self, ledger: Ledger) -> None:
        store = ledger.open()
        for stop, hardest in ((AHEAD, AHEAD), (BEHIND, BEHIND), (ARCHIVE, BEHIND), (RESTORING, RESTORING)):
            await stopped(store, stop)
            assert (await store.head()).stopped == hardest.text
        await stopped(store, MOVED)
        assert ((await store.head()).stopped or "").startswith("the ledger was moved to another database")
        await lifted(store, StopKind.MOVED)
        assert ((await store.head()).stopped or "").startswith("a restore into this database was not finished")
        await lifted(store, StopKind.RESTORING)
        assert ((await store.head()).stopped or "").endswith(f" (seen: position 20, hash {HASH.hex()})")
        await lifted(store, StopKind.LOG_BEHIND, StopKind.ARCHIVE_FORKED)
        assert ((await store.head()).stopped or "").startswith("the mirror ")
        await lifted(store, StopKind.MIRROR_AHEAD)
        assert (await store.head()).stopped is None

    async def test_of_two_alike_it_is_shown_the_one_that_needs_more(self, ledger: Ledger) -> None:
        store, more = ledger.open(), BEHIND._replace(position=25)
        await stopped(store, BEHIND, more, BEHIND._replace(position=22))
        assert (await store.head()).stopped == more.text

    async def test_its_text_is_a_reason_of_its_own_and_never_read(self, ledger: Ledger) -> None:
        store = ledger.open()
        await written_by_an_earlier_build(ledger, store, BEHIND.text)
        head = await store.head()
        assert (head.is_stopped, head.stops) == (True, 0)
        assert await store.stops() == [Stop(StopKind.EARLIER_BUILD, BEHIND.text)]
        assert await lifted(store, StopKind.LOG_BEHIND) == [StopKind.EARLIER_BUILD]
        assert await lifted(store, StopKind.EARLIER_BUILD) == []
        assert not (await store.head()).is_stopped

    async def test_its_text_is_not_lost_behind_ours_nor_ours_behind_it(self, ledger: Ledger) -> None:
        store = ledger.open()
        await written_by_an_earlier_build(ledger, store, "its own words")
        assert await stopped(store, AHEAD) == [True]
        assert await kinds(store) == [StopKind.MIRROR_AHEAD, StopKind.EARLIER_BUILD]
        assert (await store.head()).stopped == "its own words", "it goes on to see them"
        assert await lifted(store, StopKind.EARLIER_BUILD) == [StopKind.MIRROR_AHEAD]
        assert (await store.head()).stopped == AHEAD.text
        await written_by_an_earlier_build(ledger, store, "its own words again")
        assert await lifted(store, StopKind.MIRROR_AHEAD) == [StopKind.EARLIER_BUILD]
        assert (await store.head()).stopped == "its own words again"

    async def test_what_it_clears_still_stands(self, ledger: Ledger) -> None:
        store = ledger.open()
        await stopped(store, AHEAD)
        await written_by_an_earlier_build(ledger, store, None)
        assert (await store.head()).is_stopped
        assert await kinds(store) == [StopKind.MIRROR_AHEAD]
        assert await stopped(store, AHEAD) == [True], "it is told again"
        assert (await store.head()).stopped == AHEAD.text
        assert await kinds(store) == [StopKind.MIRROR_AHEAD]

    async def test_its_text_beside_ours_counts_as_a_row_too(self, ledger: Ledger) -> None:
        store = ledger.open()
        await written_by_an_earlier_build(ledger, store, "its own words")
        await stopped(store, AHEAD)
        head = await store.head()
        assert (head.stops, head.stopped) == (2, "its own words")
        await written_by_an_earlier_build(ledger, store, None)
        assert await kinds(store) == [StopKind.MIRROR_AHEAD, StopKind.EARLIER_BUILD]
        assert await lifted(store, StopKind.MIRROR_AHEAD) == [StopKind.EARLIER_BUILD]

    async def test_a_text_that_was_put_over_ours_is_kept_when_some_of_ours_are_lifted(self, ledger: Ledger) -> None:
        store = ledger.open()
        await stopped(store, AHEAD, BEHIND)
        await written_by_an_earlier_build(ledger, store, "its own words")
        assert await lifted(store, StopKind.LOG_BEHIND) == [StopKind.MIRROR_AHEAD, StopKind.EARLIER_BUILD]
        head = await store.head()
        assert (head.stops, head.stopped) == (2, "its own words")

    def test_a_build_after_this_one_may_know_other_kinds(self) -> None:
        known = Stop(StopKind.LATER_BUILD, "the sky has fallen")
        assert text_of([AHEAD, known]) == "the sky has fallen"

    async def test_a_row_of_a_later_build_is_a_reason(self, sql_ledger: Ledger) -> None:
        store = sql_ledger.open()
        await stopped(store, AHEAD)
        url = sql_ledger.database.admin_url if sql_ledger.database else sql_ledger.url
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            await connection.execute(sql("INSERT INTO stops VALUES (7, 'SKY_FALLEN', NULL, NULL, 'it has fallen', 1)"))
            await connection.execute(sql("UPDATE ledger_head SET stops = 2, stopped = 'it has fallen'"))
        await engine.dispose()
        assert await kinds(store) == [StopKind.MIRROR_AHEAD, StopKind.LATER_BUILD]
        assert await lifted(store, StopKind.MIRROR_AHEAD) == [StopKind.LATER_BUILD]
        assert await stopped(store, BEHIND) == [True]
        assert await lifted(store, *StopKind) == []

    async def test_a_row_that_is_gone_still_counts(self, sql_ledger: Ledger) -> None:
        """Nothing of ours leaves that: but whoever deletes a row by hand must not let everybody write by it."""
        store = sql_ledger.open()
        await stopped(store, AHEAD)
        engine = create_async_engine(sql_ledger.url)
        async with engine.begin() as connection:
            await connection.execute(sql("DELETE FROM stops"))
            await connection.execute(sql("UPDATE ledger_head SET stopped = NULL"))
        await engine.dispose()
        assert (await store.head()).is_stopped
        assert await kinds(store) == [StopKind.LATER_BUILD]
        assert await stopped(store, BEHIND) == [True]
        assert await kinds(store) == [StopKind.LOG_BEHIND, StopKind.LATER_BUILD], "another takes it away no more"
        assert await lifted(store, StopKind.LOG_BEHIND) == [StopKind.LATER_BUILD]
        assert (await store.head()).is_stopped
        assert await lifted(store, *StopKind) == []
        assert not (await store.head()).is_stopped


any_stop = st.builds(
    Stop,
    st.sampled_from([kind for kind in StopKind if kind not in (StopKind.EARLIER_BUILD, StopKind.LATER_BUILD)]),
    st.text(alphabet="กข ab'%", min_size=1, max_size=5),
    st.none() | st.integers(1, 3),
    st.none() | st.sampled_from([bytes(32), HASH]),
    st.just(0),
)
any_step = any_stop | st.frozensets(st.sampled_from(list(StopKind)), max_size=4)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.lists(any_step, max_size=4), max_size=4))
async def test_what_was_stopped_and_not_lifted_stands(
    ledger: Ledger, steps: Sequence[Sequence[Stop | frozenset[StopKind]]]
) -> None:
    """Whatever is stopped and lifted, in whichever transactions: the rows left are those, and the head counts them."""
    store = ledger.open()
    await lifted(store, *StopKind)  # what the example before has left
    expected: list[Stop] = []
    for together in steps:
        transaction = await store.begin()
        try:
            for step in together:
                expected = await done(transaction, step, expected)
            assert transaction.head.stops == len(expected)
            await transaction.commit()
        finally:
            await transaction.rollback()
        head = await store.head()
        assert [stop._replace(stopped_at=0) for stop in await store.stops()] == expected
        assert (head.stops, head.stopped) == (len(expected), text_of(expected))
    await store.close()


async def done(transaction: Transaction, step: Stop | frozenset[StopKind], expected: Sequence[Stop]) -> list[Stop]:
    """Take a step, and give what must stand then."""
    if isinstance(step, Stop):
        is_new = not any(each.is_as(step) for each in expected)
        assert await transaction.stop(step) is is_new
        return [*expected, step] if is_new else list(expected)
    await transaction.lift(lambda stop: stop.kind in step)
    return [stop for stop in expected if stop.kind not in step]


@pytest.mark.parametrize("kind", StopKind)
def test_every_kind_has_a_text_that_begins_as_earlier_builds_expect(kind: StopKind) -> None:
    """They lift what begins with `the mirror`, and neither half a restore nor a move."""
    text = Stop(kind, "xxx").text
    assert text.startswith("the mirror") == (kind.name.startswith("MIRROR_"))
    assert text.startswith("a restore into this database was not finished") == (kind is StopKind.RESTORING)
    assert text.startswith("the ledger was moved to another database") == (kind is StopKind.MOVED)


def test_a_text_that_is_the_rows_own_is_no_other_reason() -> None:
    head = Head(1, HASH, 1, "id", BEHIND.text, 2)
    assert all_stops([AHEAD, BEHIND], head) == [AHEAD, BEHIND]
    assert [each.kind for each in all_stops([AHEAD, BEHIND], head._replace(stopped=AHEAD.text))] == [
        StopKind.MIRROR_AHEAD,
        StopKind.LOG_BEHIND,
        StopKind.EARLIER_BUILD,
    ]
