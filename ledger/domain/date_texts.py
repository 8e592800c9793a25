"""What the date tokens of a number can say: all of them come from one date of the ledger's window."""

from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache, lru_cache

from ledger.domain import calendar
from ledger.domain.calendar import Reset
from ledger.domain.template import DATE_TOKENS

__all__ = ["DateTexts", "date_texts", "periods", "texts_of", "undetermined"]


class DateTexts:
    """What the date tokens can say, one after the other: states that differ in what may yet be said."""

    def __init__(self, rows: list[tuple[str, ...]], tokens: int) -> None:
        self._states: list[Mapping[str, int] | str] = []
        self._known: dict[object, int] = {}
        self._tokens = tokens
        self.start = self._state(rows, 0)

    def following(self, state: int) -> Mapping[str, int]:
        """Give the state after each text that the next token can say."""
        found = self._states[state]
        assert not isinstance(found, str)
        return found

    def end(self, state: int) -> str:
        """Give the character of the period's name by which dates are told apart; empty when they are not."""
        found = self._states[state]
        assert isinstance(found, str)
        return found

    def _state(self, rows: list[tuple[str, ...]], token: int) -> int:
        if token == self._tokens:
            return self._made(rows[0][token:], "".join(rows[0][token:]))
        said: dict[str, list[tuple[str, ...]]] = {}
        for row in rows:
            said.setdefault(row[token], []).append(row)
        after = {text: self._state(those, token + 1) for text, those in said.items()}
        return self._made(frozenset(after.items()), after)

    def _made(self, key: object, state: Mapping[str, int] | str) -> int:
        known = self._known.setdefault(key, len(self._states))
        if known == len(self._states):
            self._states.append(state)
        return known


@lru_cache(maxsize=256)
def date_texts(
    tokens: tuple[str, ...], fiscal_year_start: tuple[int, int], reset: Reset | None, offset: int
) -> DateTexts:
    """With `reset`, dates are told apart by the character at `offset` of the name of their period."""
    said = [texts_of(token, fiscal_year_start) for token in tokens]
    if reset is not None:
        said.append([period[offset] for period in periods(reset, fiscal_year_start)])
    return DateTexts(sorted(set(zip(*said, strict=True))) or [()], len(tokens))


@cache
def texts_of(token: str, fiscal_year_start: tuple[int, int]) -> list[str]:
    printed = DATE_TOKENS[token]
    return [printed(day, calendar.fiscal_year(day, fiscal_year_start)) for day in _window()]


@lru_cache(maxsize=64)
def periods(reset: Reset, fiscal_year_start: tuple[int, int]) -> list[str]:
    """Give the period of each date of the ledger's window."""
    return [calendar.period_of(day, reset, fiscal_year_start) for day in _window()]


@cache
def _window() -> list[date]:
    days = (calendar.LAST_DATE - calendar.FIRST_DATE).days + 1
    return [calendar.FIRST_DATE + timedelta(days=day) for day in range(days)]


@lru_cache(maxsize=256)
def undetermined(tokens: tuple[str, ...], reset: Reset, fiscal_year_start: tuple[int, int]) -> tuple[date, date] | None:
    """Give two dates of different periods that the date tokens print alike, if there are any."""
    said = [texts_of(token, fiscal_year_start) for token in tokens]
    first: dict[tuple[str, ...], tuple[str, date]] = {}
    for period, day, *texts in zip(periods(reset, fiscal_year_start), _window(), *said, strict=True):
        known, since = first.setdefault(tuple(texts), (period, day))
        if known != period:
            return since, day
    return None
