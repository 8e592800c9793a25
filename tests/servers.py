"""Real servers for the tests: a private MariaDB and a private Redis, each with its own directory and port.

They run with the durable settings that production must have: without them, what the tests promise about crashes
is worth nothing. `kill()` is a crash, `pause()` a server that hangs, `restart()` comes back on the same files and
port. Whatever happens to the test run, no server outlives it: each is ended at the end of its `with`, else when
the interpreter exits, else (on Linux) by the kernel when the run itself is killed.

Start a server from the main thread or one that lives as long: the kernel ends it together with the thread.
"""

from __future__ import annotations

import atexit
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, Self

HOST = "127.0.0.1"
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.02
STANDING_POLL_SECONDS = 0.001
STANDING = "TtZX"  # stopped, traced, ended: see proc_pid_stat(5)
LOG_TAIL_LINES = 60

# Below the ports that Linux gives to outgoing connections. A client that keeps trying a dead server's port could
# else be given that very port, connect to itself, and keep the server from coming back.
PORTS = range(20000, 32768)
PORT_ATTEMPTS = 200


class ServerError(Exception):
    """A server is not installed, did not start, did not stop or refused a statement."""


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens now."""
    for port in random.sample(PORTS, PORT_ATTEMPTS):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ServerError(f"no free port among {PORT_ATTEMPTS} tried")


def program(name: str) -> str:
    """The path of an installed program; Debian keeps servers where an ordinary PATH does not look."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin")
    if found is None:
        raise ServerError(f"{name} is not installed; scripts/test installs it")
    return found


class Process(Protocol):
    """What is asked of a process; a `subprocess.Popen` is one."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


def _thread_states(pid: int) -> Iterator[str]:
    """Yields the state of each thread of a process as the kernel tells it, one letter."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            yield (task / "stat").read_text().rpartition(")")[2].split()[0]


def dies_with_us(command: list[str]) -> list[str]:
    """The command, to be ended by the kernel when this process dies without having said so (Linux only).

    A wrapper and not `preexec_fn`: that one warns, and may deadlock, in a process with threads.
    """
    setpriv = shutil.which("setpriv")
    return command if setpriv is None else [setpriv, "--pdeathsig", "KILL", "--", *command]


def begun(command: list[str], *, cwd: Path, log: IO[bytes], env: Mapping[str, str] | None = None) -> Process:
    """A process that says what it has to say in a log, and that ends with this one at the latest."""
    return subprocess.Popen(
        dies_with_us(command),
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        # A session of its own: Ctrl-C at the terminal ends the test run, which then ends its servers.
        start_new_session=True,
    )


class Server(ABC):
    """One private server process: a directory, a port, and what can happen to it."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"{type(self).__name__.lower()}-"))
        self.port = free_port()
        self.log = self.directory / "log"
        self._process: Process | None = None
        atexit.register(self.close)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Starts the server and returns once it answers."""
        assert self._process is None, "already started"
        with self.log.open("ab") as log:
            self._process = self._begun(log)
        self._wait_until_it_answers()

    def stop(self) -> None:
        """Ends the server cleanly."""
        process = self._running()
        process.terminate()
        process.send_signal(signal.SIGCONT)  # a paused server would never see the other signal
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(self._report("did not stop")) from None
        self._process = None

    def kill(self) -> None:
        """Ends the server at once, as a crash does: nothing is flushed that was not."""
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def restart(self) -> None:
        """Starts the server again on the same files and port; ends it cleanly first if it still runs."""
        if self._process is not None:
            self.stop()
        self.start()

    def pause(self) -> None:
        """Makes the server hang: connections stay open and are accepted, nothing is answered.

        Returns when every thread stands still. On busy cores a thread goes on for some 20 ms after the signal: long
        enough to take a lock that the test has just found free.
        """
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while process.poll() is None and any(state not in STANDING for state in _thread_states(process.pid)):
            if time.monotonic() > deadline:
                raise ServerError(self._report(f"did not stand still within {STOP_TIMEOUT_SECONDS:g} s"))
            time.sleep(STANDING_POLL_SECONDS)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Ends the server cleanly, and starts it again at the end of the `with`."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Crashes the server, and starts it again at the end of the `with`."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Makes the server hang until the end of the `with`."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def close(self) -> None:
        """Ends the server and removes its files; may be called again. Not cleanly: nobody reads the files."""
        atexit.unregister(self.close)
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @abstractmethod
    def _begun(self, log: IO[bytes]) -> Process:
        """Begin it, in its directory; what it says goes to `log`."""

    @abstractmethod
    def _answers(self) -> bool: ...

    def _running(self) -> Process:
        assert self._process is not None, "not started"
        return self._process

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._answers():
            status = self._running().poll()
            if status is not None:
                self._process = None
                raise ServerError(self._report(f"ended with status {status} at its start"))
            if time.monotonic() > deadline:
                self.kill()
                raise ServerError(self._report(f"did not answer within {START_TIMEOUT_SECONDS:g} s"))
            time.sleep(POLL_SECONDS)

    def _report(self, what: str) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"{type(self).__name__} on port {self.port} {what}; the end of its log:", *lines])


class MariaDB(Server):
    """A private MariaDB with a binary log and a flush at every commit; a replica has another `server_id`."""

    def __init__(self, *, buffer_pool_megabytes: int = 128, server_id: int = 1) -> None:
        super().__init__()
        self._buffer_pool = buffer_pool_megabytes
        self._server_id = server_id
        self.socket = self.directory / "socket"
        self._data = self.directory / "data"
        # Its own: servers that share the machine's would put their temporary tables, of the same names, side by side.
        self._temporary = self.directory / "tmp"
        self._temporary.mkdir()

    def start(self) -> None:
        if not self._data.exists():
            self._install()
        super().start()

    def execute(self, sql: str, *, database: str = "") -> str:
        """Runs statements as the server's root, outside every pool of ours; tabs separate the columns."""
        client = subprocess.run(
            [*self._client(), *([database] if database else [])],
            input=sql,
            capture_output=True,
            text=True,
            check=False,
        )
        if client.returncode:
            raise ServerError(client.stderr.strip())
        return client.stdout.rstrip("\n")

    def dump(self, database: str) -> str:
        """The statements that make a database: tables, rows, triggers, views. They name the accounts of this one."""
        dumped = subprocess.run(
            [
                program("mariadb-dump"),
                "--no-defaults",
                f"--socket={self.socket}",
                "--user=root",
                "--default-character-set=utf8mb4",
                "--hex-blob",
                "--skip-comments",
                "--skip-add-drop-table",
                "--skip-add-locks",
                database,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if dumped.returncode:
            raise ServerError(dumped.stderr.strip())
        return dumped.stdout

    def new_database(self) -> Database:
        """A fresh database with two accounts of its own, for migrations and for the service."""
        # No underscore: in GRANT … ON `name`.* it would stand for any letter.
        name = f"ledger{secrets.token_hex(4)}"
        database = Database(
            server=self,
            name=name,
            admin=Account(f"{name}_admin", secrets.token_hex(8)),
            service=Account(f"{name}_service", secrets.token_hex(8)),
        )
        # No character set is named: tables must not rely on the server's default, which is latin1.
        self.execute(
            f"""
            CREATE DATABASE `{name}`;
            CREATE USER {database.admin.quoted} IDENTIFIED BY '{database.admin.password}';
            CREATE USER {database.service.quoted} IDENTIFIED BY '{database.service.password}';
            GRANT ALL PRIVILEGES ON `{name}`.* TO {database.admin.quoted};
            """
        )
        return database

    def _install(self) -> None:
        installed = subprocess.run(
            [
                program("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={self._data}",
                f"--tmpdir={self._temporary}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",  # and with it the anonymous accounts, which would shadow ours
                "--skip-name-resolve",
                *self._as_root(),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if installed.returncode:
            shutil.rmtree(self._data, ignore_errors=True)
            raise ServerError(f"mariadb-install-db failed:\n{installed.stdout}")

    def _begun(self, log: IO[bytes]) -> Process:
        command = [
            program("mariadbd"),
            "--no-defaults",  # must come first: nothing of this machine's own configuration
            f"--datadir={self._data}",
            f"--tmpdir={self._temporary}",
            f"--socket={self.socket}",
            f"--pid-file={self.directory / 'pid'}",
            f"--bind-address={HOST}",
            f"--port={self.port}",
            f"--server-id={self._server_id}",
            "--log-bin=binlog",
            "--binlog-format=ROW",
            "--sync-binlog=1",
            "--innodb-flush-log-at-trx-commit=1",
            # Else only SUPER may create a trigger while the binary log is on (error 1419). That guards
            # statement replication, which ROW does not use, and SUPER can do far more than a migration needs.
            "--log-bin-trust-function-creators=1",
            f"--innodb-buffer-pool-size={self._buffer_pool}M",
            "--performance-schema=OFF",
            "--skip-name-resolve",
            *self._as_root(),
        ]
        return begun(command, cwd=self.directory, log=log)

    def _answers(self) -> bool:
        # Through the socket: half-made TCP connections are counted, and too many shut the client's host out.
        query = [*self._client(), "-e", "SELECT 1"]
        return subprocess.run(query, capture_output=True, check=False).returncode == 0

    def _client(self) -> list[str]:
        return [
            program("mariadb"),
            "--no-defaults",
            "--batch",
            "--skip-column-names",
            "--default-character-set=utf8mb4",
            f"--socket={self.socket}",
            "--user=root",
        ]

    @staticmethod
    def _as_root() -> list[str]:
        # MariaDB runs as root only if told so; as anybody else it runs without being told.
        return ["--user=root"] if os.geteuid() == 0 else []


@dataclass(frozen=True)
class Account:
    """An account of the database, allowed in from this machine only."""

    user: str
    password: str = field(repr=False)

    @property
    def quoted(self) -> str:
        return f"'{self.user}'@'{HOST}'"


@dataclass(frozen=True)
class Database:
    """One fresh database. `admin` may do anything in it, `service` nothing until `grant_service`."""

    server: MariaDB
    name: str
    admin: Account
    service: Account

    @property
    def admin_url(self) -> str:
        return self._url(self.admin)

    @property
    def service_url(self) -> str:
        return self._url(self.service)

    def grant_service(self, sql_file: Path) -> None:
        """Runs the project's own grants, `ops/mariadb-grants.sql`; the tables must have been made."""
        sql = sql_file.read_text(encoding="utf-8")
        self.server.execute(sql.replace("{database}", self.name).replace("{account}", self.service.quoted))

    def _url(self, account: Account) -> str:
        address = f"{HOST}:{self.server.port}"
        return f"mariadb+asyncmy://{account.user}:{account.password}@{address}/{self.name}?charset=utf8mb4"


class Redis(Server):
    """A private Redis that flushes its append-only file before it answers. `password` is that of its default user."""

    def __init__(self) -> None:
        super().__init__()
        self.password = ""
        self.socket = self.directory / "socket"

    @property
    def url(self) -> str:
        return f"redis://{self._secret}{HOST}:{self.port}/0"

    @property
    def socket_url(self) -> str:
        return f"unix://{self._secret}{self.socket}?db=0"

    @property
    def _secret(self) -> str:
        return f":{self.password}@" if self.password else ""

    def execute(self, *words: str) -> str:
        """Runs one command outside every pool of ours."""
        client = subprocess.run(
            [program("redis-cli"), "-e", "-h", HOST, "-p", str(self.port), *words],
            env=os.environ | {"REDISCLI_AUTH": self.password},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if client.returncode:
            raise ServerError((client.stderr or client.stdout).strip())
        return client.stdout.rstrip("\n")

    def _begun(self, log: IO[bytes]) -> Process:
        command = [
            program("redis-server"),
            *("--bind", HOST),
            *("--port", str(self.port)),
            *("--unixsocket", str(self.socket)),
            *("--dir", str(self.directory)),
            *("--daemonize", "no"),
            *("--appendonly", "yes"),
            *("--appendfsync", "always"),
            *("--save", ""),
        ]
        return begun(command, cwd=self.directory, log=log)

    def _answers(self) -> bool:
        try:
            return self.execute("PING") == "PONG"
        except ServerError:
            return False
