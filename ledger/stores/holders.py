"""Which processes have an SQLite file open, builds that know nothing of one another among them.

In WAL mode every connection holds a shared lock on a range of bytes of the file for as long as it is open
(https://www.sqlite.org/src/file/src/os_unix.c names the bytes). The kernel tells who holds it: F_GETLK names one,
and on Linux /proc/locks names all that this one may see.

POSIX locks have a trap: when a process closes *any* descriptor of a file, it loses all of its locks on it. So look
before this process opens the file itself, never while a connection of its own is open.
"""

import fcntl
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["UNSEEN", "holders", "holders_listed"]

SHARED_FIRST = 0x40000002
SHARED_SIZE = 510
LISTED = Path("/proc/locks")
UNSEEN = 0  # the process id of one that is there, but not to be seen from here: in another container

# struct flock: its members stand in another order on Linux than on the BSDs, macOS among them.
IS_LINUX = sys.platform == "linux"
FLOCK = "@hhqqi" if IS_LINUX else "@qqihh"


def holders(file: Path) -> set[int]:
    """Give the ids of the processes that have a file open as SQLite does; none for a file that is not there.

    Without /proc/locks it is one of them at most.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return set()
    except OSError:  # it may not be read from here
        return {UNSEEN}
    try:
        pid = _one(descriptor)
        if pid is None:
            return set()
        listed = LISTED.read_text(encoding="ascii") if LISTED.exists() else ""
        return {pid, *holders_listed(listed.splitlines(), os.fstat(descriptor).st_ino)}
    finally:
        os.close(descriptor)


def holders_listed(lines: Iterable[str], inode: int) -> Iterator[int]:
    """Give the processes that hold SQLite's shared lock on a file, from the lines of /proc/locks.

    The device is not compared: some filesystems show another one to programs than the kernel notes here.
    """
    for line in lines:
        match line.split():
            case [_, "POSIX", _, "READ", pid, place, first, last]:
                is_this = place.rpartition(":")[2] == str(inode)
                if is_this and (first, last) == (str(SHARED_FIRST), str(SHARED_FIRST + SHARED_SIZE - 1)):
                    yield int(pid)


def _one(descriptor: int) -> int | None:
    """Ask who would keep this process from locking the range for itself."""
    start, size = SHARED_FIRST, SHARED_SIZE
    wanted = (fcntl.F_WRLCK, os.SEEK_SET, start, size, 0) if IS_LINUX else (start, size, 0, fcntl.F_WRLCK, os.SEEK_SET)
    told = struct.unpack(FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(FLOCK, *wanted)))
    kind, pid = (told[0], told[4]) if IS_LINUX else (told[3], told[2])
    return None if kind == fcntl.F_UNLCK else max(pid, UNSEEN)
