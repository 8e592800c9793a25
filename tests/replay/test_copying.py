"""A copy as of a moment: whole, and not to be written to; or nothing."""

import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import ValueState
from ledger.fold import Fold
from ledger.ports import Fault, Record
from ledger.stores import MemoryLog, MemoryStore, SqlStore, open_store
from projections.check import check
from replay import copying
from replay.copying import copy_to, make_copy, opened_copy
from replay.moments import Moment, Past, folded
from replay.numbers import Wanted, all_numbers
from replay.sources import Source
from replay.story import story_of
from tests.api.client import RealTime, answer, served
from tests.invariants import read_log
from tests.profiles import rounds
from tests.projections.histories import run_on_sqlite
from tests.replay.past import Listed, archived, documents, states
from tests.replay.restoring import ignored
from tests.test_machine import Machine

UNPRINTED = ("SKIPPED", "PRE_CONTROL")
EVERY = 5  # positions whose copy is looked at, of those that are no special ones
ARCHIVES = count()  # another object may get the id of one that is gone


def entries(directory: Path) -> list[Path]:
    return list(directory.iterdir())


class ReadBack(Machine):
    """In the end the ledger is looked at as of every position."""

    directory: Path

    async def _check(self) -> None:
        records, head = await read_log(self.stores[0])
        source = await archived(Listed(head.ledger_id, records), self.directory / f"archive-{next(ARCHIVES)}")
        for position in range(1, head.position + 1):
            fold = Fold(head.ledger_id)
            fold.take(records[:position])
            past = await folded(await Past.of(source, Moment(position=position)))
            assert (past.position, past.hash) == (fold.position, fold.hash)
            is_torn = records[position - 1].type == "NumberVoided"
            if position % EVERY == 0 or is_torn or position == head.position:
                await self._check_copy(source, records[:position])

        await self._check_stories(source, states(records))

    async def _check_stories(self, source: Source, known: Mapping[tuple[str, int], ValueState]) -> None:
        """Each number's history is what the ledger itself tells of it."""
        async with made_copy(self.directory, source) as store:
            numbers = [each.row.number async for page in all_numbers(store, Wanted()) for each in page]
            for number in numbers:
                story, told = await story_of(source, number, ignored), await self.ledgers[0].number(number)
                assert story.history.steps == told.steps
                assert (story.history.replaces, story.history.replaced_by) == (told.replaces, told.replaced_by)
                assert set(story.hashes) == {step.cause.position for step in told.steps}
                assert story.history.state is known[told.reading.sequence, told.reading.value]

    async def _check_copy(self, source: Source, records: Sequence[Record]) -> None:
        expected = {value: state for value, state in states(records).items() if state not in UNPRINTED}
        confirmed = documents(records)
        async with made_copy(self.directory, source, len(records)) as store:
            report = await check(store)
            assert (report.differences, report.position) == ((), len(records))
            found = [each async for page in all_numbers(store, Wanted()) for each in page]
        told = {(each.sequence, each.row.value): each.row for each in found if each.row.state not in UNPRINTED}
        assert {place: row.state for place, row in told.items()} == expected
        kept = {place: row.document for place, row in told.items() if row.state in ("CONFIRMED", "VOIDED")}
        assert {place: document for place, document in kept.items() if document} == confirmed


@asynccontextmanager
async def made_copy(directory: Path, source: Source, position: int | None = None) -> AsyncIterator[SqlStore]:
    """Give a copy, which is removed in the end: what is left of a failed check would hide it from the next."""
    file = directory / "copy.db"
    try:
        await make_copy(file, await Past.of(source, Moment(position=position)), ignored)
        async with opened_copy(file) as store:
            yield store
    finally:
        file.unlink(missing_ok=True)


def test_every_moment_of_any_history_is_what_its_events_say(tmp_path: Path) -> None:
    made = type("AsOf", (ReadBack,), {"directory": tmp_path})
    run_on_sqlite(made, tmp_path, examples=rounds(2, thorough=4), steps=40)


@pytest.fixture
async def source(letters_log: Listed) -> Listed:
    return letters_log


async def test_a_copy_is_one_file_that_nobody_writes_to(source: Listed, tmp_path: Path) -> None:
    file = tmp_path / "then.db"
    await copy_to(file, await Past.of(source, Moment(position=4)), ignored)
    assert entries(tmp_path) == [file]
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        views = ("sequences", "reservations", "numbers", "gaps", "series")
        counts = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in views}
        assert counts["numbers"] > 0
        assert counts["series"] == 1
    store = open_store(f"sqlite+aiosqlite:///{file}")
    head = await store.head()
    await store.close()
    assert (head.ledger_id, head.position) == (source.ledger_id, 4)
    assert head.stopped is not None
    assert head.stopped.startswith("this is a copy of the ledger as of position 4, 20")


async def test_a_file_that_is_there_is_not_written_over(source: Listed, tmp_path: Path) -> None:
    for name in ("then.db", "then.db.part"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(Rejection, match="is there") as refused:
            await copy_to(tmp_path / "then.db", await Past.of(source), ignored)
        assert refused.value.code is Code.TARGET_NOT_EMPTY
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()


async def test_a_directory_that_is_not_there_is_told(source: Listed, tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"No such file or directory; mend that and run it again$") as failed:
        await copy_to(tmp_path / "none" / "then.db", await Past.of(source), ignored)
    assert failed.value.code is Code.STORAGE_FAILED


async def test_what_is_not_in_history_leaves_no_file(source: Listed, tmp_path: Path) -> None:
    with pytest.raises(Rejection):
        await copy_to(tmp_path / "then.db", await Past.of(source, Moment(time=0)), ignored)
    assert not entries(tmp_path)


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
async def test_an_interrupted_copy_leaves_no_file(
    source: Listed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    async def failing(*_: Any) -> None:
        raise failure

    monkeypatch.setattr(copying, "rebuild", failing)
    with pytest.raises((Fault, KeyboardInterrupt)):
        await copy_to(tmp_path / "then.db", await Past.of(source), ignored)
    assert not entries(tmp_path)


async def test_an_empty_log_is_copied_too(tmp_path: Path) -> None:
    file = tmp_path / "then.db"
    await copy_to(file, await Past.of(Listed("test", [])), ignored)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (0,)


@pytest.fixture
async def reissuing() -> Listed:
    """The log of a void whose replacement is a value that was cancelled before."""
    log = MemoryLog("test")
    async with served(MemoryStore(log), MemoryStore(log), clock=RealTime()) as api:
        await api.define("GAPLESS", {"template": "G{SEQ:4}", "reuse": "gapless"})
        answer(await api.post("/v1/issue", {"series": "GAPLESS", "document": "D"}), 201)
        held = await api.reserve("GAPLESS")
        answer(await api.post(f"/v1/reservations/{held['token']}/cancel", {"reason": "not sent"}), 200)
        answer(await api.post("/v1/numbers/G0001/void", {"reason": "sent to the wrong", "replace": True}), 200)
    records, head = await read_log(MemoryStore(log))
    return Listed(head.ledger_id, records)


async def test_a_number_replaces_no_other_before_it_is_given_out_for_that(reissuing: Listed, tmp_path: Path) -> None:
    (torn,) = [at for at, body, _ in reissuing.stored if b'"type":"NumberVoided"' in body]
    for position, expected in ((torn, ("CANCELLED", "")), (torn + 1, ("RESERVED", "G0001"))):
        async with made_copy(tmp_path, reissuing, position) as store:
            report = await check(store)
            (_, second) = [each.row async for page in all_numbers(store, Wanted()) for each in page]
        assert report.differences == ()
        assert (second.number, second.state, second.replaces) == ("G0002", *expected)


async def test_a_copy_may_end_between_a_void_and_what_replaces_the_number(source: Listed, tmp_path: Path) -> None:
    (torn,) = [at for at, body, _ in source.stored if b'"type":"NumberVoided"' in body]
    file = tmp_path / "then.db"
    fold = await make_copy(file, await Past.of(source, Moment(position=torn)), ignored)
    async with opened_copy(file) as store:
        report = await check(store)
        (first, *_) = [each.row async for page in all_numbers(store, Wanted()) for each in page]
    assert (report.differences, report.position, fold.position) == ((), torn, torn)
    assert (first.state, first.document, first.replaced_by) == ("VOIDED", "=DOC-1", "")
