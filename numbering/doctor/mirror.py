"""The mirror beside the log: its keys, whether the two agree, and who keeps the mirror from being trimmed."""

import stat
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from ledger.ports import StoreFault
from numbering.doctor.findings import Check, Finding, error, fault, in_order, ok, warning
from numbering.mirror_keys import SETTING, keys_of, mode_of
from numbering.settings import BadSettings, Settings
from numbering.wiring import log_and_mirror
from projections.mirror.comparison import Comparison, Verdict, compare
from projections.mirror.macs import Authenticator
from projections.mirror.stream import Overview, StreamFault

__all__ = ["examine"]

CHECK = "mirror"
KEY = "mirror key"
MACS = "mirror MACs"


async def examine(settings: Settings) -> list[Finding]:
    if not settings.redis_url:
        return []
    checks = [Check(KEY, partial(_key, settings), gate=True), Check(CHECK, partial(_look, settings))]
    return await in_order(checks, CHECK)


async def _key(settings: Settings) -> Iterable[Finding]:
    """Judge the file of the keys, of which a backup is needed that is not beside the database's."""
    try:
        keys = keys_of(settings)
    except BadSettings as unfit:
        return [error(KEY, str(unfit), "until then no process starts, because it has no key")]
    if keys is None:
        detail = "none: anybody who can write to Redis can stop the ledger, or forge events to be adopted"
        return [warning(KEY, detail, f"`numbering mirror key FILE`, and set {SETTING} for every process")]
    path = Path(settings.mirror_key_file)
    mode = mode_of(path)
    if mode & stat.S_IWGRP:
        return [warning(KEY, f"the group of {path} can write it (mode {mode:04o})", f"chmod g-w {path}")]
    count = len(keys.secrets)
    return [ok(KEY, f"{path} has {count} key{'s' * (count > 1)}; back it up apart from the database")]


async def _look(settings: Settings) -> Iterable[Finding]:
    """Compare, whatever else is wrong with the database: that has its own lines."""
    try:
        async with log_and_mirror(settings, reads_only=True) as (store, stream):
            found, overview = await compare(stream, store), await stream.overview()
            macs = list(_macs(found, stream.authenticator))
    except StoreFault as unread:
        return [fault(CHECK, unread, when_away="mend the database first")]
    except StreamFault as unasked:
        return [error(CHECK, str(unasked), "until it is compared, a service that starts writes nothing")]
    return [_verdict(found), *macs, *_groups(settings, found, overview)]


def _verdict(found: Comparison) -> Finding:
    if found.needs_operator:
        return error(CHECK, found.detail, found.advice)
    if found.verdict is Verdict.FOLLOWS or not found.head.position:
        return ok(CHECK, found.detail)
    return warning(CHECK, found.detail, "a running service fills it; `numbering mirror rebuild` does so at once")


def _macs(found: Comparison, authenticator: Authenticator | None) -> Iterator[Finding]:
    """Find processes that do not have the same key."""
    if found.verdict is not Verdict.FOLLOWS:
        return
    if authenticator is None and found.tail.mac:
        yield warning(MACS, "the mirror's last event bears a MAC, and no key is set here", f"set {SETTING} here too")
    if authenticator and not authenticator.is_valid(*found.tail):
        detail = "the mirror's last event bears no valid MAC: a process without this key wrote it"
        yield warning(MACS, detail, "give every process the key; `numbering mirror rebuild` then signs every event")


def _groups(settings: Settings, found: Comparison, overview: Overview) -> Iterator[Finding]:
    """Name the groups that need more than the mirror is to keep."""
    floor = found.head.position - settings.mirror_retention
    for group in overview.groups if settings.mirror_retention else ():
        needed = group.oldest_pending or group.delivered
        kept = floor - max(needed, overview.first - 1)
        if kept > 0:
            detail = f"group {group.name} keeps {kept} events more than are to be kept: it has read to {needed}"
            yield warning(CHECK, detail, "let its consumers catch up, or XGROUP DESTROY it")
