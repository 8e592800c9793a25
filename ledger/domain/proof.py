"""The proof that no two documents print the same number (design.md 3.3).

A series is *unambiguous* when no two different (key, period, value) of it print the same string, and *disjoint* from
another when no string is of both. Both are questions about pairs of automata (`automaton`): is there a string that
both read, and if both count alike, one that they read as different numbers? The search goes by length, so what it
finds is as short as can be; it is judged once more by `reading` before it is shown.

Numbers are different when one component (a dimension of the key, the value, the period) is. Two texts differ when at
some offset one has a character that the other has not, or is at its end. The search guesses the component and the
offset when the first of both comes to that place, remembers what stood there, and compares when the second comes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from weakref import WeakKeyDictionary

from ledger.domain import calendar
from ledger.domain.automaton import END, VALUE, Language, Node, TooComplex, language
from ledger.domain.calendar import Reset
from ledger.domain.characters import character, members
from ledger.domain.date_texts import periods, undetermined
from ledger.domain.reading import Reading, readings
from ledger.domain.rejection import Code, Rejection
from ledger.domain.series import MAX_DIGITS, MAX_NUMBER_LENGTH, Dimension, Series
from ledger.domain.template import DATE_TOKENS
from ledger.domain.text import flaw_of_text

__all__ = ["MAX_STATES", "MAX_STATES_IN_ALL", "Conflict", "conflict", "prove"]

MAX_STATES = 500_000  # of one search
MAX_STATES_IN_ALL = 3_000_000  # of all searches for one series, beside all others
MAX_STEPS = 5_000_000  # of one search: ways from one state to another

Pair = tuple[Node, Node]
Path = tuple[int, ...]  # the characters that may stand at each place of a number, as masks


@dataclass(frozen=True, slots=True)
class Conflict:
    """A number that can be read in two ways."""

    number: str
    readings: tuple[Reading, Reading]


@dataclass(slots=True)
class Search:
    """What a search found, and how many states it took; `bound` says which bound ended it."""

    paths: tuple[Path, ...] = ()
    states: int = 0
    steps: int = 0
    bound: str | None = None


def prove(series: Series, others: Iterable[Series]) -> None:
    """Raise a Rejection with a counterexample unless each number of `series` has one reading, in itself and `others`.

    Versions of the same series may print the same number if it is the same: the same key, period and value.
    """
    states = 0
    for other in chain((series,), others):
        try:
            if not language(series).root.following:
                raise Rejection.invalid(
                    "template", f"prints no number of {MAX_NUMBER_LENGTH} characters or less; shorten it"
                )
            searches = _searches(series, other)
            found = _conflict(series, other, searches)
        except TooComplex as bound:
            raise _unproved(series, other, str(bound)) from None
        if found:
            raise _refused(series, other, found)
        states += sum(each.states for each in searches)
        if states > MAX_STATES_IN_ALL:
            raise _unproved(series, other, f"beside all series together it takes more than {MAX_STATES_IN_ALL} states")


def conflict(one: Series, other: Series) -> Conflict | None:
    """Give a number that `one` prints and `other` prints too, as another number; raises TooComplex at a bound."""
    return _conflict(one, other, _searches(one, other))


def _searches(one: Series, other: Series) -> list[Search]:
    """Look for a number with two readings; none to do where a glance shows that there is none."""
    alike = one.code == other.code and one.counting == other.counting
    first, second = language(one), language(other)
    if first is not second and first.outline.is_apart(second.outline):
        return []
    # Automata that read more than is printed are smaller; what they find and nobody prints is looked at exactly.
    found = [_remembered(first, second, alike, False)]
    if found[0].paths and (first.repeated or second.repeated):
        found.append(_remembered(first, second, alike, True))
    return found


def _remembered(first: Language, second: Language, alike: bool, exact: bool) -> Search:
    """Search, or say what was found before: as long as both languages are in use."""
    known = _SEARCHES.setdefault(first, WeakKeyDictionary()).setdefault(second, {})
    if (alike, exact) not in known:
        known[alike, exact] = _search(first, second, alike, exact)
    return known[alike, exact]


_SEARCHES: WeakKeyDictionary[Language, WeakKeyDictionary[Language, dict[tuple[bool, bool], Search]]] = (
    WeakKeyDictionary()
)


def _conflict(one: Series, other: Series, searches: Iterable[Search]) -> Conflict | None:
    unsaid = _period_unsaid(one) if one is other else None
    if unsaid:
        return unsaid
    doubt = ""
    for search in searches:
        if search.bound:
            raise TooComplex(search.bound)
        numbers = [number for path in search.paths for number in _spelled(path)]
        found = _likeliest(_judged(one, other, number) for number in numbers)
        if found or not numbers:
            return found
        doubt = numbers[0]
    if doubt:
        raise TooComplex(f"whether both print {doubt!r} cannot be told")
    return None


def _period_unsaid(series: Series) -> Conflict | None:
    """Give a number that is printed in two periods because its date tokens do not tell them apart."""
    of = language(series)
    days = undetermined(of.tokens, of.reset, of.fiscal_year_start)
    if days is None:
        return None
    forms, given = of.forms, series.definition.attributes
    key = tuple(_shortest(forms[name]) for name in series.key)
    attributes = tuple((name, _shortest(forms[name])) for name in sorted(given))
    said = dict(zip(series.key, key, strict=True)) | dict(attributes)
    fiscal_year = calendar.fiscal_year(days[0], series.fiscal_year_start)
    number = series.template.frame(days[0], fiscal_year, said).number(1)
    found = _judged(series, series, number)
    if found is None:
        raise TooComplex(f"{number!r} is printed in two periods")
    return found


def _shortest(form: Dimension) -> str:
    return min(form.values, key=len) if form.values else character(members(form.chars)) * form.min


def _judged(one: Series, other: Series, number: str) -> Conflict | None:
    """Read the number as the ledger will; None when it has one reading only, or is no number."""
    if flaw_of_text(number, at_most=MAX_NUMBER_LENGTH):
        return None
    try:
        first, second = (readings(series, number, calendar.FIRST_DATE) for series in (one, other))
    except Rejection:
        raise TooComplex(f"{number!r} can be read in too many ways") from None
    for reading in first:
        for another in second:
            if _identity(reading) != _identity(another):
                return Conflict(number, (reading, another))
    return None


def _likeliest(conflicts: Iterable[Conflict | None]) -> Conflict | None:
    """Choose one whose values are none below the start of their series, which only earlier versions gave out."""
    odd = None
    for found in filter(None, conflicts):
        if all(reading.value >= reading.series.definition.start for reading in found.readings):
            return found
        odd = odd or found
    return odd


def _identity(reading: Reading) -> object:
    return reading.series.code, reading.series.counting, reading.key, reading.period, reading.value


def _spelled(path: Path) -> Iterator[str]:
    """Choose the characters of a path: the lowest, and then another one at each place in turn, from the last back."""
    lowest = [character(mask) for mask in path]
    yield "".join(lowest)
    for place, mask in reversed(list(enumerate(path))):
        other = character(mask, 1)
        if other != lowest[place]:
            yield "".join((*lowest[:place], other, *lowest[place + 1 :]))


# The search: pairs of nodes that read the same characters


def _search(first: Language, second: Language, alike: bool, exact: bool) -> Search:
    """Find what both print; where they count alike, what they read as different numbers."""
    search = Search()
    try:
        roots = (first.exact_root, second.exact_root) if exact else (first.root, second.root)
        if alike:
            search.paths = tuple(_differing(search, first, second, roots, exact))
        else:
            path = _path(*_explored(search, *roots, lambda _: True))
            search.paths = (path,) if path else ()
    except TooComplex as bound:
        search.bound = str(bound)
    return search


def _differing(search: Search, first: Language, second: Language, roots: Pair, exact: bool) -> Iterator[Path]:
    reached, _ = _explored(search, *roots, lambda _: False)
    useful = _useful(reached)
    apart = {place for one, two in useful if one.place != two.place for place in (one.place, two.place)}
    names = {place[0] for place in apart if place}
    if names - DATE_TOKENS.keys():
        widest = max(first.widest, second.widest)
        path = _Guess(search, useful, MAX_DIGITS - widest).path(roots)
        if path:
            yield path
    if names & DATE_TOKENS.keys():
        for offset in range(len(periods(first.reset, first.fiscal_year_start)[0])):
            dated = first.root_for_period(offset, exact), second.root_for_period(offset, exact)
            path = _path(*_explored(search, *dated, lambda ends: ends[0].place != ends[1].place))
            if path:
                yield path


Reached = dict[Pair, list[Pair]]


def _explored(search: Search, one: Node, two: Node, is_found: Callable[[Pair], bool]) -> tuple[Reached, Pair | None]:
    """Go to all pairs, nearest first, with those they were reached from, until the end of a number is as wanted."""
    layer = [(one, two)]
    reached: Reached = {(one, two): []}
    for _ in range(MAX_NUMBER_LENGTH + 1):
        following: list[Pair] = []
        for pair in layer:
            for after in _following(pair):
                search.steps += 1
                known = reached.get(after)
                if known is not None:
                    known.append(pair)
                    continue
                reached[after] = [pair]
                following.append(after)
                if after[0].mask == END and is_found(after):
                    return reached, after
        _count(search, len(following))
        layer = following
    return reached, None


def _count(search: Search, states: int) -> None:
    search.states += states
    if search.states > MAX_STATES:
        raise TooComplex(f"comparing them takes more than {MAX_STATES} states")
    if search.steps > MAX_STEPS:
        raise TooComplex(f"comparing them takes more than {MAX_STEPS} steps")


def _following(pair: Pair) -> Iterator[Pair]:
    one, two = pair
    if len(one.following) > len(two.following):
        for other in two.following:
            for after in one.followed_by(other.mask):
                yield after, other
        return
    for after in one.following:
        for other in two.followed_by(after.mask):
            yield after, other


def _path(reached: Reached, end: Pair | None) -> Path:
    masks: list[int] = []
    while end and reached[end]:
        masks.append(end[0].mask & end[1].mask)
        end = reached[end][0]
    return tuple(reversed(masks[1:]))


def _useful(reached: Reached) -> set[Pair]:
    """Give the pairs from which both come to the end of a number."""
    found = {pair for pair in reached if pair[0].mask == END}
    todo = list(found)
    while todo:
        new = [before for before in reached[todo.pop()] if before not in found]
        found.update(new)
        todo += new
    return found


# The guess: in which component, at which offset, two readings of a number differ

Spot = tuple[str, int]
Sign = int  # the mask of the one character that stood there; or
ANY: Sign = -1  # one of several; or
OVER: Sign = 0  # none: the text was over
Seen = dict[Spot, Sign]
Mark = tuple[int, Spot, Sign]  # which of the two has yet to come to the spot, and what the other saw there

NOT_YET: Mark = (-1, ("", 0), OVER)
DIFFERENT: Mark = (-2, ("", 0), OVER)


class _Guess:
    """The search for a number of which two readings differ in a component, along pairs that lead to an end."""

    def __init__(self, search: Search, useful: set[Pair], first_digit: int) -> None:
        self._search = search
        self._useful = useful
        self._first_digit = first_digit

    def path(self, start: Pair) -> Path | None:
        origin: dict[tuple[Pair, Mark], tuple[Pair, Mark] | None] = {(start, NOT_YET): None}
        layer = list(origin)
        for _ in range(MAX_NUMBER_LENGTH + 1):
            following: list[tuple[Pair, Mark]] = []
            for before in layer:
                for after in self._steps(*before):
                    self._search.steps += 1
                    if after in origin:
                        continue
                    origin[after] = before
                    following.append(after)
                    if after[0][0].mask == END and after[1] is DIFFERENT:
                        return _origins(origin, after)
            _count(self._search, len(following))
            layer = following
        return None

    def _steps(self, pair: Pair, mark: Mark) -> Iterator[tuple[Pair, Mark]]:
        for after in _following(pair):
            if after not in self._useful:
                continue
            if mark is DIFFERENT:
                yield after, mark
                continue
            mask = after[0].mask & after[1].mask
            sign = mask if mask & (mask - 1) == 0 else ANY
            one, two = (self._seen(old, new, sign) for old, new in zip(pair, after, strict=True))
            if after[0].place == after[1].place and after[0].place is not None:  # one character, seen by both
                one.pop(after[0].place, None)
                two.pop(after[0].place, None)
            for marked in _marks(mark, (one, two)):
                yield after, marked

    def _seen(self, old: Node, new: Node, sign: Sign) -> Seen:
        """Say what one reading sees on a step: a character of a component, or that one is over."""
        seen: Seen = {}
        name, offset = old.place or ("", 0)
        if name and name != VALUE and new.place != (name, offset + 1) and name not in DATE_TOKENS:
            seen[name, offset + 1] = OVER
        if new.place and new.place[0] not in DATE_TOKENS:
            seen[new.place] = sign
            if new.place[0] == VALUE and name != VALUE:  # a value that is printed with fewer digits begins with zeros
                seen |= {(VALUE, digit): 1 << ord("0") for digit in range(self._first_digit, new.place[1])}
        return seen


def _marks(mark: Mark, seen: tuple[Seen, Seen]) -> Iterator[Mark]:
    """Give the marks after a step on which each reading sees what it sees."""
    if mark is not NOT_YET:
        waiting, spot, sign = mark
        name, offset = spot
        if spot in seen[waiting]:
            if _differ(sign, seen[waiting][spot]):
                yield DIFFERENT
        elif not any(each[0] == name and each[1] < offset and seen[waiting][each] == OVER for each in seen[waiting]):
            yield mark
        return
    yield mark
    for waiting, other in ((1, 0), (0, 1)):
        for spot, sign in seen[other].items():
            if spot not in seen[waiting]:
                yield waiting, spot, sign
            elif _differ(sign, seen[waiting][spot]):
                yield DIFFERENT


def _differ(one: Sign, two: Sign) -> bool:
    """Say whether what was seen can differ; characters at two places of a number are chosen freely."""
    return one != two or one == ANY


def _origins(origin: dict[tuple[Pair, Mark], tuple[Pair, Mark] | None], end: tuple[Pair, Mark]) -> Path:
    masks: list[int] = []
    at: tuple[Pair, Mark] | None = end
    while at:
        masks.append(at[0][0].mask & at[0][1].mask)
        at = origin[at]
    return tuple(reversed(masks[1:-1]))


# What the client is told


def _refused(series: Series, other: Series, found: Conflict) -> Rejection:
    first, second = found.readings
    told = f"{found.number!r} would be {_told(first)} and {_told(second)}"
    return Rejection(
        Code.AMBIGUOUS_TEMPLATE,
        f"{told}; {_way_out(series, other, found)}",
        [("template", f"prints {found.number!r} for two different numbers")],
        {"counterexample": {"number": found.number, "readings": [_shown(each) for each in found.readings]}},
    )


def _told(reading: Reading) -> str:
    key = ", ".join(f"{name} {value!r}" for name, value in zip(reading.series.key, reading.key, strict=True))
    period = "" if reading.period == "-" else f" in period {reading.period}"
    of = f" for {key}" if key else ""
    return f"value {reading.value} of {reading.series.code} (version {reading.series.version}){of}{period}"


def _way_out(series: Series, other: Series, found: Conflict) -> str:
    first, second = found.readings
    if series.code != other.code:
        return f"give {series.code} a literal of its own, which tells it from {other.code}"
    if series.counting != other.counting:
        return f"numbers of version {other.version} stay in use: change the template with the key or the reset"
    if (first.key, first.value) == (second.key, second.value) and series.definition.reset is not Reset.NEVER:
        return f"print the whole period of a {series.definition.reset} reset: {_PERIOD_TOKENS[series.definition.reset]}"
    return "put between the tokens a literal that none of their values holds, or declare values of one length"


_PERIOD_TOKENS = {
    Reset.DAILY: "its year, {MM} and {DD}",
    Reset.MONTHLY: "its year and {MM}",
    Reset.QUARTERLY: "its year and {MM}",
    Reset.YEARLY: "its year",
    Reset.FISCAL_YEAR: "{FY}",
}


def _shown(reading: Reading) -> dict[str, object]:
    return {
        "series": reading.series.code,
        "series_version": reading.series.version,
        "key": dict(zip(reading.series.key, reading.key, strict=True)),
        "period": reading.period,
        "value": reading.value,
    }


def _unproved(series: Series, other: Series, bound: str) -> Rejection:
    against = "by itself" if other is series else f"beside {other.code} (version {other.version})"
    return Rejection(
        Code.TEMPLATE_TOO_COMPLEX,
        f"{series.code} cannot be proved {against}: {bound}; use shorter lists of values, fewer or shorter tokens, "
        "or separate them by literals that no value holds",
        [("template", "is too complex to be proved")],
    )
