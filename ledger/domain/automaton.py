"""The language of a series: every number that it can print, as a finite automaton.

A node stands for one character of a number: the set of characters that may stand there (a mask with one bit a code
point), its place (of which component of the number, at which offset), and the nodes that may follow. A number ends
with END, a node as any other. The nodes of a part know what earlier parts said only where it matters: all date tokens
come from one date of the ledger's window, and a field that is printed twice says twice the same.

Values are all that the width can print: a maximum can be raised, and a sequence begun at 0 goes on in later versions.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import groupby, islice, product
from weakref import WeakKeyDictionary, WeakValueDictionary

from ledger.domain.calendar import Reset
from ledger.domain.characters import bits, mask_of, members
from ledger.domain.date_texts import date_texts
from ledger.domain.outline import Outline
from ledger.domain.series import MAX_DIGITS, MAX_NUMBER_LENGTH, Dimension, Overflow, Series
from ledger.domain.template import DateToken, Field, Literal, Part, Seq

__all__ = ["END", "VALUE", "Language", "Node", "TooComplex", "language"]

MAX_NODES = 200_000  # of one series
MAX_REPEATED = 1_000  # texts of a field that is printed twice
VALUE = "SEQ"  # the component that is the value; no field can have this name

END = 1  # the mask of the end of a number: U+0000, which no text holds
_DIGITS = mask_of("0123456789")
_NOT_ZERO = mask_of("123456789")
_SPACE = mask_of(" ")

# Nodes are looked up by character where more than so many may follow; those of wider sets are looked at one by one.
_FEW, _WIDE = 16, 64
# Lists of so many words are the same in many series; what larger ones come to is not kept.
_CACHED_WORDS = 300

Forms = tuple[tuple[str, Dimension], ...]
Place = tuple[str, int] | None


class TooComplex(Exception):
    """A bound was hit; the text says which."""


class Node:
    """One character of a number, where it stands, and what may follow."""

    __slots__ = ("_by_character", "_wide", "following", "follows", "mask", "place")

    def __init__(self, mask: int, place: Place, following: tuple["Node", ...]) -> None:
        self.mask = mask
        self.place = place
        self.following = following
        self.follows = 0
        for node in following:
            self.follows |= node.mask
        self._by_character: dict[int, list[Node]] | None = None
        self._wide: list[Node] = []

    def followed_by(self, mask: int) -> Iterable["Node"]:
        """Give the nodes that may follow with one of the characters."""
        if not mask & self.follows:
            return ()
        if len(self.following) <= _FEW or mask.bit_count() > _WIDE:
            return [node for node in self.following if node.mask & mask]
        by_character = self._by_character or self._index()
        narrow = (node for bit in bits(mask) for node in by_character.get(bit, ()))
        return dict.fromkeys((*narrow, *(node for node in self._wide if node.mask & mask)))

    def _index(self) -> dict[int, list["Node"]]:
        self._by_character = {}
        for node in self.following:
            if node.mask.bit_count() > _WIDE:
                self._wide.append(node)
                continue
            for bit in bits(node.mask):
                self._by_character.setdefault(bit, []).append(node)
        return self._by_character


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
        return _Builder(self).root()

    @cached_property
    def exact_root(self) -> Node:
        """The automaton in which a repeated field says the same; raises TooComplex where it can say too much."""
        return _Builder(self, self.repeated).root() if self.repeated else self.root

    def root_for_period(self, offset: int, exact: bool) -> Node:
        """Give the automaton whose END has the character at `offset` of the period's name for its place."""
        return _Builder(self, self.repeated if exact else frozenset(), offset).root()

    @cached_property
    def outline(self) -> Outline:
        """What can be told of it before its automaton is built."""
        return Outline.of(self.parts, self.forms, self.widest, self.fiscal_year_start)


# A language is kept as long as a series that has it, and no longer: definitions that are refused leave nothing behind.
_BY_SERIES: WeakKeyDictionary[Series, Language] = WeakKeyDictionary()
_BY_CONTENT: WeakValueDictionary[object, Language] = WeakValueDictionary()


def language(series: Series) -> Language:
    known = _BY_SERIES.get(series)
    if known is None:
        known = _BY_SERIES[series] = _language(series)
    return known


def _language(series: Series) -> Language:
    definition, template = series.definition, series.template
    forms = {**definition.dimensions, **{name: each.form for name, each in definition.attributes.items()}}
    fiscal = definition.reset is Reset.FISCAL_YEAR or DateToken("FY") in template.before + template.after
    content = (
        (*template.before, Seq(template.width), *template.after),
        tuple(sorted(forms.items(), key=lambda form: form[0])),
        series.key,
        MAX_DIGITS if definition.overflow is Overflow.WIDEN else template.width,
        definition.reset,
        series.fiscal_year_start if fiscal else (1, 1),
    )
    known = _BY_CONTENT.get(content)
    if known is None:
        known = _BY_CONTENT[content] = Language(*content)
    return known


class _Builder:
    """Builds an automaton from its end, equal nodes only once."""

    def __init__(self, of: Language, repeated: frozenset[str] = frozenset(), offset: int | None = None) -> None:
        self._of = of
        self._repeated = repeated
        self._dates = date_texts(of.tokens, of.fiscal_year_start, of.reset if offset is not None else None, offset or 0)
        self._nodes: dict[object, Node] = {}
        self._begun: dict[object, tuple[Node, ...]] = {}
        self._masks: dict[int, int] = {}

    def root(self) -> Node:
        # A template that prints only numbers that are too long prints none.
        shortest = self._of.outline.shortest
        return Node(0, None, self._begin(0, self._dates.start, ()) if shortest <= MAX_NUMBER_LENGTH else ())

    def _begin(self, index: int, dates: int, said: tuple[tuple[str, str], ...]) -> tuple[Node, ...]:
        """Give the nodes with which a part can begin, after what the parts before it said."""
        known = self._begun.get((index, dates, said))
        if known is None:
            known = self._begun[index, dates, said] = self._part(index, dates, said)
        return known

    def _part(self, index: int, dates: int, said: tuple[tuple[str, str], ...]) -> tuple[Node, ...]:
        if index == len(self._of.parts):
            ends = self._dates.end(dates)
            return (self._node(END, (ends, 0) if ends else None, ()),)
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
        numbered = tuple(sorted((text, numbers.setdefault(after, len(numbers))) for text, after in words))
        shape = _few_spelled(numbered) if len(numbered) <= _CACHED_WORDS else _shape(numbered, 0, {})
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
            mask = self._masks.setdefault(mask, mask)  # masks of Thai are large: nodes share them
            made = self._nodes[mask, place, following] = Node(mask, place, following)
        return made


# How words are spelled: the characters that may come, then the shape of what is left, and what follows a word's end
_Shape = tuple[tuple[int, "_Shape", tuple[int, ...]], ...]


def _shape(words: Sequence[tuple[str, int]], offset: int, shapes: dict[object, _Shape]) -> _Shape:
    """Merge what stands from `offset` on in words that agree before it, where they go on alike."""
    masks: dict[tuple[int, tuple[int, ...]], int] = {}
    rests: dict[int, _Shape] = {}
    for first, alike in groupby(words, key=lambda word: word[0][offset]):
        some = list(alike)
        ended = tuple(after for text, after in some if len(text) == offset + 1)
        rest = _shape(some[len(ended) :], offset + 1, shapes) if len(ended) < len(some) else ()
        rests[id(rest)] = rest
        masks[id(rest), ended] = masks.get((id(rest), ended), 0) | 1 << ord(first)
    shape = tuple((mask, rests[rest], ended) for (rest, ended), mask in masks.items())
    return shapes.setdefault(tuple((mask, rest, ended) for (rest, ended), mask in masks.items()), shape)


@lru_cache(maxsize=1024)
def _few_spelled(words: tuple[tuple[str, int], ...]) -> _Shape:
    return _shape(words, 0, {})


def _texts(name: str, form: Dimension) -> list[str]:
    """List all that a repeated field can say."""
    if form.values:
        return list(form.values)
    fit = [chr(bit) for bit in islice(bits(members(form.chars)), MAX_REPEATED + 1)]
    if sum(len(fit) ** length for length in range(form.min, form.max + 1)) > MAX_REPEATED:
        raise TooComplex(f"it prints {{{name}}} twice, which can be more than {MAX_REPEATED} texts; print it once")
    spelled = (product(fit, repeat=length) for length in range(form.min, form.max + 1))
    texts = ("".join(each) for of_length in spelled for each in of_length)
    return [text for text in texts if form.flaw(text) is None]
