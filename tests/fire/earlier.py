"""The build of before the format gate, as a service and a command line, on the packages of this environment.

Its tree comes from the repository's own history. What it must be able to do beside the present build is in
docs/upgrading.md; a later build that is to be held against this one adds its commit here.
"""

from __future__ import annotations

import ast
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tests.fire.service import Service
from tests.forked import MAX_FILES, PARENT_DEATH_SIGNAL, Signalled
from tests.numbering.process import completed, without_settings
from tests.servers import Process, dies_with_us

__all__ = ["BEFORE_FORMATS", "Earlier", "ServiceOfEarlier"]

BEFORE_FORMATS = "19248891311a9b7b34e20bd465f4dc633991108e"
ROOT = Path(__file__).parents[2]
PACKAGES = ("ledger", "projections", "api", "replay", "numbering")
MAX_TOLD_BYTES = 1 << 16

LOADED_TOO = ("alembic.command", "projections.mirror.redis", "uvicorn.lifespan.on", "uvicorn.loops.uvloop")
NUMBER_BYTES = 8

# Loads the build once, tells where it lies, and forks a process for each request. Between the two stands one that waits
# for the end, and tells the status; whichever of them dies takes those with it that it began.
LOADER = f"""\
import ast, ctypes, importlib, os, signal, socket, sys
import {", ".join(PACKAGES)}
from numbering.cli import main
from numbering.cli.main import COMMANDS

def loaded():
    for name in [*(f"numbering.cli.{{at.partition(':')[0]}}" for at in COMMANDS.values()), *{LOADED_TOO}]:
        importlib.import_module(name)
    return [{", ".join(f"{name}.__file__" for name in PACKAGES)}]

def told(line, number):
    line.sendall(number.to_bytes({NUMBER_BYTES}, "big", signed=True))

def forked():
    pid = os.fork()
    if not pid:
        ctypes.CDLL(None).prctl({PARENT_DEATH_SIGNAL}, signal.SIGKILL)
    return pid

asked = socket.socket(fileno=0)
asked.sendall(repr(loaded()).encode())
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
while True:
    request, files, _, _ = socket.recv_fds(asked, 1, 3)
    if not request:
        sys.exit()
    if not forked():
        break
    for file in files:
        os.close(file)

signal.signal(signal.SIGCHLD, signal.SIG_DFL)
line = socket.socket(fileno=files[0])
with line.makefile("rb") as reader:
    words, cwd, environment = ast.literal_eval(reader.read().decode())
pid = forked()
if pid:
    told(line, pid)
    told(line, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os._exit(0)

os.setsid()
for each in (asked, line):
    each.detach()
for number, file in enumerate([os.open(os.devnull, os.O_RDONLY), *files[1:]]):
    os.dup2(file, number)
os.closerange(3, {MAX_FILES})
os.chdir(cwd)
os.environ.clear()
os.environ.update(environment)
sys.argv = ["numbering", *words]
main(words, prog_name="numbering")
"""


class Begun(Signalled):
    """A process that was forked from a loaded build, and may be used as a `subprocess.Popen`."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._status: int | None = None
        self.pid = self._number()
        assert self.pid > 0, "it was not begun"

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self._status is None:
            self._line.settimeout(timeout)
            try:
                self._status = self._number()
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("numbering", timeout or 0) from None
            self._line.close()
        return self._status

    def _number(self) -> int:
        """Read a number. If the line ends without one, the waiting process was killed, and the command with it."""
        told = self._line.recv(NUMBER_BYTES, socket.MSG_WAITALL)
        return int.from_bytes(told, "big", signed=True) if told else -signal.SIGKILL


class Earlier:
    """The tree of a commit in a directory, which this environment's interpreter has loaded."""

    def __init__(self, commit: str, directory: Path) -> None:
        self.root = directory
        archived = subprocess.run(
            ["git", "-C", str(ROOT), "archive", commit, *PACKAGES, "ops"], capture_output=True, check=False
        )
        assert archived.returncode == 0, (
            f"the build of before cannot be run: this clone lacks commit {commit}. Fetch the whole history with "
            f"`git fetch --unshallow`, or `git fetch origin {commit}`. Git says: {archived.stderr.decode().strip()}"
        )
        with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as archive:
            archive.extractall(directory, filter="data")
        self.grants = directory / "ops" / "mariadb-grants.sql"
        self._line, its = socket.socketpair()
        with its, (directory / "loader.log").open("wb") as log:
            # -P: the directory in which it runs must not come before the tree.
            words = dies_with_us([sys.executable, "-P", "-c", LOADER])
            environment = without_settings() | {"PYTHONPATH": str(directory)}
            self._loader = subprocess.Popen(
                words,
                cwd=directory,
                env=environment,
                stdin=its.fileno(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._check_it_is_loaded()

    def close(self) -> None:
        self._line.close()
        self._loader.wait()

    def begin(
        self, words: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: IO[Any], stderr: IO[Any]
    ) -> Begun:
        """Begin a command of this build; no setting of the ledger but those in `env` reaches it."""
        line, its = socket.socketpair()
        with its:
            socket.send_fds(self._line, [b"."], [its.fileno(), stdout.fileno(), stderr.fileno()])
        line.sendall(repr((list(words), str(cwd), dict(env))).encode())
        line.shutdown(socket.SHUT_WR)
        return Begun(line)

    def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        env = without_settings(**settings)
        return completed(
            words, lambda stdout, stderr: self.begin(words, cwd=self.root, env=env, stdout=stdout, stderr=stderr)
        )

    def _check_it_is_loaded(self) -> None:
        """Look whether the packages are those of the tree, and not those of the environment."""
        told = self._line.recv(MAX_TOLD_BYTES)
        assert told, (self.root / "loader.log").read_text(encoding="utf-8")
        loaded = ast.literal_eval(told.decode())
        expected = [f"{self.root / name}{os.sep}__init__.py" for name in PACKAGES]
        assert loaded == expected, f"another build was loaded: {loaded}"


class ServiceOfEarlier(Service):
    """`numbering serve` of an earlier build, with other `settings` as `Service` takes them."""

    def __init__(self, build: Earlier, database_url: str, **settings: Any) -> None:
        super().__init__(database_url, **settings)
        self._build = build

    def _begun(self, log: IO[bytes]) -> Process:
        words = ["serve", *(word for option in self._options.items() for word in option)]
        return self._build.begin(words, cwd=self.directory, env=without_settings(), stdout=log, stderr=log)
