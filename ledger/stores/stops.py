"""The rows of the stops, and the text for builds that know no rows: which one they are shown, and which one is theirs.

The text is ours if it is the one that the rows give. Any other was written by such a build, or by an operator: it is a
reason like the others, told as it stands and never read.
"""

from collections.abc import Callable, Sequence

from ledger.ports import Head, Stop, StopKind

__all__ = ["all_stops", "foreign_text", "hardest", "stop_of", "text_after", "text_of"]

_GONE = Stop(StopKind.LATER_BUILD, "for a reason that is counted, and whose row is missing")
_HARDEST = {kind: place for place, kind in enumerate(StopKind)}


def all_stops(rows: Sequence[Stop], head: Head) -> list[Stop]:
    """Give every reason to stop: the rows, and the text when it is not theirs. A row that is gone still counts."""
    gone = [_GONE] if head.stops > len(rows) else []
    text = foreign_text(rows, head.stopped)
    foreign = [] if text is None else [Stop(StopKind.EARLIER_BUILD, text)]
    return [*rows, *gone, *foreign]


def foreign_text(rows: Sequence[Stop], text: str | None) -> str | None:
    """Give the head's text when it is not the rows'."""
    return None if text == text_of(rows) else text


def text_of(rows: Sequence[Stop]) -> str | None:
    """Give what earlier builds are shown: the reason that is hardest to lift, None when there is none."""
    return hardest(rows).text if rows else None


def hardest(rows: Sequence[Stop]) -> Stop:
    return min(rows, key=_hardness)


def text_after(
    text: str | None, before: Sequence[Stop], after: Sequence[Stop], is_mended: Callable[[Stop], bool] = lambda _: False
) -> str | None:
    """Give the text when the rows have changed. One that is not ours stays until it is mended itself."""
    foreign = foreign_text(before, text)
    if foreign is not None and not is_mended(Stop(StopKind.EARLIER_BUILD, foreign)):
        return foreign
    return text_of(after)


def stop_of(kind: str, detail: str, position: int | None, hash: bytes | None, stopped_at: int) -> Stop:
    """Give a row's stop; a later build may have kinds that this one does not know."""
    known = StopKind(kind) if kind in StopKind.__members__ else StopKind.LATER_BUILD
    return Stop(known, detail, position, hash, stopped_at)


def _hardness(stop: Stop) -> tuple[int, int]:
    """Order them; of two alike the one is harder that must see more of the log again."""
    return _HARDEST[stop.kind], -(stop.position or 0)
