"""Where a ledger is kept: MariaDB, SQLite, or memory for tests."""

from collections.abc import Callable

from sqlalchemy import URL, exc, make_url

from ledger.stores.mariadb import MariaDBStore
from ledger.stores.memory import MemoryLog, MemoryStore
from ledger.stores.migration import migrate
from ledger.stores.sql import SqlStore
from ledger.stores.sqlite import SQLiteStore
from ledger.system import SystemClock

__all__ = ["MemoryLog", "MemoryStore", "SqlStore", "migrate", "open_store", "parse_url"]

SQLITE_OPTIONS = {"uri", "mode", "immutable", "nolock", "vfs"}
MIN_LOCK_TIMEOUT_MS = 2000  # the server's own waits are whole seconds and must be shorter


def open_store(
    url: str,
    *,
    lock_timeout_ms: int = 5000,
    allow_unsafe: bool = False,
    now: Callable[[], int] = SystemClock.now,
) -> SqlStore:
    """Give the store of a database URL; nothing is connected yet.

    `allow_unsafe` accepts a MariaDB that could lose an acknowledged event. `now` is the clock of SQLite, whose clock
    is this machine's; MariaDB has its own.
    """
    if lock_timeout_ms < MIN_LOCK_TIMEOUT_MS:
        raise ValueError(f"the lock timeout is {lock_timeout_ms} ms; it must be {MIN_LOCK_TIMEOUT_MS} or more")
    parsed = parse_url(url)
    if parsed.drivername == "mariadb+asyncmy":
        return MariaDBStore(parsed, lock_timeout_ms=lock_timeout_ms, allow_unsafe=allow_unsafe)
    return SQLiteStore(parsed, lock_timeout_ms=lock_timeout_ms, now=now)


def parse_url(text: str) -> URL:
    """Read a ledger's database URL; a ValueError says what is wrong with it."""
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        raise ValueError("the database URL is not of the form driver://user:password@host/name") from None
    match url.drivername:
        case "mariadb+asyncmy" if not url.database or not url.host:
            raise ValueError(
                "a MariaDB ledger needs a host and a database: mariadb+asyncmy://USER:PASSWORD@HOST/DATABASE"
            )
        case "sqlite+aiosqlite" if url.database in (None, "", ":memory:"):
            raise ValueError("a SQLite ledger needs a file; use MemoryStore for tests")
        case "sqlite+aiosqlite" if unknown := set(url.query) - SQLITE_OPTIONS:
            raise ValueError(f"the database URL has unknown options: {', '.join(sorted(unknown))}")
        case "mariadb+asyncmy" | "sqlite+aiosqlite":
            return url
        case other:
            raise ValueError(f"the database URL begins with {other}: use mariadb+asyncmy or sqlite+aiosqlite")
