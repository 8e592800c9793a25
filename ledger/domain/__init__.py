"""The rules of numbering, pure: no I/O, no clock, no randomness."""
