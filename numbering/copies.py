"""The copies that must know that a ledger was closed, or opened: brought up to date, and then asked."""

from pathlib import Path

from ledger.domain.rejection import Code, Rejection
from ledger.ports import Fault
from numbering.settings import Settings
from numbering.sources import STREAM_SECONDS, is_mirror, opened_sources
from numbering.wiring import log_and_mirror
from projections.mirror.copier import Copier
from projections.mirror.stream import StreamFault
from replay.archive.writing import archive
from replay.sources import event_at

__all__ = ["bring_up", "check_holds"]

ATTEMPTS = 100  # to append to a stream to which others append too: each of theirs brings it further as well


async def bring_up(settings: Settings, place: str) -> None:
    """Copy to a mirror or an archive what it lacks of the log.

    A Rejection when it tells another history or goes on behind the log, a Fault when it cannot be written.
    """
    if is_mirror(place):
        try:
            await _mirror(settings.model_copy(update={"redis_url": place}))
        except StreamFault as fault:
            raise Fault(Code.REDIS_UNAVAILABLE, str(fault)) from fault
    else:
        async with opened_sources([settings.database_url], settings) as (source,):
            await archive(source, Path(place), lambda done, of: None)


async def _mirror(settings: Settings) -> None:
    async with log_and_mirror(settings) as (store, stream):
        copier = Copier(store, stream, store.events, settings.mirror_retention)
        for _ in range(ATTEMPTS):
            found = await copier.compare()
            if found.forbids_writing:
                raise Rejection(Code.LEDGER_STOPPED, found.stop.text)
            while copier.cursor.position < found.head.position and await copier.copy():
                pass
            if copier.cursor.position >= found.head.position:
                return
        raise StreamFault("the mirror does not come up to the log's end, whoever appends to it: see its log")


async def check_holds(settings: Settings, place: str, position: int, hash: bytes) -> None:
    """See that a copy holds an event of the log, on its disk."""
    if is_mirror(place):
        from projections.mirror.redis import persist

        try:
            await persist(place, seconds=STREAM_SECONDS)
        except StreamFault as fault:
            raise Fault(Code.REDIS_UNAVAILABLE, str(fault)) from fault
    async with opened_sources([settings.database_url, place], settings) as (_, copy):
        event = await event_at(copy, position)
        if event is None or event[2] != hash:
            raise Rejection(Code.NOT_COMPLETE, f"{copy.name} does not hold position {position}: run it again")
