"""The hash chain: each event's hash covers its canonical bytes and the hash before it."""

from hashlib import sha256

__all__ = ["genesis", "link"]


def genesis(ledger_id: str) -> bytes:
    """Give the hash that stands before the first event of a ledger."""
    return sha256(b"numbering-ledger:" + ledger_id.encode()).digest()


def link(previous: bytes, body: bytes) -> bytes:
    """Give the hash of the event with the canonical bytes `body` that follows the hash `previous`."""
    return sha256(previous + body).digest()
