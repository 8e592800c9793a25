"""Count the confirmed numbers of every document, each exactly once, from a ledger's mirror in Redis.

    python examples/consumer.py --ledger LEDGER_ID --redis redis://127.0.0.1:6379 --service http://127.0.0.1:8080

Redis gives every entry to one member of the group, at least once. Exactly once comes from the file: an effect and its
position are committed together, and a position that is there already has no second effect. What Redis no longer has,
because it was trimmed or Redis came back empty, is a hole in the dense positions, and is read from the service. Start
as many members on one file as you like, and end them however you like.
"""

import argparse
import json
import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from contextlib import suppress
from urllib.request import Request, urlopen

from redis import Redis, RedisError

TABLES = """
    CREATE TABLE IF NOT EXISTS applied (position INTEGER PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS documents (document TEXT PRIMARY KEY, numbers INTEGER NOT NULL);
    INSERT OR IGNORE INTO applied VALUES (0)"""
APPLY = "INSERT OR IGNORE INTO applied VALUES (?)"
COUNT = "INSERT INTO documents VALUES (?, ?) ON CONFLICT (document) DO UPDATE SET numbers = numbers + excluded.numbers"
DENSE = """SELECT position FROM applied AS a WHERE position >= ?
    AND NOT EXISTS (SELECT 1 FROM applied WHERE position = a.position + 1) ORDER BY position LIMIT 1"""


def confirmed(type, data):
    """Count the numbers that an event gives to each document."""
    if type == "NumberAssigned":
        return Counter([data["document"]])
    if type == "NumbersImported":
        return Counter(document for _, document in data.get("documents", ()))
    if type == "DocumentLinked":
        counts = Counter([data["document"]])
        counts.subtract([data["previous"]] if "previous" in data else [])
        return counts
    if type != "NumbersConfirmed":
        return Counter()
    counts = Counter(document for _, document in data.get("documents", ()))
    others = sum(last - first + 1 for first, last in data["ranges"]) - counts.total()
    return counts + Counter({data["document"]: others} if "document" in data else {})


class Consumer:
    def __init__(self, options):
        self.options, self.stream, self.dense = options, f"numbering:{options.ledger}:events", 0
        self.redis = Redis.from_url(options.redis, protocol=2, socket_timeout=10)
        self.file = sqlite3.connect(options.file, timeout=10, isolation_level=None)
        self.file.executescript(TABLES)

    def turn(self):
        """Take what a dead member has left, what is new, and what Redis no longer has."""
        group, name = self.options.group, self.options.name
        self.take(self.redis.xautoclaim(self.stream, group, name, self.options.idle_ms)[1])
        for _, entries in self.redis.xreadgroup(group, name, {self.stream: ">"}, count=100, block=1000):
            self.take(entries)
        while self.has_hole():
            self.apply(self.read(f"/v1/events?after={self.dense}"))

    def take(self, entries):
        if entries:
            self.apply([json.loads(fields[b"body"]) for _, fields in entries])
            self.redis.xack(self.stream, self.options.group, *(id for id, _ in entries))  # the effect is durable now

    def apply(self, events):
        with self.file:
            self.file.execute("BEGIN IMMEDIATE")
            for event in events:
                if self.file.execute(APPLY, [event["position"]]).rowcount:
                    self.file.executemany(COUNT, confirmed(event["type"], event["data"]).items())

    def has_hole(self):
        """Say whether Redis had the next position and has it no more; what it has may be another member's work."""
        (self.dense,) = self.file.execute(DENSE, [self.dense]).fetchone()
        last = int(self.redis.xinfo_stream(self.stream)["last-generated-id"].partition(b"-")[0])
        return self.dense < last and not self.redis.xrange(self.stream, self.dense + 1, self.dense + 1)

    def read(self, path):
        headers = {"Authorization": f"Bearer {self.options.secret}"}
        with urlopen(Request(self.options.service + path, headers=headers), timeout=10) as answer:
            return json.load(answer)["events"]

    def run(self):
        while True:
            try:
                self.turn()
            except (RedisError, OSError, sqlite3.OperationalError) as error:
                print(f"consumer: {error}; trying again in a second", file=sys.stderr)
                time.sleep(1)
                with suppress(RedisError):  # Redis has lost the group; else it says that it is there
                    self.redis.xgroup_create(self.stream, self.options.group, id="0")


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", required=True, help="the ledger's id, as GET /health tells it")
    parser.add_argument("--redis", default="redis://127.0.0.1:6379")
    parser.add_argument("--service", default="http://127.0.0.1:8080")
    parser.add_argument("--secret", default=os.environ.get("CONSUMER_SECRET", ""), help="what the service asks for")
    parser.add_argument("--file", default="consumer.db", help="on a local disk; all members share it")
    parser.add_argument("--group", default="consumer")
    parser.add_argument("--name", default=f"member-{os.getpid()}", help="of this member")
    parser.add_argument("--idle-ms", type=int, default=60_000, help="after which a member's entries are taken over")
    Consumer(parser.parse_args()).run()
