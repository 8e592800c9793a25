"""The command line, `numbering`. Exit codes: 0 done, 1 a finding or rejection, 2 usage, 3 a fault."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click

from ledger.ports import StoreFault
from ledger.stores import migrate as migrate_store
from numbering import server
from numbering.settings import PREFIX, BadSettings, Settings, load

__all__ = ["main"]

USAGE_ERROR = 2
FAULT = 3

Function = TypeVar("Function", bound=Callable[..., Any])


def _options(*names: str) -> Callable[[Function], Function]:
    """Add settings as options: `database_url` becomes `--database-url`, described with its default and variable."""

    def add(function: Function) -> Function:
        for name in reversed(names):
            field = Settings.model_fields[name]
            described = f"{field.description}  [{PREFIX}{name.upper()}; default: {field.default or 'empty'}]"
            function = click.option(f"--{name.replace('_', '-')}", name, help=described)(function)
        return function

    return add


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="numbering-ledger", prog_name="numbering")
def main() -> None:
    """A ledger of document numbers: never issued twice, every integer accounted for.

    Settings come from the environment (NUMBERING_…) or from options of the same names.
    """


@main.command()
@_options(*Settings.model_fields)
@click.option("--allow-unsafe", is_flag=True, help="Serve from a MariaDB that could lose acknowledged numbers.")
def serve(allow_unsafe: bool, **options: str | None) -> None:
    """Serve the ledger over HTTP until interrupted; an SQLite ledger is made and migrated as needed."""
    settings = _settings(options)
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    for noisy in ("uvicorn", "alembic", "aiosqlite"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
    try:
        server.prepare(settings, allow_unsafe=allow_unsafe)
    except StoreFault as fault:
        _fail(fault)
    raise SystemExit(server.serve(settings, allow_unsafe=allow_unsafe))


@main.command()
@_options("database_url")
def migrate(**options: str | None) -> None:
    """Make or bring up to date the ledger's tables. On MariaDB, use an account that may create tables and triggers."""
    settings = _settings(options)
    try:
        changed = asyncio.run(migrate_store(settings.database_url))
    except StoreFault as fault:
        _fail(fault)
    click.echo("migrated" if changed else "already up to date")


def _settings(options: dict[str, str | None]) -> Settings:
    try:
        return load(options)
    except BadSettings as error:
        click.echo(f"numbering: {error}", err=True)
        raise SystemExit(USAGE_ERROR) from None


def _fail(fault: StoreFault) -> NoReturn:
    click.echo(f"numbering: {fault.code.number} {fault.code.name}: {fault.detail}", err=True)
    raise SystemExit(FAULT)
