"""Asking about the past: what a service answered at some moment, from any source of the log.

The state is folded from the events up to the moment, each checked against the chain. What is looked up beside it, by
token or stream, is looked up in a database itself, up to that position; an archive and a mirror have no index, so
their events are copied to a file for as long as somebody asks. That is done only when it is needed.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ledger import queries
from ledger.fold import Fold
from ledger.ports import Aside, Events, Record
from ledger.queries import Queries
from replay.copying import copy_events, opened_copy
from replay.following import Progress
from replay.moments import END, Moment, Past, folded
from replay.sources import DatabaseSource, Source

__all__ = ["asked_then"]


@asynccontextmanager
async def asked_then(
    source: Source,
    past: Past,
    moment: Moment,
    *,
    now: Callable[[], int],
    aside: Aside,
    progress: Progress = lambda done, of: None,
) -> AsyncIterator[Queries]:
    """Open a past to ask about it, at the time of its moment.

    That of a position is when its event was recorded. The end of the ledger's own log is the present, `now`; the end
    of a copy is its last event.
    """
    fold = await folded(past, progress)
    is_present = moment == END and source.is_primary
    async with AsyncExitStack() as stack:
        if isinstance(source, DatabaseSource):
            events: Events = _UpTo(source.store, fold.position)
        else:
            events = _Copied(source, fold, stack, progress)
        yield Queries(events, queries.Past(fold), now=now if is_present else lambda: moment.time or 0, aside=aside)


class _UpTo:
    """The events of a database up to a position."""

    def __init__(self, events: Events, position: int) -> None:
        self._events = events
        self._position = position

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        return self._then(await self._events.events(after=after, limit=limit))

    async def events_at(self, positions: Sequence[int]) -> Sequence[Record]:
        return self._then(await self._events.events_at(positions))

    async def events_of_token(self, token: str) -> Sequence[Record]:
        return self._then(await self._events.events_of_token(token))

    async def events_of_commands(self, command_ids: Sequence[bytes]) -> Sequence[Record]:
        return self._then(await self._events.events_of_commands(command_ids))

    async def events_of_stream(self, stream: str, *, before: int, limit: int) -> Sequence[Record]:
        before = min(before, self._position + 1)
        return await self._events.events_of_stream(stream, before=before, limit=limit)

    def _then(self, records: Sequence[Record]) -> Sequence[Record]:
        return [record for record in records if record.position <= self._position]


class _Copied:
    """The events of a source up to a fold, copied to a file when they are first asked for."""

    def __init__(self, source: Source, fold: Fold, stack: AsyncExitStack, progress: Progress) -> None:
        self._source = source
        self._fold = fold
        self._stack = stack
        self._progress = progress
        self._copy: Events | None = None

    async def events(self, *, after: int, limit: int) -> Sequence[Record]:
        return await (await self._made()).events(after=after, limit=limit)

    async def events_at(self, positions: Sequence[int]) -> Sequence[Record]:
        return await (await self._made()).events_at(positions)

    async def events_of_token(self, token: str) -> Sequence[Record]:
        return await (await self._made()).events_of_token(token)

    async def events_of_commands(self, command_ids: Sequence[bytes]) -> Sequence[Record]:
        return await (await self._made()).events_of_commands(command_ids)

    async def events_of_stream(self, stream: str, *, before: int, limit: int) -> Sequence[Record]:
        return await (await self._made()).events_of_stream(stream, before=before, limit=limit)

    async def _made(self) -> Events:
        if self._copy is None:
            file = Path(self._stack.enter_context(TemporaryDirectory(prefix="numbering-"))) / "then.db"
            moment = Moment(position=self._fold.position) if self._fold.position else END
            await copy_events(file, await Past.of(self._source, moment, allow_beyond=True), self._progress)
            self._copy = await self._stack.enter_async_context(opened_copy(file))
        return self._copy
