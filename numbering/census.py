"""Who has the ledger open: the processes that say so, and whoever does not, as builds of before do not.

On MariaDB the server lists the connections to the database, and each process claims its own in its row; what nobody
claims is a stranger. On SQLite the kernel names the processes that have the file open. A stranger may be gone in a
moment, as a command or a backup is, or say what it is with its next refresh: so strangers are looked at for a while.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import make_url

from ledger.stores.holders import UNSEEN, holders
from ledger.stores.processes import Connection, Process, Processes
from ledger.stores.sqlite import file_of
from numbering.doctor.grants import may, parse
from numbering.presence import REFRESH_SECONDS
from numbering.settings import Settings
from numbering.wiring import opened_store

__all__ = ["LATELY_SECONDS", "PATIENCE_SECONDS", "Census", "counted", "other_holders", "taken"]

LATELY_SECONDS = 60.0  # for which a process that was seen is believed to be there
PATIENCE_SECONDS = 2 * REFRESH_SECONDS
LOOK_SECONDS = 0.5
MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Census:
    """The processes that are there, and what describes each stranger."""

    processes: Sequence[Process]
    strangers: Sequence[str]

    def older_than(self, format: int) -> list[Process]:
        return [each for each in self.processes if each.format < format]


async def taken(settings: Settings, *, seconds: float, show: Callable[[int, int], None]) -> Census:
    """Look who is there, until there is no stranger or the time is over: usually PATIENCE_SECONDS.

    Meanwhile `show` is told how many seconds were waited, and of how many. This process must not have SQLite's file
    open.
    """
    began = time.monotonic()
    while True:
        census = await _look(settings)
        waited = time.monotonic() - began
        if not census.strangers or waited >= seconds:
            return census
        show(int(waited), int(seconds))
        await asyncio.sleep(LOOK_SECONDS)


async def _look(settings: Settings) -> Census:
    pids = other_holders(settings.database_url)  # before the file is opened here
    async with opened_store(settings, reads_only=True) as store:
        table = Processes(store)
        connections = await table.connections()
        processes, now = await table.all()
        blind_spots = _blind_spots(await table.grants(), make_url(settings.database_url).database or "")
        own = set(store.connection_ids())
    others = [each for each in connections if each.id not in own]
    census = counted(processes, now, others, pids, socket.gethostname())
    return Census(census.processes, [*census.strangers, *blind_spots])


def _blind_spots(lines: Iterable[str], database: str) -> list[str]:
    """Say what an account does not see: without the PROCESS privilege a server shows it no connections but its own.

    One that may do no more than serve is the services' own, so that what it sees are theirs.
    """
    grants = parse(lines)
    if not may(grants, "CREATE", database, "*") or may(grants, "PROCESS", "*", "*"):
        return []
    return ["the connections of other accounts, which this one may not see (it needs PROCESS, or be the services' own)"]


def other_holders(database_url: str) -> set[int]:
    """Give the processes that have the ledger's file open; none on MariaDB. This process must not have it open."""
    url = make_url(database_url)
    return holders(file_of(url)) if url.get_backend_name() == "sqlite" else set()


def counted(
    processes: Iterable[Process], now: int, connections: Iterable[Connection], pids: Iterable[int], host: str
) -> Census:
    """Tell who is there from who was: somebody seen lately, or somebody whose connection or file is still open."""
    others, holding = list(connections), set(pids)
    ids = {each.id for each in others}

    def is_there(process: Process) -> bool:
        was_lately = now - process.seen_at <= LATELY_SECONDS * MICROSECONDS
        return was_lately or not ids.isdisjoint(process.connections) or (process.host, process.pid) in local

    local = {(host, pid) for pid in holding}
    there = [each for each in processes if is_there(each)]
    claimed = {id for each in there for id in each.connections}
    known = {each.pid for each in there if each.host == host}
    strangers = [_told(each) for each in others if each.id not in claimed]
    return Census(there, strangers + [_told_of(pid, host) for pid in sorted(holding - known)])


def _told(connection: Connection) -> str:
    return f"connection {connection.id} of {connection.user} from {connection.host}"


def _told_of(pid: int, host: str) -> str:
    if pid == UNSEEN:
        return "a process that cannot be seen from here, perhaps in another container, which has the file open"
    return f"process {pid} on {host}, which has the file open"
