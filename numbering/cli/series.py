"""Series: apply definition files, list and show what is defined."""

from pathlib import Path
from typing import Any

import click

from api import answers
from ledger.definitions import definition_data
from ledger.domain.commands import DefineSeries
from ledger.domain.state import State
from ledger.queries import Queries
from ledger.writer import Outcome
from numbering.cli.definitions import read_definitions
from numbering.cli.options import dry_run_option, on_ledger
from numbering.cli.output import Answer, note, say_facts, say_table
from numbering.cli.session import Session

__all__ = ["series"]


@click.group()
def series() -> None:
    """Define, list and show series.

    A series is the rule by which numbers are printed, counted and reset.
    """


@series.command(
    epilog="""\b
Example, with a file letters.toml:
  [series.LETTER]
  template = "{FROM}-{TO}-{SEQ:4}-{YEAR:BE}"
  reset = "yearly"
  timezone = "Asia/Bangkok"
  dimensions.FROM.values = ["คคง.", "กทท."]
  dimensions.TO.values = ["สคฉ.3"]
\b
  numbering series apply letters.toml"""
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@dry_run_option
@on_ledger(writes=True)
def apply(session: Session, files: tuple[Path, ...], *, dry_run: bool) -> None:
    """Define or amend all series of TOML files.

    All are, or none when one is refused. What a table [series.CODE] may hold is what the body of a series over HTTP
    may. Applying the same again changes nothing.
    """
    asked = read_definitions(files)
    if dry_run:
        session.try_out(DefineSeries(asked))
        return
    arguments = {each.code: definition_data(each.definition) for each in asked}

    def applied(outcome: Outcome, state: State) -> Answer:
        told = [
            {"code": one.code, "version": one.version, "done": done.value}
            for one, done in answers.applied(asked, outcome, state)
        ]
        return {"series": told, "position": outcome.position}

    session.tell(session.write("apply_series", arguments, DefineSeries(asked), applied), _show_applied)


@series.command(name="list", epilog="\b\nExample:\n  numbering series list --json")
@on_ledger(past=True)
def list_series(session: Session) -> None:
    """List the present version of every series."""

    async def listed(ledger: Queries) -> Answer:
        return answers.all_series(*await ledger.all_series())

    session.tell(session.read(listed), _show_list)


@series.command(epilog="\b\nExample:\n  numbering series show LETTER")
@click.argument("code")
@on_ledger(past=True)
def show(session: Session, code: str) -> None:
    """Show the present version of the series CODE."""

    async def shown(ledger: Queries) -> Answer:
        return answers.series_answer(await ledger.series(code))

    session.tell(session.read(shown), _show_series)


def _show_applied(answer: Answer) -> None:
    columns = ("code", "version", "done")
    say_table(columns, [[each[name] for name in columns] for each in answer["series"]], right=("version",))


def _show_list(answer: Answer) -> None:
    retired = ("retired",) if any("retired" in each for each in answer["series"]) else ()
    columns = ("code", "version", *retired, "template", "reset", "description")
    say_table(columns, [[each.get(name) for name in columns] for each in answer["series"]], right=("version",))
    if not answer["series"]:
        note("no series is defined; define one with `numbering series apply FILE.toml`")


def _show_series(answer: Answer) -> None:
    facts: dict[str, object] = {}
    for name, value in answer.items():
        if isinstance(value, dict):
            facts |= {f"{name}.{field}": _form(form) for field, form in value.items()}
        else:
            facts[name] = _text(value)
    say_facts(facts)


def _form(form: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in form.items())


def _text(value: object) -> object:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or None
    return ("no", "yes")[value] if isinstance(value, bool) else value
