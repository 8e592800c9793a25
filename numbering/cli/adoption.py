"""What the mirror would give back to the log, told to the operator: positions, numbers, documents, actors."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ledger.codec import Entry
from ledger.domain.calendar import instant_text
from ledger.domain.events import Event
from ledger.domain.state import State
from ledger.ports import Record
from numbering.cli.output import Answer, say_line, say_table
from replay.examination import Examination
from replay.telling import documents_of, said_by

__all__ = ["Telling", "cell"]

SHOWN = 200  # events in a table, and documents in a line of it
DOCUMENTS = 5
COLUMNS = ("position", "recorded_at", "type", "stream", "numbers", "documents", "actor", "reason")


@dataclass(slots=True)
class Telling:
    """Notes every event behind the position `after` while `examination` judges it; `events` are told as JSON."""

    ledger_id: str
    after: int
    events: list[Answer] = field(default_factory=list)
    examination: Examination = field(init=False)

    def __post_init__(self) -> None:
        self.examination = Examination(self.ledger_id, self._note)

    def show(self) -> None:
        """Print a table: the first events, if there are many."""
        rows = [[cell(name, event[name]) for name in COLUMNS] for event in self.events[:SHOWN]]
        say_table([name.replace("_", " ") for name in COLUMNS], rows, right=("position",))
        if len(self.events) > SHOWN:
            say_line(f"and {len(self.events) - SHOWN} more, which --json lists")

    def _note(self, entry: Entry, record: Record) -> None:
        if entry.position > self.after:
            self.events.append(_told(entry, record, self.examination.state))


def _told(entry: Entry, record: Record, state: State) -> Answer:
    return {
        "position": entry.position,
        "recorded_at": instant_text(entry.recorded_at),
        "type": record.type,
        "stream": record.stream,
        "numbers": list(_numbers(entry.event, state)),
        "documents": sorted(documents_of(said_by((record.position, record.body, record.hash)))),
        "actor": entry.envelope.actor,
        "reason": entry.envelope.reason,
    }


def _numbers(event: Event, state: State) -> Iterator[Answer]:
    """Yields the ranges of values that the event changes, printed where it says how."""
    for what, ranges in (*event.changes, ("LINKED", event.linked)):
        for first, last in ranges:
            printed = {"first": _number(event, first, state), "last": _number(event, last, state)}
            yield {"state": str(what), **printed, "count": last - first + 1}


def _number(event: Event, value: int, state: State) -> str:
    """Print a number; the value alone if no number was printed."""
    place, original = event.place, event.original(value)
    if place is None or original is None:
        return str(value)
    series = state.series(place.series, original.series_version)
    return series.frame(place.key, original.attributes, original.document_date).number(value)


def cell(name: str, told: object) -> object:
    """Write what is told under a name, for a table."""
    if name == "numbers" and isinstance(told, list):
        return "; ".join(map(_range, told))
    if name == "documents" and isinstance(told, list):
        more = f" and {len(told) - DOCUMENTS} more" if len(told) > DOCUMENTS else ""
        return ", ".join(told[:DOCUMENTS]) + more
    return told


def _range(told: Answer) -> str:
    span = told["first"] if told["count"] == 1 else f"{told['first']} … {told['last']} ({told['count']})"
    return f"{told['state']} {span}"
