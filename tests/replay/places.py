"""Histories for the tests of replay: real events, where they are kept, and what somebody could do to them there.

records = history(20)                                       real events of a ledger
file = await sqlite_with(records, directory)                a database that holds them
held = ListSource(stored(records))                          or a source in memory
changed(records, 7), without(records, 7), …                 what somebody did to them; `rechained` hides the traces
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import text

from ledger import chain, codec
from ledger.codec import Entry
from ledger.domain.commands import Cancel, Confirm, Decidable, Envelope, Reserve
from ledger.domain.events import Event, FormatRaised, LedgerClosed
from ledger.domain.formats import NEWEST_FORMAT
from ledger.ports import Record
from ledger.stores import SqlStore, open_store
from replay.archive.manifest import MANIFEST, Manifest
from replay.archive.writing import archive
from replay.following import Chain, checked
from replay.sources import Extent, Source, Stored, event_at
from tests.given import LETTER, LETTER_KEY, NOW, PLAIN, Story
from tests.servers import Database, MariaDB
from tests.stores import mariadb_ledger, new_sqlite

__all__ = [
    "LEDGER",
    "ListSource",
    "archived",
    "behind",
    "below",
    "changed",
    "closed",
    "forged_manifest",
    "history",
    "inserted",
    "mariadb_with",
    "opened_sqlite",
    "put_records",
    "read",
    "rechained",
    "silent",
    "sqlite_with",
    "stored",
    "swapped",
    "without",
]

LEDGER = "11111111-2222-3333-4444-555555555555"
PART = 7  # events that a ListSource gives at a time: few, so that a test has many seams


# Events


@lru_cache
def history(count: int, *, ledger_id: str = LEDGER, actor: str = "tester", document: str = "D") -> Sequence[Record]:
    """Decide real commands until there are so many events, and encode them."""
    story = Story(LETTER, PLAIN)
    number = 0
    while len(story.log) < count:
        for command in _commands(f"T{number}", document):
            story.now += 1
            story.when(command)
        number += 1
    return _encoded(story, count, ledger_id, actor)


def _commands(token: str, document: str) -> Iterable[Decidable]:
    yield Reserve("LETTER", token, LETTER_KEY, count=3)
    yield Confirm(token, f"หนังสือ {document}")
    yield Reserve("PLAIN", f"{token}-let-go")
    yield Cancel(f"{token}-let-go", "ยกเลิก")


def _encoded(story: Story, count: int, ledger_id: str, actor: str) -> Sequence[Record]:
    records: list[Record] = []
    previous = chain.genesis(ledger_id)
    for position, (event, instant) in enumerate(story.log[:count], 1):
        envelope = Envelope(sha256(b"%d" % position).digest(), actor)
        records.append(codec.encode(Entry(position, event, envelope, 0, instant), previous))
        previous = records[-1].hash
    return tuple(records)


def closed(records: Sequence[Record], *copies: str, ledger_id: str = LEDGER) -> list[Record]:
    """Let a ledger be closed behind some records, for copies that shall hold that."""
    return behind(records, FormatRaised(NEWEST_FORMAT), LedgerClosed(copies), ledger_id=ledger_id)


def behind(records: Sequence[Record], *events: Event, ledger_id: str = LEDGER) -> list[Record]:
    """Let events happen behind some records, each of a command of its own."""
    all_records = list(records)
    for event in events:
        previous = all_records[-1].hash if all_records else chain.genesis(ledger_id)
        position, instant = len(all_records) + 1, all_records[-1].recorded_at if all_records else NOW
        envelope = Envelope(sha256(b"behind %d" % position).digest(), "tester")
        all_records.append(codec.encode(Entry(position, event, envelope, 0, instant), previous))
    return all_records


def stored(records: Iterable[Record]) -> list[Stored]:
    return [(record.position, record.body, record.hash) for record in records]


# What somebody could do to them. Only `rechained` makes the chain fit again.


def changed(records: Sequence[Record], position: int) -> list[Record]:
    """Change one byte of an event."""
    record = records[position - 1]
    body = record.body.replace(b'"actor":"t', b'"actor":"T')
    assert body != record.body
    return [*records[: position - 1], record._replace(body=body), *records[position:]]


def swapped(records: Sequence[Record], position: int) -> list[Record]:
    """Let an event and the one behind it change places; each keeps its own content."""
    one, other = records[position - 1 : position + 1]
    pair = [other._replace(position=one.position), one._replace(position=other.position)]
    return [*records[: position - 1], *pair, *records[position + 1 :]]


def without(records: Sequence[Record], position: int) -> list[Record]:
    """Remove an event, and leave the hole."""
    return [record for record in records if record.position != position]


def inserted(records: Sequence[Record], position: int, ledger_id: str = LEDGER) -> list[Record]:
    """Insert an event, and encode all that follow at their new places, with the chain computed from there on."""
    kept = list(records[: position - 1])
    previous = kept[-1].hash if kept else chain.genesis(ledger_id)
    for record in (records[position - 1], *records[position - 1 :]):
        entry = codec.decode(record)
        at = len(kept) + 1
        envelope = entry.envelope._replace(command_id=sha256(b"-%d" % at).digest())
        entry = entry._replace(position=at, envelope=envelope)
        kept.append(codec.encode(entry, previous))
        previous = kept[-1].hash
    return kept


def rechained(records: Sequence[Record], ledger_id: str = LEDGER) -> list[Record]:
    """Compute the chain anew over whatever the records hold, at the places that they say they have."""
    previous, kept = chain.genesis(ledger_id), list[Record]()
    for record in records:
        previous = chain.link(previous, record.body)
        kept.append(record._replace(hash=previous))
    return kept


# Where they are kept


class ListSource:
    """Events in memory; it says of itself what is given, whatever it holds."""

    is_primary = False

    def __init__(
        self, events: Sequence[Stored], *, extent: Extent | None = None, name: str = "the list", part: int = PART
    ) -> None:
        self.name = name
        self.held = events
        self.part = part
        self._extent = extent

    async def extent(self) -> Extent:
        if self._extent:
            return self._extent
        if not self.held:
            return Extent.none(LEDGER)
        return Extent(LEDGER, self.held[0][0], self.held[-1][0], self.held[-1][2])

    async def events(self, *, after: int, to: int) -> AsyncIterator[Sequence[Stored]]:
        wanted = [event for event in self.held if after < event[0] <= to]
        for first in range(0, len(wanted), self.part):
            await asyncio.sleep(0)
            yield wanted[first : first + self.part]


async def sqlite_with(records: Sequence[Record], directory: Path, ledger_id: str = LEDGER) -> Path:
    """Make an SQLite ledger of this id that holds these records, whatever they are."""
    file = directory / "numbering.db"
    new_sqlite(file)
    async with opened_sqlite(file) as store:
        await put_records(store, records, ledger_id)
    return file


async def mariadb_with(records: Sequence[Record], server: MariaDB, ledger_id: str = LEDGER) -> Database:
    made = mariadb_ledger(server)
    assert made.database
    store = open_store(made.database.admin_url)
    try:
        await put_records(store, records, ledger_id)
    finally:
        await store.close()
    return made.database


@asynccontextmanager
async def opened_sqlite(file: Path) -> AsyncIterator[SqlStore]:
    store = open_store(f"sqlite+aiosqlite:///{file}", allow_unsafe=True)
    try:
        yield store
    finally:
        await store.close()


async def put_records(store: SqlStore, records: Sequence[Record], ledger_id: str = LEDGER) -> None:
    """Put records in the place of all that a database holds, past its triggers, with a head that fits the last."""
    last = records[-1] if records else None
    head = {
        "position": last.position if last else 0,
        "hash": last.hash if last else chain.genesis(ledger_id),
        "recorded_at": last.recorded_at if last else 0,
        "ledger_id": ledger_id,
    }
    await below(store, "DELETE FROM events")
    names = Record._fields
    values = [dict(zip(names, record, strict=True)) | {"body": record.body.decode()} for record in records]
    if values:
        columns, places = ", ".join(names), ", ".join(f":{name}" for name in names)
        await below(store, f"INSERT INTO events ({columns}) VALUES ({places})", values)
    assignments = ", ".join(f"{name} = :{name}" for name in head)
    await below(store, f"UPDATE ledger_head SET {assignments}", [head])


async def below(store: SqlStore, sql: str, values: Sequence[dict[str, Any]] = ({},)) -> None:
    """Carry out a statement as an administrator who dropped every trigger first."""
    async with store.writers.begin() as connection:
        for trigger in ("events_refuse_update", "events_refuse_delete", "events_refuse_insert"):
            await connection.execute(text(f"DROP TRIGGER IF EXISTS {trigger}"))
        for each in values:
            await connection.execute(text(sql), each)


# Archives


async def archived(records: Sequence[Record], directory: Path, **options: Any) -> Manifest:
    """Archive records to a directory."""
    _, manifest = await archive(ListSource(stored(records)), directory, silent, **options)
    return manifest


def silent(_: int, __: int) -> None:
    pass


async def read(source: Source) -> list[Stored]:
    """Read all of a source, checked; the first event of one that begins later is taken as it is."""
    extent = await source.extent()
    chain = await Chain.at(source, extent)
    first = await event_at(source, chain.position) if chain.position else None
    return [*filter(None, [first]), *[event async for part in checked(source, extent, chain) for event in part]]


def forged_manifest(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a manifest says, with the digest that fits, as somebody who knows how it is made would."""
    path = directory / MANIFEST
    said = json.loads(path.read_bytes())
    del said["sha256"]
    change(said)
    content = json.dumps(said, indent=1).encode() + b"\n"
    path.write_bytes(json.dumps(said | {"sha256": sha256(content).hexdigest()}, indent=1).encode() + b"\n")
