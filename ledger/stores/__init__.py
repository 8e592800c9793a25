"""Where a ledger is kept: MariaDB, SQLite, or memory for tests."""

from collections.abc import Callable

from sqlalchemy import exc, make_url

from ledger.ports import Store
from ledger.stores.mariadb import MariaDBStore
from ledger.stores.memory import MemoryLog, MemoryStore, system_now
from ledger.stores.migration import migrate
from ledger.stores.sqlite import SQLiteStore

__all__ = ["MemoryLog", "MemoryStore", "migrate", "open_store"]

MIN_LOCK_TIMEOUT_MS = 2000  # the server's own waits are whole seconds and must be shorter


def open_store(
    url: str,
    *,
    lock_timeout_ms: int = 5000,
    allow_unsafe: bool = False,
    now: Callable[[], int] = system_now,
) -> Store:
    """Give the store of a database URL; nothing is connected yet.

    `allow_unsafe` accepts a MariaDB that could lose an acknowledged event. `now` is the clock of SQLite, whose clock
    is this machine's; MariaDB has its own.
    """
    if lock_timeout_ms < MIN_LOCK_TIMEOUT_MS:
        raise ValueError(f"the lock timeout is {lock_timeout_ms} ms; it must be {MIN_LOCK_TIMEOUT_MS} or more")
    try:
        parsed = make_url(url)
    except exc.ArgumentError as error:
        raise ValueError("the database URL is not of the form driver://user:password@host/name") from error
    match parsed.drivername:
        case "mariadb+asyncmy":
            return MariaDBStore(parsed, lock_timeout_ms=lock_timeout_ms, allow_unsafe=allow_unsafe)
        case "sqlite+aiosqlite" if parsed.database not in (None, "", ":memory:"):
            return SQLiteStore(parsed, lock_timeout_ms=lock_timeout_ms, now=now)
        case "sqlite+aiosqlite":
            raise ValueError("a SQLite ledger needs a file; use MemoryStore for tests")
        case other:
            raise ValueError(f"the database URL begins with {other}: use mariadb+asyncmy or sqlite+aiosqlite")
