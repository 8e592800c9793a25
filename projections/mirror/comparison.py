"""The mirror beside the log: does the one continue the other, or do they tell two histories?

The stream's tail is read first and the log's head second: the log only grows, so a stream that is ahead of a head read
after it knows of events that this database has lost.

With a key, an entry counts if it is *genuine*: it bears a valid MAC, or it equals the log's own event at its position,
which is true whoever wrote it. What stands behind the last genuine entry is *foreign*, and proves nothing: somebody
forged it, or a process without the key wrote it and the database has lost it since.
"""

from dataclasses import dataclass
from enum import Enum

from ledger import chain
from ledger.ports import Head, Stop, StopKind, Store
from projections.mirror.stream import EMPTY, LOOKED_BACK, Later, Stream, Tail

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
    FOREIGN = 7, "ends with entries without a valid MAC"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`tail` is the last entry that counts; `end`, unless it is 0, is where foreign entries behind that one end."""

    verdict: Verdict
    tail: Tail
    head: Head
    end: int = 0

    @property
    def forbids_writing(self) -> bool:
        return self.verdict in _STOPS

    @property
    def needs_operator(self) -> bool:
        return self.forbids_writing or self.verdict is Verdict.FOREIGN

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
            case Verdict.FOREIGN if not self.end:
                return (
                    "of a later generation is there, in which no entry bears a valid MAC: it is forged, or written "
                    "without our key"
                )
            case Verdict.FOREIGN:
                return (
                    f"ends at position {self.end} with entries that the log, which ends at {head}, does not hold and "
                    "that bear no valid MAC: they are forged, or written without our key"
                )
            case _:
                return f"{self.verdict.meaning}: it ends at position {tail}, the log at {head}"

    @property
    def advice(self) -> str:
        """Say what to do when it forbids writing."""
        if self.verdict is Verdict.AHEAD:
            return "run `numbering mirror adopt` to take it back from the mirror"
        if self.verdict is Verdict.FOREIGN:
            otherwise = "if it has lost its end, `numbering mirror adopt --unsigned`"
            return (
                "see `numbering mirror status`; if this database is the newest, run `numbering mirror rebuild "
                f"--discard`; {otherwise if self.end else 'if it was restored since, serve the restored one'}"
            )
        if self.verdict is Verdict.SUPERSEDED:
            return "serve the restored one; this database is a stale copy"
        return (
            "restore the ledger; or, if this database is known to be whole and the newest, run `numbering mirror "
            "rebuild --discard`"
        )

    @property
    def reason(self) -> str:
        """Say why an operator is needed, and what to do."""
        return f"{self.detail}; {self.advice}"

    @property
    def stop(self) -> Stop:
        """The reason for which writing must be stopped, when it `forbids_writing`.

        It ends when the log holds the mirror's last event: the log may only have been behind. No event ends it that the
        ledger was restored since.
        """
        kind, detail, last = _STOPS[self.verdict], f"{self._what}; {self.advice}", self.tail
        if self.verdict is Verdict.SUPERSEDED or not last.hash:
            return Stop(kind, detail)
        return Stop(kind, detail, last.position, last.hash)


_STOPS = {
    Verdict.AHEAD: StopKind.MIRROR_AHEAD,
    Verdict.FORKED: StopKind.MIRROR_FORKED,
    Verdict.SUPERSEDED: StopKind.MIRROR_SUPERSEDED,
}


async def compare(stream: Stream, store: Store, *, unsigned: bool = False) -> Comparison:
    """Compare; `unsigned` lets every entry of the stream count, as if there were no key."""
    tail = await stream.tail()
    head = await store.head()
    later = await stream.later()
    if later is Later.GENUINE:
        return Comparison(Verdict.SUPERSEDED, tail, head)
    if unsigned or await _is_genuine(stream, store, tail, head):
        found = Comparison(await _verdict(stream, store, tail, head), tail, head)
    else:
        found = await _among_foreign(stream, store, tail.position)
    if later is Later.FOREIGN and not found.forbids_writing:
        return Comparison(Verdict.FOREIGN, found.tail, head)
    return found


async def _is_genuine(stream: Stream, store: Store, tail: Tail, head: Head) -> bool:
    """Say whether the end of the stream counts. One without an entry, where the log knows the position, is no harm."""
    authenticator = stream.authenticator
    if authenticator is None or authenticator.is_valid(*tail):
        return True
    return tail.position <= head.position and (not tail.hash or tail.hash == await _hash_at(store, tail.position))


async def _among_foreign(stream: Stream, store: Store, end: int) -> Comparison:
    """Compare by the last genuine entry: foreign ones behind it neither prove nor hide anything.

    If that is an event of the log, or there is none, the stream holds nothing beyond the log that could be believed.
    """
    entries = await stream.newest(limit=LOOKED_BACK)
    head = await store.head()  # once more, and after the stream
    records = await store.events_at([each.position for each in entries if each.position <= head.position])
    ours = {record.position: record.hash for record in records}
    for entry in entries:
        tail = Tail(entry.position, entry.hash, entry.mac)
        if ours.get(tail.position) == tail.hash:
            return Comparison(Verdict.FOREIGN, tail, head, end)
        if stream.authenticator and stream.authenticator.is_valid(*tail):
            return Comparison(await _verdict(stream, store, tail, head), tail, head, end)
    return Comparison(Verdict.FOREIGN, EMPTY, head, end)


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
