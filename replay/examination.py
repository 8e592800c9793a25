"""Examine the rows of a log as they are stored: dense, chained, written as their events are, and legal.

This is all that can be said of a log by itself, in one pass; `Judge` says which rules an event must keep.
"""

from ledger import chain
from ledger.codec import Entry, UnknownEvent, decode, flaw_of_row
from ledger.domain.state import State
from ledger.ports import Record
from replay.judgement import Judge

__all__ = ["Examination"]


class Examination:
    """`position` and `hash` are those of the last row without a flaw, `entry` is what it says.

    After a flaw nothing more is taken.
    """

    def __init__(self, ledger_id: str) -> None:
        self.position = 0
        self.entry: Entry | None = None
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

    def take(self, row: Record) -> str | None:
        """Take the row that follows, or say what is wrong."""
        found = self._flaw(row)
        if found is None:
            self.position, self.hash = row.position, row.hash
        return found

    def finish(self) -> str | None:
        """Say what is wrong with the last command, when the log ends."""
        return self._judge.finish()

    def _flaw(self, row: Record) -> str | None:
        self._judge.position = self.position + 1
        if row.position != self.position + 1:
            return f"position {self.position + 1} is missing: the log goes on at {row.position}"
        try:
            self.entry = entry = decode(row)
            found = flaw_of_row(row, entry, self.hash)
        except UnknownEvent as unknown:
            return str(unknown)
        except Exception as error:  # whatever stands in a body that this code did not write
            return f"the body cannot be read: {error!r}"
        return found or self._judge.take(entry)
