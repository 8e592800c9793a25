"""The migrations: what they make, that they may run again, and what they say when they cannot run."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData
from sqlalchemy.ext.asyncio import create_async_engine

from ledger import chain
from ledger.domain.rejection import Code
from ledger.migrations import NEWEST
from ledger.ports import Record
from ledger.stores import migrate
from ledger.stores.migration import migrations
from ledger.stores.schema import events, metadata
from projections.schema import metadata as projections_metadata
from tests.servers import MariaDB
from tests.stores import Ledger, append, fault_of, opened


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
