"""Rejections and faults as RFC 9457 problem documents; the only place that knows HTTP statuses."""

from collections.abc import Iterable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.answers import as_json
from ledger.domain.rejection import Code, Rejection
from ledger.ports import Fault

__all__ = [
    "STATUSES",
    "gone",
    "http_problem",
    "internal_problem",
    "problem",
    "problem_body",
    "problem_document",
    "problem_response",
]

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = "1"

STATUSES: dict[Code, int] = {
    Code.CONFIG_NOT_FOUND: 404,
    Code.SEQUENCE_EXHAUSTED: 409,
    Code.LOCK_TIMEOUT: 503,
    Code.RESERVATION_EXPIRED: 410,
    Code.DUPLICATE_NUMBER: 409,
    Code.INVALID_FORMAT: 422,
    Code.REDIS_UNAVAILABLE: 503,
    Code.RESERVATION_NOT_FOUND: 404,
    Code.RESERVATION_CLOSED: 409,
    Code.LIFETIME_EXCEEDED: 409,
    Code.AMENDMENT_REFUSED: 409,
    Code.PERIOD_NOT_BEGUN: 409,
    Code.DATE_OUT_OF_ORDER: 409,
    Code.IDEMPOTENCY_KEY_REUSED: 422,
    Code.OUTCOME_UNKNOWN: 504,
    Code.QUEUE_FULL: 503,
    Code.DATABASE_UNAVAILABLE: 503,
    Code.DATABASE_READ_ONLY: 503,
    Code.DATABASE_FULL: 503,
    Code.DATABASE_NOT_MIGRATED: 503,
    Code.DATABASE_UNSAFE: 503,
    Code.LEDGER_STOPPED: 503,
    Code.SHUTTING_DOWN: 503,
    Code.INTERNAL_ERROR: 500,
    Code.MALFORMED_JSON: 400,
    Code.BODY_TOO_LARGE: 413,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.CROSS_ORIGIN: 403,
    Code.UNAUTHORIZED: 401,
    Code.IMPORT_REFUSED: 422,
    Code.NO_TEMPLATE: 422,
    Code.AMBIGUOUS_NUMBER: 422,
    Code.REPEATED_ROW: 422,
    Code.OUT_OF_RANGE: 422,
    Code.SERIES_AMENDED: 409,
    Code.REGISTER_TOO_LARGE: 413,
    Code.AMBIGUOUS_TEMPLATE: 422,
    Code.TEMPLATE_TOO_COMPLEX: 422,
    Code.MANUAL_OVERRIDE_NOT_ALLOWED: 403,
    Code.NUMBER_NOT_FOUND: 404,
    Code.NUMBER_NOT_CONFIRMED: 409,
    Code.NUMBER_PRINTED_OTHERWISE: 409,
    Code.SEQUENCE_NOT_FOUND: 404,
    Code.PERIOD_CLOSED: 409,
    Code.RESERVATIONS_OPEN: 409,
    Code.SERIES_RETIRED: 409,
    Code.NOT_FORWARD: 409,
    Code.RESET_NOT_ALLOWED: 409,
    Code.PERIOD_ALREADY_OPEN: 409,
    Code.CHANGED_MEANWHILE: 409,
    Code.ACCOUNTING_TOO_LARGE: 409,
    Code.POSITION_NOT_REACHED: 409,
    Code.EVENTS_TRIMMED: 410,
    Code.TOO_MANY_STREAMS: 503,
    Code.MIRROR_NOT_COMPARED: 503,
    Code.PROJECTION_BEHIND: 503,
    Code.LOG_DAMAGED: 500,
    Code.ARCHIVE_UNUSABLE: 422,
    Code.HISTORIES_DIFFER: 409,
    Code.TARGET_NOT_EMPTY: 409,
    Code.NOT_IN_HISTORY: 404,
    Code.STORAGE_FAILED: 503,
    Code.EXPORT_UNUSABLE: 422,
    Code.STILL_FOLDING: 503,
    Code.DATABASE_TOO_NEW: 503,
    Code.FORMAT_NOT_RAISED: 409,
    Code.OLDER_PROCESSES: 409,
    Code.CLOCK_UNSURE: 503,
    Code.LEDGER_CLOSED: 503,
    Code.NOT_COMPLETE: 409,
    Code.ACCEPTANCE_NEEDED: 409,
    Code.TOO_MANY_SKIPPED: 409,
    Code.REOPENING_REFUSED: 409,
}


async def problem(_: Request, error: Exception) -> Response:
    """Answer a Rejection or a Fault."""
    assert isinstance(error, Rejection | Fault)
    return problem_response(error)


async def http_problem(request: Request, error: Exception) -> Response:
    """Answer what the router refuses: an unknown path, or a method that the path does not take."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        response = _response(Code.METHOD_NOT_ALLOWED, f"{request.method} is not served here; use {allowed}")
        response.headers["Allow"] = allowed
        return response
    return _response(Code.NOT_FOUND, f"nothing is served at {request.url.path[:200]}")


async def gone(_: Request, __: Exception) -> Response:
    """End a request whose client hung up before it had sent all; nobody reads this."""
    return Response(status_code=400)


async def internal_problem(_: Request, __: Exception) -> Response:
    return _response(Code.INTERNAL_ERROR, "the service failed on this request; its log has the cause")


def problem_document(error: Rejection | Fault) -> dict[str, object]:
    """Give the whole problem document, to stand in an answer."""
    return problem_body(error.code, error.detail, getattr(error, "errors", ())) | getattr(error, "members", {})


def problem_response(error: Rejection | Fault, **members: object) -> Response:
    """Answer with a problem document, and `members` of its own."""
    return _response(error.code, error.detail, getattr(error, "errors", ()), getattr(error, "members", {}) | members)


def problem_body(code: Code, detail: str, errors: Iterable[tuple[str, str]] = ()) -> dict[str, object]:
    body: dict[str, object] = {
        "type": f"urn:numbering-ledger:{code.number}",
        "title": code.name,
        "status": STATUSES[code],
        "code": code.number,
        "detail": detail,
        "retry": code.retry,
    }
    named = [{"field": field, "problem": flaw} for field, flaw in errors]
    if named:
        body["errors"] = named
    return body


def _response(
    code: Code, detail: str, errors: Iterable[tuple[str, str]] = (), members: Mapping[str, object] | None = None
) -> Response:
    status = STATUSES[code]
    body = problem_body(code, detail, errors) | dict(members or {})
    response = Response(as_json(body), status, media_type=MEDIA_TYPE)
    if status == 503:
        response.headers["Retry-After"] = RETRY_AFTER_SECONDS
    if code is Code.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def table() -> str:
    """Write `docs/errors.md`, which a test holds equal to this."""
    lines = [
        "# Errors",
        "",
        "Every error is an RFC 9457 problem document (`application/problem+json`) with one of these stable codes;",
        "`detail` says what was wrong and what to do, `errors` names the fields.",
        "Made from the code by `python -m api.problems`.",
        "",
        "| code | title | status | retry helps | meaning |",
        "|---|---|---|---|---|",
    ]
    for code in Code:
        retry = "yes" if code.retry else "no"
        lines.append(f"| {code.number} | {code.name} | {STATUSES[code]} | {retry} | {code.meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
