"""The ledger as its faces see it: carry out a command, look at what there is."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Self

from pyroaring import BitMap

from ledger.as_of import AsOf
from ledger.domain.calendar import instant_text
from ledger.domain.commands import Command, Correction, Envelope
from ledger.domain.history import confirmed_by
from ledger.domain.rejection import Code, Rejection
from ledger.domain.roll import Roll
from ledger.domain.sequence import Sequence as Counter
from ledger.fold import Fold
from ledger.log import cause_of
from ledger.ports import Aside, Clock, Fault, Ids, Index, Spawn, Store
from ledger.preparation import Originals, Prepared, is_late
from ledger.queries import Queries, sequence_of
from ledger.writer import Limits, Outcome, Together, Writer
from ledger.writer.batch import key_reused

__all__ = ["Ledger"]


class Ledger(Queries):
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
        super().__init__(store, self.writer, now=clock.now, aside=aside, index=index)
        seconds = (limits or Limits()).lock_timeout_seconds
        self._as_of = AsOf(store, clock=clock, spawn=spawn, aside=aside, seconds=seconds)

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

    async def check_key(self, envelope: Envelope, command_ids: Sequence[bytes]) -> None:
        """Refuse a request under a key that another one used, whichever of its parts that one carried out."""
        for entry in await self._log.commands(command_ids):
            if entry.envelope.fingerprint != envelope.fingerprint:
                raise key_reused(entry, envelope)

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
        sequence = sequence_of(fold.state, id)
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

    async def keep_date_tables(self) -> None:
        """Be ready to read numbers of new series, whoever defines them, until this is cancelled."""
        await self._tables.keep(lambda: self.state)

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
