"""What became of every value of a sequence, and why: its state from the bitmaps, its cause from the log.

The bitmaps say which state each value is in; the last event that touched a value is the cause of that. So the events
are read from the newest back, until each value that was asked for has met its cause.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pyroaring import BitMap

from ledger.domain.events import Event
from ledger.domain.ranges import Ranges, runs
from ledger.domain.sequence import Sequence, ValueState

__all__ = ["Account", "Accounting", "Cause", "among"]

# States into which one event may take any number of values; in the others, each value may have a cause of its own.
_WIDE = (ValueState.SKIPPED, ValueState.PRE_CONTROL)


@dataclass(frozen=True, slots=True)
class Cause:
    """The event, by whom, when (microseconds) and why."""

    position: int
    event: str
    actor: str
    recorded_at: int
    reason: str | None
    token: str | None


@dataclass(frozen=True, slots=True)
class Account:
    """The values `first` to `last`, which are in one state by one cause."""

    first: int
    last: int
    state: ValueState
    cause: Cause


class Accounting:
    """The values of a sequence from `first` on that are in some states, at most about `limit` ranges of them.

    `following` is where the next part begins, None when this is the last; `sought` are the values without a cause yet.
    """

    def __init__(self, sequence: Sequence, *, first: int, states: Iterable[ValueState], limit: int) -> None:
        self.following: int | None = None
        self._accounts: list[Account] = []
        self.sought = BitMap()
        for low, high, state in sequence.ranges(first, states):
            if limit <= 0:
                self.following = low
                break
            last = high if state in _WIDE else min(high, low + limit - 1)
            self.sought.add_range(low, last + 1)
            limit -= 1 if state in _WIDE else last - low + 1
            if last < high:
                self.following = last + 1
                break

    @property
    def is_complete(self) -> bool:
        """Say whether every value has met its cause."""
        return not self.sought

    def take(self, event: Event, cause: Cause, only: BitMap | None = None) -> None:
        """Look at the event before the one taken last, or at that which is the cause of `only` some values."""
        sought = self.sought if only is None else self.sought & only
        for state, ranges in event.changes:
            for low, high in among(sought, ranges):
                self._accounts.append(Account(low, high, state, cause))
                self.sought.remove_range(low, high + 1)

    def accounts(self) -> list[Account]:
        """Give the ranges in order; when complete, they are all values that were asked for."""
        return sorted(self._accounts, key=lambda account: account.first)


def among(sought: BitMap, ranges: Ranges) -> Ranges:
    """Give what of the ranges is sought."""
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:  # nearly always
        return ranges if ranges[0][0] in sought else ()
    of_event = BitMap()
    for low, high in ranges:
        of_event.add_range(low, high + 1)
    return tuple(runs(sought & of_event))
