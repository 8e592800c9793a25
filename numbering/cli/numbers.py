"""Numbers and the reservations that hold them: the operations of HTTP, by the same models and answers."""

from collections.abc import Mapping
from typing import Any

import click

from api import answers
from api.requests import checked_token
from api.schemas import PreviewBody, checked
from ledger.queries import Queries
from numbering.cli.options import dry_run_option, max_skipped_option, number_options, on_ledger
from numbering.cli.output import Answer, say_facts, say_line, say_table
from numbering.cli.session import Session, given

__all__ = [
    "assign",
    "cancel",
    "confirm",
    "extend",
    "issue",
    "link",
    "preview",
    "reservation",
    "reserve",
    "show",
    "show_history",
    "void",
]

COLUMNS = ("number", "value", "state", "document")
STEPS = ("time", "state", "event", "number", "document", "actor", "reason", "position", "hash")
IN_THE_LOG = "Kept in the log, which cannot forget: no personal data."


@click.command(epilog="\b\nExample:\n  numbering preview LETTER -k FROM=คคง. -k TO=สคฉ.3 --count 3")
@click.argument("series")
@number_options
@on_ledger()
def preview(session: Session, **options: Any) -> None:
    """Show the next numbers of SERIES. They are not held: somebody else may get them."""
    making = session.making
    body = checked(PreviewBody, given(**_asked(**options)))
    command = body.reserve(making.ids.token(), making.default_ttl_seconds)

    async def previewed(ledger: Queries) -> Answer:
        return answers.previewed(await ledger.preview(command))

    session.tell(session.read(previewed), _show)


@click.command(
    epilog="\b\nExamples:\n"
    "  numbering reserve LETTER -k FROM=คคง. -k TO=สคฉ.3 --ttl 3600\n"
    "  numbering reserve RFA -k TYPE=RPT -a REV=B --count 10 --date 2025-03-01"
)
@click.argument("series")
@number_options
@click.option("--ttl", type=int, metavar="SECONDS", help="How long to hold them.  [default: the series' own]")
@on_ledger(writes=True)
def reserve(session: Session, ttl: int | None, **options: Any) -> None:
    """Hold numbers of SERIES under a token.

    They are held until they are confirmed or cancelled, or expire.
    """
    session.tell(session.carry_out("reserve", **_asked(**options), ttl_seconds=ttl), _show)


@click.command(
    epilog="\b\nExample:\n"
    "  numbering issue LETTER -k FROM=คคง. -k TO=สคฉ.3 --document DOC-17 --idempotency-key letter-17"
)
@click.argument("series")
@number_options
@click.option("--document", required=True, metavar="TEXT", help="Identifies the document that bears the numbers.")
@on_ledger(writes=True)
def issue(session: Session, document: str, **options: Any) -> None:
    """Reserve and confirm numbers of SERIES in one step."""
    session.tell(session.carry_out("issue", **_asked(**options), document=document), _show)


@click.command(
    epilog="\b\nExamples:\n"
    "  numbering confirm 1f50a9b2910fc0ac1538a1f087f875b9 --document DOC-17\n"
    "  numbering confirm 1f50a9b2910fc0ac1538a1f087f875b9 --document DOC-18 --number P-00002 --keep-rest"
)
@click.argument("token")
@click.option("--document", metavar="TEXT", help="Identifies the document that bears the numbers.")
@click.option("--number", "numbers", multiple=True, metavar="NUMBER", help="Only this one; may be repeated.")
@click.option("--keep-rest", is_flag=True, help="Hold the numbers that are not confirmed, instead of releasing them.")
@on_ledger(writes=True)
def confirm(session: Session, token: str, document: str | None, numbers: tuple[str, ...], keep_rest: bool) -> None:
    """Confirm the numbers of a reservation.

    They are used, for ever. With --number, only those are, and the others are released.
    """
    chosen = list(numbers) or None
    session.tell(
        session.carry_out("confirm", token, document=document, numbers=chosen, release_rest=not keep_rest), _show
    )


@click.command(epilog="\b\nExample:\n  numbering extend 1f50a9b2910fc0ac1538a1f087f875b9 --ttl 3600")
@click.argument("token")
@click.option("--ttl", type=int, required=True, metavar="SECONDS", help="How long to hold them from now.")
@on_ledger(writes=True)
def extend(session: Session, token: str, ttl: int) -> None:
    """Hold the numbers of a reservation longer."""
    session.tell(session.carry_out("extend", token, ttl_seconds=ttl), _show)


@click.command(epilog='\b\nExample:\n  numbering cancel 1f50a9b2910fc0ac1538a1f087f875b9 --reason "not sent"')
@click.argument("token")
@click.option("--reason", metavar="TEXT", help=IN_THE_LOG)
@on_ledger(writes=True)
def cancel(session: Session, token: str, reason: str | None) -> None:
    """Let the numbers of a reservation go."""
    session.tell(session.carry_out("cancel", token, reason=reason), _show)


@click.command(epilog="\b\nExample:\n  numbering reservation 1f50a9b2910fc0ac1538a1f087f875b9 --json")
@click.argument("token")
@on_ledger(past=True)
def reservation(session: Session, token: str) -> None:
    """Show what became of the numbers of a reservation."""
    checked_token(token)

    async def history(ledger: Queries) -> Answer:
        return answers.history(*await ledger.reservation(token))

    session.tell(session.read(history), _show)


@click.command(epilog='\b\nExample:\n  numbering assign INV-2025-000017 --document ORDER-3 --reason "on paper already"')
@click.argument("number")
@click.option("--document", required=True, metavar="TEXT", help="Identifies the document that bears the number.")
@click.option("--reason", required=True, metavar="TEXT", help=IN_THE_LOG)
@click.option("--date", metavar="YYYY-MM-DD", help="The document's date.  [default: derived from the number]")
@max_skipped_option
@dry_run_option
@on_ledger(writes=True)
def assign(session: Session, date: str | None, **fields: Any) -> None:
    """Give NUMBER to a document by hand.

    It may be a gap, or lie above all numbers that were issued; the values up to it are skipped. More than 1000 values,
    or a tenth of those that are left, are skipped only with --max-skipped.
    """
    session.perform("assign", "", say_facts, document_date=date, **fields)


@click.command(epilog='\b\nExample:\n  numbering void INV-2025-000017 --reason "sent to the wrong customer" --replace')
@click.argument("number")
@click.option("--reason", required=True, metavar="TEXT", help=f"At least 10 characters. {IN_THE_LOG}")
@click.option("--replace", is_flag=True, help="Give the next number of the same key to the same document.")
@click.option("--date", metavar="YYYY-MM-DD", help="The replacement's date.  [default: that of the voided number]")
@on_ledger(writes=True)
def void(session: Session, number: str, reason: str, replace: bool, date: str | None) -> None:
    """Take the confirmed NUMBER out of use, for ever."""
    answer = session.carry_out("void", number, reason=reason, replace=replace, document_date=date)
    session.tell(answer, _show_voided)


@click.command(
    epilog='\b\nExample:\n  numbering link INV-2025-000017 --document DOC-18 --reason "filed under another name"'
)
@click.argument("number")
@click.option("--document", required=True, metavar="TEXT", help="Identifies the document that bears the number.")
@click.option("--reason", required=True, metavar="TEXT", help=IN_THE_LOG)
@on_ledger(writes=True)
def link(session: Session, number: str, **fields: str) -> None:
    """Give the confirmed NUMBER its document, or another one."""
    session.tell(session.carry_out("link", number, **fields), say_facts)


@click.command(epilog="\b\nExample:\n  numbering show INV-2025-000017")
@click.argument("number")
@on_ledger(past=True)
def show(session: Session, number: str) -> None:
    """Show what became of NUMBER, from the log."""

    async def shown(ledger: Queries) -> Answer:
        return answers.number_history(await ledger.number(number), ledger.state)

    session.tell(session.read(shown), show_history)


# From options to the fields of a body


def _asked(
    series: str, key: Mapping[str, str], count: int, date: str | None, attribute: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "series": series,
        "key": dict(key),
        "count": count,
        "document_date": date,
        "attributes": dict(attribute),
    }


# From answers to tables


def _show(answer: Answer) -> None:
    """The numbers in a table, and below it what they have in common."""
    facts = dict(answer)
    numbers, released = facts.pop("numbers", []), facts.pop("released", [])
    if released:
        numbers = [each | {"state": answer["state"]} for each in numbers]
        numbers += [each | {"state": "released"} for each in released]
    if numbers:
        columns = [name for name in COLUMNS if any(name in number for number in numbers)]
        say_table(columns, [[number.get(name) for name in columns] for number in numbers], right=("value",))
        say_line("")
    say_facts(facts)


def _show_voided(answer: Answer) -> None:
    say_facts({name: value for name, value in answer.items() if name != "replacement"})


def show_history(answer: Answer) -> None:
    """What it is now, and below it each step that led there, the first first."""
    facts = dict(answer)
    steps = facts.pop("history")
    if facts["number"] == facts["asked"]:
        del facts["asked"]
    say_facts(facts)
    say_line("")
    columns = [name for name in STEPS if any(step.get(name) is not None for step in steps)]
    say_table(columns, [[step.get(name) for name in columns] for step in steps], right=("position",))
