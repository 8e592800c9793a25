"""How fast the ledger is, beside its limit and its classical peer, on this machine: `numbering bench`.

Only in the source tree: it starts the private servers of the tests, and is no part of what is installed.
"""
