"""The benchmark from start to end: rounds of interleaved runs, so that a noisy disk or neighbour meets all alike."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure, Result, Run
from benchmarks.machine import machine, settings_of
from benchmarks.report import Report
from benchmarks.runs import main_runs, more_runs
from benchmarks.stage import Stage
from tests.servers import ServerError

__all__ = ["FULL", "QUICK", "Plan", "bench", "main", "missing_programs"]

FINDING, FAULT = 1, 3  # exit codes
PROGRAMS = ("wrk", "mariadbd", "mariadb-install-db", "mariadb", "redis-server", "redis-cli")
SERVER_PATHS = ":/usr/local/sbin:/usr/sbin"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. wrk knows whole seconds only."""

    connections: Sequence[int]
    more: bool
    seconds: int = 4
    warm_up_seconds: int = 1
    rounds: int = 3


QUICK = Plan(connections=(64,), more=False)
FULL = Plan(connections=(1, 16, 64, 256), more=True)


def main(*, quick: bool, as_json: bool) -> int:
    """Measure and print; gives the exit code. SIGTERM ends it as Ctrl-C does, with nothing left behind."""
    missing = missing_programs()
    if missing:
        _say(f"{', '.join(missing)} not installed; run as root: scripts/_install-servers")
        return FAULT
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        report = bench(QUICK if quick else FULL)
    except ServerError as error:
        _say(str(error))
        return FAULT
    finally:
        signal.signal(signal.SIGTERM, before)
    print(json.dumps(report.data(), ensure_ascii=False) if as_json else report.text())
    return FINDING if report.is_broken else 0


def missing_programs() -> list[str]:
    return [name for name in PROGRAMS if shutil.which(name, path=os.environ.get("PATH", "") + SERVER_PATHS) is None]


def bench(plan: Plan) -> Report:
    """Measure all runs of a plan."""
    _say("starting MariaDB, Redis and the service")
    with Stage() as stage:
        runs = main_runs(stage, plan.connections) + (more_runs(stage) if plan.more else [])
        on = machine(stage.mariadb.directory)
        _warm_up(runs, plan)
        results = _measured(runs, plan)
        _say("checking what was written")
        return Report(on, _settings(stage, plan), results, stage.flaws())


def _warm_up(runs: Sequence[Run], plan: Plan) -> None:
    """Run everything once, unmeasured: the first seconds of a process are not like the others."""
    if plan.warm_up_seconds:
        _say("warming up")
        for run in {run.name: run for run in runs}.values():
            run.measure(plan.warm_up_seconds)


def _measured(runs: Sequence[Run], plan: Plan) -> list[Result]:
    rounds = [[_figure(run, number, plan) for run in runs] for number in range(1, plan.rounds + 1)]
    return [Result(run, figures) for run, figures in zip(runs, zip(*rounds, strict=True), strict=True)]


def _figure(run: Run, number: int, plan: Plan) -> Figure:
    figure = run.measure(plan.seconds)
    errors = f", {figure.errors} errors" if figure.errors else ""
    _say(
        f"round {number} of {plan.rounds}: {run.name:17} {run.connections:3} connections "
        f"{figure.per_second:9,.0f} a second{errors}"
    )
    return figure


def _settings(stage: Stage, plan: Plan) -> dict[str, object]:
    return {
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "warm_up_seconds": plan.warm_up_seconds,
        "mariadb": settings_of(stage.mariadb),
        "redis": "for locks not persistent, for the mirror appendfsync=always",
        "sqlite": "WAL, synchronous=FULL",
    }


def _say(what: str) -> None:
    """Tell progress, or a failure, to whoever waits."""
    print(f"numbering bench: {what}", file=sys.stderr, flush=True)
