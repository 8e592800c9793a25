"""Processes of the tests that are forked: they may be used as any other."""

import os
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from tests.forked import Forked
from tests.numbering.process import without_settings


def gone(pid: int, number: int) -> None:
    raise ProcessLookupError(pid, number)


def test_a_process_that_ends_while_it_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryFile() as said:
        process = Forked(["--help"], cwd=tmp_path, env=without_settings(), stdout=said, stderr=said)
        assert process.wait(60) == 0
        with monkeypatch.context() as patch:
            patch.setattr(process, "poll", lambda: None)  # as it was a moment ago
            patch.setattr(os, "kill", gone)
            process.kill()
        assert process.wait(0) == 0
