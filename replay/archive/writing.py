"""Append what a log has gained to its archive.

An event is in the archive once the manifest names it, and the manifest is written when the segment is on the disk: so a
run may be interrupted anywhere, and the next one goes on. One run at a time: the directory is locked.
"""

import fcntl
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ledger.codec import recorded_at
from ledger.log import format_of
from replay.archive import explained
from replay.archive.manifest import MANIFEST, BadArchive, Manifest, Segment, is_archive, segment_name
from replay.archive.segments import frame, missing
from replay.files import put_in_place, sync_directory, writing
from replay.following import Chain, Progress, checked
from replay.sources import Damaged, DatabaseSource, Extent, Source, Stored, apart, event_at

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["archive"]

SEGMENT_EVENTS = 100_000
FRAME_EVENTS = 10_000
FRAME_BYTES = 16 << 20
DIGEST_BYTES = 1 << 20
FORMAT_OF_COMPLETENESS = 3


async def archive(
    source: Source, directory: Path, progress: Progress, *, segment_events: int = SEGMENT_EVENTS
) -> tuple[int, Manifest]:
    """Archive what the source holds behind the archive's end; gives how many events, and the manifest.

    HISTORIES_DIFFER when the source is another ledger, tells another history, or ends before the archive does;
    BadArchive when the directory holds something else, a Fault when it cannot be written.
    """
    extent = await source.extent()
    with writing(directory):
        _make(directory)
        with _locked(directory):
            manifest = _begun(directory, extent.ledger_id)
            await _check(source, extent, manifest, directory)
            before, chain = manifest.position, Chain(manifest.position, manifest.hash)
            async for events in _gathered(checked(source, extent, chain, progress)):
                manifest = _appended(directory, manifest, events, segment_events)
            if await _may_tell(source):
                manifest = _completed(directory, manifest, extent)
    return manifest.position - before, manifest


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise BadArchive(f"{directory} is not a directory: name one that is empty, or an archive") from None


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BadArchive(f"another run is writing to {directory}: let it finish") from None
    finally:
        os.close(handle)


def _begun(directory: Path, ledger_id: str) -> Manifest:
    """Give the manifest that is there, or begin an archive in an empty directory."""
    if is_archive(directory):
        return Manifest.read(directory)
    strangers = sorted(path.name for path in directory.iterdir() if path.name != f"{MANIFEST}.new")
    if strangers:
        raise BadArchive(
            f"{directory} is no archive, and not empty (it holds {strangers[0]}): name an empty directory, or one that "
            "does not exist"
        )
    manifest = Manifest(ledger_id)
    manifest.write(directory)
    put_in_place(directory / explained.FILE, explained.explained(ledger_id))
    return manifest


async def _check(source: Source, extent: Extent, manifest: Manifest, directory: Path) -> None:
    """See that the source goes on where the archive ends."""
    if manifest.ledger_id != extent.ledger_id:
        raise apart(f"{directory} holds ledger {manifest.ledger_id}, not {extent.ledger_id}: name another directory")
    if extent.last < manifest.position:
        raise apart(
            f"{source.name} ends at position {extent.last}, but the archive goes on to {manifest.position}: it is an "
            "older copy, or has lost its end; see `numbering verify`, and restore the ledger"
        )
    last = await event_at(source, manifest.position) if manifest.position else None
    if manifest.position and (last is None or last[2] != manifest.hash):
        raise apart(
            f"{source.name} and the archive tell two histories: they differ at position {manifest.position} at the "
            "latest; see `numbering diff`. After a restore that cut the log, archive to a new directory"
        )


async def _gathered(parts: AsyncIterator[Sequence[Stored]]) -> AsyncIterator[Sequence[Stored]]:
    """Gather what is read into frames of a bounded size."""
    gathered: list[Stored] = []
    size = 0
    async for events in parts:
        for event in events:
            gathered.append(event)
            size += len(event[1])
            if len(gathered) >= FRAME_EVENTS or size >= FRAME_BYTES:
                yield gathered
                gathered, size = [], 0
    if gathered:
        yield gathered


async def _may_tell(source: Source) -> bool:
    """Say whether the manifest may tell up to when it is complete: builds before format 3 refuse one that does."""
    return not isinstance(source, DatabaseSource) or await format_of(source.store) >= FORMAT_OF_COMPLETENESS


def _completed(directory: Path, manifest: Manifest, extent: Extent) -> Manifest:
    """Note up to when the archive is complete, if the source knows, and later than another one did."""
    until = extent.complete_until
    if until is None or until <= (manifest.complete_until or 0):
        return manifest
    manifest = replace(manifest, complete_until=until)
    manifest.write(directory)
    return manifest


def _appended(directory: Path, manifest: Manifest, events: Sequence[Stored], segment_events: int) -> Manifest:
    """Append events to the last segment, as far as it takes them, and the others to new ones."""
    while events:
        last = manifest.segments[-1] if manifest.segments else None
        if last is None or last.last - last.first + 1 >= segment_events:
            segment = _empty(manifest, events[0])
            before = manifest.segments
        else:
            segment, before = last, manifest.segments[:-1]
        room = segment_events - (segment.last - segment.first + 1)
        segment = _extended(directory, segment, events[:room])
        manifest = replace(manifest, segments=(*before, segment))
        manifest.write(directory)
        events = events[room:]
    return manifest


def _empty(manifest: Manifest, event: Stored) -> Segment:
    first, hash, instant = event[0], manifest.hash.hex(), recorded_at(event[1])
    return Segment(segment_name(first), first, first - 1, hash, hash, instant, instant, 0, sha256().hexdigest())


def _extended(directory: Path, segment: Segment, events: Sequence[Stored]) -> Segment:
    """Append a frame to a segment's file, behind the bytes that count, and have it on the disk."""
    new = frame(events)
    with _opened(directory, segment) as file:
        digest = _digest(file, segment)
        file.truncate(segment.bytes)
        file.seek(segment.bytes)
        file.write(new)
        file.flush()
        os.fsync(file.fileno())
    if not segment.bytes:
        sync_directory(directory)
    digest.update(new)
    position, body, hash = events[-1]
    return replace(
        segment,
        last=position,
        hash=hash.hex(),
        last_recorded_at=recorded_at(body),
        bytes=segment.bytes + len(new),
        sha256=digest.hexdigest(),
    )


def _opened(directory: Path, segment: Segment) -> IO[bytes]:
    """Open a segment's file; one that is begun is new, whatever an interrupted run, or a link, has put in its place."""
    path = directory / segment.file
    if not segment.bytes:
        path.unlink(missing_ok=True)
        return path.open("x+b")
    try:
        return path.open("r+b")
    except FileNotFoundError:
        raise missing(directory, segment) from None


def _digest(file: IO[bytes], segment: Segment) -> "_Hash":
    """Hash the bytes that count; Damaged when they are not those of the manifest."""
    digest, left = sha256(), segment.bytes
    while left and (piece := file.read(min(DIGEST_BYTES, left))):
        digest.update(piece)
        left -= len(piece)
    if left or digest.hexdigest() != segment.sha256:
        raise Damaged(segment.first, f"{segment.file} is not the file that the manifest names: verify the archive")
    return digest
