"""Bring a ledger back from its copies."""

import asyncio
from collections.abc import Sequence
from typing import Any

import click

from ledger.domain.calendar import instant_text
from ledger.stores import migrate, open_store
from ledger.system import RandomIds, SystemClock
from numbering.cli.caller import actor, read_settings
from numbering.cli.output import Answer, note, progress, say_facts, say_json, told
from numbering.settings import Settings
from numbering.sources import left_out, opened_sources
from replay.combined import Combined
from replay.restore import Plan, Restored
from replay.restore import restore as restore_log
from replay.sources import DatabaseSource

__all__ = ["restore"]

_FROM = "An archive's directory, a Redis or database URL; may be repeated."
_OPENED = "A coming period that may have been opened in what was lost; may be repeated."

TARGET_TIMEOUT_MS = 60_000  # for a statement: nobody waits for this database yet


@click.command(
    epilog="""\b
Examples:
  numbering restore --from /srv/archive --into sqlite+aiosqlite:///new.db
  numbering restore --from /srv/archive --from redis://backup/0 --into mariadb+asyncmy://admin:PASSWORD@HOST/numbering
  numbering restore --from /srv/archive --to 41872 --reason "41873 was forged" --into …
  numbering restore --from sqlite+aiosqlite:///numbering.db --move --into mariadb+asyncmy://…

docs/recovery.md says for each disaster what to type."""
)
@click.option(
    "--from",
    "places",
    multiple=True,
    required=True,
    metavar="SOURCE",
    help=_FROM,
)
@click.option("--into", required=True, metavar="URL", help="The database to fill; it must be empty.")
@click.option("--to", type=click.IntRange(min=1), metavar="POSITION", help="The last event to restore.  [default: all]")
@click.option("--complete", is_flag=True, help="Nothing can have been lost: do not fence.")
@click.option("--move", is_flag=True, help="SOURCE is a database that is given up: stop it, and do not fence.")
@click.option(
    "--margin",
    type=click.IntRange(min=1),
    metavar="N",
    help="Values that each sequence skips.  [default: computed]",
)
@click.option(
    "--opened",
    multiple=True,
    metavar="SERIES:PERIOD",
    help=_OPENED,
)
@click.option("--reason", default="restored", show_default=True, metavar="TEXT", help="Kept in the log with the fence.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def restore(places: Sequence[str], into: str, as_json: bool, **options: Any) -> None:
    """Fill an empty database with the ledger of another place.

    Every event is checked. Of several sources whichever reaches further is followed, and they must agree. It may be
    interrupted and run again. What was written last may be lost: so the ledger is fenced, every sequence passes over a
    margin of values that may have been given out, unless --complete or --move says that nothing can be missing.
    """
    settings = read_settings({"database_url": into})
    with told(json=as_json):
        plan = _plan(places, **options)
        restored = asyncio.run(_restored(places, settings, plan))
    answer = _answer(restored)
    say_json(answer) if as_json else say_facts(answer)
    if restored.closed and not as_json:
        note(f"closed, because the margin would exhaust them: {', '.join(restored.closed)}")


def _plan(
    places: Sequence[str], *, to: int | None, complete: bool, move: bool, margin: int | None,
    opened: Sequence[str], reason: str,
) -> Plan:  # fmt: skip
    if complete and move:
        raise click.UsageError("--move says already that nothing can be missing; leave --complete out.")
    if move and (len(places) > 1 or to is not None):
        raise click.UsageError("--move takes one database, and all of it.")
    if (complete or move) and (margin or opened):
        raise click.UsageError("--margin and --opened are of the fence, which --complete and --move leave out.")
    return Plan(actor(), reason, to, not (complete or move), move, margin, tuple(map(_pair, opened)))


def _pair(text: str) -> tuple[str, str]:
    series, colon, period = text.partition(":")
    if not series or not colon or not period:
        raise click.UsageError(f"--opened {text!r} is not of the form SERIES:PERIOD.")
    return series, period


async def _restored(places: Sequence[str], settings: Settings, plan: Plan) -> Restored:
    async with opened_sources(places, settings, reads_only=not plan.move) as sources:
        source = sources[0] if len(sources) == 1 else Combined(sources)
        if plan.move and not isinstance(source, DatabaseSource):
            raise click.UsageError("--move takes a database; from an archive or a mirror, say --complete if it is.")
        extent = await source.extent()
        for sentence in left_out(sources):
            note(sentence)
        await migrate(settings.database_url, ledger_id=extent.ledger_id)
        store = open_store(settings.database_url, lock_timeout_ms=TARGET_TIMEOUT_MS)
        try:
            with progress("restoring") as show:
                return await restore_log(
                    source,
                    store,
                    plan,
                    clock=SystemClock(),
                    ids=RandomIds(),
                    progress=show,
                    tolerance_seconds=settings.clock_tolerance,
                )
        finally:
            await store.close()


def _answer(restored: Restored) -> Answer:
    return {
        "ledger_id": restored.ledger_id,
        "restored": restored.cut,
        "until": instant_text(restored.cut_time) if restored.cut else None,
        "copied": restored.copied,
        "margin": restored.margin,
        "closed": list(restored.closed),
        "head": f"{restored.position}:{restored.hash.hex()}",
    }
