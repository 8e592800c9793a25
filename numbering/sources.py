"""The copies of a ledger's log that an operator names, opened: databases, Redis, directories."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from ledger.domain.rejection import Code, Rejection
from ledger.log import generation
from ledger.ports import Fault
from ledger.stores import open_store
from numbering.mirror_keys import SETTING, keys_of
from numbering.settings import Settings
from projections.mirror.macs import Keys
from projections.mirror.stream import LOOKED_BACK, Connect, Stream, StreamFault
from replay.archive.source import ArchiveSource
from replay.sources import DatabaseSource, Source, StreamSource

__all__ = ["configured", "is_mirror", "left_out", "opened_sources", "place_name"]

STREAM_SECONDS = 10.0  # that Redis may take for an answer: somebody reads all of it, and nobody else waits
REDIS_PORT = 6379
REDIS = ("redis://", "rediss://", "unix://")


def configured(settings: Settings) -> list[str]:
    """Name every copy that the settings know, the log itself first."""
    return [place for place in (settings.database_url, settings.redis_url, settings.archive) if place]


def left_out(sources: Sequence[Source]) -> Iterator[str]:
    """Yields a sentence for each mirror that was not read to its end, because the rest bears no valid MAC."""
    for source in sources:
        if isinstance(source, StreamSource) and source.unsigned:
            yield (
                f"the last events of {source.name}, up to position {source.unsigned.last}, bear no valid MAC and were "
                f"left out; without {SETTING} they are read"
            )


def is_mirror(place: str) -> bool:
    return place.startswith(REDIS)


def place_name(place: str) -> str:
    """Name a place as the ledger names its copies: whole, and without what is secret or differs from user to user."""
    if not is_mirror(place):
        return place.partition("?")[0] if "://" in place else str(Path(place).resolve())
    url = urlsplit(place)
    db = url.path.strip("/") or dict(parse_qsl(url.query)).get("db") or "0"
    if url.scheme == "unix":
        return f"unix://{url.path}?db={dict(parse_qsl(url.query)).get('db') or 0}"
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname or "localhost"
    return f"{url.scheme}://{host}:{url.port or REDIS_PORT}/{db}"


@asynccontextmanager
async def opened_sources(
    places: Sequence[str], settings: Settings, *, reads_only: bool = True
) -> AsyncIterator[list[Source]]:
    """Open what is named: a database URL, a Redis URL, or the directory of an archive.

    Nothing is changed there, and no right to write is needed, unless it is not said to be only for reading.

    A mirror is asked last: which of Redis's streams is meant, the others say. A Fault when one cannot be opened.
    """
    async with AsyncExitStack() as stack:
        found: dict[str, Source] = {}
        for place in sorted(places, key=lambda one: one.startswith(REDIS)):
            found[place] = await _opened(place, settings, list(found.values()), stack, reads_only)
        try:
            yield [found[place] for place in places]
        except StreamFault as fault:
            raise Fault(Code.REDIS_UNAVAILABLE, str(fault)) from fault


async def _opened(
    place: str, settings: Settings, others: Sequence[Source], stack: AsyncExitStack, reads_only: bool
) -> Source:
    if place.startswith(REDIS):
        return await _mirror(place, keys_of(settings), others, stack)
    if "://" in place:
        store = open_store(place, lock_timeout_ms=settings.lock_timeout, allow_unsafe=True, reads_only=reads_only)
        stack.push_async_callback(store.close)
        return DatabaseSource(store, "the database")
    return ArchiveSource(Path(place))


async def _fences(others: Sequence[Source]) -> list[int]:
    """Say how often each database was fenced: one that was restored a moment ago has no stream of its own yet."""
    counts = []
    for other in others:
        if isinstance(other, DatabaseSource):
            try:
                counts.append(await generation(other.store))
            except (Rejection, ValueError, LookupError, TypeError):
                counts.append(0)  # what stands there is no fence, which is for others to find
    return counts


async def _mirror(url: str, keys: Keys | None, others: Sequence[Source], stack: AsyncExitStack) -> StreamSource:
    from projections.mirror.redis import connect_to, streams

    connect = connect_to(url, seconds=STREAM_SECONDS, keys=keys)
    try:
        found = await streams(url, seconds=STREAM_SECONDS)
        if keys:
            found = await _genuine(found, connect) or found
    except StreamFault as fault:
        raise Fault(Code.REDIS_UNAVAILABLE, str(fault)) from fault
    ledger_ids = {(await other.extent()).ledger_id for other in others} or set(found)
    if len(ledger_ids) != 1:
        named = ", ".join(sorted(ledger_ids)) or "none"
        detail = f"which mirror of Redis's is meant (it has {named}) is told by an archive or a database beside it"
        raise Rejection(Code.HISTORIES_DIFFER, detail)
    (ledger_id,) = ledger_ids
    stream = connect(ledger_id, max([*found.get(ledger_id, [0]), *await _fences(others)]))
    stack.push_async_callback(stream.close)
    return StreamSource(stream, ledger_id)


async def _genuine(found: Mapping[str, Sequence[int]], connect: Connect) -> dict[str, list[int]]:
    """Give the streams with a valid MAC among their last entries: anybody can make one of any ledger or generation."""
    genuine: dict[str, list[int]] = {}
    for ledger_id, generations in found.items():
        for each in generations:
            if await _is_genuine(connect(ledger_id, each)):
                genuine.setdefault(ledger_id, []).append(each)
    return genuine


async def _is_genuine(stream: Stream) -> bool:
    assert stream.authenticator
    try:
        entries = await stream.newest(limit=LOOKED_BACK)
    except StreamFault:
        return False  # it holds what no ledger wrote; that Redis is away, the next question finds
    finally:
        await stream.close()
    return any(stream.authenticator.is_valid(each.position, each.hash, each.mac) for each in entries)
