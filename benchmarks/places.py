"""Where the runs write, fresh for each benchmark: ledgers, and the tables of the classical peer.

A place counts what its clients were told, and afterwards says whether all of it is there: a speed is worth nothing
when it is the speed of a broken thing.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.peer import create_tables
from benchmarks.workload import KEY, sequence_of
from ledger.fold import BrokenChain, Fold
from ledger.ports import Store
from ledger.stores import migrate, open_store
from tests.servers import Database, MariaDB

__all__ = ["LedgerPlace", "PeerPlace", "Place", "mariadb_place", "opened", "peer_place", "sqlite_place"]

GRANTS = Path(__file__).parents[1] / "ops" / "mariadb-grants.sql"
PAGE = 5000
TOTALS = "COUNT(*), MAX(value), (SELECT value FROM counters) FROM numbers"


class Place(ABC):
    """Somewhere that gives out numbers; `acknowledged` counts those that clients were told."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self.acknowledged = 0

    @abstractmethod
    def rows(self) -> int:
        """How many events, or audit rows, there are now."""

    @abstractmethod
    def flaw(self) -> str | None:
        """What is wrong with what is stored, if anything is."""


class LedgerPlace(Place):
    def rows(self) -> int:
        return asyncio.run(_position(self.url))

    def flaw(self) -> str | None:
        try:
            fold = asyncio.run(folded(self.url))
        except BrokenChain as broken:
            return str(broken)
        values = sum(sum(sequence.counts().values()) for sequence in fold.state.sequences())
        if values < self.acknowledged:
            return f"{self.acknowledged} numbers were acknowledged, but only {values} are in the log"
        return None


class PeerPlace(Place):
    def __init__(self, name: str, database: Database) -> None:
        super().__init__(name, database.admin_url)
        self._database = database

    def rows(self) -> int:
        return int(self._select("COUNT(*) FROM numbers"))

    def flaw(self) -> str | None:
        rows, last, counter = map(int, self._select(TOTALS).split("\t"))
        if not self.acknowledged <= rows == last == counter:
            return f"{self.acknowledged} numbers were acknowledged; {rows} rows, last value {last}, counter {counter}"
        return None

    def _select(self, what: str) -> str:
        return self._database.server.execute(f"SELECT {what}", database=self._database.name)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = open_store(url)
    try:
        yield store
    finally:
        await store.close()


async def _position(url: str) -> int:
    async with opened(url) as store:
        return (await store.head()).position


async def folded(url: str) -> Fold:
    """Fold a whole log; BrokenChain when a position is missing or a hash does not follow."""
    async with opened(url) as store:
        head = await store.head()
        fold = Fold(head.ledger_id)
        while fold.position < head.position:
            fold.take(await store.events(after=fold.position, limit=PAGE))
    return fold


def mariadb_place(server: MariaDB, name: str) -> LedgerPlace:
    """A migrated ledger, under the account that has only the service's grants."""
    database = server.new_database()
    asyncio.run(migrate(database.admin_url))
    database.grant_service(GRANTS)
    return LedgerPlace(name, database.service_url)


def sqlite_place(directory: Path, name: str) -> LedgerPlace:
    url = f"sqlite+aiosqlite:///{directory}/ledger.db"
    asyncio.run(migrate(url))
    return LedgerPlace(name, url)


def peer_place(server: MariaDB, name: str) -> PeerPlace:
    database = server.new_database()
    asyncio.run(_make_tables(database.admin_url))
    return PeerPlace(name, database)


async def _make_tables(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(create_tables, sequence_of(KEY))
    await engine.dispose()
