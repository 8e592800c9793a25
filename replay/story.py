"""Who got a number, when and why: its history from the events of any source, without any table.

The log is read twice: for the series, which say what the number is, and then for the events about it. Most events are
passed over by their bytes alone, and only what concerns the number is kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import orjson

from ledger import codec
from ledger.codec import Entry
from ledger.domain.decisions.guards import reading_of
from ledger.domain.events import (
    EVENT_TYPES,
    Event,
    LedgerEvent,
    MaximumAdjusted,
    NumberEvent,
    PeriodOpened,
    ReservationEvent,
    SequenceEvent,
    SeriesAmended,
    SeriesDefined,
    SeriesEvent,
    SeriesReopened,
    SeriesRetired,
)
from ledger.domain.history import NumberHistory
from ledger.domain.rejection import Code, Rejection
from ledger.domain.results import MAX_VOID_EVENTS, may_be_of_void
from ledger.domain.state import State
from ledger.log import cause_of
from projections.known import Known
from replay.following import Progress
from replay.moments import END, Moment, Past, row_of, understood
from replay.sources import Source, Stored

__all__ = ["Story", "story_of"]

_STREAM = b'"stream":"'
_OF_SERIES = tuple(
    b'"type":"%s"' % name.encode() for name, kind in EVENT_TYPES.items() if issubclass(kind, SeriesEvent)
)


@dataclass(slots=True)
class Story:
    """A number's history, the state that prints it, and the hash of each event in it, by position."""

    history: NumberHistory
    state: State
    hashes: dict[int, bytes] = field(default_factory=dict)


async def story_of(source: Source, number: str, progress: Progress, moment: Moment = END) -> Story:
    """Tell a number's history up to a moment; NUMBER_NOT_FOUND when it was never given out."""
    with understood():
        past = await Past.of(source, moment)
        state = await _series(past, progress)
        history = NumberHistory(number, reading_of(state, number, past.recorded_at))
        story = Story(history, state)
        again = await Past.of(source, Moment(position=past.position))
        await _read(source, again, story, progress)
    history.position = past.position
    if not history.steps:
        reading = history.reading
        detail = f"{number!r} was never given out: sequence {reading.sequence} has not passed value {reading.value}"
        raise Rejection(Code.NUMBER_NOT_FOUND, detail)
    return story


# The series


async def _series(past: Past, progress: Progress) -> State:
    """Fold all that is about series: how they are written, and since which version each is in use."""
    known, used = Known(), set[bytes]()
    async for events in past.events(lambda done, of: progress(done, 2 * of)):
        for event in events:
            _know(known, used, event)
    return known.state


def _know(known: Known, used: set[bytes], event: Stored) -> None:
    body = event[1]
    if any(kind in body for kind in _OF_SERIES):
        _put(known.state, _entry(event).event)
    elif (code := _code(body)) not in used:
        place = _entry(event).event.place
        if place is not None:
            known.use(place)
            used.add(code)


def _code(body: bytes) -> bytes:
    """Cut the series' code out of the name of the event's stream, which is the last of its fields but three."""
    start = body.rindex(_STREAM) + len(_STREAM)
    stream = body[start : body.index(b'"', start)]
    return stream.partition(b":")[0].partition(b"~")[0]


def _put(state: State, event: Event) -> None:
    match event:
        case SeriesDefined(series=series) | SeriesAmended(series=series):
            state.put_series(series)
        case MaximumAdjusted(series=code, max_value=max_value):
            state.put_maximum(code, max_value)
        case SeriesRetired(series=code):
            state.put_retired(code)
        case SeriesReopened(series=code):
            state.put_retired(code, False)
        case ReservationEvent() | NumberEvent() | SequenceEvent() | PeriodOpened() | LedgerEvent():
            raise AssertionError(f"{event} changes no series")
        case _:
            assert_never(event)


# The number


async def _read(source: Source, past: Past, story: Story, progress: Progress) -> None:
    """Take the events about the number from the newest back, as a history does."""
    reading = story.history.reading
    mark = _STREAM + orjson.dumps(reading.sequence)[1:]
    found: list[tuple[Entry, bytes]] = []
    async for events in past.events(lambda done, of: progress(of + done, 2 * of)):
        entries = ((_entry(event), event[2]) for event in events if mark in event[1])
        found += ((entry, hash) for entry, hash in entries if entry.event.is_about(reading.value))
    for entry, hash in reversed(found):
        story.history.take(entry.event, cause_of(entry))
        story.history.take_command(await _command(source, entry, past.position), story.state)
        story.hashes[entry.position] = hash


async def _command(source: Source, entry: Entry, end: int) -> Sequence[Event]:
    """Read the events of a command that may have replaced a number; they stand together."""
    if not may_be_of_void(entry.event, entry.ordinal):
        return [entry.event]
    first = entry.position - entry.ordinal
    found: list[Event] = []
    async for events in source.events(after=first - 1, to=min(first + MAX_VOID_EVENTS - 1, end)):
        found += _of_command(events, entry)
    return found


def _of_command(events: Iterable[Stored], of: Entry) -> list[Event]:
    entries = map(_entry, events)
    return [entry.event for entry in entries if entry.envelope.command_id == of.envelope.command_id]


def _entry(event: Stored) -> Entry:
    return codec.decode(row_of(event))
