"""What a ledger tells of itself. Nothing here can write: a service asks the state that its writer follows, a command
that reads asks a `Reader`, and one that asks about the past a fold up to then.

A reservation is told as it is recorded. One whose time is over stays RESERVED until a writer records its expiry: only
the log says what happened, and the `expires_at` beside it says what is due.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from heapq import nsmallest
from typing import Protocol

from ledger.codec import UnknownEvent
from ledger.date_tables import DateTables
from ledger.domain.accounting import Accounting
from ledger.domain.commands import Command, Reserve
from ledger.domain.decide import decide
from ledger.domain.decisions.guards import known_series, no_sequence, reading_of
from ledger.domain.events import NumbersReserved, PeriodClosed
from ledger.domain.evolve import evolve
from ledger.domain.formats import NEWEST_FORMAT, REPLACED_FORMS
from ledger.domain.history import NumberHistory, ReservationHistory
from ledger.domain.register import Register
from ledger.domain.rejection import Code, Rejection
from ledger.domain.results import event_of
from ledger.domain.sequence import Sequence as Counter
from ledger.domain.sequence import ValueState
from ledger.domain.series import Series
from ledger.domain.state import State
from ledger.domain.trial import Trial, try_out
from ledger.domain.utilisation import Utilisation
from ledger.feed import Feed
from ledger.fold import BrokenChain, Fold
from ledger.log import Log, cause_of
from ledger.ports import Aside, Events, Index, Store
from ledger.preparation import Preparation
from ledger.system import SystemClock
from ledger.views import AccountView, Closing, Preview, SequenceView, SeriesView
from ledger.writer import Limits, Outcome
from ledger.writer.clocks import Clocks
from ledger.writer.follower import Follower, stopped

__all__ = ["Folded", "Past", "Queries", "Reader", "sequence_of"]


class Folded(Protocol):
    """The log as somebody has folded it."""

    @property
    def fold(self) -> Fold | None:
        """The fold, which may be behind; None before the log was first read."""

    async def fresh(self) -> State:
        """Give the state folded from all that was committed when this was called. Read it before you await."""


class Reader:
    """Follows a log to read it, and never writes: no expiry, no mark of a stop, no snapshot."""

    def __init__(self, store: Store) -> None:
        feed, limits = Feed(store), Limits()
        self._follower = Follower(
            store, feed, Clocks(SystemClock()), chunk=limits.fold_chunk, under_lock=limits.fold_under_lock
        )

    @property
    def fold(self) -> Fold | None:
        return self._follower.fold

    async def fresh(self, progress: Callable[[int], None] = lambda position: None) -> State:
        """Fold to the end of the log; a Fault when it cannot be read, or is not whole."""
        try:
            while (fold := await self._follower.catch_up()) is None:
                progress(self.fold.position if self.fold else 0)
        except (BrokenChain, UnknownEvent) as why:
            raise stopped(str(why)) from why
        return fold.state


class Past:
    """A log folded up to a past moment, at which it stands still."""

    def __init__(self, fold: Fold) -> None:
        self.fold = fold

    async def fresh(self) -> State:
        return self.fold.state


class Queries:
    """Asks about a ledger. `now` is the present, or the moment as of which it is asked.

    With an `index`, what became of a single value is found without reading the whole history of its sequence.
    """

    def __init__(
        self, events: Events, folded: Folded, *, now: Callable[[], int], aside: Aside, index: Index | None = None
    ) -> None:
        self._folded = folded
        self._present = now
        self._log = Log(events, index)
        self._tables = DateTables(aside)
        self._preparation = Preparation(
            self._log, fresh=folded.fresh, readable=self._readable, now=self._now, aside=aside
        )

    @property
    def position(self) -> int:
        """The position up to which this process has folded the log."""
        return self._folded.fold.position if self._folded.fold else 0

    @property
    def state(self) -> State:
        """The state as of `position`, which may be behind the log."""
        return self._folded.fold.state if self._folded.fold else State()

    async def reservation(self, token: str) -> tuple[ReservationHistory, Series]:
        """Tell a reservation's history from the log, with the series that prints its numbers."""
        history = await self._log.reservation(token)
        if history is None:
            raise Rejection(Code.RESERVATION_NOT_FOUND, f"no reservation has the token {token}")
        state = self.state
        if self.position < history.position:  # another process defined the series, perhaps just now
            state = await self._folded.fresh()
        return history, state.series(history.numbering.series, history.numbering.series_version)

    async def series(self, code: str) -> SeriesView:
        state = await self._folded.fresh()
        return SeriesView(known_series(state, code), state.is_retired(code), self.position)

    async def all_series(self) -> tuple[list[SeriesView], int]:
        """Give all series, by code, and the position at which there were these."""
        state, position = await self._folded.fresh(), self.position
        return [SeriesView(each, state.is_retired(each.code), position) for each in state.all_series()], position

    async def sequence(self, id: str) -> SequenceView:
        state = await self._folded.fresh()
        return self._view(state, sequence_of(state, id))

    async def sequences(self, code: str | None, *, after: str, limit: int) -> tuple[list[SequenceView], int]:
        """Give sequences, of one series or of all, in the order of their ids behind one of them; and the position."""
        state = await self._folded.fresh()
        if code is not None:
            known_series(state, code)
        found = [each for each in state.sequences() if each.id > after and code in (None, each.series)]
        chosen = nsmallest(limit, found, key=lambda each: each.id)
        return [self._view(state, each) for each in chosen], self.position

    async def accounting(self, id: str, *, first: int | None, states: Iterable[ValueState], limit: int) -> AccountView:
        """Account for the values of a sequence, a part of them from `first` on."""
        indexed = await self._log.indexed()
        state = await self._folded.fresh()
        sequence, position = sequence_of(state, id).copy(), self.position
        series = state.series_of(sequence)
        accounting = Accounting(sequence, first=first or 0, states=states, limit=limit)
        closing = None
        async for entry, only in self._log.causes(id, accounting.sought, position, indexed):
            if isinstance(entry.event, PeriodClosed):
                closing = Closing(entry.event, cause_of(entry))
            accounting.take(entry.event, cause_of(entry), only)
            if accounting.is_complete and (closing or not sequence.closed):
                break
        return AccountView(sequence, series, accounting, closing, position)

    async def number(self, number: str) -> NumberHistory:
        """Tell what became of the value that a number names, attributes apart, from the log."""
        indexed = await self._log.indexed()
        state, position = await self._readable()
        reading = reading_of(state, number, self._now())
        sequence = state.sequence(reading.sequence)
        if sequence is None or sequence.state_of(reading.value) is None:
            raise Rejection(
                Code.NUMBER_NOT_FOUND,
                f"{number!r} was never given out: sequence {reading.sequence} has not passed value {reading.value}",
            )
        history = NumberHistory(number, reading)
        async for entry in self._log.about(reading.sequence, reading.value, position, indexed):
            if history.take(entry.event, cause_of(entry)):
                history.take_command(await self._log.events_with(entry), state)
                if history.has_begun(state):
                    break
        history.position = position
        return history

    async def preview(self, command: Reserve) -> Preview:
        """Give what `command` would reserve now, not held."""
        state, position = await self._folded.fresh(), self.position
        events = decide(state, replace(command, token="preview"), self._now())
        if isinstance(events, Rejection):
            raise events
        reserved = event_of(NumbersReserved, events)
        return Preview(reserved, state.series(reserved.numbering.series, reserved.numbering.series_version), position)

    async def register(self, codes: Collection[str]) -> Register:
        """Begin to read a register of numbers of these series, in the versions that are in use."""
        state = await self._folded.fresh()
        return _register(state, [known_series(state, code) for code in codes], state.format, self._now())

    async def register_again(self, codes: Collection[str], outcome: Outcome) -> Register:
        """Begin to read a register that was imported before, as it was read then."""
        state, first = await self._folded.fresh(), outcome.entries[0]
        series = [await self._log.series(state, code, first.position) for code in codes]
        return _register(state, series, await self._log.format(first.position), first.recorded_at)

    async def drop_held(self, register: Register) -> int:
        """Find the rows that the ledger holds already; gives the position at which that was so."""
        register.drop_held(await self._folded.fresh())
        return self.position

    async def try_out(self, commands: Sequence[Command]) -> list[Trial]:
        """Tell what each of some commands would do, after those before it, and write nothing.

        Raises the first Rejection; of several commands it names the `index`.
        """
        prepared = await self._preparation.all(commands)
        state, now = (await self._folded.fresh()).branch(), self._now()
        format = state.format if self.position else NEWEST_FORMAT
        trials = []
        for index, command in enumerate(prepared):
            try:
                trials.append(try_out(state, command, now, format))
            except Rejection as why:
                raise (why.of_all(index) if len(prepared) > 1 else why) from None
            for event in trials[-1].events:
                evolve(state, event, now)
        return trials

    async def _readable(self) -> tuple[State, int]:
        """Give the state as it is now, and its position, by which numbers can be read without holding up the loop."""
        state = await self._folded.fresh()
        if not self._tables.are_made(state):
            await self._tables.make(state)
            state = await self._folded.fresh()  # what was defined meanwhile may be read a little later
        return state, self.position

    def _now(self) -> int:
        """Give the log's time as this process can tell it, for what is shown and not stored."""
        return max(self._present(), self._folded.fold.recorded_at if self._folded.fold else 0)

    def _view(self, state: State, sequence: Counter) -> SequenceView:
        series = state.series_of(sequence)
        utilisation = Utilisation.of(sequence, series, self._now(), is_over=state.is_over(sequence))
        return SequenceView(sequence, series, utilisation, self.position)


def _register(state: State, series: Sequence[Series], format: int, now: int) -> Register:
    """Begin to read a register by these versions, the present ones of their moment, and by those that they replaced."""
    replaced = (each for one in series for each in state.printing(one.code) if each.version < one.version)
    return Register(series, now, replaced if format >= REPLACED_FORMS else ())


def sequence_of(state: State, id: str) -> Counter:
    sequence = state.sequence(id)
    if sequence is None:
        raise no_sequence(state, id)
    return sequence
