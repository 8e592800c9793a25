"""What the ledger can be asked to do. Ids, randomness and everything that a caller knows arrive inside.

A `reason` is judged here, where one is asked for, and stored in the envelope of the command's events.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from pyroaring import BitMap

from ledger.domain.acceptance import Acceptance
from ledger.domain.events import StopAccepted
from ledger.domain.places import Original, Print
from ledger.domain.ranges import Ranges
from ledger.domain.rejection import Code
from ledger.domain.series import Series

__all__ = [
    "MAX_COUNT",
    "AcceptStops",
    "AdjustMaximum",
    "AdjustSequence",
    "Assign",
    "BadRow",
    "BaseCommand",
    "Cancel",
    "Choice",
    "CloseLedger",
    "ClosePeriod",
    "Command",
    "Confirm",
    "Correction",
    "Decidable",
    "DefineSeries",
    "Envelope",
    "Expire",
    "Extend",
    "Fence",
    "Import",
    "ImportedSequence",
    "Issue",
    "Link",
    "OpenLedger",
    "OpenPeriod",
    "Original",
    "RaiseFormat",
    "ReopenPeriod",
    "ReopenSeries",
    "Reserve",
    "ResetSequence",
    "RetireSeries",
    "Slice",
    "Void",
    "WithOriginal",
]

MAX_COUNT = 10_000


class Envelope(NamedTuple):
    """Who asked, why, and how a second delivery is recognised; stored with every event of the command.

    `command_id` is 32 bytes: a digest of client, operation and idempotency key, or random without a key.
    """

    command_id: bytes
    actor: str
    reason: str | None = None
    request_id: str | None = None
    idempotency_key: str | None = None
    fingerprint: str | None = None


class BaseCommand:
    """What every command says of itself."""

    __slots__ = ()

    @property
    def token(self) -> str | None:
        """The reservation that the command makes or is about."""
        return None

    @property
    def reason(self) -> str | None:
        """Why it is asked for, as its events shall say."""
        return None

    @property
    def told(self) -> tuple[str, ...]:
        """The series that its answer tells even if it leaves them as they are."""
        return ()


# A field below that is named as one of the properties above is declared by `field()`: without it, a dataclass would
# take the property for its default.


@dataclass(frozen=True, slots=True)
class DefineSeries(BaseCommand):
    """Define each series, or amend the one of its code; all or nothing."""

    series: tuple[Series, ...]

    @property
    def told(self) -> tuple[str, ...]:
        return tuple(series.code for series in self.series)


@dataclass(frozen=True, slots=True)
class Reserve(BaseCommand):
    """`ttl_seconds` None means the series' own, and where that is not given either, `default_ttl_seconds`."""

    series: str
    token: str = field()
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
class Confirm(BaseCommand):
    """`numbers` None means all that the reservation still holds."""

    token: str = field()
    document: str | None = None
    numbers: tuple[Choice, ...] | None = None
    release_rest: bool = True


@dataclass(frozen=True, slots=True)
class Extend(BaseCommand):
    token: str = field()
    ttl_seconds: int


@dataclass(frozen=True, slots=True)
class Cancel(BaseCommand):
    token: str = field()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Expire(BaseCommand):
    """Given by the writer alone, for a reservation that is due."""

    token: str = field()


@dataclass(frozen=True, slots=True)
class Issue(BaseCommand):
    reserve: Reserve
    document: str


@dataclass(frozen=True, slots=True)
class Assign(BaseCommand):
    """Give a certain number, which nobody holds, to a document; skip at most `max_skipped` values for it.

    Its date is derived where none is given.
    """

    number: str
    document: str
    reason: str = field()
    document_date: date | None = None
    max_skipped: int | None = None


@dataclass(frozen=True, slots=True)
class Void(BaseCommand):
    """Take a confirmed number out of use; with `replace`, confirm another of its sequence for the same document.

    `token` is the replacement's.
    """

    number: str
    reason: str = field()
    token: str = field()
    replace: bool = False
    document_date: date | None = None


@dataclass(frozen=True, slots=True)
class Link(BaseCommand):
    """Give a confirmed number its document, or another one than it has."""

    number: str
    document: str
    reason: str = field()


# What is said of a confirmed number, named as it is printed. The state forgets how that was; the log knows it.
Correction = Void | Link


@dataclass(frozen=True, slots=True)
class WithOriginal(BaseCommand):
    """A correction, with what the log says of its number; None when that was not confirmed when it was looked up.

    `links` is `State.links` of that moment: what was linked later is not in the `original`.
    """

    command: Correction
    original: Original | None
    links: int = 0


@dataclass(frozen=True, slots=True)
class AdjustSequence(BaseCommand):
    """Let a sequence, which need not have begun, go on at `next_value`; skip at most `max_skipped` values."""

    sequence: str
    next_value: int
    reason: str = field()
    max_skipped: int | None = None


@dataclass(frozen=True, slots=True)
class AdjustMaximum(BaseCommand):
    series: str
    max_value: int
    reason: str = field()

    @property
    def told(self) -> tuple[str, ...]:
        return (self.series,)


@dataclass(frozen=True, slots=True)
class OpenPeriod(BaseCommand):
    """Begin a period before its time: of one sequence, or without `key`, of a series, whatever the key."""

    series: str
    period: str
    key: Mapping[str, str] | None = None
    reason: str | None = None
    accept: frozenset[Acceptance] = frozenset()


@dataclass(frozen=True, slots=True)
class ResetSequence(BaseCommand):
    """Begin another period for the key of a sequence; None means the one that follows the sequence's own."""

    sequence: str
    period: str | None = None
    reason: str | None = None
    accept: frozenset[Acceptance] = frozenset()


@dataclass(frozen=True, slots=True)
class ClosePeriod(BaseCommand):
    sequence: str
    reason: str | None = None
    accept: frozenset[Acceptance] = frozenset()


@dataclass(frozen=True, slots=True)
class ReopenPeriod(BaseCommand):
    """Let a sequence that was closed before it passed any value take numbers again."""

    sequence: str
    reason: str = field()


@dataclass(frozen=True, slots=True)
class RetireSeries(BaseCommand):
    series: str
    reason: str | None = None
    accept: frozenset[Acceptance] = frozenset()


@dataclass(frozen=True, slots=True)
class ReopenSeries(BaseCommand):
    """Let a series that was retired issue numbers again."""

    series: str
    reason: str = field()


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row of a register that cannot be imported, and why; `line` counts from 1."""

    line: int
    number: str
    code: Code
    detail: str


class Slice(NamedTuple):
    """What one event tells of a register."""

    ranges: Ranges
    prints: tuple[Print, ...]
    documents: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ImportedSequence:
    """What a register holds of one sequence, as it was read by one version of its series.

    `slices` are its values from the lowest up, in parts of a bounded size, each with how its numbers were printed, and
    with the documents that the register tells. All that can be is computed here, before the log is locked.
    """

    sequence: str
    series: Series
    key: tuple[str, ...]
    period: str
    values: BitMap
    slices: tuple["Slice", ...]


@dataclass(frozen=True, slots=True)
class Import(BaseCommand):
    """Take over a register: the numbers of its good rows. Refused while a row is bad, unless told to skip those."""

    sequences: tuple[ImportedSequence, ...]
    bad: tuple[BadRow, ...] = ()
    skip_bad: bool = False
    max_skipped: int | None = None


@dataclass(frozen=True, slots=True)
class Fence(BaseCommand):
    """Given by a restore alone, when events behind the last one that it found may be lost.

    No sequence may have come further than `margin` values in them, and none of a series that `margins` names further
    than it says. `opened` are the series and periods that they may have opened ahead of their time. `cut_position` and
    `cut_time` are of the last event, 0 in an empty log.
    """

    cut_position: int
    cut_time: int
    margin: int
    reason: str = field()
    opened: tuple[tuple[str, str], ...] = ()
    margins: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class RaiseFormat(BaseCommand):
    """Let the ledger hold the events of another format: given by an administrator, when every process knows them.

    `reason` names the build that asks.
    """

    format: int
    reason: str = field()


@dataclass(frozen=True, slots=True)
class CloseLedger(BaseCommand):
    """Let nothing be written any more, until OpenLedger: `copies` name the places that shall hold that it is so."""

    copies: tuple[str, ...]
    reason: str = field()


@dataclass(frozen=True, slots=True)
class OpenLedger(BaseCommand):
    """Let commands be carried out again: each copy that was named must hold that before, or be named as `without`."""

    copies: tuple[str, ...]
    without: tuple[str, ...]
    reason: str = field()


@dataclass(frozen=True, slots=True)
class AcceptStops(BaseCommand):
    """Lift stops by an operator's decision: the log keeps each, with its kind and words."""

    stops: tuple[StopAccepted, ...]
    reason: str = field()


_Complete = (
    DefineSeries
    | AdjustMaximum
    | RetireSeries
    | Reserve
    | Confirm
    | Extend
    | Cancel
    | Expire
    | Issue
    | Assign
    | AdjustSequence
    | OpenPeriod
    | ResetSequence
    | ClosePeriod
    | ReopenPeriod
    | ReopenSeries
    | Import
    | Fence
    | RaiseFormat
    | CloseLedger
    | OpenLedger
    | AcceptStops
)

Command = _Complete | Correction  # as it is asked for
Decidable = _Complete | WithOriginal  # as it is decided
