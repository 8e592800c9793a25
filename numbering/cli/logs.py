"""What the commands of auditors share: the log that they read, wherever it is kept, and up to when."""

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import click

from ledger.domain.calendar import instant_text
from ledger.domain.rejection import Code, Rejection
from numbering.cli.caller import read_settings, settings_options
from numbering.cli.output import Answer, Unreadable, say_line, told
from numbering.settings import Settings
from numbering.sources import opened_sources
from replay.combined import Combined
from replay.moments import END, Moment, moment_of
from replay.sources import Source

__all__ = [
    "SOURCES",
    "TIMES",
    "LogPlace",
    "at_option",
    "beyond_answer",
    "beyond_line",
    "beyond_option",
    "moment",
    "on_log",
    "say_beyond",
]

SOURCES = (
    "\b\nSOURCE is a database URL, the URL of a mirror (redis://…), or the directory of an archive. Several are read "
    "as one:\neach goes on where the one before it ends, and they must agree."
)
TIMES = (
    "\b\nA moment is a position, or a time with its offset from UTC, such as 2026-01-31T17:00:00+07:00; then what "
    "counts is the\nlast event recorded at that time or before. A source does not answer for a time after the last one "
    "up to which it is\nknown to be complete, unless told --beyond."
)


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where the log is kept that a command reads; `is_given` says that this was named, and is no default."""

    places: Sequence[str]
    settings: Settings
    is_given: bool

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Source]:
        async with opened_sources(self.places, self.settings) as sources:
            yield Combined(sources) if len(sources) > 1 else sources[0]


def on_log(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command a `LogPlace` as its first argument, and `as_json`; the decorator next to it.

    What the log refuses inside becomes the command's error and exit code.
    """

    @functools.wraps(function)
    def command(*, database_url: str | None, places: Sequence[str], as_json: bool, **given: Any) -> None:
        settings = read_settings({"database_url": database_url})
        with told(json=as_json):
            function(LogPlace(places or [settings.database_url], settings, bool(places)), as_json=as_json, **given)

    shared = click.option("--json", "as_json", is_flag=True, help="Answer with JSON, errors too.")(command)
    shared = settings_options("database_url")(shared)
    helped = "Where the log is read; may be repeated.  [default: the ledger's database]"
    return click.option("--from", "places", multiple=True, metavar="SOURCE", help=helped)(shared)


at_option = click.option("--at", metavar="MOMENT", help="A position, or a time.  [default: the end of the log]")


beyond_option = click.option(
    "--beyond", is_flag=True, help="Answer for a later moment than the source is known to be complete for, and say so."
)


def beyond_answer(beyond: int | None) -> Answer:
    """Give the first fields of an answer for a moment at which the source may have had more events."""
    return {} if beyond is None else {"beyond": instant_text(beyond)}


def beyond_line(until: str) -> str:
    """Say the same in the first line before a table."""
    return f"BEYOND what is known: the source is complete up to {until}, later events may be missing"


def say_beyond(beyond: int | None) -> None:
    if beyond is not None:
        say_line(beyond_line(instant_text(beyond)))


def moment(text: str | None) -> Moment:
    """Read a moment; one that is ill written is wrong usage."""
    try:
        return END if text is None else moment_of(text)
    except Rejection as rejection:
        raise Unreadable(Code.INVALID_FORMAT, rejection.detail) from None
