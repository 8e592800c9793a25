"""The fold of the log that `decide` judges on, and cheap branches of it.

A branch sees its base and keeps its own changes, so a batch is decided on a branch: dropped when the transaction
fails, merged when it has committed. Only what `decide` needs is here; closed numbers are read from the log.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple, TypeVar

from ledger.domain import calendar
from ledger.domain.events import Numbering
from ledger.domain.formats import FIRST_FORMAT
from ledger.domain.ranges import Ranges
from ledger.domain.sequence import Sequence
from ledger.domain.series import Series
from ledger.domain.template import Frame

__all__ = ["FOLD_VERSION", "PARTS", "Reservation", "RestoreFence", "State"]

# Raise it whenever the same events would fold to another state, or the same state be written to a snapshot otherwise:
# snapshots of another version are ignored.
FOLD_VERSION = 8

# What a root holds, by the names of its attributes; the heap of expiries is made of the reservations.
PARTS = (
    "series", "sequences", "reservations", "latest_periods", "first_used", "opened", "fences", "retired", "highest",
    "format", "links", "dated_until", "closed",
)  # fmt: skip

# The documents of numbers are not in the state, but for those that were linked of late: what the log said of a number
# before the lock was taken is brought up to date with them. More links than this between the two are many minutes.
MAX_LINKS = 10_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reservation:
    """An open reservation: the values that it still holds, since when, and until when (microseconds)."""

    token: str
    numbering: Numbering
    ranges: Ranges
    reserved_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class RestoreFence:
    """What a restore passed over, and still passes over in sequences that begin later; `generation` counts from 1.

    `margins` are of the series, by code, that have another margin than `margin`.
    """

    generation: int
    fenced_at: int
    margin: int
    opened: frozenset[tuple[str, str]]
    margins: Mapping[str, int]

    def margin_of(self, code: str) -> int:
        """Give the number of values that a sequence of this series skips."""
        return self.margins.get(code, self.margin)


class LateLink(NamedTuple):
    """The document that a number got as so many `links` had been made in the ledger, this one with them."""

    links: int
    document: str


class State:
    def __init__(self, base: "State | None" = None) -> None:
        self._base = base
        self._series: dict[str, tuple[Series, ...]] = {}
        self._sequences: dict[str, Sequence] = {}
        self._reservations: dict[str, Reservation | None] = {}
        self._latest_periods: dict[str, str] = {}
        self._first_used: dict[str, int] = {}
        self._opened: dict[tuple[str, object, str], int] = {}
        self._fences: tuple[RestoreFence, ...] = ()
        self._retired: dict[str, bool] = {}
        self._highest: dict[tuple[str, int], int] = {}
        self._format: int = base._format if base else FIRST_FORMAT
        self._links: int = base._links if base else 0
        self._dated_until: int = base._dated_until if base else 0
        self._closed: tuple[str, ...] | None = base._closed if base else None
        self._expiries: list[tuple[int, str]] = []
        self._linked: dict[tuple[str, int], LateLink] = {}  # the last of each value, in the order in which they came
        self._forgotten = 0  # links up to this one may be missing there
        self._kept: Mapping[str, Sequence] = {}
        self._in_use: tuple[Series, ...] | None = None  # None: to be made anew

    def branch(self) -> "State":
        return State(self)

    def merge(self) -> None:
        """Fold this branch into its base."""
        base = self._base
        assert base is not None
        base._series.update(self._series)
        base._sequences.update(self._sequences)
        base._latest_periods.update(self._latest_periods)
        base._first_used.update(self._first_used)
        base._opened.update(self._opened)
        base._fences += self._fences
        for code, is_retired in self._retired.items():
            base.put_retired(code, is_retired)
        base._highest.update(self._highest)
        base._format = self._format
        base._links = self._links
        base._dated_until = self._dated_until
        base._closed = self._closed
        for (id, value), link in self._linked.items():
            base._remember(id, value, link)
        if self._series or self._first_used:
            base._in_use = None
        for token, reservation in self._reservations.items():
            base.put_reservation(token, reservation)

    # Whole, for snapshots alone

    @contextmanager
    def kept(self) -> Iterator[Mapping[str, Any]]:
        """Give all that a root holds now, by the names of PARTS, and keep it so until the end.

        Meanwhile the root goes on: a sequence is copied before it is changed, everything else is replaced anyway.
        """
        assert self._base is None
        assert not self._kept, "kept already"
        parts = {name: copy(getattr(self, f"_{name}")) for name in PARTS}
        self._kept = parts["sequences"]
        try:
            yield parts
        finally:
            self._kept = {}

    @classmethod
    def of(cls, parts: Mapping[str, Any]) -> "State":
        """Give the root that holds these parts, which are its own from now on."""
        state = cls()
        for name in PARTS:
            setattr(state, f"_{name}", parts[name])
        state._expiries = [(each.expires_at, each.token) for each in state.reservations()]
        heapify(state._expiries)
        state._forgotten = state._links
        return state

    def twin(self) -> "State":
        """Give a root that goes on from here, as long as this one stands still; what it does not change, both share."""
        assert self._base is None
        twin = State.of({name: copy(getattr(self, f"_{name}")) for name in PARTS})
        twin._kept = self._sequences
        return twin

    # Reading

    def versions(self, code: str) -> tuple[Series, ...] | None:
        """Give every version of a series, the first first."""
        state: State | None = self  # a loop, here and below: a branch is asked for every command, and calls cost
        while state is not None:
            if (found := state._series.get(code)) is not None:
                return found
            state = state._base
        return None

    def series(self, code: str, version: int) -> Series:
        versions = self.versions(code)
        assert versions is not None
        return versions[version - 1]

    def series_now(self, code: str) -> Series:
        versions = self.versions(code)
        assert versions is not None
        return versions[-1]

    def printing(self, code: str) -> tuple[Series, ...]:
        """Give the versions of a series that printed numbers or may: from the first one in use to the present one."""
        versions = self.versions(code) or ()
        return versions[(self.first_used(code) or len(versions)) - 1 :]

    def frame(self, of: Numbering) -> Frame:
        """Give how the numbers of an event are printed: nothing is missing but the value."""
        return self.series(of.series, of.series_version).frame(of.key, of.attributes, of.document_date)

    def series_of(self, sequence: Sequence) -> Series:
        """Give the latest version that counts in a sequence."""
        era = sequence.era
        return next(each for each in reversed(self.printing(sequence.series)) if each.era == era)

    def is_over(self, sequence: Sequence) -> bool:
        """Say whether a sequence gives out no more numbers: it is closed, or its series is retired or counts anew."""
        is_present = self.series_now(sequence.series).era == sequence.era
        return sequence.closed or not is_present or self.is_retired(sequence.series)

    def first_used(self, code: str) -> int | None:
        """Give the version with which a series began to count; None when it did not yet."""
        found = self._first_used.get(code)
        return self._base.first_used(code) if found is None and self._base else found

    def is_retired(self, code: str) -> bool:
        state: State | None = self
        while state is not None:
            found = state._retired.get(code)
            if found is not None:
                return found
            state = state._base
        return False

    def highest(self, series: Series) -> int:
        """Give the highest value that any sequence passed which counts as this version does; -1 for none."""
        era = self.era_of(series)
        return -1 if era is None else self._highest_of((series.code, era))

    def era_of(self, series: Series) -> int | None:
        """Give the era of the versions in use that count as this one does; None when there is none."""
        return next((each.era for each in self.printing(series.code) if each.counting == series.counting), None)

    def _highest_of(self, era: tuple[str, int]) -> int:
        found = self._highest.get(era)
        if found is None:
            return self._base._highest_of(era) if self._base else -1
        return found

    def is_opened(self, series: Series, period: str) -> bool:
        """Say whether a period of a series, as it counts in this version, may be used before its time for every key."""
        return self._opened_after(series, period) is not None

    def opened_periods(self, series: Series) -> list[str]:
        """Give the periods that were opened before their time, as the series counts in this version."""
        mine = [of[2] for of in self._opened if of[:2] == (series.code, series.counting)]
        return mine + (self._base.opened_periods(series) if self._base else [])

    @property
    def format(self) -> int:
        """Give the format of the ledger: see `formats`."""
        return self._format

    @property
    def dated_until(self) -> int:
        """Returns the time up to which an operator accepts a head that is ahead of the clocks; 0 for none."""
        return self._dated_until

    @property
    def closed(self) -> tuple[str, ...] | None:
        """Give the copies that are to hold the event by which the ledger was closed; None while it is open."""
        return self._closed

    @property
    def fences(self) -> tuple[RestoreFence, ...]:
        """Give the fences of all restores that may have lost events, the first first."""
        return (self._base.fences if self._base else ()) + self._fences

    @property
    def generation(self) -> int:
        """Count the restores that may have lost events."""
        return len(self.fences)

    @property
    def links(self) -> int:
        """Count how often confirmed numbers got another document."""
        return self._links

    def knows_links_since(self, links: int) -> bool:
        """Say whether every link after the first so many is remembered."""
        return self._base.knows_links_since(links) if self._base else links >= self._forgotten

    def document_since(self, id: str, value: int, links: int) -> str | None:
        """Give the document that a value got after the first so many links; None when it got none."""
        found = self._linked.get((id, value))
        if found is None:
            return self._base.document_since(id, value, links) if self._base else None
        return found.document if found.links > links else None

    def passed_over(self, series: Series, period: str) -> int:
        """Count the values from its start on that a sequence of this period passes over when it begins.

        Events that a restore lost may have begun it and given them out, each time anew: so the margins add up.
        """
        return sum(fence.margin_of(series.code) for fence in self.fences if self._covers(fence, series, period))

    def owed(self, sequence: Sequence) -> int:
        """Count the values that earlier restores pass over in a sequence, and that it has not passed.

        There are none as long as commands are whole. The log of a ledger that was fenced may be cut between the events
        of its fence, or of a command that begins a sequence.
        """
        return sum(fence.margin_of(sequence.series) for fence in self.fences if fence.generation > sequence.generation)

    def _covers(self, fence: RestoreFence, series: Series, period: str) -> bool:
        """Say whether a period may have been used before a fence: it had begun, or was open ahead of its time.

        The zone of the series may have been another one in the events that were lost, so it is not asked.
        """
        opened_after = self._opened_after(series, period)
        return (
            period <= series.period(calendar.latest_date_at(fence.fenced_at))
            or (opened_after is not None and opened_after < fence.generation)
            or (series.code, period) in fence.opened
        )

    def _opened_after(self, series: Series, period: str) -> int | None:
        """Give the generation in which a period was opened ahead of its time; None when it was not."""
        found = self._opened.get((series.code, series.counting, period))
        return self._base._opened_after(series, period) if found is None and self._base else found

    def in_use(self) -> tuple[Series, ...]:
        """Give all series, by code, in the versions that printed numbers or may; the same tuple while none changes."""
        if self._base and not self._series and not self._first_used:
            return self._base.in_use()
        if self._in_use is None:
            self._in_use = tuple(version for series in self.all_series() for version in self.printing(series.code))
        return self._in_use

    def all_series(self) -> list[Series]:
        """Give the present version of each series, by code."""
        return [versions[-1] for _, versions in sorted(self._all(lambda state: state._series).items())]

    def sequence(self, id: str) -> Sequence | None:
        state: State | None = self
        while state is not None:
            if (found := state._sequences.get(id)) is not None:
                return found
            state = state._base
        return None

    def sequences(self) -> list[Sequence]:
        return list(self._all(lambda state: state._sequences).values())

    def reservation(self, token: str) -> Reservation | None:
        state: State | None = self
        while state is not None:
            if token in state._reservations:
                return state._reservations[token]
            state = state._base
        return None

    def reservations(self) -> list[Reservation]:
        return [one for one in self._all(lambda state: state._reservations).values() if one]

    def latest_period(self, stem: str) -> str | None:
        found = self._latest_periods.get(stem)
        return self._base.latest_period(stem) if found is None and self._base else found

    def latest_periods(self) -> Mapping[str, str]:
        """Give the latest period of which each stem gave out a number."""
        return self._all(lambda state: state._latest_periods)

    def _all(self, part: Callable[["State"], dict[str, T]]) -> dict[str, T]:
        return (self._base._all(part) if self._base else {}) | part(self)

    # Recording, for `evolve` alone

    def put_series(self, series: Series) -> None:
        """Add a version; what counts otherwise than all versions in use has sequences of its own."""
        versions = self.versions(series.code) or ()
        if self.first_used(series.code):
            alike = (each.era for each in self.printing(series.code) if each.counting == series.counting)
            series = series.in_era(next(alike, series.version))
        self._series[series.code] = (*versions, series)
        self._in_use = None

    def put_maximum(self, code: str, max_value: int) -> None:
        versions = self.versions(code)
        assert versions is not None
        self._series[code] = (*versions[:-1], versions[-1].with_maximum(max_value))
        self._in_use = None

    def put_opened(self, series: Series, period: str) -> None:
        self._opened[series.code, series.counting, period] = self.generation

    def put_fence(self, fence: RestoreFence) -> None:
        self._fences += (fence,)

    def put_format(self, format: int) -> None:
        self._format = format

    def put_dated_until(self, recorded_at: int) -> None:
        self._dated_until = recorded_at

    def put_closed(self, copies: tuple[str, ...] | None) -> None:
        self._closed = copies

    def put_link(self, id: str, value: int, document: str) -> None:
        """Note that a value got another document."""
        self._links += 1
        self._remember(id, value, LateLink(self._links, document))

    def _remember(self, id: str, value: int, link: LateLink) -> None:
        self._linked.pop((id, value), None)
        self._linked[id, value] = link
        if len(self._linked) > MAX_LINKS and self._base is None:
            self._forgotten = self._linked.pop(next(iter(self._linked))).links

    def put_retired(self, code: str, is_retired: bool = True) -> None:
        if is_retired or self._base is not None:
            self._retired[code] = is_retired
        else:
            self._retired.pop(code, None)

    def put_sequence(self, sequence: Sequence, series: Series) -> None:
        self._sequences[sequence.id] = sequence
        if self.first_used(series.code) is None:
            self._first_used[series.code] = series.version
            self._in_use = None

    def put_used(self, sequence: Sequence, series: Series) -> None:
        """Note that a sequence gave out its first number."""
        stem = series.stem(sequence.key)
        self._latest_periods[stem] = max(sequence.period, self.latest_period(stem) or "")

    def put_passed(self, sequence: Sequence) -> None:
        """Note how far a sequence has come."""
        era = sequence.series, sequence.era
        if sequence.high_water > self._highest_of(era):
            self._highest[era] = sequence.high_water

    def sequence_to_change(self, id: str) -> Sequence:
        found = self._sequences.get(id)
        if found is None:
            assert self._base is not None
            original = self._base.sequence(id)
            assert original is not None
            found = self._sequences[id] = original.copy()
        elif self._kept.get(id) is found:
            found = self._sequences[id] = found.copy()
        return found

    def put_reservation(self, token: str, reservation: Reservation | None) -> None:
        """Hold an open reservation, or None to forget a closed one."""
        if self._base is not None:
            self._reservations[token] = reservation
        elif reservation is None:
            self._reservations.pop(token, None)
        else:
            self._hold(token, reservation)

    def _hold(self, token: str, reservation: Reservation) -> None:
        before = self._reservations.get(token)
        self._reservations[token] = reservation
        if before is None or before.expires_at != reservation.expires_at:
            heappush(self._expiries, (reservation.expires_at, token))
        if len(self._expiries) > 2 * len(self._reservations) + 1000:
            self._forget_stale_expiries()

    # Expiry, asked of the root

    def next_expiry(self) -> int | None:
        """Give the instant at which the next reservation may be due; it may be too early, never too late."""
        return self._expiries[0][0] if self._expiries else None

    def due(self, now: int, limit: int) -> list[str]:
        """Give the tokens of up to `limit` open reservations that have expired, oldest first."""
        due: list[tuple[int, str]] = []
        while len(due) < limit and self._expiries and self._expiries[0][0] <= now:
            entry = heappop(self._expiries)
            if self._is_live(*entry):
                due.append(entry)
        for entry in due:  # they stay due until the log holds their end, and the transaction may fail
            heappush(self._expiries, entry)
        return [token for _, token in due]

    def _is_live(self, expires_at: int, token: str) -> bool:
        reservation = self._reservations.get(token)
        return reservation is not None and reservation.expires_at == expires_at

    def _forget_stale_expiries(self) -> None:
        # Confirmed and extended reservations leave their old entry behind; dropping those keeps the heap in proportion.
        self._expiries = [entry for entry in self._expiries if self._is_live(*entry)]
        heapify(self._expiries)
