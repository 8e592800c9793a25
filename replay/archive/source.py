"""An archive as a source of events."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from replay.archive import segments
from replay.archive.manifest import Manifest
from replay.sources import Extent, Stored

__all__ = ["ArchiveSource"]


class ArchiveSource:
    """What the manifest named when it was opened: a run that goes on meanwhile does not matter."""

    is_primary = False

    def __init__(self, directory: Path, name: str | None = None) -> None:
        self.name = name or f"the archive {directory}"
        self.directory = directory
        self.manifest = Manifest.read(directory)

    async def extent(self) -> Extent:
        return Extent(
            self.manifest.ledger_id, 1, self.manifest.position, self.manifest.hash, self.manifest.complete_until
        )

    async def events(self, *, after: int, to: int) -> AsyncIterator[Sequence[Stored]]:
        for segment in self.manifest.segments:
            if segment.last > after and segment.first <= to:
                async for events in _ahead(segments.read(self.directory, segment)):
                    if wanted := _between(events, after, to):
                        yield wanted


async def _ahead(parts: Iterator[Sequence[Stored]]) -> AsyncIterator[Sequence[Stored]]:
    """Read in a thread, one part ahead of what is looked at."""
    following = asyncio.ensure_future(asyncio.to_thread(next, parts, None))
    try:
        while (part := await following) is not None:
            following = asyncio.ensure_future(asyncio.to_thread(next, parts, None))
            yield part
    finally:
        await asyncio.wait([following])
        if not following.cancelled():
            following.exception()


def _between(events: Sequence[Stored], after: int, to: int) -> Sequence[Stored]:
    if not events or (events[0][0] > after and events[-1][0] <= to):
        return events
    first = events[0][0]
    return events[max(after + 1 - first, 0) : max(to + 1 - first, 0)]
