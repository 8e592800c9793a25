"""A number's document over HTTP: linked later, once more, in a batch, and told wherever a document is told."""

import asyncio
from urllib.parse import quote

import httpx
import pytest

from ledger.domain.rejection import Code
from tests.api.client import RFA_BODY, RFA_KEY, Api, Json, answer, in_memory, problem

REASON = "filed under another name"
NUMBER = "P-00001"


def path(number: str) -> str:
    return f"/v1/numbers/{quote(number, safe='')}"


async def issue(api: Api, series: str = "PLAIN", **fields: object) -> Json:
    return answer(await api.post("/v1/issue", {"series": series, "document": "D-1", **fields}), 201)


async def link(api: Api, number: str = NUMBER, document: str = "D-2", /, **fields: object) -> httpx.Response:
    return await api.post(f"{path(number)}/document", {"document": document, "reason": REASON} | fields)


async def shown(api: Api, number: str = NUMBER) -> Json:
    return answer(await api.http.get(path(number)), 200)


async def test_a_number_gets_another_document(api: Api) -> None:
    token = (await issue(api))["token"]
    told = answer(await link(api), 200)
    position = (await api.head()).position
    assert told == {
        "number": NUMBER,
        "state": "CONFIRMED",
        "document": "D-2",
        "previous_document": "D-1",
        "position": position,
    }
    number = await shown(api)
    assert (number["state"], number["document"], number["position"]) == ("CONFIRMED", "D-2", position)
    steps = [(step["state"], step["event"], step["document"], step["reason"]) for step in number["history"]]
    assert steps == [
        ("RESERVED", "NumbersReserved", None, None),
        ("CONFIRMED", "NumbersConfirmed", "D-1", None),
        ("CONFIRMED", "DocumentLinked", "D-2", REASON),
    ]
    assert number["history"][2]["position"] == position
    reservation = await api.shown(token)
    assert [each["document"] for each in reservation["numbers"]] == ["D-2"]
    assert (reservation["state"], reservation["position"]) == ("CONFIRMED", position)


async def test_a_number_without_a_document_gets_its_first(api: Api) -> None:
    token = (await api.reserve())["token"]
    answer(await api.post(f"/v1/reservations/{token}/confirm", {}), 200)
    assert answer(await link(api), 200)["previous_document"] is None
    assert (await shown(api))["document"] == "D-2"


async def test_the_document_that_it_has_leaves_no_event(api: Api) -> None:
    await issue(api)
    async with api.unchanged():
        told = answer(await link(api, NUMBER, "D-1"), 200)
    assert (told["document"], told["previous_document"]) == ("D-1", "D-1")


@pytest.mark.parametrize("api", ["sqlite"], indirect=True)
async def test_searches_find_the_document_of_now(api: Api) -> None:
    await issue(api, count=3)
    answer(await link(api, "P-00002"), 200)
    position = answer(await link(api, "P-00002", "D-3"), 200)["position"]

    async def found(document: str) -> list[str]:
        query = {"document": document, "min_position": position}
        told = answer(await api.http.get("/v1/numbers", params=query), 200)
        return [each["number"] for each in told["numbers"]]

    assert await found("D-1") == ["P-00001", "P-00003"]
    assert await found("D-2") == []
    assert await found("D-3") == ["P-00002"]
    told = answer(await api.http.get("/v1/numbers", params={"document": "D-3"}), 200)["numbers"][0]
    assert (told["state"], told["cause"]["event"]) == ("CONFIRMED", "NumbersConfirmed")  # a link is no cause


async def test_accounts_and_closed_periods_stay_as_they_are(api: Api) -> None:
    body = {"template": "Y-{YYYY}-{SEQ:2}", "reset": "yearly"}
    await api.define("Y", body)
    number = (await issue(api, "Y", document_date="2025-03-01"))["numbers"][0]["number"]
    answer(await api.post("/v1/sequences/Y%3A2025/close", {"accept": ["running_period"]}), 200)
    gaps = "/v1/sequences/Y%3A2025/gaps?state=CONFIRMED"
    before = answer(await api.http.get(gaps), 200)
    answer(await link(api, number), 200)
    after = answer(await api.http.get(gaps), 200)
    assert before | {"position": after["position"]} == after


async def test_a_replacement_takes_the_document_of_now(api: Api) -> None:
    await issue(api)
    answer(await link(api), 200)
    body = {"reason": "sent to the wrong office", "replace": True}
    told = answer(await api.post(f"{path(NUMBER)}/void", body), 200)
    assert told["replacement"]["document"] == "D-2"
    voided = await shown(api)
    assert (voided["state"], voided["document"]) == ("VOIDED", "D-2")
    problem(await link(api, NUMBER, "D-3"), Code.NUMBER_NOT_CONFIRMED)


async def test_what_was_given_by_hand_is_linked(api: Api) -> None:
    answer(await api.post("/v1/assign", {"number": "P-00003", "document": "HAND", "reason": "on paper"}), 201)
    assert answer(await link(api, "P-00003"), 200)["previous_document"] == "HAND"
    register = b"document_number\nP-00005\n"
    headers = {"Content-Type": "text/csv"}
    answer(await api.http.post("/v1/imports?series=PLAIN", content=register, headers=headers), 200)
    assert answer(await link(api, "P-00005"), 200)["previous_document"] is None
    assert (await shown(api, "P-00005"))["document"] == "D-2"


@in_memory
@pytest.mark.parametrize(
    ("code", "number", "change"),
    [
        (Code.NUMBER_NOT_CONFIRMED, "P-00002", {}),  # reserved
        (Code.NUMBER_NOT_FOUND, "P-00003", {}),  # never given out
        (Code.NUMBER_NOT_FOUND, "Q-1", {}),
        (Code.INVALID_FORMAT, NUMBER, {"reason": ""}),
        (Code.INVALID_FORMAT, NUMBER, {"reason": None}),
        (Code.INVALID_FORMAT, NUMBER, {"document": ""}),
        (Code.INVALID_FORMAT, NUMBER, {"document": "x" * 201}),
        (Code.INVALID_FORMAT, NUMBER, {"number": NUMBER}),
    ],
)
async def test_what_cannot_be_linked_is_refused(api: Api, code: Code, number: str, change: Json) -> None:
    await issue(api)
    await api.reserve()
    async with api.unchanged():
        told = problem(await link(api, number, **change), code)
        if code is Code.INVALID_FORMAT:
            assert told["errors"][0]["field"] == [*change][-1]


@in_memory
async def test_another_attribute_is_another_number(api: Api) -> None:
    await api.define("RFA", RFA_BODY)
    number = (await issue(api, "RFA", key=RFA_KEY))["numbers"][0]["number"]
    problem(await link(api, number[:-1] + "B"), Code.NUMBER_PRINTED_OTHERWISE)
    answer(await link(api, number), 200)


async def test_one_link_sent_many_times_is_answered_the_same(api: Api) -> None:
    await issue(api)
    body = {"document": "D-2", "reason": REASON}
    sent = await asyncio.gather(*(api.post(f"{path(NUMBER)}/document", body, idempotency_key="K") for _ in range(10)))
    assert {response.content for response in sent} == {sent[0].content}
    assert sum("idempotent-replayed" in response.headers for response in sent) == 9
    answer(await link(api, NUMBER, "D-3"), 200)
    assert (await api.post(f"{path(NUMBER)}/document", body, idempotency_key="K")).content == sent[0].content
    assert (await shown(api))["document"] == "D-3"


async def test_many_links_at_once_tell_one_history(api: Api) -> None:
    """Each was looked up when others were on their way: what is told of the document before is right all the same."""
    await issue(api)
    told = [answer(each, 200) for each in await asyncio.gather(*(link(api, NUMBER, f"E-{n}") for n in range(20)))]
    in_order = sorted(told, key=lambda each: each["position"])
    assert [each["previous_document"] for each in in_order] == ["D-1", *(each["document"] for each in in_order[:-1])]
    steps = (await shown(api))["history"]
    assert [step["document"] for step in steps[2:]] == [each["document"] for each in in_order]


@pytest.mark.parametrize("atomic", [True, False])
async def test_a_batch_links_many_numbers_and_one_of_them_twice(api: Api, atomic: bool) -> None:
    await issue(api, count=20)
    numbers = [f"P-{value:05}" for value in range(1, 21)]
    commands = [{"op": "link", "number": each, "document": f"E-{each}", "reason": REASON} for each in numbers]
    commands += [{"op": "link", "number": NUMBER, "document": "E-LAST", "reason": REASON}]
    told = answer(await api.post("/v1/batch", {"commands": commands, "atomic": atomic}), 200)["answers"]
    assert [each["status"] for each in told] == [200] * 21
    assert (told[-1]["previous_document"], told[-1]["document"]) == (f"E-{NUMBER}", "E-LAST")
    assert (await shown(api))["document"] == "E-LAST"
    assert (await shown(api, "P-00020"))["document"] == "E-P-00020"


async def test_a_batch_links_what_it_gives_out_one_by_one_alone(api: Api) -> None:
    given = {"op": "issue", "series": "PLAIN", "document": "D-1"}
    linked = {"op": "link", "number": NUMBER, "document": "D-2", "reason": REASON}
    void = {"op": "void", "number": NUMBER, "reason": "sent to the wrong office", "replace": True}
    async with api.unchanged():
        sent = await api.post("/v1/batch", {"commands": [given, linked], "atomic": True})
        told = problem(sent, Code.NUMBER_NOT_CONFIRMED)
    assert "link it in a later request" in told["detail"]
    told = answer(await api.post("/v1/batch", {"commands": [given, linked, void]}), 200)["answers"]
    assert [each["status"] for each in told] == [201, 200, 200]
    assert told[2]["replacement"]["document"] == "D-2"


async def test_an_atomic_batch_replaces_what_it_linked(api: Api) -> None:
    await issue(api)
    linked = {"op": "link", "number": NUMBER, "document": "D-2", "reason": REASON}
    void = {"op": "void", "number": NUMBER, "reason": "sent to the wrong office", "replace": True}
    told = answer(await api.post("/v1/batch", {"commands": [linked, void], "atomic": True}), 200)["answers"]
    assert told[1]["replacement"]["document"] == "D-2"
