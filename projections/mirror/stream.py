"""The stream that mirrors a log: what the relay asks of it, whatever keeps it.

An entry's id is `<position>-0`. The stream takes only the event that follows its last one and whose hash chains from
it, in one step of the server's, so any number of relays may run and none can leave a hole or mix two histories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from ledger.ports import Record
from projections.mirror.macs import Authenticator

__all__ = ["EMPTY", "Connect", "Entry", "Group", "Later", "Overview", "Stream", "StreamFault", "Tail", "stream_key"]

LOOKED_BACK = 100  # entries at the end of a stream among which one with a valid MAC is looked for


class StreamFault(Exception):
    """The stream could not be asked, or would not take events; it says why, and what to do."""


class Tail(NamedTuple):
    """The last event of the stream; position 0 when there never was one, no hash when the entry itself is gone.

    `mac` is empty when the entry has none.
    """

    position: int
    hash: bytes
    mac: bytes = b""

    def is_at(self, other: "Tail") -> bool:
        """Say whether two are the same event; a MAC is none of the log's."""
        return self[:2] == other[:2]


EMPTY = Tail(0, b"")


class Entry(NamedTuple):
    """An event as the stream holds it: its place, canonical bytes, the hash that chains them, and its MAC if any."""

    position: int
    body: bytes
    hash: bytes
    mac: bytes = b""


class Later(Enum):
    """What Redis holds of the ledger's later generations; without a key every stream counts as genuine."""

    NONE = 1
    GENUINE = 2
    FOREIGN = 3  # nothing in it bears a valid MAC


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group; `delivered` is the last position it was given, `oldest_pending` 0 when all is acknowledged."""

    name: str
    consumers: int
    pending: int
    delivered: int
    oldest_pending: int


@dataclass(frozen=True, slots=True)
class Overview:
    """What there is of the stream; `first` is 0 when it is empty."""

    entries: int
    first: int
    last: int
    groups: Sequence[Group]


class Stream(Protocol):
    """`authenticator` gives each entry that is appended its MAC; without one they have none, and none is checked."""

    authenticator: Authenticator | None

    async def tail(self) -> Tail:
        """Read the last event."""

    async def append(self, records: Sequence[Record], previous: bytes, *, begin: bool = False) -> bool:
        """Append events, of which the first chains from `previous`; those that are there already are passed over.

        False when they do not follow what the stream holds, and then nothing is appended. `begin` lets them be the
        first of an empty stream, wherever it begins.
        """

    async def probe(self) -> Tail:
        """Read the last event as a newcomer would who wants to append; a StreamFault when he could not."""

    async def time(self) -> int | None:
        """Ask the server's clock, in microseconds since 1970 UTC; None when the account may not ask."""

    async def entries(self, *, after: int, limit: int) -> Sequence[Entry]:
        """Read up to `limit` entries behind a position, in order."""

    async def newest(self, *, limit: int) -> Sequence[Entry]:
        """Read the last entries, the newest first."""

    async def trim(self, floor: int) -> int:
        """Drop what lies below `floor` and no group still needs, never the last entry; gives how many entries went."""

    async def overview(self) -> Overview:
        """Look at the whole stream."""

    async def later(self) -> Later:
        """Say whether the ledger has a stream of a later generation, so that this one is of before a restore."""

    async def drop_foreign(self) -> None:
        """Drop the streams of later generations that are foreign."""

    async def delete(self) -> None:
        """Drop the stream, and its groups with it."""

    def beside(self) -> "Stream":
        """Give another stream of the same ledger, which nobody reads, to be filled and then put in this one's place."""

    async def put_in_place(self, other: "Stream") -> None:
        """Become what `other` is, in one step; its groups are lost, and `other` is no more."""

    async def close(self) -> None:
        """Release every connection."""


class Connect(Protocol):
    def __call__(self, ledger_id: str, generation: int, /) -> Stream:
        """Give the stream of a ledger; nothing is connected yet."""


def stream_key(ledger_id: str, generation: int = 0) -> str:
    """Name the stream of a ledger that was fenced so many times: what a restore has cut off is in the one before it."""
    return f"numbering:{ledger_id}:{generation}:events" if generation else f"numbering:{ledger_id}:events"
