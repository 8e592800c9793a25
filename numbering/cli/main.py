"""The group of all commands."""

import errno
import traceback
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from numbering.exits import FAULT, INTERRUPTED

__all__ = ["main"]

# Each with the module and the function that it is, which is loaded when it is run: most need few of the others.
COMMANDS: Mapping[str, str] = {
    "serve": "serve:serve",
    "migrate": "migrate:migrate",
    "series": "series:series",
    "preview": "numbers:preview",
    "reserve": "numbers:reserve",
    "issue": "numbers:issue",
    "confirm": "numbers:confirm",
    "extend": "numbers:extend",
    "cancel": "numbers:cancel",
    "reservation": "numbers:reservation",
    "assign": "numbers:assign",
    "void": "numbers:void",
    "link": "numbers:link",
    "show": "numbers:show",
    "sequences": "sequences:sequences",
    "sequence": "sequences:sequence",
    "gaps": "sequences:gaps",
    "adjust": "sequences:adjust",
    "open": "sequences:open_period",
    "reset": "sequences:reset",
    "close": "sequences:close",
    "maximum": "sequences:maximum",
    "reopen": "sequences:reopen",
    "retire": "sequences:retire",
    "batch": "batch:batch",
    "import": "register:import_register",
    "verify": "verify:verify",
    "history": "history:history",
    "replay": "replay:replay",
    "diff": "diff:diff",
    "export": "export:export",
    "archive": "archive:archive",
    "restore": "restore:restore",
    "mirror": "mirror:mirror",
    "projections": "projections:projections",
    "upgrade": "upgrade:upgrade",
    "doctor": "doctor:doctor",
    "bench": "bench:bench",
    "completion": "completion:completion",
}


class _Group(click.Group):
    """Lists its commands in the order of COMMANDS, and ends as a program of a shell should."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(f"numbering.cli.{module}"), function)
        return command

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
