"""An event loop without a clock or I/O: time is a number, and the order of what is ready is drawn from a seed.

The same seed and the same program give the same run, step by step. Time stands still while anything is ready and then
jumps to the next timer, so an hour of waiting costs nothing. A program that waits for what can never come, or that
never rests, ends the run with `Deadlock` or `OutOfSteps` instead of hanging it.
"""

import asyncio
import contextlib
from asyncio import Handle, TimerHandle
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, TypeVar

__all__ = ["Deadlock", "OutOfSteps", "SimulatedLoop", "run", "simulate"]

T = TypeVar("T")

MAX_STEPS = 300_000
STEPS_TO_END = 10_000  # for cancelling what a failed run left


class Deadlock(AssertionError):
    """Nothing is ready, nothing is scheduled, and the program has not ended."""


class OutOfSteps(AssertionError):
    """The program ran for more steps than it was given."""


class SimulatedLoop(asyncio.BaseEventLoop):
    # BaseEventLoop keeps what is ready and what is scheduled here; only how the next callback is chosen differs.
    _ready: deque[Handle]
    _scheduled: list[TimerHandle]

    def __init__(self, random: Random, *, max_steps: int = MAX_STEPS) -> None:
        super().__init__()
        self.steps = 0
        self.failures: list[dict[str, Any]] = []
        self._random = random
        self._max_steps = max_steps
        self._now = 0.0
        self._alarms: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self.set_exception_handler(lambda _, context: self.failures.append(context))

    def time(self) -> float:
        return self._now

    def call_at_step(self, step: int, callback: Callable[[], None]) -> None:
        """Run `callback` between two steps: the only way to interrupt what is ready and never waits."""
        heappush(self._alarms, (step, next(self._order), callback))

    def grant(self, steps: int) -> None:
        self._max_steps += steps

    def _run_once(self) -> None:
        self.steps += 1
        if self.steps > self._max_steps:
            raise OutOfSteps(f"{self._max_steps} steps, at {self._now:.6f} s of simulated time")
        while self._alarms and self._alarms[0][0] <= self.steps:
            heappop(self._alarms)[2]()
        self._wake_timers()
        # Any order is legal between tasks. The last takes the place of the chosen one, so that choosing costs O(1).
        index = self._random.randrange(len(self._ready))
        self._ready[index], self._ready[-1] = self._ready[-1], self._ready[index]
        handle = self._ready.pop()
        if not handle.cancelled():
            handle._run()

    def _wake_timers(self) -> None:
        self._drop_cancelled_timers()
        if not self._ready:
            if not self._scheduled:
                raise Deadlock(f"at {self._now:.6f} s of simulated time")
            self._now = max(self._now, self._scheduled[0].when())
        while self._scheduled and self._scheduled[0].when() <= self._now:
            self._ready.append(heappop(self._scheduled))
            self._drop_cancelled_timers()

    def _drop_cancelled_timers(self) -> None:
        while self._scheduled and self._scheduled[0].cancelled():
            heappop(self._scheduled)

    def _write_to_self(self) -> None:
        """Nothing sleeps in a selector, so there is nothing to wake."""


def simulate(main: Coroutine[Any, Any, T], *, seed: int | str = 0, max_steps: int = MAX_STEPS) -> T:
    """Run a program to its end in a loop of its own; fails on what any task or callback left behind."""
    return run(SimulatedLoop(Random(f"{seed}/loop"), max_steps=max_steps), main)


def run(loop: SimulatedLoop, main: Coroutine[Any, Any, T]) -> T:
    try:
        result = loop.run_until_complete(main)
        left = sorted(task.get_name() for task in asyncio.all_tasks(loop))
        assert not left, f"tasks were left running: {left}"
    finally:
        _end(loop)
    assert not loop.failures, loop.failures
    return result


def _end(loop: SimulatedLoop) -> None:
    """Close the loop; what a failed run left pending is cancelled, so that it fails nothing else."""
    pending = asyncio.all_tasks(loop)
    loop.grant(STEPS_TO_END)
    for task in pending:
        task.cancel()
    if pending:
        with contextlib.suppress(Exception):
            loop.run_until_complete(asyncio.wait(pending, timeout=1.0))
    loop.close()
