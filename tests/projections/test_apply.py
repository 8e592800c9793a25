"""Applying events in memory: what is inserted, what is changed where it is stored, and what a batch needs."""

from dataclasses import replace

from ledger.codec import Entry
from ledger.domain.calendar import Reset
from ledger.domain.commands import (
    AdjustMaximum,
    Assign,
    Cancel,
    ClosePeriod,
    Confirm,
    Decidable,
    Envelope,
    Fence,
    Link,
    Original,
    RaiseFormat,
    ReopenPeriod,
    ReopenSeries,
    Reserve,
    RetireSeries,
    Void,
    WithOriginal,
)
from ledger.domain.events import NumbersReserved
from ledger.domain.formats import NEWEST_FORMAT
from ledger.domain.series import Reuse
from projections.apply import Interval, Unit, needs, values_in
from projections.known import Known
from projections.rows import GapRow, LinkRow, ranges_from, text_of
from tests.given import GAPLESS, NOW, PLAIN, Story, one, series

REASON = "because the test says so"
FENCE = Fence(0, 0, 10, REASON)


class Batches:
    """A story whose events are applied batch by batch, with what a batch leaves known to the next."""

    def __init__(self, *defined: object) -> None:
        self.story = Story(*defined)  # type: ignore[arg-type]
        self.known = Known()
        self.position = 0
        self.stored: list[GapRow] = []
        self.batch()

    def batch(self, *commands: Decidable) -> Unit:
        for command in commands:
            self.story.when(command)
        unit = Unit(self.known, [replace(gap) for gap in self.stored])
        for event, at in self.story.log[self.position :]:
            self.position += 1
            unit.take(Entry(self.position, event, Envelope(bytes(32), "anna"), 0, at))
        unit.finish()
        return unit


def test_reserved_and_confirmed_in_one_batch_is_one_insert() -> None:
    unit = Batches(PLAIN).batch(Reserve("PLAIN", "T", {}, 2), Confirm("T", "D"))
    assert [(row.number, row.state, row.document) for row in unit.inserted()] == [
        ("0001", "CONFIRMED", "D"),
        ("0002", "CONFIRMED", "D"),
    ]
    assert (unit.changes, unit.reissued()) == ([], [])
    assert unit.reservations["T"].state == "CONFIRMED"


def test_confirmed_later_is_one_change_however_many_there_are() -> None:
    batches = Batches(PLAIN)
    batches.batch(Reserve("PLAIN", "T", {}, 5_000))
    unit = batches.batch(Confirm("T", "D"))
    (change,) = unit.changes
    assert (change.first, change.last, change.state, change.document) == (1, 5_000, "CONFIRMED", "D")
    assert unit.inserted() == []
    (row,) = unit.sequences.values()
    assert (row.reserved, row.confirmed, row.high_water) == (0, 5_000, 5_000)


def test_a_value_of_this_batch_is_changed_in_memory_and_its_neighbour_where_it_is_stored() -> None:
    batches = Batches(GAPLESS)
    batches.batch(Reserve("GAPLESS", "T", {}, 3))
    unit = batches.batch(Cancel("T", REASON), Reserve("GAPLESS", "U"), Cancel("U", REASON))
    assert [(change.first, change.last, change.state) for change in unit.changes] == [(1, 3, "CANCELLED")]
    assert unit.inserted() == []
    (again,) = unit.reissued()
    assert (again.value, again.state, again.position, again.earlier) == (1, "CANCELLED", 4, 2)
    assert sorted((gap.first, gap.last, gap.position) for gap in unit.gaps.changed()) == [(1, 1, 5), (2, 3, 3)]


def test_a_value_given_out_twice_in_one_batch_is_inserted_once() -> None:
    unit = Batches(GAPLESS).batch(Reserve("GAPLESS", "T"), Cancel("T", REASON), Reserve("GAPLESS", "U"))
    (row,) = unit.inserted()
    assert (row.token, row.state, row.earlier) == ("U", "RESERVED", 2)
    assert (unit.reissued(), unit.changes, unit.gaps.changed()) == ([], [], [])


def test_a_void_names_the_replacement_that_follows_it() -> None:
    batches = Batches(PLAIN)
    batches.batch(Reserve("PLAIN", "T"), Confirm("T", "D"))
    confirmed = one(NumbersReserved, [event for event, _ in batches.story.log]).numbering

    original = Original(1, confirmed.document_date, (), "D")
    unit = batches.batch(WithOriginal(Void("0001", REASON, "U", True), original))
    (change,) = unit.changes
    (row,) = unit.inserted()
    assert (change.state, change.replaced_by) == ("VOIDED", "0002")
    assert (row.replaces, row.document, row.state) == ("0001", "D", "CONFIRMED")


def test_a_link_changes_a_document_alone() -> None:
    batches = Batches(PLAIN)
    batches.batch(RaiseFormat(NEWEST_FORMAT, REASON), Reserve("PLAIN", "T", {}, 2), Confirm("T", "D"))
    reserved = one(NumbersReserved, (event for event, _ in batches.story.log))
    original = Original(1, reserved.numbering.document_date, (), "D", "T")
    unit = batches.batch(*(WithOriginal(Link("0001", each, REASON), original) for each in "EF"))
    assert (unit.documents, unit.changes, unit.inserted()) == ([("E", 3, 1), ("F", 3, 1)], [], [])
    assert unit.links == [LinkRow(3, 1, 5), LinkRow(3, 1, 6)]
    (row,) = unit.sequences.values()
    assert (row.confirmed, row.changed_position) == (2, 6)

    assigned = batches.batch(
        Assign("0003", "H", REASON),
        WithOriginal(Link("0003", "I", REASON), replace(original, document="H", token=None)),
    )
    (made,) = assigned.inserted()  # what is given out in the same batch is changed in memory
    assert (made.document, made.event, made.reason, made.changed_position) == ("I", "NumberAssigned", "", 7)
    assert (assigned.documents, len(assigned.links)) == ([], 1)


def test_use_is_told_by_the_series_as_it_was_at_the_last_event() -> None:
    batches = Batches(series("{SEQ:1}", "S"))
    unit = batches.batch(Reserve("S", "T", {}, 3))
    assert unit.sequences["S:-"].percent == 33

    later = batches.batch(AdjustMaximum("S", 3, REASON))
    assert (later.sequences, later.known.sequences["S:-"].max_value) == ({}, 9)
    both = Batches(series("{SEQ:1}", "S")).batch(Reserve("S", "T", {}, 3), AdjustMaximum("S", 3, REASON))
    assert both.sequences["S:-"].max_value == 9
    assert both.series["S", 1].max_value == 3


def test_what_is_reopened_is_open_and_not_retired() -> None:
    batches = Batches(series("{SEQ:2}-{YYYY}", "Y", reset=Reset.YEARLY))
    unit = batches.batch(ClosePeriod("Y:2025", REASON))
    assert (unit.sequences["Y:2025"].closed, unit.sequences["Y:2025"].remaining) == (batches.position, 0)
    unit = batches.batch(RaiseFormat(NEWEST_FORMAT, REASON), ReopenPeriod("Y:2025", REASON))
    assert (unit.sequences["Y:2025"].closed, unit.sequences["Y:2025"].remaining) == (0, 99)
    unit = batches.batch(RetireSeries("Y", REASON))
    assert unit.series["Y", 1].retired == batches.position
    unit = batches.batch(ReopenSeries("Y", REASON))
    assert unit.series["Y", 1].retired == 0
    assert batches.batch(Reserve("Y", "T")).sequences["Y:2025"].remaining == 98


def test_a_closed_period_keeps_nothing_released() -> None:
    batches = Batches(series("{SEQ:2}-{YYYY}", "Y", reuse=Reuse.GAPLESS, reset=Reset.YEARLY))
    unit = batches.batch(Reserve("Y", "T"), Cancel("T", REASON))
    ((id, row),) = unit.sequences.items()
    assert row.released == 1
    batches.stored = unit.gaps.changed()
    unit = batches.batch(ClosePeriod(id, REASON))
    assert (row.released, unit.emptied) == (0, [row.sequence_at])
    assert [gap.released for gap in unit.gaps.changed()] == [0]


def test_a_fence_passes_over_values_and_ends_what_is_held_and_released() -> None:
    batches = Batches(GAPLESS)
    unit = batches.batch(Reserve("GAPLESS", "T", {}, 2), Cancel("T", REASON), Reserve("GAPLESS", "U", {}, 3))
    batches.stored = unit.gaps.changed()
    unit = batches.batch(Reserve("GAPLESS", "V"), FENCE, Reserve("GAPLESS", "W"), Cancel("W", REASON))
    (row,) = unit.sequences.values()
    assert (row.high_water, row.released, row.skipped, row.cancelled) == (15, 1, 14, 1)
    assert unit.emptied == [row.sequence_at]
    assert [(gap.first, gap.last, gap.state, gap.event, gap.token, gap.released) for gap in gaps_of(unit)] == [
        (1, 3, "SKIPPED", "ReservationFenced", "U", 0),
        (4, 4, "SKIPPED", "ReservationFenced", "V", 0),
        (5, 14, "SKIPPED", "SequenceFenced", "", 0),
        (15, 15, "CANCELLED", "ReservationCancelled", "W", 1),
    ]
    assert {token: (each.state, each.held) for token, each in unit.reservations.items()} == {
        "U": ("SKIPPED", 0), "V": ("SKIPPED", 0), "W": ("CANCELLED", 0)
    }  # fmt: skip


def test_a_fence_leaves_a_gap_that_was_released_before_it() -> None:
    batches = Batches(GAPLESS)
    batches.stored = batches.batch(Reserve("GAPLESS", "T", {}, 2), Cancel("T", REASON)).gaps.changed()
    unit = batches.batch(FENCE)
    assert [(gap.first, gap.last, gap.state, gap.released) for gap in gaps_of(unit)] == [
        (1, 2, "CANCELLED", 0), (3, 12, "SKIPPED", 0)
    ]  # fmt: skip


def gaps_of(unit: Unit) -> list[GapRow]:
    return sorted(unit.gaps.changed(), key=lambda gap: gap.first)


def test_a_batch_needs_only_what_it_touches() -> None:
    story = Story(GAPLESS)
    story.when(Reserve("GAPLESS", "T", {}, 3))
    story.when(Cancel("T", REASON))
    first = needs(event for event, _ in story.log)
    assert (first.sequences, first.tokens) == ({"GAPLESS:-"}, set())
    batches = Batches(GAPLESS)
    batches.batch(Reserve("GAPLESS", "T", {}, 3), Cancel("T", REASON))
    events = story.when(Reserve("GAPLESS", "U", {}, 5))
    assert needs(events).intervals(batches.known.sequences) == [Interval(2, 1, 5)]
    assert needs(events).intervals({}) == []
    assert sum(map(values_in, events)) == 5
    assert needs(story.when(Confirm("U", "D"))).tokens == {"U"}


def test_ranges_are_written_and_read() -> None:
    for ranges in [(), ((1, 1),), ((1, 4), (9, 9), (11, 12))]:
        assert ranges_from(text_of(ranges)) == ranges
    assert text_of(((1, 4), (9, 9))) == "1-4,9"


def test_nothing_of_a_batch_depends_on_the_clock() -> None:
    unit = Batches(PLAIN).batch(Reserve("PLAIN", "T"))
    assert {row.reserved_at for row in unit.inserted()} == {NOW}
