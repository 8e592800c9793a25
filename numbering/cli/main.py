"""The group of all commands."""

import errno
import traceback
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from numbering.cli.effects import Effect
from numbering.exits import FAULT, INTERRUPTED

__all__ = ["EFFECTS", "main"]

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
    "close-ledger": "closing:close_ledger",
    "open-ledger": "closing:open_ledger",
    "resume": "resume:resume",
    "mirror": "mirror:mirror",
    "projections": "projections:projections",
    "upgrade": "upgrade:upgrade",
    "doctor": "doctor:doctor",
    "bench": "bench:bench",
    "completion": "completion:completion",
}

# What each does to the ledger, those of groups by their whole name.
EFFECTS: Mapping[str, Effect] = {
    "serve": Effect.WRITES,
    "migrate": Effect.WRITES,
    "series apply": Effect.READS_IN_A_DRY_RUN,
    "series list": Effect.READS,
    "series show": Effect.READS,
    "preview": Effect.READS,
    "reserve": Effect.WRITES,
    "issue": Effect.WRITES,
    "confirm": Effect.WRITES,
    "extend": Effect.WRITES,
    "cancel": Effect.WRITES,
    "reservation": Effect.READS,
    "assign": Effect.READS_IN_A_DRY_RUN,
    "void": Effect.WRITES,
    "link": Effect.WRITES,
    "show": Effect.READS,
    "sequences": Effect.READS,
    "sequence": Effect.READS,
    "gaps": Effect.READS,
    "adjust": Effect.READS_IN_A_DRY_RUN,
    "open": Effect.READS_IN_A_DRY_RUN,
    "reset": Effect.READS_IN_A_DRY_RUN,
    "close": Effect.READS_IN_A_DRY_RUN,
    "maximum": Effect.READS_IN_A_DRY_RUN,
    "reopen": Effect.READS_IN_A_DRY_RUN,
    "retire": Effect.READS_IN_A_DRY_RUN,
    "batch": Effect.WRITES,
    "import": Effect.READS_IN_A_DRY_RUN,
    "verify": Effect.READS,
    "history": Effect.READS,
    "replay": Effect.READS,
    "diff": Effect.READS,
    "export events": Effect.READS,
    "export numbers": Effect.READS,
    "export verify": Effect.READS,
    "archive": Effect.READS,
    "restore": Effect.READS_IN_A_DRY_RUN,
    "close-ledger": Effect.WRITES,
    "open-ledger": Effect.WRITES,
    "resume": Effect.READS_IN_A_DRY_RUN,
    "mirror status": Effect.READS,
    "mirror key": Effect.IS_ELSEWHERE,
    "mirror rebuild": Effect.WRITES,
    "mirror adopt": Effect.WRITES,
    "projections status": Effect.READS,
    "projections check": Effect.READS_UNLESS_TOLD,
    "projections rebuild": Effect.WRITES,
    "upgrade": Effect.READS_IN_A_DRY_RUN,
    "doctor": Effect.READS,
    "bench": Effect.IS_ELSEWHERE,
    "completion": Effect.IS_ELSEWHERE,
}


class _Group(click.Group):
    """Lists its commands in the order of COMMANDS, and ends as a program of a shell should."""

    effects = EFFECTS

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
