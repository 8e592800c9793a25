"""Whether a log goes on from an event that was seen in it: what most stops say, and what ends them.

A stop is judged by the log alone, and under the head's lock: when it is written, because the log may be whole again by
then, and when it ends. Whoever asks without the lock may hear of two states of the log at once, and must ask again.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ledger.chain import genesis, link
from ledger.fold import BrokenChain
from ledger.ports import Head, Record, Stop, StopKind, Transaction

__all__ = ["NOT_ITS_OWN", "Seen", "break_at_head", "break_behind", "ended", "found_break", "lift_ended"]

# Where one of these stands, nothing that is found of the log ends a stop: this is half a ledger, or not the ledger.
NOT_ITS_OWN = frozenset({StopKind.MOVED, StopKind.RESTORING, StopKind.COPY})


class Seen(NamedTuple):
    """An event that somebody has seen in the log; at position 0 the hash from which the first event chains."""

    position: int
    hash: bytes


class _Reads(Protocol):
    """A store, or a transaction."""

    async def events(self, *, after: int, limit: int) -> Sequence[Record]: ...


async def found_break(seen: Seen, head: Head, log: _Reads) -> BrokenChain | None:
    """Say where a log, which ends at `head`, does not go on from an event that was seen; None when it does."""
    if head.position < seen.position:
        return break_at_head(seen, head)
    return break_behind(seen, head, await log.events(after=max(seen.position - 1, 0), limit=2))


def break_at_head(seen: Seen, head: Head) -> BrokenChain | None:
    """Judge by the head alone, which says nothing of an event before it."""
    if head.position < seen.position:
        return BrokenChain(
            f"the log ends at position {head.position}, but this process has seen {seen.position}: "
            "an older copy of the database was put in its place",
            StopKind.LOG_BEHIND,
        )
    if head.position == seen.position and head.hash != seen.hash:
        return _another_event(seen.position)
    return None


def break_behind(seen: Seen, head: Head, records: Sequence[Record]) -> BrokenChain | None:
    """Judge by the head and the events behind `seen.position - 1`, of which two are enough.

    The event itself may have been dropped from the log: the one behind it, or the head, chains from it or does not.
    """
    if found := break_at_head(seen, head):
        return found
    following = [record for record in records if record.position > seen.position]
    known = [record.hash for record in records if record.position == seen.position]
    if seen.position == 0:
        known = [genesis(head.ledger_id)]
    if any(hash != seen.hash for hash in known):
        return _another_event(seen.position)
    if head.position == seen.position:
        return None
    if not following:
        detail = f"the head says {head.position}, but the log ends at position {seen.position}"
        return BrokenChain(detail, StopKind.LOG_BEHIND)
    return _break_of_next(seen, following[0])


def _break_of_next(seen: Seen, record: Record) -> BrokenChain | None:
    if record.position != seen.position + 1:
        return BrokenChain(f"position {seen.position + 1} is missing: the log goes on at {record.position}")
    if link(seen.hash, record.body) != record.hash:
        return BrokenChain(f"the event at position {record.position} does not chain from the one before it")
    return None


def _another_event(position: int) -> BrokenChain:
    return BrokenChain(f"the event at position {position} is not the one that this process has seen")


async def ended(stops: Sequence[Stop], head: Head, log: _Reads) -> list[Stop]:
    """Give the stops that name an event which the log holds, and from which it goes on: what they say is over."""
    if any(stop.kind in NOT_ITS_OWN for stop in stops):
        return []
    return [stop for stop in stops if await _is_over(stop, head, log)]


async def _is_over(stop: Stop, head: Head, log: _Reads) -> bool:
    if stop.position is None or stop.hash is None:
        return False
    return await found_break(Seen(stop.position, stop.hash), head, log) is None


async def lift_ended(transaction: Transaction, copies: Sequence[Seen]) -> Sequence[Stop]:
    """Lift the stops that ended, and give them; none unless the log also goes on from the last event of each copy."""
    head = transaction.head
    for last in copies:
        if await found_break(last, head, transaction):
            return []
    over = await ended(await transaction.stops(), head, transaction)
    if over:
        await transaction.lift(lambda stop: stop in over)
    return over
