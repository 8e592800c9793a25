"""Copy the log to an archive."""

import asyncio
from pathlib import Path
from typing import Any

import click

from ledger.domain.calendar import instant_text
from numbering.cli.caller import read_settings, settings_options
from numbering.cli.logs import mark_copies
from numbering.cli.output import Answer, note, progress, say_facts, say_json, told
from numbering.exits import USAGE_ERROR
from numbering.settings import PREFIX, Settings
from numbering.sources import opened_sources
from replay.archive.manifest import Manifest
from replay.archive.writing import archive as archive_log

__all__ = ["archive"]


@click.command(
    epilog="""\b
Examples:
  numbering archive /srv/archive
  */10 * * * *  numbering archive /srv/archive      (a line of crontab)

Write down elsewhere the `head` that it prints: `numbering verify --head HEAD` holds any copy against it."""
)
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@settings_options("database_url", "archive")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def archive(directory: Path | None, as_json: bool, **options: Any) -> None:
    """Append to the archive in DIRECTORY what the log has gained.

    Without DIRECTORY, the archive of the settings. Safe while services write, safe to interrupt, and quick when there
    is little: meant to be run by a timer. What is archived is never changed again.
    """
    settings = read_settings(options)
    if directory is None and not settings.archive:
        note(f"no archive is configured: name a directory, or set {PREFIX}ARCHIVE")
        raise SystemExit(USAGE_ERROR)
    with told(json=as_json):
        before, manifest = asyncio.run(_archived(settings, directory or Path(settings.archive)))
    answer = _answer(before, manifest)
    say_json(answer) if as_json else say_facts(answer)


async def _archived(settings: Settings, directory: Path) -> tuple[int, Manifest]:
    async with opened_sources([settings.database_url], settings) as (source,):
        await mark_copies([source])
        with progress("archiving") as show:
            return await archive_log(source, directory, show)


def _answer(archived: int, manifest: Manifest) -> Answer:
    return {
        "ledger_id": manifest.ledger_id,
        "archived": archived,
        "segments": len(manifest.segments),
        "recorded_at": instant_text(manifest.recorded_at) if manifest.position else None,
        "head": f"{manifest.position}:{manifest.hash.hex()}",
    }
