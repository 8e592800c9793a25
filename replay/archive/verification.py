"""The chain of an archive, checked by all cores: the manifest says with which hash each segment begins and ends.

It finds what `checked` finds in an archive, and takes a third of the time on two cores: no event is made of a line, and
its hash is compared with those of many others at once.
"""

import os
import signal
import threading
from binascii import hexlify
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from multiprocessing import get_context, parent_process
from pathlib import Path

from replay.archive.manifest import BadArchive, Manifest, Segment
from replay.archive.segments import BODY, HASH, events_of, lines_of
from replay.following import Chain, Progress
from replay.sources import Damaged

__all__ = ["verify_chain"]

Flaw = tuple[int, str] | str  # of a position, or of the archive


def verify_chain(
    directory: Path, manifest: Manifest, progress: Progress = lambda done, of: None, *, processes: int = 0
) -> None:
    """Follow the chain through an archive; Damaged at the first position that does not follow, or a BadArchive.

    Without `processes` there are as many as there are cores. They begin at once in a process that has no threads yet.
    """
    with _mapping(directory, manifest, processes or _cores()) as flaws:
        for segment, flaw in zip(manifest.segments, flaws, strict=True):
            if isinstance(flaw, str):
                raise BadArchive(flaw)
            if flaw:
                raise Damaged(*flaw)
            progress(segment.last, manifest.position)


@contextmanager
def _mapping(directory: Path, manifest: Manifest, processes: int) -> Iterator[Iterator[Flaw | None]]:
    """Look for the flaw of each segment, in order."""
    directories, segments = [directory] * len(manifest.segments), manifest.segments
    processes = min(processes, len(segments))
    if processes < 2:
        yield map(_flaw, directories, segments)
        return
    # A forked process has all its modules, where a new one takes half a second to load them; but a lock that another
    # thread holds at that moment is held in it for ever.
    context = get_context("fork" if threading.active_count() == 1 else "spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin)
    try:
        yield pool.map(_flaw, directories, segments)
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """End in silence at an interrupt, and whenever the process ends that has begun this one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent
    parent.join()
    os._exit(1)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _flaw(directory: Path, segment: Segment) -> Flaw | None:
    try:
        _follow(directory, segment)
    except Damaged as damaged:
        return damaged.position, damaged.what
    except BadArchive as bad:
        return bad.detail
    return None


def _follow(directory: Path, segment: Segment) -> None:
    position, previous = segment.first - 1, bytes.fromhex(segment.previous_hash)
    for lines in lines_of(directory, segment):
        chain = Chain(position, previous)
        # What `ledger.chain.link` does, without a call for each of millions.
        hashes = [previous := sha256(previous + line[BODY]).digest() for line in lines]
        if hexlify(b"".join(hashes)) != b"".join([line[HASH] for line in lines]):
            chain.follow(events_of(position + 1, lines, segment))
        position += len(lines)
        Chain.check_told(position, lines[-1][BODY])
    if previous.hex() != segment.hash:
        raise Damaged(segment.last, f"the last event of {segment.file} is not the one that the manifest names")
