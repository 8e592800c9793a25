"""`numbering projections`: status, rebuild and check, for people and for machines."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.numbering.command import LETTER_KEY, LETTERS, asked, fault, ran, said

pytestmark = pytest.mark.usefixtures("letters")


@pytest.fixture
def letters(empty: Path) -> Path:
    Path("letters.toml").write_text(LETTERS, encoding="utf-8")
    said("series", "apply", "letters.toml")
    said("issue", "LETTER", *LETTER_KEY, "--count", "3", "--document", "D-1")
    return empty


def change(statement: str) -> None:
    (file,) = Path().glob("*.db")
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute(statement).rowcount == 1
        connection.commit()


def test_before_anything_was_built() -> None:
    assert "no projection is live yet" in said("projections", "status")
    assert "rebuild" in said("projections", "check", exit_code=1)


def test_rebuilt_and_checked() -> None:
    assert said("projections", "rebuild") == "rebuilt, up to position 6\n"
    assert said("projections", "check", "--note") == "7 rows agree with the log, at position 6\n"
    (live,) = (slot for slot in asked("projections", "status")["slots"] if slot["live"])
    assert (live["position"], live["behind"], live["checked_position"]) == (6, 0, 6)
    said("reserve", "LETTER", *LETTER_KEY)
    assert asked("projections", "rebuild") == {"rebuilt": True, "position": 7}
    assert asked("projections", "check")["differences"] == []


def test_a_difference_is_a_finding_until_it_is_mended() -> None:
    said("projections", "rebuild")
    change("UPDATE numbers_a SET document = 'D-2' WHERE value = 2")
    found = asked("projections", "check", exit_code=1)
    assert found["differences"] == ["number sequence_at 4, value 2: document is 'D-2', and should be 'D-1'"]
    said("projections", "status")  # nothing was noted
    asked("projections", "check", "--note", exit_code=1)
    assert "document is 'D-2'" in said("projections", "status", exit_code=1)
    said("projections", "rebuild")
    said("projections", "check", "--note")
    said("projections", "status")


def test_a_failed_projection_is_a_finding() -> None:
    said("projections", "rebuild")
    change("UPDATE projections SET failed = 'a bug' WHERE live = 1")
    result = ran("projections", "status")
    assert result.exit_code == 1
    assert "failed: a bug; mend it with `numbering projections rebuild`" in result.stderr


def test_a_first_build_that_failed_is_a_finding() -> None:
    change("UPDATE projections SET failed = 'a bug', version = 1 WHERE slot = 'a'")
    assert asked("projections", "status", exit_code=1)["failed"] == "a bug"
    assert "failed: a bug" in ran("projections", "status").stderr
    said("projections", "rebuild")
    said("projections", "status")


def test_a_ledger_that_is_not_there_is_a_fault() -> None:
    assert fault("projections", "rebuild", "--database-url", "sqlite+aiosqlite:///none.db").startswith("NB021")
