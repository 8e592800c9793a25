"""The ledger as it was, over HTTP: its sequences and open reservations, or the numbers of one sequence."""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.as_of_answers import (
    moment_answer,
    numbers_then,
    reservation_then,
    reservations_of,
    sequence_then,
    sequences_of,
)
from api.cursors import read_cursor, write_cursor
from api.paths import RawRoute
from api.requests import read_query
from api.responses import found_response
from api.schemas import AsOfQuery
from ledger.domain.decisions.guards import known_series
from ledger.domain.rejection import Rejection
from ledger.domain.sequence import Sequence as Counter
from ledger.domain.state import Reservation
from ledger.fold import Fold
from ledger.service import Ledger
from projections.reading import Cursor

__all__ = ["as_of_routes"]

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Lists:
    """What there was, of a series or of all, in the order in which it is told."""

    sequences: list[Counter]
    reservations: list[Reservation]


class _AsOf:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lists: WeakKeyDictionary[Fold, dict[str | None, _Lists]] = WeakKeyDictionary()

    async def __call__(self, request: Request) -> Response:
        query = await read_query(request, AsOfQuery, self._ledger)
        _check(query)
        fold = await self._ledger.as_of(position=query.position, time=query.time)
        answer = self._page(fold, query) if query.sequence is None else await self._numbers(fold, query)
        # What was, stays; a time may yet come to mean a later event.
        return found_response(request, answer, is_final=query.position is not None)

    def _page(self, fold: Fold, query: AsOfQuery) -> Answer:
        """Give the next of both lists. A cursor counts how much of each was given: neither changes any more."""
        asked = {"search": "as-of", "ledger": fold.ledger_id, "position": fold.position, "series": query.series}
        done = read_cursor(query.after, asked) if query.after else Cursor(0, 0)
        lists = self._listed(fold, query.series)
        ends = Cursor(*(min(begin + query.limit, len(each)) for begin, each in zip(done, _both(lists), strict=True)))
        is_last = ends == Cursor(len(lists.sequences), len(lists.reservations))
        return moment_answer(fold) | {
            "sequences": [sequence_then(fold, each) for each in lists.sequences[done.position : ends.position]],
            "reservations": [reservation_then(each) for each in lists.reservations[done.value : ends.value]],
            "next": None if is_last else write_cursor(ends, asked),
        }

    def _listed(self, fold: Fold, series: str | None) -> _Lists:
        known = self._lists.setdefault(fold, {})
        if series not in known:
            if series is not None:
                known_series(fold.state, series)
            known[series] = _Lists(sequences_of(fold.state, series), reservations_of(fold.state, series))
        return known[series]

    async def _numbers(self, fold: Fold, query: AsOfQuery) -> Answer:
        assert query.sequence is not None
        found = await self._ledger.numbers_as_of(fold, query.sequence, first=query.first or 0, limit=query.limit)
        return numbers_then(fold, *found)


def _both(lists: _Lists) -> tuple[list[Any], list[Any]]:
    return lists.sequences, lists.reservations


def _check(query: AsOfQuery) -> None:
    if (query.position is None) == (query.time is None):
        raise Rejection.invalid("position", "or time must be given, and not both")
    if query.sequence is not None and (query.series is not None or query.after):
        raise Rejection.invalid("sequence", "goes with first and limit alone")
    if query.sequence is None and query.first is not None:
        raise Rejection.invalid("first", "is for the numbers of a sequence; name it")


def as_of_routes(ledger: Ledger) -> list[Route]:
    return [RawRoute("/v1/as-of", _AsOf(ledger).__call__, methods=["GET"])]
