"""The engine without HTTP, beside the limit that the database sets: the same rows, inserted plainly."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from statistics import quantiles
from typing import Any, TypeVar

import uvloop
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from api.schemas import SeriesBody, parse
from benchmarks.figures import Figure
from benchmarks.places import Place, mariadb_place, opened
from benchmarks.workload import KEY, SERIES, SERIES_CODE
from ledger.domain.commands import DefineSeries, Envelope, Reserve
from ledger.domain.series import Series
from ledger.ports import Record
from ledger.service import Ledger
from ledger.stores import open_store
from ledger.stores.schema import events
from ledger.system import RandomIds, SystemClock, aside, spawn
from tests.servers import MariaDB

__all__ = ["CONNECTIONS", "Engine"]

CONNECTIONS = 64  # commands under way at once, and rows of a plain transaction
STATEMENT_CACHE = 32
PAGE = 5000
POLL_SECONDS = 0.01
READY_ATTEMPTS = 1000

Row = tuple[object, ...]
T = TypeVar("T")


class Engine:
    """Both runs, each on a fresh database, noted in `places`: `insert` writes again what `execute` wrote last."""

    def __init__(self, server: MariaDB, places: list[Place]) -> None:
        self._server = server
        self._places = places
        self._source = ""

    def execute(self, seconds: int) -> Figure:
        """Reserve by `Ledger.execute`, from the hot sequence."""
        place = mariadb_place(self._server, f"engine {len(self._places)}")
        self._places.append(place)
        self._source = place.url
        before = place.rows()
        figure = _run(_execute(place.url, seconds))
        place.acknowledged = figure.operations
        return figure.with_rows(before, place.rows())

    def insert(self, _: int) -> Figure:
        """Insert as many rows as there are, however long it takes."""
        assert self._source, "execute comes first"
        place = mariadb_place(self._server, "raw")
        figure = _run(_insert(self._source, place.url))
        return figure.with_rows(0, figure.operations)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run on the loop that the service runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def _execute(url: str, seconds: int) -> Figure:
    ledger = Ledger(open_store(url), clock=SystemClock(), ids=RandomIds(), spawn=spawn, aside=aside)
    async with ledger:
        await _define(ledger)
        return await _timed(lambda: _reserve(ledger), seconds)


async def _define(ledger: Ledger) -> None:
    await _ready(ledger)
    definition = parse(SeriesBody, SERIES).definition()
    await ledger.execute(DefineSeries((Series.define(SERIES_CODE, definition),)), _envelope(ledger))


async def _ready(ledger: Ledger) -> None:
    """Wait until it has read the log, which holds nothing yet."""
    for _ in range(READY_ATTEMPTS):
        if ledger.writer.fault is None:
            return
        await asyncio.sleep(POLL_SECONDS)


async def _reserve(ledger: Ledger) -> None:
    await ledger.execute(Reserve(SERIES_CODE, ledger.ids.token(), KEY), _envelope(ledger))


def _envelope(ledger: Ledger) -> Envelope:
    return Envelope(ledger.ids.command_id(), "anonymous")


async def _timed(operation: Callable[[], Awaitable[None]], seconds: float) -> Figure:
    """Repeat an operation, `CONNECTIONS` at once, for some seconds."""
    latencies: list[float] = []
    began = time.perf_counter()

    async def repeat() -> None:
        while (asked := time.perf_counter()) < began + seconds:
            await operation()
            latencies.append(time.perf_counter() - asked)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONNECTIONS):
            tasks.create_task(repeat())
    return _figure(latencies, time.perf_counter() - began)


def _figure(latencies: Sequence[float], seconds: float, rows_each: int = 1) -> Figure:
    """Sum up latencies in seconds."""
    parts = quantiles(latencies, n=100) if len(latencies) > 1 else [*latencies] * 99
    return Figure(len(latencies) * rows_each, seconds, parts[49] * 1000, parts[98] * 1000)


async def _insert(source: str, target: str) -> Figure:
    """Insert the rows of one ledger into the table of another, durably; the latencies are those of a transaction."""
    rows = await _rows(source)
    engine = create_async_engine(
        target, isolation_level="READ COMMITTED", connect_args={"stmt_cache_size": STATEMENT_CACHE}
    )
    sql = str(insert(events).compile(dialect=engine.dialect))
    async with engine.connect() as connection:
        figure = await _transactions(connection, sql, rows)
    await engine.dispose()
    return figure


async def _transactions(connection: AsyncConnection, sql: str, rows: Sequence[Row]) -> Figure:
    latencies = []
    began = asked = time.perf_counter()
    for start in range(0, len(rows) - CONNECTIONS + 1, CONNECTIONS):
        await connection.exec_driver_sql(sql, list(rows[start : start + CONNECTIONS]))
        await connection.commit()
        latencies.append(time.perf_counter() - asked)
        asked = time.perf_counter()
    return _figure(latencies, asked - began, CONNECTIONS)


async def _rows(url: str) -> list[Row]:
    """The events of a ledger as their table takes them."""
    records: list[Record] = []
    async with opened(url) as store:
        while page := await store.events(after=len(records), limit=PAGE):
            records += page
    return [tuple(record._replace(body=record.body.decode())) for record in records]  # type: ignore[arg-type]
