"""What an operator does with the mirror: make it anew, or take back from it what the database has lost."""

from collections.abc import Callable, Sequence

from ledger import codec
from ledger.fold import BrokenChain, Fold
from ledger.ports import NO_LEDGER, Head, Record, Stop, StopKind, Store, reasons
from projections.mirror.comparison import Comparison, Verdict, compare
from projections.mirror.copier import Copier
from projections.mirror.stream import Entry, Stream, StreamFault

__all__ = ["Refused", "adopt", "rebuild"]

ADOPTED_AT_ONCE = 512  # events in one transaction
READ_AT_ONCE = 1000
OF_MIRROR = {StopKind.MIRROR_AHEAD, StopKind.MIRROR_FORKED, StopKind.MIRROR_SUPERSEDED}

Progress = Callable[[int, int], None]  # up to which position, and where it ends


class Refused(Exception):
    """The mirror is not in the state for this; it says in which, and what to do."""


async def adopt(store: Store, stream: Stream, progress: Progress) -> int:
    """Append to the log what the mirror has behind its head, unchanged, and let processes write again.

    Gives how many events were taken. Refused when the mirror does not continue the log, when an event cannot be folded,
    or when writing is stopped for what the mirror cannot mend. It may be run again any time.
    """
    await _check_is_ledger(store)
    found = await compare(stream, store)
    if found.verdict is Verdict.FORKED:
        raise Refused(found.stop.text)
    if found.verdict not in (Verdict.AHEAD, Verdict.FOLLOWS):
        raise Refused(f"{found.detail}: there is nothing to take back; `numbering mirror rebuild` fills it")
    if found.verdict is Verdict.AHEAD:
        fold = await _folded(store, found.head, found.tail.position, progress)
        while await _adopt_some(store, stream, fold):
            progress(fold.position, found.tail.position)
        _check_is_all(await compare(stream, store))
    await _let_write(store)
    return (await store.head()).position - found.head.position


async def rebuild(store: Store, stream: Stream, progress: Progress, *, retention: int, discard: bool) -> int:
    """Fill the mirror anew from the log; gives the position up to which it then reaches.

    Refused when the mirror knows of events that the log has not, unless told to `discard` whatever it holds; then
    processes write again. The old stream stays until the new one is whole: it may be the last copy of a damaged log.
    """
    await _check_is_ledger(store)
    found = None if discard else await compare(stream, store)
    if found and found.forbids_writing:
        raise Refused(found.stop.text)
    new = stream.beside()
    try:
        await new.delete()  # what an interrupted one has left
        copier = Copier(store, new, store.events, retention)
        head = (await copier.compare()).head.position
        while copier.cursor.position < head and await copier.copy():
            progress(copier.cursor.position, head)
        await (stream.put_in_place(new) if head else stream.delete())
    finally:
        await new.close()
    await _let_write(store, whatever_stopped_it=discard)
    return copier.cursor.position


async def _check_is_ledger(store: Store) -> None:
    stops = await store.stops()
    if any(stop.kind in NO_LEDGER for stop in stops):
        raise Refused(reasons(stops))


async def _folded(store: Store, head: Head, end: int, progress: Progress) -> Fold:
    """Fold the log: only what can be folded behind it may be stored for ever."""
    fold = Fold(head.ledger_id)
    while fold.position < head.position:
        try:
            fold.take(await store.events(after=fold.position, limit=READ_AT_ONCE))
        except (BrokenChain, codec.UnknownEvent) as why:
            raise Refused(f"the log itself cannot be read: {why}") from why
        progress(fold.position, end)
    return fold


async def _adopt_some(store: Store, stream: Stream, fold: Fold) -> int:
    """Take the next entries in a transaction of their own; gives how many there were."""
    transaction = await store.begin()
    try:
        if transaction.head.position != fold.position:
            raise Refused("another process wrote to the log meanwhile; run it again")
        entries = await _entries(stream, fold.position)
        if entries:
            records = [_record(entry) for entry in entries]
            _take(fold, records)
            await transaction.append(records)
            await transaction.commit()
    finally:
        await transaction.rollback()
    return len(entries)


def _check_is_all(found: Comparison) -> None:
    """See that the mirror has given all that it knows of: its last entries may have been deleted, and not its end."""
    if found.forbids_writing:
        raise Refused(f"not all that is missing was in the mirror. {found.stop.text}")


async def _entries(stream: Stream, after: int) -> Sequence[Entry]:
    """Read the entries behind a position, fewer at once where they are so large that Redis's answer takes too long."""
    limit = ADOPTED_AT_ONCE
    while True:
        try:
            return await stream.entries(after=after, limit=limit)
        except StreamFault:
            if limit == 1:
                raise
            limit //= 4


def _take(fold: Fold, records: Sequence[Record]) -> None:
    try:
        fold.take(records)
    except (BrokenChain, codec.UnknownEvent) as why:
        raise Refused(f"the mirror's next entries cannot be taken back: {why}; restore the ledger") from why


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
    stops = await store.stops()
    mended = [stop for stop in stops if await _is_mended(store, stop, whatever_stopped_it=whatever_stopped_it)]
    left = await _lifted(store, mended) if mended else stops
    if left:
        raise Refused(f"writing stays stopped, for what the mirror does not hold: {reasons(left)}; restore the ledger")


async def _lifted(store: Store, mended: Sequence[Stop]) -> Sequence[Stop]:
    """Lift some; gives those that stand."""
    transaction = await store.begin()
    try:
        left = await transaction.lift(lambda stop: stop in mended)
        await transaction.commit()
        return left
    finally:
        await transaction.rollback()


async def _is_mended(store: Store, stop: Stop, *, whatever_stopped_it: bool) -> bool:
    """Say whether a stop came from the mirror, or the log holds the event again that was seen when it was made."""
    if stop.kind is StopKind.OPENING:
        return False  # other copies may not know that the ledger was opened
    if whatever_stopped_it or stop.kind in OF_MIRROR:
        return True
    if stop.position is None:
        return False
    records = await store.events_at([stop.position])
    return bool(records) and records[0].hash == stop.hash
