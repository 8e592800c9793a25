"""`numbering doctor`: looks at the ledger, the machine and the mirror's Redis, and says what to mend.

It changes nothing, makes no file, and shows no password. Every check is bounded in time, and one that fails in a way
nobody thought of is a finding like any other.
"""

from numbering.doctor.findings import Finding, Level

__all__ = ["Finding", "Level"]
