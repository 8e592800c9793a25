"""Commands that wait for the writer, in order, in bounded number, each with its deadline."""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from ledger.codec import Entry
from ledger.domain.commands import Decidable, Envelope
from ledger.domain.events import Event
from ledger.domain.rejection import Code, Rejection
from ledger.domain.series import Series
from ledger.ports import Fault

__all__ = ["Answer", "Outcome", "Queue", "Together", "Waiting"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did: its events as the log holds them, none when there was nothing to change.

    `position` is that of its last event, or of the log when there is none. `replayed` says that the events are
    from an earlier delivery of the same request. `parts` are the outcomes of commands that were carried out together;
    `entries` are then those that were written now. `found` are the series that the command was about as it found them,
    and whether each was retired; none when it is replayed.
    """

    entries: tuple[Entry, ...]
    position: int
    replayed: bool = False
    parts: tuple["Outcome", ...] = ()
    found: tuple[tuple[Series, bool], ...] = ()

    @property
    def events(self) -> list[Event]:
        return [entry.event for entry in self.entries]

    @property
    def last(self) -> Event | None:
        """Give the event that says what holds now; None when there was nothing to change."""
        return self.entries[-1].event if self.entries else None


@dataclass(frozen=True, slots=True)
class Together:
    """Commands, each with its own envelope, of which all are carried out in order, or none is."""

    parts: tuple[tuple[Decidable, Envelope], ...]


Answer = Outcome | Rejection | Fault


@dataclass(slots=True, eq=False)
class Waiting:
    """A command whose answer somebody awaits, from `since` until `deadline`.

    `attempted` are the events that a COMMIT in doubt may have written for it.
    """

    command: Decidable | Together
    envelope: Envelope
    since: float
    deadline: float
    future: asyncio.Future[Outcome]
    attempted: tuple[Entry, ...] = ()
    _extended: bool = False

    @property
    def size(self) -> int:
        """Count the commands."""
        return len(self.command.parts) if isinstance(self.command, Together) else 1

    @property
    def in_doubt(self) -> bool:
        return bool(self.attempted)

    def envelopes(self) -> list[Envelope]:
        """Give the envelope of each command."""
        if isinstance(self.command, Together):
            return [envelope for _, envelope in self.command.parts]
        return [self.envelope]

    def has_attempted(self, entries: tuple[Entry, ...]) -> bool:
        """Say whether these events of one command are those that we tried to commit, and not of another delivery."""
        id = entries[0].envelope.command_id
        attempted = (entry for entry in self.attempted if entry.envelope.command_id == id)
        ours = [(entry.position, entry.recorded_at, entry.envelope) for entry in attempted]
        return ours == [(entry.position, entry.recorded_at, entry.envelope) for entry in entries]

    def doubt(self, attempted: tuple[Entry, ...], outcome_deadline: float) -> None:
        """Note that `attempted` may be in the log; the longer deadline for finding out is given only once."""
        self.attempted = attempted
        if attempted and not self._extended:
            self._extended, self.deadline = True, outcome_deadline

    def answer(self, answer: Answer) -> None:
        if self.future.done():  # the client went away; the log keeps what was done
            return
        if isinstance(answer, Outcome):
            self.future.set_result(answer)
        else:
            self.future.set_exception(answer)


class Queue:
    """Its length, its `limit` and what is drawn count commands: those that are carried out together count as many."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[Waiting] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, waiting: Waiting) -> None:
        if self._size and self._size + waiting.size > self._limit:
            happened = f"{self._size} commands are waiting already"
            raise Fault(Code.QUEUE_FULL, happened, advice="try again in a second")
        self._waiting.append(waiting)
        self._size += waiting.size

    def put_back(self, drawn: Iterable[Waiting]) -> None:
        """Return drawn commands to the front, in their order."""
        back = [waiting for waiting in drawn if not waiting.future.done()]
        self._waiting.extendleft(reversed(back))
        self._size += sum(waiting.size for waiting in back)

    def draw(self, limit: int) -> list[Waiting]:
        """Take commands whose clients still wait, until they are `limit` or more."""
        drawn: list[Waiting] = []
        while self._waiting and limit > 0:
            waiting = self._waiting.popleft()
            self._size -= waiting.size
            if not waiting.future.done():
                drawn.append(waiting)
                limit -= waiting.size
        return drawn

    def draw_overdue(self, now: float) -> list[Waiting]:
        """Take the commands whose deadline has passed."""
        overdue = [waiting for waiting in self._waiting if waiting.deadline <= now]
        if overdue:
            gone = set(map(id, overdue))
            self._waiting = deque(waiting for waiting in self._waiting if id(waiting) not in gone)
            self._size -= sum(waiting.size for waiting in overdue)
        return overdue

    def oldest(self) -> float | None:
        """Give the instant since which the first has waited."""
        return self._waiting[0].since if self._waiting else None

    def first_deadline(self) -> float | None:
        """Give the deadline of the first: nearly always the next one."""
        return self._waiting[0].deadline if self._waiting else None

    def next_deadline(self) -> float | None:
        return min((waiting.deadline for waiting in self._waiting), default=None)
