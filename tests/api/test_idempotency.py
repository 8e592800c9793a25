"""The same request sent twice has one effect, and its first answer, byte for byte."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from ledger.domain.rejection import Code
from ledger.ports import Store
from tests.api.client import PLAIN_BODY, Api, Json, Time, answer, problem, served

SECRETS = {"erp": "secret-of-the-erp-1", "dms": "secret-of-the-dms-2"}


def is_replayed(response: httpx.Response) -> bool:
    told = response.headers.get("idempotent-replayed")
    assert told in (None, "true")
    return told is not None


def same(first: httpx.Response, again: httpx.Response) -> None:
    assert first.is_success
    assert not is_replayed(first)
    assert is_replayed(again)
    assert (again.status_code, again.content) == (first.status_code, first.content)


async def requests_of_every_kind(api: Api) -> list[tuple[str, str, Json]]:
    tokens = [(await api.reserve(count=3))["token"] for _ in range(4)]
    return [
        ("PUT", "/v1/series/NEW", {"template": "N{SEQ:4}"}),
        ("POST", "/v1/reservations", {"series": "PLAIN", "count": 2}),
        ("POST", "/v1/issue", {"series": "PLAIN", "count": 2, "document": "เอกสาร"}),
        ("POST", f"/v1/reservations/{tokens[0]}/confirm", {"document": "D"}),
        ("POST", f"/v1/reservations/{tokens[1]}/confirm", {"numbers": ["P-00005"], "release_rest": True}),
        ("POST", f"/v1/reservations/{tokens[2]}/extend", {"ttl_seconds": 900}),
        ("POST", f"/v1/reservations/{tokens[3]}/cancel", {"reason": "a mistake"}),
    ]


async def send(api: Api, method: str, path: str, body: Json, key: str = "K", **headers: str) -> httpx.Response:
    return await api.http.request(method, path, json=body, headers={"Idempotency-Key": key, **headers})


async def test_a_repeated_request_has_one_effect_and_the_same_answer(api: Api) -> None:
    for key, request in enumerate(await requests_of_every_kind(api)):
        first = await send(api, *request, key=f"K{key}")
        async with api.unchanged():
            same(first, await send(api, *request, key=f"K{key}"))
            same(first, await send(api, *request, key=f"K{key}"))


async def test_the_first_answer_stays_whatever_happens_after_it(api: Api) -> None:
    body = {"series": "PLAIN"}
    first = await send(api, "POST", "/v1/reservations", body)
    token = answer(first, 201)["token"]
    answer(await api.post(f"/v1/reservations/{token}/confirm", {}), 200)
    api.clock.advance(10_000)
    await api.reserve()
    same(first, await send(api, "POST", "/v1/reservations", body))


async def test_the_answer_outlives_the_process(open_sqlite: Callable[[], Store], clock: Time) -> None:
    look = open_sqlite()
    async with served(open_sqlite(), look, clock=clock) as api:
        await api.define("PLAIN", PLAIN_BODY)
        requests = await requests_of_every_kind(api)
        first = [await send(api, *request, key=f"K{key}") for key, request in enumerate(requests)]
    async with served(open_sqlite(), look, clock=clock) as api:
        async with api.unchanged():
            for key, (request, response) in enumerate(zip(requests, first, strict=True)):
                same(response, await send(api, *request, key=f"K{key}"))
        assert answer(await api.http.get("/v1/series/NEW"), 200)["template"] == "N{SEQ:4}"
        assert (await api.reserve())["numbers"][0]["value"] == 17


@pytest.mark.parametrize(
    "other",
    [
        {"json": {"series": "PLAIN", "count": 2}},
        {"json": {"series": "OTHER"}},
        {"content": b'{"series":"PLAIN" }'},  # the body as it was sent, not as it is meant
    ],
)
async def test_the_key_of_another_body_is_refused(api: Api, other: Json) -> None:
    await api.define("OTHER", {"template": "O{SEQ:4}"})
    answer(await send(api, "POST", "/v1/reservations", {"series": "PLAIN"}), 201)
    async with api.unchanged():
        response = await api.http.post("/v1/reservations", headers={"idempotency-key": "K"}, **other)
        assert "'K'" in problem(response, Code.IDEMPOTENCY_KEY_REUSED)["detail"]


async def test_the_key_of_another_path_is_refused(api: Api) -> None:
    first, second = [(await api.reserve())["token"] for _ in range(2)]
    answer(await send(api, "POST", f"/v1/reservations/{first}/confirm", {}), 200)
    async with api.unchanged():
        response = await send(api, "POST", f"/v1/reservations/{second}/confirm", {})
        problem(response, Code.IDEMPOTENCY_KEY_REUSED)
    assert (await api.shown(second))["state"] == "RESERVED"


async def test_a_key_belongs_to_one_operation(api: Api) -> None:
    """Reserving under a key and issuing under it are two things: a client may use its order's number for both."""
    reserved = answer(await send(api, "POST", "/v1/reservations", {"series": "PLAIN"}), 201)
    issued = answer(await send(api, "POST", "/v1/issue", {"series": "PLAIN", "document": "D"}), 201)
    confirmed = await send(api, "POST", f"/v1/reservations/{reserved['token']}/confirm", {})
    assert not is_replayed(confirmed)
    assert [each["numbers"][0]["value"] for each in (reserved, issued, answer(confirmed, 200))] == [1, 2, 1]


async def test_a_rejection_binds_no_key(api: Api) -> None:
    body = {"series": "LATER"}
    for _ in range(2):
        async with api.unchanged():
            refused = await send(api, "POST", "/v1/reservations", body)
            problem(refused, Code.CONFIG_NOT_FOUND)
            assert not is_replayed(refused)
    await api.define("LATER", {"template": "L{SEQ:4}"})
    first = await send(api, "POST", "/v1/reservations", body)
    same(first, await send(api, "POST", "/v1/reservations", body))


async def test_a_key_refused_for_one_request_is_free_for_another(api: Api) -> None:
    problem(await send(api, "POST", "/v1/reservations", {"series": "PLAIN", "count": 0}), Code.INVALID_FORMAT)
    answer(await send(api, "POST", "/v1/reservations", {"series": "PLAIN", "count": 1}), 201)


async def test_defining_what_is_defined_binds_no_key(api: Api) -> None:
    """Nothing happened, so there is nothing to repeat."""
    assert not is_replayed(await send(api, "PUT", "/v1/series/PLAIN", PLAIN_BODY))
    assert (await send(api, "PUT", "/v1/series/NEW", {"template": "N{SEQ:4}"})).status_code == 201


async def test_twenty_at_once_have_one_effect(api: Api) -> None:
    before = (await api.head()).position
    sent = (send(api, "POST", "/v1/reservations", {"series": "PLAIN"}) for _ in range(20))
    responses = await asyncio.gather(*sent)
    assert {(response.status_code, response.content) for response in responses} == {(201, responses[0].content)}
    assert sum(not is_replayed(response) for response in responses) == 1
    assert (await api.head()).position == before + 1


async def test_two_different_requests_at_once_under_one_key(api: Api) -> None:
    before = (await api.head()).position
    sent = (send(api, "POST", "/v1/reservations", {"series": "PLAIN", "count": n % 2 + 1}) for n in range(20))
    responses = await asyncio.gather(*sent)
    assert sorted(response.status_code for response in responses) == [201] * 10 + [422] * 10
    assert len({response.content for response in responses if response.is_success}) == 1
    assert (await api.head()).position == before + 1


async def test_a_client_that_goes_away_and_comes_back_gets_its_answer(api: Api) -> None:
    async def reserve() -> httpx.Response:
        return await send(api, "POST", "/v1/reservations", {"series": "PLAIN"})

    before = (await api.head()).position
    for turns in range(12):
        impatient = asyncio.create_task(reserve())
        for _ in range(turns):
            await asyncio.sleep(0)
        impatient.cancel()
    first = await reserve()
    assert answer(first, 201)["numbers"] == [{"number": "P-00001", "value": 1}]
    assert (await reserve()).content == first.content
    assert (await api.head()).position == before + 1


async def test_without_a_key_every_request_counts(api: Api) -> None:
    first, second = [await api.reserve() for _ in range(2)]
    assert first["numbers"] != second["numbers"]


async def test_a_query_string_is_no_part_of_the_request(api: Api) -> None:
    first = await send(api, "POST", "/v1/reservations", {"series": "PLAIN"})
    same(first, await send(api, "POST", "/v1/reservations?trace=1", {"series": "PLAIN"}))


async def test_a_key_belongs_to_one_client(open_memory: Callable[[], Store]) -> None:
    async with served(open_memory(), open_memory(), secrets=SECRETS) as api:
        erp, dms = ({"Authorization": f"Bearer {secret}"} for secret in SECRETS.values())
        answer(await send(api, "PUT", "/v1/series/PLAIN", PLAIN_BODY, **erp), 201)
        body = {"series": "PLAIN"}
        first = await send(api, "POST", "/v1/reservations", body, **erp)
        second = await send(api, "POST", "/v1/reservations", body, **dms)
        assert [answer(each, 201)["numbers"][0]["value"] for each in (first, second)] == [1, 2]
        same(first, await send(api, "POST", "/v1/reservations", body, **erp))
        same(second, await send(api, "POST", "/v1/reservations", body, **dms))
