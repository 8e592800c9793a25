"""Copy the log up to a moment to a new SQLite file, with the tables for reading built from it.

The file is a ledger's, but its head is stopped from the first transaction on: what is written to a copy would be lost.
It appears under its name when it is whole; what an interrupted run had made of it is removed.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

from ledger.domain.calendar import instant_text
from ledger.domain.rejection import Code, Rejection
from ledger.fold import Fold
from ledger.ports import Record, Stop, StopKind
from ledger.stores import SqlStore, migrate, open_store
from projections.rebuild import fold_rest, rebuild
from replay.files import sync_directory, writing
from replay.following import Progress
from replay.moments import Past, row_of, understood

__all__ = ["copy_events", "copy_to", "make_copy", "opened_copy"]

BATCH_EVENTS = 1_000
PART = ".part"
BESIDE = ("", "-wal", "-shm", "-journal")  # what SQLite keeps of a file while it is open
LOCK_TIMEOUT_MS = 60_000  # nobody else wants the file: only a slow disk could take so long


async def copy_to(file: Path, past: Past, progress: Progress) -> None:
    """Make a file that was not there; TARGET_NOT_EMPTY when it is, a Fault when it cannot be written."""
    with writing(file, again="run it again"), _new(file) as part:
        await make_copy(part, past, progress)
        await asyncio.to_thread(_settle, part)


async def copy_events(file: Path, past: Past, progress: Progress) -> None:
    """Copy a past to a file that is asked by its events alone."""
    await migrate(_url(file), ledger_id=past.ledger_id)
    async with opened_copy(file) as store:
        with understood():
            await _copy(store, past, progress)


async def make_copy(file: Path, past: Past, progress: Progress) -> Fold:
    """Copy a past to a file, and give what its events fold to. Copying is half of the way, the tables are the other."""
    await migrate(_url(file), ledger_id=past.ledger_id)
    async with opened_copy(file) as store:
        with understood():
            fold = await _copy(store, past, lambda done, of: progress(done, 2 * of))
            await rebuild(store, lambda done, of: progress(of + done, 2 * of))
            await fold_rest(store)
    return fold


@asynccontextmanager
async def opened_copy(file: Path) -> AsyncIterator[SqlStore]:
    store = open_store(_url(file), lock_timeout_ms=LOCK_TIMEOUT_MS)
    try:
        yield store
    finally:
        await store.close()


def _url(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


async def _copy(store: SqlStore, past: Past, progress: Progress) -> Fold:
    fold, waiting = Fold(past.ledger_id), list[Record]()
    async for events in past.events(progress):
        records = list(map(row_of, events))
        fold.take(records)
        waiting += records
        while len(waiting) >= BATCH_EVENTS:
            await _append(store, waiting[:BATCH_EVENTS])
            del waiting[:BATCH_EVENTS]
    await _append(store, waiting)
    return fold


async def _append(store: SqlStore, records: Sequence[Record]) -> None:
    transaction = await store.begin()
    try:
        await transaction.append(records)
        head = transaction.head
        then = f", {instant_text(head.recorded_at)}" if head.position else ""
        detail = f"this is a copy of the ledger as of position {head.position}{then}, for reading only"
        await transaction.lift(lambda stop: stop.kind is StopKind.COPY)  # as of the batch before
        await transaction.stop(Stop(StopKind.COPY, detail))
        await transaction.commit()
    finally:
        await transaction.rollback()


@contextmanager
def _new(file: Path) -> Iterator[Path]:
    """Give the path to write to, which becomes `file` if all goes well, and else is removed."""
    part = file.with_name(f"{file.name}{PART}")
    for path, what in ((file, "is there already: name a new file"), (part, "is there: another run writes it, or died")):
        if path.exists():
            raise Rejection(Code.TARGET_NOT_EMPTY, f"{path} {what}")
    part.touch(exist_ok=False)
    try:
        yield part
        part.rename(file)
        sync_directory(file.parent)
    finally:
        for beside in BESIDE:
            part.with_name(f"{part.name}{beside}").unlink(missing_ok=True)


def _settle(file: Path) -> None:
    """Leave one file, which can be read from a medium that is not to be written, and have it on the disk."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
