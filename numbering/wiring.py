"""The ledger that the settings name, with the real world behind its ports."""

from ledger.service import Ledger
from ledger.stores import open_store
from ledger.system import RandomIds, SystemClock, aside, spawn
from ledger.writer import Limits
from numbering.settings import Settings

__all__ = ["open_ledger"]


def open_ledger(settings: Settings, *, allow_unsafe: bool = False) -> Ledger:
    """Give the ledger, to be entered; nothing is connected yet."""
    store = open_store(settings.database_url, lock_timeout_ms=settings.lock_timeout, allow_unsafe=allow_unsafe)
    limits = Limits(lock_timeout_seconds=settings.lock_timeout / 1000)
    return Ledger(store, clock=SystemClock(), ids=RandomIds(), spawn=spawn, aside=aside, limits=limits)
