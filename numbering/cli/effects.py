"""What a command does to the ledger; the table of all is in `main`. One that reads cannot write."""

from enum import Enum, auto

import click

__all__ = ["Effect", "check_may_write"]


class Effect(Enum):
    """What a command does to the ledger. Files that it makes elsewhere, such as an export, are not the ledger."""

    READS = auto()  # it needs no right to write: neither to the database, nor to its file and directory, nor to Redis
    READS_IN_A_DRY_RUN = auto()  # it writes, but not with --dry-run
    READS_UNLESS_TOLD = auto()  # it writes with --note only
    WRITES = auto()
    IS_ELSEWHERE = auto()  # it does not touch the ledger of the settings


def check_may_write() -> None:
    """Fail, as a bug, when the command that runs is listed as one that reads, or is not listed."""
    context = click.get_current_context(silent=True)
    if context is not None and context.parent is not None:
        root = context.find_root()
        name = context.command_path.removeprefix(f"{root.command_path} ")
        effects = getattr(root.command, "effects", {})
        assert effects.get(name, Effect.READS) is not Effect.READS, f"`{name}` only reads: it may not write"
