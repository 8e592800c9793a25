"""A ledger in an SQLite file, opened to be read: nothing is changed, neither the file nor what lies beside it.

A file in WAL mode is not read by `mode=ro` alone. SQLite would make `-wal` and `-shm` beside it, which a read-only
directory refuses, and which stay behind, perhaps for a service of another account (https://www.sqlite.org/wal.html,
"Read-Only Databases"). So there are three ways, chosen each time that a connection is opened:

- `-wal` and `-shm` are there: somebody has the file open, or died. SQLite reads both, also where they are read-only.
- there is no `-wal`, or an empty one without `-shm`: the file alone is the whole database. It is read as `immutable`,
  which makes no file and takes no lock. Whether anybody changed the file meanwhile is seen after each reading.
- there is a `-wal` without `-shm`, as in a copy of the files: a private copy of both is read.

A file that is not in WAL mode, as a copy of `numbering replay --sqlite` is, is read as it stands.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import quote

import aiosqlite
from sqlalchemy import URL, NullPool
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.domain.rejection import Code
from ledger.ports import StoreFault
from ledger.stores.sql import FileChanged, SqlTransaction
from ledger.stores.sqlite import SQLiteStore, file_fault, file_of

__all__ = ["SQLiteReader", "Way", "seen", "way_of"]

BESIDE = ("", "-wal", "-journal")  # what SQLite keeps of the database's content
WRITE_VERSION = 18  # where the file says how it is written: 2 is WAL
WAL = b"\2"


class Way(Enum):
    """How a file is read."""

    AS_IT_STANDS = auto()
    IMMUTABLE = auto()
    COPIED = auto()


Trace = tuple[object, ...]


def seen(file: Path) -> Trace:
    """Give what changes when somebody opens the file in WAL mode, or changes it."""
    return (*(_stat(Path(f"{file}{suffix}")) for suffix in BESIDE), Path(f"{file}-shm").exists())


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def way_of(file: Path) -> Way:
    """Choose how to read a file, by what lies beside it."""
    with file.open("rb") as opened:
        is_wal = opened.read(WRITE_VERSION + 1)[WRITE_VERSION:] == WAL
    wal = _stat(Path(f"{file}-wal"))
    if Path(f"{file}-shm").exists() and wal is not None:
        return Way.AS_IT_STANDS
    if wal is not None and wal[1]:
        return Way.COPIED
    return Way.IMMUTABLE if is_wal else Way.AS_IT_STANDS


@dataclass(frozen=True, slots=True)
class _Copy:
    """A private copy of the file and its log, as they were when they looked so."""

    file: Path
    of: Trace


class SQLiteReader(SQLiteStore):
    def __init__(self, url: URL, *, lock_timeout_ms: int, now: Callable[[], int]) -> None:
        super().__init__(url, lock_timeout_ms=lock_timeout_ms, now=now)
        # None is kept: somebody who ends while we read could not tidy up, and an immutable one grows old.
        self.readers = self._engine(url, poolclass=NullPool)
        self._path = file_of(url)
        self._copy: _Copy | None = None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection; FileChanged when what was read with it may be nonsense."""
        before = await asyncio.to_thread(self._look)
        try:
            async with self.readers.connect() as connection:
                yield connection
        except Exception as error:
            if before is not None and await asyncio.to_thread(self._look) != before:
                raise FileChanged from error
            raise
        if before is not None and await asyncio.to_thread(self._look) != before:
            raise FileChanged

    def _look(self) -> Trace | None:
        """Give the traces of a file that must not change meanwhile; None where SQLite itself sees to that."""
        if not self._path.is_file() or way_of(self._path) is Way.AS_IT_STANDS:
            return None
        return seen(self._path)

    async def open(self) -> aiosqlite.Connection:
        if (missing := file_fault(str(self._path))) is not None:
            raise missing
        try:
            return await self.connected(await asyncio.to_thread(self._uri))
        except OSError as error:
            what = f"the database file cannot be read: {error.strerror}"
            raise StoreFault(Code.DATABASE_UNAVAILABLE, what, advice="check its permissions") from error

    def _uri(self) -> str:
        match way_of(self._path):
            case Way.AS_IT_STANDS:
                return f"file:{quote(str(self._path))}?mode=ro"
            case Way.IMMUTABLE:
                return f"file:{quote(str(self._path))}?mode=ro&immutable=1"
            case Way.COPIED:
                return f"file:{quote(str(self._copied().file))}?mode=ro"

    def _copied(self) -> _Copy:
        now = seen(self._path)
        if self._copy is None or self._copy.of != now:
            self._drop_copy()
            directory = Path(mkdtemp(prefix="numbering-"))
            self._copy = _Copy(directory / self._path.name, now)
            for suffix in BESIDE[:2]:
                shutil.copyfile(f"{self._path}{suffix}", f"{self._copy.file}{suffix}")
            if seen(self._path) != now:
                raise FileChanged
        return self._copy

    def _drop_copy(self) -> None:
        if self._copy is not None:
            shutil.rmtree(self._copy.file.parent, ignore_errors=True)
            self._copy = None

    async def begin(self) -> SqlTransaction:
        raise StoreFault(Code.DATABASE_READ_ONLY, "the database was opened for reading only")

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            await asyncio.to_thread(self._drop_copy)
