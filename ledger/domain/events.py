"""What has happened. Stored events are public API: a changed field means a new version, never a changed meaning."""

from dataclasses import dataclass
from datetime import date

from ledger.domain.ranges import Ranges
from ledger.domain.series import Series

__all__ = [
    "Event",
    "Numbering",
    "NumbersConfirmed",
    "NumbersImported",
    "NumbersReserved",
    "Print",
    "ReservationCancelled",
    "ReservationExpired",
    "ReservationExtended",
    "SequenceReset",
    "SeriesAmended",
    "SeriesDefined",
]


@dataclass(frozen=True, slots=True)
class Numbering:
    """All that, with a value, prints a number again years later.

    `sequence` is the id of the sequence; `key` holds the values in the order of the series' key.
    """

    sequence: str
    series: str
    series_version: int
    key: tuple[str, ...]
    period: str
    document_date: date
    attributes: tuple[tuple[str, str], ...]
    tzdata: str


@dataclass(frozen=True, slots=True)
class SeriesDefined:
    series: Series


@dataclass(frozen=True, slots=True)
class SeriesAmended:
    """A new version of a series; numbers already issued keep theirs."""

    series: Series


@dataclass(frozen=True, slots=True)
class SequenceReset:
    """A sequence of a new period began, before its first value."""

    sequence: str
    series: str
    series_version: int
    key: tuple[str, ...]
    period: str
    start: int


@dataclass(frozen=True, slots=True)
class NumbersReserved:
    numbering: Numbering
    token: str
    ranges: Ranges
    expires_at: int


@dataclass(frozen=True, slots=True)
class NumbersConfirmed:
    """`documents` pairs values with their own documents; `released` is what the confirmation let go."""

    numbering: Numbering
    token: str
    ranges: Ranges
    document: str | None = None
    documents: tuple[tuple[int, str], ...] = ()
    released: Ranges = ()


@dataclass(frozen=True, slots=True)
class Print:
    """Values whose numbers were printed with the same date and attributes."""

    document_date: date
    attributes: tuple[tuple[str, str], ...]
    ranges: Ranges


@dataclass(frozen=True, slots=True)
class NumbersImported:
    """Numbers that a register held before the ledger, confirmed as they stand.

    The holes between them are `pre_control` in a sequence that the import begins, else `skipped`.
    """

    sequence: str
    series: str
    series_version: int
    key: tuple[str, ...]
    period: str
    tzdata: str
    prints: tuple[Print, ...]
    pre_control: Ranges
    skipped: Ranges


@dataclass(frozen=True, slots=True)
class ReservationExtended:
    sequence: str
    token: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class ReservationCancelled:
    numbering: Numbering
    token: str
    ranges: Ranges


@dataclass(frozen=True, slots=True)
class ReservationExpired:
    numbering: Numbering
    token: str
    ranges: Ranges


Event = (
    SeriesDefined
    | SeriesAmended
    | SequenceReset
    | NumbersReserved
    | NumbersConfirmed
    | NumbersImported
    | ReservationExtended
    | ReservationCancelled
    | ReservationExpired
)
