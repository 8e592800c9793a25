"""Files that must be whole, or as they were before, whatever happens while they are written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.domain.rejection import Code
from ledger.ports import Fault

__all__ = ["put_in_place", "sync_directory", "writing"]


@contextmanager
def writing(place: Path, *, again: str = "run it again, it goes on where it was") -> Iterator[None]:
    """Say in words why a file or directory could not be written, and what to do when that was mended."""
    try:
        yield
    except OSError as error:
        at = error.filename or place
        happened = f"{at} cannot be written: {error.strerror}"
        raise Fault(Code.STORAGE_FAILED, happened, advice=f"mend that and {again}") from error


def put_in_place(path: Path, content: bytes) -> None:
    """Replace a file in one step, when its new content is on the disk."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)  # what was left there may be a link to elsewhere
    with new.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Have the names in a directory on the disk too."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
