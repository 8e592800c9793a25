"""What is found out for a command before it is queued, so that the log's lock is not held for it.

Series are proved in a thread, numbers are read, and what the log says of confirmed numbers is looked up. `decide`
judges what was found on the state of its own moment.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pyroaring import BitMap

from ledger.domain.commands import Assign, Command, Correction, Decidable, DefineSeries, Original, WithOriginal
from ledger.domain.decisions.guards import reading_of
from ledger.domain.decisions.series import as_next, proofs
from ledger.domain.proof import prove
from ledger.domain.reading import make_dates
from ledger.domain.rejection import Rejection
from ledger.domain.sequence import ValueState
from ledger.domain.series import Series
from ledger.domain.state import State
from ledger.log import Log
from ledger.ports import Aside

__all__ = ["Originals", "Preparation", "Prepared", "is_late"]

Prepared = DefineSeries | Assign | Correction  # the commands that need it


@dataclass(frozen=True, slots=True)
class Originals:
    """What the log says of confirmed numbers, by the number as it was named, when `links` of them had been linked."""

    found: Mapping[str, Original]
    links: int

    def of(self, command: Correction) -> WithOriginal:
        return WithOriginal(command, self.found.get(command.number), self.links)


def is_late(command: Command, known: Originals) -> bool:
    """Say whether the commands before it may change what a command is prepared with.

    What is `known` of a number stays true, but for its document, which `decide` brings up to date.
    """
    return isinstance(command, DefineSeries) or (isinstance(command, Correction) and command.number not in known.found)


class Preparation:
    """`fresh` gives the state as it is now; `readable` too, with its position, when numbers can be read by it at once.

    `now` is the log's time as this process can tell it.
    """

    def __init__(
        self,
        log: Log,
        *,
        fresh: Callable[[], Awaitable[State]],
        readable: Callable[[], Awaitable[tuple[State, int]]],
        now: Callable[[], int],
        aside: Aside,
    ) -> None:
        self._log = log
        self._fresh = fresh
        self._readable = readable
        self._now = now
        self._aside = aside

    async def one(self, command: Command, known: Originals | None = None) -> Decidable:
        """Give a command with what `decide` needs beside the state; of its number, if it is not among the `known`."""
        if isinstance(command, DefineSeries):
            (proved,) = await self._proved([command])
            return proved
        if isinstance(command, Correction):
            found = known if known and command.number in known.found else await self.originals([command])
            return found.of(command)
        if isinstance(command, Assign):
            await self._read(command.number)
        return command

    async def all(self, commands: Sequence[Command]) -> list[Decidable]:
        """Do the same for commands that are carried out together: their series are proved beside one another."""
        proved = iter(await self._proved([one for one in commands if isinstance(one, DefineSeries)]))
        found = await self.originals(commands)
        prepared = list[Decidable]()
        for command in commands:
            if isinstance(command, DefineSeries):
                prepared.append(next(proved))
            elif isinstance(command, Correction):
                prepared.append(found.of(command))
            else:
                prepared.append(await self.one(command))
        return prepared

    async def originals(self, commands: Iterable[Command]) -> Originals:
        """Look up how the confirmed numbers that some commands name were printed, those of one sequence together.

        `decide` explains why the others are not to be had.
        """
        numbers = dict.fromkeys(command.number for command in commands if isinstance(command, Correction))
        if not numbers:
            return Originals({}, 0)
        indexed = await self._log.indexed()
        state, position = await self._readable()
        links = state.links
        sought: dict[str, dict[int, list[str]]] = {}
        for number in numbers:
            with suppress(Rejection):
                reading = reading_of(state, number, self._now())
                sequence = state.sequence(reading.sequence)
                if sequence and sequence.state_of(reading.value) is ValueState.CONFIRMED:
                    sought.setdefault(reading.sequence, {}).setdefault(reading.value, []).append(number)
        found: dict[str, Original] = {}
        for id, values in sought.items():
            async for value, original in self._log.confirmed(id, BitMap(values), position, indexed):
                found |= dict.fromkeys(values[value], original)
        return Originals(found, links)

    async def _read(self, number: str) -> None:
        """Read a number once: then it need not be read under the lock."""
        state, _ = await self._readable()
        with suppress(Rejection):
            reading_of(state, number, self._now())

    async def _proved(self, commands: Sequence[DefineSeries]) -> list[DefineSeries]:
        """Prove all series together. `decide` asks again, under the lock, and finds it remembered with these series."""
        if not commands:
            return []
        state = await self._fresh()
        asked = [DefineSeries(tuple(as_next(state, series) for series in one.series)) for one in commands]
        to_prove = list(proofs(state, [series for one in asked for series in one.series]))
        await self._aside(lambda: _prove(to_prove))
        return asked


def _prove(all_proofs: Iterable[tuple[Series, Iterable[Series]]]) -> None:
    for series, others in all_proofs:
        make_dates(series)
        with suppress(Rejection):  # `decide` says it, if it is still so
            prove(series, others)
