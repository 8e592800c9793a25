"""Whatever is lost behind any cut of any history, no number of it is given out again after a restore.

What `tests.domain.test_fence` asks of the fence is asked here of all that stands around it: rows, databases, restore,
the service that goes on, and the audit of what it then wrote.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from ledger.codec import decode
from ledger.domain.commands import (
    Decidable,
    DefineSeries,
    Envelope,
    Fence,
    Issue,
    Original,
    Reserve,
    Void,
    WithOriginal,
)
from ledger.domain.events import Event, NumberAssigned, NumbersReserved
from ledger.domain.register import MAX_IMPORTED, Register
from ledger.domain.rejection import Rejection
from ledger.ports import Record
from ledger.service import Ledger as Service
from ledger.stores import SqlStore
from ledger.system import RandomIds, aside, spawn
from ledger.writer import Outcome
from replay.sources import Damaged, DatabaseSource, Source
from tests.api.client import Time
from tests.domain.test_fence import CUTS, FORMS, STEPS, Ledger, Restored, Step, lost_behind
from tests.given import GAPLESS, LETTER, LETTER_KEY, NOW, PLAIN, RFA, SECOND, series
from tests.invariants import check_store
from tests.profiles import rounds
from tests.projections.agreement import check_projections
from tests.replay.places import read
from tests.replay.restoring import check_whole, decided, encoded, fresh, opened, restored, source_of
from tests.test_machine import Timed

REASON = "because the test says so"
NUMBERS = count()


class Recorded(Ledger):
    """A log that knows what belongs to one command."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[tuple[Sequence[Event], int]] = []

    def do(self, command: Decidable) -> list[Event]:
        events = super().do(command)
        if events:
            self.commands.append((events, self.now))
        return events


class Served(Ledger):
    """The same in a database, through the real service."""

    def __init__(self, runner: asyncio.Runner, store: SqlStore, clock: Time, tokens: int) -> None:
        super().__init__(clock.now(), tokens=tokens)
        self.store = store
        self.runner = runner
        self.clock = clock
        timed: Any = Timed(store, clock)
        self.service = Service(timed, clock=clock, ids=RandomIds(), spawn=spawn, aside=aside)
        self.follow()

    def start(self) -> None:
        async def started() -> None:
            self.service.writer.start()

        self.runner.run(started())

    def end(self) -> None:
        self.runner.run(self.service.writer.stop())

    def follow(self) -> list[Event]:
        """Read what was appended to the log."""
        entries = list(map(decode, self.runner.run(self.store.events(after=len(self.log), limit=1_000_000))))
        for entry in entries:
            self.take(entry.event, entry.recorded_at)
        return [entry.event for entry in entries]

    def do(self, command: Decidable) -> list[Event]:
        self.clock.advance((self.now - self.clock.now()) // SECOND)
        envelope = Envelope(self.service.ids.command_id(), "tester")
        asked = command.command if isinstance(command, WithOriginal) else command  # the service looks it up itself
        (end,) = self.runner.run(self.service.execute_each([(asked, envelope)]))
        assert isinstance(end, Outcome | Rejection), end
        return self.follow()

    def run(self, steps: Iterable[Step]) -> None:
        self.start()
        super().run(steps)
        self.end()


def restored_in_front(
    lost: Ledger, source: Source, store: SqlStore, runner: asyncio.Runner, cut: int, before: Restored | None = None
) -> Restored:
    """Restore what stands in front of a cut; the margin is as narrow as it may be."""
    margin, named = lost_behind(lost, cut)
    clock = Time(lost.now)
    timed: Any = Timed(store, clock)
    to, pairs = cut if before else None, tuple(sorted(named))
    done = runner.run(restored(source, timed, to=to, margin=margin, opened=pairs, clock=clock))
    assert (done.cut, done.margin) == (cut, margin)
    ledger = Served(runner, store, clock, lost.tokens)
    assert runner.run(read(DatabaseSource(store)))[:cut] == runner.run(read(source))[:cut]
    assert not ledger.state.reservations()
    numbers = list(lost.numbers(NumbersReserved, NumberAssigned))
    taken, printed = {number[:2] for number in numbers}, {number.printed for number in numbers}
    if before:
        taken, printed = taken | before.taken, printed | before.printed
    return Restored(ledger, cut + 1, len(ledger.log), taken, printed)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cuts")


@settings(
    max_examples=rounds(4, thorough=15),
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(steps=STEPS, cut=CUTS, then=STEPS, again=CUTS, at_last=STEPS)
def test_no_lost_number_is_given_out_again(
    directory: Path, steps: list[Step], cut: int, then: list[Step], again: int, at_last: list[Step]
) -> None:
    lost = Recorded()
    for forms in FORMS[:-1]:
        lost.do(DefineSeries((forms[0],)))
    lost.run(steps)
    cut %= len(lost.log) + 1
    number = next(NUMBERS)
    files = [fresh(directory, f"{number}-{turn}") for turn in range(2)]
    with asyncio.Runner() as runner, opened_now(runner, files) as (one, other):
        first = restored_in_front(lost, source_of(encoded(lost.commands)[:cut]), one, runner, cut)
        first.ledger.run(then)
        first.check()
        again = first.floor + again % (len(first.ledger.log) - first.floor + 1)
        second = restored_in_front(first.ledger, DatabaseSource(one), other, runner, again, first)
        second.ledger.run(at_last)
        second.check()
        for store in (one, other):
            runner.run(check_whole(store))
        runner.run(check_store(other))
        runner.run(check_projections(other))


@contextmanager
def opened_now(runner: asyncio.Runner, files: Iterable[Path]) -> Iterator[list[SqlStore]]:
    stores = opened(*files)
    try:
        yield runner.run(stores.__aenter__())
    finally:
        runner.run(stores.__aexit__(None, None, None))


# Commands that are cut in the middle


def voided() -> list[Record]:
    original = Original(1, date(2025, 6, 15), (), "D")
    return decided(
        DefineSeries((LETTER,)),
        Issue(Reserve("LETTER", "T", LETTER_KEY), "D"),
        WithOriginal(Void("คคง.-สคฉ.3-01-0001-2568", REASON, "U", replace=True), original),
    )


def imported() -> list[Record]:
    wide = series("{SEQ:6}", "PLAIN")
    register = Register([wide], NOW)
    for value in range(3, 3 + 2 * (MAX_IMPORTED + 1), 2):
        register.add(value, f"{value:06d}")
    return decided(DefineSeries((wide,)), register.command(skip_bad=False))


def fenced() -> list[Record]:
    return decided(
        DefineSeries((LETTER, PLAIN)),
        Reserve("LETTER", "T", LETTER_KEY),
        Reserve("PLAIN", "U"),
        Reserve("PLAIN", "V"),
        Fence(6, NOW + 3 * SECOND, 2, REASON),
    )


def together() -> list[Record]:
    return decided(DefineSeries((LETTER, PLAIN, GAPLESS, RFA)))


@pytest.mark.parametrize("made", [voided, imported, fenced, together], ids=lambda made: made.__name__)
async def test_a_command_that_is_cut_in_the_middle(tmp_path: Path, made: Callable[[], list[Record]]) -> None:
    records = made()
    start = next(
        record.position for record in records if record.ordinal == 0 and record.command_id == records[-1].command_id
    )
    for cut in range(start, len(records)):
        async with opened(fresh(tmp_path, f"{cut}")) as (store,):
            await restored(source_of(records), store, to=cut, margin=1)
            await check_whole(store)
            await check_store(store)
            await check_projections(store)


async def test_series_that_trade_places_are_not_cut_apart(tmp_path: Path) -> None:
    """Each of two takes what the other printed: with one of them alone, both would print the same numbers."""
    one, two = series("A{SEQ:4}", "ONE"), series("B{SEQ:4}", "TWO")
    records = decided(DefineSeries((one, two)), DefineSeries((series("B{SEQ:4}", "ONE"), series("C{SEQ:4}", "TWO"))))
    async with opened(fresh(tmp_path)) as (store,):
        with pytest.raises(Damaged) as caught:
            await restored(source_of(records), store, to=3)
        assert caught.value.position == 3
        assert "`--to 2`" in caught.value.what
        await restored(source_of(records), store, to=2)
        await check_whole(store)
