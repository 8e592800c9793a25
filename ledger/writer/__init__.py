"""Group commit: one task per process that turns waiting commands into committed events, and its snapshots."""

from ledger.writer.snapshotter import Snapshotter
from ledger.writer.waiting import Outcome, Together
from ledger.writer.writer import Copy, Limits, Writer

__all__ = ["Copy", "Limits", "Outcome", "Snapshotter", "Together", "Writer"]
