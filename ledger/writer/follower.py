"""Follow the log: fold what any process has committed, and notice when the log is not the one seen before.

The fold begins at the newest snapshot, if that can be read and this log goes on from it, else before the first event.
A snapshot is never worse than none: what is wrong with it is found before it is used, or the log is folded anew.
"""

import logging
from collections.abc import Sequence

from ledger import chain, snapshots
from ledger.codec import UnknownEvent
from ledger.continuity import NOT_ITS_OWN, Seen, break_at_head, break_behind, found_break
from ledger.domain.rejection import Code
from ledger.domain.state import FOLD_VERSION
from ledger.feed import Feed
from ledger.fold import BrokenChain, Fold
from ledger.ports import Fault, Head, Record, Snapshot, Stop, Store, StoreFault, Transaction, reasons
from ledger.snapshots import Unusable
from ledger.writer.clocks import Clocks

__all__ = ["Follower", "stopped", "stopped_by"]

_log = logging.getLogger(__name__)

SNAPSHOT_ATTEMPTS = 3  # to read one from a database that answers everything else


def stopped(why: str) -> Fault:
    return Fault(Code.LEDGER_STOPPED, f"writing is stopped: {why}")


def stopped_by(stops: Sequence[Stop]) -> Fault:
    is_elsewhere = any(stop.kind in NOT_ITS_OWN for stop in stops)
    advice = None if is_elsewhere else "an operator runs `numbering resume`, which says what ends this"
    return Fault(Code.LEDGER_STOPPED, f"writing is stopped: {reasons(stops)}", advice=advice)


class Follower:
    """`fold` is None until the log was first read; `stops` are those that stood when the head was last read.

    `witnessed` is a position that somebody beside us knows the log to have reached, `began_at` that of the snapshot at
    which the fold began, or 0.
    """

    def __init__(self, store: Store, feed: Feed, clocks: Clocks, *, chunk: int, under_lock: int) -> None:
        self._store = store
        self._clocks = clocks
        self._feed = feed
        self._chunk = chunk
        self._under_lock = under_lock
        self.fold: Fold | None = None
        self.stops: Sequence[Stop] = ()
        self.witnessed = 0
        self.began_at = 0
        self._attempts = SNAPSHOT_ATTEMPTS  # those that are left

    async def catch_up(self) -> Fold | None:
        """Fold a part of what was committed since, without the lock; None when there is more.

        BrokenChain when the log is not the one that was folded before.
        """
        before = self._clocks.instant()
        head, now = await self._store.head_and_now()
        self._clocks.see(before, now)
        fold = self.fold = self.fold or await self._begun(head)
        _check(head, fold)
        # The head's count may be gone: a replica that still applies what it received overwrites it, and not the rows.
        self.stops = await self._store.stops() if head.is_stopped or self.stops else ()
        if fold.position < head.position:
            self._take(fold, await self._next_events(head, fold))
        return None if fold.position < head.position else fold

    async def join(self, transaction: Transaction) -> Fold | None:
        """Fold up to the locked head; None when it is too far ahead to keep the lock for so long."""
        head, fold = transaction.head, self.fold
        self.stops = await transaction.stops() if head.is_stopped or self.stops else ()
        if self.stops:
            raise stopped_by(self.stops)
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
        return self.fold

    async def broken(self, head: Head, log: Store | Transaction) -> BrokenChain | None:
        """Say how the log is not the one that was folded; None when it is, and goes on from there."""
        fold = self.fold
        if fold is None:
            return None
        return _break_of_ledger(head, fold) or await found_break(Seen(fold.position, fold.hash), head, log)

    async def _begun(self, head: Head) -> Fold:
        # Who may not read why writing is stopped could not say why it must be, either: that is told now, not then.
        self.stops = await self._store.stops()
        snapshot = await self._newest(head)
        if snapshot is not None:
            try:
                fold = snapshots.read(snapshot, head.ledger_id)
                await self._check_goes_on(head, fold)
            except Unusable as why:
                _ignore(f"the snapshot at position {snapshot.position}", why)
            else:
                self.began_at = fold.position
                self._feed.begin(fold.position)
                return fold
        return Fold(head.ledger_id)

    async def _newest(self, head: Head) -> Snapshot | None:
        """Read the newest snapshot; None as well when none may be used, or it was asked for in vain often enough."""
        if not self._attempts:
            return None
        try:
            return await self._store.newest_snapshot(FOLD_VERSION, at_most=head.position)
        except StoreFault as fault:
            self._attempts -= 1
            if fault.transient and self._attempts:
                raise
            self._attempts = 0
            _ignore("the newest snapshot", fault)
            return None

    async def _check_goes_on(self, head: Head, fold: Fold) -> None:
        """Raise Unusable unless this log holds the last event of a fold, if it does still, and goes on behind it."""
        records = await self._store.events(after=fold.position - 1, limit=2)
        found = {record.position: record for record in records}
        last, following = found.get(fold.position), found.get(fold.position + 1)
        if last is not None and last.hash != fold.hash:
            raise Unusable("the log has another event there")
        if following is None and (head.position, head.hash) != (fold.position, fold.hash):
            raise Unusable("the log does not go on behind it")
        if following is not None and following.hash != chain.link(fold.hash, following.body):
            raise Unusable("the log goes on from another event")

    def _take(self, fold: Fold, records: Sequence[Record]) -> None:
        try:
            fold.take(records)
        except BrokenChain:
            self._hand_on([record for record in records if record.position <= fold.position])
            raise
        except UnknownEvent as why:
            if not (fold.is_spoilt and self.began_at):
                raise
            # It is the snapshot that may be wrong: the events alone will tell.
            _ignore(f"the snapshot at position {self.began_at}", why)
            self.fold, self.began_at, self._attempts = None, 0, 0
            return
        self._hand_on(records)

    def _hand_on(self, records: Sequence[Record]) -> None:
        """Give what was folded to those who follow the log, without a hole: the log may be whole again later."""
        self._feed.put([record for record in records if record.position > self._feed.position])

    async def _next_events(self, head: Head, fold: Fold) -> Sequence[Record]:
        limit = min(self._chunk, head.position - fold.position)
        records = await self._store.events(after=fold.position, limit=limit)
        if not records:
            found = break_behind(Seen(fold.position, fold.hash), head, [])
            assert found is not None, "the head is ahead, and there is no event"
            raise found
        return records


def _ignore(what: str, why: Exception) -> None:
    _log.warning("%s is ignored, and the log folded from its beginning: %s", what, why)


def _check(head: Head, fold: Fold) -> None:
    found = _break_of_ledger(head, fold) or break_at_head(Seen(fold.position, fold.hash), head)
    if found:
        raise found


def _break_of_ledger(head: Head, fold: Fold) -> BrokenChain | None:
    if head.ledger_id == fold.ledger_id:
        return None
    return BrokenChain(f"the database now holds ledger {head.ledger_id}, not {fold.ledger_id}")
