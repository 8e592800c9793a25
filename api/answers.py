"""What clients are told, made from the events alone: so a repeated request gets its first answer again."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, assert_never

import orjson
from pyroaring import BitMap

from api.number_answers import assigned, linked, mark_answer, number_history, voided
from api.sequence_answers import (
    gaps,
    period_closed,
    period_opened,
    period_reopened,
    sequence_adjusted,
    sequence_answer,
    sequence_reset,
    sequences_answer,
)
from ledger.definitions import definition_data
from ledger.domain.calendar import instant_text
from ledger.domain.commands import AdjustMaximum, DefineSeries, Import
from ledger.domain.events import (
    LedgerEvent,
    MaximumAdjusted,
    NumberEvent,
    Numbering,
    NumbersConfirmed,
    NumbersImported,
    NumbersReserved,
    PeriodOpened,
    ReservationCancelled,
    ReservationEvent,
    ReservationExtended,
    SequenceEvent,
    SeriesAmended,
    SeriesDefined,
    SeriesReopened,
    SeriesRetired,
)
from ledger.domain.history import ReservationHistory
from ledger.domain.ranges import Ranges, values_of
from ledger.domain.register import Register
from ledger.domain.results import event_of
from ledger.domain.sequence import ValueState
from ledger.domain.series import Series
from ledger.domain.state import State
from ledger.domain.template import Frame
from ledger.domain.trial import Trial
from ledger.views import Preview, SeriesView
from ledger.writer import Outcome

__all__ = [
    "Done",
    "all_series",
    "applied",
    "as_json",
    "assigned",
    "cancelled",
    "confirmed",
    "defined",
    "extended",
    "gaps",
    "history",
    "imported",
    "imported_again",
    "issued",
    "linked",
    "maximum_adjusted",
    "number_history",
    "period_closed",
    "period_opened",
    "period_reopened",
    "previewed",
    "reserved",
    "sequence_adjusted",
    "sequence_answer",
    "sequence_reset",
    "sequences_answer",
    "series_answer",
    "series_reopened",
    "series_retired",
    "tried",
    "voided",
]

Answer = dict[str, Any]


def as_json(data: object) -> bytes:
    """Write an answer, with a line end for those who read it in a terminal."""
    return orjson.dumps(data, option=orjson.OPT_APPEND_NEWLINE)


def reserved(outcome: Outcome, state: State) -> Answer:
    event = event_of(NumbersReserved, outcome.events)
    return {
        "token": event.token,
        "state": ValueState.RESERVED.value,
        "numbers": _numbers(event.numbering, event.ranges, state),
        "sequence": event.numbering.sequence,
        "period": event.numbering.period,
        "expires_at": instant_text(event.expires_at),
        "position": outcome.position,
    }


def issued(outcome: Outcome, state: State) -> Answer:
    event = event_of(NumbersConfirmed, outcome.events)
    numbers = _numbers(event.numbering, event.ranges, state)
    return _settled(event, outcome, ValueState.CONFIRMED, numbers) | {"document": event.document, "expires_at": None}


def confirmed(outcome: Outcome, state: State) -> Answer:
    event = event_of(NumbersConfirmed, outcome.events)
    numbers = _numbers(event.numbering, event.ranges, state)
    documents = dict(event.documents)
    for number in numbers:
        document = documents.get(number["value"], event.document)
        if document is not None:
            number["document"] = document
    released = _numbers(event.numbering, event.released, state)
    return _settled(event, outcome, ValueState.CONFIRMED, numbers) | {"released": released}


def cancelled(outcome: Outcome, state: State) -> Answer:
    event = event_of(ReservationCancelled, outcome.events)
    return _settled(event, outcome, ValueState.CANCELLED, _numbers(event.numbering, event.ranges, state))


def extended(outcome: Outcome, _: State) -> Answer:
    event = event_of(ReservationExtended, outcome.events)
    return {
        "token": event.token,
        "state": ValueState.RESERVED.value,
        "sequence": event.sequence,
        "expires_at": instant_text(event.expires_at),
        "position": outcome.position,
    }


def previewed(view: Preview) -> Answer:
    numbering = view.event.numbering
    frame = view.series.frame(numbering.key, numbering.attributes, numbering.document_date)
    return {
        "numbers": _printed(frame, view.event.ranges),
        "sequence": numbering.sequence,
        "period": numbering.period,
        "position": view.position,
    }


def history(told: ReservationHistory, series: Series) -> Answer:
    numbering = told.numbering
    frame = series.frame(numbering.key, numbering.attributes, numbering.document_date)
    numbers = []
    for value, (state, document) in sorted(told.values.items()):
        number = {"number": frame.number(value), "value": value, "state": state.value}
        numbers.append(number if document is None else number | {"document": document})
    return {
        "token": told.token,
        "state": told.state.value,
        "series": numbering.series,
        "numbers": numbers,
        "sequence": numbering.sequence,
        "period": numbering.period,
        "document_date": numbering.document_date.isoformat(),
        **mark_answer(numbering.date_is_derived),
        "reserved_at": instant_text(told.reserved_at),
        "expires_at": instant_text(told.expires_at),
        "position": told.position,
    }


def all_series(found: Iterable[SeriesView], position: int) -> Answer:
    return {"series": [series_answer(each) for each in found], "position": position}


def series_answer(view: SeriesView) -> Answer:
    return {
        "code": view.series.code,
        "version": view.series.version,
        **definition_data(view.series.definition),
        **({"retired": True} if view.is_retired else {}),
        "position": view.position,
    }


def defined(command: DefineSeries, outcome: Outcome, state: State) -> Answer:
    """Say what holds of a series that was to be defined or amended; one that is retired can only be left as it is."""
    ((present, done),) = applied(command.series, outcome, state)
    retired = done is Done.UNCHANGED and dict(outcome.found).get(present, False)
    return series_answer(SeriesView(present, retired, outcome.position))


def maximum_adjusted(command: AdjustMaximum, outcome: Outcome, state: State) -> Answer:
    """Say what holds of a series whose maximum was to be adjusted; it may have been so before."""
    for entry in outcome.entries:
        if isinstance(entry.event, MaximumAdjusted):
            series = state.series(entry.event.series, entry.event.series_version)
            return series_answer(SeriesView(series.with_maximum(entry.event.max_value), False, outcome.position))
    series = outcome.found[0][0] if outcome.found else state.series_now(command.series)
    return series_answer(SeriesView(series, False, outcome.position))


def series_retired(outcome: Outcome, state: State) -> Answer:
    event = event_of(SeriesRetired, outcome.events)
    return series_answer(SeriesView(state.series(event.series, event.series_version), True, outcome.position))


def series_reopened(outcome: Outcome, state: State) -> Answer:
    event = event_of(SeriesReopened, outcome.events)
    return series_answer(SeriesView(state.series(event.series, event.series_version), False, outcome.position))


def tried(trial: Trial, position: int) -> Answer:
    """Tell what a command would do, and what it needs beside what it says."""
    return {"dry_run": True, "needs": trial.needs.told(), "effect": trial.effect.told(), "position": position}


class Done(StrEnum):
    """What became of a series that was to be defined or amended."""

    DEFINED = "defined"
    AMENDED = "amended"
    UNCHANGED = "unchanged"


def applied(asked: Sequence[Series], outcome: Outcome, state: State) -> list[tuple[Series, Done]]:
    """Say what was done for each series asked for, with the version that holds now."""
    done: dict[str, tuple[Series, Done]] = {}
    for entry in outcome.entries:
        match entry.event:
            case SeriesDefined(series=series):
                done[series.code] = series, Done.DEFINED
            case SeriesAmended(series=series):
                done[series.code] = series, Done.AMENDED
            case MaximumAdjusted() | SeriesRetired() | SeriesReopened() | PeriodOpened() | SequenceEvent():
                pass
            case ReservationEvent() | NumberEvent() | LedgerEvent():
                pass
            case _:
                assert_never(entry.event)
    found = {series.code: series for series, _ in outcome.found}
    return [done.get(each.code) or (found.get(each.code) or _version_of(each, state), Done.UNCHANGED) for each in asked]


def _version_of(asked: Series, state: State) -> Series:
    """Give the version that a definition was when it was found unchanged, as far as that can still be told."""
    versions = state.versions(asked.code) or ()
    alike = (each for each in reversed(versions) if each.definition == asked.definition)
    return next(alike, versions[-1])


def _imported_values(outcome: Outcome) -> dict[str, BitMap]:
    """Give what an import took over, by sequence."""
    values: dict[str, BitMap] = {}
    for entry in outcome.entries:
        if isinstance(entry.event, NumbersImported):
            of_sequence = values.setdefault(entry.event.sequence, BitMap())
            of_sequence.update(value for each in entry.event.prints for value in values_of(each.ranges))
    return values


def imported_again(register: Register, outcome: Outcome) -> Answer:
    """Say what an import did when it was first delivered, of its rows as they were read then."""
    register.drop_all_but(_imported_values(outcome))
    return imported(register, register.command(skip_bad=True), outcome.position)


def imported(register: Register, command: Import, position: int) -> Answer:
    """Say what an import does, or would do."""
    return {
        "rows": register.rows,
        "fit": sum(len(part.values) for part in command.sequences),
        "derived_dates": register.derived,
        "rejected": [
            {
                "line": row.line,
                "number": row.number,
                "code": row.code.number,
                "title": row.code.name,
                "detail": row.detail,
            }
            for row in command.bad
        ],
        "sequences": [
            {"sequence": id, "numbers": len(values), "lowest": values.min(), "highest": values.max()}
            for id, values in sorted(_values_by_sequence(command).items())
        ],
        "position": position,
    }


def _values_by_sequence(command: Import) -> dict[str, BitMap]:
    """Give the values of each sequence, whichever version reads them."""
    found: dict[str, BitMap] = {}
    for part in command.sequences:
        found[part.sequence] = found.get(part.sequence, BitMap()) | part.values
    return found


def _settled(
    event: NumbersConfirmed | ReservationCancelled, outcome: Outcome, end: ValueState, numbers: list[Answer]
) -> Answer:
    return {
        "token": event.token,
        "state": end.value,
        "numbers": numbers,
        "sequence": event.numbering.sequence,
        "period": event.numbering.period,
        "position": outcome.position,
    }


def _numbers(numbering: Numbering, ranges: Ranges, state: State) -> list[Answer]:
    return _printed(state.frame(numbering), ranges)


def _printed(frame: Frame, ranges: Ranges) -> list[Answer]:
    return [{"number": frame.number(value), "value": value} for value in values_of(ranges)]
