"""The log folded up to a position: the state, and the hash that the next event must chain from.

Used by the writer to follow the log, and by whoever replays it. A fold never goes back. One whose state may be half
changed `is_spoilt`: it folds nothing more, and nothing may be made of it.
"""

from collections.abc import Iterable

from ledger import chain, codec
from ledger.domain.evolve import evolve
from ledger.domain.state import State
from ledger.ports import Record, StopKind

__all__ = ["BrokenChain", "Fold"]


class BrokenChain(Exception):
    """The next event is not the one that follows: history was edited or forked, or has lost its end."""

    def __init__(self, detail: str, kind: StopKind = StopKind.LOG_FORKED) -> None:
        super().__init__(detail)
        self.kind = kind


class Fold:
    def __init__(self, ledger_id: str) -> None:
        self.ledger_id = ledger_id
        self.state = State()
        self.position = 0
        self.hash = chain.genesis(ledger_id)
        self.recorded_at = 0
        self.is_spoilt = False

    def twin(self) -> "Fold":
        """Give a fold that goes on from here, as long as this one stands still."""
        twin = Fold(self.ledger_id)
        twin.state = self.state.twin()
        twin.position, twin.hash, twin.recorded_at = self.position, self.hash, self.recorded_at
        return twin

    def take(self, records: Iterable[Record]) -> None:
        """Fold the records that follow; BrokenChain when one does not, codec.UnknownEvent when it is too new."""
        for record in records:
            self._check(record)
            self._fold(record)
            self.advance(record)

    def advance(self, record: Record) -> None:
        """Note that `record`, whose event the state already holds, is now the last one."""
        self.position = record.position
        self.hash = record.hash
        self.recorded_at = record.recorded_at

    def _fold(self, record: Record) -> None:
        try:
            entry = codec.decode(record)
            self.is_spoilt = True  # until the state holds the whole event
            evolve(self.state, entry.event, entry.recorded_at)
            self.is_spoilt = False
        except codec.UnknownEvent:
            raise
        except Exception as error:
            # To fold the event again might change the state twice.
            detail = f"position {record.position} holds an event that this version of numbering-ledger cannot fold"
            raise codec.UnknownEvent(detail) from error

    def _check(self, record: Record) -> None:
        if record.position != self.position + 1:
            raise BrokenChain(f"position {self.position + 1} is missing: the log goes on at {record.position}")
        if chain.link(self.hash, record.body) != record.hash:
            raise BrokenChain(f"the event at position {record.position} does not chain from the one before it")
