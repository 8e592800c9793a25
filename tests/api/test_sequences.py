"""Sequences over HTTP: how full they are, every value accounted for, and what their owners do by hand."""

from urllib.parse import quote

import pytest

from ledger.domain.commands import Envelope, Fence
from ledger.domain.rejection import Code
from ledger.domain.sequence import ValueState
from tests.api.client import PLAIN_BODY, Api, Json, answer, in_memory, problem

DAY = 86_400
YEARLY: Json = {"template": "Y{YYYY}-{SEQ:3}", "reset": "yearly"}
KEYED: Json = {
    "template": "K/{NAME}/{YYYY}/{SEQ:2}",
    "dimensions": {"NAME": {"values": ["A/B", "50%", "C:D", "คคง."]}},
    "reset": "yearly",
}
NONE = dict.fromkeys(ValueState, 0)


def path(id: str, *, then: str = "") -> str:
    return f"/v1/sequences/{quote(id, safe='')}{then}"


async def shown(api: Api, id: str = "PLAIN:-") -> Json:
    return answer(await api.http.get(path(id)), 200)


async def accounted(api: Api, id: str = "PLAIN:-", query: str = "") -> Json:
    return answer(await api.http.get(path(id, then=f"/gaps?{query}")), 200)


def covered(told: Json) -> list[int]:
    return [value for each in told["ranges"] for value in range(each["first"], each["last"] + 1)]


async def confirm(api: Api, count: int = 1, series: str = "PLAIN", **fields: object) -> Json:
    body = {"series": series, "count": count, "document": "D", **fields}
    return answer(await api.post("/v1/issue", body), 201)


async def every_state(api: Api) -> None:
    """1 is voided, 2 and 3 confirmed, 4 cancelled, 5 expired, 6 to 8 skipped, 9 reserved."""
    await confirm(api, 3)
    answer(await api.post("/v1/numbers/P-00001/void", {"reason": "spoilt in print"}), 200)
    cancelled = (await api.reserve())["token"]
    answer(await api.post(f"/v1/reservations/{cancelled}/cancel", {"reason": "not sent"}), 200)
    await api.reserve(ttl_seconds=1)
    api.clock.advance(2)
    answer(await api.post(path("PLAIN:-", then="/adjust"), {"next_value": 9, "reason": "a lost book"}), 200)
    await api.reserve()


# Look


async def test_a_sequence_tells_how_full_it_is(api: Api) -> None:
    await api.define("SMALL", {"template": "S{SEQ:2}", "max_value": 10})
    await confirm(api, 8, "SMALL")
    api.clock.advance(4 * DAY)
    await confirm(api, 1, "SMALL")
    told = await shown(api, "SMALL:-")
    assert told.pop("exhausted_on").count("-") == 2
    assert told == {
        "sequence": "SMALL:-",
        "series": "SMALL",
        "series_version": 1,
        "key": {},
        "period": "-",
        "start": 1,
        "high_water": 9,
        "next_value": 10,
        "max_value": 10,
        "left": 1,
        "percent": 90,
        "warnings": [90],
        "per_day": 2.25,
        "counts": NONE | {"CONFIRMED": 9},
        "closed": False,
        "position": (await api.head()).position,
    }
    await confirm(api, 1, "SMALL")
    full = await shown(api, "SMALL:-")
    assert (full["next_value"], full["left"], full["warnings"]) == (None, 0, [90, 95])


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("A/B", "KEYED:A%2FB:2025"),
        ("50%", "KEYED:50%25:2025"),
        ("C:D", "KEYED:C%3AD:2025"),
        ("คคง.", "KEYED:คคง.:2025"),
    ],
)
async def test_an_id_is_usable_as_it_was_given(api: Api, name: str, id: str) -> None:
    await api.define("KEYED", KEYED)
    made = await api.reserve("KEYED", key={"NAME": name}, document_date="2025-03-01")
    assert made["sequence"] == id
    told = await shown(api, id)
    assert (told["sequence"], told["key"], told["period"]) == (id, {"NAME": name}, "2025")
    assert covered(await accounted(api, id)) == [1]


async def test_an_id_without_odd_characters_may_stand_raw(api: Api) -> None:
    await api.reserve()
    assert answer(await api.http.get("/v1/sequences/PLAIN:-"), 200) == await shown(api)


@in_memory
@pytest.mark.parametrize("id", ["NOWHERE:-", "PLAIN", "PLAIN:-", "PLAIN:2025", "a/b", "\u0000", "x" * 1000, "คคง."])
async def test_an_unknown_sequence_is_not_found(api: Api, id: str) -> None:
    for then in ("", "/gaps"):
        problem(await api.http.get(path(id, then=then)), Code.SEQUENCE_NOT_FOUND)


async def test_sequences_are_listed_in_pages(api: Api) -> None:
    await api.define("YEARLY", YEARLY)
    for year in (2023, 2024, 2025):
        await api.reserve("YEARLY", document_date=f"{year}-01-31")
    await api.reserve()
    first = answer(await api.http.get("/v1/sequences?limit=3"), 200)
    assert [each["sequence"] for each in first["sequences"]] == ["PLAIN:-", "YEARLY:2023", "YEARLY:2024"]
    assert first["next"] == "YEARLY:2024"
    rest = answer(await api.http.get("/v1/sequences", params={"limit": 3, "after": first["next"]}), 200)
    assert ([each["sequence"] for each in rest["sequences"]], rest["next"]) == (["YEARLY:2025"], None)
    assert rest["sequences"][0] | {"position": rest["position"]} == await shown(api, "YEARLY:2025")
    one = answer(await api.http.get("/v1/sequences?series=PLAIN&limit=1"), 200)
    assert ([each["sequence"] for each in one["sequences"]], one["next"]) == (["PLAIN:-"], None)
    problem(await api.http.get("/v1/sequences?series=NOWHERE"), Code.CONFIG_NOT_FOUND)


@pytest.mark.parametrize(
    ("field", "query"),
    [
        ("limit", "limit=0"),
        ("limit", "limit=10001"),
        ("limit", "limit=-1"),
        ("limit", "limit=1.0"),
        ("limit", "limit=%E0%B9%91"),
        ("limit", "limit="),
        ("limit", "limit=1&limit=2"),
        ("limits", "limits=1"),
        ("first", "first=-1"),
        ("first", "first=4000000001"),
        ("first", "first=" + "9" * 5000),
        ("first", "first=one"),
        ("state", "state=LOST"),
        ("state", "state=confirmed"),
        ("state", "state=VOIDED,,SKIPPED"),
        ("state", "state="),
    ],
)
async def test_a_wrong_query_is_refused(memory_api: Api, field: str, query: str) -> None:
    await memory_api.reserve()
    told = problem(await memory_api.http.get(f"/v1/sequences/PLAIN:-/gaps?{query}"), Code.INVALID_FORMAT)
    assert told["errors"][0]["field"] == field
    problem(await memory_api.http.get(f"/v1/sequences?{query}"), Code.INVALID_FORMAT)


# Account


async def test_every_value_has_one_state_and_its_cause(api: Api) -> None:
    await every_state(api)
    told = await accounted(api)
    assert covered(told) == list(range(1, 10))
    assert told["high_water"] == 9
    assert told["counts"] == NONE | {
        "VOIDED": 1, "CONFIRMED": 2, "CANCELLED": 1, "EXPIRED": 1, "SKIPPED": 3, "RESERVED": 1
    }  # fmt: skip
    assert [(each["first"], each["last"], each["state"]) for each in told["ranges"]] == [
        (1, 1, "VOIDED"),
        (2, 3, "CONFIRMED"),
        (4, 4, "CANCELLED"),
        (5, 5, "EXPIRED"),
        (6, 8, "SKIPPED"),
        (9, 9, "RESERVED"),
    ]
    causes = [each["cause"] for each in told["ranges"]]
    assert [cause["reason"] for cause in causes] == ["spoilt in print", None, "not sent", None, "a lost book", None]
    assert [cause["actor"] for cause in causes] == ["anonymous"] * 3 + ["ledger"] + ["anonymous"] * 2
    assert causes[4]["event"] == "SequenceAdjusted"
    assert all(cause.keys() >= {"event", "actor", "time", "reason", "position"} for cause in causes)
    assert "frozen" not in told


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_account_for_the_whole(api: Api, limit: int) -> None:
    await every_state(api)
    values: list[int] = []
    following: int | None = 0
    while following is not None:
        page = await accounted(api, query=f"first={following}&limit={limit}")
        values += covered(page)
        following = page["next"]
    assert values == list(range(1, 10))


@pytest.mark.parametrize("query", ["state=VOIDED&state=SKIPPED", "state=VOIDED,SKIPPED", "state=SKIPPED,%20VOIDED"])
async def test_states_can_be_chosen(api: Api, query: str) -> None:
    await every_state(api)
    told = await accounted(api, query=query)
    assert covered(told) == [1, 6, 7, 8]
    assert told["counts"]["CONFIRMED"] == 2
    assert covered(await accounted(api, query=query + "&first=7")) == [7, 8]


async def test_a_closed_period_keeps_what_it_was_found_with(api: Api) -> None:
    await api.define("YEARLY", YEARLY)
    await confirm(api, 3, "YEARLY", document_date="2024-05-01")
    closed = answer(await api.post(path("YEARLY:2024", then="/close"), {"reason": "audited"}), 200)
    counts = NONE | {"CONFIRMED": 3}
    assert closed == {
        "sequence": "YEARLY:2024",
        "series": "YEARLY",
        "series_version": 1,
        "key": {},
        "period": "2024",
        "closed": True,
        "start": 1,
        "high_water": 3,
        "counts": counts,
        "position": (await api.head()).position,
    }
    answer(await api.post("/v1/numbers/Y2024-002/void", {"reason": "found to be wrong"}), 200)
    told = await accounted(api, "YEARLY:2024")
    assert told["closed"] is True
    assert told["counts"] == NONE | {"CONFIRMED": 2, "VOIDED": 1}
    cause = told["frozen"].pop("cause")
    assert (cause["event"], cause["actor"], cause["reason"]) == ("PeriodClosed", "anonymous", "audited")
    assert cause["position"] == closed["position"]
    assert told["frozen"] == {
        "start": 1,
        "high_water": 3,
        "counts": counts,
        "ranges": [{"first": 1, "last": 3, "state": "CONFIRMED"}],
    }
    part = await accounted(api, "YEARLY:2024", "first=2&limit=1")
    assert part["frozen"]["ranges"] == [{"first": 2, "last": 2, "state": "CONFIRMED"}]
    sequence = await shown(api, "YEARLY:2024")
    assert (sequence["closed"], sequence["next_value"]) == (True, None)
    async with api.unchanged():
        problem(await api.post(path("YEARLY:2024", then="/close"), {}), Code.PERIOD_CLOSED)
        body = {"series": "YEARLY", "document_date": "2024-05-01"}
        problem(await api.post("/v1/reservations", body), Code.PERIOD_CLOSED)


# By hand


async def test_a_sequence_is_adjusted(api: Api) -> None:
    made = answer(await api.post(path("PLAIN:-", then="/adjust"), {"next_value": 41, "reason": "books 1 to 4"}), 200)
    assert made == {
        "sequence": "PLAIN:-",
        "series": "PLAIN",
        "series_version": 1,
        "key": {},
        "period": "-",
        "skipped": [{"first": 1, "last": 40}],
        "next_value": 41,
        "position": (await api.head()).position,
    }
    assert (await shown(api))["next_value"] == 41
    assert (await api.reserve())["numbers"][0]["value"] == 41


async def test_a_sequence_is_reset_into_the_next_period(api: Api) -> None:
    await api.define("YEARLY", YEARLY)
    await api.reserve("YEARLY", document_date="2025-01-31")
    made = answer(await api.post(path("YEARLY:2025", then="/reset"), {"reason": "early"}), 201)
    assert made == {
        "sequence": "YEARLY:2026",
        "series": "YEARLY",
        "series_version": 1,
        "key": {},
        "period": "2026",
        "next_value": 1,
        "position": (await api.head()).position,
    }
    assert (await api.reserve("YEARLY", document_date="2026-01-01"))["numbers"][0]["number"] == "Y2026-001"
    named = answer(await api.post(path("YEARLY:2025", then="/reset"), {"period": "2031", "reason": "early"} | FAR), 201)
    assert named["sequence"] == "YEARLY:2031"


RUNNING: Json = {"accept": ["running_period"]}
FAR: Json = {"accept": ["far_period"]}
ADJUST: Json = {"next_value": 9, "reason": "a lost book"}


@in_memory
@pytest.mark.parametrize(
    ("code", "id", "then", "body"),
    [
        (Code.SEQUENCE_NOT_FOUND, "NOWHERE:-", "/adjust", ADJUST),
        (Code.SEQUENCE_NOT_FOUND, "\u0000", "/adjust", ADJUST),
        (Code.NOT_FORWARD, "PLAIN:-", "/adjust", ADJUST | {"next_value": 1}),
        (Code.NOT_FORWARD, "PLAIN:-", "/adjust", ADJUST | {"next_value": -(10**15)}),
        (Code.OUT_OF_RANGE, "PLAIN:-", "/adjust", ADJUST | {"next_value": 100_000}),
        (Code.INVALID_FORMAT, "PLAIN:-", "/adjust", ADJUST | {"next_value": "9"}),
        (Code.INVALID_FORMAT, "PLAIN:-", "/adjust", {"next_value": 9}),
        (Code.INVALID_FORMAT, "PLAIN:-", "/adjust", ADJUST | {"reason": "e\u0301"}),
        (Code.RESET_NOT_ALLOWED, "PLAIN:-", "/reset", {"reason": "new"}),
        (Code.NOT_FORWARD, "YEARLY:2025", "/reset", {"period": "2025", "reason": "again"}),
        (Code.INVALID_FORMAT, "YEARLY:2025", "/reset", {"period": "ปี 2568", "reason": "new"}),
        (Code.INVALID_FORMAT, "YEARLY:2025", "/reset", {"period": 2026}),
        (Code.RESERVATIONS_OPEN, "YEARLY:2025", "/close", {}),
        (Code.PERIOD_NOT_BEGUN, "YEARLY:2030", "/close", {}),
        (Code.INVALID_FORMAT, "YEARLY:2025", "/close", {"reason": "\u0000"}),
        (Code.INVALID_FORMAT, "YEARLY:2025", "/close", {"force": True}),
    ],
)
async def test_what_may_not_be_done_to_a_sequence(api: Api, code: Code, id: str, then: str, body: Json) -> None:
    await api.define("YEARLY", YEARLY)
    await api.reserve("YEARLY", document_date="2025-01-31")
    await api.reserve()
    async with api.unchanged():
        problem(await api.post(path(id, then=then), body), code)


# Of a whole series


async def test_a_sequence_that_counts_no_more_is_closed_and_told_as_it_counted(api: Api) -> None:
    values = {"values": ["x", "y"]}
    await api.define("ERA", {"template": "E-{A}-{SEQ:2}", "dimensions": {"A": values}, "max_value": 10})
    answer(await api.post("/v1/issue", {"series": "ERA", "key": {"A": "x"}, "count": 9, "document": "D"}), 201)
    both = {"template": "E-{A}-{B}-{SEQ:2}", "dimensions": {"A": values, "B": values}}
    answer(await api.http.put("/v1/series/ERA", json=both), 200)
    told = await shown(api, "ERA:x:-")
    assert (told["left"], told["next_value"], told["percent"], told["warnings"]) == (0, None, 90, [])
    closed = answer(await api.post(path("ERA:x:-", then="/close"), {}, idempotency_key="K"), 200)
    assert (closed["series_version"], closed["key"], closed["counts"]) == (1, {"A": "x"}, NONE | {"CONFIRMED": 9})
    assert answer(await api.post(path("ERA:x:-", then="/close"), {}, idempotency_key="K"), 200) == closed


async def test_a_maximum_that_makes_numbers_too_long_leaves_those_that_are_there(api: Api) -> None:
    await api.define("LONG", {"template": "L" * 99 + "{SEQ:1}", "overflow": "widen", "max_value": 9})
    reserved = answer(await api.post("/v1/reservations", {"series": "LONG", "count": 2}), 201)
    answer(await api.post("/v1/series/LONG/maximum", {"max_value": 99, "reason": "more than planned"}), 200)
    confirmed = answer(await api.post(f"/v1/reservations/{reserved['token']}/confirm", {"document": "D"}), 200)
    assert [each["number"] for each in confirmed["numbers"]] == [each["number"] for each in reserved["numbers"]]
    number = reserved["numbers"][0]["number"]
    assert answer(await api.http.get(f"/v1/numbers/{number}"), 200)["state"] == "CONFIRMED"
    answer(await api.post(f"/v1/numbers/{number}/void", {"reason": "found to be wrong"}), 200)
    async with api.unchanged():
        problem(await api.post("/v1/reservations", {"series": "LONG", "count": 9}), Code.INVALID_FORMAT)


async def test_a_maximum_is_raised_and_no_maximum_is_lost(api: Api) -> None:
    small = await api.define("SMALL", {"template": "S{SEQ:2}", "max_value": 3})
    await confirm(api, 3, "SMALL")
    body = {"max_value": 5, "reason": "more letters than planned"}
    raised = answer(await api.post("/v1/series/SMALL/maximum", body, idempotency_key="K"), 200)
    assert raised == small | {"max_value": 5, "position": (await api.head()).position}
    async with api.unchanged():
        assert answer(await api.post("/v1/series/SMALL/maximum", body), 200) == raised
    lowered = answer(await api.post("/v1/series/SMALL/maximum", body | {"max_value": 4}), 200)
    assert lowered["max_value"] == (await shown(api, "SMALL:-"))["max_value"] == 4
    assert answer(await api.post("/v1/series/SMALL/maximum", body, idempotency_key="K"), 200) == raised
    async with api.unchanged():
        problem(await api.post("/v1/series/SMALL/maximum", body | {"max_value": 2}), Code.AMENDMENT_REFUSED)
        for wrong in (100, -1, 10**30, "5", 5.0, None):
            problem(await api.post_json("/v1/series/SMALL/maximum", body | {"max_value": wrong}), Code.INVALID_FORMAT)
        problem(await api.post("/v1/series/SMALL/maximum", {"max_value": 5}), Code.INVALID_FORMAT)
        problem(await api.post("/v1/series/NOWHERE/maximum", body), Code.CONFIG_NOT_FOUND)


async def test_a_retired_series_gives_out_no_more(api: Api) -> None:
    await confirm(api, 1)
    same = answer(await api.http.get("/v1/series/PLAIN"), 200)
    retired = answer(await api.post("/v1/series/PLAIN/retire", {"reason": "merged"} | RUNNING), 200)
    definition = {name: value for name, value in same.items() if name not in ("code", "version", "position")}
    assert answer(await api.http.put("/v1/series/PLAIN", json=definition), 200)["retired"] is True
    told = await shown(api, "PLAIN:-")
    assert (told["left"], told["next_value"], told["exhausted_on"]) == (0, None, None)
    assert retired["retired"] is True
    assert answer(await api.http.get("/v1/series/PLAIN"), 200) == retired
    assert answer(await api.http.get("/v1/series"), 200)["series"] == [retired]
    async with api.unchanged():
        problem(await api.post("/v1/series/PLAIN/retire", {}), Code.SERIES_RETIRED)
        problem(await api.post("/v1/reservations", {"series": "PLAIN"}), Code.SERIES_RETIRED)
        problem(await api.http.put("/v1/series/PLAIN", json=PLAIN_BODY | {"start": 2}), Code.SERIES_RETIRED)
        problem(await api.post("/v1/series/NOWHERE/retire", {}), Code.CONFIG_NOT_FOUND)


async def test_a_period_is_opened_before_its_time(api: Api) -> None:
    await api.define("YEARLY", YEARLY)
    await api.define("KEYED", KEYED)
    made = answer(await api.post("/v1/series/KEYED/periods", {"period": "2031", "reason": "tender"} | FAR), 201)
    position = (await api.head()).position
    assert made == {"series": "KEYED", "series_version": 1, "period": "2031", "position": position}
    await api.reserve("KEYED", key={"NAME": "50%"}, document_date="2031-01-01")
    body = {"period": "2032", "key": {"NAME": "A/B"}}
    begun = answer(await api.post("/v1/series/KEYED/periods", body | FAR), 201)
    assert (begun["sequence"], begun["key"], begun["next_value"]) == ("KEYED:A%2FB:2032", {"NAME": "A/B"}, 1)
    opened = answer(await api.post("/v1/series/YEARLY/periods", {"period": "2031"} | FAR), 201)
    assert opened["sequence"] == "YEARLY:2031"
    async with api.unchanged():
        for code, wrong in (
            (Code.PERIOD_ALREADY_OPEN, {"period": "2031"}),
            (Code.PERIOD_ALREADY_OPEN, body),
            (Code.INVALID_FORMAT, {"period": "2031-01"}),
            (Code.INVALID_FORMAT, {"period": "๒๐๓๓"}),
            (Code.INVALID_FORMAT, {"period": "2033", "key": {"NAME": "X"}}),
            (Code.INVALID_FORMAT, {"reason": "no period"}),
        ):
            problem(await api.post("/v1/series/KEYED/periods", wrong), code)
        problem(await api.post("/v1/series/PLAIN/periods", {"period": "2031"}), Code.RESET_NOT_ALLOWED)


async def test_what_was_done_once_is_told_again_as_it_was(api: Api) -> None:
    await api.define("YEARLY", YEARLY)
    await api.define("OLD", {"template": "OLD{SEQ:2}"})
    await confirm(api)
    requests: list[tuple[str, Json]] = [
        ("/v1/series/YEARLY/maximum", {"max_value": 500, "reason": "less"}),
        ("/v1/series/YEARLY/periods", {"period": "2031", "reason": "tender"} | FAR),
        ("/v1/series/OLD/retire", {"reason": "merged"} | RUNNING),
        ("/v1/assign", {"number": "P-00005", "document": "D", "reason": "by hand"}),
        ("/v1/numbers/P-00001/void", {"reason": "spoilt in print", "replace": True}),
        (path("PLAIN:-", then="/adjust"), ADJUST),
        (path("YEARLY:2031", then="/reset"), {"reason": "tender"} | FAR),
        (path("YEARLY:2031", then="/close"), {"reason": "withdrawn"} | RUNNING),
        (path("YEARLY:2031", then="/reopen"), {"reason": "needed after all"}),
        ("/v1/series/OLD/reopen", {"reason": "needed after all"}),
    ]
    first = [await api.post(to, body, idempotency_key="K") for to, body in requests]
    assert [response.status_code for response in first] == [200, 201, 200, 201, 200, 200, 201, 200, 200, 200]
    answer(await api.post("/v1/series/YEARLY/maximum", {"max_value": 900, "reason": "more"}), 200)
    await confirm(api, 3)
    async with api.unchanged():
        for (to, body), response in zip(requests, first, strict=True):
            again = await api.post(to, body, idempotency_key="K")
            assert again.headers["idempotent-replayed"] == "true"
            assert (again.status_code, again.content) == (response.status_code, response.content)
            other = await api.post(to, body | {"reason": "something else"}, idempotency_key="K")
            problem(other, Code.IDEMPOTENCY_KEY_REUSED)


# Behind a restore


async def fence(api: Api) -> None:
    await api.ledger.execute(Fence(0, 0, 10, "restored"), Envelope(bytes(32), "restore"))


async def test_what_a_restore_passed_over_is_accounted_for(api: Api) -> None:
    await api.reserve(count=2)
    await fence(api)
    told = await accounted(api)
    assert [(each["first"], each["last"], each["state"], each["cause"]["event"]) for each in told["ranges"]] == [
        (1, 2, "SKIPPED", "ReservationFenced"),
        (3, 12, "SKIPPED", "SequenceFenced"),
    ]
    assert {(each["cause"]["actor"], each["cause"]["reason"]) for each in told["ranges"]} == {("restore", "restored")}
    assert (await shown(api))["next_value"] == 13


async def test_a_sequence_that_begins_behind_a_restore_says_where(api: Api) -> None:
    await api.define("YEARLY", YEARLY)
    await fence(api)
    opened = answer(await api.post("/v1/series/YEARLY/periods", {"period": "2025"}), 201)
    assert (opened["sequence"], opened["next_value"]) == ("YEARLY:2025", 11)
    assert (await confirm(api, series="YEARLY"))["numbers"] == [{"number": "Y2025-011", "value": 11}]
    adjusted = answer(await api.post(path("YEARLY:2024", then="/adjust"), {"next_value": 13, "reason": "a book"}), 200)
    assert (adjusted["skipped"], adjusted["next_value"]) == ([{"first": 11, "last": 12}], 13)
    closed = answer(await api.post(path("YEARLY:2023", then="/close"), {}), 200)
    assert (closed["high_water"], closed["counts"]["SKIPPED"]) == (10, 10)


async def test_a_lower_start_opens_what_lies_below_in_open_sequences(api: Api) -> None:
    body = {"template": "B-{SEQ:4}", "start": 124}
    await api.define("BINDER", body)
    assert answer(await api.post("/v1/issue", {"series": "BINDER", "document": "D"}), 201)["numbers"][0]["value"] == 124
    amended = answer(await api.http.put("/v1/series/BINDER", json=body | {"start": 1}), 200)
    assert (amended["version"], amended["start"], amended["position"]) == (2, 1, (await api.head()).position)
    found = answer(await api.http.get("/v1/sequences/BINDER:-/gaps"), 200)
    ranges = [(each["first"], each["last"], each["state"]) for each in found["ranges"]]
    assert ranges == [(1, 123, "PRE_CONTROL"), (124, 124, "CONFIRMED")]
    assert found["ranges"][0]["cause"]["event"] == "StartLowered"
    old = {
        "number": "B-0017",
        "document": "BINDER-1",
        "reason": "found in an old binder",
        "document_date": "2019-05-01",
    }
    assert answer(await api.post("/v1/assign", old), 201)["document_date"] == "2019-05-01"
    told = answer(await api.http.get("/v1/sequences/BINDER:-"), 200)
    assert (told["start"], told["high_water"], told["counts"]["PRE_CONTROL"]) == (1, 124, 122)
    history = answer(await api.http.get("/v1/numbers/B-0017"), 200)["history"]
    assert [step["event"] for step in history] == ["StartLowered", "NumberAssigned"]
    assert (await api.reserve("BINDER"))["numbers"][0]["value"] == 125
