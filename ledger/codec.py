"""Events to canonical bytes and back.

A body is RFC 8785 canonical JSON made of strings and integers below 2^53 only, for which sorted keys and orjson's
compact form are exactly that (held by a test against the `rfc8785` package). It holds every column but the hash.
Golden files in the tests keep the bytes of every event version for ever.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from ledger import chain
from ledger.definitions import definition_data, definition_of
from ledger.domain.commands import Envelope
from ledger.domain.events import (
    Event,
    MaximumAdjusted,
    NumberAssigned,
    Numbering,
    NumbersConfirmed,
    NumbersImported,
    NumbersReserved,
    NumberVoided,
    PeriodClosed,
    PeriodOpened,
    Place,
    Print,
    ReservationCancelled,
    ReservationExpired,
    ReservationExtended,
    ReservationFenced,
    RestoreFenced,
    SequenceAdjusted,
    SequenceFenced,
    SequenceReset,
    SeriesAmended,
    SeriesDefined,
    SeriesRetired,
)
from ledger.domain.ranges import Ranges, count_of
from ledger.domain.sequence import ValueState
from ledger.domain.series import Series
from ledger.ports import Record

__all__ = [
    "LEDGER_STREAM",
    "Entry",
    "UnknownEvent",
    "canonical",
    "command_id",
    "decode",
    "encode",
    "fields_of",
    "flaw_of_columns",
    "read",
    "record_of",
    "recorded_at",
    "row_of",
]

# The stream of what belongs to no series; no series' code and no sequence's id is written so.
LEDGER_STREAM = "*"

Data = dict[str, Any]

CACHED = 65_536  # numberings: of sequences, days and attributes

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


class UnknownEvent(Exception):
    """The log holds an event that this version of the code does not know: an old process beside a new one."""


class Entry(NamedTuple):
    """An event at its place in the log, with who caused it."""

    position: int
    event: Event
    envelope: Envelope
    ordinal: int
    recorded_at: int


def canonical(data: object) -> bytes:
    """Write strings, integers, objects with ASCII names, and arrays in RFC 8785 form."""
    return orjson.dumps(data, option=_OPTIONS)


def encode(entry: Entry, previous: bytes) -> Record:
    """Give the row of an entry that follows the event with the hash `previous`."""
    fields = fields_of(entry)
    body = canonical(fields)
    return row_of(entry, fields, body, chain.link(previous, body))


def fields_of(entry: Entry) -> Data:
    """Give what the canonical bytes of an entry say, by name."""
    event, envelope = entry.event, entry.envelope
    kind = type(event).__name__
    version, to_data, _ = _FORMS[kind]
    token = getattr(event, "token", None)
    fields: Data = {
        "actor": envelope.actor,
        "command_id": envelope.command_id.hex(),
        "data": to_data(event),
        "ordinal": entry.ordinal,
        "position": entry.position,
        "recorded_at": entry.recorded_at,
        "stream": _stream(event),
        "type": kind,
        "version": version,
    }
    if envelope.fingerprint is not None:
        fields["fingerprint"] = envelope.fingerprint
    if envelope.idempotency_key is not None:
        fields["idempotency_key"] = envelope.idempotency_key
    if envelope.reason is not None:
        fields["reason"] = envelope.reason
    if envelope.request_id is not None:
        fields["request_id"] = envelope.request_id
    if token is not None:
        fields["token"] = token
    return fields


def row_of(entry: Entry, fields: Mapping[str, Any], body: bytes, hash: bytes) -> Record:
    """Give the row of an entry whose fields and canonical bytes are known."""
    return Record(
        entry.position,
        fields["type"],
        fields["version"],
        fields["stream"],
        fields.get("token"),
        entry.envelope.command_id,
        entry.ordinal,
        body,
        entry.recorded_at,
        hash,
    )


def decode(record: Record) -> Entry:
    """Read an entry from its canonical bytes alone; UnknownEvent for a type or version that is not known."""
    return read(record.position, record.body)


def read(position: int, text: bytes) -> Entry:
    """Do the same without a row: `position` is where the bytes stand."""
    body = orjson.loads(text)
    form = _FORMS.get(body["type"])
    if form is None or form[0] != body["version"]:
        raise UnknownEvent(
            f"position {position} holds {body['type']} version {body['version']}, which this version of "
            "numbering-ledger does not know: upgrade it"
        )
    envelope = Envelope(
        bytes.fromhex(body["command_id"]),
        body["actor"],
        body.get("reason"),
        body.get("request_id"),
        body.get("idempotency_key"),
        body.get("fingerprint"),
    )
    event = form[2](body["data"], body.get("token"))
    return Entry(body["position"], event, envelope, body["ordinal"], body["recorded_at"])


def record_of(body: bytes, hash: bytes) -> Record:
    """Give the row of an event that is known by its canonical bytes and its hash, as a mirror keeps it."""
    said = orjson.loads(body)
    return Record(
        said["position"],
        said["type"],
        said["version"],
        said["stream"],
        said.get("token"),
        bytes.fromhex(said["command_id"]),
        said["ordinal"],
        body,
        said["recorded_at"],
        hash,
    )


def recorded_at(body: bytes) -> int:
    """Give the instant of an event that is known by its canonical bytes."""
    instant: int = orjson.loads(body)["recorded_at"]
    return instant


def flaw_of_columns(row: Record) -> str | None:
    """Say which column of a row is not what its body says; None when none is."""
    said = record_of(row.body, row.hash)
    for name, found, expected in zip(Record._fields, row, said, strict=True):
        if found != expected:
            return f"the column {name} is {_shown(found)}, and the body says {_shown(expected)}"
    return None


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)


def _stream(event: Event) -> str:
    """Name what the event belongs to: a sequence by its id, a series by its code (which holds no `:`)."""
    match event:
        case NumbersReserved() | NumbersConfirmed():  # nearly all
            return event.numbering.sequence
        case RestoreFenced():
            return LEDGER_STREAM
        case SeriesDefined(series=series) | SeriesAmended(series=series):
            return series.code
        case MaximumAdjusted(series=code) | SeriesRetired(series=code) | PeriodOpened(series=code):
            return code
        case Place() | ReservationExtended():
            return event.sequence
        case _:
            return event.numbering.sequence


# Each event's data. What a row already says (token) is not said twice.


def _numbering_data(numbering: Numbering) -> Data:
    return {
        "sequence": numbering.sequence,
        "series": numbering.series,
        "series_version": numbering.series_version,
        "key": numbering.key,
        "period": numbering.period,
        "document_date": numbering.document_date.isoformat(),
        "attributes": dict(numbering.attributes),
        "tzdata": numbering.tzdata,
    }


def _numbering(data: Data) -> Numbering:
    return _numbering_of(_NUMBERING(data), tuple(data["key"]), tuple(data["attributes"].items()))


_NUMBERING = itemgetter("sequence", "series", "series_version", "period", "document_date", "tzdata")


@lru_cache(maxsize=CACHED)  # the numbers of a sequence on one day share one, which is made once and takes memory once
def _numbering_of(said: tuple[Any, ...], key: tuple[str, ...], attributes: tuple[tuple[str, str], ...]) -> Numbering:
    sequence, series, version, period, day, tzdata = said
    return Numbering(sequence, series, version, key, period, date.fromisoformat(day), tuple(sorted(attributes)), tzdata)


def _ranges(data: Iterable[Iterable[int]]) -> Ranges:
    return tuple([(first, last) for first, last in data])  # a list is quicker than a generator, and most hold one


def _reserved_data(event: NumbersReserved) -> Data:
    data = _numbering_data(event.numbering)
    data["ranges"], data["expires_at"] = event.ranges, event.expires_at
    return data


def _reserved(data: Data, token: str) -> NumbersReserved:
    return NumbersReserved(_numbering(data), token, _ranges(data["ranges"]), data["expires_at"])


def _confirmed_data(event: NumbersConfirmed) -> Data:
    data = _numbering_data(event.numbering)
    data["ranges"] = event.ranges
    if event.document is not None:
        data["document"] = event.document
    if event.documents:
        data["documents"] = event.documents
    if event.released:
        data["released"] = event.released
    return data


def _confirmed(data: Data, token: str) -> NumbersConfirmed:
    return NumbersConfirmed(
        _numbering(data),
        token,
        _ranges(data["ranges"]),
        data.get("document"),
        tuple([(value, document) for value, document in data.get("documents", ())]),
        _ranges(data.get("released", ())),
    )


def _assigned_data(event: NumberAssigned) -> Data:
    data = _numbering_data(event.numbering) | {"value": event.value, "document": event.document}
    return data | {"skipped": event.skipped} if event.skipped else data


def _assigned(data: Data, _: None) -> NumberAssigned:
    return NumberAssigned(_numbering(data), data["value"], data["document"], _ranges(data.get("skipped", [])))


def _voided_data(event: NumberVoided) -> Data:
    data = _numbering_data(event.numbering) | {"value": event.value}
    if event.replacement is None:
        return data
    sequence, value = event.replacement
    return data | {"replacement": {"sequence": sequence, "value": value}}


def _voided(data: Data, _: None) -> NumberVoided:
    replacement = data.get("replacement")
    return NumberVoided(
        _numbering(data), data["value"], (replacement["sequence"], replacement["value"]) if replacement else None
    )


def _imported_data(event: NumbersImported) -> Data:
    data = _place_data(event) | {"tzdata": event.tzdata, "prints": [_print_data(each) for each in event.prints]}
    if event.pre_control:
        data["pre_control"] = event.pre_control
    if event.skipped:
        data["skipped"] = event.skipped
    return data


def _imported(data: Data, _: None) -> NumbersImported:
    return NumbersImported(
        *_place(data),
        data["tzdata"],
        tuple(map(_print, data["prints"])),
        _ranges(data.get("pre_control", [])),
        _ranges(data.get("skipped", [])),
    )


def _print_data(of: Print) -> Data:
    return {
        "document_date": of.document_date.isoformat(),
        "attributes": dict(of.attributes),
        "ranges": of.ranges,
    }


def _print(data: Data) -> Print:
    attributes = tuple(sorted(data["attributes"].items()))
    return Print(date.fromisoformat(data["document_date"]), attributes, _ranges(data["ranges"]))


def _released_data(event: ReservationCancelled | ReservationExpired | ReservationFenced) -> Data:
    return _numbering_data(event.numbering) | {"ranges": event.ranges}


def _cancelled(data: Data, token: str) -> ReservationCancelled:
    return ReservationCancelled(_numbering(data), token, _ranges(data["ranges"]))


def _expired(data: Data, token: str) -> ReservationExpired:
    return ReservationExpired(_numbering(data), token, _ranges(data["ranges"]))


def _reservation_fenced(data: Data, token: str) -> ReservationFenced:
    return ReservationFenced(_numbering(data), token, _ranges(data["ranges"]))


def _extended_data(event: ReservationExtended) -> Data:
    return {"sequence": event.sequence, "expires_at": event.expires_at}


def _extended(data: Data, token: str) -> ReservationExtended:
    return ReservationExtended(data["sequence"], token, data["expires_at"])


def _place_data(event: Place) -> Data:
    return {
        "sequence": event.sequence,
        "series": event.series,
        "series_version": event.series_version,
        "key": event.key,
        "period": event.period,
    }


def _place(data: Data) -> tuple[str, str, int, tuple[str, ...], str]:
    return data["sequence"], data["series"], data["series_version"], tuple(data["key"]), data["period"]


def _reset_data(event: SequenceReset) -> Data:
    return _place_data(event) | {"start": event.start}


def _reset(data: Data, _: None) -> SequenceReset:
    return SequenceReset(*_place(data), data["start"])


def _skipped_data(event: SequenceAdjusted | SequenceFenced) -> Data:
    return _place_data(event) | {"skipped": event.skipped}


def _adjusted(data: Data, _: None) -> SequenceAdjusted:
    return SequenceAdjusted(*_place(data), _ranges(data["skipped"]))


def _sequence_fenced(data: Data, _: None) -> SequenceFenced:
    return SequenceFenced(*_place(data), _ranges(data["skipped"]))


def _closed_data(event: PeriodClosed) -> Data:
    """The accounting has each state's count beside its ranges, for those who read the log without us."""
    accounting = {state.value: {"count": count_of(ranges), "ranges": ranges} for state, ranges in event.accounting}
    return _place_data(event) | {"start": event.start, "high_water": event.high_water, "accounting": accounting}


def _closed(data: Data, _: None) -> PeriodClosed:
    accounting = ((state, data["accounting"].get(state.value)) for state in ValueState)
    states = tuple((state, _ranges(its["ranges"])) for state, its in accounting if its)
    return PeriodClosed(*_place(data), data["start"], data["high_water"], states)


def _restore_data(event: RestoreFenced) -> Data:
    return {
        "generation": event.generation,
        "cut_position": event.cut_position,
        "cut_time": event.cut_time,
        "margin": event.margin,
        "opened": event.opened,
    }


def _restore(data: Data, _: None) -> RestoreFenced:
    opened = tuple((series, period) for series, period in data["opened"])
    return RestoreFenced(data["generation"], data["cut_position"], data["cut_time"], data["margin"], opened)


def _series_data(event: SeriesDefined | SeriesAmended) -> Data:
    series = event.series
    return {
        "series": series.code,
        "series_version": series.version,
        "definition": definition_data(series.definition) | {"manual": int(series.definition.manual)},
    }


def _defined(data: Data, _: None) -> SeriesDefined:
    return SeriesDefined(_series(data))


def _amended(data: Data, _: None) -> SeriesAmended:
    return SeriesAmended(_series(data))


def _of_series_data(event: SeriesRetired | PeriodOpened | MaximumAdjusted) -> Data:
    return {"series": event.series, "series_version": event.series_version}


def _retired(data: Data, _: None) -> SeriesRetired:
    return SeriesRetired(data["series"], data["series_version"])


def _opened_data(event: PeriodOpened) -> Data:
    return _of_series_data(event) | {"period": event.period}


def _opened(data: Data, _: None) -> PeriodOpened:
    return PeriodOpened(data["series"], data["series_version"], data["period"])


def _maximum_data(event: MaximumAdjusted) -> Data:
    return _of_series_data(event) | {"max_value": event.max_value}


def _maximum(data: Data, _: None) -> MaximumAdjusted:
    return MaximumAdjusted(data["series"], data["series_version"], data["max_value"])


def _series(data: Data) -> Series:
    return Series.define(data["series"], definition_of(data["definition"]), data["series_version"])


_FORMS: Mapping[str, tuple[int, Callable[[Any], Data], Callable[[Data, Any], Event]]] = {
    "SeriesDefined": (1, _series_data, _defined),
    "SeriesAmended": (1, _series_data, _amended),
    "MaximumAdjusted": (1, _maximum_data, _maximum),
    "SeriesRetired": (1, _of_series_data, _retired),
    "PeriodOpened": (1, _opened_data, _opened),
    "SequenceReset": (1, _reset_data, _reset),
    "SequenceAdjusted": (1, _skipped_data, _adjusted),
    "PeriodClosed": (1, _closed_data, _closed),
    "NumbersReserved": (1, _reserved_data, _reserved),
    "NumbersConfirmed": (1, _confirmed_data, _confirmed),
    "NumbersImported": (1, _imported_data, _imported),
    "NumberAssigned": (1, _assigned_data, _assigned),
    "NumberVoided": (1, _voided_data, _voided),
    "ReservationExtended": (1, _extended_data, _extended),
    "ReservationCancelled": (1, _released_data, _cancelled),
    "ReservationExpired": (1, _released_data, _expired),
    "RestoreFenced": (1, _restore_data, _restore),
    "SequenceFenced": (1, _skipped_data, _sequence_fenced),
    "ReservationFenced": (1, _released_data, _reservation_fenced),
}


def command_id(client: str, operation: str, key: str) -> bytes:
    """Give the 32-byte id under which a command with an idempotency key is stored once."""
    return sha256(canonical([client, operation, key])).digest()
