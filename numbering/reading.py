"""A ledger opened to be asked: as it is now, where it may only be read too, and marked where that must be said."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ledger.domain.calendar import instant_text
from ledger.domain.rejection import Code
from ledger.ports import Clock, Fault, Head, StopKind, StoreFault
from ledger.queries import Queries, Reader
from ledger.stores import SqlStore, parse_url
from ledger.stores.sqlite import file_of
from ledger.system import SystemClock, aside
from ledger.writer.follower import stopped
from numbering.settings import Settings
from numbering.wiring import opened_store
from projections.index import ProjectedIndex

__all__ = ["ClockOfCopy", "Mark", "Opened", "copy_mark", "only_reads", "opened_queries"]


@dataclass(frozen=True, slots=True)
class Mark:
    """What must be said with every answer: its first line in a table, and its first fields in JSON."""

    line: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Opened:
    queries: Queries
    marks: tuple[Mark, ...] = ()


@asynccontextmanager
async def opened_queries(settings: Settings, progress: Callable[[int], None]) -> AsyncIterator[Opened]:
    """Open the ledger of the settings to ask it, folded to its end. A copy is asked as of the moment of its copying."""
    async with opened_store(settings, reads_only=True) as store:
        reader = Reader(store)
        await reader.fresh(progress)
        mark = await copy_mark(store)
        now = SystemClock.now if mark is None else ClockOfCopy.now
        queries = Queries(store, reader, now=now, aside=aside, index=ProjectedIndex(store))
        yield Opened(queries, () if mark is None else (mark,))


class ClockOfCopy(SystemClock):
    """The clock of a copy: its present is the time of its last event, which no clock is before."""

    @staticmethod
    def now() -> int:
        return 0


async def only_reads(settings: Settings) -> tuple[Fault, Clock] | None:
    """Say why a service can only read, and by which clock: a copy, or an SQLite file that may not be written.

    None when it can write as well. Of a server that is known only when something is to be written.
    """
    url = parse_url(settings.database_url)
    if url.get_backend_name() != "sqlite" or not file_of(url).is_file():
        return None
    async with opened_store(settings, reads_only=True) as store:
        try:
            mark = await copy_mark(store)
        except StoreFault as fault:
            if fault.code is not Code.DATABASE_NOT_MIGRATED:
                raise
            return None
    if mark is not None:
        return stopped(f"{mark.line[0].lower()}{mark.line[1:]}"), ClockOfCopy()
    if all(os.access(path, os.W_OK) for path in (file_of(url), file_of(url).parent)):
        return None
    happened = "the ledger is served for reading only: its file, its directory or its disk may not be written"
    return Fault(Code.DATABASE_READ_ONLY, happened, advice="to write, start the service where they may"), SystemClock()


async def copy_mark(store: SqlStore) -> Mark | None:
    """Say that a database is a copy, as `numbering replay --sqlite` makes it, and as of when; None for any other."""
    head = await store.head()
    if not head.is_stopped or not any(stop.kind is StopKind.COPY for stop in await store.stops()):
        return None
    return _mark_of(head)


def _mark_of(head: Head) -> Mark:
    then = {"position": head.position, "recorded_at": instant_text(head.recorded_at) if head.position else None}
    when = f", {then['recorded_at']}" if head.position else ""
    return Mark(f"A COPY of the ledger, as of position {head.position}{when}", {"copy": then})
