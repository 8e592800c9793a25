"""What one process has of a ledger begins and ends in order."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from ledger.ports import StoreFault
from ledger.stores import SqlStore
from numbering.settings import load
from numbering.wiring import Node
from replay.archive.manifest import BadArchive
from tests.stores import empty_sqlite

NOWHERE = "redis://127.0.0.1:1"
LONG_SECONDS = 0.5  # longer than the relay waits before it asks again


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(empty_sqlite(), tmp_path / "ledger.db"))


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tells what was asked of a store that was closed; closing it takes long."""
    closed, asked = set[SqlStore](), list[str]()
    close, read = SqlStore.close, SqlStore._read

    async def noted_close(store: SqlStore) -> None:
        await close(store)
        closed.add(store)
        await asyncio.sleep(LONG_SECONDS)

    async def noted_read(store: SqlStore, statement: Any, **parameters: Any) -> Any:
        if store in closed:
            asked.append(str(statement))
        return await read(store, statement, **parameters)

    monkeypatch.setattr(SqlStore, "close", noted_close)
    monkeypatch.setattr(SqlStore, "_read", noted_read)
    return asked


async def test_the_store_is_closed_when_nobody_asks_it_any_more(file: Path, after: list[str]) -> None:
    """The relay, which ends behind the writer, opened connections that nobody closed."""
    settings = load({"database_url": f"sqlite+aiosqlite:///{file}", "redis_url": NOWHERE})
    async with Node(settings, projects=True) as node:
        await node.ledger.writer.fresh()
    assert not after
    with pytest.raises(StoreFault, match="the store is closed"):
        await node.store.head()


async def test_a_node_that_does_not_begin_leaves_nothing_open(file: Path) -> None:
    nowhere = file.with_name("nowhere")
    nowhere.mkdir()
    (nowhere / "manifest.json").write_text("{}")
    settings = load({"database_url": f"sqlite+aiosqlite:///{file}", "archive": str(nowhere)})
    node = Node(settings)
    with pytest.raises(BadArchive):
        async with node:
            raise AssertionError
    with pytest.raises(StoreFault, match="the store is closed"):
        await node.store.head()
