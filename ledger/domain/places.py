"""Where a number stands, and how it is printed: what events say of sequences and numbers.

`Written` says how a field is stored where its type does not say it; `ledger.forms` reads it.
"""

from dataclasses import dataclass
from datetime import date
from enum import Enum, auto
from typing import Annotated

from ledger.domain.ranges import Ranges

__all__ = ["Attributes", "Numbering", "Original", "Place", "Print", "Written"]


class Written(Enum):
    """An irregular form of a field in the data of an event."""

    SPARSE = auto()  # left out when empty
    AS_OBJECT = auto()  # pairs of names and values as one object
    MARK = auto()  # 1 when true, else left out
    WITH_COUNTS = auto()  # ranges by state, each beside the count of its values


Attributes = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """The sequence that an event is about: its id, and what it is made of; `key` is in the order of the series' key."""

    sequence: str
    series: str
    series_version: int
    key: tuple[str, ...]
    period: str


@dataclass(frozen=True, slots=True)
class Numbering(Place):
    """All that, with a value, prints a number again years later.

    `date_is_derived` when nobody gave the date: it is the last one that prints the number and was not to come.
    """

    document_date: date
    attributes: Annotated[Attributes, Written.AS_OBJECT]
    tzdata: str
    date_is_derived: Annotated[bool, Written.MARK] = False


@dataclass(frozen=True, slots=True)
class Print:
    """Values whose numbers were printed with the same date and attributes."""

    document_date: date
    attributes: Annotated[Attributes, Written.AS_OBJECT]
    ranges: Ranges
    date_is_derived: Annotated[bool, Written.MARK] = False


@dataclass(frozen=True, slots=True)
class Original:
    """How a number was printed, and for which document, as the log has it; and by which reservation."""

    series_version: int
    document_date: date
    attributes: Attributes
    document: str | None
    token: str | None = None
    date_is_derived: bool = False

    @classmethod
    def of(cls, numbering: Numbering, document: str | None = None, token: str | None = None) -> "Original":
        of = numbering
        return cls(of.series_version, of.document_date, of.attributes, document, token, of.date_is_derived)
