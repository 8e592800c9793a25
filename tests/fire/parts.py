"""The parts of the system, each in a process of its own, to be killed at any moment and started again at once.

They are forked from a process that has everything loaded, so that a start takes milliseconds and a test affords
hundreds of kills. Each process ends by itself after `LIFE_SECONDS`, whatever becomes of the test.
"""

from __future__ import annotations

import asyncio
import logging
import os
import runpy
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

from ledger.domain.commands import Cancel, Command, Confirm, Envelope, Extend, Issue, Link, Reserve, Void
from ledger.domain.events import NumbersReserved
from ledger.domain.rejection import Rejection
from ledger.ports import Fault
from ledger.service import Ledger
from ledger.stores import open_store
from ledger.system import RandomIds, SystemClock, aside, spawn
from ledger.writer import Limits, Outcome
from numbering.settings import Settings
from numbering.wiring import Node
from projections.mirror.redis import connect_to
from projections.mirror.relay import Relay
from projections.projector import Projector
from tests.fire.load import GAPLESS, NEVER
from tests.forked import loaded

__all__ = [
    "SHORT_SECONDS",
    "Part",
    "start_consumer",
    "start_mirror",
    "start_projector",
    "start_service",
    "start_writer",
]

LIFE_SECONDS = 600
CLIENTS = 4
SHORT_SECONDS, LONG_SECONDS = 1, 3600  # what is due expires at once, or long after the test
REASON = "drawn by lot in a test"
CONSUMER = Path(__file__).parents[2] / "examples" / "consumer.py"


class Part:
    """A process that can be killed and started again."""

    def __init__(self, name: str, work: Callable[..., None], *arguments: Any) -> None:
        self.name = name
        self.kills = 0
        self._work = work
        self._arguments = arguments
        self._process: BaseProcess | None = None

    def start(self) -> None:
        self._process = loaded.Process(target=_run, args=(self._work, *self._arguments), daemon=True)
        self._process.start()

    def kill(self) -> None:
        """End it as a crash does; it must still have been at work."""
        assert self._process is not None
        assert self._process.exitcode is None, f"{self.name} ended by itself with {self._process.exitcode}"
        self._process.kill()
        self._process.join()
        self._process = None
        self.kills += 1

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()


def _run(work: Callable[..., None], *arguments: Any) -> None:
    signal.alarm(LIFE_SECONDS)
    logging.basicConfig(level=logging.CRITICAL)
    work(*arguments)


# What the processes do


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Ledger, Any]]:
    store = open_store(url)
    limits = Limits(idle_seconds=0.05)
    ledger = Ledger(store, clock=SystemClock(), ids=RandomIds(), spawn=spawn, aside=aside, limits=limits)
    async with ledger:
        yield ledger, store


def writer(url: str, acknowledged: Path) -> None:
    asyncio.run(_write(url, acknowledged))


async def _write(url: str, acknowledged: Path) -> None:
    async with opened(url) as (ledger, _):
        await _use(ledger, acknowledged)


def service(url: str, redis_url: str, acknowledged: Path) -> None:
    asyncio.run(_serve(url, redis_url, acknowledged))


async def _serve(url: str, redis_url: str, acknowledged: Path) -> None:
    """Write, and hand on what was written to a mirror and projections of the same process, as a service does."""
    settings = Settings(database_url=url, redis_url=redis_url)
    async with Node(settings, projects=True) as node:
        await _use(node.ledger, acknowledged)


async def _use(ledger: Ledger, acknowledged: Path) -> None:
    """Use the ledger as some clients do, and note every number that one of them was told."""
    with acknowledged.open("a", encoding="utf-8") as file:
        await asyncio.gather(*(_client(ledger, file.write, file.flush) for _ in range(CLIENTS)))


async def _client(ledger: Ledger, write: Callable[[str], Any], flush: Callable[[], None]) -> None:
    random, held, confirmed = Random(os.urandom(16)), list[str](), list[str]()
    while True:
        command = _drawn(random, held, confirmed, ledger)
        try:
            outcome = await ledger.execute(command, Envelope(ledger.ids.command_id(), f"client-{random.randrange(3)}"))
        except (Rejection, Fault):
            continue
        for number in _numbers(ledger, outcome):
            write(f"{outcome.position} {number}\n")
            if isinstance(command, Issue):
                confirmed.append(number)
        flush()
        await asyncio.sleep(0.002)  # the parts that follow share the processor


def _drawn(random: Random, held: list[str], confirmed: list[str], ledger: Ledger) -> Command:
    series, token, document = random.choice([NEVER, GAPLESS]), ledger.ids.token(), f"D-{random.randrange(50)}"
    reserve = Reserve(
        series,
        token,
        count=random.choice([1, 1, 1, 2, 7, 40]),
        ttl_seconds=random.choice([SHORT_SECONDS, LONG_SECONDS]),
    )
    match random.randrange(10):
        case 0 | 1 | 2:
            held.append(token)
            return reserve
        case 3 | 4 if held:
            return Confirm(held.pop(random.randrange(len(held))), document)
        case 5 if held:
            return Cancel(held.pop(random.randrange(len(held))), REASON)
        case 6 if held:
            return Extend(random.choice(held), LONG_SECONDS)
        case 7 if confirmed:
            number = confirmed.pop(random.randrange(len(confirmed)))
            return Void(number, REASON, token, replace=random.random() < 0.5)
        case 8 if confirmed:
            return Link(random.choice(confirmed), document, REASON)
        case _:
            return Issue(reserve, document)


def _numbers(ledger: Ledger, outcome: Outcome) -> list[str]:
    numbers = []
    for event in (entry.event for entry in outcome.entries):
        if isinstance(event, NumbersReserved):
            of = event.numbering
            frame = ledger.state.series(of.series, of.series_version).frame(of.key, of.attributes, of.document_date)
            numbers += [frame.number(value) for first, last in event.ranges for value in range(first, last + 1)]
    return numbers


def projector(url: str) -> None:
    asyncio.run(_project(url))


async def _project(url: str) -> None:
    async with opened(url) as (ledger, store):
        Projector(store, ledger.writer.feed, clock=ledger.clock, spawn=spawn).start()
        await asyncio.Event().wait()


def mirror(url: str, redis_url: str) -> None:
    asyncio.run(_mirror(url, redis_url))


async def _mirror(url: str, redis_url: str) -> None:
    async with opened(url) as (ledger, store):
        relay = Relay(store, ledger.writer, connect_to(redis_url), clock=ledger.clock, spawn=spawn)
        relay.start()
        await asyncio.Event().wait()


def consumer(*arguments: str) -> None:
    sys.argv = [str(CONSUMER), *arguments]
    runpy.run_path(str(CONSUMER), run_name="__main__")


# Parts


def start_writer(name: str, url: str, acknowledged: Path) -> Part:
    return _started(Part(name, writer, url, acknowledged))


def start_service(name: str, url: str, redis_url: str, acknowledged: Path) -> Part:
    return _started(Part(name, service, url, redis_url, acknowledged))


def start_projector(name: str, url: str) -> Part:
    return _started(Part(name, projector, url))


def start_mirror(name: str, url: str, redis_url: str) -> Part:
    return _started(Part(name, mirror, url, redis_url))


def start_consumer(name: str, *arguments: str) -> Part:
    return _started(Part(name, consumer, *arguments))


def _started(part: Part) -> Part:
    part.start()
    return part
