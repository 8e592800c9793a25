import errno
import logging
import re
import subprocess
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from numbering.cli import main
from numbering.settings import Settings
from tests.numbering.command import ran, said

pytestmark = pytest.mark.usefixtures("elsewhere")


def commands(group: click.Group, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that name it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *words, name)


COMMANDS = dict(commands(main))


def test_every_command_has_the_name_by_which_it_is_loaded() -> None:
    for words, command in COMMANDS.items():
        assert command.name == words[-1]


# Help


def test_help_names_every_command_in_the_order_of_their_use() -> None:
    helped = said("--help")
    listed = helped.partition("\nCommands:\n")[2].partition("\n\n")[0]
    names = [words[0] for words in COMMANDS if len(words) == 1]
    assert re.findall(r"^  ([a-z-]+)  +[A-Z]", listed, re.MULTILINE) == names
    assert names[:3] == ["serve", "migrate", "series"]
    assert "NUMBERING_" in helped
    assert "Exit codes: " in helped
    assert "..." not in listed  # where click cuts a description


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_says_what_it_does(words: tuple[str, ...]) -> None:
    assert said(*words, "--help") == said(*words, "-h")
    assert COMMANDS[words].help


ON_LEDGER = [words for words, command in COMMANDS.items() if any(one.name == "json" for one in command.params)]


@pytest.mark.parametrize("words", ON_LEDGER, ids=" ".join)
def test_every_command_on_the_ledger_shows_an_example(words: tuple[str, ...]) -> None:
    helped = said(*words, "--help")
    assert re.search(rf"Examples?\b.*\n  +numbering {' '.join(words)} ", helped, re.DOTALL)
    assert "--json" in helped
    assert "NUMBERING_DATABASE_URL" in helped


def test_the_help_of_serve_names_every_setting_with_its_default() -> None:
    helped = " ".join(said("serve", "--help").split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')} " in helped
        assert (
            f"[NUMBERING_{name.upper()}; default: {'empty' if field.default == '' else field.default}]"
            in helped.replace("- ", "-")
        )
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


def test_a_word_that_is_no_unicode_is_wrong_usage() -> None:
    assert "is not valid UTF-8" in said("preview", "A\udcff", exit_code=2)


@pytest.mark.parametrize("words", [("series", "list"), ("migrate",), ("serve",)], ids=" ".join)
def test_a_bad_setting_is_one_line(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.setenv("NUMBERING_LOCK_TIMEOUT", "soon")
    result = ran(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("numbering: NUMBERING_LOCK_TIMEOUT: ")
    assert result.stderr.count("\n") == 1


# completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_gives_the_shell_s_script(shell: str) -> None:
    script = said("completion", shell)
    assert f"_NUMBERING_COMPLETE={shell}_complete" in script
    assert f"numbering completion {shell}" in said("completion", "--help")


def test_the_script_is_one_that_bash_can_read(tmp_path: Path) -> None:
    (tmp_path / "script").write_text(said("completion", "bash"))
    subprocess.run(["bash", "-n", "script"], check=True, timeout=30)


def test_completion_of_another_shell_is_wrong_usage() -> None:
    said("completion", "tcsh", exit_code=2)


# Bugs and interruptions


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Let `migrate` fail with an exception that nothing expects."""

    def fail_with(error: BaseException) -> None:
        async def fails(*_: object, **__: object) -> bool:
            raise error

        monkeypatch.setattr(import_module("numbering.cli.migrate"), "migrate_store", fails)

    return fail_with


def test_a_bug_is_a_traceback_and_a_fault(failing: Callable[[BaseException], None]) -> None:
    failing(RuntimeError("a bug"))
    assert "RuntimeError: a bug" in said("migrate", exit_code=3)


def test_an_interruption_is_no_traceback(failing: Callable[[BaseException], None]) -> None:
    failing(KeyboardInterrupt())
    assert said("migrate", exit_code=130) == ""


def test_nobody_who_reads_on_is_no_bug(failing: Callable[[BaseException], None]) -> None:
    failing(OSError(errno.EPIPE, "Broken pipe"))
    assert said("migrate", exit_code=1) == ""


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
