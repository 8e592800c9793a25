"""The benchmark's service as a process of its own, beside wrk, as clients meet it."""

import json
import os
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO

from benchmarks.workload import SERIES, SERIES_CODE
from numbering.settings import PREFIX
from tests.servers import HOST, Process, Server, ServerError, begun

__all__ = ["Service"]

ROOT = Path(__file__).parents[1]
ANSWER_SECONDS = 30.0
SETTLE_SECONDS = 30.0
POLL_SECONDS = 0.02


class Service(Server):
    """`python -m benchmarks.server` with `options`, on its own port."""

    def __init__(self, **options: str) -> None:
        super().__init__()
        self._options = {"port": str(self.port)} | options

    def define(self) -> None:
        """Define the series of all runs."""
        status, body = self._ask("PUT", f"/v1/series/{SERIES_CODE}", SERIES)
        if status != 201:
            raise ServerError(f"the series was not defined: {status} {body.decode()}")

    def settle(self) -> None:
        """Wait until nothing is left of a run: clients that went away leave their last requests behind."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._ask("GET", "/benchmarks/waiting") != (200, b"0"):
            if time.monotonic() > deadline:
                raise ServerError(self._report(f"was still busy {SETTLE_SECONDS:g} s after a run"))
            time.sleep(POLL_SECONDS)

    def lag(self) -> int:
        """How many events that which follows the log is behind it, as the service knows."""
        told = json.loads(self._ask("GET", "/health/numbering")[1])
        return max((told[name]["lag"] for name in ("mirror", "projections") if told[name]), default=0)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """The status and the body of an answer; 0 and nothing when there was none."""
        connection = HTTPConnection(HOST, self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException):
            return 0, b""
        finally:
            connection.close()

    def _begun(self, log: IO[bytes]) -> Process:
        named = {f"--{name.replace('_', '-')}": value for name, value in self._options.items()}
        options = [word for name, value in named.items() for word in ([name, value] if value else [name])]
        # What somebody has exported for a ledger of his own must not reach this one.
        ours = [f"--unset={name}" for name in os.environ if name.upper().startswith(PREFIX)]
        command = ["env", *ours, f"PYTHONPATH={ROOT}", sys.executable, "-m", "benchmarks.server", *options]
        return begun(command, cwd=self.directory, log=log)

    def _answers(self) -> bool:
        return self._ask("GET", "/health/ready")[0] == 200
