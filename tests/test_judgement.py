"""Commands as a whole, and rows as they are stored: what an administrator might do to them, each told in words."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import orjson
import pytest

from ledger import chain
from ledger.codec import Entry, canonical, decode, encode, record_of
from ledger.domain.commands import (
    Assign,
    ClosePeriod,
    Decidable,
    DefineSeries,
    Envelope,
    Fence,
    Import,
    Issue,
    Original,
    RaiseFormat,
    ReopenPeriod,
    ReopenSeries,
    Reserve,
    RetireSeries,
    Void,
    WithOriginal,
)
from ledger.domain.events import (
    Event,
    MaximumAdjusted,
    NumbersConfirmed,
    NumbersImported,
    NumbersReserved,
    NumberVoided,
    PeriodReopened,
    ReservationExtended,
    SeriesReopened,
    StopAccepted,
)
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.register import MAX_IMPORTED, Register
from ledger.judgement import Judge
from ledger.ports import Record
from replay.examination import ROWS as TURN
from replay.examination import Examination
from tests.given import GAPLESS, LETTER, LETTER_KEY, NOW, PLAIN, SECOND, Story, series
from tests.golden.samples import LEDGER_ID, log

REASON = "so it was decided"
DAY = date(2025, 6, 15)


def entries(*commands: Decidable) -> list[Entry]:
    """Carry out commands, one a second."""
    story, made = Story(), list[Entry]()
    for number, command in enumerate(commands):
        envelope = Envelope(number.to_bytes(32, "big"), "somchai")
        for ordinal, event in enumerate(story.when(command)):
            made.append(Entry(len(made) + 1, event, envelope, ordinal, story.now))
        story.now += SECOND
    return made


def judged(log: Sequence[Entry]) -> tuple[int, str] | None:
    judge = Judge()
    for entry in log:
        found = judge.take(entry)
        if found:
            return judge.position, found
    found = judge.finish()
    return (judge.position, found) if found else None


def with_event(log: Sequence[Entry], position: int, **changes: Any) -> list[Entry]:
    """The same log, with fields of one event changed."""
    entry = log[position - 1]
    event: Any = entry.event
    return [*log[: position - 1], entry._replace(event=replace(event, **changes)), *log[position:]]


def with_entry(log: Sequence[Entry], position: int, **changes: Any) -> list[Entry]:
    return [*log[: position - 1], log[position - 1]._replace(**changes), *log[position:]]


# Commands


ISSUED = entries(DefineSeries((PLAIN,)), Issue(Reserve("PLAIN", "T"), "D"), Reserve("PLAIN", "U"))
GOLDEN = [decode(row) for row in log()]
OTHER = Envelope(b"\xff" * 32, "somebody else")


@pytest.mark.parametrize(
    ("forged", "position", "words"),
    [
        (ISSUED[2:], 3, "the log begins in the middle of a command"),
        (with_entry(ISSUED, 4, recorded_at=NOW), 4, "it was recorded before the event in front of it"),
        (with_entry(ISSUED, 3, recorded_at=NOW + 5 * SECOND), 3, "it was torn from its command"),
        (with_entry(ISSUED, 3, ordinal=2), 3, "it was torn from its command"),
        (with_entry(ISSUED, 3, envelope=OTHER), 3, "it was torn from its command"),
        (with_entry(ISSUED, 3, envelope=ISSUED[2].envelope._replace(actor="x")), 3, "it was torn from its command"),
        (with_entry(ISSUED, 3, ordinal=0), 3, "its command was told already"),
        (with_entry(ISSUED, 4, ordinal=1), 4, "it was torn from its command"),
        (with_event(ISSUED, 4, ranges=(("1", "1"),)), 4, "it cannot be judged: TypeError"),
        (with_event(ISSUED, 4, ranges=((1, 1),)), 4, "number '0001' is given out twice"),
        (with_event(ISSUED, 3, token="U"), 3, "reservation U is not open"),
    ],
)
def test_what_is_torn_from_its_command_is_told(forged: list[Entry], position: int, words: str) -> None:
    assert judged(ISSUED) is None
    found = judged(forged)
    assert found is not None
    assert found[0] == position
    assert words in found[1]


REPLACED = entries(
    DefineSeries((LETTER,)),
    Issue(Reserve("LETTER", "T", LETTER_KEY), "D"),
    Issue(Reserve("LETTER", "V", {"ORIGINATOR": "สคฉ.3", "RECIPIENT": "คคง."}), "D"),
    WithOriginal(Void("คคง.-สคฉ.3-01-0001-2568", REASON, "U", replace=True), Original(1, DAY, (), "D")),
    Reserve("LETTER", "W", LETTER_KEY),
)
VOIDED = next(entry.position for entry in REPLACED if isinstance(entry.event, NumberVoided))
MADE = "LETTER:คคง.:สคฉ.3-01:2025"


@pytest.mark.parametrize(
    "forged",
    [
        with_event(REPLACED, VOIDED, replacement=(MADE, 3)),
        with_event(REPLACED, VOIDED, replacement=("LETTER:สคฉ.3:คคง.:2025", 2)),
        [*REPLACED[: VOIDED + 1], *(each._replace(position=each.position - 1) for each in REPLACED[VOIDED + 2 :])],
        REPLACED[: VOIDED + 1],
    ],
    ids=["another value", "another sequence", "not confirmed", "the log ends"],
)
def test_a_replacement_is_confirmed_by_the_same_command(forged: list[Entry]) -> None:
    assert judged(REPLACED) is None
    found = judged(forged)
    assert found is not None
    assert found[0] == VOIDED
    assert "does not confirm" in found[1]


def test_a_replacement_keeps_the_key() -> None:
    """A number of another key is confirmed, and is named as the replacement."""
    twin = "LETTER:สคฉ.3:คคง.:2025"
    other = next(
        entry.event for entry in REPLACED if isinstance(entry.event, NumbersReserved) and entry.event.token == "V"
    )
    forged = with_event(REPLACED, VOIDED, replacement=(twin, 2))
    for position, kind in ((VOIDED + 1, NumbersReserved), (VOIDED + 2, NumbersConfirmed)):
        assert isinstance(forged[position - 1].event, kind)
        forged = with_event(forged, position, numbering=other.numbering)
    found = judged(forged)
    assert found is not None
    assert found[0] == VOIDED


def test_only_the_replacement_of_a_number_whose_date_is_derived_has_such_a_date() -> None:
    derived = Original(1, date(2025, 6, 15), (), "D", date_is_derived=True)
    made = entries(
        RaiseFormat(NEWEST_FORMAT, "for the test"),
        DefineSeries((PLAIN,)),
        Assign("0001", "D", "on paper"),
        WithOriginal(Void("0001", "sent to the wrong party", "T", replace=True), derived),
        Issue(Reserve("PLAIN", "U"), "D"),
    )
    assert judged(made) is None
    reserved = next(each for each in reversed(made) if isinstance(each.event, NumbersReserved))
    assert isinstance(reserved.event, NumbersReserved)
    marked = replace(reserved.event.numbering, date_is_derived=True)
    found = judged(with_event(made, reserved.position, numbering=marked))
    assert found == (reserved.position, "the date of reservation U was given, and is said to be derived")


def imported(*numbers: str) -> Import:
    register = Register([PLAIN], NOW)
    for line, number in enumerate(numbers):
        register.add(line, number)
    return register.command(skip_bad=False)


def test_holes_are_of_before_the_ledger_when_the_import_begins_the_sequence() -> None:
    begun = entries(DefineSeries((PLAIN,)), imported("0003"))
    later = entries(DefineSeries((PLAIN,)), Issue(Reserve("PLAIN", "T"), "D"), imported("0003"))
    assert judged(begun) is judged(later) is None
    found = judged(with_event(begun, 2, pre_control=(), skipped=((1, 2),)))
    assert found == (2, "the import began sequence PLAIN:-, and calls its holes otherwise")
    found = judged(with_event(later, 4, pre_control=((2, 2),), skipped=()))
    assert found == (4, "the import did not begin sequence PLAIN:-, and calls its holes otherwise")


def test_a_large_import_begins_its_sequence_in_several_events() -> None:
    values = range(3, 3 + 2 * (MAX_IMPORTED + 1), 2)
    defined = DefineSeries((series("{SEQ:6}", "PLAIN"),))
    register = Register(defined.series, NOW)
    for value in values:
        register.add(value, f"{value:06d}")
    made = entries(defined, register.command(skip_bad=False))
    assert [type(entry.event) for entry in made[1:]] == [NumbersImported, NumbersImported]
    assert judged(made) is None


# Fences

FENCED = entries(
    DefineSeries((PLAIN, GAPLESS)),
    Reserve("PLAIN", "T"),
    Reserve("GAPLESS", "U"),
    Fence(4, NOW, 5, REASON),
    Reserve("PLAIN", "V"),
)


@pytest.mark.parametrize(
    ("kept", "left"),
    [(5, "reservation T"), (6, "reservation U"), (7, "sequence PLAIN:-"), (8, "sequence PLAIN:-")],
)
def test_a_fence_leaves_nothing_as_it_was(kept: int, left: str) -> None:
    assert judged(FENCED) is None
    told = (5, f"the fence leaves {left} as it was")
    assert judged(FENCED[:kept]) == judged([*FENCED[:kept], FENCED[-1]]) == told


REOPENED = entries(
    RaiseFormat(NEWEST_FORMAT, REASON),
    DefineSeries((PLAIN, GAPLESS)),
    Issue(Reserve("PLAIN", "T"), "D"),
    ClosePeriod("GAPLESS:-"),
    RetireSeries("PLAIN"),
    Fence(4, NOW, 5, REASON),
    ReopenPeriod("GAPLESS:-", REASON),
    ReopenSeries("PLAIN", REASON),
    Reserve("PLAIN", "U"),
)


@pytest.mark.parametrize(("kind", "left"), [(PeriodReopened, "GAPLESS:-"), (SeriesReopened, "PLAIN:-")])
def test_what_is_reopened_skips_what_it_owes_to_restores(kind: type[Event], left: str) -> None:
    assert judged(REOPENED) is None
    at = next(entry.position for entry in REOPENED if isinstance(entry.event, kind))
    told = (at, f"it is reopened, and sequence {left} does not skip what it owes to a restore")
    assert judged(REOPENED[:at]) == judged([*REOPENED[:at], REOPENED[-1]]) == told


# Proofs


def test_a_definition_without_a_proof_is_told_at_its_position() -> None:
    defined = entries(DefineSeries((PLAIN,)), DefineSeries((GAPLESS, series("X{SEQ:4}", "X"))), Reserve("PLAIN", "T"))
    assert judged(defined) is None
    forged = with_event(defined, 2, series=series("{SEQ:4}", "GAPLESS"))
    for history in (forged, forged[:3]):
        found = judged(history)
        assert found is not None
        assert found[0] == 2
        assert found[1].startswith("version 1 of series GAPLESS is not proved: ")


def test_series_that_trade_places_in_one_command_are_legal() -> None:
    swapped = (series("B{SEQ:4}", "ONE"), series("C{SEQ:4}", "TWO"))
    defined = entries(DefineSeries((series("A{SEQ:4}", "ONE"), series("B{SEQ:4}", "TWO"))), DefineSeries(swapped))
    assert judged(defined) is None
    apart = with_entry(defined, 4, ordinal=0, envelope=OTHER)
    found = judged(apart)
    assert found is not None
    assert found[0] == 3


# Rows


def rows(log: Sequence[Entry], ledger_id: str = LEDGER_ID) -> list[Record]:
    made: list[Record] = []
    for entry in log:
        made.append(encode(entry, made[-1].hash if made else chain.genesis(ledger_id)))
    return made


def examined(log: Sequence[Record]) -> tuple[int, str] | None:
    examination = Examination(LEDGER_ID)
    found = examination.take(log) or examination.finish()
    return (examination.flawed, found) if found else None


def with_body(log: Sequence[Record], position: int, edit: Callable[[bytes], bytes]) -> list[Record]:
    """The same log with other bytes at a position, chained anew from there on, as who can write the table would."""
    made = list(log[: position - 1])
    for row in log[position - 1 :]:
        body = edit(row.body) if row.position == position else row.body
        made.append(row._replace(body=body, hash=chain.link(made[-1].hash, body)))
    return made


def with_column(log: Sequence[Record], position: int, **changes: Any) -> list[Record]:
    return [*log[: position - 1], log[position - 1]._replace(**changes), *log[position:]]


def told_more(body: bytes) -> bytes:
    said = orjson.loads(body)
    return canonical(said | {"data": said["data"] | {"note": "x"}})


ROWS = rows(ISSUED)


@pytest.mark.parametrize(
    ("forged", "words"),
    [
        ([*ROWS[:2], ROWS[3]], "position 3 is missing: the log goes on at 4"),
        (with_column(ROWS, 3, hash=bytes(32)), "the hash does not follow"),
        (with_column(ROWS, 3, type="NumbersReserved"), "the column type is 'NumbersReserved', and the body says"),
        (with_column(ROWS, 3, version=2), "the column version is 2, and the body says 1"),
        (with_column(ROWS, 3, stream="X"), "the column stream is 'X', and the body says 'PLAIN:-'"),
        (with_column(ROWS, 3, token="X"), "the column token is 'X', and the body says 'T'"),
        (with_column(ROWS, 3, command_id=bytes(32)), f"the column command_id is {bytes(32).hex()}, and"),
        (with_column(ROWS, 3, ordinal=7), "the column ordinal is 7, and the body says 1"),
        (with_column(ROWS, 3, recorded_at=7), "the column recorded_at is 7, and the body says"),
        (with_body(ROWS, 3, lambda body: body.replace(b'"ordinal":1', b'"ordinal":1, "ordinal":1')), "as its event"),
        (with_body(ROWS, 3, lambda body: body.replace(b'"ordinal"', b'"note":"x","ordinal"')), "as its event"),
        (with_body(ROWS, 3, told_more), "the body is not as its event is written"),
        (with_body(ROWS, 3, lambda body: body.replace(b'"stream":"P', b'"stream":"X')), "the column stream is"),
        (with_body(ROWS, 3, lambda body: body.replace(b'"actor"', b'"reason":null,"actor"')), "as its event"),
        (with_body(ROWS, 3, lambda body: body.replace(b":1", b":1.0", 1)), "as its event"),
        (with_body(ROWS, 3, lambda body: body.replace(b'"document":"D"', b'"document":"\\ud800"')), "cannot be read"),
        (with_body(ROWS, 3, lambda body: body.replace(b":1", b":9007199254740993", 1)), "could be written"),
        (with_body(ROWS, 3, lambda body: body[:-1]), "the body cannot be read: JSONDecodeError"),
        (with_body(ROWS, 3, lambda body: body.replace(b"Confirmed", b"Vanished_")), "upgrade it"),
        (with_body(ROWS, 3, lambda body: body.replace(b"[[1,1]]", b"[[2,2]]")), "value 2 is not held"),
    ],
)
def test_a_row_is_as_its_event_is_written(forged: list[Record], words: str) -> None:
    assert examined(ROWS) is None
    found = examined(forged)
    assert found is not None
    assert found[0] == 3
    assert words in found[1]


def test_the_golden_log_is_legal() -> None:
    assert examined([record_of(row.body, row.hash) for row in log()]) is None


@pytest.mark.parametrize("position", range(1, len(GOLDEN) + 1))
def test_an_event_that_comes_twice_is_told(position: int) -> None:
    """But for an extension and a maximum, which say how far and not by how much, and a stop, which may come again."""
    entry = GOLDEN[position - 1]
    again = entry._replace(position=position + 1, ordinal=0, envelope=OTHER)
    found = judged([*GOLDEN[:position], again])
    assert (found is None) == isinstance(entry.event, ReservationExtended | MaximumAdjusted | StopAccepted)


def test_an_examination_holds_the_state_and_goes_as_far_as_the_last_good_row() -> None:
    examination = Examination(LEDGER_ID)
    assert examination.take(ROWS) is None
    assert (examination.position, examination.hash) == (4, ROWS[-1].hash)
    assert [each.token for each in examination.state.reservations()] == ["U"]


def test_the_first_flaw_is_told_whichever_step_finds_it() -> None:
    """Rows are read, compared and judged in turns of many: what is read first is not told before what comes first."""
    illegal = with_event(ISSUED, 3, token="U")
    made = with_body(rows(illegal), 4, lambda body: body[:-1])
    assert examined(made) == (3, "reservation U is not open")
    made = with_column(made, 2, ordinal=1)
    assert examined(made) == (2, "the column ordinal is 1, and the body says 0")


def test_a_copy_whose_event_says_another_position() -> None:
    """It has no column of the position beside the body, and stands in the chain as well as any other."""
    moved = [entry._replace(position=9) if entry.position == 3 else entry for entry in GOLDEN[:5]]
    examination = Examination(LEDGER_ID)
    bare = [(position, row.body, row.hash) for position, row in enumerate(rows(moved), 1)]
    assert examination.take_bare(bare) == "the event says of itself that it stands at another position"
    assert (examination.flawed, examination.position) == (3, 2)


# Instead of what stands there; `float` is the same number as a float.
FORGED: dict[tuple[str, ...], list[object]] = {
    ("data", "value"): [float, True],
    ("data", "document"): [None, 5, True],
    ("data", "previous"): [5, None],
    ("data", "format"): [float, True],
    ("data", "max_value"): [float, None],
    ("data", "cut_time"): [float, None],
    ("version",): [float, True],
    ("position",): [float],
    ("ordinal",): [False, float],
    ("recorded_at",): [float, None],
}


@pytest.mark.parametrize(
    "kind", ["NumberAssigned", "DocumentLinked", "FormatRaised", "MaximumAdjusted", "RestoreFenced"]
)
def test_a_value_of_another_type_is_found_even_if_it_is_equal(kind: str) -> None:
    """A forger who chains everything anew leaves numbers that compare alike, or nothing where text must stand."""
    stored = log()
    at = next(index for index, row in enumerate(stored) if orjson.loads(row.body)["type"] == kind)
    previous = stored[at - 1].hash
    for path, values in FORGED.items():
        said = orjson.loads(stored[at].body)
        place = said["data"] if len(path) == 2 else said
        for value in values if path[-1] in place else []:
            number = place[path[-1]]
            place[path[-1]] = float(number) if value is float else value
            body = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
            place[path[-1]] = number
            examination = Examination(LEDGER_ID)
            bare = [(each.position, each.body, each.hash) for each in stored[:at]]
            found = examination.take_bare([*bare, (at + 1, body, chain.link(previous, body))])
            assert found, (path, value)
            assert examination.flawed == at + 1


def test_a_log_of_many_turns_is_examined_to_its_end() -> None:
    reserved = (Reserve("PLAIN", f"T{number}") for number in range(3 * TURN))
    made = rows(entries(DefineSeries((PLAIN,)), *reserved))
    assert examined(made) is None
    found = examined(with_column(made, len(made), stream="X"))
    assert found is not None
    assert found[0] == len(made)
