import os
from pathlib import Path

import pytest

from tests.numbering.process import NUMBERING
from tests.test_docs import ROOT, Shell, mask, sessions

DOCUMENT = ROOT / "docs" / "cli.md"


def test_the_document_s_session_does_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{NUMBERING.parent}:{os.environ['PATH']}")
    marked = tmp_path / "cli.md"
    marked.write_text(DOCUMENT.read_text(encoding="utf-8").replace("```shell-session", "```console"), encoding="utf-8")
    (session,) = sessions(marked)
    shell = Shell(tmp_path)
    try:
        for step in session:
            assert mask(shell.run(step.command)) == mask(step.output), step.command
    finally:
        shell.close()
    assert len(session) >= 6
