"""Acts that cannot be undone, over HTTP: dry runs, what must be accepted, what is reopened, and repetitions."""

from typing import Any

import pytest

from ledger.domain.rejection import Code
from tests.api.client import Api, Json, answer, problem

REASON = "because the test says so"
YEARLY: Json = {"template": "Y{YYYY}-{SEQ:3}", "reset": "yearly"}
RUNNING: Json = {"accept": ["running_period"]}
FAR: Json = {"accept": ["far_period"]}

# Each act with what it needs beside this, and where it does what; PLAIN has one number, and YEARLY none.
ACTS: list[tuple[str, str, Json, Json]] = [
    ("close_period", "/v1/sequences/YEARLY:2025/close", {}, RUNNING),
    ("retire_series", "/v1/series/YEARLY/retire", {}, RUNNING),
    ("open_period", "/v1/series/YEARLY/periods", {"period": "2031"}, FAR),
    ("reset_sequence", "/v1/sequences/YEARLY:2025/reset", {"period": "2031"}, FAR),
    (
        "adjust_sequence",
        "/v1/sequences/PLAIN:-/adjust",
        {"next_value": 1_003, "reason": REASON},
        {"max_skipped": 1_001},
    ),
    ("assign", "/v1/assign", {"number": "P-99998", "document": "D", "reason": REASON}, {"max_skipped": 99_996}),
    ("adjust_maximum", "/v1/series/PLAIN/maximum", {"max_value": 500, "reason": REASON}, {}),
    ("define_series", "/v1/series/PLAIN", {"template": "Q-{SEQ:5}"}, {}),
    ("import", "/v1/imports", {"series": ["PLAIN"], "numbers": ["P-20000"]}, {"max_skipped": 19_998}),
]


async def ask(api: Api, operation: str, path: str, body: Json, **headers: str) -> Any:
    if operation == "define_series":
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await api.http.put(path, json=body, headers=named)
    return await api.post(path, body, **headers)


async def begin(api: Api) -> None:
    await api.define("YEARLY", YEARLY)
    answer(await api.post("/v1/issue", {"series": "PLAIN", "document": "D"}), 201)


@pytest.mark.parametrize(("operation", "path", "body", "needs"), ACTS, ids=[each[0] for each in ACTS])
async def test_a_dry_run_tells_what_the_command_then_does(
    api: Api, operation: str, path: str, body: Json, needs: Json
) -> None:
    await begin(api)
    async with api.unchanged():
        told = answer(await ask(api, operation, path, body | {"dry_run": True}, idempotency_key="K"), 200)
        assert (told["dry_run"], told["needs"]) == (True, needs)
        accepted = answer(await ask(api, operation, path, body | needs | {"dry_run": True}), 200)
        assert accepted == told | {"needs": {}}
        if needs:
            refused = await ask(api, operation, path, body, idempotency_key="K")
            code = Code.TOO_MANY_SKIPPED if "max_skipped" in needs else Code.ACCEPTANCE_NEEDED
            refusal = problem(refused, code)
            assert (refusal["needs"], refusal["effect"]) == (needs, told["effect"])
            assert ("max_skipped" if "max_skipped" in needs else needs["accept"][0]) in refusal["detail"]
    done = await ask(api, operation, path, body | needs, idempotency_key="K")
    assert done.status_code < 300, done.text
    assert "idempotent-replayed" not in done.headers, "a dry run bound the key"
    for each in told["effect"]["sequences"]:
        found = answer(await api.http.get(f"/v1/sequences/{each['sequence']}"), 200)
        assert found["high_water"] == each["high_water_after"]
        assert (found["left"], found["closed"]) == (each["left_after"], each["closed"])


@pytest.mark.parametrize(("operation", "path", "body", "needs"), ACTS, ids=[each[0] for each in ACTS])
async def test_a_repetition_is_answered_before_anything_is_judged(
    memory_api: Api, operation: str, path: str, body: Json, needs: Json
) -> None:
    await begin(memory_api)
    first = await ask(memory_api, operation, path, body | needs, idempotency_key="K")
    async with memory_api.unchanged():
        again = await ask(memory_api, operation, path, body | needs, idempotency_key="K")
        assert again.headers["idempotent-replayed"] == "true"
        assert (again.status_code, again.content) == (first.status_code, first.content)
        other = await ask(memory_api, operation, path, body | needs | {"dry_run": True}, idempotency_key="K")
        assert other.status_code == 200 or "needs" not in other.json()  # it looks at no key


async def test_an_upper_bound_binds_below_what_is_skipped_freely(memory_api: Api) -> None:
    adjust = {"next_value": 9, "reason": REASON}
    async with memory_api.unchanged():
        told = problem(
            await memory_api.post("/v1/sequences/PLAIN:-/adjust", adjust | {"max_skipped": 7}), Code.TOO_MANY_SKIPPED
        )
        assert (told["needs"], told["retry"]) == ({"max_skipped": 8}, False)
        for wrong in (-1, "8", 8.5, True):
            problem(
                await memory_api.post("/v1/sequences/PLAIN:-/adjust", adjust | {"max_skipped": wrong}),
                Code.INVALID_FORMAT,
            )
    answer(await memory_api.post("/v1/sequences/PLAIN:-/adjust", adjust | {"max_skipped": 8}), 200)


async def test_only_what_there_is_to_accept_is_taken(memory_api: Api) -> None:
    await begin(memory_api)
    async with memory_api.unchanged():
        for wrong in (["running"], "running_period", [1], [None]):
            problem(await memory_api.post("/v1/series/YEARLY/retire", {"accept": wrong}), Code.INVALID_FORMAT)
        problem(await memory_api.post("/v1/series/YEARLY/retire", {"dry_run": "yes"}), Code.INVALID_FORMAT)
        problem(await memory_api.post("/v1/series/YEARLY/retire", FAR), Code.ACCEPTANCE_NEEDED)


async def test_open_reservations_that_keep_a_period_open_are_told_in_numbers(memory_api: Api) -> None:
    await begin(memory_api)
    await memory_api.reserve("YEARLY", count=2)
    async with memory_api.unchanged():
        for body in ({}, RUNNING, {"dry_run": True}):
            told = problem(await memory_api.post("/v1/sequences/YEARLY:2025/close", body), Code.RESERVATIONS_OPEN)
            assert told["open_reservations"] == 1
        told = answer(await memory_api.post("/v1/series/YEARLY/retire", {"dry_run": True}), 200)
        assert told["effect"]["open_reservations"] == 1


# Batches


def items(**changes: Any) -> list[Json]:
    """The acts on PLAIN as commands of a batch; each could be carried out after those before it."""
    return [
        {"op": "adjust_sequence", "sequence": "PLAIN:-", "next_value": 1_003, "reason": REASON, **changes},
        {"op": "assign", "number": "P-01004", "document": "D", "reason": REASON, **changes},
    ]


async def batch(api: Api, *commands: Json, **more: Any) -> Any:
    return await api.post("/v1/batch", {"commands": [*commands], **more})


async def test_a_batch_tries_item_by_item(api: Api) -> None:
    await begin(api)
    adjust, assign = items(dry_run=True)
    async with api.unchanged():
        told = answer(await batch(api, adjust, assign), 200)["answers"]
        assert [each["status"] for each in told] == [200, 200]
        assert [each["effect"]["skipped"] for each in told] == [1_001, 1_002]  # none sees what the other would do
        together = answer(await batch(api, adjust, assign, atomic=True), 200)["answers"]
        assert [each["effect"]["skipped"] for each in together] == [1_001, 1]
        assert [each["needs"] for each in together] == [{"max_skipped": 1_001}, {}]


async def test_an_item_that_is_tried_sees_what_those_before_it_did(api: Api) -> None:
    await begin(api)
    adjust, assign = items()
    tried = assign | {"dry_run": True}
    told = answer(await batch(api, tried, adjust | {"max_skipped": 1_001}, tried, assign, tried), 200)["answers"]
    assert [each["status"] for each in told] == [200, 200, 200, 201, 409]
    assert [told[at]["effect"]["skipped"] for at in (0, 2)] == [1_002, 1]
    assert told[4]["code"] == Code.DUPLICATE_NUMBER.number


async def test_an_item_needs_its_own_acceptance(api: Api) -> None:
    await begin(api)
    close = {"op": "close_period", "sequence": "YEARLY:2025"}
    told = answer(await batch(api, close, close | RUNNING, close | RUNNING), 200)["answers"]
    assert [each["status"] for each in told] == [409, 200, 409]
    assert (told[0]["needs"], told[0]["effect"]["left_before"]) == (RUNNING, 999)
    reopen = {"op": "reopen_period", "sequence": "YEARLY:2025", "reason": REASON}
    async with api.unchanged():
        refusal = problem(await batch(api, reopen, close, atomic=True), Code.ACCEPTANCE_NEEDED)
        assert (refusal["index"], refusal["needs"]) == (1, RUNNING)
    answer(await batch(api, reopen, close | RUNNING, atomic=True), 200)


async def test_an_atomic_batch_is_tried_as_a_whole_or_not_at_all(memory_api: Api) -> None:
    adjust, assign = items(max_skipped=2_000)
    async with memory_api.unchanged():
        told = problem(await batch(memory_api, adjust | {"dry_run": True}, assign, atomic=True), Code.INVALID_FORMAT)
        assert "must all have dry_run, or none" in told["detail"]
        wrong = {"op": "retire_series", "series": "NOWHERE", "dry_run": True}
        told = problem(await batch(memory_api, adjust | {"dry_run": True}, wrong, atomic=True), Code.CONFIG_NOT_FOUND)
        assert told["index"] == 1


async def test_a_batch_of_dry_runs_binds_no_key(api: Api) -> None:
    await begin(api)
    adjust, _ = items(dry_run=True)
    real = {name: value for name, value in adjust.items() if name != "dry_run"} | {"max_skipped": 1_001}
    for key in ("K", "K"):
        await api.post("/v1/batch", {"commands": [adjust]}, idempotency_key=key)
        await api.post("/v1/batch", {"commands": [adjust | {"idempotency_key": "OWN"}]})
    done = answer(await api.post("/v1/batch", {"commands": [real]}, idempotency_key="K"), 200)
    assert done["answers"][0]["next_value"] == 1_003
    further = real | {"next_value": 1_010, "idempotency_key": "OWN"}
    assert answer(await batch(api, further), 200)["answers"][0]["next_value"] == 1_010


# Imports


async def test_an_import_tells_its_effect_and_takes_an_upper_bound_in_the_query(api: Api) -> None:
    answer(await api.post("/v1/issue", {"series": "PLAIN", "document": "D"}), 201)
    text = "document_number\nP-05000\nP-00001\nX\n"

    async def send(query: str) -> Any:
        headers = {"content-type": "text/csv"}
        return await api.http.post(f"/v1/imports?series=PLAIN{query}", content=text, headers=headers)

    async with api.unchanged():
        told = answer(await send("&dry_run=true"), 200)
        assert (told["rows"], told["fit"], len(told["rejected"])) == (3, 1, 2)
        assert (told["needs"], told["effect"]["skipped"]) == ({"max_skipped": 4_998}, 4_998)
        problem(await send(""), Code.IMPORT_REFUSED)
        refusal = problem(await send("&skip_bad=true"), Code.TOO_MANY_SKIPPED)
        assert refusal["needs"] == {"max_skipped": 4_998}
        problem(await send("&skip_bad=true&max_skipped=4997"), Code.TOO_MANY_SKIPPED)
        problem(await send("&skip_bad=true&max_skipped=-1"), Code.INVALID_FORMAT)
    assert answer(await send("&skip_bad=true&max_skipped=4998"), 200)["fit"] == 1


async def test_a_dry_run_of_an_import_tells_the_rows_that_the_import_is_refused_for(memory_api: Api) -> None:
    await begin(memory_api)
    answer(await memory_api.post("/v1/sequences/YEARLY:2024/close", {}), 200)
    register = {"series": ["YEARLY"], "numbers": ["Y2024-005"]}
    refused = problem(await memory_api.post("/v1/imports", register), Code.IMPORT_REFUSED)
    told = answer(await memory_api.post("/v1/imports", register | {"dry_run": True}), 200)
    assert (
        [row["title"] for row in refused["rejected"]] == [row["title"] for row in told["rejected"]] == ["PERIOD_CLOSED"]
    )


# Reopening


async def test_a_period_and_a_series_are_reopened(api: Api) -> None:
    await begin(api)
    answer(await api.post("/v1/sequences/YEARLY:2025/close", RUNNING), 200)
    async with api.unchanged():
        told = answer(await api.post("/v1/sequences/YEARLY:2025/reopen", {"reason": REASON, "dry_run": True}), 200)
        assert (told["effect"]["left_before"], told["effect"]["left_after"]) == (0, 999)
        problem(await api.post("/v1/sequences/YEARLY:2025/reopen", {}), Code.INVALID_FORMAT)
    done = answer(await api.post("/v1/sequences/YEARLY:2025/reopen", {"reason": REASON}), 200)
    assert (done["sequence"], done["closed"], done["skipped"]) == ("YEARLY:2025", False, [])
    found = answer(await api.http.get("/v1/sequences/YEARLY:2025/gaps"), 200)
    assert (found["closed"], "frozen" in found) == (False, False)
    answer(await api.post("/v1/issue", {"series": "YEARLY", "document": "D"}), 201)
    closed = answer(await api.post("/v1/sequences/YEARLY:2025/close", RUNNING), 200)
    found = answer(await api.http.get("/v1/sequences/YEARLY:2025/gaps"), 200)
    assert found["frozen"]["cause"]["position"] == closed["position"]
    async with api.unchanged():
        problem(await api.post("/v1/sequences/YEARLY:2025/reopen", {"reason": REASON}), Code.REOPENING_REFUSED)
        problem(await api.post("/v1/series/YEARLY/reopen", {"reason": REASON}), Code.REOPENING_REFUSED)
    answer(await api.post("/v1/series/YEARLY/retire", {"reason": "merged"}), 200)  # its running period is closed
    reopened = answer(await api.post("/v1/series/YEARLY/reopen", {"reason": REASON}), 200)
    assert "retired" not in reopened
    assert reopened == answer(await api.http.get("/v1/series/YEARLY"), 200)
    answer(await api.post("/v1/issue", {"series": "YEARLY", "document_date": "2024-05-01", "document": "D"}), 201)
