"""What a check finds, and how checks are run: bounded in time, and never ended by an exception."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from threading import Thread
from typing import TypeVar

from ledger.ports import StoreFault

__all__ = [
    "CHECK_SECONDS",
    "Check",
    "Finding",
    "Level",
    "error",
    "fault",
    "guarded",
    "in_order",
    "in_thread",
    "ok",
    "span",
    "warning",
]

CHECK_SECONDS = 5.0
MAX_SILENT = 2  # checks without an answer, after which nobody waits for more
DECIMALS_BELOW_SECONDS = 10

T = TypeVar("T")


class Level(StrEnum):
    OK = "OK"
    WARNING = "WARNING"
    ERROR = "ERROR"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and what to do when it is not OK."""

    check: str
    level: Level
    detail: str
    advice: str | None = None


def ok(check: str, detail: str) -> Finding:
    return Finding(check, Level.OK, detail)


def warning(check: str, detail: str, advice: str) -> Finding:
    return Finding(check, Level.WARNING, detail, advice)


def error(check: str, detail: str, advice: str) -> Finding:
    return Finding(check, Level.ERROR, detail, advice)


def fault(check: str, told: StoreFault, *, when_away: str) -> Finding:
    """Give a store's fault; one that says nothing of what to do, or that may pass by itself, is for `when_away`."""
    if told.transient or told.advice is None:
        return error(check, told.detail, when_away)
    said = f" ({told.said})" if told.said is not None else ""
    return error(check, told.happened + said, told.advice)


@dataclass(frozen=True)
class Check:
    """Something to look at. Behind a `gate` that is in error the other checks would only repeat the error."""

    name: str
    look: Callable[[], Awaitable[Iterable[Finding]]]
    gate: bool = False


async def in_order(checks: Sequence[Check], subject: str, *, seconds: float = CHECK_SECONDS) -> list[Finding]:
    """Make the checks; those that cannot be made are said to be skipped."""
    findings: list[Finding] = []
    silent = 0
    for index, check in enumerate(checks, start=1):
        found, answered = await guarded(check, seconds=seconds)
        findings += found
        silent += not answered
        closed = check.gate and any(one.level is Level.ERROR for one in found)
        if checks[index:] and (closed or silent == MAX_SILENT):
            names = ", ".join(one.name.removeprefix(f"{subject} ") for one in checks[index:])
            advice = f"mend {check.name}, then run `numbering doctor` again"
            return [*findings, warning(f"{subject} checks", f"skipped: {names}", advice)]
    return findings


async def guarded(check: Check, *, seconds: float = CHECK_SECONDS) -> tuple[list[Finding], bool]:
    """Look, and say whether there was an answer in time."""
    try:
        async with asyncio.timeout(seconds):
            return list(await check.look()), True
    except TimeoutError:
        advice = "look at the load of the machine and of the server, and for locks that are held"
        return [error(check.name, f"no answer within {seconds:g} s", advice)], False
    except Exception as unexpected:
        said = " ".join(f"{type(unexpected).__name__}: {unexpected}".split())
        return [error(check.name, f"the check failed: {said}", "if this line does not say why, report it")], True


async def in_thread(work: Callable[[], T]) -> T:
    """Do blocking work in a thread that may be left behind.

    `asyncio.to_thread` would not do: the process waits for its threads, and a dead network disk holds one for ever.
    """
    answer: Future[T] = Future()
    answer.set_running_or_notify_cancel()  # from now on nobody but the thread ends it

    def run() -> None:
        try:
            answer.set_result(work())
        except Exception as failed:
            answer.set_exception(failed)

    Thread(target=run, name="doctor", daemon=True).start()
    return await asyncio.wrap_future(answer)


def span(seconds: float) -> str:
    """Write a length of time for people, in the largest unit that says enough."""
    if seconds < DECIMALS_BELOW_SECONDS:
        return f"{seconds:.1f} s"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
