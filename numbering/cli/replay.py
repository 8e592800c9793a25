"""The ledger as it was at any moment, from its events alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from api.answers import as_json as written
from api.as_of_answers import moment_answer, reservation_then, reservations_of, sequence_then, sequences_of
from api.searches import number_answer
from ledger.domain.calendar import instant_text
from ledger.domain.decisions.guards import known_series, no_sequence
from ledger.domain.sequence import ValueState
from ledger.fold import Fold
from numbering.cli.logs import (
    SOURCES,
    TIMES,
    LogPlace,
    at_option,
    beyond_answer,
    beyond_option,
    moment,
    on_log,
    say_beyond,
)
from numbering.cli.output import Answer, LongTable, progress, say_facts, say_json, say_line, say_table
from replay.copying import copy_to, make_copy, opened_copy
from replay.moments import Moment, Past, folded
from replay.numbers import Listed, Wanted, all_numbers

__all__ = ["replay"]

COUNTED = ("sequence", "high water", *(state.value for state in ValueState), "closed")
OPEN = ("token", "sequence", "held", "reserved at", "expires at")
NUMBERS = ("number", "value", "state", "document", "event", "actor", "time", "reason", "position")


@click.command(
    epilog=f"""{TIMES}

{SOURCES}

\b
Examples:
  numbering replay --at 2026-01-31T17:00:00+07:00
  numbering replay --at 1200 --numbers --series INVOICE --json
  numbering replay --from /srv/archive --at 1200 --sqlite then.db"""
)
@at_option
@beyond_option
@click.option("--numbers", "with_numbers", is_flag=True, help="List the numbers too.")
@click.option("--series", metavar="CODE", help="Only what is of one series.")
@click.option("--sequence", metavar="SEQUENCE", help="Only what is of one sequence, by its id.")
@click.option(
    "--sqlite", "file", type=click.Path(path_type=Path), help="Make this file, to be asked in SQL, instead of a list."
)
@on_log
def replay(
    log: LogPlace,
    at: str | None,
    beyond: bool,
    with_numbers: bool,
    series: str | None,
    sequence: str | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """Show the ledger as it was.

    Its sequences and open reservations, with --numbers every number too, or with --sqlite all of it in a file with the
    views sequences, reservations, numbers, gaps and series. No database is needed: an archive is enough.
    """
    if file is not None and (with_numbers or series or sequence):
        raise click.UsageError("--sqlite makes a file of everything: leave the other options out.")
    asked, wanted = _Asked(log, moment(at), beyond), Wanted(series=series, sequence=sequence)
    if file is not None:
        answer = asyncio.run(_to_file(asked, file))
        say_json(answer) if as_json else say_facts(answer)
    elif with_numbers:
        asyncio.run(_with_numbers(asked, wanted, as_json))
    else:
        past, fold = asyncio.run(_folded(asked))
        _say(past, _answer(fold, wanted), as_json)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which log is read, up to when, and whether it may be a moment for which it is not known to be complete."""

    log: LogPlace
    moment: Moment
    beyond: bool

    @asynccontextmanager
    async def past(self) -> AsyncIterator[Past]:
        async with self.log.opened() as source:
            yield await Past.of(source, self.moment, allow_beyond=self.beyond)


async def _folded(asked: _Asked) -> tuple[Past, Fold]:
    async with asked.past() as past:
        with progress("reading") as show:
            return past, await folded(past, show)


async def _to_file(asked: _Asked, file: Path) -> Answer:
    async with asked.past() as past:
        with progress("copying") as show:
            await copy_to(file, past, show)
        recorded_at = instant_text(past.recorded_at) if past.position else None
        answer = {"file": str(file), "position": past.position, "recorded_at": recorded_at}
        return beyond_answer(past.beyond) | answer


async def _with_numbers(asked: _Asked, wanted: Wanted, as_json: bool) -> None:
    """Say the numbers as they are read from a copy on the disk: they may be more than memory holds."""
    async with asked.past() as past:
        with TemporaryDirectory() as directory:
            file = Path(directory) / "then.db"
            with progress("copying") as show:
                fold = await make_copy(file, past, show)
            async with opened_copy(file) as store:
                say = _say_numbers_json if as_json else _say_numbers
                await say(past, _answer(fold, wanted), all_numbers(store, wanted))


async def _say_numbers(past: Past, answer: Answer, pages: AsyncIterator[Sequence[Listed]]) -> None:
    _say(past, answer, as_json=False)
    say_line("")
    table = LongTable(NUMBERS, right=("value", "position"))
    async for page in pages:
        table.say(map(_number, page))
    if table.is_empty:
        say_line("no number had been given out")


async def _say_numbers_json(past: Past, answer: Answer, pages: AsyncIterator[Sequence[Listed]]) -> None:
    click.echo(written(beyond_answer(past.beyond) | answer)[: -len(b"}\n")] + b',"numbers":[', nl=False)
    between = b""
    async for page in pages:
        rows = (written(number_answer(each.row, each.sequence)).rstrip() for each in page)
        click.echo(between + b",".join(rows), nl=False)
        between = b","
    click.echo(b"]}")


def _answer(fold: Fold, wanted: Wanted) -> Answer:
    if wanted.series is not None:
        known_series(fold.state, wanted.series)
    if wanted.sequence is not None and fold.state.sequence(wanted.sequence) is None:
        raise no_sequence(fold.state, wanted.sequence)
    sequences = sequences_of(fold.state, wanted.series)
    reservations = reservations_of(fold.state, wanted.series)
    return moment_answer(fold) | {
        "sequences": [sequence_then(fold, each) for each in sequences if wanted.sequence in (None, each.id)],
        "reservations": [
            reservation_then(each) for each in reservations if wanted.sequence in (None, each.numbering.sequence)
        ],
    }


# From answers to tables


def _say(past: Past, answer: Answer, as_json: bool) -> None:
    if as_json:
        say_json(beyond_answer(past.beyond) | answer)
        return
    say_beyond(past.beyond)
    say_facts({name: answer[name] for name in ("position", "recorded_at")})
    say_line("")
    if answer["sequences"]:
        say_table(COUNTED, [_counted(each) for each in answer["sequences"]], right=COUNTED[1:-1])
    else:
        say_line("no sequence had begun")
    if answer["reservations"]:
        say_line("")
        names = [column.replace(" ", "_") for column in OPEN]
        say_table(OPEN, [[each[name] for name in names] for each in answer["reservations"]])


def _counted(sequence: Answer) -> list[object]:
    counts = sequence["counts"]
    return [sequence["sequence"], sequence["high_water"], *(counts[state] for state in ValueState), sequence["closed"]]


def _number(listed: Listed) -> list[Any]:
    row = listed.row
    cause = [row.event, row.actor, instant_text(row.changed_at), row.reason, row.changed_position]
    return [row.number, row.value, row.state, row.document, *cause]
