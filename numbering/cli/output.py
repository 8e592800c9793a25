"""What a command says: tables for people, JSON for machines, one line for an error.

JSON is what HTTP answers, errors too. A table that goes to no terminal is never truncated, wrapped or coloured.
"""

import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from api.answers import as_json
from api.problems import problem_body
from ledger.domain.rejection import Hint, Rejection
from ledger.ports import Fault
from numbering.exits import FAULT, REJECTED, USAGE_ERROR

__all__ = [
    "Answer",
    "LongTable",
    "Unreadable",
    "fail",
    "is_terminal",
    "mark",
    "marked",
    "note",
    "problem",
    "progress",
    "say_facts",
    "say_json",
    "say_line",
    "say_table",
    "told",
    "visible",
]

Answer = dict[str, Any]

_GAP = "  "
_MARKS = "numbering.marks"

# What the API's clients are told is for programs that speak HTTP.
_IN_OUR_WORDS = {
    Hint.DEFINE_SERIES: "define it with `numbering series apply FILE.toml`",
    Hint.SEND_AGAIN_WITH_KEY: "run it again with the same --idempotency-key, if it had one",
    Hint.SEE_LOG: "the lines before this one have the cause",
    Hint.ACCEPT_RUNNING_PERIOD: "if this is meant, run it again with --accept running_period",
    Hint.ACCEPT_FAR_PERIOD: "if this is meant, run it again with --accept far_period",
    Hint.RAISE_MAX_SKIPPED: "if this is meant, run it again with a --max-skipped of at least so many",
}


class Unreadable(Rejection):
    """An input that cannot be read at all, so that no rule was asked: wrong usage."""


# Answers


def mark(line: str, fields: Answer) -> None:
    """Have something said with the answer of the command that runs: before its first line, or first in its JSON."""
    click.get_current_context().meta.setdefault(_MARKS, []).append((line, fields))


def marked(answer: Answer) -> Answer:
    """Give an answer with the fields that it is marked with."""
    return {name: value for _, fields in _marks() for name, value in fields.items()} | answer


def _say_marks() -> None:
    for line, _ in _marks():
        click.echo(_encodable(line))
    _marks().clear()


def _marks() -> list[tuple[str, Answer]]:
    context = click.get_current_context(silent=True)
    found: list[tuple[str, Answer]] = context.meta.setdefault(_MARKS, []) if context else []
    return found


def say_json(answer: object) -> None:
    click.echo(as_json(marked(answer) if isinstance(answer, dict) else answer), nl=False)


def say_line(text: str) -> None:
    _say_marks()
    click.echo(_encodable(text))


def say_facts(facts: Mapping[str, object]) -> None:
    """Name and value of each fact, below one another; what has no value is left out."""
    written = [(_title(name), _cell(value)) for name, value in facts.items()]
    _say(("", ""), [fact for fact in written if fact[1]])


def say_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Container[str] = ()) -> None:
    """A table with a heading; the columns named in `right` are aligned there. None is blank."""
    _say(columns, list(rows), right)


class LongTable:
    """A table of more rows than memory may hold, said some at a time: columns are as wide as the first rows need."""

    def __init__(self, columns: Sequence[str], *, right: Container[str] = ()) -> None:
        self._columns = columns
        self._right = [column in right for column in columns]
        self._widths: list[int] = []

    @property
    def is_empty(self) -> bool:
        return not self._widths

    def say(self, rows: Iterable[Sequence[object]]) -> None:
        _say_marks()
        lines = [list(map(_cell, row)) for row in rows]
        if not self._widths:
            lines.insert(0, list(self._columns))
            self._widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
        click.echo(_encodable(_lines(lines, self._widths, self._right)), nl=False)


def _say(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Container[str] = ()) -> None:
    _say_marks()
    written = (_drawn if sys.stdout.isatty() else _plain)(columns, rows, [column in right for column in columns])
    click.echo(_encodable(written), nl=False)


def _drawn(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[bool]) -> str:
    table = Table(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), show_header=any(columns))
    for column, is_right in zip(columns, right, strict=True):
        table.add_column(column, justify="right" if is_right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console(highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def _plain(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[bool]) -> str:
    lines = [list(map(_cell, row)) for row in ([columns] if any(columns) else []) + [*rows]]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    return _lines(lines, widths, right)


def _lines(lines: Iterable[Sequence[str]], widths: Sequence[int], right: Sequence[bool]) -> str:
    return "".join(_GAP.join(map(_padded, line, widths, right)).rstrip() + "\n" for line in lines)


def _title(name: str) -> str:
    """Write a field's name for people; that of a state stays as it is."""
    return name if name.isupper() else name.replace("_", " ")


def _padded(cell: str, width: int, is_right: bool) -> str:
    blank = " " * (width - cell_len(cell))
    return blank + cell if is_right else cell + blank


def _cell(value: object) -> str:
    """Write what JSON may hold; a range of values as `first-last`."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return " ".join(map(_cell, value))
        case {"first": first, "last": last}:
            return str(first) if first == last else f"{first}-{last}"
        case dict():
            return " ".join(f"{name}={_cell(each)}" for name, each in value.items())
    return str(value)


def _encodable(text: str) -> str:
    """Escape what the terminal's encoding lacks: an answer must not be lost when its number is already used."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how much is done, and of how much."""
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


# Errors


@contextmanager
def told(*, json: bool) -> Iterator[None]:
    """End the process with one line, or one object, for a Rejection or a Fault."""
    try:
        yield
    except (Rejection, Fault) as error:
        fail(error, json=json)


def fail(error: Rejection | Fault, *, json: bool = False) -> NoReturn:
    if json:
        say_json(problem(error))
    else:
        note(f"{error.code.number} {error.code.name}: {_detail(error)}")
    raise SystemExit(_exit_code(error))


def note(text: str) -> None:
    """One line for people, beside the answer."""
    click.echo(f"numbering: {_encodable(visible(text))}", err=True)


def is_terminal() -> bool:
    """Say whether somebody reads what is noted, and can answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def visible(text: str) -> str:
    """Write out what does not print, so that a foreign text cannot play with the terminal."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def _exit_code(error: Rejection | Fault) -> int:
    if isinstance(error, Unreadable):
        return USAGE_ERROR
    return REJECTED if isinstance(error, Rejection) else FAULT


def problem(error: Rejection | Fault) -> dict[str, Any]:
    """The problem document of HTTP, but for the status, which only HTTP has."""
    told = problem_body(error.code, _detail(error), getattr(error, "errors", ())) | getattr(error, "members", {})
    del told["status"]
    return told


def _detail(error: Rejection | Fault) -> str:
    return error.told(_IN_OUR_WORDS.__getitem__)
