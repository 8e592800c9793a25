"""What the ledger can be asked to do. Ids, randomness and everything that a caller knows arrive inside."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from ledger.domain.series import Series

__all__ = [
    "MAX_COUNT",
    "Cancel",
    "Choice",
    "Command",
    "Confirm",
    "DefineSeries",
    "Envelope",
    "Expire",
    "Extend",
    "Issue",
    "Reserve",
]

MAX_COUNT = 10_000


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who asked, why, and how a second delivery is recognised; stored with every event of the command.

    `command_id` is 32 bytes: a digest of client, operation and idempotency key, or random without a key.
    """

    command_id: bytes
    actor: str
    reason: str | None = None
    request_id: str | None = None
    idempotency_key: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class DefineSeries:
    series: Series


@dataclass(frozen=True, slots=True)
class Reserve:
    """`ttl_seconds` None means the series' own, and where that is not given either, `default_ttl_seconds`."""

    series: str
    token: str
    key: Mapping[str, str] = field(default_factory=dict)
    count: int = 1
    ttl_seconds: int | None = None
    default_ttl_seconds: int = 300
    document_date: date | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """One number of a block that is to be confirmed, with its own document or the command's."""

    number: str
    document: str | None = None


@dataclass(frozen=True, slots=True)
class Confirm:
    """`numbers` None means all that the reservation still holds."""

    token: str
    document: str | None = None
    numbers: tuple[Choice, ...] | None = None
    release_rest: bool = True


@dataclass(frozen=True, slots=True)
class Extend:
    token: str
    ttl_seconds: int


@dataclass(frozen=True, slots=True)
class Cancel:
    token: str


@dataclass(frozen=True, slots=True)
class Expire:
    """Given by the writer alone, for a reservation that is due."""

    token: str


@dataclass(frozen=True, slots=True)
class Issue:
    reserve: Reserve
    document: str


Command = DefineSeries | Reserve | Confirm | Extend | Cancel | Expire | Issue
