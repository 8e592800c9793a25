"""What can be told of a language without its automaton: how long its numbers are, and how they begin and end.

It says of a number more than it can be, never less: what two outlines tell apart is apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from ledger.domain.characters import bits, mask_of, members, union
from ledger.domain.date_texts import texts_of
from ledger.domain.series import MAX_NUMBER_LENGTH, Dimension
from ledger.domain.template import DateToken, Field, Literal, Part, Seq

__all__ = ["Outline"]

LOOKED_AT = 16  # characters at each end
CACHED = 1024  # dimensions, and as many date tokens

_LENGTHS = (1 << MAX_NUMBER_LENGTH + 1) - 1


@dataclass(frozen=True, slots=True)
class Words:
    """The lengths of some words, each a bit, and the characters of each place from the front and from the back."""

    lengths: int
    front: tuple[int, ...]
    back: tuple[int, ...]

    @classmethod
    def of(cls, words: Iterable[str]) -> Self:
        some = set(words)
        return cls(
            union(1 << len(word) for word in some),
            tuple(
                union(1 << ord(word[place]) for word in some if len(word) > place) for place in range(_longest(some))
            ),
            tuple(
                union(1 << ord(word[~place]) for word in some if len(word) > place) for place in range(_longest(some))
            ),
        )

    @classmethod
    def any(cls, mask: int, shortest: int, longest: int) -> Self:
        """All words of one set of characters, of these lengths."""
        places = (mask,) * longest
        return cls(union(1 << length for length in range(shortest, longest + 1)), places, places)


@dataclass(frozen=True, slots=True)
class Outline:
    """`lengths` has a bit for each length; `first` and `last` the characters at the ends that every number has."""

    shortest: int
    lengths: int
    first: tuple[int, ...]
    last: tuple[int, ...]

    @classmethod
    def of(
        cls, parts: Sequence[Part], forms: Mapping[str, Dimension], widest: int, fiscal_year_start: tuple[int, int]
    ) -> Self:
        words = [_words(part, forms, widest, fiscal_year_start) for part in parts]
        front, lengths = _joined([(each.lengths, each.front) for each in words])
        back, _ = _joined([(each.lengths, each.back) for each in reversed(words)])
        shortest = sum(next(bits(each.lengths)) for each in words)
        return cls(shortest, lengths & _LENGTHS, front[:shortest], back[:shortest])

    def is_apart(self, other: "Outline") -> bool:
        """Say whether no number can be of both; False when it takes a longer look."""
        if not self.lengths & other.lengths:
            return True
        ends = (*zip(self.first, other.first, strict=False), *zip(self.last, other.last, strict=False))
        return any(not one & two for one, two in ends)


def _words(part: Part, forms: Mapping[str, Dimension], widest: int, fiscal_year_start: tuple[int, int]) -> Words:
    match part:
        case Literal(text=text):
            return Words.of([text])
        case DateToken(name=name):
            return _of_token(name, fiscal_year_start)
        case Seq(width=width):
            return Words.any(mask_of("0123456789"), width, widest)
        case Field(name=name):
            return _of_form(forms[name])


@lru_cache(maxsize=CACHED)
def _of_token(name: str, fiscal_year_start: tuple[int, int]) -> Words:
    return Words.of(texts_of(name, fiscal_year_start))


@lru_cache(maxsize=CACHED)
def _of_form(form: Dimension) -> Words:
    return Words.of(form.values) if form.values else Words.any(members(form.chars), form.min, form.max)


def _joined(parts: Iterable[tuple[int, tuple[int, ...]]]) -> tuple[tuple[int, ...], int]:
    """Give what can stand at the first places of words behind one another, and their lengths together."""
    starts, masks = 1, [0] * LOOKED_AT
    for lengths, places in parts:
        for offset, mask in enumerate(places[:LOOKED_AT]):
            for place in bits(starts << offset & (1 << LOOKED_AT) - 1):
                masks[place] |= mask
        starts = union(starts << length for length in bits(lengths))
    return tuple(masks), starts


def _longest(words: Iterable[str]) -> int:
    return min(max(map(len, words)), LOOKED_AT)
