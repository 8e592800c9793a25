"""What the log says of every value as of a position, told by plain loops over its events."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ledger import codec
from ledger.domain.events import DocumentLinked, NumberAssigned, NumbersConfirmed
from ledger.domain.ranges import includes, values_of
from ledger.domain.sequence import ValueState
from ledger.ports import Record
from replay.archive.source import ArchiveSource
from replay.archive.writing import archive
from replay.sources import DatabaseSource, Extent, Stored
from tests.invariants import Model

__all__ = ["Listed", "archived", "documents", "states"]

Value = tuple[str, int]  # of a sequence


class Listed:
    """Events in memory, as a source."""

    name = "the list"
    is_primary = False

    def __init__(self, ledger_id: str, records: Sequence[Record], complete_until: int | None = None) -> None:
        self.ledger_id = ledger_id
        self.complete_until = complete_until
        self.stored: list[Stored] = [(record.position, record.body, record.hash) for record in records]

    async def extent(self) -> Extent:
        if not self.stored:
            return replace(Extent.none(self.ledger_id), complete_until=self.complete_until)
        first, last = self.stored[0], self.stored[-1]
        return Extent(self.ledger_id, first[0], last[0], last[2], self.complete_until)

    async def events(self, *, after: int, to: int):  # type: ignore[no-untyped-def]
        part = [event for event in self.stored if after < event[0] <= to]
        for start in range(0, len(part), 7):
            yield part[start : start + 7]


async def archived(source: DatabaseSource | Listed, directory: Path) -> ArchiveSource:
    await archive(source, directory, lambda done, of: None, segment_events=10)
    return ArchiveSource(directory)


def states(records: Sequence[Record]) -> dict[Value, ValueState]:
    model = Model()
    for record in records:  # not `Model.of`: the last command may not be there as a whole
        model.take(record)
    return {(id, value): state for id, sequence in model.sequences.items() for value, state in sequence.states.items()}


def documents(records: Sequence[Record]) -> dict[Value, str]:
    """Give the documents of the values that are confirmed or were voided."""
    given: dict[Value, str] = {}
    for record in records:
        match codec.decode(record).event:
            case NumbersConfirmed(numbering=of, ranges=ranges, document=document, documents=single):
                given |= {(of.sequence, value): document for value in values_of(ranges) if document is not None}
                given |= {(of.sequence, value): each for value, each in single if includes(ranges, value)}
            case NumberAssigned(numbering=of, value=value, document=document):
                given[of.sequence, value] = document
            case DocumentLinked(numbering=of, value=value, document=document):
                given[of.sequence, value] = document
    now = states(records)
    return {value: each for value, each in given.items() if now[value] in (ValueState.CONFIRMED, ValueState.VOIDED)}
