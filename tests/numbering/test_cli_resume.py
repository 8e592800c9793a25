"""`numbering resume`: what it says of each stop, what it lifts, and what it lets an operator accept."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger.codec import Entry, encode
from ledger.domain.commands import Envelope
from ledger.domain.events import SeriesDefined
from ledger.domain.formats import NEWEST_FORMAT
from ledger.ports import Record, Stop, StopKind
from ledger.stores.processes import Process, Processes
from tests.given import PLAIN
from tests.invariants import check_store, read_log
from tests.mirror.conftest import shared_redis
from tests.numbering.command import asked, elsewhere_in, fault, ran, rejection, said
from tests.replay.restoring import fresh, opened
from tests.servers import Redis

__all__ = ["shared_redis"]

SERIES = """\
[series.BOOK]
template = "B-{SEQ:4}"
reuse = "gapless"
[series.BUSY]
template = "X-{SEQ:6}"
"""
WHY = ("--reason", "the replica lost its last second")
NOTHING: dict[str, Any] = {"stopped": [], "lifted": [], "notes": []}
BY_HAND = Stop(StopKind.EARLIER_BUILD, "หยุดเพื่อบำรุงรักษา")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numbering.cli.upgrade.PATIENCE_SECONDS", 0.6)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Path]:
    """A ledger with two numbers of a gapless series, and a burst of another."""
    (tmp_path / "series.toml").write_text(SERIES)
    with elsewhere_in(tmp_path):
        fresh(tmp_path, "numbering")
        said("series", "apply", "series.toml")
        issue("2")
        yield tmp_path


def issue(count: str = "1") -> list[str]:
    numbers = asked("issue", "BOOK", "--document", "D", "--count", count)["numbers"]
    return [each["number"] for each in numbers]


async def in_store(work: Any) -> Any:
    async with opened(Path("numbering.db")) as (store,):
        return await work(store)


def stop(*stops: Stop) -> None:
    async def stopped(store: Any) -> None:
        transaction = await store.begin()
        for each in stops:
            await transaction.stop(each)
        await transaction.commit()

    asyncio.run(in_store(stopped))


def log() -> list[Record]:
    records, _ = asyncio.run(in_store(read_log))
    return list(records)


def save() -> None:
    with closing(sqlite3.connect("numbering.db")) as now, closing(sqlite3.connect("old.db")) as then:
        now.backup(then)


def set_back() -> Record:
    """Put the saved copy in the place of the ledger, stopped as a process that has seen more would; gives the last."""
    last = log()[-1]
    for path in Path().glob("numbering.db*"):
        path.unlink()
    shutil.copy("old.db", "numbering.db")
    stop(Stop(StopKind.LOG_BEHIND, "the log ends too early", last.position, last.hash))
    return last


def check() -> None:
    asyncio.run(in_store(check_store))


def kinds(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["kind"], each["way"]) for each in answer["stopped"]]


def test_where_nothing_is_stopped_there_is_nothing_to_do(ledger: Path) -> None:
    assert asked("resume") == NOTHING
    assert said("resume") == "writing is not stopped\n"
    assert asked("resume", "--accept", "LOG_BEHIND", *WHY)["stopped"] == []
    assert asked("resume", "--dry-run") == {"dry_run": True} | NOTHING


def test_what_else_keeps_processes_from_writing_is_noted(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said("close-ledger", "--copy", "archive-a", *WHY)
    monkeypatch.setenv("NUMBERING_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("NUMBERING_ARCHIVE", "none")
    mirror, archive, closed = asked("resume")["notes"]
    assert mirror.startswith("the mirror cannot be looked at: ")
    assert archive.startswith("the archive cannot be compared: none is no archive")
    assert closed.startswith("the ledger is closed")
    assert closed in said("resume")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--accept", "LOG_BEHIND"), "--accept needs --reason"),
        (("--reason", "why"), "go with --accept"),
        (("--margin", "3"), "go with --accept"),
        (("--accept", "MOVED", *WHY), "'MOVED' is not one of"),
        (("--accept", "OPENING", *WHY), "'OPENING' is not one of"),
        (("--accept", "RESTORING", *WHY), "'RESTORING' is not one of"),
        (("--accept", "COPY", *WHY), "'COPY' is not one of"),
        (("--accept", "LOG_BEHIND", "--margin", "many", *WHY), "neither a number nor"),
        (("--accept", "LOG_BEHIND", "--opened", "BOOK", *WHY), "not of the form SERIES:PERIOD"),
    ],
)
def test_wrong_usage(ledger: Path, words: tuple[str, ...], told: str) -> None:
    result = ran("resume", *words)
    assert (result.exit_code, told in result.stderr) == (2, True), result.output


def test_what_is_over_is_lifted(ledger: Path) -> None:
    last = log()[-1]
    stop(Stop(StopKind.LOG_BEHIND, "the log ends too early", last.position, last.hash))
    assert kinds(asked("resume", "--dry-run", exit_code=1)) == [("LOG_BEHIND", "OVER")]
    assert asked("resume") == NOTHING | {"lifted": ["LOG_BEHIND"]}
    assert issue() == ["B-0003"]


def test_a_log_that_lost_its_end_goes_on_behind_a_fence(ledger: Path) -> None:
    save()
    lost = issue("5")
    set_back()
    before = log()
    assert "an operator runs `numbering resume`" in fault("issue", "BOOK", "--document", "D")
    found = asked("resume", exit_code=1)
    assert kinds(found) == [("LOG_BEHIND", "ACCEPT")]
    assert found["stopped"][0]["fenced"]
    text = said("resume", exit_code=1)
    assert "and lacks what came after it" in text
    assert "--accept LOG_BEHIND" in text
    planned = asked("resume", "--dry-run", "--accept", "LOG_BEHIND", *WHY, exit_code=1)["fence"]
    assert {each["sequence"] for each in planned["sequences"]} == {"BOOK:-"}
    assert log() == before
    done = asked("resume", "--accept", "LOG_BEHIND", "--margin", "9", *WHY)
    assert (done["accepted"], done["stopped"], done["fence"]["margin"]["values"]) == (["LOG_BEHIND"], [], 9)
    assert issue() == ["B-0012"]
    assert "B-0012" not in lost
    assert asked("verify")["whole"]
    check()
    assert asked("resume", "--accept", "LOG_BEHIND", *WHY) == NOTHING


def test_a_margin_of_a_series_and_a_series_that_is_none(ledger: Path) -> None:
    save()
    issue()
    set_back()
    assert "is of no series" in rejection("resume", "--accept", "LOG_BEHIND", "--margin", "BOK=0", *WHY)
    assert asked("resume", "--accept", "LOG_BEHIND", "--margin", "BOOK=1", *WHY)["fence"]["skipped"] == 1
    assert issue() == ["B-0004"]


def test_a_terminal_is_asked_before_a_gapless_sequence_skips(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save()
    issue()
    set_back()
    monkeypatch.setattr("numbering.cli.restore.is_terminal", lambda: True)
    result = ran("resume", "--accept", "LOG_BEHIND", *WHY, typed="n\n")
    assert (result.exit_code, "--margin SERIES=N" in result.stderr) == (1, True)
    assert kinds(asked("resume", exit_code=1)) == [("LOG_BEHIND", "ACCEPT")]
    assert ran("resume", "--accept", "LOG_BEHIND", *WHY, typed="y\n").exit_code == 0
    issue()
    check()


def test_a_text_that_an_operator_wrote(ledger: Path) -> None:
    with closing(sqlite3.connect("numbering.db")) as connection, connection:
        connection.execute("UPDATE ledger_head SET stopped = ?", (BY_HAND.detail,))
    (found,) = asked("resume", exit_code=1)["stopped"]
    assert (found["kind"], found["says"], found["fenced"]) == ("EARLIER_BUILD", BY_HAND.detail, False)
    assert BY_HAND.detail in said("resume", exit_code=1)
    done = asked("resume", "--accept", "EARLIER_BUILD", "--reason", "เสร็จแล้ว")
    assert (done["accepted"], done["fence"]) == (["EARLIER_BUILD"], None)
    assert issue() == ["B-0003"]
    (event,) = [each for each in events() if each["type"] == "StopAccepted"]
    assert (event["data"]["detail"], event["reason"]) == (BY_HAND.detail, "เสร็จแล้ว")


def events() -> list[dict[str, Any]]:
    return [json.loads(record.body) for record in log()]


def test_a_row_that_is_gone_and_still_counts(ledger: Path) -> None:
    with closing(sqlite3.connect("numbering.db")) as connection, connection:
        connection.execute("UPDATE ledger_head SET stops = 1")
    assert kinds(asked("resume", exit_code=1)) == [("LATER_BUILD", "ACCEPT")]
    assert asked("resume", "--accept", "LATER_BUILD", *WHY)["accepted"] == ["LATER_BUILD"]
    assert issue() == ["B-0003"]


def test_all_that_stands_must_be_accepted_at_once(ledger: Path) -> None:
    save()
    issue()
    last = set_back()
    stop(Stop(StopKind.MIRROR_AHEAD, "goes on", last.position, last.hash))
    before = log()
    told = rejection("resume", "--accept", "LOG_BEHIND", *WHY)
    assert "writing is also stopped by MIRROR_AHEAD" in told
    assert "writing is not stopped by DATED_AHEAD" in rejection(
        "resume", "--accept", "LOG_BEHIND", "--accept", "MIRROR_AHEAD", "--accept", "DATED_AHEAD", *WHY
    )
    assert log() == before
    done = asked("resume", "--accept", "LOG_BEHIND", "--accept", "MIRROR_AHEAD", *WHY)
    assert done["accepted"] == ["LOG_BEHIND", "MIRROR_AHEAD"]
    assert [each["type"] for each in events()].count("RestoreFenced") == 1
    check()


@pytest.mark.parametrize("kind", [StopKind.MOVED, StopKind.RESTORING, StopKind.COPY, StopKind.OPENING])
def test_what_nobody_may_accept(ledger: Path, kind: StopKind) -> None:
    stop(Stop(kind, "so it is"), BY_HAND)
    before = log()
    found = asked("resume", exit_code=1)
    assert {each["way"] for each in found["stopped"]} == {"OTHER"}
    assert f"{kind.value} cannot be accepted" in rejection_of("resume", "--accept", "EARLIER_BUILD", *WHY)
    assert log() == before
    assert len(asked("resume", "--dry-run", exit_code=1)["stopped"]) == 2


def rejection_of(*words: str) -> str:
    """What is refused, beside the line that marks a copy."""
    result = ran(*words)
    assert result.exit_code == 1, result.output
    return result.stderr


def test_an_archive_that_holds_more_is_to_be_restored_from_or_left(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save()
    issue("3")
    said("archive", "archive-a")
    set_back()
    monkeypatch.setenv("NUMBERING_ARCHIVE", "archive-a")
    told = rejection("resume", "--accept", "LOG_BEHIND", *WHY)
    assert "LOG_BEHIND cannot be accepted" in told
    assert "numbering restore --from archive-a" in told
    said("archive", "archive-b")
    monkeypatch.setenv("NUMBERING_ARCHIVE", "archive-b")
    assert asked("resume", "--accept", "LOG_BEHIND", *WHY)["accepted"] == ["LOG_BEHIND"]
    assert issue()
    said("archive", "archive-b")
    assert asked("verify", "--against", "archive-b")["whole"]
    check()


class TestMirror:
    @pytest.fixture
    def mirrored(self, tmp_path: Path, shared_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        shared_redis.execute("FLUSHALL")
        (tmp_path / "series.toml").write_text(SERIES)
        with elsewhere_in(tmp_path):
            monkeypatch.setenv("NUMBERING_REDIS_URL", shared_redis.url)
            fresh(tmp_path, "numbering")
            said("series", "apply", "series.toml")
            issue("2")
            save()
            issue("3")
            set_back()
            yield tmp_path

    def test_the_mirror_gives_back_what_was_lost(self, mirrored: Path) -> None:
        (found,) = asked("resume", exit_code=1)["stopped"]
        assert "run `numbering mirror adopt`, which loses nothing" in found["needs"]
        said("mirror", "adopt", "--yes")
        assert asked("resume") == NOTHING
        assert issue() == ["B-0006"]

    def test_or_it_is_given_up_and_the_ledger_mirrors_to_a_new_stream(
        self, mirrored: Path, shared_redis: Redis
    ) -> None:
        assert asked("resume", "--accept", "LOG_BEHIND", "--margin", "20", *WHY)["accepted"] == ["LOG_BEHIND"]
        assert issue() == ["B-0023"]
        status = asked("mirror", "status")
        assert (status["verdict"], status["lag"], ":1:" in status["stream"]) == ("FOLLOWS", 0, True)
        assert asked("verify", "--against", shared_redis.url)["whole"]
        check()

    def test_a_mirror_that_is_away_is_asked_for_first(self, mirrored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NUMBERING_REDIS_URL", "redis://127.0.0.1:1/0")
        (found,) = asked("resume", exit_code=1)["stopped"]
        assert (found["way"], "start Redis" in found["needs"]) == ("OTHER", True)
        assert "cannot be accepted" in rejection("resume", "--accept", "LOG_BEHIND", *WHY)
        monkeypatch.setenv("NUMBERING_REDIS_URL", "")
        assert asked("resume", "--accept", "LOG_BEHIND", *WHY)["accepted"] == ["LOG_BEHIND"]
        check()


class TestFormat:
    """A ledger that earlier builds may write to is raised with it, if none of their processes is left."""

    @pytest.fixture
    def older(self, tmp_path: Path) -> Iterator[Path]:
        with elsewhere_in(tmp_path):
            fresh(tmp_path, "numbering")
            asyncio.run(in_store(self._begun))
            stop(Stop(StopKind.LOG_BEHIND, "the log ends too early", 9, bytes(32)))
            yield tmp_path

    @staticmethod
    async def _begun(store: Any) -> None:
        transaction = await store.begin()
        first = Entry(1, SeriesDefined(PLAIN), Envelope(bytes(32), "somchai"), 0, 1)
        await transaction.append([encode(first, transaction.head.hash)])
        await transaction.commit()

    def test_it_is_raised(self, older: Path) -> None:
        assert asked("resume", "--accept", "LOG_BEHIND", *WHY)["accepted"] == ["LOG_BEHIND"]
        assert [each["type"] for each in events()][1:] == ["RestoreFenced", "FormatRaised", "StopAccepted"]
        check()

    def test_not_beside_a_process_of_an_earlier_build(self, older: Path) -> None:
        async def seen(store: Any) -> None:
            await Processes(store).see(Process("0" * 32, "elsewhere", 4711, "0.0.9", NEWEST_FORMAT - 1))

        asyncio.run(in_store(seen))
        assert rejection("resume", "--accept", "LOG_BEHIND", *WHY).startswith("NB068 OLDER_PROCESSES")
        assert len(log()) == 1


def test_a_database_that_is_away(ledger: Path) -> None:
    assert fault("resume", "--database-url", "mariadb+asyncmy://x:y@127.0.0.1:1/none").startswith("NB")
