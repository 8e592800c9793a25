"""How a restore is told before it happens: what each sequence would skip, and why so much."""

from collections.abc import Iterator, Sequence

from ledger.domain.calendar import instant_text
from ledger.domain.ranges import count_of
from numbering.cli.output import Answer, say_facts, say_line, say_table
from replay.fence import FACTOR, MIN_MARGIN, Margin
from replay.forecast import Forecast, Skip

__all__ = ["forecast_answer", "question", "show_forecast"]

EMPTY = f"the least there is ({MIN_MARGIN}); the source holds no event, so nothing tells how long ago the last one was"
SECOND = 1_000_000
COLUMNS = ("sequence", "from", "to", "count", "left", "gapless", "numbers")
RIGHT = ("from", "to", "count", "left")


def forecast_answer(found: Forecast) -> Answer:
    return {
        "ledger_id": found.ledger_id,
        "restored": found.cut,
        "until": instant_text(found.cut_time) if found.cut else None,
        "fence": found.fence is not None,
        "complete": found.complete,
        "margin": _margin(found.margin, is_empty=not found.cut) if found.margin else None,
        "margins": dict(found.margins),
        "skipped": sum(each.count for each in found.skips),
        "sequences": [_skip(each) for each in found.skips if not each.is_closed],
        "reservations": [
            {
                "token": each.token,
                "sequence": each.sequence,
                "count": count_of(each.ranges),
                "values": [{"first": first, "last": last} for first, last in each.ranges],
            }
            for each in found.ended
        ],
        "closed": [{"sequence": each.sequence, "high_water": each.last} for each in found.skips if each.is_closed],
    }


def show_forecast(answer: Answer) -> None:
    margin = answer["margin"]
    say_facts(
        {name: answer[name] for name in ("ledger_id", "restored", "until")}
        | {
            "fence": "needed: what was written behind this may be lost" if answer["fence"] else None,
            "complete": answer["complete"],
            "margin": margin and f"{margin['values']}: {margin['because']}",
            "margins": answer["margins"] or None,
            "skipped": answer["skipped"] if answer["fence"] else None,
        }
    )
    if answer["sequences"]:
        say_line("")
        say_table(COLUMNS, [[each[name] for name in COLUMNS] for each in answer["sequences"]], right=RIGHT)
    if answer["reservations"]:
        say_line("\nreservations that end, with what they hold:")
        say_table(
            ("token", "sequence", "values"),
            [[each[name] for name in ("token", "sequence", "values")] for each in answer["reservations"]],
        )
    if answer["closed"]:
        say_line("\nsequences that are closed, because the margin would exhaust them:")
        say_table(
            ("sequence", "high water"), [[each["sequence"], each["high_water"]] for each in answer["closed"]],
            right=["high water"],
        )  # fmt: skip


def question(gapless: Sequence[Skip]) -> Iterator[str]:
    """Say, line by line, which numbers gapless sequences would skip."""
    yield f"the fence makes {len(gapless)} gapless sequence{'s' * (len(gapless) != 1)} skip values:"
    for each in gapless:
        if each.is_closed:
            yield f"{each.sequence} is closed behind {each.last}: it issues nothing any more"
        else:
            yield f"{each.sequence} skips {_told(each)}; {each.left} are left"


def _told(skip: Skip) -> str:
    numbers = f", {skip.numbers[0]} to {skip.numbers[1]}" if skip.numbers else ""
    return f"{skip.count} values, {skip.first} to {skip.last}{numbers}"


def _skip(skip: Skip) -> Answer:
    return {
        "sequence": skip.sequence,
        "series": skip.series,
        "from": skip.first if skip.count else None,
        "to": skip.last if skip.count else None,
        "count": skip.count,
        "left": skip.left,
        "gapless": skip.is_gapless,
        "numbers": list(skip.numbers) if skip.numbers else None,
    }


def _margin(margin: Margin, *, is_empty: bool) -> Answer:
    """A source that is empty has no last event, so no window tells what may be lost."""
    has_window = margin.window is not None and not is_empty
    return {
        "values": margin.values,
        "given": margin.is_given,
        "because": _because(margin) if has_window or margin.is_given else EMPTY,
        "sequence": margin.sequence,
        "issued": None if margin.is_given else margin.most,
        "window_seconds": margin.window // SECOND if margin.window is not None and not is_empty else None,
    }


def _because(margin: Margin) -> str:
    if margin.window is None:
        return "as it was given"
    window = f"{_lasting(margin.window)}, which is as long as from the last event until now"
    if margin.sequence is None:
        return f"the least there is; nothing was issued within {window}"
    issued = f"{margin.sequence} issued {margin.most} at most within {window}"
    if margin.values > FACTOR * margin.most:
        return f"the least there is ({MIN_MARGIN}); {issued}"
    return f"{FACTOR} times the most of any sequence: {issued}"


def _lasting(microseconds: int) -> str:
    """Write a duration by its two largest units."""
    left = microseconds // SECOND
    parts: list[str] = []
    for name, seconds in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count or (name == "s" and not parts):
            parts.append(f"{count} {name}")
    return " ".join(parts[:2])
