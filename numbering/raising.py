"""Raising the format of an SQLite ledger, by the only process that has it open; others say what remains to be done."""

import asyncio
import logging

from ledger.domain.commands import Envelope, RaiseFormat
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.rejection import Rejection
from ledger.domain.state import State
from ledger.ports import Fault
from ledger.service import Ledger
from numbering.presence import build

__all__ = ["raise_or_say"]

_log = logging.getLogger(__name__)

ACTOR = "ledger"
RETRY_SECONDS = 1.0


async def raise_or_say(ledger: Ledger, *, is_alone: bool) -> None:
    """Raise the format once the log was read, if nobody else had the ledger open when this process began."""
    format = (await _read(ledger)).format
    if format >= NEWEST_FORMAT or not ledger.position:  # an empty ledger begins at the newest
        return
    if not is_alone:
        _log.info(_REMAINS, format, NEWEST_FORMAT)
        return
    reason = f"by numbering-ledger {build()}, the only process"
    try:
        await ledger.execute(RaiseFormat(NEWEST_FORMAT, reason), Envelope(ledger.ids.command_id(), ACTOR))
        _log.info(
            "the ledger's format was raised from %d to %d: earlier builds can no longer write", format, NEWEST_FORMAT
        )
    except (Fault, Rejection) as why:
        _log.warning(f"{_REMAINS} (%s)", format, NEWEST_FORMAT, why)


_REMAINS = (
    "the ledger stays at format %d, so that processes of earlier builds can still write: when none of them is left, "
    "run `numbering upgrade` to raise it to %d"
)


async def _read(ledger: Ledger) -> State:
    """Give the state as soon as the log was read."""
    while True:
        try:
            return await ledger.writer.fresh()
        except Fault:
            await asyncio.sleep(RETRY_SECONDS)
