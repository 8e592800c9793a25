"""The archive beside the log: whether it is the log's own, and how old it is."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from ledger.domain.calendar import MICROSECONDS, instant_text
from ledger.domain.rejection import Rejection
from ledger.ports import StoreFault
from ledger.system import SystemClock
from numbering.doctor.findings import Check, Finding, error, fault, in_order, ok, warning
from numbering.settings import Settings
from numbering.wiring import opened_store
from replay.guard import Standing, standing

__all__ = ["examine"]

CHECK = "archive"
MAX_AGE_SECONDS = 900  # what may be lost with the machine, by docs/recovery.md


async def examine(settings: Settings) -> list[Finding]:
    if not settings.archive:
        return []
    return await in_order([Check(CHECK, partial(_look, settings))], CHECK)


async def _look(settings: Settings) -> Iterable[Finding]:
    try:
        async with opened_store(settings, reads_only=True) as store:
            return [_finding(await standing(store, Path(settings.archive)), SystemClock().now())]
    except StoreFault as unread:
        return [fault(CHECK, unread, when_away="mend the database first")]
    except Rejection as bad:
        return [error(CHECK, bad.detail, "until it is compared, a service does not start")]


def _finding(found: Standing, now: int) -> Finding:
    if found.stop:
        return error(CHECK, found.stop.text, "see docs/recovery.md")
    behind = found.head.position - found.manifest.position
    age = (now - found.manifest.recorded_at) // MICROSECONDS
    detail = f"the archive ends at position {found.manifest.position}, {behind} events before the log"
    if behind and age > MAX_AGE_SECONDS:
        since = instant_text(found.manifest.recorded_at)
        return warning(CHECK, f"{detail}, with an event of {since}", "run `numbering archive` by a timer")
    return ok(CHECK, detail)
