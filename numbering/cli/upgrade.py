"""`numbering upgrade`: let the ledger write what earlier builds do not know, when none of them is left."""

import asyncio
from collections.abc import Sequence

import click

from ledger.domain.calendar import instant_text
from ledger.domain.commands import RaiseFormat
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.rejection import Code, Rejection
from ledger.queries import Queries
from ledger.stores.processes import Process
from numbering.census import PATIENCE_SECONDS, Census, taken
from numbering.cli.options import on_ledger
from numbering.cli.output import Answer, progress, say_facts, say_line, say_table
from numbering.cli.session import Session
from numbering.presence import build

__all__ = ["check_no_older", "upgrade"]

COLUMNS = ("host", "pid", "build", "format", "started_at", "seen_at")
HEADINGS = [name.replace("_", " ") for name in COLUMNS]


@click.command(epilog="\b\nExamples:\n  numbering upgrade --dry-run\n  numbering upgrade")
@click.option("--dry-run", is_flag=True, help="List who has the ledger open, and change nothing.")
@click.option("--force", is_flag=True, help="Ignore unknown processes and connections.")
@on_ledger()
def upgrade(session: Session, dry_run: bool, force: bool) -> None:
    """Raise the ledger's format to the newest of this build.

    New kinds of events can then be written. This is final: earlier builds can no longer write. Refused while a process
    of an earlier build has the ledger open. On MariaDB, use an account that has the PROCESS privilege: it sees the
    connections of all accounts.
    """
    format = session.read(_format)
    is_newest = format >= NEWEST_FORMAT
    census = _taken(session, seconds=0 if is_newest or force else PATIENCE_SECONDS)
    answer = _answer(format, census)
    why = None if is_newest else _refusal(census, answer, force=force)
    if why is not None:
        if not session.json:
            _show_census(answer)
        raise why
    if not is_newest and not dry_run:
        answer |= session.write(
            "upgrade",
            {"format": NEWEST_FORMAT},
            RaiseFormat(NEWEST_FORMAT, f"by numbering-ledger {build()}"),
            lambda outcome, state: {"format": state.format, "raised": True, "position": outcome.position},
        )
    session.tell(answer, _show)


def check_no_older(session: Session, format: int, *, force: bool) -> None:
    """Raise OLDER_PROCESSES while a process may be there that does not know the newest format."""
    if format < NEWEST_FORMAT:
        census = _taken(session, seconds=0 if force else PATIENCE_SECONDS)
        if why := _refusal(census, _answer(format, census), force=force):
            raise why


def _taken(session: Session, *, seconds: float) -> Census:
    with progress("waiting for unknown processes to end or to say what they are") as show:
        return asyncio.run(taken(session.settings, seconds=seconds, show=show))


async def _format(ledger: Queries) -> int:
    return ledger.state.format


def _answer(format: int, census: Census) -> Answer:
    return {
        "format": format,
        "newest": NEWEST_FORMAT,
        "raised": False,
        "processes": [_told(each) for each in census.processes],
        "unknown": list(census.strangers),
    }


def _told(process: Process) -> Answer:
    instants = {"started_at": instant_text(process.started_at), "seen_at": instant_text(process.seen_at)}
    return {name: value for name, value in process._asdict().items() if name in COLUMNS} | instants


def _refusal(census: Census, answer: Answer, *, force: bool) -> Rejection | None:
    """Say who would write no more; None when nobody would."""
    older = [_described(each) for each in census.older_than(NEWEST_FORMAT)]
    if older:
        return _refused(f"{_joined(older)}: end or upgrade it first", answer)
    if census.strangers and not force:
        advice = "it may be of an earlier build: end it; if you know that it is not, use --force"
        return _refused(f"{_joined(census.strangers)}: {advice}", answer)
    return None


def _refused(detail: str, answer: Answer) -> Rejection:
    return Rejection(Code.OLDER_PROCESSES, f"the format is not raised, because of {detail}", members=answer)


def _described(process: Process) -> str:
    told = _told(process)
    return "process {pid} on {host}, of build {build}, which knows format {format} (last seen {seen_at})".format(**told)


def _joined(names: Sequence[str]) -> str:
    return "; ".join(names)


def _show(answer: Answer) -> None:
    _show_census(answer)
    if answer["raised"]:
        say_line(f"raised to format {answer['format']} at position {answer['position']}")
    elif answer["format"] == answer["newest"]:
        say_line(f"the ledger is at format {answer['format']}, the newest: there is nothing to do")
    else:
        say_line(f"the format would be raised from {answer['format']} to {answer['newest']}; nothing was changed")


def _show_census(answer: Answer) -> None:
    say_facts({"format": answer["format"], "newest format": answer["newest"]})
    if answer["processes"]:
        say_line("")
        say_table(HEADINGS, [[each[name] for name in COLUMNS] for each in answer["processes"]], right=["pid", "format"])
    for each in answer["unknown"]:
        say_line(f"unknown: {each}")
    say_line("")
