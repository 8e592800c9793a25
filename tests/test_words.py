"""No code reads a sentence: with every message of ours replaced by another text, all but the texts is as before.

Each scenario is run twice, once as we word things and once with words that say nothing, and tells what became of it:
codes, kinds, levels, statuses, exit codes, positions, and whether something was said at all.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import make_url

from ledger import ports
from ledger.codec import UnknownEvent
from ledger.domain.rejection import Code, Hint, Rejection
from ledger.fold import BrokenChain
from ledger.ports import Fault, OutcomeUnknown, Stop, StopKind, StoreFault
from ledger.snapshots import Unusable
from ledger.stores import MemoryLog, MemoryStore, migrate, stops
from ledger.stores.sqlite import file_fault
from ledger.writer import Limits
from numbering.cli import main
from numbering.cli import session as cli_session
from numbering.doctor import sqlite as sqlite_doctor
from numbering.settings import Settings
from projections.mirror.copier import Copier
from projections.mirror.memory import MemoryEntries, MemoryStream
from projections.mirror.stream import StreamFault
from projections.mirror.upkeep import Refused, rebuild
from replay import restore as restoring
from replay.combined import Combined
from replay.guard import guard
from replay.sources import DatabaseSource
from tests.api.client import PLAIN_BODY, RealTime, served
from tests.api.faulty import COMMITTING, EVERYTHING, WRITING, FaultyStore
from tests.mirror.test_upkeep import adopt_all
from tests.replay.places import LEDGER, archived, history, opened_sqlite, silent, sqlite_with
from tests.replay.restoring import GONE, Breaking, fresh, opened, restored, source_of, url_of
from tests.simulation.surgery import forked, put, unknown_next
from tests.test_writer import Bench, answer, ledger, simulated

EVENTS = 12
PATIENCE_SECONDS = 1.0

Told = list[Any]


@pytest.fixture
def babble(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Replaces, from when it is called, every text that is ours by one that says nothing and is never the same."""
    words = (f"mot {number}" for number in count())

    def other(text: str) -> str:
        return next(words)

    def replace() -> None:
        of_answers: list[Any] = [Fault, StoreFault, Rejection]
        of_others: list[Any] = [BrokenChain, UnknownEvent, OutcomeUnknown, StreamFault, Refused, Unusable]
        for kind in of_answers:
            monkeypatch.setattr(kind, "__init__", _with_other_words(kind.__init__, other))
        for kind in of_others:
            monkeypatch.setattr(kind, "__init__", _with_another_word(kind.__init__, other))
        made: Any = Stop.__new__
        monkeypatch.setattr(Stop, "__new__", lambda of, kind, detail, *rest: made(of, kind, other(detail), *rest))
        monkeypatch.setattr(stops, "Stop", _as_stored)
        monkeypatch.setattr(ports, "_OPENINGS", {kind: f"{other('')} " for kind in StopKind})
        for name in ("RESTORING", "MOVED"):
            monkeypatch.setattr(restoring, name, Stop(getattr(restoring, name).kind, name))
        for hint in Hint:
            monkeypatch.setattr(hint, "words", other(hint.words))
        for code in Code:
            monkeypatch.setattr(code, "meaning", other(code.meaning))

    return replace


def _as_stored(kind: StopKind, detail: str, *rest: Any) -> Stop:
    """Give a stop as it is in the store: what was written there is what is read."""
    return Stop._make([kind, detail, *rest, *(None, None, 0)[len(rest) :]])


def _with_other_words(init: Any, other: Callable[[str], str]) -> Any:
    """Replace the texts of a fault or a rejection."""

    def replaced(self: Any, code: Code, happened: str, *rest: Any, **fields: Any) -> None:
        texts = {name: other(fields[name]) for name in ("advice", "said") if fields.get(name) is not None}
        init(self, code, other(happened), *rest, **fields | texts)

    return replaced


def _with_another_word(init: Any, other: Callable[[str], str]) -> Any:
    """Replace the text of any other exception."""

    def replaced(self: Any, text: str = "", *rest: Any) -> None:
        init(self, other(text), *rest)

    return replaced


async def ended(work: Awaitable[object]) -> str:
    """Say how some work ended, by the code or the type of what it raised."""
    try:
        await work
    except (Fault, Rejection) as error:
        return f"{type(error).__name__} {error.code.name}"
    except Exception as error:
        return type(error).__name__
    return "done"


async def standing(store: Any) -> Told:
    head = await store.head()
    return [head.position, head.stops, head.stopped is not None, [stop.kind for stop in await store.stops()]]


# What an operator does with the mirror


async def mended_by_the_mirror() -> Told:
    records = history(EVENTS)
    events = [(None, None), (EVENTS, records[-1].hash), (EVENTS, bytes(32)), (50, bytes(32))]
    told: Told = []
    for kind in StopKind:
        for position, hash in events:
            stop = Stop(kind, "a reason", position, hash)
            for discard in (None, False, True):
                told.append([kind, position, discard, *await _mended([stop], discard)])
    several = [Stop(StopKind.MIRROR_AHEAD, "one"), Stop(StopKind.LOG_BEHIND, "two", EVENTS, records[-1].hash)]
    told += [await _mended([*several, Stop(StopKind.COPY, "three")], discard) for discard in (None, False, True)]
    told += [await _mended([], discard, text="the mirror goes on") for discard in (None, False, True)]
    return told


async def _mended(stops: list[Stop], discard: bool | None, *, text: str | None = None) -> Told:
    """Adopt, or rebuild, where the log has lost its end."""
    records = history(EVENTS)
    log, held = MemoryLog(LEDGER), MemoryEntries()
    put(log, records)
    store, stream = MemoryStore(log), MemoryStream(held)
    copier = Copier(store, stream, store.events)
    await copier.compare()
    await copier.copy()
    put(log, records[:4], stops=stops, stopped=text)
    work = adopt_all(store, stream) if discard is None else rebuild(store, stream, silent, retention=0, discard=discard)
    return [await ended(work), *await standing(store), len(held.entries)]


# The writer


def of_the_writer() -> Told:
    told: Told = []
    for damage in ("set back", "forked", "unknown"):
        told += in_simulated_time(lambda damage=damage: harmed(damage))  # type: ignore[misc]
    for steps in (
        {"begin": [down()] * 3},
        {"begin": [busy()] * 7},
        {"begin": [full()]},
        {"append": [down(), busy(), full()]},
        {"commit": [lost()]},
        {"answer": [lost()]},
        {"answer": [lost()], "begin": [None, down(), down()]},
        {"lookup": [RuntimeError("a bug")]},
    ):
        told += in_simulated_time(lambda steps=steps: tried(steps))  # type: ignore[misc]
    return told + in_simulated_time(forbidden)


def in_simulated_time(scenario: Callable[[], Awaitable[Told]]) -> Told:
    told: Told = []

    @simulated
    async def run() -> None:
        told.extend(await scenario())

    run()
    return told


def down() -> StoreFault:
    return StoreFault(Code.DATABASE_UNAVAILABLE, "down", transient=True)


def busy() -> StoreFault:
    return StoreFault(Code.LOCK_TIMEOUT, "busy", contention=True)


def full() -> StoreFault:
    return StoreFault(Code.DATABASE_FULL, "full", advice="make room")


def lost() -> OutcomeUnknown:
    return OutcomeUnknown("lost")


async def harmed(damage: str) -> Told:
    async with ledger(sound=False) as bench:
        for _ in range(4):
            await bench.do(bench.reserve())
        records = bench.log.records
        match damage:
            case "set back":
                put(bench.log, records[:-1])
            case "forked":
                put(bench.log, forked(records, 3))
            case _:
                put(bench.log, unknown_next(records))
        await asyncio.sleep(3)
        told = [await code_of(bench), *await standing(MemoryStore(bench.log)), bench.writer.is_forbidden]
        put(bench.log, records)
        await asyncio.sleep(3)
        return [*told, await code_of(bench)]


async def tried(steps: dict[str, Any]) -> Told:
    async with ledger() as bench:
        bench.store.steps.update(steps)
        bench.store.calls.clear()
        told = [await code_of(bench, key="K"), await code_of(bench), sorted(bench.store.calls.items())]
        return [*told, bench.writer.fault and bench.writer.fault.code, bench.log.head.position]


async def forbidden() -> Told:
    async with ledger(sound=False) as bench:
        bench.writer.forbid(Stop(StopKind.MIRROR_AHEAD, "is ahead"), at=bench.log.head.position)
        bench.writer.forbid(Stop(StopKind.MIRROR_FORKED, "is forked"), at=bench.log.head.position)
        await asyncio.sleep(2)
        bench.writer.release()
        told = [await code_of(bench), *await standing(MemoryStore(bench.log)), sorted(bench.store.calls.items())]
        bench.log.head = bench.log.head._replace(stopped="an earlier build's own words")
        return [*told, await code_of(bench), *await standing(MemoryStore(bench.log))]


async def code_of(bench: Bench, **options: Any) -> object:
    told = await answer(bench.do(bench.reserve(), **options))
    return told if isinstance(told, Code) else (told.position, told.replayed)


# Copies: the archive, and restores


async def of_copies(directory: Path) -> Told:
    records = history(EVENTS)
    await archived(records, directory / "archive")
    told: Told = []
    for name, some in (("behind", records[:5]), ("forked", history(EVENTS, document="E")), ("whole", records)):
        (directory / name).mkdir()
        async with opened_sqlite(await sqlite_with(some, directory / name)) as store:
            for _ in range(2):
                told += [await ended(guard(store, directory / "archive")), await standing(store)]
            told.append(await ended(guard(store, directory / "nowhere")))
    async with opened(fresh(directory, "half"), fresh(directory, "other"), fresh(directory, "moved")) as stores:
        half, other, moved = stores
        told += [await ended(restored(Breaking(source_of(records), 8, GONE), half)), await standing(half)]
        told.append(await ended(restored(DatabaseSource(half), other)))
        told.append(await ended(restored(Combined([DatabaseSource(half)]), other)))
        told.append(await ended(restored(source_of(history(EVENTS, document="E")), half)))
        told += [await ended(restored(source_of(records), half, complete=True)), await standing(half)]
        told += [await ended(restored(source_of(records), half)), await standing(half)]
        told += [await ended(restored(DatabaseSource(half), other, move=True)), await standing(half)]
        told += [await ended(restored(DatabaseSource(half), moved, move=True)), await standing(moved)]
        told += [await ended(restored(source_of(records[:6]), moved)), await standing(other)]
    return told


# The doctor

WHEN_AWAY = "look at who else has the file open"  # the doctor's own advice where the fault has none


async def of_the_doctor(directory: Path) -> Told:
    """Level of each check, whether there is something to do, and whether the fault itself says what."""
    (directory / "none.db.d").mkdir()
    (directory / "text.db").write_text("this is no database, " * 100)
    (directory / "empty.db").touch()
    await migrate(url_of(directory / "well.db"))
    await migrate(url_of(directory / "stopped.db"))
    async with opened(directory / "stopped.db") as (store,):
        transaction = await store.begin()
        for stop in (Stop(StopKind.MIRROR_AHEAD, "one"), Stop(StopKind.COPY, "two")):
            await transaction.stop(stop)
        await transaction.commit()
    told: Told = []
    for name in ("missing.db", "no/such.db", "none.db.d", "text.db", "empty.db", "well.db", "stopped.db"):
        findings = await sqlite_doctor.examine(make_url(url_of(directory / name)))
        told.append([(each.check, each.level, each.advice is not None, each.advice == WHEN_AWAY) for each in findings])
        missing = file_fault(str(directory / name))
        told.append(missing and (missing.code, missing.transient, missing.advice is not None))
    return told


# The command line and HTTP

COMMANDS = (
    "migrate",
    "series list",
    "series show NONE",
    "reserve NONE",
    "issue A --document D",
    "issue A --document D",
    "issue A -k X=1 --document D",
    "reserve A --idempotency-key K",
    "reserve A --idempotency-key K",
    "reserve A --ttl 60 --idempotency-key K",
    "void A-0001 --reason short",
    "void A-0009 --reason long-enough-to-be-one",
    "show NOTHING",
    "batch good.json",
    "batch bad.json",
    "batch list.json",
    "batch twice.json",
    "series apply wrong.toml",
    "import register.csv --series NONE",
    "import register.csv --series A",
    "replay --at never",
    "replay --at 999",
    "verify",
    "restore --from archive --into sqlite+aiosqlite:///other.db",
    "doctor",
    "projections status",
)


def of_the_command_line(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"NUMBERING_{name.upper()}", raising=False)
    monkeypatch.setattr(cli_session, "CLOSE_SECONDS", 3600.0)
    monkeypatch.chdir(directory)
    (directory / "a.toml").write_text('[series.A]\ntemplate = "A-{SEQ:4}"\n')
    (directory / "wrong.toml").write_text('[series.A]\ntemplate = "A-{SEQ}"\n')
    (directory / "good.json").write_text('{"commands": [{"op": "reserve", "series": "NONE"}], "atomic": true}')
    (directory / "bad.json").write_text("{")
    (directory / "list.json").write_text("[]")
    (directory / "twice.json").write_text('{"commands": [], "commands": []}')
    (directory / "register.csv").write_text("document_number\nA-0005\nB-0006\n")
    told = [_ran("issue A --document D"), _ran("migrate"), _ran("series apply a.toml"), *map(_ran, COMMANDS)]
    asyncio.run(_stop(directory / "numbering.db"))
    return [*told, *map(_ran, COMMANDS)]


async def _stop(file: Path) -> None:
    async with opened(file) as (store,):
        transaction = await store.begin()
        await transaction.stop(Stop(StopKind.LOG_FORKED, "it forked", 1, bytes(32)))
        await transaction.commit()


def _ran(words: str) -> Told:
    """Give the exit code, and what of the answer is for machines; how it is worded is for people."""
    plain = CliRunner().invoke(main, words.split(), prog_name="numbering")
    asked = CliRunner().invoke(main, [*words.split(), "--json"], prog_name="numbering")
    try:
        answer = json.loads(asked.stdout)
    except ValueError:
        answer = None
    lines = [line.split(":")[1].split()[:1] for line in plain.stderr.splitlines() if line.startswith("numbering: NB")]
    return [words, plain.exit_code, asked.exit_code, lines, _coded(answer)]


def _coded(answer: Any) -> Any:
    """What of an answer means something to a program."""
    if isinstance(answer, dict):
        return {name: _coded(each) for name, each in answer.items() if name in CODED} | {"names": sorted(answer)}
    return [_coded(each) for each in answer] if isinstance(answer, list) else answer


CODED = {"code", "title", "status", "retry", "errors", "answers", "index", "field", "position", "numbers", "value"}

REQUESTS: Sequence[tuple[str, str, Any]] = (
    ("POST", "/v1/reservations", {"series": "PLAIN"}),
    ("POST", "/v1/reservations", {"series": "NONE"}),
    ("POST", "/v1/reservations", {"series": "PLAIN", "count": "x", "key": 3, "more": 1}),
    ("POST", "/v1/reservations", []),
    ("POST", "/v1/issue", {"series": "PLAIN", "document": ""}),
    ("POST", "/v1/batch", {"commands": [{"op": "reserve", "series": "NONE"}, {"op": "none"}], "atomic": True}),
    ("POST", "/v1/batch", {"commands": [{"op": "reserve", "series": "NONE"}, {"op": "reserve", "series": "PLAIN"}]}),
    ("POST", "/v1/numbers/P-00009/void", {"reason": "long enough to be one"}),
    ("GET", "/v1/numbers/NOTHING", None),
    ("GET", "/v1/series/NONE", None),
    ("GET", "/v1/events?after=99", None),
    ("GET", "/v1/as-of?position=99", None),
    ("GET", "/health", None),
    ("GET", "/nothing", None),
)
WRITES = REQUESTS[:2]


async def over_http() -> Told:
    told: Told = []
    for fault, at in (
        (None, EVERYTHING),
        (down(), EVERYTHING),
        (full(), WRITING),
        (busy(), frozenset({"begin"})),
        (StoreFault(Code.INTERNAL_ERROR, "a bug"), COMMITTING),
    ):
        log = MemoryLog()
        store = FaultyStore(MemoryStore(log))
        limits = Limits(lock_timeout_seconds=PATIENCE_SECONDS)
        async with served(store, MemoryStore(log), clock=RealTime(), limits=limits) as api:
            await api.define("PLAIN", PLAIN_BODY)
            if fault:
                store.fail(fault, at)
            for method, path, body in REQUESTS if fault is None else WRITES:
                answered = await api.http.request(method, path, json=body)
                told.append([method, path, answered.status_code, _coded(answered.json())])
            store.recover()
    return told


# Both ways


def test_what_the_mirror_mends(babble: Callable[[], None]) -> None:
    before = asyncio.run(mended_by_the_mirror())
    babble()
    assert asyncio.run(mended_by_the_mirror()) == before


def test_when_the_writer_stops_tries_again_and_gives_up(babble: Callable[[], None]) -> None:
    before = of_the_writer()
    babble()
    assert of_the_writer() == before


def test_what_a_copy_is_refused_for(babble: Callable[[], None], tmp_path: Path) -> None:
    before = asyncio.run(of_copies(made(tmp_path / "one")))
    babble()
    assert asyncio.run(of_copies(made(tmp_path / "two"))) == before


def test_what_the_doctor_finds(babble: Callable[[], None], tmp_path: Path) -> None:
    before = asyncio.run(of_the_doctor(made(tmp_path / "one")))
    babble()
    assert asyncio.run(of_the_doctor(made(tmp_path / "two"))) == before


def test_how_commands_end(babble: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = of_the_command_line(made(tmp_path / "one"), monkeypatch)
    assert {told[1] for told in before} >= {0, 1, 2, 3}
    babble()
    assert of_the_command_line(made(tmp_path / "two"), monkeypatch) == before


async def test_what_clients_are_told(babble: Callable[[], None]) -> None:
    before = await over_http()
    babble()
    assert await over_http() == before


def test_the_words_are_replaced(babble: Callable[[], None]) -> None:
    """Or all of this would prove nothing."""
    babble()
    hinted = Rejection(Code.CONFIG_NOT_FOUND, "no series has it", hint=Hint.DEFINE_SERIES)
    said = StoreFault(Code.DATABASE_FULL, "full", advice="make room", said="SQLite says: full", transient=True)
    texts = [hinted.detail, said.detail, said.again().detail, str(Refused("no")), Stop(StopKind.MOVED, "away").text]
    texts += [str(BrokenChain("it does not chain")), StoreFault(Code.DATABASE_FULL, "full").detail]
    assert all(word in ("mot", "(mot") or word.strip("();:").isdigit() for word in " ".join(texts).split()), texts
    assert (said.transient, said.code, hinted.code) == (True, Code.DATABASE_FULL, Code.CONFIG_NOT_FOUND)


def made(directory: Path) -> Path:
    directory.mkdir()
    return directory
