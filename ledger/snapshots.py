"""Snapshots: a fold written to bytes, and the very same fold read back.

A cache and never a source: one that cannot be read, or does not fit the log, is ignored, and the log is folded from
its beginning; whoever verifies a ledger folds its events alone. What a state holds is listed in `PARTS` of
domain/state, and for each of those there is a form here; a test fails when something is held that is not written.
"""

import gc
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from hashlib import sha256
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

import orjson
import zstandard
from pyroaring import BitMap

from ledger.definitions import definition_data, definition_of
from ledger.domain.events import Numbering
from ledger.domain.sequence import Sequence, ValueState
from ledger.domain.series import Series
from ledger.domain.state import FOLD_VERSION, Reservation, RestoreFence, State
from ledger.fold import Fold
from ledger.ports import Snapshot

__all__ = ["Draft", "Unusable", "draft", "is_whole", "pack", "read"]

ROWS_AT_ONCE = 100  # less than a millisecond
LEVEL = 3  # of zstd: its own default

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_STRICT_INTEGER

Parts = Mapping[str, Any]
Rows = Iterable[Any]


class Unusable(Exception):
    """A snapshot that is not what it should be: do without it."""


class Draft(NamedTuple):
    """A fold as it stood at a position; its lines are written one by one, each in a moment."""

    position: int
    hash: bytes
    lines: Iterator[bytes]


@contextmanager
def draft(fold: Fold) -> Iterator[Draft]:
    """Hold a fold still for as long as it is written, while the original goes on."""
    assert not fold.is_spoilt
    with fold.state.kept() as parts:
        yield Draft(fold.position, fold.hash, _lines(_header(fold), parts))


def pack(position: int, hash: bytes, lines: Iterable[bytes]) -> Snapshot:
    """Give the snapshot that a draft's lines make. Takes its time, and touches nothing else."""
    body = zstandard.ZstdCompressor(LEVEL).compress(b"\n".join(lines))
    return Snapshot(position, hash, FOLD_VERSION, body, sha256(body).digest())


def read(snapshot: Snapshot, ledger_id: str) -> Fold:
    """Give the fold that a ledger's snapshot holds; Unusable when it is anything else, for whatever reason."""
    if not is_whole(snapshot):
        raise Unusable("its body has another SHA-256")
    try:
        header, *lines = zstandard.ZstdDecompressor().decompress(snapshot.body).split(b"\n")
        said = orjson.loads(header)
        _check(said, snapshot, ledger_id)
        with _uncollected():
            fold = _fold(ledger_id, map(orjson.loads, lines))
        fold.position, fold.hash, fold.recorded_at = snapshot.position, snapshot.hash, said["recorded_at"]
    except Unusable:
        raise
    except Exception as error:  # of zstd, of JSON, or of what is made of it
        raise Unusable(f"it cannot be read: {error!r}") from error
    return fold


def is_whole(snapshot: Snapshot) -> bool:
    body: object = snapshot.body  # of an edited row SQLite gives whatever type was put there
    return isinstance(body, bytes) and sha256(body).digest() == snapshot.sha256


def _header(fold: Fold) -> dict[str, object]:
    return {
        "fold_version": FOLD_VERSION,
        "ledger_id": fold.ledger_id,
        "position": fold.position,
        "hash": fold.hash.hex(),
        "recorded_at": fold.recorded_at,
    }


def _check(header: Mapping[str, Any], snapshot: Snapshot, ledger_id: str) -> None:
    if header["fold_version"] != FOLD_VERSION:
        raise Unusable(f"it is of version {header['fold_version']} of the fold")
    if (header["position"], header["hash"]) != (snapshot.position, snapshot.hash.hex()):
        raise Unusable(f"it is of position {header['position']}")
    if header["ledger_id"] != ledger_id:
        raise Unusable(f"it is of ledger {header['ledger_id']}")


def _lines(header: Mapping[str, object], parts: Parts) -> Iterator[bytes]:
    """Write the header, and each part in as many lines as it takes, one at least."""
    yield _json(header)
    for name, form in _FORMS.items():
        rows = iter(form.rows(parts))
        some = list(islice(rows, ROWS_AT_ONCE))
        yield _json([name, some])
        while some := list(islice(rows, ROWS_AT_ONCE)):
            yield _json([name, some])


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python's cycle collector away: walking what is made here again and again takes longer than making it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _fold(ledger_id: str, lines: Iterable[Any]) -> Fold:
    rows: dict[str, list[Any]] = {}
    for name, some in lines:
        rows.setdefault(name, []).extend(some)
    if list(rows) != list(_FORMS):
        raise ValueError(f"its parts are {', '.join(rows)}")
    parts: dict[str, Any] = {}
    for name, form in _FORMS.items():
        parts[name] = form.part(rows[name], parts)
    fold = Fold(ledger_id)
    fold.state = State.of(parts)
    return fold


def _json(data: object) -> bytes:
    return orjson.dumps(data, default=_text, option=_OPTIONS)


# Bitmaps. An empty one is an empty text, because most of them are.


def _text(value: object) -> str:
    if not isinstance(value, BitMap):
        raise TypeError(f"a snapshot holds no {type(value).__name__}")
    return b64encode(value.serialize()).decode() if value else ""


def _bitmap(text: str) -> BitMap:
    return BitMap.deserialize(b64decode(text, validate=True)) if text else BitMap()


# The forms: a part's rows, and the part again from its rows and the parts before it.


def _items(name: str) -> Callable[[Parts], Rows]:
    return lambda parts: parts[name].items()


def _mapping(rows: Rows, _: Parts) -> dict[str, Any]:
    return dict(rows)


def _single(name: str) -> Callable[[Parts], Rows]:
    return lambda parts: (parts[name],)


def _integer(rows: Rows, _: Parts) -> int:
    (number,) = rows
    return int(number)


def _names(rows: Rows, _: Parts) -> tuple[str, ...] | None:
    (names,) = rows
    return None if names is None else tuple(map(str, names))


def _series_rows(parts: Parts) -> Rows:
    for versions in parts["series"].values():
        for each in versions:
            yield each.code, each.version, each.era, definition_data(each.definition)


def _series(rows: Rows, _: Parts) -> dict[str, tuple[Series, ...]]:
    made: dict[str, tuple[Series, ...]] = {}
    for code, version, era, definition in rows:
        series = Series.define(code, definition_of(definition), version).in_era(era)
        made[code] = (*made.get(code, ()), series)
    return made


def _sequence_rows(parts: Parts) -> Rows:
    return (sequence.parts() for sequence in parts["sequences"].values())


def _sequences(rows: Rows, _: Parts) -> dict[str, Sequence]:
    states, nothing = {state.value: state for state in ValueState}, BitMap()
    made: dict[str, Sequence] = {}
    for id, series, key, period, *numbers, earlier, lately, pool, settled in rows:
        made[id] = Sequence.of(
            id, sys.intern(series), tuple(key), sys.intern(period), *numbers, tuple(earlier), tuple(lately),
            _bitmap(pool) if pool else nothing,  # empty pools are shared, as copies share them
            {states[state]: _bitmap(bitmap) for state, bitmap in settled.items()},
        )  # fmt: skip
    return made


_numbering_row = attrgetter("sequence", "series_version", "document_date", "attributes", "tzdata", "date_is_derived")


def _reservation_rows(parts: Parts) -> Rows:
    """Give what many reservations share once, with the first of them, and its place from then on."""
    places: dict[Numbering, int] = {}
    for each in parts["reservations"].values():
        is_new = each.numbering not in places
        place = places.setdefault(each.numbering, len(places))
        shared = _numbering_row(each.numbering) if is_new else place
        yield each.token, shared, each.ranges, each.reserved_at, each.expires_at


def _reservations(rows: Rows, parts: Parts) -> dict[str, Reservation]:
    sequences: Mapping[str, Sequence] = parts["sequences"]
    made: dict[str, Reservation] = {}
    numberings: list[Numbering] = []
    for token, shared, ranges, reserved_at, expires_at in rows:
        if not isinstance(shared, int):
            numberings.append(_numbering(shared, sequences))
        numbering = numberings[shared if isinstance(shared, int) else -1]
        held = tuple((first, last) for first, last in ranges)
        made[token] = Reservation(token, numbering, held, reserved_at, expires_at)
    return made


def _numbering(row: Rows, sequences: Mapping[str, Sequence]) -> Numbering:
    """Make it of what the sequence says already."""
    id, version, day, attributes, tzdata, is_derived = row
    of = sequences[id]
    pairs = tuple((name, value) for name, value in attributes)
    place = (of.id, of.series, version, of.key, of.period)
    return Numbering(*place, date.fromisoformat(day), pairs, sys.intern(tzdata), is_derived)


def _opened_rows(parts: Parts) -> Rows:
    """What makes values the same in two versions is told by the first version that counts so."""
    series: Mapping[str, tuple[Series, ...]] = parts["series"]
    for (code, counting, period), generation in parts["opened"].items():
        yield code, next(each.version for each in series[code] if each.counting == counting), period, generation


def _opened(rows: Rows, parts: Parts) -> dict[tuple[str, object, str], int]:
    series: Mapping[str, tuple[Series, ...]] = parts["series"]
    return {
        (code, series[code][version - 1].counting, period): generation for code, version, period, generation in rows
    }


def _fence_rows(parts: Parts) -> Rows:
    return (
        (each.generation, each.fenced_at, each.margin, sorted(each.opened), sorted(each.margins.items()))
        for each in parts["fences"]
    )


def _fences(rows: Rows, _: Parts) -> tuple[RestoreFence, ...]:
    return tuple(
        RestoreFence(
            generation, fenced_at, margin, frozenset((series, period) for series, period in opened), dict(margins)
        )
        for generation, fenced_at, margin, opened, margins in rows
    )


def _highest_rows(parts: Parts) -> Rows:
    return ((code, era, value) for (code, era), value in parts["highest"].items())


def _highest(rows: Rows, _: Parts) -> dict[tuple[str, int], int]:
    return {(code, era): value for code, era, value in rows}


class _Form(NamedTuple):
    rows: Callable[[Parts], Rows]
    part: Callable[[Rows, Parts], Any]


# The order is that of reading.
_FORMS: Mapping[str, _Form] = {
    "series": _Form(_series_rows, _series),
    "sequences": _Form(_sequence_rows, _sequences),
    "reservations": _Form(_reservation_rows, _reservations),
    "latest_periods": _Form(_items("latest_periods"), _mapping),
    "first_used": _Form(_items("first_used"), _mapping),
    "opened": _Form(_opened_rows, _opened),
    "fences": _Form(_fence_rows, _fences),
    "retired": _Form(_items("retired"), _mapping),
    "highest": _Form(_highest_rows, _highest),
    "format": _Form(_single("format"), _integer),
    "links": _Form(_single("links"), _integer),
    "dated_until": _Form(_single("dated_until"), _integer),
    "closed": _Form(_single("closed"), _names),
}
