"""What the ledger needs of the world: a store, a clock, ways to start tasks and to compute. Tests replace these alone.

A store keeps one ledger: the append-only events and the head that names the last of them. Whoever holds the
head's lock, from `begin` to `commit` or `rollback`, is the only one who may append.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pyroaring import BitMap

from ledger.domain.rejection import Code

__all__ = [
    "MOVED",
    "RESTORING",
    "Aside",
    "Clock",
    "Fault",
    "Head",
    "Ids",
    "Index",
    "Life",
    "OutcomeUnknown",
    "Record",
    "Snapshot",
    "Spawn",
    "Store",
    "StoreFault",
    "Transaction",
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


# Begins the reason for which writing is stopped while a restore fills the ledger: only the restore lifts it.
RESTORING = "a restore into this database was not finished"
# The same where it took all of a ledger, which goes on elsewhere: nothing lifts it.
MOVED = "the ledger was moved to another database"


class Head(NamedTuple):
    """The end of the log; `stopped` says why writing is refused, None when it is not."""

    position: int
    hash: bytes
    recorded_at: int
    ledger_id: str
    stopped: str | None


class Snapshot(NamedTuple):
    """The fold up to a position, as some version of it wrote it; `sha256` is that of the body."""

    position: int
    hash: bytes
    fold_version: int
    body: bytes
    sha256: bytes


class Fault(Exception):
    """The infrastructure could not serve a command, which had no effect unless `code` is OUTCOME_UNKNOWN."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class StoreFault(Fault):
    """The store failed before COMMIT was sent, so nothing happened. Raised `from` the driver's own error.

    `transient` faults pass by themselves: retry after a pause, or at once, within a bound, when it is only
    `contention`.
    """

    def __init__(self, code: Code, detail: str, *, transient: bool = False, contention: bool = False) -> None:
        super().__init__(code, detail)
        self.transient = transient or contention
        self.contention = contention


class OutcomeUnknown(Exception):
    """COMMIT was sent and no clear answer came: only the log, read under the lock, can tell what happened."""


class Transaction(Protocol):
    """The head's lock, held. `now` is the database's clock, read after the lock was granted."""

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

    async def stop(self, why: str | None) -> None:
        """Set `stopped` on the head, for every process to see; None lets them write again."""

    async def commit(self) -> None:
        """Make it durable.

        OutcomeUnknown when the store's answer was lost, a StoreFault only when it is certain that nothing happened.
        """

    async def rollback(self) -> None:
        """Give up the lock and all changes; never raises, and does nothing after a commit."""


class Store(Protocol):
    async def head(self) -> Head:
        """Read the head without its lock."""

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

        The event that closed the sequence is among them, with no values.
        """

    async def life(self, sequence: str, value: int) -> Life:
        """Say where the events about one value are; nowhere when it has not been passed."""


class Clock(Protocol):
    """Time as the process sees it: it says when to try, never what is true. That is the database's clock."""

    def monotonic(self) -> float:
        """Seconds, never back, of the clock by which tasks sleep."""

    def now(self) -> int:
        """Microseconds since 1970 UTC, for what is shown and not stored."""


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
