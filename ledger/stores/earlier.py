"""What builds of before the table of stops have written into the head, read into rows.

They knew one reason, a sentence, and told its kind by how it began. Those sentences are stored data: they are matched
here and nowhere else, when a database is migrated, and what is here never changes. A sentence that is none of theirs,
as an operator may write it, stays where it is. A text that one of them has cleared lifts the reason that it was shown.
"""

import re
from collections.abc import Sequence

from sqlalchemy import Connection

from ledger.ports import Stop, StopKind
from ledger.stores.sql import ADD_STOP, HEAD, LIFT, NOTE_STOPS, STOPS, head_of
from ledger.stores.stops import foreign_text, hardest, stop_of, text_of

__all__ = ["read_text", "take_text_over"]

_SEEN = r" \(seen: position (?P<position>[0-9]{1,18}), hash (?P<hash>[0-9a-f]{64})\)"
_SENTENCES = [
    (kind, re.compile(pattern, re.DOTALL))
    for kind, pattern in (
        (StopKind.MOVED, r"the ledger was moved to another database, (?P<detail>.+)"),
        (StopKind.RESTORING, r"a restore into this database was not finished: (?P<detail>.+)"),
        (StopKind.COPY, r"(?P<detail>this is a copy of the ledger as of position .+)"),
        (StopKind.LOG_FORKED, rf"(?P<detail>(?:the event at position|position) [0-9]+ (?:is|does) .+){_SEEN}"),
        (StopKind.LOG_BEHIND, rf"(?P<detail>(?:the log ends at position|the head says) [0-9]+, but .+){_SEEN}"),
        (StopKind.ARCHIVE_FORKED, rf"(?P<detail>the archive .+ tells another history than this log, .+){_SEEN}"),
        (StopKind.ARCHIVE_AHEAD, rf"(?P<detail>the archive .+ goes on to position [0-9]+, .+){_SEEN}"),
        (StopKind.MIRROR_SUPERSEDED, r"the mirror (?P<detail>of a later generation is there: .+)"),
        (StopKind.MIRROR_FORKED, r"the mirror, which (?P<detail>ends at position [0-9]+, is no part of this log, .+)"),
        (StopKind.MIRROR_AHEAD, r"the mirror (?P<detail>goes on to position [0-9]+, .+)"),
    )
]


def read_text(text: str) -> Stop | None:
    """Give the stop that a build of before meant; None for a sentence that none of them wrote."""
    for kind, sentence in _SENTENCES:
        if found := sentence.fullmatch(text):
            parts = found.groupdict()
            if "hash" not in parts:
                return Stop(kind, parts["detail"])
            return Stop(kind, parts["detail"], int(parts["position"]), bytes.fromhex(parts["hash"]))
    return None


def take_text_over(connection: Connection) -> bool:
    """Do in the rows what such a build has done to the text; says whether that was anything."""
    row = connection.execute(HEAD.with_for_update()).one_or_none()
    if row is None:
        return False
    head = head_of(row)
    # Under the head's lock they do not change; a reading that locks is never of an older state of the database.
    rows = {each.id: stop_of(*each[1:]) for each in connection.execute(STOPS.with_for_update())}
    if head.stopped is None:
        return bool(rows) and _lift_shown(connection, rows)
    text = foreign_text(list(rows.values()), head.stopped)
    stop = None if text is None else read_text(text)
    # When it was written nobody knows, but for that the log did not grow since.
    return stop is not None and _add(connection, rows, stop._replace(stopped_at=head.recorded_at))


def _lift_shown(connection: Connection, rows: dict[int, Stop]) -> bool:
    """Lift the reason that such a build was shown, which it has lifted by clearing the text."""
    shown = hardest(list(rows.values()))
    connection.execute(LIFT, {"ids": [id for id, stop in rows.items() if stop == shown]})
    return _note(connection, [stop for stop in rows.values() if stop != shown])


def _add(connection: Connection, rows: dict[int, Stop], stop: Stop) -> bool:
    before = list(rows.values())
    if any(each.is_as(stop) for each in before):
        return _note(connection, before)
    connection.execute(ADD_STOP, {"id": max(rows, default=0) + 1} | stop._asdict())
    return _note(connection, [*before, stop])


def _note(connection: Connection, rows: Sequence[Stop]) -> bool:
    connection.execute(NOTE_STOPS, {"text": text_of(rows), "count": len(rows)})
    return True
