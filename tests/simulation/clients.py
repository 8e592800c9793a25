"""Clients: they ask for all that can be done, lose patience, ask again with the same key, and remember."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import sha256
from random import Random

from ledger.codec import command_id
from ledger.domain.acceptance import Acceptance
from ledger.domain.calendar import Reset
from ledger.domain.commands import (
    AdjustSequence,
    Assign,
    Cancel,
    Choice,
    ClosePeriod,
    Command,
    Confirm,
    DefineSeries,
    Envelope,
    Extend,
    Issue,
    Link,
    ReopenPeriod,
    ReopenSeries,
    Reserve,
    RetireSeries,
    Void,
)
from ledger.domain.events import NumbersReserved
from ledger.domain.ranges import values_of
from ledger.domain.rejection import Rejection
from ledger.domain.series import Definition, Dimension, Reuse, Series
from ledger.ports import Fault, Ids
from ledger.writer import Outcome
from tests.simulation.process import Answer, Attempt, Process

__all__ = ["PATIENCE_SECONDS", "SERIES", "Client", "Desk", "Intent", "numbers_of"]

TODAY = date(2025, 6, 15)
REASON = "so it was simulated"
PATIENCE_SECONDS = 40.0  # after which a client that waits for ever has been forgotten

SERIES = {
    series.code: series
    for series in (
        Series.define("NEVER", Definition(template="N-{SEQ:5}", reservation_max_lifetime_seconds=60)),
        Series.define("GAPLESS", Definition(template="G-{SEQ:5}", reuse=Reuse.GAPLESS, reservation_ttl_seconds=3)),
        Series.define("SCARCE", Definition(template="S-{SEQ:1}", reuse=Reuse.GAPLESS, reservation_ttl_seconds=2)),
        Series.define(
            "DAILY",
            Definition(
                template="{ORG}-{YYYY}{MM}{DD}-{SEQ:3}",
                dimensions={"ORG": Dimension(values=("คคง.", "สคฉ.3"))},
                reset=Reset.DAILY,
                reuse=Reuse.GAPLESS,
            ),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Intent:
    """What a client wants, however often it must ask. `make` gives the command, with a fresh token each time."""

    operation: str
    make: Callable[[Ids], Command]
    client: str
    key: str | None = None
    body: str = ""

    def envelope(self, ids: Ids, request_id: str) -> Envelope:
        if self.key is None:
            return Envelope(ids.command_id(), self.client, request_id=request_id)
        fingerprint = sha256(self.body.encode()).hexdigest()
        id = command_id(self.client, self.operation, self.key)
        return Envelope(id, self.client, None, request_id, self.key, fingerprint)


def define(code: str, client: str, key: str | None = None) -> Intent:
    return Intent("define", lambda _: DefineSeries((SERIES[code],)), client, key, code)


@dataclass(slots=True)
class Desk:
    """What the clients share: which processes there are, the open reservations, and every attempt ever made."""

    processes: dict[str, Process] = field(default_factory=dict)
    held: list[NumbersReserved] = field(default_factory=list)
    attempts: list[tuple[Intent, Attempt]] = field(default_factory=list)

    def up(self) -> list[Process]:
        return [process for _, process in sorted(self.processes.items()) if process.up]

    def ask(self, process: Process, intent: Intent) -> tuple[Attempt, asyncio.Task[None]]:
        envelope = intent.envelope(process.ids, f"request-{len(self.attempts)}")
        attempt = Attempt(intent.make(process.ids), envelope, process.name, process.clock.monotonic())
        self.attempts.append((intent, attempt))
        return attempt, process.ask(attempt)


def numbers_of(event: NumbersReserved) -> list[str]:
    numbering = event.numbering
    frame = SERIES[numbering.series].frame(numbering.key, numbering.attributes, numbering.document_date)
    return [frame.number(value) for value in values_of(event.ranges)]


class Client:
    def __init__(self, name: str, desk: Desk, random: Random, operations: int) -> None:
        self.name = name
        self._desk = desk
        self._random = random
        self._operations = operations
        self._keys: list[Intent] = []
        self._choices: Sequence[Callable[[], Intent | None]] = (
            self._reserve, self._reserve, self._reserve, self._issue, self._confirm, self._confirm, self._extend,
            self._cancel, self._define, self._misuse_key, self._repeat, self._assign, self._void, self._link,
            self._by_hand,
        )  # fmt: skip

    async def run(self) -> None:
        for _ in range(self._operations):
            await asyncio.sleep(self._random.choice([0.0, 0.01, self._random.expovariate(1.0)]))
            if self._random.random() < 0.05:
                await self._look()
            intent = self._random.choice(self._choices)()
            if intent is not None:
                await self._pursue(intent)

    # What it wants

    def _key(self) -> str | None:
        return f"key-{self._random.getrandbits(64):x}" if self._random.random() < 0.7 else None

    def _intent(self, operation: str, make: Callable[[Ids], Command], body: str) -> Intent:
        intent = Intent(operation, make, self.name, self._key(), body)
        if intent.key is not None:
            self._keys.append(intent)
        return intent

    def _reservation(self) -> Callable[[Ids], Reserve]:
        code, count = self._random.choice(list(SERIES)), self._random.choice([1, 1, 1, 2, 5])
        ttl = self._random.choice([None, 1, 2, 5, 30])
        key = {name: self._random.choice(["คคง.", "สคฉ.3"]) for name in SERIES[code].key}
        day = TODAY - timedelta(days=self._random.choice([0, 0, 1]))
        return lambda ids: Reserve(code, ids.token(), key, count, ttl, 10, day)

    def _reserve(self) -> Intent:
        make = self._reservation()
        return self._intent("reserve", make, f"reserve {self._random.getrandbits(32)}")

    def _issue(self) -> Intent:
        make = self._reservation()
        return self._intent("issue", lambda ids: Issue(make(ids), "doc"), f"issue {self._random.getrandbits(32)}")

    def _confirm(self) -> Intent | None:
        held = self._some_reservation()
        if held is None:
            return None
        numbers, chosen, release = numbers_of(held), None, self._random.random() < 0.5
        if self._random.random() < 0.5:
            some = self._random.sample(numbers, self._random.randint(1, len(numbers)))
            chosen = tuple(Choice(number, self._random.choice([None, "own"])) for number in some)
        return self._intent("confirm", lambda _: Confirm(held.token, "doc", chosen, release), f"{held.token} {chosen}")

    def _extend(self) -> Intent | None:
        held, seconds = self._some_reservation(), self._random.choice([1, 20, 70, 70])
        if held is None:
            return None
        return self._intent("extend", lambda _: Extend(held.token, seconds), f"{held.token} {seconds}")

    def _cancel(self) -> Intent | None:
        held = self._some_reservation()
        return None if held is None else self._intent("cancel", lambda _: Cancel(held.token), held.token)

    def _assign(self) -> Intent:
        number = f"{self._random.choice('NG')}-{self._random.randint(1, 60):05d}"
        return self._intent("assign", lambda _: Assign(number, "by hand", REASON), number)

    def _void(self) -> Intent | None:
        held, replace = self._some_reservation(), self._random.random() < 0.5
        if held is None:
            return None
        number = self._random.choice(numbers_of(held))
        return self._intent("void", lambda ids: Void(number, REASON, ids.token(), replace), f"{number} {replace}")

    def _link(self) -> Intent | None:
        held, document = self._some_reservation(), self._random.choice(["late", "later", "own"])
        if held is None:
            return None
        number = self._random.choice(numbers_of(held))
        return self._intent("link", lambda _: Link(number, document, REASON), f"{number} {document}")

    def _by_hand(self) -> Intent:
        """Rarely a period is closed or a series retired: the others could do little more until it is reopened."""
        chance = self._random.random()
        if chance < 0.02:
            return self._intent("retire", lambda _: RetireSeries("SCARCE", REASON, frozenset(Acceptance)), "SCARCE")
        if chance < 0.1:
            return self._intent("reopen_series", lambda _: ReopenSeries("SCARCE", REASON), "SCARCE")
        if chance < 0.3:
            closed = f"DAILY:{self._random.choice(['คคง.', 'สคฉ.3'])}:{TODAY - timedelta(days=1)}"
            if chance < 0.2:
                return self._intent("close", lambda _: ClosePeriod(closed), closed)
            return self._intent("reopen", lambda _: ReopenPeriod(closed, REASON), closed)
        value = self._random.randint(1, 60)
        return self._intent("adjust", lambda _: AdjustSequence("NEVER:-", value, REASON), f"{value}")

    def _define(self) -> Intent:
        return define(self._random.choice(list(SERIES)), self.name, self._key())

    def _misuse_key(self) -> Intent | None:
        """The same key for another request: a mistake of the client's."""
        if not self._keys:
            return None
        old = self._random.choice(self._keys)
        return Intent(old.operation, self._reservation(), self.name, old.key, "something else")

    def _repeat(self) -> Intent | None:
        return self._random.choice(self._keys) if self._keys else None

    def _some_reservation(self) -> NumbersReserved | None:
        recent = self._desk.held[-8:]
        return self._random.choice(recent) if recent else None

    # How it gets it

    async def _pursue(self, intent: Intent) -> None:
        """Ask until there is an answer that another try would not change, or until tired of it."""
        for _ in range(6):
            answers = await self._ask(intent)
            if any(isinstance(answer, Outcome | Rejection) for answer in answers):
                return
            if intent.key is None or self._random.random() < 0.1:
                return
            await asyncio.sleep(self._random.uniform(0.0, 3.0))

    async def _ask(self, intent: Intent) -> list[Answer | None]:
        """Ask one process, or several at once as an impatient proxy would."""
        up = self._desk.up()
        count = self._random.choice([1, 1, 1, 2, 3]) if intent.key else 1
        chosen = [self._random.choice(up) for _ in range(count)] if up else []
        return list(await asyncio.gather(*(self._ask_one(process, intent) for process in chosen)))

    async def _ask_one(self, process: Process, intent: Intent) -> Answer | None:
        attempt, task = self._desk.ask(process, intent)
        patience = self._random.choice([PATIENCE_SECONDS, self._random.uniform(0.0, 5.0)])
        done, _ = await asyncio.wait([task], timeout=patience)
        assert done or patience < PATIENCE_SECONDS, f"{attempt} was never answered"
        if not done:
            if self._random.random() < 0.7:  # the service notices that the client has gone
                task.cancel()
            return None
        self._remember(attempt.answer)
        return attempt.answer

    def _remember(self, answer: Answer | None) -> None:
        if isinstance(answer, Outcome):
            events = [entry.event for entry in answer.entries]
            self._desk.held += [event for event in events if isinstance(event, NumbersReserved)]

    async def _look(self) -> None:
        """Read, which must not wait for ever either."""
        for process in self._desk.up()[:1]:
            reading = process.spawn(_preview(process, self._reservation()(process.ids)), name="preview")
            done, _ = await asyncio.wait([reading], timeout=PATIENCE_SECONDS)
            assert done, "a preview was never answered"


async def _preview(process: Process, command: Reserve) -> None:
    try:
        event, _, position = await process.ledger.preview(command)
        assert event.ranges
        assert position == process.ledger.position
    except (Rejection, Fault):
        pass
