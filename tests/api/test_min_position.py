"""Reads that are to be as fresh as an answer that the client has seen, from whichever process."""

from collections.abc import Callable

import pytest

from ledger.domain.rejection import Code
from ledger.ports import Store
from tests.api.client import PLAIN_BODY, Api, Time, answer, problem, served

Open = Callable[[], Store]

PATHS = [
    "/v1/series",
    "/v1/series/PLAIN",
    "/v1/reservations/{token}",
    "/v1/numbers/P-00001",
    "/v1/sequences",
    "/v1/sequences/PLAIN:-",
    "/v1/sequences/PLAIN:-/gaps",
    "/v1/events",
]


async def reserved(api: Api) -> tuple[str, int]:
    made = await api.reserve()
    return made["token"], made["position"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_position_that_was_given_is_reached(api: Api, path: str) -> None:
    token, position = await reserved(api)
    told = await api.http.get(path.format(token=token), params={"min_position": position})
    assert answer(told, 200)["position"] >= position


@pytest.mark.parametrize("path", PATHS)
async def test_a_position_beyond_the_log_is_refused_at_once(api: Api, path: str) -> None:
    token, position = await reserved(api)
    for beyond in (position + 1, 2**53 - 1):
        told = problem(
            await api.http.get(path.format(token=token), params={"min_position": beyond}), Code.POSITION_NOT_REACHED
        )
        assert told["position"] == position
        assert f"ends at position {position}" in told["detail"]
        assert [each["field"] for each in told["errors"]] == ["min_position"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("value", ["", "-1", "x", "1.0", "๑", "1%00", "9" * 16, "9" * 400, "1&min_position=1"])
async def test_what_is_no_position_is_refused(memory_api: Api, path: str, value: str) -> None:
    token, _ = await reserved(memory_api)
    told = await memory_api.http.get(f"{path.format(token=token)}?min_position={value}")
    (flaw,) = problem(told, Code.INVALID_FORMAT)["errors"]
    assert flaw["field"] == "min_position"


@pytest.mark.parametrize("path", PATHS)
async def test_what_one_process_answered_another_knows(open_ledger: Open, clock: Time, path: str) -> None:
    async with (
        served(open_ledger(), open_ledger(), clock=clock) as one,
        served(open_ledger(), open_ledger(), clock=clock) as other,
    ):
        await one.define("PLAIN", PLAIN_BODY)
        for _ in range(3):
            token, position = await reserved(one)
            told = await other.http.get(path.format(token=token), params={"min_position": position})
            assert answer(told, 200)["position"] >= position
