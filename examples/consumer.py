"""Follow a ledger through its mirror in Redis, and count the confirmed numbers of every document, each exactly once.

    python examples/consumer.py --ledger LEDGER_ID --redis redis://127.0.0.1:6379 --service http://127.0.0.1:8080

Redis hands every entry to one member of the group at least once. Exactly once comes from the file: an effect and its
position are committed together, and a position that is there already has no second effect. What Redis no longer has
(trimmed, or lost with the group) shows as a hole in the positions, and is read from the service. Start as many members
on one file as you like, and end them as you like.
"""

import argparse
import json
import os
import signal
import socket
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.request import Request, urlopen

from redis import Redis, RedisError, ResponseError

ENTRIES = 100  # at a time
WAIT_MS = 1000
TIMEOUT_SECONDS = 10.0
MAX_PAUSE_SECONDS = 5.0
TABLES = """
    CREATE TABLE IF NOT EXISTS applied (position INTEGER PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS documents (document TEXT PRIMARY KEY, numbers INTEGER NOT NULL);
    INSERT OR IGNORE INTO applied VALUES (0);
"""
APPLY = "INSERT OR IGNORE INTO applied VALUES (?)"
COUNT = "INSERT INTO documents VALUES (?, ?) ON CONFLICT (document) DO UPDATE SET numbers = numbers + excluded.numbers"
DENSE_UP_TO = """
    SELECT position FROM applied AS a WHERE position >= ?
    AND NOT EXISTS (SELECT 1 FROM applied WHERE position = a.position + 1) ORDER BY position LIMIT 1
"""

Event = dict[str, Any]


def confirmed(event: Event) -> Counter[str]:
    """Count the numbers that an event gives to each document."""
    data = event["data"]
    if event["type"] == "NumberAssigned":
        return Counter([data["document"]])
    if event["type"] != "NumbersConfirmed":
        return Counter()
    counts = Counter(document for _, document in data.get("documents", ()))
    others = sum(last - first + 1 for first, last in data["ranges"]) - counts.total()
    return counts + Counter({data["document"]: others} if "document" in data else {})


class Consumer:
    def __init__(self, options: argparse.Namespace, stop: threading.Event) -> None:
        self.redis: Any = Redis.from_url(options.redis, protocol=2, socket_timeout=TIMEOUT_SECONDS)
        self.stream = f"numbering:{options.ledger}:events"
        self.options = options
        self.stop = stop
        self.claimed_up_to = "0-0"
        self.dense_up_to = 0
        self.file = sqlite3.connect(options.file, timeout=TIMEOUT_SECONDS, isolation_level=None)
        self.file.executescript(TABLES)

    def turn(self) -> None:
        """Take what a dead member left, what is new, and what Redis no longer has."""
        group, name, idle = self.options.group, self.options.name, self.options.idle_ms
        self.claimed_up_to, left, *_ = self.redis.xautoclaim(
            self.stream, group, name, idle, self.claimed_up_to, count=ENTRIES
        )
        self.take(left)
        for _, new in self.redis.xreadgroup(group, name, {self.stream: ">"}, count=ENTRIES, block=WAIT_MS):
            self.take(new)
        while self.has_hole() and not self.stop.is_set():
            self.apply(self.read(after=self.dense_up_to))

    def take(self, entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> None:
        if entries:
            self.apply([json.loads(fields[b"body"]) for _, fields in entries])
            self.redis.xack(self.stream, self.options.group, *(id for id, _ in entries))  # the effect is durable now

    def apply(self, events: Sequence[Event]) -> None:
        with self.file:
            self.file.execute("BEGIN IMMEDIATE")
            for event in events:
                if self.file.execute(APPLY, [event["position"]]).rowcount:
                    self.file.executemany(COUNT, confirmed(event).items())

    def has_hole(self) -> bool:
        """Say whether the next position is one that Redis had and has no more.

        While Redis has it, another member may be at work on it.
        """
        (self.dense_up_to,) = self.file.execute(DENSE_UP_TO, [self.dense_up_to]).fetchone()
        following = self.dense_up_to + 1
        last = self.redis.xinfo_stream(self.stream)["last-generated-id"]
        return following <= int(last.split(b"-")[0]) and not self.redis.xrange(self.stream, following, following)

    def read(self, *, after: int) -> Sequence[Event]:
        headers = {"Authorization": f"Bearer {self.options.secret}"} if self.options.secret else {}
        url = f"{self.options.service}/v1/events?after={after}&limit={ENTRIES}"
        with urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS) as answer:
            events: Sequence[Event] = json.load(answer)["events"]
            return events

    def run(self) -> None:
        pause = 0.0
        while not self.stop.wait(pause):
            try:
                self.turn()
                pause = 0.0
            except (RedisError, OSError, sqlite3.OperationalError) as error:
                pause = min(2 * pause + 0.1, MAX_PAUSE_SECONDS)
                if isinstance(error, ResponseError) and self.has_new_group():
                    continue
                print(f"consumer: {error}; trying again in {pause:.1f} s", file=sys.stderr)

    def has_new_group(self) -> bool:
        """Make the group, from the beginning, if Redis lost it, and with it all that was acknowledged."""
        try:
            self.redis.xgroup_create(self.stream, self.options.group, id="0")
        except RedisError:  # it is there, or there is no stream yet
            return False
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", required=True, help="the ledger's id, as GET /health tells it")
    parser.add_argument("--redis", default="redis://127.0.0.1:6379")
    parser.add_argument("--service", default="http://127.0.0.1:8080")
    parser.add_argument("--secret", default=os.environ.get("CONSUMER_SECRET", ""))
    parser.add_argument("--file", default="consumer.db", help="on a local disk; all members share it")
    parser.add_argument("--group", default="consumer")
    parser.add_argument("--name", default=f"{socket.gethostname()}-{os.getpid()}", help="of this member")
    parser.add_argument(
        "--idle-ms", type=int, default=60_000, help="after which another member's entries are taken over"
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    Consumer(parser.parse_args(), stop).run()


if __name__ == "__main__":
    main()
