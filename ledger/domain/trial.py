"""A dry run: what a command would do, judged by `decide` like the command itself."""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.domain.acceptance import Needs
from ledger.domain.commands import Decidable
from ledger.domain.decide import decide
from ledger.domain.decisions.acts import accepting, needs_in
from ledger.domain.decisions.formats import unwritable
from ledger.domain.effects import Effect, effect_of
from ledger.domain.events import Event
from ledger.domain.rejection import Rejection
from ledger.domain.state import State

__all__ = ["Trial", "try_out"]


@dataclass(frozen=True, slots=True)
class Trial:
    """What a command would do, and what it needs beside what it says; without needs it is carried out as it is."""

    events: Sequence[Event]
    effect: Effect
    needs: Needs


def try_out(state: State, command: Decidable, now: int, format: int) -> Trial:
    """Returns what a command would do to `state`, which stays as it is; raises the Rejection that it would get.

    What it lacks in acceptances is told with its effect, not refused. `format` is that of the ledger.
    """
    answer, needs = decide(state, command, now), Needs()
    if isinstance(answer, Rejection) and (lacking := needs_in(answer)):
        answer, needs = decide(state, accepting(command, lacking), now), lacking
    if isinstance(answer, Rejection):
        raise answer
    flaw = unwritable(answer, format)
    if flaw:
        raise flaw
    return Trial(answer, effect_of(state, answer, now), needs)
