"""The clocks as a process's writer sees them: it reads its own beside every other, and says what is wrong with them."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

from ledger.domain.calendar import instant_text
from ledger.domain.clocks import PATIENCE_SECONDS, TOLERANCE_SECONDS, Doubt, Instant, Judge, Reading
from ledger.domain.rejection import Code
from ledger.ports import Clock, Fault, Head, Stop, StopKind, StoreFault

__all__ = ["ClockFault", "Clocks", "Times"]

_log = logging.getLogger(__name__)


class Times(NamedTuple):
    """What the clocks told when they were last read, in microseconds since 1970 UTC; None for one that was not."""

    database: int | None
    process: int | None
    witness: int | None

    def texts(self) -> dict[str, str | None]:
        return {name: None if time is None else instant_text(time) for name, time in self._asdict().items()}


class ClockFault(Fault):
    """CLOCK_UNSURE, with the times that were seen as `members` of its problem document."""

    def __init__(self, happened: str, times: Times, *, advice: str) -> None:
        super().__init__(Code.CLOCK_UNSURE, happened, advice=advice)
        self._times = times

    @property
    def members(self) -> Mapping[str, object]:
        return {"clocks": self._times.texts()}

    def again(self) -> "ClockFault":
        return ClockFault(self.happened, self._times, advice=self.advice or "")


class Clocks:
    """Reads the process's clocks before and after another clock is asked, and keeps the judge's verdict.

    before = clocks.instant()
    transaction = await store.begin()
    fault = clocks.doubt(before, transaction.now)
    """

    def __init__(self, clock: Clock, *, tolerance_seconds: float = TOLERANCE_SECONDS) -> None:
        self._clock = clock
        self._judge = Judge(tolerance_seconds)
        self._last: Reading | None = None

    def instant(self) -> Instant:
        return Instant(self._clock.now(), self._clock.boot())

    def doubt(self, before: Instant, told: int) -> Fault | None:
        """Judges a reading by which events are to be dated; None when they may be.

        A StoreFault when the reading says nothing, and another must be taken.
        """
        if self._take(before, told) is Doubt.SLOW:
            happened = "this process stood still while it asked the database for the time"
            raise StoreFault(Code.LOCK_TIMEOUT, happened, contention=True)
        return self.fault

    def is_ahead(self, recorded_at: int, now: int, accepted_until: int) -> bool:
        """Says whether the log's last event is dated further ahead than clocks may differ, and nobody accepted that."""
        return recorded_at - now > self._judge.tolerance and recorded_at > accepted_until

    def dated_ahead(self, head: Head, now: int, accepted_until: int) -> Stop | None:
        """Returns the stop of a log that ends after the time on which the clocks agree; None where it may go on."""
        if not self.is_ahead(head.recorded_at, now, accepted_until):
            return None
        return Stop(
            StopKind.DATED_AHEAD,
            f"the event at position {head.position} was recorded at {instant_text(head.recorded_at)}, and the clocks "
            f"say {instant_text(now)}: a clock was wrong when it was written, or is now; writing goes on by itself "
            "when the clocks have caught up, and docs/recovery.md has other ways",
        )

    def see(self, before: Instant, told: int) -> None:
        """Judges a reading that dates nothing."""
        self._take(before, told)

    def witness(self, before: Instant, told: int) -> None:
        """Takes what a third clock told."""
        self._judge.take_witness(Reading(before, told, self.instant()))

    @property
    def times(self) -> Times:
        last, witness = self._last, self._judge.witness
        return Times(last and last.told, last and last.after.wall, witness and witness.told)

    @property
    def fault(self) -> ClockFault | None:
        """Why no event may be dated, by the latest reading; None when events may be."""
        if self._judge.doubt is None:
            return None
        times = self.times
        seen = ", ".join(f"{name} {text}" for name, text in times.texts().items() if text)
        happened, advice = self._told(self._judge.doubt)
        return ClockFault(f"{happened}, so nothing is written: {seen}", times, advice=advice)

    def _take(self, before: Instant, told: int) -> Doubt | None:
        reading, was = Reading(before, told, self.instant()), self._judge.doubt
        doubt = self._judge.take(reading)
        if doubt is Doubt.SLOW:
            return doubt
        self._last = reading
        if doubt is not was:
            self._say(doubt)
        return doubt

    def _say(self, doubt: Doubt | None) -> None:
        """Logs a change of the verdict, and not each reading."""
        fault = self.fault
        if fault is None:
            _log.warning("the clocks agree again, at %s: writing goes on", instant_text(self.times.database or 0))
        else:
            _log.error("%s: %s", fault.code.name, fault.detail)

    def _told(self, doubt: Doubt) -> tuple[str, str]:
        tolerance = f"{self._judge.tolerance / 1_000_000:g}"
        match doubt:
            case Doubt.APART:
                return (
                    f"the clocks of the database and of this process differ by more than {tolerance} s",
                    "set the wrong one right, with NTP: writing goes on by itself",
                )
            case Doubt.WALL_MOVED | Doubt.SLOW:
                return "this process's clock was set just now", "try again in a second"
            case Doubt.LEAPT:
                leapt, agreed = self._judge.leapt_seconds, self._judge.agreed_seconds
                which = "forward" if leapt > 0 else "back"
                who = "and Redis's " if self._judge.witness else ""
                return (
                    f"the clocks of the database and of this process leapt {which} by {abs(leapt):.0f} s, or this "
                    "machine was paused",
                    f"if they are wrong, set them right, with NTP; if they are right, wait until they {who}have agreed "
                    f"for {PATIENCE_SECONDS:g} s ({agreed:.0f} s so far)",
                )
