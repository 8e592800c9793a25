"""A snapshot is the very fold that it was made of, and whatever it is else, it is refused."""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from datetime import date
from hashlib import sha256
from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from pyroaring import BitMap

from ledger import snapshots
from ledger.domain.commands import (
    AdjustMaximum,
    AdjustSequence,
    Assign,
    Cancel,
    ClosePeriod,
    Confirm,
    Decidable,
    Extend,
    OpenPeriod,
    ReopenPeriod,
    ReopenSeries,
    Reserve,
)
from ledger.domain.decide import decide
from ledger.domain.decisions.acts import accepting
from ledger.domain.ranges import runs
from ledger.domain.rejection import Rejection
from ledger.domain.sequence import Sequence as Counter
from ledger.domain.sequence import ValueState
from ledger.domain.state import FOLD_VERSION, PARTS, State
from ledger.fold import Fold
from ledger.ports import Record, Snapshot, Store
from ledger.snapshots import Unusable, draft, pack, read
from ledger.stores import MemoryLog, MemoryStore
from tests.given import dump
from tests.golden.samples import LEDGER_ID, SNAPSHOT_FILE, folded, log, snapshot_lines
from tests.profiles import rounds
from tests.test_machine import NUMBERS, REASON, Machine

CUT_EVERY = 7


def snapshot_of(fold: Fold) -> Snapshot:
    with draft(fold) as made:
        return pack(made.position, made.hash, made.lines)


def fold_of(records: Iterable[Record], ledger_id: str = LEDGER_ID) -> Fold:
    fold = Fold(ledger_id)
    fold.take(records)
    return fold


def whole(state: State) -> dict[str, Any]:
    """All that a state holds, whoever asks for it, as it is now."""
    parts: dict[str, Any] = {name: copy(getattr(state, f"_{name}")) for name in PARTS}
    parts["series"] = {
        code: [(each.version, each.era, each.max_value, each.key, each.definition) for each in versions]
        for code, versions in parts["series"].items()
    }
    parts["sequences"] = {id: frozen(sequence.parts()) for id, sequence in parts["sequences"].items()}
    return parts


def frozen(value: object) -> object:
    match value:
        case BitMap():
            return tuple(runs(value))  # equal ones may be held, and written, in different ways
        case dict():
            return [(name, frozen(each)) for name, each in value.items()]
        case tuple():
            return tuple(map(frozen, value))
    return value


def due(state: State) -> list[object]:
    """What is due at any time; the next expiry may be too early until those that are over were looked through."""
    ends = sorted({each.expires_at for each in state.reservations()})
    told: list[object] = [state.due(end, limit) for end in ends for limit in (1, 1000)]
    next_expiry = state.next_expiry()
    assert next_expiry is None or not ends or next_expiry <= ends[0]
    return told


def commands(state: State) -> Iterable[Decidable]:
    for code in [each.code for each in state.all_series()]:
        for key in ({}, {"X": "a"}):
            yield Reserve(code, "t", key, 2)
            yield Reserve(code, "t", key, document_date=date(2026, 1, 1))
        yield AdjustMaximum(code, 9, REASON)
        yield OpenPeriod(code, period="2026")
        yield ReopenSeries(code, REASON)
    for sequence in state.sequences():
        yield AdjustSequence(sequence.id, sequence.high_water + 2, REASON)
        yield ClosePeriod(sequence.id, REASON)
        yield ReopenPeriod(sequence.id, REASON)
    for number in NUMBERS:
        yield Assign(number, "HAND", REASON)
    for reservation in state.reservations():
        yield from (Confirm(reservation.token, "DOC"), Extend(reservation.token, 60), Cancel(reservation.token, REASON))


def decisions(state: State, now: int) -> list[object]:
    answers = (decide(state, accepting(command), now) for command in commands(state))
    return [(each.code, each.detail) if isinstance(each, Rejection) else each for each in answers]


class Snapshotted(Machine):
    """In the end the history is cut at many places, and gone on with from a snapshot of there."""

    async def _check(self) -> None:
        (store,) = self.stores
        records = await store.events(after=0, limit=10_000)
        ledger_id = (await store.head()).ledger_id
        for cut in range(len(records) % CUT_EVERY, len(records), CUT_EVERY):
            self.check_cut(records, cut, ledger_id)

    def check_cut(self, records: Sequence[Record], cut: int, ledger_id: str) -> None:
        fold = fold_of(records[:cut], ledger_id)
        before = whole(fold.state)
        with draft(fold) as made:
            lines = [next(made.lines) for _ in range(cut % 9)]
            fold.take(records[cut:])  # the original goes on while it is written
            lines += made.lines
        twin = read(pack(made.position, made.hash, lines), ledger_id)
        assert (twin.position, twin.hash) == (cut, records[cut - 1].hash if cut else Fold(ledger_id).hash)
        assert whole(twin.state) == before
        twin.take(records[cut:])
        self.check_alike(twin, fold, self.clock.now())

    def check_alike(self, twin: Fold, fold: Fold, now: int) -> None:
        assert (twin.position, twin.hash, twin.recorded_at) == (fold.position, fold.hash, fold.recorded_at)
        assert whole(twin.state) == whole(fold.state)
        assert dump(twin.state) == dump(fold.state)
        assert decisions(twin.state, now) == decisions(fold.state, now)
        assert due(twin.state) == due(fold.state)


def test_any_history_goes_on_from_a_snapshot_as_if_there_was_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stores() -> Sequence[Store]:
        return [MemoryStore(MemoryLog("test"))]

    monkeypatch.setattr(snapshots, "ROWS_AT_ONCE", 2)
    made = type("Run", (Snapshotted,), {"open_stores": staticmethod(stores)})
    chosen = settings(
        max_examples=rounds(10, thorough=40),
        stateful_step_count=40,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(made, settings=chosen)


def test_the_golden_snapshot_is_read_as_the_golden_fold() -> None:
    assert SNAPSHOT_FILE.exists(), (
        "write it with `python -m tests.golden.samples`, and remove that of the version before"
    )
    fold = fold_of(log())
    twin = read(pack(fold.position, fold.hash, SNAPSHOT_FILE.read_bytes().split(b"\n")), LEDGER_ID)
    assert folded(twin) == folded(fold)
    assert whole(twin.state) == whole(fold.state)


def test_the_golden_fold_is_written_as_the_golden_snapshot() -> None:
    assert snapshot_lines(fold_of(log())) == SNAPSHOT_FILE.read_bytes(), (
        "a snapshot is written otherwise than before: raise FOLD_VERSION in ledger/domain/state.py, so that those of "
        "before are ignored, and write the golden files anew with `python -m tests.golden.samples`"
    )


class TestNothingIsForgotten:
    """Whoever adds a field to what is folded must add it to the snapshot too."""

    def test_of_a_state(self) -> None:
        made_anew = {"_base", "_expiries", "_in_use", "_kept", "_linked", "_forgotten"}
        assert vars(State()).keys() == {f"_{name}" for name in PARTS} | made_anew
        assert snapshots._FORMS.keys() == set(PARTS)

    def test_of_a_sequence(self) -> None:
        sequence = Counter("S:-", "S", (), "-", 1)
        slots = {name for name in Counter.__slots__ if name != "era"}
        for name in slots:
            setattr(sequence, name, name)
        assert set(sequence.parts()) == slots
        sequence.start = 5
        twin = Counter.of("S~2:-", *sequence.parts()[1:])
        assert twin.parts() == ("S~2:-", *sequence.parts()[1:])
        assert twin.era == 2


class TestSharing:
    def test_reservations_share_what_they_shared(self) -> None:
        fold = fold_of(log())
        (shared, *_) = fold.state.reservations()
        for number in range(3):
            fold.state.put_reservation(f"t{number}", shared.__class__(f"t{number}", shared.numbering, ((1, 1),), 1, 2))
        twin = read(snapshot_of(fold), LEDGER_ID)
        again = [each.numbering for each in twin.state.reservations() if each.numbering == shared.numbering]
        assert len(again) == 4
        assert len(set(map(id, again))) == 1

    def test_a_shared_empty_pool_is_nobodys(self) -> None:
        one, other = (Counter.of(id, "S", (), "-", 1, 9, False, False, True, 0, 0, (0, 0), (0, 0), pool, {})
                      for pool in [BitMap()] for id in "ab")  # fmt: skip
        one.settle(((3, 4),), ValueState.CANCELLED, reusable=True)
        assert (one.released(), other.released()) == (2, 0)


Lines = list[bytes]


def remade(lines: Lines, **columns: Any) -> Snapshot:
    fold = fold_of(log())
    return pack(fold.position, fold.hash, lines)._replace(**columns)


def header(lines: Lines, **said: object) -> Lines:
    return [orjson.dumps(orjson.loads(lines[0]) | said), *lines[1:]]


BODY = zstandard.compress(b"{}")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda lines: remade(lines, sha256=bytes(32)), "another SHA-256"),
        (lambda lines: remade(lines, body=b"", sha256=sha256(b"").digest()), "cannot be read: ZstdError"),
        (lambda lines: remade(lines, body=b"x", sha256=sha256(b"x").digest()), "cannot be read: ZstdError"),
        (lambda lines: remade(lines, body=BODY, sha256=sha256(BODY).digest()), "cannot be read: KeyError"),
        (lambda lines: remade([b"", *lines]), "cannot be read: JSONDecodeError"),
        (lambda lines: remade([b"[]", *lines]), "cannot be read: TypeError"),
        (lambda lines: remade(header(lines, fold_version=FOLD_VERSION + 1)), "of version"),
        (lambda lines: remade(header(lines, ledger_id="another")), "of ledger another"),
        (lambda lines: remade(header(lines, position=1)), "of position 1"),
        (lambda lines: remade(header(lines, hash="00" * 32)), "of position"),
        (lambda lines: remade(lines, position=1), "of position"),
        (lambda lines: remade(lines[:1]), "its parts are"),
        (lambda lines: remade(lines[:-1]), "its parts are"),
        (lambda lines: remade([*lines, b'["more",[]]']), "its parts are"),
        (lambda lines: remade([*lines, b'["sequences",[["S:-"]]]']), "cannot be read"),
        (lambda lines: remade([line.replace(b'"CANCELLED"', b'"GONE"') for line in lines]), "cannot be read: KeyError"),
        (lambda lines: remade([line.replace(b'"CANCELLED":"', b'"CANCELLED":"AAAA') for line in lines]), "deserialize"),
        (lambda lines: remade([line.replace(b"LETTER:", b"LATER:", 1) for line in lines]), "cannot be read: KeyError"),
    ],
)  # fmt: skip
def test_whatever_is_odd_is_refused(spoil: Callable[[Lines], Snapshot], why: str) -> None:
    with pytest.raises(Unusable, match=why):
        read(spoil(snapshot_lines(fold_of(log())).split(b"\n")), LEDGER_ID)


def test_a_spoilt_fold_is_never_written() -> None:
    fold = fold_of(log())
    fold.is_spoilt = True
    with pytest.raises(AssertionError), draft(fold):
        pass


def test_nothing_is_kept_when_the_writing_ends_early() -> None:
    fold = fold_of(log()[:5])
    with pytest.raises(ZeroDivisionError), draft(fold):
        1 / 0  # noqa: B018
    fold.take(log()[5:])
    assert folded(read(snapshot_of(fold), LEDGER_ID)) == folded(fold)
