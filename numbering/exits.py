"""The exit codes of `numbering`."""

__all__ = ["FAULT", "INTERRUPTED", "REJECTED", "USAGE_ERROR"]

REJECTED = 1  # by the ledger's rules; or something was found
USAGE_ERROR = 2
FAULT = 3  # the ledger could not be used
INTERRUPTED = 130  # as shells have it: 128 and the number of SIGINT
