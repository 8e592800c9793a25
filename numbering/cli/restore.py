"""Bring a ledger back from its copies."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import click

from ledger.domain.calendar import instant_text
from ledger.stores import migrate, open_store
from ledger.system import RandomIds, SystemClock
from numbering.cli.caller import actor, read_settings
from numbering.cli.forecasts import forecast_answer, question, show_forecast
from numbering.cli.output import Answer, note, progress, say_facts, say_json, say_line, told
from numbering.exits import REJECTED
from numbering.settings import Settings
from numbering.sources import left_out, opened_sources, place_name
from replay.combined import Combined
from replay.following import Progress
from replay.forecast import Forecast
from replay.restore import Plan, Restored, foresee
from replay.restore import restore as restore_log
from replay.sources import DatabaseSource, Source

__all__ = ["MARGIN", "OPENED", "DeclinedError", "asking", "is_terminal", "margins_of", "period_of", "restore"]

_FROM = "An archive's directory, a Redis or database URL; may be repeated."
OPENED = "A coming period that may have been opened in what was lost; may be repeated."
MARGIN = "Values that each sequence skips, or that those of SERIES skip; may be repeated.  [default: computed]"

TARGET_TIMEOUT_MS = 60_000  # for a statement: nobody waits for this database yet
MAX_DIGITS = 18


class DeclinedError(Exception):
    """Gapless sequences shall not skip values."""


@click.command(
    epilog="""\b
Examples:
  numbering restore --from /srv/archive --dry-run
  numbering restore --from /srv/archive --into sqlite+aiosqlite:///new.db
  numbering restore --from /srv/archive --from redis://backup/0 --into mariadb+asyncmy://admin:PASSWORD@HOST/numbering
  numbering restore --from /srv/archive --margin INVOICE=0 --into …
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
@click.option("--into", metavar="URL", help="The database to fill; it must be empty. Not needed with --dry-run.")
@click.option("--dry-run", is_flag=True, help="Check the sources, tell what would be skipped, and write nothing.")
@click.option("--to", type=click.IntRange(min=1), metavar="POSITION", help="The last event to restore.  [default: all]")
@click.option(
    "--complete", is_flag=True, help="SOURCE is a copy that LedgerClosed names, at another place: do not fence."
)
@click.option("--move", is_flag=True, help="SOURCE is a database that is given up: stop it, and do not fence.")
@click.option("--margin", "margins", multiple=True, metavar="[SERIES=]N", help=MARGIN)
@click.option(
    "--opened",
    multiple=True,
    metavar="SERIES:PERIOD",
    help=OPENED,
)
@click.option("--reason", default="restored", show_default=True, metavar="TEXT", help="Kept in the log with the fence.")
@click.option("--yes", is_flag=True, help="Do not ask before gapless sequences skip values.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def restore(places: Sequence[str], into: str | None, dry_run: bool, yes: bool, as_json: bool, **options: Any) -> None:
    """Fill an empty database with the ledger of another place.

    Every event is checked. Of several sources whichever reaches further is followed, and they must agree. It may be
    interrupted and run again. What was written last may be lost: so the ledger is fenced, every sequence skips a margin
    of values that may have been issued. It is complete without that if the ledger was closed (`close-ledger`) and a
    SOURCE is a copy that holds so, or with --move. --dry-run tells beforehand what a fence costs. On a terminal it
    asks before gapless sequences skip values by a computed margin.
    """
    if into is None and not dry_run:
        raise click.UsageError("Missing option '--into'.")
    settings = read_settings({} if into is None else {"database_url": into})
    with told(json=as_json):
        plan = _plan(places, **options)
        if dry_run:
            found = asyncio.run(_foreseen(places, settings, plan))
            answer = forecast_answer(found)
            if as_json:
                say_json({"dry_run": True} | answer)
            else:
                show_forecast(answer)
                say_line("\nnothing was written")
            _say_unused(plan, found)
            return
        try:
            restored = asyncio.run(_restored(places, settings, plan, yes=yes or as_json))
        except DeclinedError:
            note(
                "not restored: run it again with --margin SERIES=N, into the same database, which holds the events now"
            )
            raise SystemExit(REJECTED) from None
    answer = _answer(restored)
    say_json(answer) if as_json else say_facts(answer)
    _say_unused(plan, restored.forecast)
    if restored.closed and not as_json:
        note(f"closed, because the margin would exhaust them: {', '.join(restored.closed)}")


def _plan(
    places: Sequence[str], *, to: int | None, complete: bool, move: bool, margins: Sequence[str],
    opened: Sequence[str], reason: str,
) -> Plan:  # fmt: skip
    if complete and move:
        raise click.UsageError("--move says already that nothing can be missing; leave --complete out.")
    if move and (len(places) > 1 or to is not None):
        raise click.UsageError("--move takes one database, and all of it.")
    if (complete or move) and (margins or opened):
        raise click.UsageError("--margin and --opened are of the fence, which --complete and --move leave out.")
    margin, of_series = margins_of(margins)
    pairs = tuple(map(period_of, opened))
    names = tuple(map(place_name, places))
    return Plan(actor(), reason, to, complete, move, margin, pairs, of_series, names)


def margins_of(texts: Sequence[str]) -> tuple[int | None, dict[str, int]]:
    """Read `N`, which is of all series, and `SERIES=N`."""
    found: dict[str, int] = {}
    for text in texts:
        series, equals, digits = text.rpartition("=")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS) or bool(series) != bool(equals):
            raise click.UsageError(f"--margin {text!r} is neither a number nor of the form SERIES=N.")
        if series in found:
            raise click.UsageError(f"--margin is given twice for {series or 'all series'}.")
        found[series] = int(digits)
    margin = found.pop("", None)
    if margin == 0:
        raise click.UsageError("--margin 0 would be no fence at all: give the series that need none, as SERIES=0.")
    return margin, found


def period_of(text: str) -> tuple[str, str]:
    series, colon, period = text.partition(":")
    if not series or not colon or not period:
        raise click.UsageError(f"--opened {text!r} is not of the form SERIES:PERIOD.")
    return series, period


def _source(sources: Sequence[Source], plan: Plan) -> Source:
    source = sources[0] if len(sources) == 1 else Combined(sources)
    if plan.move and not isinstance(source, DatabaseSource):
        raise click.UsageError("--move takes a database; an archive or a mirror needs no such thing.")
    return source


async def _foreseen(places: Sequence[str], settings: Settings, plan: Plan) -> Forecast:
    async with opened_sources(places, settings, reads_only=True) as sources:
        with progress("reading") as show:
            return await foresee(_source(sources, plan), plan, clock=SystemClock(), progress=show)


async def _restored(places: Sequence[str], settings: Settings, plan: Plan, *, yes: bool) -> Restored:
    async with opened_sources(places, settings, reads_only=not plan.move) as sources:
        source = _source(sources, plan)
        extent = await source.extent()
        for sentence in left_out(sources):
            note(sentence)
        await migrate(settings.database_url, ledger_id=extent.ledger_id)
        store = open_store(settings.database_url, lock_timeout_ms=TARGET_TIMEOUT_MS)
        try:
            with ExitStack() as bar:
                show: Progress = bar.enter_context(progress("restoring"))
                return await restore_log(
                    source, store, plan, clock=SystemClock(), ids=RandomIds(), progress=show,
                    agree=asking(bar.close, yes=yes), tolerance_seconds=settings.clock_tolerance,
                )  # fmt: skip
        finally:
            await store.close()


def asking(before: Callable[[], None], *, yes: bool) -> Callable[[Forecast], None]:
    """Ask whether gapless sequences may skip values; where nobody can be asked, tell of it and go on."""

    def asked(found: Forecast) -> None:
        gapless = found.unasked()
        if not gapless:
            return
        before()
        for line in question(gapless):
            note(line)
        if yes or not is_terminal():
            note("--margin SERIES=N sets another margin; --dry-run tells of all of this beforehand")
        elif not click.confirm("Shall these sequences skip so?", err=True):
            raise DeclinedError

    return asked


def _say_unused(plan: Plan, found: Forecast) -> None:
    if found.complete is not None and (plan.margin or plan.margins or plan.opened):
        note("--margin and --opened are of a fence, which is not needed: they were not used")


def is_terminal() -> bool:
    """Say whether somebody can be asked."""
    return sys.stdin.isatty()


def _answer(restored: Restored) -> Answer:
    return {
        "ledger_id": restored.ledger_id,
        "restored": restored.cut,
        "until": instant_text(restored.cut_time) if restored.cut else None,
        "copied": restored.copied,
        "complete": restored.forecast.complete,
        "margin": restored.margin,
        "margins": dict(restored.forecast.margins) or None,
        "closed": list(restored.closed),
        "head": f"{restored.position}:{restored.hash.hex()}",
    }
