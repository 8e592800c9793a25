"""What only MariaDB can do to a ledger: privileges, settings, a lost line, a silent server."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from asyncmy import errors
from sqlalchemy import exc, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from ledger.codec import Entry, encode
from ledger.domain.commands import DefineSeries, Envelope, Reserve
from ledger.domain.events import SeriesDefined
from ledger.domain.rejection import Code
from ledger.feed import Feed
from ledger.ports import OutcomeUnknown, Record, Snapshot, StoreFault
from ledger.service import Ledger as Numbering
from ledger.stores import SqlStore, migrate
from ledger.stores import mariadb as dialect
from ledger.stores.processes import Process, Processes
from ledger.system import RandomIds, SystemClock, aside, spawn
from ledger.writer.follower import Follower
from projections.reading import Filter, Projections
from projections.schema import SLOTS
from tests.given import PLAIN, series
from tests.servers import Database, MariaDB
from tests.stores import (
    TOTAL_SECONDS,
    Ledger,
    Proxy,
    append,
    fault_of,
    follow,
    new_mariadb,
    opened,
    patiently,
    setting,
)

SHORT_MS = 2000  # the shortest deadline of a store; some tests wait for it


@pytest.fixture
def ledger(mariadb_only: Ledger) -> Ledger:
    return mariadb_only


@pytest.fixture
def database(ledger: Ledger) -> Database:
    assert ledger.database is not None
    return ledger.database


@pytest.fixture(scope="module")
def plugins(mariadb: MariaDB) -> Iterator[None]:
    names = ["auth_ed25519", "auth_pam"]
    mariadb.execute("".join(f"INSTALL SONAME '{name}';" for name in names))
    yield
    mariadb.execute("".join(f"UNINSTALL SONAME '{name}';" for name in names))


@asynccontextmanager
async def waiting_longer(ledger: Ledger, server: MariaDB) -> AsyncIterator[None]:
    """Let the server hang. What is given up meanwhile is so by its own deadline: one who has more time still waits."""
    patient = ledger.open(lock_timeout_ms=int(TOTAL_SECONDS * 1000))
    await patient.head()
    async with asyncio.TaskGroup() as group:
        with server.paused():
            waiting = group.create_task(patient.head())
            yield
            assert not waiting.done()


async def run(url: str, sql: str, values: tuple[object, ...] = ()) -> None:
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(sql, values)
    finally:
        await engine.dispose()


EDITS = {
    "update": "UPDATE events SET body = '{}' WHERE position = 2",
    "update of a key": "UPDATE events SET position = 9 WHERE position = 3",
    "delete": "DELETE FROM events WHERE position = 3",
    "replace": "REPLACE INTO events SELECT * FROM events WHERE position = 2",
    "upsert": "INSERT INTO events SELECT * FROM events WHERE position = 2 ON DUPLICATE KEY UPDATE body = '{}'",
    "repeat": "INSERT INTO events SELECT * FROM events WHERE position = 2",
    "repeat of a command": """
        INSERT INTO events SELECT 4, type, version, stream, token, command_id, ordinal, body, recorded_at, hash
        FROM events WHERE position = 2
    """,
}


class TestHistory:
    @pytest.mark.parametrize("edit", [*EDITS, "truncate", "drop", "drop the trigger"])
    async def test_the_service_cannot_edit_it(self, ledger: Ledger, edit: str) -> None:
        records = await append(ledger.open(), 3)
        others = {
            "truncate": "TRUNCATE events",
            "drop": "DROP TABLE events",
            "drop the trigger": "DROP TRIGGER events_refuse_update",
        }
        with pytest.raises(exc.DBAPIError):
            await run(ledger.url, (EDITS | others)[edit])
        assert await ledger.open().events(after=0, limit=10) == records

    @pytest.mark.parametrize("edit", EDITS)
    async def test_an_administrator_cannot_edit_it_by_accident(
        self, ledger: Ledger, database: Database, edit: str
    ) -> None:
        records = await append(ledger.open(), 3)
        with pytest.raises(exc.DBAPIError):
            await run(database.admin_url, EDITS[edit])
        assert await ledger.open().events(after=0, limit=10) == records

    @pytest.mark.parametrize("edit", ["UPDATE snapshots SET body = ''", "DELETE FROM snapshots", "TRUNCATE snapshots"])
    async def test_the_service_changes_no_snapshot(self, ledger: Ledger, edit: str) -> None:
        made = Snapshot(1, bytes(32), 4, b"body", bytes(32))
        await ledger.open().put_snapshot(made)
        with pytest.raises(exc.DBAPIError):
            await run(ledger.url, edit)
        assert await ledger.open().newest_snapshot(4, at_most=1) == made

    async def test_a_snapshot_larger_than_a_packet_is_a_fault_and_harms_nothing(self, ledger: Ledger) -> None:
        store = ledger.open()
        for megabytes in (17, 40):
            await fault_of(store.put_snapshot(Snapshot(1, bytes(32), 4, bytes(megabytes << 20), bytes(32))))
        assert await store.newest_snapshot(4, at_most=1) is None
        await append(store, 1)

    @pytest.mark.parametrize("edit", ["DELETE FROM ledger_head", "INSERT INTO ledger_head SELECT * FROM ledger_head"])
    async def test_there_is_one_head(self, ledger: Ledger, edit: str) -> None:
        with pytest.raises(exc.DBAPIError):
            await run(ledger.url, edit)


class TestSettings:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("sync_binlog", "0"),
            ("innodb_flush_log_at_trx_commit", "2"),
            ("max_allowed_packet", "1048576"),
            ("binlog_format", "'STATEMENT'"),
        ],
    )
    async def test_an_unsafe_server_is_refused(self, ledger: Ledger, mariadb: MariaDB, name: str, value: str) -> None:
        with setting(mariadb, name, value):
            for fault in (await fault_of(ledger.open().begin()), await fault_of(ledger.open().head())):
                assert fault.code is Code.DATABASE_UNSAFE
                assert name in fault.detail
                assert fault.detail.count("set it to") == 1
            assert await ledger.open(allow_unsafe=True).head()
        await append(ledger.open(), 1)

    @pytest.mark.parametrize(
        ("name", "value"),
        [("sync_binlog", "0"), ("innodb_flush_log_at_trx_commit", "2")],
    )
    async def test_a_server_that_becomes_unsafe_is_noticed_on_the_connections_that_there_are(
        self, ledger: Ledger, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        assert dialect.RECHECK_SECONDS < 10
        monkeypatch.setattr(dialect, "RECHECK_SECONDS", 0.0)
        monkeypatch.setattr(dialect, "UNSAFE_RECHECK_SECONDS", 0.0)
        store, careless = ledger.open(), ledger.open(allow_unsafe=True)
        await append(store, 1)
        with setting(mariadb, name, value):
            for fault in (await fault_of(store.begin()), await fault_of(store.head())):
                assert fault.code is Code.DATABASE_UNSAFE
                assert name in fault.detail
                assert not fault.transient
            await append(careless, 1)
        await append(store, 1)
        assert (await store.head()).position == 3

    async def test_the_settings_are_not_read_for_every_batch(
        self, ledger: Ledger, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = ledger.open()
        assert isinstance(store, dialect.MariaDBStore)
        read = store._read_settings
        times = 0

        async def counted() -> None:
            nonlocal times
            times += 1
            await read()

        monkeypatch.setattr(store, "_read_settings", counted)
        for _ in range(5):
            await append(store, 1)
            await store.head()
        assert times == 1

    def test_what_only_a_start_can_change_is_named_too(self) -> None:
        judged = dialect.judged_settings(0, 1, 1, "ROW", 2**24, 0)
        assert [one.name for one in judged if one.advice] == ["log_bin", "SYSDATE"]

    async def test_mixed_binary_log_is_good_enough(self, ledger: Ledger, mariadb: MariaDB) -> None:
        with setting(mariadb, "binlog_format", "'MIXED'"):
            await append(ledger.open(), 2)

    @pytest.mark.parametrize(("deadline_ms", "idle", "wait"), [(2000, 1, 1), (3000, 1, 2), (5000, 3, 4), (7500, 6, 7)])
    async def test_a_session_waits_less_than_we_do(
        self, ledger: Ledger, deadline_ms: int, idle: int, wait: int
    ) -> None:
        store = ledger.open(lock_timeout_ms=deadline_ms)
        assert isinstance(store, dialect.MariaDBStore)
        await append(store, 1)
        async with store.driver.cursor() as cursor:
            await cursor.execute("SELECT @@idle_transaction_timeout, @@innodb_lock_wait_timeout, @@tx_isolation")
            assert await cursor.fetchone() == (idle, wait, "READ-COMMITTED")

    async def test_a_batch_takes_four_round_trips(self, ledger: Ledger, database: Database, mariadb: MariaDB) -> None:
        store = ledger.open()
        await append(store, 1)  # connects and prepares
        with setting(mariadb, "log_output", "'TABLE'"), setting(mariadb, "general_log", "1"):
            await append(store, 64)
            log = mariadb.execute(
                f"""
                SELECT command_type, REGEXP_SUBSTR(argument, '[A-Z]+') FROM mysql.general_log
                WHERE user_host LIKE '{database.service.user}%' ORDER BY event_time
                """
            )
        # No BEGIN, and one INSERT for all; what moved the head is known before COMMIT is sent.
        assert log.splitlines() == ["Execute\tSELECT", "Execute\tINSERT", "Execute\tUPDATE", "Query\tCOMMIT"]
        assert len(await store.events(after=1, limit=100)) == 64


class TestContention:
    """Two nodes of a cluster grant the head's lock at once; here another session writes without asking for it."""

    async def test_a_position_that_another_node_took_is_looked_up_and_tried_again(
        self, ledger: Ledger, database: Database
    ) -> None:
        store = ledger.open()
        await append(store, 1)
        transaction = await store.begin()
        (theirs,) = follow(transaction.head, 1, name="theirs")
        await run(database.admin_url, *_insert(theirs))
        fault = await fault_of(transaction.append(follow(transaction.head, 1)))
        assert (fault.code, fault.contention) == (Code.LOCK_TIMEOUT, True)
        move = "UPDATE ledger_head SET position = 2, hash = %s, recorded_at = %s"
        await run(database.admin_url, move, (theirs.hash, theirs.recorded_at))
        await append(store, 1)
        assert [record.position for record in await store.events(after=0, limit=9)] == [1, 2, 3]

    async def test_a_head_that_moved_is_contention(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        async def unmoved(*_: object) -> int:
            return 0

        store = ledger.open()
        await append(store, 1)
        transaction = await store.begin()
        with monkeypatch.context() as patch:
            patch.setattr(store, "move_head", unmoved)
            fault = await fault_of(transaction.append(follow(transaction.head, 1)))
        assert (fault.code, fault.contention) == (Code.LOCK_TIMEOUT, True)
        await append(store, 1)
        assert (await store.head()).position == 2

    async def test_a_service_answers_after_another_node_was_quicker(
        self, ledger: Ledger, database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The writer tries again until the other's event and the head agree."""
        caplog.set_level(logging.INFO, "ledger.writer.writer")
        store = ledger.open()
        async with Numbering(store, clock=SystemClock(), ids=RandomIds(), spawn=spawn, aside=aside) as service:
            await service.execute(DefineSeries((PLAIN,)), Envelope(bytes(32), "ours"))
            head = await store.head()
            event = SeriesDefined(series("OTHER-{SEQ:4}", "OTHER"))
            theirs = encode(
                Entry(head.position + 1, event, Envelope(b"1" * 32, "theirs"), 0, head.recorded_at), head.hash
            )
            await run(database.admin_url, *_insert(theirs))
            ours = asyncio.create_task(service.execute(Reserve("PLAIN", "t" * 32), Envelope(b"2" * 32, "ours")))
            async with asyncio.timeout(TOTAL_SECONDS):
                while "another writer was quicker" not in caplog.text:  # noqa: ASYNC110  a log line sets no event
                    await asyncio.sleep(0.01)
            move = "UPDATE ledger_head SET position = %s, hash = %s, recorded_at = %s"
            await run(database.admin_url, move, (theirs.position, theirs.hash, theirs.recorded_at))
            assert (await ours).position == theirs.position + 1


def _insert(record: Record) -> tuple[str, tuple[object, ...]]:
    marks = ", ".join(["%s"] * len(record))
    return f"INSERT INTO events VALUES ({marks})", tuple(record._replace(body=record.body.decode()))  # type: ignore[arg-type]


class TestAccounts:
    """What is wrong with an account does not pass by itself, and is said with the way out."""

    @pytest.mark.parametrize(
        ("change", "advice"),
        [
            ("ALTER USER {user} ACCOUNT LOCK", "ACCOUNT UNLOCK"),
            ("ALTER USER {user} PASSWORD EXPIRE", "IDENTIFIED BY"),
            ("ALTER USER {user} IDENTIFIED VIA ed25519 USING PASSWORD('{password}')", "mysql_native_password"),
            ("ALTER USER {user} IDENTIFIED VIA pam", "mysql_native_password"),
            ("ALTER USER {user} IDENTIFIED VIA unix_socket", "check the database URL"),
            ("ALTER USER {user} IDENTIFIED BY 'another one'", "check the database URL"),
            ("DROP USER {user}", "check the database URL"),
        ],
    )
    @pytest.mark.usefixtures("plugins")
    async def test_an_account_that_cannot_log_in(self, mariadb: MariaDB, change: str, advice: str) -> None:
        database = new_mariadb(mariadb)
        account = database.service
        mariadb.execute(change.format(user=account.quoted, password=account.password))
        async with opened(database.service_url) as store:
            for fault in (
                await fault_of(store.begin()),
                await fault_of(store.head()),
                await fault_of(migrate(database.service_url)),
            ):
                assert fault.code is Code.DATABASE_UNAVAILABLE
                assert not fault.transient
                assert advice in fault.detail

    @pytest.mark.parametrize("number", [1130, 1251, 1524, 1820, 1862, 2059, 3159, 4151])
    def test_what_the_server_says_of_an_account_is_no_bug_of_ours(self, number: int) -> None:
        fault = dialect.fault(errors.OperationalError(number, "said"))
        assert fault is not None
        assert (fault.code, fault.transient) == (Code.DATABASE_UNAVAILABLE, False)
        assert fault.advice


class TestKilledConnections:
    READS: ClassVar[Mapping[str, Callable[[SqlStore], Awaitable[object]]]] = {
        "head": lambda store: store.head(),
        "stops": lambda store: store.stops(),
        "events": lambda store: store.events(after=0, limit=1),
        "snapshot": lambda store: store.newest_snapshot(1, at_most=1),
        "put": lambda store: store.put_snapshot(Snapshot(1, bytes(32), 4, b"body", bytes(32))),
        "projections": lambda store: Projections(store).position(),
        "rows": lambda store: Projections(store).numbers(Filter()),
        "processes": lambda store: Processes(store).all(),
        "seen": lambda store: Processes(store).see(Process("id", "host", 1, "build", 1)),
        "grants": lambda store: Processes(store).grants(),
        "batch": lambda store: append(store, 1),
    }

    @pytest.mark.parametrize("read", READS)
    async def test_it_is_replaced_unseen(self, ledger: Ledger, mariadb: MariaDB, read: str) -> None:
        store: Any = ledger.open()
        await append(store, 1)
        await asyncio.gather(*(store.head() for _ in range(4)))  # fills the pool
        for id in store.connection_ids():
            mariadb.execute(f"KILL {id}")
        await self.READS[read](store)


class TestFaults:
    async def test_a_schema_without_tables_or_head(self, mariadb: MariaDB) -> None:
        database = mariadb.new_database()
        async with opened(database.admin_url) as store:
            assert (await fault_of(store.begin())).code is Code.DATABASE_NOT_MIGRATED
            assert (await fault_of(store.head())).code is Code.DATABASE_NOT_MIGRATED
            await migrate(database.admin_url)
            await append(store, 1)
            await run(database.admin_url, "DELETE FROM ledger_head")
            assert (await fault_of(store.begin())).code is Code.DATABASE_NOT_MIGRATED
            assert (await fault_of(store.head())).code is Code.DATABASE_NOT_MIGRATED

    async def test_a_read_only_server(self, ledger: Ledger, mariadb: MariaDB) -> None:
        store = ledger.open()
        await append(store, 1)
        transaction = await store.begin()
        with setting(mariadb, "read_only", "1"):
            for work in (transaction.append(follow(transaction.head, 1)), ledger.open().begin()):
                assert (await fault_of(work)).code is Code.DATABASE_READ_ONLY
            await transaction.rollback()
            assert (await store.head()).position == 1
        await append(store, 1)

    @pytest.mark.parametrize("part", ["username", "password", "database"])
    async def test_a_wrong_url_says_what_to_check(self, ledger: Ledger, part: str) -> None:
        url = make_url(ledger.url)
        wrong = {
            "username": url.set(username="wrong"),
            "password": url.set(password="wrong"),
            "database": url.set(database="wrong"),
        }
        async with opened(wrong[part].render_as_string(hide_password=False)) as store:
            for fault in (await fault_of(store.begin()), await fault_of(store.head())):
                assert fault.code is Code.DATABASE_UNAVAILABLE
                assert "check" in fault.detail
                assert not fault.transient

    async def test_missing_grants_say_what_to_run(self, mariadb: MariaDB) -> None:
        database = mariadb.new_database()
        await migrate(database.admin_url)
        mariadb.execute(f"GRANT SELECT ON `{database.name}`.* TO {database.service.quoted}")
        async with opened(database.service_url) as store:
            transaction = await store.begin()
            fault = await fault_of(transaction.append(follow(transaction.head, 1)))
            assert fault.code is Code.DATABASE_UNAVAILABLE
            assert "mariadb-grants.sql" in fault.detail

    async def test_a_server_that_is_down_and_comes_back(self, ledger: Ledger, mariadb: MariaDB) -> None:
        store, other = ledger.open(), ledger.open()
        await append(store, 2)
        await other.head()
        transaction = await other.begin()
        with mariadb.killed():
            for work in (store.begin(), store.head(), transaction.append(follow(transaction.head, 1))):
                fault = await fault_of(work)
                assert fault.code is Code.DATABASE_UNAVAILABLE
                assert fault.transient
            await transaction.rollback()
        assert (await other.head()).position == 2
        await append(store, 1)

    async def test_connections_that_died_of_idleness_are_replaced_unseen(
        self, ledger: Ledger, mariadb: MariaDB
    ) -> None:
        store = ledger.open()
        await append(store, 1)
        await store.head()
        mariadb.restart()
        await append(store, 1)
        assert (await store.head()).position == 2

    async def test_a_hung_server_is_given_up_within_the_deadline(self, ledger: Ledger, mariadb: MariaDB) -> None:
        store, other = ledger.open(lock_timeout_ms=SHORT_MS), ledger.open(lock_timeout_ms=SHORT_MS)
        await append(store, 1)
        await store.head()
        transaction = await store.begin()
        async with waiting_longer(ledger, mariadb):
            works = (transaction.append(follow(transaction.head, 1)), store.head(), other.begin(), other.head())
            faults = await asyncio.gather(*(fault_of(work) for work in works))
        for fault in faults:
            assert fault.code is Code.DATABASE_UNAVAILABLE
            assert fault.transient
        await transaction.rollback()
        await append(store, 1)
        assert (await store.head()).position == 2

    async def test_a_hung_commit_is_unknown(self, ledger: Ledger, mariadb: MariaDB) -> None:
        store = ledger.open(lock_timeout_ms=SHORT_MS)
        transaction = await store.begin()
        await transaction.append(follow(transaction.head, 1))
        async with waiting_longer(ledger, mariadb):
            with pytest.raises(OutcomeUnknown):
                await transaction.commit()
        transaction = await patiently(store)
        assert transaction.head.position == len(await transaction.events(after=0, limit=10))
        await transaction.rollback()

    async def test_a_silent_holder_of_the_lock_is_rolled_back(self, ledger: Ledger) -> None:
        """Before the one who waits is refused: the same patience ends sooner for who holds the lock."""
        holder, waiter = ledger.open(lock_timeout_ms=3000), ledger.open(lock_timeout_ms=3000)
        transaction = await holder.begin()
        await transaction.append(follow(transaction.head, 1))
        records = await append(waiter, 2)
        with pytest.raises(OutcomeUnknown):
            await transaction.commit()
        assert await holder.events(after=0, limit=10) == records
        await append(holder, 1)

    @pytest.mark.parametrize(
        ("number", "code", "transient", "contention"),
        [
            (1020, Code.LOCK_TIMEOUT, True, True),
            (1205, Code.LOCK_TIMEOUT, True, True),
            (1213, Code.LOCK_TIMEOUT, True, True),
            (2006, Code.DATABASE_UNAVAILABLE, True, False),
            (1040, Code.DATABASE_UNAVAILABLE, True, False),
            (1053, Code.DATABASE_UNAVAILABLE, True, False),
            (1290, Code.DATABASE_READ_ONLY, False, False),
            (1021, Code.DATABASE_FULL, False, False),
            (1114, Code.DATABASE_FULL, False, False),
            (3, Code.DATABASE_FULL, False, False),
            (1142, Code.DATABASE_UNAVAILABLE, False, False),
            (1146, Code.DATABASE_NOT_MIGRATED, False, False),
        ],
    )
    def test_error_numbers(self, number: int, code: Code, transient: bool, contention: bool) -> None:
        fault = dialect.fault(errors.OperationalError(number, "says the server"))
        assert fault is not None
        assert (fault.code, fault.transient, fault.contention) == (code, transient, contention)
        assert "says the server" in fault.detail

    def test_a_connection_that_dies_as_it_is_made(self) -> None:
        fault = dialect.fault(RuntimeError("Transport does not expose socket instance"))
        assert fault is not None
        assert (fault.code, fault.transient) == (Code.DATABASE_UNAVAILABLE, True)

    def test_other_errors_are_ours(self) -> None:
        assert dialect.fault(RuntimeError("bug")) is None
        assert dialect.fault(KeyError("bug")) is None
        for error in (errors.ProgrammingError(1064, "syntax"), errors.OperationalError(1366, "incorrect value")):
            fault = dialect.fault(error)
            assert fault is not None
            assert (fault.code, fault.transient) == (Code.INTERNAL_ERROR, False)


class TestLostAnswers:
    @pytest.mark.parametrize(("cut", "committed"), [("before", 1), ("after", 3)])
    async def test_the_log_knows_what_became_of_a_commit(
        self, ledger: Ledger, mariadb: MariaDB, cut: str, committed: int
    ) -> None:
        async with Proxy(mariadb.port) as proxy:
            url = make_url(ledger.url).set(port=proxy.port).render_as_string(hide_password=False)
            async with opened(url) as store:
                await append(store, 1)
                transaction = await store.begin()
                records = follow(transaction.head, 2)
                await transaction.append(records)
                proxy.cut = cut
                with pytest.raises(OutcomeUnknown):
                    await transaction.commit()
                await transaction.rollback()
                proxy.cut = None
                transaction = await store.begin()
                assert transaction.head.position == committed
                found = await transaction.events_of_commands([record.command_id for record in records])
                assert found == (records if cut == "after" else [])
                await transaction.rollback()

    async def test_a_killed_session(self, ledger: Ledger, mariadb: MariaDB) -> None:
        store = ledger.open()
        transaction = await store.begin()
        await transaction.append(follow(transaction.head, 1))
        user = ledger.database.service.user if ledger.database else ""
        mariadb.execute(f"KILL USER '{user}'@'127.0.0.1'")
        with pytest.raises(OutcomeUnknown):
            await transaction.commit()
        await append(store, 2)
        assert (await store.head()).position == 2


def test_the_shipped_grants_are_the_whole_of_the_services_rights(database: Database, mariadb: MariaDB) -> None:
    grants = mariadb.execute(f"SHOW GRANTS FOR {database.service.quoted}")
    lines = [line for line in grants.splitlines() if not re.search(r"ON `\w+`\.`(projections|\w+_[ab])`", line)]
    assert len(grants.splitlines()) - len(lines) == 1 + sum(len(slot.tables) for slot in SLOTS.values())
    # The rows in which each process says that it is there tell nothing of numbers.
    own = f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{database.name}`.`processes` TO"
    of_the_log = "\n".join(line for line in lines if not line.startswith(own))
    assert "UPDATE ON" not in of_the_log.replace(f"SELECT, UPDATE ON `{database.name}`.`ledger_head`", "")
    assert "DELETE" not in of_the_log.replace(f"SELECT, INSERT, DELETE ON `{database.name}`.`stops`", "")
    for word in ("DROP", "TRIGGER", "ALTER", "ALL PRIVILEGES"):
        assert word not in grants


async def test_an_account_that_may_not_say_why_writing_is_stopped_serves_nothing(
    ledger: Ledger, database: Database, mariadb: MariaDB
) -> None:
    """The grants of the build of before are not enough: else a reason to stop would be known to one process only."""
    mariadb.execute(f"REVOKE SELECT, INSERT, DELETE ON `{database.name}`.`stops` FROM {database.service.quoted}")
    store = ledger.open()
    follower = Follower(store, Feed(store), chunk=10, under_lock=10)
    for _ in range(2):
        with pytest.raises(StoreFault, match=r"mariadb-grants\.sql") as refused:
            await follower.catch_up()
        assert not refused.value.transient
    mariadb.execute(f"GRANT SELECT, INSERT, DELETE ON `{database.name}`.`stops` TO {database.service.quoted}")
    assert await follower.catch_up() is not None
