"""The archive: what is put in reads back equal, whatever interrupts a run, and nothing that was archived changes."""

import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from unittest.mock import AsyncMock

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import chain
from ledger.codec import Entry, encode
from ledger.domain.commands import Envelope
from ledger.domain.events import FormatRaised
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.rejection import Rejection
from ledger.ports import Fault, Stop, StopKind
from ledger.stores.checks import MAX_BODY_BYTES
from replay.archive import explained
from replay.archive.manifest import MANIFEST, Manifest
from replay.archive.source import ArchiveSource
from replay.archive.writing import archive
from replay.sources import IN_FLIGHT_MICROSECONDS, DatabaseSource, Stored
from tests.forked import Forked
from tests.given import QUICK
from tests.numbering.process import NUMBERING, Service, run, without_settings
from tests.profiles import rounds
from tests.replay.places import (
    LEDGER,
    ListSource,
    archived,
    history,
    opened_sqlite,
    read,
    silent,
    sqlite_with,
    stored,
)

EVENTS = 60
WAIT_SECONDS = 60.0


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != explained.FILE}


def touched(directory: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in directory.iterdir()}


def of(bodies: Sequence[bytes]) -> list[Stored]:
    """Chain some bodies, each told its position."""
    previous, events = chain.genesis(LEDGER), list[Stored]()
    for position, body in enumerate(bodies, 1):
        whole = b'{"body":"%b","position":%d,"recorded_at":%d}' % (body, position, position)
        previous = chain.link(previous, whole)
        events.append((position, whole, previous))
    return events


async def put(events: Sequence[Stored], directory: Path, segment_events: int = 100) -> Manifest:
    _, manifest = await archive(ListSource(events), directory, silent, segment_events=segment_events)
    return manifest


# What is archived


@given(cuts=st.sets(st.integers(1, EVENTS), max_size=5), segment_events=st.integers(1, EVENTS + 1))
@settings(QUICK, max_examples=rounds(6, thorough=20))
def test_runs_of_any_length_read_back_equal_and_only_append(
    tmp_path_factory: pytest.TempPathFactory, cuts: set[int], segment_events: int
) -> None:
    directory = tmp_path_factory.mktemp("archive")
    records = history(EVENTS)

    async def runs() -> None:
        before: dict[str, bytes] = {}
        for cut in [*sorted(cuts), EVENTS]:
            manifest = await archived(records[:cut], directory, segment_events=segment_events)
            now = files(directory)
            assert all(now[name].startswith(what) for name, what in before.items() if name != MANIFEST)
            assert all(each.last - each.first + 1 == segment_events for each in manifest.segments[:-1])
            assert set(now) == {MANIFEST, *(each.file for each in manifest.segments)}
            assert await read(ArchiveSource(directory)) == stored(records[:cut])
            before = now

    asyncio.run(runs())


async def test_one_event_a_run(tmp_path: Path) -> None:
    records = history(25)
    for count in range(1, 26):
        await archived(records[:count], tmp_path, segment_events=10)
    assert await read(ArchiveSource(tmp_path)) == stored(records)


async def test_huge_events_and_thai_text(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(3 << 20).hex().encode()
    bodies = [
        "คคง.-สคฉ.3-0001-2568 😀".encode(),
        noise,
        b"a" * MAX_BODY_BYTES,
        noise[::-1],
        "ที่".encode() * 1_000_000,
        b"",
    ]
    events = of(bodies)
    for count in range(len(events) + 1):
        await put(events[:count], tmp_path, segment_events=4)
    assert await read(ArchiveSource(tmp_path)) == events


async def test_any_part_is_read(tmp_path: Path) -> None:
    events = stored(history(30))
    await put(events, tmp_path, segment_events=7)
    source = ArchiveSource(tmp_path)
    for after in range(31):
        for to in range(after, 31):
            found = [event async for part in source.events(after=after, to=to) for event in part]
            assert found == events[after:to]


async def test_a_run_without_news_writes_nothing(tmp_path: Path) -> None:
    for count in (0, EVENTS):
        records = history(EVENTS)[:count]
        await archived(records, tmp_path)
        before = touched(tmp_path)
        await archived(records, tmp_path)
        assert touched(tmp_path) == before


async def test_any_zstd_and_json_reader_will_do(tmp_path: Path) -> None:
    records = history(5)
    manifest = await archived(records, tmp_path)
    (segment,) = manifest.segments
    with zstandard.open(tmp_path / segment.file, "rt", encoding="utf-8") as lines:
        said = [json.loads(line) for line in lines]
    assert [each["hash"] for each in said] == [record.hash.hex() for record in records]
    assert [each["event"] for each in said] == [json.loads(record.body) for record in records]


# Interrupted


async def test_what_an_interrupted_run_left_does_not_count(tmp_path: Path) -> None:
    records = history(EVENTS)
    manifest = await archived(records[:25], tmp_path, segment_events=10)
    last = tmp_path / manifest.segments[-1].file
    with last.open("ab") as file:
        file.write(b"half a frame" * 1000)
    (tmp_path / "events-000000000031.jsonl.zst").write_bytes(b"of a segment that no manifest names" * 1000)
    (tmp_path / f"{MANIFEST}.new").write_bytes(b'{"format"')
    assert await read(ArchiveSource(tmp_path)) == stored(records[:25])
    await archived(records, tmp_path, segment_events=10)
    assert await read(ArchiveSource(tmp_path)) == stored(records)
    assert f"{MANIFEST}.new" not in files(tmp_path)


async def test_a_first_run_that_was_interrupted_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / f"{MANIFEST}.new").write_bytes(b"{")
    await archived(history(5), tmp_path)
    assert await read(ArchiveSource(tmp_path)) == stored(history(5))


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        service.file.with_name("a.toml").write_text('[series.A]\ntemplate = "A-{SEQ:9}"\n')
        assert run("series", "apply", "a.toml", cwd=service.directory).returncode == 0
        yield service


def written(service: Service) -> list[Stored]:
    with closing(sqlite3.connect(service.file)) as connection:
        rows = connection.execute("SELECT position, body, hash FROM events ORDER BY position")
        return [(position, body.encode(), hash) for position, body, hash in rows]


class Crash(BaseException):
    pass


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
async def test_ended_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Whatever a run was about to ask of the system, or had just got, is the last that it does."""
    records = history(40)
    for step in range(1000):
        directory = tmp_path / str(step)
        await archived(records[:15], directory, segment_events=10)
        with monkeypatch.context() as patch:
            reached = ends_at(patch, call, step)
            with suppress(Crash):
                await archived(records, directory, segment_events=10)
        held = await read(ArchiveSource(directory))
        assert held == stored(records[: max(len(held), 15)])
        await archived(records, directory, segment_events=10)
        assert await read(ArchiveSource(directory)) == stored(records)
        if not reached:
            assert step > 5
            return


def ends_at(patch: pytest.MonkeyPatch, call: str, step: int) -> list[str]:
    """Crash before or after some call, counted from 0; gives a list that then has an element."""
    owner: Any = os if call == "fsync" else Path
    original, calls, reached = getattr(owner, call), iter(range(1_000_000)), list[str]()

    def crashing(*arguments: Any, **options: Any) -> object:
        number = next(calls)
        if number == step // 2 and step % 2 == 0 and not reached:
            reached.append("before")
            raise Crash
        answer = original(*arguments, **options)
        if number == step // 2 and not reached:
            reached.append("after")
            if call == "open":
                answer.close()
            raise Crash
        return answer

    patch.setattr(owner, call, crashing)
    return reached


def test_killed_again_and_again_beside_a_writer(service: Service, tmp_path: Path) -> None:
    """Each run is killed at another moment; the runs to the end go on where they were."""
    directory, chance = tmp_path / "archive", random.Random(2)
    whole_runs: list[float] = []
    with service.client() as client:
        for number in range(12):
            for _ in range(10):
                assert client.post("/v1/issue", json={"series": "A", "document": f"ที่ {number}"}).status_code == 201
            began = time.monotonic()
            with TemporaryFile() as said, Path(os.devnull).open("wb") as nowhere:
                # Forked, so that what is killed is at work, and does not still load.
                words, at = ("archive", str(directory)), service.directory
                process = Forked(words, cwd=at, env=without_settings(), stdout=nowhere, stderr=said)
                if number % 4:
                    time.sleep(min(whole_runs) * chance.random())
                    process.kill()
                process.wait(WAIT_SECONDS)
                said.seek(0)
                assert said.read() == b""
            if number % 4 == 0:
                whole_runs.append(time.monotonic() - began)
            held = asyncio.run(read(ArchiveSource(directory)))
            assert held == written(service)[: len(held)]
    ended = run("archive", str(directory), "--json", cwd=service.directory)
    assert ended.returncode == 0, ended.stderr
    assert asyncio.run(read(ArchiveSource(directory))) == written(service)


def test_a_run_while_a_service_writes(service: Service, tmp_path: Path) -> None:
    runs: list[subprocess.CompletedProcess[str]] = []
    with service.client() as client:
        process = subprocess.Popen(
            [NUMBERING, "archive", tmp_path, "--json"], cwd=service.directory, env=without_settings(),
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        while process.poll() is None:
            assert client.post("/v1/issue", json={"series": "A", "document": "D"}).status_code == 201
        assert process.communicate(timeout=WAIT_SECONDS)[0]
        assert process.returncode == 0
    runs.append(run("archive", str(tmp_path), "--json", cwd=service.directory))
    said = json.loads(runs[-1].stdout)
    whole = written(service)
    assert said["head"] == f"{len(whole)}:{whole[-1][2].hex()}"
    assert asyncio.run(read(ArchiveSource(tmp_path))) == whole


async def test_two_runs_at_once(tmp_path: Path) -> None:
    records = history(EVENTS)

    async def one() -> str:
        try:
            await archived(records, tmp_path, segment_events=3)
        except Rejection as rejection:
            return rejection.detail
        return "whole"

    said = await asyncio.gather(*(one() for _ in range(4)))
    assert set(said) <= {"whole", f"another run is writing to {tmp_path}: let it finish"}
    assert "whole" in said
    assert len(set(said)) == 2, "they did not meet"
    assert await read(ArchiveSource(tmp_path)) == stored(records)


# Disks that are full, or may not be written

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from numbering.cli import main
main(sys.argv[2:], prog_name="numbering")
"""


def limited(size: int, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `numbering` on a disk that takes files up to some size."""
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(size), *words],
        cwd=cwd, env=without_settings() | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=WAIT_SECONDS, check=False,
    )  # fmt: skip


def one_line(ended: subprocess.CompletedProcess[str]) -> str:
    assert (ended.returncode, ended.stdout) == (3, ""), ended.stderr
    (line,) = ended.stderr.splitlines()
    return line


async def test_a_disk_that_is_full_half_way(tmp_path: Path) -> None:
    noise = random.Random(3)
    events = of([noise.randbytes(8000).hex().encode() for _ in range(200)])
    file = await sqlite_with([], tmp_path)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        rows = [
            (position, "X", 1, "s", b"%032d" % position, 0, body.decode(), position, hash)
            for position, body, hash in events
        ]
        columns = "position, type, version, stream, command_id, ordinal, body, recorded_at, hash"
        connection.executemany(f"INSERT INTO events ({columns}) VALUES (?,?,?,?,?,?,?,?,?)", rows)
        connection.execute("UPDATE ledger_head SET position = 200, hash = ?", [events[-1][2]])
    directory = tmp_path / "archive"
    await put(events[:20], directory)
    before = files(directory)
    for size in (1_000_000, 200_000):
        line = one_line(limited(size, "archive", str(directory), cwd=tmp_path))
        assert line.startswith("numbering: NB063 STORAGE_FAILED: ")
        assert line.endswith("mend that and run it again, it goes on where it was")
        assert files(directory)[MANIFEST] == before[MANIFEST]
        assert await read(ArchiveSource(directory)) == events[:20]
    assert run("archive", str(directory), cwd=tmp_path).returncode == 0
    assert await read(ArchiveSource(directory)) == events


async def test_a_run_on_a_database(tmp_path: Path) -> None:
    records = history(EVENTS)
    file = await sqlite_with(records, tmp_path)
    async with opened_sqlite(file) as store:
        archived, manifest = await archive(DatabaseSource(store), tmp_path / "a" / "b", silent, segment_events=11)
    assert (archived, manifest.position, manifest.hash) == (EVENTS, EVENTS, records[-1].hash)
    assert await read(ArchiveSource(tmp_path / "a" / "b")) == stored(records)


@pytest.mark.parametrize("place", ["/proc/archive", "/sys/archive", "/dev/null/archive", "/dev/null"])
async def test_a_place_where_nobody_may_write(place: str) -> None:
    with pytest.raises((Fault, Rejection)) as refused:
        await archived(history(3), Path(place))
    assert place.startswith("/dev") == isinstance(refused.value, Rejection)
    assert "/" in str(refused.value)


# The command


async def test_the_command_tells_what_it_did(tmp_path: Path) -> None:
    records = history(EVENTS)
    await sqlite_with(records, tmp_path)
    head = f"{EVENTS}:{records[-1].hash.hex()}"
    for archived_now in (EVENTS, 0):
        said = json.loads(run("archive", "copy", "--json", cwd=tmp_path).stdout)
        assert said == {
            "ledger_id": LEDGER,
            "archived": archived_now,
            "segments": 1,
            "recorded_at": said["recorded_at"],
            "head": head,
        }
    assert head in run("archive", cwd=tmp_path, archive="copy").stdout
    ended = run("archive", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "numbering: no archive is configured: name a directory, or set NUMBERING_ARCHIVE\n"


@pytest.mark.parametrize(
    ("count", "document", "directory", "code", "words"),
    [
        (5, "D", "copy", 1, "HISTORIES_DIFFER: the database ends at position 5, but the archive goes on to 60"),
        (EVENTS, "E", "copy", 1, "HISTORIES_DIFFER: the database and the archive tell two histories"),
        (EVENTS, "D", ".", 1, "ARCHIVE_UNUSABLE: . is no archive, and not empty"),
        (EVENTS, "D", "numbering.db", 1, "ARCHIVE_UNUSABLE: numbering.db is not a directory"),
        (EVENTS, "D", "/proc/none", 3, "STORAGE_FAILED: /proc/none cannot be written: "),
    ],
)
async def test_the_command_refuses_in_one_line(
    tmp_path: Path, count: int, document: str, directory: str, code: int, words: str
) -> None:
    await archived(history(EVENTS), tmp_path / "copy")
    await sqlite_with(history(count, document=document), tmp_path)
    before = files(tmp_path / "copy")
    ended = run("archive", directory, cwd=tmp_path)
    (line,) = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout) == (code, ""), line
    assert words in line
    assert files(tmp_path / "copy") == before


async def test_it_says_up_to_when_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = await sqlite_with(history(20), tmp_path)
    async with opened_sqlite(file) as store:
        source = DatabaseSource(store)
        before = await store.now()
        _, manifest = await archive(source, tmp_path / "archive", silent)
        assert manifest.complete_until is None, "a build before format 3 would refuse it"
        last = (await source.extent()).last
        (record,) = await store.events_at([last])
        entry = Entry(last + 1, FormatRaised(NEWEST_FORMAT), Envelope(bytes(32), "operator"), 0, record.recorded_at)
        transaction = await store.begin()
        await transaction.append([encode(entry, record.hash)])
        await transaction.commit()
        _, manifest = await archive(source, tmp_path / "archive", silent)
        assert manifest.complete_until is not None
        assert before - IN_FLIGHT_MICROSECONDS <= manifest.complete_until <= await store.now()
        assert Manifest.read(tmp_path / "archive") == manifest
        assert (await ArchiveSource(tmp_path / "archive").extent()).complete_until == manifest.complete_until
        later = replace(await source.extent(), complete_until=manifest.complete_until + 1)
        monkeypatch.setattr(source, "extent", AsyncMock(return_value=later))
        _, again = await archive(source, tmp_path / "archive", silent)
        assert again.complete_until == later.complete_until, "a run that finds nothing new has compared too"


async def test_a_database_that_is_stopped_does_not_say_how_far_it_is_complete(tmp_path: Path) -> None:
    file = await sqlite_with(history(20), tmp_path)
    async with opened_sqlite(file) as store:
        source = DatabaseSource(store)
        assert (await source.extent()).complete_until is not None
        transaction = await store.begin()
        await transaction.stop(Stop(StopKind.COPY, "this is a copy"))
        await transaction.commit()
        assert (await source.extent()).complete_until is None
