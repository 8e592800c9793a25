"""Which text may enter the ledger: printable Unicode in normal form C, so that equal text is equal bytes."""

import re
import unicodedata

__all__ = ["flaw_of_text"]

# Of Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt), those that are not of category Cf or Cn:
# joiners, fillers and variation selectors, which print nothing, so that two texts that look the same would differ.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def flaw_of_text(text: str, *, at_most: int) -> str | None:
    """Say what is wrong with `text` (1 to `at_most` characters), or None when nothing is."""
    if not 1 <= len(text) <= at_most:
        return f"must have 1 to {at_most} characters, not {len(text)}"
    if not text.isprintable():
        culprit = next(character for character in text if not character.isprintable())
        return f"holds a control, format or unassigned character, U+{ord(culprit):04X}; remove it"
    invisible = None if text.isascii() else _INVISIBLE.search(text)
    if invisible:
        return f"holds the invisible character U+{ord(invisible[0]):04X}; remove it"
    if not unicodedata.is_normalized("NFC", text):
        return "is not in Unicode normal form C (NFC); send it normalised"
    if text[0] == " " or text[-1] == " ":
        return "begins or ends with a space; remove it"
    return None
