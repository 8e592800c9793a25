"""Where a page ends, as a text that only the same query takes: with another one it would skip or repeat at random."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256

from api.answers import as_json
from ledger.domain.rejection import Rejection
from projections.reading import Cursor

__all__ = ["read_cursor", "write_cursor"]

DIGEST_BYTES = 6
NUMBER_BYTES = 8
MAX_NUMBER = 2**63 - 1  # as far as a database counts
FORM = re.compile("[A-Za-z0-9_-]{32}")  # two numbers, the digest, and two bytes that fill the last group of four

Asked = Mapping[str, object]


def write_cursor(cursor: Cursor, asked: Asked) -> str:
    """Write it for the query that `asked`: its path, its ledger and its filters."""
    numbers = b"".join(each.to_bytes(NUMBER_BYTES, "big") for each in cursor)
    return urlsafe_b64encode(numbers + _digest(asked) + bytes(2)).decode()


def read_cursor(text: str, asked: Asked) -> Cursor:
    """Read it back; a Rejection when no page of this very query ended so."""
    if not FORM.fullmatch(text):
        raise Rejection.invalid("after", "is no cursor; send what `next` of the page before gave")
    raw = urlsafe_b64decode(text)
    numbers, digest = raw[: 2 * NUMBER_BYTES], raw[2 * NUMBER_BYTES : -2]
    cursor = Cursor(int.from_bytes(numbers[:NUMBER_BYTES], "big"), int.from_bytes(numbers[NUMBER_BYTES:], "big"))
    if digest != _digest(asked) or max(cursor) > MAX_NUMBER:
        raise Rejection.invalid(
            "after", "is the cursor of another query; keep all filters as they were, or leave it out"
        )
    return cursor


def _digest(asked: Asked) -> bytes:
    return sha256(as_json(sorted(asked.items()))).digest()[:DIGEST_BYTES]
