"""A process that has an SQLite file open, as any build does, and does nothing else."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["another"]

OPENED = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT * FROM sqlite_master").fetchall()
print("opened", flush=True)
sys.stdin.read()
"""


@contextmanager
def another(file: Path) -> Iterator[int]:
    """A process that has read from a file, and has it open; gives its id."""
    words = [sys.executable, "-c", OPENED, str(file)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"opened\n"
        yield process.pid
        process.kill()
