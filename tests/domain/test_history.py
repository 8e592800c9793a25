from datetime import date

import pytest

from ledger.domain.commands import Cancel, Choice, Confirm, Decidable, Expire, Extend, Fence, Issue, Reserve
from ledger.domain.events import Event, Numbering, NumbersConfirmed, SequenceReset
from ledger.domain.history import ReservationHistory
from ledger.domain.rejection import Code
from ledger.domain.sequence import ValueState
from tests.given import NOW, PLAIN, SECOND, Story

TTL = 300 * SECOND
FENCE = Fence(0, 0, 1, "so it was restored")


def told(*commands: Decidable, count: int = 3) -> ReservationHistory:
    """The history of T, of `count` numbers; each command comes a second after the one before, Expire when it is due."""
    story = Story(PLAIN)
    story.when(Reserve("PLAIN", "T", count=count))
    for command in commands:
        reservation = story.state.reservation("T")
        due = isinstance(command, Expire) and reservation is not None
        story.now = reservation.expires_at if due and reservation is not None else story.now + SECOND
        story.when(command)
    events = [(event, position, at) for position, (event, at) in enumerate(story.log, 1) if event.token == "T"]
    history = ReservationHistory.of(events)
    assert history is not None
    return history


def values(history: ReservationHistory) -> dict[int, tuple[str, str | None]]:
    return {value: (state.value, document) for value, (state, document) in history.values.items()}


@pytest.mark.parametrize(
    ("commands", "expected", "state", "position"),
    [
        ([], {1: ("RESERVED", None), 2: ("RESERVED", None), 3: ("RESERVED", None)}, "RESERVED", 2),
        (
            [Confirm("T", "D")],
            {1: ("CONFIRMED", "D"), 2: ("CONFIRMED", "D"), 3: ("CONFIRMED", "D")},
            "CONFIRMED",
            3,
        ),
        (
            [Confirm("T", "D", (Choice("0001", "X"), Choice("0003")))],
            {1: ("CONFIRMED", "X"), 2: ("CANCELLED", None), 3: ("CONFIRMED", "D")},
            "CONFIRMED",
            3,
        ),
        (
            [Confirm("T", "D", (Choice("0001"),), release_rest=False)],
            {1: ("CONFIRMED", "D"), 2: ("RESERVED", None), 3: ("RESERVED", None)},
            "RESERVED",
            3,
        ),
        (
            [Confirm("T", "D", (Choice("0001"),), release_rest=False), Cancel("T")],
            {1: ("CONFIRMED", "D"), 2: ("CANCELLED", None), 3: ("CANCELLED", None)},
            "CONFIRMED",
            4,
        ),
        (
            [Confirm("T", "D", (Choice("0002"),), release_rest=False), Expire("T")],
            {1: ("EXPIRED", None), 2: ("CONFIRMED", "D"), 3: ("EXPIRED", None)},
            "CONFIRMED",
            4,
        ),
        ([Cancel("T")], {1: ("CANCELLED", None), 2: ("CANCELLED", None), 3: ("CANCELLED", None)}, "CANCELLED", 3),
        ([Expire("T")], {1: ("EXPIRED", None), 2: ("EXPIRED", None), 3: ("EXPIRED", None)}, "EXPIRED", 3),
        (
            [Extend("T", 600), Expire("T")],
            {1: ("EXPIRED", None), 2: ("EXPIRED", None), 3: ("EXPIRED", None)},
            "EXPIRED",
            4,
        ),
        ([FENCE], {1: ("SKIPPED", None), 2: ("SKIPPED", None), 3: ("SKIPPED", None)}, "SKIPPED", 4),
        (
            [Confirm("T", "D", (Choice("0002"),), release_rest=False), FENCE],
            {1: ("SKIPPED", None), 2: ("CONFIRMED", "D"), 3: ("SKIPPED", None)},
            "CONFIRMED",
            5,
        ),
    ],
)
def test_what_became_of_each_value(
    commands: list[Decidable], expected: dict[int, tuple[str, str | None]], state: str, position: int
) -> None:
    history = told(*commands)
    assert values(history) == expected
    assert (history.state, history.position) == (ValueState(state), position)
    assert (history.token, history.numbering.sequence, history.reserved_at) == ("T", "PLAIN:-", NOW)


@pytest.mark.parametrize(
    ("commands", "expires_at"),
    [([], NOW + TTL), ([Extend("T", 600)], NOW + 601 * SECOND), ([Extend("T", 1)], NOW + TTL)],
)
def test_the_expiry_is_the_last_one(commands: list[Decidable], expires_at: int) -> None:
    assert told(*commands).expires_at == expires_at


@pytest.mark.parametrize(
    ("commands", "code", "detail"),
    [
        ([Expire("T")], Code.RESERVATION_EXPIRED, "has expired"),
        ([Cancel("T")], Code.RESERVATION_CLOSED, "already cancelled, at position 3"),
        ([Confirm("T", "D")], Code.RESERVATION_CLOSED, "already confirmed, at position 3"),
        ([Confirm("T", "D", (Choice("0001"),))], Code.RESERVATION_CLOSED, "already confirmed, at position 3"),
        (
            [Confirm("T", "D", (Choice("0001"),), release_rest=False), Expire("T")],
            Code.RESERVATION_CLOSED,
            "already confirmed, at position 4",
        ),
        (
            [FENCE],
            Code.RESERVATION_CLOSED,
            "reservation T was passed over by a restore, at position 4: it may have been confirmed in events that were "
            "lost; reserve again, or assign its number if a document bears it",
        ),
        (
            [Confirm("T", "D", (Choice("0001"),), release_rest=False), FENCE],
            Code.RESERVATION_CLOSED,
            "passed over by a restore, at position 5",
        ),
    ],
)
def test_why_a_closed_reservation_takes_no_command(commands: list[Decidable], code: Code, detail: str) -> None:
    rejection = told(*commands).closed()
    assert rejection.code is code
    assert detail in rejection.detail


def test_an_issue_tells_its_whole_history() -> None:
    story = Story(PLAIN)
    events = story.when(Issue(Reserve("PLAIN", "T"), "D"))
    history = ReservationHistory.of((event, position, NOW) for position, event in enumerate(events, 2))
    assert history is not None
    assert values(history) == {1: ("CONFIRMED", "D")}


@pytest.mark.parametrize(
    "events",
    [
        [],
        [SequenceReset("S:2025", "S", 1, (), "2025", 1)],
        [NumbersConfirmed(Numbering("S:-", "S", 1, (), "-", date(2025, 6, 15), (), "2025b"), "T", ((1, 1),))],
    ],
)
def test_without_its_beginning_there_is_no_history(events: list[Event]) -> None:
    assert ReservationHistory.of((event, 1, NOW) for event in events) is None
