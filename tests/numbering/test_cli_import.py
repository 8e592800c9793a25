"""`numbering import`: what it says, what it writes, and how it ends."""

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.numbering.command import said
from tests.numbering.process import NUMBERING, without_settings

SERIES = """
[series.DRAWING]
template = "D-{SEQ:4}"
[series.DRAWING-3]
template = "D-{SEQ:3}"
max_value = 500
"""
GOOD = "document_number\nD-0003\nD-003\nD-0007\n"
BAD = GOOD + "X-1\nD-501\nD-0003\n"
BOTH = ("--series", "DRAWING", "--series", "DRAWING-3")


@pytest.fixture(autouse=True)
def ledger(elsewhere: Path) -> Path:
    (elsewhere / "series.toml").write_text(SERIES)
    said("migrate")
    said("series", "apply", "series.toml")
    return elsewhere


def register(directory: Path, content: str | bytes, name: str = "register.csv") -> str:
    (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def test_a_register_is_imported_and_counting_goes_on_above_it(ledger: Path) -> None:
    told = said("import", register(ledger, GOOD), *BOTH)
    assert told.splitlines()[-1] == "3 rows: 3 fit, 0 rejected, 3 dates derived; 3 numbers imported at position 5"
    assert json.loads(said("reserve", "DRAWING", "--json"))["numbers"] == [{"number": "D-0008", "value": 8}]
    assert json.loads(said("reserve", "DRAWING-3", "--json"))["numbers"] == [{"number": "D-004", "value": 4}]


def test_bad_rows_are_told_and_nothing_is_written(ledger: Path) -> None:
    file = register(ledger, BAD)
    for words in (("--dry-run",), ()):
        told = said("import", file, *BOTH, *words, exit_code=1)
        assert "   5  X-1     NO_TEMPLATE" in told
        assert "   6  D-501   OUT_OF_RANGE" in told
        assert "   7  D-0003  REPEATED_ROW" in told
        assert "6 rows: 3 fit, 3 rejected" in told
        assert "nothing was written" in told
    assert json.loads(said("series", "list", "--json"))["position"] == 3


def test_bad_rows_are_skipped_when_told(ledger: Path) -> None:
    file = register(ledger, BAD)
    assert "a dry run, nothing was written" in said("import", file, *BOTH, "--skip-bad", "--dry-run")
    assert "3 numbers imported" in said("import", file, *BOTH, "--skip-bad")
    again = said("import", file, *BOTH, exit_code=1)
    assert "DUPLICATE_NUMBER  value 3 of sequence DRAWING:- is held already" in again


@pytest.mark.parametrize(("words", "exit_code"), [(("--dry-run",), 1), ((), 1), (("--skip-bad",), 0)])
def test_json_has_rows_fit_and_rejected(ledger: Path, words: tuple[str, ...], exit_code: int) -> None:
    told = json.loads(said("import", register(ledger, BAD), *BOTH, *words, "--json", exit_code=exit_code))
    assert (told["rows"], told["fit"]) == (6, 3)
    assert [(row["line"], row["number"], row["code"]) for row in told["rejected"]] == [
        (5, "X-1", "NB033"),
        (6, "D-501", "NB036"),
        (7, "D-0003", "NB035"),
    ]


def test_with_a_key_it_is_imported_once(ledger: Path) -> None:
    words = ("import", register(ledger, GOOD), *BOTH, "--idempotency-key", "k", "--json")
    first = said(*words)
    assert "the same answer as the first time" in said(*words)
    assert json.loads(first)["position"] == json.loads(said("series", "list", "--json"))["position"]
    other = register(ledger, "document_number\nD-0009\n", "other.csv")
    assert "IDEMPOTENCY_KEY_REUSED" in said("import", other, *words[2:], exit_code=1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "register.csv: the register is empty"),
        (b"number\nD-0001\n", "has no column document_number: its first line has number"),
        ("document_number\nคคง.\n".encode("cp874"), "is not UTF-8 (line 2"),
        (b"document_number\n\0\0", "is binary"),
    ],
)
def test_a_file_that_cannot_be_read_is_wrong_usage(ledger: Path, content: bytes, told: str) -> None:
    assert told in said("import", register(ledger, content), *BOTH, exit_code=2)


def test_a_file_has_a_size(ledger: Path) -> None:
    file = register(ledger, b"")
    os.truncate(ledger / file, 100 << 20)
    assert "REGISTER_TOO_LARGE: the register is larger than 16 MiB: split it" in said(
        "import", file, *BOTH, exit_code=1
    )


@pytest.mark.parametrize(
    ("words", "exit_code", "told"),
    [
        (("import", "nowhere.csv", *BOTH), 2, "does not exist"),
        (("import", "series.toml"), 2, "Missing option '--series'"),
        (("import", "register.csv", "--series", "NONE"), 1, "CONFIG_NOT_FOUND: no series has the code 'NONE'"),
        (("import", "register.csv", "--series", "DRAWING", "--series", "DRAWING"), 1, "must name each series"),
        (("import", "semicolons.csv", *BOTH, "--column", "No."), 0, "1 numbers imported"),
    ],
)
def test_its_options(ledger: Path, words: tuple[str, ...], exit_code: int, told: str) -> None:
    register(ledger, GOOD)
    register(ledger, "\ufeffTitle;No.\r\nA drawing;D-0001\r\n", "semicolons.csv")
    assert told in said(*words, exit_code=exit_code)


def test_a_bad_row_cannot_play_with_the_terminal(ledger: Path) -> None:
    told = said("import", register(ledger, GOOD + "D-\x1b[2J\n"), *BOTH, exit_code=1)
    assert "D-\\x1b[2J" in told
    assert "\x1b" not in told


def test_a_terminal_sees_how_far_it_is(ledger: Path) -> None:
    # Enough rows for the first line of progress.
    file = register(ledger, "document_number\n" + "".join(f"D-{value:04}\n" for value in range(1, 9000)))
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [NUMBERING, "import", file, *BOTH],
        cwd=ledger,
        env=without_settings() | {"TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    assert done.returncode == 0
    assert b"reading" in os.read(ours, 100_000)
    os.close(ours)
