"""Decide a batch of commands on a branch of the state, and write their events as the rows that follow the head.

Pure but for the log line about a bug. The branch and the rows are kept or dropped together.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from ledger.codec import Entry, canonical, encode
from ledger.domain.commands import Decidable, Envelope, Expire, WithOriginal
from ledger.domain.decide import decide
from ledger.domain.decisions.formats import unwritable
from ledger.domain.events import Event, FormatRaised
from ledger.domain.evolve import evolve
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.rejection import Code, Hint, Rejection
from ledger.domain.series import Series
from ledger.domain.state import State
from ledger.fold import Fold
from ledger.judgement import Judge
from ledger.ports import Fault, Record
from ledger.writer.waiting import Answer, Outcome, Together, Waiting

__all__ = ["Batch", "IllegalEvent", "entries_by_command", "key_reused"]

_log = logging.getLogger(__name__)

ACTOR = "ledger"
FIRST_COMMAND = sha256(canonical([ACTOR, "raise format"])).digest()  # by which an empty ledger gets its format


def entries_by_command(entries: Iterable[Entry]) -> dict[bytes, tuple[Entry, ...]]:
    found: dict[bytes, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.envelope.command_id, []).append(entry)
    return {command_id: tuple(some) for command_id, some in found.items()}


class _Bug(Exception):
    """A command made our own code fail half way: the branch is spoilt, the command fails alone."""

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting


class _BadExpiry(Exception):
    """The sweep made our own code fail: the branch is spoilt, and this reservation is left as it is."""

    def __init__(self, token: str) -> None:
        self.token = token


class IllegalEvent(AssertionError):
    """The audit rules refuse what was decided: a bug in one of the two, and nothing of the command is written."""

    def __init__(self, entry: Entry, flaw: str) -> None:
        super().__init__(f"{type(entry.event).__name__} at position {entry.position} would not verify: {flaw}")


class _Progress(NamedTuple):
    """How far a batch has come."""

    branch: State
    size: int
    last_hash: bytes
    position: int
    recorded: int


class Batch:
    """What a transaction will do: `records` to append, with what they say, and an answer for each decided command.

    `left` are the drawn commands for which the batch had no room. With `self_check`, the audit rules judge each command
    as `numbering verify` would: what they refuse fails like any other bug. A `doubt` about the clocks answers every
    command that the log does not hold already, and nothing expires.
    """

    def __init__(
        self, fold: Fold, now: int, max_bytes: int, *, self_check: bool = True, doubt: Fault | None = None
    ) -> None:
        self._fold = fold
        self._max_bytes = max_bytes
        self._self_check = self_check
        self._doubt = doubt
        self.now = now
        self.clear()

    def clear(self) -> None:
        self._branch = self._fold.state.branch()
        self._judge = Judge() if self._self_check else None
        self._bytes = 0
        self._hash = self._fold.hash
        self._position = self._fold.position
        self.records: list[Record] = []
        self.entries: list[Entry] = []
        self.answers: list[tuple[Waiting, Answer]] = []
        self.left: list[Waiting] = []

    def decide(self, drawn: Sequence[Waiting], known: Mapping[bytes, tuple[Entry, ...]]) -> None:
        """Decide the commands in order, each on the state that the one before left.

        `known` holds the events of those that the log has already.
        """
        failed: dict[int, Waiting] = {}
        while True:
            try:
                self._decide([waiting for waiting in drawn if id(waiting) not in failed], dict(known))
                break
            except _Bug as bug:
                _log.exception("a %s failed", _name(bug.waiting.command))
                failed[id(bug.waiting)] = bug.waiting
                self.clear()
        self.answers += [(waiting, _internal_error()) for waiting in failed.values()]

    def expire(self, limit: int) -> int:
        """Expire up to `limit` reservations that are due; say how many were. One that our own code fails on stays."""
        if self._branch.closed is not None:
            return 0  # nothing is written, and so nothing is due
        due = [] if self._doubt else list(self._fold.state.due(self.now, limit))
        while True:
            before = self._begin_trial()
            try:
                for token in due:
                    self._expire(token)
            except _BadExpiry as bug:
                _log.exception("reservation %s was not expired", bug.token)
                self._end_trial(before, keep=False)
                due.remove(bug.token)
            else:
                self._end_trial(before, keep=True)
                return len(due)

    def _expire(self, token: str) -> None:
        try:
            events = decide(self._branch, Expire(token), self.now)
            if not isinstance(events, Rejection) and events:  # none when this batch has just closed it
                command_id = sha256(canonical([ACTOR, "expire", token])).digest()
                self._record(events, Envelope(command_id, ACTOR))
        except Exception as error:
            raise _BadExpiry(token) from error

    def keep(self) -> None:
        """Fold the batch, which has been committed, into the state."""
        self._branch.merge()
        if self.records:
            self._fold.advance(self.records[-1])

    def _decide(self, drawn: Sequence[Waiting], known: dict[bytes, tuple[Entry, ...]]) -> None:
        for index, waiting in enumerate(drawn):
            if self._bytes >= self._max_bytes:
                self.left = list(drawn[index:])
                return
            try:
                self.answers.append((waiting, self._answer(waiting, known)))
            except Exception as error:
                raise _Bug(waiting) from error

    def _answer(self, waiting: Waiting, known: dict[bytes, tuple[Entry, ...]]) -> Answer:
        if isinstance(waiting.command, Together):
            return self._answer_together(waiting, waiting.command, known)
        return self._answer_one(waiting, waiting.command, waiting.envelope, known)

    def _answer_together(self, waiting: Waiting, together: Together, known: dict[bytes, tuple[Entry, ...]]) -> Answer:
        """Answer commands that are carried out all or none: with the outcome of each, or the first rejection."""
        if any(envelope.command_id in known for envelope in _of_request(waiting, together)):
            return _all_repeated(waiting, together, known)
        before = self._begin_trial()
        known_here, parts = dict(known), []
        for index, (command, envelope) in enumerate(together.parts):
            answer = self._answer_one(waiting, command, envelope, known_here)
            if not isinstance(answer, Outcome):
                self._end_trial(before, keep=False)
                return answer.of_all(index) if isinstance(answer, Rejection) else answer
            parts.append(answer)
        self._end_trial(before, keep=True)
        known.update(known_here)
        return _whole(parts, self._position)

    def _begin_trial(self) -> "_Progress":
        """Go on upon a branch of the branch, until `_end_trial` keeps or drops all that was recorded since."""
        before = _Progress(self._branch, self._bytes, self._hash, self._position, len(self.records))
        self._branch = self._branch.branch()
        return before

    def _end_trial(self, before: "_Progress", *, keep: bool) -> None:
        if keep:
            self._branch.merge()
            self._branch = before.branch
        else:
            self._branch, self._bytes, self._hash, self._position, count = before
            del self.records[count:], self.entries[count:]

    def _answer_one(
        self, waiting: Waiting, command: Decidable, envelope: Envelope, known: dict[bytes, tuple[Entry, ...]]
    ) -> Answer:
        earlier = known.get(envelope.command_id)
        if earlier is not None:
            return _repeated(earlier, waiting, envelope)
        if self._doubt is not None:
            return self._doubt.again()
        events = decide(self._branch, command, self.now)
        if isinstance(events, Rejection):
            return events
        format = self._branch.format if self._position else NEWEST_FORMAT
        flaw = unwritable(events, format)
        if flaw:
            return flaw
        found = _series_of(command, self._branch)
        entries = self._record(events, envelope)
        if envelope.idempotency_key is not None and entries:
            known[envelope.command_id] = entries
        return Outcome(entries, self._position, found=found)

    def _record(self, events: Sequence[Event], envelope: Envelope) -> tuple[Entry, ...]:
        if not self._position and events and type(events[0]) is not FormatRaised:
            # A ledger begins at the newest format. That is of no command, and in nobody's answer.
            self._record([FormatRaised(NEWEST_FORMAT)], Envelope(FIRST_COMMAND, ACTOR))
        if judge := self._judge:
            judge.begin(self._branch)
        entries = []
        for ordinal, event in enumerate(events):
            self._position += 1
            entry = Entry(self._position, event, envelope, ordinal, self.now)
            if judge and (flaw := judge.judge(entry)):
                raise self._illegal(entry, flaw)
            record = encode(entry, self._hash)
            evolve(self._branch, event, self.now)
            self._hash = record.hash
            self._bytes += len(record.body)
            self.records.append(record)
            entries.append(entry)
        if judge and entries and (flaw := judge.finish()):
            raise self._illegal(entries[-1], flaw)
        self.entries += entries
        return tuple(entries)

    def _illegal(self, entry: Entry, flaw: str) -> IllegalEvent:
        self._judge = Judge()  # what the other was told of this command is not true of the next
        return IllegalEvent(entry, flaw)


def _name(of: Decidable | Together) -> str:
    return type(of.command if isinstance(of, WithOriginal) else of).__name__


def _series_of(command: Decidable, state: State) -> tuple[tuple[Series, bool], ...]:
    """Give the series that a command may leave as they are, which no event of it would tell."""
    if not command.told:  # nearly all
        return ()
    return tuple((state.series_now(code), state.is_retired(code)) for code in command.told if state.versions(code))


def _of_request(waiting: Waiting, together: Together) -> list[Envelope]:
    """Give the envelopes of the commands that have no idempotency key of their own."""
    fingerprint = waiting.envelope.fingerprint
    return [envelope for _, envelope in together.parts if envelope.fingerprint == fingerprint]


def _all_repeated(waiting: Waiting, together: Together, known: Mapping[bytes, tuple[Entry, ...]]) -> Answer:
    """Answer what was carried out before, and so all of it: what left no event changed nothing then nor now."""
    mine = [known[envelope.command_id] for envelope in _of_request(waiting, together) if envelope.command_id in known]
    position, replayed = mine[0][0].position - 1, not waiting.has_attempted(mine[0])
    parts: list[Outcome] = []
    for index, (_, envelope) in enumerate(together.parts):
        earlier = known.get(envelope.command_id)
        answer = _repeated(earlier, waiting, envelope) if earlier else Outcome((), position, replayed)
        if not isinstance(answer, Outcome):
            return answer.of_all(index) if isinstance(answer, Rejection) else answer
        if earlier and earlier[0].position == position + 1:
            position = answer.position
        parts.append(answer)
    return _whole(parts, position)


def _whole(parts: Sequence[Outcome], position: int) -> Outcome:
    entries = tuple(entry for part in parts if not part.replayed for entry in part.entries)
    return Outcome(entries, position, all(part.replayed for part in parts), tuple(parts))


def _repeated(earlier: tuple[Entry, ...], waiting: Waiting, envelope: Envelope) -> Answer:
    """Answer a command whose events the log holds: a repetition, or our own whose COMMIT was in doubt."""
    if earlier[0].envelope.fingerprint != envelope.fingerprint:
        return key_reused(earlier[0], envelope)
    return Outcome(earlier, earlier[-1].position, replayed=not waiting.has_attempted(earlier))


def key_reused(earlier: Entry, envelope: Envelope) -> Rejection:
    return Rejection(
        Code.IDEMPOTENCY_KEY_REUSED,
        f"idempotency key {envelope.idempotency_key!r} was used at position {earlier.position} for another request; "
        "use a new key for a new request",
    )


def _internal_error() -> Fault:
    return Fault(Code.INTERNAL_ERROR, "the service failed on this command, which had no effect", hint=Hint.SEE_LOG)
