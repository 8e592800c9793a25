"""Options that commands share: those of every command on the ledger, and what numbers are asked for by."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from ledger.domain.acceptance import Acceptance
from numbering.cli.caller import read_settings, settings_options
from numbering.cli.logs import Asked, LogPlace, at_option, beyond_option, from_option, moment
from numbering.cli.output import told
from numbering.cli.session import Session
from numbering.settings import Settings

__all__ = ["accept_option", "dry_run_option", "key_option", "max_skipped_option", "number_options", "on_ledger"]

Function = TypeVar("Function", bound=Callable[..., Any])


def on_ledger(*, writes: bool = False, past: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a `Session` as its first argument, with the options for that; the decorator next to it.

    One that can tell of the `past` takes any source of the log, and a moment. What the ledger refuses inside becomes
    the command's error and exit code.
    """

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(*, database_url: str | None, json: bool, idempotency_key: str | None = None, **given: Any) -> None:
            settings = read_settings({"database_url": database_url})
            with told(json=json):
                asked = _asked(settings, **{name: given.pop(name) for name in PAST}) if past else None
                function(Session(settings, json=json, idempotency_key=idempotency_key, asked=asked), **given)

        shared = click.option("--json", is_flag=True, help="Answer with the JSON of HTTP, errors too.")(command)
        shared = settings_options("database_url")(shared)
        if past:
            shared = from_option(at_option(beyond_option(shared)))
        if writes:
            shared = click.option("--idempotency-key", metavar="KEY", help=_KEY_HELP)(shared)
        return shared

    return wrap


PAST = ("places", "at", "beyond")


def _asked(settings: Settings, *, places: Sequence[str], at: str | None, beyond: bool) -> Asked:
    log = LogPlace(places or [settings.database_url], settings, bool(places))
    return Asked(log, moment(at), beyond)


_KEY_HELP = "With the same key, the same command again has no second effect and gives the first answer."


class _Pair(click.ParamType[tuple[str, str]]):
    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, rest = str(value).partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is not of the form NAME=VALUE.", param, ctx)
        return name, rest


def _named(_: click.Context, param: click.Parameter, pairs: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    names = [name for name, _ in pairs]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise click.BadParameter(f"{repeated!r} is given twice.", param=param)
    return dict(pairs)


dry_run_option = click.option("--dry-run", is_flag=True, help="Tell the effect in numbers, and write nothing.")

max_skipped_option = click.option(
    "--max-skipped", type=int, metavar="N", help="Skip no more values than this; needed for many."
)


def accept_option(acceptance: Acceptance, when: str) -> Callable[[Function], Function]:
    """Let a command say what it accepts. A terminal asks for it instead."""
    return click.option(
        "--accept", multiple=True, type=click.Choice([acceptance.value]), help=f"Needed {when}; a terminal asks."
    )


key_option = click.option(
    "-k", "--key", type=_Pair(), multiple=True, callback=_named, help="A dimension of the sequence."
)


def number_options(function: Function) -> Function:
    """Add what previewing, reserving and issuing share, as `_asked` of `numbers` takes it."""
    options = [
        key_option,
        click.option("--count", type=int, default=1, metavar="N", help="How many numbers, 1 to 10000.  [default: 1]"),
        click.option("--date", metavar="YYYY-MM-DD", help="The document's date.  [default: today in the series' zone]"),
        click.option(
            "-a", "--attribute", type=_Pair(), multiple=True, callback=_named, help="What is printed, but not counted."
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function
