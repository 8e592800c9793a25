"""A ledger in an SQLite file.

Even a reader makes files beside a database in WAL mode, and leaves them behind, perhaps for a service that may not
write to them. So a file that nobody has open is read as `immutable`, which makes none; should somebody open it
meanwhile, what was read may be nonsense, and everything is looked at once more.
"""

import asyncio
import getpass
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL

from ledger.domain.clocks import TOLERANCE_SECONDS
from ledger.stores import sqlite
from ledger.stores.sqlite import CHECK_URL, file_fault, file_of
from numbering.doctor import ledger
from numbering.doctor.findings import CHECK_SECONDS, Check, Finding, error, fault, in_order, in_thread, ok, warning
from numbering.doctor.machine import MOUNTS, disk, filesystem_of

__all__ = ["examine", "journal_mode", "local_disk", "version", "writable"]

MIN_VERSION = (3, 37)
TRIGGERS = {"events_refuse_update", "events_refuse_delete", "events_refuse_insert"}
NETWORK = re.compile(r"(nfs\d?|cifs|smb\w*|9p|ceph|glusterfs|lustre|afs|fuse(\..+)?)")
BESIDE = ("-wal", "-shm", "-journal")
ALIVE = ("-wal", "-journal")  # while one is there, the file alone is not the whole database
WRITE_VERSION = 18  # where the file says how it is written: 2 is WAL
STEPS_BETWEEN_LOOKS = 10_000  # of SQLite's machine: some milliseconds
ATTEMPTS = 2
MICROSECONDS = 1_000_000
FLAWS_SHOWN = 3
BY_HAND = "run by hand: sqlite3 {file} 'PRAGMA quick_check'"

Look = Callable[[str, Path], Iterable[Finding]]


async def examine(url: URL, *, tolerance_seconds: float = TOLERANCE_SECONDS) -> list[Finding]:
    file = file_of(url)
    findings: list[Finding] = []
    for _ in range(ATTEMPTS):
        before = await _traces_in_time(file)
        findings = await in_order([*_checks(file, tolerance_seconds)], "sqlite")
        if before == await _traces_in_time(file):
            break
    return findings


async def _traces_in_time(file: Path) -> list[object] | None:
    try:
        return await asyncio.wait_for(in_thread(partial(_traces, file)), CHECK_SECONDS)
    except TimeoutError:
        return None


def _traces(file: Path) -> list[object]:
    """Say whether somebody has the file open in WAL mode, or changed it, as long as nobody had."""
    if any(Path(f"{file}{suffix}").exists() for suffix in ALIVE):
        return []
    return [(file.stat().st_mtime_ns, file.stat().st_size)] if file.exists() else [None]


def _checks(file: Path, tolerance_seconds: float = TOLERANCE_SECONDS) -> Iterator[Check]:
    for name, look, gate in (
        ("version", _version, False),
        ("file", _file, True),
        ("permissions", _permissions, False),
        ("filesystem", _filesystem, False),
        ("disk", _disk, False),
        ("database", _database, True),
        ("integrity", _integrity, False),
        ("journal_mode", _journal_mode, False),
        ("migrations", _migrations, True),
        ("triggers", _triggers, False),
        ("head", partial(_head, tolerance_seconds), False),
        ("format", _format, False),
        ("closed", _closing, False),
    ):
        yield Check(f"sqlite {name}", partial(in_thread, partial(_said, f"sqlite {name}", look, file)), gate)


def _said(check: str, look: Look, file: Path) -> list[Finding]:
    """Let an error of SQLite speak for itself."""
    try:
        return list(look(check, file))
    except sqlite3.Error as failed:
        told = sqlite.fault(failed)
        if told is None:
            raise
        return [fault(check, told, when_away="look at who else has the file open")]


def _ask(file: Path, sql: str, *, seconds: float = CHECK_SECONDS * 0.9) -> list[tuple[Any, ...]]:
    """Ask the file, of which nothing may be changed; SQLite gives up a little before the check itself is given up."""
    immutable = "" if _traces(file) == [] else "&immutable=1"
    uri = f"file:{quote(str(file.resolve()))}?mode=ro{immutable}"
    deadline = time.monotonic() + seconds
    with closing(sqlite3.connect(uri, uri=True, timeout=1)) as connection:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_LOOKS)
        return connection.execute(sql).fetchall()


def _version(check: str, _: Path) -> Iterable[Finding]:
    return [version(check, sqlite3.sqlite_version)]


def version(check: str, text: str) -> Finding:
    if tuple(map(int, text.split(".")[:2])) < MIN_VERSION:
        newer = ".".join(map(str, MIN_VERSION))
        return warning(
            check, f"{text} is older than what we test", f"use a Python that comes with SQLite {newer} or newer"
        )
    return ok(check, text)


def _file(check: str, file: Path) -> Iterable[Finding]:
    missing = file_fault(str(file))
    if missing is None:
        return [ok(check, str(file.resolve()))]
    return [fault(check, missing, when_away=CHECK_URL)]


def _permissions(check: str, file: Path) -> Iterable[Finding]:
    beside = [path for suffix in BESIDE if (path := Path(f"{file}{suffix}")).exists()]
    return [writable(check, [file.resolve(), file.resolve().parent, *beside], getpass.getuser())]


def writable(check: str, paths: Iterable[Path], user: str) -> Finding:
    refused = [str(path) for path in paths if not os.access(path, os.W_OK)]
    if not refused:
        return ok(check, f"{user} may write to the file and its directory")
    detail = f"{user} may not write to {', '.join(refused)}"
    return error(check, detail, "give the service's account the file, its directory and what lies beside it")


def _filesystem(check: str, file: Path) -> Iterable[Finding]:
    if sys.platform != "linux":
        return [ok(check, "its type cannot be seen on this system: it must be a local disk")]
    return [local_disk(check, filesystem_of(file.resolve(), MOUNTS.read_text(encoding="utf-8")))]


def local_disk(check: str, kind: str | None) -> Finding:
    if kind is not None and NETWORK.fullmatch(kind):
        advice = "move the file to a local disk: elsewhere locks and WAL cannot be relied on"
        return warning(check, f"the file is on {kind}, which may be a network's", advice)
    return ok(check, kind or "unknown")


def _disk(check: str, file: Path) -> Iterable[Finding]:
    return [disk(check, str(file.resolve().parent))]


def _database(check: str, file: Path) -> Iterable[Finding]:
    ((count,),) = _ask(file, "SELECT count(*) FROM sqlite_master")
    return [ok(check, f"can be read, {count} tables, indexes and triggers")]


def _integrity(check: str, file: Path) -> Iterable[Finding]:
    try:
        flaws = [flaw for (flaw,) in _ask(file, f"PRAGMA quick_check({FLAWS_SHOWN})")]
    except sqlite3.OperationalError as failed:
        if failed.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return [warning(check, f"not seen to the end within {CHECK_SECONDS:g} s", BY_HAND.format(file=file))]
    if flaws == ["ok"]:
        return [ok(check, "quick_check finds nothing")]
    said = "; ".join(" ".join(flaw.split()) for flaw in flaws)
    return [error(check, f"the file is damaged: {said}", "issue nothing more, and restore the ledger from its backup")]


def _journal_mode(check: str, file: Path) -> Iterable[Finding]:
    with file.open("rb") as opened:
        return [journal_mode(check, opened.read(WRITE_VERSION + 1))]


def journal_mode(check: str, header: bytes) -> Finding:
    if header[WRITE_VERSION:] == b"\2":
        return ok(check, "WAL")
    return warning(check, "not WAL: readers and the writer wait for each other", "start the service, which sets it")


def _migrations(check: str, file: Path) -> Iterable[Finding]:
    tables = ledger.FOUNDATION_TABLE, ledger.STEP_TABLE
    return [ledger.migrations_applied(check, {table: _noted(file, table) for table in tables})]


def _noted(file: Path, table: str) -> Sequence[str]:
    made = _ask(file, f"SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{table}'")
    return [step for (step,) in _ask(file, f"SELECT version_num FROM {table}")] if made else []


def _triggers(check: str, file: Path) -> Iterable[Finding]:
    found = _ask(file, "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events'")
    return [ledger.triggers(check, dict(found), TRIGGERS)]


def _format(check: str, file: Path) -> Iterable[Finding]:
    ((is_empty,),) = _ask(file, ledger.IS_EMPTY)
    bodies = [body for (body,) in _ask(file, ledger.FORMAT)]
    return [ledger.format(check, bodies, is_empty=bool(is_empty))]


def _closing(check: str, file: Path) -> Iterable[Finding]:
    return [ledger.closing(check, _ask(file, ledger.CLOSING))]


def _head(tolerance_seconds: float, _: str, file: Path) -> Iterable[Finding]:
    rows = _ask(file, ledger.HEAD_AND_LAST)
    stops = ledger.standing(_ask(file, ledger.HEAD_AND_STOPS))
    now = int(time.time() * MICROSECONDS)
    return ledger.findings(
        "sqlite", [ledger.State(*row) for row in rows], stops, now, "this machine's clock", tolerance_seconds
    )
