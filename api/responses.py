"""JSON responses, and what lets a client keep one: a weak entity tag (RFC 9110, 8.8.3)."""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.answers import as_json

__all__ = ["found_response", "json_response"]

ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')
TAG_LENGTH = 32
REVALIDATE = "no-cache"
FOR_EVER = "private, max-age=31536000, immutable"


def json_response(data: object, status: int = 200, *, replayed: bool = False) -> Response:
    """Answer; `replayed` says that this is the first answer to the same request, again."""
    response = Response(as_json(data), status, media_type="application/json")
    if replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def found_response(request: Request, answer: Mapping[str, Any], *, is_final: bool = False) -> Response:
    """Answer a GET, or say that the client has that answer already. A final one need not be asked for again."""
    tag = _tag(answer)
    response = Response(status_code=304) if _has(request, tag) else json_response(answer)
    response.headers["ETag"] = f"W/{tag}"
    response.headers["Cache-Control"] = FOR_EVER if is_final else REVALIDATE
    return response


def _tag(answer: Mapping[str, Any]) -> str:
    """Tag what is told. The position at which it was so moves with every event of the ledger, whomever it concerns."""
    position = answer.get("position")

    def told(value: object) -> object:
        if isinstance(value, dict) and value.get("position") == position:
            return {name: each for name, each in value.items() if name != "position"}
        return value

    timeless = {
        name: [told(each) for each in value] if isinstance(value, list) else value
        for name, value in answer.items()
        if name != "position"
    }
    return f'"{sha256(as_json(timeless)).hexdigest()[:TAG_LENGTH]}"'


def _has(request: Request, tag: str) -> bool:
    """Compare weakly, as If-None-Match asks for (RFC 9110, 13.1.2)."""
    given = ",".join(request.headers.getlist("if-none-match")).strip()
    return given == "*" or tag in ENTITY_TAG.findall(given)
