"""A line that is given up while it opens, or in the middle of something, leaves no connection behind."""

import asyncio
import gc
import warnings
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import text

from projections.line import line
from tests.stores import Ledger

TURNS = 60


@pytest.mark.filterwarnings("always::ResourceWarning")
async def test_a_cancelled_line_is_closed(sqlite_only: Ledger) -> None:
    store: Any = sqlite_only.open()

    async def work() -> None:
        async with line(store) as connection:
            await connection.begin()
            await connection.fetch(text("SELECT 1"))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for turns in range(TURNS):
            task = asyncio.create_task(work())
            for _ in range(turns // 2):
                await asyncio.sleep(0.0001 * (turns % 2))
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            del task
        gc.collect()  # once: it looks at all that the whole run of tests has loaded
    assert [str(each.message) for each in caught] == []
    async with line(store) as connection:  # and no lock
        await connection.begin()
        await connection.commit()
