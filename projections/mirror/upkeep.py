"""What an operator does with the mirror: make it anew, or take back from it what the database has lost."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger import codec
from ledger.chain import link
from ledger.continuity import ended
from ledger.ports import NO_LEDGER, Head, Record, StopKind, Store, reasons
from projections.mirror.comparison import Comparison, Verdict, compare
from projections.mirror.copier import Copier
from projections.mirror.stream import Entry, Stream, StreamFault

__all__ = ["Adoption", "Examination", "Refused", "adopt", "judged", "rebuild"]

ADOPTED_AT_ONCE = 512  # events in one transaction
READ_AT_ONCE = 1000
OF_MIRROR = {StopKind.MIRROR_AHEAD, StopKind.MIRROR_FORKED, StopKind.MIRROR_SUPERSEDED}

Progress = Callable[[int, int], None]  # up to which position, and where it ends


class Refused(Exception):
    """The mirror is not in the state for this; it says in which, and what to do."""


class Examination(Protocol):
    """Judges a log by the audit rules, event by event, from its beginning; each method says what is wrong, or None."""

    @property
    def flawed(self) -> int:
        """The position that the flaw is about."""

    def take(self, rows: Iterable[Record], /) -> str | None:
        """Take rows of the log."""

    def take_bare(self, events: Sequence[tuple[int, bytes, bytes]], /) -> str | None:
        """Take positions, bodies and hashes of events that follow."""

    def finish(self) -> str | None:
        """Say whether the last command is whole."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """What may be adopted: the events behind `head`, of these hashes, as the mirror held them when they were judged.

    The mirror goes on to `end` with foreign entries, which are left; 0 when it has none.
    """

    head: Head
    hashes: Sequence[bytes]
    unsigned: bool = False
    end: int = 0

    @property
    def last(self) -> int:
        return self.head.position + len(self.hashes)


async def judged(
    store: Store, stream: Stream, examination: Examination, progress: Progress, *, unsigned: bool = False
) -> Adoption:
    """Judge what the mirror has behind the log's end, which changes nothing; without it nothing is adopted.

    Refused when the mirror does not continue the log, or an event is not legal, or a command not whole. With a key the
    last event bears a valid MAC, which speaks for all before it; `unsigned` does without.
    """
    await _check_is_ledger(store)
    found = await compare(stream, store, unsigned=unsigned)
    if found.verdict in (Verdict.FORKED, Verdict.FOREIGN):
        raise Refused(found.reason)
    if found.verdict not in (Verdict.AHEAD, Verdict.FOLLOWS):
        raise Refused(f"{found.detail}: there is nothing to take back; `numbering mirror rebuild` fills it")
    if found.verdict is Verdict.FOLLOWS:
        return Adoption(found.head, ())
    end = found.tail.position
    await _judge_log(store, examination, found.head, lambda position: progress(position, end))
    hashes: list[bytes] = []
    while entries := await _entries(stream, found.head.position + len(hashes), end):
        if flaw := examination.take_bare([each[:3] for each in entries]):
            raise Refused(_not_taken(examination.flawed, flaw))
        hashes += [each.hash for each in entries]
        progress(found.head.position + len(hashes), end)
    if flaw := examination.finish():
        raise Refused(_not_taken(examination.flawed, flaw))
    if found.tail.hash and hashes[-1:] != [found.tail.hash]:
        raise Refused("the mirror changed meanwhile; run it again")
    return Adoption(found.head, hashes, unsigned, found.end)


async def adopt(store: Store, stream: Stream, adoption: Adoption, progress: Progress) -> int:
    """Append to the log what was judged, unchanged, and let processes write again.

    Gives how many events were taken. Refused when log or mirror have changed since, or when writing is stopped for what
    the mirror cannot mend. It may be interrupted, and judged and run again.
    """
    await _check_is_ledger(store)
    position, hash = adoption.head.position, adoption.head.hash
    while position < adoption.last:
        position, hash = await _adopt_some(store, stream, adoption, position, hash)
        progress(position, adoption.last)
    _check_is_all(await compare(stream, store, unsigned=adoption.unsigned))
    await _let_write(store)
    return len(adoption.hashes)


async def rebuild(store: Store, stream: Stream, progress: Progress, *, retention: int, discard: bool) -> int:
    """Fill the mirror anew from the log; gives the position up to which it then reaches.

    Refused when the mirror knows of events that the log has not, unless told to `discard` whatever it holds; then
    processes write again. The old stream stays until the new one is whole: it may be the last copy of a damaged log.
    """
    await _check_is_ledger(store)
    found = None if discard else await compare(stream, store)
    if found and found.needs_operator:
        raise Refused(found.reason)
    new = stream.beside()
    try:
        await new.delete()  # what an interrupted one has left
        copier = Copier(store, new, store.events, retention)
        head = (await copier.compare()).head.position
        while copier.cursor.position < head and await copier.copy():
            progress(copier.cursor.position, head)
        await (stream.put_in_place(new) if head else stream.delete())
        if discard:
            await stream.drop_foreign()
    finally:
        await new.close()
    await _let_write(store, whatever_stopped_it=discard)
    return copier.cursor.position


async def _check_is_ledger(store: Store) -> None:
    stops = await store.stops()
    if any(stop.kind in NO_LEDGER for stop in stops):
        raise Refused(reasons(stops))


async def _judge_log(store: Store, examination: Examination, head: Head, progress: Callable[[int], None]) -> None:
    """Judge the log itself: only by what is before it can an event be legal."""
    position = 0
    while position < head.position:
        records = await store.events(after=position, limit=READ_AT_ONCE)
        records = [each for each in records if each.position <= head.position]
        flaw = examination.take(records) if records else f"the log ends at position {position}"
        if flaw:
            raise Refused(f"the log itself is flawed at position {examination.flawed}: {flaw}; run `numbering verify`")
        position = records[-1].position
        progress(position)


async def _adopt_some(
    store: Store, stream: Stream, adoption: Adoption, position: int, hash: bytes
) -> tuple[int, bytes]:
    """Take the next entries in a transaction of their own; gives where the log ends then."""
    transaction = await store.begin()
    try:
        if (transaction.head.position, transaction.head.hash) != (position, hash):
            raise Refused("another process wrote to the log meanwhile; run it again")
        entries = await _entries(stream, position, adoption.last)
        records = []
        for entry in entries:
            hash = link(hash, entry.body)
            if hash != adoption.hashes[entry.position - adoption.head.position - 1]:
                break
            records.append(_record(entry._replace(hash=hash)))
        if not records or len(records) < len(entries):
            raise Refused("the mirror changed after it was judged; run it again")
        await transaction.append(records)
        await transaction.commit()
        return records[-1].position, hash
    finally:
        await transaction.rollback()


def _check_is_all(found: Comparison) -> None:
    """See that the mirror has given all that it knows of: its last entries may have been deleted, and not its end."""
    if found.forbids_writing:
        raise Refused(f"not all that is missing was in the mirror. {found.stop.text}")


async def _entries(stream: Stream, after: int, to: int) -> Sequence[Entry]:
    """Read entries up to a position, fewer at once where they are so large that Redis's answer takes too long."""
    limit = ADOPTED_AT_ONCE
    while True:
        try:
            return [each for each in await stream.entries(after=after, limit=limit) if each.position <= to]
        except StreamFault:
            if limit == 1:
                raise
            limit //= 4


def _not_taken(position: int, flaw: str) -> str:
    return f"the mirror's events cannot be taken back: position {position}: {flaw}; restore the ledger"


def _record(entry: Entry) -> Record:
    try:
        record = codec.record_of(entry.body, entry.hash)
    except (ValueError, LookupError, TypeError) as why:
        raise Refused(f"the mirror's entry at position {entry.position} is no event") from why
    if record.position != entry.position:
        raise Refused(f"the mirror's entry at position {entry.position} holds the event of {record.position}")
    return record


async def _let_write(store: Store, *, whatever_stopped_it: bool = False) -> None:
    """Lift the stops that are mended: the mirror is in order now, and what was lost may be there again."""
    if not await store.stops():
        return
    transaction = await store.begin()
    try:
        stops = await transaction.stops()
        if any(stop.kind in NO_LEDGER for stop in stops):
            raise Refused(reasons(stops))
        over = await ended(stops, transaction.head, transaction)
        left = await transaction.lift(
            lambda stop: (
                stop.kind is not StopKind.OPENING and (whatever_stopped_it or stop.kind in OF_MIRROR or stop in over)
            )
        )
        await transaction.commit()
    finally:
        await transaction.rollback()
    if left:
        raise Refused(
            f"writing stays stopped, for what the mirror does not hold: {reasons(left)}; see `numbering resume`"
        )
