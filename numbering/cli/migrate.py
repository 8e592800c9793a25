"""`numbering migrate`: the ledger's tables."""

import asyncio

import click

from ledger.ports import StoreFault
from ledger.stores import migrate as migrate_store
from numbering.cli.caller import read_settings, settings_options
from numbering.cli.output import fail, say_line

__all__ = ["migrate"]


@click.command()
@settings_options("database_url")
def migrate(**options: str | None) -> None:
    """Make the ledger's tables, or bring them up to date.

    On MariaDB, use an account that may create tables and triggers.
    """
    settings = read_settings(options)
    try:
        changed = asyncio.run(migrate_store(settings.database_url, on_wait=_say_that_it_waits))
    except StoreFault as fault:
        fail(fault)
    say_line("migrated" if changed else "already up to date")


def _say_that_it_waits() -> None:
    click.echo("another process migrates this database; waiting for it", err=True)
