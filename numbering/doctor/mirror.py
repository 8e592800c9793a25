"""The mirror beside the log: whether the two agree, and who keeps the mirror from being trimmed."""

from collections.abc import Iterable, Iterator
from functools import partial

from ledger.ports import StoreFault
from numbering.doctor.findings import Check, Finding, error, fault, in_order, ok, warning
from numbering.settings import Settings
from numbering.wiring import log_and_mirror
from projections.mirror.comparison import Comparison, Verdict, compare
from projections.mirror.stream import Overview, StreamFault

__all__ = ["examine"]

CHECK = "mirror"


async def examine(settings: Settings) -> list[Finding]:
    if not settings.redis_url:
        return []
    return await in_order([Check(CHECK, partial(_look, settings))], CHECK)


async def _look(settings: Settings) -> Iterable[Finding]:
    """Compare, whatever else is wrong with the database: that has its own lines."""
    try:
        async with log_and_mirror(settings, reads_only=True) as (store, stream):
            found, overview = await compare(stream, store), await stream.overview()
    except StoreFault as unread:
        return [fault(CHECK, unread, when_away="mend the database first")]
    except StreamFault as unasked:
        return [error(CHECK, str(unasked), "until it is compared, a service that starts writes nothing")]
    return [_verdict(found), *_groups(settings, found, overview)]


def _verdict(found: Comparison) -> Finding:
    if found.forbids_writing:
        return error(CHECK, found.detail, found.advice)
    if found.verdict is Verdict.FOLLOWS or not found.head.position:
        return ok(CHECK, found.detail)
    return warning(CHECK, found.detail, "a running service fills it; `numbering mirror rebuild` does so at once")


def _groups(settings: Settings, found: Comparison, overview: Overview) -> Iterator[Finding]:
    """Name the groups that need more than the mirror is to keep."""
    floor = found.head.position - settings.mirror_retention
    for group in overview.groups if settings.mirror_retention else ():
        needed = group.oldest_pending or group.delivered
        kept = floor - max(needed, overview.first - 1)
        if kept > 0:
            detail = f"group {group.name} keeps {kept} events more than are to be kept: it has read to {needed}"
            yield warning(CHECK, detail, "let its consumers catch up, or XGROUP DESTROY it")
