"""Where a ledger is kept: MariaDB, SQLite, or memory for tests."""

from collections.abc import Callable

from ledger.stores.mariadb import MariaDBStore
from ledger.stores.memory import MemoryLog, MemoryStore
from ledger.stores.migration import migrate
from ledger.stores.sql import SqlStore
from ledger.stores.sqlite import SQLiteStore
from ledger.stores.urls import parse_url
from ledger.system import SystemClock

__all__ = ["MemoryLog", "MemoryStore", "SqlStore", "migrate", "open_store", "parse_url"]

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
