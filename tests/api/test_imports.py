"""`POST /v1/imports`, as CSV and as JSON. The bounds of a register are tested with registers of that size."""

import asyncio
import json
import threading
import time
from typing import Any

import httpx
import pytest

from api import imports
from api.registers import Columns
from api.schemas import ImportBody, RowBody
from ledger.domain.register import Register
from ledger.domain.rejection import Code
from tests.api.client import Api, Json, answer, in_memory, problem
from tests.given import NOW, series
from tests.profiles import rounds

CSV = {"Content-Type": "text/csv; charset=utf-8"}
GOOD = "document_number\r\nP-0003\r\nP-0007\r\n"
BAD = GOOD + "Q-0001\r\nP-0003\r\n"


@pytest.fixture(autouse=True)
async def drawings(api: Api) -> None:
    await api.define("DRAWING", {"template": "P-{SEQ:4}"})


async def send(api: Api, content: str | bytes, query: str = "", **headers: str) -> httpx.Response:
    return await api.http.post(f"/v1/imports?series=DRAWING{query}", content=content, headers=CSV | headers)


async def send_json(api: Api, query: str = "", **body: Any) -> httpx.Response:
    return await api.http.post(f"/v1/imports{query}", json={"series": ["DRAWING"], **body})


def without_position(body: Json) -> Json:
    return {name: value for name, value in body.items() if name != "position"}


async def test_a_csv_is_imported_and_the_next_number_is_above_it(api: Api) -> None:
    done = answer(await send(api, GOOD), 200)
    assert without_position(done) == {
        "rows": 2,
        "fit": 2,
        "derived_dates": 2,
        "rejected": [],
        "sequences": [{"sequence": "DRAWING:-", "numbers": 2, "lowest": 3, "highest": 7}],
    }
    assert (await api.head()).position == done["position"]
    assert (await api.reserve("DRAWING"))["numbers"] == [{"number": "P-0008", "value": 8}]


async def test_json_is_imported_alike(api: Api) -> None:
    done = answer(await send_json(api, numbers=["P-0003", "P-0007"]), 200)
    assert (done["fit"], done["sequences"][0]["highest"]) == (2, 7)


DATED = "No.;Date;For\nP-0003;2025-03-31;D-1\nP-0007;;\nP-0008;31.3.2025;\nP-0009;2025-02-30;\nP-0010;2025-03-31;x \n"
ROWS = [
    {"number": "P-0003", "document_date": "2025-03-31", "document": "D-1"},
    {"number": "P-0007"},
    {"number": "P-0008", "document_date": "31.3.2025"},
    {"number": "P-0009", "document_date": "2025-02-30"},
    {"number": "P-0010", "document_date": "2025-03-31", "document": "x "},
]


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("form", ["csv", "json"])
async def test_dates_and_documents_are_imported_and_where_none_is_given_it_is_derived(
    api: Api, form: str, dry_run: bool
) -> None:
    options = f"&skip_bad=true&dry_run={str(dry_run).lower()}"
    if form == "csv":
        query = f"&column=No.&date_column=Date&document_column=For{options}"
        done = answer(await send(api, DATED, query), 200)
    else:
        done = answer(await send_json(api, numbers=ROWS, skip_bad=True, dry_run=dry_run), 200)
    assert (done["fit"], done["derived_dates"]) == (2, 1)
    assert [(row["number"], row["title"]) for row in done["rejected"]] == [
        ("P-0008", "INVALID_FORMAT"),
        ("P-0009", "INVALID_FORMAT"),
        ("P-0010", "INVALID_FORMAT"),
    ]
    assert done["rejected"][0]["detail"] == "document_date is '31.3.2025'; write a date as 2025-03-31"
    if dry_run:
        return
    given = answer(await api.http.get("/v1/numbers/P-0003"), 200)
    derived = answer(await api.http.get("/v1/numbers/P-0007"), 200)
    assert (given["document_date"], given["document"], "date_is_derived" in given) == ("2025-03-31", "D-1", False)
    assert (derived["document"], derived["date_is_derived"]) == (None, True)


@pytest.mark.parametrize("query", ["&date_column=None", "&date_column=No.&column=No.", "&document_column=%20"])
async def test_a_column_that_is_not_there_or_named_twice_is_refused(api: Api, query: str) -> None:
    query = query if "&column" in query else f"{query}&column=No."
    problem(await send(api, DATED, query), Code.INVALID_FORMAT)


@pytest.mark.parametrize("query", ["&dry_run=true", "&dry_run=1", "&dry_run"])
async def test_a_dry_run_tells_all_and_writes_nothing(api: Api, query: str) -> None:
    async with api.unchanged():
        told = answer(await send(api, BAD, query), 200)
    assert (told["dry_run"], told["rows"], told["fit"]) == (True, 4, 2)
    assert [(row["line"], row["number"], row["code"], row["title"]) for row in told["rejected"]] == [
        (4, "Q-0001", "NB033", "NO_TEMPLATE"),
        (5, "P-0003", "NB035", "REPEATED_ROW"),
    ]


async def test_a_dry_run_as_json(api: Api) -> None:
    async with api.unchanged():
        for told in (
            answer(await send_json(api, numbers=["P-0003", "x"], dry_run=True), 200),
            answer(await send_json(api, "?dry_run=true", numbers=["P-0003", "x"]), 200),
        ):
            assert [(row["line"], row["code"]) for row in told["rejected"]] == [(2, "NB033")]


async def test_nothing_is_written_while_a_row_is_bad(api: Api) -> None:
    async with api.unchanged():
        refused = problem(await send(api, BAD), Code.IMPORT_REFUSED)
    assert (refused["rows"], refused["fit"], len(refused["rejected"])) == (4, 2, 2)
    assert [each["field"] for each in refused["errors"]] == ["line 4", "line 5"]


async def test_bad_rows_are_skipped_when_told(api: Api) -> None:
    done = answer(await send(api, BAD, "&skip_bad=true"), 200)
    assert (done["fit"], len(done["rejected"])) == (2, 2)


async def test_what_is_issued_is_told(api: Api) -> None:
    answer(await send(api, GOOD), 200)
    async with api.unchanged():
        refused = problem(await send(api, "document_number\nP-0007\nP-0005\n"), Code.IMPORT_REFUSED)
    assert [(row["line"], row["code"]) for row in refused["rejected"]] == [(2, "NB005")]


@pytest.mark.parametrize("content", [GOOD, BAD])
async def test_a_repeated_request_is_told_what_the_first_was_told(api: Api, content: str) -> None:
    key = {"Idempotency-Key": "import-1"}
    first = answer(await send(api, content, "&skip_bad=true", **key), 200)
    async with api.unchanged():
        again = await send(api, content, "&skip_bad=true", **key)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert answer(again, 200) == first


async def test_a_repeated_request_is_told_the_same_when_much_has_changed_since(api: Api) -> None:
    await api.define("OTHER", {"template": "O-{SEQ:3}"})
    held = await api.reserve("DRAWING")
    content = "document_number\nP-0001\nP-0007\nO-900\nP-0007\nx\n"
    query, key = "&series=OTHER&skip_bad=true", {"Idempotency-Key": "import-1"}
    first = answer(await send(api, content, query, **key), 200)
    assert [row["title"] for row in first["rejected"]] == ["DUPLICATE_NUMBER", "REPEATED_ROW", "NO_TEMPLATE"]
    answer(await api.http.post(f"/v1/reservations/{held['token']}/cancel"), 200)
    answer(await api.http.put("/v1/series/OTHER", json={"template": "O-{SEQ:3}", "max_value": 950}), 200)
    async with api.unchanged():
        assert answer(await send(api, content, query, **key), 200) == first


async def test_a_repeated_request_reads_by_the_series_as_they_were(api: Api) -> None:
    await api.define("LOW", {"template": "L-{SEQ:3}", "max_value": 5})
    await api.define("NONE", {"template": "N-{SEQ:3}"})
    answer(await api.post("/v1/series/LOW/maximum", {"max_value": 10, "reason": "more than planned"}), 200)
    content = "document_number\nL-009\nL-011\nNN-001\n"
    query, key = "&series=LOW&series=NONE&skip_bad=true", {"Idempotency-Key": "import-1"}
    first = answer(await send(api, content, query, **key), 200)
    assert [row["title"] for row in first["rejected"]] == ["OUT_OF_RANGE", "NO_TEMPLATE"]
    answer(await api.post("/v1/series/LOW/maximum", {"max_value": 20, "reason": "more than planned"}), 200)
    answer(await api.http.put("/v1/series/NONE", json={"template": "NN-{SEQ:3}"}), 200)
    async with api.unchanged():
        assert answer(await send(api, content, query, **key), 200) == first


async def test_a_key_covers_the_options(api: Api) -> None:
    key = {"Idempotency-Key": "import-1"}
    answer(await send(api, GOOD, **key), 200)
    problem(await send(api, GOOD, "&skip_bad=true", **key), Code.IDEMPOTENCY_KEY_REUSED)


@in_memory
@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("?series=DRAWING&dryrun=true", "dryrun is not a known option"),
        ("?series=DRAWING&dry_run=perhaps", "dry_run must be true or false"),
        ("?series=DRAWING&series=DRAWING", "once"),
        ("", "series is missing"),
        ("?series=DRAWING&column=number", "has no column number"),
    ],
)
async def test_options_that_are_not_understood(api: Api, query: str, told: str) -> None:
    async with api.unchanged():
        refused = await api.http.post(f"/v1/imports{query}", content=GOOD, headers=CSV)
    assert told in problem(refused, Code.INVALID_FORMAT)["detail"]


@in_memory
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"series": ["NOWHERE"], "numbers": []}, Code.CONFIG_NOT_FOUND),
        ({"series": [], "numbers": []}, Code.INVALID_FORMAT),
        ({"numbers": []}, Code.INVALID_FORMAT),
        ({"series": ["DRAWING"], "numbers": [5]}, Code.INVALID_FORMAT),
        ({"series": ["DRAWING"], "rows": ["P-0001"]}, Code.INVALID_FORMAT),
    ],
)
async def test_json_that_is_not_understood(api: Api, body: Json, code: Code) -> None:
    async with api.unchanged():
        problem(await api.http.post("/v1/imports", json=body), code)


@in_memory
async def test_a_csv_that_does_not_say_so_is_told(api: Api) -> None:
    async with api.unchanged():
        refused = problem(await api.http.post("/v1/imports?series=DRAWING", content=GOOD), Code.MALFORMED_JSON)
    assert "Content-Type: text/csv" in refused["detail"]


@in_memory
async def test_a_register_has_a_size(api: Api) -> None:
    async with api.unchanged():
        problem(await send(api, GOOD + "x" * (16 << 20)), Code.BODY_TOO_LARGE)
        lines = "document_number\n" + "P-0001\n" * 100_001
        problem(await send(api, lines), Code.REGISTER_TOO_LARGE)


async def test_more_than_other_bodies_may_hold(api: Api) -> None:
    # Long numbers make a large body of few; every number of a hundred thousand takes its time in each table.
    count, prefix = rounds(20_000, thorough=100_000), "W" * 50
    await api.define("WIDE", {"template": prefix + "{SEQ:9}"})
    numbers = [f"{prefix}{value:09}" for value in range(1, count + 1)]
    body = json.dumps({"series": ["WIDE"], "numbers": numbers})
    assert len(body) > 1 << 20
    done = answer(await api.http.post("/v1/imports", content=body), 200)
    assert done["sequences"] == [{"sequence": "WIDE:-", "numbers": count, "lowest": 1, "highest": count}]


async def test_reading_ends_when_the_request_does(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    begun = threading.Event()

    def add(_: Register, line: int, *__: str) -> None:
        read.append(line)
        begun.set()
        time.sleep(0.001)

    monkeypatch.setattr(Register, "add", add)
    asked = imports._Asked(ImportBody(series=["S"], numbers=[RowBody(number="x")] * 100_000), None, Columns())
    reading = asyncio.create_task(imports._in_thread(Register([series()], NOW), asked))
    await asyncio.to_thread(begun.wait, 10)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await asyncio.sleep(0.1)
    at_the_end = len(read)
    await asyncio.sleep(0.1)
    assert len(read) == at_the_end < 100_000
