"""The servers of a benchmark, and what is served on them; all of it is ended with the stage."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.engine import Engine
from benchmarks.figures import Figure, Run
from benchmarks.load import Load
from benchmarks.places import LedgerPlace, Place, mariadb_place, peer_place, sqlite_place
from benchmarks.service import Service
from tests.servers import MariaDB, Redis, ServerError

__all__ = ["Served", "Stage"]


LAG_SECONDS = 120.0
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Served:
    """A place, and the services through which clients reach it. `watched` are processes, by name."""

    place: Place
    services: Sequence[Service]
    watched: Mapping[str, int]

    def hung(self, redis: Redis, run: Run, name: str) -> Run:
        """The same run while the mirror's Redis hangs, which it is given time to notice, and to recover from."""

        def measure(seconds: int) -> Figure:
            redis.pause()
            try:
                return run.measure(seconds)
            finally:
                redis.resume()
                self._caught_up()

        return Run(name, run.connections, measure, run.numbers)

    def followed(self, run: Run, name: str) -> Run:
        """The same run, and how long what follows the log takes to catch up afterwards."""

        def measure(seconds: int) -> Figure:
            figure = run.measure(seconds)
            return figure.with_lag(*self._caught_up())

        return Run(name, run.connections, measure, run.numbers)

    def _caught_up(self) -> tuple[int, float]:
        """Wait until nothing lags; gives by how much it did, and for how long."""
        (service,) = self.services
        began, first = time.monotonic(), service.lag()
        while service.lag():
            if time.monotonic() > began + LAG_SECONDS:
                raise ServerError(f"what follows the log was still behind {LAG_SECONDS:g} s after the load")
            time.sleep(POLL_SECONDS)
        return first, time.monotonic() - began

    def run(
        self, name: str, connections: int, path: str, bodies: Sequence[str], *, numbers: int = 1, confirm: bool = False
    ) -> Run:
        """Post the bodies to a path; each 2xx answer tells a client as many `numbers`."""
        load = Load([service.port for service in self.services], path, bodies, self.watched, confirm)

        def measure(seconds: int) -> Figure:
            before = self.place.rows()
            figure = load.run(connections, seconds)
            for service in self.services:
                service.settle()
            self.place.acknowledged += figure.operations * numbers
            return figure.with_rows(before, self.place.rows())

        return Run(name, connections, measure, numbers)


class Stage:
    """`with Stage() as stage`: a MariaDB and a Redis of its own, and whatever is then served."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._places: list[Place] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.mariadb = stack.enter_context(MariaDB())
            self._redis = stack.enter_context(Redis())
            self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
            # Locks need not survive a crash, and without a flush for each the peer is faster.
            self._redis.execute("CONFIG", "SET", "appendonly", "no")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ledger_and_peer(self) -> tuple[Served, Served]:
        """One service on a ledger in MariaDB, and the peer behind the very same service."""
        ledger, peer = mariadb_place(self.mariadb, "ledger"), peer_place(self.mariadb, "row_lock")
        served = self._serve(ledger, peer_database_url=peer.url, redis_url=self._redis.url)
        self._places.append(peer)
        return served, Served(peer, served.services, served.watched)

    def one_process(self) -> Served:
        return self._serve(mariadb_place(self.mariadb, "more"))

    def two_processes(self) -> Served:
        """Two services on one ledger in MariaDB."""
        return self._serve(mariadb_place(self.mariadb, "two processes"), copies=2)

    def projected(self) -> Served:
        """One service that keeps the projections as well."""
        return self._serve(mariadb_place(self.mariadb, "projected"), projects="")

    def mirrored(self) -> tuple[Served, Redis]:
        """One service that mirrors its log, and the Redis to which it does."""
        redis = self._stack.enter_context(Redis())
        return self._serve(mariadb_place(self.mariadb, "mirrored"), mirror_url=redis.url), redis

    def sqlite(self) -> Served:
        return self._serve(sqlite_place(self._directory, "sqlite"))

    def engine(self) -> Engine:
        return Engine(self.mariadb, self._places)

    def flaws(self) -> dict[str, str | None]:
        """Look at all that was written: what is wrong with it, by the name of the place."""
        return {place.name: place.flaw() for place in self._places}

    def _serve(self, place: LedgerPlace, copies: int = 1, **options: str) -> Served:
        services = [self._stack.enter_context(Service(database_url=place.url, **options)) for _ in range(copies)]
        services[0].define()
        self._places.append(place)
        names = ["server", *(f"server {number}" for number in range(2, copies + 1))]
        pids = {name: service.pid for name, service in zip(names, services, strict=True)}
        return Served(place, services, pids | ({} if "sqlite" in place.url else {"mariadb": self.mariadb.pid}))
