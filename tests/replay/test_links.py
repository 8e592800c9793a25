"""What auditors are told of a number that was linked to another document, from any source."""

from datetime import date

from ledger.domain.commands import (
    Cancel,
    Choice,
    Confirm,
    DefineSeries,
    Link,
    Original,
    RaiseFormat,
    Reserve,
    WithOriginal,
)
from ledger.domain.formats import NEWEST_FORMAT
from ledger.ports import Record
from replay.difference import between
from replay.moments import Moment
from replay.story import story_of
from replay.telling import EVENT_COLUMNS, documents_of, event_row, said_by
from tests.given import NOW, PLAIN
from tests.golden.samples import LEDGER_ID, log
from tests.replay.past import Listed
from tests.replay.places import LEDGER
from tests.replay.restoring import decided, ignored

NUMBER = "คคง.-สคฉ.3-01-0004-2568"


async def test_a_story_tells_each_document_with_its_reason() -> None:
    golden = Listed(LEDGER_ID, log())
    told = (await story_of(golden, NUMBER, ignored)).history
    documents = [(step.cause.event, step.original.document) for step in told.steps if step.original]
    assert documents == [
        ("NumbersReserved", None),
        ("NumbersConfirmed", "D-1"),
        ("DocumentLinked", "D-8"),
        ("DocumentLinked", "D-9"),
    ]
    assert told.confirmed is not None
    assert told.confirmed.document == "D-9"
    position = told.steps[2].cause.position
    then = (await story_of(golden, NUMBER, ignored, Moment(position=position))).history
    assert then.confirmed is not None
    assert then.confirmed.document == "D-8"


def test_an_event_is_told_with_its_document_and_the_value_that_it_is_about() -> None:
    (event, _) = [each for each in Listed(LEDGER_ID, log()).stored if b'"DocumentLinked"' in each[1]]
    said = said_by(event)
    row = dict(zip(EVENT_COLUMNS, event_row(event, said), strict=True))
    assert (row["document"], row["ranges"], row["token"]) == ("D-8", "linked 4", "letters")
    assert documents_of(said) == {"D-8"}


def linked_while_it_was_open() -> list[Record]:
    """Of a block of two, one is confirmed; the other is cancelled, and the first linked before that and after it."""
    original = Original(1, date(2025, 6, 15), (), "D", "T")
    return decided(
        DefineSeries((PLAIN,)),
        RaiseFormat(NEWEST_FORMAT, "for the test"),
        Reserve("PLAIN", "T", count=2),
        Confirm("T", "D", (Choice("0001"),), release_rest=False),
        WithOriginal(Link("0001", "E", "so it was decided"), original),
        Cancel("T"),
        WithOriginal(Link("0001", "F", "so it was decided"), original),
        now=NOW,
    )


async def test_a_link_ends_no_reservation() -> None:
    found = await between(Listed(LEDGER, linked_while_it_was_open()), Moment(position=5), Moment(position=7), ignored)
    ((reservation, ending),) = found.ended
    assert (reservation.ranges, type(ending.event).__name__) == (((2, 2),), "ReservationCancelled")
