"""The group of all commands, and those that are not about one ledger's numbers."""

import asyncio
import errno
import logging
import traceback
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import get_completion_class

from ledger.domain.rejection import Rejection
from ledger.ports import StoreFault
from ledger.stores import migrate as migrate_store
from numbering import server
from numbering.cli import numbers, sequences
from numbering.cli.archive import archive
from numbering.cli.batch import batch
from numbering.cli.bench import bench
from numbering.cli.diff import diff
from numbering.cli.doctor import doctor
from numbering.cli.export import export
from numbering.cli.history import history
from numbering.cli.mirror import mirror
from numbering.cli.options import settings_options
from numbering.cli.output import FAULT, INTERRUPTED, fail, say_line
from numbering.cli.projections import projections
from numbering.cli.register import import_register
from numbering.cli.replay import replay
from numbering.cli.restore import restore
from numbering.cli.series import series
from numbering.cli.session import read_settings
from numbering.cli.verify import verify
from numbering.settings import Settings

__all__ = ["main"]


class _Group(click.Group):
    """Lists its commands in the order in which they were added, and ends as a program of a shell should."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for word in args:
            if not _is_unicode(word):
                ctx.fail(f"{word!r} is not valid UTF-8.")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as bug:
            if isinstance(bug, OSError) and bug.errno == errno.EPIPE:
                raise  # click ends quietly when nobody reads on
            traceback.print_exc()  # Python's own exit code, 1, would say that the ledger refused
            raise SystemExit(FAULT) from None


def _is_unicode(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  numbering migrate
  numbering series apply letters.toml
  numbering reserve LETTER -k FROM=คคง. -k TO=สคฉ.3
  numbering COMMAND --help

Exit codes: 0 done, 1 refused by the ledger's rules, 2 wrong usage, 3 the ledger could not be used, 130 interrupted.""",
)
@click.version_option(package_name="numbering-ledger", prog_name="numbering")
def main() -> None:
    """A ledger of document numbers: never issued twice, every integer accounted for.

    Commands act directly on the ledger that the settings name; any process may, while others serve it. Settings come
    from the environment (NUMBERING_…) or from options of the same names.
    """


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

    An SQLite ledger is made and migrated as needed.
    """
    settings = read_settings(options)
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    for noisy in ("uvicorn", "alembic", "aiosqlite"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
    try:
        server.prepare(settings, allow_unsafe=allow_unsafe, start_unverified=start_unverified)
    except (StoreFault, Rejection) as fault:
        fail(fault)
    raise SystemExit(server.serve(settings, allow_unsafe=allow_unsafe, start_unverified=start_unverified))


@click.command()
@settings_options("database_url")
def migrate(**options: str | None) -> None:
    """Make the ledger's tables, or bring them up to date.

    On MariaDB, use an account that may create tables and triggers.
    """
    settings = read_settings(options)
    try:
        changed = asyncio.run(migrate_store(settings.database_url))
    except StoreFault as fault:
        fail(fault)
    say_line("migrated" if changed else "already up to date")


@click.command(
    epilog="""\b
Install it with one line in the shell's own file:
  bash  ~/.bashrc                                    eval "$(numbering completion bash)"
  zsh   ~/.zshrc                                     eval "$(numbering completion zsh)"
  fish  ~/.config/fish/completions/numbering.fish    numbering completion fish | source"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script by which a shell completes."""
    found = get_completion_class(shell)
    assert found is not None
    say_line(found(main, {}, "numbering", "_NUMBERING_COMPLETE").source())


COMMANDS: Sequence[click.Command] = [
    serve,
    migrate,
    series,
    numbers.preview,
    numbers.reserve,
    numbers.issue,
    numbers.confirm,
    numbers.extend,
    numbers.cancel,
    numbers.reservation,
    numbers.assign,
    numbers.void,
    numbers.show,
    sequences.sequences,
    sequences.sequence,
    sequences.gaps,
    sequences.adjust,
    sequences.open_period,
    sequences.reset,
    sequences.close,
    sequences.maximum,
    sequences.retire,
    batch,
    import_register,
    verify,
    history,
    replay,
    diff,
    export,
    archive,
    restore,
    mirror,
    projections,
    doctor,
    bench,
    completion,
]

for _command in COMMANDS:
    main.add_command(_command)
