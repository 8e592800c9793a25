"""The benchmark runs, and what it prints has the promised shape. Nothing here looks at a speed.

They take long, shortened as they are: wrk measures whole seconds, servers are begun, and a million numbers
are held in memory.
"""

import json
import sys

import pytest
from click.testing import CliRunner

from benchmarks import bench as benchmark
from benchmarks import domain, replay, restoring, verification
from benchmarks.bench import Plan
from numbering.cli import main

RUN_FIELDS = {
    "name",
    "connections",
    "per_second",
    "p50_ms",
    "p99_ms",
    "errors",
    "rounds",
    "rows_before",
    "rows_after",
    "cpu_percent",
    "lag",
    "lag_seconds",
}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """As short as wrk can be; few connections, so that a busy machine refuses nobody."""
    monkeypatch.setattr(benchmark, "QUICK", Plan(connections=(4,), more=False, seconds=1, warm_up_seconds=0, rounds=1))


@pytest.mark.usefixtures("short")
def test_one_json_object_says_everything() -> None:
    ended = CliRunner().invoke(main, ["bench", "--quick", "--json"])
    assert ended.exit_code == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert {"machine", "settings", "runs", "ratios", "checks"} == said.keys()
    assert [run["name"] for run in said["runs"]] == ["noop", "http_reserve", "row_lock"]
    for run in said["runs"]:
        assert run.keys() == RUN_FIELDS
        assert run["connections"] == 4
        assert run["errors"] == 0
        assert 0 < run["p50_ms"] <= run["p99_ms"]
    noop, reserve, row_lock = said["runs"]
    assert noop["rows_before"] == noop["rows_after"]
    assert reserve["rows_before"] < reserve["rows_after"]
    assert row_lock["rows_before"] < row_lock["rows_after"]
    assert said["ratios"].keys() == {"http_reserve/noop", "http_reserve/row_lock"}
    assert set(said["checks"].values()) == {None}


def test_a_missing_program_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "PROGRAMS", ("wrk-of-nobody",))
    ended = CliRunner().invoke(main, ["bench"])
    assert ended.exit_code == 3
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        "numbering bench: wrk-of-nobody not installed; run as root: scripts/_install-servers"
    ]


def test_outside_a_clone_it_says_where_to_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "benchmarks.bench", None)
    ended = CliRunner().invoke(main, ["bench"])
    assert ended.exit_code == 2
    assert "from a clone" in ended.stderr


def test_the_domain_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, small in {"OPEN_RESERVATIONS": 10, "SEQUENCES": 10, "COMMANDS": 30, "ROUNDS": 1, "SERIES": 2}.items():
        monkeypatch.setattr(domain, name, small)
    domain.main()
    said = capsys.readouterr().out
    assert "µs a command" in said
    assert "1,000,000 confirmed numbers" in said
    assert "told apart at the end" in said


def test_a_verification_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    verification.main(events=2_000, rounds=1)
    said = capsys.readouterr().out
    assert "NumberVoided" in said
    assert "limit of the whole" in said


def test_the_replay_benchmark_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(replay, "ROUNDS", 1)
    monkeypatch.setattr(sys, "argv", ["replay", "2000"])
    replay.main()
    said = capsys.readouterr().out
    assert "2,000 events in 1 segments" in said
    assert "chain, all cores" in said
    assert "200 events " in said


def test_a_restore_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    restoring.main(events=500)
    said = capsys.readouterr().out
    assert "restored, MariaDB        500 events" in said
    assert "restored, SQLite" in said
