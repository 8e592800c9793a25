"""What happens to a disk and must stop every writer: an older copy, a forged event, an event from the future."""

from collections.abc import Sequence

from ledger import chain, codec
from ledger.codec import Entry
from ledger.domain.commands import Envelope
from ledger.domain.events import SeriesDefined
from ledger.domain.series import Definition, Series
from ledger.ports import Record, Stop
from ledger.stores.memory import MemoryLog
from ledger.stores.stops import text_of

__all__ = ["forked", "one_more", "put", "unknown_next"]


def put(log: MemoryLog, records: Sequence[Record], *, stopped: str | None = None, stops: Sequence[Stop] = ()) -> None:
    """Put another disk in the place of this one; `stopped` is the text of an earlier build if there are no `stops`."""
    twin, last = MemoryLog(log.head.ledger_id), records[-1]
    head = twin.head._replace(position=last.position, hash=last.hash, recorded_at=last.recorded_at)
    twin.commit(records, head._replace(stopped=text_of(stops) or stopped, stops=len(stops)), stops)
    twin.snapshots = log.snapshots
    log.__dict__.update({name: value for name, value in twin.__dict__.items() if name != "lock"})


def forked(records: Sequence[Record], position: int) -> list[Record]:
    """The same log with another command at one position, and all that follow chained from that."""
    forged = records[position - 1]
    kept = list(records[: position - 1 - forged.ordinal])
    for record in records[len(kept) :]:
        entry = codec.decode(record)
        if record.command_id == forged.command_id:
            entry = entry._replace(envelope=entry.envelope._replace(actor="forger"))
        kept.append(codec.encode(entry, kept[-1].hash))
    return kept


def one_more(records: Sequence[Record]) -> list[Record]:
    """The same log with one event more, which somebody else could have written."""
    last = records[-1]
    event = SeriesDefined(Series.define(f"FORGED-{last.position}", Definition(template="F-{SEQ:4}")))
    entry = Entry(last.position + 1, event, Envelope(last.hash, "somebody else"), 0, last.recorded_at)
    return [*records, codec.encode(entry, last.hash)]


def unknown_next(records: Sequence[Record]) -> list[Record]:
    """The same log with one event more, of a type that only a later version of the code writes."""
    more = one_more(records)
    last = more[-1]
    body = last.body.replace(f'"type":"{last.type}"'.encode(), b'"type":"NumberVoided"')
    assert body != last.body
    more[-1] = last._replace(type="NumberVoided", body=body, hash=chain.link(records[-1].hash, body))
    return more
