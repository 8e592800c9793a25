import pytest

from ledger.domain.rejection import Code
from tests.api.client import LETTER_BODY, LETTER_KEY, Api, Json, answer, in_memory, problem


async def preview(api: Api, **body: object) -> Json:
    return answer(await api.post("/v1/preview", body), 200)


async def test_a_preview_tells_the_next_number_and_its_position(api: Api) -> None:
    assert await preview(api, series="PLAIN") == {
        "numbers": [{"number": "P-00001", "value": 1}],
        "sequence": "PLAIN:-",
        "period": "-",
        "position": (await api.head()).position,
    }


async def test_a_preview_holds_nothing(api: Api) -> None:
    async with api.unchanged():
        seen = [await preview(api, series="PLAIN", count=2) for _ in range(3)]
    assert seen[0] == seen[1] == seen[2]
    assert (await api.reserve(count=2))["numbers"] == seen[0]["numbers"]


async def test_a_preview_follows_the_log(api: Api) -> None:
    before = await preview(api, series="PLAIN")
    reserved = await api.reserve(count=5)
    after = await preview(api, series="PLAIN")
    assert before["position"] < reserved["position"] == after["position"]
    assert after["numbers"] == [{"number": "P-00006", "value": 6}]


async def test_a_preview_prints_key_date_and_attributes(api: Api) -> None:
    await api.define("LETTER", LETTER_BODY)
    seen = await preview(api, series="LETTER", key=LETTER_KEY, document_date="2024-12-31")
    assert seen["numbers"][0]["number"] == "คคง.-สคฉ.3-0001-2567"
    assert seen["period"] == "2024"


async def test_a_preview_tells_the_value_that_a_gapless_series_gives_again(api: Api) -> None:
    await api.define("GAPLESS", {"template": "G{SEQ:4}", "reuse": "gapless"})
    first = await api.reserve("GAPLESS")
    await api.reserve("GAPLESS")
    answer(await api.post(f"/v1/reservations/{first['token']}/cancel", {}), 200)
    assert [each["value"] for each in (await preview(api, series="GAPLESS", count=2))["numbers"]] == [1, 3]


@in_memory
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"series": "NOWHERE"}, Code.CONFIG_NOT_FOUND),
        ({"series": "PLAIN", "count": 0}, Code.INVALID_FORMAT),
        ({"series": "PLAIN", "key": {"X": "1"}}, Code.INVALID_FORMAT),
        ({"series": "PLAIN", "document_date": "1999-12-31"}, Code.INVALID_FORMAT),
        ({"series": "PLAIN", "ttl_seconds": 5}, Code.INVALID_FORMAT),
        ({"series": "SMALL", "count": 4}, Code.SEQUENCE_EXHAUSTED),
        ({"series": "LETTER", "key": LETTER_KEY, "document_date": "2026-01-01"}, Code.PERIOD_NOT_BEGUN),
    ],
)
async def test_a_preview_is_refused_like_a_reservation(api: Api, body: Json, code: Code) -> None:
    await api.define("SMALL", {"template": "S{SEQ:1}", "max_value": 3})
    await api.define("LETTER", LETTER_BODY)
    async with api.unchanged():
        problem(await api.post("/v1/preview", body), code)
