"""What the date tokens of a number can say: all of them come from one date of the ledger's window."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import cache, lru_cache
from itertools import repeat

from ledger.domain import calendar
from ledger.domain.calendar import Reset
from ledger.domain.template import DATE_TOKENS

__all__ = ["DateTexts", "Texts", "date_texts", "dates_saying", "periods", "texts_of", "undetermined"]

FISCAL = "FY"  # the one token that prints the fiscal year

Texts = tuple[str, ...]


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
    said = dates_saying(tokens, fiscal_year_start)
    if reset is None:
        return DateTexts(sorted(said), len(tokens))
    named = periods(reset, fiscal_year_start)
    rows = {(*texts, named[_place(day)][offset]) for texts, days in said.items() for day in days}
    return DateTexts(sorted(rows), len(tokens))


def dates_saying(tokens: tuple[str, ...], fiscal_year_start: tuple[int, int]) -> Mapping[Texts, Sequence[date]]:
    """Give the dates of the window, ascending, by what the tokens say of them together.

    It is the one table by which numbers are read and templates are proved. To make it the first time takes long.
    """
    return _dates_saying(tokens, _start_for(tokens, fiscal_year_start))


@lru_cache(maxsize=256)
def _dates_saying(tokens: tuple[str, ...], fiscal_year_start: tuple[int, int]) -> Mapping[Texts, Sequence[date]]:
    said = [texts_of(token, fiscal_year_start) for token in tokens]
    rows = zip(*said, strict=True) if said else repeat(())
    days: dict[Texts, list[date]] = {}
    for texts, day in zip(rows, _window(), strict=False):
        days.setdefault(texts, []).append(day)
    return days


def texts_of(token: str, fiscal_year_start: tuple[int, int]) -> Sequence[str]:
    """Give what a token says of each date of the window."""
    return _texts_of(token, _start_for((token,), fiscal_year_start))


@lru_cache(maxsize=256)
def _texts_of(token: str, fiscal_year_start: tuple[int, int]) -> Sequence[str]:
    printed, known = DATE_TOKENS[token], dict[str, str]()
    texts = (printed(day, calendar.fiscal_year(day, fiscal_year_start)) for day in _window())
    return [known.setdefault(text, text) for text in texts]  # each text once in memory


def _start_for(tokens: tuple[str, ...], fiscal_year_start: tuple[int, int]) -> tuple[int, int]:
    """Give the start that counts: none does where no fiscal year is printed."""
    return fiscal_year_start if FISCAL in tokens else (1, 1)


@lru_cache(maxsize=64)
def periods(reset: Reset, fiscal_year_start: tuple[int, int]) -> Sequence[str]:
    """Give the period of each date of the window."""
    return [calendar.period_of(day, reset, fiscal_year_start) for day in _window()]


@cache
def _window() -> Sequence[date]:
    return [calendar.FIRST_DATE + timedelta(days=day) for day in range(_place(calendar.LAST_DATE) + 1)]


def _place(day: date) -> int:
    return (day - calendar.FIRST_DATE).days


@lru_cache(maxsize=256)
def undetermined(tokens: tuple[str, ...], reset: Reset, fiscal_year_start: tuple[int, int]) -> tuple[date, date] | None:
    """Give two dates of different periods that the date tokens print alike, the earliest, if there are any."""
    named = periods(reset, fiscal_year_start)
    found: list[tuple[date, date]] = []
    for first, *others in dates_saying(tokens, fiscal_year_start).values():
        period = named[_place(first)]
        if others and named[_place(others[-1])] != period:  # periods follow one another, so that the last tells
            found.append((next(day for day in others if named[_place(day)] != period), first))
    if not found:
        return None
    later, earlier = min(found)
    return earlier, later
