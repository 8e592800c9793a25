"""The printed form of a number: literals, `{SEQ:n}` once, date tokens, and fields (dimensions and attributes).

A template splits at `{SEQ:n}` into what stands before and what stands after it. Both sides are fixed by the
date and the fields, so a block of numbers is printed from one `Frame`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from ledger.domain.rejection import Rejection
from ledger.domain.text import flaw_of_text

__all__ = ["DATE_TOKENS", "FIELD_NAME", "DateToken", "Field", "Frame", "Literal", "Part", "Seq", "Template"]

MAX_TEMPLATE_LENGTH = 500
MAX_WIDTH = 9
BUDDHIST_ERA = 543  # CE + 543, Thai practice since 1941

FIELD_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,29}")

_PART = re.compile(r"\{([^{}]*)\}|([^{}]+)|([{}])")

# Each token prints from the document date and the fiscal year of that date.
DATE_TOKENS: Mapping[str, Callable[[date, int], str]] = {
    "YYYY": lambda day, _: f"{day.year:04d}",
    "YEAR": lambda day, _: f"{day.year:04d}",
    "YEAR:CE": lambda day, _: f"{day.year:04d}",
    "YEAR:A.D.": lambda day, _: f"{day.year:04d}",
    "YEAR:BE": lambda day, _: f"{day.year + BUDDHIST_ERA:04d}",
    "YEAR:B.E.": lambda day, _: f"{day.year + BUDDHIST_ERA:04d}",
    "YY": lambda day, _: f"{day.year % 100:02d}",
    "YY:BE": lambda day, _: f"{(day.year + BUDDHIST_ERA) % 100:02d}",
    "MM": lambda day, _: f"{day.month:02d}",
    "DD": lambda day, _: f"{day.day:02d}",
    "FY": lambda _, fiscal: f"{fiscal:04d}",
}


@dataclass(frozen=True, slots=True)
class Literal:
    text: str


@dataclass(frozen=True, slots=True)
class DateToken:
    name: str


@dataclass(frozen=True, slots=True)
class Field:
    name: str


@dataclass(frozen=True, slots=True)
class Seq:
    width: int


Part = Literal | DateToken | Field | Seq


@dataclass(frozen=True, slots=True)
class Frame:
    """A template with everything but the value filled in."""

    before: str
    width: int
    after: str

    def number(self, value: int) -> str:
        return f"{self.before}{value:0{self.width}d}{self.after}"

    def value(self, number: str) -> int | None:
        """Read the value back from a number that this frame printed; None for any other text."""
        digits = number[len(self.before) : len(number) - len(self.after)]
        if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_WIDTH + 1):
            return None
        value = int(digits)
        return value if self.number(value) == number else None


@dataclass(frozen=True, slots=True)
class Template:
    text: str
    before: tuple[Part, ...]
    width: int
    after: tuple[Part, ...]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Read a template; a Rejection names the part that is not understood."""
        flaw = flaw_of_text(text, at_most=MAX_TEMPLATE_LENGTH)
        if flaw:
            raise Rejection.invalid("template", flaw)
        parts = [_part(*match.groups()) for match in _PART.finditer(text)]
        places = [index for index, part in enumerate(parts) if isinstance(part, Seq)]
        if len(places) != 1:
            raise Rejection.invalid("template", f"must hold {{SEQ:n}} exactly once, not {len(places)} times")
        seq = parts[places[0]]
        assert isinstance(seq, Seq)
        return cls(text, tuple(parts[: places[0]]), seq.width, tuple(parts[places[0] + 1 :]))

    def fields(self) -> tuple[str, ...]:
        """Name the dimensions and attributes that it prints, each once, in order."""
        names = (part.name for part in self.before + self.after if isinstance(part, Field))
        return tuple(dict.fromkeys(names))

    def frame(self, day: date, fiscal_year: int, fields: Mapping[str, str]) -> Frame:
        return Frame(
            _printed(self.before, day, fiscal_year, fields),
            self.width,
            _printed(self.after, day, fiscal_year, fields),
        )


def _printed(parts: tuple[Part, ...], day: date, fiscal_year: int, fields: Mapping[str, str]) -> str:
    return "".join(
        part.text
        if isinstance(part, Literal)
        else fields[part.name]
        if isinstance(part, Field)
        else DATE_TOKENS[part.name](day, fiscal_year)
        for part in parts
        if not isinstance(part, Seq)
    )


def _part(token: str | None, literal: str | None, brace: str | None) -> Part:
    if brace:
        raise Rejection.invalid("template", f"holds a single {brace!r}; braces only enclose tokens")
    if literal:
        return Literal(literal)
    assert token is not None
    if token in DATE_TOKENS:
        return DateToken(token)
    if FIELD_NAME.fullmatch(token) and token != "SEQ":
        return Field(token)
    width = re.fullmatch(r"SEQ:([1-9])", token)
    if width:
        return Seq(int(width[1]))
    raise Rejection.invalid(
        "template",
        f"holds the unknown token {{{token}}}; known are {{SEQ:1}} to {{SEQ:{MAX_WIDTH}}}, "
        + ", ".join(f"{{{name}}}" for name in DATE_TOKENS)
        + " and the declared dimensions and attributes",
    )
