"""All commands, in any order, on several stores at once: each judges and does what a naive model does, and alike.

After every step a refused command has left the log as it was, and an auditor accepts all that was written. Now and then
the ledgers are archived and restored, and go on in the place of those that were lost; so they are at last. In the end
the log holds every invariant, all stores hold the same bytes, and every value of every sequence is accounted for as the
model has it. A history takes a tenth of a second, and many are needed: most of them run with --thorough only.
"""

import asyncio
import copy
import shutil
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import date
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ledger.codec import Entry, decode, encode
from ledger.domain.acceptance import Acceptance, Needs
from ledger.domain.calendar import Reset
from ledger.domain.commands import (
    AdjustMaximum,
    AdjustSequence,
    Assign,
    Cancel,
    Choice,
    CloseLedger,
    ClosePeriod,
    Command,
    Confirm,
    DefineSeries,
    Envelope,
    Extend,
    Fence,
    Issue,
    Link,
    OpenLedger,
    OpenPeriod,
    ReopenPeriod,
    ReopenSeries,
    Reserve,
    ResetSequence,
    RetireSeries,
    Void,
)
from ledger.domain.effects import left_in
from ledger.domain.events import Event, NumberAssigned, NumbersImported
from ledger.domain.ranges import Ranges, values_of
from ledger.domain.rejection import Rejection
from ledger.domain.sequence import ValueState
from ledger.domain.series import Attribute, DateOrder, Definition, Dimension, Overflow, Reuse, Series
from ledger.domain.state import State
from ledger.domain.trial import Trial
from ledger.ports import Head, Record, Stop, StopKind, Store
from ledger.queries import Reader
from ledger.service import Ledger
from ledger.stores import MemoryLog, MemoryStore, SqlStore, open_store
from ledger.system import RandomIds, aside, spawn
from ledger.writer import Outcome
from ledger.writer.clocks import Clocks
from replay.archive.source import ArchiveSource
from replay.archive.writing import archive
from replay.examination import Examination
from replay.restore import Plan, foresee, restore
from replay.resumption import AcceptedStops, Beside, accept, judged
from replay.sources import DatabaseSource
from replay.stops import Way
from replay.verify import verify
from tests.api.client import Time
from tests.given import at, dump
from tests.invariants import check_store, read_log
from tests.model import Model, Refused, Seq
from tests.profiles import rounds
from tests.servers import MariaDB
from tests.stores import empty_sqlite, mariadb_ledger

START = at("2025-12-30T23:00:00Z")
REASON = "because the test says so"
DAILY = "D-{X}-{YYYY}{MM}{DD}-{SEQ:1}"
LETTERS = Dimension(values=("a", "b"))
B_ALONE = Dimension(values=("b",))
REV = {"REV": Attribute(Dimension(chars="A-Z", max=1), default="A")}
A_ALONE = {"REV": Attribute(Dimension(chars="A", max=1), default="A")}


def definition(template: str, **fields: Any) -> Definition:
    return Definition(template=template, reservation_max_lifetime_seconds=600, **fields)


# What each series may become. The first of each is defined at the start; some count otherwise than others.
FORMS: dict[str, list[Definition]] = {
    "Y": [
        definition("Y-{X}-{SEQ:1}-{YYYY}", dimensions={"X": LETTERS}, reset=Reset.YEARLY),
        definition("Y-{X}-{SEQ:2}-{YYYY}", dimensions={"X": LETTERS}, reset=Reset.YEARLY, max_value=12),
        definition("YY-{SEQ:1}-{YYYY}", reset=Reset.YEARLY, reuse=Reuse.GAPLESS),
        definition(
            "Y-{X}-{SEQ:1}-{YYYY}", dimensions={"X": B_ALONE}, reset=Reset.YEARLY, timezone="Asia/Bangkok", start=3
        ),
    ],
    "G": [
        definition("G-{SEQ:1}-{REV}", attributes=REV, reuse=Reuse.GAPLESS),
        definition("G-{SEQ:1}-{REV}", attributes=REV, reuse=Reuse.GAPLESS, description="the same", max_value=7),
        definition("G-{SEQ:2}", reuse=Reuse.NEVER, max_value=11),
        definition("G-{SEQ:1}-{REV}", attributes=A_ALONE, reuse=Reuse.GAPLESS, timezone="America/Los_Angeles"),
    ],
    "P": [
        definition("P-{X}-{K}-{SEQ:1}", dimensions={"X": LETTERS, "K": Dimension(chars="A-C", max=1)}),
        definition("P-{X}-{K}-{SEQ:1}", dimensions={"X": B_ALONE, "K": Dimension(chars="B-C", max=1)}, start=2),
        definition(
            "PR-{K}-{X}-{SEQ:1}-{YYYY}",
            dimensions={"X": LETTERS, "K": Dimension(chars="A-C", max=1)},
            reset=Reset.YEARLY,
            timezone="Pacific/Kiritimati",
        ),
        definition("P-{X}-{K}-{SEQ:1}-{REV}", dimensions={"X": LETTERS, "K": Dimension(values=("A",))}, attributes=REV),
    ],
    "D": [
        definition(DAILY, dimensions={"X": LETTERS}, reset=Reset.DAILY, date_order=DateOrder.PERIOD, manual=False),
        definition(DAILY, dimensions={"X": LETTERS}, reset=Reset.DAILY),
    ],
    "W": [
        definition("W{SEQ:1}", overflow=Overflow.WIDEN, start=5),
        definition("W{SEQ:1}", overflow=Overflow.WIDEN, max_value=12, start=0),
        definition("{YYYY}/W{SEQ:1}", overflow=Overflow.WIDEN, reset=Reset.YEARLY, start=3),
    ],
}  # fmt: skip

CODES = st.sampled_from([*FORMS, *FORMS, *FORMS, "NONE"])
DAYS = st.sampled_from([None, None, date(2025, 12, 31), date(2026, 1, 1), date(2024, 2, 29), date(2027, 1, 1)])
KEYS = st.sampled_from([{"X": "a"}, {"X": "b"}, {}, {"X": "c"}, {"X": "a", "K": "D"}])
PARTS = {"X": "ab", "K": "AB"}  # of keys that are mostly right
TTLS = st.sampled_from([60, 300, 600, 600, 601])
COUNTS = st.sampled_from([1, 1, 2, 3, 9])
PERIODS = st.sampled_from(["2024", "2025", "2026", "2027", "2026-01-01", "2026-01-02"])
VALUES = st.integers(0, 13)
SKIPS = st.sampled_from([None, 0, 2, 9, 20, 20, 20])
ACCEPTANCES = st.sampled_from([frozenset[Acceptance](), frozenset(Acceptance), frozenset(Acceptance)])
NUMBERS = [
    "Y-a-1-2025", "Y-a-4-2025", "Y-a-9-2025", "Y-b-01-2026", "YY-2-2025", "G-1-B", "G-5-B", "G-8-B", "G-07",
    "D-a-20251231-3", "W0", "W7", "W11", "2025/W4", "X", "P-a-A-2", "P-b-C-3", "PR-A-a-4-2025", "P-a-A-3-A",
]  # fmt: skip


TRIED = (
    DefineSeries, AdjustMaximum, RetireSeries, ReopenSeries, Assign, AdjustSequence, OpenPeriod, ResetSequence,
    ClosePeriod, ReopenPeriod,
)  # fmt: skip

Judge = Callable[[Model], object]
Asked = tuple[Command, Judge]


class Timed:
    """A store whose transactions go by the test's clock: MariaDB's own cannot be moved."""

    def __init__(self, store: Store, clock: Time) -> None:
        self._store = store
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def head_and_now(self) -> tuple[Head, int]:
        return await self._store.head(), self._clock.now()

    async def begin(self) -> Any:
        transaction = await self._store.begin()
        return TimedTransaction(transaction, self._clock.now())

    async def now(self) -> int:
        return self._clock.now()


class TimedTransaction:
    def __init__(self, transaction: Any, now: int) -> None:
        self._transaction = transaction
        self.now = now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)


class Machine(RuleBasedStateMachine):
    """`open_stores` is set by the tests: it gives the stores of one run."""

    open_stores: Callable[[], Coroutine[Any, Any, Sequence[Store]]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Time(START)
        self.model = Model()
        self.model.pass_time(START)
        self.stores: Sequence[Store] = []
        self.ledgers: list[Ledger] = []
        self.commands = 0
        self.last: tuple[Command, Envelope] | None = None
        self.counts: dict[str, dict[ValueState, int]] = {}
        self.acknowledged: list[Outcome] = []
        self.audit = Examination("")

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.run(self._begin())
        for code, forms in FORMS.items():
            self.define(code, forms[0])

    async def _begin(self) -> None:
        self._serve(await type(self).open_stores())
        self.audit = Examination((await self.stores[0].head()).ledger_id)

    def _serve(self, stores: Sequence[Store]) -> None:
        self.stores, self.ledgers = stores, []
        for store in stores:
            timed: Any = Timed(store, self.clock)
            self.ledgers.append(Ledger(timed, clock=self.clock, ids=RandomIds(), spawn=spawn, aside=aside))
            self.ledgers[-1].writer.start()

    def teardown(self) -> None:
        try:
            self.run(self._check())
        finally:
            self.run(self._end())
            self.runner.close()

    async def _stop(self) -> None:
        for ledger in self.ledgers:
            await ledger.writer.stop()

    async def _end(self) -> None:
        await self._stop()
        for store in self.stores:
            await store.close()

    # Asking the model and all ledgers

    def ask(self, command: Command, judge: Callable[[Model], object]) -> list[Outcome] | None:
        """Carry out a command; gives what each ledger did, or None when all refused as the model does."""
        (answers,) = self.ask_all([command], [judge])
        return answers

    def ask_all(self, commands: list[Command], judges: list[Callable[[Model], object]]) -> list[list[Outcome] | None]:
        """Carry out commands one by one, all at once: later ones see what those before them did."""
        envelopes = [self.envelope() for _ in commands]
        given = list(zip(commands, envelopes, strict=True))
        before = self.heads()
        trial = self.run(self.tried(commands[0])) if len(commands) == 1 and isinstance(commands[0], TRIED) else None
        assert self.heads() == before, "a dry run moved the log's head"
        told = [self.run(ledger.execute_each(given)) for ledger in self.ledgers]
        if trial is not None:
            self.check_trial(trial, told[0][0])
        results: list[list[Outcome] | None] = []
        for index, judge in enumerate(judges):
            answers = [each[index] for each in told]
            results.append(self.judged(judge, answers))
            if results[-1]:
                self.last = given[index]
        if not any(results):
            assert self.heads() == before, "a refused command moved the log's head"
        return results

    async def tried(self, command: Command) -> Trial | Rejection:
        """Try a command out, which changes nothing; keeps how many values each sequence has in each state."""
        ledger = self.ledgers[0]
        before = dump(await ledger.writer.fresh())
        self.counts = counts_of(ledger.state)
        try:
            (trial,) = await ledger.try_out([command])
        except Rejection as rejection:
            return rejection
        finally:
            assert dump(ledger.state) == before
        return trial

    def check_trial(self, trial: Trial | Rejection, answer: Outcome | Rejection) -> None:
        """What a dry run told is what the command did, or what it needed."""
        if isinstance(trial, Rejection):
            assert isinstance(answer, Rejection)
            assert (trial.code, trial.detail) == (answer.code, answer.detail)
            return
        if isinstance(answer, Rejection):
            assert answer.members["needs"] == trial.needs.told() != {}
            assert answer.members["effect"] == trial.effect.told()
            return
        assert trial.needs == Needs()
        assert list(map(written, trial.events)) == list(map(written, answer.events))
        state = self.ledgers[0].state
        changed = {id: counts for id, counts in counts_of(state).items() if counts != self.counts.get(id)}
        assert changed.keys() <= {each.sequence for each in trial.effect.sequences}
        for told in trial.effect.sequences:
            sequence = state.sequence(told.sequence)
            assert sequence is not None
            assert told.begins == (told.sequence not in self.counts)
            assert (told.high_water[1], told.closed[1]) == (sequence.high_water, sequence.closed)
            assert told.left[1] == left_in(state, sequence, self.clock.now())
            skipped = [*values_of(told.skipped)]
            assert {sequence.state_of(value) for value in skipped} <= {ValueState.SKIPPED}
            before = self.counts.get(told.sequence, {})
            taken = isinstance(answer.events[-1], NumberAssigned | NumbersImported)
            more = sequence.counts().get(ValueState.SKIPPED, 0) - before.get(ValueState.SKIPPED, 0)
            assert taken or more == len(skipped) + told.skipped_by_restores

    def judged(self, judge: Callable[[Model], object], answers: list[Any]) -> list[Outcome] | None:
        trial, codes = copy.deepcopy(self.model), tuple[str, ...]()
        try:
            judge(trial)
        except Refused as refused:
            codes = refused.codes
        for answer in answers:
            told = (answer.code.number,) if isinstance(answer, Rejection) else ()
            assert set(told) <= set(codes), f"the ledger says {answer!r}, and the model {codes}"
            assert bool(told) == bool(codes), f"the ledger says {answer!r}, and the model {codes}"
        if codes:
            return None
        if any(answer.entries for answer in answers):
            trial.recorded = trial.now
        self.model = trial
        self.acknowledged += answers[:1]
        return answers

    def envelope(self) -> Envelope:
        self.commands += 1
        return Envelope(self.commands.to_bytes(32, "big"), "tester", None, None, f"key-{self.commands}", "body")

    def heads(self) -> list[tuple[int, bytes]]:
        async def look() -> list[Head]:
            return [await store.head() for store in self.stores]

        return [(head.position, head.hash) for head in self.run(look())]

    def token(self) -> str:
        self.commands += 1
        return f"{self.commands:032x}"

    def hold(self, data: st.DataObject) -> None:
        """Reserve something, if nothing is held."""
        if not any(held.values for held in self.model.held.values()):
            self.reserve(data)

    def some_token(self, data: st.DataObject) -> str:
        """Mostly one that holds something."""
        held = [token for token, each in self.model.held.items() if each.values]
        return data.draw(st.sampled_from([*held, *held, *held, *self.model.held, "0" * 32]), label="token")

    def some_sequence(self, data: st.DataObject) -> str:
        return data.draw(
            st.sampled_from([*self.model.sequences, "Y:a:2025", "G:-", "Y:a", "D:b:2026-01-01", "W:-", "P:a:A:-"]),
            label="sequence",
        )

    def some_number(self, data: st.DataObject) -> str:
        """Mostly one that was given out."""
        given = sorted({each.number for one in self.model.sequences.values() for each in one.prints.values()})
        made = st.sampled_from(NUMBERS)
        number: str = data.draw(st.one_of(*[st.sampled_from(given)] * 2, made) if given else made, label="number")
        return number

    # What can be asked: a command, and how the model judges it

    def define(self, code: str, made: Definition) -> None:
        self.ask(*self.defining(code, made))

    def defining(self, code: str, made: Definition) -> Asked:
        series = Series.define(code, made)
        return DefineSeries((series,)), lambda model: model.define(code, series.definition, series.max_value)

    def amending(self, data: st.DataObject) -> Asked:
        code, form = data.draw(st.sampled_from(list(FORMS))), data.draw(st.integers(0, 3))
        return self.defining(code, FORMS[code][form % len(FORMS[code])])

    def adjusting_the_maximum(self, data: st.DataObject) -> Asked:
        code, max_value = data.draw(CODES), data.draw(st.sampled_from([3, 5, 9, 11, 99, 100]))
        return AdjustMaximum(code, max_value, REASON), lambda model: model.maximum(code, max_value)

    def retiring(self, data: st.DataObject) -> Asked:
        code, accept = data.draw(CODES), data.draw(ACCEPTANCES)
        return RetireSeries(code, REASON, accept), lambda model: model.retire(code, accepted(accept))

    def reopening_the_series(self, data: st.DataObject) -> Asked:
        code = data.draw(st.sampled_from([*self.model.retired, *self.model.retired, *FORMS, "NONE"]))
        return ReopenSeries(code, REASON), lambda model: model.reopen_series(code)

    def reserving(self, data: st.DataObject) -> tuple[Reserve, Judge]:
        code, count, ttl, day = data.draw(CODES), data.draw(COUNTS), data.draw(TTLS), data.draw(DAYS)
        versions = self.model.versions.get(code)
        key = data.draw(KEYS)
        if versions and data.draw(st.integers(0, 9)):
            which = data.draw(st.sampled_from([0, 1]))
            key = {name: PARTS[name][which] for name in versions[-1].key}
        rev = data.draw(st.sampled_from([None, None, "B"]))
        token = self.token()
        command = Reserve(code, token, key, count, ttl, document_date=day, attributes={"REV": rev} if rev else {})
        return command, lambda model: model.reserve(code, token, key, count, ttl, day, rev)

    def issuing(self, data: st.DataObject) -> Asked:
        reserve, reserved = self.reserving(data)

        def judge(model: Model) -> None:
            reserved(model)
            model.confirm(reserve.token, "DOC", None, release_rest=True)

        return Issue(reserve, "DOC"), judge

    def confirming(self, data: st.DataObject) -> Asked:
        token, release_rest = self.some_token(data), data.draw(st.booleans())
        numbers = None
        if data.draw(st.booleans()):
            held = self.model.held.get(token)
            prints = self.model.sequences[held.sequence].prints if held else {}
            numbers = [prints[value].number for value in held.values[:1]] if held else ["G-1-A"]
        choices = None if numbers is None else tuple(map(Choice, numbers))
        command = Confirm(token, "DOC", choices, release_rest)
        return command, lambda model: model.confirm(token, "DOC", numbers, release_rest=release_rest)

    def extending(self, data: st.DataObject) -> Asked:
        token, ttl = self.some_token(data), data.draw(TTLS)
        return Extend(token, ttl), lambda model: model.extend(token, ttl)

    def cancelling(self, data: st.DataObject) -> Asked:
        token = self.some_token(data)
        return Cancel(token, REASON), lambda model: model.cancel(token)

    def assigning(self, data: st.DataObject) -> Asked:
        number, max_skipped = self.some_number(data), data.draw(SKIPS)
        command = Assign(number, "HAND", REASON, max_skipped=max_skipped)
        return command, lambda model: model.assign(number, "HAND", max_skipped)

    def voiding(self, data: st.DataObject) -> Asked:
        number, token, replace = self.some_number(data), self.token(), data.draw(st.booleans())
        reason = data.draw(st.sampled_from([REASON, REASON, "short"]))
        command = Void(number, reason, token, replace)
        return command, lambda model: model.void(number, reason, token, replace=replace)

    def linking(self, data: st.DataObject) -> Asked:
        number, document = self.some_number(data), data.draw(st.sampled_from(["DOC", "LATE", "LATER"]))
        return Link(number, document, REASON), lambda model: model.link(number, document)

    def adjusting(self, data: st.DataObject) -> Asked:
        id, next_value, max_skipped = self.some_sequence(data), data.draw(VALUES), data.draw(SKIPS)
        command = AdjustSequence(id, next_value, REASON, max_skipped)
        return command, lambda model: model.adjust(id, next_value, max_skipped)

    def opening(self, data: st.DataObject) -> Asked:
        code, period, key = (
            data.draw(CODES),
            data.draw(PERIODS),
            data.draw(st.sampled_from([None, {"X": "a"}, {"X": "b", "K": "A"}])),
        )
        accept = data.draw(ACCEPTANCES)
        command = OpenPeriod(code, period, key, REASON, accept)
        return command, lambda model: model.open_period(code, period, key, accepted(accept))

    def resetting(self, data: st.DataObject) -> Asked:
        id, accept = self.some_sequence(data), data.draw(ACCEPTANCES)
        return ResetSequence(id, None, REASON, accept), lambda model: model.reset(id, accepted(accept))

    def closing(self, data: st.DataObject) -> Asked:
        id, accept = self.some_sequence(data), data.draw(ACCEPTANCES)
        return ClosePeriod(id, REASON, accept), lambda model: model.close(id, accepted(accept))

    def reopening(self, data: st.DataObject) -> Asked:
        """Mostly one that is closed."""
        closed = [id for id, each in self.model.sequences.items() if each.closed]
        id = data.draw(st.sampled_from(closed * 3)) if closed else self.some_sequence(data)
        return ReopenPeriod(id, REASON), lambda model: model.reopen(id)

    # What is asked

    @rule(data=st.data())
    def amend(self, data: st.DataObject) -> None:
        self.ask(*self.amending(data))

    @rule(data=st.data())
    def adjust_maximum(self, data: st.DataObject) -> None:
        self.ask(*self.adjusting_the_maximum(data))

    @rule(data=st.data(), rarely=st.integers(0, 15))
    def retire(self, data: st.DataObject, rarely: int) -> None:
        if not rarely:
            self.ask(*self.retiring(data))

    @precondition(lambda self: self.model.retired)
    @rule(data=st.data())
    def reopen_series(self, data: st.DataObject) -> None:
        self.ask(*self.reopening_the_series(data))

    @rule(data=st.data())
    def reserve(self, data: st.DataObject) -> None:
        self.ask(*self.reserving(data))

    @rule(data=st.data())
    def issue(self, data: st.DataObject) -> None:
        self.ask(*self.issuing(data))

    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        self.hold(data)
        self.ask(*self.confirming(data))

    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        self.hold(data)
        self.ask(*self.extending(data))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.hold(data)
        self.ask(*self.cancelling(data))

    @rule(seconds=st.sampled_from([30, 301, 3_700, 86_400, -20]))
    def let_time_pass(self, seconds: int) -> None:
        """The batch of the refused command, which goes by the new time, expires what is due.

        A clock that is set back stays within the tolerance, as NTP would keep it: the log then keeps the last time.
        """
        if seconds < 0 and self.clock.now() < self.model.now:
            return
        self.clock.advance(seconds)
        for ledger in self.ledgers:
            ended = self.run(ledger.execute_each([(Cancel("f" * 32), Envelope(bytes(32), "tester"))]))
            assert isinstance(ended[0], Rejection)
        self.model.pass_time(self.clock.now())

    @rule(data=st.data())
    def assign(self, data: st.DataObject) -> None:
        self.ask(*self.assigning(data))

    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        self.ask(*self.voiding(data))

    @rule(data=st.data())
    def link(self, data: st.DataObject) -> None:
        self.ask(*self.linking(data))

    @rule(data=st.data(), code=st.sampled_from(list(FORMS)), skip_bad=st.booleans())
    def take_over(self, data: st.DataObject, code: str, skip_bad: bool) -> None:
        max_skipped = data.draw(SKIPS)
        numbers = [self.some_number(data) for _ in range(data.draw(st.integers(1, 3)))]
        envelope, before = self.envelope(), self.heads()
        how: Any = {"skip_bad": skip_bad, "max_skipped": max_skipped}
        answers = [self.run(self._import(ledger, code, numbers, how, envelope)) for ledger in self.ledgers]
        if not self.judged(lambda model: model.take_over(code, numbers, **how), answers):
            assert self.heads() == before

    async def _import(self, ledger: Ledger, code: str, numbers: list[str], how: Any, envelope: Envelope) -> Any:
        register = await ledger.register([code])
        for line, number in enumerate(numbers, 1):
            register.add(line, number)
        await ledger.drop_held(register)
        (ended,) = await ledger.execute_each([(register.command(**how), envelope)])
        return ended

    @rule(data=st.data())
    def adjust(self, data: st.DataObject) -> None:
        self.ask(*self.adjusting(data))

    @rule(data=st.data())
    def open_period(self, data: st.DataObject) -> None:
        self.ask(*self.opening(data))

    @rule(data=st.data())
    def reset(self, data: st.DataObject) -> None:
        self.ask(*self.resetting(data))

    @rule(data=st.data(), rarely=st.integers(0, 2))
    def close(self, data: st.DataObject, rarely: int) -> None:
        if not rarely:
            self.ask(*self.closing(data))

    @precondition(lambda self: any(each.closed for each in self.model.sequences.values()))
    @rule(data=st.data())
    def reopen(self, data: st.DataObject) -> None:
        self.ask(*self.reopening(data))

    @rule(data=st.data(), rarely=st.integers(0, 3))
    def fence(self, data: st.DataObject, rarely: int) -> None:
        """As a restore does, which gives the command to the log that it has restored."""
        if not rarely:
            margin = data.draw(st.sampled_from([1, 1, 2, 4]))
            named = data.draw(st.lists(st.tuples(CODES, PERIODS), max_size=2).map(tuple))
            margins = data.draw(st.dictionaries(CODES, st.integers(0, 3), max_size=2))
            command = Fence(0, 0, margin, REASON, named, tuple(margins.items()))
            self.ask(command, lambda model: model.fence(margin, named, margins))

    @rule(code=CODES, rarely=st.integers(0, 4))
    def close_and_open_the_ledger(self, code: str, rarely: int) -> None:
        """In between nothing is written, and nothing expires."""
        if rarely:
            return
        closing, opening = CloseLedger(("/srv/archive",), REASON), OpenLedger(("/srv/archive",), (), REASON)
        self.ask(closing, lambda _: None)
        self.ask(Reserve(code, "refused"), refused_as_closed)
        self.ask(opening, lambda _: None)

    # Many at once, and again

    @rule(data=st.data(), atomic=st.booleans())
    def batch(self, data: st.DataObject, atomic: bool) -> None:
        kinds = [
            self.reserving, self.reserving, self.issuing, self.issuing, self.confirming, self.extending,
            self.cancelling, self.assigning, self.adjusting, self.opening, self.resetting, self.closing, self.amending,
            self.reopening,
            self.adjusting_the_maximum,
        ]  # fmt: skip
        if not atomic:  # an atomic batch cannot correct what it gives out itself
            kinds += self.voiding, self.linking, self.linking
        chosen = data.draw(st.lists(st.sampled_from(kinds), min_size=2, max_size=4))
        asked: list[Asked] = [kind(data) for kind in chosen]
        commands, judges = [command for command, _ in asked], [judge for _, judge in asked]
        if not atomic:
            self.ask_all(commands, judges)
            return
        envelope, parts = self.envelope(), [(command, self.envelope()) for command in commands]
        before = self.heads()
        answers = [self.run(answered(ledger.execute_together(parts, envelope))) for ledger in self.ledgers]
        if not self.judged(lambda model: [judge(model) for judge in judges], answers):
            assert self.heads() == before, "an atomic batch that was refused moved the log's head"

    @precondition(lambda self: self.last is not None)
    @rule()
    def send_the_last_again(self) -> None:
        assert self.last is not None
        before = self.heads()
        for ledger in self.ledgers:
            (again,) = self.run(ledger.execute_each([self.last]))
            assert isinstance(again, Outcome)
            assert again.replayed or not again.entries
        assert self.heads() == before

    # What must be true

    @invariant()
    def states_are_the_model_s(self) -> None:
        for ledger in self.ledgers:
            found = {each.id: states_of(each) for each in ledger.state.sequences()}
            assert found == {each.id: each.states for each in self.model.sequences.values()}

    @invariant()
    def an_auditor_accepts_what_was_written(self) -> None:
        """All that the first store holds; in the end the others hold the same bytes, and all of them are audited."""
        if self.stores:
            rows = self.run(self.stores[0].events(after=self.audit.position, limit=1_000_000))
            found = self.audit.take(rows) or self.audit.finish()
            assert found is None, f"position {self.audit.flawed} is not legal: {found}"

    async def _check(self) -> None:
        logs: list[list[Record]] = []
        for store, ledger in zip(self.stores, self.ledgers, strict=True):
            await check_store(store)
            logs.append((await read_log(store))[0])
            events = list(map(decode, logs[-1]))
            for sequence in self.model.sequences.values():
                await self._check_account(ledger, sequence)
                await self._check_numbers(
                    ledger, sequence, [each for each in events if sequence_of(each) == sequence.id]
                )
        bodies = [[record.body for record in log] for log in logs]
        assert all(each == bodies[0] for each in bodies), "the stores hold different logs"

    async def _check_account(self, ledger: Ledger, sequence: Seq) -> None:
        """Every value has one state, and the event that put it there."""
        found = await ledger.accounting(sequence.id, first=None, states=list(ValueState), limit=1000)
        accounts, closed = found[2].accounts(), found[3]
        told = {value: one for one in accounts for value in range(one.first, one.last + 1)}
        assert {value: one.state.value for value, one in told.items()} == sequence.states
        for one in told.values():
            assert one.cause.event in CAUSES[one.state], one
            assert one.cause.actor in ("tester", "ledger"), one
        frozen = closed[0].accounting if closed else ()
        assert {value: state.value for state, ranges in frozen for value in values_of(ranges)} == sequence.frozen

    async def _check_numbers(self, ledger: Ledger, sequence: Seq, events: list[Entry]) -> None:
        for value, printed in sequence.prints.items():
            told = await ledger.number(printed.number)
            assert [step.cause.position for step in told.steps] == [
                each.position for each in events if any(value in values_of(of) for of in told_by(each))
            ]
            assert (told.state.value, told.reading.value) == (sequence.states[value], value)
            assert told.printed
            assert told.printed.date_is_derived == printed.is_derived
            documents = [(step.state.value, step.original.document) for step in told.steps if step.original]
            is_confirmed = told.state.value in ("CONFIRMED", "VOIDED")
            confirmed = [document for state, document in documents if state == "CONFIRMED"]
            assert confirmed[-1:] == ([printed.document] if is_confirmed else [])
            assert confirmed[1:] == printed.linked
            assert not any(document for state, document in documents if state != "CONFIRMED")
            by = self.model.replaced_by.get((sequence.id, value))
            assert told.replaced_by == (self.model.sequences[by[0]].prints[by[1]].number if by else None)
            back = [old for old, new in self.model.replaced_by.items() if new == (sequence.id, value)]
            assert told.replaces == (self.model.sequences[back[0][0]].prints[back[0][1]].number if back else None)


def refused_as_closed(_: Model) -> None:
    raise Refused("NB076")


class Restored(Machine):
    """The same, with restores from archives, up to `most` of them and one at last; `directory` takes the archives."""

    most: int
    directory: Path

    def __init__(self) -> None:
        super().__init__()
        self.restores = 0

    @precondition(lambda self: self.restores < self.most)
    @rule(data=st.data(), margin=st.sampled_from([1, 1, 2, None]))
    def restore(self, data: st.DataObject, margin: int | None) -> None:
        """Without a margin, by the one that a restore computes."""
        self.restored(margin, data.draw(st.lists(st.tuples(CODES, PERIODS), max_size=2).map(tuple)))

    def restored(self, margin: int | None, opened: tuple[tuple[str, str], ...] = ()) -> None:
        """Go on with what was restored from an archive of each ledger, behind a fence."""
        self.restores += 1
        plan = Plan("tester", REASON, margin=margin, opened=opened)
        margins = self.run(self._restore(plan))
        assert len(set(margins)) == 1
        assert margins[0] == (margin or margins[0])
        self.model.fence(margins[0], opened, {})
        self.model.recorded = self.model.now

    async def _restore(self, plan: Plan) -> list[int]:
        lost, margins = self.stores, []
        await self._stop()
        stores, ids = await type(self).open_stores(), SameIds(self.envelope().command_id)
        for old, new in zip(lost, stores, strict=True):
            source, timed = await self._archived(old), cast(SqlStore, Timed(new, self.clock))
            done = await restore(source, timed, plan, clock=self.clock, ids=ids)
            assert done.margin
            margins.append(done.margin)
            await old.close()
        self._serve(stores)
        for ledger in self.ledgers:
            await ledger.writer.fresh()
        return margins

    @precondition(lambda self: self.restores < self.most)
    @rule(data=st.data(), margin=st.sampled_from([1, 2, None]))
    def resume(self, data: st.DataObject, margin: int | None) -> None:
        """An operator accepts that events are lost: the same processes go on, with the same databases, fenced."""
        self.restores += 1
        opened = data.draw(st.lists(st.tuples(CODES, PERIODS), max_size=2).map(tuple))
        ids = [self.envelope().command_id for _ in range(2)]
        plan = Plan("tester", REASON, margin=margin, opened=opened)
        margins = [self.run(self._resumed(store, plan, SameIds(*ids))) for store in self.stores]
        assert len(set(margins)) == 1
        for ledger in self.ledgers:
            self.run(ledger.writer.fresh())
        self.model.fence(margins[0], opened, {})
        self.model.recorded = self.model.now

    async def _resumed(self, store: Store, plan: Plan, ids: RandomIds) -> int:
        source = DatabaseSource(cast(SqlStore, timed := Timed(store, self.clock)))
        transaction = await store.begin()
        await transaction.stop(Stop(StopKind.LOG_FORKED, "the log has another event", 1, bytes(32)))
        await transaction.commit()
        (found,) = await judged(cast(Store, timed), beside := Beside(Clocks(self.clock)))
        assert (found.way, found.is_fenced) == (Way.ACCEPT, True)
        fence = (await foresee(source, plan, clock=self.clock)).fence
        assert fence
        reader = Reader(store)
        await reader.fresh()
        assert reader.fold is not None
        acceptance = AcceptedStops([found.stop], plan.actor, plan.reason, fence)
        await accept(cast(Store, timed), reader.fold, acceptance, beside, ids)
        return fence.margin

    async def _archived(self, store: Store) -> ArchiveSource:
        """Archive a ledger, and verify what the archive holds."""
        directory = self.directory / uuid4().hex
        await archive(DatabaseSource(cast(SqlStore, Timed(store, self.clock))), directory, lambda *_: None)
        source = ArchiveSource(directory)
        report = await verify(source, [])
        assert not report.flaws, report.flaws
        return source

    def teardown(self) -> None:
        """Restore at last, as an operator does who knows no better; go on, and be audited again."""
        try:
            if self.stores:
                self.restored(None)
                self.go_on()
                self.an_auditor_accepts_what_was_written()
                self.run(self._verify())
        finally:
            super().teardown()

    def go_on(self) -> None:
        """Issue a number for a key of each series, and close every sequence."""
        for code, versions in self.model.versions.items():
            key, token = {name: PARTS[name][1] for name in versions[-1].key}, self.token()
            self.ask(Reserve(code, token, key, 1, 60), partial(reserved, code=code, token=token, key=key))
        for token in [token for token, held in self.model.held.items() if held.values]:
            self.ask(Confirm(token, "DOC"), partial(confirmed, token=token))
        for id in list(self.model.sequences):
            self.ask(ClosePeriod(id, REASON), partial(Model.close, id=id))

    async def _verify(self) -> None:
        """Verify what stands in the databases, with their tables."""
        for store in self.stores:
            if isinstance(store, SqlStore):
                report = await verify(DatabaseSource(store))
                assert not report.flaws, report.flaws


def reserved(model: Model, code: str, token: str, key: Mapping[str, str]) -> None:
    model.reserve(code, token, key, 1, 60, None, None)


def confirmed(model: Model, token: str) -> None:
    model.confirm(token, "DOC", None, release_rest=True)


class SameIds(RandomIds):
    """Ids that are the same for every store of a step, one for each of its commands."""

    def __init__(self, *command_ids: bytes) -> None:
        super().__init__()
        self._command_ids = cycle(command_ids)

    def command_id(self) -> bytes:
        return next(self._command_ids)


CAUSES = {
    ValueState.RESERVED: {"NumbersReserved"},
    ValueState.CONFIRMED: {"NumbersConfirmed", "NumberAssigned", "NumbersImported"},
    ValueState.VOIDED: {"NumberVoided"},
    ValueState.CANCELLED: {"ReservationCancelled", "NumbersConfirmed"},
    ValueState.EXPIRED: {"ReservationExpired"},
    ValueState.SKIPPED: {
        "SequenceAdjusted",
        "NumberAssigned",
        "NumbersImported",
        "SequenceFenced",
        "ReservationFenced",
    },
    ValueState.PRE_CONTROL: {"NumbersImported", "StartLowered"},
}


def written(event: Event) -> bytes:
    """Write an event as the log would, but for its place there."""
    return encode(Entry(1, event, Envelope(bytes(32), "tester"), 0, 0), bytes(32)).body


def counts_of(state: State) -> dict[str, dict[ValueState, int]]:
    return {each.id: each.counts() for each in state.sequences()}


def accepted(accept: frozenset[Acceptance]) -> list[str]:
    return [each.value.partition("_")[0] for each in accept]


def sequence_of(entry: Entry) -> str | None:
    return entry.event.sequence


def told_by(entry: Entry) -> list[Ranges]:
    """Give the values that an event tells of: a link changes no state."""
    return [*(ranges for _, ranges in entry.event.changes), entry.event.linked]


def states_of(sequence: Any) -> dict[int, str]:
    return {value: state.value for low, high, state in sequence.ranges(0) for value in range(low, high + 1)}


async def answered(work: Coroutine[Any, Any, Outcome]) -> Outcome | Rejection:
    try:
        return await work
    except Rejection as rejection:
        return rejection


def run(
    open_stores: Callable[[], Coroutine[Any, Any, Sequence[Store]]],
    directory: Path,
    *,
    examples: int,
    steps: int,
    restores: int,
    phases: Sequence[Phase],
) -> None:
    members = {"open_stores": staticmethod(open_stores), "directory": directory, "most": restores}
    run_state_machine_as_test(
        type("Run", (Restored,), members),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_memory_does_as_the_model(tmp_path: Path) -> None:
    async def stores() -> Sequence[Store]:
        return [MemoryStore(MemoryLog("test"))]

    run(
        stores,
        tmp_path,
        examples=rounds(35, thorough=300),
        steps=40,
        restores=rounds(1, thorough=3),
        phases=(Phase.generate, Phase.shrink),
    )


def test_memory_and_sqlite_do_as_the_model(tmp_path: Path) -> None:
    numbers = iter(range(1_000_000))

    async def stores() -> Sequence[Store]:
        file = tmp_path / f"{next(numbers)}.db"
        shutil.copy(empty_sqlite(), file)
        return [MemoryStore(MemoryLog("test")), open_store(f"sqlite+aiosqlite:///{file}")]

    run(
        stores,
        tmp_path,
        examples=rounds(8, thorough=40),
        steps=30,
        restores=rounds(1, thorough=2),
        phases=(Phase.generate, Phase.shrink),
    )


def test_mariadb_does_as_the_model(mariadb: MariaDB, tmp_path: Path) -> None:
    async def stores() -> Sequence[Store]:
        made = mariadb_ledger(mariadb)
        return [MemoryStore(MemoryLog("test")), made.open()]

    # Shrinking would make hundreds of schemas.
    run(stores, tmp_path, examples=rounds(2, thorough=6), steps=40, restores=1, phases=(Phase.generate,))
