"""One reservation, or one number, told from its own events."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import assert_never

from pyroaring import BitMap

from ledger.domain.accounting import Cause, among
from ledger.domain.events import (
    Event,
    LedgerEvent,
    NumberEvent,
    Numbering,
    NumbersConfirmed,
    NumbersReserved,
    Original,
    PeriodOpened,
    ReservationEnded,
    ReservationExtended,
    SequenceEvent,
    SeriesEvent,
)
from ledger.domain.ranges import Ranges, includes, values_of
from ledger.domain.reading import Reading
from ledger.domain.rejection import Code, Rejection
from ledger.domain.results import Replacement, Voiding
from ledger.domain.sequence import ValueState
from ledger.domain.series import Reuse
from ledger.domain.state import State

__all__ = ["NumberHistory", "ReservationHistory", "Step", "confirmed_by"]


@dataclass(slots=True)
class ReservationHistory:
    """What became of each value that a reservation ever held.

    `values` maps each value to its state and document; `position` is that of the last event folded, and `settled` of
    the last that changed more than a document.
    """

    token: str
    numbering: Numbering
    reserved_at: int
    expires_at: int
    position: int
    settled: int
    values: dict[int, tuple[ValueState, str | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[tuple[Event, int, int]]) -> "ReservationHistory | None":
        """Fold (event, position, recorded_at) of one token, in order; None when there are none."""
        history: ReservationHistory | None = None
        for event, position, recorded_at in events:
            if isinstance(event, NumbersReserved):
                history = cls(event.token, event.numbering, recorded_at, event.expires_at, position, position)
            if history is not None:
                history._fold(event)
                history.position = position
                if not event.linked:
                    history.settled = position
        return history

    @property
    def state(self) -> ValueState:
        """The state of the reservation: open while it holds a value, else CONFIRMED if any value was."""
        states = self._states()
        order = (ValueState.RESERVED, ValueState.CONFIRMED, ValueState.SKIPPED, ValueState.CANCELLED)
        return next((state for state in order if state in states), ValueState.EXPIRED)

    def _states(self) -> set[ValueState]:
        return {state for state, _ in self.values.values()}

    def closed(self, *, together: bool = False) -> Rejection:
        """Say why no command can use this reservation any more; `together` with others that may have closed it."""
        state = self.state
        if together and state is ValueState.RESERVED:
            detail = (
                f"reservation {self.token} is closed by a command before this one in the same request; leave one out"
            )
            return Rejection(Code.RESERVATION_CLOSED, detail)
        if state is ValueState.EXPIRED:
            return Rejection(Code.RESERVATION_EXPIRED, f"reservation {self.token} has expired; reserve again")
        if ValueState.SKIPPED in self._states():
            return Rejection(
                Code.RESERVATION_CLOSED,
                f"reservation {self.token} was passed over by a restore, at position {self.settled}: it may have been "
                "confirmed in events that were lost; reserve again, or assign its number if a document bears it",
            )
        return Rejection(
            Code.RESERVATION_CLOSED,
            f"reservation {self.token} was already {state.value.lower()}, at position {self.settled}",
        )

    def _fold(self, event: Event) -> None:
        match event:
            case NumbersConfirmed():
                self._put(event.ranges, ValueState.CONFIRMED, event.document)
                for value, document in event.documents:
                    self.values[value] = (ValueState.CONFIRMED, document)
                self._put(event.released, ValueState.CANCELLED)
            case NumbersReserved():
                self._put(event.ranges, ValueState.RESERVED)
            case ReservationEnded():
                self._put(event.ranges, event.end)
            case ReservationExtended():
                self.expires_at = event.expires_at
            case NumberEvent():
                self._link(event)
            case SequenceEvent() | SeriesEvent() | PeriodOpened() | LedgerEvent():
                pass  # of no reservation
            case _:
                assert_never(event)

    def _link(self, event: Event) -> None:
        """Take over another document. The number may have been voided since, of which a reservation knows nothing."""
        for value, original in event.originals(event.linked):
            self._put(((value, value),), ValueState.CONFIRMED, original.document)

    def _put(self, ranges: Ranges, state: ValueState, document: str | None = None) -> None:
        self.values.update(dict.fromkeys(values_of(ranges), (state, document)))


@dataclass(frozen=True, slots=True)
class Step:
    """What an event made of a value, or of its document. `original` says how its number was printed, if it was."""

    state: ValueState
    cause: Cause
    original: Original | None


@dataclass(slots=True)
class NumberHistory:
    """What became of the value that `number` names, of which the attributes are not looked at.

    The events of its sequence are taken from the newest back. `replaces` and `replaced_by` are numbers as printed.
    """

    number: str
    reading: Reading
    position: int = 0
    steps: list[Step] = field(default_factory=list)
    replaces: str | None = None
    replaced_by: str | None = None

    @property
    def state(self) -> ValueState:
        return self.steps[-1].state

    @property
    def printed(self) -> Original | None:
        """How the number was printed last; None when it was never printed."""
        return next((step.original for step in reversed(self.steps) if step.original), None)

    @property
    def confirmed(self) -> Original | None:
        """How the number was printed, and for which document, if it is confirmed now."""
        return self.steps[-1].original if self.steps and self.state is ValueState.CONFIRMED else None

    def take(self, event: Event, cause: Cause) -> bool:
        """Look at the event before the one taken last; says whether it was about this value."""
        value = self.reading.value
        made = [state for state, ranges in event.changes if includes(ranges, value)]
        if includes(event.linked, value):
            made.append(ValueState.CONFIRMED)
        about = [Step(state, cause, event.original(value)) for state in made]
        self.steps[:0] = about
        return bool(about)

    def has_begun(self, state: State) -> bool:
        """Say whether the earliest step so far is the one with which the sequence passed the value."""
        first = self.steps[0]
        if first.state is ValueState.RESERVED:
            assert first.original is not None
            version = state.series(self.reading.series.code, first.original.series_version)
            return version.definition.reuse is Reuse.NEVER
        # A restore passes over what was reserved too: then somebody was to get it before.
        return first.state in (ValueState.SKIPPED, ValueState.PRE_CONTROL) and first.original is None

    def take_command(self, events: Iterable[Event], state: State) -> None:
        """Look at all events of a command that voided the number, or gave it out, for what replaces what."""
        match Voiding.of(events):
            case Voiding(voided=voided, replacement=Replacement() as replacement):
                mine = (self.reading.sequence, self.reading.value)
                if mine == (voided.numbering.sequence, voided.value):
                    self.replaced_by = state.frame(replacement.confirmed.numbering).number(replacement.value)
                elif mine == voided.replacement:
                    self.replaces = state.frame(voided.numbering).number(voided.value)


def confirmed_by(event: Event, values: BitMap) -> Iterator[tuple[int, Original]]:
    """Give those of some values that an event confirmed or linked, how their numbers were printed, and for what."""
    confirmed = (ranges for state, ranges in event.changes if state is ValueState.CONFIRMED)
    for ranges in (*confirmed, event.linked):
        yield from event.originals(among(values, ranges))
