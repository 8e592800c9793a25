"""`numbering resume`: why writing is stopped, whether that is over, and what lets processes write again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from ledger.domain.calendar import instant_text
from ledger.domain.rejection import Code, Rejection
from ledger.log import format_of
from ledger.ports import Stop
from ledger.queries import Reader
from ledger.stores import SqlStore
from ledger.system import RandomIds, SystemClock
from ledger.writer.clocks import Clocks
from numbering.cli.caller import actor, read_settings, settings_options
from numbering.cli.forecasts import forecast_answer, show_forecast
from numbering.cli.logs import mark_copy
from numbering.cli.output import Answer, note, progress, say_facts, say_line, told
from numbering.cli.restore import MARGIN, OPENED, DeclinedError, asking, margins_of, period_of
from numbering.cli.session import Session
from numbering.cli.upgrade import check_no_older
from numbering.exits import REJECTED
from numbering.settings import Settings
from numbering.wiring import log_and_mirror, opened_store
from projections.mirror.stream import Stream
from replay.forecast import Forecast
from replay.restore import Plan, foresee
from replay.resumption import AcceptedStops, Beside, Report, accept, examined, lift_over
from replay.sources import DatabaseSource
from replay.stops import ACCEPTABLE, Judgement, Way

__all__ = ["resume"]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What an operator accepts, if anything, and how the fence is to be that may go with it."""

    kinds: Sequence[str]
    plan: Plan
    yes: bool


@click.command(
    epilog="""\b
Examples:
  numbering resume --dry-run
  numbering resume
  numbering resume --accept LOG_BEHIND --reason "the replica lost its last second, see INC-12"
  numbering resume --accept DATED_AHEAD --reason "the clock leapt, NTP is set right"

docs/recovery.md has each kind of stop by name."""
)
@click.option(
    "--accept",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in ACCEPTABLE]),
    help="Lift the stops of this kind, which are not over; may be repeated, and must name all that stand.",
)
@click.option("--reason", metavar="TEXT", help="Kept in the log; needed with --accept.")
@click.option("--margin", "margins", multiple=True, metavar="[SERIES=]N", help=MARGIN)
@click.option("--opened", multiple=True, metavar="SERIES:PERIOD", help=OPENED)
@click.option("--dry-run", is_flag=True, help="Say what is found and needed, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before gapless sequences skip values.")
@click.option("--force", is_flag=True, help="Ignore unknown processes where the ledger's format must be raised.")
@settings_options("database_url", "redis_url", "mirror_key_file", "archive")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, errors too.")
def resume(
    kinds: Sequence[str], reason: str | None, margins: Sequence[str], opened: Sequence[str],
    dry_run: bool, yes: bool, force: bool, as_json: bool, **options: str | None,
) -> None:  # fmt: skip
    """Judge why writing is stopped, and let processes write again.

    It compares the log with the mirror and the archive that are configured. What is over is lifted. What an operator
    may accept is lifted with --accept, and the log keeps that, with the reason. Where events may be lost, the ledger is
    fenced then: every sequence skips a margin of values, so that no number is issued again. Exits with 1 while writing
    is stopped.
    """
    if kinds and not reason:
        raise click.UsageError("--accept needs --reason: the log keeps who accepted what, and why.")
    if not kinds and (reason or margins or opened or force):
        raise click.UsageError("--reason, --margin, --opened and --force go with --accept.")
    margin, of_series = margins_of(margins)
    plan = Plan(actor(), reason or "", margin=margin, opened=tuple(map(period_of, opened)), margins=of_series)
    wish = _Wish(kinds, plan, yes or as_json)
    session = Session(read_settings(options), json=as_json)
    with told(json=as_json):
        answer = _carried_out(session, wish, dry_run=dry_run, force=force)
    session.tell(answer, _show)
    if answer["stopped"]:
        raise SystemExit(REJECTED)


def _carried_out(session: Session, wish: _Wish, *, dry_run: bool, force: bool) -> Answer:
    if dry_run:
        return asyncio.run(_looked(session, wish))
    if wish.kinds:
        check_no_older(session, asyncio.run(_format(session.settings)), force=force)
    try:
        return asyncio.run(_resumed(session, wish))
    except DeclinedError:
        note("nothing was accepted: run it again with --margin SERIES=N")
        raise SystemExit(REJECTED) from None


@asynccontextmanager
async def _opened(settings: Settings, *, reads_only: bool = False) -> AsyncIterator[tuple[SqlStore, Beside]]:
    async with AsyncExitStack() as stack:
        stream: Stream | None = None
        if settings.redis_url:
            store, stream = await stack.enter_async_context(log_and_mirror(settings, reads_only=reads_only))
        else:
            store = await stack.enter_async_context(opened_store(settings, reads_only=reads_only))
        await mark_copy(store)
        clocks = Clocks(SystemClock(), tolerance_seconds=settings.clock_tolerance)
        yield store, Beside(clocks, stream, Path(settings.archive) if settings.archive else None)


async def _format(settings: Settings) -> int:
    async with opened_store(settings, reads_only=True) as store:
        return await format_of(store)


async def _looked(session: Session, wish: _Wish) -> Answer:
    """Say what is found, and what accepting it would cost; nothing is written."""
    async with _opened(session.settings, reads_only=True) as (store, beside):
        report = await examined(store, beside)
        answer: Answer = {"dry_run": True} | _answer(report, [])
        if wish.kinds and report.judgements:
            _check_accepted(report.judgements, wish.kinds)
            answer |= {"fence": _told(await _foreseen(store, report.judgements, wish))}
        return answer


async def _resumed(session: Session, wish: _Wish) -> Answer:
    async with _opened(session.settings) as (store, beside):
        lifted = await lift_over(store, beside)
        report = await examined(store, beside)
        found = report.judgements
        if not wish.kinds or not found:
            return _answer(report, lifted)
        _check_accepted(found, wish.kinds)
        forecast = await _foreseen(store, found, wish)
        if forecast:
            asking(lambda: None, yes=wish.yes)(forecast)
        reader = Reader(store)
        await reader.fresh()
        assert reader.fold is not None
        stops = [each.stop for each in found]
        acceptance = AcceptedStops(stops, wish.plan.actor, wish.plan.reason, forecast.fence if forecast else None)
        head = await accept(store, reader.fold, acceptance, beside, RandomIds())
        told = {"accepted": [stop.kind.value for stop in stops], "head": f"{head.position}:{head.hash.hex()}"}
        # The mirror goes on in another stream after a fence: what was compared says nothing of that.
        return _answer(Report((), ()), lifted) | told | {"fence": _told(forecast)}


def _check_accepted(found: Sequence[Judgement], kinds: Sequence[str]) -> None:
    """Refuse to accept a part of what stands: writing would stay stopped, and a fence would be written in vain."""
    for each in found:
        kind = each.stop.kind.value
        if each.way is Way.OTHER:
            raise Rejection(Code.LEDGER_STOPPED, f"{kind} cannot be accepted: {each.found}; {each.needs}")
        if each.way is Way.ACCEPT and kind not in kinds:
            raise Rejection(Code.LEDGER_STOPPED, f"writing is also stopped by {kind}: {each.found}; {each.needs}")
    standing = {each.stop.kind.value for each in found}
    for kind in kinds:
        if kind not in standing:
            raise Rejection(Code.LEDGER_STOPPED, f"writing is not stopped by {kind}; leave out --accept {kind}")


async def _foreseen(store: SqlStore, found: Sequence[Judgement], wish: _Wish) -> Forecast | None:
    """Read the whole log, audited, and tell what the fence will skip; None where none is needed."""
    if not any(each.is_fenced for each in found):
        return None
    with progress("reading") as show:
        return await foresee(DatabaseSource(store), wish.plan, clock=SystemClock(), progress=show)


def _told(forecast: Forecast | None) -> Answer | None:
    return None if forecast is None else forecast_answer(forecast)


def _answer(report: Report, lifted: Sequence[Stop]) -> Answer:
    return {
        "stopped": [_judgement(each) for each in report.judgements],
        "lifted": [stop.kind.value for stop in lifted],
        "notes": list(report.notes),
    }


def _judgement(of: Judgement) -> Answer:
    stop = of.stop
    return {
        "kind": stop.kind.value,
        "since": instant_text(stop.stopped_at) if stop.stopped_at else None,
        "says": stop.text,
        "way": of.way.value,
        "found": of.found,
        "needs": of.needs or None,
        "fenced": of.is_fenced,
    }


def _show(answer: Answer) -> None:
    for each in answer["stopped"]:
        say_facts({name: each[name] for name in ("kind", "since", "says", "found", "needs")})
        say_line("")
    if answer["lifted"]:
        say_line(f"lifted, because it is over: {', '.join(answer['lifted'])}")
    if answer.get("fence"):
        show_forecast(answer["fence"])
    if answer.get("accepted"):
        say_line(f"accepted: {', '.join(answer['accepted'])}; the log ends at {answer['head']}")
    if answer.get("dry_run"):
        say_line("nothing was written")
    elif not answer["stopped"]:
        say_line("writing is not stopped")
    for each in answer["notes"]:
        note(each)
