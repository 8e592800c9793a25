"""One reservation, told from its own events: what became of each value that it ever held."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ledger.domain.events import (
    Event,
    Numbering,
    NumbersConfirmed,
    NumbersReserved,
    ReservationCancelled,
    ReservationExpired,
    ReservationExtended,
)
from ledger.domain.ranges import Ranges, values_of
from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import ValueState

__all__ = ["ReservationHistory"]


@dataclass(slots=True)
class ReservationHistory:
    """`values` maps each value to its state and document; `position` is that of the last event folded."""

    token: str
    numbering: Numbering
    reserved_at: int
    expires_at: int
    position: int
    values: dict[int, tuple[ValueState, str | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[tuple[Event, int, int]]) -> "ReservationHistory | None":
        """Fold (event, position, recorded_at) of one token, in order; None when there are none."""
        history: ReservationHistory | None = None
        for event, position, recorded_at in events:
            if isinstance(event, NumbersReserved):
                history = cls(event.token, event.numbering, recorded_at, event.expires_at, position)
                history._put(event.ranges, ValueState.RESERVED)
            elif history is not None:
                history._fold(event)
                history.position = position
        return history

    @property
    def state(self) -> ValueState:
        """The state of the reservation: open while it holds a value, else CONFIRMED if any value was."""
        states = {state for state, _ in self.values.values()}
        for state in (ValueState.RESERVED, ValueState.CONFIRMED, ValueState.CANCELLED):
            if state in states:
                return state
        return ValueState.EXPIRED

    def closed(self) -> Rejection:
        """Say why no command can use this reservation any more."""
        state = self.state
        if state is ValueState.EXPIRED:
            return Rejection(Code.RESERVATION_EXPIRED, f"reservation {self.token} has expired; reserve again")
        return Rejection(
            Code.RESERVATION_CLOSED,
            f"reservation {self.token} was already {state.value.lower()}, at position {self.position}",
        )

    def _fold(self, event: Event) -> None:
        match event:
            case NumbersConfirmed():
                self._put(event.ranges, ValueState.CONFIRMED, event.document)
                for value, document in event.documents:
                    self.values[value] = (ValueState.CONFIRMED, document)
                self._put(event.released, ValueState.CANCELLED)
            case ReservationCancelled(ranges=ranges):
                self._put(ranges, ValueState.CANCELLED)
            case ReservationExpired(ranges=ranges):
                self._put(ranges, ValueState.EXPIRED)
            case ReservationExtended(expires_at=expires_at):
                self.expires_at = expires_at

    def _put(self, ranges: Ranges, state: ValueState, document: str | None = None) -> None:
        self.values.update(dict.fromkeys(values_of(ranges), (state, document)))
