"""Searching numbers and reservations in the projections, page by page, each page as of one position."""

from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from api.cursors import read_cursor, write_cursor
from api.number_answers import mark_answer
from api.requests import read_query
from api.responses import found_response
from api.schemas import NumbersQuery, Query, ReservationsQuery, Search
from ledger.domain.calendar import instant_text
from ledger.domain.rejection import Code
from ledger.ports import Fault
from ledger.service import Ledger
from projections.reading import Filter, Found, Projections, ReservationFilter
from projections.rows import NumberRow, ReservationRow, ranges_from

__all__ = ["Searches", "number_answer"]

WAIT_SECONDS = 5.0  # for a projection that is behind what the client has seen

Answer = dict[str, Any]

R = TypeVar("R", NumberRow, ReservationRow)


class Searches:
    def __init__(self, ledger: Ledger, projections: Projections) -> None:
        self._ledger = ledger
        self._projections = projections

    async def numbers(self, request: Request) -> Response:
        query = await read_query(request, NumbersQuery, self._ledger, lists=("state",))
        after = read_cursor(query.after, self._asked("numbers", query)) if query.after else None
        await self._wait(query)
        found = await self._projections.numbers(Filter(**query.asked()), after, query.limit)
        return found_response(request, self._page("numbers", found, number_answer, query))

    async def reservations(self, request: Request) -> Response:
        query = await read_query(request, ReservationsQuery, self._ledger, lists=("state",))
        after = read_cursor(query.after, self._asked("reservations", query)).position if query.after else 0
        await self._wait(query)
        found = await self._projections.reservations(ReservationFilter(**query.asked()), after, query.limit)
        return found_response(request, self._page("reservations", found, _reservation, query))

    def _page(self, name: str, found: Found[R], told: Callable[[R, str], Answer], query: Search) -> Answer:
        return {
            name: [told(row, found.sequences[row.sequence_at]) for row in found.rows],
            "next": write_cursor(found.following, self._asked(name, query)) if found.following else None,
            "position": found.position,
        }

    def _asked(self, name: str, query: Search) -> Answer:
        """Say what a cursor belongs to: positions of another ledger, or of another search, would mean nothing here."""
        fold = self._ledger.writer.fold
        return query.filters() | {"search": name, "ledger": fold.ledger_id if fold else ""}

    async def _wait(self, query: Query) -> None:
        if query.min_position and not await self._projections.wait(query.min_position, WAIT_SECONDS):
            position = await self._projections.position()
            raise Fault(
                Code.PROJECTION_BEHIND,
                f"the tables for reading are at position {position}, not yet at {query.min_position}",
                advice="try again, or run `numbering projections status` if this does not pass",
            )


def number_answer(row: NumberRow, sequence: str) -> Answer:
    return {
        "number": row.number,
        "value": row.value,
        "state": row.state,
        "series": row.series,
        "sequence": sequence,
        "document_date": row.document_date,
        **mark_answer(row.date_is_derived),
        "document": row.document or None,
        "token": row.token or None,
        "replaces": row.replaces or None,
        "replaced_by": row.replaced_by or None,
        "given_at": instant_text(row.reserved_at),
        "confirmed_at": instant_text(row.confirmed_at) if row.confirmed_at else None,
        "cause": {
            "event": row.event,
            "actor": row.actor,
            "time": instant_text(row.changed_at),
            "reason": row.reason or None,
            "position": row.changed_position,
        },
    }


def _reservation(row: ReservationRow, sequence: str) -> Answer:
    return {
        "token": row.token,
        "state": row.state,
        "series": row.series,
        "sequence": sequence,
        "count": row.count,
        "confirmed": row.confirmed,
        "held": [{"first": first, "last": last} for first, last in ranges_from(row.ranges)],
        "actor": row.actor,
        "reserved_at": instant_text(row.reserved_at),
        "expires_at": instant_text(row.expires_at),
        "closed_at": instant_text(row.closed_at) if row.closed_at else None,
        "reserved_position": row.position,
    }
