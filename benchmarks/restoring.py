"""How long a restore takes: `python -m benchmarks.restoring [EVENTS]`.

A ledger of a million events, as `benchmarks.verification` makes them, is archived and restored into a private MariaDB
with its durable settings, and into SQLite; beside a peer that reads the same archive and appends the same rows in the
same transactions, but examines nothing.
"""

import asyncio
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.verification import LEDGER_ID, Log
from ledger.codec import record_of
from ledger.ports import Record
from ledger.stores import SqlStore, migrate, open_store
from ledger.system import RandomIds, SystemClock
from numbering.server import collect_less_often
from replay.archive.source import ArchiveSource
from replay.archive.writing import archive
from replay.restore import COPIED_AT_ONCE, Plan, restore
from replay.sources import Extent, Stored
from tests.servers import MariaDB

EVENTS = 1_000_000
LIMIT_SECONDS = 120.0  # for a million events into MariaDB
PART = 10_000
TIMEOUT_MS = 60_000
BUFFER_POOL_MEGABYTES = 2_048  # in which the indexes of a million events have room


def main(events: int = EVENTS) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="numbering-restoring-") as directory,
        MariaDB(buffer_pool_megabytes=BUFFER_POOL_MEGABYTES) as server,
    ):
        place = Path(directory)
        known = machine(place)
        print(f"{known['cpu']}, {known['cores']} cores, {platform.platform()}, Python {known['python']}")
        print(f"{known['filesystem']}, {known['flush_ms']} ms a flush; binary log and every commit flushed")
        asyncio.run(_archived(place / "archive", events))
        peer = asyncio.run(_appended(place / "archive", server.new_database().admin_url))
        _say("rows appended, MariaDB", events, peer, "")
        limit = f"; limit {LIMIT_SECONDS * events / EVENTS:g} s"
        took = asyncio.run(_restored(place / "archive", server.new_database().admin_url))
        _say("restored, MariaDB", events, took, f"; {peer / took:.2f} of the rows alone{limit}")
        _say(
            "restored, SQLite", events, asyncio.run(_restored(place / "archive", f"sqlite+aiosqlite:///{place}/db")), ""
        )


def _say(what: str, events: int, seconds: float, more: str) -> None:
    print(f"  {what:24} {events:,} events in {seconds:6.1f} s, {events / seconds:8,.0f} a second{more}")


class _Made:
    """The log in memory, as a source."""

    name = "the log"
    is_primary = False

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records

    async def extent(self) -> Extent:
        return Extent(LEDGER_ID, 1, len(self._records), self._records[-1].hash)

    async def events(self, *, after: int, to: int) -> AsyncIterator[Sequence[Stored]]:
        for start in range(after, to, PART):
            some = self._records[start : min(start + PART, to)]
            yield [(each.position, each.body, each.hash) for each in some]


async def _archived(directory: Path, events: int) -> None:
    await archive(_Made(Log(events).records[:events]), directory, lambda done, of: None)


async def _opened(url: str) -> SqlStore:
    await migrate(url, ledger_id=LEDGER_ID)
    return open_store(url, lock_timeout_ms=TIMEOUT_MS)


async def _appended(directory: Path, url: str) -> float:
    source, store = ArchiveSource(directory), await _opened(url)
    began = time.perf_counter()
    extent, rows = await source.extent(), list[Record]()
    async for events in source.events(after=0, to=extent.last):
        rows += [record_of(body, hash) for _, body, hash in events]
        if len(rows) >= COPIED_AT_ONCE or rows[-1].position == extent.last:
            transaction = await store.begin()
            await transaction.append(rows)
            await transaction.commit()
            rows = []
    took = time.perf_counter() - began
    await store.close()
    return took


async def _restored(directory: Path, url: str) -> float:
    source, store = ArchiveSource(directory), await _opened(url)
    began = time.perf_counter()
    await restore(source, store, Plan("bench", "to measure it"), clock=SystemClock(), ids=RandomIds())
    took = time.perf_counter() - began
    await store.close()
    return took


if __name__ == "__main__":
    collect_less_often()
    main(*map(int, sys.argv[1:]))
