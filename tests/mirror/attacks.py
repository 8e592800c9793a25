"""What somebody who can write to Redis may do to a mirror, and what a process without the key does: by hand, no script.

Each attack is tried on a mirror in memory and on a real Redis, at a process that starts and at one that runs.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from redis import Redis as SyncClient
from redis.asyncio import Redis as Client

from ledger import codec
from ledger.ports import Record
from projections.mirror.comparison import Verdict
from projections.mirror.macs import Authenticator, Keys
from projections.mirror.memory import MemoryEntries
from projections.mirror.stream import Entry, stream_key
from tests.servers import Redis
from tests.simulation.surgery import forked, one_more

__all__ = [
    "ATTACKS",
    "FOREIGN",
    "KEYS",
    "NEW",
    "OLD",
    "OTHERS",
    "Attack",
    "InMemory",
    "InRedis",
    "Mirror",
    "Scene",
    "entry_of",
    "forge_by_hand",
    "keyed",
    "plain",
    "supersede",
    "supersede_by_replay",
    "supersede_without_key",
]

NEW, OLD, FOREIGN = (bytes(range(first, first + 32)) for first in (1, 50, 100))
KEYS = Keys((NEW, OLD))  # as in the middle of a rotation
OTHERS = Keys((FOREIGN,))


class Mirror(Protocol):
    """A Redis, as an attacker sees it: he can write what he likes, wherever the server takes it."""

    async def add(self, entries: Sequence[Entry], *, generation: int = 0) -> None: ...

    async def drop(self) -> None: ...

    async def remember(self, position: int) -> None:
        """Let the stream remember a position of which it holds no entry."""


class InMemory:
    def __init__(self) -> None:
        self.held = MemoryEntries()
        self.generations: dict[int, MemoryEntries] = {}

    async def add(self, entries: Sequence[Entry], *, generation: int = 0) -> None:
        held = self.generations.setdefault(generation, MemoryEntries()) if generation else self.held
        for entry in entries:
            assert entry.position > held.last, "Redis takes no entry behind its last one"
            held.entries.append(entry)
            held.last = entry.position

    async def drop(self) -> None:
        self.held.entries, self.held.last = [], 0

    async def remember(self, position: int) -> None:
        self.held.last = position


class InRedis:
    def __init__(self, client: Client, ledger_id: str) -> None:
        self._client = client
        self._ledger_id = ledger_id

    async def add(self, entries: Sequence[Entry], *, generation: int = 0) -> None:
        for entry in entries:
            fields: dict[Any, Any] = {"type": "?", "version": 1, "body": entry.body, "hash": entry.hash}
            fields |= {"mac": entry.mac} if entry.mac else {}
            await self._client.xadd(stream_key(self._ledger_id, generation), fields, id=f"{entry.position}-0")

    async def drop(self) -> None:
        await self._client.delete(stream_key(self._ledger_id))

    async def remember(self, position: int) -> None:
        key = stream_key(self._ledger_id)
        await self._client.xadd(key, {"no": "event"}, id=f"{position}-0")
        await self._client.xdel(key, f"{position}-0")


def entry_of(record: Record, authenticator: Authenticator | None = None, *, position: int = 0) -> Entry:
    """Write an entry as a holder of a key does, whose MAC may be of another `position`."""
    mac = authenticator.mac(position or record.position, record.hash) if authenticator else b""
    return Entry(record.position, record.body, record.hash, mac)


def plain(records: Sequence[Record]) -> list[Entry]:
    return [entry_of(record) for record in records]


def keyed(records: Sequence[Record], authenticator: Authenticator) -> list[Entry]:
    return [entry_of(record, authenticator) for record in records]


def forge_by_hand(redis: Redis, key: str) -> None:
    """Append to a stream an event that chains, and that the audit rules accept."""
    with SyncClient(port=redis.port) as client:
        held: Any = client.xrange(key)
        records = [codec.record_of(fields[b"body"], fields[b"hash"]) for _, fields in held]
        made = one_more(records)[-1]
        fields: dict[Any, Any] = {"type": made.type, "version": made.version, "body": made.body, "hash": made.hash}
        client.xadd(key, fields, id=f"{made.position}-0")


@dataclass(frozen=True, slots=True)
class Scene:
    """The log as it is, the mirror that holds all of it and what the database has lost, if any, and who has a key."""

    mirror: Mirror
    log: Sequence[Record]
    whole: Sequence[Record]
    ours: Authenticator
    ledger_id: str

    async def append(self, entries: Sequence[Entry]) -> None:
        await self.mirror.add(entries)

    async def replace(self, entries: Sequence[Entry]) -> None:
        await self.mirror.drop()
        await self.mirror.add(entries)

    @property
    def lost(self) -> Sequence[Record]:
        return self.whole[len(self.log) :]

    def forged(self) -> Record:
        """The next event, which chains, and which nobody decided."""
        return one_more(self.log)[-1]

    def of(self, keys: Keys = KEYS, ledger_id: str = "", generation: int = 0) -> Authenticator:
        return keys.of(ledger_id or self.ledger_id, generation)


@dataclass(frozen=True, slots=True)
class Attack:
    """`keyed` is what a comparison with the key finds, `plain` one without; the database has `lost` so many events."""

    name: str
    make: Callable[[Scene], Awaitable[None]]
    keyed: Verdict
    plain: Verdict
    lost: int = 0


async def nothing(scene: Scene) -> None:
    pass


async def forge(scene: Scene) -> None:
    await scene.append(plain([scene.forged()]))


async def forge_mac(scene: Scene) -> None:
    await scene.append([entry_of(scene.forged())._replace(mac=bytes(32))])


async def forge_by_other_key(scene: Scene) -> None:
    await scene.append([entry_of(scene.forged(), scene.of(OTHERS))])


async def forge_of_other_ledger(scene: Scene) -> None:
    await scene.append([entry_of(scene.forged(), scene.of(ledger_id="another"))])


async def forge_of_other_generation(scene: Scene) -> None:
    await scene.append([entry_of(scene.forged(), scene.of(generation=1))])


async def move(scene: Scene) -> None:
    """The MAC of the same hash at another position."""
    record = scene.forged()
    await scene.append([entry_of(record, scene.ours, position=record.position + 1)])


async def forge_unchained(scene: Scene) -> None:
    await scene.append([entry_of(scene.forged())._replace(hash=bytes(32))])


async def forge_behind_a_hole(scene: Scene) -> None:
    await scene.append([entry_of(scene.forged())._replace(position=10**15)])


async def remember(scene: Scene) -> None:
    await scene.mirror.remember(10**15)


async def copy_without_key(scene: Scene) -> None:
    """An earlier build, or a process without the key, mirrored the end of the log."""
    await scene.replace([*keyed(scene.log[:-2], scene.ours), *plain(scene.log[-2:])])


async def lose(scene: Scene) -> None:
    await scene.replace(keyed(scene.whole, scene.ours))


async def lose_by_old_key(scene: Scene) -> None:
    await scene.replace(keyed(scene.whole, scene.of(Keys((OLD,)))))


async def lose_all_but_last_without_key(scene: Scene) -> None:
    """The hashes chain, so that the last MAC speaks for all before it."""
    await scene.replace([*plain(scene.whole[:-1]), *keyed(scene.whole[-1:], scene.ours)])


async def lose_without_key(scene: Scene) -> None:
    await scene.replace([*keyed(scene.log, scene.ours), *plain(scene.lost)])


async def lose_and_forge(scene: Scene) -> None:
    await scene.replace([*keyed(scene.whole, scene.ours), *plain([one_more(scene.whole)[-1]])])


async def fork(scene: Scene) -> None:
    """Another history of a holder of the key: of this database's copy, which somebody served."""
    await scene.replace(keyed(forked(scene.log, len(scene.log)), scene.ours))


async def fork_without_key(scene: Scene) -> None:
    await scene.replace(plain(forked(scene.log, len(scene.log))))


async def supersede(scene: Scene) -> None:
    await scene.mirror.add([entry_of(scene.forged(), scene.of(generation=3))], generation=3)


async def supersede_without_key(scene: Scene) -> None:
    await scene.mirror.add([entry_of(scene.forged())], generation=3)


async def supersede_by_replay(scene: Scene) -> None:
    """True entries of this generation, copied to the stream of a later one."""
    await scene.mirror.add(keyed(scene.log, scene.ours), generation=1)


async def flush(scene: Scene) -> None:
    await scene.mirror.drop()


_FOLLOWS, _FOREIGN, _AHEAD, _FORKED = Verdict.FOLLOWS, Verdict.FOREIGN, Verdict.AHEAD, Verdict.FORKED
_SUPERSEDED = Verdict.SUPERSEDED

ATTACKS = [
    Attack("none", nothing, _FOLLOWS, _FOLLOWS),
    Attack("flushed", flush, Verdict.EMPTY, Verdict.EMPTY),
    Attack("no MAC, as the log", copy_without_key, _FOLLOWS, _FOLLOWS),
    Attack("no MAC", forge, _FOREIGN, _AHEAD),
    Attack("32 other bytes", forge_mac, _FOREIGN, _AHEAD),
    Attack("MAC by another key", forge_by_other_key, _FOREIGN, _AHEAD),
    Attack("MAC of another ledger", forge_of_other_ledger, _FOREIGN, _AHEAD),
    Attack("MAC of another generation", forge_of_other_generation, _FOREIGN, _AHEAD),
    Attack("MAC of another position", move, _FOREIGN, _AHEAD),
    Attack("does not chain", forge_unchained, _FOREIGN, _AHEAD),
    Attack("behind a hole", forge_behind_a_hole, _FOREIGN, _AHEAD),
    Attack("remembered only", remember, _FOREIGN, _AHEAD),
    Attack("lost, all with MAC", lose, _AHEAD, _AHEAD, lost=4),
    Attack("lost, by the old key", lose_by_old_key, _AHEAD, _AHEAD, lost=4),
    Attack("lost, last with MAC", lose_all_but_last_without_key, _AHEAD, _AHEAD, lost=4),
    Attack("lost, no MAC", lose_without_key, _FOREIGN, _AHEAD, lost=4),
    Attack("lost, then forged", lose_and_forge, _AHEAD, _AHEAD, lost=4),
    Attack("fork", fork, _FORKED, _FORKED),
    Attack("fork, no MAC", fork_without_key, _FOREIGN, _FORKED),
    Attack("later generation", supersede, _SUPERSEDED, _SUPERSEDED),
    Attack("later generation, no MAC", supersede_without_key, _FOREIGN, _SUPERSEDED),
    Attack("later generation, replayed", supersede_by_replay, _FOREIGN, _SUPERSEDED),
]
