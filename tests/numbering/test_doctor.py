"""The doctor on real servers: a healthy ledger is all OK, and each thing that is broken gives its line."""

import asyncio
import json
import math
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import make_url

from ledger import chain
from ledger.domain.commands import DefineSeries, Envelope
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.series import Definition, Series
from numbering.cli import main
from numbering.doctor import Finding, Level, clocks, grants, ledger, machine, redis, sqlite
from numbering.doctor import mariadb as dialect
from numbering.doctor.examination import examine
from numbering.doctor.findings import Check, guarded, in_order, in_thread, ok, span
from numbering.mirror_keys import write_new
from numbering.settings import Settings
from numbering.wiring import Node
from projections.schema import SLOTS
from tests.servers import HOST, Database, MariaDB, Redis, free_port
from tests.stores import GRANTS, Ledger, append, new_sqlite, setting

OK, WARNING, ERROR = Level
SECOND = 1_000_000
HOUR = 3600 * SECOND


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"NUMBERING_{name.upper()}", raising=False)


async def findings(url: str, redis_url: str = "", key_file: str = "") -> dict[str, Finding]:
    found = await examine(Settings(database_url=url, redis_url=redis_url, mirror_key_file=key_file))
    for finding in found:
        assert (finding.advice is None) == (finding.level is OK), finding
    # One name may have two findings (privileges); the worse comes first.
    return {finding.check: finding for finding in reversed(found)}


def bad(found: dict[str, Finding]) -> dict[str, Level]:
    return {finding.check: finding.level for finding in found.values() if finding.level is not OK}


def said(finding: Finding) -> str:
    return f"{finding.detail} — {finding.advice}"


def run(*words: str) -> Result:
    # Through the group, which gives every command its -h: one that was run alone before has none for ever.
    return CliRunner().invoke(main, ("doctor", *words))


# The command


async def fresh(directory: Path) -> str:
    new_sqlite(directory / "ledger.db")
    return f"sqlite+aiosqlite:///{directory}/ledger.db"


def test_a_healthy_ledger_exits_with_0(tmp_path: Path) -> None:
    result = run("--database-url", asyncio.run(fresh(tmp_path)))
    assert result.exit_code == 0, result.output
    *lines, summary = result.stdout.splitlines()
    assert all(line.startswith("OK       ") for line in lines)
    assert summary == "0 errors, 0 warnings"
    assert result.stderr == ""


def test_an_error_exits_with_1_and_says_what_to_do(tmp_path: Path) -> None:
    result = run("--database-url", f"sqlite+aiosqlite:///{tmp_path}/none.db")
    assert result.exit_code == 1
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("ERROR"))
    assert line.endswith("none.db does not exist — run `numbering migrate`")
    assert result.stdout.endswith("1 error, 1 warning\n")


def test_a_warning_alone_exits_with_0(tmp_path: Path) -> None:
    url = asyncio.run(fresh(tmp_path))
    edit(tmp_path / "ledger.db", f"UPDATE ledger_head SET recorded_at = {time.time_ns() // 1000 + 20 * SECOND}")
    result = run("--database-url", url)
    assert result.exit_code == 0
    assert result.stdout.endswith("0 errors, 1 warning\n")


def test_json_is_for_machines(tmp_path: Path) -> None:
    result = run("--json", "--database-url", f"sqlite+aiosqlite:///{tmp_path}/none.db")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert set(told) == {"findings", "errors", "warnings"}
    assert (told["errors"], told["warnings"]) == (1, 1)
    assert all(set(finding) == {"check", "level", "detail", "advice"} for finding in told["findings"])
    assert {finding["level"] for finding in told["findings"]} == {"OK", "WARNING", "ERROR"}


def test_a_bad_setting_is_wrong_usage() -> None:
    result = run("--redis-url", "http://:pass-word@localhost")
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("numbering: NUMBERING_REDIS_URL: ")
    assert "pass-word" not in line


def test_what_a_database_holds_stays_on_one_line(tmp_path: Path) -> None:
    url = asyncio.run(fresh(tmp_path))
    edit(tmp_path / "ledger.db", "UPDATE ledger_head SET stopped = 'two' || char(10) || 'lines' || char(27) || '[2J'")
    result = run("--database-url", url)
    assert "writing is stopped: two lines [2J — " in result.stdout
    assert "\x1b" not in result.stdout


# How checks are run


NEVER = math.inf  # that a check would take: a test that waited for it would not end


def looks(*found: Finding | Exception | float) -> list[Check]:
    return [Check(f"x {number}", partial(look, one)) for number, one in enumerate(found)]


async def look(one: Finding | Exception | float) -> Iterable[Finding]:
    if isinstance(one, Exception):
        raise one
    if isinstance(one, float):
        await asyncio.sleep(one)
    return [one] if isinstance(one, Finding) else []


async def test_a_failure_that_nobody_thought_of_is_a_finding() -> None:
    (check,) = looks(ZeroDivisionError("division\nby zero"))
    (finding,), answered = await guarded(check)
    assert (finding.level, finding.detail) == (ERROR, "the check failed: ZeroDivisionError: division by zero")
    assert answered


async def test_one_slow_check_does_not_keep_the_others_waiting() -> None:
    found = await in_order(looks(NEVER, ok("x 1", "fine")), "x", seconds=0.02)
    assert [finding.level for finding in found] == [ERROR, OK]
    assert found[0].detail == "no answer within 0.02 s"


async def test_after_two_without_an_answer_the_rest_is_skipped() -> None:
    found = await in_order(looks(NEVER, NEVER, NEVER, NEVER), "x", seconds=0.02)
    assert [finding.check for finding in found] == ["x 0", "x 1", "x checks"]
    assert found[-1].detail == "skipped: 2, 3"


async def test_a_thread_that_hangs_is_left_behind() -> None:
    async def hang() -> Iterable[Finding]:
        await in_thread(partial(time.sleep, 0.2))
        return []

    (finding,), answered = await guarded(Check("x", hang), seconds=0.02)
    assert (finding.level, answered) == (ERROR, False)
    await asyncio.sleep(0.3)  # its answer, which nobody wants any more, disturbs nobody


# Rules, without a database


@pytest.mark.parametrize(
    ("seconds", "written"), [(0.26, "0.3 s"), (61, "61 s"), (600, "10 min"), (8000, "2 h"), (400_000, "5 d")]
)
def test_lengths_of_time_are_for_people(seconds: float, written: str) -> None:
    assert span(seconds) == written


@pytest.mark.parametrize(
    ("today", "age"),
    [(date(2026, 12, 1), "of this year"), (date(2027, 1, 1), "of last year"), (date(2030, 1, 1), "4 years")],
)
def test_the_age_of_the_time_zones_is_a_note(today: date, age: str) -> None:
    finding = machine.time_zones("2026.6", "2026f", today)
    assert finding.level is OK
    assert "2026.6 (IANA 2026f)" in finding.detail
    assert age in finding.detail


MIB, GIB = 2**20, 2**30


@pytest.mark.parametrize(
    ("free", "total", "level"),
    [
        (2 * GIB, 10 * GIB, OK),
        (2 * GIB, 30 * GIB, WARNING),
        (1000 * MIB, 2 * GIB, WARNING),
        (99 * MIB, 200 * MIB, ERROR),
        (0, 0, ERROR),
    ],
)
def test_free_space(free: int, total: int, level: Level) -> None:
    assert machine.free_space("disk", "/data", free, total).level is level


MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:40 / /srv rw - nfs4 server:/srv rw
24 22 0:41 / /srv/my\040disk rw shared:7 master:1 - xfs /dev/sdb rw
25 22 0:42 / /srv/my\040disk/hidden rw - xfs /dev/sdb rw
26 22 0:43 / /srv/my\040disk/hidden rw - fuse.sshfs host: rw
""".strip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/x", "ext4"),
        ("/srv/x", "nfs4"),
        ("/srvx", "ext4"),
        ("/srv/my disk/x", "xfs"),
        ("/srv/my disk/hidden/x", "fuse.sshfs"),
    ],
)
def test_the_filesystem_is_the_nearest_mount(path: str, kind: str) -> None:
    assert machine.filesystem_of(Path(path), MOUNTS) == kind


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        ("ext4", OK),
        ("overlay", OK),
        ("fuseblk", OK),
        (None, OK),
        *((each, WARNING) for each in ("nfs", "nfs4", "cifs", "smb3", "fuse", "fuse.sshfs")),
    ],
)
def test_a_network_s_disk_is_a_warning(kind: str | None, level: Level) -> None:
    assert sqlite.local_disk("filesystem", kind).level is level


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("10.11.19-MariaDB-0+deb12u1-log", OK),
        ("5.5.5-11.4.2-MariaDB", OK),
        ("10.6.18-MariaDB", ERROR),
        ("8.0.36", ERROR),
        ("9.1.0-commercial", ERROR),
    ],
)
def test_the_version_of_mariadb(text: str, level: Level) -> None:
    assert dialect.version("version", text).level is level


@pytest.mark.parametrize(("text", "level"), [("3.37.0", OK), ("3.40.1", OK), ("4.0", OK), ("3.36.0", WARNING)])
def test_the_version_of_sqlite(text: str, level: Level) -> None:
    assert sqlite.version("version", text).level is level


@pytest.mark.parametrize(
    ("theirs", "level", "told"),
    [
        (100.5, OK, ""),
        (98.9, WARNING, "behind this machine's"),
        (103.1, WARNING, "2.0 s ahead of this machine's"),
        (101.9, OK, ""),
        (131.0, WARNING, "30 s ahead of this machine's"),
        (132.0, ERROR, "the service writes nothing (CLOCK_UNSURE)"),
        (69.9, ERROR, "the service writes nothing (CLOCK_UNSURE)"),
    ],
)
def test_clocks_are_compared_as_far_as_the_line_allows(theirs: float, level: Level, told: str) -> None:
    finding = clocks.compared("clock", theirs, before=100.0, after=101.1)
    assert finding.level is level
    assert told in finding.detail


@pytest.mark.parametrize(("theirs", "level"), [(100.5, OK), (131.0, OK), (132.0, WARNING), (69.0, WARNING)])
def test_a_witness_that_could_not_agree(theirs: float, level: Level) -> None:
    assert clocks.of_redis("clock", theirs, before=100.0, after=101.1).level is level


def test_a_server_without_a_binary_log_is_an_error() -> None:
    row = (0, 1, 1, "ROW", 2**24, 1)
    wrong = {finding.check: finding for finding in dialect.durability(row) if finding.level is not OK}
    assert set(wrong) == {"mariadb log_bin"}
    assert wrong["mariadb log_bin"].advice == "start the server with --log-bin"


def test_too_many_connections_are_a_warning() -> None:
    assert dialect.connections("connections", 120, 151).level is OK
    assert dialect.connections("connections", 121, 151).level is WARNING


def test_the_data_directory_is_seen_only_on_this_machine() -> None:
    here = os.uname().nodename
    assert dialect.datadir_is_here("127.0.0.1", here)
    assert dialect.datadir_is_here(here, here)
    assert not dialect.datadir_is_here("127.0.0.1", "a-container")
    assert not dialect.datadir_is_here("db.example", here)


@pytest.mark.parametrize(
    ("current", "level", "told"),
    [
        (["0002"], OK, "newest"),
        (["0001"], ERROR, "run `numbering migrate`"),
        ([], ERROR, "run `numbering migrate`"),
        (["0003"], ERROR, "upgrade numbering-ledger"),
    ],
)
def test_migrations_are_those_of_this_version(current: list[str], level: Level, told: str) -> None:
    finding = ledger.revision("migrations", current, ["0001", "0002"])
    assert finding.level is level
    assert told in said(finding)


@pytest.mark.parametrize(
    ("foundation", "step", "level", "told"),
    [
        (["0002"], ["0004"], OK, "newest"),
        (["0002"], ["0003"], ERROR, "run `numbering migrate`"),
        (["0002"], [], ERROR, "run `numbering migrate`"),  # as a build of before the second table left it
        (["0002"], ["0005"], OK, "only adds to it"),
        (["0005"], ["0005"], ERROR, "upgrade numbering-ledger"),
        ([], ["0004"], ERROR, "run `numbering migrate`"),
        ([], [], ERROR, "run `numbering migrate`"),
    ],
)
def test_a_later_step_that_only_adds_is_no_error(
    monkeypatch: pytest.MonkeyPatch, foundation: list[str], step: list[str], level: Level, told: str
) -> None:
    monkeypatch.setattr(ledger, "known_revisions", lambda: ["0001", "0002", "0003", "0004"])
    noted = {ledger.FOUNDATION_TABLE: foundation, ledger.STEP_TABLE: step}
    finding = ledger.migrations_applied("migrations", noted)
    assert finding.level is level
    assert told in said(finding)


STATE = ledger.State(2, b"2" * 32, 1, "id", 2, b"2" * 32)
EMPTY = ledger.State(0, chain.genesis("id"), 0, "id", None, None)


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (STATE, OK),
        (EMPTY, OK),
        (None, ERROR),
        (STATE._replace(position=1), ERROR),
        (STATE._replace(position=3), ERROR),
        (STATE._replace(hash=b"3" * 32), ERROR),
        (STATE._replace(last_position=None, last_hash=None), ERROR),
        (EMPTY._replace(hash=b"0" * 32), ERROR),
    ],
)
def test_the_head_is_the_last_event_s(state: ledger.State | None, level: Level) -> None:
    assert ledger.head("head", state).level is level


# The format


def raised_to(format: int) -> list[str | bytes]:
    return [f'{{"data":{{"format":{format}}}}}']


@pytest.mark.parametrize(
    ("bodies", "level", "told"),
    [
        (raised_to(NEWEST_FORMAT), OK, "the newest"),
        (raised_to(NEWEST_FORMAT - 1), OK, "numbering upgrade"),
        (raised_to(NEWEST_FORMAT + 1), ERROR, "upgrade numbering-ledger"),
    ],
)
def test_the_format_is_one_that_this_version_knows(bodies: list[str | bytes], level: Level, told: str) -> None:
    finding = ledger.format("format", bodies, is_empty=False)
    assert finding.level is level
    assert told in said(finding)


def test_an_empty_ledger_has_no_format_yet() -> None:
    finding = ledger.format("format", [], is_empty=True)
    assert (finding.level, "no event yet" in said(finding)) == (OK, True)


# Grants, as SHOW GRANTS writes them

SERVICE = [
    "GRANT USAGE ON *.* TO `s`@`%` IDENTIFIED BY PASSWORD '*A4B6157319038724E3560894F7F932C8886EBFCF'",
    "GRANT SELECT, INSERT ON `l`.`events` TO `s`@`%`",
    "GRANT SELECT, INSERT ON `l`.`snapshots` TO `s`@`%`",
    "GRANT SELECT, UPDATE ON `l`.`ledger_head` TO `s`@`%`",
    "GRANT SELECT ON `l`.`alembic_version` TO `s`@`%`",
    "GRANT SELECT, INSERT, DELETE ON `l`.`stops` TO `s`@`%`",
    "GRANT SELECT ON `l`.`schema_version` TO `s`@`%`",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON `l`.`processes` TO `s`@`%`",
    "GRANT SELECT, UPDATE ON `l`.`projections` TO `s`@`%`",
    *(
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON `l`.`{table.name}` TO `s`@`%`"
        for slot in SLOTS.values()
        for table in slot.tables
    ),
]


def judged(*lines: str, database: str = "l") -> list[Finding]:
    return grants.privileges("privileges", grants.parse(lines), database)


def test_what_is_needed_is_what_the_file_grants() -> None:
    sql = "\n".join(line for line in GRANTS.read_text().splitlines() if not line.startswith("--"))
    statements = [statement.strip() for statement in sql.replace("{database}", "l").split(";")]
    granted = grants.parse(statement for statement in statements if statement)
    assert {grant.table: set(grant.privileges) for grant in granted} == grants.NEEDED


def test_what_the_file_grants_is_ok() -> None:
    assert [finding.level for finding in judged(*SERVICE)] == [OK]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("GRANT DELETE ON `l`.`events` TO `s`@`%`", "DELETE on l.events"),
        ("GRANT UPDATE (`body`, `hash`) ON `l`.`events` TO `s`@`%`", "UPDATE (`body`, `hash`) on l.events"),
        ("GRANT SELECT ON `l`.`events` TO `s`@`%` WITH GRANT OPTION", "GRANT OPTION on l.events"),
        ("GRANT SELECT ON `l`.`other` TO `s`@`%`", "SELECT on l.other"),
        ("GRANT SELECT ON `l`.* TO `s`@`%`", "SELECT on l.*"),
        ("GRANT SELECT, INSERT ON `m`.`events` TO `s`@`%`", "INSERT, SELECT on m.events"),
        ("GRANT ALL PRIVILEGES ON *.* TO `s`@`%` WITH GRANT OPTION", "ALL PRIVILEGES, GRANT OPTION on *.*"),
        ("GRANT BINLOG ADMIN, SUPER ON *.* TO `s`@`%`", "BINLOG ADMIN, SUPER on *.*"),
        ("GRANT EXECUTE ON PROCEDURE `l`.`events` TO `s`@`%`", "EXECUTE on PROCEDURE l.events"),
        ("GRANT PROXY ON ''@'%' TO 's'@'%' WITH GRANT OPTION", "PROXY on *.*"),
    ],
)
def test_a_wider_privilege_is_named(line: str, told: str) -> None:
    (finding,) = judged(*SERVICE, line)
    assert finding.level is WARNING
    assert finding.detail.endswith(f": {told}")
    assert "ops/mariadb-grants.sql" in said(finding)
    assert "*A4B6" not in said(finding)


@pytest.mark.parametrize("gone", list(grants.NEEDED))
def test_a_missing_privilege_is_named(gone: str) -> None:
    left = [line for line in SERVICE if f".`{gone}` TO" not in line]
    assert len(left) == len(SERVICE) - 1
    (finding,) = judged(*left)
    assert finding.level is ERROR
    assert finding.detail.endswith(f" on l.{gone}")


@pytest.mark.parametrize(
    ("pattern", "database", "covered"),
    [
        ("l_dger", "ledger", True),
        ("l\\_dger", "ledger", False),
        ("l\\_dger", "l_dger", True),
        ("l%", "ledger", True),
        ("l%", "other", False),
        ("a``b", "a`b", True),
    ],
)
def test_the_database_of_a_grant_is_a_pattern(pattern: str, database: str, covered: bool) -> None:
    levels = {
        finding.level for finding in judged(f"GRANT ALL PRIVILEGES ON `{pattern}`.* TO `s`@`%`", database=database)
    }
    assert levels == ({WARNING} if covered else {ERROR, WARNING})


# MariaDB


@pytest.fixture
async def database(mariadb_only: Ledger) -> Database:
    await append(mariadb_only.open(), 2)
    assert mariadb_only.database is not None
    return mariadb_only.database


class TestMariaDB:
    async def test_a_healthy_ledger_is_all_ok(self, database: Database) -> None:
        found = await findings(database.service_url)
        assert bad(found) == {}
        assert "position 2" in found["mariadb head"].detail
        assert "free" in found["mariadb disk"].detail

    async def test_the_administrator_sees_the_triggers(self, database: Database) -> None:
        found = await findings(database.admin_url)
        assert bad(found) == {"mariadb privileges": WARNING}
        assert found["mariadb triggers"].detail == "events_refuse_delete, events_refuse_update"

    @pytest.mark.parametrize(
        ("name", "value", "told"),
        [
            ("sync_binlog", "0", "set it to 1"),
            ("innodb_flush_log_at_trx_commit", "2", "set it to 1"),
            ("binlog_format", "'STATEMENT'", "set it to ROW"),
            ("max_allowed_packet", "1048576", "set it to 16777216 or more"),
            ("read_only", "1", "read_only"),
        ],
    )
    async def test_a_wrong_setting_is_an_error(
        self, mariadb: MariaDB, database: Database, name: str, value: str, told: str
    ) -> None:
        with setting(mariadb, name, value):
            found = await findings(database.service_url)
        assert bad(found) == {f"mariadb {name}": ERROR}
        assert told in said(found[f"mariadb {name}"])

    @pytest.mark.parametrize(
        ("statement", "broken"),
        [
            ("ALTER TABLE ledger_head CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci", "collation"),
            ("ALTER TABLE events MODIFY type VARCHAR(64) CHARACTER SET latin1 NOT NULL", "collation"),
            ("ALTER TABLE snapshots ENGINE = Aria", "engine"),
            ("DROP TABLE snapshots", "engine"),
            ("DROP TRIGGER events_refuse_delete", "triggers"),
            (
                "CREATE OR REPLACE TRIGGER events_refuse_update BEFORE UPDATE ON events FOR EACH ROW SET @a = 1",
                "triggers",
            ),
            ("UPDATE ledger_head SET stopped = 'the mirror is ahead'", "stopped"),
            ("UPDATE ledger_head SET position = 3", "head"),
            ("DELETE FROM ledger_head", "head"),
            ("UPDATE alembic_version SET version_num = '9999'", "migrations"),
            ("DELETE FROM alembic_version", "migrations"),
        ],
    )
    async def test_a_broken_ledger_is_an_error(
        self, mariadb: MariaDB, database: Database, statement: str, broken: str
    ) -> None:
        mariadb.execute(statement, database=database.name)
        wrong = bad(await findings(database.admin_url))
        assert wrong.pop("mariadb privileges") is WARNING
        skipped = wrong.pop("mariadb checks", None)
        assert wrong == {f"mariadb {broken}": ERROR}
        assert (skipped is WARNING) == (broken == "migrations")

    async def test_what_stopped_it_is_told(self, mariadb: MariaDB, database: Database) -> None:
        mariadb.execute("UPDATE ledger_head SET stopped = 'สำเนานำหน้า'", database=database.name)
        assert "สำเนานำหน้า" in (await findings(database.service_url))["mariadb stopped"].detail

    @pytest.mark.parametrize(("ahead", "level", "told"), [(20 * SECOND, WARNING, ""), (3 * HOUR, ERROR, "DATED_AHEAD")])
    async def test_a_last_event_in_the_future(
        self, mariadb: MariaDB, database: Database, ahead: int, level: Level, told: str
    ) -> None:
        future = time.time_ns() // 1000 + ahead
        mariadb.execute(f"UPDATE ledger_head SET recorded_at = {future}", database=database.name)
        found = await findings(database.service_url)
        assert bad(found) == {"mariadb last event": level}
        assert "in the future of the database's clock" in found["mariadb last event"].detail
        assert told in found["mariadb last event"].detail

    @pytest.mark.parametrize(("seconds", "level"), [(20, WARNING), (90, ERROR)])
    async def test_a_clock_apart(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, seconds: int, level: Level
    ) -> None:
        monkeypatch.setattr("numbering.doctor.mariadb.time.time", lambda true=time.time: true() + seconds)
        found = await findings(database.service_url)
        assert bad(found) == {"mariadb clock": level}
        assert f"{seconds} s behind this machine's" in found["mariadb clock"].detail

    async def test_grants_that_are_not_those_of_the_file(self, mariadb: MariaDB, database: Database) -> None:
        mariadb.execute(
            f"""
            GRANT DELETE, TRIGGER ON `{database.name}`.`events` TO {database.service.quoted};
            REVOKE INSERT ON `{database.name}`.`snapshots` FROM {database.service.quoted};
            """
        )
        found = await examine(Settings(database_url=database.service_url))
        lacking, more = (finding for finding in found if finding.check == "mariadb privileges")
        assert (lacking.level, more.level) == (ERROR, WARNING)
        assert f"INSERT on {database.name}.snapshots" in lacking.detail
        assert f"DELETE, TRIGGER on {database.name}.events" in more.detail

    async def test_an_account_without_grants_is_told(self, mariadb: MariaDB) -> None:
        found = await findings(mariadb.new_database().service_url)
        assert bad(found) == {"mariadb connection": ERROR, "mariadb checks": WARNING}
        assert found["mariadb connection"].advice == "check the grants in ops/mariadb-grants.sql"

    async def test_a_database_without_a_ledger(self, mariadb: MariaDB) -> None:
        found = await findings(mariadb.new_database().admin_url)
        assert bad(found)["mariadb migrations"] is ERROR
        assert found["mariadb migrations"].advice == "run `numbering migrate`"
        assert found["mariadb checks"].detail == "skipped: engine, collation, triggers, head, format, closed"

    async def test_a_dead_server(self) -> None:
        found = await findings(f"mariadb+asyncmy://u:pass-word@{HOST}:{free_port()}/ledger")
        assert bad(found) == {"mariadb connection": ERROR, "mariadb checks": WARNING}
        assert found["mariadb connection"].advice == "start the server, or check NUMBERING_DATABASE_URL"
        assert all(name in found["mariadb checks"].detail for name in ("version", "clock", "head"))
        assert "pass-word" not in "".join(map(said, found.values()))

    async def test_a_wrong_password(self, database: Database) -> None:
        url = make_url(database.service_url).set(password="pass-word")
        found = await findings(url.render_as_string(hide_password=False))
        assert bad(found) == {"mariadb connection": ERROR, "mariadb checks": WARNING}
        assert "the account or its password is wrong" in found["mariadb connection"].detail
        assert found["mariadb connection"].advice == "check the database URL"
        assert "pass-word" not in "".join(map(said, found.values()))

    async def test_a_line_that_was_lost_is_opened_again(self, mariadb: MariaDB, database: Database) -> None:
        server = dialect.Server(make_url(database.service_url))
        ((number,),) = await server.ask("SELECT CONNECTION_ID()")
        mariadb.execute(f"KILL {number}")
        finding, again = [await guarded(Check("x", lambda: ask(server))) for _ in range(2)]
        server.drop()
        assert [level(one) for one in (finding, again)] == [ERROR, OK]

    async def test_a_silent_server_is_not_waited_for(self, mariadb: MariaDB, database: Database) -> None:
        server = dialect.Server(make_url(database.service_url))
        with mariadb.paused():
            found = await in_order([*dialect._checks(server)], "mariadb", seconds=0.2)
        assert [(finding.check, finding.level) for finding in found] == [
            ("mariadb connection", ERROR),
            ("mariadb checks", WARNING),
        ]

    async def test_it_could_not_change_anything(self, database: Database) -> None:
        server = dialect.Server(make_url(database.admin_url))
        with pytest.raises(Exception, match="READ ONLY"):
            await server.ask("UPDATE ledger_head SET position = 9")
        server.drop()


async def ask(server: dialect.Server) -> list[Finding]:
    await server.ask("SELECT 1")
    return [ok("x", "")]


def level(guarded: tuple[list[Finding], bool]) -> Level:
    return guarded[0][0].level


# SQLite


def look_of(file: Path) -> tuple[bytes, int, list[str]]:
    return file.read_bytes(), file.stat().st_mtime_ns, os.listdir(file.parent)


def damage(file: Path, start: int, end: int) -> None:
    file.write_bytes(file.read_bytes()[:start] + b"\xff" * (end - start) + file.read_bytes()[end:])


def edit(file: Path, sql: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(sql)


@pytest.fixture
async def file(sqlite_only: Ledger, tmp_path: Path) -> Path:
    store = sqlite_only.open()
    await append(store, 2)
    await store.close()
    return tmp_path / "ledger.db"


def url_of(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


class TestSQLite:
    async def test_a_healthy_ledger_is_all_ok_and_left_as_it_was(self, file: Path) -> None:
        before = look_of(file)
        found = await findings(url_of(file))
        assert bad(found) == {}
        assert "position 2" in found["sqlite head"].detail
        assert look_of(file) == before

    async def test_a_ledger_in_use_is_seen_as_it_is(self, sqlite_only: Ledger, file: Path) -> None:
        await append(sqlite_only.open(), 3)
        beside = sorted(os.listdir(file.parent))
        assert "ledger.db-wal" in beside
        found = await findings(url_of(file))
        assert bad(found) == {}
        assert "position 5" in found["sqlite head"].detail
        assert sorted(os.listdir(file.parent)) == beside

    async def test_one_that_was_opened_meanwhile_is_looked_at_again(
        self, sqlite_only: Ledger, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        true_checks, seen = sqlite._checks, []

        def checks(path: Path, *_: object) -> Iterator[Check]:
            seen.append(path)
            yield from true_checks(path)
            if len(seen) == 1:
                yield Check("somebody appends", grow)

        async def grow() -> Iterable[Finding]:
            await append(sqlite_only.open(), 3)
            return [ok("somebody appends", "")]

        monkeypatch.setattr(sqlite, "_checks", checks)
        assert "position 5" in (await findings(url_of(file)))["sqlite head"].detail
        assert len(seen) == 2

    async def test_a_uri_names_a_file_too(self, file: Path) -> None:
        assert bad(await findings(f"sqlite+aiosqlite:///file:{file}?mode=rw&uri=true")) == {}

    async def test_a_name_that_a_uri_would_cut(self, file: Path) -> None:
        renamed = file.with_name("สมุด #1 100%.db")
        os.rename(file, renamed)
        assert bad(await findings(url_of(renamed))) == {}

    async def test_a_missing_file_is_not_made(self, tmp_path: Path) -> None:
        found = await findings(url_of(tmp_path / "none.db"))
        assert bad(found) == {"sqlite file": ERROR, "sqlite checks": WARNING}
        assert found["sqlite file"].advice == "run `numbering migrate`"
        assert "integrity" in found["sqlite checks"].detail
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("name", ["no/such/ledger.db", "."])
    async def test_a_wrong_path_says_what_to_check(self, tmp_path: Path, name: str) -> None:
        found = await findings(url_of(tmp_path / name))
        assert bad(found) == {"sqlite file": ERROR, "sqlite checks": WARNING}
        assert found["sqlite file"].advice == "check the database URL"

    async def test_garbage(self, tmp_path: Path) -> None:
        file = tmp_path / "letter.txt"
        file.write_text("Dear auditor, " * 1000)
        found = await findings(url_of(file))
        assert bad(found) == {"sqlite database": ERROR, "sqlite checks": WARNING}
        assert said(found["sqlite database"]).startswith("the file is no SQLite database (SQLite says: ")
        assert found["sqlite database"].advice == "check the database URL"

    async def test_an_empty_file(self, tmp_path: Path) -> None:
        edit(tmp_path / "empty.db", "")
        found = await findings(url_of(tmp_path / "empty.db"))
        assert bad(found) == {"sqlite journal_mode": WARNING, "sqlite migrations": ERROR, "sqlite checks": WARNING}

    async def test_a_damaged_file(self, file: Path) -> None:
        damage(file, 4096, 8192)
        assert bad(await findings(url_of(file)))["sqlite integrity"] is ERROR

    async def test_a_file_too_large_to_be_checked_in_time(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite, "STEPS_BETWEEN_LOOKS", 1)
        with pytest.raises(sqlite3.OperationalError):
            sqlite._ask(file, "SELECT 1", seconds=-1)
        monkeypatch.setattr(sqlite, "_ask", interrupted)
        (finding,) = sqlite._integrity("integrity", file)
        assert finding.level is WARNING
        assert finding.advice == f"run by hand: sqlite3 {file} 'PRAGMA quick_check'"

    async def test_a_file_that_may_only_be_read(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # Tests may run as root, who may write anywhere.
        monkeypatch.setattr(os, "access", lambda path, _: path != file)
        found = await findings(url_of(file))
        assert bad(found) == {"sqlite permissions": ERROR}
        assert f"may not write to {file}" in found["sqlite permissions"].detail

    async def test_files_that_another_user_left_beside_it(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shutil.copy(file, f"{file}-shm")
        monkeypatch.setattr(os, "access", lambda path, _: not str(path).endswith("-shm"))
        assert "ledger.db-shm" in (await findings(url_of(file)))["sqlite permissions"].detail

    @pytest.mark.parametrize(
        ("sql", "broken", "level"),
        [
            ("DROP TRIGGER events_refuse_insert", "triggers", ERROR),
            ("UPDATE ledger_head SET stopped = 'the mirror is ahead'", "stopped", ERROR),
            ("UPDATE ledger_head SET hash = zeroblob(32)", "head", ERROR),
            ("DELETE FROM ledger_head", "head", ERROR),
            (f"UPDATE ledger_head SET recorded_at = {2 * 10**15}", "last event", ERROR),
            ("PRAGMA journal_mode = DELETE", "journal_mode", WARNING),
            ("UPDATE alembic_version SET version_num = '9999'", "migrations", ERROR),
            ("DROP TABLE alembic_version", "migrations", ERROR),
        ],
    )
    async def test_a_broken_ledger(self, file: Path, sql: str, broken: str, level: Level) -> None:
        edit(file, sql)
        wrong = bad(await findings(url_of(file)))
        assert wrong.pop("sqlite checks", None) is (WARNING if broken == "migrations" else None)
        assert wrong == {f"sqlite {broken}": level}

    async def test_an_old_migration(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        known = ledger.known_revisions()
        monkeypatch.setattr(ledger, "known_revisions", lambda: [*known, "later"])
        found = await findings(url_of(file))
        assert bad(found) == {"sqlite migrations": ERROR, "sqlite checks": WARNING}
        assert found["sqlite migrations"].advice == "run `numbering migrate`"


def interrupted(*_: object, **__: object) -> Any:
    error = sqlite3.OperationalError("interrupted")
    error.sqlite_errorcode = sqlite3.SQLITE_INTERRUPT
    raise error


# Redis


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    with Redis() as started:
        yield started


async def looked(url: str) -> dict[str, Finding]:
    return {finding.check: finding for finding in await redis.examine(url)}


class TestRedis:
    async def test_none_is_fine(self) -> None:
        assert await redis.examine("") == [ok("redis", "no mirror configured")]

    async def test_a_healthy_one_is_all_ok(self, server: Redis) -> None:
        found = await looked(server.url)
        assert bad(found) == {}
        assert {"redis version", "redis role", "redis maxmemory-policy", "redis appendonly", "redis memory"} < set(
            found
        )

    @pytest.mark.parametrize(
        ("broken", "put_right", "check", "level"),
        [
            (
                "CONFIG SET maxmemory-policy allkeys-lru",
                "CONFIG SET maxmemory-policy noeviction",
                "maxmemory-policy",
                ERROR,
            ),
            ("CONFIG SET appendonly no", "CONFIG SET appendonly yes", "appendonly", WARNING),
            ("CONFIG SET maxmemory 1200kb", "CONFIG SET maxmemory 0", "memory", WARNING),
            ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "role", ERROR),
        ],
    )
    async def test_a_wrong_setting(self, server: Redis, broken: str, put_right: str, check: str, level: Level) -> None:
        server.execute(*broken.split())
        try:
            assert bad(await looked(server.url)) == {f"redis {check}": level}
        finally:
            server.execute(*put_right.split())

    async def test_an_old_one(self) -> None:
        info = {"redis_version": "6.0.16", "role": "master", "used_memory": 1, "aof_enabled": 1}
        levels = {finding.check: finding.level for finding in redis.judge(info)}
        assert levels["redis version"] is ERROR

    @pytest.mark.parametrize("user", ["app:pass-word", "nobody:pass-word"])
    async def test_a_wrong_password(self, server: Redis, user: str) -> None:
        server.execute("ACL", "SETUSER", "app", "on", ">the-true-one", "+@all", "~*")
        found = await looked(f"redis://{user}@{HOST}:{server.port}/0")
        assert bad(found) == {"redis connection": ERROR, "redis checks": WARNING}
        assert "Redis refuses us" in found["redis connection"].detail
        assert "pass-word" not in "".join(map(said, found.values()))

    async def test_a_right_password(self, server: Redis) -> None:
        server.execute("ACL", "SETUSER", "app", "on", ">the-true:one", "+@all", "~*")
        assert bad(await looked(f"redis://app:the-true%3Aone@{HOST}:{server.port}/3")) == {}

    async def test_a_user_who_may_not_ask(self, server: Redis) -> None:
        server.execute("ACL", "SETUSER", "poor", "on", ">poor", "+ping")
        found = await looked(f"redis://poor:poor@{HOST}:{server.port}")
        assert bad(found) == {"redis settings": ERROR, "redis clock": WARNING}
        assert "+info" in said(found["redis settings"])
        assert "+time" in said(found["redis clock"])

    @pytest.mark.parametrize("url", [f"redis://:pass-word@{HOST}:{{port}}", "unix://:pass-word@/no/such/socket?db=1"])
    async def test_a_dead_one(self, url: str) -> None:
        found = await looked(url.format(port=free_port()))
        assert bad(found) == {"redis connection": ERROR, "redis checks": WARNING}
        assert found["redis connection"].advice == "start Redis, or check NUMBERING_REDIS_URL"
        assert "pass-word" not in "".join(map(said, found.values()))

    async def test_a_silent_one(self, server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(redis, "ANSWER_SECONDS", 0.1)
        with server.paused():
            found = await looked(server.url)
        assert found["redis connection"].detail == "no answer from Redis within 0.1 s"

    async def test_it_is_part_of_the_examination(self, file: Path, server: Redis) -> None:
        found = await findings(url_of(file), server.url)
        assert bad(found) == {"mirror": WARNING, "mirror key": WARNING}, "no service has filled it yet"
        assert found["redis connection"].level is OK

    @pytest.mark.parametrize(
        ("mode", "level", "text"),
        [
            (0o600, OK, "has 1 key; back it up apart from the database"),
            (0o640, OK, "back it up apart from the database"),
            (0o660, WARNING, "chmod g-w"),
            (0o644, ERROR, "may be read or written by everybody (mode 0644)"),
        ],
    )
    async def test_the_file_of_the_mirrors_keys(
        self, file: Path, server: Redis, tmp_path: Path, mode: int, level: Level, text: str
    ) -> None:
        keys = tmp_path / "keys"
        write_new(keys)
        keys.chmod(mode)
        found = await findings(url_of(file), server.url, str(keys))
        assert found["mirror key"].level is level
        assert text in said(found["mirror key"])
        assert (found["mirror checks"].level if level is ERROR else WARNING) is WARNING

    async def test_processes_with_different_keys_are_found(self, server: Redis, tmp_path: Path) -> None:
        url, keys = await fresh(tmp_path), tmp_path / "keys"
        write_new(keys)

        async def write(code: str, key_file: str = "") -> None:
            settings = Settings(database_url=url, redis_url=server.url, mirror_key_file=key_file)
            async with Node(settings) as node:
                series = Series.define(code, Definition(template=f"{code}-{{SEQ:4}}"))
                await node.ledger.execute(DefineSeries((series,)), Envelope(code.encode() * 32, "tester"))

        await write("A")
        found = await findings(url, server.url, str(keys))
        assert "no valid MAC: a process without this key" in said(found["mirror MACs"])
        await write("B", str(keys))
        assert bad(await findings(url, server.url, str(keys))) == {}
        found = await findings(url, server.url)
        assert "bears a MAC, and no key is set here" in said(found["mirror MACs"])
