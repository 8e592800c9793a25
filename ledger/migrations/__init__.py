"""How a ledger's tables came to be, one step after the other. A step that was applied anywhere is never edited.

From 0003 on, steps only add to what is there: builds that know the steps up to FOUNDATION go on working beside them.
"""

__all__ = ["FOUNDATION", "NEWEST"]

FOUNDATION = "0002"  # a build that does not know this step cannot work on the tables; one that does, can
NEWEST = "0006"
