"""`numbering restore`, as an operator meets it: what it would cost, and whether it asks."""

import asyncio
import os
import pty
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from ledger.domain.commands import Cancel, Decidable, DefineSeries, Issue, RaiseFormat, Reserve
from ledger.domain.series import Reuse
from ledger.ports import Record
from numbering.cli import main
from tests.given import series
from tests.invariants import read_log
from tests.numbering.command import asked, ran, rejection, said
from tests.numbering.process import NUMBERING, without_settings
from tests.replay.places import archived
from tests.replay.restoring import decided, fresh, opened, url_of

BOOK = series("B-{SEQ:4}", "BOOK", reuse=Reuse.GAPLESS)
BUSY = series("X-{SEQ:6}", "BUSY")
SMALL = series("S-{SEQ:1}", "SMALL", reuse=Reuse.GAPLESS)
# Two numbers of a gapless series, one that is reserved, and a burst of another series.
COMMANDS: list[Decidable] = [
    DefineSeries((BOOK, BUSY, SMALL)),
    Issue(Reserve("BOOK", "b", count=2), "D"),
    Reserve("BUSY", "burst", count=50),
    Reserve("SMALL", "held"),
]
RECORDS = decided(RaiseFormat(3, "by the test"), *COMMANDS)
FROM_BEFORE = decided(*COMMANDS)


def archive_of(records: Sequence[Record], directory: Path) -> str:
    asyncio.run(archived(records, directory))
    return str(directory)


@pytest.fixture
def archive(tmp_path: Path) -> str:
    return archive_of(RECORDS, tmp_path / "archive")


def test_a_dry_run_tells_what_each_sequence_would_skip_and_why(archive: str) -> None:
    told = asked("restore", "--from", archive, "--dry-run")
    assert (told["dry_run"], told["fence"], told["restored"], told["skipped"]) == (True, True, len(RECORDS), 1_000)
    margin = told["margin"]
    assert (margin["values"], margin["sequence"], margin["issued"], margin["given"]) == (500, "BUSY:-", 50, False)
    assert margin["window_seconds"] > 0
    assert [
        (each["sequence"], each["from"], each["to"], each["count"], each["left"]) for each in told["sequences"]
    ] == [
        ("BOOK:-", 3, 502, 500, 9_497),
        ("BUSY:-", 51, 550, 500, 999_449),
    ]
    assert told["sequences"][0]["numbers"] == ["B-0003", "B-0502"]
    assert told["reservations"] == [
        {"token": "burst", "sequence": "BUSY:-", "count": 50, "values": [{"first": 1, "last": 50}]},
        {"token": "held", "sequence": "SMALL:-", "count": 1, "values": [{"first": 1, "last": 1}]},
    ]
    assert told["closed"] == [{"sequence": "SMALL:-", "high_water": 1}]


def test_a_dry_run_says_the_same_to_people(archive: str) -> None:
    text = said("restore", "--from", archive, "--dry-run")
    assert "500: 10 times the most of any sequence: BUSY:- issued 50 at most within" in text
    assert "nothing was written" in text
    assert "burst" in text


def test_a_dry_run_touches_no_target(tmp_path: Path, archive: str) -> None:
    before = {path: path.read_bytes() for path in Path(archive).iterdir()}
    said("restore", "--from", archive, "--dry-run", "--into", url_of(tmp_path / "new.db"))
    assert not (tmp_path / "new.db").exists()
    assert {path: path.read_bytes() for path in Path(archive).iterdir()} == before
    assert ran("restore", "--from", archive).exit_code == 2


@pytest.mark.parametrize(
    "words", [(), ("--margin", "7"), ("--margin", "BOOK=0", "--margin", "BUSY=3", "--margin", "9")]
)
def test_what_is_foretold_is_what_happens(tmp_path: Path, archive: str, words: tuple[str, ...]) -> None:
    told = asked("restore", "--from", archive, "--dry-run", *words)
    target = url_of(fresh(tmp_path))
    if not words:  # the window grows with the time that passes
        words = ("--margin", str(told["margin"]["values"]))
    done = asked("restore", "--from", archive, "--into", target, *words)
    assert done["closed"] == [each["sequence"] for each in told["closed"]]
    assert done["margin"] == told["margin"]["values"]
    for each in told["sequences"]:
        high_water = asked("sequence", each["sequence"], "--database-url", target)["high_water"]
        assert high_water == (each["to"] or high_water)
    assert asked("verify", target)["whole"]


def test_a_series_skips_what_was_said_of_it(tmp_path: Path, archive: str) -> None:
    target = url_of(fresh(tmp_path))
    done = asked("restore", "--from", archive, "--into", target, "--margin", "BOOK=0", "--margin", "SMALL=2")
    assert (done["margin"], done["margins"], done["closed"]) == (500, {"BOOK": 0, "SMALL": 2}, [])
    assert asked("sequence", "BOOK:-", "--database-url", target)["high_water"] == 2
    assert asked("sequence", "SMALL:-", "--database-url", target)["high_water"] == 3
    number = asked("issue", "BOOK", "--document", "D", "--database-url", target)["numbers"][0]["number"]
    assert number == "B-0003"


@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        (("--margin", "0"), 2, "no fence at all"),
        (("--margin", "BOOK"), 2, "neither a number nor"),
        (("--margin", "=3"), 2, "neither a number nor"),
        (("--margin", "BOOK=-1"), 2, "neither a number nor"),
        (("--margin", "BOOK=1", "--margin", "BOOK=2"), 2, "twice for BOOK"),
        (("--margin", "1", "--margin", "2"), 2, "twice for all series"),
        (("--margin", "BOK=0"), 1, "margin of BOK is of no series of the restored log"),
        (("--margin", "BOOK=100000001"), 1, "margin of BOOK must be 0 to"),
    ],
)
def test_margins_that_nobody_can_mean(
    tmp_path: Path, archive: str, words: tuple[str, ...], exit_code: int, says: str
) -> None:
    """A refused restore goes on where it was when it is asked for rightly."""
    target = url_of(fresh(tmp_path))
    for place in (("--dry-run",), ("--into", target)):
        result = ran("restore", "--from", archive, *words, *place)
        assert (result.exit_code, says in result.output) == (exit_code, True), result.output
    assert asked("restore", "--from", archive, "--into", target, "--margin", "BOOK=1")["margins"] == {"BOOK": 1}


def test_a_ledger_of_before_is_restored_without_margins_of_series(tmp_path: Path) -> None:
    archive, target = archive_of(FROM_BEFORE, tmp_path / "before"), url_of(fresh(tmp_path))
    refused = rejection("restore", "--from", archive, "--into", target, "--margin", "BOOK=0")
    assert refused.startswith("NB067 FORMAT_NOT_RAISED")
    assert asked("restore", "--from", archive, "--into", target, "--margin", "6")["margin"] == 6


# Asked on a terminal


def test_on_a_terminal_gapless_sequences_are_asked_about(tmp_path: Path, archive: str) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"n\n")
        done = subprocess.run(
            [NUMBERING, "restore", "--from", archive, "--into", url_of(fresh(tmp_path))],
            cwd=tmp_path, env=without_settings(), stdin=theirs, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, "run it again with --margin SERIES=N" in done.stderr) == (1, True), done
    assert "BOOK:- skips 500 values, 3 to 502, B-0003 to B-0502; 9497 are left" in done.stderr
    assert "SMALL:- is closed behind 1" in done.stderr
    assert "RestoreFenced" not in asyncio.run(kinds(tmp_path))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numbering.cli.restore.is_terminal", lambda: True)


@pytest.mark.usefixtures("terminal")
def test_only_what_would_be_lost_by_a_computed_margin_is_asked_about(tmp_path: Path, archive: str) -> None:
    words = ("restore", "--from", archive, "--into", url_of(fresh(tmp_path)), "--margin", "SMALL=1")
    result = CliRunner().invoke(main, words, input="n\n")
    assert (result.exit_code, "SMALL:-" in result.output, "BOOK:- skips" in result.output) == (1, False, True)
    result = CliRunner().invoke(main, words, input="y\n")
    assert result.exit_code == 0
    assert "RestoreFenced" in asyncio.run(kinds(tmp_path))


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    "words", [("--yes",), ("--json",), ("--margin", "3"), ("--margin", "BOOK=3", "--margin", "SMALL=1")]
)
def test_who_has_said_so_is_not_asked(tmp_path: Path, archive: str, words: tuple[str, ...]) -> None:
    target = url_of(fresh(tmp_path))
    result = CliRunner().invoke(main, ("restore", "--from", archive, "--into", target, *words), input="n\n")
    assert (result.exit_code, "Shall these" in result.output) == (0, False), result.output


def test_a_script_is_told_and_goes_on(tmp_path: Path, archive: str) -> None:
    text = said("restore", "--from", archive, "--into", url_of(fresh(tmp_path)))
    assert "BOOK:- skips 500 values, 3 to 502" in text
    assert "BUSY" not in text


def test_what_costs_no_gapless_sequence_anything_is_not_asked(tmp_path: Path) -> None:
    records = decided(DefineSeries((BOOK, BUSY)), Issue(Reserve("BUSY", "T"), "D"), Reserve("BUSY", "U"), Cancel("U"))
    text = said("restore", "--from", archive_of(records, tmp_path / "a"), "--into", url_of(fresh(tmp_path)))
    assert "gapless" not in text


async def kinds(directory: Path) -> list[str]:
    async with opened(directory / "target.db") as (store,):
        return [record.type for record in (await read_log(store))[0]]
