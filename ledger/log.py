"""What is read from the log itself, by index: what the state forgets, of one reservation, sequence or command."""

from collections.abc import AsyncIterator, Sequence
from typing import assert_never

from pyroaring import BitMap

from ledger import codec
from ledger.codec import Entry
from ledger.domain.accounting import Cause
from ledger.domain.commands import Original
from ledger.domain.events import (
    LEDGER_STREAM,
    Event,
    FormatRaised,
    LedgerEvent,
    MaximumAdjusted,
    NumberEvent,
    PeriodOpened,
    ReservationEvent,
    RestoreFenced,
    SequenceEvent,
    SeriesAmended,
    SeriesDefined,
    SeriesReopened,
    SeriesRetired,
)
from ledger.domain.formats import FIRST_FORMAT, FORMAT_STREAM
from ledger.domain.history import ReservationHistory, confirmed_by
from ledger.domain.results import MAX_VOID_EVENTS, may_be_of_void
from ledger.domain.series import Series
from ledger.domain.state import State
from ledger.ports import Events, Index, Record
from ledger.writer.follower import stopped

__all__ = ["Log", "cause_of", "generation"]

PAGE = 250  # events read at a time, for which nobody waits longer than some milliseconds
MAX_POSITION = 1 << 62


async def generation(store: Events) -> int:
    """Say how often the ledger was restored with a fence: what continues it is told from what was cut off by that."""
    last = await store.events_of_stream(LEDGER_STREAM, before=MAX_POSITION, limit=1)
    fence = _decoded(last[0]).event if last else None
    return fence.generation if isinstance(fence, RestoreFenced) else 0


async def format_of(store: Events) -> int:
    """Say which format of events the log has been raised to."""
    last = await store.events_of_stream(FORMAT_STREAM, before=MAX_POSITION, limit=1)
    raised = _decoded(last[0]).event if last else None
    return raised.format if isinstance(raised, FormatRaised) else FIRST_FORMAT


class Log:
    """Where there is an `index` of single values, only what it does not know yet is looked for event by event."""

    def __init__(self, store: Events, index: Index | None) -> None:
        self._store = store
        self._index = index

    async def indexed(self) -> int:
        """Give the position up to which the index has come. Ask it before the state that is told: then it is behind."""
        return await self._index.position() if self._index else 0

    async def commands(self, command_ids: Sequence[bytes]) -> list[Entry]:
        """Read all events of some commands."""
        return list(map(_decoded, await self._store.events_of_commands(command_ids)))

    async def newest_first(self, stream: str, position: int, *, behind: int = 0) -> AsyncIterator[Entry]:
        """Read the events of a stream up to a position, from the last one back, as far as they are `behind` another."""
        before = position + 1
        while records := await self._store.events_of_stream(stream, before=before, limit=PAGE):
            for record in records:
                if record.position <= behind:
                    return
                yield _decoded(record)
            before = records[-1].position

    async def causes(
        self, id: str, sought: BitMap, position: int, indexed: int
    ) -> AsyncIterator[tuple[Entry, BitMap | None]]:
        """Read the events of a sequence up to a position until nobody asks on, for the last one about each value.

        `sought` are the values that still have no cause, as long as whoever asks keeps it so. The first event given
        about a value is its last, if it is given for this value, or for all (None).
        """
        async for entry in self.newest_first(id, position, behind=indexed):
            yield entry, None
        if indexed and self._index:
            # What has changed since is not known by its position any more: it is left to what follows.
            found = {at: values for at, values in (await self._index.causes(id, sought)).items() if at <= indexed}
            for entry in await self._at(list(found)):
                yield entry, found[entry.position]
        async for entry in self.newest_first(id, indexed or position):
            yield entry, None

    async def about(self, id: str, value: int, position: int, indexed: int) -> AsyncIterator[Entry]:
        """Read the events of a sequence up to a position from the last one back, at least those about one value."""
        async for entry in self.newest_first(id, position, behind=indexed):
            yield entry
        before = indexed
        if indexed and self._index:
            life = await self._index.life(id, value)
            if life.positions and min(life.positions) <= indexed:  # else it was given out again meanwhile
                for entry in await self._at([each for each in life.positions if each <= indexed]):
                    yield entry
                before = life.earlier
        async for entry in self.newest_first(id, before):
            yield entry

    async def events_with(self, entry: Entry) -> list[Event]:
        """Read the events of the command that caused one, if it voids a number; its events stand together."""
        if not may_be_of_void(entry.event, entry.ordinal):
            return [entry.event]
        first = entry.position - entry.ordinal
        entries = map(_decoded, await self._store.events(after=first - 1, limit=MAX_VOID_EVENTS))
        return [each.event for each in entries if each.envelope.command_id == entry.envelope.command_id]

    async def confirmed(
        self, id: str, values: BitMap, position: int, indexed: int
    ) -> AsyncIterator[tuple[int, Original]]:
        """Find the one event that confirmed each value, which is none that can come again."""
        async for entry, only in self.causes(id, values, position, indexed):
            for value, original in confirmed_by(entry.event, values if only is None else values & only):
                values.remove(value)
                yield value, original
            if not values:
                return

    async def series(self, state: State, code: str, position: int) -> Series:
        """Give a series as it was in front of a position; `state` has the eras of its versions."""
        maximum: int | None = None
        async for entry in self.newest_first(code, position - 1):
            match entry.event:
                case SeriesDefined(series=series) | SeriesAmended(series=series):
                    found = series.in_era(state.series(code, series.version).era)
                    return found if maximum is None else found.with_maximum(maximum)
                case MaximumAdjusted(max_value=max_value):
                    maximum = max_value if maximum is None else maximum
                case SeriesRetired() | SeriesReopened() | PeriodOpened():
                    pass
                case SequenceEvent() | ReservationEvent() | NumberEvent() | LedgerEvent() as other:
                    raise AssertionError(f"{other} is in the stream of series {code}")
                case _:
                    assert_never(entry.event)
        raise AssertionError(f"series {code} was not defined in front of position {position}")

    async def format(self, position: int) -> int:
        """Give the ledger's format in front of a position."""
        async for entry in self.newest_first(FORMAT_STREAM, position - 1):
            assert isinstance(entry.event, FormatRaised)
            return entry.event.format
        return FIRST_FORMAT

    async def reservation(self, token: str) -> ReservationHistory | None:
        records = await self._store.events_of_token(token)
        entries = list(map(_decoded, records))
        return ReservationHistory.of((entry.event, entry.position, entry.recorded_at) for entry in entries)

    async def _at(self, positions: Sequence[int]) -> list[Entry]:
        """Read the events at some positions, the newest first."""
        wanted = sorted(set(positions), reverse=True)
        entries: list[Entry] = []
        for start in range(0, len(wanted), PAGE):
            records = await self._store.events_at(wanted[start : start + PAGE])
            entries += [_decoded(record) for record in reversed(records)]
        return entries


def cause_of(entry: Entry) -> Cause:
    """Say by what, by whom, when and why something came to be."""
    event, envelope = entry.event, entry.envelope
    kind = type(event).__name__
    return Cause(entry.position, kind, envelope.actor, entry.recorded_at, envelope.reason, event.token)


def _decoded(record: Record) -> Entry:
    try:
        return codec.decode(record)
    except codec.UnknownEvent as why:
        raise stopped(str(why)) from why
