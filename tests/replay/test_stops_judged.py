"""Each kind of stop, judged by what is known of the log, its copies and the clocks: pure, and a table of all kinds."""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ledger.continuity import NOT_ITS_OWN
from ledger.ports import Head, Stop, StopKind
from projections.mirror.comparison import Verdict
from replay.stops import ACCEPTABLE, CopyReport, Evidence, Judgement, Way, judge

HASH = bytes(range(32))
NOW = 1_800_000_000_000_000
HOUR = 3_600_000_000
LACKS = "the log ends at position 8, and lacks what came after it, up to 9"

MIRROR = CopyReport("mirror", verdict=Verdict.FOLLOWS)
AWAY = CopyReport("mirror", "the mirror cannot be looked at: refused", "start Redis")
AHEAD = CopyReport("mirror", "the mirror goes on to position 9", "adopt", Verdict.AHEAD)
FORKED = CopyReport("mirror", "the mirror is no part of this log", "restore", Verdict.FORKED)
SUPERSEDED = CopyReport("mirror", "the ledger was restored since", "serve the restored one", Verdict.SUPERSEDED)
ARCHIVE = CopyReport("archive")
APART = CopyReport("archive", "the archive goes on to position 9", "restore from it")

NAMES_EVENT = [
    StopKind.LOG_FORKED,
    StopKind.LOG_BEHIND,
    StopKind.ARCHIVE_FORKED,
    StopKind.ARCHIVE_AHEAD,
    StopKind.MIRROR_FORKED,
    StopKind.MIRROR_AHEAD,
]


def stop(kind: StopKind, *, named: bool = True, detail: str = "so it was found") -> Stop:
    is_named = named and kind in NAMES_EVENT
    return Stop(kind, detail, 9 if is_named else None, HASH if is_named else None)


def evidence(*missing: Stop, dated: int = NOW - HOUR, **known: Any) -> Evidence:
    head = Head(8, HASH, dated, "ledger", None, 1)
    return replace(Evidence(head, NOW, missing=dict.fromkeys(missing, LACKS)), **known)


def one(of: Stop, known: Evidence) -> Judgement:
    (found,) = judge([of], known)
    return found


@dataclass(frozen=True)
class Case:
    """A stop of a kind, whose event `is_there` or is missing; how it ends, and words of what is found and needed."""

    kind: StopKind
    way: Way
    words: str
    is_there: bool = False
    mirror: CopyReport | None = None
    archive: CopyReport | None = None
    is_fenced: bool = False
    named: bool = True

    @property
    def judged(self) -> Judgement:
        about = stop(self.kind, named=self.named)
        missing = [] if self.is_there or about.hash is None else [about]
        return one(about, evidence(*missing, mirror=self.mirror, archive=self.archive))


CASES = [
    Case(StopKind.MOVED, Way.OTHER, "use the other database"),
    Case(StopKind.RESTORING, Way.OTHER, "run the same `numbering restore` again"),
    Case(StopKind.COPY, Way.OTHER, "use the ledger itself"),
    Case(StopKind.OPENING, Way.OTHER, "`numbering open-ledger` again"),
    Case(StopKind.LATER_BUILD, Way.ACCEPT, "of the build that wrote it"),
    Case(StopKind.EARLIER_BUILD, Way.ACCEPT, "if it is settled"),
    Case(StopKind.DATED_AHEAD, Way.OVER, "have caught up"),
    Case(StopKind.MIRROR_SUPERSEDED, Way.OTHER, "serve the restored one", mirror=SUPERSEDED),
    Case(StopKind.MIRROR_SUPERSEDED, Way.OTHER, "start Redis", mirror=AWAY),
    Case(StopKind.MIRROR_SUPERSEDED, Way.ACCEPT, "no mirror is configured", is_fenced=True),
    Case(StopKind.MIRROR_SUPERSEDED, Way.ACCEPT, "no mirror of a later generation", mirror=MIRROR, is_fenced=True),
    *(
        case
        for kind in NAMES_EVENT
        for case in (
            Case(kind, Way.OVER, "holds its event, and goes on", is_there=True),
            Case(kind, Way.OVER, "holds its event, and goes on", is_there=True, mirror=MIRROR, archive=ARCHIVE),
            Case(kind, Way.OTHER, "refused start Redis", is_there=True, mirror=AWAY),
            Case(kind, Way.ACCEPT, "goes on to position 9 adopt", is_there=True, mirror=AHEAD, is_fenced=True),
            Case(kind, Way.ACCEPT, "is no part of this log", is_there=True, mirror=FORKED, is_fenced=True),
            Case(kind, Way.OTHER, "serve the restored one", is_there=True, mirror=SUPERSEDED),
            Case(kind, Way.OTHER, "restore from it", is_there=True, mirror=MIRROR, archive=APART),
            Case(kind, Way.ACCEPT, "accept that events are lost", is_fenced=True),
            Case(kind, Way.ACCEPT, "accept that events are lost", is_fenced=True, mirror=MIRROR, archive=ARCHIVE),
            Case(kind, Way.ACCEPT, "accept that events are lost", is_fenced=True, mirror=FORKED),
            Case(kind, Way.ACCEPT, "names no event", is_fenced=True, named=False),
            Case(kind, Way.ACCEPT, "run `numbering mirror adopt`", is_fenced=True, mirror=AHEAD),
            Case(kind, Way.OTHER, "start Redis", mirror=AWAY),
            Case(kind, Way.OTHER, "serve the restored one", mirror=SUPERSEDED),
            Case(kind, Way.OTHER, "restore from it", archive=APART),
            Case(kind, Way.OTHER, "restore from it", mirror=AHEAD, archive=APART),
        )
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind} {case.way}: {case.words}")
def test_each_kind_is_judged(case: Case) -> None:
    found = case.judged
    assert (found.way, found.is_fenced) == (case.way, case.is_fenced)
    assert case.words in f"{found.found} {found.needs}"
    assert bool(found.needs) == (found.way is not Way.OVER)
    assert (f"--accept {case.kind.value} --reason" in found.needs) == (found.way is Way.ACCEPT)
    assert ("no number is issued again" in found.needs) == found.is_fenced


def test_the_table_has_every_kind_and_every_way_of_it() -> None:
    assert {case.kind for case in CASES} == set(StopKind)
    assert set(ACCEPTABLE) == {case.kind for case in CASES if case.way is Way.ACCEPT} | {StopKind.DATED_AHEAD}
    assert not NOT_ITS_OWN & set(ACCEPTABLE)
    assert StopKind.OPENING not in ACCEPTABLE


@pytest.mark.parametrize(("hard", "kind"), [*product([*sorted(NOT_ITS_OWN), StopKind.OPENING], ACCEPTABLE)])
def test_nothing_is_accepted_beside_what_nobody_accepts(hard: StopKind, kind: StopKind) -> None:
    about = stop(kind)
    ahead = NOW + HOUR if kind is StopKind.DATED_AHEAD else NOW - HOUR
    first, found = judge([stop(hard), about], evidence(about, dated=ahead))
    assert first.way is found.way is Way.OTHER
    assert hard.value in found.needs


@pytest.mark.parametrize("kind", NAMES_EVENT)
def test_nothing_of_a_database_that_is_not_the_ledger_is_over(kind: StopKind) -> None:
    assert judge([stop(StopKind.MOVED), stop(kind)], evidence())[1].way is Way.OTHER
    assert judge([stop(StopKind.OPENING), stop(kind)], evidence())[1].way is Way.OVER


@pytest.mark.parametrize("kind", ACCEPTABLE)
def test_behind_a_closed_ledger_nothing_is_accepted(kind: StopKind) -> None:
    about = stop(kind)
    ahead = NOW + HOUR if kind is StopKind.DATED_AHEAD else NOW - HOUR
    found = one(about, evidence(about, dated=ahead, is_closed=True))
    assert (found.way, "LedgerClosed" in found.needs) == (Way.OTHER, True)


def test_a_log_that_is_dated_ahead() -> None:
    about = stop(StopKind.DATED_AHEAD)
    found = one(about, evidence(dated=NOW + HOUR, before=5))
    assert (found.way, found.is_fenced) == (Way.ACCEPT, False)
    assert "--to 5 --into" in found.needs
    assert "wait until 2027-01-15T09:00:00" in found.needs
    found = one(about, evidence(dated=NOW + HOUR, clock_doubt="the clocks differ"))
    assert (found.way, found.found) == (Way.OTHER, "the clocks differ")
    assert one(about, evidence(dated=NOW - HOUR, clock_doubt="the clocks differ")).way is Way.OTHER
    assert "--to" not in one(about, evidence(dated=NOW + HOUR)).needs


def test_a_text_that_an_earlier_build_wrote_is_read_by_migrate() -> None:
    words = "the log ends at position 8, but this process has seen 9: an older copy was put there"
    about = stop(StopKind.EARLIER_BUILD, detail=f"{words} (seen: position 9, hash {HASH.hex()})")
    found = one(about, evidence())
    assert (found.way, found.needs) == (Way.OTHER, "run `numbering migrate`, which reads it")


def test_the_operator_s_page_names_each_kind() -> None:
    text = Path("docs/recovery.md").read_text(encoding="utf-8")
    assert [kind for kind in StopKind if f"| `{kind.value}` |" not in text] == []
