"""What the ledger tells of its state, each as of a position."""

from typing import NamedTuple

from ledger.domain.accounting import Accounting, Cause
from ledger.domain.events import NumbersReserved, PeriodClosed
from ledger.domain.sequence import Sequence
from ledger.domain.series import Series
from ledger.domain.utilisation import Utilisation

__all__ = ["AccountView", "Closing", "Preview", "SequenceView", "SeriesView"]


class SeriesView(NamedTuple):
    """The present version of a series."""

    series: Series
    is_retired: bool
    position: int


class SequenceView(NamedTuple):
    """A sequence, the version of its series that counts in it, and how full it is."""

    sequence: Sequence
    series: Series
    utilisation: Utilisation
    position: int


class Closing(NamedTuple):
    """How the period of a sequence was closed."""

    event: PeriodClosed
    cause: Cause


class AccountView(NamedTuple):
    """What became of the values of a sequence, or of a part of them."""

    sequence: Sequence
    series: Series
    accounting: Accounting
    closing: Closing | None
    position: int


class Preview(NamedTuple):
    """What would be reserved, and the version of the series that would print it."""

    event: NumbersReserved
    series: Series
    position: int
