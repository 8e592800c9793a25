"""The rows of the projections, with the columns of their tables as fields, in the same order."""

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from sqlalchemy import Table

from ledger.domain.ranges import Ranges
from projections.schema import SLOTS

__all__ = [
    "GapRow",
    "LinkRow",
    "NumberRow",
    "ReservationRow",
    "SequenceRow",
    "SeriesRow",
    "plain",
    "ranges_from",
    "text_of",
]


@dataclass(slots=True)
class SeriesRow:
    """One version of a series; `retired` is the position of the event, on every version."""

    code: str
    version: int
    present: int
    definition: str
    max_value: int
    era: int
    first_used: int
    retired: int
    position: int
    recorded_at: int
    actor: str


@dataclass(slots=True)
class SequenceRow:
    """A sequence. What is told of its use (from `max_value` on) is as of its last event, at `changed_at`."""

    sequence_at: int
    id: str
    series: str
    version: int
    key: str
    period: str
    start: int
    high_water: int
    max_value: int = 0
    reserved: int = 0
    confirmed: int = 0
    voided: int = 0
    cancelled: int = 0
    expired: int = 0
    skipped: int = 0
    pre_control: int = 0
    released: int = 0
    remaining: int = 0
    percent: int = 0
    per_day: float = 0.0
    exhausted_on: str = ""
    earlier_at: int = 0
    earlier_high_water: int = 0
    lately_at: int = 0
    lately_high_water: int = 0
    is_used: int = 0
    closed: int = 0
    changed_position: int = 0
    changed_at: int = 0


@dataclass(slots=True)
class ReservationRow:
    """A reservation; `ranges` is what of it is still held, and `closed_position` is 0 as long as that is anything."""

    token: str
    sequence_at: int
    series: str
    state: str
    count: int
    held: int
    confirmed: int
    ranges: str
    actor: str
    position: int
    reserved_at: int
    expires_at: int
    closed_position: int = 0
    closed_at: int = 0


@dataclass(slots=True)
class NumberRow:
    """A value whose number was printed at least once.

    `position` is the event that gave it out last, `changed_position` the cause of its state, and `earlier` the event
    that had given it out before, if it was released and reissued. `date_is_derived` says that nobody gave the date.
    """

    sequence_at: int
    value: int
    number: str
    series: str
    state: str
    position: int
    changed_position: int
    confirmed_position: int
    event: str
    actor: str
    reason: str
    token: str
    document: str
    document_date: str
    reserved_at: int
    confirmed_at: int
    changed_at: int
    replaced_by: str = ""
    replaces: str = ""
    earlier: int = 0
    date_is_derived: int = 0


@dataclass(slots=True)
class GapRow:
    """Values that nobody holds, `first` to `last`, by one cause."""

    sequence_at: int
    first: int
    last: int
    state: str
    position: int
    event: str
    actor: str
    reason: str
    token: str
    recorded_at: int
    given_position: int
    released: int


@dataclass(slots=True)
class LinkRow:
    """That a number got another document, by the event at `position`."""

    sequence_at: int
    value: int
    position: int


def _columns(row: type[Any], table: Table) -> "attrgetter[tuple[Any, ...]]":
    names = [field.name for field in fields(row)]
    assert names == table.columns.keys(), f"{row.__name__} is not as {table.name}"
    return attrgetter(*names)


_PLAIN = {
    row: _columns(row, table)
    for row, table in zip(
        (SeriesRow, SequenceRow, ReservationRow, NumberRow, GapRow, LinkRow), SLOTS["a"].tables, strict=True
    )
}


def plain(rows: Any) -> list[tuple[Any, ...]]:
    """Give rows of one kind as the driver takes them."""
    rows = list(rows)
    return list(map(_PLAIN[type(rows[0])], rows)) if rows else []


def text_of(ranges: Ranges) -> str:
    """Write ranges for people who read the table: `1-4,9`."""
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:  # nearly always
        return str(ranges[0][0])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def ranges_from(text: str) -> Ranges:
    parts = (part.partition("-") for part in text.split(",") if part)
    return tuple((int(first), int(last or first)) for first, _, last in parts)
