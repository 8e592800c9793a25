"""Formats: which event types, at which versions, may be written to a ledger.

A ledger has a format, which the last FormatRaised says; before the first it is 1. An event says of itself the first
format in which it may be written (`Event.format`). So processes of a build that does not know an event are beside those
that do until an operator says that none of them is left: `numbering upgrade`.
"""

__all__ = ["DERIVED_DATES", "FIRST_FORMAT", "FORMAT_STREAM", "NEWEST_FORMAT", "REPLACED_FORMS"]

FIRST_FORMAT = 1  # of every ledger of which no event says another
NEWEST_FORMAT = 3  # that this build knows

# From this format on an event may say that a date is derived, and an import tell documents.
DERIVED_DATES = 3

# From this format on an import may hold numbers as a replaced version printed them. No field of its event tells.
REPLACED_FORMS = 3

# The stream of FormatRaised. One of its own: the newest event of `*` says which generation the ledger is of.
FORMAT_STREAM = "*format"
