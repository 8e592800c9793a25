"""Judge a log, event by event: each under the fold of those before it, and each as a part of its command.

An auditor judges a whole log so (`take`), and the writer each command that it is about to commit (`judge`, `finish`).

No number is given out twice in a log without a flaw (`ledger.domain.legality` says why). Memory grows with what the
fold holds, not with the number of events. So it is not asked here whether a command's id comes again later on: the
unique key of the database holds that.
"""

from typing import assert_never

from ledger.codec import Entry
from ledger.domain.events import (
    FormatRaised,
    LedgerClosed,
    LedgerOpened,
    NumberEvent,
    NumbersConfirmed,
    NumbersImported,
    NumbersReserved,
    NumberVoided,
    PeriodOpened,
    PeriodReopened,
    ReservationEvent,
    ReservationFenced,
    RestoreFenced,
    SequenceEvent,
    SeriesAmended,
    SeriesDefined,
    SeriesEvent,
    SeriesReopened,
    StopAccepted,
)
from ledger.domain.evolve import evolve
from ledger.domain.judgements.numbers import begins, is_replacement
from ledger.domain.judgements.series import unproved
from ledger.domain.legality import flaw
from ledger.domain.state import State

__all__ = ["Judge"]


class Judge:
    """`state` is the log folded so far. After a flaw, `position` says of which event it is, and nothing more is taken.

    That may be an event of the command before: what is promised by one is asked for when the command ends.
    """

    __slots__ = (
        "_defined", "_fence", "_fenced", "_last", "_reopened", "_taken_over", "_voided", "begun", "position", "state",
    )  # fmt: skip

    def __init__(self, state: State | None = None) -> None:
        self.state = State() if state is None else state
        self.position = 0
        self._last: Entry | None = None
        self.begun = 1  # where the command that is told now begins
        self._fence = b""  # the command of the last one
        # Of the command that is told now:
        self._defined: list[tuple[int, str]] = []  # positions and series, to be proved together
        self._voided: list[tuple[int, NumberVoided]] = []  # those whose replacement is to come
        self._taken_over: set[str] = set()  # sequences that an import began
        self._reopened = 0  # the position at which a period or a series was reopened, which owes nothing to a restore
        self._fenced = 0  # the position of a fence, which is to pass over something in every sequence

    def take(self, entry: Entry) -> str | None:
        """Fold the event that follows, or say what is wrong with it, or with the command that ends before it."""
        try:
            found = self.judge(entry)
            if found is None:
                evolve(self.state, entry.event, entry.recorded_at)
        except Exception as error:  # what nobody wrote by this code may have any form, and is a finding, not a bug
            return f"it cannot be judged: {error!r}"
        return found

    def begin(self, state: State) -> None:
        """Judge another command, on a state that the caller folds; the one before was finished."""
        self.state, self._last = state, None

    def finish(self, *, is_cut: bool = False) -> str | None:
        """Say what is wrong with the last command, when the log ends, or a restore cuts it there.

        A cut may go through a command: what a void or a fence promised may be lost.
        """
        if is_cut:
            self._voided, self._fenced, self._reopened = [], 0, 0
        if self._defined or self._voided or self._taken_over or self._fenced or self._reopened:
            return self._flaw_of_end()
        return None

    def judge(self, entry: Entry) -> str | None:
        """Say what is wrong with the event that follows, which the caller folds into `state`."""
        if entry.ordinal == 0 and self._last is not None:
            found = self.finish(is_cut=isinstance(entry.event, RestoreFenced))
            if found:
                return found
            self.begun = entry.position
        self.position = entry.position
        last, self._last = self._last, entry
        found = _flaw_of_next(last, entry) if last is not None or entry.ordinal else None
        found = found or flaw(self.state, entry.event, entry.recorded_at)
        if found or (type(entry.event) is NumbersReserved and not entry.event.numbering.date_is_derived):
            return found  # nearly half of all, which promise nothing
        return self._flaw_of_part(entry)

    def _flaw_of_part(self, entry: Entry) -> str | None:
        """Note what an event promises of its command, and what it keeps."""
        match entry.event:
            case NumbersReserved() as event:
                if event.numbering.date_is_derived and not self._is_of_derived(event):
                    return f"the date of reservation {event.token} was given, and is said to be derived"
            case NumbersConfirmed() as event:
                if self._voided:
                    self._voided = [each for each in self._voided if not is_replacement(self.state, each[1], event)]
            case SeriesDefined(series=series) | SeriesAmended(series=series):
                self._defined.append((entry.position, series.code))
            case NumberVoided() as event:
                if event.replacement:
                    self._voided.append((entry.position, event))
            case NumbersImported() as event:
                return self._flaw_of_import(event)
            case RestoreFenced(cut_position=cut):
                self._fence, self._fenced = entry.envelope.command_id, entry.position
                if cut >= entry.position:
                    return f"it says that position {cut}, which is to come, was restored"
            case ReservationFenced(token=token):
                if entry.envelope.command_id != self._fence:
                    return f"reservation {token} is ended by no restore"
            case PeriodReopened() | SeriesReopened():
                self._reopened = entry.position
            case ReservationEvent() | NumberEvent() | SequenceEvent() | SeriesEvent() | PeriodOpened() | FormatRaised():
                pass  # promises nothing
            case LedgerClosed() | LedgerOpened() | StopAccepted():
                pass
            case _:
                assert_never(entry.event)
        return None

    def _is_of_derived(self, event: NumbersReserved) -> bool:
        """Say whether a number takes the place of one with the same date, which nobody had given either."""
        olds = (each.numbering for _, each in self._voided)
        return any(old.date_is_derived and old.document_date == event.numbering.document_date for old in olds)

    def _flaw_of_import(self, event: NumbersImported) -> str | None:
        if begins(self.state, event):
            self._taken_over.add(event.sequence)
        is_before = event.sequence in self._taken_over
        wrong = event.skipped if is_before else event.pre_control
        if not wrong:
            return None
        began = "began" if is_before else "did not begin"
        return f"the import {began} sequence {event.sequence}, and calls its holes otherwise"

    def _flaw_of_end(self) -> str | None:
        found = unproved(self.state, [code for _, code in self._defined])
        if found:
            self.position = self._defined[found[0]][0]
            return found[1]
        if self._voided:
            self.position, event = self._voided[0]
            return f"its command does not confirm {event.replacement}, which is named as the replacement"
        if self._fenced and (left := self._left_open()):
            self.position = self._fenced
            return f"the fence leaves {left} as it was"
        if self._reopened and (owing := self._owing()):
            self.position = self._reopened
            return f"it is reopened, and {owing} does not skip what it owes to a restore"
        self._defined, self._taken_over, self._fenced, self._reopened = [], set(), 0, 0
        return None

    def _left_open(self) -> str | None:
        """Name what a fence must end and pass over, and did not."""
        held = self.state.reservations()
        if held:
            return f"reservation {held[0].token}"
        last = self.state.generation
        left = (each for each in self.state.sequences() if not each.closed and each.generation < last)
        return next((f"sequence {each.id}" for each in left if not self.state.is_retired(each.series)), None)

    def _owing(self) -> str | None:
        """Name a sequence that may issue numbers, and has not skipped the margin of a restore."""
        owing = (each for each in self.state.sequences() if not each.closed and self.state.owed(each))
        return next((f"sequence {each.id}" for each in owing if not self.state.is_retired(each.series)), None)


def _flaw_of_next(last: Entry | None, entry: Entry) -> str | None:
    """Say whether an event begins a command, or goes on with that of the event before it."""
    if last is None:
        return None if entry.ordinal == 0 else "the log begins in the middle of a command"
    if entry.recorded_at < last.recorded_at:
        return "it was recorded before the event in front of it"
    if entry.ordinal == 0:
        same = entry.envelope.command_id == last.envelope.command_id
        return "its command was told already" if same else None
    together = (last.envelope, last.recorded_at, last.ordinal + 1)
    return None if together == (entry.envelope, entry.recorded_at, entry.ordinal) else "it was torn from its command"
