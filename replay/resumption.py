"""Letting processes write again: stops that are over are lifted, and those that an operator accepts, with an event.

Everything is written under the head's lock, and only if what was judged is still true there. The log does not grow
while writing is stopped. It may be interrupted anywhere, and run again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ledger.codec import Entry, decode, encode
from ledger.continuity import Seen, found_break, lift_ended
from ledger.domain.commands import AcceptStops, Decidable, Envelope, Fence, RaiseFormat
from ledger.domain.decide import decide
from ledger.domain.events import CLOSING_STREAM, LedgerClosed, StopAccepted
from ledger.domain.evolve import evolve
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.rejection import Code, Rejection
from ledger.domain.state import State
from ledger.fold import Fold
from ledger.judgement import Judge
from ledger.log import MAX_POSITION
from ledger.ports import Events, Fault, Head, Ids, OutcomeUnknown, Record, Stop, StopKind, Store, Transaction, reasons
from ledger.writer.clocks import Clocks
from projections.mirror.comparison import compare
from projections.mirror.stream import Stream, StreamFault
from replay.guard import standing
from replay.sources import apart
from replay.stops import CopyReport, Evidence, Judgement, Way, judge

__all__ = ["AcceptedStops", "Beside", "Report", "accept", "examined", "judged", "lift_over"]


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside the log: its mirror, its archive, and this process's clocks. None where none is configured."""

    clocks: Clocks
    stream: Stream | None = None
    archive: Path | None = None


@dataclass(frozen=True, slots=True)
class AcceptedStops:
    """What an operator accepts: exactly these stops, by whom, and why; `fence` where events may be lost."""

    stops: Sequence[Stop]
    actor: str
    reason: str
    fence: Fence | None = None


@dataclass(slots=True)
class _Compared:
    """The reports of the copies, and the last event of each that agrees with the log."""

    mirror: CopyReport | None = None
    archive: CopyReport | None = None
    last: list[Seen] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """A judgement of each stop, and `notes` on what else may keep processes from writing, each a sentence."""

    judgements: Sequence[Judgement]
    notes: Sequence[str]


async def examined(store: Store, beside: Beside) -> Report:
    """Judge every reason for which writing is stopped, without the lock; nothing is written."""
    stops, evidence, _ = await _gathered(store, beside)
    return Report(judge(stops, evidence), list(_notes(evidence)))


async def judged(store: Store, beside: Beside) -> Sequence[Judgement]:
    return (await examined(store, beside)).judgements


def _notes(evidence: Evidence) -> Iterator[str]:
    for copy in evidence.troubled:
        yield f"{copy.trouble}; {copy.advice}"
    if evidence.clock_doubt is not None:
        yield f"{evidence.clock_doubt}; set the wrong clock right, with NTP"
    if evidence.is_closed:
        yield "the ledger is closed, and nothing is written until it is opened; `numbering open-ledger` opens it"


async def lift_over(store: Store, beside: Beside) -> list[Stop]:
    """Lift the stops that are over, under the lock, and give them; none while a copy does not agree with the log."""
    stops, evidence, compared = await _gathered(store, beside)
    over = [each.stop for each in judge(stops, evidence) if each.way is Way.OVER]
    if not over:
        return []
    before = beside.clocks.instant()
    transaction = await store.begin()
    try:
        lifted = [*await lift_ended(transaction, compared.last)]
        doubt = beside.clocks.doubt(before, transaction.now)
        dated = [stop for stop in over if stop.kind is StopKind.DATED_AHEAD]
        if dated and doubt is None and transaction.now >= transaction.head.recorded_at:
            await transaction.lift(lambda stop: stop.kind is StopKind.DATED_AHEAD)
            lifted += dated
        if lifted:
            await _commit(transaction)
        return lifted
    finally:
        await transaction.rollback()


async def accept(store: Store, fold: Fold, acceptance: AcceptedStops, beside: Beside, ids: Ids) -> Head:
    """Write what is accepted behind the fold, which reaches to the head, and lift it; gives the head behind that.

    LEDGER_STOPPED when other stops stand than those that were judged, HISTORIES_DIFFER when the log is another one by
    now, a Fault when the clocks may not date events, or the database fails.
    """
    before = beside.clocks.instant()
    transaction = await store.begin()
    try:
        head = transaction.head
        _check_same(await transaction.stops(), acceptance.stops)
        if (head.ledger_id, head.position, head.hash) != (fold.ledger_id, fold.position, fold.hash):
            raise apart("somebody else wrote to the database meanwhile: run it again")
        doubt = beside.clocks.doubt(before, transaction.now)
        if doubt is not None:
            raise doubt
        now = max(transaction.now, head.recorded_at)
        await transaction.append(_records(fold.state.twin(), head, acceptance, ids, now))
        await transaction.lift(lambda stop: any(stop.is_as(each) for each in acceptance.stops))
        await _commit(transaction)
        return transaction.head
    finally:
        await transaction.rollback()


def _check_same(standing: Sequence[Stop], accepted: Sequence[Stop]) -> None:
    new = [stop for stop in standing if not any(stop.is_as(each) for each in accepted)]
    if new:
        detail = f"writing is stopped for another reason by now, run it again: {reasons(new)}"
        raise Rejection(Code.LEDGER_STOPPED, detail)
    if len(standing) < len(accepted):
        raise Rejection(Code.LEDGER_STOPPED, "a reason to stop writing was lifted meanwhile: run it again")


def _commands(state: State, acceptance: AcceptedStops) -> list[Decidable]:
    """Give the commands, in order: a fence stands first, because the log may end within a command."""
    raising = [RaiseFormat(NEWEST_FORMAT, acceptance.reason)] if state.format < StopAccepted.format else []
    accepting = AcceptStops(tuple(map(_accepted, acceptance.stops)), acceptance.reason)
    fence = acceptance.fence
    if fence is None:
        return [*raising, accepting]
    return [*raising, fence, accepting] if fence.margins else [fence, *raising, accepting]


def _accepted(stop: Stop) -> StopAccepted:
    hash = None if stop.hash is None else stop.hash.hex()
    return StopAccepted(stop.kind.value, stop.detail, stop.position if hash else None, hash)


def _records(state: State, head: Head, acceptance: AcceptedStops, ids: Ids, now: int) -> list[Record]:
    """Give the rows of the commands' events, which follow the head; folds them into `state`, and audits each."""
    records: list[Record] = []
    position, previous, judge = head.position, head.hash, Judge()
    for command in _commands(state, acceptance):
        envelope = Envelope(ids.command_id(), acceptance.actor, acceptance.reason)
        events = decide(state, command, now)
        if isinstance(events, Rejection):
            raise events
        judge.begin(state)
        for ordinal, event in enumerate(events):
            position += 1
            entry = Entry(position, event, envelope, ordinal, now)
            flaw = judge.judge(entry)
            assert flaw is None, f"{type(event).__name__} would not verify: {flaw}"
            records.append(encode(entry, previous))
            previous = records[-1].hash
            evolve(state, event, now)
        flaw = judge.finish()
        assert flaw is None, f"{type(command).__name__} would not verify: {flaw}"
    return records


# What is known of the log and its copies


async def _gathered(store: Store, beside: Beside) -> tuple[Sequence[Stop], Evidence, _Compared]:
    stops = await store.stops()
    compared = await _compared(store, beside)
    before = beside.clocks.instant()
    head, now = await store.head_and_now()
    doubt = beside.clocks.doubt(before, now)
    is_dated = any(stop.kind is StopKind.DATED_AHEAD for stop in stops)
    evidence = Evidence(
        head,
        now,
        clock_doubt=doubt.happened if doubt else None,
        missing=await _missing(store, head, stops),
        before=await _last_until(store, now, head) if is_dated else 0,
        mirror=compared.mirror,
        archive=compared.archive,
        is_closed=await _is_closed(store),
    )
    return stops, evidence, compared


async def _missing(store: Store, head: Head, stops: Sequence[Stop]) -> dict[Stop, str]:
    """Say of each stop that names an event which the log does not hold, or not go on from, what it has instead."""
    found = {}
    for stop in stops:
        if stop.position is None or stop.hash is None:
            continue
        if head.position < stop.position:
            found[stop] = (
                f"the log ends at position {head.position}, and lacks what came after it, up to {stop.position}"
            )
        elif broken := await found_break(Seen(stop.position, stop.hash), head, store):
            found[stop] = str(broken).replace("this process has seen", "was seen")
    return found


async def _last_until(events: Events, time: int, head: Head) -> int:
    """Give the position of the last event that was recorded by a time; 0 where none was.

    The log's time never goes back, so each step leaves out half of the events.
    """
    low, high = 0, head.position
    while low < high:
        middle = (low + high + 1) // 2
        (record,) = await events.events_at([middle])
        low, high = (middle, high) if record.recorded_at <= time else (low, middle - 1)
    return low


async def _is_closed(events: Events) -> bool:
    last = await events.events_of_stream(CLOSING_STREAM, before=MAX_POSITION, limit=1)
    return bool(last) and isinstance(decode(last[0]).event, LedgerClosed)


async def _compared(store: Store, beside: Beside) -> _Compared:
    compared = _Compared()
    if beside.stream:
        compared.mirror = await _of_mirror(store, beside.stream, compared.last)
    if beside.archive:
        compared.archive = await _of_archive(store, beside.archive, compared.last)
    return compared


async def _of_mirror(store: Store, stream: Stream, last: list[Seen]) -> CopyReport:
    try:
        found = await compare(stream, store)
    except StreamFault as fault:
        trouble = f"the mirror cannot be looked at: {fault}"
        return CopyReport("mirror", trouble, "start Redis; if it is no more, leave it out of the settings")
    if found.forbids_writing:
        return CopyReport("mirror", found.detail, found.advice, found.verdict)
    if found.tail.hash:
        last.append(Seen(found.tail.position, found.tail.hash))
    return CopyReport("mirror", verdict=found.verdict)


async def _of_archive(store: Store, directory: Path, last: list[Seen]) -> CopyReport:
    try:
        found = await standing(store, directory)
    except Rejection as why:
        trouble = f"the archive cannot be compared: {why.detail}"
        return CopyReport("archive", trouble, "mount it; if it is no more, leave it out of the settings")
    if found.stop:
        advice = (
            f"restore from it: `numbering restore --from {directory} --into …`; or, to give up what it holds, archive "
            "to a new directory, name that as NUMBERING_ARCHIVE, and run this again"
        )
        return CopyReport("archive", f"the archive {found.stop.detail.removeprefix('the archive ')}", advice)
    if found.manifest.position:
        last.append(Seen(found.manifest.position, found.manifest.hash))
    return CopyReport("archive")


async def _commit(transaction: Transaction) -> None:
    try:
        await transaction.commit()
    except OutcomeUnknown as doubt:
        raise Fault(Code.OUTCOME_UNKNOWN, str(doubt), advice="run it again: it says what is left") from doubt
