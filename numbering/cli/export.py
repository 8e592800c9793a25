"""Events and numbers in files, for those who must keep them; and whether such files still say what the log says."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ledger.domain.rejection import Code
from numbering.cli.logs import SOURCES, TIMES, LogPlace, at_option, beyond_option, moment, on_log
from numbering.cli.output import Answer, Unreadable, progress, say_facts, say_json, say_line
from numbering.exits import REJECTED
from replay.export import export as export_log
from replay.export import verify as verify_export
from replay.export_manifest import Export, Form, Manifest, What

__all__ = ["export"]


@click.group()
def export() -> None:
    """Write events or numbers to a file and its manifest."""


def _filters(function: Callable[..., None]) -> Callable[..., None]:
    options = [
        click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="A new directory."),
        at_option,
        beyond_option,
        click.option("--series", metavar="CODE", help="Only those of one series."),
        click.option("--period", metavar="PERIOD", help="Only those of one period, such as 2026."),
        click.option("--actor", metavar="NAME", help="Only what one actor did; of numbers, last."),
        click.option("--document", metavar="TEXT", help="Only what concerns one document."),
        click.option("--since", metavar="TIME", help="Only from this time on."),
        click.option("--until", metavar="TIME", help="Only before this time."),
        click.option(
            "--format", "form", type=click.Choice([form.value for form in Form]), default="csv", show_default=True
        ),
        click.option("--bom", is_flag=True, help="Begin the CSV with a byte order mark, by which Excel knows UTF-8."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@export.command(
    epilog=f"""{TIMES}

{SOURCES}

\b
Examples:
  numbering export events --out audit --since 2026-01-01T00:00:00+07:00 --until 2027-01-01T00:00:00+07:00
  numbering export events --out audit --from /srv/archive --format jsonl"""
)
@_filters
@on_log
def events(log: LogPlace, **given: Any) -> None:
    """Export events, in the order of the log: what was done, by whom, when and why.

    JSON lines have each event's own bytes and its hash, as an archive has them.
    """
    _export(log, What.EVENTS, **given)


@export.command(
    epilog=f"""{TIMES}

{SOURCES}

\b
Examples:
  numbering export numbers --out audit --series INVOICE --period 2026
  numbering export numbers --out audit --from /srv/archive --at 2026-12-31T23:59:59+07:00 --bom"""
)
@_filters
@click.option(
    "--skipped", is_flag=True, help="Add the ranges of values that were skipped, or are of before the ledger."
)
@on_log
def numbers(log: LogPlace, **given: Any) -> None:
    """Export numbers as they are, or were: each with its state, its document, and what put it there.

    Times are of when a number was given out last. With --skipped the file accounts for every value from the start of
    each sequence to its high water.
    """
    _export(log, What.NUMBERS, **given)


@export.command(
    epilog=f"""{SOURCES}

\b
Examples:
  numbering export verify audit
  numbering export verify audit --from /srv/archive"""
)
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@on_log
def verify(log: LogPlace, directory: Path, as_json: bool) -> None:
    """See that the files of an export are those that its manifest names.

    With --from, also that this log holds the event up to which it was made, and that the same export from there gives
    the same bytes. Exits with 1 when anything differs.
    """
    manifest = Manifest.read(directory)
    found = asyncio.run(_verified(log, directory))
    answer = {"export": str(directory), "differences": found} | _told(manifest)
    say_json(answer) if as_json else _show_verified(answer, compared=log.is_given)
    if found:
        raise SystemExit(REJECTED)


async def _verified(log: LogPlace, directory: Path) -> list[str]:
    with progress("verifying") as show:
        if not log.is_given:
            return await verify_export(directory, None, show)
        async with log.opened() as source:
            return await verify_export(directory, source, show)


def _export(
    log: LogPlace,
    what: What,
    *,
    out: Path,
    at: str | None,
    beyond: bool,
    since: str | None,
    until: str | None,
    form: str,
    as_json: bool,
    **filters: Any,
) -> None:
    if filters["bom"] and form != Form.CSV:
        raise click.UsageError("--bom is for CSV.")
    asked = Export(what, Form(form), since=_time(since), until=_time(until), **filters)
    told = _told(asyncio.run(_exported(log, asked, at, out, beyond)))
    marked = {"beyond": told.pop("beyond")} if "beyond" in told else {}
    answer = marked | {"export": str(out)} | told
    say_json(answer) if as_json else say_facts(answer)


async def _exported(log: LogPlace, asked: Export, at: str | None, out: Path, beyond: bool) -> Manifest:
    then = moment(at)
    async with log.opened() as source:
        with progress("exporting") as show:
            return await export_log(source, asked, then, out, show, allow_beyond=beyond)


def _time(text: str | None) -> int | None:
    if text is None:
        return None
    found = moment(text).time
    if found is None:
        raise Unreadable(Code.INVALID_FORMAT, f"{text!r} is a position: --since and --until take times")
    return found


def _told(manifest: Manifest) -> Answer:
    head = manifest.head
    beyond: Answer = {} if manifest.beyond is None else {"beyond": manifest.beyond}
    return beyond | {
        "file": manifest.file,
        "count": manifest.count,
        "bytes": manifest.size,
        "sha256": manifest.sha256,
        "ledger_id": manifest.ledger_id,
        "head": f"{head['position']}:{head['hash']}",
        "recorded_at": head["recorded_at"],
    }


def _show_verified(answer: Answer, *, compared: bool) -> None:
    for difference in answer["differences"]:
        say_line(difference)
    if not answer["differences"]:
        by_log = ", and the log says the same" if compared else ""
        say_line(f"{answer['file']} is as it was exported{by_log}")
