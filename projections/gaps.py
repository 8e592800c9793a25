"""The gaps that a batch touches: values are taken from them and added to them, and what that changed is told."""

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ledger.domain.ranges import Ranges
from projections.rows import GapRow

__all__ = ["Gaps"]

Place = tuple[int, int]


class Gaps:
    """Holds at least each stored gap that a batch takes values from."""

    def __init__(self, stored: Iterable[GapRow] = ()) -> None:
        self._rows: dict[Place, GapRow] = {(row.sequence_at, row.first): row for row in stored}
        self._stored = {place: replace(row) for place, row in self._rows.items()}
        self._firsts: dict[int, list[int]] = {}
        for sequence_at, first in sorted(self._rows):
            self._firsts.setdefault(sequence_at, []).append(first)

    def add(self, row: GapRow) -> None:
        self._rows[row.sequence_at, row.first] = row
        firsts = self._firsts.setdefault(row.sequence_at, [])
        if firsts and firsts[-1] > row.first:
            insort(firsts, row.first)
        else:
            firsts.append(row.first)

    def take(self, sequence_at: int, ranges: Ranges) -> list[GapRow]:
        """Remove values; gives the parts of gaps that they were."""
        return [part for first, last in ranges for part in self._take(sequence_at, first, last)]

    def empty(self, sequence_at: int) -> None:
        """Note that nothing of a sequence may be reserved again."""
        for first in self._firsts.get(sequence_at, ()):
            self._rows[sequence_at, first].released = 0

    def deleted(self) -> list[Place]:
        return [place for place in self._stored if place not in self._rows]

    def changed(self) -> list[GapRow]:
        return [row for place, row in self._rows.items() if self._stored.get(place) != row]

    def _take(self, sequence_at: int, first: int, last: int) -> Iterator[GapRow]:
        firsts = self._firsts.get(sequence_at, [])
        index = max(bisect_right(firsts, first) - 1, 0)
        while index < len(firsts) and firsts[index] <= last:
            row = self._rows[sequence_at, firsts[index]]
            if row.last < first:
                index += 1
                continue
            del self._rows[sequence_at, firsts.pop(index)]
            for low, high in ((row.first, first - 1), (last + 1, row.last)):
                if low <= high:
                    self.add(replace(row, first=low, last=high))
                    index += 1
            yield replace(row, first=max(row.first, first), last=min(row.last, last))
