"""The rows of the stops, and the text for builds that know no rows: which one they are shown, and which one is theirs.

The text is ours if it is the one that the rows give. Any other was written by such a build, or by an operator: it is a
reason like the others, told as it stands and never read.
"""

from collections.abc import Callable, Sequence

from ledger.ports import Head, Stop, StopKind

__all__ = ["after_lift", "all_stops", "foreign_text", "gone", "hardest", "stop_of", "text_of", "with_stop"]

_GONE = Stop(StopKind.LATER_BUILD, "for a reason that is counted, and whose row is missing")
_HARDEST = {kind: place for place, kind in enumerate(StopKind)}


def all_stops(rows: Sequence[Stop], head: Head) -> list[Stop]:
    """Give every reason to stop: the rows, and the text when it is not theirs. A row that is gone still counts."""
    text = foreign_text(rows, head.stopped)
    foreign = [] if text is None else [Stop(StopKind.EARLIER_BUILD, text)]
    return [*rows, *([_GONE] if gone(rows, head) else []), *foreign]


def gone(rows: Sequence[Stop], head: Head, is_mended: Callable[[Stop], bool] = lambda _: False) -> int:
    """Count the rows that are missing and still count: only who lifts what it does not know lifts them."""
    return 0 if is_mended(_GONE) else max(head.stops - len(rows), 0)


def with_stop(rows: Sequence[Stop], text: str | None, stop: Stop) -> list[Stop]:
    """Give the rows with one reason more, if it is new."""
    after = [*rows] if any(each.is_as(stop) for each in rows) else [*rows, stop]
    return _with_text(after, foreign_text(rows, text), stop.stopped_at)


def _with_text(rows: Sequence[Stop], foreign: str | None, now: int) -> list[Stop]:
    """Make a text that is not ours a row too, where it stands beside others.

    Else, when its build clears it, nobody could tell that it was shown this reason and none of the others: one of those
    would be lifted in its place.
    """
    if foreign is None or not rows:
        return [*rows]
    return [*rows, Stop(StopKind.EARLIER_BUILD, foreign, stopped_at=now)]


def foreign_text(rows: Sequence[Stop], text: str | None) -> str | None:
    """Give the head's text when it is not the rows'."""
    return None if text == text_of(rows) else text


def text_of(rows: Sequence[Stop]) -> str | None:
    """Give what earlier builds are shown: the reason that is hardest to lift, None when there is none."""
    return hardest(rows).text if rows else None


def hardest(rows: Sequence[Stop]) -> Stop:
    return min(rows, key=_hardness)


def after_lift(
    rows: Sequence[Stop], text: str | None, is_mended: Callable[[Stop], bool], now: int
) -> tuple[list[Stop], str | None]:
    """Give the rows that are left, and the text. One that is not ours stays until it is mended itself."""
    foreign = foreign_text(rows, text)
    if foreign is not None and is_mended(Stop(StopKind.EARLIER_BUILD, foreign)):
        foreign = None
    after = _with_text([stop for stop in rows if not is_mended(stop)], foreign, now)
    return after, text_of(after) if after else foreign


def stop_of(kind: str, detail: str, position: int | None, hash: bytes | None, stopped_at: int) -> Stop:
    """Give a row's stop; a later build may have kinds that this one does not know."""
    known = StopKind(kind) if kind in StopKind.__members__ else StopKind.LATER_BUILD
    return Stop(known, detail, position, hash, stopped_at)


def _hardness(stop: Stop) -> tuple[int, int]:
    """Order them; of two alike the one is harder that must see more of the log again."""
    return _HARDEST[stop.kind], -(stop.position or 0)
