"""What has happened. Stored events are public API: a changed field means a new version, never a changed meaning."""

from dataclasses import dataclass
from datetime import date

from ledger.domain.ranges import Ranges
from ledger.domain.sequence import ValueState
from ledger.domain.series import Series

__all__ = [
    "Event",
    "MaximumAdjusted",
    "NumberAssigned",
    "NumberVoided",
    "Numbering",
    "NumbersConfirmed",
    "NumbersImported",
    "NumbersReserved",
    "PeriodClosed",
    "PeriodOpened",
    "Place",
    "Print",
    "ReservationCancelled",
    "ReservationExpired",
    "ReservationExtended",
    "ReservationFenced",
    "RestoreFenced",
    "SequenceAdjusted",
    "SequenceFenced",
    "SequenceReset",
    "SeriesAmended",
    "SeriesDefined",
    "SeriesRetired",
]


@dataclass(frozen=True, slots=True)
class Place:
    """The sequence that an event is about: its id, and what it is made of; `key` is in the order of the series' key."""

    sequence: str
    series: str
    series_version: int
    key: tuple[str, ...]
    period: str


@dataclass(frozen=True, slots=True)
class Numbering(Place):
    """All that, with a value, prints a number again years later."""

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
class MaximumAdjusted:
    """The present version of a series goes up to another value."""

    series: str
    series_version: int
    max_value: int


@dataclass(frozen=True, slots=True)
class SeriesRetired:
    """The series gives out no more numbers."""

    series: str
    series_version: int


@dataclass(frozen=True, slots=True)
class PeriodOpened:
    """A period of a series may be used before its time, whatever the key; its sequences begin with their first use."""

    series: str
    series_version: int
    period: str


@dataclass(frozen=True, slots=True)
class SequenceReset(Place):
    """A sequence of a new period began, before its first value."""

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
class NumbersImported(Place):
    """Numbers that a register held before the ledger, confirmed as they stand.

    The holes between them are `pre_control` in a sequence that the import begins, else `skipped`.
    """

    tzdata: str
    prints: tuple[Print, ...]
    pre_control: Ranges
    skipped: Ranges


@dataclass(frozen=True, slots=True)
class NumberAssigned:
    """One number was given by hand; `skipped` is what the sequence passed over to reach it."""

    numbering: Numbering
    value: int
    document: str
    skipped: Ranges = ()


@dataclass(frozen=True, slots=True)
class NumberVoided:
    """A confirmed number is out of use; `replacement` is the sequence and value that took its place."""

    numbering: Numbering
    value: int
    replacement: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class SequenceAdjusted(Place):
    """The sequence goes on above `skipped`, which it passed over."""

    skipped: Ranges


@dataclass(frozen=True, slots=True)
class PeriodClosed(Place):
    """The period of a sequence ended; `accounting` is what became of every value, and is not changed by later voids."""

    start: int
    high_water: int
    accounting: tuple[tuple[ValueState, Ranges], ...]


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


@dataclass(frozen=True, slots=True)
class RestoreFenced:
    """The log was restored up to `cut_position`, of `cut_time`, and what came behind that may be lost.

    `opened` are series and periods that may have been opened there ahead of their time. What each sequence and each
    reservation that was open lost by it is told by an event of its own.
    """

    generation: int
    cut_position: int
    cut_time: int
    margin: int
    opened: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SequenceFenced(Place):
    """A restore passed over `skipped`, and what was released is given out no more: lost events may have done so."""

    skipped: Ranges


@dataclass(frozen=True, slots=True)
class ReservationFenced:
    """A restore ended a reservation and passed over what it held: lost events may have confirmed it."""

    numbering: Numbering
    token: str
    ranges: Ranges


Event = (
    SeriesDefined
    | SeriesAmended
    | MaximumAdjusted
    | SeriesRetired
    | PeriodOpened
    | SequenceReset
    | NumbersReserved
    | NumbersConfirmed
    | NumbersImported
    | NumberAssigned
    | NumberVoided
    | SequenceAdjusted
    | PeriodClosed
    | ReservationExtended
    | ReservationCancelled
    | ReservationExpired
    | RestoreFenced
    | SequenceFenced
    | ReservationFenced
)
