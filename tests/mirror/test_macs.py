"""A MAC is of one hash at one position of one stream, by one key: what differs in anything has another."""

import hmac
from hashlib import sha256

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from projections.mirror.macs import Keys
from tests.mirror.attacks import FOREIGN, NEW, OLD

ledger_ids = st.text(max_size=40)
generations = st.integers(0, 1 << 63)
positions = st.integers(0, (1 << 64) - 1)
hashes = st.binary(max_size=40)  # of entries that anybody made
entries = st.tuples(ledger_ids, generations, positions, hashes)


@given(entries)
def test_the_first_key_signs_and_all_verify(entry: tuple[str, int, int, bytes]) -> None:
    ledger_id, generation, position, hash = entry
    mac = Keys((NEW,)).of(ledger_id, generation).mac(position, hash)
    assert len(mac) == sha256().digest_size
    assert Keys((NEW, OLD)).of(ledger_id, generation).mac(position, hash) == mac
    for keys in (Keys((NEW,)), Keys((NEW, OLD)), Keys((OLD, NEW))):
        assert keys.of(ledger_id, generation).is_valid(position, hash, mac)
    assert not Keys((OLD, FOREIGN)).of(ledger_id, generation).is_valid(position, hash, mac)


@given(entries, entries)
def test_no_two_entries_have_one_mac(one: tuple[str, int, int, bytes], other: tuple[str, int, int, bytes]) -> None:
    """The ledger's id may be anything: where it ends and the rest begins, its length says."""
    assume(one != other)
    macs = [Keys((NEW,)).of(*each[:2]).mac(*each[2:]) for each in (one, other)]
    assert macs[0] != macs[1]


@given(entries, st.binary(max_size=40))
def test_no_other_bytes_are_a_mac(entry: tuple[str, int, int, bytes], bytes: bytes) -> None:
    ledger_id, generation, position, hash = entry
    authenticator = Keys((NEW, OLD)).of(ledger_id, generation)
    assume(bytes not in [Keys((key,)).of(ledger_id, generation).mac(position, hash) for key in (NEW, OLD)])
    assert not authenticator.is_valid(position, hash, bytes)


def test_that_of_another_generation_is_as_if_made_for_it() -> None:
    assert Keys((NEW,)).of("L", 0).of(3).mac(7, bytes(32)) == Keys((NEW,)).of("L", 3).mac(7, bytes(32))


def test_the_form_never_changes() -> None:
    """What is stored must verify for ever, and others may write it: docs/mirror.md tells the form."""
    text = (
        b"numbering-ledger: entry of a mirror, 1"
        + (1).to_bytes(8)
        + b"L"
        + (2).to_bytes(8)
        + (3).to_bytes(8)
        + bytes(32)
    )
    assert Keys((NEW,)).of("L", 2).mac(3, bytes(32)) == hmac.digest(NEW, text, "sha256")


@pytest.mark.parametrize("keys", [Keys((NEW,)), Keys((NEW, OLD))])
def test_nobody_sees_a_key_by_accident(keys: Keys) -> None:
    for shown in (repr(keys), str(keys), repr(keys.of("L", 1))):
        assert NEW.hex() not in shown
        assert repr(NEW) not in shown
