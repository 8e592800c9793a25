"""What is told of single numbers: one that was assigned or voided, and the history of one."""

from typing import Any

from ledger.domain.accounting import Cause
from ledger.domain.calendar import instant_text
from ledger.domain.commands import Link, Original
from ledger.domain.events import DocumentLinked, NumberAssigned, Numbering
from ledger.domain.history import NumberHistory, Step
from ledger.domain.ranges import Ranges
from ledger.domain.results import Voiding, event_of, event_of_if_any
from ledger.domain.sequence import ValueState
from ledger.domain.state import State
from ledger.writer import Outcome

__all__ = ["assigned", "cause_answer", "linked", "mark_answer", "number_history", "ranges_answer", "voided"]

Answer = dict[str, Any]


def assigned(outcome: Outcome, state: State) -> Answer:
    event = event_of(NumberAssigned, outcome.events)
    return {
        **_number(event.numbering, event.value, state),
        "state": ValueState.CONFIRMED.value,
        "document": event.document,
        "skipped": ranges_answer(event.skipped),
        "position": outcome.position,
    }


def voided(outcome: Outcome, state: State) -> Answer:
    """Say what was voided, and what took its place: its number as in a look-up, and all about it."""
    done = Voiding.of(outcome.events)
    assert done is not None
    event = done.voided
    answer = _number(event.numbering, event.value, state) | {"state": ValueState.VOIDED.value, "replaced_by": None}
    if done.replacement:
        confirmed = done.replacement.confirmed
        replacement = _number(confirmed.numbering, done.replacement.value, state)
        replacement |= {"state": ValueState.CONFIRMED.value, "document": confirmed.document, "token": confirmed.token}
        answer |= {"replaced_by": replacement["number"], "replacement": replacement}
    return answer | {"position": outcome.position}


def linked(command: Link, outcome: Outcome, _: State) -> Answer:
    """Say which document a number has, and which it had; where these are one, nothing was to be changed."""
    event = event_of_if_any(DocumentLinked, outcome.events)
    return {
        "number": command.number,
        "state": ValueState.CONFIRMED.value,
        "document": command.document,
        "previous_document": event.previous if event else command.document,
        "position": outcome.position,
    }


def number_history(history: NumberHistory, state: State) -> Answer:
    """Tell a number's history. `number` is as it was printed last, None when it never was; `asked` is as asked for."""
    reading, printed = history.reading, history.printed
    documents = [step.original.document for step in history.steps if step.original and step.original.document]
    return {
        "number": _printed(history, printed, state),
        "asked": history.number,
        "value": reading.value,
        "state": history.state.value,
        "series": reading.series.code,
        "series_version": printed.series_version if printed else reading.series.version,
        "key": dict(zip(reading.series.key, reading.key, strict=True)),
        "sequence": reading.sequence,
        "period": reading.period,
        "document_date": printed.document_date.isoformat() if printed else None,
        **mark_answer(printed is not None and printed.date_is_derived),
        "attributes": dict(printed.attributes) if printed else {},
        "document": documents[-1] if documents else None,
        "replaces": history.replaces,
        "replaced_by": history.replaced_by,
        "history": [_step(history, step, state) for step in history.steps],
        "position": history.position,
    }


def cause_answer(cause: Cause) -> Answer:
    answer: Answer = {
        "event": cause.event,
        "actor": cause.actor,
        "time": instant_text(cause.recorded_at),
        "reason": cause.reason,
        "position": cause.position,
    }
    return answer if cause.token is None else answer | {"token": cause.token}


def mark_answer(date_is_derived: object) -> Answer:
    """Say of a document's date that nobody gave it; nothing of one that was given."""
    return {"date_is_derived": True} if date_is_derived else {}


def ranges_answer(ranges: Ranges) -> list[Answer]:
    return [{"first": first, "last": last} for first, last in ranges]


def _number(numbering: Numbering, value: int, state: State) -> Answer:
    return {
        "number": state.frame(numbering).number(value),
        "value": value,
        "sequence": numbering.sequence,
        "period": numbering.period,
        "document_date": numbering.document_date.isoformat(),
        **mark_answer(numbering.date_is_derived),
    }


def _step(history: NumberHistory, step: Step, state: State) -> Answer:
    answer = {"state": step.state.value, **cause_answer(step.cause)}
    if step.original is None:
        return answer
    return answer | {"number": _printed(history, step.original, state), "document": step.original.document}


def _printed(history: NumberHistory, original: Original | None, state: State) -> str | None:
    if original is None:
        return None
    series = state.series(history.reading.series.code, original.series_version)
    frame = series.frame(history.reading.key, original.attributes, original.document_date)
    return frame.number(history.reading.value)
