"""Whatever is sent, the answer is a problem document that says what to mend, and the log stays as it was.

What is refused before a store is asked runs in memory; what the rules refuse under the lock runs on SQLite too.
"""

import gzip
import json
import math
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api import schemas
from ledger.domain.rejection import Code
from tests.api.client import LETTER_BODY, LETTER_KEY, RFA_BODY, RFA_KEY, Api, Json, answer, in_memory, problem
from tests.profiles import rounds

MIB = 1 << 20
NFD = "TE\u0301"
TOKEN = "0123456789abcdef" * 2

RFA: Json = {"series": "RFA", "key": RFA_KEY}
LETTER: Json = {"series": "LETTER", "key": LETTER_KEY}


def rfa(**key: object) -> Json:
    return {"series": "RFA", "key": RFA_KEY | key}


def letter(**key: object) -> Json:
    return {"series": "LETTER", "key": LETTER_KEY | key}


async def define_all(api: Api) -> None:
    await api.define("RFA", RFA_BODY)
    await api.define("LETTER", LETTER_BODY)


# Reserving, issuing and looking ahead take the same fields

ODD_COUNTS: tuple[object, ...] = ("1", 1.0, 1.5, 1e300, True, False, None, [], {})

COUNTS: list[object] = [
    *(0, -1, 10_001, 10**30, -(10**4000)),
    *("1", 1.0, 1.5, 1e300, True, False, None, [], {}),
    *(math.nan, math.inf, -math.inf),
]
FIELDS: list[tuple[str, Json]] = [
    ("series", {}),
    ("series", {"series": None}),
    ("series", {"series": 5}),
    ("series", {"series": ["RFA"]}),
    ("series", {"series": "x" * 501}),
    ("key.DISCIPLINE", {"series": "RFA"}),
    ("key.RFA_TYPE", {"series": "RFA", "key": {"DISCIPLINE": "TER"}}),
    ("key.MORE", rfa(MORE="X")),
    ("key.discipline", rfa(discipline="TER")),
    ("key.REV", rfa(REV="A")),
    ("key." + "X" * 51, rfa(**{"X" * 51: "A"})),
    ("key.str", rfa(str=5)),
    ("key.a.b[0]", rfa(**{"a.b[0]": 5})),
    ("key", {"series": "RFA", "key": {f"K{n}": "A" for n in range(51)}}),
    ("attributes." + "X" * 51, RFA | {"attributes": {"X" * 51: "A"}}),
    ("key", {"series": "RFA", "key": ["TER", "RPT"]}),
    ("key", {"series": "RFA", "key": "TER"}),
    ("key", {"series": "RFA", "key": None}),
    ("key.DISCIPLINE", rfa(DISCIPLINE=5)),
    ("key.DISCIPLINE", rfa(DISCIPLINE=None)),
    ("key.DISCIPLINE", rfa(DISCIPLINE=True)),
    ("key.DISCIPLINE", rfa(DISCIPLINE=["TER"])),
    ("key.DISCIPLINE", rfa(DISCIPLINE="")),
    ("key.DISCIPLINE", rfa(DISCIPLINE="ter")),
    ("key.DISCIPLINE", rfa(DISCIPLINE="TERR")),
    ("key.DISCIPLINE", rfa(DISCIPLINE="TE")),
    ("key.DISCIPLINE", rfa(DISCIPLINE="ＴＥＲ")),
    ("key.DISCIPLINE", rfa(DISCIPLINE=NFD)),
    ("key.DISCIPLINE", rfa(DISCIPLINE="TE\u0000")),
    ("key.DISCIPLINE", rfa(DISCIPLINE="TER\n")),
    ("key.DISCIPLINE", rfa(DISCIPLINE="TE\u200b")),
    ("key.DISCIPLINE", rfa(DISCIPLINE="TE\u202e")),
    ("key.DISCIPLINE", rfa(DISCIPLINE="TE ")),
    ("key.DISCIPLINE", rfa(DISCIPLINE="x" * 501)),
    ("key.RFA_TYPE", rfa(RFA_TYPE="RPX")),
    ("key.RFA_TYPE", rfa(RFA_TYPE="RPT\u200d")),
    ("key.RFA_TYPE", rfa(RFA_TYPE="rpt")),
    ("key.ORIGINATOR", letter(ORIGINATOR="สคฉ.3-01")),
    ("key.ORIGINATOR", letter(ORIGINATOR="สคฉ.๓")),
    ("key.ORIGINATOR", letter(ORIGINATOR="คคง.\u200b")),
    ("attributes", RFA | {"attributes": "A"}),
    ("attributes.REW", RFA | {"attributes": {"REW": "A"}}),
    ("attributes.REV", RFA | {"attributes": {"REV": "AB"}}),
    ("attributes.REV", RFA | {"attributes": {"REV": "\u200b"}}),
    ("attributes.REV", RFA | {"attributes": {"REV": 1}}),
    ("attributes.REV", letter() | {"attributes": {"REV": "A"}}),
    *(("count", RFA | {"count": count}) for count in (0, -1, 10_001, 10**30, -(10**4000))),
    *(("count", RFA | {"count": count}) for count in ODD_COUNTS),
    *(("count", RFA | {"count": count}) for count in (math.nan, math.inf, -math.inf)),
    ("document_date", RFA | {"document_date": "2025-02-30"}),
    ("document_date", RFA | {"document_date": "2025-02-29"}),
    ("document_date", RFA | {"document_date": "2025-13-01"}),
    ("document_date", RFA | {"document_date": "0000-01-01"}),
    ("document_date", RFA | {"document_date": "20250101"}),
    ("document_date", RFA | {"document_date": "2025-W01-1"}),
    ("document_date", RFA | {"document_date": "2025-001"}),
    ("document_date", RFA | {"document_date": "2025-1-1"}),
    ("document_date", RFA | {"document_date": "01/02/2025"}),
    ("document_date", RFA | {"document_date": "2025-01-01T00:00:00"}),
    ("document_date", RFA | {"document_date": "2025-01-01T00:00:00Z"}),
    ("document_date", RFA | {"document_date": "๒๐๒๕-๐๑-๐๑"}),
    ("document_date", RFA | {"document_date": " 2025-01-01"}),
    ("document_date", RFA | {"document_date": "2025-01-01\n"}),
    ("document_date", RFA | {"document_date": "12025-01-01"}),
    ("document_date", RFA | {"document_date": ""}),
    ("document_date", RFA | {"document_date": 20250101}),
    ("document_date", RFA | {"document_date": 1735689600.0}),
    ("document_date", RFA | {"document_date": "1999-12-31"}),
    ("document_date", RFA | {"document_date": "2100-01-01"}),
    ("document_date", RFA | {"document_date": "2568-06-15"}),
    ("serie", RFA | {"serie": "RFA"}),
    ("token", RFA | {"token": TOKEN}),
    ("", RFA | {"": 1}),
]


def fields_of(told: Json) -> list[str]:
    return [each["field"] for each in told["errors"]]


@in_memory
@pytest.mark.parametrize(("field", "body"), FIELDS)
async def test_a_wrong_field_is_named(api: Api, field: str, body: Json) -> None:
    await define_all(api)
    sent = json.dumps(body)  # writes NaN and Infinity, as some clients do
    async with api.unchanged():
        for path, more in (("/v1/reservations", ""), ("/v1/preview", ""), ("/v1/issue", '"document": "D"')):
            content = (sent[:-1] + (", " if more and body else "") + more + "}").encode()
            told = problem(await api.http.post(path, content=content), Code.INVALID_FORMAT)
            assert field in fields_of(told)


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (Code.CONFIG_NOT_FOUND, {"series": "NOWHERE"}),
        (Code.CONFIG_NOT_FOUND, {"series": "rfa", "key": RFA_KEY}),
        (Code.CONFIG_NOT_FOUND, {"series": ""}),
        (Code.CONFIG_NOT_FOUND, {"series": "RFA\u0000"}),
        (Code.CONFIG_NOT_FOUND, {"series": "RFA\u200b"}),
        (Code.PERIOD_NOT_BEGUN, LETTER | {"document_date": "2026-01-01"}),
        (Code.PERIOD_NOT_BEGUN, LETTER | {"document_date": "2099-12-31"}),
        (Code.SEQUENCE_EXHAUSTED, {"series": "SMALL", "count": 4}),
        (Code.DATE_OUT_OF_ORDER, {"series": "ORDERED", "document_date": "2024-12-31"}),
    ],
)
async def test_what_is_well_formed_and_cannot_be_is_refused(api: Api, code: Code, body: Json) -> None:
    await define_all(api)
    await api.define("SMALL", {"template": "S{SEQ:1}", "max_value": 3})
    await api.define("ORDERED", {"template": "{YYYY}-{SEQ:4}", "reset": "yearly", "date_order": "period"})
    await api.reserve("ORDERED")
    async with api.unchanged():
        problem(await api.post("/v1/reservations", body), code)
        problem(await api.post("/v1/preview", body), code)
        problem(await api.post("/v1/issue", body | {"document": "D"}), code)


async def test_an_exhausted_sequence_gives_its_last_value_and_then_none(api: Api) -> None:
    await api.define("SMALL", {"template": "S{SEQ:1}", "max_value": 3})
    assert len((await api.reserve("SMALL", count=3))["numbers"]) == 3
    async with api.unchanged():
        problem(await api.post("/v1/reservations", {"series": "SMALL"}), Code.SEQUENCE_EXHAUSTED)


@in_memory
@pytest.mark.parametrize("ttl", [0, -1, 10**9, 10**30, "60", 1.5, 60.0, True, [60]])
async def test_a_wrong_time_to_live(api: Api, ttl: object) -> None:
    token = (await api.reserve())["token"]
    async with api.unchanged():
        reserved = await api.post_json("/v1/reservations", {"series": "PLAIN", "ttl_seconds": ttl})
        assert fields_of(problem(reserved, Code.INVALID_FORMAT)) == ["ttl_seconds"]
        extended = await api.post_json(f"/v1/reservations/{token}/extend", {"ttl_seconds": ttl})
        assert fields_of(problem(extended, Code.INVALID_FORMAT)) == ["ttl_seconds"]


@in_memory
async def test_a_time_to_live_beyond_the_series_lifetime(api: Api) -> None:
    token = (await api.reserve())["token"]
    async with api.unchanged():
        reserved = await api.post("/v1/reservations", {"series": "PLAIN", "ttl_seconds": 86_401})
        problem(reserved, Code.LIFETIME_EXCEEDED)
        extended = await api.post(f"/v1/reservations/{token}/extend", {"ttl_seconds": 86_401})
        problem(extended, Code.LIFETIME_EXCEEDED)
    await api.reserve(ttl_seconds=86_400)


# The other commands on a reservation


@in_memory
@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("numbers", {"numbers": []}),
        ("numbers", {"numbers": "P-00001"}),
        ("numbers", {"numbers": {"number": "P-00001"}}),
        ("numbers", {"numbers": ["P-00001"] * 10_001}),
        ("numbers[0]", {"numbers": [5]}),
        ("numbers[0]", {"numbers": [None]}),
        ("numbers[0]", {"numbers": [["P-00001"]]}),
        ("numbers[0]", {"numbers": [""]}),
        ("numbers[0]", {"numbers": ["P-1"]}),
        ("numbers[0]", {"numbers": ["P-00004"]}),
        ("numbers[0]", {"numbers": ["p-00001"]}),
        ("numbers[0]", {"numbers": ["P-0000\u0661"]}),
        ("numbers[0]", {"numbers": ["P-00001\u200b"]}),
        ("numbers[1]", {"numbers": ["P-00001", "P-00001"]}),
        ("numbers[1]", {"numbers": ["P-00001", {"number": "P-00001", "document": "D"}]}),
        ("numbers[0].number", {"numbers": [{}]}),
        ("numbers[0].document", {"numbers": [{"number": "P-00001", "document": 5}]}),
        ("numbers[0].document", {"numbers": [{"number": "P-00001", "document": ""}]}),
        ("numbers[0].document", {"numbers": [{"number": "P-00001", "document": "a\u0000"}]}),
        ("document", {"document": ""}),
        ("document", {"document": NFD}),
        ("document", {"document": "a\u200bb"}),
        ("document", {"document": "x" * 201}),
        ("document", {"document": 7}),
        ("release_rest", {"release_rest": "true"}),
        ("release_rest", {"release_rest": 1}),
        ("release_rest", {"release_rest": None}),
        ("release", {"release": True}),
    ],
)
async def test_a_wrong_confirmation(api: Api, field: str, body: Json) -> None:
    token = (await api.reserve(count=3))["token"]
    await api.reserve()
    async with api.unchanged():
        told = problem(await api.post_json(f"/v1/reservations/{token}/confirm", body), Code.INVALID_FORMAT)
    assert fields_of(told)[0] == field


@in_memory
@pytest.mark.parametrize(
    ("typo", "near"),
    [
        ({"documnt": "D"}, "documnt is not a known field; did you mean document?"),
        ({"numbers": [{"number": "P-00001", "documnt": "D"}]}, "documnt is not a known field; did you mean document?"),
        ({"numbers": [{"nmuber": "P-00001"}]}, "nmuber is not a known field; did you mean number?"),
    ],
)
async def test_a_typo_in_a_confirmation_is_told_with_the_nearest_name(api: Api, typo: Json, near: str) -> None:
    token = (await api.reserve())["token"]
    async with api.unchanged():
        told = problem(await api.post(f"/v1/reservations/{token}/confirm", typo), Code.INVALID_FORMAT)
    assert near in told["detail"]


@in_memory
@pytest.mark.parametrize(
    "reason", ["", " x", "a\nb", "a\u0000b", "a\u200bb", NFD, "x" * 501, 5, ["x"]], ids=lambda reason: ascii(reason)[:9]
)
async def test_a_wrong_reason(api: Api, reason: object) -> None:
    token = (await api.reserve())["token"]
    async with api.unchanged():
        told = problem(await api.post(f"/v1/reservations/{token}/cancel", {"reason": reason}), Code.INVALID_FORMAT)
    assert fields_of(told) == ["reason"]
    assert (await api.shown(token))["state"] == "RESERVED"


@in_memory
@pytest.mark.parametrize("body", [{}, {"ttl_seconds": None}, {"ttl": 60}])
async def test_an_extension_without_a_time(api: Api, body: Json) -> None:
    token = (await api.reserve())["token"]
    async with api.unchanged():
        told = problem(await api.post(f"/v1/reservations/{token}/extend", body), Code.INVALID_FORMAT)
    assert "ttl_seconds" in fields_of(told)


MALFORMED_TOKENS = [
    "x",
    "0",
    TOKEN[:-1],
    TOKEN + "0",
    TOKEN.upper(),
    "g" * 32,
    "a" * 60_000,
    "0" * 31 + "%00",
    "0" * 31 + "%0A",
    "%20" + "0" * 31,
    "%FF" * 32,
    "%E0%B9%91" * 32,
    "%EF%BC%90" * 32,
    "%25" * 16,
    quote("' OR 1=1 --"),
    "..%5c..%5cetc",
    "None",
]


@pytest.mark.parametrize("token", MALFORMED_TOKENS, ids=lambda token: token[:20])
async def test_a_malformed_token(memory_api: Api, token: str) -> None:
    async with memory_api.unchanged():
        shown = problem(await memory_api.http.get(f"/v1/reservations/{token}"), Code.INVALID_FORMAT)
        assert fields_of(shown) == ["token"]
        for action in ("confirm", "extend", "cancel"):
            path = f"/v1/reservations/{token}/{action}"
            told = problem(
                await memory_api.post(path, {"ttl_seconds": 1} if action == "extend" else {}), Code.INVALID_FORMAT
            )
            assert fields_of(told) == ["token"]


# Bodies that are no JSON object

WRITES = [
    ("PUT", "/v1/series/NEW"),
    ("POST", "/v1/preview"),
    ("POST", "/v1/reservations"),
    ("POST", "/v1/issue"),
    ("POST", f"/v1/reservations/{TOKEN}/confirm"),
    ("POST", f"/v1/reservations/{TOKEN}/extend"),
    ("POST", f"/v1/reservations/{TOKEN}/cancel"),
]
NO_JSON_OBJECT: dict[str, bytes] = {
    "word": b"series",
    "open": b'{"series": "PLAIN"',
    "comma": b'{"series": "PLAIN",}',
    "single quotes": b"{'series': 'PLAIN'}",
    "comment": b'{"series": "PLAIN"} // mine',
    "two": b'{"series": "PLAIN"} {"series": "PLAIN"}',
    "null": b"null",
    "number": b"5",
    "string": b'"PLAIN"',
    "list": b'[{"series": "PLAIN"}]',
    "blank": b"  \n",
    "nul": b"\x00",
    "byte order mark": b'\xef\xbb\xbf{"series": "PLAIN"}',
    "utf-16": '{"series": "PLAIN"}'.encode("utf-16"),
    "latin-1": '{"series": "é"}'.encode("latin-1"),
    "overlong utf-8": b'{"series": "\xc0\xaf"}',
    "utf-8 surrogate": b'{"series": "\xed\xa0\x80"}',
    "lone surrogate": b'{"series": "\\ud800"}',
    "lone low surrogate": b'{"series": "\\udc00x"}',
    "surrogates in a name": b'{"\\ud800": 1}',
    "control character": b'{"series": "a\x01b"}',
    "deep lists": b"[" * 100_000,
    "deep closed lists": b'{"key": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "deep objects": b'{"key":' * 100_000,
    "long integer": b'{"count": 1' + b"0" * 5000 + b"}",
    "leading zero": b'{"count": 01}',
    "hexadecimal": b'{"count": 0x1}',
    "form": b"series=PLAIN&count=1",
    "gzip": gzip.compress(b'{"series": "PLAIN"}'),
}


@pytest.mark.parametrize("content", NO_JSON_OBJECT.values(), ids=list(NO_JSON_OBJECT))
async def test_a_body_that_is_no_json_object(memory_api: Api, content: bytes) -> None:
    async with memory_api.unchanged():
        for method, path in WRITES:
            problem(await memory_api.http.request(method, path, content=content), Code.MALFORMED_JSON)


async def test_a_gzipped_body_is_refused_even_when_it_says_so(memory_api: Api) -> None:
    content = gzip.compress(b'{"series": "PLAIN"}')
    async with memory_api.unchanged():
        response = await memory_api.http.post("/v1/reservations", content=content, headers={"content-encoding": "gzip"})
        problem(response, Code.MALFORMED_JSON)


@in_memory
@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("confirm", b'{"document": "A", "document": "B"}'),
        ("confirm", b'{"document": "A", "document": "A"}'),
        ("confirm", b'{"document": "A", "\\u0064ocument": "B"}'),
        ("confirm", b'{"numbers": [{"number": "P-00001", "document": "A", "document": "B"}]}'),
        ("cancel", b'{"reason": "A", "reason": null}'),
        ("extend", b'{"ttl_seconds": 60, "ttl_seconds": 61}'),
        ("/v1/reservations", b'{"series": "PLAIN", "count": 1, "count": 2}'),
        ("/v1/preview", b'{"series": "RFA", "series": "PLAIN"}'),
        (
            "/v1/issue",
            b'{"series": "RFA", "document": "D", "key": {"RFA_TYPE": "DWG", "DISCIPLINE": "ARC", "RFA_TYPE": "RPT"}}',
        ),
    ],
)
async def test_a_name_twice_is_refused_where_each_alone_would_do(api: Api, path: str, content: bytes) -> None:
    """Else a proxy that reads the first and a service that reads the last would see two different requests."""
    await define_all(api)
    token = (await api.reserve(count=2))["token"]
    async with api.unchanged():
        path = path if path.startswith("/") else f"/v1/reservations/{token}/{path}"
        problem(await api.http.post(path, content=content), Code.MALFORMED_JSON)


@in_memory
async def test_an_empty_body_is_an_empty_object(api: Api) -> None:
    token = (await api.reserve())["token"]
    async with api.unchanged():
        for path in ("/v1/preview", "/v1/reservations", "/v1/issue"):
            assert "series" in fields_of(problem(await api.http.post(path), Code.INVALID_FORMAT))
        assert fields_of(problem(await api.http.put("/v1/series/NEW"), Code.INVALID_FORMAT)) == ["template"]
    answer(await api.http.post(f"/v1/reservations/{token}/cancel"), 200)


# Size


async def chunks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 65_536):
        yield content[start : start + 65_536]


async def test_a_body_over_one_mebibyte(memory_api: Api) -> None:
    content = b'{"series": "PLAIN"}'.ljust(MIB + 1)
    async with memory_api.unchanged():
        for method, path in WRITES:
            problem(await memory_api.http.request(method, path, content=content), Code.BODY_TOO_LARGE)
            problem(await memory_api.http.request(method, path, content=chunks(content)), Code.BODY_TOO_LARGE)


async def test_a_body_of_exactly_one_mebibyte(memory_api: Api) -> None:
    content = b'{"series": "PLAIN"}'.ljust(MIB)
    answer(await memory_api.http.post("/v1/reservations", content=content), 201)
    answer(await memory_api.http.post("/v1/reservations", content=chunks(content)), 201)


async def test_many_errors_make_a_bounded_answer(memory_api: Api) -> None:
    body = {"series": "PLAIN"} | {f"field{n}": 1 for n in range(50_000)}
    response = await memory_api.post("/v1/reservations", body)
    assert len(problem(response, Code.INVALID_FORMAT)["errors"]) <= 20
    assert len(response.content) < 20_000


@pytest.mark.parametrize("value", [10**4299, -(10**4298)])
async def test_a_huge_value_makes_a_bounded_answer(memory_api: Api, value: int) -> None:
    response = await memory_api.post_json("/v1/reservations", {"series": "PLAIN", "count": value})
    problem(response, Code.INVALID_FORMAT)
    assert len(response.content) < 20_000


# Headers

BAD_HEADERS: dict[str, bytes] = {
    "empty": b"",
    "control": b"a\x01b",
    "tab": b"a\tb",
    "delete": b"a\x7fb",
    "latin-1": b"caf\xe9",
    "utf-8": "คคง".encode(),
    "soft hyphen": b"a\xadb",
    "201 characters": b"x" * 201,
    "64 KiB": b"x" * 65_536,
}


@pytest.mark.parametrize("name", ["Idempotency-Key", "X-Request-Id"])
@pytest.mark.parametrize("value", BAD_HEADERS.values(), ids=list(BAD_HEADERS))
async def test_a_wrong_header(memory_api: Api, name: str, value: bytes) -> None:
    token = (await memory_api.reserve())["token"]
    headers = [(name.encode(), value)]
    requests: list[tuple[str, str, Json]] = [
        ("PUT", "/v1/series/NEW", {"template": "N{SEQ:4}"}),
        ("POST", "/v1/reservations", {"series": "PLAIN"}),
        ("POST", "/v1/issue", {"series": "PLAIN", "document": "D"}),
        ("POST", f"/v1/reservations/{token}/confirm", {}),
        ("POST", f"/v1/reservations/{token}/extend", {"ttl_seconds": 600}),
        ("POST", f"/v1/reservations/{token}/cancel", {}),
    ]
    async with memory_api.unchanged():
        for method, path, body in requests:
            told = problem(await memory_api.http.request(method, path, json=body, headers=headers), Code.INVALID_FORMAT)
            assert fields_of(told) == [name]


async def test_two_idempotency_keys_are_refused(memory_api: Api) -> None:
    headers = [("idempotency-key", "one"), ("idempotency-key", "two")]
    async with memory_api.unchanged():
        response = await memory_api.http.post("/v1/reservations", json={"series": "PLAIN"}, headers=headers)
        problem(response, Code.INVALID_FORMAT)


async def test_200_characters_are_not_too_many(memory_api: Api) -> None:
    headers = {"idempotency-key": "x" * 200, "x-request-id": "~" * 200}
    answer(await memory_api.http.post("/v1/reservations", json={"series": "PLAIN"}, headers=headers), 201)


async def test_a_query_string_changes_nothing_about_a_write(memory_api: Api) -> None:
    reserved = await memory_api.http.post("/v1/reservations?count=5&series=X%00", json={"series": "PLAIN"})
    assert len(answer(reserved, 201)["numbers"]) == 1


READS = [
    "/v1/series",
    "/v1/series/PLAIN",
    f"/v1/reservations/{TOKEN}",
    "/v1/numbers/P-00001",
    "/v1/sequences",
    "/v1/sequences/PLAIN:-",
    "/v1/sequences/PLAIN:-/gaps",
    "/v1/events",
    "/v1/events/stream",
]


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("query", ["%FF", "nonsense=1", "Limit=5", "%00=1", "min_positon=1"])
async def test_a_read_names_what_it_does_not_know(memory_api: Api, path: str, query: str) -> None:
    (flaw,) = problem(await memory_api.http.get(f"{path}?{query}"), Code.INVALID_FORMAT)["errors"]
    assert "is not a known field" in flaw["problem"]


async def test_a_query_of_many_names_is_refused_soon(memory_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []  # with every field that there is, which takes long

    def compare(name: str, *_: object, **__: object) -> list[str]:
        compared.append(name)
        return []

    monkeypatch.setattr(schemas, "get_close_matches", compare)
    query = "&".join(f"a{n}" for n in range(9_000))
    told = problem(await memory_api.http.get(f"/v1/series?{query}"), Code.INVALID_FORMAT)
    assert len(compared) == len(told["errors"]) <= 20


# Anything at all

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
dimensions = st.fixed_dictionaries(
    {},
    optional={
        "values": st.lists(st.text(max_size=3), max_size=3),
        "chars": st.text("A-Z^]\\[&~|-\u0301é", max_size=6) | st.text(max_size=4),
        "min": st.integers(-2, 60) | st.integers(),
        "max": st.integers(-2, 60) | st.integers(),
        "default": st.text(max_size=3),
    },
)
# Near enough to the truth to get past the first check, and to the second.
near = {
    "series": st.sampled_from(["PLAIN", "RFA", "LETTER", "FUZZ", ""]),
    "key": st.sampled_from([RFA_KEY, LETTER_KEY, {}]) | st.dictionaries(st.sampled_from([*RFA_KEY, "A"]), st.text()),
    "count": st.integers(-1, 3) | st.sampled_from([9_999, 10_000, 10_001]),
    "ttl_seconds": st.sampled_from([-1, 0, 1, 300, 86_400, 86_401, 10**18]),
    "document_date": st.dates().map(str) | st.text("0123456789-", max_size=10),
    "attributes": st.dictionaries(st.sampled_from(["REV", "A"]), st.text(max_size=2), max_size=2),
    "document": st.text(max_size=5),
    "numbers": st.lists(st.sampled_from(["P-00001", "P-00002"]) | json_values, max_size=3),
    "release_rest": st.booleans(),
    "reason": st.text(max_size=5),
    "template": st.text("{}SEQ:14AYRV-/ \u0e01\u200b", max_size=20) | st.sampled_from(["{A}{SEQ:4}", "{SEQ:9}{YY}"]),
    "dimensions": st.dictionaries(st.sampled_from(["A", "B", "SEQ", "a"]), dimensions, max_size=2),
    "reset": st.sampled_from(["never", "daily", "fiscal_year"]),
    "fiscal_year_start": st.text("0123456789-", min_size=5, max_size=5),
    "timezone": st.sampled_from(["Asia/Bangkok", "UTC", "Factory", "", ".", "tzdata/zones"]),
    "start": st.integers(),
    "max_value": st.integers(),
    "overflow": st.sampled_from(["error", "widen"]),
    "warn_at_percent": st.lists(st.integers(), max_size=3),
}
nearly_right = st.fixed_dictionaries({}, optional={name: value | json_values for name, value in near.items()})
plausible = {
    "/v1/series": ["template", "dimensions", "attributes", "reset", "timezone", "start", "max_value", "overflow"],
    "/v1/preview": ["series", "key", "count", "document_date", "attributes"],
    "/v1/reservations": ["series", "key", "count", "document_date", "attributes", "ttl_seconds"],
    "/v1/issue": ["series", "key", "count", "document_date", "attributes", "document"],
    "confirm": ["document", "numbers", "release_rest"],
    "extend": ["ttl_seconds"],
    "cancel": ["reason"],
}


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes]:
    """Where to, and a body: any bytes, any JSON, or something that is nearly right there."""
    place = draw(st.sampled_from(sorted(plausible)))
    fields = st.fixed_dictionaries({}, optional={name: near.get(name, near["dimensions"]) for name in plausible[place]})
    body = draw(fields | nearly_right | json_values | st.binary(max_size=60))
    return place, body if isinstance(body, bytes) else json.dumps(body).encode()


FUZZ = settings(
    max_examples=rounds(60, thorough=200),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
async def fuzzed(memory_api: Api) -> Api:
    await define_all(memory_api)
    memory_api.is_ambiguous = True  # whatever template is drawn may be drawn twice
    return memory_api


@FUZZ
@given(requests())
async def test_no_body_is_too_much(fuzzed: Api, request_: tuple[str, bytes]) -> None:
    place, content = request_
    # Every path of a reservation is given one of its own, made before the log is looked at.
    token = (await fuzzed.reserve())["token"]
    path = place if place.startswith("/") else f"/v1/reservations/{token}/{place}"
    before = await fuzzed.head()
    if place == "/v1/series":
        response = await fuzzed.http.put(f"{path}/FUZZ{before.position}", content=content)
    else:
        response = await fuzzed.http.post(path, content=content)
    await expect_an_answer_or_nothing(fuzzed, response, before.position)


async def expect_an_answer_or_nothing(api: Api, response: httpx.Response, before: int) -> None:
    assert response.status_code < 500, response.text
    if response.is_success:
        assert response.json()["position"] == (await api.head()).position
    else:
        problem(response, Code[response.json()["title"]])
        assert (await api.head()).position == before


@FUZZ
@given(dimensions.filter(lambda form: "default" not in form), st.sampled_from("AZ^]-é"))
async def test_no_dimension_is_too_much(fuzzed: Api, form: Json, value: str) -> None:
    before = (await fuzzed.head()).position
    body = {"template": "{A}-{SEQ:4}", "dimensions": {"A": form}}
    response = await fuzzed.http.put(f"/v1/series/FUZZ{before}", content=json.dumps(body).encode())
    await expect_an_answer_or_nothing(fuzzed, response, before)
    if response.status_code == 201:
        seen = await fuzzed.post("/v1/preview", {"series": f"FUZZ{before}", "key": {"A": value}})
        assert seen.status_code in (200, 422), seen.text


@FUZZ
@given(st.text(min_size=1, max_size=40) | st.text("0123456789abcdef", min_size=31, max_size=33), st.binary(max_size=8))
async def test_no_path_is_too_much(fuzzed: Api, name: str, junk: bytes) -> None:
    before = (await fuzzed.head()).position
    segment = quote(name.encode("utf-8", "surrogatepass") + junk, safe="")
    for path in (f"/v1/reservations/{segment}", f"/v1/series/{segment}", f"/v1/{segment}", f"/{segment}"):
        response = await fuzzed.http.get(path)
        assert response.status_code in (400, 404, 405, 422), path
        problem(response, Code[response.json()["title"]])
    assert (await fuzzed.head()).position == before
