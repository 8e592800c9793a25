"""What a full verification costs, event by event on one core: `python -m benchmarks.verification`.

Prints, as medians of interleaved rounds over one log in memory, how many events a second each part takes: the hash
chain alone, decoding, folding, judging, and all of it together, as `verify` does it. Beside them stands the peer: the
least that anybody does who reads a chained log, parsing each body and hashing it. Time is that of the processor, so
that what else the machine does counts less.
"""

import gc
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping
from itertools import groupby

import orjson

from ledger import chain
from ledger.codec import Entry, decode, encode
from ledger.domain.calendar import Reset
from ledger.domain.commands import (
    Cancel,
    Confirm,
    Decidable,
    DefineSeries,
    Envelope,
    Expire,
    Extend,
    Issue,
    Original,
    Reserve,
    Void,
    WithOriginal,
)
from ledger.domain.decide import decide
from ledger.domain.events import Event, NumbersReserved
from ledger.domain.evolve import evolve
from ledger.domain.rejection import Rejection
from ledger.domain.series import Attribute, Definition, Dimension, Reuse, Series
from ledger.domain.state import State
from ledger.judgement import Judge
from ledger.ports import Record
from numbering.server import collect_less_often
from replay.examination import Examination

__all__ = ["LEDGER_ID", "Log", "main"]

LEDGER_ID = "benchmark"
NOW = 1_795_000_000_000_000
EVENTS = 100_000
ROUNDS = 7
LIMIT_PER_SECOND = 40_000
SEED = 20_251_231
PAUSE = 20_000  # microseconds between two commands, at most
OPEN = 30  # reservations that wait for their end
DOCUMENT = "LCBP3-C2-LTR-0042"
REASON = "sent to the wrong party"


def main(events: int = EVENTS, rounds: int = ROUNDS) -> None:
    print(f"{platform.platform()}, Python {platform.python_version()}")
    log = Log(events)
    size = statistics.mean(len(each.body) for each in log.records)
    print(f"a log of {len(log.records):,} events, {size:.0f} bytes each:")
    print(f"  {', '.join(f'{count:,} {kind}' for kind, count in log.kinds().items())}")
    spent = _measured(log.records, rounds)
    figures = {name: 1 / statistics.median(seconds) for name, seconds in spent.items()}
    print(f"events a second of one core's time, median of {rounds} rounds, and the share of the peer:")
    for name, per_second in figures.items():
        print(f"  {name:40} {per_second:9,.0f}  {per_second / figures[PEER]:5.2f}")
    print(f"  {'limit of the whole':40} {LIMIT_PER_SECOND:9,}; ratio {figures[WHOLE] / LIMIT_PER_SECOND:.2f}")


# What is measured


PEER, WHOLE = "parse and hash each body (the peer)", "the whole"


def _measured(records: list[Record], rounds: int) -> Mapping[str, list[float]]:
    """Give the seconds of one event, by part, of each round."""
    entries = [decode(record) for record in records]
    parts: Mapping[str, Callable[[], None]] = {
        PEER: lambda: _peer(records),
        "chain": lambda: _chain(records),
        "decode": lambda: _decode(records),
        "fold": lambda: _fold(entries),
        "judge and fold": lambda: _judge(entries),
        WHOLE: lambda: _examine(records),
    }
    spent: dict[str, list[float]] = {name: [] for name in parts}
    gc.freeze()  # the log is not the service's: the collector would walk it
    for _ in range(rounds):
        for name, work in parts.items():
            spent[name].append(_seconds(work) / len(records))
    gc.unfreeze()
    return spent


def _seconds(work: Callable[[], None]) -> float:
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def _peer(records: list[Record]) -> None:
    previous = chain.genesis(LEDGER_ID)
    for record in records:
        orjson.loads(record.body)
        previous = chain.link(previous, record.body)


def _chain(records: list[Record]) -> None:
    previous = chain.genesis(LEDGER_ID)
    for record in records:
        previous = chain.link(previous, record.body)
        assert previous == record.hash


def _decode(records: list[Record]) -> None:
    for record in records:
        decode(record)


def _fold(entries: list[Entry]) -> None:
    state = State()
    for entry in entries:
        evolve(state, entry.event, entry.recorded_at)


def _judge(entries: list[Entry]) -> None:
    judge = Judge()
    for entry in entries:
        assert judge.take(entry) is None
    assert judge.finish() is None


def _examine(records: list[Record]) -> None:
    examination = Examination(LEDGER_ID)
    assert (examination.take(records) or examination.finish()) is None


# The log


ORGANISATIONS = ("คคง.", "สคฉ.3", "สคฉ.3-01", "กทท.", "ผรม.1")
DISCIPLINES = ("TER", "STR", "ARC", "GEO")
SERIES = {
    "LETTER": Definition(
        template="{ORIGINATOR}-{RECIPIENT}-{SEQ:6}-{YEAR:BE}",
        dimensions={name: Dimension(values=ORGANISATIONS) for name in ("ORIGINATOR", "RECIPIENT")},
        reset=Reset.YEARLY,
        timezone="Asia/Bangkok",
    ),
    "RFA": Definition(
        template="LCBP3-C2-RFA-{DISCIPLINE}-{SEQ:6}-{REV}",
        dimensions={"DISCIPLINE": Dimension(chars="A-Z", min=3, max=3)},
        attributes={"REV": Attribute(Dimension(chars="A-Z", max=1), default="A")},
    ),
    "INVOICE": Definition(template="INV-{YYYY}-{SEQ:6}", reset=Reset.YEARLY, reuse=Reuse.GAPLESS),
}


class Log:
    """A log as a busy ledger writes it, the same from the same seed: blocks and single numbers of thirty sequences.

    Of the reservations about 80 % are confirmed, 10 % cancelled, 5 % left to expire; one number in a hundred is voided.
    """

    def __init__(self, events: int) -> None:
        self.records: list[Record] = []
        self._random = random.Random(SEED)
        self._state = State()
        self._now = NOW
        self._hash = chain.genesis(LEDGER_ID)
        self._open: list[str] = []
        self._do(DefineSeries(tuple(Series.define(code, each) for code, each in SERIES.items())))
        while len(self.records) < events:
            self._step()

    def kinds(self) -> Mapping[str, int]:
        return {kind: len(list(some)) for kind, some in groupby(sorted(each.type for each in self.records))}

    def _step(self) -> None:
        """Give out numbers, and end the reservations that have waited; some are forgotten, and expire."""
        self._now += self._random.randrange(PAUSE)
        for token in self._state.due(self._now, limit=OPEN):
            self._do(Expire(token))
        self._give()
        while len(self._open) > OPEN:
            self._end(self._open.pop(self._random.randrange(OPEN)))

    def _give(self) -> None:
        draw = self._random.random()
        asked = self._reserve(count=self._random.randrange(2, 50) if draw < 0.03 else 1)
        if draw < 0.95:
            self._do(asked)
            self._open.append(asked.token)
            return
        events = self._do(Issue(asked, DOCUMENT))
        if draw > 0.98:
            self._void(next(event for event in events if isinstance(event, NumbersReserved)))

    def _reserve(self, count: int) -> Reserve:
        code, key = self._random.choice(
            (
                ("LETTER", {name: self._random.choice(ORGANISATIONS) for name in ("ORIGINATOR", "RECIPIENT")}),
                ("RFA", {"DISCIPLINE": self._random.choice(DISCIPLINES)}),
                ("INVOICE", {}),
            )
        )
        return Reserve(code, self._token(), key, count=count)

    def _void(self, event: NumbersReserved) -> None:
        of = event.numbering
        frame = self._state.series(of.series, of.series_version).frame(of.key, of.attributes, of.document_date)
        original = Original(of.series_version, of.document_date, of.attributes, DOCUMENT)
        self._do(WithOriginal(Void(frame.number(event.ranges[0][0]), REASON, self._token(), replace=True), original))

    def _end(self, token: str) -> None:
        draw = self._random.random()
        if draw < 0.05:
            return  # forgotten
        if draw < 0.07:
            self._do(Extend(token, 900))
        self._do(Cancel(token) if draw < 0.17 else Confirm(token, DOCUMENT))

    def _do(self, command: Decidable) -> list[Event]:
        events = decide(self._state, command, self._now)
        if isinstance(events, Rejection):
            raise events
        envelope = Envelope(self._random.randbytes(32), "somchai", None, self._token(), self._token(), "f" * 64)
        for ordinal, event in enumerate(events):
            evolve(self._state, event, self._now)
            entry = Entry(len(self.records) + 1, event, envelope, ordinal, self._now)
            self.records.append(encode(entry, self._hash))
            self._hash = self.records[-1].hash
        return events

    def _token(self) -> str:
        return self._random.randbytes(16).hex()


if __name__ == "__main__":
    collect_less_often()
    main()
