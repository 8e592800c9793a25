import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ledger.domain.rejection import Code
from ledger.ports import Fault
from ledger.queries import Queries
from ledger.service import Ledger
from numbering.cli import session
from numbering.settings import load
from tests.numbering.command import LETTER_KEY, asked, fault, said
from tests.numbering.process import run
from tests.servers import HOST, free_port

READ = ("series", "list")
WRITE = ("issue", "RFA", "-k", "TYPE=RPT", "--document", "D")


@pytest.mark.parametrize("words", [READ, WRITE], ids=" ".join)
def test_a_missing_file_is_not_made(elsewhere: Path, words: tuple[str, ...]) -> None:
    line = fault(*words)
    assert line.startswith("NB021 DATABASE_NOT_MIGRATED: ")
    assert line.endswith("numbering.db does not exist: run `numbering migrate`")
    assert list(elsewhere.iterdir()) == []


def test_a_fault_as_json_is_a_problem(elsewhere: Path) -> None:
    problem = asked(*READ, exit_code=3)
    assert (problem["code"], problem["title"], problem["retry"]) == ("NB021", "DATABASE_NOT_MIGRATED", True)


def test_a_file_without_tables_is_not_migrated(elsewhere: Path) -> None:
    with closing(sqlite3.connect(elsewhere / "numbering.db")) as made:
        made.execute("CREATE TABLE other (x)")
    assert fault(*READ).startswith(
        "NB021 DATABASE_NOT_MIGRATED: a table of the ledger is missing: run `numbering migrate`"
    )


def test_the_ledger_is_the_one_that_the_option_names(letters: Path) -> None:
    (letters / "numbering.db").rename(letters / "other.db")
    assert len(asked(*READ, "--database-url", "sqlite+aiosqlite:///other.db")["series"]) == 2


def test_a_database_that_is_away_is_not_waited_for_longer_than_a_lock(tmp_path: Path) -> None:
    url = f"mariadb+asyncmy://user:password@{HOST}:{free_port()}/ledger"
    ended = run(*READ, "--database-url", url, cwd=tmp_path, lock_timeout="2000")
    assert (ended.returncode, ended.stdout) == (3, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("numbering: NB018 DATABASE_UNAVAILABLE: ")
    assert "password" not in line


@pytest.mark.parametrize(
    ("error", "exit_code", "told"),
    [
        (Fault(Code.LOCK_TIMEOUT, "too late"), 3, "numbering: NB003 LOCK_TIMEOUT: too late\n"),
        (asyncio.CancelledError(), 130, "numbering: interrupted\n"),
    ],
)
def test_a_database_that_hangs_is_left_with_the_same_words(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    exit_code: int,
    told: str,
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    session.Session(load({}, {}), json=False)._abandon(error)
    assert ended == [exit_code]
    assert capsys.readouterr().err == told


# A log that takes longer to read than a command may wait


class Slow:
    """A ledger whose log gives some more events each time that it is asked for all."""

    def __init__(self, *positions: int) -> None:
        self._positions = list(positions)
        self.position = 0
        self.writer = self

    async def fresh(self) -> None:
        self.position = self._positions.pop(0)
        if self._positions:
            raise Fault(Code.DATABASE_UNAVAILABLE, "the service is still reading the log")


def catch_up(slow: Slow) -> None:
    asyncio.run(session._catch_up(slow))  # type: ignore[arg-type]


def test_a_long_log_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PROGRESS_SECONDS", 0)
    slow = Slow(1000, 2000, 3000, 3500)
    catch_up(slow)
    assert slow.position == 3500


def test_a_log_that_gives_no_more_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PROGRESS_SECONDS", 0)
    with pytest.raises(Fault, match="still reading the log"):
        catch_up(Slow(1000, 1000, 2000))
    with pytest.raises(Fault, match="still reading the log"):
        catch_up(Slow(0, 1000))


def test_an_interrupted_write_is_not_said_to_be_undone(letters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Ledger, "execute", interrupted)
    assert said(*WRITE, exit_code=130) == "numbering: interrupted: the command may or may not have been carried out\n"


def test_an_interrupted_look_is_only_interrupted(letters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Queries, "preview", interrupted)
    assert said("preview", "LETTER", *LETTER_KEY, exit_code=130) == "numbering: interrupted\n"


def test_settings_reach_the_ledger(elsewhere: Path) -> None:
    settings = load({"database_url": "sqlite+aiosqlite:///no/such.db"}, {})
    with pytest.raises(Fault) as found:
        session.Session(settings, json=False).read(lambda ledger: ledger.all_series())
    assert found.value.code is Code.DATABASE_UNAVAILABLE
