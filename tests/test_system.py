"""Tasks end when they are told to, whatever the library does in which they wait."""

import asyncio
from contextlib import suppress

import pytest

from ledger import system
from ledger.system import end, spawn

FOREVER_SECONDS = 1_000.0


async def forgetful(times: int) -> None:
    for _ in range(times):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(FOREVER_SECONDS)
    await asyncio.sleep(FOREVER_SECONDS)


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_a_task_ends_although_a_cancellation_is_forgotten(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "CANCEL_SECONDS", 0.01)
    task = spawn(forgetful(times), name="forgetful")
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await end(task)
    assert task.cancelled()


async def test_one_that_has_failed_is_over(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise ValueError("a bug")

    task = spawn(fails(), name="failing")
    await asyncio.wait([task])
    await end(task)
    await asyncio.sleep(0)  # for what is called back
    assert [record.message for record in caplog.records] == ["task failing failed"]


async def test_who_waits_for_the_end_may_be_cancelled() -> None:
    """Not taken for the cancellation of the task that is to end."""

    async def stubborn() -> None:
        while not is_over.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(FOREVER_SECONDS)

    is_over = asyncio.Event()
    task = spawn(stubborn(), name="stubborn")
    await asyncio.sleep(0)
    ending = asyncio.create_task(end(task))
    await asyncio.sleep(0.01)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    is_over.set()
    await end(task)
