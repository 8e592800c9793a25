"""The audit before COMMIT: what `numbering verify` would find is a bug of ours, fails alone, and is never written."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from ledger.codec import decode
from ledger.domain.commands import (
    Cancel,
    Decidable,
    DefineSeries,
    Envelope,
    Issue,
    Reserve,
)
from ledger.domain.decide import decide
from ledger.domain.events import (
    Event,
    NumbersConfirmed,
    NumbersReserved,
    ReservationCancelled,
    ReservationExpired,
    SeriesDefined,
)
from ledger.domain.evolve import evolve
from ledger.domain.rejection import Code, Rejection
from ledger.domain.series import Definition, Series
from ledger.domain.state import State
from ledger.fold import Fold
from ledger.judgement import Judge
from ledger.ports import Fault
from ledger.writer import Together
from ledger.writer import batch as batch_module
from ledger.writer.batch import Batch
from ledger.writer.waiting import Answer, Outcome, Waiting

NOW = 1_795_000_000_000_000
LATER = NOW + 3_600_000_000
S = Series.define("S", Definition(template="S-{SEQ:6}"))
T = Series.define("T", Definition(template="T-{SEQ:6}"))
T_LIKE_S = Series.define("T", Definition(template="S-{SEQ:6}"))

_ids = iter(range(1, 1 << 30))

Tampering = Callable[[Event], Event]


@pytest.fixture
def fold() -> Fold:
    """The series S, with number 1 confirmed, and 2 reserved under `held`."""
    fold = Fold("test")
    write(fold, DefineSeries((S,)))
    write(fold, Issue(Reserve("S", "first"), "DOC"))
    write(fold, Reserve("S", "held", ttl_seconds=60))
    return fold


def write(fold: Fold, *commands: Decidable) -> None:
    made = batch(fold, *commands)
    assert all(isinstance(answer, Outcome) for _, answer in made.answers)
    made.keep()


def waiting(command: Decidable | Together) -> Waiting:
    envelope = Envelope(next(_ids).to_bytes(32, "big"), "test")
    return Waiting(command, envelope, 0.0, 0.0, future=None)  # type: ignore[arg-type]  # nobody awaits it


def batch(fold: Fold, *commands: Decidable | Together, now: int = NOW, self_check: bool = True) -> Batch:
    made = Batch(fold, now, 1 << 20, self_check=self_check)
    made.decide([waiting(each) for each in commands], {})
    return made


def tamper(monkeypatch: pytest.MonkeyPatch, of: type[Event], change: Tampering, when: str | None = None) -> None:
    """Let `decide` say something else than it should in the events of a type, of one token if it is given."""

    def wrong(state: State, command: Decidable, now: int) -> list[Event] | Rejection:
        events = decide(state, command, now)
        if isinstance(events, Rejection):
            return events
        return [change(each) if isinstance(each, of) and when in (None, each.token) else each for each in events]

    monkeypatch.setattr(batch_module, "decide", wrong)


def code_of(answer: Answer) -> Code | None:
    return answer.code if isinstance(answer, Fault | Rejection) else None


def flaw_of(made: Batch, fold: Fold) -> str | None:
    """Judge what a batch wrote as an auditor does."""
    judge = Judge(fold.state.branch())
    for record in made.records:
        entry = decode(record)
        flaw = judge.judge(entry)
        if flaw:
            return flaw
        evolve(judge.state, entry.event, entry.recorded_at)
    return judge.finish()


def shifted(event: Event) -> Event:
    assert isinstance(event, NumbersReserved | NumbersConfirmed | ReservationCancelled | ReservationExpired)
    return replace(event, ranges=tuple((first + 5, last + 5) for first, last in event.ranges))


def taken(event: Event) -> Event:
    assert isinstance(event, NumbersReserved)
    return replace(event, ranges=((1, 1),))


def like_s(event: Event) -> Event:
    assert isinstance(event, SeriesDefined)
    return replace(event, series=T_LIKE_S)


WRONG: dict[str, tuple[Decidable, type[Event], Tampering]] = {
    "a hole": (Reserve("S", "new"), NumbersReserved, shifted),
    "a number twice": (Reserve("S", "new"), NumbersReserved, taken),
    "values that are not held": (Issue(Reserve("S", "new"), "DOC"), NumbersConfirmed, shifted),
    "an end of other values": (Cancel("held", "not needed"), ReservationCancelled, shifted),
    "a series that is not proved, known at the end of the command": (DefineSeries((T,)), SeriesDefined, like_s),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_would_not_verify_fails_alone_and_is_not_written(
    case: str, fold: Fold, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, of, change = WRONG[case]
    tamper(monkeypatch, of, change, command.token if isinstance(command, Reserve | Issue) else None)
    made = batch(fold, Reserve("S", "good"), command, Reserve("S", "better"))
    codes = [code_of(answer) for waiting, answer in made.answers if waiting.command is command]
    assert codes == [Code.INTERNAL_ERROR]
    assert [code_of(answer) for _, answer in made.answers].count(None) == 2
    assert [record.type for record in made.records] == ["NumbersReserved", "NumbersReserved"]
    assert flaw_of(made, fold) is None
    tampered = batch(fold, command, self_check=False)
    assert flaw_of(tampered, fold), "without the check, an auditor would find it"


def test_an_atomic_batch_with_one_such_command_is_not_written_at_all(
    fold: Fold, monkeypatch: pytest.MonkeyPatch
) -> None:
    tamper(monkeypatch, NumbersReserved, shifted, "bad")
    parts = [(Reserve("S", token), Envelope(token.encode() * 8, "test")) for token in ("fine", "bad")]
    made = batch(fold, Together(tuple(parts)), Reserve("S", "good"))
    assert [code_of(answer) for _, answer in made.answers] == [None, Code.INTERNAL_ERROR]
    assert [record.token for record in made.records] == ["good"]


def test_a_reservation_whose_expiry_would_not_verify_stays_and_the_others_expire(
    fold: Fold, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(fold, Reserve("S", "second", ttl_seconds=60), Reserve("S", "third", ttl_seconds=60))
    tamper(monkeypatch, ReservationExpired, shifted, "second")
    made = Batch(fold, LATER, 1 << 20)
    assert made.expire(10) == 2
    assert [record.token for record in made.records] == ["held", "third"]
    assert flaw_of(made, fold) is None
    made.keep()
    assert [each.token for each in fold.state.reservations()] == ["second"]


def test_it_says_what_an_auditor_would_have_found(
    fold: Fold, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tamper(monkeypatch, NumbersReserved, shifted)
    batch(fold, Reserve("S", "new"))
    position = fold.position + 1
    assert f"NumbersReserved at position {position} would not verify: value 3 of sequence S:- is passed" in caplog.text
