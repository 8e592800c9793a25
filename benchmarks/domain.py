"""What the pure domain costs: `python -m benchmarks.domain`.

Prints, as medians of interleaved rounds: decide and evolve for one command on a hot sequence, in an empty ledger and
in a full one; the memory of a sequence with ten confirmed numbers and with a million; and the proof of one more
series in a ledger of 500. Every figure stands beside the one it is compared with, measured in the same run.
"""

import ctypes
import gc
import platform
import statistics
import time
import tracemalloc
from functools import cache

from ledger.domain.calendar import Reset
from ledger.domain.commands import Cancel, Confirm, Decidable, DefineSeries, Issue, Reserve
from ledger.domain.decide import decide
from ledger.domain.evolve import evolve
from ledger.domain.proof import prove
from ledger.domain.rejection import Rejection
from ledger.domain.sequence import Sequence, ValueState
from ledger.domain.series import Attribute, Definition, Dimension, Reuse, Series
from ledger.domain.state import State

NOW = 1_795_000_000_000_000
TTL = 86_400
OPEN_RESERVATIONS = 10_000
SEQUENCES = 100_000
COMMANDS = 3_000  # of a round: a third reserves, a third confirms, a third cancels
ROUNDS = 15
LIMIT_MICROSECONDS = 15
LIMIT_RATIO = 1.5
BLOCK = 10_000
SERIES = 500
LARGE_LIST = 3_000


def main() -> None:
    print(f"{platform.platform()}, Python {platform.python_version()}")
    commands()
    memory()
    proofs()


# Commands


def commands() -> None:
    ledgers = {"empty": _ledger(), "full": _full_ledger()}
    spent: dict[str, list[float]] = {name: [] for name in ledgers}
    for number in range(ROUNDS):
        for name, state in ledgers.items():
            spent[name].append(_round(state, f"{name}{number}"))
    empty, full = (statistics.median(spent[name]) * 1e6 for name in ledgers)
    print(f"decide and evolve, median of {ROUNDS} rounds of {COMMANDS} commands (reserve, confirm, cancel):")
    print(f"  empty ledger                                  {empty:6.2f} µs a command")
    print(f"  {OPEN_RESERVATIONS:,} open reservations, {SEQUENCES:,} sequences {full:6.2f} µs a command")
    print(f"  limit {LIMIT_MICROSECONDS} µs; ratio {full / empty:.2f}, limit {LIMIT_RATIO}")


def _ledger() -> State:
    definition = Definition(
        template="{FROM}-{SEQ:9}-{YYYY}",
        dimensions={"FROM": Dimension(chars="A-Z0-9", min=1, max=6)},
        reset=Reset.YEARLY,
        reuse=Reuse.GAPLESS,
        reservation_max_lifetime_seconds=TTL,
    )
    state = State()
    _done(state, DefineSeries((Series.define("HOT", definition),)))
    return state


def _full_ledger() -> State:
    state = _ledger()
    for number in range(SEQUENCES):
        _done(state, Issue(_reserve(f"other{number}", f"{number:06d}"), "document"))
    for number in range(OPEN_RESERVATIONS):
        _done(state, _reserve(f"open{number}"))
    return state


def _round(state: State, name: str) -> float:
    """Give the seconds of one command, batched as the writer does, on a branch that is merged."""
    tokens = [f"{name}-{number}" for number in range(COMMANDS // 3 * 2)]
    kept, let_go = tokens[::2], tokens[1::2]
    asked: list[Decidable] = [*map(_reserve, tokens), *(Confirm(each, "D") for each in kept), *map(Cancel, let_go)]
    gc.collect()
    began = time.perf_counter()
    for first in range(0, len(asked), 64):
        branch = state.branch()
        for command in asked[first : first + 64]:
            _done(branch, command)
        branch.merge()
    return (time.perf_counter() - began) / len(asked)


def _reserve(token: str, key: str = "HOT") -> Reserve:
    return Reserve("HOT", token, {"FROM": key}, ttl_seconds=TTL)


def _done(state: State, command: Decidable) -> None:
    events = decide(state, command, NOW)
    if isinstance(events, Rejection):
        raise events
    for event in events:
        evolve(state, event, NOW)


# Memory


def memory() -> None:
    ten, million = _bytes(10), _bytes(1_000_000)
    print("memory of a sequence without gaps, counted by the allocators of Python and of C:")
    print(f"  10 confirmed numbers                          {ten:6,} bytes")
    print(f"  1,000,000 confirmed numbers                   {million:6,} bytes; ratio {million / ten:.2f}")


def _bytes(count: int) -> int:
    """Give the memory of one sequence: the mean of a hundred."""
    tracemalloc.start()
    made = [_confirmed(count)]
    gc.collect()
    before = _in_use()
    made += [_confirmed(count) for _ in range(100)]
    took = _in_use() - before
    tracemalloc.stop()
    return took // 100


def _confirmed(count: int) -> Sequence:
    sequence = Sequence("S:-", "S", (), "-", 1)
    for first in range(1, count + 1, BLOCK):
        block = ((first, min(first + BLOCK - 1, count)),)
        sequence.reserve(block, NOW)
        sequence.settle(block, ValueState.CONFIRMED)
    return sequence


class _MallInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc's malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def _in_use() -> int:
    """Count the bytes that are in use: of Python's own blocks, and of what malloc gave out."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _MallInfo
    of_c = mallinfo2()
    return int(of_c.uordblks + of_c.hblkhd) + tracemalloc.get_traced_memory()[0]


# Proofs


def proofs() -> None:
    print(f"the proof of one more series of ten tokens beside {SERIES}, median of 5:")
    for what, make in (
        ("told apart in the middle", _apart_in_the_middle),
        ("told apart at the end", _apart_at_the_end),
        (f"with two lists of {LARGE_LIST:,} values", _with_large_lists),
    ):
        seconds = []
        for again in range(5):
            ledger = [make(again * (SERIES + 1) + number) for number in range(SERIES + 1)]
            began = time.perf_counter()
            prove(ledger[-1], ledger[:-1])
            seconds.append(time.perf_counter() - began)
        print(f"  {what:45} {statistics.median(seconds):6.3f} s, limit 1 s")


ORGANIZATIONS = Dimension(values=("กทท.", "สคฉ.3", "สคฉ.3-01", "สคฉ.3-02", "TEAM", "คคง.", "EN", "CAR", "ผรม.1"))


def _apart_in_the_middle(number: int) -> Series:
    return _series(number, "{PROJECT}-{CONTRACT}-{FROM}-{TO}-{TYPE}-{SUB}-{SEQ:4}-{YYYY}-{MM}-{REV}")


def _apart_at_the_end(number: int) -> Series:
    return _series(number, "{PROJECT}-{CONTRACT}-{FROM}-{TO}-{SUB}-{SEQ:4}-{YYYY}-{MM}-{REV}-{TYPE}")


def _with_large_lists(number: int) -> Series:
    codes = Dimension(values=_codes())
    return Series.define(
        f"L{number}",
        Definition(template=f"L{number:04d}-{{FROM}}/{{TO}}-{{SEQ:4}}", dimensions={"FROM": codes, "TO": codes}),
    )


@cache
def _codes() -> tuple[str, ...]:
    return tuple(f"{number * 7919 % 99991:05d}"[: 2 + number % 4] + f"-{number}" for number in range(LARGE_LIST))


def _series(number: int, template: str) -> Series:
    definition = Definition(
        template=template,
        dimensions={
            "PROJECT": Dimension(chars="A-Z0-9", min=2, max=6),
            "CONTRACT": Dimension(chars="A-Z0-9-", min=1, max=4),
            "FROM": ORGANIZATIONS,
            "TO": ORGANIZATIONS,
            "TYPE": Dimension(values=(f"T{number:04d}", f"U{number:04d}-A")),
            "SUB": Dimension(chars="A-Z", min=1, max=3),
        },
        attributes={"REV": Attribute(Dimension(chars="A-Z", min=1, max=1), "A")},
        reset=Reset.MONTHLY,
    )
    return Series.define(f"S{number}", definition)


if __name__ == "__main__":
    main()
