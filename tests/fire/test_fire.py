"""Real processes on real databases, killed, stalled and cut off under load: nothing acknowledged is lost or doubled.

What is asserted are invariants and outcomes, not timings. The load keeps record of every answer, and the log must
explain them all (`audit.py`).

Most take seconds: they wait for deadlines (the shortest that a service takes is two seconds), for reservations of one
second to expire, for servers to come back, or hold a COMMIT for longer than the service waits for it.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import httpx
import orjson
import pytest

from tests.fire.audit import Log, check
from tests.fire.load import ANSWER_SECONDS, NEVER, Load
from tests.fire.place import Place
from tests.fire.service import IMPATIENT_MS, Serve, Service
from tests.servers import HOST, MariaDB

KILLS = 2
SWEEP_SECONDS = 15.0
RESERVATIONS = "/v1/reservations"


def a_moment() -> None:
    """Any moment of a batch: they last a few milliseconds."""
    time.sleep(random.uniform(0, 0.1))


def statuses(load: Load) -> set[int]:
    return {attempt.status for attempt in load.attempts}


def faults(load: Load) -> set[str]:
    return {attempt.answer["title"] for attempt in load.attempts if attempt.status >= 500}


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SWEEP_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SWEEP_SECONDS:g} s: {what}"
        time.sleep(0.1)


# The service dies


def test_a_killed_service_loses_nothing(place: Place, serve: Serve) -> None:
    service = serve(place)
    with Load([service.url]) as load:
        for _ in range(KILLS):
            load.progress()
            a_moment()
            service.kill()
            service.start()
        load.progress()
        load.end()
        load.replay()
    check(place.url, load)


@pytest.mark.parametrize("busy_seconds", [0.0, 1.0])
def test_sigterm_finishes_what_was_accepted(place: Place, serve: Serve, busy_seconds: float) -> None:
    service = serve(place)
    with Load([service.url]) as load:
        load.progress()
        with place.held(busy_seconds):
            a_moment()
            assert service.end() == 0
        service.start()
        load.progress()
        load.end()
    log = check(place.url, load)
    assert faults(load) <= {"SHUTTING_DOWN"}
    unanswered = [attempt for attempt in load.attempts if attempt.status == 0]
    assert not [attempt for attempt in unanswered if log.by_request[attempt.id]], "done, but not answered"


# The database dies, or hangs


def test_a_killed_database_loses_nothing(on_mariadb: Place, mariadb: MariaDB, serve: Serve) -> None:
    service = serve(on_mariadb)
    outages = []
    with Load([service.url]) as load:
        for _ in range(KILLS):
            load.progress()
            a_moment()
            with mariadb.killed():
                outages.append(time.monotonic())
                time.sleep(0.5)
        load.progress()
        load.end()
    check(on_mariadb.url, load)
    assert statuses(load) <= {200, 201, 503, 504}
    for outage in outages:
        outlived = [each for each in load.acknowledged() if each.began < outage < each.ended]
        assert outlived, "no request that began before the outage was acknowledged after it"


def test_a_service_waits_for_its_database(on_mariadb: Place, mariadb: MariaDB, serve: Serve) -> None:
    service = serve(on_mariadb, lock_timeout_ms=IMPATIENT_MS)
    with Load([service.url]) as load:
        load.progress()
        with mariadb.killed():
            wait_until(lambda: service.get("/health/ready")[0] == 503, "the service says that it cannot number")
            wait_until(lambda: 503 in statuses(load), "requests are refused")
            assert service.get("/health/live")[0] == 200
        load.progress()
        load.end()
    check(on_mariadb.url, load)
    assert statuses(load) <= {200, 201, 503, 504}
    assert service.get("/health/ready")[0] == 200


def test_a_hanging_database_is_not_waited_for(on_mariadb: Place, mariadb: MariaDB, serve: Serve) -> None:
    service = serve(on_mariadb, lock_timeout_ms=IMPATIENT_MS)
    with Load([service.url]) as load:
        load.progress()
        a_moment()
        with mariadb.paused():
            wait_until(lambda: 503 in statuses(load), "requests are refused")
        load.progress()
        load.end()
    check(on_mariadb.url, load)
    assert statuses(load) <= {200, 201, 503, 504}


def test_a_commit_that_was_lost_is_done_again(on_mariadb: Place, mariadb: MariaDB, serve: Serve) -> None:
    """COMMIT hangs until the service gives up waiting, and ends with the database: nothing may have been answered."""
    service = serve(on_mariadb, lock_timeout_ms=IMPATIENT_MS)
    with Load([service.url]) as load:
        load.progress()
        with on_mariadb.held(IMPATIENT_MS / 1000 + 2):
            wait_until(lambda: "in doubt" in service.log.read_text(), "the service gives up waiting for COMMIT")
            with mariadb.killed():
                pass
        load.progress()
        load.end()
    check(on_mariadb.url, load)
    assert statuses(load) <= {200, 201, 503, 504}


def test_a_commit_that_happened_unheard_is_found(on_mariadb: Place, serve: Serve) -> None:
    """The process is stopped while COMMIT hangs; when it goes on, the answer has come, and the time to wait is over."""
    service = serve(on_mariadb, lock_timeout_ms=IMPATIENT_MS)
    with Load([service.url]) as load:
        load.progress()
        with on_mariadb.held(1.0):
            service.pause()
        time.sleep(IMPATIENT_MS / 1000)
        service.resume()
        load.progress()
        load.end()
    check(on_mariadb.url, load)
    assert statuses(load) <= {200, 201, 503, 504}


# Clients vanish


def test_clients_that_vanish_disturb_nobody(place: Place, serve: Serve) -> None:
    service = serve(place)
    keys = [f"VANISHED-{index}" for index in range(60)]
    with Load([service.url], clients=8) as load, ExitStack() as kept:
        for index, key in enumerate(keys):
            (close_after_sending, reset_after_sending, close_within_the_body)[index % 3](service, key)
        for _ in range(20):
            for connection in (never_read(service), never_finish(service)):
                kept.callback(connection.close)
        load.progress()
        assert service.get("/health/ready")[0] == 200
        load.end()
    for key in keys:  # they come back, and ask again
        assert service.ask("POST", RESERVATIONS, BODY, idempotency_key=key)[0] == 201
    effects = Counter(entry.envelope.idempotency_key for entry in check(place.url, load).entries)
    assert {effects[key] for key in keys} == {1}
    assert statuses(load) == {200, 201}


BODY = orjson.dumps({"series": NEVER, "ttl_seconds": 1})


def raw_request(key: str = "") -> bytes:
    keyed = f"Idempotency-Key: {key}\r\n" if key else ""
    head = f"POST {RESERVATIONS} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n{keyed}\r\n"
    return head.encode() + BODY


def send_raw(service: Service, data: bytes) -> socket.socket:
    connection = socket.create_connection((HOST, service.port), timeout=ANSWER_SECONDS)
    connection.sendall(data)
    return connection


def close_after_sending(service: Service, key: str) -> None:
    send_raw(service, raw_request(key)).close()


def reset_after_sending(service: Service, key: str) -> None:
    connection = send_raw(service, raw_request(key))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def close_within_the_body(service: Service, key: str) -> None:
    send_raw(service, raw_request(key)[:-5]).close()


def never_finish(service: Service) -> socket.socket:
    return send_raw(service, raw_request()[:-5])


def never_read(service: Service) -> socket.socket:
    return send_raw(service, 20 * raw_request())


# Several processes


def test_two_processes_share_a_ledger(place: Place, serve: Serve) -> None:
    first, second = serve(place), serve(place)
    asyncio.run(what_one_did_the_other_knows([first.url, second.url]))
    with Load([first.url, second.url]) as load:
        load.progress()
        a_moment()
        first.kill()
        load.progress()
        first.start()
        load.progress()
        load.end()
    check(place.url, load)
    assert {attempt.url for attempt in load.acknowledged()} == {first.url, second.url}


async def what_one_did_the_other_knows(urls: list[str]) -> None:
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as client:
        for index in range(10):
            here, there = random.sample(urls, 2)
            await same_key_at_once(client, urls, f"K{index}")
            reserved = await client.post(here + RESERVATIONS, json={"series": NEVER})
            path = f"{RESERVATIONS}/{reserved.json()['token']}"
            assert (await client.post(f"{there}{path}/confirm", json={})).status_code == 200
            assert (await client.post(f"{here}{path}/cancel", json={})).json()["title"] == "RESERVATION_CLOSED"


async def same_key_at_once(client: httpx.AsyncClient, urls: list[str], key: str) -> None:
    send = partial(client.post, json={"series": NEVER}, headers={"Idempotency-Key": key})
    answers = await asyncio.gather(*(send(url + RESERVATIONS) for url in 2 * urls))
    assert {(each.status_code, each.content) for each in answers} == {(201, answers[0].content)}
    assert sum("Idempotent-Replayed" not in each.headers for each in answers) == 1


# Reservations expire


def test_reservations_expire_by_themselves(place: Place, serve: Serve) -> None:
    """Also those of a process that is no more: the first sweep is another process's, the second a restarted one's."""
    first, second = serve(place), serve(place)
    left = [reserve(first, ttl_seconds=1) for _ in range(3)]
    first.kill()
    wait_until(lambda: all_expired(place, left), "another process sweeps")
    left += [reserve(second, ttl_seconds=1) for _ in range(3)]
    second.kill()
    first.start()
    wait_until(lambda: all_expired(place, left), "a restarted process sweeps")
    check(place.url)


def reserve(service: Service, **fields: object) -> str:
    status, answer = service.post(RESERVATIONS, {"series": NEVER} | fields)
    assert status == 201, answer
    return str(answer["token"])


def all_expired(place: Place, tokens: list[str]) -> bool:
    log = Log(place.url)
    return all(log.types_of(token) == ["NumbersReserved", "ReservationExpired"] for token in tokens)


async def test_confirming_against_expiry_has_one_winner(place: Place, serve: Serve) -> None:
    urls = [serve(place).url, serve(place).url]
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as client:
        answers = dict(await asyncio.gather(*(confirm_at_the_last_moment(client, urls) for _ in range(40))))
    ends = {200: "NumbersConfirmed", 410: "ReservationExpired"}
    expected = {token: ["NumbersReserved", ends[status]] for token, status in answers.items()}

    def is_so() -> bool:
        log = Log(place.url)
        return {token: log.types_of(token) for token in expected} == expected

    await asyncio.to_thread(wait_until, is_so, "each reservation ended as its client was told")
    await asyncio.to_thread(check, place.url)


async def confirm_at_the_last_moment(client: httpx.AsyncClient, urls: list[str]) -> tuple[str, int]:
    reserved = await client.post(random.choice(urls) + RESERVATIONS, json={"series": NEVER, "ttl_seconds": 1})
    token = reserved.json()["token"]
    await asyncio.sleep(random.uniform(0.9, 1.02))
    confirmed = await client.post(f"{random.choice(urls)}{RESERVATIONS}/{token}/confirm", json={})
    return token, confirmed.status_code


# A process stalls while it holds the lock


def test_a_stalled_holder_of_the_lock_loses_it(on_mariadb: Place, serve: Serve) -> None:
    # The holder's own setting says how long it may be silent; it is shorter than the other's patience.
    stalled, other = serve(on_mariadb, lock_timeout_ms=IMPATIENT_MS), serve(on_mariadb)
    pause_idle(other, on_mariadb)
    with Load([stalled.url], clients=8) as first:
        first.progress()
        stall_with_the_lock(stalled, on_mariadb)
        other.resume()
        try:
            with Load([other.url], clients=8, seed=1) as second:
                second.progress()
                second.end()
        finally:
            stalled.resume()
        first.progress()
        first.end()
    check(on_mariadb.url, first, second)
    assert statuses(second) <= {200, 201}


def test_a_stalled_holder_of_the_file_lock_is_not_waited_for(on_sqlite: Place, serve: Serve) -> None:
    """SQLite cannot take the lock from a process that lives; the other refuses meanwhile, and then goes on."""
    stalled, other = serve(on_sqlite), serve(on_sqlite, lock_timeout_ms=IMPATIENT_MS)
    pause_idle(other, on_sqlite)
    with Load([stalled.url], clients=8) as first:
        first.progress()
        stall_with_the_lock(stalled, on_sqlite)
        other.resume()
        with Load([other.url], clients=8, seed=1) as second:
            try:
                wait_until(lambda: bool(faults(second)), "the other refuses")
            finally:
                stalled.resume()
            for load in (first, second):
                load.progress()
                load.end()
    check(on_sqlite.url, first, second)
    assert faults(second) <= {"LOCK_TIMEOUT", "DATABASE_UNAVAILABLE"}


def stall_with_the_lock(service: Service, place: Place) -> None:
    """Stop a busy process in the middle of a transaction; all others are paused, or the lock may be theirs."""
    for _ in range(200):
        service.pause()
        time.sleep(0.05)  # for the statement that the server may be busy with
        if place.is_locked():
            return
        service.resume()
        a_moment()
    pytest.fail("the process was never stopped in a transaction")


# The database is no longer the one that was written to


def test_an_older_database_in_its_place_stops_writing(place: Place, serve: Serve) -> None:
    service = serve(place)
    tokens = [reserve(service) for _ in range(5)]
    place.rewind(by=2)
    wait_until(lambda: is_stopped(service), "the service refuses")
    wait_until(lambda: Log(place.url).head.stopped is not None, "the head is marked")
    assert is_stopped(serve(place, until="/health/live"))
    log = check(place.url)
    assert "older copy" in str(log.head.stopped)
    assert [token in log.by_token for token in tokens] == [True, True, True, False, False]


def test_a_forked_database_stops_writing(place: Place, serve: Serve) -> None:
    """The older copy has grown again, in another way, before the process that knew the first history looks."""
    service = serve(place)
    for _ in range(3):
        reserve(service)
    pause_idle(service, place)
    place.rewind(by=2)
    other = serve(place)
    for _ in range(4):
        reserve(other)
    service.resume()
    wait_until(lambda: is_stopped(service), "the process that knows better refuses")
    wait_until(lambda: is_stopped(other), "the other hears of it")
    assert Log(place.url).head.stopped is not None
    check(place.url)


def pause_idle(service: Service, place: Place) -> None:
    """Pause a service that holds no lock: its projector may be in the middle of a transaction."""
    service.pause()
    while place.is_locked():
        service.resume()
        time.sleep(0.01)
        service.pause()


def is_stopped(service: Service) -> bool:
    """Whether the service refuses to number; it says so, too."""
    status, answer = service.post(RESERVATIONS, {"series": NEVER})
    if status == 201:
        return False
    assert (status, answer["title"]) == (503, "LEDGER_STOPPED")
    status, ready = service.get("/health/ready")
    assert (status, ready["title"]) == (503, "LEDGER_STOPPED")
    return True
