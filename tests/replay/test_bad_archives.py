"""Directories that are no archive, or not as they were written: nothing passes in silence, and nothing is changed."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.domain.rejection import Code, Rejection
from ledger.ports import Fault, Record
from replay.archive import explained
from replay.archive.manifest import MANIFEST, BadArchive, Manifest, Segment, is_archive, segment_name
from replay.archive.segments import frame
from replay.archive.source import ArchiveSource
from replay.archive.verification import verify_chain
from replay.archive.writing import archive
from replay.sources import Extent
from tests.given import QUICK
from tests.profiles import rounds
from tests.replay.places import (
    ListSource,
    archived,
    changed,
    forged_manifest,
    history,
    read,
    silent,
    stored,
    swapped,
    without,
)

EVENTS = 30
SEGMENT = 10


@pytest.fixture
async def whole(tmp_path: Path) -> Path:
    """An archive of three segments."""
    await archived(history(EVENTS), tmp_path / "archive", segment_events=SEGMENT)
    return tmp_path / "archive"


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be somebody whom permissions hold for."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


def files(directory: Path) -> dict[str, bytes]:
    listed = directory.iterdir() if directory.is_dir() else ()
    return {path.name: path.read_bytes() for path in listed if path.is_file()}


async def refusal(directory: Path) -> str:
    """Reading it is refused, in words that name the directory or a position, and nothing in it changes."""
    before = files(directory)
    with pytest.raises(Rejection) as refused:
        await read(ArchiveSource(directory))
    assert files(directory) == before
    with pytest.raises(Rejection) as by_cores:
        verify_chain(directory, Manifest.read(directory), processes=1)
    assert by_cores.value.members == refused.value.members
    assert str(directory) in refused.value.detail or refused.value.detail.startswith("position ")
    return refused.value.detail


async def refused_to_write(directory: Path, records: Sequence[Record] = history(EVENTS + 5)) -> Rejection:
    before = files(directory)
    with pytest.raises(Rejection) as refused:
        await archived(records, directory, segment_events=SEGMENT)
    assert files(directory) == before
    return refused.value


# No archive


async def test_a_directory_that_is_missing_or_empty(tmp_path: Path) -> None:
    for directory in (tmp_path / "missing", tmp_path):
        assert await refusal(directory) == f"{directory} is no archive: it has no {MANIFEST}"


async def test_a_directory_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("not ours")
    assert "has no manifest.json" in await refusal(tmp_path)
    said = await refused_to_write(tmp_path)
    assert said.code is Code.ARCHIVE_UNUSABLE
    assert said.detail.endswith("(it holds letters.txt): name an empty directory, or one that does not exist")
    (tmp_path / "letters.txt").unlink()
    (tmp_path / MANIFEST).mkdir()
    assert "it holds manifest.json" in (await refused_to_write(tmp_path)).detail
    assert "cannot be read: Is a directory" in await refusal(tmp_path)


async def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not ours")
    assert "cannot be read: Not a directory" in await refusal(file)
    assert (await refused_to_write(file)).detail == f"{file} is not a directory: name one that is empty, or an archive"
    assert "is not a directory" in (await refused_to_write(file / "below")).detail
    assert file.read_text() == "not ours"


def test_what_may_not_be_read_or_written() -> None:
    directory = Path(tempfile.mkdtemp())
    try:
        asyncio.run(archived(history(5), directory / "closed"))
        asyncio.run(archived(history(5), directory / "open"))
        before = files(directory / "open")
        (directory / "closed").chmod(0)
        (directory / "open").chmod(0o755)
        directory.chmod(0o755)
        with unprivileged():
            for look in (is_archive, Manifest.read):
                with pytest.raises(BadArchive, match="closed cannot be read: Permission denied"):
                    look(directory / "closed")
            with pytest.raises((Fault, Rejection), match="Permission denied"):
                asyncio.run(archived(history(5), directory / "closed"))
            asyncio.run(archived(history(5), directory / "open"))
            with pytest.raises(Fault, match="cannot be written: Permission denied"):
                asyncio.run(archived(history(6), directory / "open"))
        assert files(directory / "open") == before
    finally:
        shutil.rmtree(directory)


# A manifest that is not as it was written


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 200_000,
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"{}",
        b'{"format":"numbering-ledger archive, version 1"}',
        b'{"format":"numbering-ledger archive, version 1","ledger_id":"x","segments":7}',
        b'{"format":"numbering-ledger archive, version 1","ledger_id":"x","segments":[7]}',
        b'{"format":"numbering-ledger archive, version 1","ledger_id":"x","segments":[{}]}',
        b'{"format":"numbering-ledger archive, version 1","ledger_id":null,"segments":[]}',
        b'{"format":"numbering-ledger archive, version 1","ledger_id":7,"segments":[]}',
        b'{"format":"numbering-ledger archive, version 1","ledger_id":"x","segments":[]}',
        b"9" * 10_000,
    ],
)
async def test_a_manifest_that_is_none(whole: Path, content: bytes) -> None:
    (whole / MANIFEST).write_bytes(content)
    said = await refusal(whole)
    assert said.startswith(f"the {MANIFEST} of {whole} ")
    assert said.endswith(": take the directory from another copy")
    assert (await refused_to_write(whole)).code is Code.ARCHIVE_UNUSABLE


async def test_a_manifest_without_end(whole: Path) -> None:
    with (whole / MANIFEST).open("r+b") as file:
        file.truncate(1 << 40)  # of zeros, which take no room
    with pytest.raises(BadArchive, match="is larger than any"):
        ArchiveSource(whole)


async def test_another_format(whole: Path) -> None:
    forged_manifest(whole, lambda said: said.update(format="numbering-ledger archive, version 2"))
    assert "holds 'numbering-ledger archive, version 2', and this version reads" in await refusal(whole)


FIELDS = [field.name for field in fields(Segment)]
WRONG: tuple[Any, ...] = (None, True, -1, 0, 1.0, "7", "", [], {}, 10**400, "../" + MANIFEST, "/etc/passwd", "\0", "..")


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("at", [0, 2])
async def test_a_segment_that_is_told_wrongly(whole: Path, field: str, value: Any, at: int) -> None:
    forged_manifest(whole, lambda said: said["segments"][at].update({field: value}))
    assert await refusal(whole)


@pytest.mark.parametrize("field", FIELDS)
async def test_a_segment_that_is_told_in_part(whole: Path, field: str) -> None:
    forged_manifest(whole, lambda said: said["segments"][1].pop(field))
    assert "is not complete" in await refusal(whole)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda segments: segments.pop(1), "is not whole: the events 11 to 20 are missing"),
        (lambda segments: segments.pop(0), "is not whole: the events 1 to 10 are missing"),
        (lambda segments: segments.insert(1, segments[1]), "is not whole: the events 11 to 20 are there twice"),
        (lambda segments: segments[1].update(first=8), "is not whole: the events 8 to 10 are there twice"),
        (lambda segments: segments.reverse(), "is not whole: the events 1 to 20 are missing"),
        (lambda segments: segments[1].update(previous_hash="0" * 64), "does not go on from the segment before it"),
        (lambda segments: segments[1].update(file=segments[2]["file"]), "names no segment"),
        (lambda segments: segments.pop(), "was changed"),
    ],
)
async def test_segments_that_do_not_follow(whole: Path, change: Callable[[Any], object], said: str) -> None:
    forged_manifest(whole, lambda manifest: change(manifest["segments"]))
    assert said in await refusal(whole)
    assert said in (await refused_to_write(whole)).detail


# Segments that are not as they were written


async def test_a_segment_that_is_missing(whole: Path) -> None:
    second, third = (each.file for each in Manifest.read(whole).segments[1:])
    (whole / third).rename(whole / "elsewhere")
    assert f"the events 21 to 30 are missing, because {third} is not there" in await refusal(whole)
    (whole / "elsewhere").rename(whole / third)
    (whole / second).unlink()
    (whole / second).mkdir()
    assert "cannot be read: Is a directory" in await refusal(whole)


async def test_the_segment_that_should_go_on_is_missing(tmp_path: Path) -> None:
    manifest = await archived(history(5), tmp_path)
    (tmp_path / manifest.segments[0].file).unlink()
    assert "the events 1 to 5 are missing" in (await refused_to_write(tmp_path)).detail


async def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("not ours")
    directory = tmp_path / "archive"
    await archived(history(10), directory, segment_events=SEGMENT)
    (directory / segment_name(11)).symlink_to(elsewhere)
    (directory / f"{MANIFEST}.new").symlink_to(elsewhere)
    await archived(history(EVENTS), directory, segment_events=SEGMENT)
    assert elsewhere.read_text() == "not ours"
    assert not any(path.is_symlink() for path in directory.iterdir())
    assert await read(ArchiveSource(directory)) == stored(history(EVENTS))


async def test_an_archive_behind_links(whole: Path, tmp_path: Path) -> None:
    """Moved to a larger disk, the directory or a segment of it is the archive still."""
    last = whole / segment_name(21)
    last.rename(tmp_path / "larger")
    last.symlink_to(tmp_path / "larger")
    (tmp_path / "link").symlink_to(whole)
    await archived(history(EVENTS + 5), tmp_path / "link", segment_events=SEGMENT + 5)
    assert last.is_symlink()
    assert await read(ArchiveSource(tmp_path / "link")) == stored(history(EVENTS + 5))


@pytest.mark.parametrize("kept", [0, 1, 40, -1])
async def test_a_segment_that_was_cut_off(whole: Path, kept: int) -> None:
    segment = whole / Manifest.read(whole).segments[1].file
    content = segment.read_bytes()
    segment.write_bytes(content[:kept])
    assert "position 11: " in await refusal(whole)


async def test_segments_that_changed_places(whole: Path) -> None:
    one, other = (whole / each.file for each in Manifest.read(whole).segments[:2])
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert await refusal(whole)


async def test_a_segment_of_another_ledger(whole: Path, tmp_path: Path) -> None:
    foreign = history(EVENTS, ledger_id="99999999-0000-0000-0000-000000000000")
    content = frame(stored(foreign)[10:20])
    path = whole / Manifest.read(whole).segments[1].file
    path.write_bytes(content)
    assert "position 11: " in await refusal(whole)
    told = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    forged_manifest(whole, lambda said: said["segments"][1].update(told))
    assert "position 11: the event does not chain from the one before it" in await refusal(whole)


@given(data=st.data())
@settings(QUICK, max_examples=rounds(40, thorough=150))
def test_no_byte_can_be_changed_unseen(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("archive")
    asyncio.run(archived(history(EVENTS), directory, segment_events=SEGMENT))
    content = files(directory)
    name = data.draw(st.sampled_from(sorted(set(content) - {explained.FILE})))
    place = data.draw(st.integers(0, len(content[name]) - 1))
    spoilt = bytearray(content[name])
    spoilt[place] ^= data.draw(st.integers(1, 255))
    (directory / name).write_bytes(spoilt)
    assert asyncio.run(refusal(directory))


async def test_an_event_changed_below_every_digest(whole: Path) -> None:
    """Whoever computes the digests anew is still found by the chain."""
    segment = Manifest.read(whole).segments[1]
    content = frame(stored(changed(history(EVENTS), 13))[10:20])
    (whole / segment.file).write_bytes(content)
    told = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    forged_manifest(whole, lambda said: said["segments"][1].update(told))
    assert "position 13: the event does not chain from the one before it" in await refusal(whole)


async def test_nothing_damaged_is_archived(whole: Path) -> None:
    before = files(whole)
    for damaged, at in ((changed, 33), (swapped, 32), (without, 31)):
        said = await refused_to_write(whole, damaged(history(EVENTS + 5), at))
        assert said.detail.startswith(f"position {at}: ")
    assert files(whole) == before


# Segments that would fill the memory

READER = """
import asyncio, re, sys
from pathlib import Path
from replay.archive.source import ArchiveSource
from tests.replay.places import read
try:
    asyncio.run(read(ArchiveSource(Path(sys.argv[1]))))
except Exception as refused:
    print(refused)
# Of this program alone: what getrusage() says begins with the memory of the process that began it.
print(re.search(r"VmHWM:\\s*([0-9]+)", Path("/proc/self/status").read_text())[1])
"""
MEMORY_KIB = 400 << 10


def bomb_of(line: bytes) -> Iterator[bytes]:
    """Compress a gigabyte to some kilobytes."""
    compressor = zstandard.ZstdCompressor().compressobj()
    yield from (compressor.compress(line * ((1 << 20) // len(line))) for _ in range(1024))
    yield compressor.flush()


def wide_frame(_: bytes) -> Iterator[bytes]:
    """Ask for a window of a gigabyte, to which the text might refer."""
    parameters = zstandard.ZstdCompressionParameters(window_log=30, format=zstandard.FORMAT_ZSTD1)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    yield compressor.compress(b"a\n" * 1000)
    yield compressor.flush()


@pytest.mark.parametrize(
    ("make", "line"),
    [(bomb_of, b"a"), (bomb_of, b"\n"), (bomb_of, b'{"hash":"' + b"0" * 64 + b'","event":{}}\n'), (wide_frame, b"")],
)
def test_a_small_file_that_stands_for_gigabytes(
    whole: Path, make: Callable[[bytes], Iterator[bytes]], line: bytes
) -> None:
    content = b"".join(make(line))
    assert len(content) < 1 << 20
    (whole / segment_name(11)).write_bytes(content)
    told = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    forged_manifest(whole, lambda said: said["segments"][1].update(told))
    ended = subprocess.run(
        [sys.executable, "-c", READER, whole], capture_output=True, text=True, check=True, timeout=60,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    said, kilobytes = ended.stdout.splitlines()
    assert said.startswith("position 11: ")
    assert int(kilobytes) < MEMORY_KIB


async def test_more_events_than_the_manifest_names(whole: Path) -> None:
    content = frame(stored(history(EVENTS))[10:21])
    (whole / segment_name(11)).write_bytes(content)
    told = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    forged_manifest(whole, lambda said: said["segments"][1].update(told))
    assert "should end with position 20" in await refusal(whole)


# Another history


async def test_an_archive_of_another_ledger(tmp_path: Path) -> None:
    foreign = history(5, ledger_id="99999999-0000-0000-0000-000000000000")
    await archived([], tmp_path)
    extent = Extent("99999999-0000-0000-0000-000000000000", 1, 5, foreign[-1].hash)
    with pytest.raises(Rejection, match=r"holds ledger 1{8}-.*, not 9{8}-.*: name another directory") as refused:
        await archive(ListSource(stored(foreign), extent=extent), tmp_path, silent)
    assert refused.value.code is Code.HISTORIES_DIFFER


async def test_a_log_that_is_behind(whole: Path) -> None:
    with pytest.raises(Rejection, match="ends at position 7, but the archive goes on to 30") as refused:
        await archived(history(EVENTS)[:7], whole)
    assert refused.value.code is Code.HISTORIES_DIFFER


@pytest.mark.parametrize("more", [0, 5])
async def test_a_fork(whole: Path, more: int) -> None:
    with pytest.raises(Rejection, match=r"two histories: they differ at position 30 at the latest; .*new directory"):
        await archived(history(EVENTS + more, document="E"), whole)
