"""A short log of letters, with all that becomes of a number."""

import pytest

from ledger.stores import MemoryLog, MemoryStore
from tests.api.client import LETTER_BODY, LETTER_KEY, Json, Time, answer, served
from tests.invariants import read_log
from tests.replay.past import Listed

__all__ = ["REASON", "letters_log", "numbered_log"]

REASON = 'sent to "the wrong", or =SUM(A1) ผิดที่'


@pytest.fixture
async def letters_log() -> Listed:
    clock, log = Time(), MemoryLog("test")
    store = MemoryStore(log, now=clock.now)
    async with served(store, MemoryStore(log, now=clock.now), clock=clock) as api:
        await api.define("LETTER", LETTER_BODY)
        asked: Json = {"series": "LETTER", "key": LETTER_KEY, "document_date": "2025-03-01"}
        issued = answer(await api.post("/v1/issue", {**asked, "document": "=DOC-1", "count": 2}), 201)
        clock.advance(60)
        held = await api.reserve(**asked, count=2)
        await api.reserve(**asked)
        clock.advance(60)
        await api.post(f"/v1/reservations/{held['token']}/cancel", {"reason": "not sent"})
        number = issued["numbers"][0]["number"]
        answer(await api.post(f"/v1/numbers/{number}/void", {"reason": REASON, "replace": True}), 200)
        answer(await api.post("/v1/series/LETTER/retire", {"accept": ["running_period"]}), 200)
    records, head = await read_log(MemoryStore(log))
    return Listed(head.ledger_id, records)


@pytest.fixture
async def numbered_log() -> Listed:
    """A register with a hole, two numbers, values that an adjustment skipped, a number, and one given by hand."""
    clock, log = Time(), MemoryLog("test")
    store = MemoryStore(log, now=clock.now)
    async with served(store, MemoryStore(log, now=clock.now), clock=clock) as api:
        await api.define("PLAIN", {"template": "P-{SEQ:5}"})
        register = {"series": ["PLAIN"], "numbers": ["P-00002", "P-00005"]}
        answer(await api.post("/v1/imports", register), 200)
        await api.reserve()
        answer(await api.post("/v1/sequences/PLAIN:-/adjust", {"next_value": 12, "reason": REASON}), 200)
        await api.reserve()
        by_hand = {"number": "P-00020", "document": "D", "reason": REASON}
        answer(await api.post("/v1/assign", by_hand), 201)
    records, head = await read_log(MemoryStore(log))
    return Listed(head.ledger_id, records)
