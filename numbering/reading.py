"""A ledger opened to be asked: as it is now, where it may only be read too, and marked where that must be said."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ledger.domain.calendar import instant_text
from ledger.ports import Head, StopKind
from ledger.queries import Queries, Reader
from ledger.stores import SqlStore
from ledger.system import SystemClock, aside
from numbering.settings import Settings
from numbering.wiring import opened_store
from projections.index import ProjectedIndex

__all__ = ["Mark", "Opened", "copy_mark", "opened_queries"]


@dataclass(frozen=True, slots=True)
class Mark:
    """What must be said with every answer: its first line in a table, and its first fields in JSON."""

    line: str
    fields: Mapping[str, Any]


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
        now = SystemClock().now if mark is None else lambda: 0  # then it is that of the last event
        queries = Queries(store, reader, now=now, aside=aside, index=ProjectedIndex(store))
        yield Opened(queries, () if mark is None else (mark,))


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
