#!/usr/bin/env bash
# An account of MariaDB's PAM plugin makes the server ask for the client plugin "dialog". Neither driver knows it, and
# neither says so: asyncmy 0.2.18 raises SystemError ("Negative size passed to …", what Python raises for a fault inside
# an extension), PyMySQL 1.1.2 raises IndexError. Both are no errors of the DB-API, so code that catches those misses it.
# Seen with MariaDB 10.11.19 of Debian 12 and Python 3.11.7. Needs mariadb-server. Prints what it saw, and
# fails if that changes.
set -euo pipefail
PATH=$PATH:/usr/sbin
directory=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server" || true; }; rm -rf "$directory"' EXIT
"${PYTHON:-python3}" -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet --disable-pip-version-check asyncmy==0.2.18 pymysql==1.1.2
mariadbd --version
mariadb-install-db --no-defaults --auth-root-authentication-method=normal --user="$(id -un)" \
    --datadir="$directory/data" >"$directory/install.log" 2>&1
mariadbd --no-defaults --user="$(id -un)" --datadir="$directory/data" --socket="$directory/s" \
    --pid-file="$directory/pid" --skip-networking >"$directory/log" 2>&1 &
server=$!
root() { mariadb --no-defaults --user=root --socket="$directory/s" --execute="$1"; }
for _ in $(seq 100); do root "SELECT 1" >/dev/null 2>&1 && break || sleep 0.1; done
root "INSTALL SONAME 'auth_pam'; CREATE USER somebody@localhost IDENTIFIED VIA pam"
"$directory/venv/bin/python" - "$directory/s" <<'PYTHON'
import asyncio
import sys

import asyncmy
import asyncmy.errors
import pymysql

account = {"unix_socket": sys.argv[1], "user": "somebody", "password": "secret"}


def raised(connect):
    try:
        connect(**account)
    except Exception as error:
        return error


async def connected(**account):
    await asyncmy.connect(**account)


for name, connect, expected in (
    ("asyncmy", lambda **account: asyncio.run(connected(**account)), SystemError),
    ("PyMySQL", pymysql.connect, IndexError),
):
    error = raised(connect)
    print(f"{name}: {error!r}, an error of the DB-API: {isinstance(error, (pymysql.Error, asyncmy.errors.Error))}")
    assert type(error) is expected
PYTHON
