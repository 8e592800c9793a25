"""The migrations: what they make, that they may run again, and what they say when they cannot run."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, NullPool
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import create_async_engine

from ledger import chain
from ledger.domain.rejection import Code
from ledger.migrations import NEWEST
from ledger.ports import Record, Stop, StopKind
from ledger.stores import migrate
from ledger.stores.earlier import read_text
from ledger.stores.migration import TURN, migrations
from ledger.stores.schema import events, metadata
from projections.schema import metadata as projections_metadata
from tests.servers import Database, MariaDB
from tests.stores import Ledger, append, fault_of, opened
from tests.test_stops import kinds, stopped


async def ask(url: str, question: Any) -> Any:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(question)
    finally:
        await engine.dispose()


def admin_url(ledger: Ledger) -> str:
    return ledger.database.admin_url if ledger.database else ledger.url


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    whole = MetaData()
    for table in (*metadata.sorted_tables, *projections_metadata.sorted_tables):
        table.to_metadata(whole)
    return list(compare_metadata(context, whole))


async def test_a_migrated_schema_is_the_one_in_the_code(sql_ledger: Ledger) -> None:
    assert await ask(admin_url(sql_ledger), differences) == []


def test_the_columns_are_the_records() -> None:
    assert tuple(events.columns.keys()) == Record._fields


def test_the_newest_migration_is_the_one_that_is_looked_for() -> None:
    assert ScriptDirectory.from_config(migrations()).get_current_head() == NEWEST


async def test_migrating_again_changes_nothing(sql_ledger: Ledger) -> None:
    store = sql_ledger.open()
    await append(store, 2)
    before = await store.head()
    assert await migrate(admin_url(sql_ledger)) is False
    assert await store.head() == before


async def test_a_restored_ledger_keeps_its_id(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/restored.db"
    ledger_id = "0b1f2a52-9be6-44b5-a9c1-3f6f7a1c9a10"
    await migrate(url, ledger_id=ledger_id)
    async with opened(url) as store:
        head = await store.head()
    assert (head.ledger_id, head.hash) == (ledger_id, chain.genesis(ledger_id))


async def test_no_two_ledgers_have_one_id(tmp_path: Path) -> None:
    heads = []
    for name in "ab":
        url = f"sqlite+aiosqlite:///{tmp_path}/{name}.db"
        await migrate(url)
        async with opened(url) as store:
            heads.append(await store.head())
    assert heads[0].ledger_id != heads[1].ledger_id


async def test_many_processes_may_migrate_one_file_at_once(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/ledger.db"
    applied = await asyncio.gather(*(migrate(url) for _ in range(4)))
    assert sorted(applied) == [False, False, False, True]


def test_there_is_one_line_of_steps_and_no_way_back() -> None:
    scripts = ScriptDirectory.from_config(migrations())
    assert len(scripts.get_heads()) == 1
    for step in scripts.walk_revisions():
        assert not hasattr(step.module, "downgrade")


async def test_what_an_earlier_build_looks_at_stands_still(sql_ledger: Ledger) -> None:
    """The builds of before compare `alembic_version` with the newest step that they know, which was 0002."""
    admin, noted = admin_url(sql_ledger), "SELECT version_num FROM {}"

    async def steps(table: str) -> list[Any]:
        return list(await ask(admin, lambda connection: connection.exec_driver_sql(noted.format(table)).all()))

    assert await steps("alembic_version") == [("0002",)]
    assert await steps("schema_version") == [(NEWEST,)]


async def test_a_schema_of_before_is_migrated_further(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    await migrate(f"sqlite+aiosqlite:///{file}")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TABLE schema_version")
    await migrate(f"sqlite+aiosqlite:///{file}")
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT version_num FROM schema_version").fetchall() == [(NEWEST,)]


async def test_what_a_later_build_only_added_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    url = f"sqlite+aiosqlite:///{file}"
    await migrate(url)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE schema_version SET version_num = '9999'")
    assert await migrate(url) is False
    async with opened(url) as store:
        await append(store, 1)


async def test_what_a_later_build_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    url = f"sqlite+aiosqlite:///{file}"
    await migrate(url)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.executescript(
            "UPDATE schema_version SET version_num = '9999'; UPDATE alembic_version SET version_num = '9998'"
        )
    fault = await fault_of(migrate(url))
    assert fault.code is Code.DATABASE_TOO_NEW
    assert "9998" in fault.detail


async def test_a_step_that_broke_off_runs_again(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    url = f"sqlite+aiosqlite:///{file}"
    await migrate(url)
    with closing(sqlite3.connect(file)) as connection:
        # As MariaDB leaves it when the last statement was refused: everything is there but the note that it is.
        connection.executescript("DROP TABLE alembic_version; DROP TRIGGER events_refuse_delete")
    assert await migrate(url)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM ledger_head").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").fetchone() == (3,)


# Why writing was stopped, in the words of the builds of before the table of stops: stored data, so they never change.
SEEN_HASH = bytes(range(32))
SEEN = f"(seen: position 20, hash {SEEN_HASH.hex()})"
TEXTS = {
    "the ledger was moved to another database, by `numbering restore --move`": StopKind.MOVED,
    "a restore into this database was not finished: run `numbering restore` again, it goes on where it was": (
        StopKind.RESTORING
    ),
    "this is a copy of the ledger as of position 8, 2026-11-28T20:39:19.129436Z, for reading only": StopKind.COPY,
    "the mirror goes on to position 20, but the log ends at 10: the database has lost its end; run `numbering mirror "
    "adopt` to take it back from the mirror": StopKind.MIRROR_AHEAD,
    "the mirror, which ends at position 20, is no part of this log, which ends at 10: one of them is a stale or "
    "foreign copy; restore the ledger; or, if this database is known to be whole and the newest, run `numbering mirror "
    "rebuild --discard`": StopKind.MIRROR_FORKED,
    "the mirror of a later generation is there: the ledger was restored since, to another database; serve the restored "
    "one; this database is a stale copy": StopKind.MIRROR_SUPERSEDED,
    "the archive /srv/archive (old) goes on to position 20, but the log ends at 10: this is a stale copy; restore the "
    f"ledger from its archive {SEEN}": StopKind.ARCHIVE_AHEAD,
    "the archive /srv/archive tells another history than this log, at position 20 at the latest: this is a stale copy; "
    f"restore the ledger from its archive {SEEN}": StopKind.ARCHIVE_FORKED,
    "the log ends at position 10, but this process has seen 20: an older copy of the database was put in its place "
    f"{SEEN}": StopKind.LOG_BEHIND,
    f"the head says 21, but the log ends at position 20 {SEEN}": StopKind.LOG_BEHIND,
    f"the event at position 20 is not the one that this process has seen {SEEN}": StopKind.LOG_FORKED,
    f"the event at position 21 does not chain from the one before it {SEEN}": StopKind.LOG_FORKED,
    f"position 21 is missing: the log goes on at 22 {SEEN}": StopKind.LOG_FORKED,
}
OTHER_TEXTS = ["an operator looks at it", "the mirror", "the log ends at position 10, but this process has seen 20", ""]


def revised(connection: Connection, revision: str) -> None:
    """Migrate as a build of before did."""
    config = migrations()
    config.attributes.update(connection=connection, ledger_id=None)
    command.upgrade(config, revision)


async def execute(url: str, statement: str, **values: object) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(sql(statement), values)
    await engine.dispose()


async def write_text(url: str, text: str) -> None:
    """Stop the ledger as a build of before does."""
    await execute(url, "UPDATE ledger_head SET stopped = :text WHERE id = 1", text=text)


@pytest.fixture(params=["sqlite", "mariadb"])
async def earlier_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty ledger as the build of before the table of stops has made it."""
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path}/earlier.db"
    else:
        url = request.getfixturevalue("mariadb").new_database().admin_url
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        await connection.exec_driver_sql("BEGIN" if request.param == "sqlite" else "SET SESSION max_error_count = 0")
        await connection.run_sync(revised, "0002")
        await connection.commit()
    await engine.dispose()
    return url


@pytest.mark.parametrize("text", TEXTS)
def test_what_a_build_of_before_wrote_is_understood(text: str) -> None:
    stop = read_text(text)
    assert stop is not None
    assert stop.kind is TEXTS[text]
    has_seen = text.endswith(SEEN)
    assert (stop.position, stop.hash) == ((20, SEEN_HASH) if has_seen else (None, None))
    assert stop.text == text.replace("the mirror, which ends", "the mirror ends"), "it reads it as before"


@pytest.mark.parametrize("text", OTHER_TEXTS)
def test_what_no_build_wrote_is_left_as_it_is(text: str) -> None:
    assert read_text(text) is None


async def test_an_earlier_schema_and_its_text_become_this_one(earlier_url: str) -> None:
    text = next(text for text, kind in TEXTS.items() if kind is StopKind.LOG_BEHIND)
    await write_text(earlier_url, text)
    assert await migrate(earlier_url)
    assert await ask(earlier_url, differences) == []
    async with opened(earlier_url) as store:
        (stop,) = await store.stops()
        head = await store.head()
        assert (stop.kind, stop.position, stop.hash) == (StopKind.LOG_BEHIND, 20, SEEN_HASH)
        assert (head.stops, head.stopped) == (1, text)
    assert await migrate(earlier_url) is False
    async with opened(earlier_url) as store:
        assert await store.stops() == [stop]


async def test_an_earlier_ledger_that_was_not_stopped_is_not(earlier_url: str) -> None:
    assert await migrate(earlier_url)
    async with opened(earlier_url) as store:
        assert await store.stops() == []
        assert not (await store.head()).is_stopped
        await append(store, 1)


async def test_what_a_build_of_before_writes_later_is_read_by_the_next_run(sql_ledger: Ledger) -> None:
    url, texts = admin_url(sql_ledger), {kind: text for text, kind in TEXTS.items()}
    store = sql_ledger.open()
    known: list[StopKind] = []
    for kind in (StopKind.MIRROR_AHEAD, StopKind.ARCHIVE_AHEAD, StopKind.MIRROR_FORKED):
        await write_text(url, texts[kind])
        assert await kinds(store) == [*known, StopKind.EARLIER_BUILD]
        known.append(kind)
        for is_read in (True, False):
            assert await migrate(url) is is_read
            assert await kinds(store) == known
    await write_text(url, texts[StopKind.MIRROR_AHEAD])
    assert await migrate(url), "the same once more is no row more"
    assert await kinds(store) == known
    head = await store.head()
    assert (head.stops, head.stopped) == (3, texts[StopKind.ARCHIVE_AHEAD])


async def test_what_a_build_of_before_has_lifted_is_lifted_by_the_next_run(sql_ledger: Ledger) -> None:
    """It knew of one reason, the one that it was shown; the others stand, and it is shown the next of them."""
    store, url = sql_ledger.open(), admin_url(sql_ledger)
    transaction = await store.begin()
    for kind in (StopKind.MIRROR_AHEAD, StopKind.RESTORING, StopKind.COPY):
        await transaction.stop(Stop(kind, "some reason"))
    await transaction.commit()
    for left in ([StopKind.MIRROR_AHEAD, StopKind.COPY], [StopKind.MIRROR_AHEAD], []):
        await execute(url, "UPDATE ledger_head SET stopped = NULL WHERE id = 1")
        assert (await store.head()).is_stopped, "until then all stand"
        assert await migrate(url)
        assert await kinds(store) == left
        assert (await store.head()).stops == len(left)
        assert await migrate(url) is False
    assert not (await store.head()).is_stopped


async def test_what_a_build_of_before_has_lifted_is_what_it_was_shown_and_not_what_came_beside_it(
    sql_ledger: Ledger,
) -> None:
    url, text = admin_url(sql_ledger), next(text for text, kind in TEXTS.items() if kind is StopKind.MIRROR_AHEAD)
    store = sql_ledger.open()
    await write_text(url, text)
    await stopped(store, Stop(StopKind.ARCHIVE_FORKED, "the archive tells another history"))
    assert (await store.head()).stopped == text, "it is shown its own"
    await execute(url, "UPDATE ledger_head SET stopped = NULL WHERE id = 1")
    assert await migrate(url)
    assert await kinds(store) == [StopKind.ARCHIVE_FORKED]
    assert (await store.head()).stops == 1


async def test_what_came_beside_a_reason_of_ours_is_read_as_well(sql_ledger: Ledger) -> None:
    url, text = admin_url(sql_ledger), next(text for text, kind in TEXTS.items() if kind is StopKind.MIRROR_AHEAD)
    store = sql_ledger.open()
    await write_text(url, text)
    await stopped(store, Stop(StopKind.ARCHIVE_FORKED, "the archive tells another history"))
    assert await migrate(url)
    assert await kinds(store) == [StopKind.ARCHIVE_FORKED, StopKind.MIRROR_AHEAD]
    assert await migrate(url) is False


async def test_an_operator_s_words_stay(sql_ledger: Ledger) -> None:
    url = admin_url(sql_ledger)
    await write_text(url, "an operator looks at it")
    assert await migrate(url) is False
    assert await sql_ledger.open().stops() == [Stop(StopKind.EARLIER_BUILD, "an operator looks at it")]


class TestMariaDB:
    async def test_text_is_compared_byte_by_byte(self, mariadb_only: Ledger, mariadb: MariaDB) -> None:
        assert mariadb_only.database is not None
        collations = mariadb.execute(
            f"""
            SELECT DISTINCT collation_name FROM information_schema.columns
            WHERE table_schema = '{mariadb_only.database.name}' AND table_name <> 'alembic_version'
              AND collation_name IS NOT NULL
            """
        )
        assert collations == "utf8mb4_nopad_bin"

    async def test_the_ledgers_of_the_tests_are_as_if_migrated(self, mariadb_only: Ledger, mariadb: MariaDB) -> None:
        migrated = mariadb.new_database()
        assert await migrate(migrated.admin_url)
        assert mariadb_only.database is not None
        made, expected = (self.dumped(mariadb, each) for each in (mariadb_only.database, migrated))
        assert made == expected

    @staticmethod
    def dumped(mariadb: MariaDB, database: Database) -> str:
        """All that is in a database, but for what no two ledgers share."""
        id = mariadb.execute("SELECT ledger_id FROM ledger_head", database=database.name)
        dump = mariadb.dump(database.name).replace(database.name, "NAME").replace(id, "ID")
        genesis = f"0x{chain.genesis(id).hex().upper()}"
        assert genesis in dump
        return dump.replace(genesis, "GENESIS")

    async def test_an_account_without_privileges_is_told(self, mariadb: MariaDB) -> None:
        database = mariadb.new_database()
        mariadb.execute(f"GRANT SELECT ON `{database.name}`.* TO {database.service.quoted}")
        await self.told(database.service_url, "administrator")

    async def test_a_missing_right_to_triggers_is_told_and_mended(self, mariadb: MariaDB) -> None:
        database = mariadb.new_database()
        mariadb.execute("SET GLOBAL log_bin_trust_function_creators = 0")
        try:
            await self.told(database.admin_url, "log_bin_trust_function_creators")
        finally:
            mariadb.execute("SET GLOBAL log_bin_trust_function_creators = 1")
        assert await migrate(database.admin_url)
        assert await ask(database.admin_url, differences) == []
        async with opened(database.admin_url) as store:
            await append(store, 1)

    async def told(self, url: str, what: str) -> None:
        fault = await fault_of(migrate(url))
        assert fault.code is Code.DATABASE_UNAVAILABLE
        assert what in fault.detail


async def test_processes_that_migrate_an_earlier_schema_at_once_do_it_once(earlier_url: str) -> None:
    applied = await asyncio.gather(*(migrate(earlier_url) for _ in range(4)))
    assert sorted(applied) == [False, False, False, True]
    assert await ask(earlier_url, differences) == []


async def test_who_waits_for_another_process_is_told_so(earlier_url: str) -> None:
    turn = "BEGIN IMMEDIATE" if earlier_url.startswith("sqlite") else TURN.format(seconds=0)
    holder = create_async_engine(earlier_url, poolclass=NullPool)
    waits, said = asyncio.Event(), 0

    def say() -> None:
        nonlocal said
        said += 1
        waits.set()

    async with holder.connect() as connection:
        await connection.exec_driver_sql(turn)
        others = [asyncio.create_task(migrate(earlier_url, on_wait=say)) for _ in range(2)]
        await waits.wait()
        assert not any(each.done() for each in others)
    await holder.dispose()
    assert sorted(await asyncio.gather(*others)) == [False, True]
    assert 1 <= said <= 2
