"""Follow the log: fold what any process has committed, and notice when the log is not the one seen before."""

from collections.abc import Sequence

from ledger.domain.rejection import Code
from ledger.feed import Feed
from ledger.fold import BrokenChain, Fold
from ledger.ports import Fault, Head, Record, Store, Transaction

__all__ = ["Follower", "stopped"]


def stopped(why: str) -> Fault:
    return Fault(Code.LEDGER_STOPPED, f"writing is stopped: {why}")


class Follower:
    """`fold` is None until the log was first read; `head_stopped` is what the head said when it was last read.

    `witnessed` is a position that somebody beside us knows the log to have reached.
    """

    def __init__(self, store: Store, feed: Feed, *, chunk: int, under_lock: int) -> None:
        self._store = store
        self._feed = feed
        self._chunk = chunk
        self._under_lock = under_lock
        self.fold: Fold | None = None
        self.head_stopped: str | None = None
        self.witnessed = 0

    async def catch_up(self) -> Fold | None:
        """Fold a part of what was committed since, without the lock; None when there is more.

        BrokenChain when the log is not the one that was folded before.
        """
        head = await self._store.head()
        fold = self.fold = self.fold or Fold(head.ledger_id)
        _check(head, fold)
        self.head_stopped = head.stopped
        if fold.position < head.position:
            self._take(fold, await self._next_events(head, fold))
        return None if fold.position < head.position else fold

    async def join(self, transaction: Transaction) -> Fold | None:
        """Fold up to the locked head; None when it is too far ahead to keep the lock for so long."""
        head, fold = transaction.head, self.fold
        self.head_stopped = head.stopped
        if head.stopped:
            raise stopped(head.stopped)
        if head.position < self.witnessed:
            raise stopped(
                f"the log ends at position {head.position}, but its mirror has seen {self.witnessed}: the database has "
                "lost its end; see `numbering mirror status`"
            )
        if fold is None or head.position - fold.position > self._under_lock:
            return None
        _check(head, fold)
        missing = head.position - fold.position
        if missing:
            self._take(fold, await transaction.events(after=fold.position, limit=missing))
            _check(head, fold)
        return fold

    def _take(self, fold: Fold, records: Sequence[Record]) -> None:
        fold.take(records)
        self._feed.put(records)

    async def _next_events(self, head: Head, fold: Fold) -> Sequence[Record]:
        limit = min(self._chunk, head.position - fold.position)
        records = await self._store.events(after=fold.position, limit=limit)
        if not records:
            raise BrokenChain(f"the head says {head.position}, but the log ends at position {fold.position}")
        return records


def _check(head: Head, fold: Fold) -> None:
    if head.ledger_id != fold.ledger_id:
        raise BrokenChain(f"the database now holds ledger {head.ledger_id}, not {fold.ledger_id}")
    if head.position < fold.position:
        raise BrokenChain(
            f"the log ends at position {head.position}, but this process has seen {fold.position}: "
            "an older copy of the database was put in its place"
        )
    if head.position == fold.position and head.hash != fold.hash:
        raise BrokenChain(f"the event at position {head.position} is not the one that this process has seen")
