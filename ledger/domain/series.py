"""A series: the rule by which numbers are printed, counted, reset and limited.

`Series.define` is the only way to make one; what it accepts, every later version of the code must accept too,
because definitions are replayed from the log.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from functools import lru_cache

from ledger.domain import calendar
from ledger.domain.calendar import Reset
from ledger.domain.rejection import Rejection
from ledger.domain.template import DATE_TOKENS, FIELD_NAME, Frame, Template
from ledger.domain.text import flaw_of_text

__all__ = [
    "MAX_DIGITS",
    "MAX_NUMBER_LENGTH",
    "MAX_TTL_SECONDS",
    "MAX_VALUE",
    "Attribute",
    "DateOrder",
    "Definition",
    "Dimension",
    "Overflow",
    "Reuse",
    "Series",
]

MAX_VALUE = 4_000_000_000  # within the 32 bits of a roaring bitmap
MAX_DIGITS = len(str(MAX_VALUE))
MAX_TTL_SECONDS = 366 * 86_400
MAX_NUMBER_LENGTH = 100
MAX_DIMENSION_LENGTH = 50
MAX_VALUES = 10_000
MAX_CHARS_LENGTH = 200
MAX_FIELDS = 20
MAX_SEQUENCE_ID_LENGTH = 512  # the width of the column `stream`

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}")
_ESCAPES = str.maketrans({"%": "%25", "/": "%2F", ":": "%3A"})


class Overflow(StrEnum):
    ERROR = "error"
    WIDEN = "widen"


class Reuse(StrEnum):
    NEVER = "never"
    GAPLESS = "gapless"


class DateOrder(StrEnum):
    NONE = "none"
    PERIOD = "period"


@dataclass(frozen=True, slots=True)
class Dimension:
    """The values that a field may take: a list, or a character class such as `A-Z0-9` with lengths."""

    values: tuple[str, ...] = ()
    chars: str = ""
    min: int = 1
    max: int = MAX_DIMENSION_LENGTH
    _known: frozenset[str] = field(init=False, repr=False, compare=False)
    _pattern: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", frozenset(self.values))
        object.__setattr__(self, "_pattern", _pattern(self.chars, self.min, self.max))

    def flaw(self, value: str) -> str | None:
        """Say why `value` is not of this dimension, or None when it is."""
        if self._pattern is None:
            return None if value in self._known else f"is {value!r}, which is not one of the declared values"
        flaw = flaw_of_text(value, at_most=self.max)
        if flaw:
            return flaw
        if alike(value) != value:
            return f"is {value!r}, which looks like {alike(value)!r}; declare it among values"
        if self._pattern.fullmatch(value):
            return None
        return f"is {value!r}, which is not {self.min} to {self.max} characters of {self.chars}"

    def reach(self, text: str, start: int) -> int:
        """Give how far characters of the class go from a place, up to `max`; `start` when there are too few."""
        match = self._pattern.match(text, start) if self._pattern else None
        return match.end() if match else start

    def longest(self) -> int:
        """Bound the length of a value as it stands in a sequence id."""
        if self.values:
            return max(len(escaped(value)) for value in self.values)
        one = _pattern(self.chars, 1, 1)
        grows = any(one.fullmatch(character) for character in "%/:") if one else False
        return self.max * (3 if grows else 1)


@dataclass(frozen=True, slots=True)
class Attribute:
    """A field that prints but does not count; `default` prints when a command gives none."""

    form: Dimension
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A series as its owner writes it. The defaults are design.md 3.3's."""

    template: str
    key: tuple[str, ...] | None = None
    dimensions: Mapping[str, Dimension] = field(default_factory=dict)
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    reset: Reset = Reset.NEVER
    fiscal_year_start: str = "01-01"
    timezone: str = "UTC"
    date_order: DateOrder = DateOrder.NONE
    start: int = 1
    max_value: int | None = None
    overflow: Overflow = Overflow.ERROR
    reuse: Reuse = Reuse.NEVER
    reservation_ttl_seconds: int | None = None
    reservation_max_lifetime_seconds: int = 86_400
    manual: bool = True
    warn_at_percent: tuple[int, ...] = (90, 95)
    description: str = ""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Series:
    """One version of a series, checked; `definition` has every default filled in.

    `era` is 0, or the version that began to count otherwise than those before it: its sequences have ids of their own.
    """

    code: str
    version: int
    definition: Definition
    template: Template
    key: tuple[str, ...]
    fiscal_year_start: tuple[int, int]
    max_value: int
    era: int = 0

    @classmethod
    def define(cls, code: str, definition: Definition, version: int = 1) -> "Series":
        """Check a definition; a Rejection names the first field that is wrong and what to write instead."""
        if not _CODE.fullmatch(code):
            raise Rejection.invalid("code", "must be 1 to 50 of A-Z a-z 0-9 . _ - and begin with a letter or digit")
        template = Template.parse(definition.template)
        key = definition.key
        if key is None:
            key = tuple(name for name in template.fields() if name in definition.dimensions)
        _check_fields(template, key, definition)
        series = cls(
            code=code,
            version=version,
            definition=replace(definition, key=key),
            template=template,
            key=key,
            fiscal_year_start=_fiscal_year_start(definition.fiscal_year_start),
            max_value=_max_value(template, definition),
        )
        _check_rest(series)
        return series

    def as_version(self, version: int) -> "Series":
        return self if self.version == version else replace(self, version=version)

    def in_era(self, era: int) -> "Series":
        return self if self.era == era else replace(self, era=era)

    def with_maximum(self, max_value: int) -> "Series":
        """Give the same version with another maximum; a Rejection when the template cannot print it."""
        definition = replace(self.definition, max_value=max_value)
        return replace(self, definition=definition, max_value=_max_value(self.template, definition))

    @property
    def counting(self) -> object:
        """What makes a value of a sequence the same one in two versions."""
        fiscal = self.definition.reset is Reset.FISCAL_YEAR
        return self.key, self.definition.reset, fiscal and self.fiscal_year_start

    def period(self, day: date) -> str:
        return calendar.period_of(day, self.definition.reset, self.fiscal_year_start)

    @lru_cache(maxsize=65_536)  # noqa: B019
    def sequence_id(self, key: tuple[str, ...], period: str) -> str:
        return f"{self.stem(key)}:{period}"

    def stem(self, key: tuple[str, ...]) -> str:
        """Give the part of a sequence id that all periods of one key share."""
        code = f"{self.code}~{self.era}" if self.era else self.code
        return ":".join((code, *map(escaped, key)))

    @lru_cache(maxsize=65_536)  # noqa: B019  series live as long as the process
    def frame(self, key: tuple[str, ...], attributes: tuple[tuple[str, str], ...], day: date) -> Frame:
        """Fill everything but the value into the template, as it was or will be printed: nothing is judged here."""
        fields = dict(zip(self.key, key, strict=True)) | dict(attributes)
        return self.template.frame(day, calendar.fiscal_year(day, self.fiscal_year_start), fields)


def escaped(value: str) -> str:
    """Write a key's value so that ids are unique and hold no `/`."""
    return value.translate(_ESCAPES)


def unescaped(value: str) -> str:
    return value.replace("%3A", ":").replace("%2F", "/").replace("%25", "%")


def _check_fields(template: Template, key: tuple[str, ...], definition: Definition) -> None:
    for name, form in definition.dimensions.items():
        _check_field(f"dimensions.{name}", name, form)
    for name, attribute in definition.attributes.items():
        _check_attribute(name, attribute, definition)
    printed = template.fields()
    for name in printed:
        if name not in definition.dimensions and name not in definition.attributes:
            raise Rejection.invalid(
                "template", f"prints {{{name}}}, which is neither a dimension nor an attribute; declare it"
            )
    counted = [name for name in printed if name in definition.dimensions]
    if len(set(key)) != len(key) or set(key) != set(counted):
        raise Rejection.invalid(
            "key",
            f"must name each dimension that the template prints once ({', '.join(counted) or 'none'}); "
            "declare as an attribute what prints but does not count",
        )
    unused = (set(definition.dimensions) | set(definition.attributes)) - set(printed)
    if unused:
        raise Rejection.invalid("template", f"does not print {', '.join(sorted(unused))}; print or remove it")


def _check_attribute(name: str, attribute: Attribute, definition: Definition) -> None:
    path = f"attributes.{name}"
    if name in definition.dimensions:
        raise Rejection.invalid(path, "is a dimension too; declare it once")
    _check_field(path, name, attribute.form)
    flaw = attribute.default is not None and attribute.form.flaw(attribute.default)
    if flaw:
        raise Rejection.invalid(f"{path}.default", flaw)


def _check_field(path: str, name: str, form: Dimension) -> None:
    if not FIELD_NAME.fullmatch(name) or name in DATE_TOKENS or name == "SEQ":
        raise Rejection.invalid(path, "must be named A-Z, then A-Z 0-9 _, and not like a date token or SEQ")
    if bool(form.values) == bool(form.chars):
        raise Rejection.invalid(path, "must declare either values or chars")
    if form.values:
        _check_values(path, form)
        return
    if not 1 <= form.min <= form.max <= MAX_DIMENSION_LENGTH:
        raise Rejection.invalid(path, f"must have 1 <= min <= max <= {MAX_DIMENSION_LENGTH}")
    flaw = _flaw_of_chars(form.chars)
    if flaw:
        raise Rejection.invalid(f"{path}.chars", flaw)


def _check_values(path: str, form: Dimension) -> None:
    if (form.min, form.max) != (1, MAX_DIMENSION_LENGTH):
        raise Rejection.invalid(path, "declares values, to which min and max do not apply; remove them")
    if len(form.values) > MAX_VALUES:
        raise Rejection.invalid(path, f"declares more than {MAX_VALUES} values; use chars")
    seen: dict[str, str] = {}
    for value in form.values:
        flaw = flaw_of_text(value, at_most=MAX_DIMENSION_LENGTH)
        if flaw:
            raise Rejection.invalid(f"{path}.values", f"has {value!r}, which {flaw}")
        other = seen.setdefault(alike(value), value)
        if other != value:
            raise Rejection.invalid(
                f"{path}.values", f"has {value!r} and {other!r}, which look alike (equal under NFKC)"
            )
    if len(seen) != len(form.values):
        raise Rejection.invalid(path, "declares a value twice")


def alike(value: str) -> str:
    """Give the one text that stands for all that look like `value`: its NFKC, but with the Thai and Lao AM as typed."""
    return unicodedata.normalize("NFKC", value).replace("\u0e4d\u0e32", "\u0e33").replace("\u0ecd\u0eb2", "\u0eb3")


def pieces(chars: str) -> list[tuple[str, str]]:
    """Read a character class: single characters and ranges `a-z`; a `-` first or last stands for itself."""
    found = re.findall(r"(.)-(.)|(.)", chars)
    return [(first or single, last or single) for first, last, single in found]


def _flaw_of_chars(chars: str) -> str | None:
    flaw = flaw_of_text(chars, at_most=MAX_CHARS_LENGTH)
    if flaw:
        return flaw
    backwards = [f"{first}-{last}" for first, last in pieces(chars) if first > last]
    return f"has the range {backwards[0]}, which runs backwards" if backwards else None


def _pattern(chars: str, shortest: int, longest: int) -> re.Pattern[str] | None:
    """Compile a character class with lengths; None for none, or for one that a definition refuses."""
    if not chars or _flaw_of_chars(chars) or not 1 <= shortest <= longest <= MAX_DIMENSION_LENGTH:
        return None
    members = "".join(f"{re.escape(first)}-{re.escape(last)}" for first, last in pieces(chars))
    return re.compile(f"[{members}]{{{shortest},{longest}}}")


def _fiscal_year_start(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d\d)-(\d\d)", text, re.ASCII)
    try:
        # In a common year, because 29 February begins no fiscal year.
        day = date(2001, int(match[1]), int(match[2])) if match else None
    except ValueError:
        day = None
    if day is None:
        raise Rejection.invalid("fiscal_year_start", "must be a month and day of every year, such as 10-01")
    return day.month, day.day


def _max_value(template: Template, definition: Definition) -> int:
    printable = MAX_VALUE if definition.overflow is Overflow.WIDEN else min(10**template.width - 1, MAX_VALUE)
    limit = printable if definition.max_value is None else definition.max_value
    if not 0 <= definition.start <= printable:
        raise Rejection.invalid("start", f"must be 0 to {printable}, which the template can print")
    if not definition.start <= limit <= printable:
        raise Rejection.invalid(
            "max_value",
            f"must be at least start ({definition.start}) and at most {printable}, which the template can print",
        )
    return limit


def _check_rest(series: Series) -> None:
    definition = series.definition
    try:
        calendar.zone(definition.timezone)
    except KeyError:
        raise Rejection.invalid(
            "timezone", f"is {definition.timezone!r}, which is no IANA zone such as Asia/Bangkok"
        ) from None
    lifetime, ttl = definition.reservation_max_lifetime_seconds, definition.reservation_ttl_seconds
    if not 1 <= lifetime <= MAX_TTL_SECONDS:
        raise Rejection.invalid("reservation_max_lifetime_seconds", f"must be 1 to {MAX_TTL_SECONDS}")
    if ttl is not None and not 1 <= ttl <= lifetime:
        raise Rejection.invalid(
            "reservation_ttl_seconds", f"must be 1 to reservation_max_lifetime_seconds ({lifetime})"
        )
    if any(not 1 <= percent <= 100 for percent in definition.warn_at_percent):
        raise Rejection.invalid("warn_at_percent", "must be percentages from 1 to 100")
    flaw = definition.description and flaw_of_text(definition.description, at_most=1000)
    if flaw:
        raise Rejection.invalid("description", flaw)
    longest = len(series.code) + 12 + sum(definition.dimensions[name].longest() + 1 for name in series.key)
    if longest > MAX_SEQUENCE_ID_LENGTH or len(series.key) > MAX_FIELDS:
        raise Rejection.invalid(
            "key",
            f"has more than {MAX_FIELDS} dimensions, or so long ones that a sequence's id would pass "
            f"{MAX_SEQUENCE_ID_LENGTH} characters; declare as attributes what prints but does not count",
        )
