"""On what a benchmark ran: figures of different machines, or of other settings, are not comparable."""

import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from tests.servers import MariaDB, program

__all__ = ["machine", "settings_of"]

FLUSHES = 50
VARIABLES = (
    "version",
    "log_bin",
    "sync_binlog",
    "innodb_flush_log_at_trx_commit",
    "binlog_format",
    "innodb_buffer_pool_size",
)


def machine(directory: Path) -> dict[str, object]:
    """What counts of this machine; the filesystem is that of the database's `directory`."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "wrk": _wrk(),
        "filesystem": _filesystem(directory),
        "flush_ms": _flush_ms(directory),
    }


def settings_of(mariadb: MariaDB) -> dict[str, str]:
    """The settings of MariaDB that decide whether a commit is durable, and how much it costs."""
    values = mariadb.execute(f"SELECT {', '.join(f'@@{name}' for name in VARIABLES)}").split("\t")
    return dict(zip(VARIABLES, values, strict=True))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _wrk() -> str:
    said = subprocess.run([program("wrk"), "--version"], capture_output=True, text=True, check=False).stdout
    return " ".join(said.split()[1:2])


def _filesystem(directory: Path) -> str:
    """The type of the filesystem that holds a directory, after the longest mount point above it."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    above = [(len(point), kind) for point, kind in mounts if directory.resolve().is_relative_to(point)]
    return max(above)[1]


def _flush_ms(directory: Path) -> float:
    """How long it takes to append 4 KiB and flush them, the median in milliseconds: the floor of every commit."""
    took = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(FLUSHES):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return round(statistics.median(took) * 1000, 3)
