"""What it costs to check an archive: `python -m benchmarks.replay [EVENTS]`.

Prints, as medians of interleaved rounds on one generated archive: its chain followed by all cores, by one, and by the
check that every source passes, beside two peers that read and decompress the same bytes and hash them, all at once or
event by event. Then the most memory that following the chain takes, in an archive and in one ten times as large.
"""

import asyncio
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from benchmarks.machine import machine
from ledger import chain, codec
from ledger.codec import Entry
from ledger.domain.commands import Confirm, Decidable, DefineSeries, Envelope, Reserve
from ledger.domain.decide import decide
from ledger.domain.evolve import evolve
from ledger.domain.rejection import Rejection
from ledger.domain.series import Definition, Dimension, Series
from ledger.domain.state import State
from replay.archive.manifest import Manifest
from replay.archive.segments import BODY, lines_of, texts_of
from replay.archive.source import ArchiveSource
from replay.archive.verification import verify_chain
from replay.archive.writing import archive
from replay.following import Chain, checked
from replay.sources import Extent, Stored

EVENTS = 1_000_000
ROUNDS = 5
PART = 10_000
LEDGER = "00000000-0000-0000-0000-000000000000"
NOW = 1_795_000_000_000_000
LIMIT_RATIO = 0.5


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    with tempfile.TemporaryDirectory() as directory:
        about = machine(Path(directory))
        print(", ".join(f"{name} {about[name]}" for name in ("cpu", "cores", "kernel", "python", "filesystem")))
        whole, tenth = (_generated(Path(directory) / str(size), size) for size in (count, count // 10))
        speed(whole)
        memory(tenth, whole)


# Speed


def speed(directory: Path) -> None:
    manifest = Manifest.read(directory)
    ways: dict[str, Callable[[], None]] = {
        "read, decompressed, hashed at once": lambda: _hash_at_once(directory, manifest),
        "read, decompressed, hashed event by event": lambda: _hash_each(directory, manifest),
        "chain, all cores": lambda: verify_chain(directory, manifest),
        "chain, one core": lambda: verify_chain(directory, manifest, processes=1),
        "checked, as from any source": lambda: asyncio.run(_check(directory)),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            spent[name].append((time.perf_counter() - began) / manifest.position)
    size = sum(segment.bytes for segment in manifest.segments)
    print(
        f"{manifest.position:,} events in {len(manifest.segments)} segments, {size:,} bytes; median of {ROUNDS} rounds:"
    )
    at_once, each, *_ = spent.values()
    for name, took in spent.items():
        print(
            f"  {name:44} {statistics.median(took) * 1e6:6.2f} µs an event; {_ratio(at_once, took):5.2f} of the first, "
            f"{_ratio(each, took):5.2f} of the second"
        )
    print(f"  limit of the chain by all cores: {LIMIT_RATIO} of the first")


def _ratio(peer: Sequence[float], ours: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(peer, ours, strict=True))


def _hash_at_once(directory: Path, manifest: Manifest) -> None:
    digest = sha256()
    for segment in manifest.segments:
        for text in texts_of(directory, segment):
            digest.update(text)


def _hash_each(directory: Path, manifest: Manifest) -> None:
    previous = bytes(32)
    for segment in manifest.segments:
        for lines in lines_of(directory, segment):
            for line in lines:
                previous = sha256(previous + line[BODY]).digest()


async def _check(directory: Path) -> None:
    source = ArchiveSource(directory)
    extent = await source.extent()
    async for _ in checked(source, extent, Chain.of(extent.ledger_id)):
        pass


# Memory


def memory(tenth: Path, whole: Path) -> None:
    print("the most memory of the process that follows the chain, and of the largest that it begins:")
    for directory in (tenth, whole):
        ended = subprocess.run(
            [sys.executable, "-c", "from benchmarks.replay import peak; peak()", directory],
            capture_output=True,
            text=True,
            check=True,
        )
        own, begun = (int(word) / 1024 for word in ended.stdout.split())
        print(f"  {Manifest.read(directory).position:>9,} events {own:8.1f} MiB, {begun:8.1f} MiB")


def peak() -> None:
    """Follow the chain of the archive that is named, and print what it took."""
    directory = Path(sys.argv[1])
    verify_chain(directory, Manifest.read(directory))
    print(*(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


# An archive


def _generated(directory: Path, count: int) -> Path:
    """Archive so many events as a service would write them, without the service: a few, at ever new positions."""
    asyncio.run(archive(_Generated(count), directory, lambda done, of: None))
    return directory


class _Generated:
    name = "the generator"
    is_primary = False

    def __init__(self, count: int) -> None:
        self._count = count
        self._last = b""
        for events in self._parts():
            self._last = events[-1][2]

    async def extent(self) -> Extent:
        return Extent(LEDGER, 1, self._count, self._last)

    async def events(self, *, after: int, to: int) -> AsyncIterator[Sequence[Stored]]:
        assert (after, to) == (0, self._count)
        for events in self._parts():
            yield events

    def _parts(self) -> Iterator[Sequence[Stored]]:
        templates = _templates()
        previous, events = chain.genesis(LEDGER), list[Stored]()
        for position in range(1, self._count + 1):
            before, between, behind = templates[position % len(templates)]
            id = sha256(b"%d" % position).hexdigest().encode()
            body = b'%b%b%b"position":%d%b' % (before, id, between, position, behind)
            previous = sha256(previous + body).digest()
            events.append((position, body, previous))
            if len(events) == PART:
                yield events
                events = []
        if events:
            yield events


def _templates() -> Sequence[Sequence[bytes]]:
    """Give bodies of real events, cut where the command's id and the position stand."""
    definition = Definition(template="{FROM}-{SEQ:9}-{YYYY}", dimensions={"FROM": Dimension(values=("คคง.", "สคฉ.3"))})
    state, found = State(), list[Sequence[bytes]]()
    commands: list[Decidable] = [DefineSeries((Series.define("LETTER", definition),))]
    for token in (f"{number:032x}" for number in range(100)):
        commands += Reserve("LETTER", token, {"FROM": "คคง."}), Confirm(token, "DOC-2026-000001")
    for command in commands:
        events = decide(state, command, NOW)
        assert not isinstance(events, Rejection)
        for event in events:
            evolve(state, event, NOW)
            envelope = Envelope(bytes(32), "api:documents", idempotency_key="k" * 36, fingerprint="f" * 64)
            body = codec.encode(Entry(777_777, event, envelope, 0, NOW), bytes(32)).body
            before, _, rest = body.partition(bytes(32).hex().encode())
            between, _, behind = rest.partition(b'"position":777777')
            found.append((before, between, behind))
    return found[1:]


if __name__ == "__main__":
    main()
