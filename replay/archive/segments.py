"""The file of a segment: one JSON object a line, compressed by zstd, in frames that were appended one by one.

    {"hash":"<64 hexadecimal digits>","event":<the event's canonical bytes>}

`zstdcat` and any JSON reader are enough to read it, and SHA-256 to check it.
"""

from binascii import hexlify, unhexlify
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import IO, cast

import zstandard

from ledger.codec import recorded_at
from replay.archive.manifest import BadArchive, Segment
from replay.sources import Damaged, Stored

__all__ = ["BODY", "HASH", "events_of", "frame", "line_of", "lines_of", "missing", "read", "texts_of"]

LEVEL = 6  # a frame is written once and kept for years
TEXT_BYTES = 1 << 20  # of the events at a time
LINE_BYTES = 16 << 20  # more than any event has
WINDOW_BYTES = 8 << 20  # more than any frame of ours asks for

_OPEN, _MIDDLE, _CLOSE = b'{"hash":"', b'","event":', b"}"
HASH = slice(len(_OPEN), len(_OPEN) + 64)
BODY = slice(HASH.stop + len(_MIDDLE), -1)


def frame(events: Sequence[Stored]) -> bytes:
    """Write events as one frame."""
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(b"".join(map(line_of, events)))


def line_of(event: Stored) -> bytes:
    """Write an event as a line of a segment's text."""
    _, body, hash = event
    return b"".join((_OPEN, hexlify(hash), _MIDDLE, body, _CLOSE, b"\n"))


def read(directory: Path, segment: Segment) -> Iterator[Sequence[Stored]]:
    """Read a segment's events, some at a time, and at its end hold the file against its digest."""
    position = segment.first
    for lines in lines_of(directory, segment):
        yield events_of(position, lines, segment)
        position += len(lines)


def lines_of(directory: Path, segment: Segment) -> Iterator[Sequence[bytes]]:
    """Read a segment as `read` does, but leave each event in its line: at BODY, with its hash at HASH."""
    position, rest, last = segment.first, b"", b""
    for text in texts_of(directory, segment):
        *lines, rest = (rest + text).split(b"\n")
        if len(rest) > LINE_BYTES or position + len(lines) > segment.last + 1:
            break
        if lines:
            if position == segment.first:
                _check_instant(position, lines[0], segment.first_recorded_at, segment)
            yield lines
            position += len(lines)
            last = lines[-1]
    if rest or position != segment.last + 1:
        raise Damaged(position, f"{segment.file} should end with position {segment.last}")
    _check_instant(segment.last, last, segment.last_recorded_at, segment)


def _check_instant(position: int, line: bytes, told: int, segment: Segment) -> None:
    """Hold what the manifest tells against the event: after a restore, what may be lost is reckoned from it."""
    try:
        instant = recorded_at(line[BODY])
    except (ValueError, LookupError, TypeError) as error:
        raise Damaged(position, f"{segment.file} holds no event there") from error
    if instant != told:
        raise Damaged(position, f"the event of {segment.file} has not the instant that the manifest names")


class _Counted:
    """The bytes of a file that count, hashed as they are read."""

    def __init__(self, file: IO[bytes], count: int) -> None:
        self.left = count
        self.digest = sha256()
        self._file = file

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(min(size, self.left) if size >= 0 else self.left)
        self.left -= len(piece)
        self.digest.update(piece)
        return piece


def texts_of(directory: Path, segment: Segment) -> Iterator[bytes]:
    """Decompress a segment, some at a time: a few bytes can be made to stand for gigabytes."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES)
    try:
        with (directory / segment.file).open("rb") as file:
            counted = _Counted(file, segment.bytes)
            with decompressor.stream_reader(cast("IO[bytes]", counted), read_across_frames=True) as reader:
                while text := reader.read(TEXT_BYTES):
                    yield text
    except FileNotFoundError:
        raise missing(directory, segment) from None
    except OSError as error:
        raise BadArchive(f"{directory / segment.file} cannot be read: {error.strerror}") from error
    except zstandard.ZstdError as error:
        raise Damaged(segment.first, f"{segment.file} cannot be decompressed ({error})") from error
    if counted.left:
        raise Damaged(segment.first, f"{segment.file} was cut off: {counted.left} bytes are missing at its end")
    if counted.digest.hexdigest() != segment.sha256:
        raise Damaged(segment.first, f"{segment.file} was changed: its SHA-256 is not the one of the manifest")


def missing(directory: Path, segment: Segment) -> BadArchive:
    what = f"the events {segment.first} to {segment.last} are missing"
    return BadArchive(f"{directory} is not whole: {what}, because {segment.file} is not there")


def events_of(first: int, lines: Sequence[bytes], segment: Segment) -> Sequence[Stored]:
    try:
        return [(position, line[BODY], unhexlify(line[HASH])) for position, line in enumerate(lines, first)]
    except ValueError as error:
        raise Damaged(first, f"{segment.file} holds lines that no archive has") from error
