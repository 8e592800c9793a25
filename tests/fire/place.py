"""A ledger that a test has to itself, as an administrator sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Place"]


@dataclass(frozen=True)
class Place:
    """An empty, migrated ledger: the service's URL of it, and what an administrator can see and do."""

    url: str
    execute: Callable[[str], object]
    is_locked: Callable[[], bool]

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
