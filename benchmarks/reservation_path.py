"""What one reservation costs, stage by stage, without network or database: `python benchmarks/reservation_path.py`.

Prints microseconds for each reservation (median of the rounds), batches of 64 on one hot sequence. The last lines
are the limit: what the two libraries that cannot be avoided, SHA-256 and orjson, cost alone on the same bytes.
"""

import platform
import statistics
import time
from collections.abc import Callable
from hashlib import sha256
from typing import TypeVar

import orjson

from api import answers
from api.schemas import ReserveBody, parse
from ledger import chain, codec
from ledger.codec import Entry
from ledger.domain.calendar import Reset
from ledger.domain.commands import DefineSeries, Envelope, Reserve
from ledger.domain.decide import decide
from ledger.domain.events import Event
from ledger.domain.evolve import evolve
from ledger.domain.rejection import Rejection
from ledger.domain.series import Definition, Dimension, Overflow, Series
from ledger.domain.state import State
from ledger.judgement import Judge
from ledger.ports import Record
from ledger.system import RandomIds
from ledger.writer import Outcome

T = TypeVar("T")

BATCH = 64
BATCHES = 50
ROUNDS = 15
NOW = 1_795_000_000_000_000
BODY = '{"series": "LETTER", "key": {"FROM": "คคง.", "TO": "สคฉ.3"}}'.encode()

ids = RandomIds()


def series() -> Series:
    organisations = Dimension(values=("คคง.", "กทท.", "สคฉ.3", "สคฉ.3-01"))
    definition = Definition(
        template="{FROM}-{TO}-{SEQ:4}-{YEAR:BE}",
        dimensions={"FROM": organisations, "TO": organisations},
        reset=Reset.YEARLY,
        timezone="Asia/Bangkok",
        overflow=Overflow.WIDEN,
    )
    return Series.define("LETTER", definition)


def command() -> Reserve:
    body = parse(ReserveBody, BODY)
    return Reserve(body.series, ids.token(), body.key, body.count, attributes=body.attributes)


def judged(state: State, reserve: Reserve) -> list[Event]:
    events = decide(state, reserve, NOW)
    assert not isinstance(events, Rejection)
    return events


class Round:
    """One pass over all stages; `spent` adds up seconds by stage."""

    def __init__(self) -> None:
        self.state = State()
        defined = decide(self.state, DefineSeries((series(),)), NOW)
        assert not isinstance(defined, Rejection)
        evolve(self.state, defined[0], NOW)
        self.hash = chain.genesis("benchmark")
        self.position = 0
        self.spent: dict[str, float] = {}

    def run(self) -> None:
        for _ in range(BATCHES):
            self.batch()

    def batch(self) -> None:
        commands = self.stage("parse the body, make the command", lambda: [command() for _ in range(BATCH)])
        branch, audited = self.state.branch(), self.state.branch()
        events = self.stage("decide and evolve", lambda: [self.decided(branch, one) for one in commands])
        records = self.stage("canonical JSON and hash", lambda: [self.encoded(some) for some in events])
        self.stage("audit, as NUMBERING_SELF_CHECK does", lambda: [self.audited(audited, each) for each in records])
        self.stage("merge the branch", branch.merge)
        outcomes = [Outcome((each[-1][0],), each[-1][0].position) for each in records]
        self.stage("write the answer", lambda: [self.answered(outcome) for outcome in outcomes])
        bodies = [record.body for each in records for _, record in each]
        self.stage("limit: SHA-256 alone", lambda: [sha256(body).digest() for body in bodies])
        plain = [orjson.loads(body) for body in bodies]
        self.stage("limit: orjson alone", lambda: [orjson.dumps(data) for data in plain])

    def decided(self, branch: State, reserve: Reserve) -> list[Event]:
        events = judged(branch, reserve)
        for event in events:
            evolve(branch, event, NOW)
        return events

    def encoded(self, events: list[Event]) -> list[tuple[Entry, Record]]:
        envelope, made = Envelope(ids.command_id(), "anonymous"), []
        for ordinal, event in enumerate(events):
            self.position += 1
            entry = Entry(self.position, event, envelope, ordinal, NOW)
            record = codec.encode(entry, self.hash)
            self.hash = record.hash
            made.append((entry, record))
        return made

    def audited(self, branch: State, command: list[tuple[Entry, Record]]) -> State:
        """Judges a command, and evolves it."""
        judge = Judge(branch)
        for entry, _ in command:
            flaw = judge.judge(entry)
            assert flaw is None, flaw
            evolve(branch, entry.event, NOW)
        assert judge.finish() is None
        return branch

    def answered(self, outcome: Outcome) -> bytes:
        return answers.as_json(answers.reserved(outcome, self.state))

    def stage(self, name: str, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        done = work()
        self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - began
        return done


def main() -> None:
    rounds = [Round() for _ in range(ROUNDS)]
    for one in rounds:
        one.run()
    print(
        f"{platform.platform()}, Python {platform.python_version()}, {ROUNDS} rounds of {BATCHES * BATCH} reservations"
    )
    for name in rounds[0].spent:
        median = statistics.median(one.spent[name] for one in rounds)
        print(f"{name:34} {median / (BATCHES * BATCH) * 1e6:6.2f} µs")


if __name__ == "__main__":
    main()
