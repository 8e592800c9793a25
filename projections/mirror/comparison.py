"""The mirror beside the log: does the one continue the other, or do they tell two histories?

The stream's tail is read first and the log's head second: the log only grows, so a stream that is ahead of a head read
after it knows of events that this database has lost.
"""

from dataclasses import dataclass
from enum import Enum

from ledger import chain
from ledger.ports import Head, Stop, StopKind, Store
from projections.mirror.stream import Stream, Tail

__all__ = ["Comparison", "Verdict", "compare"]


class Verdict(Enum):
    """`meaning` ends a sentence that begins with the mirror."""

    meaning: str

    def __init__(self, number: int, meaning: str) -> None:
        self.meaning = meaning

    EMPTY = 1, "is empty"
    FOLLOWS = 2, "follows the log"
    EMPTIED = 3, "lost its entries"
    AHEAD = 4, "continues the log with events that the database has lost"
    FORKED = 5, "tells another history than the log"
    SUPERSEDED = 6, "is of before a restore"


@dataclass(frozen=True, slots=True)
class Comparison:
    verdict: Verdict
    tail: Tail
    head: Head

    @property
    def forbids_writing(self) -> bool:
        return self.verdict in _STOPS

    @property
    def detail(self) -> str:
        return f"the mirror {self._what}"

    @property
    def _what(self) -> str:
        """End a sentence that begins with the mirror."""
        tail, head = self.tail.position, self.head.position
        match self.verdict:
            case Verdict.AHEAD:
                return f"goes on to position {tail}, but the log ends at {head}: the database has lost its end"
            case Verdict.FORKED:
                return (
                    f"ends at position {tail} and is no part of this log, which ends at {head}: one of them is a stale "
                    "or foreign copy"
                )
            case Verdict.SUPERSEDED:
                return "of a later generation is there: the ledger was restored since, to another database"
            case _:
                return f"{self.verdict.meaning}: it ends at position {tail}, the log at {head}"

    @property
    def advice(self) -> str:
        """Say what to do when it forbids writing."""
        if self.verdict is Verdict.AHEAD:
            return "run `numbering mirror adopt` to take it back from the mirror"
        if self.verdict is Verdict.SUPERSEDED:
            return "serve the restored one; this database is a stale copy"
        return (
            "restore the ledger; or, if this database is known to be whole and the newest, run `numbering mirror "
            "rebuild --discard`"
        )

    @property
    def stop(self) -> Stop:
        """The reason for which writing must be stopped, when it `forbids_writing`."""
        return Stop(_STOPS[self.verdict], f"{self._what}; {self.advice}")


_STOPS = {
    Verdict.AHEAD: StopKind.MIRROR_AHEAD,
    Verdict.FORKED: StopKind.MIRROR_FORKED,
    Verdict.SUPERSEDED: StopKind.MIRROR_SUPERSEDED,
}


async def compare(stream: Stream, store: Store) -> Comparison:
    tail = await stream.tail()
    head = await store.head()
    if await stream.is_superseded():
        return Comparison(Verdict.SUPERSEDED, tail, head)
    return Comparison(await _verdict(stream, store, tail, head), tail, head)


async def _verdict(stream: Stream, store: Store, tail: Tail, head: Head) -> Verdict:
    if tail.position == 0:
        return Verdict.EMPTY
    if tail.position > head.position:
        return Verdict.AHEAD if await _continues(stream, head) else Verdict.FORKED
    if not tail.hash:
        return Verdict.EMPTIED
    return Verdict.FOLLOWS if tail.hash == await _hash_at(store, tail.position) else Verdict.FORKED


async def _hash_at(store: Store, position: int) -> bytes | None:
    records = await store.events(after=position - 1, limit=1)
    return records[0].hash if records and records[0].position == position else None


async def _continues(stream: Stream, head: Head) -> bool:
    """Say whether the stream holds the head's event, or the one that follows it."""
    for entry in await stream.entries(after=head.position - 1, limit=1):
        if entry.position == head.position:
            return entry.hash == head.hash
        return entry.position == head.position + 1 and chain.link(head.hash, entry.body) == entry.hash
    return False
