import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from numbering.cli import main
from numbering.settings import Settings


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty directory and an environment without settings."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"NUMBERING_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(*words: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, words, prog_name="numbering")
    assert result.exit_code == exit_code, result.output
    return result.output


# Help


def test_help_names_every_command() -> None:
    helped = said("--help")
    assert all(f"\n  {name} " in helped for name in main.commands)
    assert "NUMBERING_" in helped


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_says_what_it_does(command: str) -> None:
    assert said(command, "--help") == said(command, "-h")
    assert main.commands[command].help


def test_the_help_of_serve_names_every_setting_with_its_default() -> None:
    helped = " ".join(said("serve", "--help").split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')} " in helped
        assert f"[NUMBERING_{name.upper()}; default: {field.default or 'empty'}]" in helped.replace("- ", "-")
    assert "--allow-unsafe" in helped


def test_the_help_of_migrate_names_its_setting() -> None:
    helped = " ".join(said("migrate", "--help").split())
    assert "--database-url" in helped
    assert "default: sqlite+aiosqlite:///numbering.db" in helped


def test_the_version() -> None:
    assert said("--version").startswith("numbering, version ")


@pytest.mark.parametrize(
    "words", [["nonsense"], ["serve", "--nonsense"], ["serve", "more"], ["serve", "--port"], ["migrate", "--port", "1"]]
)
def test_what_is_not_understood_is_wrong_usage(words: list[str]) -> None:
    assert "Error: " in said(*words, exit_code=2)


# migrate


def test_migrate_makes_the_tables_once(tmp_path: Path) -> None:
    assert said("migrate") == "migrated\n"
    made = (tmp_path / "numbering.db").read_bytes()
    assert said("migrate") == "already up to date\n"
    assert (tmp_path / "numbering.db").read_bytes() == made


def test_migrate_takes_its_database_from_the_option_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBERING_DATABASE_URL", "sqlite+aiosqlite:///one.db")
    said("migrate")
    said("migrate", "--database-url", "sqlite+aiosqlite:///two.db")
    assert {file.name for file in tmp_path.iterdir()} == {"one.db", "two.db"}


# A database that cannot be used: one line, exit code 3


def garbage(directory: Path) -> str:
    (directory / "garbage.db").write_bytes(b"This is no database.\n" * 100)
    return "sqlite+aiosqlite:///garbage.db"


def missing_directory(_: Path) -> str:
    return "sqlite+aiosqlite:///no/such/directory/ledger.db"


def directory_itself(directory: Path) -> str:
    return f"sqlite+aiosqlite:///{directory}"


UNUSABLE = [
    (garbage, "is no SQLite database"),
    (missing_directory, "does not exist"),
    (directory_itself, "is not a file"),
]


def is_one_fault(status: int, stdout: str, stderr: str, told: str) -> None:
    assert (status, stdout) == (3, ""), stderr
    (line,) = stderr.splitlines()
    assert line.startswith("numbering: NB018 DATABASE_UNAVAILABLE: ")
    assert told in line
    assert "check the database URL" in line


@pytest.mark.parametrize(("database", "told"), UNUSABLE)
def test_migrate_refuses_a_database_that_cannot_be_used(
    tmp_path: Path, database: Callable[[Path], str], told: str
) -> None:
    result = CliRunner().invoke(main, ["migrate", "--database-url", database(tmp_path)])
    is_one_fault(result.exit_code, result.stdout, result.stderr, told)
    assert {file.name for file in tmp_path.iterdir()} <= {"garbage.db"}


@pytest.mark.parametrize(("database", "told"), UNUSABLE)
def test_serve_refuses_a_database_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Callable[[Path], str], told: str
) -> None:
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)  # this process is pytest's
    result = CliRunner().invoke(main, ["serve", "--port", "0", "--database-url", database(tmp_path)])
    is_one_fault(result.exit_code, result.stdout, result.stderr, told)
    assert {file.name for file in tmp_path.iterdir()} <= {"garbage.db"}
