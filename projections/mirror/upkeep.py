"""What an operator does with the mirror: make it anew, or take back from it what the database has lost."""

from collections.abc import Callable, Iterator, Sequence

from ledger import chain, codec
from ledger.ports import Head, Record, Store
from projections.mirror.comparison import Verdict, compare
from projections.mirror.copier import Copier
from projections.mirror.stream import Entry, Stream

__all__ = ["Refused", "adopt", "rebuild"]

ADOPTED_AT_ONCE = 500  # events in one transaction

Progress = Callable[[int, int], None]  # up to which position, and where it ends


class Refused(Exception):
    """The mirror is not in the state for this; it says in which, and what to do."""


async def adopt(store: Store, stream: Stream, progress: Progress) -> int:
    """Append to the log what the mirror has behind its head, unchanged, and let processes write again.

    Gives how many events were taken. Refused when the mirror does not continue the log. It may be run again any time.
    """
    found = await compare(stream, store)
    if found.verdict is Verdict.FORKED:
        raise Refused(found.why)
    if found.verdict not in (Verdict.AHEAD, Verdict.FOLLOWS):
        raise Refused(f"{found.detail}: there is nothing to take back; `numbering mirror rebuild` fills it")
    position = found.head.position
    while taken := await _adopt_some(store, stream):
        position += taken
        progress(position, found.tail.position)
    return position - found.head.position


async def rebuild(store: Store, stream: Stream, progress: Progress, *, retention: int, discard: bool) -> int:
    """Fill the mirror anew from the log; gives the position up to which it then reaches.

    Refused when the mirror knows of events that the log has not, unless told to `discard` them; then processes write
    again. The old stream stays until the new one is whole: it may be the last copy of a log that turns out damaged.
    """
    found = await compare(stream, store)
    if found.forbids_writing and not discard:
        raise Refused(found.why)
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
    await _let_write(store)
    return copier.cursor.position


async def _adopt_some(store: Store, stream: Stream) -> int:
    """Take the next entries in a transaction of their own; when there are none, lift the stop from the head."""
    transaction = await store.begin()
    try:
        entries = await stream.entries(after=transaction.head.position, limit=ADOPTED_AT_ONCE)
        if entries:
            await transaction.append(list(_records(transaction.head, entries)))
        else:
            await transaction.stop(None)
        await transaction.commit()
    finally:
        await transaction.rollback()
    return len(entries)


async def _let_write(store: Store) -> None:
    transaction = await store.begin()
    try:
        await transaction.stop(None)
        await transaction.commit()
    finally:
        await transaction.rollback()


def _records(head: Head, entries: Sequence[Entry]) -> Iterator[Record]:
    """Give the rows of entries that follow the head; Refused when one does not, UnknownEvent when it is too new."""
    position, previous = head.position, head.hash
    for entry in entries:
        position += 1
        if entry.position != position or chain.link(previous, entry.body) != entry.hash:
            raise Refused(f"the mirror does not continue the log at position {position}: restore the ledger")
        previous = entry.hash
        record = codec.record_of(entry.body, entry.hash)
        codec.decode(record)
        yield record
