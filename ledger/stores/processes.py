"""Which processes serve a ledger: a row of each, which it refreshes itself and takes away when it ends.

Nothing that the ledger promises rests on these rows. Who raises the format reads them; a process that hangs or was
killed leaves its row behind, and is told from the others by when it was last seen, by the database's clock.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.stores.schema import processes
from ledger.stores.sql import SqlStore

__all__ = ["STALE_SECONDS", "Connection", "Process", "Processes"]

STALE_SECONDS = 3600  # after which a row is of nobody
MICROSECONDS = 1_000_000


class Process(NamedTuple):
    """A process that serves the ledger; `connections` are the ids that MariaDB gave to its connections.

    `format` is the newest format of events that its build knows. Instants are microseconds since 1970 UTC.
    """

    id: str
    host: str
    pid: int
    build: str
    format: int
    connections: tuple[int, ...] = ()
    started_at: int = 0
    seen_at: int = 0


class Connection(NamedTuple):
    """A connection of anybody to the ledger's database, as the server shows it; `host` has the port too."""

    id: int
    user: str
    host: str


_COLUMNS = [processes.c[name] for name in Process._fields]
_BY_ID = processes.c.id == bindparam("its_id")
ALL = select(*_COLUMNS).order_by(processes.c.started_at, processes.c.id)
FORGET = delete(processes).where(_BY_ID)


class Processes:
    def __init__(self, store: SqlStore) -> None:
        self._store = store
        now = store.now_column()
        self._now = select(now)
        self._refresh = (
            update(processes).where(_BY_ID).values(connections=bindparam("its_connections"), seen_at=store.now_column())
        )
        self._add = insert(processes).values(started_at=store.now_column(), seen_at=store.now_column())
        self._forget_stale = delete(processes).where(processes.c.seen_at < now - STALE_SECONDS * MICROSECONDS)

    async def see(self, process: Process) -> None:
        """Note that a process is there now; a StoreFault when that cannot be."""

        async def see(connection: AsyncConnection) -> None:
            connections = _written(self._store.connection_ids())  # this one among them
            refreshed = {"its_id": process.id, "its_connections": connections}
            if (await connection.execute(self._refresh, refreshed)).rowcount:
                return
            await connection.execute(self._forget_stale)
            row = process._asdict() | {"connections": connections}
            del row["started_at"], row["seen_at"]
            await connection.execute(self._add, row)

        await self._store.aside(see)

    async def forget(self, process: Process) -> None:
        async def forget(connection: AsyncConnection) -> None:
            await connection.execute(FORGET, {"its_id": process.id})

        await self._store.aside(forget)

    async def all(self) -> tuple[Sequence[Process], int]:
        """Give every process that is noted, the first to start first, and the database's time."""

        async def read(connection: AsyncConnection) -> tuple[Sequence[Any], int]:
            rows = (await connection.execute(ALL)).all()
            return rows, (await connection.execute(self._now)).scalar_one()

        rows, now = await self._store.aside(read)
        return [Process(*row)._replace(connections=_read(row.connections)) for row in rows], now

    async def connections(self) -> Sequence[Connection]:
        """Give the connections to the database that the account may see; none where there is no server."""
        return [Connection._make(row) for row in await self._asked(self._store.connections_sql)]

    async def grants(self) -> Sequence[str]:
        """Give the lines of SHOW GRANTS; none where there is no server."""
        statement = None if self._store.connections_sql is None else "SHOW GRANTS"
        return [str(line) for (line,) in await self._asked(statement)]

    async def _asked(self, sql: str | None) -> Sequence[Any]:
        async def ask(connection: AsyncConnection) -> Sequence[Any]:
            return [] if sql is None else (await connection.exec_driver_sql(sql)).all()

        return await self._store.aside(ask)


def _written(ids: Sequence[int]) -> str:
    return " ".join(map(str, ids))


def _read(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))
