from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from api.app import create_app
from api.problems import STATUSES, table
from api.problems import problem as answer_with
from ledger.domain.rejection import Code, Rejection
from ledger.ports import Fault, Store
from ledger.service import Ledger
from ledger.system import RandomIds, aside, spawn
from tests.api.client import Api, Time, answer, problem

PATHS: dict[str, set[str]] = {
    "/v1/series": {"GET", "HEAD"},
    "/v1/series/PLAIN": {"GET", "HEAD", "PUT"},
    "/v1/preview": {"POST"},
    "/v1/reservations": {"POST"},
    f"/v1/reservations/{'0' * 32}": {"GET", "HEAD"},
    f"/v1/reservations/{'0' * 32}/confirm": {"POST"},
    f"/v1/reservations/{'0' * 32}/extend": {"POST"},
    f"/v1/reservations/{'0' * 32}/cancel": {"POST"},
    "/v1/issue": {"POST"},
    "/v1/series/PLAIN/maximum": {"POST"},
    "/v1/series/PLAIN/retire": {"POST"},
    "/v1/series/PLAIN/periods": {"POST"},
    "/v1/assign": {"POST"},
    "/v1/numbers/P-00001": {"GET", "HEAD"},
    "/v1/numbers/P-00001/void": {"POST"},
    "/v1/sequences": {"GET", "HEAD"},
    "/v1/sequences/PLAIN:-": {"GET", "HEAD"},
    "/v1/sequences/PLAIN:-/adjust": {"POST"},
    "/v1/sequences/PLAIN:-/reset": {"POST"},
    "/v1/sequences/PLAIN:-/close": {"POST"},
    "/v1/sequences/PLAIN:-/gaps": {"GET", "HEAD"},
    "/v1/batch": {"POST"},
    "/health": {"GET", "HEAD"},
    "/health/live": {"GET", "HEAD"},
    "/health/ready": {"GET", "HEAD"},
}
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]


# The table of codes


def test_every_code_has_a_status_and_every_status_a_code() -> None:
    assert set(STATUSES) == set(Code)


def test_numbers_are_unique_and_of_one_form() -> None:
    numbers = [code.number for code in Code]
    assert len(set(numbers)) == len(numbers)
    assert all(len(number) == 5 and number.startswith("NB") and number[2:].isdigit() for number in numbers)


@pytest.mark.parametrize(
    ("code", "number", "status"),
    [
        (Code.CONFIG_NOT_FOUND, "NB001", 404),
        (Code.SEQUENCE_EXHAUSTED, "NB002", 409),
        (Code.LOCK_TIMEOUT, "NB003", 503),
        (Code.RESERVATION_EXPIRED, "NB004", 410),
        (Code.INVALID_FORMAT, "NB006", 422),
        (Code.OUTCOME_UNKNOWN, "NB016", 504),
    ],
)
def test_codes_that_others_rely_on_stay(code: Code, number: str, status: int) -> None:
    assert (code.number, STATUSES[code]) == (number, status)


def test_statuses_are_errors_that_http_knows() -> None:
    assert all(HTTPStatus(status) >= 400 for status in STATUSES.values())


def test_the_table_has_one_row_for_each_code() -> None:
    rows = [line.split(" | ")[:2] for line in table().splitlines() if line.startswith("| NB")]
    assert rows == [[f"| {code.number}", code.name] for code in Code]


# The documents


@pytest.mark.parametrize("code", list(Code), ids=lambda code: code.name)
@pytest.mark.parametrize("kind", [Rejection, Fault])
async def test_every_code_makes_a_whole_document(code: Code, kind: type[Rejection] | type[Fault]) -> None:
    made = await answer_with(Request({"type": "http"}), kind(code, "what to do"))
    response = httpx.Response(made.status_code, headers=dict(made.headers), content=bytes(made.body))
    assert problem(response, code)["detail"] == "what to do"
    assert ("www-authenticate" in response.headers) == (response.status_code == 401)


async def test_a_rejection_names_its_fields() -> None:
    made = await answer_with(
        Request({"type": "http"}), Rejection(Code.INVALID_FORMAT, "x", [("a", "is 1"), ("b", "is 2")])
    )
    response = httpx.Response(made.status_code, headers=dict(made.headers), content=bytes(made.body))
    named = problem(response, Code.INVALID_FORMAT)["errors"]
    assert named == [{"field": "a", "problem": "is 1"}, {"field": "b", "problem": "is 2"}]


@pytest.fixture
async def buggy(open_memory: Callable[[], Store]) -> AsyncIterator[httpx.AsyncClient]:
    """An application with an endpoint that fails."""

    async def fail(_: Request) -> None:
        raise ZeroDivisionError("password=secret")

    ledger = Ledger(open_memory(), clock=Time(), ids=RandomIds(), spawn=spawn, aside=aside)
    app: Starlette = create_app(ledger)
    app.add_route("/fail", fail)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http


async def test_a_bug_is_a_document_that_tells_nothing(buggy: httpx.AsyncClient) -> None:
    response = await buggy.get("/fail")
    problem(response, Code.INTERNAL_ERROR)
    assert "secret" not in response.text
    assert "Zero" not in response.text


# What the router refuses


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v2/series",
        "/V1/series",
        "/v1/nowhere",
        "/v1/series/A/B",
        "/v1/reservations/x/y/z",
        "/v1/reservations/x/confirm/y",
        "/v1/%73eries/A/B",
        "/%00",
        "/%FF",
        "/คคง.",
        "/health/dead",
        "/favicon.ico",
        "/" + "x" * 60_000,
    ],
    ids=lambda path: ascii(path)[:20],
)
async def test_an_unknown_path(memory_api: Api, path: str) -> None:
    response = await memory_api.http.get(path)
    problem(response, Code.NOT_FOUND)
    assert len(response.content) < 2000


@pytest.mark.parametrize("path", ["/v1/series/", "/v1/series/PLAIN/", "/v1/reservations/", "/health/"])
async def test_a_slash_at_the_end_makes_another_path(memory_api: Api, path: str) -> None:
    """Not a redirection: that would be an answer without a body, which curl and most clients do not follow."""
    for method in ("GET", "POST"):
        response = await memory_api.http.request(method, path)
        assert response.status_code == 404
        problem(response, Code.NOT_FOUND)


@pytest.mark.parametrize("path", PATHS)
async def test_a_wrong_method_is_told_the_right_ones(memory_api: Api, path: str) -> None:
    async with memory_api.unchanged():
        for method in METHODS:
            if method in PATHS[path]:
                continue
            response = await memory_api.http.request(method, path)
            told = problem(response, Code.METHOD_NOT_ALLOWED)
            assert {each.strip() for each in response.headers["allow"].split(",")} == PATHS[path]
            assert method in told["detail"]
        assert ((await memory_api.http.head(path)).status_code == 405) == ("HEAD" not in PATHS[path])


@pytest.mark.parametrize("path", ["/v1/series", "/v1/series/PLAIN", "/health", "/health/live", "/health/ready"])
async def test_head_is_get_without_the_body(memory_api: Api, path: str) -> None:
    head, get = await memory_api.http.head(path), await memory_api.http.get(path)
    assert (head.status_code, head.headers["content-type"]) == (200, "application/json")
    assert head.headers["content-length"] == get.headers["content-length"]


async def test_every_answer_ends_its_line(memory_api: Api) -> None:
    """So that a terminal shows the next prompt on a line of its own."""
    for path in ("/v1/series", "/health", "/nowhere"):
        assert (await memory_api.http.get(path)).text.endswith("}\n")


async def test_answers_are_utf_8_as_it_is_written(memory_api: Api) -> None:
    body = {"template": "คคง.-{SEQ:4}", "description": "ทะเบียน"}
    answer(await memory_api.http.put("/v1/series/THAI", json=body), 201)
    assert "คคง.-{SEQ:4}".encode() in (await memory_api.http.get("/v1/series/THAI")).content
