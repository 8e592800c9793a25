"""Whether anything may be missing behind the last event of a copy.

That a copy ends somewhere, that the services were stopped, or that a head was written down, proves nothing: somebody
may have written later. But nothing follows LedgerClosed before each copy that it names holds LedgerOpened. So a log
that ends with LedgerClosed in one of those copies is complete. In any other place it is not known to be: the ledger may
have been opened since, and nobody had to tell that place.
"""

from collections.abc import Iterator, Sequence

from ledger.codec import UnknownEvent, read
from ledger.domain.events import LedgerClosed
from ledger.domain.rejection import Code, Rejection
from replay.combined import Combined
from replay.sources import Extent, Source, event_at

__all__ = ["completeness"]


async def completeness(source: Source, extent: Extent, names: Sequence[str], *, is_claimed: bool) -> str | None:
    """Say why nothing can be missing behind `extent`; None when something may be.

    `names` are those of the sources; `is_claimed` is the word of an operator that one of them is a copy which
    LedgerClosed names. NOT_COMPLETE for a claim without LedgerClosed, and for a log that ends with it in another place,
    behind which no fence can stand.
    """
    closed = await _closed(source, extent)
    if closed is None:
        if is_claimed:
            raise Rejection(Code.NOT_COMPLETE, _NOT_CLOSED.format(name=source.name, last=extent.last))
        return None
    if (await source.extent()).last > extent.last:
        raise Rejection.invalid("to", f"{extent.last} closed the ledger, which was opened again: {_cut_before(extent)}")
    said = f"the log ends at position {extent.last} with LedgerClosed"
    for each, name in _named(source, names):
        if name in closed.copies and (await each.extent()).last == extent.last:
            return f"{said}, in {name}, which it names: nothing can be missing"
    if is_claimed:
        return f"{said}, in one of the copies that it names, as was said: nothing can be missing"
    raise Rejection(
        Code.NOT_COMPLETE,
        f"{said}, which names {', '.join(closed.copies)}, and {source.name} is not called so: if it is one of these at "
        f"another place, say --complete; if it is another copy, the ledger may have been opened since: "
        f"{_cut_before(extent)}",
    )


_NOT_CLOSED = (
    "{name} ends at position {last}, and not with LedgerClosed: later events may exist, so it is not known to be "
    "complete; leave --complete out, and see with --dry-run what the fence costs"
)


def _cut_before(extent: Extent) -> str:
    return f"restore up to --to {extent.last - 1}, which ends with a fence"


def _named(source: Source, names: Sequence[str]) -> Iterator[tuple[Source, str]]:
    sources = source.sources if isinstance(source, Combined) else [source]
    return zip(sources, names, strict=False)


async def _closed(source: Source, extent: Extent) -> LedgerClosed | None:
    """Give the last event if it closed the ledger; what cannot be read is for the examination to tell."""
    last = await event_at(source, extent.last) if extent.last else None
    try:
        event = read(last[0], last[1]).event if last else None
    except (UnknownEvent, ValueError, LookupError, TypeError):
        return None
    return event if isinstance(event, LedgerClosed) else None
