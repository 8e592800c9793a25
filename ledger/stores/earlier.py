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
from ledger.stores.stops import foreign_text, gone, hardest, stop_of, text_of

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
    missing = gone(list(rows.values()), head)
    if head.stopped is None:
        return bool(rows) and _lift_shown(connection, rows, missing)
    text = foreign_text(list(rows.values()), head.stopped)
    # What came beside other reasons is a row already, with its words.
    meant = {id: _meant(stop) for id, stop in rows.items() if stop.kind is StopKind.EARLIER_BUILD}
    kept = {id: stop for id, stop in rows.items() if meant.get(id) is None}
    more = [stop for stop in meant.values() if stop]
    # Of the text nobody knows when it was written, but for that the log did not grow since.
    if text is not None and (stop := _meant(Stop(StopKind.EARLIER_BUILD, text, stopped_at=head.recorded_at))):
        more.append(stop)
    return bool(more) and _put(connection, rows, kept, more, missing)


def _meant(words: Stop) -> Stop | None:
    stop = read_text(words.detail)
    return stop and stop._replace(stopped_at=words.stopped_at)


def _lift_shown(connection: Connection, rows: dict[int, Stop], missing: int) -> bool:
    """Lift the reason that such a build was shown, which it has lifted by clearing the text."""
    shown = hardest(list(rows.values()))
    return _put(connection, rows, {id: stop for id, stop in rows.items() if stop != shown}, [], missing)


def _put(
    connection: Connection, rows: dict[int, Stop], kept: dict[int, Stop], more: Sequence[Stop], missing: int
) -> bool:
    """Keep some of the rows, and add what is none of theirs yet."""
    if lifted := sorted(rows.keys() - kept.keys()):
        connection.execute(LIFT, {"ids": lifted})
    after, id = list(kept.values()), max(rows, default=0)
    for stop in more:
        if not any(each.is_as(stop) for each in after):
            id += 1
            connection.execute(ADD_STOP, {"id": id} | stop._asdict())
            after.append(stop)
    connection.execute(NOTE_STOPS, {"text": text_of(after), "count": len(after) + missing})
    return True
