"""The numbers of a sequence: each value that was printed, with its state, how it was printed, and what put it there."""

from dataclasses import dataclass

from pyroaring import BitMap

from ledger.domain.accounting import Accounting, Cause, among
from ledger.domain.events import Event, Original
from ledger.domain.sequence import Sequence, ValueState

__all__ = ["Roll", "Told"]

# What was passed over has no number; those that a restore passed over had one, and their account is among the gaps.
PRINTED = tuple(state for state in ValueState if state not in (ValueState.SKIPPED, ValueState.PRE_CONTROL))


@dataclass(slots=True)
class Told:
    """What became of a value. The document of a voided one is that which had it before."""

    state: ValueState
    cause: Cause
    original: Original
    document: str | None


class Roll(Accounting):
    """The printed values from `first` on, at most `limit` of them; `told` has those that have met their cause."""

    def __init__(self, sequence: Sequence, *, first: int, limit: int) -> None:
        super().__init__(sequence, first=first, states=PRINTED, limit=limit)
        self.told: dict[int, Told] = {}
        self._documents: dict[int, str | None] = {}  # of values that were linked after they met their cause

    def take(self, event: Event, cause: Cause, only: BitMap | None = None) -> None:
        sought = self.sought if only is None else self.sought & only
        for value, linked in event.originals(among(sought, event.linked)):
            self._documents.setdefault(value, linked.document)
        for state, ranges in event.changes:
            for value, original in event.originals(among(sought, ranges)):
                document = self._documents.get(value, original.document) if state is ValueState.CONFIRMED else None
                self.told[value] = Told(state, cause, original, document)
                self.sought.remove(value)

    @property
    def voided(self) -> list[int]:
        return [value for value, told in self.told.items() if told.state is ValueState.VOIDED]
