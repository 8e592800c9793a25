"""Whole processes under a simulated scheduler, and that the simulation itself can be trusted.

More seeds by hand: python -m tests.simulation FIRST LAST
"""

import asyncio
import os
import subprocess
import sys
import traceback
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from ledger import codec
from ledger.codec import Entry
from ledger.domain.commands import Envelope
from ledger.domain.events import NumbersReserved
from ledger.fold import BrokenChain
from ledger.ports import Head, Record
from ledger.writer import Outcome
from tests.invariants import _check_commands, check_log
from tests.profiles import rounds
from tests.simulation.loop import Deadlock, OutOfSteps, simulate
from tests.simulation.stops import Damage, run_stop
from tests.simulation.world import Result, run_seed

SEEDS = range(rounds(70, thorough=400))
STOP_SEEDS = range(rounds(2, thorough=50))
ROOT = Path(__file__).parents[1]

# What the seeds must have come through, all together, to be worth their time.
SEEN = (
    "COMMIT took effect",
    "COMMIT was undone",
    "lost_before",
    "lost_after",
    "limbo",
    "refused",
    "doubt: was there",
    "doubt: done again",
    "lock lost while held",
    "crashed while holding the lock",
    "crashed during COMMIT",
    "crashed between transactions",
    "shut down",
    "snapshot written",
    "began at a snapshot",
    "contention",
    "hangs",
    "database clock stepped back",
    "database clock jumped forward",
    "mirror away",
    "mirror back",
    "mirror flushed",
    "mirror restored from a dump",
    "mirror lost what was asked",
    "mirror lost what was answered",
    "mirror: no process has the key",
    "mirror: some processes have the key",
    "mirror: every process has the key",
    "mirror forged",
    "answered",
    "answered again",
    "not answered",
    "NumbersConfirmed",
    "ReservationCancelled",
    "ReservationExpired",
    "ReservationExtended",
    "SequenceReset",
    "DATABASE_FULL",
    "DATABASE_READ_ONLY",
    "DATABASE_UNAVAILABLE",
    "IDEMPOTENCY_KEY_REUSED",
    "LIFETIME_EXCEEDED",
    "LOCK_TIMEOUT",
    "OUTCOME_UNKNOWN",
    "QUEUE_FULL",
    "RESERVATION_CLOSED",
    "RESERVATION_EXPIRED",
    "CLOCK_UNSURE",
    "database clock leapt",
    "machine clock leapt",
    "SEQUENCE_EXHAUSTED",
    "SHUTTING_DOWN",
)


@cache
def result(seed: int) -> Result:
    return run_seed(seed)


def test_the_seeds_reach_every_state_that_they_are_for() -> None:
    """All seeds in one test, so that none runs twice, in whatever processes the tests run: that takes seconds."""
    seen, failed = Counter[str](), dict[int, str]()
    for seed in SEEDS:
        try:
            assert result(seed).records
        except Exception:  # the other seeds say more of it
            failed[seed] = traceback.format_exc(limit=-5)
        else:
            seen += result(seed).seen
    assert not failed, "\n".join(f"seed {seed}: {why}" for seed, why in failed.items())
    assert not [what for what in SEEN if not seen[what]]


@pytest.mark.parametrize("damage", Damage)
@pytest.mark.parametrize("seed", STOP_SEEDS)
def test_writing_stops(seed: int, damage: Damage) -> None:
    assert run_stop(seed, damage)


def test_a_seed_gives_the_same_run_again() -> None:
    again = run_seed(SEEDS[0])
    assert again == result(SEEDS[0])
    assert again.records != result(SEEDS[1]).records


def test_a_seed_gives_the_same_run_in_another_process() -> None:
    """Where every hash of a string is another, and so the order of every set."""
    program = "from tests.simulation.world import run_seed; print(run_seed(0).records[-1].hash.hex())"
    environment = os.environ | {"PYTHONHASHSEED": "4711"}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == result(0).records[-1].hash.hex()


class TestLoop:
    def test_time_costs_nothing(self) -> None:
        async def main() -> float:
            await asyncio.sleep(3600)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(60):
                    await asyncio.Event().wait()
            return asyncio.get_running_loop().time()

        assert simulate(main()) == 3660

    def test_the_order_comes_from_the_seed(self) -> None:
        async def main() -> list[int]:
            order: list[int] = []

            async def note(number: int) -> None:
                order.append(number)

            await asyncio.gather(*map(note, range(10)))
            return order

        orders = [simulate(main(), seed=seed) for seed in (1, 1, 2)]
        assert orders[0] == orders[1] != orders[2]
        assert sorted(orders[2]) == list(range(10))

    def test_a_program_that_waits_for_nothing_ends(self) -> None:
        async def main() -> None:
            await asyncio.Event().wait()

        with pytest.raises(Deadlock):
            simulate(main())

    def test_a_program_that_never_rests_ends(self) -> None:
        async def main() -> None:
            while True:  # noqa: ASYNC110  that is the mistake
                await asyncio.sleep(0)

        with pytest.raises(OutOfSteps):
            simulate(main(), max_steps=1000)

    def test_a_failure_that_nobody_awaits_fails_the_run(self) -> None:
        async def main() -> None:
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await asyncio.sleep(1)

        with pytest.raises(AssertionError, match="ZeroDivisionError"):
            simulate(main())

    def test_a_task_that_is_left_fails_the_run(self) -> None:
        async def main() -> None:
            main.task = asyncio.create_task(asyncio.sleep(1), name="left")  # type: ignore[attr-defined]

        with pytest.raises(AssertionError, match="left"):
            simulate(main())


def head_of(records: list[Record]) -> Head:
    last = records[-1]
    return Head(last.position, last.hash, last.recorded_at, "simulated", None)


def rewritten(records: list[Record], entries: list[Entry]) -> list[Record]:
    """The first record and these entries behind it, renumbered and chained anew: only content can give them away."""
    made = records[:1]
    for position, entry in enumerate(entries, start=2):
        made.append(codec.encode(entry._replace(position=position), made[-1].hash))
    return made


class TestInvariants:
    """Every invariant can fail."""

    @pytest.fixture
    def records(self) -> list[Record]:
        return list(result(0).records)

    @pytest.fixture
    def entries(self, records: list[Record]) -> list[Entry]:
        return [codec.decode(record) for record in records]

    @pytest.fixture
    def reserved(self, entries: list[Entry]) -> Entry:
        return next(entry for entry in reversed(entries) if isinstance(entry.event, NumbersReserved))

    def test_the_log_itself_is_sound(self, records: list[Record], entries: list[Entry]) -> None:
        check_log(records, head_of(records))
        assert rewritten(records, entries[1:]) == records

    def test_a_hole(self, records: list[Record]) -> None:
        with pytest.raises(BrokenChain):
            check_log([*records[:3], *records[4:]], head_of(records))

    def test_an_edited_event(self, records: list[Record]) -> None:
        edited = records[3]._replace(body=records[3].body.replace(b'"actor":"', b'"actor":"x'))
        with pytest.raises(BrokenChain):
            check_log([*records[:3], edited, *records[4:]], head_of(records))

    def test_a_column_that_says_otherwise(self, records: list[Record]) -> None:
        with pytest.raises(AssertionError):
            check_log([*records[:-1], records[-1]._replace(stream="other")], head_of(records))

    def test_a_head_that_is_elsewhere(self, records: list[Record]) -> None:
        with pytest.raises(AssertionError):
            check_log(records[:-1], head_of(records))

    def test_a_value_reserved_twice(self, records: list[Record], entries: list[Entry], reserved: Entry) -> None:
        assert isinstance(reserved.event, NumbersReserved)
        twin = reserved._replace(event=replace(reserved.event, token="twin"), envelope=Envelope(bytes(32), "thief"))
        made = rewritten(records, [*entries[1 : reserved.position], twin._replace(ordinal=0)])
        with pytest.raises(AssertionError, match="reserves"):
            check_log(made, head_of(made))

    def test_a_command_that_was_torn(self, records: list[Record], reserved: Entry) -> None:
        made = rewritten(records, [reserved._replace(ordinal=1)])
        with pytest.raises(AssertionError, match="torn"):
            _check_commands(made)

    def test_a_command_twice(self, records: list[Record], entries: list[Entry]) -> None:
        with pytest.raises(AssertionError, match="twice"):
            check_log(made := rewritten(records, [entries[0]]), head_of(made))

    def test_time_that_goes_back(self, records: list[Record], entries: list[Entry]) -> None:
        early = entries[1]._replace(recorded_at=entries[0].recorded_at - 1)
        with pytest.raises(AssertionError, match="time goes back"):
            check_log(made := rewritten(records, [early]), head_of(made))

    def test_an_acknowledged_event_that_is_lost_or_another(self, records: list[Record], entries: list[Entry]) -> None:
        last = entries[-1]
        with pytest.raises(AssertionError, match="lost"):
            check_log(records[:-1], head_of(records[:-1]), acknowledged=[Outcome((last,), last.position)])
        other = last._replace(envelope=last.envelope._replace(actor="other"))
        with pytest.raises(AssertionError, match="not what was acknowledged"):
            check_log(records, head_of(records), acknowledged=[Outcome((other,), last.position)])
