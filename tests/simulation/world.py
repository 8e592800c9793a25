"""One run: two processes on one database, clients that ask them, chaos, and at the end peace and every invariant.

`run_seed(seed)` is the whole of it. All that happens is drawn from the seed, so a seed that fails fails again, step by
step.
"""

import asyncio
import contextlib
import json
import logging
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from ledger.codec import encode
from ledger.domain.commands import MAX_COUNT, Command, Issue, Reserve, Void
from ledger.domain.events import NumbersReserved
from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import ValueState
from ledger.domain.series import Reuse
from ledger.domain.state import State
from ledger.ports import Fault, Record
from ledger.writer import Outcome
from projections.mirror.stream import Entry
from tests.invariants import Model, check_log
from tests.simulation.clients import PATIENCE_SECONDS, SERIES, Client, Desk, Intent, define, numbers_of
from tests.simulation.database import CALM, EPOCH, OUTAGES, SECOND, Database, Weather
from tests.simulation.loop import SimulatedLoop, run
from tests.simulation.mirror import MirrorServer
from tests.simulation.process import MAX_SKEW_SECONDS, Attempt, Process, draw_limits

__all__ = ["Result", "World", "dump", "run_seed"]

NAMES = ("A", "B")
CLIENTS = 5
OPERATIONS = 12
RECOVERY_SECONDS = 10.0  # from the end of all faults to the first success
MAX_OFFSET_SECONDS = 10.0  # by which the database's clock is wrong when it has not leapt
LEAPS_SECONDS = (-63_072_000.0, -3600.0, -70.0, 70.0, 3600.0, 63_072_000.0)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run left: its log, what it came through, and how long a client waited at most."""

    records: tuple[Record, ...]
    seen: Counter[str]
    steps: int
    seconds: float


class World:
    def __init__(self, seed: int | str, loop: SimulatedLoop) -> None:
        self.seed = seed
        self.loop = loop
        self.random = Random(f"{seed}/world")
        self.database = Database(Random(f"{seed}/database"), CALM)
        self.seen = self.database.seen
        self.mirror = MirrorServer(Random(f"{seed}/mirror"), self.seen)
        self.desk = Desk()
        self.limits = draw_limits(self.random)
        self.closing = False
        self.chaos: list[asyncio.Task[None]] = []
        self._started = Counter[str]()

    # Life

    async def run(self) -> None:
        self.start_processes()
        await self.define_series()
        self.database.weather = Weather.draw(self.random)
        self.mirror.draw_weather()
        self.start_chaos()
        await asyncio.gather(*(client.run() for client in self.clients()))
        await self.calm_down()
        await self.check()
        await self.close()

    def clients(self) -> list[Client]:
        seeds = [f"{self.seed}/client-{number}" for number in range(CLIENTS)]
        return [Client(f"client-{n}", self.desk, Random(seed), OPERATIONS) for n, seed in enumerate(seeds)]

    def start_processes(self) -> None:
        self.keepers = [self._start(self._keep(name), f"keeper {name}") for name in NAMES]

    async def define_series(self) -> None:
        for code in SERIES:
            await self.insist(lambda _: True, define(code, "operator", f"define-{code}"))

    async def insist(self, on: Callable[[Process], bool], intent: Intent) -> Outcome:
        """Ask a process in good weather until it has done what is asked, which must not take long."""
        deadline = self.loop.time() + RECOVERY_SECONDS
        while True:
            for process in filter(on, self.desk.up()):
                attempt, task = self.desk.ask(process, intent)
                await asyncio.wait([task])
                if attempt.outcome:
                    return attempt.outcome
            assert self.loop.time() < deadline, f"no success {RECOVERY_SECONDS} seconds after all faults: {intent}"
            await asyncio.sleep(0.1)

    async def _keep(self, name: str) -> None:
        """Have a process run under this name for as long as the world lasts."""
        while not self.closing:
            self._started[name] += 1
            seed = f"{self.seed}/{name}/{self._started[name]}"
            process = self.desk.processes[name] = Process(name, self.database, self.mirror, seed, self.limits)
            await process.gone()
            await asyncio.sleep(self.random.choice([0.0, min(self.random.expovariate(1.0), RECOVERY_SECONDS / 2)]))

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self.loop.create_task(work, name=name)
        task.add_done_callback(self._note_failure)
        return task

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception():
            self.loop.call_exception_handler({"message": task.get_name(), "exception": task.exception()})

    async def calm_down(self) -> None:
        for task in self.chaos:
            task.cancel()
        await asyncio.gather(*self.chaos, return_exceptions=True)
        self.database.heal()
        self.mirror.heal()
        await self.database.settled()

    async def close(self) -> None:
        self.closing = True
        await asyncio.gather(*(process.stop() for process in self.desk.up()))
        await asyncio.gather(*self.keepers)
        await self.database.settled()

    # Chaos

    def start_chaos(self) -> None:
        kinds = (
            self._crash,
            self._shut_down,
            self._break_down,
            self._step_clock,
            self._leap_clock,
            self._crash_between_steps,
            self.mirror.harm,
        )
        for kind in kinds:
            if self.random.random() < 0.5:
                self.chaos.append(self._start(self._now_and_then(kind), kind.__name__))

    async def _now_and_then(self, kind: Callable[[], Any]) -> None:
        mean_seconds = self.random.choice([1.0, 5.0, 15.0])
        while True:
            await asyncio.sleep(self.random.expovariate(1 / mean_seconds))
            doing = kind()
            if asyncio.iscoroutine(doing):
                await doing

    def _any(self) -> Process | None:
        up = self.desk.up()
        return self.random.choice(up) if up else None

    def _crash(self) -> None:
        process = self._any()
        if process is not None:
            process.crash()

    def _crash_between_steps(self) -> None:
        """Not when all wait, which is when timers fire, but in the middle of what is ready."""
        self.loop.call_at_step(self.loop.steps + self.random.randrange(200), self._crash)

    async def _shut_down(self) -> None:
        process = self._any()
        if process is not None:
            self.seen["shut down"] += 1
            await process.stop()

    async def _break_down(self) -> None:
        self.database.break_down(self.random.choice(OUTAGES))
        await asyncio.sleep(self.random.choice([0.1, 1.0, 1.0, 8.0, 8.0, 1.5 * PATIENCE_SECONDS]))
        self.database.outage = None

    def _step_clock(self) -> None:
        if self.random.random() < 0.5:
            self.database.set_clock(self.random.choice([-MAX_OFFSET_SECONDS, -1.0, 1.0, MAX_OFFSET_SECONDS]))
        for process in self.desk.up():
            process.clock.jump()

    async def _leap_clock(self) -> None:
        """Let the database's clock leap, and those of processes on its machine with it, that knew the right time."""
        seconds = self.random.choice(LEAPS_SECONDS)
        with_it = [each for each in self.desk.up() if each.knows_the_time and self.random.random() < 0.5]
        self.seen[f"{'machine' if with_it else 'database'} clock leapt"] += 1
        self.database.leap = seconds
        for process in with_it:
            process.clock.leap = seconds
        try:
            await asyncio.sleep(self.random.choice([0.1, 2.0, 10.0]))
        finally:
            self.database.leap = 0.0
            for process in with_it:
                process.clock.leap = 0.0

    # The end: what must be true

    async def check(self) -> None:
        for name in NAMES:
            await self._check_recovered(name)
        await self._check_mirrored()
        await self._check_expired()
        await self._check_repetitions()
        await self._check_states()
        records = list(self.database.log.records)
        outcomes = [attempt.outcome for _, attempt in self.desk.attempts if attempt.outcome]
        check_log(records, self.database.log.head, acknowledged=outcomes)
        self._check_dates(records)
        self._check_attempts(records)
        for _, attempt in self.desk.attempts:
            if isinstance(attempt.answer, Rejection):
                self._check_rejection(attempt, attempt.answer.code, records)
        self._check_no_number_twice(outcomes)
        self._note(records)

    async def _check_recovered(self, name: str) -> None:
        """A fresh command succeeds soon, on each process."""
        intent = Intent("issue", lambda ids: Issue(Reserve("NEVER", ids.token()), "fresh"), "operator")
        await self.insist(lambda process: process.name == name, intent)

    async def _check_mirrored(self) -> None:
        """The mirror holds the whole log, and every process knows."""
        await asyncio.sleep(RECOVERY_SECONDS)
        records = self.database.log.records
        held = [each._replace(mac=b"") for each in self.mirror.held.entries]
        assert held == [Entry(each.position, each.body, each.hash) for each in records]
        assert not [process.relay.status for process in self.desk.up() if process.relay.status.fallback_mode]

    async def _check_expired(self) -> None:
        """What is due is expired by itself, however wrong the processes' clocks are, and nobody asks for anything."""
        offset = max(0.0, self.database.now() / SECOND - self.loop.time() - EPOCH / SECOND)
        patience = MAX_SKEW_SECONDS + offset + 3 * self.limits.idle_seconds
        patience += self.limits.idle_seconds * len(self.database.log.records) / self.limits.sweep
        due_by = self.database.now()
        await asyncio.sleep(patience)
        fold = check_log(self.database.log.records, self.database.log.head)
        left = [reservation for reservation in fold.state.reservations() if reservation.expires_at <= due_by]
        assert not left, f"{len(left)} reservations are due and were not expired"

    async def _check_repetitions(self) -> None:
        """A retry of an acknowledged key changes nothing and gives the first answer, at every process."""
        for intent, outcome in self._acknowledged_keys():
            for name in NAMES:
                again = await self.insist(lambda process, name=name: process.name == name, intent)  # type: ignore[misc]
                assert again.replayed
                assert codes(again) == codes(outcome), f"{intent} was answered otherwise"

    def _acknowledged_keys(self) -> list[tuple[Intent, Outcome]]:
        first: dict[bytes, tuple[Intent, Outcome]] = {}
        for intent, attempt in self.desk.attempts:
            if attempt.outcome and attempt.outcome.entries and intent.key is not None:
                first.setdefault(attempt.envelope.command_id, (intent, attempt.outcome))
        return list(first.values())

    async def _check_states(self) -> None:
        """Both processes have folded the same state, and so does a fold from scratch."""
        for process in self.desk.up():
            state = await process.ledger.writer.fresh()
            records = self.database.log.records[: process.ledger.position]
            head = self.database.log.head._replace(
                position=records[-1].position, hash=records[-1].hash, recorded_at=records[-1].recorded_at
            )
            assert dump(state) == dump(check_log(records, head).state), f"{process.name} has folded another state"

    def _check_dates(self, records: list[Record]) -> None:
        """No event is dated by a clock that leapt."""
        for record, committed in zip(records, self.database.committed, strict=True):
            late = record.recorded_at / SECOND - EPOCH / SECOND - committed
            seconds = round(late, 5)  # instants are whole microseconds, and these are floats
            assert -RECOVERY_SECONDS - MAX_OFFSET_SECONDS <= seconds <= MAX_OFFSET_SECONDS, f"{late} s: {record}"

    def _check_attempts(self, records: list[Record]) -> None:
        """What each client was told is what the log says of that very request."""
        done: dict[str, list[int]] = {}
        for record in records:
            done.setdefault(json.loads(record.body).get("request_id", ""), []).append(record.position)
        for _, attempt in self.desk.attempts:
            positions = done.get(attempt.envelope.request_id or "", [])
            self._check_attempt(attempt, positions)

    def _check_attempt(self, attempt: Attempt, positions: list[int]) -> None:
        match attempt.answer:
            case Outcome(entries=entries, replayed=replayed):
                answered = [entry.position for entry in entries]
                assert positions == ([] if replayed else answered), f"{attempt} did {positions}"
                asked = attempt.envelope.fingerprint
                assert all(entry.envelope.fingerprint == asked for entry in entries), f"not what was asked: {attempt}"
            case Rejection(code=code) | Fault(code=code):
                assert code not in (Code.INTERNAL_ERROR, Code.LEDGER_STOPPED), f"{attempt}"
                assert code is Code.OUTCOME_UNKNOWN or not positions, f"{attempt} did {positions}"
            case None:
                pass

    def _check_rejection(self, attempt: Attempt, code: Code, records: list[Record]) -> None:
        """A rejection was true of the log at some moment while the client waited, and of nothing that never was."""
        assert attempt.answered_at is not None
        first = bisect_left(self.database.committed, attempt.asked_at)
        last = bisect_right(self.database.committed, attempt.answered_at)
        match code:
            case Code.IDEMPOTENCY_KEY_REUSED:
                assert attempt.envelope.command_id in {record.command_id for record in records[:last]}, attempt
            case Code.RESERVATION_CLOSED:
                token = getattr(attempt.command, "token", "")
                assert token not in Model.of(records[:last]).held(), f"was still open: {attempt}"
            case Code.SEQUENCE_EXHAUSTED:
                count = _count_of(attempt.command)
                free = (_free(Model.of(records[:position])) for position in range(first, last + 1))
                assert any(left < count for left in free), f"there was room: {attempt}"
            case _:
                assert code is not Code.RESERVATION_NOT_FOUND, attempt

    def _check_no_number_twice(self, outcomes: list[Outcome]) -> None:
        """Of the answers alone: no two reservations were ever given the same number of a series that reuses none."""
        owners: dict[str, str] = {}
        for outcome in outcomes:
            for event in (entry.event for entry in outcome.entries):
                if isinstance(event, NumbersReserved) and reuse_of(event) is Reuse.NEVER:
                    for number in numbers_of(event):
                        assert owners.setdefault(number, event.token) == event.token, f"{number} was given twice"

    def _note(self, records: list[Record]) -> None:
        """Count what the clients saw, to show that the run was worth it."""
        self.seen.update(record.type for record in records)
        for _, attempt in self.desk.attempts:
            if isinstance(attempt.answer, Rejection | Fault):
                self.seen[attempt.answer.code.name] += 1
            elif attempt.answer is None:
                self.seen["not answered"] += 1
            else:
                self._note_outcome(attempt, attempt.answer)

    def _note_outcome(self, attempt: Attempt, outcome: Outcome) -> None:
        self.seen["answered again" if outcome.replayed else "answered"] += 1
        took_effect = self.database.doubted.get(attempt.envelope.command_id)
        if took_effect is not None and not outcome.replayed:
            self.seen["doubt: was there" if took_effect else "doubt: done again"] += 1


def _count_of(command: Command) -> int:
    match command:
        case Reserve(count=count) | Issue(reserve=Reserve(count=count)):
            return count
        case _:
            assert isinstance(command, Void)
            return 1  # the replacement


def _free(model: Model) -> int:
    """How many values the scarce series has left."""
    sequence = model.sequences.get("SCARCE:-")
    return SERIES["SCARCE"].max_value - sequence.high_water + len(sequence.released) if sequence else MAX_COUNT


def codes(outcome: Outcome) -> list[tuple[int, bytes]]:
    """Compare outcomes by what the log says of them; series have no equality of their own."""
    return [(entry.position, encode(entry, b"").body) for entry in outcome.entries]


def reuse_of(event: NumbersReserved) -> Reuse:
    return SERIES[event.numbering.series].definition.reuse


def dump(state: State) -> dict[str, Any]:
    """Everything that a state knows, to compare with ==."""
    return {
        "series": [(series.code, series.version, series.definition) for series in state.all_series()],
        "sequences": {
            sequence.id: (
                sequence.series,
                sequence.key,
                sequence.period,
                sequence.start,
                sequence.high_water,
                {value_state.value: sequence.values_in(value_state) for value_state in ValueState},
            )
            for sequence in state.sequences()
        },
        "reservations": {reservation.token: reservation for reservation in state.reservations()},
    }


class _Failures(logging.Handler):
    """The writer reports a bug of its own in the service's log alone; here it fails the run."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


@contextlib.contextmanager
def watched_log() -> Iterator[None]:
    log, failures = logging.getLogger("ledger"), _Failures()
    level, propagates = log.level, log.propagate
    log.addHandler(failures)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(failures)
        log.setLevel(level)
        log.propagate = propagates
    assert not failures.found, failures.found


def run_seed(seed: int | str) -> Result:
    loop = SimulatedLoop(Random(f"{seed}/loop"))
    world = World(seed, loop)
    with watched_log():
        run(loop, world.run())
    return Result(tuple(world.database.log.records), world.seen, loop.steps, loop.time())
