"""The task by which a serving process says that it is there, so that whoever raises the format can ask all.

It writes a row of its own beside the writer, refreshes it, and takes it away at a clean end. That this fails harms
nothing: it is logged once and tried again, and who raises the format finds the process by its connections.
"""

import asyncio
import logging
import os
import socket
from importlib.metadata import version

from ledger.ports import Fault, Spawn
from ledger.stores import SqlStore
from ledger.stores.processes import Process, Processes
from ledger.system import end

__all__ = ["REFRESH_SECONDS", "Presence", "build"]

_log = logging.getLogger(__name__)

REFRESH_SECONDS = 5.0
GOODBYE_SECONDS = 1.0


def build() -> str:
    """Give the version of this distribution."""
    return version("numbering-ledger")


class Presence:
    """`start` once, `stop` once. `format` is the newest format of events that this build knows."""

    def __init__(self, store: SqlStore, *, id: str, format: int, spawn: Spawn) -> None:
        self.process = Process(id, socket.gethostname(), os.getpid(), build(), format)
        self._processes = Processes(store)
        self._spawn = spawn
        self._logged = ""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        assert self._task is None, "already started"
        self._task = self._spawn(self._run(), name="presence")

    async def stop(self) -> None:
        """End the task, and take the row away if the database answers at once."""
        task, self._task = self._task, None
        if task is not None:
            await end(task)
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._processes.forget(self.process)
        except (Fault, TimeoutError) as why:
            _log.info("the row of this process stays until it is stale: %s", why)

    async def _run(self) -> None:
        while True:
            try:
                await self._processes.see(self.process)
                self._logged = ""
            except Exception as why:
                self._say(why)
            await asyncio.sleep(REFRESH_SECONDS)

    def _say(self, why: Exception) -> None:
        if str(why) != self._logged:
            _log.warning("the row of this process was not written: %s", why, exc_info=not isinstance(why, Fault))
        self._logged = str(why)
