"""What the ledger does for its faces, where that is not seen over HTTP: how much it reads, and does only once."""

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import pytest

from ledger import log
from ledger.domain import proof
from ledger.domain.calendar import Reset
from ledger.domain.commands import Command, DefineSeries, Envelope, Issue, Reserve, Void
from ledger.domain.rejection import Rejection
from ledger.domain.series import Dimension, Series
from ledger.ports import Record
from ledger.service import Ledger
from ledger.stores import MemoryLog, MemoryStore
from ledger.system import RandomIds, aside, spawn
from ledger.writer import Outcome
from tests.api.client import Time
from tests.given import PLAIN, series

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
    monkeypatch.setattr(log, "PAGE", PAGE)
    clock = Time()
    store = Counting(MemoryLog("test"), now=clock.now)
    async with Ledger(store, clock=clock, ids=RandomIds(), spawn=spawn, aside=aside) as ledger:
        issues = [Issue(Reserve("PLAIN", ledger.ids.token()), "D") for _ in range(NUMBERS)]
        await do(ledger, DefineSeries((PLAIN,)), *issues)
        number = f"{NUMBERS:04d}"
        told = await ledger.number(number)
        assert [step.state for step in told.steps] == ["RESERVED", "CONFIRMED"]
        assert store.pages == 1
        await do(ledger, Void(number, "because the test says so", ledger.ids.token()))
        assert store.pages == 2
        assert [step.state for step in (await ledger.number(number)).steps] == ["RESERVED", "CONFIRMED", "VOIDED"]
        assert store.pages == 3
        assert (await ledger.number("0001")).position == 2 * NUMBERS + 3


def alike(code: str, *values: str) -> Series:
    """Series that no look at their ends tells apart."""
    return series("{X}-{SEQ:4}", code, dimensions={"X": Dimension(values=values)})


async def test_what_was_proved_is_not_proved_again_under_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[object] = []
    search = proof._search

    def counted(*asked: Any) -> Any:
        searched.append(asked)
        return search(*asked)

    monkeypatch.setattr(proof, "_search", counted)
    one, two, three = (alike(code, f"{code}1", f"2{code}") for code in "ABC")
    clock = Time()
    store = MemoryStore(MemoryLog("test"), now=clock.now)
    async with Ledger(store, clock=clock, ids=RandomIds(), spawn=spawn, aside=aside) as ledger:
        await do(ledger, DefineSeries((one,)), Issue(Reserve("A", ledger.ids.token(), {"X": "A1"}), "D"))
        assert len(searched) == 1
        together = [(DefineSeries((each,)), Envelope(ledger.ids.command_id(), "tester")) for each in (two, three)]
        await ledger.execute_together(together, Envelope(ledger.ids.command_id(), "tester"))
        assert len(searched) == 1 + 2 + 3
        await do(ledger, DefineSeries((alike("A", "A1", "2A", "A3A"),)))
        assert len(searched) == 6 + 4


def test_a_series_that_is_refused_leaves_nothing_behind() -> None:
    undated = series("{X}-{SEQ:4}", dimensions={"X": Dimension(values=("A", "B"))}, reset=Reset.YEARLY)
    with pytest.raises(Rejection):
        proof.prove(undated, [])
    left = weakref.ref(undated)
    del undated
    gc.collect()
    assert left() is None
