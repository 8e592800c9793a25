"""Sets of characters as masks: integers with one bit a code point."""

from collections.abc import Iterable, Iterator
from functools import cache
from unicodedata import combining

from ledger.domain.series import alike, pieces
from ledger.domain.text import flaw_of_text

__all__ = ["bits", "character", "mask_of", "members", "union"]

_BLOCK = 256  # code points that are judged at a time


def mask_of(text: str) -> int:
    """Give the characters of a text, each with its bit."""
    return union(1 << ord(each) for each in text)


def union(masks: Iterable[int]) -> int:
    found = 0
    for mask in masks:
        found |= mask
    return found


def bits(mask: int) -> Iterator[int]:
    """Give the numbers of the bits that are set, the lowest first."""
    while mask:
        lowest = mask & -mask
        mask ^= lowest
        yield lowest.bit_length() - 1


def character(mask: int, index: int = 0) -> str:
    """Choose one of a set of characters: the lowest that stands by itself, or the one after it for `index` 1."""
    found: list[str] = []
    while mask and len(found) <= index + 1:
        lowest = mask & -mask
        mask ^= lowest
        text = chr(lowest.bit_length() - 1)
        found = [text, *found[1:]] if found and combining(found[0]) else [*found, text]
    return found[min(index, len(found) - 1)]


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
