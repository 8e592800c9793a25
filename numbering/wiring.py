"""The ledger that the settings name, with the real world behind its ports, and what follows its log in this process."""

from contextlib import AsyncExitStack
from typing import Self

from ledger.service import Ledger
from ledger.stores import open_store
from ledger.system import RandomIds, SystemClock, aside, spawn
from ledger.writer import Limits
from numbering.settings import Settings
from projections.mirror.redis import connect_to
from projections.mirror.relay import Relay

__all__ = ["Node"]


class Node:
    """One process's part in a ledger: `async with Node(settings)`. Nothing is connected before.

    `start_unverified` lets it write before the mirror was compared with the log.
    """

    def __init__(self, settings: Settings, *, allow_unsafe: bool = False, start_unverified: bool = False) -> None:
        self.store = open_store(settings.database_url, lock_timeout_ms=settings.lock_timeout, allow_unsafe=allow_unsafe)
        limits = Limits(lock_timeout_seconds=settings.lock_timeout / 1000)
        clock = SystemClock()
        self.ledger = Ledger(self.store, clock=clock, ids=RandomIds(), spawn=spawn, aside=aside, limits=limits)
        self.relay = (
            Relay(
                self.store,
                self.ledger.writer,
                connect_to(settings.redis_url),
                clock=clock,
                spawn=spawn,
                retention=settings.mirror_retention,
                verified=start_unverified,
            )
            if settings.redis_url
            else None
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            if self.relay:
                await stack.enter_async_context(self.relay)
            await stack.enter_async_context(self.ledger)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
