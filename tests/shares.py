"""Which tests each worker of a run begins with: its share of the long ones, so that none is left at the end.

pytest-xdist gives each worker a part of the list, all of one length, and moves tests from the end of one that has many
left to one that has none. A long test that stood there would keep one worker busy while the others have nothing to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

__all__ = ["LONG", "shared_out"]

# The longest first, dealt to the workers in turn. A file stays whole, so that what its tests share is made once.
LONG = (
    "tests/fire/test_builds.py",
    "tests/drills/test_drills.py",
    "tests/fire/test_fire.py",
    "tests/test_docs.py",
    "tests/test_machine.py",
    "tests/test_benchmarks.py",
    "tests/test_simulation.py",
    "tests/test_consumer.py",
    "tests/replay/test_disasters.py",
    "tests/fire/test_kills.py",
    "tests/projections/test_folding.py",
    "tests/api/test_imports.py",
    "tests/fire/test_mirror.py",
    "tests/test_words.py",
    "tests/replay/test_restore.py",
    "tests/replay/test_verify.py",
)

T = TypeVar("T")


def shared_out(files: Mapping[str, Sequence[T]], workers: int) -> list[T]:
    """Returns the tests of all files as one list, in which each worker's part begins with long ones.

    When the tests are too few for that, the list is in the order of the files.
    """
    parts: list[list[T]] = [[] for _ in range(workers)]
    for index, file in enumerate(LONG):
        parts[index % workers] += files.get(file, [])
    left = sum(map(len, files.values()))
    others = [test for file, tests in files.items() if file not in LONG for test in tests]
    for index, part in enumerate(parts):
        length = left // (workers - index)  # as xdist counts
        missing = length - len(part)
        if missing < 0:
            return [test for tests in files.values() for test in tests]
        part += others[:missing]
        del others[:missing]
        left -= length
    return [test for part in parts for test in part]
