"""What a command writes is in the mirror when it ends, as the first write of a ledger too.

On a real MariaDB and a real Redis: there the comparison, the commit and the end of the command meet in another order
than on a file. Each command is a process of its own, as an operator's is.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from numbering.cli.session import NOT_MIRRORED
from projections.mirror.copier import Copier
from projections.mirror.relay import Relay
from projections.mirror.stream import StreamFault
from tests.numbering.command import LETTER_KEY, LETTERS, elsewhere_in, ran
from tests.numbering.process import run
from tests.servers import Database, MariaDB, Redis
from tests.stores import GRANTS

RESERVE = ("reserve", "LETTER", *LETTER_KEY, "--count", "3")
BATCH = {"commands": [{"op": "issue", "series": "S3", "document": f"D{index}"} for index in range(20)]}
SERIES = "\n".join(f'[series.S{index}]\ntemplate = "S{index}-{{SEQ:4}}"\n' for index in range(40))

# The first write of a ledger, and what is written next, on files that `directory` has.
WRITES = {
    "one series": [("series", "apply", "one.toml")],
    "many series": [("series", "apply", "letters.toml", "many.toml")],
    "then a number": [("series", "apply", "letters.toml"), RESERVE],
    "then a batch": [("series", "apply", "many.toml"), ("batch", "batch.json")],
    "then a register": [("series", "apply", "many.toml"), ("import", "register.csv", "--series", "S3")],
}


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "letters.toml").write_text(LETTERS, encoding="utf-8")
    (tmp_path / "many.toml").write_text(SERIES, encoding="utf-8")
    (tmp_path / "one.toml").write_text('[series.ONE]\ntemplate = "ONE-{SEQ:4}"\n', encoding="utf-8")
    (tmp_path / "batch.json").write_text(json.dumps(BATCH), encoding="utf-8")
    rows = "\n".join(f"S3-{value:04}" for value in range(1, 6_000))
    (tmp_path / "register.csv").write_text(f"document_number\n{rows}\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def database(mariadb: MariaDB, directory: Path) -> Database:
    return new_database(mariadb, directory)


def new_database(mariadb: MariaDB, directory: Path) -> Database:
    """Make a database that was migrated, and holds no event."""
    made = mariadb.new_database()
    assert run("migrate", "--database-url", made.admin_url, cwd=directory).returncode == 0
    made.grant_service(GRANTS)
    return made


def missing(database: Database, redis: Redis) -> int:
    """Count the events that the mirror lacks, without a process of ours, which would copy them."""
    asked = "SELECT ledger_id, position FROM ledger_head"
    id, position = database.server.execute(asked, database=database.name).splitlines()[-1].split()
    keys = sorted(redis.execute("KEYS", f"numbering:{id}:*").split(), key=len)  # of the latest generation last
    entries = redis.execute("XREVRANGE", keys[-1], "+", "-", "COUNT", "1") if keys else "0-0"
    return int(position) - int(entries.partition("-")[0])


def write(database: Database, redis: Redis, directory: Path, *words: str) -> None:
    ended = run(*words, cwd=directory, database_url=database.service_url, redis_url=redis.url)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert missing(database, redis) == 0


@pytest.mark.parametrize("commands", WRITES.values(), ids=WRITES)
def test_what_a_command_writes_is_mirrored_when_it_ends(
    commands: list[tuple[str, ...]], database: Database, redis: Redis, directory: Path
) -> None:
    for words in commands:
        write(database, redis, directory, *words)


def test_the_first_write_after_a_restore_is_mirrored(mariadb: MariaDB, redis: Redis, directory: Path) -> None:
    """With all that the restore put in front of it: the stream of the new generation is empty then."""
    before, after = new_database(mariadb, directory), new_database(mariadb, directory)
    write(before, redis, directory, "series", "apply", "letters.toml")
    write(before, redis, directory, *RESERVE)
    archive = run("archive", "copy", cwd=directory, database_url=before.service_url)
    assert archive.returncode == 0, archive.stderr
    words = ("restore", "--from", "copy", "--into", after.admin_url, "--reason", "the disk was lost")
    restored = run(*words, cwd=directory)
    assert restored.returncode == 0, restored.stderr
    write(after, redis, directory, *RESERVE)


def test_a_command_says_that_the_mirror_lacks_what_it_wrote(
    database: Database, redis: Redis, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when Redis went away between the comparison and the end. The next process copies it."""
    monkeypatch.setattr(Relay, "_flush", skipped)
    monkeypatch.setattr(Copier, "copy", away)
    with elsewhere_in(directory):
        monkeypatch.setenv("NUMBERING_REDIS_URL", redis.url)
        ended = ran("series", "apply", "one.toml", "--database-url", database.service_url)
    assert (ended.exit_code, ended.stderr) == (0, f"numbering: {NOT_MIRRORED}\n")
    monkeypatch.undo()
    write(database, redis, directory, "series", "apply", "one.toml")


async def skipped(_: Relay) -> None:
    pass


async def away(_: Copier) -> bool:
    raise StreamFault("Redis went away")
