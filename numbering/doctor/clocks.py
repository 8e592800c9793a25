"""Another machine's clock beside this one's."""

from ledger.domain.clocks import TOLERANCE_SECONDS
from numbering.doctor.findings import Finding, error, ok, span, warning
from numbering.settings import PREFIX

__all__ = ["compared", "of_redis"]

MAX_DIFFERENCE_SECONDS = 1.0
NTP = "keep both right with NTP"


def compared(
    check: str, theirs: float, before: float, after: float, tolerance_seconds: float = TOLERANCE_SECONDS
) -> Finding:
    """Compare the database's clock with this machine's, read before the question and after the answer."""
    ahead = _ahead(theirs, before, after)
    if abs(ahead) <= MAX_DIFFERENCE_SECONDS:
        return ok(check, f"the database's and this machine's differ by less than {MAX_DIFFERENCE_SECONDS:g} s")
    detail = f"the database's clock is {_told(ahead)} this machine's"
    if abs(ahead) <= tolerance_seconds:
        return warning(check, detail, f"{NTP}; the times in the ledger are the database's")
    refused = f"beyond {tolerance_seconds:g} s ({PREFIX}CLOCK_TOLERANCE) the service writes nothing (CLOCK_UNSURE)"
    return error(check, f"{detail}: {refused}", "set the wrong one right, with NTP: writing then goes on by itself")


def of_redis(check: str, theirs: float, before: float, after: float) -> Finding:
    ahead = _ahead(theirs, before, after)
    if abs(ahead) <= TOLERANCE_SECONDS:
        return ok(check, "as this machine's")
    detail = f"Redis's clock is {_told(ahead)} this machine's: it could not bear witness after the clocks were set"
    return warning(check, detail, NTP)


def _ahead(theirs: float, before: float, after: float) -> float:
    return max(theirs - after, min(theirs - before, 0.0))


def _told(ahead: float) -> str:
    return f"{span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'}"
