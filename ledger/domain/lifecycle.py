"""The life of a number, as a document: `python -m ledger.domain.lifecycle` writes `docs/lifecycle.md`.

The table is not written by hand: each command is decided on a ledger that has a value in each state, and the outcome
is what stands in the table. A test holds the document equal to it.
"""

from collections.abc import Callable, Mapping
from datetime import date

from ledger.domain.calendar import MICROSECONDS, Reset
from ledger.domain.commands import (
    AdjustSequence,
    Assign,
    Cancel,
    ClosePeriod,
    Confirm,
    Decidable,
    DefineSeries,
    Expire,
    Extend,
    Fence,
    Link,
    Original,
    ReopenPeriod,
    Reserve,
    Void,
    WithOriginal,
)
from ledger.domain.decide import decide
from ledger.domain.decisions.acts import accepting
from ledger.domain.events import Event
from ledger.domain.evolve import evolve
from ledger.domain.history import ReservationHistory
from ledger.domain.register import Register
from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import ValueState
from ledger.domain.series import Definition, Reuse, Series
from ledger.domain.state import State

__all__ = ["document"]

NOW = 1_750_000_000 * MICROSECONDS  # 15 June 2025
TTL = 300
NUMBER, SEQUENCE, TOKEN, REASON = "N-001-2025", "N:2025", "token", "to see what happens"


class _Ledger:
    """A state with one series, of which value 1 is looked at."""

    def __init__(self, reuse: Reuse) -> None:
        self.state = State()
        self.now = NOW
        self.events: list[tuple[Event, int, int]] = []
        definition = Definition(template="N-{SEQ:3}-{YYYY}", reset=Reset.YEARLY, reuse=reuse)
        self.series = Series.define("N", definition)
        self.do(DefineSeries((self.series,)))

    def do(self, command: Decidable) -> list[Event]:
        events = decide(self.state, accepting(command), self.now)
        if isinstance(events, Rejection):
            raise events
        for event in events:
            evolve(self.state, event, self.now)
            self.events.append((event, len(self.events) + 1, self.now))
        return events

    def value(self) -> ValueState | None:
        sequence = self.state.sequence(SEQUENCE)
        return sequence.state_of(1) if sequence else None


# How value 1 comes to each state


def _nothing(_: _Ledger) -> None:
    pass


def _reserved(ledger: _Ledger) -> None:
    ledger.do(Reserve("N", TOKEN, {}, ttl_seconds=TTL))


def _confirmed(ledger: _Ledger) -> None:
    _reserved(ledger)
    ledger.do(Confirm(TOKEN, "D"))


def _voided(ledger: _Ledger) -> None:
    _confirmed(ledger)
    _void(ledger)


def _cancelled(ledger: _Ledger) -> None:
    _reserved(ledger)
    ledger.do(Cancel(TOKEN))


def _expired(ledger: _Ledger) -> None:
    _reserved(ledger)
    _expire(ledger)


def _skipped(ledger: _Ledger) -> None:
    ledger.do(AdjustSequence(SEQUENCE, 2, REASON))


def _pre_control(ledger: _Ledger) -> None:
    _import(ledger, "N-002-2025")


def _reserved_and_restored(ledger: _Ledger) -> None:
    _reserved(ledger)
    _restore(ledger)


def _closed(ledger: _Ledger) -> None:
    _confirmed(ledger)
    ledger.do(ClosePeriod(SEQUENCE, REASON))


def _closed_unused(ledger: _Ledger) -> None:
    ledger.do(ClosePeriod(SEQUENCE, REASON))


# What is then asked of it


def _reserve(ledger: _Ledger) -> None:
    ledger.do(Reserve("N", "another", {}, ttl_seconds=TTL))


def _of_token(command: Decidable) -> Callable[[_Ledger], None]:
    def ask(ledger: _Ledger) -> None:
        try:
            ledger.do(command)
        except Rejection as rejection:
            history = ReservationHistory.of(ledger.events)
            if rejection.code is Code.RESERVATION_NOT_FOUND and history:
                raise history.closed() from None
            raise

    return ask


def _expire(ledger: _Ledger) -> None:
    ledger.now += TTL * MICROSECONDS
    ledger.do(Expire(TOKEN))


def _assign(ledger: _Ledger) -> None:
    ledger.do(Assign(NUMBER, "D", REASON))


def _import(ledger: _Ledger, number: str = NUMBER) -> None:
    register = Register([ledger.series], ledger.now)
    register.add(1, number)
    register.drop_held(ledger.state)
    for row in register.bad():
        raise Rejection(row.code, row.detail)
    ledger.do(register.command(skip_bad=False))


def _void(ledger: _Ledger) -> None:
    original = Original(1, date(2025, 6, 15), (), "D") if ledger.value() is ValueState.CONFIRMED else None
    ledger.do(WithOriginal(Void(NUMBER, REASON, "another"), original))


def _link(ledger: _Ledger) -> None:
    original = Original(1, date(2025, 6, 15), (), "D") if ledger.value() is ValueState.CONFIRMED else None
    ledger.do(WithOriginal(Link(NUMBER, "E", REASON), original))


def _adjust(ledger: _Ledger) -> None:
    ledger.do(AdjustSequence(SEQUENCE, 5, REASON))


def _close(ledger: _Ledger) -> None:
    ledger.do(ClosePeriod(SEQUENCE, REASON))


def _reopen(ledger: _Ledger) -> None:
    ledger.do(ReopenPeriod(SEQUENCE, REASON))


def _restore(ledger: _Ledger) -> None:
    ledger.do(Fence(len(ledger.events), ledger.now, 1, REASON))


STATES: Mapping[str, tuple[Callable[[_Ledger], None], Reuse]] = {
    "(never passed)": (_nothing, Reuse.NEVER),
    "RESERVED": (_reserved, Reuse.NEVER),
    "CONFIRMED": (_confirmed, Reuse.NEVER),
    "VOIDED": (_voided, Reuse.NEVER),
    "CANCELLED": (_cancelled, Reuse.NEVER),
    "CANCELLED, `gapless`": (_cancelled, Reuse.GAPLESS),
    "EXPIRED": (_expired, Reuse.NEVER),
    "EXPIRED, `gapless`": (_expired, Reuse.GAPLESS),
    "SKIPPED": (_skipped, Reuse.NEVER),
    "SKIPPED, was RESERVED": (_reserved_and_restored, Reuse.GAPLESS),
    "PRE_CONTROL": (_pre_control, Reuse.NEVER),
    "CONFIRMED, period closed": (_closed, Reuse.NEVER),
    "(never passed), period closed": (_closed_unused, Reuse.NEVER),
}

COMMANDS: Mapping[str, Callable[[_Ledger], None]] = {
    "Reserve": _reserve,
    "Confirm": _of_token(Confirm(TOKEN, "D")),
    "Extend": _of_token(Extend(TOKEN, TTL)),
    "Cancel": _of_token(Cancel(TOKEN)),
    "(time passes)": _expire,
    "Assign": _assign,
    "Import": _import,
    "Void": _void,
    "Link": _link,
    "Adjust": _adjust,
    "Close": _close,
    "Reopen": _reopen,
    "(restore)": _restore,
}


def _cell(state: str, command: str) -> str:
    come, reuse = STATES[state]
    ledger = _Ledger(reuse)
    come(ledger)
    before = ledger.value()
    try:
        COMMANDS[command](ledger)
    except Rejection as rejection:
        return rejection.code.number
    after = ledger.value()
    return "·" if after is before or after is None else after.value


def table() -> list[str]:
    rows = [["state", *COMMANDS], ["---"] * (len(COMMANDS) + 1)]
    rows += [[state, *(_cell(state, command) for command in COMMANDS)] for state in STATES]
    return [f"| {' | '.join(row)} |" for row in rows]


def document() -> str:
    """Write `docs/lifecycle.md`."""
    return "\n".join([*_BEFORE, "", *table(), "", *_AFTER]) + "\n"


_BEFORE = """\
# The life of a number

A value is in exactly one state from the moment at which its sequence passed it.

    RESERVED -> CONFIRMED -> VOIDED            a voided number may name the one that replaces it, and that one names it
    RESERVED -> CANCELLED | EXPIRED            a gap for ever, or reissued where the series is `gapless`
    RESERVED -> SKIPPED                        ended by a restore behind which events may be lost
    SKIPPED                                    passed over by an adjustment, an assignment or a restore
    PRE_CONTROL                                a hole of an imported register, of before the ledger took over

What each command does to one value, by the state in which it finds it: the state after it, `·` where the value stays as
it is, or the code of the refusal ([errors.md](errors.md)). Made from the code by `python -m ledger.domain.lifecycle`:
every cell is a command that was decided.
""".splitlines()

_AFTER = """\
- **Reserve** takes the next value above the high water, so it does not touch one that was passed; where the series says
  `reuse = "gapless"`, it takes the lowest released value first, until the period is closed.
- **Confirm, Extend, Cancel** name the token of the reservation that held the value. Whether a reservation has expired
  is told by its `expires_at`, and a value is released only by the event that ends its reservation: so none is reissued
  while its old holder could still confirm it.
- **Assign** and **Import** take what nobody holds, or a value that was never passed; what they pass over is SKIPPED, or
  PRE_CONTROL when an import begins the sequence.
- **Void** takes a confirmed number out of use, for ever, with a reason of ten characters or more. With `replace` the
  next number of the same key goes to the same document, in the same command.
- **Link** links a confirmed number to its document, or to another one, with a reason. It moves no value, so it is also
  allowed in a closed period, in an earlier era and in a retired series.
- **Close** is refused while reservations are open. It freezes the accounting: counts and ranges by state. Then only
  Void and Link are allowed, and they do not change the frozen figures.
- **Reopen** lets a closed period go on that had passed no value, and that no restore closed.
- A **restore** behind which events may be lost ends with a fence. Every sequence passes over a margin of values, which
  may be numbers of lost events, or is closed where that would leave nothing; a sequence that begins later, for a period
  that may have been used before, passes over them then. What was released is not given out again, and what was reserved
  is SKIPPED, for it may have been confirmed: a document that bears such a number can be assigned it.

`numbering gaps SEQUENCE --all`, or `GET /v1/sequences/{id}/gaps`, accounts for every value from the start to the high
water: its state, and the event, actor, time and reason that put it there. `numbering show NUMBER`, or
`GET /v1/numbers/{number}`, tells the history of one number.
""".splitlines()


if __name__ == "__main__":
    print(document(), end="")
