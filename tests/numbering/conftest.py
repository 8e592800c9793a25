"""An empty directory, and one with a ledger, for commands that are run in the tests' own process."""

import asyncio
import shutil
from pathlib import Path

import pytest

from ledger.stores import migrate
from numbering.cli import session
from numbering.settings import Settings
from tests.numbering.command import LETTERS, said


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite ledger just made, to be copied: migrating takes longer than most tests."""
    file = tmp_path_factory.mktemp("migrated") / "numbering.db"
    assert asyncio.run(migrate(f"sqlite+aiosqlite:///{file}"))
    return file


@pytest.fixture(autouse=True)
def _never_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that closes slowly ends its process; in these tests that would be pytest."""
    monkeypatch.setattr(session, "CLOSE_SECONDS", 3600.0)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty directory and an environment without settings."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"NUMBERING_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def empty(elsewhere: Path, migrated_file: Path) -> Path:
    """A directory with a ledger in which nothing was defined."""
    shutil.copy(migrated_file, elsewhere / "numbering.db")
    return elsewhere


@pytest.fixture
def letters(empty: Path) -> Path:
    """A directory with a ledger of the series LETTER and RFA, which letters.toml defines."""
    (empty / "letters.toml").write_text(LETTERS, encoding="utf-8")
    said("series", "apply", "letters.toml")
    return empty
