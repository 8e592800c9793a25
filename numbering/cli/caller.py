"""Who runs a command, and with which settings: all that some commands need to begin."""

import getpass
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from ledger.domain.text import flaw_of_text
from numbering.cli.output import note
from numbering.exits import USAGE_ERROR
from numbering.mirror_keys import check_keys
from numbering.settings import PREFIX, BadSettings, Settings, load

__all__ = ["actor", "read_settings", "settings_options"]

MAX_ACTOR_LENGTH = 100

Function = TypeVar("Function", bound=Callable[..., Any])


def settings_options(*names: str) -> Callable[[Function], Function]:
    """Add settings as options: `database_url` becomes `--database-url`, described with its default and variable."""

    def add(function: Function) -> Function:
        for name in reversed(names):
            field = Settings.model_fields[name]
            default = "empty" if field.default == "" else field.default
            described = f"{field.description}  [{PREFIX}{name.upper()}; default: {default}]"
            function = click.option(f"--{name.replace('_', '-')}", name, help=described)(function)
        return function

    return add


def read_settings(options: Mapping[str, Any], *, keys: bool = True) -> Settings:
    """Read the settings, or end the process with one line that says which is wrong.

    Without `keys` the file of the mirror's keys may be unfit, or missing.
    """
    try:
        settings = load(options)
        if keys:
            check_keys(settings)
        return settings
    except BadSettings as error:
        note(str(error))
        raise SystemExit(USAGE_ERROR) from None


def actor() -> str:
    """Name who runs this, as events will have it: `cli:<user>`, or by number where the name is unfit or unknown."""
    try:
        name = f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"cli:{os.getuid()}"
    return f"cli:{os.getuid()}" if flaw_of_text(name, at_most=MAX_ACTOR_LENGTH) else name
