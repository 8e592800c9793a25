"""Is the process alive, and can it number? Load balancers read the status, people the body."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.responses import json_response
from ledger.domain.calendar import instant_text
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.rejection import Code
from ledger.ports import Fault
from ledger.service import Ledger
from projections.mirror.relay import Relay
from projections.projector import Activity, Projector

__all__ = ["Verifying", "health_routes"]

Check = dict[str, Any]

UP: Check = {"status": "up"}


class Verification(Protocol):
    """How far the log was last seen whole: see `replay.verifier`, which the service runs."""

    @property
    def position(self) -> int: ...
    @property
    def began_at(self) -> int: ...
    @property
    def ended_at(self) -> int: ...
    @property
    def reading(self) -> int: ...
    @property
    def flaw(self) -> str | None: ...
    @property
    def flawed(self) -> int: ...


class Verifying(Protocol):
    """Who reads the log again in the background."""

    @property
    def status(self) -> Verification: ...


class Health:
    """What can be said of one process. Its checks have the names that the clients of the present system know."""

    def __init__(
        self, ledger: Ledger, mirror: Relay | None, projector: Projector | None, verifier: Verifying | None
    ) -> None:
        self._ledger = ledger
        self._mirror = mirror
        self._projector = projector
        self._verifier = verifier

    async def live(self, _: Request) -> Response:
        return json_response(UP)

    async def ready(self, _: Request) -> Response:
        return json_response(_of_fault(self._ledger.writer.fault), self._status)

    async def health(self, _: Request) -> Response:
        return json_response(self._body(), self._status)

    async def numbering(self, _: Request) -> Response:
        writer = self._ledger.writer
        body = self._body() | {
            "fallback_mode": bool(self._mirror and self._mirror.status.fallback_mode),
            "mirror": self._mirror_body(),
            "projections": self._projections_body(),
            "format": self._format_body(),
            "clock": self._clock_body(),
            "closed": self._ledger.state.closed,
            "queue_depth": writer.waiting,
            "oldest_waiting_ms": round(writer.oldest_wait_seconds * 1000),
        }
        return json_response(body, self._status)

    @property
    def _status(self) -> int:
        return 503 if self._ledger.writer.fault else 200

    def _body(self) -> Check:
        writer = self._ledger.writer
        checks = {"redis": self._redis(), "database": self._database(), "sequence_integrity": self._integrity()}
        return {
            "status": "down" if writer.fault else _worst(checks),
            "checks": checks,
            "ledger_id": writer.fold.ledger_id if writer.fold else None,
            "position": self._ledger.position,
            "waiting": writer.waiting,
        }

    def _redis(self) -> Check:
        if self._mirror is None:
            return UP | {"detail": "no mirror is configured"}
        status = self._mirror.status
        if status.detail is None:
            return UP
        return _failed("degraded" if status.is_reached else "down", Code.REDIS_UNAVAILABLE, status.detail)

    def _database(self) -> Check:
        fault = self._ledger.writer.fault
        return UP if fault and fault.code is Code.MIRROR_NOT_COMPARED else _of_fault(fault)

    def _integrity(self) -> Check:
        for flaw in self._flaws():
            return {"status": "degraded", "detail": flaw} | self._verified_body()
        return UP | self._verified_body()

    def _verified_body(self) -> Check:
        """Tell up to which position the log was last seen whole, and when; nothing where nobody reads it again."""
        if self._verifier is None:
            return {}
        seen = self._verifier.status
        instants = {"began_at": seen.began_at, "ended_at": seen.ended_at}
        told = {name: instant_text(at) if at else None for name, at in instants.items()}
        return {"verified": {"position": seen.position, **told, "reading": seen.reading}}

    def _flaws(self) -> Iterator[str]:
        if self._verifier and (seen := self._verifier.status).flaw:
            yield f"the log is not whole: position {seen.flawed}: {seen.flaw}; run `numbering verify`"
        state = self._ledger.state
        for series in state.all_series():
            if state.highest(series) > series.max_value:
                yield f"a sequence of {series.code} is above the maximum {series.max_value}"
        projected = self._projector.status if self._projector else None
        if projected and projected.activity is Activity.FAILED:
            yield f"the projections have failed: {projected.why}; run `numbering projections rebuild`"
        if projected and projected.activity is Activity.WAITING:
            yield f"the projections wait: {projected.why}"
        if projected and projected.disagreement:
            yield f"the projections are not as the log: {projected.disagreement}; run `numbering projections rebuild`"

    def _mirror_body(self) -> Check | None:
        if self._mirror is None:
            return None
        return self._place(self._mirror.status.position)

    def _projections_body(self) -> Check | None:
        if self._projector is None:
            return None
        status = self._projector.status
        return self._place(status.position) | {"activity": status.activity.value, "why": status.why}

    def _clock_body(self) -> Check:
        """Tell what the clocks said when they were last compared, and whether events may be dated by them."""
        clocks = self._ledger.writer.clocks
        return _of_fault(clocks.fault) | clocks.times.texts()

    def _format_body(self) -> Check:
        """Tell the ledger's format, and the one to which `numbering upgrade` raises it; an empty ledger has none."""
        present = self._ledger.state.format if self._ledger.position else None
        return {"present": present, "newest": NEWEST_FORMAT}

    def _place(self, position: int) -> Check:
        return {"position": position, "lag": max(self._ledger.position - position, 0)}


def health_routes(
    ledger: Ledger, mirror: Relay | None, projector: Projector | None, verifier: Verifying | None = None
) -> list[Route]:
    to = Health(ledger, mirror, projector, verifier)
    return [
        Route("/health", to.health, methods=["GET"]),
        Route("/health/live", to.live, methods=["GET"]),
        Route("/health/ready", to.ready, methods=["GET"]),
        Route("/health/numbering", to.numbering, methods=["GET"]),
    ]


def _of_fault(fault: Fault | None) -> Check:
    return UP if fault is None else _failed("down", fault.code, fault.detail)


def _failed(status: str, code: Code, detail: str) -> Check:
    return {"status": status, "code": code.number, "title": code.name, "detail": detail}


def _worst(checks: Mapping[str, Check]) -> str:
    """A service without Redis still numbers: only what keeps it from that makes it down."""
    return "up" if all(check["status"] == "up" for check in checks.values()) else "degraded"
