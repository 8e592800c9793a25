"""The command line, `numbering`. Exit codes: 0 done, 1 a finding or rejection, 2 usage, 3 a fault, 130 interrupted."""

from numbering.cli.main import main

__all__ = ["main"]
