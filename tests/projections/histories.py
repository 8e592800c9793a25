"""Runs of the machine of all commands on one ledger in SQL, each on a fresh one; a subclass says what to check then."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from ledger.ports import Store
from ledger.stores import open_store
from tests.servers import MariaDB
from tests.stores import empty_sqlite, mariadb_ledger
from tests.test_machine import Machine

__all__ = ["run_on_mariadb", "run_on_sqlite"]


def run_on_sqlite(machine: type[Machine], directory: Path, *, examples: int, steps: int) -> None:
    numbers = iter(range(1_000_000))

    async def stores() -> Sequence[Store]:
        file = directory / f"{next(numbers)}.db"
        shutil.copy(empty_sqlite(), file)
        return [open_store(f"sqlite+aiosqlite:///{file}")]

    _run(machine, stores, examples, steps)


def run_on_mariadb(machine: type[Machine], server: MariaDB, *, examples: int, steps: int) -> None:
    async def stores() -> Sequence[Store]:
        return [mariadb_ledger(server).open()]

    _run(machine, stores, examples, steps)


def _run(machine: type[Machine], open_stores: Any, examples: int, steps: int) -> None:
    made = type("Run", (machine,), {"open_stores": staticmethod(open_stores)})
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        phases=(Phase.generate,),  # shrinking would make hundreds of schemas
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(made, settings=chosen)
