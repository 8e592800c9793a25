"""The command line as processes of their own.

Some load the installed program, which takes the most of their time; one waits for the shortest time that can be set.
"""

import json
import os
import pty
import signal
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.numbering.command import LETTER_KEY
from tests.numbering.process import NUMBERING, Service, run, without_settings

POLL_SECONDS = 0.02
WAIT_SECONDS = 30.0
PROCESSES = 6

ISSUE = ("issue", "RFA", "-k", "TYPE=RPT", "--document", "D")


def test_processes_share_one_sqlite_ledger(letters: Path) -> None:
    with ThreadPoolExecutor(PROCESSES) as pool:
        ended = list(pool.map(lambda _: run(*ISSUE, "--json", cwd=letters), range(PROCESSES)))
    assert [each.returncode for each in ended] == [0] * PROCESSES, [each.stderr for each in ended]
    values = [number["value"] for each in ended for number in json.loads(each.stdout)["numbers"]]
    assert sorted(values) == list(range(1, PROCESSES + 1))


def test_a_command_writes_beside_a_service() -> None:
    with Service() as service, service.client() as client:
        service.file.with_name("a.toml").write_text('[series.A]\ntemplate = "A-{SEQ:4}"\n')
        assert run("series", "apply", "a.toml", cwd=service.directory).returncode == 0
        first = client.post("/v1/issue", json={"series": "A", "document": "D"}).json()
        shown = run("reservation", first["token"], "--json", cwd=service.directory)
        assert json.loads(shown.stdout)["numbers"][0]["number"] == "A-0001"
        second = run("issue", "A", "--document", "E", "--json", cwd=service.directory)
        assert json.loads(second.stdout)["numbers"] == [{"number": "A-0002", "value": 2}]
        third = client.post("/v1/issue", json={"series": "A", "document": "D"}).json()
        assert third["numbers"] == [{"number": "A-0003", "value": 3}]


def test_a_pipe_gets_whole_lines_and_thai_whatever_the_locale(letters: Path) -> None:
    ended = run("reserve", "LETTER", *LETTER_KEY, cwd=letters)
    assert ended.stderr == ""
    assert ended.stdout.splitlines()[1] == "คคง.-สคฉ.3-0001-2568      1"
    plain = subprocess.run(
        [NUMBERING, "series", "show", "LETTER"],
        cwd=letters,
        env=without_settings() | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
        timeout=WAIT_SECONDS,
    )
    assert rb"values \u0e04\u0e04\u0e07." in plain.stdout


def test_nobody_who_reads_on_is_no_traceback(letters: Path) -> None:
    process = subprocess.Popen(
        [NUMBERING, "preview", "RFA", "-k", "TYPE=RPT", "--count", "9999"],
        cwd=letters,
        env=without_settings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(WAIT_SECONDS) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_terminal_gets_a_table_without_markup_characters(letters: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        subprocess.run([NUMBERING, "series", "list"], cwd=letters, env=without_settings(), stdout=theirs, check=True)
        said = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "{FROM}-{TO}-{SEQ:4}-{YEAR:BE}" in said
    assert not set("│┃─━┏╭") & set(said)


# A ledger that somebody else holds


def waits_for(process: subprocess.Popen[bytes], file: Path) -> bool:
    """Says whether it has opened the file a second time: once to read the log, and then to write."""
    opened = 0
    for link in Path(f"/proc/{process.pid}/fd").glob("*"):
        with suppress(FileNotFoundError):  # closed since it was listed
            opened += os.readlink(link) == str(file)
    return opened == 2


def heed_ctrl_c() -> None:
    """What a shell runs in the background ignores Ctrl-C, and so do its children: these tests may run so."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="sees by /proc that the ledger was opened")
def test_ctrl_c_ends_a_command_that_waits_for_the_lock(letters: Path) -> None:
    file = letters.resolve() / "numbering.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        process = subprocess.Popen(
            [NUMBERING, *ISSUE],
            cwd=letters,
            env=without_settings(lock_timeout="60000"),  # longer than this test waits
            preexec_fn=heed_ctrl_c,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        while process.poll() is None and not waits_for(process, file):
            time.sleep(POLL_SECONDS)
        time.sleep(0.3)  # from opening the file to waiting for its lock
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_SECONDS)  # while the lock is held
    assert (process.returncode, out) == (130, b""), err
    assert err.decode() == "numbering: interrupted: the command may or may not have been carried out\n"
    assert json.loads(run("preview", "RFA", "-k", "TYPE=RPT", "--json", cwd=letters).stdout)["position"] == 3


def test_a_lock_that_is_not_given_up_is_one_line(letters: Path) -> None:
    with closing(sqlite3.connect(letters / "numbering.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert run("series", "list", cwd=letters).returncode == 0  # who only looks waits for nobody
        ended = run(*ISSUE, cwd=letters, lock_timeout="2000")
    assert (ended.returncode, ended.stdout) == (3, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("numbering: NB003 LOCK_TIMEOUT: ")
