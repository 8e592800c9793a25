"""An empty directory, and one with a ledger, for commands that are run in the tests' own process."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from numbering.cli import session
from tests.numbering.command import LETTERS, elsewhere_in, said
from tests.stores import new_sqlite


@pytest.fixture(autouse=True)
def _never_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that closes slowly ends its process; in these tests that would be pytest."""
    monkeypatch.setattr(session, "CLOSE_SECONDS", 3600.0)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """An empty directory and an environment without settings."""
    with elsewhere_in(tmp_path):
        yield tmp_path


@pytest.fixture
def empty(elsewhere: Path) -> Path:
    """A directory with a ledger in which nothing was defined."""
    new_sqlite(elsewhere / "numbering.db")
    return elsewhere


@pytest.fixture(scope="session")
def letters_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `letters` is a copy of."""
    directory = tmp_path_factory.mktemp("letters")
    new_sqlite(directory / "numbering.db")
    (directory / "letters.toml").write_text(LETTERS, encoding="utf-8")
    with elsewhere_in(directory):
        said("series", "apply", "letters.toml")
    return directory


@pytest.fixture
def letters(elsewhere: Path, letters_directory: Path) -> Path:
    """A directory with a ledger of the series LETTER and RFA, which letters.toml defines."""
    return Path(shutil.copytree(letters_directory, elsewhere, dirs_exist_ok=True))
