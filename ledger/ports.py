"""What the ledger needs of the world: a store, a clock, ways to start tasks and to compute. Tests replace these alone.

A store keeps one ledger: the append-only events and the head that names the last of them. Whoever holds the
head's lock, from `begin` to `commit` or `rollback`, is the only one who may append.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from pyroaring import BitMap

from ledger.domain.rejection import Code, Hint, Words, api_words

__all__ = [
    "NO_LEDGER",
    "Aside",
    "Clock",
    "Events",
    "Fault",
    "Head",
    "Ids",
    "Index",
    "Life",
    "OutcomeUnknown",
    "Record",
    "Snapshot",
    "Spawn",
    "Stop",
    "StopKind",
    "Store",
    "StoreFault",
    "Transaction",
    "reasons",
]


class Record(NamedTuple):
    """An event as it is stored. `body` holds the canonical bytes; `recorded_at` is in microseconds since 1970 UTC."""

    position: int
    type: str
    version: int
    stream: str
    token: str | None
    command_id: bytes
    ordinal: int
    body: bytes
    recorded_at: int
    hash: bytes


class StopKind(StrEnum):
    """Why writing is stopped, by stable codes, that which is hardest to lift first."""

    MOVED = "MOVED"  # the ledger goes on in another database: nothing lifts it
    RESTORING = "RESTORING"  # half of a ledger: only the restore lifts it
    COPY = "COPY"  # as of a past moment, for reading
    OPENING = "OPENING"  # opened again, and not all copies hold that yet: only `numbering open-ledger` lifts it
    LATER_BUILD = "LATER_BUILD"  # of a kind that this build does not know
    EARLIER_BUILD = "EARLIER_BUILD"  # a text in the head that a build without kinds, or an operator, wrote
    LOG_FORKED = "LOG_FORKED"  # the log is not the one that a process had folded, or does not chain
    LOG_BEHIND = "LOG_BEHIND"  # the log ends before what a process had folded
    ARCHIVE_FORKED = "ARCHIVE_FORKED"  # the archive tells another history
    ARCHIVE_AHEAD = "ARCHIVE_AHEAD"
    MIRROR_SUPERSEDED = "MIRROR_SUPERSEDED"  # there is a mirror of a later generation
    MIRROR_FORKED = "MIRROR_FORKED"  # the mirror tells another history
    MIRROR_AHEAD = "MIRROR_AHEAD"
    DATED_AHEAD = "DATED_AHEAD"  # a wrong clock dated the head: it is lifted when the clocks have caught up with that


# What these stop is half of a ledger, or one that is elsewhere now: nothing else that is found of it says anything.
NO_LEDGER = frozenset({StopKind.MOVED, StopKind.RESTORING})

# How the reasons of some kinds begin, whatever follows. Builds of before tell these kinds by that, so it never changes.
_OPENINGS = {
    StopKind.MOVED: "the ledger was moved to another database, ",
    StopKind.RESTORING: "a restore into this database was not finished: ",
    StopKind.MIRROR_SUPERSEDED: "the mirror ",
    StopKind.MIRROR_FORKED: "the mirror ",
    StopKind.MIRROR_AHEAD: "the mirror ",
}


class Stop(NamedTuple):
    """One reason for which every process refuses to write; several can stand at once.

    `detail` goes on where its kind's opening ends. `position` and `hash` name the event that the log must hold, and go
    on from: then the stop ends by itself. None where the kind alone decides, and nothing ends it but an operator.
    `stopped_at` is the database's time in microseconds.
    """

    kind: StopKind
    detail: str
    position: int | None = None
    hash: bytes | None = None
    stopped_at: int = 0

    def is_as(self, other: "Stop") -> bool:
        """Say whether two are one reason, however they are worded."""
        return (self.kind, self.position, self.hash) == (other.kind, other.position, other.hash)

    @property
    def text(self) -> str:
        """The whole reason. Builds of before find the position and the hash in it, so their form never changes."""
        seen = f" (seen: position {self.position}, hash {self.hash.hex()})" if self.hash is not None else ""
        return f"{_OPENINGS.get(self.kind, '')}{self.detail}{seen}"


def reasons(stops: Iterable[Stop]) -> str:
    """Name every reason; number them if there are several, for each may have a semicolon and advice of its own."""
    texts = [stop.text for stop in stops]
    if len(texts) == 1:
        return texts[0]
    return "; ".join(f"({number}) {text}" for number, text in enumerate(texts, 1))


class Head(NamedTuple):
    """The end of the log. `stops` counts the reasons for which writing is stopped; `Store.stops` tells them.

    `stopped` is what builds of before know of them, or what one of those has written by itself.
    """

    position: int
    hash: bytes
    recorded_at: int
    ledger_id: str
    stopped: str | None = None
    stops: int = 0

    @property
    def is_stopped(self) -> bool:
        return self.stops > 0 or self.stopped is not None


class Snapshot(NamedTuple):
    """The fold up to a position, as some version of it wrote it; `sha256` is that of the body."""

    position: int
    hash: bytes
    fold_version: int
    body: bytes
    sha256: bytes


class Fault(Exception):
    """The infrastructure could not serve a command, which had no effect unless `code` is OUTCOME_UNKNOWN.

    It says what happened, what to do (`advice`, or a `hint` that each face words for itself), and what the server said.
    """

    JOINT = "; "  # between what happened and what to do

    def __init__(
        self,
        code: Code,
        happened: str,
        *,
        advice: str | None = None,
        said: str | None = None,
        hint: Hint | None = None,
    ) -> None:
        super().__init__(happened)
        self.code = code
        self.happened = happened
        self.advice = advice
        self.said = said
        self.hint = hint

    def __str__(self) -> str:
        return self.detail

    @property
    def detail(self) -> str:
        """All of it, as clients of the API are told."""
        return self.told(api_words)

    def told(self, words: Words) -> str:
        hint = None if self.hint is None else words(self.hint)
        text = self.JOINT.join(part for part in (self.happened, self.advice, hint) if part is not None)
        return text if self.said is None else f"{text} ({self.said})"

    def again(self) -> "Fault":
        """Give another one of the same: a shared one would gather the traceback of each client that it is raised to."""
        return Fault(self.code, self.happened, advice=self.advice, said=self.said, hint=self.hint)


class StoreFault(Fault):
    """The store failed before COMMIT was sent, so nothing happened. Raised `from` the driver's own error.

    `transient` faults pass by themselves: retry after a pause, or at once, within a bound, when it is only
    `contention`.
    """

    JOINT = ": "

    def __init__(
        self,
        code: Code,
        happened: str,
        *,
        advice: str | None = None,
        said: str | None = None,
        hint: Hint | None = None,
        transient: bool = False,
        contention: bool = False,
    ) -> None:
        super().__init__(code, happened, advice=advice, said=said, hint=hint)
        self.transient = transient or contention
        self.contention = contention

    def again(self) -> "StoreFault":
        return StoreFault(
            self.code,
            self.happened,
            advice=self.advice,
            said=self.said,
            hint=self.hint,
            transient=self.transient,
            contention=self.contention,
        )


class OutcomeUnknown(Exception):
    """COMMIT was sent and no clear answer came: only the log, read under the lock, can tell what happened."""


class Transaction(Protocol):
    """The head's lock, held. `now` is what the database's clock told after the lock was granted, right or wrong."""

    head: Head
    now: int

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        """Read up to `limit` events behind a position, in order."""

    async def events_of_commands(self, command_ids: Sequence[bytes]) -> Sequence[Record]:
        """Read all events of some commands, in order of position."""

    async def append(self, records: Sequence[Record]) -> None:
        """Append events, of which the first follows the head and each the one before, and move the head.

        A StoreFault when the positions are out of turn.
        """

    async def stops(self) -> Sequence[Stop]:
        """Read the reasons for which writing is stopped."""

    async def stop(self, stop: Stop) -> bool:
        """Add a reason to stop, for every process to see; False when it stands already."""

    async def lift(self, is_mended: Callable[[Stop], bool]) -> Sequence[Stop]:
        """Take away the reasons that are mended; gives those that still stand. Without any, processes write again."""

    async def commit(self) -> None:
        """Make it durable.

        OutcomeUnknown when the store's answer was lost, a StoreFault only when it is certain that nothing happened.
        """

    async def rollback(self) -> None:
        """Give up the lock and all changes; never raises, and does nothing after a commit."""


class Events(Protocol):
    """The committed events, looked up without the lock."""

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        """Read up to `limit` committed events behind a position, in order, without the lock."""

    async def events_at(self, positions: Sequence[int]) -> Sequence[Record]:
        """Read the committed events at some positions, in order of position."""

    async def events_of_token(self, token: str) -> Sequence[Record]:
        """Read all committed events of a reservation, in order of position."""

    async def events_of_commands(self, command_ids: Sequence[bytes]) -> Sequence[Record]:
        """Read all committed events of some commands, in order of position, without the lock."""

    async def events_of_stream(self, stream: str, *, before: int, limit: int) -> Sequence[Record]:
        """Read up to `limit` committed events of a stream in front of a position, the newest first, unlocked."""


class Store(Events, Protocol):
    async def head(self) -> Head:
        """Read the head without its lock."""

    async def head_and_now(self) -> tuple[Head, int]:
        """Read the head without its lock, and the database's clock beside it, in microseconds since 1970 UTC."""

    async def stops(self) -> Sequence[Stop]:
        """Read the committed reasons for which writing is stopped, without the lock."""

    async def newest_snapshot(self, fold_version: int, *, at_most: int) -> Snapshot | None:
        """Read the snapshot of the highest position, up to a limit, that this version of the fold wrote."""

    async def put_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, beside whatever the writer does; nothing when there is one of its position and version."""

    async def begin(self) -> Transaction:
        """Take the head's lock; a StoreFault when it cannot be had."""

    async def close(self) -> None:
        """Release every connection."""


class Life(NamedTuple):
    """The positions of the events about one value since it was last given out, and of the one before; 0 for none."""

    positions: Sequence[int]
    earlier: int


class Index(Protocol):
    """Where in the log the events about single values are. It may be behind, and then what it says is of that time."""

    async def position(self) -> int:
        """Give how far it has come; 0 when it cannot be relied on."""

    async def causes(self, sequence: str, values: BitMap) -> Mapping[int, BitMap]:
        """Give the positions of the events that put values in their states, each with the values that it did so to.

        So of those that gave documents to numbers that were confirmed already.

        The event that closed the sequence is among them, with no values.
        """

    async def life(self, sequence: str, value: int) -> Life:
        """Say where the events about one value are; nowhere when it has not been passed."""


class Clock(Protocol):
    """Time as the process sees it: it says when to try, and whether the database's clock may date events.

    It never dates any itself.
    """

    def monotonic(self) -> float:
        """Seconds, never back, of the clock by which tasks sleep."""

    def now(self) -> int:
        """Microseconds since 1970 UTC, for what is shown and not stored."""

    def boot(self) -> int:
        """Microseconds since the machine began, suspension included: a clock that nobody sets."""


class Ids(Protocol):
    """Where randomness comes from."""

    def token(self) -> str:
        """A new reservation token: 32 lower-case hexadecimal digits."""

    def command_id(self) -> bytes:
        """A new random id of 32 bytes, for a command without an idempotency key."""


class Spawn(Protocol):
    """Start a task; the one place where tasks begin, so that a simulated scheduler can own them."""

    def __call__(self, work: Coroutine[Any, Any, None], /, *, name: str) -> asyncio.Task[None]: ...


class Aside(Protocol):
    def __call__(self, work: Callable[[], None], /) -> Awaitable[None]:
        """Do long work that is nobody else's, without holding up the loop."""
