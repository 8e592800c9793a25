"""Which readings of the clocks may date events, and which may not."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.clocks import (
    MAX_GAP_SECONDS,
    MAX_READING_SECONDS,
    PATIENCE_SECONDS,
    TOLERANCE_SECONDS,
    Doubt,
    Instant,
    Judge,
    Reading,
)
from tests.given import NOW, QUICK, SECOND

HOUR, DAY, YEAR = 3600.0, 86_400.0, 31_536_000.0
STEP = 1.0


@dataclass
class World:
    """The true time, and how wrong each clock is, in seconds. `boot` began a day ago."""

    judge: Judge
    time: float = 0.0
    database: float = 0.0
    process: float = 0.0
    boot: float = DAY
    redis: float | None = None

    def instant(self) -> Instant:
        return Instant(self._told(self.process), int((self.time + self.boot) * SECOND))

    def _told(self, wrong: float) -> int:
        return NOW + int((self.time + wrong) * SECOND)

    def look(self, *, waited: float = 0.0, answered: float = 0.0) -> Doubt | None:
        """Read the database's clock: it tells its time after a wait, and the answer takes a while to come."""
        before = self.instant()
        self.time += waited
        told = self._told(self.database)
        self.time += answered
        return self.judge.take(Reading(before, told, self.instant()))

    def witness(self) -> None:
        if self.redis is not None:
            here = self.instant()
            self.judge.take_witness(Reading(here, self._told(self.redis), here))

    def pass_time(self, seconds: float) -> list[Doubt | None]:
        """Look every second."""
        found = []
        for _ in range(int(seconds / STEP)):
            self.time += STEP
            self.witness()
            found.append(self.look())
        return found

    def leap(self, seconds: float) -> None:
        """Let both wall clocks leap, as those of one machine do."""
        self.database += seconds
        self.process += seconds


@pytest.fixture
def world() -> World:
    """A process that knows the time."""
    world = World(Judge())
    assert world.look() is None
    return world


@pytest.mark.parametrize(
    ("database", "process", "doubt"),
    [
        (0.0, 0.0, None),
        (30.0, 0.0, None),
        (-30.0, 0.0, None),
        (30.1, 0.0, Doubt.APART),
        (-30.1, 0.0, Doubt.APART),
        (0.0, HOUR, Doubt.APART),
        (2 * YEAR, 0.0, Doubt.APART),
        (2 * YEAR, 2 * YEAR, None),  # both, before the first contact: nothing can tell
    ],
)
def test_at_the_first_contact_the_two_wall_clocks_must_agree(
    database: float, process: float, doubt: Doubt | None
) -> None:
    world = World(Judge(), database=database, process=process)
    assert world.look() is doubt
    assert world.judge.doubt is doubt


@pytest.mark.parametrize(
    ("database", "process", "doubt"),
    [
        (29.9, 0.0, None),
        (-29.9, 0.0, None),
        (HOUR, 0.0, Doubt.APART),
        (-HOUR, 0.0, Doubt.APART),
        (2 * YEAR, 0.0, Doubt.APART),
        (0.0, HOUR, Doubt.APART),
        (HOUR, HOUR, Doubt.LEAPT),
        (-HOUR, -HOUR, Doubt.LEAPT),
        (31.0, 31.0, Doubt.LEAPT),
        (2 * YEAR, 2 * YEAR, Doubt.LEAPT),
        (1.0, 0.0, None),  # a leap second, or a failover to a host with a slightly other clock
    ],
)
def test_a_leap_is_noticed_and_is_over_when_the_clocks_are_back(
    world: World, database: float, process: float, doubt: Doubt | None
) -> None:
    world.database, world.process = database, process
    world.time += STEP
    assert world.look() is doubt
    world.database = world.process = 0.0
    world.time += STEP
    assert world.look() is None


@pytest.mark.parametrize("seconds", [1.0, HOUR, 30 * DAY, 3 * YEAR])
def test_time_that_passes_unseen_is_no_leap(world: World, seconds: float) -> None:
    """The ledger was idle, or the machine suspended: the boot clock counted on."""
    world.time += seconds
    assert world.look() is None


@pytest.mark.parametrize(("waited", "answered"), [(4.9, 0.0), (0.0, 4.9), (60.0, 55.0)])
def test_a_slow_answer_is_no_leap(world: World, waited: float, answered: float) -> None:
    for _ in range(3):
        assert world.look(waited=waited, answered=answered) is None
    assert world.look() is None


def test_a_process_that_stood_still_takes_another_reading(world: World) -> None:
    assert world.look(waited=MAX_READING_SECONDS + 1) is Doubt.SLOW
    assert world.judge.doubt is None
    assert world.look() is None


def test_a_clock_that_is_set_while_it_is_read(world: World) -> None:
    before = world.instant()
    world.leap(HOUR)
    assert world.judge.take(Reading(before, world._told(HOUR), world.instant())) is Doubt.WALL_MOVED


@pytest.mark.parametrize("seconds_a_day", [-80.0, -8.0, 8.0, 80.0])
def test_a_drift_is_followed(world: World, seconds_a_day: float) -> None:
    """As of a machine whose clock nobody corrects, beside a database whose clock is right: NTP keeps only the walls."""
    for _ in range(10 * 24 * 6):
        world.time += 600.0
        world.boot += seconds_a_day / (24 * 6)
        assert world.look() is None


def test_small_leaps_do_not_add_up_to_a_large_one(world: World) -> None:
    found = []
    for _ in range(10):
        world.leap(29.0)
        world.time += STEP
        found.append(world.look())
    assert found[0] is None
    assert found[-1] is Doubt.LEAPT


def test_a_changed_offset_is_believed_when_the_clocks_have_agreed_for_a_minute(world: World) -> None:
    """The host paused the machine for an hour, and its clocks with it; NTP has set the wall clock right since."""
    world.boot -= HOUR
    found = world.pass_time(PATIENCE_SECONDS + 2)
    assert found.index(None) == PATIENCE_SECONDS
    assert set(found[int(PATIENCE_SECONDS) :]) == {None}


def test_agreement_is_without_interruption(world: World) -> None:
    world.leap(HOUR)
    world.pass_time(PATIENCE_SECONDS - 2)
    world.database += HOUR
    assert world.pass_time(1) == [Doubt.APART]
    world.database -= HOUR
    assert set(world.pass_time(PATIENCE_SECONDS - 2)) == {Doubt.LEAPT}
    world.time += MAX_GAP_SECONDS + 1  # unseen
    assert set(world.pass_time(PATIENCE_SECONDS - 2)) == {Doubt.LEAPT}
    world.leap(-HOUR)
    assert world.pass_time(1) == [None]


@pytest.mark.parametrize(("redis", "is_believed"), [(HOUR, True), (HOUR + 29, True), (0.0, False)])
def test_a_witness_has_to_agree(redis: float, is_believed: bool) -> None:
    """A witness that did not leap shows that the machine's clock did, however long it stays."""
    world = World(Judge(), redis=0.0)
    world.witness()
    world.look()
    world.leap(HOUR)
    world.redis = redis
    found = world.pass_time(PATIENCE_SECONDS * 3)
    assert (None in found) is is_believed


def test_a_witness_that_fell_silent_agrees_to_nothing() -> None:
    world = World(Judge(), redis=0.0)
    world.witness()
    world.look()
    world.leap(HOUR)
    world.redis = None
    assert set(world.pass_time(PATIENCE_SECONDS * 3)) == {Doubt.LEAPT}
    world.redis = HOUR
    assert world.pass_time(PATIENCE_SECONDS + 1)[-1] is None


@dataclass(frozen=True)
class Change:
    """What happens to the clocks in one step."""

    seconds: float
    database: float
    process: float
    boot: float
    waited: float


wrongs = st.sampled_from([0.0, 0.0, 0.0, 1.0, -1.0, 25.0, -25.0, 45.0, HOUR, -HOUR, 2 * YEAR])
changes = st.builds(
    Change, st.sampled_from([0.1, 1.0, 30.0, HOUR]), wrongs, wrongs, wrongs, st.sampled_from([0.0, 0.0, 4.0])
)


@QUICK
@given(st.lists(changes, max_size=60))
def test_nothing_is_dated_outside_the_bound_of_two_agreeing_clocks(history: list[Change]) -> None:
    """Whatever happens: what is taken for the time is the wall clock's too, and no other than a moment ago."""
    world, last = World(Judge()), None
    for change in history:
        world.time += change.seconds
        world.database, world.process = change.database, change.process
        world.boot += change.boot if change.boot > 0 else 0.0
        here = world.instant()
        if world.look(waited=change.waited) is not None:
            continue
        told = here.wall / SECOND - change.process + change.database + change.waited
        slack = TOLERANCE_SECONDS + change.waited + 0.001
        assert abs(told - world.instant().wall / SECOND) <= slack
        offset = told - world.instant().boot / SECOND
        assert last is None or abs(offset - last) <= 2 * TOLERANCE_SECONDS + 4.0 + slack
        last = offset
