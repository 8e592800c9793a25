"""The command line on MariaDB, where a service runs elsewhere and every command is a process of its own.

Each test begins with a schema of its own, made by commands, and one waits for the shortest time that can be set.
"""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ledger.system import SystemClock
from tests.numbering.command import LETTER_KEY, LETTERS, asked
from tests.numbering.process import run
from tests.servers import Database, MariaDB
from tests.stores import GRANTS

PROCESSES = 4


@pytest.fixture
def database(mariadb: MariaDB, tmp_path: Path) -> Database:
    """A ledger made and filled by commands alone."""
    made = mariadb.new_database()
    assert run("migrate", "--database-url", made.admin_url, cwd=tmp_path).stdout == "migrated\n"
    made.grant_service(GRANTS)
    (tmp_path / "letters.toml").write_text(LETTERS, encoding="utf-8")
    applied = numbering(made, tmp_path, "series", "apply", "letters.toml")
    assert applied.returncode == 0, applied.stderr
    return made


def numbering(database: Database, directory: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return run(*words, cwd=directory, database_url=database.service_url, **settings)


def test_processes_share_one_ledger(database: Database, tmp_path: Path) -> None:
    words = ("reserve", "LETTER", *LETTER_KEY, "--json")
    with ThreadPoolExecutor(PROCESSES) as pool:
        ended = list(pool.map(lambda _: numbering(database, tmp_path, *words), range(PROCESSES)))
    assert [each.stderr for each in ended] == [""] * PROCESSES
    answers = [json.loads(each.stdout) for each in ended]
    assert sorted(each["numbers"][0]["value"] for each in answers) == list(range(1, PROCESSES + 1))
    confirmed = numbering(database, tmp_path, "confirm", answers[0]["token"], "--document", "D")
    assert confirmed.stdout.startswith("number                value  document\nคคง.-สคฉ.3-000")


def test_an_unsafe_server_is_read_and_not_written(database: Database, mariadb: MariaDB, tmp_path: Path) -> None:
    mariadb.execute("SET GLOBAL sync_binlog = 0")
    try:
        ended = numbering(database, tmp_path, "retire", "LETTER")
        assert numbering(database, tmp_path, "series", "list").returncode == 0
    finally:
        mariadb.execute("SET GLOBAL sync_binlog = 1")
    assert (ended.returncode, ended.stdout) == (3, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("numbering: NB022 DATABASE_UNSAFE: ")


def test_a_server_that_hangs_is_left(database: Database, mariadb: MariaDB, tmp_path: Path) -> None:
    with mariadb.paused():
        ended = numbering(database, tmp_path, "series", "list", "--json", lock_timeout="2000")
    assert ended.returncode == 3, ended.stderr
    assert json.loads(ended.stdout)["title"] == "DATABASE_UNAVAILABLE"


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_command_compares_the_clocks_before_it_writes(
    database: Database, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """It has seen the database's clock but once, so it knows no more than that the two must agree."""
    true = SystemClock.now
    words = ("reserve", "LETTER", *LETTER_KEY, "--database-url", database.service_url)
    with monkeypatch.context() as wrong:
        wrong.setattr(SystemClock, "now", lambda *_: true() + seconds * 1_000_000)
        told = asked(*words, exit_code=3)
        assert told["title"] == "CLOCK_UNSURE"
        assert told["clocks"]["database"] != told["clocks"]["process"]
    assert asked(*words)["numbers"][0]["value"] == 1


@pytest.mark.parametrize("seconds", [3600, -3600])
@pytest.mark.parametrize("act", ["close-ledger", "open-ledger", "restore"])
def test_no_act_on_a_whole_ledger_is_dated_by_a_wrong_clock(
    database: Database, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, act: str, seconds: int
) -> None:
    """`open-ledger` and `restore` append their events themselves; `close-ledger` asks the writer, as `upgrade` does."""
    monkeypatch.chdir(tmp_path)
    target, true = database, SystemClock.now
    here = ("--database-url", database.service_url)
    words: tuple[str, ...] = (act, "--reason", "a move", *here)
    match act:
        case "close-ledger":
            words = (*words, "--copy", "./copy")
        case "open-ledger":
            asked("close-ledger", "--copy", "./copy", "--reason", "a move", *here)
        case _:
            asked("archive", "copy", *here)
            target = mariadb.new_database()
            assert run("migrate", "--database-url", target.admin_url, cwd=tmp_path).returncode == 0
            words = (act, "--from", "copy", "--into", target.admin_url, "--margin", "1")

    def fences() -> int:
        where = "stream LIKE '*%' AND stream <> '*format'"
        return int(mariadb.execute(f"SELECT count(*) FROM {target.name}.events WHERE {where}"))

    before = fences()
    with monkeypatch.context() as wrong:
        wrong.setattr(SystemClock, "now", lambda *_: true() + seconds * 1_000_000)
        told = asked(*words, exit_code=3)
        assert told["title"] == "CLOCK_UNSURE"
        assert told["clocks"]["database"] != told["clocks"]["process"]
    assert fences() == before
    asked(*words)
    assert fences() > before


def test_an_empty_ledger_is_restored_and_used(
    mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Into MariaDB and into SQLite; the forecast knows of no time that has passed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "letters.toml").write_text(LETTERS, encoding="utf-8")
    empty, second = (f"sqlite+aiosqlite:///{tmp_path}/{name}.db" for name in ("empty", "second"))
    made = mariadb.new_database()
    for url in (empty, second, made.admin_url):
        assert run("migrate", "--database-url", url, cwd=tmp_path).returncode == 0
    foretold = asked("restore", "--from", empty, "--dry-run")
    assert (foretold["restored"], foretold["until"], foretold["skipped"]) == (0, None, 0)
    assert foretold["margin"]["window_seconds"] is None
    assert "holds no event" in foretold["margin"]["because"]
    for target in (made.admin_url, second):
        asked("restore", "--from", empty, "--into", target)
        asked("series", "apply", "letters.toml", "--database-url", target)
        # Its key may have been used in the lost tail: it skips the margin.
        assert asked("reserve", "LETTER", *LETTER_KEY, "--database-url", target)["numbers"][0]["value"] == 11
        assert asked("verify", target)["whole"]
