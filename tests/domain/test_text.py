import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.text import flaw_of_text
from tests.given import QUICK

AT_MOST = 12


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "LCBP3-C2_7/x",
        "สคฉ.3-01",
        "ก่อสร้าง",  # Thai vowels and tones are marks, and belong
        "น้ำ",
        "é",
        "각",
        "𝄞",
        "two words",
        "q\u0301",  # has no composed form
        "x" * AT_MOST,
    ],
)
def test_printable_nfc_text_is_accepted(text: str) -> None:
    assert flaw_of_text(text, at_most=AT_MOST) is None


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("", "1 to 12 characters, not 0"),
        ("x" * (AT_MOST + 1), "1 to 12 characters, not 13"),
        ("a\nb", "U+000A"),
        ("a\tb", "U+0009"),
        ("a\0", "U+0000"),
        ("a\x7f", "U+007F"),
        ("a\x85", "U+0085"),
        ("a\u00a0b", "U+00A0"),  # a space that is not the space
        ("a\u3000b", "U+3000"),
        ("a\u00adb", "U+00AD"),  # soft hyphen
        ("a\u200bb", "U+200B"),  # zero width space, non-joiner, joiner
        ("a\u200cb", "U+200C"),
        ("a\u200db", "U+200D"),
        ("a\u2060b", "U+2060"),
        ("\ufeffab", "U+FEFF"),
        ("a\u200eb", "U+200E"),  # direction marks and overrides
        ("a\u202eb", "U+202E"),
        ("a\u2028b", "U+2028"),
        ("a\ue000", "U+E000"),  # private use
        ("a\u0378", "U+0378"),  # unassigned
        ("a\ud800", "U+D800"),  # half of a surrogate pair
        ("e\u0301", "NFC"),
        ("\u0e01\u0e48\u0e38", "NFC"),  # a Thai tone before the vowel below: not in canonical order
        ("\u1100\u1161", "NFC"),  # Hangul written in letters
        ("\u212b", "NFC"),  # the Ångström sign is Å
        ("\u0958", "NFC"),  # excluded from composition
        (" a", "space"),
        ("a ", "space"),
        (" ", "space"),
    ],
)
def test_other_text_is_refused_with_the_reason(text: str, flaw: str) -> None:
    found = flaw_of_text(text, at_most=AT_MOST)
    assert found is not None
    assert flaw in found


# These are no control or format characters, but invisible all the same: two values that look alike could differ.
@pytest.mark.parametrize(
    "text", ["A\ufe0f", "A\u034f", "A\u180b", "A\U000e0100", "\u115f", "\u3164", "\uffa0", "A\u17b4"], ids=ascii
)
def test_invisible_text_is_refused(text: str) -> None:
    assert flaw_of_text(text, at_most=AT_MOST) is not None


@QUICK
@given(st.text(max_size=4))
def test_accepted_text_is_equal_only_to_itself(text: str) -> None:
    if flaw_of_text(text, at_most=4) is None:
        assert text.encode().decode() == text.strip() == unicodedata.normalize("NFC", text)
        assert all(unicodedata.category(character)[0] not in "CZ" for character in text.replace(" ", ""))
