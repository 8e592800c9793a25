"""Any history, folded in any batches, gives the same rows, and those are what the log says.

Each takes half a second: it is written command by command, folded twice, and every row is compared with the log.
"""

from pathlib import Path
from typing import Any

from projections.rebuild import rebuild
from tests.profiles import rounds
from tests.projections.agreement import check_projections, rows_of
from tests.projections.histories import run_on_mariadb, run_on_sqlite
from tests.servers import MariaDB
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


def test_on_sqlite(tmp_path: Path) -> None:
    run_on_sqlite(Projected, tmp_path, examples=rounds(4, thorough=15), steps=40)


def test_on_mariadb(mariadb: MariaDB) -> None:
    run_on_mariadb(Projected, mariadb, examples=rounds(1, thorough=4), steps=50)
