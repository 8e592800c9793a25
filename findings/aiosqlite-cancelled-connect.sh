#!/usr/bin/env bash
# aiosqlite 0.22.1 never closes a connection that its thread opens while the wait for it is cancelled: the descriptor
# stays open until the garbage collector finds the connection. Seen with Python 3.11.7 and 3.13.0, which then also warns
# of an unclosed database. Prints what it saw, and fails if that changes.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
"${PYTHON:-python3}" -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet --disable-pip-version-check aiosqlite==0.22.1
cd "$directory"
"$directory/venv/bin/python" - <<'PYTHON'
import asyncio
import sqlite3

import aiosqlite

opened, closed = [], []


class Noted(sqlite3.Connection):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        opened.append(self)  # keeps it from the garbage collector

    def close(self):
        closed.append(self)
        super().close()


async def seen(what, driver, expected):
    async with asyncio.timeout(10):
        while driver._thread.is_alive():
            await asyncio.sleep(0.01)
    print(f"{what}: {len(opened)} opened, {len(closed)} closed")
    assert (len(opened), len(closed)) == expected
    opened.clear()
    closed.clear()


async def main():
    driver = aiosqlite.connect("file.db", factory=Noted)
    async with driver:
        pass
    await seen("connected and closed", driver, (1, 1))

    driver = aiosqlite.connect("file.db", factory=Noted)
    connecting = asyncio.ensure_future(driver.__aenter__())
    await asyncio.sleep(0)  # the thread is told to connect
    connecting.cancel()
    await asyncio.wait([connecting])
    await seen("cancelled while it connects", driver, (1, 0))


asyncio.run(main())
PYTHON
