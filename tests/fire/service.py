"""`numbering serve` as a real process, to be killed, stalled and ended while clients use it."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from typing import IO, Any

import orjson

from tests.forked import Forked
from tests.numbering.process import NUMBERING, without_settings
from tests.servers import HOST, STOP_TIMEOUT_SECONDS, Process, Server, begun

__all__ = ["IMPATIENT_MS", "PATIENT_MS", "Serve", "Service"]

PATIENT_MS = 20_000  # no command is refused because the machine is busy
IMPATIENT_MS = 2000  # the shortest that may be set, for tests that wait until commands are refused
ANSWER_SECONDS = 30.0

# What uvloop raises, and uvicorn logs, when a client resets its connection just before it is answered. Known to both.
WRITTEN_TO_NOBODY = "the handler is closed"


class Service(Server):
    """One service process on a ledger, with other `settings`; killed or ended, it starts again on the same port.

    With `installed` it is the program that is installed, which has to be loaded first: for those who measure a start.
    `start` returns when the path `until` answers 200: usually once it can number, for a stopped ledger once it is up.
    """

    def __init__(
        self,
        database_url: str,
        *,
        lock_timeout_ms: int = PATIENT_MS,
        until: str = "/health/ready",
        installed: bool = False,
        **settings: str,
    ) -> None:
        super().__init__()
        self._is_installed = installed
        self._until = until
        self._options = {
            "--database-url": database_url,
            "--host": HOST,
            "--port": str(self.port),
            "--lock-timeout": str(lock_timeout_ms),
        } | {f"--{name.replace('_', '-')}": value for name, value in settings.items()}

    def __exit__(self, *why: object) -> None:
        log = self.log.read_text(errors="replace") if self.log.exists() else ""
        super().__exit__(*why)
        print(log)  # shown by pytest when the test fails
        bugs = log.count("Traceback") - log.count(WRITTEN_TO_NOBODY)
        assert any(why) or not bugs, f"the service met a bug of its own:\n{log}"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def end(self) -> int:
        """Ends the service with SIGTERM, and gives its exit code."""
        process = self._running()
        process.terminate()
        code = process.wait(STOP_TIMEOUT_SECONDS)
        self._process = None
        return code

    def get(self, path: str) -> tuple[int, Any]:
        return self.ask("GET", path)

    def post(self, path: str, body: object, **headers: str) -> tuple[int, Any]:
        return self.ask("POST", path, orjson.dumps(body), **headers)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """The status and the JSON of an answer; 0 and nothing while the service does not answer."""
        connection = HTTPConnection(HOST, self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response.status, orjson.loads(response.read())
        except (OSError, HTTPException):
            return 0, None
        finally:
            connection.close()

    def _begun(self, log: IO[bytes]) -> Process:
        # What a developer has exported for a ledger of his own must not reach this one.
        words, env = ["serve", *(word for option in self._options.items() for word in option)], without_settings()
        if not self._is_installed:
            return Forked(words, cwd=self.directory, env=env, stdout=log, stderr=log)
        return begun([str(NUMBERING), *words], cwd=self.directory, log=log, env=env)

    def _answers(self) -> bool:
        return self.get(self._until)[0] == 200


Serve = Callable[..., Service]  # with a place and the options of Service: a process that serves it
