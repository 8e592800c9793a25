"""The language of a series: every number that it can print, as a finite automaton.

A node stands for one character of a number: the set of characters that may stand there (a mask with one bit a code
point), its place (of which component of the number, at which offset), and the nodes that may follow. A number ends
with END, a node as any other. The nodes of a part know what earlier parts said only where it matters: all date tokens
come from one date of the ledger's window, and a field that is printed twice says twice the same.

Values are all that the width can print: a maximum can be raised, and a sequence begun at 0 goes on in later versions.
"""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from functools import cache, cached_property, lru_cache
from itertools import product
from unicodedata import combining

from ledger.domain import calendar
from ledger.domain.calendar import Reset
from ledger.domain.series import MAX_NUMBER_LENGTH, Dimension, Overflow, Series, alike, pieces
from ledger.domain.template import DATE_TOKENS, DateToken, Field, Literal, Part, Seq
from ledger.domain.text import flaw_of_text

__all__ = [
    "END",
    "MAX_DIGITS",
    "VALUE",
    "Language",
    "Node",
    "TooComplex",
    "character",
    "language",
    "members",
    "periods",
    "undetermined",
]

MAX_NODES = 200_000  # of one series
MAX_REPEATED = 1_000  # texts of a field that is printed twice
MAX_DIGITS = 10  # of series.MAX_VALUE
FILTERED = 16  # characters at each end that are compared before anything else
VALUE = "SEQ"  # the component that is the value; no field can have this name

END = 1  # the mask of the end of a number: U+0000, which no text holds
_DIGITS = sum(1 << ord(digit) for digit in "0123456789")
_NOT_ZERO = _DIGITS & ~(1 << ord("0"))
_SPACE = 1 << ord(" ")
_BLOCK = 256  # code points that are judged at a time

Forms = tuple[tuple[str, Dimension], ...]
Place = tuple[str, int] | None


class TooComplex(Exception):
    """A bound was hit; the text says which."""


class Node:
    """One character of a number, where it stands, and what may follow."""

    __slots__ = ("following", "follows", "mask", "place")

    def __init__(self, mask: int, place: Place, following: tuple["Node", ...]) -> None:
        self.mask = mask
        self.place = place
        self.following = following
        self.follows = 0
        for node in following:
            self.follows |= node.mask


def character(mask: int, index: int = 0) -> str:
    """Choose one of a set of characters: the lowest that stands by itself, or the one after it for `index` 1."""
    found: list[str] = []
    while mask and len(found) <= index + 1:
        lowest = mask & -mask
        mask ^= lowest
        text = chr(lowest.bit_length() - 1)
        found = [text, *found[1:]] if found and combining(found[0]) else [*found, text]
    return found[min(index, len(found) - 1)]


class Language:
    """What a series prints and how it counts; equal ones are one object (`language`)."""

    def __init__(
        self,
        parts: tuple[Part, ...],
        forms: Forms,
        key: tuple[str, ...],
        widest: int,
        reset: Reset,
        fiscal_year_start: tuple[int, int],
    ) -> None:
        self.parts = parts
        self.forms = dict(forms)
        self.key = key
        self.widest = widest
        self.reset = reset
        self.fiscal_year_start = fiscal_year_start
        self.tokens = tuple(part.name for part in parts if isinstance(part, DateToken))
        names = [part.name for part in parts if isinstance(part, Field)]
        self.repeated = frozenset(name for name in names if names.count(name) > 1)

    @cached_property
    def root(self) -> Node:
        """The automaton in which a repeated field may say two things: it reads more than is printed."""
        return self._built.root

    @cached_property
    def exact_root(self) -> Node:
        """The automaton in which a repeated field says the same; raises TooComplex where it can say too much."""
        return _Builder(self, self.repeated).root if self.repeated else self.root

    def root_for_period(self, offset: int, exact: bool) -> Node:
        """Give the automaton whose END has the character at `offset` of the period's name for its place."""
        return _Builder(self, self.repeated if exact else frozenset(), offset).root

    def is_apart(self, other: "Language") -> bool:
        """Say at a glance that no number is of both; False when it takes a longer look."""
        if not self._lengths & other._lengths:
            return True
        pairs = zip(self._first, other._first, strict=False)
        if any(not one & two for one, two in pairs):
            return True
        pairs = zip(self._last, other._last, strict=False)
        return any(not one & two for one, two in pairs)

    @cached_property
    def _built(self) -> "_Builder":
        return _Builder(self)

    @cached_property
    def _distances(self) -> Mapping[Node, int]:
        return self._built.distances()

    @cached_property
    def _lengths(self) -> int:
        """The lengths of the numbers, each a bit; the END is counted."""
        return self._distances[self.root] & ((1 << MAX_NUMBER_LENGTH + 2) - 1)

    @cached_property
    def _first(self) -> list[int]:
        """The characters that can stand first, second and so on, as far as all numbers go."""
        layer, masks = {self.root}, list[int]()
        while not (masks and masks[-1] & END) and len(masks) < FILTERED:
            masks.append(_union(node.follows for node in layer))
            layer = {after for node in layer for after in node.following}
        return masks

    @cached_property
    def _last(self) -> list[int]:
        """The characters that can stand last, last but one and so on, as far as all numbers go."""
        shortest = (self._lengths & -self._lengths).bit_length() - 2
        masks = [0] * max(min(shortest, FILTERED), 0)
        places = (1 << len(masks)) - 1
        for node, distances in self._distances.items():
            for place in _bits(distances >> 1 & places, FILTERED):
                masks[place] |= node.mask
        return masks


@lru_cache(maxsize=4096)
def language(series: Series) -> Language:
    definition, template = series.definition, series.template
    forms = {**definition.dimensions, **{name: each.form for name, each in definition.attributes.items()}}
    fiscal = definition.reset is Reset.FISCAL_YEAR or DateToken("FY") in template.before + template.after
    return _language(
        (*template.before, Seq(template.width), *template.after),
        tuple(sorted(forms.items(), key=lambda form: form[0])),
        series.key,
        MAX_DIGITS if definition.overflow is Overflow.WIDEN else template.width,
        definition.reset,
        series.fiscal_year_start if fiscal else (1, 1),
    )


_language = lru_cache(maxsize=4096)(Language)


class _Builder:
    """Builds an automaton from its end, equal nodes only once."""

    def __init__(self, of: Language, repeated: frozenset[str] = frozenset(), offset: int | None = None) -> None:
        self._of = of
        self._repeated = repeated
        self._dates = _dates(of.tokens, of.fiscal_year_start, of.reset if offset is not None else None, offset or 0)
        self._nodes: dict[object, Node] = {}
        self._begun: dict[object, tuple[Node, ...]] = {}
        # A template that prints only numbers that are too long prints none.
        first = self._begin(0, self._dates.start, ()) if _shortest(of) <= MAX_NUMBER_LENGTH else ()
        self.root = Node(0, None, first)

    def distances(self) -> Mapping[Node, int]:
        """Give in how many characters each node, and the root, comes to an END: each length a bit."""
        found: dict[Node, int] = {}
        for node in (*self._nodes.values(), self.root):  # what follows a node was made before it
            found[node] = _union(found[after] << 1 for after in node.following) if node.mask != END else 1
        return found

    def _begin(self, index: int, dates: int, said: tuple[tuple[str, str], ...]) -> tuple[Node, ...]:
        """Give the nodes with which a part can begin, after what the parts before it said."""
        known = self._begun.get((index, dates, said))
        if known is None:
            known = self._begun[index, dates, said] = self._part(index, dates, said)
        return known

    def _part(self, index: int, dates: int, said: tuple[tuple[str, str], ...]) -> tuple[Node, ...]:
        if index == len(self._of.parts):
            return (self._node(END, self._dates.end(dates), ()),)
        part = self._of.parts[index]
        match part:
            case Literal(text=text):
                return self._spelled([(text, self._begin(index + 1, dates, said))], None)
            case DateToken(name=name):
                texts = self._dates.following(dates).items()
                words = [(text, self._begin(index + 1, after, said)) for text, after in texts]
                return self._spelled(words, None if self._of.reset is Reset.NEVER else name)
            case Seq(width=width):
                return self._value(width, self._begin(index + 1, dates, said))
            case Field(name=name):
                return self._field(index, name, dates, said)

    def _value(self, width: int, after: tuple[Node, ...]) -> tuple[Node, ...]:
        """Digits are placed from the right, as in numbers of MAX_DIGITS digits; a wider value does not begin with 0."""
        found: tuple[Node, ...] = ()
        for length in range(width, self._of.widest + 1):
            digits = after
            for offset in range(MAX_DIGITS - 1, MAX_DIGITS - length, -1):
                digits = (self._node(_DIGITS, (VALUE, offset), digits),)
            first = _DIGITS if length == width else _NOT_ZERO
            found += (self._node(first, (VALUE, MAX_DIGITS - length), digits),)
        return found

    def _field(self, index: int, name: str, dates: int, said: tuple[tuple[str, str], ...]) -> tuple[Node, ...]:
        form = self._of.forms[name]
        # Of a field that is printed twice, the first says what it is.
        counts = name in self._of.key and Field(name) not in self._of.parts[:index]
        place = name if counts else None
        if name in self._repeated:
            texts = [text for earlier, text in said if earlier == name] or _texts(name, form)
            later = [each for each in said if each[0] != name]
            again = Field(name) in self._of.parts[index + 1 :]
            kept = {text: tuple(sorted([*later, (name, text)] if again else later)) for text in texts}
            return self._spelled([(text, self._begin(index + 1, dates, kept[text])) for text in texts], place)
        after = self._begin(index + 1, dates, said)
        if form.values:
            return self._spelled([(text, after) for text in form.values], place)
        return self._characters(form, place, after)

    def _characters(self, form: Dimension, name: str | None, after: tuple[Node, ...]) -> tuple[Node, ...]:
        mask, ends = members(form.chars), members(form.chars) & ~_SPACE
        more: tuple[Node, ...] = ()
        for offset in reversed(range(form.max)):
            place = (name, offset) if name else None
            stop = after if offset + 1 >= form.min else ()
            if mask == ends:
                more = (self._node(mask, place, more + stop),)
            else:  # a space stands neither first nor last
                inner = [self._node(mask if offset else ends, place, more)] if more else []
                more = (*inner, self._node(ends, place, stop)) if stop else tuple(inner)
        return more

    def _spelled(self, words: Iterable[tuple[str, tuple[Node, ...]]], name: str | None) -> tuple[Node, ...]:
        """Give the nodes with which one of the words begins, each followed by what follows it."""
        numbers: dict[tuple[Node, ...], int] = {}
        shape = _shape(tuple(sorted((text, numbers.setdefault(after, len(numbers))) for text, after in words)))
        return self._made(shape, list(numbers), name, 0, {})

    def _made(
        self,
        shape: "_Shape",
        afters: list[tuple[Node, ...]],
        name: str | None,
        offset: int,
        made: dict[tuple[int, int], tuple[Node, ...]],
    ) -> tuple[Node, ...]:
        known = made.get((id(shape), offset))
        if known is None:
            place = (name, offset) if name else None
            nodes = []
            for mask, rest, numbers in shape:
                following = self._made(rest, afters, name, offset + 1, made) if rest else ()
                for number in numbers:
                    following += afters[number]
                nodes.append(self._node(mask, place, following))
            known = made[id(shape), offset] = tuple(nodes)
        return known

    def _node(self, mask: int, place: Place, following: tuple[Node, ...]) -> Node:
        made = self._nodes.get((mask, place, following))
        if made is None:
            if len(self._nodes) == MAX_NODES:
                raise TooComplex(f"its automaton has more than {MAX_NODES} nodes")
            made = self._nodes[mask, place, following] = Node(mask, place, following)
        return made


# How words are spelled: the characters that may come, then the shape of what is left, and what follows a word's end
_Shape = tuple[tuple[int, "_Shape", tuple[int, ...]], ...]


@lru_cache(maxsize=16_384)
def _shape(words: tuple[tuple[str, int], ...]) -> _Shape:
    """Merge the words, each with the number of what follows it, where they go on alike."""
    rests: dict[str, list[tuple[str, int]]] = {}
    for text, after in words:
        rests.setdefault(text[0], []).append((text[1:], after))
    masks: dict[tuple[int, tuple[int, ...]], int] = {}
    shapes: dict[int, _Shape] = {}
    for first, rest in rests.items():
        shape = _shape(tuple(each for each in rest if each[0]))
        ended = tuple(after for text, after in rest if not text)
        shapes[id(shape)] = shape
        masks[id(shape), ended] = masks.get((id(shape), ended), 0) | 1 << ord(first)
    return tuple((mask, shapes[shape], ended) for (shape, ended), mask in masks.items())


def _union(masks: Iterable[int]) -> int:
    found = 0
    for mask in masks:
        found |= mask
    return found


def _shortest(of: Language) -> int:
    """Give the length of the shortest number, were it not for what the parts must agree on."""
    return sum(_shortest_of(part, of.forms) for part in of.parts)


def _shortest_of(part: Part, forms: Mapping[str, Dimension]) -> int:
    match part:
        case Literal(text=text):
            return len(text)
        case DateToken(name=name):
            return len(DATE_TOKENS[name](calendar.FIRST_DATE, calendar.FIRST_DATE.year))
        case Seq(width=width):
            return width
        case Field(name=name):
            return min(map(len, forms[name].values), default=forms[name].min)


def _texts(name: str, form: Dimension) -> list[str]:
    """List all that a repeated field can say."""
    if form.values:
        return list(form.values)
    fit = [chr(bit) for bit in _bits(members(form.chars), MAX_REPEATED)]
    if sum(len(fit) ** length for length in range(form.min, form.max + 1)) > MAX_REPEATED:
        raise TooComplex(f"it prints {{{name}}} twice, which can be more than {MAX_REPEATED} texts; print it once")
    spelled = (product(fit, repeat=length) for length in range(form.min, form.max + 1))
    texts = ("".join(each) for of_length in spelled for each in of_length)
    return [text for text in texts if form.flaw(text) is None]


def _bits(mask: int, at_most: int) -> Iterable[int]:
    while mask and at_most >= 0:
        at_most -= 1
        yield (mask & -mask).bit_length() - 1
        mask &= mask - 1


@cache
def members(chars: str) -> int:
    """Give the characters of a class that can stand in a value, as a mask."""
    found = 0
    for first, last in pieces(chars):
        found |= ((1 << ord(last) - ord(first) + 1) - 1) << ord(first)
    blocks = range(ord(min(chars)) // _BLOCK, ord(max(chars)) // _BLOCK + 1)
    fit = sum(_fit(block) << block * _BLOCK for block in blocks if found >> block * _BLOCK & ((1 << _BLOCK) - 1))
    return found & fit


@cache
def _fit(block: int) -> int:
    characters = map(chr, range(block * _BLOCK, (block + 1) * _BLOCK))
    fit = (each == " " or (flaw_of_text(each, at_most=1) is None and alike(each) == each) for each in characters)
    return sum(1 << place for place, is_fit in enumerate(fit) if is_fit)


# Dates: all tokens of a number come from one date


class _Dates:
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

    def end(self, state: int) -> Place:
        found = self._states[state]
        return (found, 0) if isinstance(found, str) and found else None

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
def _dates(tokens: tuple[str, ...], fiscal_year_start: tuple[int, int], reset: Reset | None, offset: int) -> _Dates:
    """With `reset`, dates are told apart by the character at `offset` of the name of their period."""
    said = [_said(token, fiscal_year_start) for token in tokens]
    if reset is not None:
        said.append([period[offset] for period in periods(reset, fiscal_year_start)])
    return _Dates(sorted(set(zip(*said, strict=True))) or [()], len(tokens))


@cache
def _said(token: str, fiscal_year_start: tuple[int, int]) -> list[str]:
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
    said = [_said(token, fiscal_year_start) for token in tokens]
    first: dict[tuple[str, ...], tuple[str, date]] = {}
    for period, day, *texts in zip(periods(reset, fiscal_year_start), _window(), *said, strict=True):
        known, since = first.setdefault(tuple(texts), (period, day))
        if known != period:
            return since, day
    return None
