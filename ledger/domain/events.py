"""What has happened. Stored events are public API: a changed field means a new version, never a changed meaning.

Every event describes itself by the base that all share: the sequence, the reservation and the stream that it belongs
to, the values whose state it changes, and how the numbers that it tells of were printed. Whoever needs no more asks
the base, and knows of new events without being changed.

What is of one family has the same base class: a `match` over events names families where all of their events are
alike to it, and ends in `assert_never`, so that mypy names each place that an event outside of them was not thought
of in. How a new event is added is told, with a real one, in docs/extending.md.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, NamedTuple, get_args

from ledger.domain.formats import DERIVED_DATES, FORMAT_STREAM
from ledger.domain.places import Numbering, Original, Place, Print, Written
from ledger.domain.ranges import Ranges, includes, values_of
from ledger.domain.sequence import ValueState
from ledger.domain.series import Series

__all__ = [
    "CLOSING_STREAM",
    "DATED_AHEAD",
    "EVENT_TYPES",
    "LEDGER_STREAM",
    "STOPS_STREAM",
    "BaseEvent",
    "Change",
    "DocumentLinked",
    "Event",
    "FormatRaised",
    "LedgerClosed",
    "LedgerEvent",
    "LedgerOpened",
    "MaximumAdjusted",
    "NumberAssigned",
    "NumberEvent",
    "NumberVoided",
    "Numbering",
    "NumbersConfirmed",
    "NumbersImported",
    "NumbersReserved",
    "Original",
    "PeriodClosed",
    "PeriodOpened",
    "PeriodReopened",
    "Place",
    "Print",
    "ReservationCancelled",
    "ReservationEnded",
    "ReservationEvent",
    "ReservationExpired",
    "ReservationExtended",
    "ReservationFenced",
    "RestoreFenced",
    "SequenceAdjusted",
    "SequenceEvent",
    "SequenceFenced",
    "SequenceReset",
    "SequenceValue",
    "SeriesAmended",
    "SeriesDefined",
    "SeriesEvent",
    "SeriesReopened",
    "SeriesRetired",
    "StartLowered",
    "StopAccepted",
]

# The stream of what belongs to no series; no series' code and no sequence's id is written so.
LEDGER_STREAM = "*"
CLOSING_STREAM = "*closed"  # one of its own: the newest event of `*` says which generation the ledger is of
STOPS_STREAM = "*stops"

DATED_AHEAD = "DATED_AHEAD"  # the kind of the stop of a log that ends after the present; to accept it moves the clock

Change = tuple[ValueState, Ranges]


class BaseEvent:
    """What every event says of itself.

    `version` is that of the type: it is raised when a field changes, with an upcaster for what is stored already.
    `format` is the first format of the ledger in which the type may be written at this version, with the fields that
    it has had since. An event with a field that came later, which is left out as long as it says nothing, `needs` that
    field's format.
    """

    __slots__ = ()

    version: ClassVar[int] = 1
    format: ClassVar[int] = 1

    @property
    def needs(self) -> int:
        """Give the first format of the ledger in which this very event may be written."""
        return self.format

    @property
    def stream(self) -> str:
        """Name what the event belongs to: a sequence by its id, a series by its code (which holds no `:`)."""
        raise NotImplementedError

    @property
    def place(self) -> Place | None:
        """The sequence that the event happened in, which may begin with it."""
        return None

    @property
    def sequence(self) -> str | None:
        """The id of the sequence that the event is about."""
        return None

    @property
    def token(self) -> str | None:
        """The reservation that the event belongs to."""
        return None

    @property
    def changes(self) -> tuple[Change, ...]:
        """The states into which the event took values, each with the values; of each it is the cause."""
        return ()

    @property
    def linked(self) -> Ranges:
        """The confirmed values to which the event gave another document; their state, and its cause, stay the same."""
        return ()

    def is_about(self, value: int) -> bool:
        """Say whether the event changed a value's state or document."""
        return any(includes(ranges, value) for _, ranges in self.changes) or includes(self.linked, value)

    def original(self, value: int) -> Original | None:
        """Say how the number of a value was printed, and its document if the event gives it one.

        None when nobody was to get the value by this event.
        """
        return None

    def originals(self, ranges: Ranges) -> Iterator[tuple[int, Original]]:
        """Yields each of these values, which must be of a number of this event, with its original."""
        for value in values_of(ranges):
            original = self.original(value)
            assert original is not None
            yield value, original


# Series


class SeriesEvent(BaseEvent):
    """What changes a series; its stream is the code."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class SeriesDefined(SeriesEvent):
    series: Series

    @property
    def stream(self) -> str:
        return self.series.code


@dataclass(frozen=True, slots=True)
class SeriesAmended(SeriesEvent):
    """A new version of a series; numbers already issued keep theirs."""

    series: Series

    @property
    def stream(self) -> str:
        return self.series.code


@dataclass(frozen=True, slots=True)
class MaximumAdjusted(SeriesEvent):
    """The present version of a series goes up to another value."""

    series: str
    series_version: int
    max_value: int

    @property
    def stream(self) -> str:
        return self.series


@dataclass(frozen=True, slots=True)
class SeriesRetired(SeriesEvent):
    """The series gives out no more numbers."""

    series: str
    series_version: int

    @property
    def stream(self) -> str:
        return self.series


@dataclass(frozen=True, slots=True)
class SeriesReopened(SeriesEvent):
    """The series, which was retired, issues numbers again."""

    format = 3

    series: str
    series_version: int

    @property
    def stream(self) -> str:
        return self.series


@dataclass(frozen=True, slots=True)
class PeriodOpened(BaseEvent):
    """A period of a series may be used before its time, whatever the key; its sequences begin with their first use."""

    series: str
    series_version: int
    period: str

    @property
    def stream(self) -> str:
        return self.series


# Sequences


@dataclass(frozen=True, slots=True)
class SequenceEvent(Place, BaseEvent):
    """What happens to a sequence as a whole."""

    @property
    def stream(self) -> str:
        return self.sequence

    @property
    def place(self) -> Place:
        return self


@dataclass(frozen=True, slots=True)
class SequenceReset(SequenceEvent):
    """A sequence of a new period began, before its first value."""

    start: int


@dataclass(frozen=True, slots=True)
class SequenceAdjusted(SequenceEvent):
    """The sequence goes on above `skipped`, which it passed over."""

    skipped: Ranges

    @property
    def changes(self) -> tuple[Change, ...]:
        return ((ValueState.SKIPPED, self.skipped),)


@dataclass(frozen=True, slots=True)
class StartLowered(SequenceEvent):
    """The sequence counts from an earlier `start` on, as an amendment of its series says.

    The values below its start of before are `pre_control`: they may have been given out before the ledger took over.
    """

    format = 3

    start: int
    pre_control: Ranges

    @property
    def changes(self) -> tuple[Change, ...]:
        return ((ValueState.PRE_CONTROL, self.pre_control),)


@dataclass(frozen=True, slots=True)
class SequenceFenced(SequenceEvent):
    """A restore passed over `skipped`, and what was released is given out no more: lost events may have done so."""

    skipped: Ranges

    @property
    def changes(self) -> tuple[Change, ...]:
        return ((ValueState.SKIPPED, self.skipped),)


@dataclass(frozen=True, slots=True)
class PeriodClosed(SequenceEvent):
    """The period of a sequence ended; `accounting` is what became of every value, and is not changed by later voids.

    Each state's count is stored beside its ranges, for those who read the log without us.
    """

    start: int
    high_water: int
    accounting: Annotated[tuple[Change, ...], Written.WITH_COUNTS]


@dataclass(frozen=True, slots=True)
class PeriodReopened(SequenceEvent):
    """The period of a sequence, closed before it had passed any value, takes numbers again."""

    format = 3


# Reservations


@dataclass(frozen=True, slots=True)
class _OfNumbering(BaseEvent):
    """What happens to values that are all printed alike."""

    numbering: Numbering

    @property
    def needs(self) -> int:
        return max(self.format, DERIVED_DATES) if self.numbering.date_is_derived else self.format

    @property
    def stream(self) -> str:
        return self.numbering.sequence

    @property
    def place(self) -> Place:
        return self.numbering

    @property
    def sequence(self) -> str:
        return self.numbering.sequence

    def original(self, value: int) -> Original | None:
        return Original.of(self.numbering)


class ReservationEvent(BaseEvent):
    """What happens to a reservation: each has its `token`, which the log keeps beside the data."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class NumbersReserved(_OfNumbering, ReservationEvent):
    # `field()` here and below: without it, a dataclass would take the base's property for the default.
    token: str = field()
    ranges: Ranges
    expires_at: int

    @property
    def changes(self) -> tuple[Change, ...]:
        return ((ValueState.RESERVED, self.ranges),)


@dataclass(frozen=True, slots=True)
class NumbersConfirmed(_OfNumbering, ReservationEvent):
    """`documents` pairs values with their own documents; `released` is what the confirmation let go."""

    token: str = field()
    ranges: Ranges
    document: str | None = None
    documents: Annotated[tuple[tuple[int, str], ...], Written.SPARSE] = ()
    released: Annotated[Ranges, Written.SPARSE] = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        return (ValueState.CONFIRMED, self.ranges), (ValueState.CANCELLED, self.released)

    def original(self, value: int) -> Original | None:
        given = dict(self.documents).get(value, self.document) if includes(self.ranges, value) else None
        return Original.of(self.numbering, given, self.token)


@dataclass(frozen=True, slots=True)
class ReservationExtended(ReservationEvent):
    sequence: str = field()
    token: str = field()
    expires_at: int

    @property
    def stream(self) -> str:
        return self.sequence


@dataclass(frozen=True, slots=True)
class ReservationEnded(_OfNumbering, ReservationEvent):
    """A reservation lost all that it still held, to the state `end`."""

    end: ClassVar[ValueState]

    token: str = field()
    ranges: Ranges

    @property
    def changes(self) -> tuple[Change, ...]:
        return ((self.end, self.ranges),)


@dataclass(frozen=True, slots=True)
class ReservationCancelled(ReservationEnded):
    end = ValueState.CANCELLED


@dataclass(frozen=True, slots=True)
class ReservationExpired(ReservationEnded):
    end = ValueState.EXPIRED


@dataclass(frozen=True, slots=True)
class ReservationFenced(ReservationEnded):
    """A restore ended a reservation and passed over what it held: lost events may have confirmed it."""

    end = ValueState.SKIPPED


# Single numbers


class NumberEvent(BaseEvent):
    """What happens to numbers that no reservation holds."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class NumbersImported(Place, NumberEvent):
    """Numbers that a register held before the ledger, confirmed as they stand.

    The holes between them are `pre_control` in a sequence that the import begins, else `skipped`. `documents` pairs
    values with their documents, where the register tells them.
    """

    tzdata: str
    prints: tuple[Print, ...]
    pre_control: Annotated[Ranges, Written.SPARSE]
    skipped: Annotated[Ranges, Written.SPARSE]
    documents: Annotated[tuple[tuple[int, str], ...], Written.SPARSE] = ()

    @property
    def needs(self) -> int:
        is_new = bool(self.documents) or any(each.date_is_derived for each in self.prints)
        return max(self.format, DERIVED_DATES) if is_new else self.format

    @property
    def stream(self) -> str:
        return self.sequence

    @property
    def place(self) -> Place:
        return self

    @property
    def changes(self) -> tuple[Change, ...]:
        confirmed = ((ValueState.CONFIRMED, each.ranges) for each in self.prints)
        return *confirmed, (ValueState.PRE_CONTROL, self.pre_control), (ValueState.SKIPPED, self.skipped)

    def original(self, value: int) -> Original | None:
        mine = next((each for each in self.prints if includes(each.ranges, value)), None)
        return None if mine is None else self._original(mine, dict(self.documents).get(value))

    def originals(self, ranges: Ranges) -> Iterator[tuple[int, Original]]:
        documents = dict(self.documents)
        for value in values_of(ranges):
            mine = next(each for each in self.prints if includes(each.ranges, value))
            yield value, self._original(mine, documents.get(value))

    def _original(self, mine: Print, document: str | None) -> Original:
        day, attributes = mine.document_date, mine.attributes
        return Original(self.series_version, day, attributes, document, None, mine.date_is_derived)


@dataclass(frozen=True, slots=True)
class NumberAssigned(_OfNumbering, NumberEvent):
    """One number was given by hand; `skipped` is what the sequence passed over to reach it."""

    value: int
    document: str
    skipped: Annotated[Ranges, Written.SPARSE] = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        return (ValueState.CONFIRMED, ((self.value, self.value),)), (ValueState.SKIPPED, self.skipped)

    def original(self, value: int) -> Original | None:
        return Original.of(self.numbering, self.document) if value == self.value else None


class SequenceValue(NamedTuple):
    """A value, with the sequence that it is of."""

    sequence: str
    value: int


@dataclass(frozen=True, slots=True)
class NumberVoided(_OfNumbering, NumberEvent):
    """A confirmed number is out of use; `replacement` took its place."""

    value: int
    replacement: SequenceValue | None = None

    @property
    def changes(self) -> tuple[Change, ...]:
        return ((ValueState.VOIDED, ((self.value, self.value),)),)


@dataclass(frozen=True, slots=True)
class DocumentLinked(_OfNumbering, NumberEvent):
    """A confirmed number got its document, or another one than `previous`.

    The `token` is that of the reservation that gave the number out; None if no reservation did.
    """

    format = 2

    value: int
    document: str
    previous: str | None = None
    token: str | None = None

    @property
    def linked(self) -> Ranges:
        return ((self.value, self.value),)

    def original(self, value: int) -> Original | None:
        return Original.of(self.numbering, self.document, self.token) if value == self.value else None


# The ledger as a whole


class LedgerEvent(BaseEvent):
    """What belongs to no series and no reservation."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RestoreFenced(LedgerEvent):
    """The log was restored up to `cut_position`, of `cut_time`, and what came behind that may be lost.

    `opened` are series and periods that may have been opened there ahead of their time. `margins` are of the series
    (by code) that have another margin than `margin`. What each sequence and each reservation that was open lost by it
    is told by an event of its own.
    """

    generation: int
    cut_position: int
    cut_time: int
    margin: int
    opened: tuple[tuple[str, str], ...] = ()
    margins: Annotated[tuple[tuple[str, int], ...], Written.SPARSE] = ()

    @property
    def format(self) -> int:  # type: ignore[override]  # a fence without `margins` is written as it always was
        return 3 if self.margins else 1

    @property
    def stream(self) -> str:
        return LEDGER_STREAM


@dataclass(frozen=True, slots=True)
class FormatRaised(LedgerEvent):
    """From here on the events of another `format` may be written, this one as the first of them."""

    format: int = field()  # type: ignore[misc]  # of each event of this type its own

    @property
    def stream(self) -> str:
        return FORMAT_STREAM


@dataclass(frozen=True, slots=True)
class LedgerClosed(LedgerEvent):
    """The ledger was closed: nothing follows but LedgerOpened, so a log that ends here may be known to be complete.

    `copies` name the mirror's or archive's places that hold this event, and are told when the ledger is opened again.
    """

    format = 3

    copies: tuple[str, ...]

    @property
    def stream(self) -> str:
        return CLOSING_STREAM


@dataclass(frozen=True, slots=True)
class LedgerOpened(LedgerEvent):
    """The ledger takes commands again, as soon as each of `copies` holds this event.

    `without` are those that LedgerClosed names and that an operator says are no more.
    """

    format = 3

    copies: tuple[str, ...]
    without: Annotated[tuple[str, ...], Written.SPARSE] = ()

    @property
    def stream(self) -> str:
        return CLOSING_STREAM


@dataclass(frozen=True, slots=True)
class StopAccepted(LedgerEvent):
    """An operator judged a stop and lifted it: why writing was stopped, in the stop's own kind and words.

    `position` and `hash` (64 hexadecimal digits) name the event that the log must hold for the stop to end by itself;
    None where the stop names none. Where the log lost events, a fence stands in front of it.
    """

    format = 3

    kind: str
    detail: str
    position: int | None = None
    hash: str | None = None

    @property
    def stream(self) -> str:
        return STOPS_STREAM


Event = (
    SeriesDefined
    | SeriesAmended
    | MaximumAdjusted
    | SeriesRetired
    | SeriesReopened
    | PeriodOpened
    | SequenceReset
    | NumbersReserved
    | NumbersConfirmed
    | NumbersImported
    | NumberAssigned
    | NumberVoided
    | DocumentLinked
    | SequenceAdjusted
    | StartLowered
    | PeriodClosed
    | PeriodReopened
    | ReservationExtended
    | ReservationCancelled
    | ReservationExpired
    | RestoreFenced
    | FormatRaised
    | LedgerClosed
    | LedgerOpened
    | StopAccepted
    | SequenceFenced
    | ReservationFenced
)

# The one registry: every type by the name under which it is stored, with its present version and its format.
EVENT_TYPES: Mapping[str, type[Event]] = {each.__name__: each for each in get_args(Event)}
