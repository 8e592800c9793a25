"""What the SQL stores share: the statements, the transaction under the head's lock, and the reads beside it.

Promises: the writer's connection is its own, kept from one transaction to the next so that a batch costs no round
trip more than its statements. After any fault, cancellation or timeout it is thrown away, never reused: the server
may still be busy with what was cancelled, and its rows would be taken for the answer to something else. Every wait
for the server is bounded by the store's deadline. Before COMMIT a failure means that nothing happened; from COMMIT on
every failure is `OutcomeUnknown`. A dialect says how to connect, take the lock, and name its errors.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.domain.rejection import Code
from ledger.ports import Head, OutcomeUnknown, Record, StoreFault
from ledger.stores.checks import check_chain

__all__ = ["Session", "SqlStore"]

_COLUMNS = ", ".join(Record._fields)

HEAD = "SELECT position, hash, recorded_at, ledger_id, stopped FROM ledger_head WHERE id = 1"
EVENTS = f"SELECT {_COLUMNS} FROM events WHERE position > ? ORDER BY position LIMIT ?"
EVENTS_OF_TOKEN = f"SELECT {_COLUMNS} FROM events WHERE token = ? ORDER BY position"
EVENTS_OF_COMMANDS = f"SELECT {_COLUMNS} FROM events WHERE command_id IN (%s) ORDER BY position"
INSERT = f"INSERT INTO events ({_COLUMNS}) VALUES ({', '.join('?' * len(Record._fields))})"
MOVE_HEAD = "UPDATE ledger_head SET position = ?, hash = ?, recorded_at = ? WHERE id = 1 AND position = ?"
STOP = "UPDATE ledger_head SET stopped = ? WHERE id = 1"

MAX_COMMANDS = 4096  # in one lookup; a batch of the writer is far smaller
STATEMENT_BYTES = 4 * 2**20  # more go into several statements of the same transaction
ROW_BYTES = 256  # about what a row has beside its body
READ_CONNECTIONS = 4
READ_ATTEMPTS = 2  # the second, when a pooled connection turns out to have died of idleness
CLOSE_SECONDS = 2.0

Row = Sequence[Any]
T = TypeVar("T")


class Session(Protocol):
    """One connection of the writer. Statements mark their parameters with `?`."""

    async def read(self, sql: str, *parameters: object) -> Sequence[Row]: ...

    async def write(self, sql: str, *parameters: object) -> int:
        """Run one statement; give the number of rows it matched."""

    async def insert(self, sql: str, records: Sequence[Record]) -> int:
        """Run an INSERT of many rows; give the number inserted."""

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...

    def abandon(self) -> None:
        """Drop the connection without waiting for the server, which ends its transaction."""

    async def close(self) -> None: ...


class SqlStore(ABC):
    """A ledger in one database; at most one transaction at a time."""

    def __init__(self, readers: AsyncEngine, *, lock_timeout_ms: int) -> None:
        self.deadline = lock_timeout_ms / 1000
        self._readers = readers
        self._session: Session | None = None
        self._transaction: SqlTransaction | None = None

    @abstractmethod
    async def connect(self) -> Session:
        """Open the writer's connection, with the settings that the ledger's promises need."""

    @abstractmethod
    async def lock(self, session: Session) -> tuple[Sequence[Row], int]:
        """Begin, and lock the head: its rows, and the database's clock after the wait."""

    @abstractmethod
    def sql(self, statement: str) -> str:
        """Give a statement in the form that SQLAlchemy hands to the driver."""

    @abstractmethod
    def fault(self, error: BaseException) -> StoreFault | None:
        """Say what a driver's error means; None for what is no error of a driver."""

    def refused(self, error: BaseException) -> StoreFault | None:
        """Say what a failed COMMIT means if it is certain that nothing happened; None when it is not."""
        return None

    async def head(self) -> Head:
        return _head(await self._read(HEAD))

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        return _records(await self._read(EVENTS, after, limit))

    async def events_of_token(self, token: str) -> Sequence[Record]:
        return _records(await self._read(EVENTS_OF_TOKEN, token))

    async def begin(self) -> "SqlTransaction":
        assert self._transaction is None, "one transaction at a time"
        kept = self._session is not None
        try:
            return await self._begin()
        except StoreFault as fault:
            # A connection kept from the last transaction may have died since. Nothing was asked of the new one yet.
            if not kept or not _is_lost(fault):
                raise
        return await self._begin()

    async def close(self) -> None:
        session, self._session, self._transaction = self._session, None, None
        if session is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await session.close()
            except Exception:
                session.abandon()
        await self._readers.dispose()

    async def ask(self, answer: Awaitable[T]) -> T:
        """Wait for the writer's connection within the deadline; whatever goes wrong costs the connection."""
        try:
            async with asyncio.timeout(self.deadline):
                return await answer
        except BaseException as error:
            self.discard()
            self._raise(error)

    def discard(self) -> None:
        """Throw the writer's connection away, with the transaction on it."""
        session, self._session, self._transaction = self._session, None, None
        if session is not None:
            session.abandon()

    def finish(self) -> None:
        """Forget the transaction and keep its connection for the next."""
        self._transaction = None

    async def _begin(self) -> "SqlTransaction":
        if self._session is None:
            self._session = await self.ask(self.connect())
        rows, now = await self.ask(self.lock(self._session))
        try:
            head = _head(rows)
        except StoreFault:
            self.discard()
            raise
        self._transaction = SqlTransaction(self, self._session, head, now)
        return self._transaction

    async def _read(self, statement: str, *parameters: object) -> Sequence[Row]:
        """Read outside the lock, each statement on its own snapshot, safe to cancel: SQLAlchemy's pool drops then."""
        for attempt in range(READ_ATTEMPTS):
            try:
                async with asyncio.timeout(self.deadline), self._readers.connect() as connection:
                    result = await connection.exec_driver_sql(self.sql(statement), parameters)
                    return result.all()
            except Exception as error:
                lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
                if not lost or attempt == READ_ATTEMPTS - 1:
                    self._raise(error)
        raise AssertionError

    def _raise(self, error: BaseException) -> NoReturn:
        """Raise what an error means, or itself if it means nothing to us: a cancellation, or a bug."""
        if isinstance(error, TimeoutError | exc.TimeoutError):
            detail = f"the database did not answer within {self.deadline:g} s"
            raise StoreFault(Code.DATABASE_UNAVAILABLE, detail, transient=True) from error
        fault = self.fault(_driver_error(error))
        if fault is None:
            raise error
        raise fault from error


class SqlTransaction:
    """The head's lock, held on the writer's connection."""

    def __init__(self, store: SqlStore, session: Session, head: Head, now: int) -> None:
        self.head = head
        self.now = now
        self._store = store
        self._session: Session | None = session

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        return _records(await self._ask(self._open.read(EVENTS, after, limit)))

    async def events_of_commands(self, command_ids: Sequence[bytes]) -> Sequence[Record]:
        if not command_ids:
            return []
        assert len(command_ids) <= MAX_COMMANDS
        # Hexadecimal literals, because a statement of as many parameters as there are ids would be prepared anew
        # for every number of them.
        literals = ", ".join(f"x'{command_id.hex()}'" for command_id in command_ids)
        return _records(await self._ask(self._open.read(EVENTS_OF_COMMANDS % literals)))

    async def append(self, records: Sequence[Record]) -> None:
        if not records:
            return
        check_chain(self.head, records)
        for some in _statements(records):
            if await self._ask(self._open.insert(INSERT, some)) != len(some):
                raise self._bug("the database did not insert every event")
        last, old = records[-1], self.head
        moved = self._open.write(MOVE_HEAD, last.position, last.hash, last.recorded_at, old.position)
        if await self._ask(moved) != 1:
            raise self._bug("the head moved although its lock was held")
        self.head = old._replace(position=last.position, hash=last.hash, recorded_at=last.recorded_at)

    async def stop(self, why: str) -> None:
        await self._ask(self._open.write(STOP, why))
        self.head = self.head._replace(stopped=why)

    async def commit(self) -> None:
        session, self._session = self._open, None
        try:
            async with asyncio.timeout(self._store.deadline):
                await session.commit()
        except (Exception, asyncio.CancelledError) as error:
            self._store.discard()
            fault = self._store.refused(error)
            if fault is not None:
                raise fault from error
            # Not even a clear error is believed: only the log, read under the next lock, knows.
            raise OutcomeUnknown(f"no clear answer to COMMIT: {error!r}") from error
        self._store.finish()

    async def rollback(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        try:
            async with asyncio.timeout(self._store.deadline):
                await session.rollback()
        except BaseException as error:
            self._store.discard()
            if not isinstance(error, Exception):
                raise
        else:
            self._store.finish()

    @property
    def _open(self) -> Session:
        assert self._session is not None, "the transaction is over"
        return self._session

    async def _ask(self, answer: Awaitable[T]) -> T:
        try:
            return await self._store.ask(answer)
        except BaseException:
            self._session = None
            raise

    def _bug(self, detail: str) -> StoreFault:
        self._session = None
        self._store.discard()
        return StoreFault(Code.INTERNAL_ERROR, detail)


def _statements(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Split the records into statements that the server's `max_allowed_packet` lets through."""
    start = size = 0
    for index, record in enumerate(records):
        size += len(record.body) + ROW_BYTES
        if size > STATEMENT_BYTES and index > start:
            yield records[start:index]
            start, size = index, len(record.body) + ROW_BYTES
    yield records[start:]


def _head(rows: Sequence[Row]) -> Head:
    if not rows:
        raise StoreFault(Code.DATABASE_NOT_MIGRATED, "ledger_head has no row: run `numbering migrate`")
    return Head(*rows[0][:5])


def _records(rows: Sequence[Row]) -> Sequence[Record]:
    return [Record._make((*row[:7], row[7].encode(), *row[8:])) for row in rows]


def _driver_error(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error


def _is_lost(fault: StoreFault) -> bool:
    return fault.code is Code.DATABASE_UNAVAILABLE and not isinstance(fault.__cause__, TimeoutError)
