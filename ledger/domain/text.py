"""Which text may enter the ledger: printable Unicode in normal form C, so that equal text is equal bytes."""

import unicodedata

__all__ = ["flaw_of_text"]


def flaw_of_text(text: str, *, at_most: int) -> str | None:
    """Say what is wrong with `text` (1 to `at_most` characters), or None when nothing is."""
    if not 1 <= len(text) <= at_most:
        return f"must have 1 to {at_most} characters, not {len(text)}"
    if not text.isprintable():
        culprit = next(character for character in text if not character.isprintable())
        return f"holds a control, format or unassigned character, U+{ord(culprit):04X}; remove it"
    if not unicodedata.is_normalized("NFC", text):
        return "is not in Unicode normal form C (NFC); send it normalised"
    if text[0] == " " or text[-1] == " ":
        return "begins or ends with a space; remove it"
    return None
