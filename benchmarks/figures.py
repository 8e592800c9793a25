"""What is measured: one figure for each run in each round, and what many rounds say together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

__all__ = ["Figure", "Result", "Run"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One run in one round. `operations` are those that were acknowledged, in `seconds`; latencies in milliseconds.

    `errors` counts answers other than 2xx, broken connections and timeouts. `cpu_percent` tells for each process
    its share of one core. `lag` is how many events that which follows the log was behind at the end of the load, and
    `lag_seconds` how long it then took to have them all.
    """

    operations: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int = 0
    cpu_percent: dict[str, int] = field(default_factory=dict)
    rows_before: int = 0
    rows_after: int = 0
    lag: int = 0
    lag_seconds: float = 0.0

    def with_lag(self, lag: int, seconds: float) -> "Figure":
        return replace(self, lag=lag, lag_seconds=seconds)

    def with_rows(self, before: int, after: int) -> "Figure":
        return replace(self, rows_before=before, rows_after=after)

    @property
    def per_second(self) -> float:
        return self.operations / self.seconds


@dataclass(frozen=True, slots=True)
class Run:
    """Something to measure: `measure` takes seconds. An operation stands for `numbers` numbers."""

    name: str
    connections: int
    measure: Callable[[int], Figure]
    numbers: int = 1


@dataclass(frozen=True, slots=True)
class Result:
    """A run and its figures, one a round."""

    run: Run
    figures: Sequence[Figure]

    def median(self, of: Callable[[Figure], float]) -> float:
        return median(map(of, self.figures))

    @property
    def errors(self) -> int:
        return sum(figure.errors for figure in self.figures)

    def ratio(self, to: "Result") -> float:
        """The median of the rounds' ratios: the two runs of a round met the same disk and the same neighbours."""
        return median(
            ours.per_second / theirs.per_second for ours, theirs in zip(self.figures, to.figures, strict=True)
        )
