"""The ledger as its faces see it: carry out a command, look at what there is."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from heapq import nsmallest
from typing import Self

from pyroaring import BitMap

from ledger.as_of import AsOf
from ledger.date_tables import DateTables
from ledger.domain.accounting import Accounting
from ledger.domain.calendar import instant_text
from ledger.domain.commands import Command, Correction, Envelope, Reserve
from ledger.domain.decide import decide
from ledger.domain.decisions.guards import known_series, no_sequence, reading_of
from ledger.domain.events import (
    NumbersReserved,
    PeriodClosed,
)
from ledger.domain.evolve import evolve
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.history import NumberHistory, ReservationHistory, confirmed_by
from ledger.domain.register import Register
from ledger.domain.rejection import Code, Rejection
from ledger.domain.results import event_of
from ledger.domain.roll import Roll
from ledger.domain.sequence import Sequence as Counter
from ledger.domain.sequence import ValueState
from ledger.domain.series import Series
from ledger.domain.state import State
from ledger.domain.trial import Trial, try_out
from ledger.domain.utilisation import Utilisation
from ledger.fold import Fold
from ledger.log import Log, cause_of
from ledger.ports import Aside, Clock, Fault, Ids, Index, Spawn, Store
from ledger.preparation import Originals, Preparation, Prepared, is_late
from ledger.views import AccountView, Closing, Preview, SequenceView, SeriesView
from ledger.writer import Limits, Outcome, Together, Writer
from ledger.writer.batch import key_reused

__all__ = ["Ledger"]


class Ledger:
    """One process's hold on a ledger: `async with Ledger(store, …) as ledger`.

    With an `index`, what became of a single value is found without reading the whole history of its sequence.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        ids: Ids,
        spawn: Spawn,
        aside: Aside,
        limits: Limits | None = None,
        index: Index | None = None,
        self_check: bool = True,
    ) -> None:
        self.clock = clock
        self.ids = ids
        self.writer = Writer(store, clock=clock, spawn=spawn, limits=limits or Limits(), self_check=self_check)
        self._store = store
        self._log = Log(store, index)
        seconds = (limits or Limits()).lock_timeout_seconds
        self._as_of = AsOf(store, clock=clock, spawn=spawn, aside=aside, seconds=seconds)
        self._tables = DateTables(aside)
        self._preparation = Preparation(
            self._log, fresh=self.writer.fresh, readable=self._readable, now=self._now, aside=aside
        )

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self._store.close()

    def start(self) -> None:
        self.writer.start()

    async def stop(self) -> None:
        """Finish what was accepted, and leave the store open for others who still read it."""
        await self._as_of.stop()
        await self.writer.stop()

    @property
    def position(self) -> int:
        """The position up to which this process has folded the log."""
        return self.writer.fold.position if self.writer.fold else 0

    @property
    def state(self) -> State:
        """The state as of `position`, which may be behind the log."""
        return self.writer.fold.state if self.writer.fold else State()

    async def execute(self, command: Command, envelope: Envelope) -> Outcome:
        """Carry out a command once; raises a Rejection, or a Fault when it could not be served."""
        prepared = await self._preparation.one(command) if isinstance(command, Prepared) else command
        try:
            return await self.writer.submit(prepared, _with_reason(envelope, command))
        except Rejection as rejection:
            raise await self._explained(rejection, command) from None

    async def execute_together(self, commands: Sequence[tuple[Command, Envelope]], envelope: Envelope) -> Outcome:
        """Carry out all commands in order, or none; raises the first Rejection, which names its `index`."""
        prepared = await self._preparation.all([command for command, _ in commands])
        envelopes = (_with_reason(its, command) for command, its in commands)
        try:
            return await self.writer.submit(Together(tuple(zip(prepared, envelopes, strict=True))), envelope)
        except Rejection as rejection:
            index = rejection.members["index"]
            assert isinstance(index, int)
            why = await self._explained(rejection, commands[index][0], is_together=True)
            raise (rejection if why is rejection else why.of_all(index)) from None

    async def execute_each(self, commands: Iterable[tuple[Command, Envelope]]) -> list[Outcome | Rejection | Fault]:
        """Carry out the commands in order, each by itself; gives what became of each."""
        given = list(commands)
        originals = await self._preparation.originals(command for command, _ in given)
        asked: list[asyncio.Future[Outcome]] = []
        try:
            for command, envelope in given:
                if is_late(command, originals):
                    await asyncio.gather(*(each for each in asked if not each.done()), return_exceptions=True)
                asked.append(await self._begun(command, envelope, originals))
            ended = await asyncio.gather(*asked, return_exceptions=True)
        except BaseException:  # the client has gone: what was not begun is not done
            for future in asked:
                if not future.cancel() and not future.cancelled():
                    future.exception()
            raise
        return [await self._ended(command, end) for (command, _), end in zip(given, ended, strict=True)]

    async def _begun(self, command: Command, envelope: Envelope, originals: Originals) -> asyncio.Future[Outcome]:
        """Let a command wait for the writer; a Fault is its outcome too."""
        try:
            prepared = await self._preparation.one(command, originals)
            return self.writer.enqueue(prepared, _with_reason(envelope, command))
        except Fault as fault:
            failed: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            failed.set_exception(fault)
            return failed

    async def _ended(self, command: Command, end: Outcome | BaseException) -> Outcome | Rejection | Fault:
        match end:
            case Rejection():
                return await self._explained(end, command)
            case Outcome() | Fault():
                return end
        raise end

    async def try_out(self, commands: Sequence[Command]) -> list[Trial]:
        """Tell what each of some commands would do, after those before it, and write nothing.

        Raises the first Rejection; of several commands it names the `index`.
        """
        prepared = await self._preparation.all(commands)
        state, now = (await self.writer.fresh()).branch(), self._now()
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

    async def check_key(self, envelope: Envelope, command_ids: Sequence[bytes]) -> None:
        """Refuse a request under a key that another one used, whichever of its parts that one carried out."""
        for entry in await self._log.commands(command_ids):
            if entry.envelope.fingerprint != envelope.fingerprint:
                raise key_reused(entry, envelope)

    async def reservation(self, token: str) -> tuple[ReservationHistory, Series]:
        """Tell a reservation's history from the log, with the series that prints its numbers."""
        history = await self._log.reservation(token)
        if history is None:
            raise Rejection(Code.RESERVATION_NOT_FOUND, f"no reservation has the token {token}")
        state = self.state
        if self.position < history.position:  # another process defined the series, perhaps just now
            state = await self.writer.fresh()
        return history, state.series(history.numbering.series, history.numbering.series_version)

    async def series(self, code: str) -> SeriesView:
        state = await self.writer.fresh()
        return SeriesView(known_series(state, code), state.is_retired(code), self.position)

    async def all_series(self) -> tuple[list[SeriesView], int]:
        """Give all series, by code, and the position at which there were these."""
        state, position = await self.writer.fresh(), self.position
        return [SeriesView(each, state.is_retired(each.code), position) for each in state.all_series()], position

    async def sequence(self, id: str) -> SequenceView:
        state = await self.writer.fresh()
        return self._view(state, _sequence(state, id))

    async def sequences(self, code: str | None, *, after: str, limit: int) -> tuple[list[SequenceView], int]:
        """Give sequences, of one series or of all, in the order of their ids behind one of them; and the position."""
        state = await self.writer.fresh()
        if code is not None:
            known_series(state, code)
        found = [each for each in state.sequences() if each.id > after and code in (None, each.series)]
        chosen = nsmallest(limit, found, key=lambda each: each.id)
        return [self._view(state, each) for each in chosen], self.position

    async def accounting(self, id: str, *, first: int | None, states: Iterable[ValueState], limit: int) -> AccountView:
        """Account for the values of a sequence, a part of them from `first` on."""
        indexed = await self._log.indexed()
        state = await self.writer.fresh()
        sequence, position = _sequence(state, id).copy(), self.position
        series = state.series_of(sequence)
        accounting = Accounting(sequence, first=first or 0, states=states, limit=limit)
        closing = None
        async for entry, only in self._log.causes(id, accounting.sought, position, indexed):
            if closing is None and sequence.closed and isinstance(entry.event, PeriodClosed):
                closing = Closing(entry.event, cause_of(entry))
            accounting.take(entry.event, cause_of(entry), only)
            if accounting.is_complete and (closing or not sequence.closed):
                break
        return AccountView(sequence, series, accounting, closing, position)

    async def as_of(self, *, position: int | None, time: int | None) -> Fold:
        """Give the log folded up to a position, or the last event of a time; nobody may change it.

        NOT_IN_HISTORY when the log does not reach there; a Fault when it is not folded within the deadline.
        """
        await self.writer.fresh()
        assert self.writer.fold
        if time is not None and time > self._now():
            detail = f"{instant_text(time)} has not come yet: the ledger cannot know what will have happened by then"
            raise Rejection(Code.NOT_IN_HISTORY, detail, members={"position": self.position})
        ledger_id, end = self.writer.fold.ledger_id, self.position
        return await self._as_of.fold(ledger_id, await self._as_of.position(position, time, end))

    async def numbers_as_of(self, fold: Fold, id: str, *, first: int, limit: int) -> tuple[Counter, Roll]:
        """Tell the numbers of a sequence as of a fold, from one value on: what has changed since is read back."""
        indexed = min(await self._log.indexed(), fold.position)
        sequence = _sequence(fold.state, id)
        roll = Roll(sequence, first=first, limit=limit)
        async for entry, only in self._log.causes(id, roll.sought, fold.position, indexed):
            if roll.is_complete:
                break
            roll.take(entry.event, cause_of(entry), only)
        for value in roll.voided:
            roll.told[value].document = await self._document(id, value, fold.position, indexed)
        return sequence, roll

    async def _document(self, id: str, value: int, position: int, indexed: int) -> str | None:
        """Find the document that a value was confirmed for."""
        async for entry in self._log.about(id, value, position, indexed):
            for _, original in confirmed_by(entry.event, BitMap([value])):
                return original.document
        return None

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
        state, position = await self.writer.fresh(), self.position
        events = decide(state, replace(command, token="preview"), self._now())
        if isinstance(events, Rejection):
            raise events
        reserved = event_of(NumbersReserved, events)
        return Preview(reserved, state.series(reserved.numbering.series, reserved.numbering.series_version), position)

    async def register(self, codes: Collection[str]) -> Register:
        """Begin to read a register of numbers of these series, in their present versions."""
        state = await self.writer.fresh()
        return Register([known_series(state, code) for code in codes], self._now())

    async def register_again(self, codes: Collection[str], outcome: Outcome) -> Register:
        """Begin to read a register that was imported before, as it was read then."""
        state, first = await self.writer.fresh(), outcome.entries[0]
        series = [await self._log.series(state, code, first.position) for code in codes]
        return Register(series, first.recorded_at)

    async def drop_held(self, register: Register) -> int:
        """Find the rows that the ledger holds already; gives the position at which that was so."""
        register.drop_held(await self.writer.fresh())
        return self.position

    async def keep_date_tables(self) -> None:
        """Be ready to read numbers of new series, whoever defines them, until this is cancelled."""
        await self._tables.keep(lambda: self.state)

    async def _readable(self) -> tuple[State, int]:
        """Give the state as it is now, and its position, by which numbers can be read without holding up the loop."""
        state = await self.writer.fresh()
        if not self._tables.are_made(state):
            await self._tables.make(state)
            state = await self.writer.fresh()  # what was defined meanwhile may be read a little later
        return state, self.position

    def _now(self) -> int:
        """Give the log's time as this process can tell it, for what is shown and not stored."""
        return max(self.clock.now(), self.writer.fold.recorded_at if self.writer.fold else 0)

    def _view(self, state: State, sequence: Counter) -> SequenceView:
        series = state.series_of(sequence)
        utilisation = Utilisation.of(sequence, series, self._now(), is_over=state.is_over(sequence))
        return SequenceView(sequence, series, utilisation, self.position)

    async def _explained(self, rejection: Rejection, command: Command, *, is_together: bool = False) -> Rejection:
        """Say why a command was rejected where the log knows more than the state, or the batch more than the log."""
        if rejection.code is Code.RESERVATION_NOT_FOUND:
            # The state forgets closed reservations; the log does not, and what is closed stays closed.
            history = await self._log.reservation(command.token or "")
            return history.closed(together=is_together) if history else rejection
        if not (is_together and rejection.code is Code.CHANGED_MEANWHILE and isinstance(command, Correction)):
            return rejection
        if (await self._preparation.originals([command])).found:
            return rejection
        verb = type(command).__name__.lower()
        return Rejection(
            Code.NUMBER_NOT_CONFIRMED,
            f"{command.number!r} is issued by this request itself; {verb} it in a later request",
        )


def _with_reason(envelope: Envelope, command: Command) -> Envelope:
    """Store the command's reason with its events."""
    return envelope if command.reason is None else envelope._replace(reason=command.reason)


def _sequence(state: State, id: str) -> Counter:
    sequence = state.sequence(id)
    if sequence is None:
        raise no_sequence(state, id)
    return sequence
