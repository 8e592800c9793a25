"""Who is counted as there, of all that is seen of a ledger's database."""

import pytest

from ledger.stores.holders import UNSEEN
from ledger.stores.processes import Connection, Process
from numbering.census import LATELY_SECONDS, Census, counted

NOW = 1_800_000_000_000_000
HERE = "here"


def process(pid: int = 1, *connections: int, host: str = HERE, format: int = 2, ago: float = 0) -> Process:
    seen = NOW - round(ago * 1_000_000)
    return Process(f"{host}-{pid}", host, pid, "0.1.0", format, connections, seen, seen)


def connection(id: int) -> Connection:
    return Connection(id, "ledger", f"10.0.0.3:{40000 + id}")


def census(
    processes: list[Process], connections: list[Connection] | None = None, pids: set[int] | None = None
) -> Census:
    return counted(processes, NOW, connections or [], pids or set(), HERE)


def test_nobody() -> None:
    assert census([]) == Census([], [])


def test_who_was_seen_lately_is_there() -> None:
    here, gone = process(1, ago=LATELY_SECONDS - 1), process(2, ago=LATELY_SECONDS + 1)
    assert census([here, gone]).processes == [here]


def test_who_hangs_is_there_as_long_as_its_connection_is() -> None:
    hanging = process(1, 7, 8, ago=1000)
    assert census([hanging], [connection(8)]) == Census([hanging], [])
    assert census([hanging], [connection(9)]).processes == []


def test_who_hangs_is_there_as_long_as_it_has_the_file_open() -> None:
    hanging = process(4711, ago=1000)
    assert census([hanging], pids={4711}) == Census([hanging], [])


def test_a_connection_that_nobody_claims_is_a_stranger() -> None:
    found = census([process(1, 7)], [connection(7), connection(8)])
    assert found.strangers == ["connection 8 of ledger from 10.0.0.3:40008"]


def test_a_process_that_has_the_file_open_and_no_row_is_a_stranger() -> None:
    found = census([process(1)], pids={1, 2})
    assert found.strangers == ["process 2 on here, which has the file open"]


def test_the_same_number_on_another_host_is_another_process() -> None:
    found = census([process(2, host="there")], pids={2})
    assert found.strangers == ["process 2 on here, which has the file open"]


def test_one_in_another_container_cannot_be_told_from_others() -> None:
    (stranger,) = census([process(1, host="there")], pids={UNSEEN}).strangers
    assert "cannot be seen from here" in stranger


@pytest.mark.parametrize(("format", "older"), [(1, True), (2, False), (3, False)])
def test_who_knows_an_earlier_format_only(format: int, older: bool) -> None:
    assert bool(census([process(format=format)]).older_than(2)) == older
