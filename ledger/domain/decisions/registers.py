"""Taking over a register of numbers that were kept before the ledger."""

from collections.abc import Iterator
from dataclasses import replace

from ledger.domain import calendar
from ledger.domain.commands import Import, ImportedSequence
from ledger.domain.decisions.guards import active_series, begun
from ledger.domain.events import Event, NumbersImported
from ledger.domain.formats import DERIVED_DATES, REPLACED_FORMS
from ledger.domain.ranges import between
from ledger.domain.rejection import Code, Rejection
from ledger.domain.series import Series
from ledger.domain.state import State

__all__ = ["take_over"]

MAX_TOLD = 20  # rows named in a refusal; the face has them all


def take_over(state: State, command: Import, now: int) -> list[Event]:
    if command.bad and not command.skip_bad:
        rows = len(command.bad) + sum(len(part.values) for part in command.sequences)
        raise Rejection(
            Code.IMPORT_REFUSED,
            f"{len(command.bad)} of {rows} rows do not fit, so nothing was written: mend them, or skip them",
            [(f"line {row.line}", f"{row.number!r}: {row.detail}") for row in command.bad[:MAX_TOLD]],
        )
    return [event for part in command.sequences for event in _imported(state, part, now)]


def _imported(state: State, part: ImportedSequence, now: int) -> Iterator[Event]:
    """Take over the numbers of one sequence, in events of a bounded size."""
    series, printed = active_series(state, part.series.code), part.series
    if printed.version != series.version and not _is_replaced(state, printed, series):
        raise _amended(series)
    if part.values.max() > series.max_value:
        raise Rejection(
            Code.SERIES_AMENDED,
            f"series {series.code} goes up to {series.max_value} only since the register was read; try again",
        )
    sequence, events = begun(state, series, part.key, part.period, now)
    yield from events
    if printed.version != series.version and part.values.max() > sequence.high_water:
        raise _amended(series)
    if part.values.min() < sequence.start:
        raise Rejection(Code.OUT_OF_RANGE, f"sequence {sequence.id} began at {sequence.start}, not {part.values.min()}")
    held = sequence.held(part.values)
    if held:
        raise Rejection(
            Code.DUPLICATE_NUMBER,
            f"value {held[0]} of sequence {sequence.id} was issued while the register was read; try again",
        )
    is_used, first = sequence.high_water >= sequence.start, sequence.high_water + 1
    is_marked = state.format >= DERIVED_DATES
    for imported, prints, documents in part.slices:
        holes = between(first, imported)
        first = max(first, imported[-1][1] + 1)
        yield NumbersImported(
            sequence.id,
            series.code,
            printed.version,
            part.key,
            part.period,
            calendar.TZDATA_VERSION,
            prints if is_marked else tuple(replace(each, date_is_derived=False) for each in prints),
            pre_control=() if is_used else holes,
            skipped=holes if is_used else (),
            documents=documents,
        )


def _is_replaced(state: State, printed: Series, series: Series) -> bool:
    """Say whether a register may be read by a version that was replaced."""
    is_in_use = printed.version in (each.version for each in state.printing(series.code))
    return state.format >= REPLACED_FORMS and is_in_use and printed.era == series.era


def _amended(series: Series) -> Rejection:
    return Rejection(Code.SERIES_AMENDED, f"series {series.code} was amended while the register was read; try again")
