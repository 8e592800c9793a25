"""The copies of a ledger's log that an operator names, opened: databases, Redis, directories."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from ledger.domain.rejection import Code, Rejection
from ledger.log import generation
from ledger.ports import Fault
from ledger.stores import open_store
from numbering.settings import Settings
from projections.mirror.stream import StreamFault
from replay.archive.source import ArchiveSource
from replay.sources import DatabaseSource, Source, StreamSource

__all__ = ["configured", "is_mirror", "opened_sources", "place_name"]

STREAM_SECONDS = 10.0  # that Redis may take for an answer: somebody reads all of it, and nobody else waits
REDIS_PORT = 6379
REDIS = ("redis://", "rediss://", "unix://")


def configured(settings: Settings) -> list[str]:
    """Name every copy that the settings know, the log itself first."""
    return [place for place in (settings.database_url, settings.redis_url, settings.archive) if place]


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
async def opened_sources(places: Sequence[str], settings: Settings) -> AsyncIterator[list[Source]]:
    """Open what is named: a database URL, a Redis URL, or the directory of an archive.

    A mirror is asked last: which of Redis's streams is meant, the others say. A Fault when one cannot be opened.
    """
    async with AsyncExitStack() as stack:
        found: dict[str, Source] = {}
        for place in sorted(places, key=lambda one: one.startswith(REDIS)):
            found[place] = await _opened(place, settings, list(found.values()), stack)
        try:
            yield [found[place] for place in places]
        except StreamFault as fault:
            raise Fault(Code.REDIS_UNAVAILABLE, str(fault)) from fault


async def _opened(place: str, settings: Settings, others: Sequence[Source], stack: AsyncExitStack) -> Source:
    if place.startswith(REDIS):
        return await _mirror(place, others, stack)
    if "://" in place:
        store = open_store(place, lock_timeout_ms=settings.lock_timeout, allow_unsafe=True)
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


async def _mirror(url: str, others: Sequence[Source], stack: AsyncExitStack) -> StreamSource:
    from projections.mirror.redis import connect_to, streams

    try:
        keys = await streams(url, seconds=STREAM_SECONDS)
    except StreamFault as fault:
        raise Fault(Code.REDIS_UNAVAILABLE, str(fault)) from fault
    ledger_ids = {(await other.extent()).ledger_id for other in others} or set(keys)
    if len(ledger_ids) != 1:
        named = ", ".join(sorted(ledger_ids)) or "none"
        detail = f"which mirror of Redis's is meant (it has {named}) is told by an archive or a database beside it"
        raise Rejection(Code.HISTORIES_DIFFER, detail)
    (ledger_id,) = ledger_ids
    stream = connect_to(url, seconds=STREAM_SECONDS)(
        ledger_id, max([*keys.get(ledger_id, [0]), *await _fences(others)])
    )
    stack.push_async_callback(stream.close)
    return StreamSource(stream, ledger_id)
