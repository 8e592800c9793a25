"""What a command that cannot be undone must say that it accepts, and how much it may skip without saying so.

`decide` judges the needs of a command by its events, under the lock of the log: see `decisions.acts`.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["MAX_FREELY_SKIPPED", "MAX_MONTHS_AHEAD", "Acceptance", "Needs"]

MAX_FREELY_SKIPPED = 1_000  # values of one command; and a tenth of what is left in each sequence
MAX_MONTHS_AHEAD = 13  # to the first day of a period that is opened: next year's, a month early


class Acceptance(StrEnum):
    """What a command may be told to accept. The names are part of the API."""

    RUNNING_PERIOD = "running_period"  # a period ends, though it is today's or a later one
    FAR_PERIOD = "far_period"  # a period begins more than MAX_MONTHS_AHEAD ahead


@dataclass(frozen=True, slots=True)
class Needs:
    """What a command lacks before it is carried out: acceptances, and a `max_skipped` of at least so many values."""

    accept: tuple[Acceptance, ...] = ()
    max_skipped: int | None = None

    def told(self) -> dict[str, object]:
        """Returns the fields that the command needs, as JSON; empty when it needs none."""
        told: dict[str, object] = {"accept": [each.value for each in self.accept]} if self.accept else {}
        return told if self.max_skipped is None else told | {"max_skipped": self.max_skipped}
