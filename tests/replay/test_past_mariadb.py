"""Moments of a ledger in MariaDB, folded by `replay` and by the service beside it."""

from ledger.stores import SqlStore
from replay.moments import Moment, Past, folded
from replay.sources import DatabaseSource
from tests.api.client import PLAIN_BODY, RealTime, answer, served
from tests.invariants import read_log
from tests.replay.past import documents, states
from tests.servers import MariaDB
from tests.stores import mariadb_ledger


async def test_moments_are_those_of_the_log(mariadb: MariaDB) -> None:
    made = mariadb_ledger(mariadb)
    store, look = made.open(), made.open()
    assert isinstance(look, SqlStore)
    async with served(store, look, clock=RealTime()) as api:
        await api.define("PLAIN", PLAIN_BODY)
        for count in (1, 2):
            await api.post("/v1/issue", {"series": "PLAIN", "count": count, "document": f"D-{count}"})
        await api.post("/v1/numbers/P-00001/void", {"reason": "sent to the wrong customer", "replace": True})
        records, head = await read_log(look)
        for position in range(3, head.position + 1):
            past = await folded(await Past.of(DatabaseSource(look), Moment(position=position)))
            assert past.hash == records[position - 1].hash
            path = f"/v1/as-of?position={position}&sequence=PLAIN:-"
            told = answer(await api.http.get(path), 200)["numbers"]
            assert {each["value"]: each["state"] for each in told} == {
                value: state for (_, value), state in states(records[:position]).items()
            }
            given = {each["value"]: each["document"] for each in told if each["document"]}
            assert given == {value: each for (_, value), each in documents(records[:position]).items()}
    await store.close()
    await look.close()
