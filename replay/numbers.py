"""Every number of a ledger's tables for reading, and every range without one, some at a time: they may be millions."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, or_, select

from ledger.domain.sequence import ValueState
from ledger.stores import SqlStore
from projections.rows import GapRow, NumberRow
from projections.snapshot import snapshot

__all__ = ["Listed", "Skipped", "Wanted", "all_numbers", "all_skipped"]

WITHOUT_NUMBER = (ValueState.SKIPPED, ValueState.PRE_CONTROL)
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


@dataclass(frozen=True, slots=True)
class Skipped:
    """Values that no document got, `row.first` to `row.last`, with the series, id and period of their sequence."""

    row: GapRow
    series: str
    sequence: str
    period: str


async def all_skipped(store: SqlStore, wanted: Wanted) -> AsyncIterator[Sequence[Skipped]]:
    """Read the ranges that were skipped, or are of before the ledger, by sequence and value.

    A document, and when a number was given out last, are asked of numbers alone: then there are none.
    """
    if wanted.document is not None or wanted.since is not None or wanted.until is not None:
        return
    async with snapshot(store, seconds=PAGE_SECONDS) as seen:
        gaps, sequences = seen.slot.gaps, seen.slot.sequences
        columns: list[Any] = [gaps.c[field.name] for field in fields(GapRow)]
        joined = gaps.join(sequences, gaps.c.sequence_at == sequences.c.sequence_at)
        asked = (
            select(*columns, sequences.c.series, sequences.c.id, sequences.c.period)
            .select_from(joined)
            .where(gaps.c.state.in_([state.value for state in WITHOUT_NUMBER]), gaps.c.given_position == 0)
            .order_by(gaps.c.sequence_at, gaps.c.first)
            .limit(PAGE)
        )
        asked = asked.where(*_common(gaps.c, sequences.c, wanted))
        behind: ColumnElement[bool] | None = None
        while rows := await seen.fetch(asked if behind is None else asked.where(behind)):
            yield [_skipped(row) for row in rows]
            at, first = rows[-1].sequence_at, rows[-1].first
            same = and_(gaps.c.sequence_at == at, gaps.c.first > first)
            behind = and_(gaps.c.sequence_at >= at, or_(gaps.c.sequence_at > at, same))


def _skipped(row: Row[Any]) -> Skipped:
    *of_gap, series, sequence, period = tuple[Any, ...](row)
    return Skipped(GapRow(*of_gap), series, sequence, period)


def _listed(row: Row[Any]) -> Listed:
    *of_number, sequence, period = tuple[Any, ...](row)
    return Listed(NumberRow(*of_number), sequence, period)


def _conditions(numbers: Any, sequences: Any, wanted: Wanted) -> list[ColumnElement[bool]]:
    found = _common(numbers, sequences, wanted)
    if wanted.document is not None:
        found.append(numbers.document == wanted.document)
    if wanted.since is not None:
        found.append(numbers.reserved_at >= wanted.since)
    if wanted.until is not None:
        found.append(numbers.reserved_at < wanted.until)
    return found


def _common(values: Any, sequences: Any, wanted: Wanted) -> list[ColumnElement[bool]]:
    """Give the conditions that can be asked of numbers and of ranges without one."""
    asked = [
        (sequences.series, wanted.series),
        (sequences.id, wanted.sequence),
        (sequences.period, wanted.period),
        (values.actor, wanted.actor),
    ]
    return [column == value for column, value in asked if value is not None]
