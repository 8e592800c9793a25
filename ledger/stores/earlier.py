"""What builds of before the table of stops have written into the head, read into rows.

They knew one reason, a sentence, and told its kind by how it began. Those sentences are stored data: they are matched
here and nowhere else, when a database is migrated, and what is here never changes. A sentence that is none of theirs,
as an operator may write it, stays where it is.
"""

import re

from sqlalchemy import Connection

from ledger.ports import Stop, StopKind
from ledger.stores.sql import ADD_STOP, HEAD, NOTE_STOPS, STOPS, head_of
from ledger.stores.stops import foreign_text, stop_of, text_of

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
    """Make a row of what such a build has written; says whether there was something to read."""
    row = connection.execute(HEAD.with_for_update()).one_or_none()
    if row is None:
        return False
    head = head_of(row)
    # Under the head's lock they do not change; a reading that locks is never of an older state of the database.
    rows = {each.id: stop_of(*each[1:]) for each in connection.execute(STOPS.with_for_update())}
    before = list(rows.values())
    text = foreign_text(before, head.stopped)
    stop = None if text is None else read_text(text)
    if stop is None:
        return False
    after = before if any(each.is_as(stop) for each in before) else [*before, stop]
    if after is not before:
        # When it was written nobody knows, but for that the log did not grow since.
        added = stop._replace(stopped_at=head.recorded_at)
        connection.execute(ADD_STOP, {"id": max(rows, default=0) + 1} | added._asdict())
    connection.execute(NOTE_STOPS, {"text": text_of(after), "count": len(after)})
    return True
