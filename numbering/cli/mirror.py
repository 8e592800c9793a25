"""The mirror: how far it is, and what an operator does when it and the log disagree."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

from ledger.domain.rejection import Code, Rejection
from ledger.log import generation
from ledger.ports import Fault, Head, OutcomeUnknown, Stop, reasons
from ledger.stores import SqlStore
from numbering.cli.adoption import Telling
from numbering.cli.caller import read_settings, settings_options
from numbering.cli.logs import mark_copy
from numbering.cli.output import Answer, note, progress, say_facts, say_json, say_line, say_table, told
from numbering.exits import FAULT, REJECTED, USAGE_ERROR
from numbering.mirror_keys import SETTING, new_key, write_new
from numbering.settings import PREFIX, Settings
from numbering.wiring import log_and_mirror
from projections.mirror import upkeep
from projections.mirror.comparison import Comparison, compare
from projections.mirror.stream import Group, Overview, Stream, StreamFault, stream_key

__all__ = ["mirror"]

Result = TypeVar("Result")
Work = Callable[[SqlStore, Stream], Awaitable[Result]]


@click.group()
def mirror() -> None:
    """Look at the mirror, refill it, adopt from it.

    A service keeps its mirror in Redis by itself: it catches up after any outage, and refills a stream that was
    flushed.
    """


@mirror.command(epilog="\b\nExample:\n  numbering mirror status --json")
@settings_options("database_url", "redis_url", "mirror_key_file")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(as_json: bool, **options: str | None) -> None:
    """Compare the mirror with the log.

    Exits with 1 when writing is stopped, or must be: the mirror is ahead of the log, or tells another history; or when
    it has entries beside the log's that bear no valid MAC.
    """
    settings = read_settings(options)

    async def looked(store: SqlStore, stream: Stream) -> tuple[Comparison, Answer]:
        found = await compare(stream, store)
        fences, stops = await generation(store), await store.stops()
        return found, _status(found, stream, await stream.overview(), fences, stops)

    with told(json=as_json):
        found, answer = _on_mirror(settings, looked, reads_only=True)
    say_json(answer) if as_json else _show_status(answer)
    if answer["stopped"] and not as_json:
        note("`numbering resume` says what ends this")
    if found.needs_operator or answer["stopped"]:
        raise SystemExit(REJECTED)


@mirror.command(
    epilog="""\b
Examples:
  numbering mirror rebuild
  numbering mirror rebuild --discard

Consumer groups are lost with the old stream: a consumer makes its own anew and passes over what it has seen."""
)
@settings_options("database_url", "redis_url", "mirror_retention", "mirror_key_file")
@click.option(
    "--discard",
    is_flag=True,
    help="Even if the mirror holds events that the log lacks: they are lost. Lifts every reason to stop writing, those "
    "of the archive too, but not a move or an unfinished restore.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def rebuild(discard: bool, as_json: bool, **options: str | None) -> None:
    """Drop the mirror's stream and fill it from the log.

    Lifts the mirror's reasons to stop writing. Exits with 1 if another reason remains.
    """
    settings = read_settings(options)

    async def rebuilt(store: SqlStore, stream: Stream) -> int:
        with progress("mirroring") as show:
            retention = settings.mirror_retention
            return await upkeep.rebuild(store, stream, show, retention=retention, discard=discard)

    with told(json=as_json):
        position, lifted = _on_mirror(settings, _and_lifted(rebuilt))
    _tell({"position": position}, f"the mirror follows the log, up to position {position}", lifted, as_json)


@mirror.command(
    epilog="""\b
Examples:
  numbering mirror adopt --dry-run
  numbering mirror adopt
  numbering mirror adopt --yes --json"""
)
@settings_options("database_url", "redis_url", "mirror_key_file")
@click.option("--dry-run", is_flag=True, help="Show what would be adopted, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--unsigned",
    is_flag=True,
    help="Adopt events without a valid MAC too: only if you know who wrote them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def adopt(dry_run: bool, yes: bool, unsigned: bool, as_json: bool, **options: str | None) -> None:
    """Take back from the mirror the events that the database has lost.

    Only where the mirror continues the log's own last event. The events are judged by the rules of `numbering verify`
    and by their MACs, shown, and stored unchanged when you agree. Afterwards processes write again; exits with 1 if a
    reason to stop remains. It may be interrupted and run again.
    """
    settings = read_settings(options)

    async def adopted(store: SqlStore, stream: Stream) -> tuple[Answer, list[Stop]]:
        with progress("judging") as show:
            telling, adoption = await _judged(store, stream, show, unsigned=unsigned)
        if adoption.hashes and not as_json:
            telling.show()
        if dry_run:
            return _adoption(telling, adoption) | {"dry_run": True, "adopted": 0}, []
        if adoption.hashes and not yes:
            _ask(len(adoption.hashes))
        with progress("adopting") as show:
            work = _and_lifted(lambda store, stream: upkeep.adopt(store, stream, adoption, show))
            count, lifted = await work(store, stream)
        return _adoption(telling, adoption) | {"adopted": count}, lifted

    with told(json=as_json):
        answer, lifted = _on_mirror(settings, adopted)
    count, left = len(answer["events"]), answer["left"]
    done = "would be" if dry_run else "were" if count > 1 else "was"
    text = f"{_events(count)} {done} taken back from the mirror" if count else "nothing to take"
    _tell(answer, text, lifted, as_json)
    if left and not as_json:
        note(f"the mirror goes on to position {left} with entries without a valid MAC, which were left in it")


async def _judged(
    store: SqlStore, stream: Stream, show: upkeep.Progress, *, unsigned: bool
) -> tuple[Telling, upkeep.Adoption]:
    head = await store.head()
    telling = Telling(head.ledger_id, head.position)
    return telling, await upkeep.judged(store, stream, telling.examination, show, unsigned=unsigned)


def _adoption(telling: Telling, adoption: upkeep.Adoption) -> Answer:
    return {"events": telling.events, "left": adoption.end or None}


def _ask(count: int) -> None:
    """Let the operator decide, who has seen the events."""
    if not _is_asked_on_a_terminal():
        raise click.UsageError("adopt asks on a terminal: look at `numbering mirror adopt --dry-run`, then say --yes.")
    if not click.confirm(f"Store {_events(count)} in the log, for ever?", err=True):
        note("nothing was stored")
        raise SystemExit(REJECTED)


def _is_asked_on_a_terminal() -> bool:
    return sys.stdin.isatty()


def _events(count: int) -> str:
    return f"{count} event{'s' * (count != 1)}"


@mirror.command(
    epilog="""\b
Examples:
  numbering mirror key /etc/numbering/mirror.keys
  numbering mirror key >> /etc/numbering/mirror.keys     one more, which verifies only"""
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
def key(file: Path | None) -> None:
    """Make a key for NUMBERING_MIRROR_KEY_FILE.

    With FILE, which must not exist, as the first line of that file, for its owner alone. Without, print it.
    """
    if file is None:
        say_line(new_key())
        return
    try:
        write_new(file)
    except OSError as error:
        note(f"{file} cannot be made: {error.strerror}")
        raise SystemExit(FAULT) from None
    say_line(f"{file} has a new key: back it up apart from the database, and set {SETTING}={file} for every process")


def _and_lifted(work: Work[int]) -> Work[tuple[int, list[Stop]]]:
    """Do `work`, and give with its result the reasons to stop writing that it lifted."""

    async def done(store: SqlStore, stream: Stream) -> tuple[int, list[Stop]]:
        before = await store.stops()
        result = await work(store, stream)
        left = await store.stops()
        return result, [stop for stop in before if stop not in left]

    return done


def _on_mirror(settings: Settings, work: Work[Result], *, reads_only: bool = False) -> Result:
    """Do `work` on the log and its mirror; what fails becomes a Fault, what is refused a Rejection."""
    if not settings.redis_url:
        note(f"no mirror is configured: set {PREFIX}REDIS_URL, or give --redis-url")
        raise SystemExit(USAGE_ERROR)
    try:
        return asyncio.run(_opened(settings, work, reads_only))
    except StreamFault as fault:
        raise Fault(Code.REDIS_UNAVAILABLE, str(fault)) from fault
    except upkeep.Refused as refused:
        raise Rejection(Code.LEDGER_STOPPED, str(refused)) from refused
    except OutcomeUnknown as doubt:
        advice = "run the command again, it goes on where it was"
        raise Fault(Code.OUTCOME_UNKNOWN, str(doubt), advice=advice) from doubt


async def _opened(settings: Settings, work: Work[Result], reads_only: bool) -> Result:
    async with log_and_mirror(settings, reads_only=reads_only) as (store, stream):
        await mark_copy(store)
        return await work(store, stream)


def _status(found: Comparison, stream: Stream, overview: Overview, fences: int, stops: Sequence[Stop]) -> Answer:
    tail, head = found.tail, found.head
    return {
        "stream": stream_key(head.ledger_id, fences),
        "verdict": found.verdict.name,
        "detail": found.detail,
        "advice": found.advice if found.needs_operator else None,
        "mac": _mac(stream, found),
        "foreign_to": found.end or None,
        "entries": overview.entries,
        "first": overview.first,
        "last": tail.position,
        "head": head.position,
        "lag": max(head.position - tail.position, 0),
        "stopped": reasons(stops) or None,
        "groups": [_group(group, head) for group in overview.groups],
    }


def _mac(stream: Stream, found: Comparison) -> str | None:
    """Say how the last entry that counts is authenticated; None without a key."""
    if stream.authenticator is None or not found.tail.hash:
        return None
    if not found.tail.mac:
        return "none"
    return "valid" if stream.authenticator.is_valid(*found.tail) else "invalid"


def _group(group: Group, head: Head) -> Answer:
    return {
        "name": group.name,
        "consumers": group.consumers,
        "pending": group.pending,
        "delivered": group.delivered,
        "oldest_pending": group.oldest_pending or None,
        "lag": max(head.position - group.delivered, 0),
    }


def _show_status(answer: Answer) -> None:
    say_facts({name: value for name, value in answer.items() if name != "groups"})
    if answer["groups"]:
        say_line("")
        columns = ("name", "consumers", "pending", "delivered", "oldest_pending", "lag")
        rows = [[each[name] for name in columns] for each in answer["groups"]]
        say_table([name.replace("_", " ") for name in columns], rows, right=[c.replace("_", " ") for c in columns[1:]])


def _tell(answer: Answer, text: str, lifted: Sequence[Stop], as_json: bool) -> None:
    if as_json:
        say_json(answer | {"lifted": [stop.kind.value for stop in lifted]})
        return
    say_line(text)
    for stop in lifted:
        say_line(f"lifted a reason to stop writing: {stop.kind.value}")
