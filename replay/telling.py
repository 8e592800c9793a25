"""Events in a row of columns, for people and their spreadsheets."""

from collections.abc import Mapping
from typing import Any

import orjson

from ledger import codec
from ledger.domain.calendar import instant_text
from ledger.domain.events import LEDGER_STREAM
from ledger.domain.formats import FORMAT_STREAM
from projections.rows import text_of
from replay.moments import row_of
from replay.sources import Stored

__all__ = ["EVENT_COLUMNS", "Said", "documents_of", "event_row", "period_of", "said_by", "series_of"]

EVENT_COLUMNS = (
    "position", "recorded_at", "type", "stream", "series", "period", "token", "actor", "reason", "document",
    "documents", "ranges", "request_id", "idempotency_key", "hash",
)  # fmt: skip

Said = Mapping[str, Any]  # an event's own members, as its bytes have them


def said_by(event: Stored) -> Said:
    said: Said = orjson.loads(event[1])
    return said


def event_row(event: Stored, said: Said) -> list[str | int]:
    """Give what the columns hold; nothing is ''."""
    data, ranges = said["data"], _ranges(event)
    documents = {str(value): document for value, document in data.get("documents", ())}
    return [
        said["position"],
        instant_text(said["recorded_at"]),
        said["type"],
        said["stream"],
        series_of(said),
        period_of(said),
        said.get("token", ""),
        said["actor"],
        said.get("reason", ""),
        data.get("document", ""),
        orjson.dumps(documents).decode() if documents else "",
        ranges,
        said.get("request_id", ""),
        said.get("idempotency_key", ""),
        event[2].hex(),
    ]


def series_of(said: Said) -> str:
    """Name the series, with whose code the name of every stream begins, but those of the ledger itself."""
    stream: str = said["stream"]
    return "" if stream in (LEDGER_STREAM, FORMAT_STREAM) else stream.partition(":")[0].partition("~")[0]


def period_of(said: Said) -> str:
    """Name the period, with which the id of a sequence ends; that of a series has none, unless one was opened."""
    stream: str = said["stream"]
    period: str = said["data"].get("period", "")
    return period or (stream.rpartition(":")[2] if ":" in stream else "")


def documents_of(said: Said) -> set[str]:
    data = said["data"]
    common = {data["document"]} if "document" in data else set()
    return common | {document for _, document in data.get("documents", ())}


def _ranges(event: Stored) -> str:
    """Say which values became what: `CONFIRMED 1-2; CANCELLED 3,5`; `linked 4` got a document, and stayed CONFIRMED."""
    told = codec.decode(row_of(event)).event
    parts = [*told.changes, ("linked", told.linked)]
    return "; ".join(f"{what} {text_of(ranges)}" for what, ranges in parts if ranges)
