"""Acts that cannot be undone, on the command line: a terminal is asked, and anything else is told what to add."""

import os
import pty
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from numbering.cli import session
from tests.numbering.command import asked, ran, rejection, said
from tests.numbering.process import NUMBERING, without_settings

SERIES = """\
[series.PO]
template = "PO-{YYYY}-{SEQ:6}"
reset = "yearly"

[series.FA]
template = "FA-{SEQ:6}"
"""
WHY = ("--reason", "asked for by the auditor")
ASSIGN = ("assign", "FA-999998", "--document", "D", *WHY)
# Each act beyond its bound, with the option that lets it pass, and where it shows.
ACTS: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (("close", "FA:-"), ("--accept", "running_period")),
    (("retire", "PO"), ("--accept", "running_period")),
    (("open", "PO", "2091"), ("--accept", "far_period")),
    (("reset", "PO:2025", "--period", "2091"), ("--accept", "far_period")),
    (("adjust", "FA:-", "--next", "2000", *WHY), ("--max-skipped", "1998")),
    (ASSIGN, ("--max-skipped", "999996")),
    (("import", "register.csv", "--series", "FA"), ("--max-skipped", "88886")),
]


@pytest.fixture(autouse=True)
def orders(empty: Path) -> Path:
    Path("orders.toml").write_text(SERIES, encoding="utf-8")
    Path("register.csv").write_text("document_number\nFA-088888\n", encoding="utf-8")
    said("series", "apply", "orders.toml")
    said("issue", "FA", "--document", "D")
    return empty


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "is_terminal", lambda: True)


def position() -> Any:
    return asked("series", "list")["position"]


@pytest.mark.parametrize(("words", "option"), ACTS, ids=[words[0] for words, _ in ACTS])
def test_without_a_terminal_the_refusal_says_what_to_add(words: tuple[str, ...], option: tuple[str, ...]) -> None:
    before = position()
    assert option[0] in rejection(*words)
    tried = ran(*words, "--dry-run")
    assert tried.exit_code == 1
    assert f"add {' '.join(option)}" in tried.output
    assert "nothing was written" in tried.output
    assert ran(*words, *option, "--dry-run").exit_code == 0
    assert position() == before
    said(*words, *option)
    assert position() > before


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(("words", "option"), ACTS, ids=[words[0] for words, _ in ACTS])
def test_a_terminal_is_asked(words: tuple[str, ...], option: tuple[str, ...]) -> None:
    before = position()
    keyed = (*words, "--idempotency-key", "K")
    for typed in ("n\n", "\n", ""):
        refused = ran(*keyed, typed=typed)
        assert refused.exit_code == 1, refused.output
        assert "Carry it out?" in refused.stderr
    assert position() == before
    done = ran(*keyed, typed="y\n")
    assert done.exit_code == 0, done.output
    after = position()
    assert after > before
    again = ran(*keyed, typed="")  # a repetition is answered before anything is judged or asked
    assert again.exit_code == 0, again.output
    assert "Carry it out?" not in again.stderr
    assert "the same answer as the first time" in again.stderr
    assert position() == after


@pytest.mark.usefixtures("terminal")
def test_an_upper_bound_that_is_given_is_not_asked_about() -> None:
    for words, option in ACTS[-3:]:
        told = ran(*words, option[0], str(int(option[1]) - 1), typed="y\n")
        assert told.exit_code == 1
        assert "NB071 TOO_MANY_SKIPPED" in told.stderr
        assert "Carry it out?" not in told.stderr


@pytest.mark.usefixtures("terminal")
def test_json_is_never_asked_about() -> None:
    told = asked("close", "FA:-", exit_code=1)
    assert told["needs"] == {"accept": ["running_period"]}


def test_a_dry_run_shows_the_effect_in_numbers() -> None:
    """The number was meant as 000002."""
    told = [" ".join(line.split()) for line in ran(*ASSIGN, "--dry-run").output.splitlines()]
    assert "skipped 999996" in told
    assert "percent of left 100.0" in told
    assert "FA:- no 1 999998 999998 1 999996 2-999997" in told
    assert any(line.startswith("Afterwards: 999996 skipped values") for line in told)
    assert told[-1] == "numbering: a dry run, nothing was written; to carry it out, add --max-skipped 999996"


def test_the_effect_of_an_amendment_is_told_before() -> None:
    Path("orders.toml").write_text('[series.FA]\ntemplate = "FB-{SEQ:6}"\nmax_value = 50\n', encoding="utf-8")
    before = position()
    told = [" ".join(line.split()) for line in said("series", "apply", "orders.toml", "--dry-run").splitlines()]
    assert "FA 1 2 999999 50 no 0" in told
    assert "left before 999998" in told
    assert "left after 49" in told
    assert position() == before


def test_what_was_closed_or_retired_by_mistake_goes_on() -> None:
    assert rejection("reopen", "PO:2025", *WHY).startswith("NB044 SEQUENCE_NOT_FOUND")
    said("close", "PO:2025")
    assert "closed yes" in [" ".join(line.split()) for line in said("sequence", "PO:2025").splitlines()]
    said("reopen", "PO:2025", *WHY)
    said("issue", "PO", "--date", "2025-05-01", "--document", "D")
    said("close", "PO:2025")
    assert "had passed 1 values" in rejection("reopen", "PO:2025", *WHY)
    said("retire", "PO", "--accept", "running_period")
    assert "retired" in said("series", "list")
    said("reopen", "PO", *WHY)
    assert "retired" not in said("series", "list")


def test_a_real_terminal_is_asked(orders: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [NUMBERING, "close", "FA:-"], cwd=orders, env=without_settings(), stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        said_so_far = b""
        while b"Carry it out?" not in said_so_far:
            said_so_far += os.read(ours, 4096)
        os.write(ours, b"y\n")
        with suppress(OSError):  # a terminal whose last writer has gone ends so
            while more := os.read(ours, 4096):
                said_so_far += more
        assert process.wait(30) == 0
    finally:
        os.close(ours)
    assert b"999998 values that are left in it could not be issued any more" in said_so_far
    assert "closed yes" in [" ".join(line.split()) for line in said("sequence", "FA:-").splitlines()]
