"""The message authentication codes (MACs) of the mirror's entries: whoever has no key can write none.

A MAC is HMAC-SHA-256 over the ledger's id, the generation, the position and the hash of an event. The hash chains all
events before it, so the MAC of one entry speaks for every entry in front of it that chains to it. It is stored whole:
beside a body of some hundred bytes, half of 32 bytes would save little.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Authenticator", "Keys"]

PURPOSE = b"numbering-ledger: entry of a mirror, 1"  # no other use of a key may ever say the same


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """The keys of a ledger's mirror: the first one signs, and all of them verify."""

    secrets: Sequence[bytes]

    def of(self, ledger_id: str, generation: int) -> "Authenticator":
        return Authenticator(self, ledger_id, generation)


class Authenticator:
    """Makes and checks the MACs of one stream, which is named by its ledger and its generation."""

    def __init__(self, keys: Keys, ledger_id: str, generation: int) -> None:
        self._keys = keys
        self._ledger_id = ledger_id
        # The one part of variable length tells its length, so that no two entries have the same text.
        named = ledger_id.encode()
        self._stream = PURPOSE + len(named).to_bytes(8) + named + generation.to_bytes(8)

    def of(self, generation: int) -> "Authenticator":
        """Give that of the same ledger's stream of another generation."""
        return Authenticator(self._keys, self._ledger_id, generation)

    def mac(self, position: int, hash: bytes) -> bytes:
        return hmac.digest(self._keys.secrets[0], self._text(position, hash), "sha256")

    def is_valid(self, position: int, hash: bytes, mac: bytes) -> bool:
        """Say whether a holder of one of the keys wrote this hash at this position of this stream."""
        if not mac:
            return False
        text = self._text(position, hash)
        return any(hmac.compare_digest(hmac.digest(key, text, "sha256"), mac) for key in self._keys.secrets)

    def _text(self, position: int, hash: bytes) -> bytes:
        return self._stream + position.to_bytes(8) + hash
