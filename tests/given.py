"""Given / when / then for the rules, and the series that the tests share.

story = Story(LETTER)                                   given
story.when(Reserve("LETTER", "T1", LETTER_KEY))         when, then: the events
story.rejection(Confirm("T2")).code                     when, then: the rejection, with nothing changed
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from hypothesis import settings

from ledger.codec import canonical
from ledger.definitions import definition_data
from ledger.domain.calendar import Reset
from ledger.domain.commands import Decidable, DefineSeries
from ledger.domain.decide import decide
from ledger.domain.decisions.acts import accepting
from ledger.domain.events import Event, NumbersConfirmed, NumbersReserved
from ledger.domain.evolve import evolve
from ledger.domain.legality import flaw
from ledger.domain.ranges import ranges_of, values_of
from ledger.domain.rejection import Rejection
from ledger.domain.sequence import Sequence, ValueState
from ledger.domain.series import MAX_VALUE, Attribute, Definition, Dimension, Reuse, Series
from ledger.domain.state import Reservation, RestoreFence, State
from tests.profiles import rounds

__all__ = [
    "GAPLESS",
    "LETTER",
    "LETTER_KEY",
    "NOW",
    "PLAIN",
    "QUICK",
    "RFA",
    "RFA_KEY",
    "SECOND",
    "Story",
    "at",
    "dump",
    "one",
    "series",
]

# Few examples, because the rules have few parts.
QUICK = settings(max_examples=rounds(20, thorough=60), deadline=None)
SECOND = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Kind = TypeVar("_Kind", bound=Event)


def at(text: str) -> int:
    """Read an instant such as `2025-12-31T16:59:59.999999Z` as the ledger counts it, in microseconds."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def series(template: str = "{SEQ:4}", code: str = "S", **changes: Any) -> Series:
    return Series.define(code, Definition(template=template, **changes))


NOW = at("2025-06-15T03:00:00Z")  # ten in the morning in Bangkok

ORGANISATIONS = Dimension(values=("คคง.", "สคฉ.3", "สคฉ.3-01"))
LETTER = series(
    "{ORIGINATOR}-{RECIPIENT}-{SEQ:4}-{YEAR:BE}",
    "LETTER",
    dimensions={"ORIGINATOR": ORGANISATIONS, "RECIPIENT": ORGANISATIONS},
    reset=Reset.YEARLY,
    timezone="Asia/Bangkok",
)
LETTER_KEY = {"ORIGINATOR": "คคง.", "RECIPIENT": "สคฉ.3-01"}
RFA = series(
    "LCBP3-C2-RFA-{DISCIPLINE}-{RFA_TYPE}-{SEQ:4}-{REV}",
    "LCBP3-RFA",
    dimensions={"DISCIPLINE": Dimension(chars="A-Z", min=3, max=3), "RFA_TYPE": Dimension(values=("RPT", "DWG"))},
    attributes={"REV": Attribute(Dimension(chars="A-Z", max=1), default="A")},
)
RFA_KEY = {"DISCIPLINE": "TER", "RFA_TYPE": "RPT"}
PLAIN = series("{SEQ:4}", "PLAIN")
GAPLESS = series("G{SEQ:4}", "GAPLESS", reuse=Reuse.GAPLESS)


class Story:
    """A state with a clock; commands are decided on it as the writer would.

    Who tells a story means what its commands do: `when` accepts all that there is to accept. What must be accepted is
    the matter of `tests/domain/test_acts.py`.
    """

    def __init__(self, *defined: Series, now: int = NOW) -> None:
        self.state = State()
        self.now = now
        self.log: list[tuple[Event, int]] = []
        for definition in defined:
            self.when(DefineSeries((definition,)))

    @classmethod
    def of(cls, log: Iterable[tuple[Event, int]], *, now: int) -> "Story":
        """What is left of another story's log."""
        story = cls(now=now)
        for event, recorded_at in log:
            evolve(story.state, event, recorded_at)
            story.log.append((event, recorded_at))
        return story

    def when(self, command: Decidable) -> list[Event]:
        """Carry out a command, of which every event is legal; raises its Rejection."""
        events = decide(self.state, accepting(command), self.now)
        if isinstance(events, Rejection):
            raise events
        for event in events:
            found = flaw(self.state, event, self.now)
            assert found is None, f"{event} is not legal: {found}"
            evolve(self.state, event, self.now)
            self.log.append((event, self.now))
        return events

    def rejection(self, command: Decidable) -> Rejection:
        """Expect a rejection, which changes nothing."""
        before = dump(self.state)
        answer = decide(self.state, accepting(command), self.now)
        assert isinstance(answer, Rejection), f"{command} was accepted: {answer}"
        assert dump(self.state) == before
        return answer

    def numbers(self, event: NumbersReserved | NumbersConfirmed) -> list[str]:
        """Print the numbers of an event."""
        numbering = event.numbering
        printed = self.state.series(numbering.series, numbering.series_version)
        frame = printed.frame(numbering.key, numbering.attributes, numbering.document_date)
        return [frame.number(value) for value in values_of(event.ranges)]

    def sequence(self, id: str) -> Sequence:
        found = self.state.sequence(id)
        assert found is not None
        return found


def one(kind: type[_Kind], events: Iterable[Event]) -> _Kind:
    """Give the one event of a kind."""
    (found,) = (event for event in events if isinstance(event, kind))
    return found


def dump(state: State) -> str:
    """Write all that a state knows as canonical JSON."""
    return canonical(
        {
            "series": {each.code: _versions(state, each.code) for each in state.all_series()},
            "retired": [each.code for each in state.all_series() if state.is_retired(each.code)],
            "opened": state._all(lambda part: {" ".join(map(str, of)): fences for of, fences in part._opened.items()}),
            "fences": [_fence(each) for each in state.fences],
            "format": state.format,
            "links": state.links,
            "closed": state.closed,
            "sequences": {sequence.id: _sequence(sequence) for sequence in state.sequences()},
            "latest_periods": _latest_periods(state),
            "reservations": {each.token: _reservation(each) for each in state.reservations()},
        }
    ).decode()


def _versions(state: State, code: str) -> list[object]:
    return [definition_data(each.definition) for each in state.versions(code) or ()]


def _fence(fence: RestoreFence) -> dict[str, object]:
    return {name: getattr(fence, name) for name in ("generation", "fenced_at", "margin")} | {
        "opened": sorted(fence.opened),
        "margins": dict(fence.margins),
    }


def _latest_periods(state: State) -> dict[str, str | None]:
    by_code = {each.code: each for each in state.all_series()}
    stems = {by_code[sequence.series].stem(sequence.key) for sequence in state.sequences()}
    return {stem: state.latest_period(stem) for stem in stems}


def _sequence(sequence: Sequence) -> dict[str, object]:
    return {
        "series": sequence.series,
        "key": sequence.key,
        "period": sequence.period,
        "start": sequence.start,
        "high_water": sequence.high_water,
        "closed": sequence.closed,
        "closed_by_fence": sequence.closed_by_fence,
        "generation": sequence.generation,
        "is_used": sequence.is_used,
        "pool": _pool(sequence),
        "states": {state.value: sequence.values_in(state) for state in ValueState},
        "counts": {state.value: count for state, count in sequence.counts().items()},
    }


def _pool(sequence: Sequence) -> object:
    counts = sequence.counts()
    gaps = counts.get(ValueState.CANCELLED, 0) + counts.get(ValueState.EXPIRED, 0)
    offered = values_of(sequence.next_ranges(gaps, MAX_VALUE)) if gaps else ()
    return ranges_of(value for value in offered if value <= sequence.high_water)


def _reservation(reservation: Reservation) -> dict[str, object]:
    numbering = reservation.numbering
    return {
        "sequence": numbering.sequence,
        "series": [numbering.series, numbering.series_version],
        "key": numbering.key,
        "period": numbering.period,
        "document_date": numbering.document_date.isoformat(),
        "attributes": dict(numbering.attributes),
        "tzdata": numbering.tzdata,
        "ranges": reservation.ranges,
        "reserved_at": reservation.reserved_at,
        "expires_at": reservation.expires_at,
    }
