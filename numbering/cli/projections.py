"""The projections: how far they have come, and what to do when they are wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from ledger.codec import UnknownEvent
from ledger.domain.calendar import instant_text
from ledger.domain.rejection import Code
from ledger.ports import Fault
from ledger.stores import SqlStore
from ledger.system import SystemClock
from numbering.cli.logs import mark_copy
from numbering.cli.options import on_ledger
from numbering.cli.output import Answer, note, progress, say_line, say_table
from numbering.cli.session import Session
from numbering.exits import REJECTED
from numbering.settings import Settings
from numbering.wiring import opened_store
from projections.check import check, note_check
from projections.checkpoints import Checkpoint, failed
from projections.rebuild import rebuild
from projections.snapshot import read_checkpoints

__all__ = ["projections"]

T = TypeVar("T")


@click.group()
def projections() -> None:
    """Look at the tables for reading, check, rebuild.

    The service folds the log into them; they are made from it alone, so nothing is lost with them.
    """


@projections.command(epilog="\b\nExample:\n  numbering projections status --json")
@on_ledger()
def status(session: Session) -> None:
    """Say how far the projections have come.

    Exits with 1 when they failed, also before they are live for the first time, or when the last check found a
    difference.
    """

    async def looked(store: SqlStore) -> Answer:
        slots, head = await read_checkpoints(store)
        stopped = failed(slots)
        return {
            "slots": [_slot(slot, head.position) for slot in slots],
            "failed": stopped.failed if stopped else None,
            "position": head.position,
        }

    answer = _on_store(session.settings, looked)
    session.tell(answer, _show_status)
    if answer["failed"] or any(slot["live"] and slot["disagreement"] for slot in answer["slots"]):
        raise SystemExit(REJECTED)


@projections.command(name="rebuild", epilog="\b\nExample:\n  numbering projections rebuild --json")
@on_ledger()
def rebuild_all(session: Session) -> None:
    """Fold the whole log into new tables, and swap.

    The service goes on meanwhile, and is answered from the old tables until the new ones have caught up. This is the
    way out when the projections failed, or differ from the log.
    """

    async def rebuilt(store: SqlStore) -> Answer:
        with progress("rebuilding") as show:
            return {"rebuilt": True, "position": await rebuild(store, show)}

    answer = _on_store(session.settings, rebuilt, writes=True)
    session.tell(answer, lambda told: say_line(f"rebuilt, up to position {told['position']}"))


@projections.command(
    name="check", epilog="\b\nExamples:\n  numbering projections check --json\n  numbering projections check --note"
)
@click.option("--note", "is_noted", is_flag=True, help="Write the result down, for `status` and the service's health.")
@on_ledger()
def check_all(session: Session, *, is_noted: bool) -> None:
    """Compare every row with the log.

    The log is folded again by other means than those that made the rows. Nothing is written, unless told --note. Exits
    with 1 when there is a difference.
    """

    async def checked(store: SqlStore) -> Answer:
        with progress("checking") as show:
            report = await check(store, show)
        if is_noted:
            await note_check(store, report, now=SystemClock().now())
        return {"rows": report.rows, "differences": list(report.differences), "position": report.position}

    answer = _on_store(session.settings, checked, writes=is_noted)
    session.tell(answer, _show_check)
    if answer["differences"]:
        raise SystemExit(REJECTED)


def _on_store(settings: Settings, work: Callable[[SqlStore], Awaitable[T]], *, writes: bool = False) -> T:
    """Do some work on the database alone: no fold of the log into memory is needed."""

    async def done() -> T:
        async with opened_store(settings, reads_only=not writes) as store:
            await mark_copy(store)
            try:
                return await work(store)
            except UnknownEvent as why:
                raise Fault(Code.LEDGER_STOPPED, str(why)) from why

    return asyncio.run(done())


def _slot(slot: Checkpoint, head: int) -> dict[str, Any]:
    return {
        "slot": slot.slot,
        "live": slot.live,
        "version": slot.version,
        "position": slot.position,
        "behind": head - slot.position,
        "recorded_at": instant_text(slot.recorded_at) if slot.position else None,
        "failed": slot.failed,
        "checked_position": slot.checked_position or None,
        "checked_at": instant_text(slot.checked_at) if slot.checked_at else None,
        "disagreement": slot.disagreement,
    }


def _show_status(answer: Answer) -> None:
    columns = ("slot", "live", "version", "position", "behind", "recorded_at", "checked_position")
    shown = [slot for slot in answer["slots"] if slot["live"] or slot["position"]]
    if shown:
        right = ("version", "position", "behind", "checked_position")
        say_table(columns, [[slot[name] for name in columns] for slot in shown], right=right)
    if not any(slot["live"] for slot in shown):
        note("no projection is live yet: the service builds it, or `numbering projections rebuild`")
    disagreements = [slot["disagreement"] for slot in shown if slot["live"]]
    for name, why in (("failed", answer["failed"]), *(("disagreement", each) for each in disagreements)):
        if why:
            note(f"{name}: {why}; mend it with `numbering projections rebuild`")


def _show_check(answer: Answer) -> None:
    for difference in answer["differences"]:
        say_line(difference)
    if not answer["differences"]:
        say_line(f"{answer['rows']} rows agree with the log, at position {answer['position']}")
