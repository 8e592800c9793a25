"""Prove that the log is whole."""

import asyncio
import re
from typing import Any

import click

from ledger.domain.calendar import instant_text
from numbering.cli.caller import read_settings, settings_options
from numbering.cli.logs import mark_copies
from numbering.cli.output import Answer, progress, say_facts, say_json, say_line, say_table, told
from numbering.exits import REJECTED
from numbering.settings import Settings
from numbering.sources import configured, opened_sources
from replay.verify import Report, SavedHead
from replay.verify import verify as verify_log

__all__ = ["verify"]


class _Head(click.ParamType[SavedHead]):
    name = "POSITION:HASH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> SavedHead:
        if isinstance(value, SavedHead):
            return value
        match = re.fullmatch(r"([1-9][0-9]{0,17}):([0-9a-f]{64})", str(value))
        if match is None:
            self.fail(f"{value!r} is not written as `numbering archive` and `numbering verify` print it.", param, ctx)
        return SavedHead(int(match[1]), bytes.fromhex(match[2]))


@click.command(
    epilog="""\b
Examples:
  numbering verify                                     the ledger of the settings, its mirror and its archive
  numbering verify /srv/archive                        an archive alone
  numbering verify /srv/archive --head 1042:5f1d…      against what was written down
  numbering verify --against /mnt/usb/archive --chain

SOURCE is a directory, a database URL or a Redis URL."""
)
@click.argument("source", required=False)
@click.option("--chain", is_flag=True, help="Only that no event is missing, changed or moved, not what events say.")
@click.option("--against", multiple=True, metavar="SOURCE", help="A copy that must agree; may be repeated.")
@click.option("--head", type=_Head(), help="Where the log once ended, as it was written down then.")
@settings_options("database_url", "redis_url", "archive")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(
    source: str | None, chain: bool, against: tuple[str, ...], head: SavedHead | None, as_json: bool, **options: Any
) -> None:
    """Prove that the log is whole.

    Or name the first position at which it is not, and exit with 1. Without SOURCE: the ledger of the settings, with the
    mirror and the archive that they name. Positions are dense, events chain, each is legal after those before it, no
    number is given out twice, columns and projections are as the events say, copies agree.
    """
    settings = read_settings(options)
    places = [source] if source else configured(settings)
    with told(json=as_json):
        report = asyncio.run(_verified(settings, [*places, *against], head, chain_only=chain))
    answer = _answer(report)
    say_json(answer) if as_json else _show(answer)
    if report.flaws:
        raise SystemExit(REJECTED)


async def _verified(settings: Settings, places: list[str], head: SavedHead | None, *, chain_only: bool) -> Report:
    async with opened_sources(places, settings) as (log, *copies):
        await mark_copies([log])
        with progress("verifying") as show:
            return await verify_log(log, copies, chain_only=chain_only, saved=head, progress=show)


def _answer(report: Report) -> Answer:
    return {
        "whole": not report.flaws,
        "ledger_id": report.ledger_id,
        "first": report.first,
        "head": f"{report.position}:{report.hash.hex()}",
        "recorded_at": instant_text(report.recorded_at) if report.recorded_at else None,
        "copies": report.copies,
        "rows": report.rows,
        "flaws": [{"where": each.where, "position": each.position, "what": each.what} for each in report.flaws],
    }


def _show(answer: Answer) -> None:
    facts = {name: value for name, value in answer.items() if name not in ("flaws", "whole")}
    say_facts({name: value for name, value in facts.items() if value is not None})
    say_line("")
    if answer["whole"]:
        say_line("whole: nothing is missing, changed or out of place")
        return
    columns = ("where", "position", "what")
    say_table(columns, [[each[name] for name in columns] for each in answer["flaws"]], right=("position",))
