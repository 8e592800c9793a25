"""Many commands in one request: in order, each by itself or all or none, with keys checked inside the batch too."""

import asyncio
from typing import Any

import httpx
import pytest

from ledger.domain.rejection import Code
from tests.api.client import Api, Json, answer, in_memory, problem

RUNNING: Json = {"accept": ["running_period"]}
FAR: Json = {"accept": ["far_period"]}
RESERVE: Json = {"op": "reserve", "series": "PLAIN"}
ISSUE: Json = {"op": "issue", "series": "PLAIN", "document": "D"}
NOWHERE: Json = {"op": "reserve", "series": "NOWHERE"}
YEARLY: Json = {"template": "Y{YYYY}-{SEQ:3}", "reset": "yearly"}
TOKEN = "0123456789abcdef" * 2


async def send(api: Api, *commands: object, key: str | None = None, **fields: object) -> httpx.Response:
    headers = {} if key is None else {"idempotency_key": key}
    return await api.post("/v1/batch", {"commands": commands, **fields}, **headers)


async def answers(api: Api, *commands: object, **fields: Any) -> list[Json]:
    told: list[Json] = answer(await send(api, *commands, **fields), 200)["answers"]
    return told


def statuses(told: list[Json]) -> list[int]:
    return [each["status"] for each in told]


@pytest.mark.parametrize("atomic", [False, True])
async def test_every_operation_is_answered_as_by_its_endpoint(api: Api, atomic: bool) -> None:
    tokens = [(await api.reserve())["token"] for _ in range(3)]
    answer(await api.post("/v1/issue", {"series": "PLAIN", "document": "D"}), 201)
    told = await answers(
        api,
        {"op": "confirm", "token": tokens[0], "document": "D-1"},
        {"op": "extend", "token": tokens[1], "ttl_seconds": 900},
        {"op": "cancel", "token": tokens[2], "reason": "not sent"},
        {"op": "void", "number": "P-00004", "reason": "spoilt in print", "replace": True},
        {"op": "define_series", "series": "YEARLY", **YEARLY},
        {"op": "define_series", "series": "YEARLY", **YEARLY},
        RESERVE,
        {"op": "reserve", "series": "YEARLY", "document_date": "2024-05-01"},
        ISSUE,
        {"op": "assign", "number": "P-00010", "document": "D-2", "reason": "by hand"},
        {"op": "adjust_sequence", "sequence": "PLAIN:-", "next_value": 20, "reason": "a lost book"},
        {"op": "adjust_maximum", "series": "PLAIN", "max_value": 50, "reason": "a short book"},
        {"op": "open_period", "series": "YEARLY", "period": "2031", **FAR},
        {"op": "reset_sequence", "sequence": "YEARLY:2031", **FAR},
        {"op": "close_period", "sequence": "YEARLY:2032", "reason": "never used", **RUNNING},
        {"op": "retire_series", "series": "YEARLY", **RUNNING},
        {"op": "reopen_series", "series": "YEARLY", "reason": "needed after all"},
        {"op": "reopen_period", "sequence": "YEARLY:2032", "reason": "needed after all"},
        atomic=atomic,
    )
    assert statuses(told) == [200, 200, 200, 200, 201, 200, 201, 201, 201, 201, 200, 200, 201, 201, 200, 200, 200, 200]
    assert (told[0]["state"], told[2]["state"], told[3]["replaced_by"]) == ("CONFIRMED", "CANCELLED", "P-00005")
    assert [told[at]["numbers"][0]["value"] for at in (6, 7, 8)] == [6, 1, 7]
    assert (told[9]["number"], told[10]["next_value"], told[11]["max_value"]) == ("P-00010", 20, 50)
    assert [told[at]["sequence"] for at in (12, 13, 14)] == ["YEARLY:2031", "YEARLY:2032", "YEARLY:2032"]
    assert (told[15]["retired"], "retired" in told[16], told[17]["closed"]) == (True, False, False)
    head = (await api.head()).position
    assert told[-1]["position"] == head
    assert [each["position"] for each in told] == sorted(each["position"] for each in told)


async def test_one_refusal_leaves_the_others(api: Api) -> None:
    response = await send(api, RESERVE, NOWHERE, RESERVE | {"count": 0}, ISSUE)
    told = answer(response, 200)
    assert statuses(told["answers"]) == [201, 404, 422, 201]
    assert told["position"] == told["answers"][3]["position"] == (await api.head()).position
    assert (told["answers"][1]["code"], told["answers"][1]["title"]) == ("NB001", "CONFIG_NOT_FOUND")
    assert told["answers"][2]["errors"][0]["field"] == "commands[2].count"
    assert told["answers"][3]["numbers"][0]["value"] == 2


WRONG: list[tuple[str, object]] = [
    ("op", {}),
    ("op", {"op": "expire", "token": TOKEN}),
    ("op", {"op": ["reserve"]}),
    ("op", {"op": "สำรอง"}),
    ("series", {"op": "reserve"}),
    ("count", RESERVE | {"count": "1"}),
    ("count", RESERVE | {"count": 1.0}),
    ("cuont", RESERVE | {"cuont": 1}),
    ("token", {"op": "confirm"}),
    ("token", {"op": "confirm", "token": 5}),
    ("token", {"op": "confirm", "token": "x"}),
    ("token", RESERVE | {"token": TOKEN}),
    ("reason", {"op": "cancel", "token": TOKEN, "reason": "e\u0301"}),
    ("number", {"op": "void", "reason": "long enough, this one"}),
    ("sequence", {"op": "close_period"}),
    ("template", {"op": "define_series", "series": "NEW"}),
    ("code", {"op": "define_series", "series": "คคง.", "template": "X{SEQ:2}"}),
    ("idempotency_key", RESERVE | {"idempotency_key": 5}),
    ("idempotency_key", RESERVE | {"idempotency_key": ""}),
    ("idempotency_key", RESERVE | {"idempotency_key": "a\u0007"}),
    ("idempotency_key", RESERVE | {"idempotency_key": "กุญแจ"}),
    ("idempotency_key", RESERVE | {"idempotency_key": "x" * 201}),
]


@in_memory
@pytest.mark.parametrize(("field", "wrong"), WRONG)
async def test_a_command_of_wrong_shape_is_its_own_answer(api: Api, field: str, wrong: object) -> None:
    async with api.unchanged():
        refused = problem(await send(api, RESERVE, wrong, atomic=True), Code.INVALID_FORMAT)
        assert refused["index"] == 1
        assert refused["errors"][0]["field"] == f"commands[1].{field}"
    told = await answers(api, RESERVE, wrong)
    assert statuses(told) == [201, 422]
    assert told[1]["errors"][0]["field"] == f"commands[1].{field}"


@in_memory
@pytest.mark.parametrize("wrong", [None, 5, "reserve", [], [RESERVE]])
async def test_a_command_is_an_object(api: Api, wrong: object) -> None:
    assert statuses(await answers(api, wrong, RESERVE)) == [422, 201]
    async with api.unchanged():
        assert problem(await send(api, wrong, RESERVE, atomic=True), Code.INVALID_FORMAT)["index"] == 0


@pytest.mark.parametrize("refused", [NOWHERE, {"op": "confirm", "token": TOKEN}, RESERVE | {"count": 0}])
async def test_atomic_is_all_or_nothing(api: Api, refused: Json) -> None:
    async with api.unchanged():
        response = await send(api, RESERVE, ISSUE, refused, RESERVE, atomic=True)
        assert response.status_code in (404, 422)
        assert response.json()["index"] == 2
    assert statuses(await answers(api, RESERVE, ISSUE, atomic=True)) == [201, 201]


async def test_an_atomic_refusal_says_that_a_reservation_was_closed(api: Api) -> None:
    token = (await api.reserve())["token"]
    answer(await api.post(f"/v1/reservations/{token}/cancel", {}), 200)
    async with api.unchanged():
        told = problem(
            await send(api, RESERVE, {"op": "confirm", "token": token}, atomic=True), Code.RESERVATION_CLOSED
        )
        assert told["index"] == 1


# Order


async def test_what_an_atomic_batch_gives_out_cannot_be_voided_in_it(api: Api) -> None:
    void = {"op": "void", "number": "P-00001", "reason": "spoilt in print"}
    async with api.unchanged():
        told = problem(await send(api, ISSUE, void, atomic=True), Code.NUMBER_NOT_CONFIRMED)
    assert (told["index"], told["retry"]) == (1, False)
    assert "void it in a later request" in told["detail"]
    assert statuses(await answers(api, ISSUE, void)) == [201, 200]


async def test_later_commands_see_what_earlier_ones_did(api: Api) -> None:
    define = {"op": "define_series", "series": "NEW", "template": "N{SEQ:2}", "max_value": 2}
    in_new = RESERVE | {"series": "NEW"}
    adjust = {"op": "adjust_maximum", "series": "NEW", "max_value": 9, "reason": "more"}
    told = await answers(api, in_new, define, in_new, in_new, in_new, adjust, in_new)
    assert statuses(told) == [404, 201, 201, 201, 409, 200, 201]
    assign = {"op": "assign", "number": "N07", "document": "D", "reason": "by hand", "max_skipped": 4}
    void = {"op": "void", "number": "N07", "reason": "spoilt in print", "replace": True}
    told = await answers(api, assign, void, in_new)
    assert [told[0]["number"], told[1]["replaced_by"], told[2]["numbers"][0]["number"]] == ["N07", "N08", "N09"]


# Keys


@pytest.mark.parametrize("atomic", [False, True])
async def test_a_batch_sent_again_is_done_once(api: Api, atomic: bool) -> None:
    commands = [RESERVE, ISSUE, RESERVE | {"count": 3}]
    first = await send(api, *commands, key="K", atomic=atomic)
    assert "idempotent-replayed" not in first.headers
    async with api.unchanged():
        again = await send(api, *commands, key="K", atomic=atomic)
    assert again.headers["idempotent-replayed"] == "true"
    expected = answer(first, 200)
    assert answer(again, 200) == expected


@pytest.mark.parametrize("atomic", [False, True])
async def test_a_batch_sent_many_times_at_once_is_done_once(api: Api, atomic: bool) -> None:
    before = (await api.head()).position
    sent = await asyncio.gather(*(send(api, RESERVE, RESERVE, key="K", atomic=atomic) for _ in range(10)))
    tokens = {tuple(each["token"] for each in answer(one, 200)["answers"]) for one in sent}
    assert len(tokens) == 1
    assert (await api.head()).position == before + 2


async def test_what_was_refused_is_judged_again(api: Api) -> None:
    assert statuses(await answers(api, RESERVE, NOWHERE, key="K")) == [201, 404]
    await api.define("NOWHERE", {"template": "N{SEQ:2}"})
    told = await answers(api, RESERVE, NOWHERE, key="K")
    assert [(each["status"], each.get("replayed")) for each in told] == [(201, True), (201, None)]


@pytest.mark.parametrize("atomic", [False, True])
async def test_the_key_of_another_batch_is_refused(api: Api, atomic: bool) -> None:
    answer(await send(api, RESERVE, RESERVE, key="K", atomic=atomic), 200)
    async with api.unchanged():
        for other in ([RESERVE | {"count": 2}], [RESERVE, RESERVE, RESERVE], [RESERVE]):
            problem(await send(api, *other, key="K", atomic=atomic), Code.IDEMPOTENCY_KEY_REUSED)


async def test_a_place_that_was_refused_does_not_open_the_key_to_another_batch(api: Api) -> None:
    assert statuses(await answers(api, NOWHERE, RESERVE, key="K")) == [404, 201]
    async with api.unchanged():
        problem(await send(api, RESERVE, key="K"), Code.IDEMPOTENCY_KEY_REUSED)


async def test_a_key_used_twice_inside_a_batch(api: Api) -> None:
    mine = RESERVE | {"idempotency_key": "A"}
    told = await answers(api, mine, mine, mine | {"count": 2}, RESERVE)
    assert statuses(told) == [201, 201, 422, 201]
    assert told[1] == told[0] | {"replayed": True}
    assert told[2]["title"] == "IDEMPOTENCY_KEY_REUSED"
    assert told[3]["numbers"][0]["value"] == 2
    async with api.unchanged():
        assert (await answers(api, ISSUE | {"count": 0}, mine))[1] == told[1]
        assert problem(await send(api, RESERVE, mine | {"count": 2}, atomic=True), Code.IDEMPOTENCY_KEY_REUSED)["index"]
    together = await answers(api, RESERVE | {"idempotency_key": "B"}, RESERVE | {"idempotency_key": "B"}, atomic=True)
    assert together[1] == together[0] | {"replayed": True}


# Bounds


async def test_a_thousand_commands_and_no_more(memory_api: Api) -> None:
    assert statuses(await answers(memory_api, *[RESERVE] * 1000)) == [201] * 1000
    assert statuses(await answers(memory_api, *[RESERVE] * 1000, atomic=True)) == [201] * 1000
    async with memory_api.unchanged():
        for atomic in (False, True):
            told = problem(await send(memory_api, *[RESERVE] * 1001, atomic=atomic), Code.INVALID_FORMAT)
            assert told["errors"][0]["field"] == "commands"
            large = ISSUE | {"document": "x" * (1 << 20)}
            problem(await send(memory_api, large, atomic=atomic), Code.BODY_TOO_LARGE)


async def test_a_batch_gives_so_many_numbers_and_no_more(memory_api: Api) -> None:
    await memory_api.define("LARGE", {"template": "L{SEQ:7}"})
    block = {"op": "reserve", "series": "LARGE", "count": 10_000}
    assert statuses(await answers(memory_api, *[block] * 10)) == [201] * 10
    async with memory_api.unchanged():
        for atomic in (False, True):
            told = problem(await send(memory_api, *[block] * 10, RESERVE, atomic=atomic), Code.INVALID_FORMAT)
            assert told["detail"] == "commands ask for 100001 numbers, and a batch gives 100000 at most; split it"
            define = [{"op": "define_series", "series": f"S{each}", "template": "{SEQ:1}"} for each in range(501)]
            told = problem(await send(memory_api, *define, atomic=atomic), Code.INVALID_FORMAT)
            assert told["detail"] == "commands define 501 series, and a batch 500 at most; split it"


async def test_numbers_beyond_what_a_request_can_carry_are_left_out(memory_api: Api) -> None:
    await memory_api.define("LARGE", {"template": "L{SEQ:7}"})
    block = {"op": "reserve", "series": "LARGE", "count": 10_000}
    tokens = [each["token"] for _ in range(2) for each in await answers(memory_api, *[block] * 6)]
    cancels = [{"op": "cancel", "token": token} for token in tokens]
    told = await answers(memory_api, *cancels, {"op": "cancel"}, {"op": "retire_series", "series": "LARGE", **RUNNING})
    assert [len(each.get("numbers", [])) for each in told] == [10_000] * 10 + [0] * 4
    assert told[10] == {
        "status": 200,
        "token": tokens[10],
        "position": told[9]["position"] + 1,
        "numbers_left_out": 10_000,
    }
    assert told[12]["title"] == "INVALID_FORMAT"
    assert told[13]["retired"] is True


SMALL: Json = {"template": "A-{SEQ:2}", "max_value": 10}
UNCHANGED: Json = {"op": "define_series", "series": "A", **SMALL}
LATER: Json = {"description": "later", "max_value": 20}


@pytest.mark.parametrize(
    "nothing", [UNCHANGED, {"op": "adjust_maximum", "series": "A", "max_value": 10, "reason": "as it is"}]
)
async def test_what_changed_nothing_in_an_atomic_batch_is_not_done_when_it_comes_again(api: Api, nothing: Json) -> None:
    await api.define("A", SMALL)
    issue = {"op": "issue", "series": "A", "document": "D"}
    first = await send(api, nothing, issue, nothing, key="K", atomic=True)
    answer(first, 200)
    for change in (LATER, {"template": "A{SEQ:3}"}):
        answer(await api.http.put("/v1/series/A", json=SMALL | change), 200)
        async with api.unchanged():
            again = await send(api, nothing, issue, nothing, key="K", atomic=True)
            assert again.headers["idempotent-replayed"] == "true"
            if nothing is UNCHANGED:
                assert again.content == first.content
    answer(await api.post("/v1/series/A/retire", RUNNING), 200)
    async with api.unchanged():
        answer(await send(api, nothing, issue, nothing, key="K", atomic=True), 200)


@pytest.mark.parametrize("atomic", [False, True])
async def test_what_changed_nothing_is_told_as_it_was_found(api: Api, atomic: bool) -> None:
    await api.define("A", SMALL)
    before = (await api.head()).position
    told = await answers(
        api,
        UNCHANGED,
        UNCHANGED | LATER,
        UNCHANGED | LATER,
        {"op": "retire_series", "series": "A", **RUNNING},
        atomic=atomic,
    )
    seen = [(each["version"], each["description"], each["position"] - before, "retired" in each) for each in told]
    assert seen == [(1, "", 0, False), (2, "later", 1, False), (2, "later", 1, False), (2, "later", 2, True)]


async def test_what_an_atomic_batch_closes_itself_is_said_to_be_so(api: Api) -> None:
    token = (await api.reserve())["token"]
    cancel = {"op": "cancel", "token": token}
    async with api.unchanged():
        told = problem(await send(api, cancel, cancel, atomic=True), Code.RESERVATION_CLOSED)
    assert "is closed by a command before this one in the same request" in told["detail"]


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("commands", {}),
        ("commands", {"commands": []}),
        ("commands", {"commands": RESERVE}),
        ("commands", {"commands": None}),
        ("atomic", {"commands": [RESERVE], "atomic": "true"}),
        ("atomically", {"commands": [RESERVE], "atomically": True}),
    ],
)
async def test_a_wrong_batch_is_refused(memory_api: Api, field: str, body: Json) -> None:
    async with memory_api.unchanged():
        told = problem(await memory_api.post("/v1/batch", body), Code.INVALID_FORMAT)
        assert told["errors"][0]["field"] == field


async def test_a_name_given_twice_inside_a_command_is_refused(memory_api: Api) -> None:
    async with memory_api.unchanged():
        content = b'{"commands": [{"op": "reserve", "series": "PLAIN", "series": "PLAIN"}]}'
        problem(await memory_api.http.post("/v1/batch", content=content), Code.MALFORMED_JSON)
