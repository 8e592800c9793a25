"""The chain of an archive, followed by several processes, says what one reader would say of it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ledger.domain.rejection import Rejection
from replay.archive.manifest import BadArchive, Manifest, segment_name
from replay.archive.segments import frame
from replay.archive.verification import verify_chain
from replay.sources import Damaged
from tests.replay.places import archived, changed, forged_manifest, history, silent, stored

EVENTS = 60
SEGMENT = 10
WAIT_SECONDS = 30.0


@pytest.fixture
async def whole(tmp_path: Path) -> Path:
    await archived(history(EVENTS), tmp_path, segment_events=SEGMENT)
    return tmp_path


def spoil(directory: Path, position: int) -> None:
    """Change a byte of an event, and all digests with it."""
    first = position - (position - 1) % SEGMENT
    content = frame(stored(changed(history(EVENTS), position))[first - 1 : first - 1 + SEGMENT])
    (directory / segment_name(first)).write_bytes(content)
    told = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    forged_manifest(directory, lambda said: said["segments"][first // SEGMENT].update(told))


@pytest.mark.parametrize("processes", [0, 1, 2, 3, 100])
def test_a_whole_one_passes(whole: Path, processes: int) -> None:
    told: list[tuple[int, int]] = []
    verify_chain(whole, Manifest.read(whole), lambda done, of: told.append((done, of)), processes=processes)
    assert told == [(last, EVENTS) for last in range(SEGMENT, EVENTS + 1, SEGMENT)]


async def test_an_empty_one_passes(tmp_path: Path) -> None:
    verify_chain(tmp_path, await archived([], tmp_path))


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("positions", [(3,), (38, 11), (60, 59, 21)])
def test_the_first_position_is_named(whole: Path, positions: tuple[int, ...], processes: int) -> None:
    for position in positions:
        spoil(whole, position)
    told: list[int] = []
    with pytest.raises(Damaged, match=f"position {min(positions)}: the event does not chain") as damaged:
        verify_chain(whole, Manifest.read(whole), lambda done, _: told.append(done), processes=processes)
    assert damaged.value.members == {"position": min(positions)}
    assert told == list(range(SEGMENT, min(positions), SEGMENT))


def remove(directory: Path) -> None:
    (directory / segment_name(21)).unlink()


def cut_off(directory: Path) -> None:
    with (directory / segment_name(21)).open("r+b") as file:
        file.truncate(20)


@pytest.mark.parametrize(("spoil", "kind"), [(remove, BadArchive), (cut_off, Damaged)])
def test_a_segment_that_is_not_whole(whole: Path, spoil: Callable[[Path], None], kind: type[Rejection]) -> None:
    spoil(whole)
    for processes in (1, 2):
        with pytest.raises(kind, match=segment_name(21)):
            verify_chain(whole, Manifest.read(whole), silent, processes=processes)


def test_an_end_that_is_another(whole: Path) -> None:
    def change(said: dict[str, Any]) -> None:
        said["segments"][-1]["hash"] = said["hash"] = "0" * 64

    forged_manifest(whole, change)
    with pytest.raises(Damaged, match=r"position 60: the last event of .* is not the one that the manifest names"):
        verify_chain(whole, Manifest.read(whole), processes=2)


WORKERS = """
import sys, time
from pathlib import Path
from replay.archive import verification
from replay.archive.manifest import Manifest

def waits(directory, segment):
    print(flush=True)
    time.sleep(600)

if __name__ == "__main__":
    verification._flaw = waits
    directory = Path(sys.argv[1])
    verification.verify_chain(directory, Manifest.read(directory), processes=2)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_process_outlives_the_one_that_began_it(whole: Path, how: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKERS, whole], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == b"\n"
    # A terminal interrupts all that run on it.
    os.killpg(process.pid, how) if how == signal.SIGINT else process.send_signal(how)
    process.communicate(timeout=WAIT_SECONDS)  # raises TimeoutExpired unless the pipe ends, with the last of them
