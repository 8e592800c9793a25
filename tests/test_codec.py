"""Events to bytes and back: against an oracle, against themselves, and against the bytes of logs that exist."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from ledger import chain
from ledger.codec import LEDGER_STREAM, Entry, UnknownEvent, canonical, command_id, decode, encode
from ledger.definitions import definition_data
from ledger.domain.calendar import FIRST_DATE, LAST_DATE, Reset
from ledger.domain.commands import Envelope
from ledger.domain.decisions.sequences import MAX_CLOSED_RANGES
from ledger.domain.events import (
    CLOSING_STREAM,
    STOPS_STREAM,
    DocumentLinked,
    Event,
    FormatRaised,
    LedgerClosed,
    LedgerOpened,
    MaximumAdjusted,
    NumberAssigned,
    Numbering,
    NumbersConfirmed,
    NumbersImported,
    NumbersReserved,
    NumberVoided,
    PeriodClosed,
    PeriodOpened,
    PeriodReopened,
    Print,
    ReservationCancelled,
    ReservationExpired,
    ReservationExtended,
    ReservationFenced,
    RestoreFenced,
    SequenceAdjusted,
    SequenceFenced,
    SequenceReset,
    SeriesAmended,
    SeriesDefined,
    SeriesReopened,
    SeriesRetired,
    StartLowered,
    StopAccepted,
)
from ledger.domain.formats import FIRST_FORMAT, NEWEST_FORMAT
from ledger.domain.ranges import ranges_of
from ledger.domain.sequence import ValueState
from ledger.domain.series import MAX_VALUE, Attribute, DateOrder, Definition, Dimension, Overflow, Reuse, Series
from ledger.ports import Record
from ledger.stores.checks import MAX_BODY_BYTES
from tests.given import LETTER, NOW, PLAIN, QUICK
from tests.golden.samples import EVENTS, SAMPLES

SAFE = 2**53 - 1
PREVIOUS = chain.genesis("ledger")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
NAMES = st.sampled_from(("A", "B", "AB", "Z_9"))
VALUES = st.integers(0, MAX_VALUE)
RANGES = st.sets(VALUES, min_size=1, max_size=4).map(ranges_of)
NUMBERS = st.integers(0, SAFE)
KEYS = st.lists(TEXT, max_size=3).map(tuple)


def pairs(names: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[tuple[Any, str], ...]]:
    return st.dictionaries(names, TEXT, max_size=3).map(lambda chosen: tuple(sorted(chosen.items())))


NUMBERINGS = st.builds(
    Numbering, TEXT, TEXT, NUMBERS, KEYS, TEXT, st.dates(FIRST_DATE, LAST_DATE), pairs(NAMES), TEXT, st.booleans()
)
PRINTS = st.builds(Print, st.dates(FIRST_DATE, LAST_DATE), pairs(NAMES), RANGES, st.booleans())

FORMS = st.one_of(
    st.builds(
        Dimension,
        values=st.lists(st.sampled_from(("A", "คคง.", "สคฉ.3-01", '"', "\\")), min_size=1, unique=True).map(tuple),
    ),
    st.builds(
        Dimension,
        chars=st.sampled_from(("A-Z", "ก-ฮ", "0-9%/:-", "]^\\-")),
        min=st.integers(1, 3),
        max=st.integers(3, 9),
    ),
)


def attribute(form: Dimension, with_default: bool) -> Attribute:
    default = form.values[0] if form.values else form.chars[0] * form.min
    return Attribute(form, default if with_default else None)


@st.composite
def all_series(draw: st.DrawFn) -> Series:
    """Any series that `Series.define` accepts, of up to four fields."""
    dimensions = draw(st.dictionaries(st.sampled_from(("B", "Z_9")), FORMS))
    attributes = draw(st.dictionaries(st.sampled_from(("A", "C1")), st.builds(attribute, FORMS, st.booleans())))
    parts = ["{SEQ:3}", *(f"{{{name}}}" for name in (*dimensions, *attributes)), "{YEAR:BE}{MM}{DD}", 'x"/ก']
    definition = Definition(
        template="|".join(draw(st.permutations(parts))),
        key=draw(st.none() | st.permutations(list(dimensions)).map(tuple)),
        dimensions=dimensions,
        attributes=attributes,
        reset=draw(st.sampled_from(Reset)),
        fiscal_year_start=draw(st.sampled_from(("01-01", "10-01"))),
        timezone=draw(st.sampled_from(("UTC", "Asia/Bangkok"))),
        date_order=draw(st.sampled_from(DateOrder)),
        start=draw(st.integers(0, 9)),
        max_value=draw(st.none() | st.integers(9, 999)),
        overflow=draw(st.sampled_from(Overflow)),
        reuse=draw(st.sampled_from(Reuse)),
        reservation_ttl_seconds=draw(st.none() | st.integers(1, 60)),
        reservation_max_lifetime_seconds=draw(st.integers(60, 9999)),
        manual=draw(st.booleans()),
        warn_at_percent=draw(st.lists(st.integers(1, 100), max_size=2).map(tuple)),
        description=draw(st.sampled_from(("", "รายละเอียด", '"\\'))),
    )
    return Series.define(draw(st.sampled_from(("S", "LCBP3-C2_7.x"))), definition, draw(st.integers(1, 9)))


# In the order of the states, of which a closing names those that hold a value.
ACCOUNTING = st.dictionaries(st.sampled_from(ValueState), RANGES).map(
    lambda held: tuple((state, held[state]) for state in ValueState if state in held)
)

KINDS: dict[type[Any], st.SearchStrategy[Event]] = {
    SeriesDefined: st.builds(SeriesDefined, all_series()),
    MaximumAdjusted: st.builds(MaximumAdjusted, TEXT, NUMBERS, VALUES),
    SeriesRetired: st.builds(SeriesRetired, TEXT, NUMBERS),
    SeriesReopened: st.builds(SeriesReopened, TEXT, NUMBERS),
    PeriodReopened: st.builds(PeriodReopened, TEXT, TEXT, NUMBERS, KEYS, TEXT),
    PeriodOpened: st.builds(PeriodOpened, TEXT, NUMBERS, TEXT),
    SequenceReset: st.builds(SequenceReset, TEXT, TEXT, NUMBERS, KEYS, TEXT, NUMBERS),
    SequenceAdjusted: st.builds(SequenceAdjusted, TEXT, TEXT, NUMBERS, KEYS, TEXT, RANGES),
    StartLowered: st.builds(StartLowered, TEXT, TEXT, NUMBERS, KEYS, TEXT, NUMBERS, RANGES),
    PeriodClosed: st.builds(PeriodClosed, TEXT, TEXT, NUMBERS, KEYS, TEXT, NUMBERS, st.integers(-1, SAFE), ACCOUNTING),
    NumberAssigned: st.builds(NumberAssigned, NUMBERINGS, VALUES, TEXT, st.just(()) | RANGES),
    NumberVoided: st.builds(NumberVoided, NUMBERINGS, VALUES, st.none() | st.tuples(TEXT, VALUES)),
    DocumentLinked: st.builds(DocumentLinked, NUMBERINGS, VALUES, TEXT, st.none() | TEXT, st.none() | TEXT),
    NumbersReserved: st.builds(NumbersReserved, NUMBERINGS, TEXT, RANGES, NUMBERS),
    NumbersConfirmed: st.builds(
        NumbersConfirmed, NUMBERINGS, TEXT, RANGES, st.none() | TEXT, pairs(VALUES), st.just(()) | RANGES
    ),
    NumbersImported: st.builds(
        NumbersImported,
        TEXT,
        TEXT,
        NUMBERS,
        KEYS,
        TEXT,
        TEXT,
        st.lists(PRINTS, max_size=3).map(tuple),
        RANGES,
        st.just(()) | RANGES,
        pairs(VALUES),
    ),
    SeriesAmended: st.builds(SeriesAmended, all_series()),
    ReservationExtended: st.builds(ReservationExtended, TEXT, TEXT, NUMBERS),
    ReservationCancelled: st.builds(ReservationCancelled, NUMBERINGS, TEXT, RANGES),
    ReservationExpired: st.builds(ReservationExpired, NUMBERINGS, TEXT, RANGES),
    RestoreFenced: st.builds(
        RestoreFenced,
        NUMBERS,
        NUMBERS,
        NUMBERS,
        NUMBERS,
        st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
        st.lists(st.tuples(TEXT, NUMBERS), max_size=2).map(tuple),
    ),
    SequenceFenced: st.builds(SequenceFenced, TEXT, TEXT, NUMBERS, KEYS, TEXT, st.just(()) | RANGES),
    ReservationFenced: st.builds(ReservationFenced, NUMBERINGS, TEXT, RANGES),
    LedgerClosed: st.builds(LedgerClosed, KEYS),
    LedgerOpened: st.builds(LedgerOpened, KEYS, st.just(()) | KEYS),
    StopAccepted: st.builds(StopAccepted, TEXT, TEXT, st.none() | NUMBERS, st.none() | TEXT),
    FormatRaised: st.builds(FormatRaised, st.integers(FIRST_FORMAT, NEWEST_FORMAT)),
}
OPTIONAL = st.none() | TEXT
ENVELOPES = st.builds(Envelope, st.binary(min_size=32, max_size=32), TEXT, OPTIONAL, OPTIONAL, OPTIONAL, OPTIONAL)


def entries(kind: type[Any]) -> st.SearchStrategy[Entry]:
    return st.builds(Entry, NUMBERS, KINDS[kind], ENVELOPES, NUMBERS, NUMBERS)


ENTRIES = st.sampled_from(list(KINDS)).flatmap(entries)


def plain(entry: Entry) -> tuple[object, ...]:
    """Write an entry so that it can be compared: series are equal when what they were made of is."""
    event: Any = entry.event
    if isinstance(event, SeriesDefined | SeriesAmended):
        event = (event.series.code, event.series.version, event.series.definition)
    return entry.position, event, entry.envelope, entry.ordinal, entry.recorded_at


def test_every_event_type_is_tried_here_and_has_golden_bytes() -> None:
    assert set(KINDS) == set(get_args(Event))
    golden = {path.name.split("-")[0] for path in EVENTS.iterdir()}
    assert golden == {kind.__name__ for kind in KINDS}


def test_every_event_is_of_a_format_that_this_version_knows() -> None:
    formats = {kind.format for kind in get_args(Event) if kind not in (FormatRaised, RestoreFenced)}
    formats |= {RestoreFenced(1, 0, 0, 1, (), margins).format for margins in ((), (("PLAIN", 0),))}
    assert formats <= set(range(FIRST_FORMAT, NEWEST_FORMAT + 1))


def test_a_later_format_is_unknown_and_says_what_to_install() -> None:
    envelope = Envelope(bytes(32), "somchai", "by numbering-ledger 9.9.9")
    later = encode(Entry(7, FormatRaised(NEWEST_FORMAT + 1), envelope, 0, 1), PREVIOUS)
    with pytest.raises(UnknownEvent, match=r"position 7 .* install .*9\.9\.9"):
        decode(later)
    assert decode(encode(Entry(7, FormatRaised(NEWEST_FORMAT), envelope, 0, 1), PREVIOUS)).position == 7


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_is_read_again(kind: type[Any]) -> None:
    @QUICK
    @given(entries(kind))
    def check(entry: Entry) -> None:
        assert plain(decode(encode(entry, PREVIOUS))) == plain(entry)

    check()


@QUICK
@given(ENTRIES)
def test_a_body_is_canonical_json_of_strings_and_integers(entry: Entry) -> None:
    body = encode(entry, PREVIOUS).body
    data = orjson.loads(body)
    assert rfc8785.dumps(data) == body
    assert kinds_in(data) <= {str, int, list, dict}


def kinds_in(data: object) -> set[type]:
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return {type(data)}.union(*map(kinds_in, inner))


@QUICK
@given(ENTRIES, st.binary(min_size=32, max_size=32))
def test_a_body_holds_every_column_but_the_hash(entry: Entry, previous: bytes) -> None:
    row = encode(entry, previous)
    body = orjson.loads(row.body)
    columns = row._asdict() | {"command_id": row.command_id.hex()}
    held = ("position", "type", "version", "stream", "token", "command_id", "ordinal", "recorded_at")
    assert {name: body.get(name) for name in held} == {name: columns[name] for name in held}
    assert row.hash == chain.link(previous, row.body)
    assert row.token == entry.event.token


@QUICK
@given(
    st.recursive(
        TEXT | st.integers(-SAFE, SAFE),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="ascii"), max_size=3), inner)
        ),
    )
)
def test_canonical_is_rfc_8785(data: Any) -> None:
    assert canonical(data) == rfc8785.dumps(data)


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**63, 2**64, 10**30])
def test_integers_that_other_readers_would_round_are_refused(number: int) -> None:
    with pytest.raises(TypeError):
        canonical([number])
    with pytest.raises(TypeError):
        encode(Entry(1, ReservationExtended("S", "T", number), Envelope(bytes(32), "a"), 0, NOW), PREVIOUS)


def test_half_a_character_is_refused() -> None:
    with pytest.raises(TypeError):
        canonical(["\ud800"])


@pytest.mark.parametrize(
    ("entry", "stream"),
    [
        ("SeriesDefined-1", "EVERY.thing-1_0"),
        ("SequenceReset-1", "LETTER:คคง.:สคฉ.3-01:2025"),
        ("NumbersReserved-1", "LETTER:คคง.:สคฉ.3-01:2025"),
        ("NumbersConfirmed-1", "LCBP3-RFA:TER:RPT:-"),
        ("ReservationExtended-1", "LCBP3-RFA:TER:RPT:-"),
        ("ReservationExpired-1", "LCBP3-RFA:TER:RPT:-"),
        ("MaximumAdjusted-1", "PLAIN"),
        ("SeriesRetired-1", "PLAIN"),
        ("SeriesReopened-1", "PLAIN"),
        ("PeriodReopened-1", "LETTER:คคง.:สคฉ.3-01:2025"),
        ("PeriodOpened-1", "LETTER"),
        ("SequenceAdjusted-1", "LETTER:คคง.:สคฉ.3-01:2025"),
        ("StartLowered-1", "PLAIN:-"),
        ("PeriodClosed-1", "LETTER:คคง.:สคฉ.3-01:2025"),
        ("NumberAssigned-1", "LCBP3-RFA:TER:RPT:-"),
        ("NumberVoided-1", "LETTER:คคง.:สคฉ.3-01:2025"),
        ("DocumentLinked-1", "LETTER:คคง.:สคฉ.3-01:2025"),
        ("RestoreFenced-1", LEDGER_STREAM),
        ("LedgerClosed-1", CLOSING_STREAM),
        ("LedgerOpened-1", CLOSING_STREAM),
        ("StopAccepted-1", STOPS_STREAM),
        ("SequenceFenced-1", "LETTER:คคง.:สคฉ.3-01:2025"),
        ("ReservationFenced-1", "LCBP3-RFA:TER:RPT:-"),
    ],
)
def test_an_event_belongs_to_its_series_or_sequence(entry: str, stream: str) -> None:
    assert encode(SAMPLES[entry], PREVIOUS).stream == stream


# Golden bytes

FILES = sorted(EVENTS.iterdir())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_bytes_of_an_existing_log_are_still_understood(path: Path) -> None:
    assert plain(decode(row_of(path.read_bytes()))) == plain(SAMPLES[path.stem])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_version_of_an_event_is_written_as_it_always_was(path: Path) -> None:
    row = encode(SAMPLES[path.stem], PREVIOUS)
    if path.stem.split("-")[1] == str(row.version):
        assert row.body == path.read_bytes(), (
            f"{row.type} version {row.version} is stored as in {path.name}: give the change a new version, with an "
            "upcaster and a new sample beside this one"
        )


def test_each_sample_has_its_file() -> None:
    assert {path.stem for path in FILES} == set(SAMPLES)


# What is not understood


def row_of(body: bytes) -> Record:
    return Record(7, "", 0, "", None, b"", 0, body, NOW, b"")


@pytest.mark.parametrize(
    "changes",
    [{"type": "NumbersVanished"}, {"version": 2}, {"version": 0}, {"version": "1"}, {"type": "numbersReserved"}],
)
def test_an_unknown_type_or_version_is_not_guessed_at(changes: dict[str, Any]) -> None:
    body = orjson.loads(encode(SAMPLES["NumbersReserved-1"], PREVIOUS).body)
    with pytest.raises(UnknownEvent, match="position 7"):
        decode(row_of(canonical(body | changes)))


def test_a_closing_tells_each_states_count_to_those_who_read_without_us() -> None:
    data = orjson.loads(encode(SAMPLES["PeriodClosed-1"], PREVIOUS).body)["data"]
    assert data["accounting"]["CONFIRMED"] == {"count": 4, "ranges": [[1, 3], [9, 9]]}
    assert sum(each["count"] for each in data["accounting"].values()) == data["high_water"] - data["start"] + 1


# What the store takes


def test_the_largest_closing_stays_below_what_the_store_takes() -> None:
    highest = MAX_VALUE - 2 * MAX_CLOSED_RANGES
    ranges = tuple((value, value) for value in range(highest, MAX_VALUE, 2))
    assert len(ranges) == MAX_CLOSED_RANGES
    key = tuple("ก" * 50 for _ in range(9))
    closed = PeriodClosed(":".join(("S", *key, "-")), "S", 1, key, "-", 1, MAX_VALUE, ((ValueState.CONFIRMED, ranges),))
    envelope = Envelope(bytes(32), "a" * 200, "\U0001d11e" * 500, "r" * 200, "k" * 200, "f" * 64)
    assert len(encode(Entry(2**53 - 1, closed, envelope, 300, 2**53 - 1), PREVIOUS).body) < MAX_BODY_BYTES


# Definitions and command ids


@pytest.mark.parametrize("each", [LETTER, PLAIN])
def test_a_definition_is_served_without_what_is_not_set(each: Series) -> None:
    data = definition_data(each.definition)
    assert not {"max_value", "reservation_ttl_seconds"} & set(data)
    assert data["manual"] is True
    set_data = definition_data(replace(each.definition, max_value=5, reservation_ttl_seconds=6))
    assert (set_data["max_value"], set_data["reservation_ttl_seconds"]) == (5, 6)


def test_a_date_is_written_as_iso_8601() -> None:
    body = orjson.loads(encode(SAMPLES["NumbersReserved-1-attributes"], PREVIOUS).body)
    assert body["data"]["document_date"] == date(2024, 2, 29).isoformat() == "2024-02-29"


@QUICK
@given(st.tuples(TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT))
def test_a_command_id_is_that_of_one_client_operation_and_key(
    one: tuple[str, str, str], two: tuple[str, str, str]
) -> None:
    assert len(command_id(*one)) == 32
    assert (command_id(*one) == command_id(*two)) == (one == two)


def test_parts_of_a_command_id_do_not_run_together() -> None:
    ids = {command_id(*parts) for parts in [("a", "b", "c"), ("ab", "", "c"), ("a", "bc", ""), ('a","b', "c", "")]}
    assert len(ids) == 4
