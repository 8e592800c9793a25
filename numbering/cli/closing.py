"""`numbering close-ledger` and `open-ledger`: after an orderly stop, a copy is known to hold all there is."""

from collections.abc import Iterable, Mapping, Sequence

import click

from ledger.domain.commands import CloseLedger, OpenLedger
from ledger.domain.rejection import Rejection
from ledger.ports import Fault, StopKind
from ledger.service import Ledger
from numbering.cli.options import on_ledger
from numbering.cli.output import Answer, say_facts, say_line
from numbering.cli.session import Session
from numbering.copies import bring_up, check_holds
from numbering.settings import Settings
from numbering.sources import is_mirror, place_name
from numbering.wiring import opened_store
from replay.opening import append_opened, last_opened, let_write

__all__ = ["close_ledger", "open_ledger"]

_COPY = "`mirror`, `archive` (those of the settings), a Redis URL, or an archive's directory; may be repeated."
_CLOSE = (
    '\b\nExamples:\n  numbering close-ledger --reason "the data centre moves"\n'
    "  numbering close-ledger --copy mirror --copy /srv/archive --reason …\n  numbering open-ledger --reason …"
)

Places = Mapping[str, str]  # by the names that the ledger has for copies, how to reach them


@click.command("close-ledger", epilog=_CLOSE)
@click.option("--copy", "copies", multiple=True, metavar="COPY", help=f"{_COPY}  [default: mirror and archive]")
@click.option("--reason", required=True, metavar="TEXT", help="Kept in the log.")
@on_ledger()
def close_ledger(session: Session, copies: Sequence[str], reason: str) -> None:
    """Let nobody write any more, and see that each COPY holds that.

    A restore from such a copy is then complete without a fence, and skips no number. Nothing is written until
    `open-ledger`. It may be run again when a copy could not be reached.
    """
    places = _places(session.settings, copies)
    if not places:
        raise click.UsageError("no copy is configured: name one with --copy.")

    async def closed(ledger: Ledger) -> Answer:
        await _bring_all(session.settings, places)  # what cannot be reached is found before anything is written
        command = CloseLedger(tuple(places), reason)
        await session.execute(ledger, "close-ledger", {"copies": sorted(places), "reason": reason}, command)
        async with opened_store(session.settings) as store:
            head = await store.head()
        return await _held(session.settings, places, "closed", head.position, head.hash)

    session.tell(session.act(closed), _show)


@click.command("open-ledger", epilog=_CLOSE)
@click.option("--copy", "copies", multiple=True, metavar="COPY", help=f"{_COPY}  [default: those that were named]")
@click.option(
    "--without",
    multiple=True,
    metavar="COPY",
    help="A copy that is no more: nobody goes on from it, or from a database that was restored from it.",
)
@click.option("--reason", required=True, metavar="TEXT", help="Kept in the log.")
@on_ledger()
def open_ledger(session: Session, copies: Sequence[str], without: Sequence[str], reason: str) -> None:
    """Let processes write again to a closed ledger.

    Also to one that was restored from a copy of a closed ledger.

    Each copy that was named when it was closed must hold that before the first number is issued. It may be run again
    when one could not be reached.
    """
    lost = tuple(map(place_name, without))

    async def opened(ledger: Ledger) -> Answer:
        settings = session.settings
        async with opened_store(settings) as store:
            fold = ledger.writer.fold
            assert fold is not None
            closed = fold.state.closed
            if closed is not None:
                names = [name for name in closed if name not in lost]
                places = _places(settings, copies) if copies else _reached(settings, names)
                await _bring_all(settings, places)
                command = OpenLedger(tuple(places), lost, reason)
                envelope = session.envelope("open-ledger", {})
                await append_opened(store, fold, command, envelope, ledger.writer.clocks)
            found = await last_opened(store)
            if not any(stop.kind is StopKind.OPENING for stop in await store.stops()) or found is None:
                return {"opened": False, "detail": "the ledger is open: there is nothing to do"}
            record, event = found
            places = _reached(settings, [name for name in event.copies if name not in lost], copies)
            answer = await _held(settings, places, "opened", record.position, record.hash)
            await let_write(store)
            return answer

    session.tell(session.act(opened), _show)


def _places(settings: Settings, copies: Sequence[str]) -> Places:
    """Read which copies are meant; those of the settings if none is said."""
    known = {"mirror": settings.redis_url, "archive": settings.archive}
    places = [known.get(copy, copy) for copy in copies] if copies else [place for place in known.values() if place]
    for copy, place in zip(copies, places, strict=False):
        if not place:
            raise click.UsageError(f"no {copy} is configured: name it by its URL or directory.")
        if "://" in place and not is_mirror(place):
            raise click.UsageError("--copy takes a mirror or an archive, not a database.")
    return {place_name(place): place for place in places}


def _reached(settings: Settings, names: Iterable[str], copies: Sequence[str] = ()) -> Places:
    """Say how to reach copies: as they are given now, or as the settings do, who know the password."""
    known = {place_name(place): place for place in (settings.redis_url, settings.archive) if place}
    known |= _places(settings, copies) if copies else {}
    return {name: known.get(name, name) for name in names}


async def _bring_all(settings: Settings, places: Places) -> None:
    for place in places.values():
        await bring_up(settings, place)


async def _held(settings: Settings, places: Places, what: str, position: int, hash: bytes) -> Answer:
    """Bring the event to each copy, and see that it is there."""
    for name, place in places.items():
        try:
            await bring_up(settings, place)
            await check_holds(settings, place, position, hash)
        except (Rejection, Fault) as why:
            detail = f"the ledger is {what}, and {name} does not hold that yet: run it again when this is fixed: {why}"
            raise (Fault(why.code, detail) if isinstance(why, Fault) else Rejection(why.code, detail)) from why
    return {what: True, "position": position, "head": f"{position}:{hash.hex()}", "copies": list(places)}


def _show(answer: Answer) -> None:
    say_facts({name: value for name, value in answer.items() if name != "copies"})
    for copy in answer.get("copies", ()):
        say_line(f"held by {copy}")
