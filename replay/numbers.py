"""Every number of a ledger's tables for reading, some at a time: they may be millions."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, or_, select

from ledger.stores import SqlStore
from projections.rows import NumberRow
from projections.snapshot import snapshot

__all__ = ["Listed", "Wanted", "all_numbers"]

PAGE = 1_000
PAGE_SECONDS = 60.0  # a filter may have to pass over all numbers


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which numbers; None asks nothing. `since` and `until` (not included) are of when a number was given out last."""

    series: str | None = None
    sequence: str | None = None
    period: str | None = None
    actor: str | None = None
    document: str | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A number, with the id and the period of its sequence."""

    row: NumberRow
    sequence: str
    period: str


async def all_numbers(store: SqlStore, wanted: Wanted) -> AsyncIterator[Sequence[Listed]]:
    """Read the numbers by sequence, as those began, and value."""
    async with snapshot(store, seconds=PAGE_SECONDS) as seen:
        numbers, sequences = seen.slot.numbers, seen.slot.sequences
        columns: list[Any] = [numbers.c[field.name] for field in fields(NumberRow)]
        joined = numbers.join(sequences, numbers.c.sequence_at == sequences.c.sequence_at)
        order = numbers.c.sequence_at, numbers.c.value
        asked = select(*columns, sequences.c.id, sequences.c.period).select_from(joined).order_by(*order).limit(PAGE)
        asked = asked.where(*_conditions(numbers.c, sequences.c, wanted))
        behind: ColumnElement[bool] | None = None
        while rows := await seen.fetch(asked if behind is None else asked.where(behind)):
            yield [_listed(row) for row in rows]
            at, value = rows[-1].sequence_at, rows[-1].value
            same = and_(numbers.c.sequence_at == at, numbers.c.value > value)
            behind = and_(numbers.c.sequence_at >= at, or_(numbers.c.sequence_at > at, same))


def _listed(row: Row[Any]) -> Listed:
    *of_number, sequence, period = tuple[Any, ...](row)
    return Listed(NumberRow(*of_number), sequence, period)


def _conditions(numbers: Any, sequences: Any, wanted: Wanted) -> list[ColumnElement[bool]]:
    asked = [
        (numbers.series, wanted.series),
        (sequences.id, wanted.sequence),
        (sequences.period, wanted.period),
        (numbers.actor, wanted.actor),
        (numbers.document, wanted.document),
    ]
    found = [column == value for column, value in asked if value is not None]
    if wanted.since is not None:
        found.append(numbers.reserved_at >= wanted.since)
    if wanted.until is not None:
        found.append(numbers.reserved_at < wanted.until)
    return found
