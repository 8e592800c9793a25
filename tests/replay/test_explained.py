"""What stands beside an archive is true: it can be checked with nothing of ours."""

import subprocess
import sys
from pathlib import Path

import zstandard

from replay.archive.explained import CHECK, FILE
from tests.replay.places import LEDGER, archived, history


def said(text: bytes) -> tuple[int, str]:
    """Run the program that an archive explains, on what `zstdcat` would give it."""
    done = subprocess.run([sys.executable, "-c", CHECK, LEDGER], input=text, capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).decode().strip()


def decompressed(directory: Path) -> bytes:
    decompressor = zstandard.ZstdDecompressor()
    files = [each.read_bytes() for each in sorted(directory.glob("events-*.jsonl.zst"))]
    return b"".join(decompressor.stream_reader(each, read_across_frames=True).read() for each in files)


async def test_an_archive_is_checked_by_what_it_explains(tmp_path: Path) -> None:
    records = history(50)
    await archived(records[:20], tmp_path, segment_events=16)
    await archived(records, tmp_path, segment_events=16)
    explained = (tmp_path / FILE).read_text(encoding="utf-8")
    assert all(line in explained for line in CHECK.splitlines())
    assert f"check.py {LEDGER}" in explained
    text = decompressed(tmp_path)
    assert said(text) == (0, f"whole: {len(records)}:{records[-1].hash.hex()}")
    lines = text.splitlines(keepends=True)
    assert said(b"".join([*lines[:9], *lines[10:]])) == (1, "position 10 is damaged, or the event before it is missing")
    assert said(text.replace(b"tester", b"Tester", 1))[0] == 1
