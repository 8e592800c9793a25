"""Events to canonical bytes and back.

A body is RFC 8785 canonical JSON made of strings and integers below 2^53 only, for which sorted keys and orjson's
compact form are exactly that (held by a test against the `rfc8785` package). It holds every column but the hash.
Golden files in the tests keep the bytes of every event version for ever.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from ledger import chain
from ledger.domain.commands import Envelope
from ledger.domain.events import EVENT_TYPES, LEDGER_STREAM, Event, NumbersConfirmed, NumbersReserved
from ledger.domain.formats import NEWEST_FORMAT
from ledger.forms import Data, Form, derived, numbering_data, numbering_of, ranges_of
from ledger.ports import Record
from ledger.upcasters import upcast

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
    "rewritten",
    "row_of",
]

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
    kind, token = type(event), event.token
    fields: Data = {
        "actor": envelope.actor,
        "command_id": envelope.command_id.hex(),
        "data": _WRITERS[kind](event),
        "ordinal": entry.ordinal,
        "position": entry.position,
        "recorded_at": entry.recorded_at,
        "stream": event.stream,
        "type": kind.__name__,
        "version": kind.version,
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


def rewritten(entry: Entry, text: bytes) -> tuple[Data, bytes]:
    """Write an entry that was read from `text` once more, as the version of its type wrote it that wrote `text`.

    Gives its fields and canonical bytes, which are `text` unless that says more, less or otherwise than the entry. No
    writer of earlier versions is left: `text` is what one wrote if it is canonical, and if what the upcasters make of
    it is the entry and nothing else.
    """
    fields = fields_of(entry)
    body = canonical(fields)
    if body == text:
        return fields, body
    said = orjson.loads(text)
    if said["version"] == fields["version"]:
        return fields, body
    data = upcast(said["type"], said["version"], orjson.loads(text)["data"], fields["version"])  # which it may change
    is_same = canonical(said | {"data": data, "version": fields["version"]}) == body
    return (said, canonical(said)) if is_same else (fields, body)


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
    found = _READERS.get(body["type"])
    if found is None:
        raise _unknown(position, body)
    kind, read_data = found
    data = body["data"]
    if body["version"] != kind.version:
        data = upcast(body["type"], body["version"], data, kind.version)
        if data is None:
            raise _unknown(position, body)
    envelope = Envelope(
        bytes.fromhex(body["command_id"]),
        body["actor"],
        body.get("reason"),
        body.get("request_id"),
        body.get("idempotency_key"),
        body.get("fingerprint"),
    )
    event = read_data(data, body.get("token"))
    if event.format > NEWEST_FORMAT:  # only one that raises it to that
        raise UnknownEvent(
            f"position {position} raises the ledger to format {event.format}, and this version of numbering-ledger "
            f"knows those up to {NEWEST_FORMAT}: install the version that raised it, or a newer one"
            + (f" (it was raised {envelope.reason})" if envelope.reason else "")
        )
    return Entry(body["position"], event, envelope, body["ordinal"], body["recorded_at"])


def _unknown(position: int, body: Data) -> UnknownEvent:
    return UnknownEvent(
        f"position {position} holds {body['type']} version {body['version']}, which this version of "
        "numbering-ledger does not know: upgrade it"
    )


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


# The data of events. The forms of the two hot types are written by hand; of the others, they are derived.


def _reserved_data(event: NumbersReserved) -> Data:
    data = numbering_data(event.numbering)
    data["ranges"], data["expires_at"] = event.ranges, event.expires_at
    return data


def _reserved(data: Data, token: str) -> NumbersReserved:
    return NumbersReserved(numbering_of(data), token, ranges_of(data["ranges"]), data["expires_at"])


def _confirmed_data(event: NumbersConfirmed) -> Data:
    data = numbering_data(event.numbering)
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
        numbering_of(data),
        token,
        ranges_of(data["ranges"]),
        data.get("document"),
        tuple([(value, document) for value, document in data.get("documents", ())]),
        ranges_of(data.get("released", ())),
    )


_HOT: Mapping[type[Event], Form] = {
    NumbersReserved: Form(_reserved_data, _reserved),
    NumbersConfirmed: Form(_confirmed_data, _confirmed),
}
_FORMS: Mapping[type[Event], Form] = {kind: _HOT.get(kind) or derived(kind) for kind in EVENT_TYPES.values()}
_WRITERS: Mapping[type[Event], Callable[[Any], Data]] = {kind: form.write for kind, form in _FORMS.items()}
_READERS: Mapping[str, tuple[type[Event], Callable[[Data, Any], Event]]] = {
    name: (kind, _FORMS[kind].read) for name, kind in EVENT_TYPES.items()
}


def command_id(client: str, operation: str, key: str) -> bytes:
    """Give the 32-byte id under which a command with an idempotency key is stored once."""
    return sha256(canonical([client, operation, key])).digest()
