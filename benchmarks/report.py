"""What a benchmark says: one object for programs, a table for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import Result
from benchmarks.runs import COMPARISONS, Comparison

__all__ = ["Report"]

HEADER = ("run", "connections", "a second", "p50 ms", "p99 ms", "errors", "rows", "CPU, % of a core")
WIDTHS = (17, 11, 9, 8, 8, 6, 19, 16)
FULL_CORE_PERCENT = 90  # wrk above this was itself what was measured


@dataclass(frozen=True, slots=True)
class Report:
    """`flaws` says for each place what is wrong with what was written there, or None."""

    machine: Mapping[str, object]
    settings: Mapping[str, object]
    results: Sequence[Result]
    flaws: Mapping[str, str | None]

    @property
    def is_broken(self) -> bool:
        return any(self.flaws.values())

    def data(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "settings": self.settings,
            "runs": [_run(result) for result in self.results],
            "ratios": {comparison.name: self._ratios(comparison) for comparison in self._comparisons()},
            "checks": self.flaws,
        }

    def text(self) -> str:
        parts = [_facts(self.machine), _facts(self.settings), self._table(), self._comparison_lines(), self._checks()]
        return "\n\n".join("\n".join(lines) for lines in parts)

    def _comparisons(self) -> list[Comparison]:
        return [comparison for comparison in COMPARISONS if comparison.ratios(self.results)]

    def _ratios(self, comparison: Comparison) -> dict[str, Any]:
        """By connections, as text because JSON's names are: the ratio and its target, if it has one."""
        return {
            str(connections): {"ratio": round(ratio, 3), "target": comparison.targets.get(connections)}
            for connections, ratio in comparison.ratios(self.results).items()
        }

    def _table(self) -> list[str]:
        lines = [_line(HEADER), *(_line(_cells(result)) for result in self.results)]
        lines += [note for result in self.results for note in _notes(result)]
        return lines

    def _comparison_lines(self) -> list[str]:
        return [
            f"{comparison.name:24} {connections:3} connections  {ratio:6.2f}{_judged(ratio, comparison, connections)}"
            for comparison in self._comparisons()
            for connections, ratio in comparison.ratios(self.results).items()
        ]

    def _checks(self) -> list[str]:
        return [f"{name}: {flaw or 'every acknowledged number is there, once'}" for name, flaw in self.flaws.items()]


def _run(result: Result) -> dict[str, Any]:
    per_second = result.median(lambda figure: figure.per_second)
    many = {"numbers_per_second": round(per_second * result.run.numbers)} if result.run.numbers > 1 else {}
    return {
        "name": result.run.name,
        "connections": result.run.connections,
        "per_second": round(per_second, 1),
        **many,
        "p50_ms": round(result.median(lambda figure: figure.p50_ms), 3),
        "p99_ms": round(result.median(lambda figure: figure.p99_ms), 3),
        "errors": result.errors,
        "rounds": [round(figure.per_second, 1) for figure in result.figures],
        "rows_before": result.figures[0].rows_before,
        "rows_after": result.figures[-1].rows_after,
        "cpu_percent": _shares(result),
        "lag": round(result.median(lambda figure: figure.lag)),
        "lag_seconds": round(result.median(lambda figure: figure.lag_seconds), 2),
    }


def _shares(result: Result) -> dict[str, int]:
    """Each process's share of one core, the median of the rounds."""

    def share(name: str) -> int:
        return round(result.median(lambda figure: figure.cpu_percent[name]))

    return {name: share(name) for name in result.figures[0].cpu_percent}


def _cells(result: Result) -> tuple[str, ...]:
    run = _run(result)
    return (
        run["name"],
        str(run["connections"]),
        f"{run['per_second']:,.0f}",
        f"{run['p50_ms']:.2f}",
        f"{run['p99_ms']:.2f}",
        str(run["errors"] or "-"),
        f"{run['rows_before']:,}–{run['rows_after']:,}",
        ", ".join(f"{name} {share}" for name, share in run["cpu_percent"].items()),
    )


def _line(cells: Sequence[str]) -> str:
    first, *middle, last = (cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))
    return "  ".join([first.strip().ljust(WIDTHS[0]), *middle, last.strip()])


def _notes(result: Result) -> list[str]:
    """What a reader must know before believing a line of the table."""
    run, notes = _run(result), []
    if "numbers_per_second" in run:
        notes.append(f"{run['name']}: {run['numbers_per_second']:,} numbers a second")
    if result.errors:
        notes.append(f"{run['name']} at {run['connections']} connections had {result.errors} ERRORS: its speed is void")
    lag = result.median(lambda figure: figure.lag)
    if lag:
        seconds = result.median(lambda figure: figure.lag_seconds)
        notes.append(f"{run['name']}: {lag:,.0f} events behind at the end of the load, and none {seconds:.2f} s later")
    if run["cpu_percent"].get("wrk", 0) > FULL_CORE_PERCENT:
        notes.append(f"{run['name']} at {run['connections']} connections: wrk was the limit")
    return notes


def _judged(ratio: float, comparison: Comparison, connections: int) -> str:
    target = comparison.targets.get(connections)
    return "" if target is None else f"  target {target:.2f}: {'reached' if ratio >= target else 'MISSED'}"


def _facts(facts: Mapping[str, object], indent: str = "") -> list[str]:
    lines = []
    for name, value in facts.items():
        nested = _facts(value, f"{name}.") if isinstance(value, Mapping) else [f"{indent}{name}: {value}"]
        lines += nested
    return lines
