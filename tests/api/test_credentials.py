from collections.abc import AsyncIterator, Callable

import orjson
import pytest

from ledger.domain.rejection import Code
from ledger.ports import Store
from tests.api.client import PLAIN_BODY, Api, answer, in_memory, problem, served

SECRETS = {"erp": "secret-of-the-erp-1", "งานสารบรรณ": "รหัสลับของงานสารบรรณ"}
ERP = {"Authorization": "Bearer secret-of-the-erp-1"}
EVERYTHING = [
    ("GET", "/v1/series"),
    ("GET", "/v1/series/PLAIN"),
    ("PUT", "/v1/series/NEW"),
    ("POST", "/v1/preview"),
    ("POST", "/v1/reservations"),
    ("GET", f"/v1/reservations/{'0' * 32}"),
    ("POST", f"/v1/reservations/{'0' * 32}/confirm"),
    ("POST", f"/v1/reservations/{'0' * 32}/extend"),
    ("POST", f"/v1/reservations/{'0' * 32}/cancel"),
    ("POST", "/v1/issue"),
    ("GET", "/nowhere"),
    ("DELETE", "/v1/series"),
]


guarded_in_memory = pytest.mark.parametrize("open_ledger", ["memory"], indirect=True)


@pytest.fixture
async def guarded(open_ledger: Callable[[], Store]) -> AsyncIterator[Api]:
    """A ledger that only two principals may use."""
    look = open_ledger()
    async with served(open_ledger(), look, secrets=SECRETS) as api:
        answer(await api.http.put("/v1/series/PLAIN", json=PLAIN_BODY, headers=ERP), 201)
        yield api


@guarded_in_memory
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer secret-of-the-erp-"},
        {"Authorization": "Bearer secret-of-the-erp-12"},
        {"Authorization": "Bearer SECRET-OF-THE-ERP-1"},
        {"Authorization": "Bearer erp:secret-of-the-erp-1"},
        {"Authorization": "Basic secret-of-the-erp-1"},
        {"Authorization": "secret-of-the-erp-1"},
        {"Authorization": b"Bearer \xff\xfe"},
        {"X-Authorization": "Bearer secret-of-the-erp-1"},
    ],
)
async def test_without_a_configured_secret_nothing_is_served(guarded: Api, headers: dict[str, str]) -> None:
    async with guarded.unchanged():
        for method, path in EVERYTHING:
            response = await guarded.http.request(method, path, json={"series": "PLAIN"}, headers=headers)
            problem(response, Code.UNAUTHORIZED)
            assert response.headers["www-authenticate"] == "Bearer"
            assert "secret-of" not in response.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_principal_is_the_actor_of_its_events(guarded: Api, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} secret-of-the-erp-1", "X-Request-ID": "R-1"}
    response = await guarded.http.post("/v1/reservations", json={"series": "PLAIN"}, headers=headers)
    (event,) = await guarded.store.events(after=answer(response, 201)["position"] - 1, limit=1)
    body = orjson.loads(event.body)
    assert (body["actor"], body["request_id"]) == ("erp", "R-1")


async def test_names_and_secrets_may_be_thai(guarded: Api) -> None:
    headers = [(b"authorization", "Bearer รหัสลับของงานสารบรรณ".encode())]
    response = await guarded.http.post("/v1/reservations", json={"series": "PLAIN"}, headers=headers)
    (event,) = await guarded.store.events(after=answer(response, 201)["position"] - 1, limit=1)
    assert orjson.loads(event.body)["actor"] == "งานสารบรรณ"


async def test_without_credentials_the_actor_is_anonymous(api: Api) -> None:
    response = await api.http.post("/v1/reservations", json={"series": "PLAIN"}, headers=ERP)
    (event,) = await api.store.events(after=answer(response, 201)["position"] - 1, limit=1)
    assert orjson.loads(event.body)["actor"] == "anonymous"


@guarded_in_memory
@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
async def test_health_needs_no_credentials(guarded: Api, path: str) -> None:
    answer(await guarded.http.get(path), 200)


@guarded_in_memory
@pytest.mark.parametrize("path", ["/healthy", "/Health", "//health", "/%2Fhealth", "/v1/series?/health"])
async def test_only_health_is_open(guarded: Api, path: str) -> None:
    response = await guarded.http.get(path)
    problem(response, Code.NOT_FOUND if path == "/healthy" else Code.UNAUTHORIZED)


@in_memory
@pytest.mark.parametrize(
    ("origin", "allowed"), [("http://ledger", True), ("http://evil.example", False), ("null", False)]
)
async def test_a_page_of_another_site_writes_nothing(api: Api, origin: str, allowed: bool) -> None:
    headers = {"Origin": origin, "Host": "ledger"}
    response = await api.http.post("/v1/reservations", json={"series": "PLAIN"}, headers=headers)
    if allowed:
        answer(response, 201)
    else:
        problem(response, Code.CROSS_ORIGIN)
