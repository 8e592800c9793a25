"""What the ledger tells its faces, where that is not seen over HTTP: how much of the log it reads."""

from collections.abc import Sequence

import pytest

from ledger import service
from ledger.domain.commands import Command, DefineSeries, Envelope, Issue, Reserve, Void
from ledger.ports import Record
from ledger.service import Ledger
from ledger.stores import MemoryLog, MemoryStore
from ledger.system import RandomIds, aside, spawn
from ledger.writer import Outcome
from tests.api.client import Time
from tests.given import PLAIN

PAGE = 10
NUMBERS = 100


class Counting(MemoryStore):
    pages = 0

    async def events_of_stream(self, stream: str, *, before: int, limit: int) -> Sequence[Record]:
        self.pages += 1
        return await super().events_of_stream(stream, before=before, limit=limit)


async def do(ledger: Ledger, *commands: Command) -> Outcome:
    for command in commands[:-1]:
        await do(ledger, command)
    return await ledger.execute(commands[-1], Envelope(ledger.ids.command_id(), "tester"))


async def test_a_number_of_late_is_found_without_reading_its_whole_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PAGE", PAGE)
    store = Counting(MemoryLog("test"))
    async with Ledger(store, clock=Time(), ids=RandomIds(), spawn=spawn, aside=aside) as ledger:
        issues = [Issue(Reserve("PLAIN", ledger.ids.token()), "D") for _ in range(NUMBERS)]
        await do(ledger, DefineSeries((PLAIN,)), *issues)
        number = f"{NUMBERS:04d}"
        told = await ledger.number(number)
        assert [step.state for step in told.steps] == ["RESERVED", "CONFIRMED"]
        assert store.pages == 1
        await do(ledger, Void(number, "because the test says so", None, ledger.ids.token()))
        assert store.pages == 2
        assert [step.state for step in (await ledger.number(number)).steps] == ["RESERVED", "CONFIRMED", "VOIDED"]
        assert store.pages == 3
        assert (await ledger.number("0001")).position == 2 * NUMBERS + 2
