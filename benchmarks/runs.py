"""Which runs there are, in the order of a round, and which of them are compared."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks import workload
from benchmarks.engine import CONNECTIONS
from benchmarks.figures import Result, Run
from benchmarks.stage import Stage

__all__ = ["COMPARISONS", "Comparison", "follower_runs", "main_runs", "more_runs"]

RESERVE, NOOP, ROW_LOCK = "/v1/reservations", "/benchmarks/noop", "/benchmarks/row_lock"
USUAL = 64  # connections
FEW = 16  # connections, where one answer holds a thousand numbers


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many times as fast `ours` is as `theirs`; `targets` by connections."""

    ours: str
    theirs: str
    targets: dict[int, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.ours}/{self.theirs}"

    def ratios(self, results: Sequence[Result]) -> dict[int, float]:
        """The ratio at each number of connections at which both ran."""
        ours, theirs = (
            {result.run.connections: result for result in results if result.run.name == name}
            for name in (self.ours, self.theirs)
        )
        return {
            connections: ours[connections].ratio(theirs[connections]) for connections in ours if connections in theirs
        }


COMPARISONS = [
    Comparison("http_reserve", "noop", {64: 0.40, 256: 0.50}),
    Comparison("http_reserve", "row_lock", {64: 8.0}),
    Comparison("engine", "raw_insert"),
    Comparison("mirror_hung", "mirrored", {64: 0.90}),
    Comparison("mirrored", "unfollowed"),
    Comparison("projected", "unfollowed", {64: 0.70}),
]


def main_runs(stage: Stage, connections: Sequence[int]) -> list[Run]:
    """Single reservations from one hot sequence, between their limit and their peer."""
    ledger, peer = stage.ledger_and_peer()
    return [
        run
        for each in connections
        for run in (
            ledger.run("noop", each, NOOP, workload.HOT, numbers=0),
            ledger.run("http_reserve", each, RESERVE, workload.HOT),
            peer.run("row_lock", each, ROW_LOCK, workload.HOT),
        )
    ]


def more_runs(stage: Stage) -> list[Run]:
    """Other uses, on other ledgers. A row of `raw_insert` is an event, and its latency that of a transaction."""
    ledger = stage.one_process()
    engine = stage.engine()
    return [
        ledger.run("reserve_confirm", USUAL, RESERVE, workload.HOT, confirm=True),
        ledger.run("blocks_of_1000", FEW, RESERVE, workload.BLOCKS, numbers=workload.BLOCK),
        ledger.run("hundred_sequences", USUAL, RESERVE, workload.MANY),
        stage.two_processes().run("two_processes", USUAL, RESERVE, workload.HOT),
        stage.sqlite().run("sqlite", USUAL, RESERVE, workload.HOT),
        Run("engine", CONNECTIONS, engine.execute),
        Run("raw_insert", CONNECTIONS, engine.insert),
        *follower_runs(stage),
    ]


def follower_runs(stage: Stage) -> list[Run]:
    """Single reservations while nothing follows the log, a mirror does, a mirror that hangs, or the projections."""
    projected, (mirrored, redis) = stage.projected(), stage.mirrored()
    mirrors = mirrored.run("mirrored", USUAL, RESERVE, workload.HOT)
    projects = projected.run("projected", USUAL, RESERVE, workload.HOT)
    return [
        stage.one_process().run("unfollowed", USUAL, RESERVE, workload.HOT),
        mirrored.followed(mirrors, "mirrored"),
        mirrored.hung(redis, mirrors, "mirror_hung"),
        projected.followed(projects, "projected"),
    ]
