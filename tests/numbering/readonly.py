"""Directories in which nothing can be written, also by root, to whom the modes of files mean nothing otherwise."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

__all__ = ["looked_at", "read_only", "without_rights"]

CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two words of each set
PASSES_MODES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


@contextmanager
def read_only(directory: Path) -> Iterator[Path]:
    """Give a path to a directory by which nothing can be written.

    It is a read-only mount; where a container lets nobody mount, the modes of the files, which then bind this process.
    That nothing can be written is tried out.
    """
    with ExitStack() as stack:
        place = directory.parent / f"{directory.name}-read-only"
        place.mkdir()
        if _mounted(directory, place):
            stack.callback(_unmount, place)
        else:
            place = stack.enter_context(without_rights(directory))
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
def without_rights(directory: Path) -> Iterator[Path]:
    """Let nobody write to a directory and what is in it, by their modes."""
    paths = [directory, *directory.rglob("*")]
    before = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        with _bound_by_modes():
            yield directory
    finally:
        for path, mode in before.items():
            path.chmod(mode)


@contextmanager
def _bound_by_modes() -> Iterator[None]:
    """Give up what lets root pass the modes of files, in this thread and those that it starts."""
    if os.geteuid():
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; and the upper words of each
    assert libc.capget(header, sets) == 0
    effective = sets[0]
    sets[0] = effective & ~PASSES_MODES
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = effective
        assert libc.capset(header, sets) == 0


def looked_at(directory: Path) -> dict[str, bytes]:
    """Give every file of a directory with its bytes."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
