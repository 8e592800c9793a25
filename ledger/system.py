"""The real clock, the real randomness, and real tasks, behind the ports."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["RandomIds", "SystemClock", "aside", "end", "spawn"]

# Linux's CLOCK_MONOTONIC stands still while the machine is suspended, and CLOCK_BOOTTIME does not. On macOS, which has
# no CLOCK_BOOTTIME, CLOCK_MONOTONIC goes on. Python's time.monotonic() stands still on both.
BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

PAGE_BYTES = 4096
CANCEL_SECONDS = 1.0

_log = logging.getLogger(__name__)


class SystemClock:
    """This machine's clock. Its `now` is also the clock of a database that is a part of this process."""

    @staticmethod
    def monotonic() -> float:
        return time.monotonic()

    @staticmethod
    def now() -> int:
        return time.time_ns() // 1000

    @staticmethod
    def boot() -> int:
        return time.clock_gettime_ns(BOOT_CLOCK) // 1000


class RandomIds:
    """Draws from the system's randomness by the page: a system call for each id would cost more than the rest."""

    def __init__(self) -> None:
        self._page = b""
        self._used = 0

    def token(self) -> str:
        return self._draw(16).hex()

    def command_id(self) -> bytes:
        return self._draw(32)

    def _draw(self, count: int) -> bytes:
        start = self._used
        if start + count > len(self._page):
            self._page, start = os.urandom(PAGE_BYTES), 0
        self._used = start + count
        return self._page[start : self._used]


def spawn(work: Coroutine[Any, Any, None], /, *, name: str) -> asyncio.Task[None]:
    """Start a task whose failure is never silent."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_report)
    return task


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended.

    More than once: drivers wait within `wait_for`, which on Python 3.11 forgets a cancellation that comes when the work
    is done (https://github.com/python/cpython/issues/86296), and others raise an error of their own in its place.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_SECONDS)


async def aside(work: Callable[[], None], /) -> None:
    await asyncio.to_thread(work)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception():
        _log.critical("task %s failed", task.get_name(), exc_info=task.exception())
