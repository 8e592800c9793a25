"""Many commands in one file, as `POST /v1/batch` takes them."""

from typing import BinaryIO

import click

from api.batch import carry_out
from api.requests import MAX_BODY_BYTES
from api.schemas import BatchBody, parse
from ledger.domain.rejection import Code, Rejection
from ledger.service import Ledger
from numbering.cli.options import on_ledger
from numbering.cli.output import Answer, Unreadable, note, say_table
from numbering.cli.session import REPLAYED, Session
from numbering.cli.trials import told_needs
from numbering.exits import FAULT, REJECTED

__all__ = ["batch"]

REFUSED_FROM, FAULTS_FROM = 400, 500  # statuses, which the answers of a batch have as over HTTP


@click.command(
    epilog="""\b
Example, with a file commands.json:
  {"commands": [{"op": "issue", "series": "INVOICE", "document": "ORDER-17"},
                {"op": "void", "number": "INV-2025-000003", "reason": "sent twice by mistake"}]}
\b
  numbering batch commands.json --atomic

The exit code is 1 when a command was refused, and 3 when one could not be served."""
)
@click.argument("file", type=click.File("rb"))
@click.option("--atomic", is_flag=True, help="Carry out all, or none.")
@on_ledger(writes=True)
def batch(session: Session, file: BinaryIO, atomic: bool) -> None:
    """Carry out the commands of a JSON FILE in order.

    `-` reads them from the standard input.
    """
    text = file.read(MAX_BODY_BYTES + 1)
    if len(text) > MAX_BODY_BYTES:
        raise click.BadParameter(f"is larger than {MAX_BODY_BYTES} bytes; split it.", param_hint="FILE")
    asked = _read(text)
    if atomic:
        asked = asked.model_copy(update={"atomic": True})

    async def carried_out(ledger: Ledger) -> tuple[Answer, bool]:
        return await carry_out(ledger, asked, session.envelope("batch", asked.model_dump(mode="json")), session.making)

    answer, replayed = session.act(carried_out)
    if replayed:
        note(REPLAYED)
    session.tell(answer, _show)
    worst = max(each["status"] for each in answer["answers"])
    if worst >= REFUSED_FROM:
        raise SystemExit(FAULT if worst >= FAULTS_FROM else REJECTED)


def _read(text: bytes) -> BatchBody:
    try:
        return parse(BatchBody, text, name="FILE")
    except Rejection as flaw:
        if flaw.code is not Code.MALFORMED_JSON:
            raise
        raise Unreadable(flaw.code, flaw.detail, flaw.errors) from None


def _show(answer: Answer) -> None:
    columns = ("", "status", "answer")
    rows = [[index, each["status"], _told(each)] for index, each in enumerate(answer["answers"])]
    say_table(columns, rows, right=("", "status"))


def _told(answer: Answer) -> object:
    """What of an answer people look for: the refusal, the numbers, or the sequence or series that it is about."""
    if "detail" in answer:
        return f"{answer['code']} {answer['title']}: {answer['detail']}"
    if "effect" in answer:
        needs = told_needs(answer["needs"])
        return f"dry run: {answer['effect']['skipped']} skipped" + (f"; needs {needs}" if needs else "")
    if "numbers" in answer:
        return [each["number"] for each in answer["numbers"]]
    return next(answer[name] for name in ("number", "sequence", "code", "series") if name in answer)
