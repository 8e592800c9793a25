import asyncio
import re
from collections.abc import Awaitable, Callable

import httpx
import orjson
import pytest

from ledger.domain.rejection import Code
from ledger.ports import Store
from tests.api.client import (
    LETTER_BODY,
    LETTER_KEY,
    PLAIN_BODY,
    RFA_BODY,
    RFA_KEY,
    Api,
    Json,
    Time,
    answer,
    eventually,
    in_memory,
    problem,
    served,
)

UNKNOWN = "0123456789abcdef" * 2


async def confirm(api: Api, token: str, status: int = 200, **body: object) -> Json:
    return answer(await api.post(f"/v1/reservations/{token}/confirm", body), status)


def states(shown: Json) -> list[str]:
    return [each["state"] for each in shown["numbers"]]


# Reserving


async def test_a_reservation_answers_with_all_that_its_client_needs(api: Api) -> None:
    reserved = await api.reserve()
    token = reserved.pop("token")
    assert re.fullmatch("[0-9a-f]{32}", token)
    assert reserved == {
        "state": "RESERVED",
        "numbers": [{"number": "P-00001", "value": 1}],
        "sequence": "PLAIN:-",
        "period": "-",
        "expires_at": "2025-06-15T03:05:00.000000Z",
        "position": (await api.head()).position,
    }


async def test_thai_keys_print_thai_numbers_of_the_buddhist_era(api: Api) -> None:
    await api.define("LETTER", LETTER_BODY)
    reserved = await api.reserve("LETTER", key=LETTER_KEY, count=2)
    assert reserved["numbers"] == [
        {"number": "คคง.-สคฉ.3-0001-2568", "value": 1},
        {"number": "คคง.-สคฉ.3-0002-2568", "value": 2},
    ]
    assert reserved["sequence"] == "LETTER:คคง.:สคฉ.3:2025"
    assert reserved["period"] == "2025"


async def test_each_key_counts_for_itself(api: Api) -> None:
    await api.define("LETTER", LETTER_BODY)
    keys = [LETTER_KEY, LETTER_KEY | {"RECIPIENT": "สคฉ.3-01"}, LETTER_KEY]
    numbers = [(await api.reserve("LETTER", key=key))["numbers"][0]["number"] for key in keys]
    assert numbers == ["คคง.-สคฉ.3-0001-2568", "คคง.-สคฉ.3-01-0001-2568", "คคง.-สคฉ.3-0002-2568"]


async def test_an_attribute_prints_and_does_not_count(api: Api) -> None:
    await api.define("RFA", RFA_BODY)
    first = await api.reserve("RFA", key=RFA_KEY)
    second = await api.reserve("RFA", key=RFA_KEY, attributes={"REV": "B"})
    assert first["numbers"][0]["number"] == "LCBP3-C2-RFA-TER-RPT-0001-A"
    assert second["numbers"][0]["number"] == "LCBP3-C2-RFA-TER-RPT-0002-B"


async def test_the_document_date_chooses_the_period(api: Api) -> None:
    await api.define("LETTER", LETTER_BODY)
    reserved = await api.reserve("LETTER", key=LETTER_KEY, document_date="2024-12-31")
    assert (reserved["numbers"][0]["number"], reserved["period"]) == ("คคง.-สคฉ.3-0001-2567", "2024")
    shown = await api.shown(reserved["token"])
    assert shown["document_date"] == "2024-12-31"


async def test_a_block_of_ten_thousand_is_dense(api: Api) -> None:
    block = await api.reserve(count=10_000)
    assert [each["value"] for each in block["numbers"]] == list(range(1, 10_001))
    assert block["numbers"][-1]["number"] == "P-10000"
    assert (await api.reserve())["numbers"][0]["value"] == 10_001
    confirmed = await confirm(api, block["token"], document="REGISTER-1")
    assert len({each["number"] for each in confirmed["numbers"]}) == 10_000
    assert set(states(await api.shown(block["token"]))) == {"CONFIRMED"}


async def test_the_time_to_live_is_the_requests_then_the_series_then_the_services(api: Api) -> None:
    await api.define("SLOW", {"template": "S{SEQ:4}", "reservation_ttl_seconds": 60})
    assert (await api.reserve())["expires_at"] == "2025-06-15T03:05:00.000000Z"
    assert (await api.reserve("SLOW"))["expires_at"] == "2025-06-15T03:01:00.000000Z"
    assert (await api.reserve("SLOW", ttl_seconds=1))["expires_at"] == "2025-06-15T03:00:01.000000Z"


async def test_every_command_answers_with_a_later_position(api: Api) -> None:
    first, second, third = [await api.reserve() for _ in range(3)]
    answers = [
        first,
        second,
        third,
        await confirm(api, first["token"]),
        answer(await api.post(f"/v1/reservations/{second['token']}/extend", {"ttl_seconds": 600}), 200),
        answer(await api.post(f"/v1/reservations/{third['token']}/cancel", {}), 200),
        answer(await api.post("/v1/issue", {"series": "PLAIN", "document": "D"}), 201),
    ]
    positions = [each["position"] for each in answers]
    assert positions == sorted(set(positions))
    assert positions[-1] == (await api.head()).position


# What becomes of it


async def test_a_confirmed_reservation(api: Api) -> None:
    reserved = await api.reserve(count=2)
    token = reserved["token"]
    confirmed = await confirm(api, token, document="DOC-1")
    assert confirmed == {
        "token": token,
        "state": "CONFIRMED",
        "numbers": [
            {"number": "P-00001", "value": 1, "document": "DOC-1"},
            {"number": "P-00002", "value": 2, "document": "DOC-1"},
        ],
        "released": [],
        "sequence": "PLAIN:-",
        "period": "-",
        "position": reserved["position"] + 1,
    }
    assert await api.shown(token) == {
        "token": token,
        "state": "CONFIRMED",
        "series": "PLAIN",
        "numbers": [
            {"number": "P-00001", "value": 1, "state": "CONFIRMED", "document": "DOC-1"},
            {"number": "P-00002", "value": 2, "state": "CONFIRMED", "document": "DOC-1"},
        ],
        "sequence": "PLAIN:-",
        "period": "-",
        "document_date": "2025-06-15",
        "reserved_at": "2025-06-15T03:00:00.000000Z",
        "expires_at": "2025-06-15T03:05:00.000000Z",
        "position": confirmed["position"],
    }


async def test_a_reservation_is_confirmed_without_a_document_and_with_an_empty_body(api: Api) -> None:
    token = (await api.reserve())["token"]
    confirmed = answer(await api.http.post(f"/v1/reservations/{token}/confirm"), 200)
    assert confirmed["numbers"] == [{"number": "P-00001", "value": 1}]


async def test_a_partial_confirmation_releases_the_rest(api: Api) -> None:
    token = (await api.reserve(count=4))["token"]
    chosen: list[object] = ["P-00003", {"number": "P-00001", "document": "OWN"}]
    confirmed = await confirm(api, token, document="ALL", numbers=chosen)
    assert confirmed["numbers"] == [
        {"number": "P-00001", "value": 1, "document": "OWN"},
        {"number": "P-00003", "value": 3, "document": "ALL"},
    ]
    assert [each["number"] for each in confirmed["released"]] == ["P-00002", "P-00004"]
    shown = await api.shown(token)
    assert states(shown) == ["CONFIRMED", "CANCELLED", "CONFIRMED", "CANCELLED"]
    assert [each.get("document") for each in shown["numbers"]] == ["OWN", None, "ALL", None]
    problem(await api.post(f"/v1/reservations/{token}/confirm", {}), Code.RESERVATION_CLOSED)


async def test_a_partial_confirmation_can_keep_the_rest(api: Api) -> None:
    token = (await api.reserve(count=3))["token"]
    kept = await confirm(api, token, numbers=["P-00002"], release_rest=False)
    assert kept["released"] == []
    shown = await api.shown(token)
    assert shown["state"] == "RESERVED"
    assert states(shown) == ["RESERVED", "CONFIRMED", "RESERVED"]
    again = await api.post(f"/v1/reservations/{token}/confirm", {"numbers": ["P-00002"]})
    assert problem(again, Code.INVALID_FORMAT)["errors"][0]["field"] == "numbers[0]"
    rest = await confirm(api, token, document="LATER")
    assert [each["value"] for each in rest["numbers"]] == [1, 3]
    assert states(await api.shown(token)) == ["CONFIRMED"] * 3


async def test_an_extended_reservation_lives_on(api: Api) -> None:
    token = (await api.reserve())["token"]
    extended = answer(await api.post(f"/v1/reservations/{token}/extend", {"ttl_seconds": 3600}), 200)
    assert extended == {
        "token": token,
        "state": "RESERVED",
        "sequence": "PLAIN:-",
        "expires_at": "2025-06-15T04:00:00.000000Z",
        "position": (await api.head()).position,
    }
    assert (await api.shown(token))["expires_at"] == extended["expires_at"]
    api.clock.advance(3000)
    await confirm(api, token)


async def test_a_cancelled_reservation_leaves_a_gap_and_its_reason(api: Api) -> None:
    token = (await api.reserve(count=2))["token"]
    cancelled = answer(await api.post(f"/v1/reservations/{token}/cancel", {"reason": "ยกเลิกร่าง"}), 200)
    assert cancelled == {
        "token": token,
        "state": "CANCELLED",
        "numbers": [{"number": "P-00001", "value": 1}, {"number": "P-00002", "value": 2}],
        "sequence": "PLAIN:-",
        "period": "-",
        "position": (await api.head()).position,
    }
    shown = await api.shown(token)
    assert (shown["state"], states(shown)) == ("CANCELLED", ["CANCELLED"] * 2)
    assert (await api.reserve())["numbers"][0]["value"] == 3
    (event,) = await api.store.events(after=cancelled["position"] - 1, limit=1)
    assert orjson.loads(event.body)["reason"] == "ยกเลิกร่าง"


async def test_a_gapless_series_gives_a_cancelled_value_again(api: Api) -> None:
    await api.define("GAPLESS", {"template": "G{SEQ:4}", "reuse": "gapless"})
    first = await api.reserve("GAPLESS")
    await api.reserve("GAPLESS")
    answer(await api.post(f"/v1/reservations/{first['token']}/cancel", {}), 200)
    assert (await api.reserve("GAPLESS"))["numbers"] == first["numbers"]
    assert states(await api.shown(first["token"])) == ["CANCELLED"]


async def test_an_expired_reservation_is_refused_and_told(api: Api) -> None:
    token = (await api.reserve())["token"]
    api.clock.advance(300)
    problem(await api.post(f"/v1/reservations/{token}/confirm", {}), Code.RESERVATION_EXPIRED)
    shown = await api.shown(token)
    assert (shown["state"], states(shown)) == ("EXPIRED", ["EXPIRED"])
    assert (await api.reserve())["numbers"][0]["value"] == 2


async def test_a_reservation_expires_by_itself(api: Api) -> None:
    token = (await api.reserve())["token"]
    api.clock.advance(301)

    async def expired() -> bool:
        return bool((await api.shown(token))["state"] == "EXPIRED")

    await eventually(expired)
    assert (await api.reserve())["numbers"][0]["value"] == 2


async def _confirmed(api: Api, token: str) -> None:
    await confirm(api, token)


async def _cancelled(api: Api, token: str) -> None:
    answer(await api.post(f"/v1/reservations/{token}/cancel", {}), 200)


async def _expired(api: Api, token: str) -> None:
    api.clock.advance(300)
    problem(await api.post(f"/v1/reservations/{token}/cancel", {}), Code.RESERVATION_EXPIRED)


@pytest.mark.parametrize("action", ["confirm", "extend", "cancel"])
@pytest.mark.parametrize(
    ("end", "code"),
    [
        (_confirmed, Code.RESERVATION_CLOSED),
        (_cancelled, Code.RESERVATION_CLOSED),
        (_expired, Code.RESERVATION_EXPIRED),
    ],
)
async def test_a_used_token_is_of_no_more_use(
    api: Api, end: Callable[[Api, str], Awaitable[None]], code: Code, action: str
) -> None:
    token = (await api.reserve())["token"]
    await end(api, token)
    body = {"ttl_seconds": 60} if action == "extend" else {}
    async with api.unchanged():
        problem(await api.post(f"/v1/reservations/{token}/{action}", body), code)


@in_memory
@pytest.mark.parametrize("action", ["", "/confirm", "/extend", "/cancel"])
async def test_an_unknown_token(api: Api, action: str) -> None:
    body = {"ttl_seconds": 60} if action == "/extend" else {}
    async with api.unchanged():
        path = f"/v1/reservations/{UNKNOWN}{action}"
        response = await api.post(path, body) if action else await api.http.get(path)
        problem(response, Code.RESERVATION_NOT_FOUND)


# At once


async def test_two_hundred_at_once_get_two_hundred_values(api: Api) -> None:
    responses = await asyncio.gather(*(api.post("/v1/reservations", {"series": "PLAIN"}) for _ in range(200)))
    reserved = [answer(response, 201) for response in responses]
    assert sorted(each["numbers"][0]["value"] for each in reserved) == list(range(1, 201))
    assert len({each["token"] for each in reserved}) == 200
    assert len({each["position"] for each in reserved}) == 200


async def test_a_reservation_is_confirmed_once_however_many_try(api: Api) -> None:
    token = (await api.reserve())["token"]
    path = f"/v1/reservations/{token}/confirm"
    responses = await asyncio.gather(*(api.post(path, {"document": f"D{n}"}) for n in range(20)))
    assert sorted(response.status_code for response in responses) == [200] + [409] * 19


async def test_clients_that_go_away_change_nothing_for_the_others(api: Api) -> None:
    async def reserve() -> httpx.Response:
        return await api.post("/v1/reservations", {"series": "PLAIN"})

    requests = [asyncio.create_task(reserve()) for _ in range(200)]
    for turn in range(20):
        await asyncio.sleep(0)
        for request in requests[turn::40]:
            request.cancel()
    answers = await asyncio.gather(*requests, return_exceptions=True)
    stayed = [answer(each, 201) for each in answers if isinstance(each, httpx.Response)]
    assert 100 <= len(stayed) < 200
    values = [each["numbers"][0]["value"] for each in stayed]
    assert len(set(values)) == len(values)
    for each in stayed:
        assert (await api.shown(each["token"]))["numbers"][0]["value"] == each["numbers"][0]["value"]
    # What the log holds for those who left is whole and in order, so the next value is one that nobody has.
    assert (await api.reserve())["numbers"][0]["value"] > max(values)


async def test_two_services_on_one_file_share_one_sequence(open_sqlite: Callable[[], Store], clock: Time) -> None:
    async with (
        served(open_sqlite(), open_sqlite(), clock=clock) as one,
        served(open_sqlite(), open_sqlite(), clock=clock) as other,
    ):
        await one.define("PLAIN", PLAIN_BODY)
        first = await one.reserve()
        assert (await other.shown(first["token"]))["numbers"][0]["number"] == "P-00001"
        reserved = await asyncio.gather(*(service.reserve() for _ in range(40) for service in (one, other)))
        assert sorted(each["numbers"][0]["value"] for each in reserved) == list(range(2, 82))
        for each in reserved[:2]:  # each service confirms what the other has reserved
            await confirm(other, each["token"])
            assert (await one.shown(each["token"]))["state"] == "CONFIRMED"
        seen = [answer(await service.post("/v1/preview", {"series": "PLAIN"}), 200) for service in (one, other)]
        assert seen[0] == seen[1]
        assert answer(await other.http.get("/v1/series/PLAIN"), 200)["template"] == PLAIN_BODY["template"]
