"""The log beside its archive, before anything is written: one that is behind it, or forked from it, is a stale copy."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from ledger.continuity import Seen
from ledger.domain.rejection import Rejection
from ledger.ports import NO_LEDGER, Fault, Head, Stop, StopKind, Store
from ledger.writer.follower import stopped
from replay.archive.manifest import BadArchive, Manifest, is_archive
from replay.sources import apart

__all__ = ["Standing", "guard", "last_of_archive", "standing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a log stands to its archive; `stop` says for what it must not be written to, None when it may."""

    head: Head
    manifest: Manifest
    stop: Stop | None


async def guard(store: Store, directory: Path) -> None:
    """Stop the ledger, for every process, when it is behind its archive or forked from it.

    BadArchive when it cannot be compared, HISTORIES_DIFFER when the archive is another ledger's.
    """
    head = await store.head()
    if not head.position and not is_archive(directory):
        return  # a ledger that is just begun
    found = await standing(store, directory)
    if found.stop:
        await _stop(store, found.manifest, directory)


async def last_of_archive(store: Store, directory: Path) -> Seen | None:
    """Compare the log with its archive now, and give the archive's last event, if it holds any: the writer's `Copy`."""
    try:
        found = await standing(store, directory)
    except Rejection as why:  # it is no archive, or that of another ledger
        raise Fault(why.code, why.detail) from why
    if found.stop:
        raise stopped(found.stop.text)
    return Seen(found.manifest.position, found.manifest.hash) if found.manifest.position else None


async def standing(store: Store, directory: Path) -> Standing:
    """Compare a log with its archive: the archive is read first, for the log only grows."""
    if not is_archive(directory):
        raise BadArchive(f"{directory} is no archive: run `numbering archive {directory}` once, or mount it")
    manifest = await asyncio.to_thread(Manifest.read, directory)  # its disk may be slow, or away
    head = await store.head()
    if head.ledger_id != manifest.ledger_id:
        raise apart(f"{directory} is the archive of ledger {manifest.ledger_id}, and this is {head.ledger_id}")
    return Standing(head, manifest, await _reason(store, head, manifest, directory))


async def _reason(store: Store, head: Head, manifest: Manifest, directory: Path) -> Stop | None:
    if head.position < manifest.position:
        kind = StopKind.ARCHIVE_AHEAD
        what = f"goes on to position {manifest.position}, but the log ends at {head.position}"
    elif manifest.position and not await _holds(store, manifest):
        kind = StopKind.ARCHIVE_FORKED
        what = f"tells another history than this log, at position {manifest.position} at the latest"
    else:
        return None
    detail = f"the archive {directory} {what}: this is a stale copy; restore the ledger from its archive"
    return Stop(kind, detail, manifest.position, manifest.hash)


async def _holds(store: Store, manifest: Manifest) -> bool:
    records = await store.events_at([manifest.position])
    return bool(records) and records[0].hash == manifest.hash


async def _stop(store: Store, manifest: Manifest, directory: Path) -> None:
    """Compare once more under the lock, for others may have written meanwhile, and stop all of them.

    But not while there is only half of a ledger, which a restore fills.
    """
    transaction = await store.begin()
    try:
        stop = await _reason(store, transaction.head, manifest, directory)
        is_ledger = transaction.head.ledger_id == manifest.ledger_id and not any(
            each.kind in NO_LEDGER for each in await transaction.stops()
        )
        if stop and is_ledger and await transaction.stop(stop):
            await transaction.commit()
    finally:
        await transaction.rollback()
