"""The order of the tests: no test is lost, and every worker begins with long ones."""

from pathlib import Path

import pytest

from tests.shares import LONG, shared_out

ROOT = Path(__file__).parents[1]


def test_the_long_files_exist() -> None:
    assert [file for file in LONG if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 7, 12])
def test_every_part_begins_with_long_tests(workers: int) -> None:
    long = {file: [f"{file}::{number}" for number in range(3)] for file in LONG}
    others = {f"tests/test_{letter}.py": [f"{letter}{number}" for number in range(67)] for letter in "abcdefg"}
    tests = [test for each in (others | long).values() for test in each]
    shared = shared_out(others | long, workers)
    assert sorted(shared) == sorted(tests)
    first = 0
    for remaining in range(workers, 0, -1):
        length = (len(tests) - first) // remaining
        part = shared[first : first + length]
        kinds = ["::" in test for test in part]
        assert kinds == sorted(kinds, reverse=True)
        assert any(kinds)
        first += length


def test_few_tests_stay_as_they_are() -> None:
    files = {"tests/test_a.py": ["a", "b"], LONG[0]: list("cdefgh"), LONG[1]: ["i"]}
    assert shared_out(files, 3) == list("abcdefghi")
