"""What became of one number, told by any source of the log."""

import asyncio

import click

from api.answers import number_history
from numbering.cli.logs import SOURCES, LogPlace, on_log
from numbering.cli.numbers import show_history
from numbering.cli.output import Answer, progress, say_json
from replay.story import Story, story_of

__all__ = ["history"]


@click.command(
    epilog=f"""{SOURCES}

\b
Examples:
  numbering history INV-2025-000017
  numbering history INV-2025-000017 --from /srv/archive --json"""
)
@click.argument("number")
@on_log
def history(log: LogPlace, number: str, as_json: bool) -> None:
    """Show who got NUMBER, when and why.

    Every step with its event, by whose hash any copy of the log can be held to it. No database is needed: an archive is
    enough. `numbering show` is quicker where the ledger itself is at hand.
    """
    answer = _answer(asyncio.run(_read(log, number)))
    say_json(answer) if as_json else show_history(answer)


async def _read(log: LogPlace, number: str) -> Story:
    async with log.opened() as source:
        with progress("reading") as show:
            return await story_of(source, number, show)


def _answer(story: Story) -> Answer:
    answer = number_history(story.history, story.state)
    for step in answer["history"]:
        step["hash"] = story.hashes[step["position"]].hex()
    return answer
