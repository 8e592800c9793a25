"""JSON responses."""

from starlette.responses import Response

from api.answers import as_json

__all__ = ["json_response"]


def json_response(data: object, status: int = 200, *, replayed: bool = False) -> Response:
    """Answer; `replayed` says that this is the first answer to the same request, again."""
    response = Response(as_json(data), status, media_type="application/json")
    if replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response
