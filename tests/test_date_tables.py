"""Numbers are read on the loop; what takes long the first time is made in a thread.

No clock is asked: builds are counted.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import date
from functools import lru_cache
from typing import Any

import pytest

from ledger import date_tables
from ledger.domain import date_texts, reading
from ledger.domain.calendar import Reset
from ledger.domain.commands import Assign, Command, DefineSeries, Envelope, Issue, Reserve, Void
from ledger.domain.rejection import Rejection
from ledger.domain.series import Series
from ledger.domain.state import State
from ledger.service import Ledger
from ledger.stores import MemoryLog, MemoryStore
from ledger.system import RandomIds, aside, end, spawn
from tests.api.client import Time
from tests.given import series

YEARS = series("A-{SEQ:4}-{YYYY}", "A", reset=Reset.YEARLY)
MONTHS = series("B-{SEQ:4}-{YYYY}{MM}", "B", reset=Reset.MONTHLY)
DAY = date(2025, 6, 15)
REASON = "because the test says so"


class Builds:
    """Counts where tables were made, since all were forgotten."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._originals = {name: getattr(date_texts, name).__wrapped__ for name in ("_dates_saying", "_texts_of")}
        self.forget()

    def forget(self) -> None:
        self.on_loop = self.aside = 0
        for name, original in self._originals.items():
            self._monkeypatch.setattr(date_texts, name, lru_cache(maxsize=None)(self._counted(original)))
        date_texts.undetermined.cache_clear()
        reading._READERS.clear()

    def _counted(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*of: Any) -> Any:
            if threading.current_thread() is threading.main_thread():
                self.on_loop += 1
            else:
                self.aside += 1
            return make(*of)

        return counted


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Builds:
    return Builds(monkeypatch)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog("test")


def opened(log: MemoryLog) -> Ledger:
    clock = Time()
    return Ledger(MemoryStore(log, now=clock.now), clock=clock, ids=RandomIds(), spawn=spawn, aside=aside)


async def do(ledger: Ledger, command: Command) -> None:
    await ledger.execute(command, Envelope(ledger.ids.command_id(), "tester"))


async def fill(ledger: Ledger, *all_series: Series) -> None:
    """Define series, and issue the first number of each."""
    for each in all_series:
        await do(ledger, DefineSeries((each,)))
        await do(ledger, Issue(Reserve(each.code, ledger.ids.token(), document_date=DAY), "D"))


async def look_up(ledger: Ledger) -> None:
    await ledger.number("A-0001-2025")


async def assign(ledger: Ledger) -> None:
    await do(ledger, Assign("A-0007-2025", "D", REASON))


async def void(ledger: Ledger) -> None:
    await do(ledger, Void("A-0001-2025", REASON, "another", replace=True))


async def misread(ledger: Ledger) -> None:
    with suppress(Rejection):
        await ledger.number("nothing of the kind")


async def together(ledger: Ledger) -> None:
    commands: tuple[Command, ...] = (
        Assign("A-0008-2025", "D", REASON),
        DefineSeries((MONTHS,)),
        Assign("B-0003-202506", "D", REASON),
        Void("A-0001-2025", REASON, "another"),
    )
    parts = [(each, Envelope(ledger.ids.command_id(), "tester")) for each in commands]
    await ledger.execute_together(parts, Envelope(ledger.ids.command_id(), "tester"))


Use = Callable[[Ledger], Awaitable[None]]
USES = [look_up, assign, void, misread, together]


async def test_what_a_definition_made_is_not_made_again(builds: Builds, log: MemoryLog) -> None:
    async with opened(log) as ledger:
        await fill(ledger, YEARS, MONTHS)
        made = builds.aside
        assert made > 0
        await look_up(ledger)
        await assign(ledger)
        await void(ledger)
        assert (builds.on_loop, builds.aside) == (0, made)


@pytest.mark.parametrize("use", USES)
async def test_series_that_were_loaded_are_read_without_a_build_on_the_loop(
    builds: Builds, log: MemoryLog, use: Use
) -> None:
    async with opened(log) as ledger:
        await fill(ledger, YEARS)
    builds.forget()
    async with opened(log) as ledger:
        await use(ledger)
    assert builds.on_loop == 0
    assert builds.aside > 0


@pytest.mark.parametrize("use", USES)
async def test_series_of_another_process_are_read_without_a_build_on_the_loop(
    builds: Builds, log: MemoryLog, use: Use
) -> None:
    async with opened(log) as other, opened(log) as ledger:
        await misread(ledger)
        await fill(other, YEARS)
        builds.forget()
        await use(ledger)
    assert builds.on_loop == 0
    assert builds.aside > 0


async def test_an_amendment_is_read_without_a_build_on_the_loop(builds: Builds, log: MemoryLog) -> None:
    async with opened(log) as ledger:
        await fill(ledger, YEARS)
        await look_up(ledger)
        await do(ledger, DefineSeries((series("A/{SEQ:4}-{MM}/{YYYY}", "A", reset=Reset.YEARLY),)))
        await do(ledger, Issue(Reserve("A", ledger.ids.token(), document_date=DAY), "D"))
        made = builds.aside
        assert (await ledger.number("A/0002-06/2025")).steps
        assert (builds.on_loop, builds.aside) == (0, made)


async def test_a_service_makes_them_before_anybody_asks(builds: Builds, log: MemoryLog) -> None:
    async with opened(log) as ledger:
        await fill(ledger, YEARS)
    builds.forget()
    async with opened(log) as ledger:
        await ledger.writer.fresh()
        task = spawn(ledger.keep_date_tables(), name="date tables")
        while not ledger._tables.are_made(ledger.state):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await end(task)
        made = builds.aside
        assert made > 0
        await look_up(ledger)
        assert (builds.on_loop, builds.aside) == (0, made)


async def test_many_look_ups_at_once_make_each_table_once(builds: Builds, log: MemoryLog) -> None:
    async with opened(log) as ledger:
        await fill(ledger, YEARS, MONTHS)
        made = builds.aside
    builds.forget()
    async with opened(log) as ledger:
        await asyncio.gather(*(look_up(ledger) for _ in range(20)))
    assert (builds.on_loop, builds.aside) == (0, made)


def test_a_number_is_read_before_any_table_was_made(builds: Builds) -> None:
    (found,) = reading.readings(YEARS, "A-0001-2025", DAY)
    assert found.period == "2025"
    assert builds.on_loop > 0


async def test_tables_that_could_not_be_made_are_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(date_tables, "LOOK_SECONDS", 0.0)
    tried, made = 0, asyncio.Event()

    async def failing_twice(work: Callable[[], None]) -> None:
        nonlocal tried
        tried += 1
        if tried <= 2:
            raise RuntimeError("can't start new thread")
        work()
        made.set()

    state = State()
    state.put_series(YEARS)
    keeping = spawn(date_tables.DateTables(failing_twice).keep(lambda: state), name="date tables")
    try:
        async with asyncio.timeout(30):
            await made.wait()
    finally:
        await end(keeping)
    assert tried == 3
