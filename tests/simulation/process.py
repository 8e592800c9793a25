"""A whole process of the service: a ledger with its own writer, clock and ids, to be asked, stopped and crashed."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any

from ledger.domain.commands import Command, Envelope
from ledger.domain.rejection import Rejection
from ledger.ports import Fault
from ledger.service import Ledger
from ledger.writer import Limits, Outcome, Snapshotter
from projections.mirror.relay import Relay
from tests.simulation.database import EPOCH, SECOND, Database, FaultyStore
from tests.simulation.mirror import MirrorServer

__all__ = ["Answer", "Attempt", "Process", "SeededIds", "SkewedClock", "draw_limits"]

Answer = Outcome | Rejection | Fault

MAX_SKEW_SECONDS = 14.0  # the database's clock is up to 10 s wrong: together they stay within the tolerance of 30 s


class SkewedClock:
    """A process's clock: wrong by some seconds, by others after a jump, and by far more while it leaps."""

    def __init__(self, random: Random) -> None:
        self.leap = 0.0
        self._random = random
        self._skew = 0.0
        self.jump()

    def jump(self) -> None:
        self._skew = self._random.uniform(-MAX_SKEW_SECONDS, MAX_SKEW_SECONDS)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> int:
        return EPOCH + int((self.monotonic() + self._skew + self.leap) * SECOND)

    def boot(self) -> int:
        return int(self.monotonic() * SECOND)


class SeededIds:
    def __init__(self, random: Random) -> None:
        self._random = random

    def token(self) -> str:
        return f"{self._random.getrandbits(128):032x}"

    def command_id(self) -> bytes:
        return self._random.randbytes(32)


@dataclass
class Attempt:
    """One request to one process, and what came of it; no answer when the process died or the client went away."""

    command: Command
    envelope: Envelope
    process: str
    asked_at: float
    answer: Answer | None = None
    answered_at: float | None = None

    @property
    def outcome(self) -> Outcome | None:
        return self.answer if isinstance(self.answer, Outcome) else None


def draw_limits(random: Random) -> Limits:
    """Bounds so small that runs reach them."""
    return Limits(
        queue=random.choice([3, 20, 1000]),
        batch=random.choice([1, 3, 8, 512]),
        batch_bytes=random.choice([1, 600, 2000, 2 << 20]),
        sweep=random.choice([1, 2, 256]),
        fold_under_lock=random.choice([0, 1, 5, 1000]),
        fold_chunk=random.choice([1, 3, 1000]),
        attempts=random.choice([1, 2, 5]),
        lock_timeout_seconds=random.choice([1.0, 5.0]),
        outcome_seconds=random.choice([2.0, 15.0]),
        shutdown_seconds=random.choice([1.0, 20.0]),
    )


async def at_once(work: Callable[[], None], /) -> None:
    """A thread would run at its own time, and no two runs would be alike."""
    work()


class Process:
    """Start it inside the loop. It is `up` until it was crashed or stopped; a new one takes its place then."""

    def __init__(self, name: str, database: Database, mirror: MirrorServer, seed: str, limits: Limits) -> None:
        random = Random(seed)
        self.name = name
        self.up = True
        self.crashes = 0
        self.database = database
        self.clock = SkewedClock(random)
        self.ids = SeededIds(random)
        self.store = FaultyStore(database, self.crash)
        self._tasks: list[asyncio.Task[None]] = []
        self.ledger = Ledger(self.store, clock=self.clock, ids=self.ids, spawn=self.spawn, aside=at_once, limits=limits)
        self.relay = Relay(self.store, self.ledger.writer, mirror.connect, clock=self.clock, spawn=self.spawn)
        every = random.choice([1, 5, 20])
        self.snapshotter = Snapshotter(self.store, self.ledger.writer, spawn=self.spawn, aside=at_once, every=every)
        self.snapshotter.start()
        self.relay.start()
        self.ledger.writer.start()

    def spawn(self, work: Coroutine[Any, Any, None], /, *, name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=f"{self.name} {name}")
        self._tasks.append(task)
        if self.store.dead:
            task.cancel()
        return task

    def ask(self, attempt: Attempt) -> asyncio.Task[None]:
        """Serve a request as a handler of HTTP would; cancel the task and the client has gone away."""
        return self.spawn(self._serve(attempt), name=f"request {attempt.envelope.request_id}")

    def crash(self) -> None:
        """Die here and now: every task stops where it is, and nothing of it reaches the log or a client any more."""
        if self.store.dead:
            return
        self.up = False
        self.database.seen[f"crashed {self.store.phase}"] += 1
        self.store.dead = True
        for task in self._tasks:
            task.cancel()

    @property
    def knows_the_time(self) -> bool:
        """Whether it has seen the database's clock, and found it right."""
        clocks = self.ledger.writer.clocks
        return clocks.times.database is not None and clocks.fault is None

    async def stop(self) -> None:
        """Shut down as a signal would make it, to the end, whatever becomes of whoever sent it."""
        self.up = False
        await asyncio.wait([self.spawn(self._stop(), name="stop")])

    async def _stop(self) -> None:
        await self.snapshotter.stop()
        await self.ledger.__aexit__()
        await self.relay.stop()

    async def gone(self) -> None:
        """Wait until every task has ended, and see that none of them failed."""
        while running := [task for task in self._tasks if not task.done()]:
            await asyncio.wait(running)
        for task in self._tasks:
            if not task.cancelled():
                task.result()
        self.database.seen["began at a snapshot"] += bool(self.ledger.writer.began_at)

    async def _serve(self, attempt: Attempt) -> None:
        answer: Answer
        try:
            answer = await self.ledger.execute(attempt.command, attempt.envelope)
        except (Rejection, Fault) as error:
            answer = error
        if not self.store.dead:
            attempt.answer, attempt.answered_at = answer, self.clock.monotonic()
