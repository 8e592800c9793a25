"""Ledgers for the tests of stores: a fresh one of each kind, events to put in, and ways to break the line to it.

Run as a module it is another process that appends: python -m tests.stores URL BATCHES SIZE NAME
"""

import asyncio
import atexit
import os
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import pytest

from ledger import chain
from ledger.ports import Head, Record, Store, StoreFault
from ledger.stores import MemoryLog, MemoryStore, migrate, open_store
from tests.servers import HOST, Database, MariaDB

GRANTS = Path(__file__).parent.parent / "ops" / "mariadb-grants.sql"
TEXT = 'คคง.-สคฉ.3-0001-2568 😀 "\\" \' % ? %s'  # Thai, four-byte characters, and all that an escape could break
TOTAL_SECONDS = 30.0


def follow(head: Head | Record, count: int, *, name: str = "", **fields: Any) -> list[Record]:
    """Make `count` events that follow a head; `name` is the stream of all and begins their tokens."""
    position, previous, records = head.position, head.hash, []
    for ordinal in range(count):
        position += 1
        body = f'{{"position":{position},"text":"{TEXT}"}}'.encode()
        previous = chain.link(previous, body)
        record = Record(
            position=position,
            type="NumbersReserved",
            version=1,
            stream=name or "RFA:คคง.|สคฉ.3:2025",
            token=f"{name}-{ordinal}",
            command_id=os.urandom(32),
            ordinal=0,
            body=body,
            recorded_at=position,
            hash=previous,
        )
        records.append(record._replace(**fields))
    return records


async def append(store: Store, count: int, **fields: Any) -> list[Record]:
    """Commit `count` events in one transaction."""
    transaction = await store.begin()
    records = follow(transaction.head, count, **fields)
    await transaction.append(records)
    await transaction.commit()
    return records


async def patiently(store: Store) -> Any:
    """Begin, however long others hold the lock."""
    async with asyncio.timeout(TOTAL_SECONDS):
        while True:
            try:
                return await store.begin()
            except StoreFault as fault:
                if not fault.contention:
                    raise


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Store]:
    """A store that is closed in the end, whatever happens."""
    store = open_store(url, **options)
    try:
        yield store
    finally:
        await store.close()


async def fault_of(work: Awaitable[object]) -> StoreFault:
    """The fault with which some work ends."""
    with pytest.raises(StoreFault) as caught:
        await work
    return caught.value


@dataclass
class Ledger:
    """A fresh ledger, and every store that a test opened on it."""

    kind: str
    opener: Callable[..., Store]
    url: str = ""
    database: Database | None = None
    opened: list[Store] = field(default_factory=list)

    def open(self, **options: Any) -> Store:
        store = self.opener(**options)
        self.opened.append(store)
        return store

    async def close(self) -> None:
        for store in self.opened:
            await store.close()


@cache
def empty_sqlite() -> Path:
    """The file of a ledger that the migrations have just made, to be copied: they take longer than most tests."""
    file = Path(mkdtemp(prefix="empty-ledger-")) / "numbering.db"
    atexit.register(shutil.rmtree, file.parent, ignore_errors=True)
    with ThreadPoolExecutor(1) as aside:  # where no loop runs
        assert aside.submit(asyncio.run, migrate(f"sqlite+aiosqlite:///{file}")).result()
    return file


def new_sqlite(file: Path) -> None:
    """Make a new ledger with an id of its own, as `migrate` does."""
    shutil.copy(empty_sqlite(), file)
    id = str(uuid4())
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE ledger_head SET ledger_id = ?, hash = ?", (id, chain.genesis(id)))


def memory_ledger() -> Ledger:
    log = MemoryLog()
    return Ledger("memory", lambda **options: MemoryStore(log, **options))


async def sqlite_ledger(directory: Path) -> Ledger:
    file = directory / "ledger.db"
    new_sqlite(file)
    url = f"sqlite+aiosqlite:///{file}"
    return Ledger("sqlite", lambda **options: open_store(url, **options), url)


@cache
def empty_mariadb(server: MariaDB) -> tuple[str, str]:
    """The name of a database that the migrations have just made, and the statements that make another of the kind."""
    database = server.new_database()
    with ThreadPoolExecutor(1) as aside:  # where no loop runs
        assert aside.submit(asyncio.run, migrate(database.admin_url)).result()
    return database.name, server.dump(database.name)


def new_mariadb(server: MariaDB) -> Database:
    """Make a new ledger with an id of its own, as `migrate` does; the service's account has the grants that we ship."""
    name, statements = empty_mariadb(server)
    database, id = server.new_database(), str(uuid4())
    renewed = f"UPDATE ledger_head SET ledger_id = '{id}', hash = x'{chain.genesis(id).hex()}'"
    server.execute(f"{statements.replace(name, database.name)}{renewed}", database=database.name)
    database.grant_service(GRANTS)
    return database


def mariadb_ledger(server: MariaDB) -> Ledger:
    """A new ledger, opened with the service's account."""
    database = new_mariadb(server)
    url = database.service_url
    return Ledger("mariadb", lambda **options: open_store(url, **options), url, database)


@contextmanager
def setting(server: MariaDB, name: str, value: str) -> Iterator[None]:
    """Change a global setting of the server, for a while."""
    before = server.execute(f"SELECT @@GLOBAL.{name}")
    server.execute(f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        server.execute(f"SET GLOBAL {name} = {before if before.isdecimal() else repr(before)}")


class Proxy:
    """A line to a server that can be cut in the very moment of a COMMIT, before or after it got through."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.cut: str | None = None
        self._server_port = port
        self._lines: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Proxy":
        self._listener = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        line = asyncio.current_task()
        assert line is not None
        self._lines.add(line)
        server, to_server = await asyncio.open_connection(HOST, self._server_port)
        answers = asyncio.create_task(_forward(server, to_client))
        try:
            while data := await client.read(2**16):
                if self.cut is not None and b"COMMIT" in data:
                    answers.cancel()
                    await asyncio.wait([answers])
                    if self.cut == "after":
                        to_server.write(data)
                        await server.read(1)
                    break
                to_server.write(data)
        finally:
            answers.cancel()
            to_client.close()
            to_server.close()
            await asyncio.gather(answers, to_client.wait_closed(), to_server.wait_closed(), return_exceptions=True)
            self._lines.discard(line)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
    writer.close()


async def _append_batches(url: str, batches: int, size: int, name: str) -> None:
    store = open_store(url)
    for _ in range(batches):
        transaction = await patiently(store)
        await transaction.append(follow(transaction.head, size, name=name))
        await transaction.commit()
    await store.close()


def appender(url: str, batches: int, size: int, name: str) -> Sequence[str]:
    """The command line of another process that appends."""
    return [sys.executable, "-m", "tests.stores", url, str(batches), str(size), name]


if __name__ == "__main__":
    asyncio.run(_append_batches(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
