"""Why writing is stopped, judged one reason at a time: is it over, and if it is not, what ends it, and at what cost?

Pure: what is known of the log, its copies and the clocks is `Evidence`, gathered by `replay.resumption`. Three things
can be true of a stop:

- it is *over*: the log holds the event that it names and goes on from it, or the clocks have caught up, and each copy
  that is configured agrees with the log. Only such a stop ends by itself;
- an operator may *accept* it. Where events may be lost, a fence goes with that, as at the end of a restore, so that no
  number is issued again;
- only what it *needs* ends it: another command, another database, or a copy that must be looked at first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from ledger.continuity import NOT_ITS_OWN
from ledger.domain.calendar import instant_text
from ledger.ports import Head, Stop, StopKind
from ledger.stores.earlier import read_text
from projections.mirror.comparison import Verdict

__all__ = ["ACCEPTABLE", "CopyReport", "Evidence", "Judgement", "Way", "judge"]


class Way(StrEnum):
    """How a stop can end."""

    OVER = "OVER"  # it holds no more: `numbering resume` lifts it
    ACCEPT = "ACCEPT"  # `numbering resume --accept` lifts it
    OTHER = "OTHER"  # only what it needs ends it


@dataclass(frozen=True, slots=True)
class CopyReport:
    """How a configured copy of the log, `name`, compares with it; `trouble` is None where the two agree.

    One that could not be reached has no `verdict`. `advice` says what ends the trouble.
    """

    name: str
    trouble: str | None = None
    advice: str = ""
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known when stops are judged.

    `now` is the database's time, in microseconds; `clock_doubt` says why it cannot be believed. `missing` says of each
    stop that names an event what the log has instead; a stop whose event is there is not in it. `before` is the
    position of the last event that is not dated ahead. `mirror` and `archive` are None where none is configured.
    """

    head: Head
    now: int
    clock_doubt: str | None = None
    missing: Mapping[Stop, str] = field(default_factory=dict)
    before: int = 0
    mirror: CopyReport | None = None
    archive: CopyReport | None = None
    is_closed: bool = False

    @property
    def troubled(self) -> list[CopyReport]:
        return [copy for copy in (self.mirror, self.archive) if copy and copy.trouble is not None]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was `found` of a stop, and what it `needs`; nothing when it is over.

    Where `is_fenced`, to accept it makes every sequence skip a margin of values.
    """

    stop: Stop
    way: Way
    found: str
    needs: str = ""
    is_fenced: bool = False


# What ends the stops of a database that is no ledger of its own, or not yet one that may be written to.
_ELSEWHERE: Mapping[StopKind, tuple[str, str]] = {
    StopKind.MOVED: (
        "the ledger goes on in another database",
        "use the other database: nothing lifts this one",
    ),
    StopKind.RESTORING: (
        "the database holds only a part of the ledger",
        "run the same `numbering restore` again: it goes on where it was",
    ),
    StopKind.COPY: (
        "the database is a copy for reading",
        "use the ledger itself; nothing lifts this one",
    ),
    StopKind.OPENING: (
        "the ledger was opened again, and not every copy is known to hold that",
        "run `numbering open-ledger` again",
    ),
}
ACCEPTABLE = tuple(kind for kind in StopKind if kind not in _ELSEWHERE)

_ACCEPT = "numbering resume --accept {kind} --reason …"
_CLOSED = "the ledger is closed, and nothing is written after that: restore it from a copy that holds LedgerClosed"
_FENCED = "every sequence then skips a margin of values, so that no number is issued again"


def judge(stops: Sequence[Stop], evidence: Evidence) -> list[Judgement]:
    """Judges each stop. Nothing can be said of the others while one says that this is no ledger to write to."""
    hard = [stop for stop in stops if stop.kind in _ELSEWHERE]
    return [_judged(stop, hard, evidence) for stop in stops]


def _judged(stop: Stop, hard: Sequence[Stop], evidence: Evidence) -> Judgement:
    if stop.kind in _ELSEWHERE:
        return Judgement(stop, Way.OTHER, *_ELSEWHERE[stop.kind])
    if any(each.kind in NOT_ITS_OWN for each in hard):
        return Judgement(stop, Way.OTHER, "nothing can be said of this database", f"first end {hard[0].kind.value}")
    found = _of_kind(stop, evidence)
    if found.way is not Way.ACCEPT:
        return found
    if hard:
        return _other(found, f"first end {hard[0].kind.value}")
    return _other(found, _CLOSED) if evidence.is_closed else found


def _other(found: Judgement, needs: str) -> Judgement:
    return Judgement(found.stop, Way.OTHER, found.found, needs)


def _of_kind(stop: Stop, evidence: Evidence) -> Judgement:
    match stop.kind:
        case StopKind.EARLIER_BUILD:
            return _of_text(stop)
        case StopKind.LATER_BUILD:
            other = "run `numbering resume` of the build that wrote it"
            when = f"{other}; or, if you know what it says and that it is settled"
            return _accept(stop, "this build does not know what it says", when)
        case StopKind.DATED_AHEAD:
            return _dated_ahead(stop, evidence)
        case StopKind.MIRROR_SUPERSEDED:
            return _superseded(stop, evidence)
        case (
            StopKind.LOG_FORKED
            | StopKind.LOG_BEHIND
            | StopKind.ARCHIVE_FORKED
            | StopKind.ARCHIVE_AHEAD
            | StopKind.MIRROR_FORKED
            | StopKind.MIRROR_AHEAD
        ):
            return _of_event(stop, evidence)
        case StopKind.MOVED | StopKind.RESTORING | StopKind.COPY | StopKind.OPENING:
            raise AssertionError(f"{stop.kind} was judged before")
        case _:
            assert_never(stop.kind)


def _accept(stop: Stop, found: str, when: str, *, is_fenced: bool = False) -> Judgement:
    command = f"{when}: `{_ACCEPT.format(kind=stop.kind.value)}`"
    needs = f"{command}; {_FENCED}" if is_fenced else command
    return Judgement(stop, Way.ACCEPT, found, needs, is_fenced)


def _of_text(stop: Stop) -> Judgement:
    """Judges a text that stands in the head without a row, as earlier builds write it, and operators by hand."""
    if read_text(stop.detail) is not None:
        return Judgement(stop, Way.OTHER, "an earlier build wrote it", "run `numbering migrate`, which reads it")
    return _accept(stop, "an operator, or an earlier build, wrote this text; it names no event", "if it is settled")


def _of_event(stop: Stop, evidence: Evidence) -> Judgement:
    """Judges a stop that names the event which the log must hold, or should: some of earlier builds name none."""
    missing = evidence.missing.get(stop)
    if stop.hash is None:
        missing = "the reason names no event that could be looked for"
    if missing is None:
        return _of_event_that_is_there(stop, evidence)
    if evidence.archive and evidence.archive.trouble is not None:
        return Judgement(stop, Way.OTHER, f"{missing}; {evidence.archive.trouble}", evidence.archive.advice)
    mirror = evidence.mirror
    if mirror and mirror.verdict is None:  # it may hold what is missing
        return Judgement(stop, Way.OTHER, f"{missing}; {mirror.trouble}", mirror.advice)
    if mirror and mirror.verdict is Verdict.SUPERSEDED:
        return Judgement(stop, Way.OTHER, f"{missing}; {mirror.trouble}", mirror.advice)
    if mirror and mirror.verdict is Verdict.AHEAD:
        return _accept(
            stop,
            f"{missing}; {mirror.trouble}",
            "run `numbering mirror adopt`, which loses nothing; or, to give up what the mirror holds",
            is_fenced=True,
        )
    return _accept(
        stop,
        missing,
        "is this an older copy, started by mistake? Then stop it, and use the right one. Is a copy whole that holds "
        "more? Then restore from it. Otherwise accept that events are lost",
        is_fenced=True,
    )


def _of_event_that_is_there(stop: Stop, evidence: Evidence) -> Judgement:
    archive, mirror = evidence.archive, evidence.mirror
    if archive and archive.trouble is not None:
        return Judgement(stop, Way.OTHER, f"the log holds its event again, but {archive.trouble}", archive.advice)
    if mirror is None or mirror.trouble is None:
        return Judgement(stop, Way.OVER, "the log holds its event, and goes on from it")
    found = f"the log holds its event again, but {mirror.trouble}"
    if mirror.verdict in (Verdict.AHEAD, Verdict.FORKED):  # after a fence that mirror counts no more
        return _accept(stop, found, f"{mirror.advice}; or, to give up what the mirror holds", is_fenced=True)
    return Judgement(stop, Way.OTHER, found, mirror.advice)


def _superseded(stop: Stop, evidence: Evidence) -> Judgement:
    mirror = evidence.mirror
    if mirror and mirror.trouble is not None:
        return Judgement(stop, Way.OTHER, mirror.trouble, mirror.advice)
    is_there = "no mirror of a later generation is there now" if mirror else "no mirror is configured to look at"
    when = "use the ledger that was restored. If there is none, or it is given up"
    return _accept(stop, is_there, when, is_fenced=True)


def _dated_ahead(stop: Stop, evidence: Evidence) -> Judgement:
    last = instant_text(evidence.head.recorded_at)
    if evidence.clock_doubt is not None:
        return Judgement(stop, Way.OTHER, evidence.clock_doubt, "set the clocks right first, with NTP")
    if evidence.now >= evidence.head.recorded_at:
        return Judgement(stop, Way.OVER, f"the clocks have caught up with the last event, which is of {last}")
    found = f"the last event is of {last}, and the clocks say {instant_text(evidence.now)}"
    command = f"`numbering restore --from THIS_DATABASE --to {evidence.before} --into …`"
    restore = f"or restore to before it, {command}; " if evidence.before else ""
    return _accept(
        stop,
        found,
        f"wait until {last}; {restore}or go on at the time of the last event, at which "
        "every event is dated until the clocks have caught up, and nothing expires before",
    )
