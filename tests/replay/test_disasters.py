"""Restores as an operator runs them, where the disk, Redis, or the place that he names is not what it should be."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ledger.domain.commands import Envelope, Issue, Reserve
from ledger.domain.events import LedgerOpened
from ledger.domain.rejection import Code
from ledger.ports import Fault, Record
from ledger.stores import SqlStore
from numbering.settings import Settings, load
from numbering.wiring import Node
from projections.mirror.redis import RedisStream
from projections.mirror.stream import stream_key
from replay import restore as restoring
from tests.invariants import check_store, read_log
from tests.mirror.conftest import shared_redis
from tests.numbering.command import asked, fault, rejection, said
from tests.numbering.process import NUMBERING, without_settings
from tests.projections.agreement import check_projections
from tests.replay.places import LEDGER, archived, behind, closed, history
from tests.replay.restoring import GONE, Breaking, check_whole, fresh, opened, restored, source_of, url_of
from tests.servers import Redis

__all__ = ["shared_redis"]

RECORDS = history(40)


async def mirrored(redis: Redis, records: Sequence[Record] = RECORDS) -> None:
    redis.execute("FLUSHALL")
    stream = RedisStream(redis.url, stream_key(LEDGER))
    assert await stream.append(records, b"", begin=True)
    await stream.close()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    asyncio.run(archived(RECORDS, tmp_path / "archive"))
    return tmp_path / "archive"


def test_the_command_tells_what_it_did(tmp_path: Path, archive: Path) -> None:
    target = url_of(tmp_path / "new.db")
    told = asked("restore", "--from", str(archive), "--into", target, "--margin", "7", "--opened", "LETTER:2099")
    assert (told["ledger_id"], told["restored"], told["copied"], told["margin"]) == (LEDGER, 40, 40, 7)
    assert told["closed"] == []
    assert asked("verify", target, "--archive", str(archive), "--head", told["head"])["whole"]
    assert rejection("restore", "--from", str(archive), "--into", target).startswith("NB061 TARGET_NOT_EMPTY")
    same = rejection("restore", "--from", target, "--into", target)
    assert same.startswith("NB061 TARGET_NOT_EMPTY")


@pytest.mark.parametrize(
    ("words", "exit_code"),
    [
        (["--to", "41"], 1),
        (["--to", "0"], 2),
        (["--complete", "--move"], 2),
        (["--complete", "--to", "39"], 1),
        (["--complete", "--margin", "3"], 2),
        (["--move"], 2),
        (["--opened", "LETTER"], 2),
        (["--margin", "0"], 2),
        (["--margin", "1000000000"], 1),
        (["--reason", ""], 1),
    ],
)
def test_what_is_refused_changes_nothing(tmp_path: Path, archive: Path, words: Sequence[str], exit_code: int) -> None:
    target = url_of(fresh(tmp_path))
    said("restore", "--from", str(archive), "--into", target, *words, exit_code=exit_code)
    assert asked("verify", target)["head"].startswith("0:")
    assert asked("restore", "--from", str(archive), "--into", target)["restored"] == 40


def test_a_full_disk(tmp_path: Path) -> None:
    """The restore says what is wrong, and goes on where it was when there is room."""
    many = history(5_000)
    asyncio.run(archived(many, tmp_path / "archive"))
    target = url_of(tmp_path / "new.db")
    done = subprocess.run(
        ["prlimit", f"--fsize={2 << 20}", NUMBERING, "restore", "--from", tmp_path / "archive", "--into", target],
        env=without_settings(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done
    assert done.stderr.startswith("numbering: NB"), done.stderr
    assert len(done.stderr.splitlines()) == 1
    told = asked("restore", "--from", str(tmp_path / "archive"), "--into", target)
    assert told["restored"] == 5_000
    assert asked("verify", target)["whole"]


def test_redis_dies_while_it_is_the_source(tmp_path: Path, redis_alone: Redis) -> None:
    asyncio.run(mirrored(redis_alone))
    target, url = url_of(fresh(tmp_path)), redis_alone.url
    redis_alone.kill()
    assert fault("restore", "--from", url, "--into", target).startswith("NB008 REDIS_UNAVAILABLE")
    redis_alone.start()
    assert asked("restore", "--from", url, "--into", target)["restored"] == 40


@pytest.fixture
def redis_alone() -> Iterator[Redis]:
    with Redis() as server:
        yield server


# Served afterwards


def settings(file: Path, redis: Redis) -> Settings:
    return load({"database_url": url_of(file), "redis_url": redis.url, "lock_timeout": 5_000})


async def issued(node: Node, token: str) -> None:
    await node.ledger.execute(Issue(Reserve("PLAIN", token), "D"), Envelope(os.urandom(32), "tester"))


async def until_stopped(node: Node) -> str:
    async with asyncio.timeout(20):
        while True:
            try:
                await issued(node, os.urandom(4).hex())
            except Fault as why:
                if why.code is Code.LEDGER_STOPPED:
                    return why.detail
            await asyncio.sleep(0.05)


async def until_written(node: Node) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                return await issued(node, os.urandom(4).hex())
            except Fault:
                await asyncio.sleep(0.05)


async def test_after_a_fence_the_ledger_has_a_new_mirror(tmp_path: Path, archive: Path, shared_redis: Redis) -> None:
    """The old one knew more: it is kept as it was, and keeps nobody from writing."""
    await mirrored(shared_redis)
    file = fresh(tmp_path)
    await asyncio.to_thread(said, "restore", "--from", str(archive), "--into", url_of(file), "--to", "30")
    async with Node(settings(file, shared_redis)) as node:
        await until_written(node)
        async with asyncio.timeout(20):
            while shared_redis.execute("XLEN", stream_key(LEDGER, 1)) != f"{node.ledger.position}":
                await asyncio.to_thread(time.sleep, 0.05)
    assert shared_redis.execute("XLEN", stream_key(LEDGER)) == "40"
    status = await asyncio.to_thread(
        asked, "mirror", "status", "--database-url", url_of(file), "--redis-url", shared_redis.url
    )
    assert (status["stream"], status["verdict"], status["lag"]) == (stream_key(LEDGER, 1), "FOLLOWS", 0)
    await asyncio.to_thread(said, "projections", "rebuild", "--database-url", url_of(file))
    async with opened(file) as (store,):
        await check_whole(store)
        await check_projections(store)


@pytest.mark.parametrize("is_ahead", [False, True])
async def test_a_complete_restore_goes_on_with_its_mirror(tmp_path: Path, shared_redis: Redis, is_ahead: bool) -> None:
    """When the mirror knows more, what was said to be complete was not."""
    directory = tmp_path / "archive"
    records = closed(RECORDS, str(directory))
    await archived(records, directory)
    if is_ahead:
        records = behind(records, LedgerOpened((str(directory),)))
    await mirrored(shared_redis, records)
    file = fresh(tmp_path)
    await asyncio.to_thread(said, "restore", "--from", str(directory), "--into", url_of(file))
    if not is_ahead:
        words = ("open-ledger", "--reason", "it was restored", "--database-url", url_of(file))
        await asyncio.to_thread(said, *words)
    async with Node(settings(file, shared_redis)) as node:
        if is_ahead:
            assert "mirror adopt" in await until_stopped(node)
        else:
            await until_written(node)
    async with opened(file) as (store,):
        assert ((await store.head()).position > 43) is not is_ahead
        await check_store(store)


async def test_a_service_with_a_mirror_is_started_too_early(tmp_path: Path, archive: Path, shared_redis: Redis) -> None:
    """Neither it nor its mirror changes anything of what only the restore may finish."""
    await mirrored(shared_redis)
    file = fresh(tmp_path)
    async with opened(file) as (store,):
        await half(store)
        before = await store.head()
        async with Node(settings(file, shared_redis)) as node:
            assert await until_stopped(node)
            await asyncio.sleep(0.5)
            assert await store.head() == before
            await asyncio.to_thread(said, "restore", "--from", str(archive), "--into", url_of(file))
            await until_written(node)
        await check_store(store)
        assert [record.type for record in (await read_log(store))[0]].count("RestoreFenced") == 1
    assert shared_redis.execute("XLEN", stream_key(LEDGER)) == "40"


async def half(store: SqlStore) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restoring, "COPIED_AT_ONCE", 5)
        with pytest.raises(OSError, match="gone"):
            await restored(Breaking(source_of(RECORDS), 20, GONE), store)
