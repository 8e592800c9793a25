"""The command `numbering doctor`: what was found, for people or for machines."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from numbering.cli.caller import read_settings, settings_options
from numbering.doctor import Finding, Level

__all__ = ["doctor"]

FOUND = 1
COLORS = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


@click.command(epilog="\b\nExample:\n  numbering doctor --json")
@settings_options("database_url", "redis_url", "mirror_key_file")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(as_json: bool, **options: str | None) -> None:
    """Say what to mend on the ledger and its servers.

    Looks at settings, versions, collations, clocks, privileges, migrations, disks and Redis, and changes nothing. Exits
    with 1 when there is an error; warnings alone exit with 0.
    """
    settings = read_settings(options, keys=False)  # an unfit file of keys is a finding
    # Only here: Redis's client takes 0.1 s to load, which no other command needs to wait for.
    from numbering.doctor.examination import examine

    findings = asyncio.run(examine(settings))
    for line in [_json(findings)] if as_json else _lines(findings):
        click.echo(line)
    raise SystemExit(FOUND if _count(findings)[Level.ERROR] else 0)


def _count(findings: Sequence[Finding]) -> Counter[Level]:
    return Counter(finding.level for finding in findings)


def _json(findings: Sequence[Finding]) -> str:
    count = _count(findings)
    found = {
        "findings": [asdict(finding) for finding in findings],
        "errors": count[Level.ERROR],
        "warnings": count[Level.WARNING],
    }
    return json.dumps(found, ensure_ascii=False)


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    """One line each, however long: a terminal folds it, and nothing is lost in a pipe."""
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        level = click.style(f"{finding.level:<7}", fg=COLORS[finding.level])
        advice = f" — {finding.advice}" if finding.advice else ""
        yield f"{level}  {finding.check:<{width}}  {_visible(finding.detail + advice)}"
    count = _count(findings)
    yield f"{_plural(count[Level.ERROR], 'error')}, {_plural(count[Level.WARNING], 'warning')}"


def _visible(text: str) -> str:
    """Keep a line one line, and a terminal safe from what a database may hold."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
