"""The command line in the tests' own process."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from numbering.cli import main
from numbering.settings import Settings

__all__ = ["LETTERS", "LETTER_KEY", "asked", "elsewhere_in", "fault", "ran", "rejection", "said"]

LETTERS = """\
[series.LETTER]
template = "{FROM}-{TO}-{SEQ:4}-{YEAR:BE}"
reset = "yearly"
timezone = "Asia/Bangkok"
dimensions.FROM.values = ["คคง.", "กทท."]
dimensions.TO.values = ["สคฉ.3"]

[series.RFA]
template = "RFA-{TYPE}-{SEQ:4}-{REV}"
dimensions.TYPE = { chars = "A-Z", min = 3, max = 3 }
attributes.REV = { chars = "A-Z", max = 1, default = "A" }
"""
LETTER_KEY = ("-k", "FROM=คคง.", "-k", "TO=สคฉ.3", "--date", "2025-03-01")


@contextmanager
def elsewhere_in(directory: Path) -> Iterator[None]:
    """Work in a directory, in an environment without settings."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in Settings.model_fields:
            monkeypatch.delenv(f"NUMBERING_{name.upper()}", raising=False)
        monkeypatch.chdir(directory)
        yield


def ran(*words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, words, prog_name="numbering", input=typed)


def said(*words: str, exit_code: int = 0) -> str:
    """All that is written."""
    result = ran(*words)
    assert result.exit_code == exit_code, result.output
    return result.output


def asked(*words: str, exit_code: int = 0) -> dict[str, Any]:
    """The JSON of an answer, or of an error."""
    result = ran(*words, "--json")
    assert result.exit_code == exit_code, result.output
    assert result.stdout.endswith("}\n")
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def rejection(*words: str, exit_code: int = 1) -> str:
    """The one line of an error, without the name of the program."""
    result = ran(*words)
    assert (result.exit_code, result.stdout) == (exit_code, ""), result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("numbering: NB")
    return line.removeprefix("numbering: ")


def fault(*words: str) -> str:
    return rejection(*words, exit_code=3)
