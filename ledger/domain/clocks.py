"""Whether the database's clock may date events: a judge of readings, which reads no clock itself.

A process sees up to four clocks. The *database's* dates the events. The process's *wall* clock tells the same time, and
*boot* counts from the start of the machine: nobody sets it, and it goes on while the machine is suspended. The
*witness* is a third wall clock, Redis's.

- The database's clock and the wall clock must agree. So a leap of one of the two is noticed, at once.
- After the first contact the database's clock must keep its offset to boot. So a leap of both together is noticed, as
  of a database on the same machine. Time that passes while the machine is suspended, or while nobody asks, moves both
  and is no leap. NTP that slews moves both too; what is left of a slow drift, the offset follows.
- A changed offset is believed when the wall clocks have agreed for a while, and the witness with them, if there is one.
  Machines do change: one is paused by its host, a container moves, an operator sets a clock right.

A reading takes time: the other clock told its time at some moment between two of the process's own. Whatever that
moment may have been counts in favour of the clock, so a slow answer is no leap, and neither is a long wait for a lock.
"""

from enum import StrEnum
from typing import NamedTuple

__all__ = ["PATIENCE_SECONDS", "TOLERANCE_SECONDS", "Doubt", "Instant", "Judge", "Reading"]

TOLERANCE_SECONDS = 30.0
PATIENCE_SECONDS = 60.0  # for which all clocks must agree on an offset that has changed
MAX_GAP_SECONDS = 10.0  # between two readings that count as one observation
MAX_READING_SECONDS = 120.0  # longer than any deadline of a store: the process stood still meanwhile
DRIFT_PER_SECOND = 0.001  # that the offset may follow: twice as fast as a kernel slews a clock
SECOND = 1_000_000


class Doubt(StrEnum):
    """Why a reading may not date anything."""

    SLOW = "SLOW"  # it tells nothing: take another
    WALL_MOVED = "WALL_MOVED"  # the wall clock was set while the reading was taken
    APART = "APART"  # the database's clock and the wall clock disagree
    LEAPT = "LEAPT"  # the two agree, but the database's has not its old offset to the boot clock


class Instant(NamedTuple):
    """One moment by a process's two clocks, in microseconds: `wall` since 1970 UTC, `boot` since the machine began."""

    wall: int
    boot: int


class Reading(NamedTuple):
    """The time that another clock told, in microseconds since 1970 UTC, between two moments of the process."""

    before: Instant
    told: int
    after: Instant


class _Span(NamedTuple):
    """What an offset is known to lie in."""

    low: int
    high: int

    def distance(self, other: "_Span") -> int:
        return max(self.low - other.high, other.low - self.high, 0)

    def followed(self, other: "_Span", drift: int) -> "_Span":
        """Returns the span after it drifted towards another: what both allow, or the nearest that drift allows."""
        low, high = self.low - drift, self.high + drift
        return _Span(min(max(low, other.low), high), max(min(high, other.high), low))


class _Candidate(NamedTuple):
    """A changed offset, on which all clocks have agreed `since` a moment of the boot clock, last `seen` at another."""

    offset: _Span
    since: int
    seen: int


class Judge:
    """`doubt` is the verdict on the latest reading that told something; None when events may be dated."""

    def __init__(self, tolerance_seconds: float = TOLERANCE_SECONDS) -> None:
        self.tolerance = int(tolerance_seconds * SECOND)
        self.doubt: Doubt | None = None
        self.witness: Reading | None = None
        self._kept: _Span | None = None
        self._kept_at = 0
        self._candidate: _Candidate | None = None

    @property
    def agreed_seconds(self) -> float:
        """How long all clocks have agreed on a changed offset."""
        return (self._candidate.seen - self._candidate.since) / SECOND if self._candidate else 0.0

    @property
    def leapt_seconds(self) -> float:
        """How far the database's clock has leapt; negative when it leapt back."""
        return (self._candidate.offset.low - self._kept.low) / SECOND if self._candidate and self._kept else 0.0

    def take(self, reading: Reading) -> Doubt | None:
        """Judges a reading of the database's clock."""
        before, told, after = reading
        if not 0 <= after.boot - before.boot <= MAX_READING_SECONDS * SECOND:
            return Doubt.SLOW
        self.doubt = self._judged(before, told, after)
        return self.doubt

    def take_witness(self, reading: Reading) -> None:
        """Keeps a reading of the witness's clock. There is a witness as soon as it has told its time once."""
        self.witness = reading

    def _judged(self, before: Instant, told: int, after: Instant) -> Doubt | None:
        offset = _Span(told - after.boot, told - before.boot)
        if abs((after.wall - before.wall) - (after.boot - before.boot)) > self.tolerance:
            self._candidate = None
            return Doubt.WALL_MOVED
        if told - after.wall > self.tolerance or before.wall - told > self.tolerance:
            self._candidate = None
            return Doubt.APART
        now, kept = after.boot, offset
        if self._kept is not None and offset.distance(self._kept) <= self.tolerance:
            drift = int(max(now - self._kept_at, 0) * DRIFT_PER_SECOND)
            kept = self._kept.followed(offset, min(drift, self.tolerance))
        elif self._kept is not None and not self._believes(offset, now):
            return Doubt.LEAPT
        self._kept, self._kept_at, self._candidate = kept, now, None
        return None

    def _believes(self, offset: _Span, now: int) -> bool:
        """Says whether all clocks have agreed on a changed offset for long enough."""
        last, agrees = self._candidate, self._is_witnessed(offset, now)
        goes_on = last is not None and agrees and self._goes_on(last, offset, now)
        since = last.since if last is not None and goes_on else now
        self._candidate = _Candidate(offset, since, now)
        return now - since >= PATIENCE_SECONDS * SECOND

    def _goes_on(self, last: _Candidate, offset: _Span, now: int) -> bool:
        return 0 <= now - last.seen <= MAX_GAP_SECONDS * SECOND and offset.distance(last.offset) <= self.tolerance

    def _is_witnessed(self, offset: _Span, now: int) -> bool:
        if self.witness is None:
            return True
        before, told, after = self.witness
        is_fresh = 0 <= now - after.boot <= MAX_GAP_SECONDS * SECOND
        return is_fresh and offset.distance(_Span(told - after.boot, told - before.boot)) <= self.tolerance
