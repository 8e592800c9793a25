"""Which commands read and which write: a new command must say it here, and one that reads cannot write."""

from collections.abc import Mapping
from enum import Enum, auto

import click

__all__ = ["EFFECTS", "Effect", "check_may_write"]


class Effect(Enum):
    """What a command does to the ledger. Files that it makes elsewhere, such as an export, are not the ledger."""

    READS = auto()  # it needs no right to write: neither to the database, nor to its file and directory, nor to Redis
    READS_IN_A_DRY_RUN = auto()  # it writes, but not with --dry-run
    READS_UNLESS_TOLD = auto()  # it writes with --note only
    WRITES = auto()
    IS_ELSEWHERE = auto()  # it does not touch the ledger of the settings


EFFECTS: Mapping[str, Effect] = {
    "serve": Effect.WRITES,
    "migrate": Effect.WRITES,
    "series apply": Effect.WRITES,
    "series list": Effect.READS,
    "series show": Effect.READS,
    "preview": Effect.READS,
    "reserve": Effect.WRITES,
    "issue": Effect.WRITES,
    "confirm": Effect.WRITES,
    "extend": Effect.WRITES,
    "cancel": Effect.WRITES,
    "reservation": Effect.READS,
    "assign": Effect.WRITES,
    "void": Effect.WRITES,
    "link": Effect.WRITES,
    "show": Effect.READS,
    "sequences": Effect.READS,
    "sequence": Effect.READS,
    "gaps": Effect.READS,
    "adjust": Effect.WRITES,
    "open": Effect.WRITES,
    "reset": Effect.WRITES,
    "close": Effect.WRITES,
    "maximum": Effect.WRITES,
    "retire": Effect.WRITES,
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
    "restore": Effect.WRITES,
    "mirror status": Effect.READS,
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


def check_may_write() -> None:
    """Fail, as a bug, when the command that runs is listed as one that reads, or is not listed."""
    context = click.get_current_context(silent=True)
    if context is not None and context.parent is not None:
        name = context.command_path.removeprefix(f"{context.find_root().command_path} ")
        assert EFFECTS.get(name, Effect.READS) is not Effect.READS, f"`{name}` only reads: it may not write"
