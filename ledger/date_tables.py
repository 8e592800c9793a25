"""The tables of dates by which numbers are read, made in a thread before anybody reads on the loop.

To make one takes some hundredths of a second, in which nobody else would be served. Series whose templates say the
same of a date share one.
"""

import asyncio
import logging
from collections.abc import Callable
from weakref import WeakSet

from ledger.domain.reading import make_dates
from ledger.domain.series import Series
from ledger.domain.state import State
from ledger.ports import Aside

__all__ = ["DateTables"]

_log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


class DateTables:
    def __init__(self, aside: Aside) -> None:
        self._aside = aside
        self._made: WeakSet[Series] = WeakSet()
        self._seen: tuple[Series, ...] = ()
        self._making = asyncio.Lock()

    def are_made(self, state: State) -> bool:
        """Say whether any number can be read by a state without making a table."""
        series = state.in_use()
        if series is not self._seen:  # nearly never, and then the tables may be there already
            if self._missing(series):
                return False
            self._seen = series
        return True

    async def make(self, state: State) -> None:
        """Make the tables of a state's series as they are now."""
        series = state.in_use()
        async with self._making:
            missing = self._missing(series)
            if missing:
                await self._aside(lambda: _make(missing))
                self._made.update(missing)

    async def keep(self, state: Callable[[], State]) -> None:
        """Make the tables of new series ahead of time, whoever defines them, until this is cancelled."""
        while True:
            try:
                if not self.are_made(state()):
                    await self.make(state())
            except Exception as why:  # no thread or no memory left: whoever reads tries for himself meanwhile
                _log.warning("the tables of dates were not made, trying again: %s", why)
            await asyncio.sleep(LOOK_SECONDS)

    def _missing(self, series: tuple[Series, ...]) -> list[Series]:
        return [each for each in series if each not in self._made]


def _make(all_series: list[Series]) -> None:
    for series in all_series:
        make_dates(series)
