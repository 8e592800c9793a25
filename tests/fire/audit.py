"""Whether the log explains every answer that any client was given, whatever happened to the processes meanwhile.

- what was acknowledged is in the log, as it was answered, and was caused by a delivery of that same request;
- a request with a key had one effect, and all its answers are the same bytes;
- what was refused, by any status that promises it, had no effect, and was refused by a fault: the requests are good;
- an answer that came before another was asked for stands before it in the log.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from ledger import codec
from ledger.codec import Entry
from ledger.domain.events import NumbersConfirmed, NumbersReserved, ReservationCancelled
from ledger.domain.ranges import values_of
from ledger.ports import Head, Record
from ledger.stores import open_store
from tests.fire.load import Attempt, Load, Request
from tests.invariants import check_log, read_log

__all__ = ["Log", "check"]

STATUSES = {0, 200, 201, 503, 504}


class Log:
    """The log as it is now, read past every service."""

    def __init__(self, url: str) -> None:
        self.records, self.head = asyncio.run(_read(url))
        self.entries = [codec.decode(record) for record in self.records]
        self.by_request: dict[str | None, list[Entry]] = defaultdict(list)
        self.by_command: dict[bytes, list[Entry]] = defaultdict(list)
        self.by_token: dict[str | None, list[Entry]] = defaultdict(list)
        for record, entry in zip(self.records, self.entries, strict=True):
            self.by_request[entry.envelope.request_id].append(entry)
            self.by_command[record.command_id].append(entry)
            self.by_token[record.token].append(entry)

    def types_of(self, token: str) -> list[str]:
        return [type(entry.event).__name__ for entry in self.by_token[token]]


async def _read(url: str) -> tuple[list[Record], Head]:
    store = open_store(url)
    try:
        return await read_log(store)
    finally:
        await store.close()


def check(url: str, *loads: Load) -> Log:
    """Check the log of a ledger, and every answer that the loads got of it."""
    log = Log(url)
    check_log(log.records, log.head)
    attempts = [attempt for load in loads for attempt in load.attempts]
    by_request: dict[Request, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        by_request[attempt.request].append(attempt)
    for request, tried in by_request.items():
        _check_request(request, tried, log)
    _check_order(attempts)
    return log


def _check_request(request: Request, tried: list[Attempt], log: Log) -> None:
    effects = {entry.envelope.command_id for attempt in tried for entry in log.by_request[attempt.id]}
    assert len(effects) <= 1, f"{request} had {len(effects)} effects"
    acknowledged = [attempt for attempt in tried if attempt.is_acknowledged]
    assert len({attempt.content for attempt in acknowledged}) <= 1, f"{request} got several answers: {acknowledged}"
    for attempt in acknowledged:
        _check_acknowledged(attempt, {each.id for each in tried}, log)
    for attempt in tried:
        assert attempt.status in STATUSES, f"no answer to a good request: {attempt}"
        assert not (attempt.is_refused and log.by_request[attempt.id]), f"{attempt} was refused, and had an effect"


def _check_acknowledged(attempt: Attempt, ids: set[str], log: Log) -> None:
    answer = attempt.answer
    assert answer["position"] <= len(log.entries), f"{attempt} is lost"
    last = log.entries[answer["position"] - 1]
    entries = log.by_command[last.envelope.command_id]
    assert entries[-1] is last
    cause = last.envelope.request_id
    assert cause in ids, f"{attempt} was answered with the effect of {cause}"
    assert attempt.replayed == (cause != attempt.id), f"{attempt} says wrongly whether it was a repetition of {cause}"
    _check_numbers(attempt, entries)


def _check_numbers(attempt: Attempt, entries: list[Entry]) -> None:
    answer, event = attempt.answer, entries[-1].event
    assert isinstance(event, NumbersReserved | NumbersConfirmed | ReservationCancelled)
    series = event.numbering.series
    printed = [{"number": f"{series}-{value:06}", "value": value} for value in values_of(event.ranges)]
    answered = [{name: number[name] for name in ("number", "value")} for number in answer["numbers"]]
    assert (answer["token"], answered) == (event.token, printed), f"{attempt} is not what the log holds"


def _check_order(attempts: Iterable[Attempt]) -> None:
    """Positions follow real time, also across processes; a repetition gives the position of long ago."""
    first = [attempt for attempt in attempts if attempt.is_acknowledged and not attempt.replayed]
    ended = sorted(first, key=lambda attempt: attempt.ended)
    count = highest = 0
    for attempt in sorted(first, key=lambda attempt: attempt.began):
        while ended[count].ended < attempt.began:
            highest = max(highest, ended[count].answer["position"])
            count += 1
        assert attempt.answer["position"] > highest, f"{attempt} stands before what was answered before it was asked"
