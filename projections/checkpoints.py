"""The row of each slot: how far it has come, in which history, and what is wrong with it.

A slot's `epoch` rises whenever it is begun anew and whenever the slots are swapped. Whoever folds into a slot, empties
it or writes beside it what became of it does so only while the epoch, read under the row's lock, is still the one that
they began in: what another has begun meanwhile is not theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, select, update

from projections.schema import PROJECTION_VERSION, projections

__all__ = [
    "ALL",
    "BEGIN",
    "FAIL",
    "LOCK",
    "LOCK_ALL",
    "MOVE",
    "NOTE_CHECK",
    "SWAP",
    "Checkpoint",
    "beside",
    "checkpoints",
    "failed",
    "live",
    "shortened",
    "target",
]

MAX_TEXT = 4_000

_of_slot = projections.c.slot == bindparam("of_slot")
_of_epoch = projections.c.epoch == bindparam("of_epoch")
_next_epoch = projections.c.epoch + 1

ALL = select(projections).order_by(projections.c.slot)
LOCK = select(projections).where(_of_slot).with_for_update()
LOCK_ALL = ALL.with_for_update()
MOVE = (
    update(projections)
    .where(_of_slot)
    .values(position=bindparam("to"), hash=bindparam("last_hash"), recorded_at=bindparam("last_recorded_at"))
)
SWAP = update(projections).values(live=bindparam("is_live"), epoch=_next_epoch).where(_of_slot)
FAIL = (
    update(projections)
    .where(_of_slot, _of_epoch, projections.c.position == bindparam("from_position"))
    .values(failed=bindparam("why"), failed_position=bindparam("where"))
)
BEGIN = (
    update(projections)
    .where(_of_slot, _of_epoch, projections.c.live == 0)
    .values(
        version=PROJECTION_VERSION,
        epoch=_next_epoch,
        position=0,
        hash=bindparam("genesis"),
        recorded_at=0,
        failed=None,
        failed_position=0,
        checked_position=0,
        checked_at=0,
        disagreement=None,
    )
)
NOTE_CHECK = (
    update(projections)
    .where(_of_slot, _of_epoch, projections.c.version == PROJECTION_VERSION)
    .values(checked_position=bindparam("to"), checked_at=bindparam("at"), disagreement=bindparam("what"))
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`failed` says why nothing is folded into the slot any more, `disagreement` what the last check found."""

    slot: str
    live: bool
    version: int
    epoch: int
    position: int
    hash: bytes
    recorded_at: int
    failed: str | None
    failed_position: int
    checked_position: int
    checked_at: int
    disagreement: str | None

    @property
    def is_present(self) -> bool:
        """Whether this code may go on folding into it."""
        return self.version == PROJECTION_VERSION and self.failed is None

    @property
    def place(self) -> tuple[str, int, bool, int, bytes]:
        """What changes with whatever is done to the slot's rows."""
        return self.slot, self.epoch, self.live, self.position, self.hash


def checkpoints(rows: Sequence[Row[Any]]) -> list[Checkpoint]:
    return [Checkpoint(**dict(row._mapping) | {"live": bool(row.live)}) for row in rows]


def shortened(what: str) -> str:
    """Cut what is stored of a failure or a disagreement: MariaDB refuses a text of more than 64 KiB."""
    return what if len(what) <= MAX_TEXT else f"{what[: MAX_TEXT - 1]}…"


def live(slots: Sequence[Checkpoint]) -> Checkpoint | None:
    return next((each for each in slots if each.live), None)


def beside(slots: Sequence[Checkpoint]) -> Checkpoint:
    """Choose the slot to rebuild into: the one that is not live, the first one before there is any."""
    return next(each for each in slots if not each.live)


def target(slots: Sequence[Checkpoint]) -> Checkpoint | None:
    """Choose the slot to fold into: the live one, or another as long as none is live, or that is of an older version.

    None when this code has nothing to do: folding into it failed, or it is of a newer version.
    """
    chosen = _chosen(slots)
    return None if chosen.version > PROJECTION_VERSION or _is_failed(chosen) else chosen


def failed(slots: Sequence[Checkpoint]) -> Checkpoint | None:
    """Give the slot that should be folded into, if that has failed: only a rebuild is the way out."""
    chosen = _chosen(slots)
    return chosen if _is_failed(chosen) else None


def _chosen(slots: Sequence[Checkpoint]) -> Checkpoint:
    present = live(slots)
    return beside(slots) if present is None or present.version < PROJECTION_VERSION else present


def _is_failed(slot: Checkpoint) -> bool:
    # Into one that is not live, code of another version begins anew; what failed in this one would fail again.
    return slot.failed is not None and (slot.live or slot.version == PROJECTION_VERSION)
