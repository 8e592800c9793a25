"""The real `numbering`, in processes of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import httpx

from ledger.ports import Store
from ledger.stores import open_store
from tests.forked import Forked
from tests.servers import HOST, STOP_TIMEOUT_SECONDS, Process, Server

__all__ = ["GRACE_IS_OVER", "NUMBERING", "Service", "completed", "run", "run_installed", "without_settings"]

NUMBERING = Path(sys.executable).with_name("numbering")
RUN_TIMEOUT_SECONDS = 60.0
GRACE_IS_OVER = "graceful shutdown exceeded"  # what uvicorn says when a connection kept it from ending in time


def without_settings(**settings: str) -> dict[str, str]:
    """This process's environment, with no setting of the ledger but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("NUMBERING_")}
    return kept | {f"NUMBERING_{name.upper()}": value for name, value in settings.items()}


def run(*words: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `numbering` to its end."""
    env = without_settings(**settings)
    return completed(words, lambda stdout, stderr: Forked(words, cwd=cwd, env=env, stdout=stdout, stderr=stderr))


def completed(words: Sequence[str], begin: Callable[[IO[str], IO[str]], Process]) -> subprocess.CompletedProcess[str]:
    """Begin a process with its standard output and error, and wait for its end."""
    with TemporaryFile("w+", encoding="utf-8") as stdout, TemporaryFile("w+", encoding="utf-8") as stderr:
        process = begin(stdout, stderr)
        try:
            status = process.wait(RUN_TIMEOUT_SECONDS)
        finally:
            process.kill()
        return subprocess.CompletedProcess(words, status, _all_of(stdout), _all_of(stderr))


def _all_of(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def run_installed(*words: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Do the same with the installed program, which has to be loaded first."""
    return subprocess.run(
        [NUMBERING, *words],
        cwd=cwd,
        env=without_settings(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_SECONDS,
        check=False,
    )


class Service(Server):
    """`numbering serve` on its own port and SQLite file; `settings` are those of the environment."""

    def __init__(self, *options: str, **settings: str) -> None:
        super().__init__()
        self.options = options
        self.settings = settings
        self.file = self.directory / "numbering.db"
        self._said_before = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        self._said_before = len(self.said()) if self.log.exists() else 0
        super().start()

    def client(self) -> httpx.Client:
        # Not verifying saves the reading of certificates, which takes longer than most tests.
        return httpx.Client(base_url=self.url, timeout=60, verify=False)

    def store(self) -> Store:
        """Another look at its log."""
        return open_store(f"sqlite+aiosqlite:///{self.file}")

    def end(self, how: signal.Signals) -> int:
        """Send a signal and give the exit status."""
        process = self._running()
        process.send_signal(how)
        status = process.wait(STOP_TIMEOUT_SECONDS)
        self._process = None
        return status

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def _begun(self, log: IO[bytes]) -> Forked:
        words = "serve", "--port", str(self.port), *self.options
        return Forked(words, cwd=self.directory, env=without_settings(**self.settings), stdout=log, stderr=log)

    def _answers(self) -> bool:
        # Until it says so itself: asking earlier could be answered by whoever has the port.
        return "numbering: listening on" in self.said()[self._said_before :]
