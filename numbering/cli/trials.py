"""What a dry run tells, in tables for people."""

from collections.abc import Mapping
from typing import Any

from numbering.cli.output import Answer, note, say_facts, say_line, say_table

__all__ = ["say_effect", "told_needs"]

SEQUENCE = ("sequence", "begins", "high_water_before", "high_water_after", "left_before", "left_after", "skipped")
SUMS = ("skipped", "percent_of_left", "left_before", "left_after", "open_reservations", "sequences_concerned")
SERIES = (
    "series",
    "version_before",
    "version_after",
    "max_value_before",
    "max_value_after",
    "retired",
    "sequences_ended",
)
OPENED = ("series", "period", "first_day", "days_ahead")


def say_effect(answer: Answer) -> None:
    """The sums, each sequence, series and period, and what can no longer be done afterwards."""
    effect = answer["effect"]
    say_facts({name: effect[name] for name in SUMS})
    for name, columns in (("sequences", (*SEQUENCE, "ranges")), ("series", SERIES), ("opened", OPENED)):
        if effect[name]:
            say_line("")
            titles = [column.replace("_", " ") for column in columns]
            say_table(titles, [[each[column] for column in columns] for each in effect[name]], right=titles[2:-1])
    if effect["afterwards"]:
        say_line("")
    for sentence in effect["afterwards"]:
        say_line(f"Afterwards: {sentence}.")
    say_needs(answer)


def say_needs(answer: Answer) -> None:
    needs = told_needs(answer["needs"])
    note(f"a dry run, nothing was written; {f'to carry it out, add {needs}' if needs else 'it would be carried out'}")


def told_needs(needs: Mapping[str, Any]) -> str:
    """Write what a command needs as its options."""
    options = [f"--accept {each}" for each in needs.get("accept", [])]
    if "max_skipped" in needs:
        options.append(f"--max-skipped {needs['max_skipped']}")
    return " ".join(options)
