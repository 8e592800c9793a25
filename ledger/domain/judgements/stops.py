"""Is a stop that was accepted told as a stop is: with a kind, and with an event that it names whole or not at all?"""

import re

from ledger.domain.events import StopAccepted

__all__ = ["flaw_of_event"]

_KIND = re.compile(r"[A-Z_]{1,40}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


def flaw_of_event(event: StopAccepted) -> str | None:
    if not _KIND.fullmatch(event.kind):
        return f"it accepts a stop of kind {event.kind!r}, which no build writes"
    if (event.position is None) != (event.hash is None):
        return "it names half of an event that the log must hold"
    if event.position is not None and event.position < 0:
        return f"it names position {event.position}"
    if event.hash is not None and not _HASH.fullmatch(event.hash):
        return "it names an event by what is no hash"
    return None
