"""What the SQL stores share: the statements, the transaction under the head's lock, and the reads beside it.

The writer's connection is its own and is kept from one transaction to the next, so that a batch costs no round trip
beside its statements. After any fault, cancellation or timeout it is thrown away, never reused: the server may still
be busy with what was cancelled, and its rows would be taken for the answer to something else. Every wait is bounded
by the store's deadline. Before COMMIT a failure means that nothing happened; from COMMIT on it is `OutcomeUnknown`.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar
from weakref import WeakSet

from sqlalchemy import ColumnElement, Executable, Row, bindparam, delete, exc, insert, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger import chain
from ledger.domain.rejection import Code
from ledger.ports import Head, OutcomeUnknown, Record, Snapshot, Stop, StoreFault
from ledger.stores.checks import check_chain
from ledger.stores.schema import events, ledger_head, snapshots, stops
from ledger.stores.stops import after_lift, all_stops, gone, stop_of, text_of, with_stop

__all__ = [
    "ADD_STOP",
    "CLOSE_SECONDS",
    "HEAD",
    "LIFT",
    "MIGRATE",
    "MOVE_HEAD",
    "NOTE_STOPS",
    "READ_ATTEMPTS",
    "READ_CONNECTIONS",
    "STOPS",
    "Columns",
    "SqlStore",
    "has_died",
    "head_of",
]

_HEAD_COLUMNS = [ledger_head.c[name] for name in Head._fields]
_COLUMNS = [events.c[name] for name in Record._fields]

HEAD = select(*_HEAD_COLUMNS).where(ledger_head.c.id == 1)
EVENTS = select(*_COLUMNS).where(events.c.position > bindparam("after")).order_by(events.c.position)
EVENTS_PAGE = EVENTS.limit(bindparam("limit"))
EVENTS_AT = (
    select(*_COLUMNS).where(events.c.position.in_(bindparam("positions", expanding=True))).order_by(events.c.position)
)
EVENTS_OF_TOKEN = select(*_COLUMNS).where(events.c.token == bindparam("token")).order_by(events.c.position)
EVENTS_OF_STREAM = (
    select(*_COLUMNS)
    .where(events.c.stream == bindparam("stream"), events.c.position < bindparam("before"))
    .order_by(events.c.position.desc())
    .limit(bindparam("limit"))
)
EVENTS_OF_COMMANDS = (
    select(*_COLUMNS).where(events.c.command_id.in_(bindparam("ids", expanding=True))).order_by(events.c.position)
)
INSERT = insert(events)
assert tuple(events.c.keys()) == Record._fields  # a record is written as it stands
MOVE_HEAD = (
    update(ledger_head)
    .where(ledger_head.c.id == 1, ledger_head.c.position == bindparam("from_position"))
    .values(position=bindparam("to"), hash=bindparam("last_hash"), recorded_at=bindparam("last_recorded_at"))
)
NEWEST_SNAPSHOT = (
    select(*(snapshots.c[name] for name in Snapshot._fields))
    .where(snapshots.c.fold_version == bindparam("fold_version"), snapshots.c.position <= bindparam("at_most"))
    .order_by(snapshots.c.position.desc())
    .limit(1)
)
PUT_SNAPSHOT = insert(snapshots)
FOUND = (
    update(ledger_head)
    .where(ledger_head.c.id == 1, ledger_head.c.position == 0)
    .values(ledger_id=bindparam("its_id"), hash=bindparam("genesis"))
)
_STOP_COLUMNS = [stops.c[name] for name in ("kind", "detail", "position", "hash", "stopped_at")]
# One statement sees one state of both, however busily others stop and lift meanwhile.
HEAD_AND_STOPS = (
    select(*_HEAD_COLUMNS, *_STOP_COLUMNS)
    .select_from(ledger_head.outerjoin(stops, true()))
    .where(ledger_head.c.id == 1)
    .order_by(stops.c.id)
)
STOPS = select(stops.c.id, *_STOP_COLUMNS).order_by(stops.c.id)
ADD_STOP = insert(stops)
LIFT = delete(stops).where(stops.c.id.in_(bindparam("ids", expanding=True)))
NOTE_STOPS = (
    update(ledger_head).where(ledger_head.c.id == 1).values(stopped=bindparam("text"), stops=bindparam("count"))
)

MIGRATE = "run `numbering migrate`"
MAX_LOOKUP = 4096  # in one statement; a batch of the writer is far smaller
STATEMENT_BYTES = 4 * 2**20  # more go into several statements of the same transaction
ROW_BYTES = 256  # about what a row has beside its body
READ_CONNECTIONS = 4
READ_ATTEMPTS = 2  # the second, when a pooled connection turns out to have died: it was killed, or idle for too long
CLOSE_SECONDS = 2.0

BODY = Record._fields.index("body")

Columns = Sequence[Any]

T = TypeVar("T")


class SqlStore(ABC):
    """A ledger in one database; at most one transaction at a time. A dialect says how to lock and names its errors.

    `writers` makes the writer's connections and pools none; `readers` pools connections that commit by themselves.
    """

    connections_sql: str | None = None  # lists the connections to the database, where a server has them

    def __init__(self, writers: AsyncEngine, readers: AsyncEngine, *, lock_timeout_ms: int) -> None:
        self.deadline = lock_timeout_ms / 1000
        self.writers = writers
        self.readers = readers
        self.insert_sql = str(INSERT.compile(dialect=writers.dialect))
        self._is_closed = False
        self.drivers: WeakSet[Any] = WeakSet()  # the drivers' connections that may be open
        self._connection: AsyncConnection | None = None
        self.driver: Any = None  # the driver's own connection, below SQLAlchemy's
        self._transaction: SqlTransaction | None = None

    @abstractmethod
    async def open(self) -> Any:
        """Open a driver's connection that is fit to keep a ledger."""

    async def opened(self, *_: object, **__: object) -> Any:
        """Open a connection for the pools; a StoreFault once the store is closed, for nobody would close it then."""
        self._check_not_closed()
        driver = await self.open()
        try:
            self._check_not_closed()
        except StoreFault:
            self.drop(driver)
            raise
        self.drivers.add(driver)
        return driver

    def _check_not_closed(self) -> None:
        if self._is_closed:
            raise StoreFault(Code.DATABASE_UNAVAILABLE, "the store is closed")

    @abstractmethod
    async def prepare(self, connection: AsyncConnection) -> None:
        """Look whether a new connection of the writer may write at all."""

    @abstractmethod
    async def lock(self, connection: AsyncConnection) -> tuple[Columns | None, int]:
        """Begin, and lock the head: its row, and the database's clock after the wait."""

    async def insert(self, connection: AsyncConnection, rows: Sequence[Columns]) -> int:
        """Insert events; gives how many were."""
        # Core's INSERT, but compiled once and given plain rows: that is half of what it costs to look at each value.
        inserted: int = (await connection.exec_driver_sql(self.insert_sql, list(rows))).rowcount
        return inserted

    async def move_head(self, connection: AsyncConnection, to: Mapping[str, object]) -> int:
        """Move the head by MOVE_HEAD; gives how many rows it found."""
        moved: int = (await connection.execute(MOVE_HEAD, to)).rowcount
        return moved

    @abstractmethod
    def commit(self, connection: AsyncConnection) -> Awaitable[None]:
        """Send COMMIT."""

    async def rollback(self, connection: AsyncConnection) -> None:
        await connection.rollback()

    @abstractmethod
    def now_column(self) -> ColumnElement[int]:
        """Give the database's time, in microseconds, as a part of a statement."""

    def connection_ids(self) -> Sequence[int]:
        """Give the ids by which the server knows the connections that are open; none where there is no server."""
        return ()

    @abstractmethod
    def drop(self, driver: Any) -> None:
        """Close a driver's connection without waiting for the server, which then ends its transaction."""

    @abstractmethod
    def fault(self, error: BaseException) -> StoreFault | None:
        """Say what a driver's error means; None for what is no error of a driver."""

    def is_taken(self, error: BaseException) -> bool:
        """Say whether a driver's error means that the log has an event at the position of a new one."""
        return False

    def refused(self, error: BaseException) -> StoreFault | None:
        """Say what an answer to COMMIT means if it proves that nothing was committed; None when it does not."""
        return None

    async def head(self) -> Head:
        rows = await self._read(HEAD)
        return head_of(rows[0] if rows else None)

    async def now(self) -> int:
        """Read the database's clock, in microseconds since 1970 UTC."""
        ((now,),) = await self._read(select(self.now_column()))
        return int(now)

    async def stops(self) -> Sequence[Stop]:
        rows = await self._read(HEAD_AND_STOPS)
        head = head_of(rows[0] if rows else None)
        return all_stops([stop_of(*row[len(head) :]) for row in rows if row.kind is not None], head)

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        return _records(await self._read(EVENTS_PAGE, after=after, limit=limit))

    async def events_at(self, positions: Sequence[int]) -> Sequence[Record]:
        if not positions:
            return []
        assert len(positions) <= MAX_LOOKUP
        return _records(await self._read(EVENTS_AT, positions=_padded(positions)))

    async def events_of_token(self, token: str) -> Sequence[Record]:
        return _records(await self._read(EVENTS_OF_TOKEN, token=token))

    async def events_of_commands(self, command_ids: Sequence[bytes]) -> Sequence[Record]:
        if not command_ids:
            return []
        assert len(command_ids) <= MAX_LOOKUP
        return _records(await self._read(EVENTS_OF_COMMANDS, ids=_padded(command_ids)))

    async def events_of_stream(self, stream: str, *, before: int, limit: int) -> Sequence[Record]:
        return _records(await self._read(EVENTS_OF_STREAM, stream=stream, before=before, limit=limit))

    async def newest_snapshot(self, fold_version: int, *, at_most: int) -> Snapshot | None:
        rows = await self._read(NEWEST_SNAPSHOT, fold_version=fold_version, at_most=at_most)
        return Snapshot._make(rows[0]) if rows else None

    async def put_snapshot(self, snapshot: Snapshot) -> None:
        async def put(connection: AsyncConnection) -> None:
            with contextlib.suppress(exc.IntegrityError):
                await connection.execute(PUT_SNAPSHOT, snapshot._asdict())

        await self.aside(put)

    async def begin(self) -> "SqlTransaction":
        assert self._transaction is None, "one transaction at a time"
        is_kept = self._connection is not None
        while True:
            try:
                connection = self._connection or await self._connect()
                async with asyncio.timeout(self.deadline):
                    row, now = await self.lock(connection)
                self._transaction = SqlTransaction(self, connection, head_of(row), now)
                return self._transaction
            except BaseException as error:
                self.discard()
                fault = self.meaning(error)
                # A connection kept from the last transaction may have died since; nothing was asked of a new one yet.
                if not (is_kept and fault is not None and _is_lost(fault, error)):
                    raise_as(fault, error)
                is_kept = False

    async def close(self) -> None:
        """Close every connection, for good: also those that somebody uses, for the pools would forget them open."""
        self._is_closed = True
        try:
            if self._connection is not None:
                try:
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await self._connection.close()
                    self._connection = self._transaction = None
                except Exception:
                    self.discard()
            await self.writers.dispose()
            await self.readers.dispose()
        finally:
            for driver in self.drivers:
                self.drop(driver)

    def discard(self) -> None:
        """Throw the writer's connection away, with the transaction on it."""
        connection, self._connection, self._transaction = self._connection, None, None
        if connection is not None:
            if self.driver is not None:
                self.drop(self.driver)
            if connection.sync_connection is not None:  # now SQLAlchemy has nobody left to say goodbye to
                connection.sync_connection.invalidate()

    def finish(self) -> None:
        """Forget the transaction and keep its connection for the next."""
        self._transaction = None

    def meaning(self, error: BaseException) -> StoreFault | None:
        """Say what an error means; None for what means nothing to us: a cancellation, or a bug."""
        if isinstance(error, StoreFault):
            return error
        if isinstance(error, TimeoutError | exc.TimeoutError):
            happened = f"the database did not answer within {self.deadline:g} s"
            return StoreFault(Code.DATABASE_UNAVAILABLE, happened, transient=True)
        return self.fault(_driver_error(error))

    def raise_from(self, error: BaseException) -> NoReturn:
        """Raise what an error means, or itself."""
        raise_as(self.meaning(error), error)

    async def _connect(self) -> AsyncConnection:
        async with asyncio.timeout(self.deadline):
            self.driver = None
            connection = self._connection = await self.writers.connect()
            self.driver = (await connection.get_raw_connection()).driver_connection
            await self.prepare(connection)
            return connection

    async def _read(self, statement: Executable, **parameters: object) -> Sequence[Row[Any]]:
        async def read(connection: AsyncConnection) -> Sequence[Row[Any]]:
            return (await connection.execute(statement, parameters)).all()

        return await self.aside(read)

    async def aside(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do short work outside the lock, on a pooled connection that commits by itself; a StoreFault when it fails.

        It is done once more when the connection turns out to have died in the pool, so twice must be as once. It is
        safe to cancel: SQLAlchemy's pool drops a connection that was interrupted.
        """
        for attempt in range(READ_ATTEMPTS):
            try:
                async with asyncio.timeout(self.deadline), self.readers.connect() as connection:
                    return await work(connection)
            except Exception as error:
                if not has_died(error) or attempt == READ_ATTEMPTS - 1:
                    self.raise_from(error)
        raise AssertionError


class SqlTransaction:
    """The head's lock, held on the writer's connection."""

    def __init__(self, store: SqlStore, connection: AsyncConnection, head: Head, now: int) -> None:
        self.head = head
        self.now = now
        self._store = store
        self._connection: AsyncConnection | None = connection

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        return _records((await self._execute(EVENTS_PAGE, {"after": after, "limit": limit})).all())

    async def events_of_commands(self, command_ids: Sequence[bytes]) -> Sequence[Record]:
        if not command_ids:
            return []
        assert len(command_ids) <= MAX_LOOKUP
        return _records((await self._execute(EVENTS_OF_COMMANDS, {"ids": _padded(command_ids)})).all())

    async def append(self, records: Sequence[Record]) -> None:
        if not records:
            return
        check_chain(self.head, records)
        store, connection, last = self._store, self._open, records[-1]
        to = {
            "from_position": self.head.position,
            "to": last.position,
            "last_hash": last.hash,
            "last_recorded_at": last.recorded_at,
        }
        try:
            for some in _statements(records):
                async with asyncio.timeout(store.deadline):
                    inserted = await store.insert(connection, list(map(_row, some)))
                if inserted != len(some):
                    raise StoreFault(Code.INTERNAL_ERROR, "the database did not insert every event")
            async with asyncio.timeout(store.deadline):
                moved = await store.move_head(connection, to)
            if moved != 1:
                raise StoreFault(Code.LOCK_TIMEOUT, "the head moved although its lock was held", contention=True)
        except BaseException as error:
            self._fail(_outrun(error) if store.is_taken(_driver_error(error)) else error)
        self.head = self.head._replace(position=last.position, hash=last.hash, recorded_at=last.recorded_at)

    async def stops(self) -> Sequence[Stop]:
        return all_stops(list((await self._rows()).values()), self.head)

    async def stop(self, stop: Stop) -> bool:
        rows = await self._rows()
        before = list(rows.values())
        after = with_stop(before, self.head.stopped, stop._replace(stopped_at=self.now))
        if len(after) == len(before) and text_of(after) == self.head.stopped:
            return False
        await self._add(rows, after[len(before) :])
        await self._note_stops(text_of(after), len(after) + gone(before, self.head))
        return True

    async def lift(self, is_mended: Callable[[Stop], bool]) -> Sequence[Stop]:
        rows = await self._rows()
        before = list(rows.values())
        after, text = after_lift(before, self.head.stopped, is_mended, self.now)
        if lifted := [id for id, stop in rows.items() if is_mended(stop)]:
            await self._execute(LIFT, {"ids": lifted})
        await self._add(rows, after[len(rows) - len(lifted) :])
        await self._note_stops(text, len(after) + gone(before, self.head, is_mended))
        return all_stops(after, self.head)

    async def _add(self, rows: Mapping[int, Stop], new: Sequence[Stop]) -> None:
        for id, stop in enumerate(new, start=max(rows, default=0) + 1):
            await self._execute(ADD_STOP, {"id": id} | stop._asdict())

    async def _rows(self) -> dict[int, Stop]:
        return {row.id: stop_of(*row[1:]) for row in (await self._execute(STOPS, {})).all()}

    async def _note_stops(self, text: str | None, count: int) -> None:
        await self._execute(NOTE_STOPS, {"text": text, "count": count})
        self.head = self.head._replace(stopped=text, stops=count)

    async def found(self, ledger_id: str) -> None:
        """Be the ledger of this id, before the first event: what only a restore asks."""
        assert self.head.position == 0, "a ledger with events keeps its id"
        hash = chain.genesis(ledger_id)
        await self._execute(FOUND, {"its_id": ledger_id, "genesis": hash})
        self.head = self.head._replace(ledger_id=ledger_id, hash=hash)

    async def commit(self) -> None:
        connection, self._connection = self._open, None
        try:
            async with asyncio.timeout(self._store.deadline):
                await self._store.commit(connection)
        except (Exception, asyncio.CancelledError) as error:
            self._store.discard()
            fault = self._store.refused(_driver_error(error))
            if fault is not None:
                raise fault from error
            # Not even a clear error is believed: only the log, read under the next lock, knows.
            raise OutcomeUnknown(f"no clear answer to COMMIT: {error!r}") from error
        self._store.finish()

    async def rollback(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            async with asyncio.timeout(self._store.deadline):
                await self._store.rollback(connection)
        except BaseException as error:
            self._store.discard()
            if not isinstance(error, Exception):
                raise
        else:
            self._store.finish()

    @property
    def _open(self) -> AsyncConnection:
        assert self._connection is not None, "the transaction is over"
        return self._connection

    async def _execute(self, statement: Executable, parameters: Any) -> Any:
        try:
            async with asyncio.timeout(self._store.deadline):
                return await self._open.execute(statement, parameters)
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> NoReturn:
        """Raise what an error means; whatever it is, it costs the transaction and its connection."""
        self._connection = None
        self._store.discard()
        self._store.raise_from(error)


def has_died(error: BaseException) -> bool:
    """Say whether an error means that a connection was gone; SQLAlchemy then distrusts all others of its pool."""
    return isinstance(error, exc.DBAPIError) and error.connection_invalidated


def raise_as(fault: StoreFault | None, error: BaseException) -> NoReturn:
    if fault is None or fault is error:
        raise error
    raise fault from error


def _outrun(error: BaseException) -> StoreFault:
    """Two nodes of a cluster grant the head's lock at once: the position is taken, and the log tells what happened."""
    said = str(_driver_error(error))
    fault = StoreFault(Code.LOCK_TIMEOUT, "another writer was quicker, on another node", said=said, contention=True)
    fault.__cause__ = error
    return fault


def _statements(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Split the records into statements that the server's `max_allowed_packet` lets through."""
    start = size = 0
    for index, record in enumerate(records):
        size += len(record.body) + ROW_BYTES
        if size > STATEMENT_BYTES and index > start:
            yield records[start:index]
            start, size = index, len(record.body) + ROW_BYTES
    yield records[start:]


def head_of(row: Columns | None) -> Head:
    if row is None:
        raise StoreFault(Code.DATABASE_NOT_MIGRATED, "ledger_head has no row", advice=MIGRATE)
    return Head(*row[: len(Head._fields)])


def _row(record: Record) -> Columns:
    """Give the values in the order of the columns; the body is text there, for people who read the log."""
    return (*record[:BODY], record.body.decode(), *record[BODY + 1 :])


def _records(rows: Sequence[Row[Any]]) -> Sequence[Record]:
    return [Record._make(row)._replace(body=row.body.encode()) for row in rows]


def _padded(ids: Sequence[T]) -> list[T]:
    """Repeat the last one up to a power of two: a statement is prepared for each number of parameters."""
    size = 1 << (len(ids) - 1).bit_length()
    return [*ids, *[ids[-1]] * (size - len(ids))]


def _driver_error(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error


def _is_lost(fault: StoreFault, error: BaseException) -> bool:
    return fault.code is Code.DATABASE_UNAVAILABLE and not isinstance(error, TimeoutError)
