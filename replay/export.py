"""Events or numbers in files for whoever must keep them: a table or JSON lines, and a manifest that vouches for them.

A directory appears when it is whole. The manifest says from which head of the log its files were made and with which
filters, so that anybody with the log can make them again, byte by byte.
"""

import asyncio
import csv
import io
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import orjson

from ledger.domain.calendar import instant_text
from ledger.domain.rejection import Code, Rejection
from replay.archive.segments import line_of
from replay.copying import make_copy, opened_copy
from replay.export_manifest import MANIFEST, Export, Form, Manifest, What
from replay.files import sync_directory, writing
from replay.following import Progress
from replay.moments import Moment, Past, understood
from replay.numbers import Listed, Skipped, all_numbers, all_skipped
from replay.sources import Source, Stored
from replay.telling import EVENT_COLUMNS, Said, event_row, said_by

__all__ = ["NUMBER_COLUMNS", "export", "verify"]

PART = ".part"
READ_BYTES = 1 << 20
BOM = "\ufeff".encode()

NUMBER_COLUMNS = (
    "number", "value", "state", "series", "sequence", "period", "document_date", "document", "token", "replaces",
    "replaced_by", "given_at", "confirmed_at", "event", "actor", "time", "reason", "position",
)  # fmt: skip

LAST_COLUMN = ("last_value",)  # of a range; of a number it is the value


# Making


async def export(
    source: Source, asked: Export, moment: Moment, directory: Path, progress: Progress, *, allow_beyond: bool = False
) -> Manifest:
    """Export to a directory that is not there, or empty; TARGET_NOT_EMPTY else, a Fault when it cannot be written."""
    past = await Past.of(source, moment, allow_beyond=allow_beyond)
    with writing(directory, again="run it again"), _new(directory) as part:
        manifest = await _made(past, asked, part, progress)
        (part / MANIFEST).write_bytes(manifest.written())
    return manifest


async def _made(past: Past, asked: Export, directory: Path, progress: Progress) -> Manifest:
    with (directory / asked.file).open("wb") as file:
        count = await (_events if asked.what is What.EVENTS else _numbers)(past, asked, file, progress)
        file.flush()
        os.fsync(file.fileno())
    size, digest = await asyncio.to_thread(_measured, directory / asked.file)
    recorded_at = instant_text(past.recorded_at) if past.position else None
    head = {"position": past.position, "hash": past.hash.hex(), "recorded_at": recorded_at}
    made_by = f"numbering-ledger {version('numbering-ledger')}"
    beyond = None if past.beyond is None else instant_text(past.beyond)
    return Manifest(
        past.ledger_id, asked.options, asked.filters, head, asked.file, count, size, digest, made_by, beyond
    )


async def _events(past: Past, asked: Export, file: BinaryIO, progress: Progress) -> int:
    count = 0
    file.write(_heading(asked, EVENT_COLUMNS))
    with understood():
        async for events in past.events(progress):
            chosen = [(event, said) for event in events if asked.takes(said := said_by(event))]
            count += len(chosen)
            file.write(_event_lines(asked, chosen))
    return count


def _event_lines(asked: Export, chosen: Iterable[tuple[Stored, Said]]) -> bytes:
    if asked.form is Form.JSONL:
        return b"".join(line_of(event) for event, _ in chosen)
    return _table(event_row(*each) for each in chosen)


async def _numbers(past: Past, asked: Export, file: BinaryIO, progress: Progress) -> int:
    """Read the numbers from a copy on the disk: they may be more than memory holds."""
    count = 0
    columns = (*NUMBER_COLUMNS, *LAST_COLUMN) if asked.skipped else NUMBER_COLUMNS
    file.write(_heading(asked, columns))
    with TemporaryDirectory() as directory:
        copy = Path(directory) / "then.db"
        await make_copy(copy, past, progress)
        async with opened_copy(copy) as store:
            async for page in all_numbers(store, asked.wanted):
                count += len(page)
                rows = ([*_number_row(each), *([each.row.value] if asked.skipped else [])] for each in page)
                file.write(_number_lines(asked, columns, rows))
            if asked.skipped:
                async for ranges in all_skipped(store, asked.wanted):
                    count += len(ranges)
                    file.write(_number_lines(asked, columns, map(_skipped_row, ranges)))
    return count


def _number_lines(asked: Export, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    if asked.form is Form.JSONL:
        told = (dict(zip(columns, row, strict=True)) for row in rows)
        return b"".join(orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in told)
    return _table(rows)


def _number_row(listed: Listed) -> list[str | int]:
    row = listed.row
    return [
        row.number, row.value, row.state, row.series, listed.sequence, listed.period, row.document_date, row.document,
        row.token, row.replaces, row.replaced_by, instant_text(row.reserved_at),
        instant_text(row.confirmed_at) if row.confirmed_at else "", row.event, row.actor,
        instant_text(row.changed_at), row.reason, row.changed_position,
    ]  # fmt: skip


def _skipped_row(skipped: Skipped) -> list[str | int]:
    """Tell a range as a number without a text: of all that is of a document or of a number there is nothing."""
    row = skipped.row
    return [
        "", row.first, row.state, skipped.series, skipped.sequence, skipped.period, "", "", "", "", "", "", "",
        row.event, row.actor, instant_text(row.recorded_at), row.reason, row.position, row.last,
    ]  # fmt: skip


def _heading(asked: Export, columns: Sequence[str]) -> bytes:
    if asked.form is Form.JSONL:
        return b""
    return (BOM if asked.bom else b"") + _table([columns])


def _table(rows: Iterable[Sequence[object]]) -> bytes:
    """Write rows as RFC 4180 has them: quoted where they must be, each ended by CR and LF, and nothing changed."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _measured(file: Path) -> tuple[int, str]:
    digest, size = sha256(), 0
    with file.open("rb") as opened:
        while piece := opened.read(READ_BYTES):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


@contextmanager
def _new(directory: Path) -> Iterator[Path]:
    """Give a directory beside the one that is to be, which takes its place if all goes well, and else is removed."""
    part = directory.with_name(f"{directory.name}{PART}")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Rejection(Code.TARGET_NOT_EMPTY, f"{directory} holds something already: name a new directory")
    if part.exists():
        raise Rejection(Code.TARGET_NOT_EMPTY, f"{part} is there: another run writes it, or died; remove it then")
    part.mkdir(parents=True)
    try:
        yield part
        sync_directory(part)
        part.rename(directory)
        sync_directory(directory.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


# Verifying


async def verify(directory: Path, source: Source | None, progress: Progress) -> list[str]:
    """Say in words what is wrong with an export; nothing when it is whole, and what the log says if that is there."""
    manifest = Manifest.read(directory)
    found = [*_wrong_files(directory, manifest)]
    if source is not None:
        found += [each async for each in _wrong_by_log(manifest, source, progress)]
    return found


def _wrong_files(directory: Path, manifest: Manifest) -> Iterator[str]:
    file = directory / manifest.file
    try:
        size, digest = _measured(file)
    except OSError as error:
        yield f"{manifest.file} cannot be read: {error.strerror}"
        return
    if size != manifest.size:
        yield f"{manifest.file} has {size} bytes, and the manifest says {manifest.size}"
    elif digest != manifest.sha256:
        yield f"{manifest.file} was changed: its SHA-256 is not the one of the manifest"
    for stranger in sorted(path.name for path in directory.iterdir() if path.name not in (MANIFEST, manifest.file)):
        yield f"{stranger} is not named by the manifest"


async def _wrong_by_log(manifest: Manifest, source: Source, progress: Progress) -> AsyncIterator[str]:
    """Make the export again from the log, up to the head of the first time."""
    position, hash = manifest.head["position"], manifest.head["hash"]
    extent = await source.extent()
    if extent.ledger_id != manifest.ledger_id:
        yield f"the log of {source.name} is of ledger {extent.ledger_id}, and the export of {manifest.ledger_id}"
        return
    if extent.last < position:
        yield f"the log of {source.name} ends at position {extent.last}, and the export was made from {position}"
        return
    with TemporaryDirectory() as place:
        moment = Moment(position=position) if position else Moment(time=None)
        again = await export(source, manifest.export, moment, Path(place) / "again", progress)
    if again.head["hash"] != hash:
        yield f"the event at position {position} of {source.name} is not the one from which the export was made"
    elif (again.count, again.size, again.sha256) != (manifest.count, manifest.size, manifest.sha256):
        yield f"the same export from {source.name} gives another {manifest.file}: it is not what the log says"
