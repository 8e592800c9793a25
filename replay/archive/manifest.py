"""What an archive holds, as `manifest.json` in its directory says it.

The manifest is the archive's truth: a segment counts up to the bytes that it names, and what lies behind them, or in
other files, was left by a run that was interrupted. It is replaced in one step, when what it names is on the disk.

Its own `sha256` is that of the same text without it. Nothing is read from one that does not look as it was written.
"""

import json
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from ledger.chain import genesis
from ledger.domain.rejection import Code, Rejection
from replay.files import put_in_place

__all__ = ["FORMAT", "MANIFEST", "BadArchive", "Manifest", "Segment", "is_archive", "segment_name"]

MANIFEST = "manifest.json"
FORMAT = "numbering-ledger archive, version 1"
MAX_BYTES = 64 << 20  # of more than a hundred thousand segments
DIGEST_BYTES = 32


class BadArchive(Rejection):
    """The directory is no archive, or not whole; it says what is wrong, and what to do."""

    def __init__(self, detail: str) -> None:
        super().__init__(Code.ARCHIVE_UNUSABLE, detail)


@dataclass(frozen=True, slots=True)
class Segment:
    """The events `first` to `last` of the log, in the first `bytes` bytes of a file, of which `sha256` is the digest.

    They chain from `previous_hash` and end with `hash`, both hexadecimal; instants are microseconds since 1970 UTC.
    """

    file: str
    first: int
    last: int
    previous_hash: str
    hash: str
    first_recorded_at: int
    last_recorded_at: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is archived, and up to when that is all: every event recorded up to `complete_until` is in the segments.

    That is an instant in microseconds since 1970 UTC, from the last run, which compared the archive with the log's
    head; None where an earlier version made the archive.
    """

    ledger_id: str
    segments: tuple[Segment, ...] = ()
    complete_until: int | None = None

    @property
    def position(self) -> int:
        return self.segments[-1].last if self.segments else 0

    @property
    def hash(self) -> bytes:
        return bytes.fromhex(self.segments[-1].hash) if self.segments else genesis(self.ledger_id)

    @property
    def recorded_at(self) -> int:
        return self.segments[-1].last_recorded_at if self.segments else 0

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read the manifest of a directory; BadArchive when there is none, or it contradicts itself."""
        try:
            with (directory / MANIFEST).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise BadArchive(f"{directory} is no archive: it has no {MANIFEST}") from None
        except OSError as error:
            raise _unreadable(directory, error) from error
        if len(content) > MAX_BYTES:
            raise _damaged(directory, "is larger than any")
        try:
            said = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise _damaged(directory, "is not JSON") from error
        manifest = cls._of(directory, said)
        if content != manifest._content():
            raise _damaged(directory, "was changed")
        return manifest

    @classmethod
    def _of(cls, directory: Path, said: Any) -> Self:
        try:
            if said["format"] != FORMAT:
                raise BadArchive(f"{directory} holds {said['format']!r}, and this version reads {FORMAT!r} only")
            until = said.get("complete_until")
            manifest = cls(said["ledger_id"], tuple(Segment(**each) for each in said["segments"]), until)
            is_typed = _is_typed(manifest.ledger_id, str) and (until is None or _is_typed(until, int))
            if not (is_typed and all(map(_is_well_formed, manifest.segments))):
                raise _damaged(directory, "holds values that no archive has")
            manifest._check(directory)
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(directory, "is not complete") from error
        return manifest

    def _check(self, directory: Path) -> None:
        """See that each segment goes on where the one before it ends."""
        position, hash = 0, genesis(self.ledger_id).hex()
        for segment in self.segments:
            if segment.first != position + 1:
                what = "missing" if segment.first > position + 1 else "there twice"
                low, high = sorted((position + 1, segment.first))
                raise BadArchive(f"{directory} is not whole: the events {low} to {high - 1} are {what}")
            if segment.file != segment_name(segment.first):
                raise _damaged(directory, f"names no segment {segment.file!r}")
            if segment.previous_hash != hash:
                raise BadArchive(f"{directory}: {segment.file} does not go on from the segment before it")
            position, hash = segment.last, segment.hash

    def write(self, directory: Path) -> None:
        """Put this manifest in place of the one before, in one step and on the disk."""
        put_in_place(directory / MANIFEST, self._content())

    def _content(self) -> bytes:
        told = self._told()
        return _text(told | {"sha256": sha256(_text(told)).hexdigest()})

    def _told(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "ledger_id": self.ledger_id,
            "position": self.position,
            "hash": self.hash.hex(),
            "recorded_at": self.recorded_at,
            **({} if self.complete_until is None else {"complete_until": self.complete_until}),
            "segments": [asdict(each) for each in self.segments],
        }


def segment_name(first: int) -> str:
    return f"events-{first:012d}.jsonl.zst"


def is_archive(directory: Path) -> bool:
    """Say whether a directory has a manifest; BadArchive when that cannot be seen."""
    try:
        return (directory / MANIFEST).is_file()
    except OSError as error:
        raise _unreadable(directory, error) from error


def _is_well_formed(segment: Segment) -> bool:
    digests = (segment.previous_hash, segment.hash, segment.sha256) if _has_types(segment) else ()
    return bool(digests) and all(map(_is_digest, digests)) and segment.first <= segment.last and segment.bytes >= 0


def _has_types(segment: Segment) -> bool:
    return all(_is_typed(getattr(segment, field.name), field.type) for field in fields(segment))


def _is_typed(value: object, kind: object) -> bool:
    return type(value) is kind  # to isinstance, True is a number


def _is_digest(text: str) -> bool:
    return len(text) == 2 * DIGEST_BYTES and bytes.fromhex(text).hex() == text


def _text(told: dict[str, Any]) -> bytes:
    return json.dumps(told, indent=1).encode() + b"\n"


def _damaged(directory: Path, what: str) -> BadArchive:
    return BadArchive(f"the {MANIFEST} of {directory} {what}: take the directory from another copy")


def _unreadable(directory: Path, error: OSError) -> BadArchive:
    return BadArchive(f"{directory} cannot be read: {error.strerror}; mend that, or name another copy")
