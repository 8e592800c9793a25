"""Answers that a client keeps: told again only when they are others."""

import httpx
import pytest

from api import events
from tests.api.client import Api, answer

PATHS = [
    "/v1/series",
    "/v1/series/PLAIN",
    "/v1/reservations/{token}",
    "/v1/numbers/P-00001",
    "/v1/sequences",
    "/v1/sequences/PLAIN:-",
    "/v1/sequences/PLAIN:-/gaps",
    "/v1/events?limit=2",
]
FOR_EVER = "private, max-age=31536000, immutable"


def not_modified(response: httpx.Response, tag: str) -> None:
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["etag"] == tag
    assert "cache-control" in response.headers
    assert "content-type" not in response.headers


async def get(api: Api, path: str, *tags: str) -> httpx.Response:
    return await api.http.get(path, headers=[("if-none-match", tag) for tag in tags])


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_known_already_is_not_told_again(api: Api, path: str) -> None:
    path = path.format(token=(await api.reserve())["token"])
    first = await get(api, path)
    answer(first, 200)
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    strong = tag.removeprefix("W/")
    for tags in (
        [tag],
        [strong],
        ["*"],
        [f'"a", {tag}'],
        [f'{strong} , W/"b"'],
        ['"a,b"', f"W/{strong}"],
        [f'"",{tag}'],
    ):
        not_modified(await get(api, path, *tags), tag)
    for tags in (['"a"'], [tag[:-2] + '"'], [strong[1:-1]], [""], ["**"], ['W/"*"']):
        assert answer(await get(api, path, *tags), 200) == first.json()
    head = await api.http.head(path)
    assert (head.status_code, head.headers["etag"]) == (200, tag)


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_new_elsewhere_changes_no_tag(api: Api, path: str) -> None:
    """The position moves with every event, and whoever looks at one sequence need not hear of the others."""
    path = path.format(token=(await api.reserve())["token"])
    await api.define("OTHER", {"template": "O{SEQ:4}"})
    kept = {"/v1/series", "/v1/series/PLAIN"}
    await api.reserve()
    first = await get(api, path)
    await api.reserve("PLAIN" if path in kept else "OTHER")
    again = await get(api, path, first.headers["etag"])
    if path == "/v1/sequences":
        assert answer(again, 200) != first.json()
    else:
        not_modified(again, first.headers["etag"])


async def test_what_is_new_is_told(api: Api) -> None:
    made = await api.reserve()
    paths = [f"/v1/reservations/{made['token']}", "/v1/numbers/P-00001", "/v1/sequences", "/v1/sequences/PLAIN:-"]
    paths += ["/v1/sequences/PLAIN:-/gaps", "/v1/events"]
    tags = {path: (await get(api, path)).headers["etag"] for path in paths}
    answer(await api.post(f"/v1/reservations/{made['token']}/confirm", {"document": "D"}), 200)
    for path, tag in tags.items():
        changed = await get(api, path, tag)
        answer(changed, 200)
        assert changed.headers["etag"] != tag
    listed = (await get(api, "/v1/series")).headers["etag"]
    await api.define("OTHER", {"template": "O{SEQ:4}"})
    answer(await get(api, "/v1/series", listed), 200)


async def test_a_page_that_can_never_change_is_kept(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        await api.reserve()
    assert (await get(api, "/v1/events?limit=4")).headers["cache-control"] == FOR_EVER
    for path in ("/v1/events?limit=5", "/v1/events", "/v1/events?after=5", "/v1/series"):
        assert (await get(api, path)).headers["cache-control"] == "no-cache"
    monkeypatch.setattr(events, "PAGE_BYTES", 1)
    assert (await get(api, "/v1/events")).headers["cache-control"] == FOR_EVER


async def test_what_is_refused_has_no_tag(api: Api) -> None:
    for path in ("/v1/series/NONE", "/v1/events?after=9", "/v1/sequences?limit=0"):
        refused = await get(api, path, "*")
        assert refused.status_code in (404, 409, 422)
        assert "etag" not in refused.headers
