import pytest

from ledger.domain.rejection import Code
from tests.api.client import LETTER_BODY, LETTER_KEY, Api, answer, in_memory, problem


async def test_issue_reserves_and_confirms_in_one_command(api: Api) -> None:
    issued = answer(await api.post("/v1/issue", {"series": "PLAIN", "document": "DOC-1"}), 201)
    token = issued.pop("token")
    assert issued == {
        "state": "CONFIRMED",
        "numbers": [{"number": "P-00001", "value": 1}],
        "document": "DOC-1",
        "sequence": "PLAIN:-",
        "period": "-",
        "expires_at": None,
        "position": (await api.head()).position,
    }
    shown = await api.shown(token)
    assert shown["state"] == "CONFIRMED"
    assert shown["numbers"] == [{"number": "P-00001", "value": 1, "state": "CONFIRMED", "document": "DOC-1"}]


async def test_issue_takes_a_block_a_key_and_a_date(api: Api) -> None:
    await api.define("LETTER", LETTER_BODY)
    body = {"series": "LETTER", "key": LETTER_KEY, "count": 3, "document_date": "2024-02-29", "document": "หนังสือ"}
    issued = answer(await api.post("/v1/issue", body), 201)
    assert [each["number"] for each in issued["numbers"]] == [f"คคง.-สคฉ.3-000{n}-2567" for n in (1, 2, 3)]
    assert issued["period"] == "2024"
    assert issued["document"] == "หนังสือ"


async def test_what_was_issued_does_not_expire(api: Api) -> None:
    issued = answer(await api.post("/v1/issue", {"series": "PLAIN", "document": "D"}), 201)
    api.clock.advance(100_000)
    await api.reserve()
    assert (await api.shown(issued["token"]))["state"] == "CONFIRMED"


@pytest.mark.parametrize("action", ["confirm", "extend", "cancel"])
async def test_an_issued_token_is_of_no_more_use(api: Api, action: str) -> None:
    token = answer(await api.post("/v1/issue", {"series": "PLAIN", "document": "D"}), 201)["token"]
    body = {"ttl_seconds": 60} if action == "extend" else {}
    async with api.unchanged():
        problem(await api.post(f"/v1/reservations/{token}/{action}", body), Code.RESERVATION_CLOSED)


@in_memory
@pytest.mark.parametrize("document", [None, "", "x" * 201, "a\nb", "e\u0301", " D", 7, ["D"]])
async def test_issue_needs_a_document(api: Api, document: object) -> None:
    async with api.unchanged():
        told = problem(await api.post("/v1/issue", {"series": "PLAIN", "document": document}), Code.INVALID_FORMAT)
    assert told["errors"][0]["field"] == "document"


@in_memory
async def test_issue_knows_no_time_to_live(api: Api) -> None:
    async with api.unchanged():
        body = {"series": "PLAIN", "document": "D", "ttl_seconds": 60}
        told = problem(await api.post("/v1/issue", body), Code.INVALID_FORMAT)
    assert told["errors"][0]["field"] == "ttl_seconds"


async def test_issue_from_an_exhausted_sequence_leaves_nothing_half_done(api: Api) -> None:
    await api.define("SMALL", {"template": "S{SEQ:1}", "max_value": 3})
    answer(await api.post("/v1/issue", {"series": "SMALL", "count": 2, "document": "D"}), 201)
    async with api.unchanged():
        problem(await api.post("/v1/issue", {"series": "SMALL", "count": 2, "document": "D"}), Code.SEQUENCE_EXHAUSTED)
    last = answer(await api.post("/v1/issue", {"series": "SMALL", "document": "D"}), 201)
    assert last["numbers"] == [{"number": "S3", "value": 3}]
