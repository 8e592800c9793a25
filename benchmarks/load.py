"""Load over HTTP by wrk, which answers nothing but what it counted; the script beside this file says what it sends."""

import json
import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from tests.servers import HOST, ServerError, dies_with_us, program

__all__ = ["Load"]

SCRIPT = Path(__file__).with_name("load.lua")
TIMEOUT_SECONDS = 30  # of one answer; none of the servers takes longer to refuse
GRACE_SECONDS = 60  # for wrk to end after its time
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Load:
    """Requests to one path of the servers on `ports`, by one thread of wrk for each server.

    The `bodies` take turns. With `confirm` every second request confirms what was reserved; the two are then one
    operation, and latencies are still those of one request. `watched` names the
    processes whose share of the processor is told.
    """

    ports: Sequence[int]
    path: str
    bodies: Sequence[str]
    watched: Mapping[str, int]
    confirm: bool = False

    def run(self, connections: int, seconds: int) -> Figure:
        began, busy = time.monotonic(), self._busy()
        counted = json.loads(self._wrk(connections, seconds).splitlines()[-1])
        took = time.monotonic() - began
        shares = {name: round(100 * (spent - busy[name]) / took) for name, spent in self._busy().items()}
        return self._figure(counted, shares)

    def _figure(self, counted: Mapping[str, Any], cpu_percent: dict[str, int]) -> Figure:
        done = counted["requests"] - counted["refused"]
        return Figure(
            operations=done // 2 if self.confirm else done,
            seconds=counted["microseconds"] / 1e6,
            p50_ms=counted["p50"] / 1e3,
            p99_ms=counted["p99"] / 1e3,
            errors=counted["refused"] + counted["broken"] + counted["timeouts"],
            cpu_percent=cpu_percent,
        )

    def _wrk(self, connections: int, seconds: int) -> str:
        """What wrk prints; its last line is the script's."""
        ended = subprocess.run(
            dies_with_us(self._command(connections, seconds)),
            env=os.environ | self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds + GRACE_SECONDS,
            check=False,
        )
        if ended.returncode or not ended.stdout.endswith("}\n"):
            raise ServerError(f"wrk failed with status {ended.returncode}:\n{ended.stdout}{ended.stderr}")
        return ended.stdout

    def _command(self, connections: int, seconds: int) -> list[str]:
        options = ["-t", len(self.ports), "-c", connections, "-d", seconds, "--timeout", TIMEOUT_SECONDS, "-s", SCRIPT]
        url = f"http://{HOST}:{self.ports[0]}{self.path}"
        return [program("wrk"), *map(str, options), url, "--", *self.bodies]

    def _environment(self) -> dict[str, str]:
        ports = {"LOAD_PORTS": " ".join(map(str, self.ports))}
        return ports | ({"LOAD_CONFIRM": "1"} if self.confirm else {})

    def _busy(self) -> dict[str, float]:
        """Seconds of processor time so far: of wrk, the only child that ends meanwhile, and of the watched."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        watched = {name: _seconds_of(pid) for name, pid in self.watched.items()}
        return {"wrk": children.ru_utime + children.ru_stime} | watched


def _seconds_of(pid: int) -> float:
    """Processor time of a process, user and system together; zero where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS
