"""The fence that ends a restore behind which events may be lost.

The lost events may have given out any number up to `margin` values behind each high water, reissued what was released,
and confirmed what was reserved. So no sequence goes on below that, no released value comes back, and no reservation
stays open. A sequence that begins later passes over the margin then: see `guards.begun`.

The log may have been cut anywhere, also between the events of one command or of an earlier fence.
"""

from collections.abc import Sequence

from ledger.domain.commands import Fence
from ledger.domain.decisions.formats import not_raised
from ledger.domain.decisions.guards import check_reason
from ledger.domain.decisions.sequences import closing
from ledger.domain.events import Event, ReservationFenced, RestoreFenced, SequenceFenced
from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import Sequence as Counter
from ledger.domain.series import MAX_VALUE, Series
from ledger.domain.state import State
from ledger.domain.text import flaw_of_text

__all__ = ["MAX_MARGIN", "MAX_OPENED", "fence", "passed"]

MAX_MARGIN = 100_000_000
MAX_OPENED = 10_000  # pairs in one event, which then stays below the store's limit
MAX_NAME_LENGTH = 50  # of a series' code, than which no period is longer

Pairs = tuple[tuple[str, str], ...]


def fence(state: State, command: Fence) -> list[Event]:
    check_reason(command.reason, at_least=1)
    if not 1 <= command.margin <= MAX_MARGIN:
        raise Rejection.invalid("margin", f"must be 1 to {MAX_MARGIN}, not {command.margin}")
    _check_opened(command.opened)
    _check_margins(state, command.margins)
    opened, margins = tuple(sorted(set(command.opened))), tuple(sorted(command.margins))
    cut = command.cut_position, command.cut_time
    fenced = RestoreFenced(state.generation + 1, *cut, command.margin, opened, margins)
    if fenced.format > state.format:
        raise not_raised(fenced, state.format)
    ended, margin_of = _ended(state), dict(margins)
    held: dict[str, list[ReservationFenced]] = {}
    for event in ended:
        held.setdefault(event.numbering.sequence, []).append(event)
    fenced_sequences = (
        passed(
            sequence,
            state.series_of(sequence),
            state.owed(sequence) + margin_of.get(sequence.series, command.margin),
            held.get(sequence.id, ()),
        )
        for sequence in sorted(state.sequences(), key=lambda each: each.id)
        if not sequence.closed and not state.is_retired(sequence.series)  # else it gives out nothing, for ever
    )
    return [fenced, *ended, *fenced_sequences]


def _check_opened(opened: Pairs) -> None:
    if len(opened) > MAX_OPENED:
        raise Rejection.invalid("opened", f"names {len(opened)} periods, and a fence holds {MAX_OPENED}")
    for index, pair in enumerate(opened):
        for name, text in zip(("series", "period"), pair, strict=True):
            flaw = flaw_of_text(text, at_most=MAX_NAME_LENGTH)
            if flaw:
                raise Rejection.invalid(f"opened[{index}].{name}", flaw)


def _check_margins(state: State, margins: Sequence[tuple[str, int]]) -> None:
    """Refuse margins of series that the log does not define: a code that is misspelt would leave its series as it is.

    A series may have no margin at all: whoever knows that it issued nothing says so.
    """
    codes = [code for code, _ in margins]
    for code, margin in margins:
        if not 0 <= margin <= MAX_MARGIN:
            raise Rejection.invalid(f"margin of {code}", f"must be 0 to {MAX_MARGIN}, not {margin}")
        if codes.count(code) > 1:
            raise Rejection.invalid(f"margin of {code}", "is given twice")
        if state.versions(code) is None:
            raise Rejection.invalid(f"margin of {code}", "is of no series of the restored log; is the code right?")


def _ended(state: State) -> list[ReservationFenced]:
    held = sorted(state.reservations(), key=lambda each: each.token)
    return [ReservationFenced(each.numbering, each.token, each.ranges) for each in held]


def passed(sequence: Counter, series: Series, margin: int, ended: Sequence[ReservationFenced]) -> Event:
    """Let a sequence go on behind the margin, or close it where that would leave nothing."""
    first, last = sequence.high_water + 1, min(sequence.high_water + margin, MAX_VALUE)
    if margin and last >= series.max_value:
        try:
            return closing(sequence, series, ended)
        except Rejection as why:
            if why.code is not Code.ACCOUNTING_TOO_LARGE:
                raise
    # Not only up to the maximum, if that is lower: it may be raised again, as it may have been in the lost events.
    skipped = ((first, last),) if first <= last else ()
    return SequenceFenced(sequence.id, series.code, series.version, sequence.key, sequence.period, skipped)
