"""What changed between two moments of a log, or where two copies of it part."""

import asyncio
from collections.abc import Sequence

import click

from api.as_of_answers import moment_answer, reservation_then
from ledger.codec import Entry
from ledger.domain.calendar import instant_text
from ledger.domain.state import Reservation
from numbering.cli.logs import SOURCES, TIMES, LogPlace, beyond_answer, beyond_line, beyond_option, moment, on_log
from numbering.cli.output import Answer, progress, say_facts, say_json, say_line, say_table
from numbering.exits import REJECTED
from numbering.sources import opened_sources
from replay.difference import Between, Comparison, Standing, Verdict, between, compare
from replay.moments import is_moment, understood
from replay.sources import Extent, Source, Stored
from replay.telling import EVENT_COLUMNS, event_row, said_by

__all__ = ["diff"]

TOLD = ("type", "stream", "actor", "recorded_at", "reason", "document", "documents", "ranges", "hash")


@click.command(
    epilog=f"""{TIMES}

{SOURCES}

\b
Examples:
  numbering diff 1200 1300
  numbering diff 2026-01-01T00:00:00+07:00 2026-02-01T00:00:00+07:00 --from /srv/archive
  numbering diff /srv/archive redis://localhost

Copies are compared by their hashes; `numbering verify` looks at every byte."""
)
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@beyond_option
@on_log
def diff(log: LogPlace, one: str, other: str, beyond: bool, as_json: bool) -> None:
    """Show what changed from A to B, two moments.

    Or of two copies of a log: whether one continues the other, or the first position at which they differ; then it
    exits with 1. Write ./2026 for a directory whose name looks like a moment.
    """
    if is_moment(one) != is_moment(other):
        raise click.UsageError("A and B must be two moments, or two copies.")
    if is_moment(one):
        answer = _changes(asyncio.run(_between(log, one, other, beyond)))
        say_json(answer) if as_json else _show_changes(answer)
        return
    answer = asyncio.run(_compared(log, one, other))
    say_json(answer) if as_json else _show_compared(answer)
    if answer["verdict"] not in (Verdict.SAME, Verdict.CONTINUES):
        raise SystemExit(REJECTED)


# Two moments


async def _between(log: LogPlace, one: str, other: str, beyond: bool) -> Between:
    moments = moment(one), moment(other)
    async with log.opened() as source:
        with progress("reading") as show:
            return await between(source, *moments, show, allow_beyond=beyond)


def _changes(found: Between) -> Answer:
    return beyond_answer(found.beyond) | {
        "from": {"position": found.position, "recorded_at": instant_text(found.recorded_at)},
        "to": moment_answer(found.fold),
        "sequences": [_moved(id, *standings) for id, standings in found.sequences.items()],
        "opened": [reservation_then(each) for each in found.opened],
        "ended": [_ended(*each) for each in found.ended],
        "series": [_of_series(entry) for entry in found.series],
        "events": dict(sorted(found.types.items())),
        "actors": dict(sorted(found.actors.items())),
    }


def _moved(id: str, before: Standing | None, after: Standing) -> Answer:
    return {"sequence": id, "from": _standing(before) if before else None, "to": _standing(after)}


def _standing(standing: Standing) -> Answer:
    counts = {state.value: count for state, count in standing.counts.items()}
    return {"high_water": standing.high_water, "counts": counts, "closed": standing.closed}


def _ended(reservation: Reservation, entry: Entry) -> Answer:
    """Tell what a reservation had held, and what ended it."""
    held = reservation_then(reservation)
    del held["state"]
    return held | _event(entry)


def _of_series(entry: Entry) -> Answer:
    return {"series": entry.event.stream} | _event(entry)


def _event(entry: Entry) -> Answer:
    return {
        "event": type(entry.event).__name__,
        "actor": entry.envelope.actor,
        "time": instant_text(entry.recorded_at),
        "reason": entry.envelope.reason,
        "position": entry.position,
    }


def _show_changes(answer: Answer) -> None:
    if "beyond" in answer:
        say_line(beyond_line(answer["beyond"]))
    say_facts({f"{name} {each}": answer[name][each] for name in ("from", "to") for each in answer[name]})
    _section("sequence", ("high water", "counts", "closed"), [_movement(each) for each in answer["sequences"]])
    opened = [[each["sequence"], each["held"], each["reserved_at"], each["token"]] for each in answer["opened"]]
    _section("reservations opened", ("held", "reserved at", "token"), opened)
    ended = [[each["sequence"], each["held"], each["event"], each["time"], each["token"]] for each in answer["ended"]]
    _section("reservations ended", ("held", "by", "time", "token"), ended)
    series = [[each[name] for name in ("series", "event", "actor", "time", "reason")] for each in answer["series"]]
    _section("series", ("event", "actor", "time", "reason"), series)
    for title, name in (("event", "events"), ("actor", "actors")):
        _section(title, ("events",), list(map(list, answer[name].items())))


def _section(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if rows:
        say_line("")
        say_table((title, *columns), rows, right=("events",))


def _movement(moved: Answer) -> list[object]:
    before, after = moved["from"] or {"high_water": "-", "counts": {}, "closed": False}, moved["to"]
    states = {**before["counts"], **after["counts"]}
    changes = [
        f"{state} {before['counts'].get(state, 0)} -> {after['counts'].get(state, 0)}"
        for state in states
        if before["counts"].get(state, 0) != after["counts"].get(state, 0)
    ]
    closed = "closed" if after["closed"] and not before["closed"] else None
    return [moved["sequence"], f"{before['high_water']} -> {after['high_water']}", ", ".join(changes), closed]


# Two copies


async def _compared(log: LogPlace, one: str, other: str) -> Answer:
    async with opened_sources([one, other], log.settings) as sources:
        if sources[0].name == sources[1].name:
            for letter, source in zip("AB", sources, strict=True):
                source.name += f" {letter}"
        found = await compare(sources[0], sources[1])
        return _comparison(found, sources)


def _comparison(found: Comparison, sources: Sequence[Source]) -> Answer:
    copies = [
        _copy(source, extent, event) for source, extent, event in zip(sources, found.extents, found.events, strict=True)
    ]
    return {"verdict": found.verdict.value, "position": found.position, "copies": copies}


def _copy(source: Source, extent: Extent, event: Stored | None) -> Answer:
    answer: Answer = {"name": source.name, "ledger_id": extent.ledger_id, "first": extent.first, "last": extent.last}
    if event is None:
        return answer
    with understood():
        row = dict(zip(EVENT_COLUMNS, event_row(event, said_by(event)), strict=True))
    return answer | {"event": {name: row[name] or None for name in TOLD}}


def _show_compared(answer: Answer) -> None:
    say_line(_sentence(answer))
    say_line("")
    say_table(("copy", "ledger", "first", "last"), [list(each.values())[:4] for each in answer["copies"]])
    for copy in answer["copies"]:
        if "event" in copy:
            say_line("")
            say_line(f"position {answer['position']} in {copy['name']}")
            say_facts({name.replace("_", " "): value for name, value in copy["event"].items()})


def _sentence(answer: Answer) -> str:
    one, other = answer["copies"]
    match answer["verdict"]:
        case Verdict.SAME:
            return f"{one['name']} and {other['name']} hold the same history, up to position {one['last']}"
        case Verdict.CONTINUES:
            longer, shorter = (one, other) if one["last"] > other["last"] else (other, one)
            return f"{longer['name']} continues {shorter['name']}, from position {shorter['last'] + 1} on"
        case Verdict.DIFFER:
            return f"{one['name']} and {other['name']} differ from position {answer['position']} on"
        case Verdict.APART:
            return f"{one['name']} and {other['name']} are of two ledgers"
    return f"no position is in both {one['name']} and {other['name']}: a copy that holds the rest must be put beside"
