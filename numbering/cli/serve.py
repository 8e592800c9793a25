"""`numbering serve`: the service."""

import asyncio
import logging

import click

from ledger.domain.rejection import Rejection
from ledger.ports import StoreFault
from numbering import server
from numbering.cli.caller import read_settings, settings_options
from numbering.cli.output import fail, note
from numbering.reading import only_reads
from numbering.settings import Settings

__all__ = ["serve"]


@click.command()
@settings_options(*Settings.model_fields)
@click.option("--allow-unsafe", is_flag=True, help="Serve from a MariaDB that could lose acknowledged numbers.")
@click.option(
    "--start-unverified",
    is_flag=True,
    help="Write without comparing the log with mirror and archive: only if this database is known to be the newest.",
)
def serve(allow_unsafe: bool, start_unverified: bool, **options: str | None) -> None:
    """Serve the ledger over HTTP until interrupted.

    An SQLite ledger is made and migrated as needed. A copy, or a file that may not be written, is served for reading.
    """
    settings = read_settings(options)
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    for noisy in ("uvicorn", "alembic", "aiosqlite"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
    try:
        only_read = asyncio.run(only_reads(settings))
        is_alone = only_read is None and server.prepare(
            settings, allow_unsafe=allow_unsafe, start_unverified=start_unverified
        )
    except (StoreFault, Rejection) as fault:
        fail(fault)
    if only_read:
        note(only_read[0].detail)
    raise SystemExit(
        server.serve(
            settings,
            allow_unsafe=allow_unsafe,
            start_unverified=start_unverified,
            is_alone=is_alone,
            only_reads=only_read,
        )
    )
