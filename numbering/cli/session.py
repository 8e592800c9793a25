"""One command's session on the ledger: open it, do one thing, close it."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from hashlib import sha256
from typing import Any, TypeVar

import click

from api import answers
from api.operations import OPERATIONS, Making
from api.requests import check_header
from api.schemas import checked
from ledger.codec import canonical, command_id
from ledger.domain.acceptance import Needs
from ledger.domain.commands import Command, Envelope
from ledger.domain.decisions.acts import accepting, needs_in
from ledger.domain.rejection import Rejection
from ledger.domain.state import State
from ledger.ports import Fault
from ledger.queries import Queries
from ledger.service import Ledger
from ledger.system import RandomIds
from ledger.writer import Outcome
from numbering.cli.caller import actor
from numbering.cli.effects import check_may_write
from numbering.cli.logs import Asked
from numbering.cli.output import Answer, fail, is_terminal, mark, note, say_json
from numbering.cli.trials import say_effect
from numbering.exits import INTERRUPTED, REJECTED
from numbering.reading import opened_queries
from numbering.settings import Settings
from numbering.wiring import Node

__all__ = ["REPLAYED", "Session", "given"]

Result = TypeVar("Result")

PROGRESS_SECONDS = 1.0
REPLAYED = "the same answer as the first time"
NOT_MIRRORED = "the mirror lacks the last events; the next process copies them: see `numbering mirror status`"
CLOSE_SECONDS = 0.5  # for closing the ledger after a fault or Ctrl-C; a COMMIT under way takes less


def given(**fields: object) -> dict[str, object]:
    """Leave out the fields that have no value."""
    return {name: value for name, value in fields.items() if value is not None}


class Session:
    """What a command has of the ledger. Each `read`, `act` or `write` opens it once.

    `asked` says of which copy of the log a command that reads is to tell, and as of when.
    """

    def __init__(
        self, settings: Settings, *, json: bool, idempotency_key: str | None = None, asked: Asked | None = None
    ) -> None:
        self.settings = settings
        self._asked = asked
        self.making = Making(RandomIds(), settings.reservation_ttl)
        self.json = json
        self._key = idempotency_key
        self._interrupted = "interrupted"
        self._writes = False
        self._watch: threading.Timer | None = None

    def read(self, work: Callable[[Queries], Awaitable[Result]]) -> Result:
        """Ask the ledger as it is now, or as it was: nothing is written, and no right to write is needed."""
        return self._run(self._asking(work))

    def act(self, work: Callable[[Ledger], Awaitable[Result]]) -> Result:
        """Do `work` on the ledger, which may write."""
        check_may_write()
        return self._run(self._with_ledger(work))

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        _log_bugs_only(self.settings)
        try:
            return asyncio.run(work)
        except KeyboardInterrupt:
            note(self._interrupted)
            raise
        finally:
            if self._watch:
                self._watch.cancel()

    def carry_out(self, name: str, named: str = "", **fields: object) -> Answer:
        """Carry out an operation of HTTP once, on what its path would name and those fields that have a value.

        A repetition must have these in common with the first; a default said aloud is as one not given.
        """
        operation = OPERATIONS[name]
        body = checked(operation.body, given(**fields))
        command = operation.command(body, named, self.making)
        arguments = body.model_dump(mode="json", exclude_defaults=True)
        if operation.names:
            arguments[operation.names] = named
        return self.write(name, arguments, command, lambda outcome, state: operation.answer(command, outcome, state))

    def perform(
        self, name: str, named: str, show: Callable[[Answer], None], *, dry_run: bool = False, **fields: object
    ) -> None:
        """Carry out an operation that cannot be undone and say its answer; or with `dry_run`, say what it would do."""
        if not dry_run:
            self.tell(self.carry_out(name, named, **fields), show)
            return
        operation = OPERATIONS[name]
        self.try_out(operation.command(checked(operation.body, given(**fields)), named, self.making))

    def try_out(self, command: Command) -> None:
        """Say what a command would do; with exit code 1 when it would be refused as it is."""

        async def tried(ledger: Queries) -> Answer:
            (trial,) = await ledger.try_out([command])
            return answers.tried(trial, ledger.position)

        answer = self.read(tried)
        self.tell(answer, say_effect)
        if answer["needs"]:
            raise SystemExit(REJECTED)

    def write(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        command: Command,
        answer: Callable[[Outcome, State], Result],
    ) -> Result:
        """Carry out a command once; `operation` and `arguments` are what a repetition must have in common with it.

        What it must accept, and does not, a terminal is asked. The answer is no part of `arguments`, so that the same
        line typed again is a repetition.
        """
        try:
            return self._write(operation, arguments, command, answer)
        except Rejection as why:
            needs = self.asked(why, is_bounded=getattr(command, "max_skipped", None) is not None)
        return self._write(operation, arguments, accepting(command, needs), answer)

    def asked(self, why: Rejection, *, is_bounded: bool) -> Needs:
        """Ask on a terminal whether an act shall be carried out; returns what it is then to accept.

        Raises `why` again where nobody can be asked, or the command has set the bound that it would exceed.
        """
        needs = needs_in(why)
        if needs is None or is_bounded or self.json or not is_terminal():
            raise why
        note(why.happened)
        effect = why.members["effect"]
        assert isinstance(effect, dict)
        for sentence in effect["afterwards"]:
            note(sentence)
        if not click.confirm("Carry it out?", err=True):
            note("nothing was done")
            raise SystemExit(REJECTED)
        return needs

    def _write(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        command: Command,
        answer: Callable[[Outcome, State], Result],
    ) -> Result:
        async def carried_out(ledger: Ledger) -> Result:
            return answer(await self.execute(ledger, operation, arguments, command), ledger.state)

        return self.act(carried_out)

    async def execute(
        self,
        ledger: Ledger,
        operation: str,
        arguments: Mapping[str, Any],
        command: Command,
    ) -> Outcome:
        """Do the same as a part of some `work`; say so when the answer is that of an earlier time."""
        outcome = await ledger.execute(command, self.envelope(operation, arguments))
        if outcome.replayed:
            note(REPLAYED)
        return outcome

    def envelope(self, operation: str, arguments: Mapping[str, Any]) -> Envelope:
        """Say who asks and how a repetition is recognised, for what is carried out next."""
        envelope = self._envelope(operation, arguments)
        self._interrupted = "interrupted: the command may or may not have been carried out"
        self._writes = True
        return envelope

    def tell(self, answer: Answer, show: Callable[[Answer], None]) -> None:
        """Say the answer: as JSON when that was asked for, else as `show` does."""
        say_json(answer) if self.json else show(answer)

    async def _with_ledger(self, work: Callable[[Ledger], Awaitable[Result]]) -> Result:
        async with Node(self.settings) as node:
            with self._watched():
                await _catch_up(node.ledger)
                result = await work(node.ledger)
        if self._writes and node.relay and node.relay.status.position < node.ledger.position:
            note(NOT_MIRRORED)
        return result

    async def _asking(self, work: Callable[[Queries], Awaitable[Result]]) -> Result:
        async with AsyncExitStack() as stack:
            if self._asked and self._asked.is_past:
                opened = await stack.enter_async_context(self._asked.opened())
            else:
                opened = await stack.enter_async_context(opened_queries(self.settings, _say_progress))
            for each in opened.marks:
                mark(each.line, each.fields)
            with self._watched():
                return await work(opened.queries)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """End at once after a fault or Ctrl-C if the ledger does not close by itself."""
        try:
            yield
        except (Fault, asyncio.CancelledError) as error:
            self._watch = threading.Timer(CLOSE_SECONDS, self._abandon, (error,))
            self._watch.daemon = True
            self._watch.start()
            raise

    def _abandon(self, error: BaseException) -> None:
        """End at once: a database that hangs would keep us until its timeouts end. To the ledger this is a crash."""
        exit_code = INTERRUPTED
        try:
            fail(error, json=self.json) if isinstance(error, Fault) else note(self._interrupted)
        except SystemExit as end:
            exit_code = int(end.code or 0)
        finally:
            sys.stdout.flush()
            os._exit(exit_code)

    def _envelope(self, operation: str, arguments: Mapping[str, Any]) -> Envelope:
        who = actor()
        if self._key is None:
            return Envelope(self.making.ids.command_id(), who)
        check_header("idempotency-key", self._key)
        fingerprint = sha256(canonical([operation, arguments])).hexdigest()
        return Envelope(command_id(who, operation, self._key), who, None, None, self._key, fingerprint)


async def _catch_up(ledger: Ledger) -> None:
    """Read the log to its end, however long that takes, as long as the database gives more of it."""
    seen = 0
    while True:
        try:
            await ledger.writer.fresh()
            return
        except Fault:
            if ledger.position == seen:
                raise
            seen = ledger.position
        _say_progress(seen)
        await asyncio.sleep(PROGRESS_SECONDS)


def _say_progress(position: int) -> None:
    if sys.stderr.isatty():
        note(f"reading the log, {position:,} events so far")


def _log_bugs_only(settings: Settings) -> None:
    """Log what has a traceback; the rest is said by the command's one line, unless debugging is asked for."""
    handler = logging.StreamHandler()
    if settings.log_level != "debug":
        handler.addFilter(lambda record: record.exc_info is not None)
    logging.basicConfig(
        level=settings.log_level.upper(), handlers=[handler], format="%(levelname)s %(name)s: %(message)s"
    )
