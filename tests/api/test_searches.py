"""Searching numbers and reservations: each filter, all together, page by page, and what is no query."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from api.cursors import write_cursor
from ledger.domain.calendar import instant_text
from ledger.domain.commands import Envelope, Fence
from ledger.domain.rejection import Code
from ledger.ports import Store
from projections.reading import Cursor
from tests.api.client import LETTER_BODY, LETTER_KEY, Api, Json, Time, answer, problem, served, served_once
from tests.given import NOW, SECOND

HOUR = 3600 * SECOND
LATER_SECONDS = 60
NOTHING = "0" * 32


class Searched:
    """A served ledger with some numbers in every state that a search can find."""

    def __init__(self, api: Api, position: int = 0) -> None:
        self.api = api
        self.position = position

    async def write(self) -> None:
        await self.api.define("LETTER", LETTER_BODY)
        await self.issue("PLAIN", "D-1", count=3)
        await self.issue("LETTER", "ร่าง-2", key=LETTER_KEY)
        held = await self.post("/v1/reservations", {"series": "PLAIN", "count": 2})
        self.api.clock.advance(LATER_SECONDS)
        gone = await self.post("/v1/reservations", {"series": "PLAIN"})
        await self.post(f"/v1/reservations/{gone['token']}/cancel", {"reason": "not needed"})
        await self.post("/v1/numbers/P-00002/void", {"reason": "wrong client", "replace": True})
        assert held["numbers"][0]["number"] == "P-00004"

    async def issue(self, series: str, document: str, **fields: Any) -> Json:
        return await self.post("/v1/issue", {"series": series, "document": document, **fields})

    async def post(self, path: str, body: Json) -> Json:
        done = await self.api.post(path, body)
        assert done.status_code in (200, 201), done.text
        self.position = done.json()["position"]
        answered: Json = done.json()
        return answered

    async def find(self, what: str = "numbers", **query: Any) -> Json:
        asked = urlencode(query | {"min_position": self.position}, doseq=True)
        return answer(await self.api.http.get(f"/v1/{what}?{asked}"), 200)

    async def numbers(self, **query: Any) -> list[str]:
        return [found["number"] for found in (await self.find(**query))["numbers"]]


@pytest.fixture(scope="module")
def written(plain_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The file of such a ledger, to be copied, and its last position."""
    file = Path(shutil.copy(plain_file, tmp_path_factory.mktemp("searched")))
    position = 0

    async def write(api: Api) -> None:
        nonlocal position
        searched = Searched(api)
        await searched.write()
        position = searched.position
        await searched.find()  # once they are projected

    asyncio.run(served_once(file, write))
    return file, position


@pytest.fixture
async def searched(
    written: tuple[Path, int], sqlite_file: Path, open_sqlite: Callable[[], Store], clock: Time
) -> AsyncIterator[Searched]:
    file, position = written
    shutil.copy(file, sqlite_file)
    clock.advance(LATER_SECONDS)
    async with served(open_sqlite(), open_sqlite(), clock=clock) as api:
        answer(await api.http.get("/v1/series/PLAIN"), 200)  # once it has read the log
        yield Searched(api, position)


LETTER = "คคง.-สคฉ.3-0001-2568"
ALL = ["P-00001", "P-00002", "P-00003", LETTER, "P-00004", "P-00005", "P-00006", "P-00007"]


async def test_all_numbers_come_in_the_order_in_which_they_were_given_out(searched: Searched) -> None:
    assert await searched.numbers() == ALL


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"series": "LETTER"}, [LETTER]),
        ({"state": "RESERVED"}, ["P-00004", "P-00005"]),
        ({"state": ["VOIDED", "CANCELLED"]}, ["P-00002", "P-00006"]),
        ({"state": "VOIDED,CANCELLED"}, ["P-00002", "P-00006"]),
        ({"document": "D-1"}, ["P-00001", "P-00002", "P-00003", "P-00007"]),
        ({"document": "ร่าง-2"}, [LETTER]),
        ({"document": "d-1"}, []),
        ({"actor": "anonymous"}, ALL),
        ({"actor": "anna"}, []),
        ({"prefix": "P-0000"}, [number for number in ALL if number != LETTER]),
        ({"prefix": "คค"}, [LETTER]),
        ({"prefix": "%"}, []),
        ({"from": instant_text(NOW + 60 * SECOND)}, ["P-00006", "P-00007"]),
        ({"to": instant_text(NOW + 60 * SECOND)}, ALL[:6]),
        ({"from": "2025-06-15T10:00:00+07:00", "to": "2025-06-15T03:00:00.000001Z"}, ALL[:6]),
        ({"from": instant_text(NOW - HOUR), "to": instant_text(NOW)}, []),
        ({"series": "PLAIN", "state": "CONFIRMED", "document": "D-1", "prefix": "P-0000", "actor": "anonymous"},
         ["P-00001", "P-00003", "P-00007"]),
        ({"series": "NONE"}, []),
    ],
    ids=str,
)  # fmt: skip
async def test_filters(searched: Searched, query: Json, found: list[str]) -> None:
    assert await searched.numbers(**query) == found


async def test_a_number_is_told_with_its_cause_and_what_replaced_it(searched: Searched) -> None:
    (voided,) = (await searched.find(state="VOIDED"))["numbers"]
    assert voided == {
        "number": "P-00002",
        "value": 2,
        "state": "VOIDED",
        "series": "PLAIN",
        "sequence": "PLAIN:-",
        "document_date": "2025-06-15",
        "document": "D-1",
        "token": voided["token"],
        "replaces": None,
        "replaced_by": "P-00007",
        "given_at": instant_text(NOW),
        "confirmed_at": instant_text(NOW),
        "cause": {
            "event": "NumberVoided",
            "actor": "anonymous",
            "time": instant_text(NOW + 60 * SECOND),
            "reason": "wrong client",
            "position": voided["cause"]["position"],
        },
    }
    (replacement,) = (await searched.find(prefix="P-00007"))["numbers"]
    assert (replacement["replaces"], replacement["document"]) == ("P-00002", "D-1")


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 9])
async def test_pages_give_each_number_once(searched: Searched, limit: int) -> None:
    found: list[str] = []
    query: Json = {"limit": limit}
    while True:
        page = await searched.find(**query)
        assert len(page["numbers"]) <= limit
        found += [each["number"] for each in page["numbers"]]
        if page["next"] is None:
            break
        query["after"] = page["next"]
    assert found == ALL


async def test_a_page_is_as_of_one_position_and_the_next_goes_on_behind_it(searched: Searched) -> None:
    first = await searched.find(limit=3)
    assert first["position"] == searched.position
    await searched.issue("PLAIN", "D-2")
    rest = await searched.find(limit=100, after=first["next"])
    assert [each["number"] for each in rest["numbers"]] == [*ALL[3:], "P-00008"]
    assert rest["position"] == searched.position


async def test_reservations(searched: Searched) -> None:
    (held,) = (await searched.find("reservations", state="RESERVED"))["reservations"]
    assert held == {
        "token": held["token"],
        "state": "RESERVED",
        "series": "PLAIN",
        "sequence": "PLAIN:-",
        "count": 2,
        "confirmed": 0,
        "held": [{"first": 4, "last": 5}],
        "actor": "anonymous",
        "reserved_at": instant_text(NOW),
        "expires_at": instant_text(NOW + 300 * SECOND),
        "closed_at": None,
        "reserved_position": held["reserved_position"],
    }
    everything = (await searched.find("reservations"))["reservations"]
    found: list[Json] = []
    query: Json = {"limit": 2}
    while True:
        page = await searched.find("reservations", **query)
        found += page["reservations"]
        if page["next"] is None:
            break
        query["after"] = page["next"]
    assert found == everything
    assert [each["state"] for each in everything] == ["CONFIRMED", "CONFIRMED", "RESERVED", "CANCELLED", "CONFIRMED"]
    assert len((await searched.find("reservations", series="LETTER"))["reservations"]) == 1


async def test_what_a_restore_passed_over_is_found(searched: Searched) -> None:
    done = await searched.api.ledger.execute(Fence(0, 0, 10, "restored"), Envelope(bytes(32), "restore"))
    searched.position = done.position
    assert await searched.numbers(state="SKIPPED") == ["P-00004", "P-00005"]
    (found,) = (await searched.find("reservations", state="SKIPPED"))["reservations"]
    told = answer(await searched.api.http.get(f"/v1/reservations/{found['token']}"), 200)
    assert told["state"] == "SKIPPED"
    why = problem(await searched.api.post(f"/v1/reservations/{found['token']}/confirm", {}), Code.RESERVATION_CLOSED)
    assert "was passed over by a restore" in why["detail"]
    number = answer(await searched.api.http.get("/v1/numbers/P-00004"), 200)
    steps = [(step["state"], step["event"], step["actor"], step["reason"]) for step in number["history"]]
    assert steps == [
        ("RESERVED", "NumbersReserved", "anonymous", None),
        ("SKIPPED", "ReservationFenced", "restore", "restored"),
    ]


# What is no query


BAD: list[tuple[str, str, str]] = [
    ("numbers?colour=red", "colour", "is not a known field; known are "),
    ("numbers?stat=VOIDED", "stat", "did you mean state?"),
    ("reservations?document=D", "document", "is not a known field"),
    ("numbers?state=LOST", "state", "is 'LOST', which is no state; known are RESERVED"),
    ("numbers?state=PRE_CONTROL", "state", "in which no number was printed; ask for the gaps of its sequence"),
    ("reservations?state=PRE_CONTROL", "state", "in which no number was printed"),
    ("numbers?state=", "state", "is '', which is no state"),
    ("numbers?series=A&series=B", "series", "is given more than once"),
    ("numbers?limit=0", "limit", "must be 1 or more"),
    ("numbers?limit=1001", "limit", "must be 1000 or less"),
    ("numbers?limit=%E0%B9%92", "limit", "must be a whole number"),
    ("numbers?prefix=", "prefix", "must have 1 to 500 characters"),
    ("numbers?prefix=%00", "prefix", "U+0000; remove it"),
    ("numbers?document=" + quote("e\u0301"), "document", "NFC"),
    ("numbers?prefix=" + "x" * 501, "prefix", "500"),
    ("numbers?from=yesterday", "from", "must be an instant such as"),
    ("numbers?to=2025-06-15", "to", "must say its offset from UTC"),
    ("numbers?to=2025-06-15T00:00:00", "to", "must say its offset from UTC"),
    ("numbers?after=x", "after", "is no cursor"),
    ("numbers?after=" + NOTHING, "after", "is the cursor of another query"),
    ("numbers?after=" + "x" * 101, "after", "100"),
    ("reservations?after=" + NOTHING, "after", "is the cursor of another query"),
    ("numbers?min_position=-1", "min_position", "must be a whole number"),
]


@pytest.mark.parametrize(("query", "field", "flaw"), BAD, ids=[query[:40] for query, _, _ in BAD])
async def test_what_is_no_query_is_told(sqlite_api: Api, query: str, field: str, flaw: str) -> None:
    told = problem(await sqlite_api.http.get(f"/v1/{query}"), Code.INVALID_FORMAT)
    assert [(each["field"], flaw in each["problem"]) for each in told["errors"]] == [(field, True)], told


async def test_the_cursor_of_another_query_is_told(searched: Searched) -> None:
    cursor = (await searched.find(limit=2, prefix="P"))["next"]
    assert cursor
    for query in ("", "&prefix=P-", "&prefix=P&series=PLAIN"):
        told = problem(await searched.api.http.get(f"/v1/numbers?after={cursor}{query}"), Code.INVALID_FORMAT)
        assert "keep all filters as they were" in told["detail"]
    assert (await searched.find(limit=5, prefix="P", after=cursor))["numbers"], "the length of a page may change"


async def test_the_cursor_of_another_search_is_told(searched: Searched) -> None:
    for found, other in (("numbers", "reservations"), ("reservations", "numbers")):
        cursor = (await searched.find(found, limit=1))["next"]
        told = problem(await searched.api.http.get(f"/v1/{other}?after={cursor}"), Code.INVALID_FORMAT)
        assert "is the cursor of another query" in told["detail"]


async def test_no_cursor_goes_beyond_what_a_database_counts(searched: Searched) -> None:
    """A cursor is no secret: whoever reads the code can make one."""
    asked = {"search": "numbers", "ledger": (await searched.api.head()).ledger_id}
    for forged in (Cursor(2**63, 0), Cursor(0, 2**64 - 1)):
        problem(await searched.api.http.get(f"/v1/numbers?after={write_cursor(forged, asked)}"), Code.INVALID_FORMAT)
    at_most = write_cursor(Cursor(2**63 - 1, 2**63 - 1), asked)
    assert answer(await searched.api.http.get(f"/v1/numbers?after={at_most}"), 200)["numbers"] == []


async def test_states_are_one_filter_in_any_order(searched: Searched) -> None:
    cursor = (await searched.find(limit=1, state="VOIDED,CANCELLED"))["next"]
    page = await searched.find(limit=1, state=["CANCELLED", "VOIDED"], after=cursor)
    assert [each["number"] for each in page["numbers"]] == ["P-00006"]


async def test_a_blank_in_an_instant_is_the_plus_that_it_was(searched: Searched) -> None:
    asked = f"/v1/numbers?from=2025-06-15T10:00:00+07:00&min_position={searched.position}"
    assert len(answer(await searched.api.http.get(asked), 200)["numbers"]) == len(ALL)


async def test_a_position_in_the_future_is_refused_at_once(searched: Searched) -> None:
    told = problem(await searched.api.http.get("/v1/numbers?min_position=999"), Code.POSITION_NOT_REACHED)
    assert told["position"] == searched.position


async def test_a_projection_that_stays_behind_is_told(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.searches.WAIT_SECONDS", 0.2)
    await searched.find()

    async def late(*_: object) -> bool:
        return False

    monkeypatch.setattr("projections.reading.Projections.wait", late)
    position = (await searched.issue("PLAIN", "D-9"))["position"]
    told = problem(await searched.api.http.get(f"/v1/numbers?min_position={position}"), Code.PROJECTION_BEHIND)
    assert "numbering projections status" in told["detail"]


async def test_the_same_page_again_is_not_sent_again(searched: Searched) -> None:
    first = await searched.api.http.get(f"/v1/numbers?min_position={searched.position}")
    again = await searched.api.http.get("/v1/numbers", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_other_methods_are_told_which_are_served(sqlite_api: Api) -> None:
    refused = await sqlite_api.http.put("/v1/reservations")
    problem(refused, Code.METHOD_NOT_ALLOWED)
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
