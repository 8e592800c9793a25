"""Commands that hand out numbers and settle them: the operations of HTTP, by the same models and answers."""

from collections.abc import Mapping
from typing import Any

import click

from api import answers
from api.requests import checked_token
from api.schemas import CancelBody, ConfirmBody, ExtendBody, IssueBody, PreviewBody, ReserveBody, checked
from ledger.domain.commands import Cancel, Confirm, Extend, Issue
from ledger.service import Ledger
from numbering.cli.options import number_options, on_ledger
from numbering.cli.output import say_facts, say_line, say_table
from numbering.cli.session import Answer, Session

__all__ = ["cancel", "confirm", "extend", "issue", "preview", "reservation", "reserve"]

COLUMNS = ("number", "value", "state", "document")


@click.command(epilog="\b\nExample:\n  numbering preview LETTER -k FROM=คคง. -k TO=สคฉ.3 --count 3")
@click.argument("series")
@number_options
@on_ledger()
def preview(session: Session, **given: Any) -> None:
    """Show the next numbers of SERIES. They are not held: somebody else may get them."""
    body = checked(PreviewBody, _asked(**given))
    command = body.reserve(session.ids.token(), session.settings.reservation_ttl)

    async def previewed(ledger: Ledger) -> Answer:
        return answers.previewed(*await ledger.preview(command))

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
def reserve(session: Session, ttl: int | None, **given: Any) -> None:
    """Hold numbers of SERIES under a token.

    They are held until they are confirmed or cancelled, or expire.
    """
    body = checked(ReserveBody, _asked(**given, ttl_seconds=ttl))
    command = body.reserve(session.ids.token(), session.settings.reservation_ttl, body.ttl_seconds)
    session.tell(session.write("reserve", _arguments(body), command, answers.reserved), _show)


@click.command(
    epilog="\b\nExample:\n"
    "  numbering issue LETTER -k FROM=คคง. -k TO=สคฉ.3 --document DOC-17 --idempotency-key letter-17"
)
@click.argument("series")
@number_options
@click.option("--document", required=True, metavar="TEXT", help="Identifies the document that bears the numbers.")
@on_ledger(writes=True)
def issue(session: Session, document: str, **given: Any) -> None:
    """Reserve and confirm numbers of SERIES in one step."""
    body = checked(IssueBody, _asked(**given, document=document))
    command = Issue(body.reserve(session.ids.token(), session.settings.reservation_ttl), body.document)
    session.tell(session.write("issue", _arguments(body), command, answers.issued), _show)


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
    body = checked(ConfirmBody, _given(document=document, numbers=list(numbers) or None, release_rest=not keep_rest))
    command = Confirm(checked_token(token), body.document, body.choices(), body.release_rest)
    session.tell(session.write("confirm", _arguments(body, token), command, answers.confirmed), _show)


@click.command(epilog="\b\nExample:\n  numbering extend 1f50a9b2910fc0ac1538a1f087f875b9 --ttl 3600")
@click.argument("token")
@click.option("--ttl", type=int, required=True, metavar="SECONDS", help="How long to hold them from now.")
@on_ledger(writes=True)
def extend(session: Session, token: str, ttl: int) -> None:
    """Hold the numbers of a reservation longer."""
    body = checked(ExtendBody, {"ttl_seconds": ttl})
    command = Extend(checked_token(token), body.ttl_seconds)
    session.tell(session.write("extend", _arguments(body, token), command, answers.extended), _show)


@click.command(epilog='\b\nExample:\n  numbering cancel 1f50a9b2910fc0ac1538a1f087f875b9 --reason "not sent"')
@click.argument("token")
@click.option("--reason", metavar="TEXT", help="Kept in the log, which cannot forget: no personal data.")
@on_ledger(writes=True)
def cancel(session: Session, token: str, reason: str | None) -> None:
    """Let the numbers of a reservation go."""
    body = checked(CancelBody, _given(reason=reason))
    command = Cancel(checked_token(token))
    answer = session.write("cancel", _arguments(body, token), command, answers.cancelled, reason=body.reason)
    session.tell(answer, _show)


@click.command(epilog="\b\nExample:\n  numbering reservation 1f50a9b2910fc0ac1538a1f087f875b9 --json")
@click.argument("token")
@on_ledger()
def reservation(session: Session, token: str) -> None:
    """Show what became of the numbers of a reservation."""
    checked_token(token)

    async def history(ledger: Ledger) -> Answer:
        return answers.history(*await ledger.reservation(token))

    session.tell(session.read(history), _show)


# From options to commands


def _asked(
    series: str,
    key: Mapping[str, str],
    count: int,
    date: str | None,
    attribute: Mapping[str, str],
    **more: object,
) -> dict[str, object]:
    return _given(series=series, key=dict(key), count=count, document_date=date, attributes=dict(attribute), **more)


def _given(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _arguments(body: Any, token: str | None = None) -> dict[str, Any]:
    """Give what a repetition must have in common with the first; defaults count as not given."""
    given: dict[str, Any] = body.model_dump(mode="json", exclude_defaults=True)
    return given if token is None else given | {"token": token}


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
