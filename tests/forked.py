"""`numbering` in processes that need not load it: each is forked from one that has.

Loading takes most of the time of a command and of a service's start, and the tests begin hundreds of them. What is
begun is a process like any other, to be stalled and killed. That the installed program loads is for the tests of the
command line, the drills and the sessions of the documents to see.
"""

from __future__ import annotations

import ast
import ctypes
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.reduction import DupFd
from pathlib import Path
from threading import Thread
from typing import IO, Any

from numbering.cli.main import COMMANDS

__all__ = ["Forked", "Signalled", "loaded", "program"]

PARENT_DEATH_SIGNAL = 1  # of prctl(2)
MAX_FILES = 1 << 16
LOADED_TOO = [
    "alembic.command",
    "projections.mirror.redis",
    "tests.fire.parts",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
]

# One for all: Python has one server to fork from, whatever the context.
loaded = multiprocessing.get_context("forkserver")
loaded.set_forkserver_preload([*{f"numbering.cli.{at.partition(':')[0]}" for at in COMMANDS.values()}, *LOADED_TOO])


class Signalled:
    """What is sent to a process by its `pid`, as `subprocess.Popen` would send it, while `poll` finds no end of it."""

    pid: int

    def poll(self) -> int | None:
        raise NotImplementedError

    def send_signal(self, number: int, /) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it ended just now; only the process that began it knows
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forked(Signalled):
    """A process that was begun as `subprocess.Popen` would begin it, in a session of its own, and may be used as one.

    Like a `Server` it is ended by the kernel when the run of tests is.
    """

    def __init__(
        self, words: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: IO[Any], stderr: IO[Any]
    ) -> None:
        said = _Descriptors(stdout, stderr)
        self._process = loaded.Process(target=_main, args=(list(words), str(cwd), dict(env), said))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("numbering", timeout or 0)
        return status


@contextmanager
def program(directory: Path) -> Iterator[Path]:
    """Makes an executable `numbering` in an empty directory, for the PATH of a shell; gives its path.

    It loads nothing: it hands its words and its standard output and error over to this process, which has the command
    forked, and ends with its status. Its standard input is empty.
    """
    made, address = directory / "numbering", directory / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        made.write_text(f"#!{sys.executable} -ISE\n{CALLER.format(address=str(address))}", encoding="utf-8")
        made.chmod(0o755)
        serving = Thread(target=_serve, args=[listener], name="commands")
        serving.start()
        try:
            yield made
        finally:
            listener.shutdown(socket.SHUT_RD)  # which ends `accept`
            serving.join()


CALLER = """\
import os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    socket.send_fds(line, [b"."], [1, 2])
    line.sendall(repr((sys.argv[1:], os.getcwd(), dict(os.environ))).encode())
    line.shutdown(socket.SHUT_WR)
    sys.exit(int(line.recv(16)))
"""


def _serve(listener: socket.socket) -> None:
    with suppress(OSError):  # the listener was shut down
        while True:
            line, _ = listener.accept()
            Thread(target=_carry_out, args=[line], name="command", daemon=True).start()


def _carry_out(line: socket.socket) -> None:
    with line, ExitStack() as stack:
        _, said, _, _ = socket.recv_fds(line, 1, 2)
        stdout, stderr = (stack.enter_context(open(each, "wb")) for each in said)
        with line.makefile("rb") as asked:
            words, cwd, environment = ast.literal_eval(asked.read().decode())
        status = Forked(words, cwd=Path(cwd), env=environment, stdout=stdout, stderr=stderr).wait()
        line.sendall(str(status).encode())


class _Descriptors:
    """What a new process is to have as standard output and error; handed over while it is begun."""

    def __init__(self, *files: IO[Any]) -> None:
        self._files = files

    def __reduce__(self) -> tuple[Any, ...]:
        return list, ([DupFd(each.fileno()) for each in self._files],)


def _main(words: Sequence[str], cwd: str, environment: Mapping[str, str], said: Sequence[Any]) -> None:
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
    os.setsid()
    for number, file in enumerate([os.open(os.devnull, os.O_RDONLY), *(each.detach() for each in said)]):
        os.dup2(file, number)
    os.closerange(3, MAX_FILES)  # among them what keeps the process alive from which all are forked
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["numbering", *words]
    from numbering.cli import main

    main(words, prog_name="numbering")
