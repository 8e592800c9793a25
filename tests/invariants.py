"""What must be true of every ledger after every test that wrote to it, on any store.

The values are recomputed here from the stored bytes with plain dictionaries, and only then compared with the fold that
the service uses: a mistake would have to be made twice, in two different ways, to pass.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import Any

from ledger import chain, codec
from ledger.domain.events import NumberAssigned, Numbering, NumbersImported, NumbersReserved
from ledger.domain.ranges import Ranges, values_of
from ledger.domain.sequence import Sequence as NumberSequence
from ledger.domain.sequence import ValueState
from ledger.domain.series import MAX_VALUE
from ledger.domain.state import State
from ledger.fold import Fold
from ledger.ports import Head, Record, Store
from ledger.writer import Outcome
from replay.examination import Examination

__all__ = ["Model", "SequenceModel", "check_log", "check_store", "read_log"]

PAGE = 500

# The columns that are also said by the body. The hash is not: it is computed from the body.
COLUMNS = ("position", "type", "version", "stream", "token", "ordinal", "recorded_at")

HOLES = (ValueState.PRE_CONTROL, ValueState.SKIPPED)
ENDS = {
    "ReservationCancelled": ValueState.CANCELLED,
    "ReservationExpired": ValueState.EXPIRED,
    "ReservationFenced": ValueState.SKIPPED,
}
FENCING = ("ReservationFenced", "SequenceFenced", "PeriodClosed")


async def read_log(store: Store, *, page: int = PAGE) -> tuple[list[Record], Head]:
    """Read the head and every event up to it."""
    head = await store.head()
    records: list[Record] = []
    while len(records) < head.position:
        found = await store.events(after=len(records), limit=min(page, head.position - len(records)))
        assert found, f"the head says {head.position}, but the log ends at position {len(records)}"
        records += found
    return records, head


async def check_store(store: Store, *, acknowledged: Iterable[Outcome] = (), ambiguous: bool = False) -> Fold:
    """Check the whole log of a store that nobody writes to now."""
    records, head = await read_log(store)
    return check_log(records, head, acknowledged=acknowledged, ambiguous=ambiguous)


def check_log(
    records: Sequence[Record], head: Head, *, acknowledged: Iterable[Outcome] = (), ambiguous: bool = False
) -> Fold:
    """Check every invariant; gives the log folded from scratch, for further comparison.

    `ambiguous` is for tests whose templates cannot be told apart, so that numbers may be printed twice.
    """
    fold = Fold(head.ledger_id)
    fold.take(records)  # dense from 1, and chained from the genesis
    assert (head.position, head.hash, head.recorded_at) == (fold.position, fold.hash, fold.recorded_at)
    _check_rows(records)
    _check_commands(records)
    _check_model(Model.of(records), fold.state)
    if not ambiguous:
        _check_legal(records, head)
        _check_numbers(records, fold.state)
    hashes = [chain.genesis(head.ledger_id), *(record.hash for record in records)]
    for outcome in acknowledged:
        _check_present(records, hashes, outcome)
    return fold


def _check_legal(records: Iterable[Record], head: Head) -> None:
    """An auditor finds nothing wrong with any event."""
    examination = Examination(head.ledger_id)
    found = examination.take(records) or examination.finish()
    assert found is None, f"position {examination.flawed} is not legal: {found}"


def _check_rows(records: Sequence[Record]) -> None:
    """The columns say what the bytes say, and the log's clock never goes back."""
    for record in records:
        body = json.loads(record.body)
        assert {name: body.get(name) for name in COLUMNS} == {name: getattr(record, name) for name in COLUMNS}
        assert body["command_id"] == record.command_id.hex()
    for earlier, later in pairwise(records):
        assert earlier.recorded_at <= later.recorded_at, f"time goes back at position {later.position}"


def _check_commands(records: Sequence[Record]) -> None:
    """The events of a command stand together, in order, and are there once."""
    seen = Counter((record.command_id, record.ordinal) for record in records)
    assert not [key for key, count in seen.items() if count > 1], "an event of a command is there twice"
    assert not records or records[0].ordinal == 0
    for earlier, later in pairwise(records):
        if later.ordinal:
            before = later._replace(ordinal=later.ordinal - 1)
            for name in ("command_id", "ordinal", "recorded_at"):
                same = getattr(earlier, name) == getattr(before, name)
                assert same, f"position {later.position} was torn from its command"


def _check_numbers(records: Iterable[Record], state: State) -> None:
    """A printed number belongs to one value of one sequence for ever."""
    owners: dict[str, tuple[str, int]] = {}
    for sequence, value, number in _printed(records, state):
        owner = owners.setdefault(number, (sequence, value))
        assert owner == (sequence, value), f"{number} is printed by {owner} too"


def _printed(records: Iterable[Record], state: State) -> Iterator[tuple[str, int, str]]:
    for record in records:
        event = codec.decode(record).event
        frames: list[tuple[Numbering | NumbersImported, date, tuple[tuple[str, str], ...], Ranges]] = []
        match event:
            case NumbersReserved(numbering=of, ranges=ranges):
                frames += [(of, of.document_date, of.attributes, ranges)]
            case NumberAssigned(numbering=of, value=value):
                frames += [(of, of.document_date, of.attributes, ((value, value),))]
            case NumbersImported(prints=prints):
                frames += [(event, each.document_date, each.attributes, each.ranges) for each in prints]
        for by, day, attributes, ranges in frames:
            frame = state.series(by.series, by.series_version).frame(by.key, attributes, day)
            yield from ((by.sequence, value, frame.number(value)) for value in values_of(ranges))


def _check_present(records: Sequence[Record], hashes: Sequence[bytes], outcome: Outcome) -> None:
    """What was acknowledged is in the log, at the positions and with the bytes that were answered, and whole."""
    assert outcome.position <= len(records), f"position {outcome.position} was acknowledged and is lost"
    for entry in outcome.entries:
        stored, answered = records[entry.position - 1], codec.encode(entry, hashes[entry.position - 1])
        assert answered == stored, f"position {entry.position} is not what was acknowledged"
    if outcome.entries:
        first, last = outcome.entries[0], outcome.entries[-1]
        assert (first.ordinal, last.position) == (0, outcome.position)
        torn = outcome.position < len(records) and records[outcome.position].command_id == last.envelope.command_id
        assert not torn, f"the command at position {first.position} did more than was answered"


@dataclass
class SequenceModel:
    """Every value that one sequence ever passed, and its state, in a dictionary."""

    start: int
    high_water: int = field(init=False)
    states: dict[int, ValueState] = field(default_factory=dict)
    holders: dict[int, str] = field(default_factory=dict)
    released: set[int] = field(default_factory=set)
    given: set[int] = field(default_factory=set)
    fenced: int = -1
    replacements: dict[int, tuple[str, int]] = field(default_factory=dict)
    documents: dict[int, str] = field(default_factory=dict)
    closed: bool = False
    closed_by_fence: bool = False
    covered: int = 0  # by so many of the first fences: it has passed their margins, or need not

    def __post_init__(self) -> None:
        self.high_water = self.start - 1

    def reserve(self, values: list[int], token: str, position: int, *, gapless: bool) -> None:
        """A series that is gapless takes the lowest released values first, any other takes none."""
        reused = sorted(self.released)[: len(values)] if gapless else []
        new = range(self.high_water + 1, self.high_water + 1 + len(values) - len(reused))
        for value in values:
            assert value not in self.holders, f"position {position} reserves {value}, held by {self.holders[value]}"
            assert gapless or value not in self.states, f"position {position} reserves {value} a second time"
            assert value > self.fenced, f"position {position} reserves {value}, which a restore passed over"
        assert values == [*reused, *new], f"position {position} reserves {values}, not {[*reused, *new]}"
        self.high_water = max(self.high_water, values[-1])
        self.released.difference_update(values)
        self.given.update(values)
        self.states.update(dict.fromkeys(values, ValueState.RESERVED))
        self.holders.update(dict.fromkeys(values, token))

    def take_over(self, imported: list[int], holes: dict[ValueState, list[int]], position: int) -> None:
        for value in imported:
            assert value not in self.holders, f"position {position} imports {value}, held by {self.holders[value]}"
        before, self.high_water = self.high_water, max(self.high_water, *imported)
        left = set(range(before + 1, self.high_water + 1)).difference(imported)
        assert sorted(left) == sorted(value for values in holes.values() for value in values)
        for state, values in holes.items():
            self.states.update(dict.fromkeys(values, state))
        self.released.difference_update(imported)
        self.given.update(imported)
        self.states.update(dict.fromkeys(imported, ValueState.CONFIRMED))
        self.holders.update(dict.fromkeys(imported, f"the register at position {position}"))

    def lower(self, start: int, opened: list[int], position: int) -> None:
        assert opened == list(range(start, self.start)) != [], f"position {position} opens other values"
        self.start = start
        self.states = dict.fromkeys(opened, ValueState.PRE_CONTROL) | self.states

    def assign(self, value: int, skipped: list[int], position: int) -> None:
        assert value not in self.holders, f"position {position} assigns {value}, held by {self.holders[value]}"
        assert skipped == list(range(self.high_water + 1, value)), f"position {position} skips {skipped}"
        self.skip(skipped)
        self.high_water = max(self.high_water, value)
        self.released.discard(value)
        self.given.add(value)
        self.states[value] = ValueState.CONFIRMED
        self.holders[value] = f"the assignment at position {position}"

    def skip(self, values: list[int]) -> None:
        assert values == list(range(self.high_water + 1, self.high_water + 1 + len(values)))
        self.states.update(dict.fromkeys(values, ValueState.SKIPPED))
        self.high_water += len(values)

    def fence(self, values: list[int]) -> None:
        """What was passed by now is never reserved again."""
        self.skip(values)
        self.released.clear()
        self.fenced = self.high_water

    def void(self, value: int, position: int) -> None:
        assert self.states.get(value) is ValueState.CONFIRMED, f"position {position} voids {value}, not confirmed"
        self.states[value] = ValueState.VOIDED

    def link(self, data: dict[str, Any], token: str, position: int) -> None:
        value, holder = data["value"], self.holders.get(data["value"], "")
        assert self.states.get(value) is ValueState.CONFIRMED, f"position {position} links {value}, not confirmed"
        assert data.get("previous") == self.documents.get(value) != data["document"], f"position {position}"
        assert token == ("" if holder.startswith("the ") else holder), f"position {position} is of no reservation"
        self.documents[value] = data["document"]

    def settle(self, values: list[int], token: str, end: ValueState, position: int, *, gapless: bool) -> None:
        """What is let go while the series is gapless is released."""
        for value in values:
            assert self.states.get(value) is ValueState.RESERVED, f"position {position} ends {value}, not reserved"
            assert self.holders[value] == token, f"position {position} ends {value}, held by another reservation"
            self.states[value] = end
            if end is not ValueState.CONFIRMED:
                del self.holders[value]
                self.released.update([value] if gapless else [])


FORMATS = {
    "DocumentLinked": 2,
    "LedgerClosed": 3,
    "LedgerOpened": 3,
    "PeriodReopened": 3,
    "SeriesReopened": 3,
    "StartLowered": 3,
    "StopAccepted": 3,
}  # in which a type of event is written, where that is not the first


def _format_of(kind: str, data: dict[str, Any]) -> int:
    """Give the format that an event needs: some fields came later than their types."""
    is_later = any("date_is_derived" in each for each in (data, *data.get("prints", [])))
    has_documents = kind == "NumbersImported" and "documents" in data
    return 3 if is_later or has_documents or data.get("margins") else FORMATS.get(kind, 1)


class Model:
    """All sequences, folded from the bytes of the log by other means than the ledger's."""

    def __init__(self) -> None:
        self.sequences: dict[str, SequenceModel] = {}
        self.expiries: dict[str, int] = {}
        self._gapless: dict[str, bool] = {}
        self._starts: dict[tuple[str, int], int] = {}
        self._retired: set[str] = set()
        self._format = 1
        self._closed: set[str] | None = None  # the copies that are told when the ledger is opened
        self._margins: list[tuple[int, dict[str, int]]] = []  # of each fence: that of most series, and of others
        self._to_fence: set[str] = set()
        self._promised: list[tuple[str, int]] = []  # whose replacement the present command names

    @classmethod
    def of(cls, records: Iterable[Record]) -> "Model":
        model = cls()
        for record in records:
            model.take(record)
        model._end_command(is_cut=False)
        model.check_replacements()
        assert not model._to_fence, "the last fence is not whole"
        return model

    def held(self) -> dict[str, dict[str, list[int]]]:
        """The values that each open reservation holds, by token."""
        held: dict[str, dict[str, list[int]]] = {}
        for id, sequence in self.sequences.items():
            for value, token in sorted(sequence.holders.items()):
                if sequence.states[value] is ValueState.RESERVED:
                    held.setdefault(token, {}).setdefault(id, []).append(value)
        return held

    def take(self, record: Record) -> None:
        data, token, position = json.loads(record.body)["data"], record.token or "", record.position
        if record.ordinal == 0:
            self._end_command(is_cut=record.type == "RestoreFenced")
        assert record.type == "FormatRaised" or _format_of(record.type, data) <= self._format, f"position {position}"
        assert self._closed is None or record.type == "LedgerOpened", f"position {position} is of a closed ledger"
        self._check_allowed(record.type, data, position)
        self._check_whole(record)
        match record.type:
            case "FormatRaised":
                assert data["format"] > self._format, f"position {position} lowers the format, or leaves it as it is"
                self._format = data["format"]
            case "LedgerClosed":
                self._closed = set(data["copies"])
            case "LedgerOpened":
                assert self._closed is not None, f"position {position} opens a ledger that is open"
                assert self._closed <= {*data["copies"], *data.get("without", [])}
                self._closed = None
            case "SeriesRetired":
                self._retired.add(data["series"])
            case "SeriesReopened":
                self._reopen_series(data["series"], position)
            case "PeriodReopened":
                self._reopen_period(record.stream, position)
            case "MaximumAdjusted" | "PeriodOpened" | "StopAccepted":
                pass
            case "NumberAssigned":
                skipped = _values(data.get("skipped", []))
                self._sequence(data).assign(data["value"], skipped, position)
                self._sequence(data).documents[data["value"]] = data["document"]
            case "NumberVoided":
                self._void(data, position)
            case "DocumentLinked":
                self.sequences[data["sequence"]].link(data, token, position)
            case "RestoreFenced":
                self._fence(data)
            case "StartLowered":
                assert data["start"] == self._starts[data["series"], data["series_version"]], f"position {position}"
                self._sequence(data).lower(data["start"], _values(data["pre_control"]), position)
            case "SequenceFenced":
                count = len(_values(data["skipped"]))
                assert count in self._sums(data["series"]), f"position {position}"
                self._sequence(data).fence(_values(data["skipped"]))
                self._sequence(data).covered = len(self._margins)
            case "SequenceAdjusted":
                self._sequence(data).skip(_values(data["skipped"]))
            case "PeriodClosed":
                self._close(data, position)
            case "SeriesDefined" | "SeriesAmended":
                key = (data["series"], data["series_version"])
                self._gapless[data["series"]] = data["definition"]["reuse"] == "gapless"
                self._starts[key] = data["definition"]["start"]
            case "SequenceReset":
                assert data["sequence"] not in self.sequences, f"position {position} begins a sequence again"
                assert data["start"] == self._starts[data["series"], data["series_version"]]
                self._sequence(data)
            case "NumbersReserved":
                assert token not in self.expiries, f"position {position} uses a token again"
                assert data["expires_at"] > record.recorded_at
                self.expiries[token] = data["expires_at"]
                gapless = self._gapless[data["series"]]
                self._sequence(data).reserve(_values(data["ranges"]), token, position, gapless=gapless)
            case "NumbersImported":
                imported = [value for each in data["prints"] for value in _values(each["ranges"])]
                holes = {state: _values(data.get(state.value.lower(), [])) for state in HOLES}
                self._sequence(data).take_over(imported, holes, position)
                self._sequence(data).documents |= dict(data.get("documents", []))
            case "ReservationExtended":
                assert data["expires_at"] >= self.expiries[token] > record.recorded_at
                self.expiries[token] = data["expires_at"]
            case _:
                self._settle(record, data, token)

    def check_replacements(self) -> None:
        """What replaces a number is a number that was given out, and replaces no other."""
        links = [link for each in self.sequences.values() for link in each.replacements.values()]
        assert len(links) == len(set(links)), "one number replaces two"
        assert all(map(self._is_given_out, links)), "a number is replaced by one that was not given out"

    def _end_command(self, *, is_cut: bool) -> None:
        """A void's replacement is confirmed by its own command, unless a restore has cut that off."""
        for id, value in self._promised:
            replacements = self.sequences[id].replacements
            if not self._is_given_out(replacements[value]):
                assert is_cut, f"the replacement of value {value} of {id} was not confirmed with it"
                del replacements[value]
        self._promised = []

    def _is_given_out(self, link: tuple[str, int]) -> bool:
        id, value = link
        found = self.sequences[id].states.get(value) if id in self.sequences else None
        return found in (ValueState.CONFIRMED, ValueState.VOIDED)

    def _check_allowed(self, kind: str, data: dict[str, Any], position: int) -> None:
        giving = kind in ("NumbersReserved", "NumbersImported", "NumberAssigned")
        assert not (giving and data["series"] in self._retired), f"position {position} gives out of a retired series"
        sequence = self.sequences.get(data.get("sequence", ""))
        closed = sequence is not None and sequence.closed
        allowed = ("NumberVoided", "DocumentLinked", "PeriodReopened")
        assert not closed or kind in allowed, f"position {position} changes a closed period"

    def _fence(self, data: dict[str, Any]) -> None:
        """All sequences that may still give out numbers are passed on, or closed, by the events that follow at once."""
        self._margins.append((data["margin"], dict(data.get("margins", []))))
        assert data["generation"] == len(self._margins)
        self._to_fence = {
            id for id, each in self.sequences.items() if not each.closed and _code(id) not in self._retired
        }

    def _reopen_series(self, code: str, position: int) -> None:
        """Its sequences pass the margins of the fences that left them out, by the events that follow at once."""
        assert code in self._retired, f"position {position} reopens a series that is not retired"
        self._retired.discard(code)
        mine = {id for id, each in self.sequences.items() if _code(id) == code and not each.closed}
        self._to_fence = {id for id in mine if self.sequences[id].covered < len(self._margins)}

    def _reopen_period(self, id: str, position: int) -> None:
        sequence = self.sequences[id]
        assert sequence.closed, f"position {position} reopens a period that is open"
        assert not sequence.closed_by_fence, f"position {position} reopens what a restore closed"
        assert not sequence.states, f"position {position} reopens a period with a frozen account"
        sequence.closed = False
        self._to_fence = {id} if sequence.covered < len(self._margins) else set()

    def _check_whole(self, record: Record) -> None:
        is_cut = record.type == "RestoreFenced"  # by the next restore, which then fences all of it
        if record.type not in FENCING and self._margins and not is_cut:
            assert not self._to_fence, f"the fence before position {record.position} is not whole"
        if record.type == "PeriodClosed" and record.stream in self._to_fence:
            self.sequences[record.stream].closed_by_fence = True
        self._to_fence.discard(record.stream if record.type in ("SequenceFenced", "PeriodClosed") else "")
        if record.type == "SequenceFenced":
            assert not any(record.stream in of for of in self.held().values()), f"position {record.position}"

    def _sums(self, series: str) -> set[int]:
        """Give the sums of any of the margins of a series."""
        sums = {0}
        for margin, others in self._margins:
            sums |= {others.get(series, margin) + each for each in sums}
        return sums

    def _void(self, data: dict[str, Any], position: int) -> None:
        sequence = self.sequences[data["sequence"]]
        sequence.void(data["value"], position)
        if data.get("replacement") is not None:
            replacement = data["replacement"]
            pair = replacement.values() if isinstance(replacement, dict) else replacement
            id, value = pair
            sequence.replacements[data["value"]] = (id, value)
            self._promised.append((data["sequence"], data["value"]))

    def _close(self, data: dict[str, Any], position: int) -> None:
        sequence = self._sequence(data)
        assert ValueState.RESERVED not in sequence.states.values(), f"position {position} closes over a reservation"
        assert (data["start"], data["high_water"]) == (sequence.start, sequence.high_water)
        frozen = {value: state for state, of in data["accounting"].items() for value in _values(of["ranges"])}
        assert frozen == sequence.states, f"position {position} freezes another account"
        sequence.closed = True

    def _settle(self, record: Record, data: dict[str, Any], token: str) -> None:
        due = self.expiries[token] <= record.recorded_at
        is_right = record.type == "ReservationFenced" or due == (record.type == "ReservationExpired")
        assert is_right, f"position {record.position} comes too late or too early"
        end = ENDS.get(record.type, ValueState.CONFIRMED)
        sequence = self.sequences[data["sequence"]]
        gapless = self._gapless[data["series"]] and end is not ValueState.SKIPPED
        if "document" in data:
            sequence.documents.update(dict.fromkeys(_values(data["ranges"]), data["document"]))
        sequence.documents.update(map(tuple, data.get("documents", [])))
        released = _values(data.get("released", []))
        sequence.settle(_values(data["ranges"]), token, end, record.position, gapless=gapless)
        sequence.settle(released, token, ValueState.CANCELLED, record.position, gapless=gapless)

    def _sequence(self, data: dict[str, Any]) -> SequenceModel:
        start = self._starts[data["series"], data["series_version"]]
        new = SequenceModel(start, covered=len(self._margins))  # what it owes, it passes as it begins
        return self.sequences.setdefault(data["sequence"], new)


def _code(id: str) -> str:
    """Name the series of a sequence."""
    return id.split(":")[0].split("~")[0]


def _values(ranges: list[list[int]]) -> list[int]:
    return [value for first, last in ranges for value in range(first, last + 1)]


def _check_model(model: Model, state: State) -> None:
    found = {sequence.id: sequence for sequence in state.sequences()}
    assert found.keys() == model.sequences.keys()
    for id, expected in model.sequences.items():
        _check_sequence(found[id], expected)
    held = {r.token: {r.numbering.sequence: list(values_of(r.ranges))} for r in state.reservations()}
    assert held == model.held()
    for reservation in state.reservations():
        assert reservation.expires_at == model.expiries[reservation.token]


def _check_sequence(found: NumberSequence, expected: SequenceModel) -> None:
    """Every value from start to high water has one state, and the bitmaps agree with the dictionary."""
    assert sorted(expected.states) == list(range(found.start, found.high_water + 1)), f"{found.id} has a hole"
    assert {value: found.state_of(value) for value in expected.states} == expected.states
    counts = Counter(expected.states.values())
    assert {state: count for state, count in found.counts().items() if count} == dict(counts)
    for state in ValueState:
        assert list(values_of(found.values_in(state))) == sorted(
            value for value, its in expected.states.items() if its is state
        )
    if expected.closed:
        return
    pool = sorted(expected.released)
    next_values = list(values_of(found.next_ranges(len(pool) + 1, MAX_VALUE)))
    assert next_values == [*pool, found.high_water + 1], f"{found.id} has another pool"
