from collections.abc import Callable

import orjson
import pytest

from ledger import chain
from ledger.codec import UnknownEvent, canonical
from ledger.domain.commands import Reserve
from ledger.domain.state import FOLD_VERSION
from ledger.fold import BrokenChain, Fold
from ledger.ports import Record
from tests.given import NOW, PLAIN, Story, dump
from tests.golden.samples import FOLD_FILE, LEDGER_ID, LOG_FILE, folded, log, record

Records = list[Record]
LENGTH = len(LOG_FILE.read_bytes().splitlines())


def test_the_golden_log_folds_to_the_golden_state() -> None:
    assert FOLD_FILE.exists(), (
        f"FOLD_VERSION is {FOLD_VERSION} now: write its golden state with `python -m tests.golden.samples`, compare it "
        "with that of the version before, and keep only the new one"
    )
    fold = Fold(LEDGER_ID)
    fold.take(log())
    assert folded(fold) == FOLD_FILE.read_bytes(), (
        "the same events fold to another state than before: if that is meant, raise FOLD_VERSION in "
        "ledger/domain/state.py, so that snapshots of the old fold are ignored, then write the new golden state with "
        f"`python -m tests.golden.samples` and remove {FOLD_FILE.name}. If only `dump` in tests/given.py changed, "
        f"remove {FOLD_FILE.name} and write it again"
    )


def test_a_fold_is_the_same_in_any_pieces() -> None:
    whole, pieces = Fold(LEDGER_ID), Fold(LEDGER_ID)
    whole.take(log())
    for row in log():
        pieces.take([])
        pieces.take([row])
    assert folded(pieces) == folded(whole)
    assert pieces.recorded_at == whole.recorded_at == log()[-1].recorded_at


def test_an_empty_fold_stands_before_the_first_event() -> None:
    fold = Fold(LEDGER_ID)
    fold.take([])
    assert (fold.position, fold.hash, fold.recorded_at) == (0, chain.genesis(LEDGER_ID), 0)
    assert fold.ledger_id == LEDGER_ID
    assert dump(fold.state) == dump(Story().state)


def edited(records: Records) -> Records:
    """The body of one event changed, its hash left."""
    body = orjson.loads(records[5].body) | {"actor": "mallory"}
    return [*records[:5], records[5]._replace(body=canonical(body)), *records[6:]]


def rehashed(records: Records) -> Records:
    """One event changed, with a hash that fits it: the next one gives it away."""
    body = canonical(orjson.loads(records[5].body) | {"actor": "mallory"})
    return [*records[:5], record(body, 6, records[4].hash), *records[6:]]


@pytest.mark.parametrize(
    ("edit", "position", "what"),
    [
        (lambda records: records[1:], 0, "position 1 is missing: the log goes on at 2"),
        (lambda records: [*records[:5], *records[6:]], 5, "position 6 is missing: the log goes on at 7"),
        (lambda records: [*records[:5], records[4], *records[5:]], 5, "position 6 is missing: the log goes on at 5"),
        (lambda records: [*records[:4], records[5], records[4]], 4, "position 5 is missing: the log goes on at 6"),
        (edited, 5, "position 6 does not chain"),
        (rehashed, 6, "position 7 does not chain"),
        (lambda records: [*records[:5], records[5]._replace(hash=bytes(32))], 5, "position 6 does not chain"),
        (
            lambda records: [*records[:5], records[5]._replace(body=records[5].body + b" ")],
            5,
            "position 6 does not chain",
        ),
        (lambda records: [*records[:5], records[6]._replace(position=6)], 5, "position 6 does not chain"),
    ],
)
def test_an_edited_history_is_refused_where_it_was_edited(
    edit: Callable[[Records], Records], position: int, what: str
) -> None:
    fold = Fold(LEDGER_ID)
    with pytest.raises(BrokenChain, match=what):
        fold.take(edit(log()))
    assert fold.position == position
    intact = Fold(LEDGER_ID)
    intact.take(log()[: min(position, 5)])
    if position <= 5:
        assert folded(fold) == folded(intact)


def test_a_fold_never_goes_back() -> None:
    fold = Fold(LEDGER_ID)
    fold.take(log())
    with pytest.raises(BrokenChain):
        fold.take(log()[-1:])


def test_another_ledgers_log_is_refused() -> None:
    with pytest.raises(BrokenChain, match="position 1 does not chain"):
        Fold("another").take(log())


def test_an_event_that_is_too_new_is_refused_and_what_came_before_is_kept() -> None:
    records = log()[:3]
    future = canonical(orjson.loads(log()[3].body) | {"version": 2})
    fold = Fold(LEDGER_ID)
    with pytest.raises(UnknownEvent):
        fold.take([*records, record(future, 4, records[-1].hash)])
    assert (fold.position, fold.hash) == (3, records[-1].hash)


def test_advance_notes_an_event_that_the_state_already_holds() -> None:
    fold, story = Fold(LEDGER_ID), Story(PLAIN)
    story.when(Reserve("PLAIN", "T"))
    fold.state = story.state
    row = record(b"{}", 1, fold.hash)._replace(recorded_at=NOW + 1)
    before = dump(fold.state)
    fold.advance(row)
    assert (fold.position, fold.hash, fold.recorded_at) == (1, row.hash, NOW + 1)
    assert dump(fold.state) == before


@pytest.mark.parametrize(
    ("one", "two"), [(("a", b"b"), ("a", b"c")), (("a", b"b"), ("b", b"b")), (("a", b""), ("a", b"\0"))]
)
def test_a_hash_covers_the_body_and_the_hash_before(one: tuple[str, bytes], two: tuple[str, bytes]) -> None:
    assert chain.link(chain.genesis(one[0]), one[1]) != chain.link(chain.genesis(two[0]), two[1])


def test_the_golden_log_is_long_enough_to_be_edited() -> None:
    assert LENGTH == len(log()) > 10


def test_an_event_that_fails_half_way_is_never_folded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("half way")

    monkeypatch.setattr("ledger.fold.evolve", fail)
    fold = Fold(LEDGER_ID)
    with pytest.raises(UnknownEvent, match="position 1 holds an event that this version"):
        fold.take(log()[:1])
    assert fold.position == 0
