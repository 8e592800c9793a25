"""Whether an event is about a sequence that there is: its series and version, its key, period and id.

An amendment may take from a dimension the values that earlier sequences are of, so a key is judged by the versions
that it can be of. What prints numbers is judged by the version that it names (`flaw_of_place`). A sequence that has
begun is what it began as, whatever its series has become since (`flaw_of_sequence`). And a sequence begins for a key
of the present version, or for one of an earlier version where that may be (`flaw_of_beginning`).
"""

from datetime import date

from ledger.domain import calendar
from ledger.domain.calendar import Reset
from ledger.domain.events import Numbering, Place
from ledger.domain.series import Series
from ledger.domain.state import State

__all__ = [
    "flaw_of_beginning",
    "flaw_of_begun",
    "flaw_of_date",
    "flaw_of_known",
    "flaw_of_open",
    "flaw_of_period",
    "flaw_of_place",
    "flaw_of_present",
    "flaw_of_sequence",
]

CACHED = 65_536  # numberings of sequences, days and attributes

Pairs = tuple[tuple[str, str], ...]


def flaw_of_known(state: State, code: str, version: int) -> str | None:
    """Say whether a version may have printed numbers: of one that never counted, what it prints is not proved."""
    versions = state.versions(code)
    if versions is None:
        return f"series {code!r} is not defined"
    if 1 <= version <= len(versions) and versions[version - 1] in state.printing(code):
        return None
    return f"version {version} of series {code} is not in use; it has {len(versions)}"


def flaw_of_present(state: State, code: str, version: int) -> str | None:
    """Say whether a version is the one by which numbers are given out."""
    versions = state.versions(code)
    if versions is None:
        return f"series {code!r} is not defined"
    if version != versions[-1].version:
        return f"version {version} of series {code} is named, and version {versions[-1].version} is in force"
    return f"series {code} is retired" if state.is_retired(code) else None


def flaw_of_sequence(state: State, series: Series, place: Place) -> str | None:
    """Say whether what happens to a sequence as a whole names the one that there is, or one that may begin.

    `series` is the version that the event names, of the sequence's era. It may declare the key's values no longer.
    """
    sequence = state.sequence(place.sequence)
    if sequence is None:
        return flaw_of_beginning(state, series, place)
    if (place.series, series.era) != (sequence.series, sequence.era):
        return f"version {series.version} of series {place.series} does not count in sequence {sequence.id}"
    if (place.key, place.period) == (sequence.key, sequence.period):
        return None
    key = ", ".join(sequence.key) or "no key"
    return f"sequence {sequence.id} is of {key} in period {sequence.period}, and the event says otherwise"


def flaw_of_beginning(state: State, series: Series, place: Place) -> str | None:
    """Say whether a sequence may begin so: for a key of this version, or for one of an earlier version of its era.

    The latter only behind a fence: a number that the lost events may have given out is given by hand as it was printed
    then, and that begins its sequence.
    """
    flaw = flaw_of_place(series, place)
    if flaw is None or not state.passed_over(series, place.period):
        return flaw
    alike = (each for each in state.printing(series.code) if each.era == series.era)
    return None if any(flaw_of_place(each, place) is None for each in alike) else flaw


def flaw_of_place(series: Series, place: Place) -> str | None:
    """Say whether id, key and period agree; what prints numbers as well says its date and attributes."""
    if isinstance(place, Numbering):
        return _flaw_of_known_numbering(series, place)
    return _flaw_of_sequence(series, place.sequence, place.key, place.period) or flaw_of_period(series, place.period)


# The numberings that were judged legal, with their series, by identity: all numbers of a sequence on one day share one,
# and to hash it takes as long as all the rest that is asked of a reservation.
_legal: dict[int, tuple[Series, Numbering]] = {}


def _flaw_of_known_numbering(series: Series, numbering: Numbering) -> str | None:
    known = _legal.get(id(numbering))
    if known is not None and known[0] is series and known[1] is numbering:
        return None
    flaw = _flaw_of_numbering(series, numbering)
    if flaw is None:
        if len(_legal) >= CACHED:
            _legal.clear()
        _legal[id(numbering)] = series, numbering
    return flaw


def _flaw_of_numbering(series: Series, numbering: Numbering) -> str | None:
    return _flaw_of_sequence(series, numbering.sequence, numbering.key, numbering.period) or flaw_of_date(
        series, numbering.period, numbering.document_date, numbering.attributes
    )


def _flaw_of_sequence(series: Series, id: str, key: tuple[str, ...], period: str) -> str | None:
    if len(key) != len(series.key):
        return f"the key has {len(key)} values, and series {series.code} counts by {len(series.key)}"
    for name, value in zip(series.key, key, strict=True):
        flaw = series.definition.dimensions[name].flaw(value)
        if flaw:
            return f"the key's {name} {flaw}"
    expected = series.sequence_id(key, period)
    return None if id == expected else f"the sequence is called {id!r}, and that of its key and period is {expected!r}"


def flaw_of_date(series: Series, period: str, day: date, attributes: Pairs) -> str | None:
    """Say whether a number may be printed with a date and attributes; the proof holds for no others."""
    if not calendar.FIRST_DATE <= day <= calendar.LAST_DATE:
        return f"{day.isoformat()} is no date of a document"
    if series.period(day) != period:
        return f"{day.isoformat()} is not in period {period}"
    return _flaw_of_attributes(series, attributes)


def _flaw_of_attributes(series: Series, attributes: Pairs) -> str | None:
    declared = series.definition.attributes
    if [name for name, _ in attributes] != sorted(declared):
        return f"the attributes are {', '.join(name for name, _ in attributes) or 'none'}, not those of {series.code}"
    flaws = ((name, declared[name].form.flaw(value)) for name, value in attributes)
    return next((f"the attribute {name} {flaw}" for name, flaw in flaws if flaw), None)


def flaw_of_period(series: Series, period: str) -> str | None:
    reset = series.definition.reset
    is_one = calendar.first_day(period, reset, series.fiscal_year_start) is not None
    if period == "-" if reset is Reset.NEVER else is_one:
        return None
    return f"{period!r} is no period of series {series.code}, of which reset is {reset.value}"


def flaw_of_open(state: State, series: Series, place: Place) -> str | None:
    """Say whether a sequence may change: it has begun, as one that never resets does by itself, and is not closed."""
    sequence = state.sequence(place.sequence)
    if sequence is None:
        return None if series.definition.reset is Reset.NEVER else _not_begun(place)
    return f"period {place.period} of sequence {place.sequence} is closed" if sequence.closed else None


def flaw_of_begun(state: State, place: Place) -> str | None:
    return None if state.sequence(place.sequence) else _not_begun(place)


def _not_begun(place: Place) -> str:
    return f"sequence {place.sequence} has not begun"
