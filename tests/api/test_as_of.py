"""The ledger as it was, over HTTP: at every position what the events up to there say, however it was asked for."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ledger import as_of
from ledger.domain.calendar import instant_text
from ledger.domain.rejection import Code
from ledger.fold import Fold
from ledger.ports import Record, Store
from ledger.snapshots import draft, pack
from ledger.stores import open_store
from ledger.writer import Limits
from tests.api.client import Api, Json, answer, eventually, in_memory, problem, served
from tests.invariants import read_log
from tests.projections.agreement import catch_up
from tests.projections.histories import run_on_sqlite
from tests.replay.past import documents, states
from tests.test_machine import Machine

HELD = ("RESERVED", "CONFIRMED", "VOIDED", "CANCELLED", "EXPIRED")
PAGE = 3


async def asked(api: Api, **query: Any) -> Json:
    return answer(await api.http.get("/v1/as-of", params=query), 200)


async def pages(api: Api, name: str, **query: Any) -> list[Json]:
    """Give all of a list, read in short pages."""
    found: list[Json] = []
    following: object = ""
    while following is not None:
        go_on = {"first" if "sequence" in query else "after": following} if following else {}
        page = await asked(api, **query, **go_on, limit=PAGE)
        assert len(page[name]) <= PAGE
        found += page[name]
        following = page["next"]
    return found


@asynccontextmanager
async def aclosing_store(url: str) -> AsyncIterator[Store]:
    store = open_store(url)
    yield store
    await store.close()


class Served(Machine):
    """In the end the ledger is asked over HTTP for every position."""

    async def _check(self) -> None:
        url = f"sqlite+aiosqlite:///{self.stores[0]._file}"  # type: ignore[attr-defined]
        await catch_up(self.stores[0])  # type: ignore[arg-type]
        async with aclosing_store(url) as look, served(open_store(url), look, clock=self.clock) as api:
            records, _ = await read_log(api.store)
            for position in range(len(records), 0, -7):
                await self._check_moment(api, records[:position])
            for position in range(1, len(records) + 1):
                await self._check_moment(api, records[:position])

    async def _check_moment(self, api: Api, records: Sequence[Record]) -> None:
        position, known, given = len(records), states(records), documents(records)
        sequences = await pages(api, "sequences", position=position)
        counts = {each["sequence"]: each["counts"] for each in sequences}
        told: dict[tuple[str, int], str] = {}
        for id in counts:
            for number in await pages(api, "numbers", position=position, sequence=id):
                told[id, number["value"]] = number["state"]
                assert number["document"] == given.get((id, number["value"])), (position, number)
                assert number["cause"]["position"] <= position
        assert told == {place: state for place, state in known.items() if state in HELD}
        for id, counted in counts.items():
            assert counted == {
                name: [state for (of, _), state in known.items() if of == id].count(name) for name in counted
            }
        held = [each["held"] for each in await pages(api, "reservations", position=position)]
        count = sum(ranges["last"] - ranges["first"] + 1 for each in held for ranges in each)
        assert count == list(known.values()).count("RESERVED")  # type: ignore[arg-type]


def test_every_moment_of_any_history_is_what_its_events_say(tmp_path: Path) -> None:
    run_on_sqlite(Served, tmp_path, examples=3, steps=30)


async def _is_asked(api: Api) -> bool:
    return bool(api.ledger._as_of._asked)


async def a_history(api: Api) -> Json:
    """Two numbers issued, one of them voided and replaced, and one that is held; a second between each."""
    body = {"series": "PLAIN", "document": "D-1", "count": 2}
    told: Json = {}
    for path, one in (
        ("/v1/issue", body),
        ("/v1/reservations", {"series": "PLAIN"}),
        ("/v1/numbers/P-00001/void", {"reason": "sent to the wrong customer", "replace": True}),
    ):
        api.clock.advance(1)
        told = (await api.post(path, one)).json()
    return told


async def test_the_ledger_is_told_as_it_was(api: Api) -> None:
    assert (await a_history(api))["position"] == 8
    then = await asked(api, position=5)
    (sequence,), (reservation,) = then["sequences"], then["reservations"]
    assert (then["position"], then["next"]) == (5, None)
    assert (sequence["sequence"], sequence["high_water"], sequence["counts"]["CONFIRMED"]) == ("PLAIN:-", 3, 2)
    assert sequence.keys() == (await api.http.get("/v1/sequences")).json()["sequences"][0].keys()
    assert reservation["held"] == [{"first": 3, "last": 3}]
    assert await asked(api, position=2) == {
        "position": 2,
        "recorded_at": instant_text(api.clock.now() - 3_000_000),
        "sequences": [],
        "reservations": [],
        "next": None,
    }


async def test_a_time_means_the_last_event_of_that_time(api: Api) -> None:
    await a_history(api)
    now = api.clock.now()
    for seconds, position in ((0, 8), (-1, 5), (-1.5, 4), (-2, 4), (-3, 2)):
        time = instant_text(now + int(seconds * 1_000_000))
        assert (await asked(api, time=time))["position"] == position
        assert await asked(api, time=time) == await asked(api, position=position)
    later = instant_text(now + 100_000_000)
    refused = problem(await api.http.get("/v1/as-of", params={"time": later}), Code.NOT_IN_HISTORY)
    assert "has not come yet" in refused["detail"]
    api.clock.advance(100)
    assert (await asked(api, time=later))["position"] == 8


async def test_numbers_are_told_as_they_were(api: Api) -> None:
    await a_history(api)
    then = await asked(api, position=5, sequence="PLAIN:-")
    assert [(each["number"], each["state"], each["document"]) for each in then["numbers"]] == [
        ("P-00001", "CONFIRMED", "D-1"), ("P-00002", "CONFIRMED", "D-1"), ("P-00003", "RESERVED", None),
    ]  # fmt: skip
    now = await asked(api, position=8, sequence="PLAIN:-", first=1, limit=1)
    (voided,) = now["numbers"]
    assert (voided["state"], voided["document"], voided["cause"]["event"]) == ("VOIDED", "D-1", "NumberVoided")
    assert voided["cause"]["reason"] == "sent to the wrong customer"
    assert now["next"] == 2
    assert [each["value"] for each in await pages(api, "numbers", position=8, sequence="PLAIN:-")] == [1, 2, 3, 4]


@in_memory
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, Code.INVALID_FORMAT),
        ({"position": 1, "time": "2026-01-01T00:00:00Z"}, Code.INVALID_FORMAT),
        ({"time": "2026-01-01"}, Code.INVALID_FORMAT),
        ({"position": "x"}, Code.INVALID_FORMAT),
        ({"position": 1, "limit": 1001}, Code.INVALID_FORMAT),
        ({"position": 1, "first": 1}, Code.INVALID_FORMAT),
        ({"position": 1, "after": "x"}, Code.INVALID_FORMAT),
        ({"position": 1, "sequence": "PLAIN:-", "series": "PLAIN"}, Code.INVALID_FORMAT),
        ({"position": 1, "colour": "red"}, Code.INVALID_FORMAT),
        ({"position": 0}, Code.NOT_IN_HISTORY),
        ({"position": 9}, Code.NOT_IN_HISTORY),
        ({"time": "2001-01-01T00:00:00Z"}, Code.NOT_IN_HISTORY),
        ({"time": "2099-01-01T00:00:00Z"}, Code.NOT_IN_HISTORY),
        ({"position": 1, "series": "NONE"}, Code.CONFIG_NOT_FOUND),
        ({"position": 1, "sequence": "PLAIN:-"}, Code.SEQUENCE_NOT_FOUND),
        ({"position": 1, "min_position": 9}, Code.POSITION_NOT_REACHED),
    ],
)
async def test_what_makes_no_sense_is_refused(api: Api, query: dict[str, Any], code: Code) -> None:
    await a_history(api)
    problem(await api.http.get("/v1/as-of", params=query), code)


@in_memory
async def test_a_cursor_is_of_one_moment_and_one_series(api: Api) -> None:
    for _ in range(3):
        await api.reserve()
    page = await asked(api, position=4, limit=1)
    assert page["next"]
    for query in ("position=3", "position=4&series=PLAIN"):
        problem(await api.http.get(f"/v1/as-of?{query}&after={page['next']}"), Code.INVALID_FORMAT)


async def test_what_was_stays_and_is_kept(api: Api) -> None:
    await a_history(api)
    response = await api.http.get("/v1/as-of?position=4")
    assert "immutable" in response.headers["cache-control"]
    again = await api.http.get("/v1/as-of?position=4", headers={"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304
    by_time = await api.http.get("/v1/as-of", params={"time": instant_text(api.clock.now())})
    assert by_time.headers["cache-control"] == "no-cache"


# Folding


async def test_what_takes_too_long_is_found_later(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await a_history(api)
    may_go_on = asyncio.Event()
    begun = as_of.AsOf._begun

    async def slow(self: as_of.AsOf, *given: Any) -> Fold:
        await may_go_on.wait()
        return await begun(self, *given)

    monkeypatch.setattr(as_of.AsOf, "_begun", slow)
    monkeypatch.setattr(api.ledger._as_of, "_seconds", 0.01)
    body = problem(await api.http.get("/v1/as-of?position=4"), Code.STILL_FOLDING)
    assert body["retry"]
    monkeypatch.setattr(as_of, "MAX_WAITING", 1)
    problem(await api.http.get("/v1/as-of?position=3"), Code.STILL_FOLDING)
    may_go_on.set()
    monkeypatch.setattr(api.ledger._as_of, "_seconds", 5.0)
    assert (await asked(api, position=4))["position"] == 4


async def test_folds_go_on_from_those_that_are_kept(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await a_history(api)
    read: list[int] = []
    events = api.ledger._store.events

    async def counted(*, after: int, limit: int) -> Sequence[Record]:
        read.append(after)
        return await events(after=after, limit=limit)

    first = await asked(api, position=3)
    monkeypatch.setattr(api.ledger._store, "events", counted)
    await asked(api, position=5)
    await asked(api, position=5)
    await asked(api, position=3)
    assert read == [3]
    assert await asked(api, position=3) == first
    for position in (1, 2, 4, 6):
        await asked(api, position=position)
    assert len(api.ledger._as_of._kept) == as_of.KEPT
    assert await asked(api, position=3) == first


async def test_a_fold_begins_at_a_snapshot(sqlite_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api = sqlite_api
    await a_history(api)
    records, head = await read_log(api.store)
    fold = Fold(head.ledger_id)
    fold.take(records[:4])
    with draft(fold) as made:
        await api.store.put_snapshot(pack(made.position, made.hash, made.lines))
    monkeypatch.setattr(as_of, "Fold", None)  # what begins before the first event would be no fold
    later = await asked(api, position=6)
    assert later["sequences"][0]["counts"]["VOIDED"] == 1
    assert (await asked(api, position=4))["sequences"][0]["counts"]["VOIDED"] == 0


async def test_a_spoilt_snapshot_is_not_used(sqlite_api: Api) -> None:
    api = sqlite_api
    await a_history(api)
    records, head = await read_log(api.store)
    fold = Fold(head.ledger_id)
    fold.take(records[:4])
    with draft(fold) as made:
        await api.store.put_snapshot(pack(made.position, made.hash, made.lines)._replace(sha256=bytes(32)))
    assert (await asked(api, position=6))["sequences"][0]["counts"]["VOIDED"] == 1


async def test_who_waits_when_the_service_stops_is_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await a_history(api)

    async def never(*_: Any) -> Fold:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(as_of.AsOf, "_begun", never)
    waiting = asyncio.create_task(api.http.get("/v1/as-of?position=4"))
    await eventually(lambda: _is_asked(api))
    await api.ledger._as_of.stop()
    problem(await waiting, Code.SHUTTING_DOWN)


async def test_commands_go_on_while_the_past_is_folded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(20):
        await api.reserve()
    monkeypatch.setattr(as_of, "SLICE_SECONDS", 0.0)
    told, reserved = await asyncio.gather(asked(api, position=20), api.reserve())
    assert (told["position"], reserved["position"]) == (20, 23)


async def test_limits_are_the_service_s(open_ledger: Any, clock: Any) -> None:
    async with served(open_ledger(), open_ledger(), clock=clock, limits=Limits(lock_timeout_seconds=3.0)) as api:
        assert api.ledger._as_of._seconds == 3.0
