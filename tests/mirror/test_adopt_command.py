"""`numbering mirror adopt`, as an operator sees it: what would be stored, and the question."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ledger.domain.acceptance import Acceptance
from ledger.domain.commands import (
    AdjustSequence,
    Assign,
    Choice,
    ClosePeriod,
    Command,
    Confirm,
    DefineSeries,
    Envelope,
    Issue,
    Link,
    Reserve,
    Void,
)
from ledger.service import Ledger
from ledger.stores.memory import MemoryLog, MemoryStore
from ledger.system import RandomIds, SystemClock, aside, spawn
from numbering.cli import main
from numbering.cli import mirror as command
from numbering.cli.adoption import SHOWN, Telling, cell
from tests.given import series
from tests.mirror.attacks import forge_by_hand
from tests.replay.places import LEDGER, history
from tests.servers import Redis

SERIES = '[series.INV]\ntemplate = "INV-{SEQ:4}"\n'


class Operator:
    def __init__(self, directory: Path, redis: Redis) -> None:
        file = directory / "ledger.db"
        self.settings = {"NUMBERING_DATABASE_URL": f"sqlite+aiosqlite:///{file}", "NUMBERING_REDIS_URL": redis.url}

    def run(self, *words: str, typed: str = "") -> Result:
        return CliRunner(env=self.settings).invoke(main, words, input=typed)

    def head(self) -> int:
        head: int = json.loads(self.run("mirror", "status", "--json").stdout)["head"]
        return head


@pytest.fixture
def operator(tmp_path: Path, shared_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """Has a ledger with two numbers, behind which somebody forged an event in the mirror."""
    shared_redis.execute("FLUSHALL")
    made = Operator(tmp_path, shared_redis)
    (tmp_path / "series.toml").write_text(SERIES)
    for words in (["migrate"], ["series", "apply", str(tmp_path / "series.toml")], ["issue", "INV", "--document", "D"]):
        done = made.run(*words)
        assert done.exit_code == 0, done.output
    forge_by_hand(shared_redis, json.loads(made.run("mirror", "status", "--json").stdout)["stream"])
    monkeypatch.setattr(command, "_is_asked_on_a_terminal", lambda: True)
    return made


@pytest.mark.parametrize(("typed", "exit_code", "stored"), [("n\n", 1, 0), ("\n", 1, 0), ("", 1, 0), ("y\n", 0, 1)])
def test_nothing_is_stored_that_the_operator_does_not_agree_to(
    operator: Operator, typed: str, exit_code: int, stored: int
) -> None:
    before = operator.head()
    ended = operator.run("mirror", "adopt", typed=typed)
    assert ended.exit_code == exit_code
    assert "somebody else" in ended.stdout
    assert "Store 1 event in the log, for ever? [y/N]" in ended.stderr
    assert operator.head() == before + stored


@pytest.mark.parametrize("words", [["--yes"], ["--yes", "--json"], ["--dry-run"], ["--dry-run", "--yes"]])
def test_who_says_so_is_not_asked(operator: Operator, words: list[str]) -> None:
    before = operator.head()
    ended = operator.run("mirror", "adopt", *words)
    assert (ended.exit_code, "for ever?" in ended.output) == (0, False)
    assert operator.head() == before + ("--dry-run" not in words)


def test_without_a_terminal_nobody_is_asked_and_nothing_is_stored(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_is_asked_on_a_terminal", lambda: False)
    before = operator.head()
    ended = operator.run("mirror", "adopt", typed="y\n")
    assert ended.exit_code == 2
    assert "look at `numbering mirror adopt --dry-run`, then say --yes" in ended.stderr
    assert operator.head() == before


def test_where_there_is_nothing_to_take_nobody_is_asked(operator: Operator) -> None:
    assert operator.run("mirror", "adopt", "--yes").exit_code == 0
    assert operator.run("mirror", "adopt").stdout == "nothing to take\n"


# What is shown

COMMANDS: tuple[Command, ...] = (
    DefineSeries((series("INV-{SEQ:4}", "INV", manual=True),)),
    Issue(Reserve("INV", "a"), "D-1"),
    Reserve("INV", "b", count=3),
    Confirm("b", numbers=(Choice("INV-0002", "D-2"), Choice("INV-0004", "D-4"))),
    Void("INV-0001", "a reason of length", "c", replace=True),
    Link("INV-0002", "D-9", "it came late"),
    Assign("INV-0008", "D-8", "by hand"),
    AdjustSequence("INV:-", 12, "by hand"),
    ClosePeriod("INV:-", accept=frozenset(Acceptance)),
)

# Type, actor, numbers, documents: of all events behind the definition, in order.
SHOWN_OF_EACH = [
    ("NumbersReserved", "actor-1", "RESERVED INV-0001", ""),
    ("NumbersConfirmed", "actor-1", "CONFIRMED INV-0001", "D-1"),
    ("NumbersReserved", "actor-2", "RESERVED INV-0002 … INV-0004 (3)", ""),
    ("NumbersConfirmed", "actor-3", "CONFIRMED INV-0002; CONFIRMED INV-0004; CANCELLED INV-0003", "D-2, D-4"),
    ("NumberVoided", "actor-4", "VOIDED INV-0001", ""),
    ("NumbersReserved", "actor-4", "RESERVED INV-0005", ""),
    ("NumbersConfirmed", "actor-4", "CONFIRMED INV-0005", "D-1"),
    ("DocumentLinked", "actor-5", "LINKED INV-0002", "D-9"),
    ("NumberAssigned", "actor-6", "CONFIRMED INV-0008; SKIPPED 6 … 7 (2)", "D-8"),
    ("SequenceAdjusted", "actor-7", "SKIPPED 9 … 11 (3)", ""),
    ("PeriodClosed", "actor-8", "", ""),
]


async def test_numbers_documents_and_actors_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    log = MemoryLog(LEDGER)
    async with Ledger(MemoryStore(log), clock=SystemClock(), ids=RandomIds(), spawn=spawn, aside=aside) as ledger:
        for number, asked in enumerate(COMMANDS):
            await ledger.execute(asked, Envelope(bytes([number] * 32), f"actor-{number}", "why"))
    telling = Telling(LEDGER, 2)
    assert telling.examination.take(log.records) is None
    shown = [
        tuple(str(cell(name, each[name])) for name in ("type", "actor", "numbers", "documents"))
        for each in telling.events
    ]
    assert shown == SHOWN_OF_EACH
    telling.show()
    assert "DocumentLinked" in capsys.readouterr().out


def test_a_long_table_is_cut_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    records = history(SHOWN + 25)
    telling = Telling(LEDGER, 5)
    assert telling.examination.take(records) is None
    telling.show()
    assert capsys.readouterr().out.endswith("and 20 more, which --json lists\n")
    assert len(telling.events) == SHOWN + 20
