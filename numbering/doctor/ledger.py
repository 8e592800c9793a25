"""What is true of a ledger in any database: its migrations, its head, and the time in it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from alembic.script import ScriptDirectory

from ledger import chain
from ledger.domain.clocks import TOLERANCE_SECONDS
from ledger.domain.events import CLOSING_STREAM, LedgerClosed
from ledger.domain.formats import FIRST_FORMAT, FORMAT_STREAM, NEWEST_FORMAT
from ledger.ports import Head, Stop, reasons
from ledger.stores.migration import FOUNDATION_TABLE, migrations
from ledger.stores.schema import schema_version
from ledger.stores.stops import all_stops, stop_of
from numbering.doctor.findings import Finding, error, ok, span, warning

__all__ = [
    "CLOSING",
    "FORMAT",
    "FOUNDATION_TABLE",
    "HEAD_AND_LAST",
    "HEAD_AND_STOPS",
    "IS_EMPTY",
    "STEP_TABLE",
    "State",
    "closing",
    "findings",
    "format",
    "head",
    "known_revisions",
    "last_time",
    "migrations_applied",
    "revision",
    "standing",
    "stopped",
    "triggers",
]

# One statement sees one state of the database, however busily others append meanwhile.
HEAD_AND_LAST = """
    SELECT h.position, h.hash, h.recorded_at, h.ledger_id, e.position, e.hash
    FROM ledger_head AS h LEFT JOIN events AS e ON e.position = (SELECT max(position) FROM events)
    WHERE h.id = 1
"""

STEP_TABLE = schema_version.name
HEAD_AND_STOPS = """
    SELECT h.position, h.hash, h.recorded_at, h.ledger_id, h.stopped, h.stops,
           s.kind, s.detail, s.position, s.hash, s.stopped_at
    FROM ledger_head AS h LEFT JOIN stops AS s ON h.id = 1 WHERE h.id = 1 ORDER BY s.id
"""

# The newest event that raised the format, if there is one.
FORMAT = f"SELECT body FROM events WHERE stream = '{FORMAT_STREAM}' ORDER BY position DESC LIMIT 1"

# The newest event by which the ledger was closed or opened, if there is one.
CLOSING = f"SELECT type, position, body FROM events WHERE stream = '{CLOSING_STREAM}' ORDER BY position DESC LIMIT 1"

IS_EMPTY = "SELECT NOT EXISTS (SELECT 1 FROM events)"

UPGRADE = "upgrade numbering-ledger"
MIGRATE = "run `numbering migrate`"
MICROSECONDS = 1_000_000
REFUSALS = ("SIGNAL SQLSTATE '45000'", "raise(ABORT")  # the statements by which a trigger refuses, as 0001 has them
RESTORE = "issue nothing more: the log or its head was edited or lost; restore the ledger from its backup"


class State(NamedTuple):
    """A row of HEAD_AND_LAST."""

    position: int
    hash: bytes
    recorded_at: int
    ledger_id: str
    last_position: int | None
    last_hash: bytes | None


def known_revisions() -> list[str]:
    """Give the migrations that this version has, oldest first."""
    return [step.revision for step in ScriptDirectory.from_config(migrations()).walk_revisions()][::-1]


def revision(check: str, current: Sequence[str], known: Sequence[str], *, foundation: str | None = None) -> Finding:
    """Judge the last step that was applied; `foundation` is the one that a build must know to work on the tables."""
    match current:
        case []:
            return error(check, "none was applied: there is no ledger here", MIGRATE)
        case [one] if one == known[-1]:
            return ok(check, f"{one}, the newest")
        case [one] if one in known:
            return error(check, f"{one} is older than {known[-1]}, which this version needs", MIGRATE)
        case [one] if foundation is not None and foundation <= known[-1]:
            return ok(check, f"{one}, which is newer than {known[-1]} and only adds to it")
        case _:
            detail = f"{', '.join(current)} is newer than {known[-1]}, the newest that this version knows"
            return error(check, detail, UPGRADE)


def migrations_applied(check: str, noted: Mapping[str, Sequence[str]]) -> Finding:
    """Judge the rows of both tables that say how far the migrations have come."""
    known, foundations = known_revisions(), noted[FOUNDATION_TABLE]
    if len(foundations) != 1 or foundations[0] > known[-1]:  # steps count up
        return revision(check, foundations, known)
    return revision(check, noted[STEP_TABLE] or foundations, known, foundation=foundations[0])


def triggers(check: str, found: Mapping[str, str], expected: set[str]) -> Finding:
    """`found` maps the name of each trigger on the events to what it does."""
    sound = {name for name, body in found.items() if any(refusal in body for refusal in REFUSALS)}
    if missing := sorted(expected - sound):
        advice = "find out who removed it and why, then make it again as ledger/migrations/versions/0001_events.py does"
        return error(check, f"the log can be edited: {', '.join(missing)} is missing or changed", advice)
    return ok(check, ", ".join(sorted(expected)))


def head(check: str, state: State | None) -> Finding:
    if state is None:
        return error(check, "ledger_head has no row", f"{MIGRATE} if the ledger is new, else restore it")
    if state.last_position is None:
        if state.position == 0 and state.hash == chain.genesis(state.ledger_id):
            return ok(check, f"no event yet, ledger {state.ledger_id}")
        return error(check, f"the head is at position {state.position}, but there is no event", RESTORE)
    if state.position != state.last_position:
        detail = f"the head is at position {state.position}, but the last event at {state.last_position}"
        return error(check, detail, RESTORE)
    if state.hash != state.last_hash:
        return error(check, f"at position {state.position} the head's hash is not the last event's", RESTORE)
    return ok(check, f"position {state.position}, hash {state.hash.hex()[:16]}…, ledger {state.ledger_id}")


def standing(rows: Sequence[Sequence[Any]]) -> Sequence[Stop]:
    """Read rows of HEAD_AND_STOPS."""
    if not rows:
        return []
    columns = len(Head._fields)
    stops = [stop_of(*row[columns:]) for row in rows if row[columns] is not None]
    return all_stops(stops, Head(*rows[0][:columns]))


def stopped(check: str, stops: Sequence[Stop]) -> Finding:
    if not stops:
        return ok(check, "writing is not stopped")
    return error(
        check,
        f"writing is stopped: {reasons(stops)}",
        "run `numbering resume`, which says what ends each; until then no number is issued",
    )


def format(check: str, bodies: Sequence[str | bytes], *, is_empty: bool) -> Finding:
    """Judge the newest event that raised the format, if there is one."""
    present: int = orjson.loads(bodies[0])["data"]["format"] if bodies else FIRST_FORMAT
    if is_empty:
        return ok(check, f"no event yet: the ledger begins at {NEWEST_FORMAT}, the newest")
    if present == NEWEST_FORMAT:
        return ok(check, f"{present}, the newest")
    if present < NEWEST_FORMAT:
        later = f"`numbering upgrade` raises it to {NEWEST_FORMAT} when no process of an earlier build is left"
        return ok(check, f"{present}, so that earlier builds can write: {later}")
    return error(check, f"{present} is newer than {NEWEST_FORMAT}, the newest that this version knows", UPGRADE)


def closing(check: str, rows: Sequence[Sequence[Any]]) -> Finding:
    """Judge the row of CLOSING, if there is one."""
    if not rows or rows[0][0] != LedgerClosed.__name__:
        return ok(check, "open")
    _, position, body = rows[0]
    copies = ", ".join(orjson.loads(body)["data"]["copies"])
    detail = f"closed at position {position}, as {copies} shall hold: nothing is written"
    return warning(check, detail, "`numbering open-ledger` opens it; if it was moved, serve the restored one")


def last_time(
    check: str, recorded_at: int, now: int, whose: str, tolerance_seconds: float = TOLERANCE_SECONDS
) -> Finding:
    """Compare the last event's time, which no later one may precede, with a clock; both in microseconds."""
    if recorded_at == 0:
        return ok(check, "no event yet")
    ahead = (recorded_at - now) / MICROSECONDS
    if ahead <= 0:
        return ok(check, f"{span(-ahead)} ago by {whose}")
    detail = f"{span(ahead)} in the future of {whose}: a clock was wrong, then or now"
    if ahead > tolerance_seconds:
        return error(check, f"{detail}, and the service stops writing (DATED_AHEAD)", "see docs/recovery.md")
    return warning(check, detail, "set the clock right, with NTP; until it catches up, events repeat the last time")


def findings(
    subject: str, states: Sequence[State], stops: Sequence[Stop], now: int, whose: str, tolerance_seconds: float
) -> list[Finding]:
    """Judge the rows of HEAD_AND_LAST, none or one, and what stops the ledger."""
    if not states:
        return [head(f"{subject} head", None)]
    (state,) = states
    return [
        head(f"{subject} head", state),
        stopped(f"{subject} stopped", stops),
        last_time(f"{subject} last event", state.recorded_at, now, whose, tolerance_seconds),
    ]
