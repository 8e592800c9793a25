"""This machine: Python, the time zones, and the disks."""

import platform
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import tzdata

from numbering.doctor.findings import Finding, error, ok, warning

__all__ = ["disk", "examine", "filesystem_of", "free_space", "time_zones"]

MOUNTS = Path("/proc/self/mountinfo")
MIB = 2**20
SCARCE_BYTES = 1024 * MIB
EMPTY_BYTES = 100 * MIB
SCARCE_SHARE = 0.1


async def examine() -> list[Finding]:
    version = f"{platform.python_version()} ({platform.python_implementation()} on {platform.system()})"
    return [ok("python", version), time_zones(tzdata.__version__, tzdata.IANA_VERSION, datetime.now(UTC).date())]


def time_zones(version: str, iana: str, today: date) -> Finding:
    """The version names the year of its release and no day, so the age is in years."""
    years = today.year - int(iana[:4])
    age = "of this year" if years <= 0 else f"of last year ({iana[:4]})" if years == 1 else f"{years} years old"
    note = "" if years <= 1 else "; countries may have changed their time since, update tzdata"
    return ok("time zones", f"tzdata {version} (IANA {iana}), {age}{note}")


def disk(check: str, place: str) -> Finding:
    usage = shutil.disk_usage(place)
    return free_space(check, place, usage.free, usage.total)


def free_space(check: str, place: str, free: int, total: int) -> Finding:
    detail = f"{_size(free)} free of {_size(total)} ({free / max(total, 1):.0%}) at {place}"
    advice = "free or add space: when the disk is full no number can be issued"
    if free < EMPTY_BYTES:
        return error(check, detail, advice)
    if free < SCARCE_BYTES or free < total * SCARCE_SHARE:
        return warning(check, detail, advice)
    return ok(check, detail)


def _size(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB" if count >= SCARCE_BYTES else f"{count / MIB:.0f} MiB"


def filesystem_of(path: Path, mounts: str) -> str | None:
    """Find the type of the filesystem that holds a resolved path; `mounts` is Linux's mountinfo."""
    found, depth = None, -1
    for mount in map(str.split, mounts.splitlines()):
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mount[4]))
        # Of two mounts at one place the later hides the earlier.
        if path.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = _type(mount), len(point.parts)
    return found


def _type(mount: Sequence[str]) -> str:
    return mount[mount.index("-") + 1]
