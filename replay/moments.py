"""Moments of a log: a position, a time, or its end; and the log read up to one of them."""

import re
from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import datetime

from ledger import codec
from ledger.codec import UnknownEvent, recorded_at
from ledger.domain.calendar import instant_of, instant_text
from ledger.domain.rejection import Code, Rejection
from ledger.fold import Fold
from ledger.ports import Fault, Record
from replay.following import Chain, Progress, checked
from replay.sources import Damaged, Extent, Source, Stored, apart, event_at

__all__ = [
    "END",
    "Moment",
    "Past",
    "before_all",
    "folded",
    "incomplete",
    "is_moment",
    "moment_of",
    "row_of",
    "understood",
]

_POSITION = re.compile(r"[0-9]{1,16}", re.ASCII)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Moment:
    """Up to a position, or up to the last event of a time (microseconds); neither is the end of the log."""

    position: int | None = None
    time: int | None = None

    def __str__(self) -> str:
        if self.position is not None:
            return f"position {self.position}"
        return "the end" if self.time is None else instant_text(self.time)

    def of(self, events: Sequence[Stored]) -> Sequence[Stored]:
        """Give those of some events, which follow one another, that had happened by then."""
        if self.position is not None:
            return events[: max(self.position + 1 - events[0][0], 0)]
        if self.time is None or recorded_at(events[-1][1]) <= self.time:
            return events
        # The log's time never goes back.
        return events[: bisect_right(events, self.time, key=lambda event: recorded_at(event[1]))]

    def holds(self, position: int, instant: int) -> bool:
        """Say whether one event had happened by then."""
        if self.position is not None:
            return position <= self.position
        return self.time is None or instant <= self.time


END = Moment()


def is_moment(text: str) -> bool:
    """Say whether a text means a moment, well written or not, rather than the place of a log."""
    return bool(_POSITION.fullmatch(text) or _TIME.match(text))


def moment_of(text: str) -> Moment:
    """Read a position, or a time of RFC 3339; INVALID_FORMAT for anything else."""
    if _POSITION.fullmatch(text):
        return Moment(position=int(text))
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise _no_moment(text, "is neither a position nor a time such as 2026-01-31T17:00:00+07:00") from None
    if time.tzinfo is None:
        hint = f"{text[:10]}T{text[11:] or '00:00:00'}"
        raise _no_moment(text, f"does not say its offset from UTC: write {hint}+07:00, or {hint}Z for UTC")
    return Moment(time=instant_of(time))


def _no_moment(text: str, problem: str) -> Rejection:
    return Rejection(Code.INVALID_FORMAT, f"{text[:50]!r} {problem}")


class Past:
    """The log of a source up to a moment. Read to the end of `events`, it says where that was.

    `beyond` is None if the source is known to hold all of it; else the instant up to which it is (microseconds): what
    was recorded later may be missing.

    A Rejection, NOT_IN_HISTORY, when the log does not reach to the moment, or begins behind it.
    """

    def __init__(self, source: Source, extent: Extent, moment: Moment, beyond: int | None = None) -> None:
        self.beyond = beyond
        self.ledger_id = extent.ledger_id
        self.recorded_at = 0
        self._source = source
        self._extent = extent
        self._moment = moment
        self._chain = Chain.of(extent.ledger_id)
        self._position = 0
        self._hash = self._chain.hash

    @classmethod
    async def of(cls, source: Source, moment: Moment = END, *, allow_beyond: bool = False) -> "Past":
        """Look how far a source reaches. A moment beyond what it is known to hold is refused, or allowed and marked."""
        extent = await source.extent()
        if extent.last and extent.first > 1:
            raise apart(
                f"{source.name} begins with position {extent.first} only: name a database or an archive beside it, "
                "which has the events before"
            )
        if moment.position is not None and moment.position > extent.last:
            detail = f"the log of {source.name} ends at position {extent.last}, before {moment}"
            raise Rejection(Code.NOT_IN_HISTORY, detail, members={"position": extent.last})
        if moment.position == 0:
            raise before_all(source, moment)
        beyond = await _beyond(source, extent, moment)
        if beyond is not None and not allow_beyond:
            detail = (
                f"{incomplete(source, beyond)}, and {moment} is later: ask for a moment up to then, or add --beyond"
            )
            raise Rejection(Code.NOT_IN_HISTORY, detail, members={"position": extent.last})
        return cls(source, extent, moment, beyond)

    @property
    def position(self) -> int:
        return self._position

    @property
    def hash(self) -> bytes:
        return self._hash

    async def events(self, progress: Progress = lambda done, of: None) -> AsyncGenerator[Sequence[Stored]]:
        """Read the events in order, some at a time, each chained to the one before."""
        end = self._extent.last if self._moment.position is None else self._moment.position
        async with aclosing(self._read(end)) as parts:
            async for events in parts:
                wanted = self._moment.of(events)
                if wanted:
                    self._position, body, self._hash = wanted[-1]
                    self.recorded_at = recorded_at(body)
                    yield wanted
                    progress(self._position, end)
                if len(wanted) < len(events):
                    break
        if not self._position and self._moment != END:
            raise before_all(self._source, self._moment)

    async def _read(self, end: int) -> AsyncGenerator[Sequence[Stored]]:
        if end == self._extent.last:
            async for events in checked(self._source, self._extent, self._chain):
                yield events
            return
        async for events in self._source.events(after=0, to=end):
            self._chain.follow(events)
            yield events
        if self._chain.position < end:
            raise Rejection(Code.LOG_DAMAGED, f"{self._source.name} lacks the events behind {self._chain.position}")


def incomplete(source: Source, until: int) -> str:
    """Say up to when a source is known to hold every event; 0 where it holds none."""
    if not until:
        return f"{source.name} holds no event, and was never compared with the log"
    return f"{source.name} is known to hold every event up to {instant_text(until)}"


async def _beyond(source: Source, extent: Extent, moment: Moment) -> int | None:
    """Give the instant up to which a source is known to be complete, if a moment lies behind it."""
    until = extent.complete_until or 0
    if moment.time is None or moment.time <= until:
        return None
    last = await event_at(source, extent.last) if extent.last else None
    if last is not None:
        # The next event may have been recorded at the same instant: those of one transaction are.
        until = max(until, recorded_at(last[1]) - 1)
    return None if moment.time <= until else until


def before_all(source: Source, moment: Moment) -> Rejection:
    """Say that nothing had happened by a moment."""
    return Rejection(Code.NOT_IN_HISTORY, f"the log of {source.name} begins after {moment}: nothing was there yet")


def row_of(event: Stored) -> Record:
    """Give an event as a database keeps it; Damaged when its body is none, or that of another place."""
    position, body, hash = event
    try:
        found = codec.record_of(body, hash)
    except (ValueError, LookupError, TypeError) as error:
        raise Damaged(position, "the body is no event") from error
    if found.position != position:
        raise Damaged(position, f"the event says of itself that it stands at position {found.position}")
    return found


async def folded(past: Past, progress: Progress = lambda done, of: None) -> Fold:
    """Fold a past to the state that the ledger was in."""
    fold = Fold(past.ledger_id)
    with understood():
        async for events in past.events(progress):
            fold.take(map(row_of, events))
    return fold


@contextmanager
def understood() -> Iterator[None]:
    """Say in words that an event is of a newer version of the software."""
    try:
        yield
    except UnknownEvent as why:
        raise Fault(Code.LEDGER_STOPPED, str(why)) from why
