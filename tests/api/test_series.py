import asyncio
from typing import Any

import pytest

from ledger.domain.rejection import Code
from tests.api.client import LETTER_BODY, PLAIN_BODY, RFA_BODY, Api, Json, answer, in_memory, problem

DEFAULTS: Json = {
    "version": 1,
    "key": [],
    "dimensions": {},
    "attributes": {},
    "reset": "never",
    "fiscal_year_start": "01-01",
    "timezone": "UTC",
    "date_order": "none",
    "start": 1,
    "overflow": "error",
    "reuse": "never",
    "reservation_max_lifetime_seconds": 86_400,
    "manual": True,
    "warn_at_percent": [90, 95],
    "description": "",
}
EVERYTHING: Json = {
    "template": "{PROJECT}/{SEQ:6}/{FY}{REV}",
    "key": ["PROJECT"],
    "dimensions": {"PROJECT": {"chars": "A-Z0-9", "min": 2, "max": 6}},
    "attributes": {"REV": {"values": ["A", "B"], "default": "A"}},
    "reset": "fiscal_year",
    "fiscal_year_start": "10-01",
    "timezone": "Asia/Bangkok",
    "date_order": "period",
    "start": 100,
    "max_value": 99_999,
    "overflow": "widen",
    "reuse": "gapless",
    "reservation_ttl_seconds": 600,
    "reservation_max_lifetime_seconds": 7200,
    "manual": False,
    "warn_at_percent": [80],
    "description": "ทะเบียนหนังสือ",
}


async def test_a_defined_series_is_answered_with_every_default(api: Api) -> None:
    made = await api.define("INVOICE", {"template": "INV-{SEQ:6}"})
    position = (await api.head()).position
    assert made == DEFAULTS | {"code": "INVOICE", "template": "INV-{SEQ:6}", "position": position}


async def test_a_series_that_says_everything_is_kept_as_it_was_said(api: Api) -> None:
    made = await api.define("ALL", EVERYTHING)
    assert made == EVERYTHING | {"code": "ALL", "version": 1, "position": made["position"]}
    assert answer(await api.http.get("/v1/series/ALL"), 200) == made


async def test_the_key_is_the_dimensions_in_the_order_of_the_template(api: Api) -> None:
    made = await api.define("RFA", RFA_BODY)
    assert made["key"] == ["DISCIPLINE", "RFA_TYPE"]
    assert made["attributes"] == {"REV": {"chars": "A-Z", "min": 1, "max": 1, "default": "A"}}


@pytest.mark.parametrize("spelling", [{}, {"start": 1}, {"key": []}, {"reset": "never", "description": ""}])
async def test_defining_it_again_changes_nothing(api: Api, spelling: Json) -> None:
    async with api.unchanged():
        again = answer(await api.http.put("/v1/series/PLAIN", json=PLAIN_BODY | spelling), 200)
    assert again == answer(await api.http.get("/v1/series/PLAIN"), 200)


@pytest.mark.parametrize("change", [{"template": "Q-{SEQ:5}"}, {"start": 2}, {"description": "other"}])
async def test_defining_it_otherwise_amends_it(api: Api, change: Json) -> None:
    amended = answer(await api.http.put("/v1/series/PLAIN", json=PLAIN_BODY | change), 200)
    assert amended["version"] == 2
    assert amended == answer(await api.http.get("/v1/series/PLAIN"), 200)
    async with api.unchanged():
        assert answer(await api.http.put("/v1/series/PLAIN", json=PLAIN_BODY | change), 200) == amended


async def test_a_series_keeps_the_numbers_that_it_issued(api: Api) -> None:
    await api.reserve(count=3)
    async with api.unchanged():
        body = PLAIN_BODY | {"max_value": 2}
        refused = problem(await api.http.put("/v1/series/PLAIN", json=body), Code.AMENDMENT_REFUSED)
    assert refused["errors"] == [{"field": "max_value", "problem": "must be at least 3"}]


async def test_all_series_are_listed_by_code(api: Api) -> None:
    letter, rfa = await api.define("LETTER", LETTER_BODY), await api.define("A.RFA-1_x", RFA_BODY)
    listed = answer(await api.http.get("/v1/series"), 200)
    position = (await api.head()).position
    assert listed["position"] == position
    assert [each["code"] for each in listed["series"]] == ["A.RFA-1_x", "LETTER", "PLAIN"]
    assert listed["series"][:2] == [rfa | {"position": position}, letter | {"position": position}]


@in_memory
@pytest.mark.parametrize("code", ["NOWHERE", "plain", "PLAIN%20", "%E0%B8%81", "%00", "x" * 1000])
async def test_an_unknown_series_is_not_found(api: Api, code: str) -> None:
    problem(await api.http.get(f"/v1/series/{code}"), Code.CONFIG_NOT_FOUND)


async def test_a_series_defined_by_many_at_once_is_defined_once(api: Api) -> None:
    puts = (api.http.put("/v1/series/NEW", json={"template": f"{'AB'[n % 2]}{{SEQ:4}}"}) for n in range(20))
    statuses = [response.status_code for response in await asyncio.gather(*puts)]
    assert sorted(statuses) == [200] * 19 + [201]


# Refused definitions: each names the field

A: Json = {"values": ["A"]}


def with_a(**dimension: object) -> Json:
    return {"template": "{A}{SEQ:4}", "dimensions": {"A": dimension}}


REFUSED: list[tuple[str, Json]] = [
    ("template", {}),
    ("template", {"template": None}),
    ("template", {"template": 5}),
    ("template", {"template": ""}),
    ("template", {"template": "no sequence"}),
    ("template", {"template": "{SEQ:4}{SEQ:4}"}),
    ("template", {"template": "{SEQ}"}),
    ("template", {"template": "{SEQ:0}"}),
    ("template", {"template": "{SEQ:10}"}),
    ("template", {"template": "{seq:4}"}),
    ("template", {"template": "{SEQ:4"}),
    ("template", {"template": "{SEQ:4}}"}),
    ("template", {"template": "{{SEQ:4}}"}),
    ("template", {"template": "{YEAR:XX}{SEQ:4}"}),
    ("template", {"template": "{A}{SEQ:4}"}),
    ("template", {"template": "{SEQ:4}", "dimensions": {"A": A}}),
    ("template", {"template": "{SEQ:4}\n"}),
    ("template", {"template": "{SEQ:4}\u200b"}),
    ("template", {"template": "e\u0301{SEQ:4}"}),
    ("template", {"template": "x" * 501 + "{SEQ:4}"}),
    ("key", {"template": "{A}{SEQ:4}", "dimensions": {"A": A}, "key": []}),
    ("key", {"template": "{A}{SEQ:4}", "dimensions": {"A": A}, "key": ["A", "A"]}),
    ("key", {"template": "{SEQ:4}", "key": ["A"]}),
    ("key", {"template": "{SEQ:4}", "key": "A"}),
    ("key[0]", {"template": "{SEQ:4}", "key": [1]}),
    ("dimensions", {"template": "{SEQ:4}", "dimensions": []}),
    ("dimensions.A", {"template": "{A}{SEQ:4}", "dimensions": {"A": "A-Z"}}),
    ("dimensions.A", with_a()),
    ("dimensions.A", with_a(values=[])),
    ("dimensions.A", with_a(values=["A"], chars="A-Z")),
    ("dimensions.A", with_a(values=["A", "A"])),
    ("dimensions.A.values", with_a(values=[""])),
    ("dimensions.A.values", with_a(values=["x" * 51])),
    ("dimensions.A.values", with_a(values=["a\tb"])),
    ("dimensions.A.values", with_a(values=["e\u0301"])),
    ("dimensions.A.values[0]", with_a(values=[1])),
    ("dimensions.A", with_a(chars="A-Z", min=0)),
    ("dimensions.A", with_a(chars="A-Z", min=-1)),
    ("dimensions.A", with_a(chars="A-Z", min=5, max=2)),
    ("dimensions.A", with_a(chars="A-Z", max=51)),
    ("dimensions.A", with_a(chars="A-Z", max=10**12)),
    ("dimensions.A", with_a(chars="A-Z", min=10**9, max=10**9)),
    ("dimensions.A.min", with_a(chars="A-Z", min="1")),
    ("dimensions.A.chars", with_a(chars="Z-A")),
    ("dimensions.A.chars", with_a(chars="A-Z\u200d")),
    ("dimensions.a", {"template": "{SEQ:4}", "dimensions": {"a": A}}),
    ("dimensions.SEQ", {"template": "{SEQ:4}", "dimensions": {"SEQ": A}}),
    ("dimensions.YYYY", {"template": "{SEQ:4}{YYYY}", "dimensions": {"YYYY": A}}),
    ("attributes.A", {"template": "{A}{SEQ:4}", "dimensions": {"A": A}, "attributes": {"A": A}}),
    ("attributes.A.default", {"template": "{A}{SEQ:4}", "attributes": {"A": {"values": ["A"], "default": "B"}}}),
    ("attributes.A.default", {"template": "{A}{SEQ:4}", "attributes": {"A": {"values": ["A"], "default": 1}}}),
    ("reset", {"template": "{SEQ:4}", "reset": "weekly"}),
    ("reset", {"template": "{SEQ:4}", "reset": None}),
    ("fiscal_year_start", {"template": "{SEQ:4}", "fiscal_year_start": "02-29"}),
    ("fiscal_year_start", {"template": "{SEQ:4}", "fiscal_year_start": "13-01"}),
    ("fiscal_year_start", {"template": "{SEQ:4}", "fiscal_year_start": "10/01"}),
    ("fiscal_year_start", {"template": "{SEQ:4}", "fiscal_year_start": "๑๐-๐๑"}),
    ("timezone", {"template": "{SEQ:4}", "timezone": "Asia/Atlantis"}),
    ("timezone", {"template": "{SEQ:4}", "timezone": "../../etc/passwd"}),
    ("timezone", {"template": "{SEQ:4}", "timezone": ""}),
    ("date_order", {"template": "{SEQ:4}", "date_order": "strict"}),
    ("start", {"template": "{SEQ:4}", "start": -1}),
    ("start", {"template": "{SEQ:4}", "start": 10_000}),
    ("max_value", {"template": "{SEQ:4}", "start": 5, "max_value": 4}),
    ("max_value", {"template": "{SEQ:4}", "max_value": 10_000}),
    ("max_value", {"template": "{SEQ:4}", "max_value": 10**30, "overflow": "widen"}),
    ("max_value", {"template": "{SEQ:4}", "max_value": "9"}),
    ("start", {"template": "{SEQ:4}", "start": True}),
    ("overflow", {"template": "{SEQ:4}", "overflow": "wrap"}),
    ("reuse", {"template": "{SEQ:4}", "reuse": "always"}),
    ("reservation_ttl_seconds", {"template": "{SEQ:4}", "reservation_ttl_seconds": 0}),
    ("reservation_ttl_seconds", {"template": "{SEQ:4}", "reservation_ttl_seconds": 90_000}),
    ("reservation_max_lifetime_seconds", {"template": "{SEQ:4}", "reservation_max_lifetime_seconds": 0}),
    ("reservation_max_lifetime_seconds", {"template": "{SEQ:4}", "reservation_max_lifetime_seconds": 10**9}),
    ("manual", {"template": "{SEQ:4}", "manual": "yes"}),
    ("warn_at_percent", {"template": "{SEQ:4}", "warn_at_percent": [101]}),
    ("warn_at_percent", {"template": "{SEQ:4}", "warn_at_percent": [1] * 11}),
    ("warn_at_percent[0]", {"template": "{SEQ:4}", "warn_at_percent": [90.5]}),
    ("description", {"template": "{SEQ:4}", "description": "a\u0000b"}),
    ("description", {"template": "{SEQ:4}", "description": "x" * 1001}),
]


@pytest.mark.parametrize(("field", "body"), REFUSED)
async def test_a_wrong_definition_names_its_field_and_changes_nothing(memory_api: Api, field: str, body: Json) -> None:
    async with memory_api.unchanged():
        told = problem(await memory_api.http.put("/v1/series/X", json=body), Code.INVALID_FORMAT)
    assert told["errors"][0]["field"] == field
    problem(await memory_api.http.get("/v1/series/X"), Code.CONFIG_NOT_FOUND)


async def test_a_key_that_would_not_fit_a_sequence_is_refused(memory_api: Api) -> None:
    names = [chr(ord("A") + n) for n in range(21)]
    body = {
        "template": "".join(f"{{{name}}}" for name in names) + "{SEQ:4}",
        "dimensions": {name: {"chars": "A-Z", "max": 2} for name in names},
    }
    async with memory_api.unchanged():
        problem(await memory_api.http.put("/v1/series/X", json=body), Code.INVALID_FORMAT)


@pytest.mark.parametrize("code", ["%20", "-A", ".A", "A%00", "%E0%B8%81", "A%3AB", "A%25", "x" * 51])
async def test_a_wrong_code_is_refused(memory_api: Api, code: str) -> None:
    async with memory_api.unchanged():
        told = problem(await memory_api.http.put(f"/v1/series/{code}", json=PLAIN_BODY), Code.INVALID_FORMAT)
    assert told["errors"][0]["field"] == "code"


@pytest.mark.parametrize(
    ("field", "near", "body"),
    [
        ("tempalte", "template", {"tempalte": "{SEQ:4}", "template": "{SEQ:4}"}),
        ("dimension", "dimensions", {"template": "{SEQ:4}", "dimension": {}}),
        ("timezome", "timezone", {"template": "{SEQ:4}", "timezome": "UTC"}),
        ("dimensions.A.vlaues", "values", with_a(vlaues=["A"])),
        ("dimensions.A.mni", "min", with_a(chars="A-Z", mni=1)),
        ("attributes.A.defualt", "default", {"template": "{A}{SEQ:4}", "attributes": {"A": A | {"defualt": "A"}}}),
        ("attributes.A.char", "chars", {"template": "{A}{SEQ:4}", "attributes": {"A": {"char": "A-Z"}}}),
    ],
)
async def test_a_typo_is_told_with_the_nearest_name(memory_api: Api, field: str, near: str, body: Any) -> None:
    async with memory_api.unchanged():
        told = problem(await memory_api.http.put("/v1/series/X", json=body), Code.INVALID_FORMAT)
    assert {"field": field, "problem": f"is not a known field; did you mean {near}?"} in told["errors"]


async def test_a_name_that_is_near_to_none_is_told_with_all(memory_api: Api) -> None:
    told = problem(
        await memory_api.http.put("/v1/series/X", json={"template": "{SEQ:4}", "zzz": 1}), Code.INVALID_FORMAT
    )
    assert "known are template, key, dimensions" in told["detail"]
