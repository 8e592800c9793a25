"""The margin of a fence, and its events: how far every sequence passes over what a lost tail may have given out."""

from collections import deque
from dataclasses import dataclass, field

from ledger.codec import Entry, encode
from ledger.domain.commands import Decidable, Envelope
from ledger.domain.decide import decide
from ledger.domain.events import NumbersReserved
from ledger.domain.ranges import count_of
from ledger.domain.rejection import Rejection
from ledger.domain.state import State
from ledger.ports import Head, Record

__all__ = ["FACTOR", "MIN_MARGIN", "Margin", "Pace", "records_of"]

FACTOR = 10  # design: ten times the most that any sequence issued in a window as long as the loss
MIN_MARGIN = 10
SLOTS = 16  # of a window; counting by them finds at least what the busiest window had


@dataclass(slots=True)
class _Recent:
    """What a sequence gave out in the slots of one window, and in all of them."""

    slots: "deque[tuple[int, int]]" = field(default_factory=deque)
    count: int = 0


@dataclass(frozen=True, slots=True)
class Margin:
    """The number of values that each sequence skips, and how it came about.

    Where it was computed, `sequence` is the one that issued the most, `most`, within a window of `window` microseconds;
    None where none issued anything. Where it was given, `window` is None.
    """

    values: int
    window: int | None = None
    sequence: str | None = None
    most: int = 0

    @property
    def is_given(self) -> bool:
        return self.window is None


class Pace:
    """How many values any sequence gave out in the busiest window of `window` microseconds: at least the true number.

    Its memory grows with the number of sequences that are in use, not with that of events.
    """

    def __init__(self, window: int) -> None:
        self.most = 0
        self.busiest: str | None = None
        self._window = window
        self._width = max(window, 1) / SLOTS
        self._recent: dict[str, _Recent] = {}

    def take(self, entry: Entry) -> None:
        """Count the event that follows."""
        event = entry.event
        if isinstance(event, NumbersReserved):
            recent = self._recent.setdefault(event.numbering.sequence, _Recent())
            self._count(recent, int(entry.recorded_at / self._width), count_of(event.ranges))
            if recent.count > self.most:
                self.most, self.busiest = recent.count, event.numbering.sequence

    def _count(self, recent: _Recent, slot: int, count: int) -> None:
        slots = recent.slots
        if slots and slots[-1][0] == slot:
            slots[-1] = slot, slots[-1][1] + count
        else:
            slots.append((slot, count))
        recent.count += count
        while slots[0][0] < slot - SLOTS:  # a window may begin within a slot, and so reach over one more
            recent.count -= slots.popleft()[1]

    @property
    def margin(self) -> Margin:
        """Give the margin for a loss of one window."""
        return Margin(max(FACTOR * self.most, MIN_MARGIN), self._window, self.busiest, self.most)


def records_of(state: State, end: Head, command: Decidable, envelope: Envelope, now: int) -> list[Record]:
    """Give the events of a command as the rows that follow the end of a log, which folds to `state`."""
    events = decide(state, command, now)
    if isinstance(events, Rejection):
        raise events
    records, previous = [], end.hash
    for ordinal, event in enumerate(events):
        records.append(encode(Entry(end.position + 1 + ordinal, event, envelope, ordinal, now), previous))
        previous = records[-1].hash
    return records
