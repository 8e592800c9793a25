"""The real clock, the real randomness, and real tasks, behind the ports."""

import asyncio
import logging
import os
import time
from collections.abc import Coroutine
from typing import Any

__all__ = ["RandomIds", "SystemClock", "spawn"]

_log = logging.getLogger(__name__)


class SystemClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> int:
        return time.time_ns() // 1000


class RandomIds:
    def token(self) -> str:
        return os.urandom(16).hex()

    def command_id(self) -> bytes:
        return os.urandom(32)


def spawn(work: Coroutine[Any, Any, None], /, *, name: str) -> asyncio.Task[None]:
    """Start a task whose failure is never silent."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_report)
    return task


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception():
        _log.critical("task %s failed", task.get_name(), exc_info=task.exception())
