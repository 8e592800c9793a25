"""Restores into fresh databases, for their tests, and logs whose commands have several events."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ledger import chain, codec
from ledger.codec import Entry
from ledger.domain.commands import Decidable, Envelope
from ledger.domain.events import Event
from ledger.ports import Record
from ledger.service import Ledger
from ledger.stores import SqlStore, open_store
from ledger.system import RandomIds, SystemClock, aside, spawn
from replay.restore import Plan, Restored
from replay.restore import restore as restore_log
from replay.sources import DatabaseSource, Source
from replay.verify import verify
from tests.given import Story
from tests.replay.places import LEDGER, PART, ListSource, stored
from tests.stores import empty_sqlite

__all__ = [
    "GONE",
    "Breaking",
    "check_whole",
    "decided",
    "encoded",
    "fresh",
    "opened",
    "restored",
    "served",
    "source_of",
    "url_of",
]

GONE = OSError("the source is gone")


def encoded(commands: Iterable[tuple[Sequence[Event], int]], ledger_id: str = LEDGER) -> list[Record]:
    """Encode what each command did, and when."""
    records, previous = list[Record](), chain.genesis(ledger_id)
    for number, (events, recorded_at) in enumerate(commands, 1):
        envelope = Envelope(number.to_bytes(32, "big"), "tester")
        for ordinal, event in enumerate(events):
            records.append(codec.encode(Entry(len(records) + 1, event, envelope, ordinal, recorded_at), previous))
            previous = records[-1].hash
    return records


def decided(*commands: Decidable, now: int | None = None) -> list[Record]:
    """Carry out commands, one a second."""
    story, done = Story(), list[tuple[Sequence[Event], int]]()
    story.now = now or story.now
    for command in commands:
        done.append((story.when(command), story.now))
        story.now += 1_000_000
    return encoded(done)


def ignored(done: int, of: int) -> None:
    """Take a progress that nobody looks at; it must make sense all the same."""
    assert 0 <= done <= of


def source_of(records: Sequence[Record], **options: Any) -> ListSource:
    return ListSource(stored(records), **options)


class Breaking:
    """A source that fails when it has given so many events."""

    is_primary = False
    name = "the source"

    def __init__(self, source: Source, events: int, fault: Exception) -> None:
        self._source = source
        self._left = events
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    async def events(self, *, after: int, to: int) -> AsyncIterator[Sequence[tuple[int, bytes, bytes]]]:
        async for events in self._source.events(after=after, to=to):
            if to - after > PART:  # not where one event is looked at
                self._left -= len(events)
                if self._left < 0:
                    raise self._fault
            yield events


# Targets


def fresh(directory: Path, name: str = "target") -> Path:
    """An SQLite ledger that was migrated before, and has an id of its own."""
    file = directory / f"{name}.db"
    shutil.copy(empty_sqlite(), file)
    return file


def url_of(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


@asynccontextmanager
async def opened(*urls: str | Path, now: Callable[[], int] = SystemClock.now) -> AsyncIterator[list[SqlStore]]:
    named = [each if isinstance(each, str) else url_of(each) for each in urls]
    stores = [open_store(each, lock_timeout_ms=20_000, now=now) for each in named]
    try:
        yield stores
    finally:
        for store in stores:
            await store.close()


async def restored(source: Source, store: Any, *, clock: Any = None, **plan: Any) -> Restored:
    chosen = Plan("tester", plan.pop("reason", "because the test says so"), **plan)
    return await restore_log(source, store, chosen, clock=clock or SystemClock(), ids=RandomIds())


@asynccontextmanager
async def served(store: Any, clock: Any = None) -> AsyncIterator[Ledger]:
    """A service on a database, which it leaves open."""
    ledger = Ledger(store, clock=clock or SystemClock(), ids=RandomIds(), spawn=spawn, aside=aside)
    ledger.writer.start()
    try:
        yield ledger
    finally:
        await ledger.writer.stop()


async def check_whole(store: SqlStore, *copies: Source) -> None:
    """An auditor finds nothing."""
    report = await verify(DatabaseSource(store), copies)
    assert not report.flaws, report.flaws
