"""How the data of an event of an earlier version becomes that of the next version.

Stored events never change. When a field of an event type changes, its class gets the next `version` (and the `format`
of the ledger in which that is first written), and here stands how the data of the one before is read:

    UPCASTERS = {("NumberAssigned", 1): _with_a_place}

An upcaster is pure: it gets the data, which it may change, and gives the data of the next version, one version at a
time. It passes on what it does not know, and writes over nothing: `verify` compares what came of it with the event
that was read, and so finds what stands in a body and says nothing. The golden file of the old bytes stays, and must
still be read.
"""

from collections.abc import Callable
from typing import Any

__all__ = ["UPCASTERS", "Upcaster", "upcast"]

Data = dict[str, Any]
Upcaster = Callable[[Data], Data]

# By the type, and the version that is read. No type has changed yet.
UPCASTERS: dict[tuple[str, int], Upcaster] = {}


def upcast(type: str, version: object, data: Data, to: int) -> Data | None:
    """Give the data of an event as version `to` says it; None when nothing tells how to come from `version` to that."""
    if not isinstance(version, int) or version > to:
        return None
    for each in range(version, to):
        step = UPCASTERS.get((type, each))
        if step is None:
            return None
        data = step(data)
    return data
