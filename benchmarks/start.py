"""How long a start takes on a long log: `python -m benchmarks.start`.

Makes a ledger of a million events in SQLite by appending them directly, and starts a process on it, from the
interpreter to the moment at which it could number: without a snapshot; from one that is as far behind as one ever is,
right before the next is due; from one of the end; and on an empty ledger, which is what a start costs anyway. Each in a
process of its own, in turn, with the processor time that it took and the memory that it holds then. Before that, how
long a service's event loop is held up while a snapshot is written.
"""

import asyncio
import gc
import json
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import machine
from ledger import codec, snapshots
from ledger.domain.calendar import Reset
from ledger.domain.commands import Cancel, Confirm, Decidable, DefineSeries, Envelope, Reserve
from ledger.domain.decide import decide
from ledger.domain.evolve import evolve
from ledger.domain.rejection import Rejection
from ledger.domain.series import Definition, Dimension, Series
from ledger.fold import Fold
from ledger.ports import Record, Snapshot
from ledger.stores import migrate, open_store
from ledger.writer.snapshotter import EVERY
from numbering.server import collect_less_often
from numbering.settings import Settings
from numbering.wiring import Node

EVENTS = 1_000_000
SEQUENCES = 10_000
OPEN_RESERVATIONS = 10_000
ROUNDS = 3
LIMIT_SECONDS = 3.0
WRITTEN = (1_000, 10_000, 100_000)  # sequences
TTL = 86_400
START_SECONDS = 600.0
POLL_SECONDS = 0.005


class Started(NamedTuple):
    """`processor` is the seconds of it that were spent: on a busy machine fewer than those that passed."""

    seconds: float
    processor: float
    megabytes: float


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="numbering-start-") as directory:
        place = Path(directory)
        known = machine(place)
        print(f"{known['cpu']}, {known['cores']} cores, {platform.platform()}, Python {known['python']}")
        print(f"{known['filesystem']}, {known['flush_ms']} ms a flush")
        writing()
        starts(place)


# Writing


def writing() -> None:
    print(
        f"writing a snapshot with {OPEN_RESERVATIONS:,} open reservations, median of {ROUNDS}; the loop is held up by"
    )
    for sequences in WRITTEN:
        fold = _Growing(sequences, 2 * sequences + OPEN_RESERVATIONS).whole()
        rounds = [_written(fold) for _ in range(ROUNDS)]
        held, longest, total, packed = (statistics.median(each) * 1000 for each in zip(*rounds, strict=True))
        print(
            f"  {sequences:7,} sequences: {held:6.1f} ms to hold it still, then {longest:5.2f} ms at most, "
            f"{total:6.1f} in all; {packed:5.1f} ms aside"
        )


def _written(fold: Fold) -> tuple[float, float, float, float]:
    """Give the seconds to hold a fold still, of its longest line, of all lines, and to pack them."""
    gc.collect()
    began = time.perf_counter()
    with snapshots.draft(fold) as draft:
        held = time.perf_counter() - began
        lines, longest = [next(draft.lines)], 0.0
        began = since = time.perf_counter()
        for line in draft.lines:
            lines.append(line)
            now = time.perf_counter()
            longest, since = max(longest, now - since), now
    total, began = since - began, time.perf_counter()
    snapshots.pack(draft.position, draft.hash, lines)
    return held, longest, total, time.perf_counter() - began


# Starting


def starts(directory: Path) -> None:
    empty, url = (f"sqlite+aiosqlite:///{directory}/{name}.db" for name in ("empty", "ledger"))
    asyncio.run(migrate(empty))
    asyncio.run(migrate(url))
    behind, end = _made(directory / "ledger.db")
    print(f"a start on {EVENTS:,} events, {SEQUENCES:,} sequences, median of {ROUNDS}, but one of the first:")
    whole = _started(url, EVENTS)
    _say("without a snapshot", whole, whole)
    for what, snapshot in ((f"from one {EVERY - 1:,} events behind", behind), ("from one of the end", end)):
        asyncio.run(_put(url, snapshot))
        _say(f"{what}, of {len(snapshot.body) / 1e6:.2f} MB", _measured(url, EVENTS), whole)
    _say("on an empty ledger", _measured(empty, 0), whole)


def _say(what: str, started: Started, whole: Started) -> None:
    ratio = f"ratio {whole.seconds / started.seconds:5.1f}, limit {LIMIT_SECONDS:g} s"
    took = f"{started.seconds:6.2f} s, {started.processor:6.2f} s of processor, {started.megabytes:4.0f} MB"
    print(f"  {what:42} {took}; {ratio}", flush=True)


def _measured(url: str, end: int) -> Started:
    rounds = [_started(url, end) for _ in range(ROUNDS)]
    return Started(*(statistics.median(each) for each in zip(*rounds, strict=True)))


def _started(url: str, end: int) -> Started:
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.start", url, str(end)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=START_SECONDS).stdout
    ready = json.loads(said)
    return Started(time.perf_counter() - began - ready["closing"], ready["processor"], ready["megabytes"])


async def _start(url: str, end: int) -> None:
    """What a service does until it can number, in this process; said as JSON."""
    collect_less_often()
    async with Node(Settings(database_url=url)) as node:
        while node.ledger.writer.fold is None or node.ledger.position < end:  # noqa: ASYNC110  no reader waits so long
            await asyncio.sleep(POLL_SECONDS)
        ready, processor, megabytes = time.perf_counter(), time.process_time(), _resident_megabytes()
    took = time.perf_counter() - ready
    print(json.dumps({"closing": took, "processor": processor, "megabytes": megabytes}))


def _resident_megabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


async def _put(url: str, snapshot: Snapshot) -> None:
    store = open_store(url)
    try:
        await store.put_snapshot(snapshot)
    finally:
        await store.close()


def _made(file: Path) -> tuple[Snapshot, Snapshot]:
    """Fill a ledger; gives its snapshots of `EVERY - 1` events before the end, and of the end."""
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        ((ledger_id,),) = database.execute("SELECT ledger_id FROM ledger_head")
        (trigger,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'events_refuse_insert'").fetchone()
        # Nobody acknowledged what is made here: it need not be durable, nor looked at row by row.
        database.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000")
        database.executescript("DROP TRIGGER events_refuse_insert; BEGIN")
        growing = _Growing(SEQUENCES, EVENTS, ledger_id)
        _append(database, growing, EVENTS - EVERY + 1)
        behind = _snapshot(growing.fold)
        _append(database, growing, EVENTS)
        head = growing.fold.position, growing.fold.hash, growing.fold.recorded_at
        database.execute("UPDATE ledger_head SET position = ?, hash = ?, recorded_at = ?", head)
        for statement in ("COMMIT", trigger, "PRAGMA wal_checkpoint(TRUNCATE)"):
            database.execute(statement)
        return behind, _snapshot(growing.fold)


def _append(database: sqlite3.Connection, growing: "_Growing", end: int) -> None:
    rows = (record._replace(body=record.body.decode()) for record in growing.records(end))  # type: ignore[arg-type]
    database.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _snapshot(fold: Fold) -> Snapshot:
    with snapshots.draft(fold) as draft:
        return snapshots.pack(draft.position, draft.hash, draft.lines)


class _Growing:
    """A log of reservations, of which all but the last are confirmed, or one in twenty cancelled, and its fold."""

    def __init__(self, sequences: int, events: int, ledger_id: str = "benchmark") -> None:
        self.fold = Fold(ledger_id)
        self._now = time.time_ns() // 1000
        self._sequences = sequences
        self._events = events
        self._made = self._all()

    def records(self, end: int) -> Iterator[Record]:
        while self.fold.position < end:
            yield next(self._made)

    def whole(self) -> Fold:
        for _ in self._made:
            pass
        return self.fold

    def _all(self) -> Iterator[Record]:
        yield from self._done(DefineSeries((_series(),)))
        number = 0
        while self.fold.position < self._events:
            token = f"{number:032x}"
            yield from self._done(Reserve("HOT", token, {"FROM": f"{number % self._sequences:06d}"}, ttl_seconds=TTL))
            if self.fold.position < self._events - OPEN_RESERVATIONS:
                yield from self._done(Cancel(token) if number % 20 == 7 else Confirm(token, f"document {number}"))
            number += 1

    def _done(self, command: Decidable) -> Iterator[Record]:
        fold = self.fold
        events = decide(fold.state, command, self._now)
        if isinstance(events, Rejection):
            raise events
        envelope = Envelope(fold.hash, "benchmark")
        for ordinal, event in enumerate(events):
            entry = codec.Entry(fold.position + 1, event, envelope, ordinal, self._now)
            record = codec.encode(entry, fold.hash)
            evolve(fold.state, event, self._now)
            fold.advance(record)
            yield record


def _series() -> Series:
    definition = Definition(
        template="{FROM}-{SEQ:9}-{YYYY}",
        dimensions={"FROM": Dimension(chars="A-Z0-9", min=1, max=6)},
        reset=Reset.YEARLY,
        reservation_max_lifetime_seconds=TTL,
    )
    return Series.define("HOT", definition)


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(_start(sys.argv[1], int(sys.argv[2])))
    else:
        main()
