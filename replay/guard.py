"""The log beside its archive, before anything is written: one that is behind it, or forked from it, is a stale copy."""

from dataclasses import dataclass
from pathlib import Path

from ledger.ports import Head, Store
from ledger.writer import SEEN
from replay.archive.manifest import BadArchive, Manifest, is_archive
from replay.sources import apart

__all__ = ["Standing", "guard", "standing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a log stands to its archive; `why` says for what it must not be written to, None when it may."""

    head: Head
    manifest: Manifest
    why: str | None


async def guard(store: Store, directory: Path) -> None:
    """Stop the ledger, for every process, when it is behind its archive or forked from it.

    BadArchive when it cannot be compared, HISTORIES_DIFFER when the archive is another ledger's.
    """
    head = await store.head()
    if not head.position and not is_archive(directory):
        return  # a ledger that is just begun
    found = await standing(store, directory)
    if found.why and not found.head.stopped:
        await _stop(store, found.manifest, directory)


async def standing(store: Store, directory: Path) -> Standing:
    """Compare a log with its archive: the archive is read first, for the log only grows."""
    if not is_archive(directory):
        raise BadArchive(f"{directory} is no archive: run `numbering archive {directory}` once, or mount it")
    manifest = Manifest.read(directory)
    head = await store.head()
    if head.ledger_id != manifest.ledger_id:
        raise apart(f"{directory} is the archive of ledger {manifest.ledger_id}, and this is {head.ledger_id}")
    return Standing(head, manifest, await _why(store, head, manifest, directory))


async def _why(store: Store, head: Head, manifest: Manifest, directory: Path) -> str | None:
    if head.position < manifest.position:
        what = f"goes on to position {manifest.position}, but the log ends at {head.position}"
    elif manifest.position and not await _holds(store, manifest):
        what = f"tells another history than this log, at position {manifest.position} at the latest"
    else:
        return None
    seen = SEEN.format(position=manifest.position, hash=manifest.hash.hex())
    return f"the archive {directory} {what}: this is a stale copy; restore the ledger from its archive ({seen})"


async def _holds(store: Store, manifest: Manifest) -> bool:
    records = await store.events_at([manifest.position])
    return bool(records) and records[0].hash == manifest.hash


async def _stop(store: Store, manifest: Manifest, directory: Path) -> None:
    """Compare once more under the lock, for others may have written meanwhile, and stop all of them."""
    transaction = await store.begin()
    try:
        why = await _why(store, transaction.head, manifest, directory)
        if why and not transaction.head.stopped:
            await transaction.stop(why)
            await transaction.commit()
    finally:
        await transaction.rollback()
