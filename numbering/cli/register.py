"""Import a register of numbers that were kept before the ledger."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from api import answers
from api.imports import dry_run as try_import
from api.registers import DEFAULT_COLUMN, MAX_REGISTER_BYTES, Columns, lines_of, rows_of_csv, too_large
from ledger.domain.register import Register
from ledger.domain.rejection import Code, Rejection
from ledger.queries import Queries
from ledger.service import Ledger
from numbering.cli.options import max_skipped_option, on_ledger
from numbering.cli.output import Answer, Unreadable, note, problem, say_line, say_table, visible
from numbering.cli.session import Session, given
from numbering.cli.trials import told_needs
from numbering.exits import REJECTED

__all__ = ["import_register"]

MAX_SHOWN_SEQUENCES = 100  # in the table; the JSON has them all


@click.command(
    name="import",
    epilog="""\b
Examples:
  numbering import register.csv --series DRAWING --series DRAWING-3 --dry-run
  numbering import register.csv --series DRAWING --series DRAWING-3 --skip-bad

Each number goes to the one named series whose template prints it, and is confirmed from then on. The next reservation
of a sequence continues above its highest. The exit code is 1 when a row does not fit, unless bad rows are skipped.""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
@click.option("--series", "codes", multiple=True, required=True, metavar="CODE", help="A series of the numbers.")
@click.option("--column", default=DEFAULT_COLUMN, show_default=True, help="The column that holds the numbers.")
@click.option("--date-column", metavar="TEXT", help="The column that holds the documents' dates, as 2025-03-31.")
@click.option("--document-column", metavar="TEXT", help="The column that identifies the documents.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and write nothing.")
@click.option("--skip-bad", is_flag=True, help="Import the rows that fit, though others do not.")
@max_skipped_option
@on_ledger(writes=True)
def import_register(
    session: Session,
    file: Path,
    codes: tuple[str, ...],
    column: str,
    date_column: str | None,
    document_column: str | None,
    *,
    dry_run: bool,
    skip_bad: bool,
    max_skipped: int | None,
) -> None:
    """Import the numbers of a CSV file.

    The file is UTF-8 and its first line names the columns, which commas, semicolons or tabs part. Either all rows are
    imported, in one transaction, or none. A number without a date gets the last one that prints it, marked as derived.
    Into a sequence that has issued numbers, more than 1000 values, or a tenth of those that are left, are skipped only
    with --max-skipped.
    """
    columns = Columns(column, date_column, document_column)

    async def tried(ledger: Queries) -> tuple[Answer, bool]:
        register, _, _ = await _read_register(ledger, codes, file, columns)
        command = register.command(skip_bad=True, max_skipped=max_skipped)
        told = await try_import(ledger, register, command)
        return told, bool(told["needs"]) or (bool(command.bad) and not skip_bad)

    async def imported(ledger: Ledger, limit: int | None) -> tuple[Answer, bool]:
        register, digest, position = await _read_register(ledger, codes, file, columns)
        command = register.command(skip_bad=skip_bad, max_skipped=limit)
        arguments = {"file": digest, "series": codes, "column": column, "skip_bad": str(skip_bad)}
        if max_skipped is not None:
            arguments["max_skipped"] = str(max_skipped)
        others = given(date_column=date_column, document_column=document_column)
        try:
            outcome = await session.execute(ledger, "import", arguments | others, command)
        except Rejection as refusal:
            if refusal.code is not Code.IMPORT_REFUSED:
                raise
            return problem(refusal) | answers.imported(register, command, position), True
        if not outcome.replayed:
            return answers.imported(register, command, outcome.position), False
        register = await ledger.register_again(codes, outcome)
        await asyncio.to_thread(_read, register, file, columns)
        return answers.imported_again(register, outcome), False

    if dry_run:
        told, is_finding = session.read(tried)
    else:
        try:
            told, is_finding = session.act(lambda ledger: imported(ledger, max_skipped))
        except Rejection as why:
            needs = session.asked(why, is_bounded=max_skipped is not None)
            told, is_finding = session.act(lambda ledger: imported(ledger, needs.max_skipped))
    session.tell(told, _show)
    if is_finding:
        raise SystemExit(REJECTED)


async def _read_register(
    ledger: Queries, codes: Sequence[str], file: Path, columns: Columns
) -> tuple[Register, str, int]:
    """Give the register without what the ledger holds already, the file's digest, and the position of the ledger."""
    register = await ledger.register(codes)
    digest = await asyncio.to_thread(_read, register, file, columns)
    return register, digest, await ledger.drop_held(register)


def _read(register: Register, file: Path, columns: Columns) -> str:
    """Read all rows; gives the file's digest."""
    if file.stat().st_size > MAX_REGISTER_BYTES:
        raise too_large()
    digest = sha256()
    try:
        with file.open("rb") as content, _progress(file) as progress:
            for row in rows_of_csv(_lines(content, digest.update, progress), columns):
                register.add(*row)
    except Rejection as flaw:
        if flaw.code is Code.INVALID_FORMAT:
            raise Unreadable(flaw.code, f"{file}: {flaw.detail}") from None
        raise
    except OSError as error:
        raise Unreadable(Code.INVALID_FORMAT, f"{file} cannot be read: {error.strerror}") from None
    return digest.hexdigest()


Take = Callable[[bytes], None]


def _lines(content: BinaryIO, *takers: Take) -> Iterator[bytes]:
    for line in lines_of(content):
        for take in takers:
            take(line)
        yield line


@contextmanager
def _progress(file: Path) -> Iterator[Take]:
    """Show on a terminal how far the file was read."""
    columns = TextColumn("reading"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=file.stat().st_size)
        yield lambda line: progress.advance(task, len(line))


def _show(told: Answer) -> None:
    if told["rejected"]:
        rows = [(row["line"], visible(row["number"]), row["title"], visible(row["detail"])) for row in told["rejected"]]
        say_table(("line", "number", "problem", "why"), rows, right=("line",))
        say_line("")
    shown = told["sequences"][:MAX_SHOWN_SEQUENCES]
    if shown:
        columns = ("sequence", "numbers", "lowest", "highest")
        say_table(columns, [[each[name] for name in columns] for each in shown], right=columns[1:])
        say_line("")
    more = len(told["sequences"]) - len(shown)
    if more:
        say_line(f"and {more} sequences more; --json has them all")
    say_line(_summary(told))
    if "code" in told:
        note(f"{told['code']} {told['title']}: {told['detail']}")


def _summary(told: Answer) -> str:
    counted = f"{told['rows']} rows: {told['fit']} fit, {len(told['rejected'])} rejected"
    if told["derived_dates"]:
        counted += f", {told['derived_dates']} dates derived"
    if told.get("dry_run"):
        skipped, needs = told["effect"]["skipped"], told_needs(told["needs"])
        counted = f"{counted}; {skipped} values would be skipped" if skipped else counted
        return f"{counted}; a dry run, nothing was written{f'; to carry it out, add {needs}' if needs else ''}"
    if "code" in told:
        return f"{counted}; nothing was written"
    return f"{counted}; {told['fit']} numbers imported at position {told['position']}"
