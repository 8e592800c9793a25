"""Examine the rows of a log as they are stored: dense, chained, written as their events are, and legal.

This is all that can be said of a log by itself, in one pass; `Judge` says which rules an event must keep.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from ledger import chain
from ledger.codec import Entry, UnknownEvent, flaw_of_columns, read, rewritten, row_of
from ledger.domain.state import State
from ledger.judgement import Judge
from ledger.ports import Record
from replay.sources import Stored

__all__ = ["Examination"]

# Each step is done for so many rows before the next one is: the code and the data of one step fit into the processor's
# nearest caches, and those of all do not. On a busy machine, one row after the other takes up to 40 % longer.
ROWS = 256


class Examination:
    """`position` and `hash` are those of the last event without a flaw. After a flaw nothing more is taken.

    `note` is told each event without a flaw, and the row as which it is written.
    """

    def __init__(self, ledger_id: str, note: Callable[[Entry, Record], None] | None = None) -> None:
        self.position = 0
        self.hash = chain.genesis(ledger_id)
        self._note = note
        self._judge = Judge()

    @property
    def state(self) -> State:
        """The log folded up to `position`."""
        return self._judge.state

    @property
    def flawed(self) -> int:
        """The position that the flaw is about; it may be of an event that stands before the row that showed it."""
        return self._judge.position

    def take(self, rows: Iterable[Record]) -> str | None:
        """Take the rows that follow, or say what is wrong with the first that is flawed."""
        following = iter(rows)
        while some := tuple(islice(following, ROWS)):
            if found := self._take([(row.position, row.body, row.hash) for row in some], some):
                return found
        return None

    def take_bare(self, events: Sequence[Stored]) -> str | None:
        """Take events that follow, of a copy that has no columns beside them."""
        for start in range(0, len(events), ROWS):
            if found := self._take(events[start : start + ROWS], None):
                return found
        return None

    @property
    def whole(self) -> int:
        """The position in front of the command that `position` belongs to."""
        return self._judge.begun - 1

    def finish(self, *, is_cut: bool = False) -> str | None:
        """Say what is wrong with the last command, when the log ends, or a restore cuts it there."""
        return self._judge.finish(is_cut=is_cut)

    def _take(self, events: Sequence[Stored], rows: Sequence[Record] | None) -> str | None:
        entries, unread = _read(events)
        count, altered, written = self._compared(events, entries, rows)
        for index, entry in enumerate(entries[:count]):
            if found := self._judge.take(entry):
                return found
            self.position, _, self.hash = events[index]
            if self._note:
                self._note(entry, written[index])
        found = altered or unread
        if found:
            self._judge.position = self.position + 1
        return found

    def _compared(
        self, events: Sequence[Stored], entries: Sequence[Entry], rows: Sequence[Record] | None
    ) -> tuple[int, str | None, Sequence[Record]]:
        """Write events once more, up to the first that is not as it would be written; say what is wrong with that.

        That costs no more than to look for what is not canonical, stands in the body twice, or says nothing to us, any
        of which would otherwise go on in the chain unseen. Gives how many are right, and their rows for who notes them.
        """
        position, hash = self.position, self.hash
        written: list[Record] = []
        for index, (event, entry) in enumerate(zip(events, entries, strict=False)):
            position += 1
            if event[0] != position:
                return index, f"position {position} is missing: the log goes on at {event[0]}", written
            row = rows[index] if rows else None
            fields, body = _written(entry, event[1])
            is_right = body == event[1] and entry.position == position and _is_plain(entry)
            is_right = is_right and chain.link(hash, event[1]) == event[2]
            if not is_right or (row and not _is_row_of(row, entry, fields)):
                return index, _flaw(event, entry, body, row), written
            if self._note:
                written.append(row or row_of(entry, fields, *event[1:]))
            hash = event[2]
        return len(entries), None, written


def _read(events: Sequence[Stored]) -> tuple[list[Entry], str | None]:
    """Read events up to the first that cannot be read, and say why that is so."""
    entries: list[Entry] = []
    try:
        for position, body, _ in events:
            entries.append(read(position, body))
    except UnknownEvent as unknown:
        return entries, str(unknown)
    except Exception as error:  # whatever stands in a body that this code did not write
        return entries, f"the body cannot be read: {error!r}"
    return entries, None


def _written(entry: Entry, text: bytes) -> tuple[Mapping[str, Any], bytes | None]:
    """Write an event that was read from `text`; None when what was read could not have been written."""
    try:
        return rewritten(entry, text)
    except Exception:
        return {}, None


def _is_plain(entry: Entry) -> bool:
    """Say whether the numbers beside the event are integers, and not only equal to some: as 4.0 is, and `true`."""
    return type(entry.position) is type(entry.ordinal) is type(entry.recorded_at) is int


def _is_row_of(row: Record, entry: Entry, fields: Mapping[str, Any]) -> bool:
    """Say whether the columns beside body and hash are those of an event."""
    said = entry.position, fields["type"], fields["version"], fields["stream"], fields.get("token")
    return row[:7] == (*said, entry.envelope.command_id, entry.ordinal) and row.recorded_at == entry.recorded_at


def _flaw(event: Stored, entry: Entry, body: bytes | None, row: Record | None) -> str:
    """Say in words how an event, or its row, differs from how it is written."""
    if found := flaw_of_columns(row) if row else None:
        return found
    if body is None:
        return "the body is not one that could be written"
    if body != event[1]:
        return "the body is not as its event is written"
    if not _is_plain(entry):
        return "the body has a number that is no integer"
    if entry.position != event[0]:
        return "the event says of itself that it stands at another position"
    return "the hash does not follow from the body and the hash before it"
