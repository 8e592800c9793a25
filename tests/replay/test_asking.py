"""What is asked of the past, at any moment and of any source, has the answer that the live service gave then."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api import answers
from api.answers import as_json
from ledger.domain.rejection import Rejection
from ledger.domain.sequence import ValueState
from ledger.queries import Queries
from ledger.stores import MemoryLog, MemoryStore
from ledger.system import aside
from projections.mirror.memory import MemoryEntries, MemoryStream
from replay.archive.source import ArchiveSource
from replay.asking import asked_then
from replay.moments import END, Moment, Past
from replay.sources import DatabaseSource, Source, StreamSource
from tests.api.client import Api, Time, served
from tests.given import SECOND
from tests.invariants import read_log
from tests.profiles import rounds
from tests.replay.places import LEDGER, archived, opened_sqlite, sqlite_with

SERIES: Mapping[str, dict[str, Any]] = {
    "NEVER": {"template": "N-{SEQ:4}-{YYYY}", "reset": "yearly", "max_value": 20, "warn_at_percent": [10, 30]},
    "AGAIN": {"template": "A{SEQ:3}", "reuse": "gapless", "max_value": 999},
}
Ask = Callable[[Queries], Awaitable[Mapping[str, Any]]]


def asked(tokens: list[str], numbers: list[str]) -> dict[str, Ask]:
    """Give every question, by the path at which the service answers it."""
    found: dict[str, Ask] = {"/v1/series": _all_series, "/v1/sequences": _sequences}
    for code, sequence in (("NEVER", "NEVER:2025"), ("AGAIN", "AGAIN:-")):
        found[f"/v1/series/{code}"] = partial(_series, code=code)
        found[f"/v1/sequences/{sequence}"] = partial(_sequence, id=sequence)
        found[f"/v1/sequences/{sequence}/gaps"] = partial(_gaps, id=sequence)
    for token in tokens:
        found[f"/v1/reservations/{token}"] = partial(_reservation, token=token)
    for number in numbers:
        found[f"/v1/numbers/{number}"] = partial(_number, number=number)
    return found


async def _all_series(ledger: Queries) -> Mapping[str, Any]:
    return answers.all_series(*await ledger.all_series())


async def _series(ledger: Queries, code: str) -> Mapping[str, Any]:
    return answers.series_answer(await ledger.series(code))


async def _sequences(ledger: Queries) -> Mapping[str, Any]:
    return answers.sequences_answer(*_limited(await ledger.sequences(None, after="", limit=101)))


def _limited(found: tuple[Any, int]) -> tuple[Any, int, int]:
    return found[0], 100, found[1]


async def _sequence(ledger: Queries, id: str) -> Mapping[str, Any]:
    return answers.sequence_answer(await ledger.sequence(id))


async def _gaps(ledger: Queries, id: str) -> Mapping[str, Any]:
    states = list(ValueState)
    return answers.gaps(await ledger.accounting(id, first=None, states=states, limit=1000), first=None, states=states)


async def _reservation(ledger: Queries, token: str) -> Mapping[str, Any]:
    return answers.history(*await ledger.reservation(token))


async def _number(ledger: Queries, number: str) -> Mapping[str, Any]:
    return answers.number_history(await ledger.number(number), ledger.state)


class Live:
    """A service, and what it answered at each position and each time."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.tokens: list[str] = []
        self.numbers: list[str] = []
        self.reached: dict[Moment, int] = {}
        self.told: dict[Moment, dict[str, tuple[int, bytes]]] = {}

    async def do(self, what: int) -> None:
        """Send one command or another; a refusal is as good."""
        code = ("NEVER", "AGAIN")[what // 16 % 2]
        sequence = {"NEVER": "NEVER:2025", "AGAIN": "AGAIN:-"}[code]
        token = self.tokens[what // 32 % len(self.tokens)] if self.tokens else "0" * 32
        number = self.numbers[what // 32 % len(self.numbers)] if self.numbers else "A001"
        because = {"reason": "so it was decided"}
        wanted = {"series": code, "document_date": "2025-02-01"}
        commands: list[tuple[str, str, dict[str, Any]]] = [
            (
                "POST",
                "/v1/reservations",
                wanted | {"count": 3, "ttl_seconds": 30},
            ),
            ("POST", "/v1/issue", wanted | {"document": f"D{what}"}),
            ("POST", f"/v1/reservations/{token}/confirm", {"document": "C"}),
            ("POST", f"/v1/reservations/{token}/cancel", because),
            ("POST", f"/v1/reservations/{token}/extend", {"ttl_seconds": 90}),
            ("POST", f"/v1/numbers/{number}/void", because | {"replace": bool(what // 64 % 2)}),
            ("POST", f"/v1/numbers/{number}/document", because | {"document": f"L{what}"}),
            ("POST", f"/v1/sequences/{sequence}/adjust", because | {"next_value": what // 32 % 15}),
            ("POST", f"/v1/series/{code}/maximum", because | {"max_value": 10 + what // 32 % 20}),
            ("PUT", f"/v1/series/{code}", SERIES[code] | {"description": f"version of {what}"}),
            ("POST", f"/v1/sequences/{sequence}/close", because),
            ("POST", f"/v1/series/{code}/retire", because),
        ]
        if what % 16 >= len(commands):
            self.api.clock.advance(what // 16)
            return
        method, path, sent = commands[what % 16]
        response = await self.api.http.request(method, path, json=sent)
        body = response.json()
        if response.status_code == 201 and "token" in body:
            self.tokens.append(body["token"])
            self.numbers += [each["number"] for each in body["numbers"]]

    async def note(self) -> None:
        """Ask everything, and note the answers if nothing happened meanwhile, as an expiry may."""
        before, now = await self.api.head(), self.api.clock.now()
        told = {}
        for path in asked(self.tokens, self.numbers):
            response = await self.api.http.get(path)
            told[path] = response.status_code, response.content
        if await self.api.head() == before and before.position:
            self.told[Moment(time=now)], self.reached[Moment(time=now)] = told, before.position
            if before.recorded_at == now:
                self.told[Moment(position=before.position)] = told


async def lived(steps: list[int]) -> tuple[Live, Any]:
    clock, log = Time(), MemoryLog(LEDGER)
    store = MemoryStore(log, now=clock.now)
    async with served(store, MemoryStore(log, now=clock.now), clock=clock) as api:
        live = Live(api)
        for code, body in SERIES.items():
            await api.define(code, dict(body))
        for number, step in enumerate(steps, 1):
            await live.do(step)
            if not number % 3 or number == len(steps):
                await live.note()
    records, _ = await read_log(MemoryStore(log))
    return live, records


@asynccontextmanager
async def copies(records: Any, directory: Path) -> AsyncIterator[list[Source]]:
    stream = MemoryStream(MemoryEntries())
    genesis = (await MemoryStore(MemoryLog(LEDGER)).head()).hash
    assert await stream.append(records, genesis, begin=True)
    await archived(records, directory / "archive")
    async with opened_sqlite(await sqlite_with(records, directory, LEDGER)) as store:
        yield [DatabaseSource(store), StreamSource(stream, LEDGER), ArchiveSource(directory / "archive")]


async def told_by(queries: Queries, ask: Ask) -> bytes | None:
    try:
        return as_json(await ask(queries))
    except Rejection:
        return None


async def _compare(steps: list[int], seed: int) -> int:
    live, records = await lived(steps)
    questions = asked(live.tokens, live.numbers)
    # At one time several events may have happened, and the answers be of the first of them.
    last = {each.recorded_at: each.position for each in records}
    over = [each for each, at in live.reached.items() if last.get(each.time, at) != at]
    moments = sorted((each for each in live.told if each not in over), key=str)
    chosen = [moments[(seed + each * 7) % len(moments)] for each in range(min(len(moments), 6))]
    with TemporaryDirectory() as directory:
        async with copies(records, Path(directory)) as sources:
            for number, moment in enumerate(chosen):
                source = sources[(seed + number) % len(sources)]
                past = await Past.of(source, moment, allow_beyond=True)
                async with asked_then(source, past, moment, now=lambda: 0, aside=aside) as queries:
                    for path, (status, content) in live.told[moment].items():
                        told = await told_by(queries, questions[path])
                        assert told == (content if status == 200 else None), (source.name, moment, path)
    return len(chosen)


@settings(max_examples=rounds(5, thorough=150), deadline=None)
@given(st.lists(st.integers(0, 4095), min_size=3, max_size=18), st.integers(0, 50))
def test_the_past_is_told_as_the_live_service_told_it(steps: list[int], seed: int) -> None:
    assert asyncio.run(_compare(steps, seed))


ALL_AT_ONCE = [0, 1, 17, 16, 0x20 + 2, 15 + 16 * 40, 0, 5 + 32, 6, 7 + 32 * 9, 8, 9, 15 + 16 * 20, 10, 11, 1, 17]


@pytest.mark.parametrize("seed", range(3))
async def test_a_history_of_everything(seed: int) -> None:
    assert await _compare(ALL_AT_ONCE, seed) >= 4


async def test_a_reservation_that_is_due_stays_reserved_until_its_expiry_is_recorded(tmp_path: Path) -> None:
    live, records = await lived([0])
    (token,) = live.tokens
    async with copies(records, tmp_path) as sources:
        for source in sources:
            moment = Moment(time=live.api.clock.now() + 3600 * SECOND)
            past = await Past.of(source, moment, allow_beyond=True)
            async with asked_then(source, past, moment, now=lambda: 0, aside=aside) as queries:
                history, _ = await queries.reservation(token)
                assert history.state is ValueState.RESERVED
                assert history.expires_at < moment.time  # type: ignore[operator]


async def test_the_end_of_a_ledger_is_the_present_and_that_of_a_copy_its_last_event(tmp_path: Path) -> None:
    live, records = await lived([0, 17])
    later = live.api.clock.now() + 900 * SECOND
    async with copies(records, tmp_path) as sources:
        for source in sources:
            async with asked_then(source, await Past.of(source), END, now=lambda: later, aside=aside) as queries:
                assert queries._now() == (later if source.is_primary else records[-1].recorded_at)
