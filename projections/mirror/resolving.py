"""Connections to Redis that look up its name in a thread of their own, one look-up at a time.

A name server that is silent holds a look-up for many seconds, whatever timeout a connection has; and the event loop has
few threads for look-ups, which the ledger needs to find its database again. So they are not the mirror's to fill.
"""

import asyncio
import socket
from collections.abc import Mapping
from concurrent.futures import Future
from ipaddress import ip_address
from threading import Thread
from typing import Any

from redis.asyncio import Connection, SSLConnection

__all__ = ["Resolving", "ResolvingSSL", "address_of"]

_looking_up: dict[str, "Future[str]"] = {}


async def address_of(host: str) -> str:
    """Look up a host; whoever comes while that still takes waits for the same answer."""
    if _is_address(host):
        return host
    answer = _looking_up.get(host)
    if answer is None or answer.done():
        answer = _looking_up[host] = Future()
        answer.set_running_or_notify_cancel()  # from now on nobody but the thread ends it
        Thread(target=_look_up, args=(host, answer), name="look-up", daemon=True).start()
    return await asyncio.shield(asyncio.wrap_future(answer))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _look_up(host: str, answer: "Future[str]") -> None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        answer.set_result(str(found[0][4][0]))
    except OSError as error:
        answer.set_exception(error)


class Resolving(Connection):
    _address = ""

    async def _connect(self) -> None:
        async with asyncio.timeout(self.socket_connect_timeout):
            self._address = await address_of(self.host)
        await super()._connect()  # type: ignore[no-untyped-call]

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "host": self._address}


class ResolvingSSL(SSLConnection):
    _address = ""

    async def _connect(self) -> None:
        async with asyncio.timeout(self.socket_connect_timeout):
            self._address = await address_of(self.host)
        await super()._connect()  # type: ignore[no-untyped-call]

    def _connection_arguments(self) -> Mapping[str, Any]:
        # The certificate is the name's, not the address's.
        return {**super()._connection_arguments(), "host": self._address, "server_hostname": self.host}
