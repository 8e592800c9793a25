"""Any history, folded in any batches, gives the same rows, and those are what the log says."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from ledger.ports import Store
from ledger.stores import migrate, open_store
from projections.rebuild import rebuild
from tests.projections.agreement import check_projections, rows_of
from tests.servers import MariaDB
from tests.stores import mariadb_ledger
from tests.test_machine import Machine

BATCHES = (1, 3, 7)


class Projected(Machine):
    """In the end the projections are folded event by event, and then in larger batches into the other slot."""

    async def _check(self) -> None:
        (store,) = self.stores
        await self._check_projections(store)

    async def _check_projections(self, store: Any) -> None:
        head = await store.head()
        await check_projections(store, batch=BATCHES[head.position % len(BATCHES)])
        before = await rows_of(store)
        assert await rebuild(store) == head.position
        await check_projections(store)
        assert await rows_of(store) == before


def run(open_stores: Any, examples: int, steps: int, phases: Sequence[Phase]) -> None:
    made = type("Run", (Projected,), {"open_stores": staticmethod(open_stores)})
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(made, settings=chosen)


def test_on_sqlite(tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    assert asyncio.run(migrate(f"sqlite+aiosqlite:///{empty}"))
    numbers = iter(range(1_000_000))

    async def stores() -> Sequence[Store]:
        file = tmp_path / f"{next(numbers)}.db"
        shutil.copy(empty, file)
        return [open_store(f"sqlite+aiosqlite:///{file}")]

    run(stores, examples=15, steps=40, phases=(Phase.generate,))


def test_on_mariadb(mariadb: MariaDB) -> None:
    async def stores() -> Sequence[Store]:
        return [(await mariadb_ledger(mariadb)).open()]

    run(stores, examples=4, steps=50, phases=(Phase.generate,))  # shrinking would make hundreds of schemas
