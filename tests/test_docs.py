"""What the documents say is true: they are read, and their sessions run.

A session takes long because it begins a service and as many programs as it shows commands; that of docs/cli.md loads
the installed program for each.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.problems import STATUSES, table
from api.schemas import SeriesBody, parse
from ledger.domain import lifecycle
from ledger.domain.proof import prove
from ledger.domain.rejection import Code
from ledger.domain.series import Series
from numbering.cli.definitions import read_definitions
from numbering.settings import Settings
from tests.forked import program
from tests.numbering.process import NUMBERING, Service

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = [
    README,
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
OF_COMMANDS = ROOT / "docs" / "cli.md"
FIRST_SCREEN_LINES = 25
COMMAND_TIMEOUT_SECONDS = 60

# What differs from one run to the next.
MASKS = [
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<ledger id>"),
    (r"\b[0-9a-f]{64}\b", "<hash>"),
    (r"\b[0-9a-f]{32}\b", "<token>"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<instant>"),
]
SERVED_AT = re.compile(r"\b(localhost|127\.0\.0\.1):8080\b")


def mask(text: str) -> str:
    for pattern, name in MASKS:
        text = re.sub(pattern, name, text)
    return text.rstrip()


@dataclass
class Step:
    """A command of a session, as it stands behind its `$ `, and the output that the document promises."""

    command: str
    output: str

    def starts_a_server(self) -> bool:
        return re.match(r"(\S*/)?(serve|numbering serve)\b", self.command) is not None


def sessions(document: Path) -> Iterator[list[Step]]:
    """Find every block marked `console`; lines that begin with `> ` carry a command on."""
    for block in re.findall(r"^```console\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        steps = []
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.splitlines()
            while lines and lines[0].startswith("> "):
                command += "\n" + lines.pop(0).removeprefix("> ")
            steps.append(Step(command, "\n".join(lines)))
        yield steps


class Shell:
    """One bash in one directory: what a command sets, the next one sees. `program` is the `numbering` that it runs."""

    def __init__(self, directory: Path, program: Path) -> None:
        # Never the user's own settings, which could change what the programs print.
        environment = {
            "PATH": f"{program.parent}:{NUMBERING.parent}:{os.environ['PATH']}",
            "HOME": str(directory),
            "LC_ALL": "C.UTF-8",
        }
        (directory / "examples").symlink_to(ROOT / "examples")
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> str:
        """Give all that a command writes."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        end = "<end of the command>"
        self._bash.stdin.write(f"{command}\nprintf '\\n%s\\n' '{end}'\n")
        self._bash.stdin.flush()
        lines: list[str] = []
        for line in self._bash.stdout:
            if line.rstrip("\n") == end:
                return "".join(lines).rstrip("\n")
            lines.append(line)
        raise AssertionError(f"bash ended in: {command}")

    def close(self) -> None:
        self._bash.communicate(timeout=COMMAND_TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The program for all sessions but one: to load it takes longer than most commands."""
    with program(tmp_path_factory.mktemp("program")) as made:
        yield made


@pytest.fixture
def shell(tmp_path: Path, forked: Path) -> Iterator[Shell]:
    with closing(Shell(tmp_path, forked)) as made:
        yield made


# Sessions


def test_the_readme_shows_a_session() -> None:
    steps = [step for session in sessions(README) for step in session]
    assert sum(step.command.startswith("curl") for step in steps) >= 2


@pytest.mark.parametrize(
    "document", [each for each in DOCUMENTS if each != OF_COMMANDS and any(sessions(each))], ids=lambda each: each.name
)
def test_a_session_does_what_it_shows(document: Path, shell: Shell) -> None:
    follow(document, shell)


def test_a_session_with_the_installed_program_does_what_it_shows(tmp_path: Path) -> None:
    with closing(Shell(tmp_path, NUMBERING)) as shell:
        follow(OF_COMMANDS, shell)


def follow(document: Path, shell: Shell) -> None:
    """Run every session of a document, in one directory."""
    with Service() as service:
        for session in sessions(document):
            for step in session:
                if step.starts_a_server():
                    continue
                found = shell.run(SERVED_AT.sub(f"127.0.0.1:{service.port}", step.command))
                expected = SERVED_AT.sub(f"127.0.0.1:{service.port}", step.output)
                assert mask(found) == mask(expected), step.command


def test_a_session_that_lies_is_found(tmp_path: Path, shell: Shell) -> None:
    document = tmp_path / "README.md"
    document.write_text(
        "```console\n$ X=$(printf '%032d' 7); echo $X\n0123456789abcdef0123456789abcdef\n$ echo a \\\n> b\na c\n```\n"
    )
    (session,) = sessions(document)
    first, second = [mask(shell.run(step.command)) == mask(step.output) for step in session]
    assert (first, second) == (True, False)
    assert shell.run("echo $X") == "0" * 31 + "7"


# Errors


def test_the_list_of_errors_is_the_code_s() -> None:
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == table()


def test_every_code_is_listed_once_with_its_status() -> None:
    listed = re.findall(r"^\| (NB\d{3}) \| (\w+) \| (\d{3}) \|", table(), re.MULTILINE)
    assert listed == [(code.number, code.name, str(STATUSES[code])) for code in Code]
    assert set(STATUSES) == set(Code)
    assert len({code.number for code in Code}) == len(Code)


def test_the_life_of_a_number_is_the_code_s() -> None:
    assert (ROOT / "docs" / "lifecycle.md").read_text(encoding="utf-8") == lifecycle.document()


# The README


def test_the_first_screen_says_how_to_begin() -> None:
    first_screen = "\n".join(README.read_text(encoding="utf-8").splitlines()[:FIRST_SCREEN_LINES])
    assert "scripts/serve" in first_screen
    assert "scripts/test" in first_screen


def test_the_readme_names_every_setting_with_its_default() -> None:
    text = README.read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        assert f"NUMBERING_{name.upper()}" in text
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        assert f"`{default}`" in text or not field.default, name


def test_the_readme_names_no_setting_that_is_none() -> None:
    named = set(re.findall(r"\bNUMBERING_[A-Z_]+", README.read_text(encoding="utf-8")))
    assert named <= {f"NUMBERING_{name.upper()}" for name in Settings.model_fields}


def test_the_readme_s_series_can_be_defined() -> None:
    blocks = re.findall(r"^```json\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    written = [block for block in blocks if '"template"' in block]
    assert written
    for block in written:
        Series.define("EXAMPLE", parse(SeriesBody, block.encode()).definition())


@pytest.mark.parametrize(
    "block",
    [
        block
        for document in DOCUMENTS
        for block in re.findall(r"^```toml\n(.*?)^```", document.read_text(), re.M | re.S)
    ],
    ids=lambda block: block.splitlines()[0],
)
def test_series_that_are_shown_can_be_defined(block: str, tmp_path: Path) -> None:
    file = tmp_path / "shown.toml"
    file.write_text(block, encoding="utf-8")
    shown = read_definitions([file])
    assert shown
    for series in shown:
        prove(series, [other for other in shown if other is not series])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: each.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: each.name)
def test_scripts_that_are_named_exist(document: Path) -> None:
    for name in re.findall(r"\bscripts/[\w-]+", document.read_text(encoding="utf-8")):
        script = ROOT / name
        assert script.exists(), name
        assert os.access(script, os.X_OK) or script.name.startswith("_"), name
