"""The ledger that the settings name, with the real world behind its ports, and what follows its log in this process."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self

from ledger.domain.formats import NEWEST_FORMAT
from ledger.log import generation
from ledger.ports import Clock, Fault
from ledger.service import Ledger
from ledger.stores import SqlStore, open_store
from ledger.system import RandomIds, SystemClock, aside, end, spawn
from ledger.writer import Limits, Snapshotter
from numbering.mirror_keys import keys_of
from numbering.presence import Presence
from numbering.raising import raise_or_say
from numbering.settings import Settings
from projections.index import ProjectedIndex
from projections.mirror.relay import Relay
from projections.mirror.stream import Connect, Stream
from projections.projector import Projector
from projections.reading import Projections
from replay.guard import guard, last_of_archive
from replay.verifier import Verifier

__all__ = ["Node", "log_and_mirror", "opened_store"]


OPERATOR_SECONDS = 10.0  # that somebody who mends the mirror waits for an answer; the relay waits for one


class Node:
    """One process's part in a ledger: `async with Node(settings)`. Nothing is connected before.

    `start_unverified` lets it write before mirror and archive were compared with the log. One that `projects` takes its
    turn in keeping the projections, writes snapshots, verifies the log in the background, keeps tables of dates, and
    says that it serves; a command that is over in a moment does not. One that `is_alone` raises the ledger's format.
    One that `only_reads` changes nothing, neither the database nor Redis, and tells that reason to whoever commands.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        allow_unsafe: bool = False,
        start_unverified: bool = False,
        projects: bool = False,
        is_alone: bool = False,
        only_reads: Fault | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._only_reads = only_reads
        projects = projects and not only_reads
        self.store = open_store(
            settings.database_url,
            lock_timeout_ms=settings.lock_timeout,
            allow_unsafe=allow_unsafe,
            reads_only=only_reads is not None,
        )
        self.projections = Projections(self.store)
        self.ledger = Ledger(
            self.store,
            clock=clock or SystemClock(),
            ids=RandomIds(),
            spawn=spawn,
            aside=aside,
            limits=Limits(
                lock_timeout_seconds=settings.lock_timeout / 1000, clock_tolerance_seconds=settings.clock_tolerance
            ),
            index=ProjectedIndex(self.store),
            self_check=settings.self_check,
        )
        self.projector = (
            Projector(self.store, self.ledger.writer.feed, clock=self.ledger.clock, spawn=spawn) if projects else None
        )
        self.snapshotter = Snapshotter(self.store, self.ledger.writer, spawn=spawn, aside=aside) if projects else None
        self.verifier = self._verifier(settings.verify_rate) if projects and settings.verify_rate else None
        self._presence = self._of_this_process() if projects else None
        self._is_alone = is_alone
        self.relay = self._relay(settings, verified=start_unverified) if settings.redis_url and not only_reads else None
        is_guarded = settings.archive and not start_unverified and not only_reads
        self._archive = Path(settings.archive) if is_guarded else None
        if self.relay:
            self.ledger.writer.copies.append(self.relay.last)
        if settings.archive and not only_reads:
            self.ledger.writer.copies.append(partial(last_of_archive, self.store, Path(settings.archive)))
        self._projects = projects
        self._stack = AsyncExitStack()

    def _verifier(self, per_second: int) -> Verifier:
        return Verifier(self.store, clock=self.ledger.clock, spawn=spawn, per_second=per_second)

    def _of_this_process(self) -> Presence:
        return Presence(self.store, id=self.ledger.ids.token(), format=NEWEST_FORMAT, spawn=spawn)

    def _relay(self, settings: Settings, *, verified: bool) -> Relay:
        connect, writer, retention = _connect(settings), self.ledger.writer, settings.mirror_retention
        return Relay(
            self.store, writer, connect, clock=self.ledger.clock, spawn=spawn, retention=retention, verified=verified
        )

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.store.close)  # at last: all the others ask it until they have stopped
            if self._archive:
                await guard(self.store, self._archive)
            if self.relay:
                self.relay.start()
                stack.push_async_callback(self.relay.stop)
            if self._only_reads:
                self.ledger.writer.refuse(self._only_reads)
            self.ledger.start()
            stack.push_async_callback(self.ledger.stop)
            if self.projector:
                self.projector.start()
                stack.push_async_callback(self.projector.stop)
            if self.snapshotter:
                self.snapshotter.start()
                stack.push_async_callback(self.snapshotter.stop)
            if self.verifier:
                self.verifier.start()
                stack.push_async_callback(self.verifier.stop)
            if self._projects:
                stack.push_async_callback(end, spawn(self.ledger.keep_date_tables(), name="date tables"))
            if self._presence:
                self._presence.start()
                stack.push_async_callback(self._presence.stop)
                raising = spawn(raise_or_say(self.ledger, is_alone=self._is_alone), name="raising of the format")
                stack.push_async_callback(end, raising)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def opened_store(
    settings: Settings, *, allow_unsafe: bool = False, reads_only: bool = False
) -> AsyncIterator[SqlStore]:
    """Open the database alone, for those who need no fold of the log in memory."""
    store = open_store(
        settings.database_url,
        lock_timeout_ms=settings.lock_timeout,
        allow_unsafe=allow_unsafe,
        reads_only=reads_only,
    )
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def log_and_mirror(
    settings: Settings, *, allow_unsafe: bool = False, reads_only: bool = False
) -> AsyncIterator[tuple[SqlStore, Stream]]:
    """Open the log and its mirror for those who look at both, or mend one from the other."""
    async with opened_store(settings, allow_unsafe=allow_unsafe, reads_only=reads_only) as store:
        stream = _connect(settings, seconds=OPERATOR_SECONDS)((await store.head()).ledger_id, await generation(store))
        try:
            yield store, stream
        finally:
            await stream.close()


def _connect(settings: Settings, **options: float) -> Connect:
    # Only here: Redis's client takes 0.1 s to load, which no ledger without a mirror needs to wait for.
    from projections.mirror.redis import connect_to

    return connect_to(settings.redis_url, keys=keys_of(settings), **options)
