"""Events of earlier versions: read as the present one, and verified as they were written.

No type has changed yet, so one is pretended to have: as if `SequenceReset` of version 1 called its `start` `first`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from ledger import chain, codec
from ledger.codec import UnknownEvent, canonical, flaw_of_columns, record_of
from ledger.domain.events import EVENT_TYPES, SequenceReset
from ledger.ports import Record
from ledger.upcasters import UPCASTERS, upcast
from replay.examination import Examination
from tests.golden.samples import LEDGER_ID, log

PRESENT = [codec.decode(row) for row in log()]  # as they are without what is pretended

Edit = Callable[[dict[str, Any]], dict[str, Any]]


def first_became_start(data: dict[str, Any]) -> dict[str, Any]:
    data["start"] = data.pop("first")
    return data


@pytest.fixture(autouse=True)
def _changed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(SequenceReset, "version", 2)
        patch.setitem(UPCASTERS, ("SequenceReset", 1), first_became_start)
        yield


def as_it_was(said: dict[str, Any]) -> dict[str, Any]:
    data = dict(said["data"])
    data["first"] = data.pop("start")
    return said | {"data": data}


def old_log(edit: Edit = lambda said: said) -> list[Record]:
    """The golden log with the events of the type as version 1 wrote them, the last of them changed by `edit`."""
    bodies = [orjson.loads(row.body) for row in log()]
    of_type = [index for index, said in enumerate(bodies) if said["type"] == "SequenceReset"]
    for index in of_type:
        bodies[index] = as_it_was(bodies[index])
    bodies[of_type[-1]] = edit(bodies[of_type[-1]])
    made: list[Record] = []
    for said in bodies:
        body = canonical(said)
        made.append(record_of(body, chain.link(made[-1].hash if made else chain.genesis(LEDGER_ID), body)))
    return made


def examined(rows: list[Record]) -> str | None:
    examination = Examination(LEDGER_ID)
    return examination.take(rows) or examination.finish()


def test_an_old_event_is_read_as_the_present_version() -> None:
    old, now = (
        [entry for entry in entries if isinstance(entry.event, SequenceReset)]
        for entries in (map(codec.decode, old_log()), PRESENT)
    )
    assert old
    assert old == now


def test_a_log_with_old_events_is_without_a_flaw_and_stays_as_it_is() -> None:
    rows, noted = old_log(), list[Record]()
    examination = Examination(LEDGER_ID, lambda _, record: noted.append(record))
    assert (examination.take(rows) or examination.finish()) is None
    assert noted == rows
    noted.clear()
    examination = Examination(LEDGER_ID, lambda _, record: noted.append(record))
    assert examination.take_bare([(row.position, row.body, row.hash) for row in rows]) is None
    assert noted == rows  # as a restore stores it: of its own version, not of the present one
    assert all(flaw_of_columns(row) is None for row in noted)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda said: said | {"data": said["data"] | {"note": "x"}}, "the body is not as its event is written"),
        (lambda said: said | {"note": "x"}, "the body is not as its event is written"),
        (lambda said: said | {"stream": "X"}, "the body is not as its event is written"),
        (lambda said: said | {"version": 2}, "the body cannot be read: KeyError"),
        (lambda said: said | {"version": 3}, "upgrade it"),
        (lambda said: said | {"version": 0}, "upgrade it"),
    ],
)
def test_what_an_old_version_did_not_write_is_found(edit: Edit, words: str) -> None:
    assert words in (examined(old_log(edit)) or "")


def test_an_old_event_that_is_not_canonical_is_found() -> None:
    rows = old_log()
    index = max(index for index, row in enumerate(rows) if row.type == "SequenceReset")
    body = rows[index].body.replace(b'"ordinal":', b'"ordinal": ')
    hash = chain.link(rows[index - 1].hash, body)
    assert examined([*rows[:index], rows[index]._replace(body=body, hash=hash)]) == (
        "the body is not as its event is written"
    )


def test_the_columns_of_an_old_event_are_compared_with_its_body() -> None:
    rows = old_log()
    index = next(index for index, row in enumerate(rows) if row.type == "SequenceReset")
    rows[index] = rows[index]._replace(version=2)
    assert examined(rows) == "the column version is 2, and the body says 1"


def test_several_versions_are_passed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UPCASTERS, ("SequenceReset", 2), lambda data: data | {"of": 2})
    monkeypatch.setitem(UPCASTERS, ("SequenceReset", 4), lambda data: data | {"of": 4})
    assert upcast("SequenceReset", 1, {"first": 7}, to=3) == {"start": 7, "of": 2}
    assert upcast("SequenceReset", 2, {"start": 7}, to=3) == {"start": 7, "of": 2}
    assert upcast("SequenceReset", 1, {"first": 7}, to=5) is None  # nothing leads from 3 to 4
    assert upcast("SequenceReset", "1", {"first": 7}, to=3) is None
    assert upcast("SequenceReset", 4, {"start": 7}, to=3) is None


def test_a_version_without_an_upcaster_is_not_guessed_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(UPCASTERS, ("SequenceReset", 1))
    with pytest.raises(UnknownEvent):
        codec.decode(next(row for row in old_log() if row.type == "SequenceReset"))


def test_each_upcaster_is_of_an_earlier_version_of_a_type() -> None:
    for name, version in UPCASTERS:
        assert version < EVENT_TYPES[name].version
