"""What an export holds: which events or numbers, with which filters, and the manifest that vouches for its file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from ledger.domain.calendar import instant_text
from ledger.domain.rejection import Code, Rejection
from replay.numbers import Wanted
from replay.telling import Said, documents_of, period_of, series_of

__all__ = ["FORMAT", "MANIFEST", "Export", "Form", "Manifest", "What"]

MANIFEST = "manifest.json"
FORMAT = "numbering-ledger export, version 1"
HASH_BYTES = 32


class What(StrEnum):
    EVENTS = "events"
    NUMBERS = "numbers"


class Form(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True)
class Export:
    """What is exported, and how. `since` and `until` (not included) are microseconds; None asks nothing.

    They are of an event's recording, or of when a number was given out last. An actor of a number is that of the event
    that put it in its state. With `skipped`, the ranges of values without a number follow the numbers.
    """

    what: What
    form: Form = Form.CSV
    bom: bool = False
    series: str | None = None
    period: str | None = None
    actor: str | None = None
    document: str | None = None
    since: int | None = None
    until: int | None = None
    skipped: bool = False

    @property
    def file(self) -> str:
        return f"{self.what}.{self.form}"

    @property
    def options(self) -> dict[str, Any]:
        """Give all of this as a manifest has it; what earlier versions do not know only where it was asked for."""
        options = asdict(self)
        if not self.skipped:
            del options["skipped"]
        return options

    @property
    def filters(self) -> dict[str, str]:
        said = {name: getattr(self, name) for name in ("series", "period", "actor", "document")}
        times = {name: getattr(self, name) for name in ("since", "until")}
        said |= {name: None if time is None else instant_text(time) for name, time in times.items()}
        return {name: each for name, each in said.items() if each is not None}

    def takes(self, said: Said) -> bool:
        """Say whether an event passes the filters."""
        asked = (
            (self.series, lambda: series_of(said)),
            (self.period, lambda: period_of(said)),
            (self.actor, lambda: said["actor"]),
        )
        if any(wanted is not None and wanted != found() for wanted, found in asked):
            return False
        if self.document is not None and self.document not in documents_of(said):
            return False
        at = said["recorded_at"]
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)

    @property
    def wanted(self) -> Wanted:
        """Give the filters of numbers."""
        names = ("series", "period", "actor", "document", "since", "until")
        return Wanted(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export holds; `options` are those of the export, and the head is the last event that it knew of.

    `beyond` is there if a moment was asked for at which the source may have had more events: up to this time it was
    known to hold all of them.
    """

    ledger_id: str
    options: Mapping[str, Any]
    filters: Mapping[str, str]
    head: Mapping[str, Any]
    file: str
    count: int
    size: int
    sha256: str
    made_by: str
    beyond: str | None = None

    @property
    def export(self) -> Export:
        options = dict(self.options)
        return Export(What(options.pop("what")), Form(options.pop("form")), **options)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read the manifest of a directory; EXPORT_UNUSABLE when there is none, or it makes no sense."""
        try:
            said = json.loads((directory / MANIFEST).read_bytes())
            if said.pop("format") != FORMAT:
                raise _unusable(directory, f"has another format than {FORMAT!r}")
            (file,) = said.pop("files")
            found = cls(size=file.pop("bytes"), **said, **file)
            assert (found.export.file, found.export.filters) == (found.file, found.filters)
            assert len(bytes.fromhex(found.head["hash"])) == HASH_BYTES
            assert type(found.head["position"]) is int
        except FileNotFoundError:
            raise _unusable(directory, f"has no {MANIFEST}") from None
        except OSError as error:
            raise _unusable(directory, f"cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
            raise _unusable(directory, f"has a {MANIFEST} that no export writes") from error
        return found

    def written(self) -> bytes:
        said = asdict(self)
        file = {name: said.pop(name) for name in ("file", "count", "sha256")} | {"bytes": said.pop("size")}
        if self.beyond is None:
            del said["beyond"]
        return json.dumps({"format": FORMAT, **said, "files": [file]}, indent=1, ensure_ascii=False).encode() + b"\n"


def _unusable(directory: Path, what: str) -> Rejection:
    return Rejection(Code.EXPORT_UNUSABLE, f"{directory} is no whole export: it {what}")
