"""Single numbers over HTTP: assign one, look one up, void and replace one; each named on the path as it is printed."""

import asyncio
from urllib.parse import quote

import httpx
import pytest

from ledger.domain.rejection import Code
from tests.api.client import LETTER_BODY, LETTER_KEY, RFA_BODY, RFA_KEY, Api, Json, answer, in_memory, problem

REASON = "printed on the wrong form"
ODD_BODY: Json = {"template": "{NAME}/{SEQ:2}", "dimensions": {"NAME": {"values": ["50%", "A?B#C", "D E", "สคฉ.3"]}}}


def path(number: str, *, then: str = "") -> str:
    return f"/v1/numbers/{quote(number, safe='')}{then}"


async def issue(api: Api, series: str = "PLAIN", **fields: object) -> Json:
    body = {"series": series, "document": "D-1", **fields}
    return answer(await api.post("/v1/issue", body), 201)


async def void(api: Api, number: str, /, **fields: object) -> httpx.Response:
    return await api.post(path(number, then="/void"), {"reason": REASON, **fields})


async def shown(api: Api, number: str) -> Json:
    return answer(await api.http.get(path(number)), 200)


# Assign


async def test_a_number_is_assigned(api: Api) -> None:
    body = {"number": "P-00003", "document": "D-3", "reason": "promised by telephone"}
    made = answer(await api.post("/v1/assign", body), 201)
    assert made == {
        "number": "P-00003",
        "value": 3,
        "sequence": "PLAIN:-",
        "period": "-",
        "document_date": made["document_date"],
        "date_is_derived": True,
        "state": "CONFIRMED",
        "document": "D-3",
        "skipped": [{"first": 1, "last": 2}],
        "position": (await api.head()).position,
    }
    told = await shown(api, "P-00003")
    assert (told["state"], told["document"]) == ("CONFIRMED", "D-3")
    assert told["history"][0]["event"] == "NumberAssigned"
    assert told["history"][0]["reason"] == "promised by telephone"
    assert (await api.reserve())["numbers"][0]["value"] == 4


@pytest.mark.parametrize("given", [None, "2025-03-31"])
async def test_a_date_that_nobody_gave_is_told_as_derived_and_so_is_that_of_the_replacement(
    api: Api, given: str | None
) -> None:
    dated = {"document_date": given} if given else {}
    made = answer(await api.post("/v1/assign", {"number": "P-00003", "document": "D", "reason": "r", **dated}), 201)
    assert made.get("date_is_derived", False) is (given is None)
    body = {"reason": "sent to the wrong party", "replace": True}
    voided = answer(await api.post("/v1/numbers/P-00003/void", body), 200)
    for told in (voided, voided["replacement"], await shown(api, "P-00003"), await shown(api, "P-00004")):
        assert told["document_date"] == (given or made["document_date"])
        assert told.get("date_is_derived", False) is (given is None)
    again = answer(await api.post("/v1/numbers/P-00004/void", {**body, "document_date": "2025-04-01"}), 200)
    assert again.get("date_is_derived", False) is (given is None)
    assert "date_is_derived" not in again["replacement"]


@in_memory
@pytest.mark.parametrize(
    ("code", "change"),
    [
        (Code.NUMBER_NOT_FOUND, {"number": "Q-1"}),
        (Code.NUMBER_NOT_FOUND, {"number": "P-00009\u0000"}),
        (Code.NUMBER_NOT_FOUND, {"number": "สคฉ.๓"}),
        (Code.NUMBER_NOT_FOUND, {"number": ""}),
        (Code.OUT_OF_RANGE, {"number": "P-00000"}),
        (Code.DUPLICATE_NUMBER, {"number": "P-00001"}),
        (Code.MANUAL_OVERRIDE_NOT_ALLOWED, {"number": "O-0001"}),
        (Code.INVALID_FORMAT, {"number": 9}),
        (Code.INVALID_FORMAT, {"document": None}),
        (Code.INVALID_FORMAT, {"document": "e\u0301"}),
        (Code.INVALID_FORMAT, {"document": "x" * 201}),
        (Code.INVALID_FORMAT, {"reason": ""}),
        (Code.INVALID_FORMAT, {"reason": "a\u200bb"}),
        (Code.INVALID_FORMAT, {"reason": "x" * 501}),
        (Code.INVALID_FORMAT, {"reasons": "x"}),
    ],
)
async def test_what_cannot_be_assigned_is_refused(api: Api, code: Code, change: Json) -> None:
    await api.define("ORDERLY", {"template": "O-{SEQ:4}", "manual": False})
    await issue(api)
    async with api.unchanged():
        body = {"number": "P-00009", "document": "D", "reason": "by hand"} | change
        problem(await api.post("/v1/assign", body), code)


# Look up


async def test_a_number_tells_its_history(api: Api) -> None:
    reserved = await api.reserve()
    token = reserved["token"]
    answer(await api.post(f"/v1/reservations/{token}/confirm", {"document": "D-7"}), 200)
    answer(await void(api, "P-00001"), 200)
    told = await shown(api, "P-00001")
    steps = told.pop("history")
    date = told.pop("document_date")
    assert told == {
        "number": "P-00001",
        "asked": "P-00001",
        "value": 1,
        "state": "VOIDED",
        "series": "PLAIN",
        "series_version": 1,
        "key": {},
        "sequence": "PLAIN:-",
        "period": "-",
        "attributes": {},
        "document": "D-7",
        "replaces": None,
        "replaced_by": None,
        "position": (await api.head()).position,
    }
    assert len(date) == 10
    assert [(step["state"], step["event"], step["position"]) for step in steps] == [
        ("RESERVED", "NumbersReserved", reserved["position"]),
        ("CONFIRMED", "NumbersConfirmed", reserved["position"] + 1),
        ("VOIDED", "NumberVoided", reserved["position"] + 2),
    ]
    assert [step.get("token") for step in steps] == [token, token, None]
    assert [step["reason"] for step in steps] == [None, None, REASON]
    assert all(step["actor"] == "anonymous" and step["time"].endswith("Z") for step in steps)


async def test_another_attribute_finds_the_number_as_it_was_printed(api: Api) -> None:
    await api.define("RFA", RFA_BODY)
    await issue(api, "RFA", key=RFA_KEY)
    told = await shown(api, "LCBP3-C2-RFA-TER-RPT-0001-B")
    assert told["number"] == "LCBP3-C2-RFA-TER-RPT-0001-A"
    assert told["asked"] == "LCBP3-C2-RFA-TER-RPT-0001-B"
    assert (told["attributes"], told["key"]) == ({"REV": "A"}, RFA_KEY)
    async with api.unchanged():
        refused = problem(await void(api, "LCBP3-C2-RFA-TER-RPT-0001-B"), Code.NUMBER_PRINTED_OTHERWISE)
        assert "LCBP3-C2-RFA-TER-RPT-0001-A" in refused["detail"]


async def test_a_number_that_was_passed_over_was_never_printed(api: Api) -> None:
    answer(await api.post("/v1/assign", {"number": "P-00003", "document": "D", "reason": "by hand"}), 201)
    told = await shown(api, "P-00002")
    assert (told["number"], told["state"], told["document_date"]) == (None, "SKIPPED", None)
    assert [step["event"] for step in told["history"]] == ["NumberAssigned"]


@pytest.mark.parametrize("name", ["50%", "A?B#C", "D E", "สคฉ.3"])
async def test_a_number_is_matched_on_the_raw_path(api: Api, name: str) -> None:
    await api.define("ODD", ODD_BODY)
    await issue(api, "ODD", key={"NAME": name})
    assert (await shown(api, f"{name}/01"))["number"] == f"{name}/01"
    assert answer(await void(api, f"{name}/01"), 200)["state"] == "VOIDED"
    problem(await api.http.get(f"/v1/numbers/{quote(name)}/01"), Code.NOT_FOUND)


@pytest.mark.parametrize("raw", ["%", "P%2", "%ZZ", "%FF", "%E0%B8", "%C3%28", "%ED%A0%80"])
async def test_a_path_that_is_not_percent_encoded_text_is_refused(memory_api: Api, raw: str) -> None:
    async with memory_api.unchanged():
        for base in ("numbers", "sequences"):
            url = httpx.URL("http://test", raw_path=f"/v1/{base}/{raw}".encode())
            problem(await memory_api.http.get(url), Code.INVALID_FORMAT)


@in_memory
@pytest.mark.parametrize(
    "number", ["P-00001", "P-1", "p-00001", "NOTHING", "P-00001\u0000", "x" * 1000, "e\u0301", "%"]
)
async def test_a_number_that_was_never_given_out_is_not_found(api: Api, number: str) -> None:
    problem(await api.http.get(path(number)), Code.NUMBER_NOT_FOUND)


# Void


async def test_a_chain_of_replacements_is_told_both_ways(api: Api) -> None:
    await issue(api)
    first = answer(await void(api, "P-00001", replace=True), 200)
    replacement = first.pop("replacement")
    assert first == {
        "number": "P-00001",
        "value": 1,
        "sequence": "PLAIN:-",
        "period": "-",
        "document_date": first["document_date"],
        "state": "VOIDED",
        "replaced_by": "P-00002",
        "position": (await api.head()).position,
    }
    assert (replacement["number"], replacement["value"], replacement["document"]) == ("P-00002", 2, "D-1")
    assert (await api.shown(replacement["token"]))["state"] == "CONFIRMED"
    answer(await void(api, "P-00002", replace=True), 200)
    links = [(told["replaces"], told["replaced_by"]) for told in [await shown(api, f"P-0000{n}") for n in (1, 2, 3)]]
    assert links == [(None, "P-00002"), ("P-00001", "P-00003"), ("P-00002", None)]


async def test_a_replacement_keeps_the_date_unless_one_is_given(api: Api) -> None:
    await api.define("LETTER", LETTER_BODY)
    for _ in range(2):
        await issue(api, "LETTER", key=LETTER_KEY, document_date="2024-03-01")
    kept = answer(await void(api, "คคง.-สคฉ.3-0001-2567", replace=True), 200)["replacement"]
    assert (kept["number"], kept["document_date"]) == ("คคง.-สคฉ.3-0003-2567", "2024-03-01")
    moved = answer(await void(api, "คคง.-สคฉ.3-0002-2567", replace=True, document_date="2025-02-01"), 200)
    assert moved["replaced_by"] == "คคง.-สคฉ.3-0001-2568"


@in_memory
@pytest.mark.parametrize(
    ("code", "number", "change"),
    [
        (Code.NUMBER_NOT_CONFIRMED, "P-00002", {}),  # reserved
        (Code.NUMBER_NOT_CONFIRMED, "P-00003", {}),  # never given out
        (Code.NUMBER_NOT_FOUND, "Q-1", {}),
        (Code.INVALID_FORMAT, "P-00001", {"reason": "too short"}),
        (Code.INVALID_FORMAT, "P-00001", {"reason": None}),
        (Code.INVALID_FORMAT, "P-00001", {"reason": "long enough\u0007"}),
        (Code.INVALID_FORMAT, "P-00001", {"replace": "yes"}),
        (Code.INVALID_FORMAT, "P-00001", {"document_date": "2025-01-01"}),
        (Code.INVALID_FORMAT, "P-00001", {"replace": True, "document_date": "2025-02-30"}),
        (Code.INVALID_FORMAT, "P-00001", {"number": "P-00001"}),
    ],
)
async def test_what_cannot_be_voided_is_refused(api: Api, code: Code, number: str, change: Json) -> None:
    await issue(api)
    await api.reserve()
    async with api.unchanged():
        told = problem(await void(api, number, **change), code)
        if code is Code.INVALID_FORMAT:
            assert told["errors"][0]["field"] == [*change][-1]


async def test_many_voids_at_once_have_one_effect(api: Api) -> None:
    await issue(api)
    before = (await api.head()).position
    sent = await asyncio.gather(*(void(api, "P-00001") for _ in range(10)))
    assert sorted(response.status_code for response in sent) == [200] + [409] * 9
    assert (await api.head()).position == before + 1


async def test_one_void_sent_many_times_is_answered_the_same(api: Api) -> None:
    await issue(api)
    body = {"reason": REASON, "replace": True}
    target = path("P-00001", then="/void")
    sent = await asyncio.gather(*(api.post(target, body, idempotency_key="K") for _ in range(10)))
    assert {response.content for response in sent} == {sent[0].content}
    assert sum("idempotent-replayed" in response.headers for response in sent) == 9
    answer(await void(api, "P-00002"), 200)
    assert (await api.post(target, body, idempotency_key="K")).content == sent[0].content
