"""Sequences, their periods and their accounts; and what is done by hand to a series as a whole."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from api import answers
from api.schemas import GapsQuery, SequencesQuery, checked
from ledger.domain.acceptance import Acceptance
from ledger.domain.sequence import ValueState
from ledger.queries import Queries
from numbering.cli.numbers import IN_THE_LOG
from numbering.cli.options import accept_option, dry_run_option, key_option, max_skipped_option, on_ledger
from numbering.cli.output import Answer, note, say_facts, say_line, say_table
from numbering.cli.session import Session, given

__all__ = ["adjust", "close", "gaps", "maximum", "open_period", "reopen", "reset", "retire", "sequence", "sequences"]

Function = TypeVar("Function", bound=Callable[..., Any])

GAPS = [state.value for state in ValueState if state is not ValueState.CONFIRMED]


def _reason(*, required: bool = False) -> Callable[[Function], Function]:
    return click.option("--reason", required=required, metavar="TEXT", help=IN_THE_LOG)


_running = accept_option(Acceptance.RUNNING_PERIOD, "while the period of today, or a later one, is open")
_far = accept_option(Acceptance.FAR_PERIOD, "for a period more than 13 months ahead")


def _listed(fields: dict[str, Any]) -> dict[str, Any]:
    """Give what is accepted as the list that a body has."""
    return fields | {"accept": list(fields["accept"]) or None}


# What there is


@click.command(epilog="\b\nExamples:\n  numbering sequences\n  numbering sequences --series INVOICE --json")
@click.option("--series", metavar="CODE", help="Only those of one series.")
@click.option("--after", default="", metavar="SEQUENCE", help="Go on behind this one.")
@click.option("--limit", type=int, default=100, show_default=True, metavar="N", help="At most so many, up to 1000.")
@on_ledger(past=True)
def sequences(session: Session, **options: Any) -> None:
    """List sequences, and how full each is.

    The forecast is the day on which it will be exhausted at the present rate.
    """
    query = checked(SequencesQuery, given(**options))

    async def listed(ledger: Queries) -> Answer:
        found, position = await ledger.sequences(query.series, after=query.after, limit=query.limit + 1)
        return answers.sequences_answer(found, query.limit, position)

    session.tell(session.read(listed), _show_sequences)


@click.command(epilog="\b\nExample:\n  numbering sequence INVOICE:2025")
@click.argument("sequence")
@on_ledger(past=True)
def sequence(session: Session, sequence: str) -> None:
    """Show one SEQUENCE, by its id."""

    async def shown(ledger: Queries) -> Answer:
        return answers.sequence_answer(await ledger.sequence(sequence))

    session.tell(session.read(shown), say_facts)


@click.command(
    epilog="\b\nExamples:\n  numbering gaps INVOICE:2025\n  numbering gaps INVOICE:2025 --state VOIDED --state SKIPPED"
)
@click.argument("sequence")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(list(ValueState)), help="Only this state; may be repeated."
)
@click.option("--all", "everything", is_flag=True, help="The confirmed values too.")
@click.option("--first", type=int, metavar="VALUE", help="Begin with this value.")
@click.option("--limit", type=int, metavar="N", help="At most so many ranges.  [default: 1000]")
@on_ledger(past=True)
def gaps(
    session: Session,
    sequence: str,
    states: tuple[ValueState, ...],
    everything: bool,
    first: int | None,
    limit: int | None,
) -> None:
    """Account for what of SEQUENCE is not confirmed.

    Of each value its state, and the event, actor, time and reason that put it there.
    """
    chosen = list(states) or (None if everything else GAPS)
    query = checked(GapsQuery, given(state=chosen, first=first, limit=limit))

    async def accounted(ledger: Queries) -> Answer:
        found = await ledger.accounting(sequence, first=query.first, states=query.state, limit=query.limit)
        return answers.gaps(found, first=query.first, states=query.state)

    session.tell(session.read(accounted), _show_gaps)


# What is done to a sequence


@click.command(epilog='\b\nExample:\n  numbering adjust INVOICE:2025 --next 500 --reason "paper forms up to 499"')
@click.argument("sequence")
@click.option("--next", "next_value", type=int, required=True, metavar="VALUE", help="The value to go on with.")
@_reason(required=True)
@max_skipped_option
@dry_run_option
@on_ledger(writes=True)
def adjust(session: Session, sequence: str, **fields: Any) -> None:
    """Let SEQUENCE go on further up.

    The values up to there are skipped. It never goes back. More than 1000 values, or a tenth of those that are left,
    are skipped only with --max-skipped.
    """
    session.perform("adjust_sequence", sequence, say_facts, **fields)


@click.command(epilog='\b\nExample:\n  numbering reset INVOICE:2025 --reason "the year is over"')
@click.argument("sequence")
@click.option("--period", metavar="PERIOD", help="A later period to begin.  [default: the one that follows]")
@_reason()
@_far
@dry_run_option
@on_ledger(writes=True)
def reset(session: Session, sequence: str, **fields: Any) -> None:
    """Begin the period that follows SEQUENCE.

    The present one goes on beside it, until it is closed.
    """
    session.perform("reset_sequence", sequence, say_facts, **_listed(fields))


@click.command(epilog='\b\nExample:\n  numbering close INVOICE:2025 --reason "the year is audited"')
@click.argument("sequence")
@_reason()
@_running
@dry_run_option
@on_ledger(writes=True)
def close(session: Session, sequence: str, **fields: Any) -> None:
    """Close the period of SEQUENCE and freeze its account.

    Its numbers can only be voided or linked from then on. It is refused while reservations are open. A period that
    took no number can be closed too, and reopened.
    """
    session.perform("close_period", sequence, _show_closed, **_listed(fields))


@click.command(
    epilog='\b\nExamples:\n  numbering reopen INVOICE:2026 --reason "closed instead of 2025"\n'
    '  numbering reopen MEMO --reason "memos are written again"'
)
@click.argument("name", metavar="SEQUENCE|SERIES")
@_reason(required=True)
@dry_run_option
@on_ledger(writes=True)
def reopen(session: Session, name: str, **fields: Any) -> None:
    """Let a closed SEQUENCE or a retired SERIES go on.

    A period can be reopened if its sequence had passed no value, and no restore closed it.
    """
    if ":" in name:
        session.perform("reopen_period", name, say_facts, **fields)
    else:
        session.perform("reopen_series", name, _show_series, **fields)


# What is done to a series


@click.command(epilog='\b\nExample:\n  numbering maximum INVOICE 999999 --reason "more invoices than expected"')
@click.argument("series")
@click.argument("max_value", type=int, metavar="MAX")
@_reason(required=True)
@dry_run_option
@on_ledger(writes=True)
def maximum(session: Session, series: str, **fields: Any) -> None:
    """Change the maximum of SERIES.

    Up freely, down to no less than what any of its sequences has passed.
    """
    session.perform("adjust_maximum", series, _show_series, **fields)


@click.command(
    name="open",
    epilog='\b\nExamples:\n  numbering open INVOICE 2026 --reason "dated ahead"\n'
    "  numbering open VOUCHER 2026-01 -k BOOK=PV",
)
@click.argument("series")
@click.argument("period")
@key_option
@_reason()
@_far
@dry_run_option
@on_ledger(writes=True)
def open_period(session: Session, series: str, key: Mapping[str, str], **fields: Any) -> None:
    """Open a PERIOD of SERIES before its time.

    For every key, or for one, whose sequence then begins. PERIOD is written 2026, 2026-Q1, 2026-03, 2026-03-31 or
    FY2026, as the series resets.
    """
    session.perform("open_period", series, say_facts, key=dict(key) or None, **_listed(fields))


@click.command(epilog='\b\nExample:\n  numbering retire MEMO --reason "memos are letters now"')
@click.argument("series")
@_reason()
@_running
@dry_run_option
@on_ledger(writes=True)
def retire(session: Session, series: str, **fields: Any) -> None:
    """Let SERIES issue no more numbers.

    Those that it issued stay, and no other series may print them.
    """
    session.perform("retire_series", series, _show_series, **_listed(fields))


# From answers to tables


def _show_sequences(answer: Answer) -> None:
    numbers = ("high water", "next value", "max value", "percent")
    columns = ("sequence", *numbers, "warnings", "exhausted on", "closed")
    names = [column.replace(" ", "_") for column in columns]
    say_table(columns, [[each[name] for name in names] for each in answer["sequences"]], right=numbers)
    if answer["next"]:
        note(f"there are more; go on with --after {answer['next']}")
    elif not answer["sequences"]:
        note("no sequence is here; one begins with its first number")


def _show_gaps(answer: Answer) -> None:
    """The counts of the whole sequence, each range with its cause, and what its closing found."""
    say_facts({name: answer[name] for name in ("sequence", "start", "high_water", "closed")} | answer["counts"])
    if answer["ranges"]:
        say_line("")
        columns = ("values", "state", "event", "time", "actor", "reason")
        say_table(columns, [_range(each) for each in answer["ranges"]])
    if "frozen" in answer:
        say_line("")
        cause = answer["frozen"]["cause"]
        say_facts(
            {"frozen high_water": answer["frozen"]["high_water"]}
            | answer["frozen"]["counts"]
            | {f"closed_{name}": cause[name] for name in ("time", "actor", "reason", "position")}
        )
    if answer["next"] is not None:
        note(f"there is more; go on with --first {answer['next']}")


def _range(account: Answer) -> list[object]:
    cause = account["cause"]
    values = {"first": account["first"], "last": account["last"]}
    return [values, account["state"], cause["event"], cause["time"], cause["actor"], cause["reason"]]


def _show_closed(answer: Answer) -> None:
    facts = dict(answer)
    say_facts(facts | facts.pop("counts"))


def _show_series(answer: Answer) -> None:
    names = ("code", "version", "template", "max_value", "retired", "position")
    say_facts({name: answer.get(name) for name in names})
