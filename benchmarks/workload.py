"""What the clients of every run ask for: a letter's number from one hot sequence, or from a hundred."""

from collections.abc import Callable, Mapping

import orjson

__all__ = [
    "BLOCK",
    "BLOCKS",
    "HOT",
    "KEY",
    "MANY",
    "SERIES",
    "SERIES_CODE",
    "TTL_SECONDS",
    "YEAR",
    "number_of",
    "sequence_of",
]

SERIES_CODE = "LETTER"
TTL_SECONDS = 3600  # longer than a benchmark: nothing expires while it runs
ORGANISATIONS = ["คคง.", "กทท.", "สคฉ.3", "สคฉ.3-01"]
SERIES = orjson.dumps(
    {
        "template": "{FROM}-{TO}-{SEQ:4}-{YEAR:BE}",
        "dimensions": {
            "FROM": {"values": ORGANISATIONS},
            "TO": {"values": [*ORGANISATIONS, *(f"ผรม.{number}" for number in range(1, 101))]},
        },
        "reset": "yearly",
        "timezone": "Asia/Bangkok",
        "overflow": "widen",
        "reservation_ttl_seconds": TTL_SECONDS,
    }
)
KEY = {"FROM": "คคง.", "TO": "สคฉ.3"}
BLOCK = 1000
YEAR = "2568"  # as good as any, where the ledger itself does not print it


def number_of(key: Mapping[str, str]) -> Callable[[int], str]:
    """Print numbers as the series does, for those who are not the ledger."""
    return lambda value: f"{'-'.join(key.values())}-{value:04}-{YEAR}"


def sequence_of(key: Mapping[str, str]) -> str:
    return f"{SERIES_CODE}:{'|'.join(key.values())}:{YEAR}"


def _body(to: str = KEY["TO"], **more: object) -> str:
    return orjson.dumps({"series": SERIES_CODE, "key": KEY | {"TO": to}} | more).decode()


HOT = [_body()]
MANY = [_body(f"ผรม.{number}") for number in range(1, 101)]
BLOCKS = [_body(count=BLOCK)]
