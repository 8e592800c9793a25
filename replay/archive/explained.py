"""What stands beside the segments of an archive, for whoever opens it in ten years with nothing else at hand."""

from ledger.chain import genesis

__all__ = ["CHECK", "FILE", "explained"]

FILE = "README.txt"

# It reads what `zstdcat` writes. A test runs it.
CHECK = """\
import hashlib, sys

previous = hashlib.sha256(b"numbering-ledger:" + sys.argv[1].encode()).digest()
position = 0
for line in sys.stdin.buffer:
    position += 1
    hash, event = line[9:73].decode(), line[83:-2]
    previous = hashlib.sha256(previous + event).digest()
    if previous.hex() != hash or b'"position":%d,' % position not in event:
        sys.exit(f"position {position} is damaged, or the event before it is missing")
print(f"whole: {position}:{previous.hex()}")
"""

_TEXT = """\
The archive of a ledger of document numbers, {ledger_id}.

manifest.json names the segments, in order: which events each holds, the hash with which it begins and ends, and the
SHA-256 of its bytes. What stands behind those bytes, and files that it does not name, an interrupted run has left: they
do not count. `complete_until` is an instant: every event that was recorded up to then is here.

A segment is text, compressed by zstd: one line for each event, from position 1 on, without a gap.

    {{"hash":"<64 hexadecimal digits>","event":{{"actor":…,"data":{{…}},"position":1,"recorded_at":…,"type":…}}}}

    hash         SHA-256 of the hash before (32 bytes) and of the event's bytes as they stand in the line
                 before the first event stands SHA-256("numbering-ledger:{ledger_id}"), that is
                 {genesis}
    recorded_at  microseconds since 1970-01-01 UTC
    data         what happened: in which sequence, to which values (ranges [first, last]), for which documents, and
                 the date and attributes that were printed

With the program that wrote it:

    numbering verify .                 prove that nothing is missing or changed
    numbering history NUMBER --from .  who got a number, when and why
    numbering replay --from .          all sequences, reservations and numbers as of any time

With nothing but zstd and Python: save the lines below as check.py, and compare what they print with what was written
down when the archive was made.

    zstdcat events-*.jsonl.zst | python3 check.py {ledger_id}

{check}"""


def explained(ledger_id: str) -> bytes:
    """Write the file for a ledger's archive."""
    check = "".join(f"    {line}\n" if line else "\n" for line in CHECK.splitlines())
    return _TEXT.format(ledger_id=ledger_id, genesis=genesis(ledger_id).hex(), check=check).encode()
