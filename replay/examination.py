"""Examine the rows of a log as they are stored: dense, chained, written as their events are, and legal.

This is all that can be said of a log by itself, in one pass; `Judge` says which rules an event must keep.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from ledger import chain
from ledger.codec import Entry, UnknownEvent, decode, flaw_of_row
from ledger.domain.state import State
from ledger.ports import Record
from replay.judgement import Judge

__all__ = ["Examination"]

# Each step is done for so many rows before the next one is: the code and the data of one step fit into the processor's
# nearest caches, and those of all do not. On a busy machine, one row after the other takes up to 40 % longer.
ROWS = 256


class Examination:
    """`position` and `hash` are those of the last row without a flaw. After a flaw nothing more is taken.

    `note` is told what each row without a flaw says.
    """

    def __init__(self, ledger_id: str, note: Callable[[Entry], None] | None = None) -> None:
        self.position = 0
        self._note = note
        self.hash = chain.genesis(ledger_id)
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
            found = self._take(some)
            if found:
                return found
        return None

    def finish(self) -> str | None:
        """Say what is wrong with the last command, when the log ends."""
        return self._judge.finish()

    def _take(self, rows: Sequence[Record]) -> str | None:
        entries, unread = _decoded(rows)
        count, altered = self._compared(rows, entries)
        for row, entry in zip(rows, entries[:count], strict=False):
            found = self._judge.take(entry)
            if found:
                return found
            self.position, self.hash = row.position, row.hash
            if self._note:
                self._note(entry)
        found = altered or unread
        if found:
            self._judge.position = self.position + 1
        return found

    def _compared(self, rows: Sequence[Record], entries: Sequence[Entry]) -> tuple[int, str | None]:
        """Count the rows from the first on that follow one another and are as written; say what ends them."""
        position, hash = self.position, self.hash
        for index, (row, entry) in enumerate(zip(rows, entries, strict=False)):
            position += 1
            if row.position != position:
                return index, f"position {position} is missing: the log goes on at {row.position}"
            found = _flaw_of_row(row, entry, hash)
            if found:
                return index, found
            hash = row.hash
        return len(entries), None


def _decoded(rows: Sequence[Record]) -> tuple[list[Entry], str | None]:
    """Read rows up to the first that cannot be read, and say why that is so."""
    entries: list[Entry] = []
    try:
        entries.extend(map(decode, rows))  # keeps those in front of what fails
    except UnknownEvent as unknown:
        return entries, str(unknown)
    except Exception as error:  # whatever stands in a body that this code did not write
        return entries, f"the body cannot be read: {error!r}"
    return entries, None


def _flaw_of_row(row: Record, entry: Entry, previous: bytes) -> str | None:
    try:
        return flaw_of_row(row, entry, previous)
    except Exception as error:  # what was read, but could not have been written
        return f"the body is not one that could be written: {error!r}"
