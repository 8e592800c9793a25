"""Who has an SQLite file open, whatever it is a build of."""

import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from ledger.stores.holders import holders, holders_listed
from tests.opener import another


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "ledger.db"
    with closing(sqlite3.connect(made)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE events (position INTEGER)")
    return made


def test_nobody(file: Path) -> None:
    assert holders(file) == set()


def test_no_file(tmp_path: Path) -> None:
    assert holders(tmp_path / "missing.db") == set()


def test_all_who_have_it_open(file: Path) -> None:
    with ExitStack() as stack:
        pids = {stack.enter_context(another(file)) for _ in range(3)}
        assert holders(file) == pids
    assert holders(file) == set()


def test_one_at_least_where_the_kernel_lists_none(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.stores.holders.LISTED", tmp_path / "no-such-list")
    with another(file) as one, another(file) as two:
        (found,) = holders(file)
        assert found in {one, two}


def test_another_file_is_not_this_one(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(file.read_bytes())
    with another(copy):
        assert holders(file) == set()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("1: POSIX  ADVISORY  READ 12646 fe:00:77 1073741826 1073742335", {12646}),
        ("1: POSIX  ADVISORY  READ 12646 00:1f:77 1073741826 1073742335", {12646}),  # whatever the device
        ("1: POSIX  ADVISORY  READ 12646 fe:00:78 1073741826 1073742335", set()),
        ("1: POSIX  ADVISORY  READ 12646 fe:00:77 128 128", set()),  # a byte of the index beside it
        ("1: POSIX  ADVISORY  WRITE 12646 fe:00:77 0 EOF", set()),
        ("1: -> POSIX  ADVISORY  READ 12646 fe:00:77 1073741826 1073742335", set()),  # waits for it only
        ("1: FLOCK  ADVISORY  WRITE 12646 fe:00:77 0 EOF", set()),
        ("", set()),
    ],
)
def test_what_the_kernel_lists(line: str, found: set[int]) -> None:
    assert set(holders_listed([line], 77)) == found
