"""Paths matched as they were sent, so that a number or an id may hold `/`, `?`, `#`, `%` or a space.

Other servers and proxies see the decoded path, where `INV%2F2025` has become two segments.
"""

import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.routing import Match, Route

from ledger.domain.rejection import Rejection

__all__ = ["RawRoute", "decoded"]

_ENCODED = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")


class RawRoute(Route):
    """A route that matches the path before it is percent-decoded; read its parameters with `decoded`."""

    def matches(self, scope: MutableMapping[str, Any]) -> tuple[Match, MutableMapping[str, Any]]:
        if scope["type"] != "http":
            return Match.NONE, {}
        return super().matches({**scope, "path": scope["raw_path"].decode("latin-1")})


def decoded(request: Request, name: str) -> str:
    """Decode one parameter, once; a Rejection when it is not percent-encoded UTF-8."""
    raw: str = request.path_params[name]
    try:
        if not _ENCODED.fullmatch(raw):
            raise ValueError
        return unquote_to_bytes(raw.encode("latin-1")).decode("utf-8")
    except ValueError:
        raise Rejection.invalid(
            name, "is not percent-encoded UTF-8; write % as %25, and quote what is no letter"
        ) from None
