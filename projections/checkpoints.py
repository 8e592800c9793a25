"""The row of each slot: how far it has come, in which history, and what is wrong with it."""

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
    "checkpoints",
    "live",
    "target",
]

_of_slot = projections.c.slot == bindparam("of_slot")

ALL = select(projections).order_by(projections.c.slot)
LOCK = select(projections).where(_of_slot).with_for_update()
LOCK_ALL = ALL.with_for_update()
MOVE = (
    update(projections)
    .where(_of_slot)
    .values(position=bindparam("to"), hash=bindparam("last_hash"), recorded_at=bindparam("last_recorded_at"))
)
SWAP = update(projections).values(live=bindparam("is_live")).where(_of_slot)
FAIL = (
    update(projections)
    .where(_of_slot, projections.c.position == bindparam("from_position"))
    .values(failed=bindparam("why"), failed_position=bindparam("where"))
)
BEGIN = (
    update(projections)
    .where(_of_slot, projections.c.live == 0)
    .values(
        version=PROJECTION_VERSION,
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
    .where(_of_slot, projections.c.version == PROJECTION_VERSION)
    .values(checked_position=bindparam("to"), checked_at=bindparam("at"), disagreement=bindparam("what"))
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`failed` says why nothing is folded into the slot any more, `disagreement` what the last check found."""

    slot: str
    live: bool
    version: int
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


def checkpoints(rows: Sequence[Row[Any]]) -> list[Checkpoint]:
    return [Checkpoint(**dict(row._mapping) | {"live": bool(row.live)}) for row in rows]


def live(slots: Sequence[Checkpoint]) -> Checkpoint | None:
    return next((each for each in slots if each.live), None)


def target(slots: Sequence[Checkpoint]) -> Checkpoint | None:
    """Choose the slot to fold into: the live one, or the one beside it when that is of an older version.

    None when this code has nothing to do: the live one failed, or is of a newer version.
    """
    present = live(slots)
    if present is None:
        return slots[0]
    if present.version < PROJECTION_VERSION:
        return next(each for each in slots if not each.live)
    return present if present.is_present else None
