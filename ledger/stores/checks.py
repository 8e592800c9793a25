"""What every store refuses to append, checked before anything is sent."""

from collections.abc import Sequence

from ledger import chain
from ledger.domain.rejection import Code
from ledger.ports import Head, Record, StoreFault

__all__ = ["MAX_BODY_BYTES", "check_chain"]

MAX_BODY_BYTES = 7 * 2**20  # escaped as text a body may double, and one statement must stay below 16 MiB


def check_chain(head: Head, records: Sequence[Record]) -> None:
    """Raise a StoreFault unless the records follow the head and each other."""
    position, previous = head.position, head.hash
    for record in records:
        position += 1
        if record.position != position:
            detail = f"position {record.position} was appended where {position} is next"
            raise StoreFault(Code.INTERNAL_ERROR, detail)
        previous = chain.link(previous, record.body)
        if record.hash != previous:
            raise StoreFault(Code.INTERNAL_ERROR, f"position {position} does not chain from the one before")
        if len(record.body) > MAX_BODY_BYTES:
            raise StoreFault(Code.INTERNAL_ERROR, f"position {position} has a body of {len(record.body)} bytes")
