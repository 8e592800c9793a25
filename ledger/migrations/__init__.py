"""How a ledger's tables came to be, one step after the other. A step that was applied anywhere is never edited."""

__all__ = ["NEWEST"]

NEWEST = "0003"
