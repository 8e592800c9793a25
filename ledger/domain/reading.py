"""Reading a printed number back: which series, key, period and value could have printed it.

The inverse of `Series.frame(…).number(value)`: every reading prints the text that was read. A template that is not
proved unambiguous may have several.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from weakref import WeakKeyDictionary

from ledger.domain import calendar
from ledger.domain.calendar import Reset
from ledger.domain.date_texts import dates_saying
from ledger.domain.rejection import Code, Rejection
from ledger.domain.series import MAX_DIGITS, MAX_NUMBER_LENGTH, MAX_VALUE, Dimension, Overflow, Series
from ledger.domain.template import DATE_TOKENS, DateToken, Field, Literal, Part, Seq, Template

__all__ = ["Reading", "days_of", "make_dates", "readings", "readings_of_all"]

MAX_STEPS = 3_000  # of splitting one text among the tokens; templates that are of use take some dozens
MAX_READINGS = 2  # of one number by one series: whoever asks wants to know the reading, or that there are two

_DIGITS = re.compile("[0-9]*")

Ends = Callable[[str, int], Iterable[int]]
Texts = tuple[str, ...]  # of the first parts of a template, or of its date tokens
Periods = tuple[tuple[str, Sequence[date]], ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a number says. `document_date` is the last date of the period that prints it and is not after today.

    Where the whole period lies in the future, it is the period's first such date.
    """

    series: Series
    key: tuple[str, ...]
    period: str
    value: int
    document_date: date
    attributes: tuple[tuple[str, str], ...]

    @property
    def sequence(self) -> str:
        return self.series.sequence_id(self.key, self.period)


def readings(series: Series, number: str, today: date) -> list[Reading]:
    """Give two of the (key, period, value) that print `number`, or as many as there are.

    `today` is in the series' zone. A Rejection when the template is so ambiguous that they cannot be told.
    """
    if len(number) > MAX_NUMBER_LENGTH:
        return []
    found: dict[tuple[tuple[str, ...], str, int], Reading] = {}
    for reading in _reader(series).readings(series, number, today):
        found.setdefault((reading.key, reading.period, reading.value), reading)
        if len(found) == MAX_READINGS:
            break
    return list(found.values())


def readings_of_all(versions: Iterable[Series], number: str, today: Mapping[str, date]) -> list[Reading]:
    """Give each (sequence, value) that some versions print as `number`, as the last of them reads it.

    `today` is the date in each zone. This is how a number is read whoever names it: an auditor, Assign or a register.
    """
    found: dict[tuple[str, int], Reading] = {}
    for version in versions:
        for reading in readings(version, number, today[version.definition.timezone]):
            found[reading.sequence, reading.value] = reading
    return list(found.values())


def days_of(versions: Iterable[Series], now: int) -> dict[str, date]:
    """Give the date of an instant in each zone of some versions."""
    return {zone: calendar.date_at(now, zone) for zone in {version.definition.timezone for version in versions}}


# A reader is kept as long as its series, which it does not know, so that it keeps none.
_READERS: WeakKeyDictionary[Series, "_Reader"] = WeakKeyDictionary()


def _reader(series: Series) -> "_Reader":
    known = _READERS.get(series)
    if known is None:
        known = _READERS[series] = _Reader(series)
    return known


class _Reader:
    def __init__(self, series: Series) -> None:
        template = series.template
        self._parts: tuple[Part, ...] = (*template.before, Seq(template.width), *template.after)
        self._ends = [_ends(part, series) for part in self._parts]
        # The place where the same token stood before, if it did: both must say the same.
        first = [self._parts.index(part) for part in self._parts]
        self._same = [
            None if place == at or isinstance(part, Literal) else place
            for at, (place, part) in enumerate(zip(first, self._parts, strict=True))
        ]
        # An attribute that is printed once may be split in any way: it prints and does not count.
        again = {same for same in self._same if same is not None}
        self._matters = [
            not isinstance(part, Literal)
            and (at in again or not (isinstance(part, Field) and part.name in series.definition.attributes))
            for at, part in enumerate(self._parts)
        ]
        self._tokens = _date_tokens(template)
        is_undated = _is_undated(self._tokens, series.definition.reset)
        self._dates = None if is_undated else dates_saying(self._tokens, series.fiscal_year_start)
        self._periods: dict[Texts, Periods] = {}

    def readings(self, series: Series, number: str, today: date) -> Iterator[Reading]:
        for texts in self._ways(number):
            yield from self._read(series, texts, today)

    def _ways(self, number: str) -> Iterator[Texts]:
        """Split the number among the parts, once for all ways that differ only in what does not matter."""
        splits = self._splits(number)
        todo: list[tuple[int, Texts, Texts]] = [(0, (), ())]
        known: set[tuple[int, int, Texts]] = set()
        while todo:
            start, texts, said = todo.pop()
            place = len(texts)
            if place == len(self._parts):
                yield texts
                continue
            for end in reversed(splits[place].get(start, ())):
                text, same = number[start:end], self._same[place]
                if same is not None and texts[same] != text:
                    continue
                matters = (*said, text) if self._matters[place] else said
                if (place, end, matters) not in known:
                    known.add((place, end, matters))
                    todo.append((end, (*texts, text), matters))
            if len(known) > MAX_STEPS:
                raise Rejection(Code.AMBIGUOUS_NUMBER, f"{number!r} can be read in too many ways")

    def _splits(self, number: str) -> list[dict[int, list[int]]]:
        """Give, by part, where it can begin, and where it can then end so that the others go on to the number's end."""
        splits: list[dict[int, list[int]]] = []
        starts = {0}
        for ends in self._ends:
            splits.append({start: list(ends(number, start)) for start in starts})
            starts = {end for found in splits[-1].values() for end in found}
            if not starts:
                return [{}]
        reachable = starts & {len(number)}
        for split in reversed(splits):
            for start, found in list(split.items()):
                split[start] = [end for end in found if end in reachable]
            reachable = {start for start, found in split.items() if found}
        return splits

    def _read(self, series: Series, texts: Texts, today: date) -> Iterator[Reading]:
        """Give the readings of one way: none when no date fits."""
        value, said = 0, dict[str, str]()
        for part, text in zip(self._parts, texts, strict=True):
            if isinstance(part, Seq):
                value = int(text)
            elif not isinstance(part, Literal):
                said[part.name] = text
        if value > MAX_VALUE:
            return
        key = tuple(said[name] for name in series.key)
        attributes = tuple((name, said[name]) for name in sorted(series.definition.attributes))
        for period, days in self._dated(series, said, today):
            day = days[max(bisect_right(days, today) - 1, 0)]
            yield Reading(series, key, period, value, day, attributes)

    def _dated(self, series: Series, said: Mapping[str, str], today: date) -> Periods:
        """Give the dates, ascending, that print what the date tokens say, by period."""
        if self._dates is None:
            return (("-", (today,)),)
        texts = tuple(said[token] for token in self._tokens)
        known = self._periods.get(texts)
        if known is None and texts in self._dates:  # only what a date can say is worth keeping
            known = self._periods[texts] = tuple(_periods(series, self._dates[texts]))
        return known or ()


# Where each part may end, for a text and where the part begins in it


def _ends(part: Part, series: Series) -> Ends:
    match part:
        case Literal(text=literal):
            return lambda text, start: (start + len(literal),) if text.startswith(literal, start) else ()
        case DateToken(name=name):
            width = len(DATE_TOKENS[name](calendar.FIRST_DATE, calendar.FIRST_DATE.year))
            return lambda text, start: (start + width,) if _digits(text, start) >= width else ()
        case Seq(width=width):
            longest = MAX_DIGITS if series.definition.overflow is Overflow.WIDEN else width
            return lambda text, start: _ends_of_value(text, start, width, longest)
        case Field(name=name):
            return _ends_of_field(_form(series, name))


def _digits(text: str, start: int) -> int:
    """Count the digits that stand at a place."""
    match = _DIGITS.match(text, start)
    assert match is not None
    return match.end() - start


def _ends_of_value(text: str, start: int, width: int, longest: int) -> list[int]:
    digits = min(_digits(text, start), longest)
    wider = range(width + 1, digits + 1) if text[start : start + 1] != "0" else ()
    return [start + length for length in (width, *wider) if length <= digits]


def _ends_of_field(form: Dimension) -> Ends:
    if form.values:
        known, lengths = frozenset(form.values), sorted({len(value) for value in form.values})
        return lambda text, start: (start + length for length in lengths if text[start : start + length] in known)
    return lambda text, start: (
        end for end in range(start + form.min, form.reach(text, start) + 1) if form.flaw(text[start:end]) is None
    )


def _form(series: Series, name: str) -> Dimension:
    definition = series.definition
    return definition.dimensions[name] if name in definition.dimensions else definition.attributes[name].form


# Which dates print what the date tokens say. All tokens of a number come from one date, so they are read jointly.


def make_dates(series: Series) -> None:
    """Make, for all series of its shape, what takes long the first time that a number is read."""
    if not _is_undated(_date_tokens(series.template), series.definition.reset):
        dates_saying(_date_tokens(series.template), series.fiscal_year_start)


def _date_tokens(template: Template) -> tuple[str, ...]:
    """Name the date tokens of a template, each once, in order."""
    return tuple(dict.fromkeys(part.name for part in template.before + template.after if isinstance(part, DateToken)))


def _is_undated(tokens: tuple[str, ...], reset: Reset) -> bool:
    return not tokens and reset is Reset.NEVER


def _periods(series: Series, days: Sequence[date]) -> Iterator[tuple[str, Sequence[date]]]:
    """Divide dates, which ascend, by period."""
    first = 0
    while first < len(days):
        period = series.period(days[first])
        is_last = series.period(days[-1]) == period  # nearly always: the template prints the period
        end = len(days) if is_last else bisect_right(days, period, lo=first, key=series.period)
        yield period, days[first:end]
        first = end
