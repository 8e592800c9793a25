"""A ledger that a test has to itself, as an administrator sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread

__all__ = ["Place"]

TAKING_SECONDS = 0.3


@dataclass(frozen=True)
class Place:
    """An empty, migrated ledger: the service's URL of it, and what an administrator can see and do.

    `hold` lets no COMMIT through for some seconds, as a backup does; on SQLite, where nothing else could, no write.
    """

    url: str
    execute: Callable[[str], object]
    is_locked: Callable[[], bool]
    hold: Callable[[float], None]

    @contextmanager
    def held(self, seconds: float) -> Iterator[None]:
        """Hold for so long whatever is done meanwhile."""
        holder = Thread(target=self.hold, args=[seconds])
        holder.start()
        time.sleep(min(seconds, TAKING_SECONDS))
        try:
            yield
        finally:
            holder.join()

    def rewind(self, *, by: int) -> None:
        """Put the state of some events ago in place, as one who restores an old copy does."""
        self.execute(f"""
            DROP TRIGGER events_refuse_delete;
            BEGIN;
            UPDATE ledger_head SET position = position - {by};
            UPDATE ledger_head SET
                hash = (SELECT hash FROM events WHERE events.position = ledger_head.position),
                recorded_at = (SELECT recorded_at FROM events WHERE events.position = ledger_head.position);
            DELETE FROM events WHERE position > (SELECT position FROM ledger_head);
            COMMIT;
        """)
