"""The ledger as its faces see it: carry out a command, look at what there is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from ledger import codec
from ledger.domain.commands import Command, Envelope, Reserve
from ledger.domain.decide import decide
from ledger.domain.events import NumbersImported, NumbersReserved
from ledger.domain.history import ReservationHistory
from ledger.domain.register import Register
from ledger.domain.rejection import Code, Rejection
from ledger.domain.series import Series
from ledger.domain.state import State
from ledger.ports import Clock, Ids, Spawn, Store
from ledger.writer import Limits, Outcome, Writer
from ledger.writer.follower import stopped

__all__ = ["Ledger"]


class Ledger:
    """One process's hold on a ledger: `async with Ledger(store, …) as ledger`."""

    def __init__(self, store: Store, *, clock: Clock, ids: Ids, spawn: Spawn, limits: Limits | None = None) -> None:
        self.clock = clock
        self.ids = ids
        self.writer = Writer(store, clock=clock, spawn=spawn, limits=limits or Limits())
        self._store = store

    async def __aenter__(self) -> Self:
        self.writer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.writer.stop()
        await self._store.close()

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
        try:
            return await self.writer.submit(command, envelope)
        except Rejection as rejection:
            if rejection.code is Code.RESERVATION_NOT_FOUND:
                # The state forgets closed reservations; the log does not, and what is closed stays closed.
                await self._explain(getattr(command, "token", ""))
            raise

    async def reservation(self, token: str) -> tuple[ReservationHistory, Series]:
        """Tell a reservation's history from the log, with the series that prints its numbers."""
        history = await self._history(token)
        if history is None:
            raise Rejection(Code.RESERVATION_NOT_FOUND, f"no reservation has the token {token}")
        state = self.state
        if self.position < history.position:  # another process defined the series, perhaps just now
            state = await self.writer.fresh()
        return history, state.series(history.numbering.series, history.numbering.series_version)

    async def series(self, code: str) -> tuple[Series, int]:
        """Give the present version of a series, and the position at which it was read."""
        state = await self.writer.fresh()
        if state.versions(code) is None:
            raise _unknown_series(code)
        return state.series_now(code), self.position

    async def all_series(self) -> tuple[list[Series], int]:
        return (await self.writer.fresh()).all_series(), self.position

    async def preview(self, command: Reserve) -> tuple[NumbersReserved, Series, int]:
        """Give what `command` would reserve now, not held, and the position at which that was so."""
        state = await self.writer.fresh()
        return (*_preview(state, command, self._now()), self.position)

    async def register(self, codes: Sequence[str]) -> Register:
        """Begin to read a register of numbers of these series, in their present versions."""
        state = await self.writer.fresh()
        missing = [code for code in codes if state.versions(code) is None]
        if missing:
            raise _unknown_series(missing[0])
        return Register([state.series_now(code) for code in codes], self._now())

    async def register_again(self, codes: Sequence[str], outcome: Outcome) -> Register:
        """Begin to read a register that was imported before, as it was read then."""
        state = await self.writer.fresh()
        imports = (entry.event for entry in outcome.entries if isinstance(entry.event, NumbersImported))
        versions = {event.series: event.series_version for event in imports}
        series = [state.series(code, versions.get(code, state.series_now(code).version)) for code in codes]
        return Register(series, outcome.entries[0].recorded_at)

    async def drop_held(self, register: Register) -> int:
        """Find the rows that the ledger holds already; gives the position at which that was so."""
        register.drop_held(await self.writer.fresh())
        return self.position

    def _now(self) -> int:
        """Give the log's time as this process can tell it, for what is shown and not stored."""
        return max(self.clock.now(), self.writer.fold.recorded_at if self.writer.fold else 0)

    async def _explain(self, token: str) -> None:
        history = await self._history(token)
        if history is not None:
            raise history.closed() from None

    async def _history(self, token: str) -> ReservationHistory | None:
        records = await self._store.events_of_token(token)
        try:
            entries = list(map(codec.decode, records))
        except codec.UnknownEvent as why:
            raise stopped(str(why)) from why
        return ReservationHistory.of((entry.event, entry.position, entry.recorded_at) for entry in entries)


def _unknown_series(code: str) -> Rejection:
    return Rejection(Code.CONFIG_NOT_FOUND, f"no series has the code {code!r}; define it first")


def _preview(state: State, command: Reserve, now: int) -> tuple[NumbersReserved, Series]:
    events = decide(state, replace(command, token="preview"), now)
    if isinstance(events, Rejection):
        raise events
    reserved = events[-1]
    assert isinstance(reserved, NumbersReserved)
    return reserved, state.series(reserved.numbering.series, reserved.numbering.series_version)
