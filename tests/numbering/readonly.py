"""Directories in which nothing can be written, also by root, to whom the modes of files mean nothing."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

__all__ = ["looked_at", "read_only"]

NOBODY = 65534


@contextmanager
def read_only(directory: Path) -> Iterator[Path]:
    """Give a path to a directory by which nothing can be written: a read-only mount, or this process is nobody.

    The second where a container lets nobody mount. That nothing can be written is tried out.
    """
    with ExitStack() as stack:
        place = directory.parent / f"{directory.name}-read-only"
        place.mkdir()
        if _mounted(directory, place):
            stack.callback(_unmount, place)
        else:
            place = directory
            stack.enter_context(_as_nobody(directory))
        with pytest.raises(OSError, match=r"Read-only|denied"):
            (place / "new").touch()
        yield place


def _mounted(directory: Path, place: Path) -> bool:
    for words in (["--bind", str(directory), str(place)], ["-o", "remount,bind,ro", str(place)]):
        if subprocess.run(["mount", *words], check=False, capture_output=True).returncode:
            _unmount(place)
            return False
    return True


def _unmount(place: Path) -> None:
    subprocess.run(["umount", place], check=False, capture_output=True)


@contextmanager
def _as_nobody(directory: Path) -> Iterator[None]:
    """Take the right to write from this process; root becomes nobody meanwhile."""
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in directory.parents:
        if parent.stat().st_uid == os.getuid():
            parent.chmod(parent.stat().st_mode | 0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path in (directory, *directory.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


def looked_at(directory: Path) -> dict[str, bytes]:
    """Give every file of a directory with its bytes."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
