"""What the golden files hold: an entry of every event type, and a small log with the state that it folds to.

`python -m tests.golden.samples`, in the repository's root, writes the files that are missing, and appends to the log
what commands it lacks. It never writes over anything: the bytes of `events/` and `log.jsonl` are those of logs that
exist, and stay what they are for ever. A new version of an event gets new samples, beside the old ones, which its
upcaster must still read.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from hashlib import sha256
from pathlib import Path

from ledger import chain
from ledger.codec import Entry, decode, encode
from ledger.domain.calendar import Reset
from ledger.domain.commands import (
    AcceptStops,
    AdjustMaximum,
    AdjustSequence,
    Assign,
    Cancel,
    Choice,
    CloseLedger,
    ClosePeriod,
    Confirm,
    Decidable,
    DefineSeries,
    Envelope,
    Expire,
    Extend,
    Fence,
    Import,
    Issue,
    Link,
    OpenLedger,
    OpenPeriod,
    Original,
    RaiseFormat,
    ReopenPeriod,
    ReopenSeries,
    Reserve,
    ResetSequence,
    RetireSeries,
    Void,
    WithOriginal,
)
from ledger.domain.events import (
    DATED_AHEAD,
    DocumentLinked,
    FormatRaised,
    LedgerClosed,
    LedgerOpened,
    MaximumAdjusted,
    NumberAssigned,
    Numbering,
    NumbersConfirmed,
    NumbersImported,
    NumbersReserved,
    NumberVoided,
    PeriodClosed,
    PeriodOpened,
    PeriodReopened,
    Print,
    ReservationCancelled,
    ReservationExpired,
    ReservationExtended,
    ReservationFenced,
    RestoreFenced,
    SequenceAdjusted,
    SequenceFenced,
    SequenceReset,
    SequenceValue,
    SeriesAmended,
    SeriesDefined,
    SeriesReopened,
    SeriesRetired,
    StartLowered,
    StopAccepted,
)
from ledger.domain.register import Register
from ledger.domain.sequence import ValueState
from ledger.domain.series import Attribute, DateOrder, Dimension, Overflow, Reuse, Series
from ledger.domain.state import FOLD_VERSION
from ledger.fold import Fold
from ledger.ports import Record
from ledger.snapshots import draft
from tests.given import GAPLESS, LETTER, LETTER_KEY, NOW, PLAIN, RFA, RFA_KEY, SECOND, Story, at, dump, series

__all__ = [
    "EVENTS",
    "FOLD_FILE",
    "LEDGER_ID",
    "LOG_FILE",
    "SAMPLES",
    "SNAPSHOT_FILE",
    "folded",
    "log",
    "record",
    "snapshot_lines",
]

DIRECTORY = Path(__file__).parent
EVENTS = DIRECTORY / "events"
LOG_FILE = DIRECTORY / "log.jsonl"
FOLD_FILE = DIRECTORY / f"fold-{FOLD_VERSION}.json"
SNAPSHOT_FILE = DIRECTORY / f"snapshot-{FOLD_VERSION}.jsonl"
LEDGER_ID = "golden"

_ENVELOPE = Envelope(bytes(range(32)), "somchai", "แก้ไขเอกสาร", "request-1", "key-1", "f" * 64)
_ANONYMOUS = Envelope(bytes(32), "anonymous")
_TOKEN = "0123456789abcdef0123456789abcdef"
_LETTER = Numbering(
    "LETTER:คคง.:สคฉ.3-01:2025",
    "LETTER",
    1,
    ("คคง.", "สคฉ.3-01"),
    "2025",
    date(2025, 6, 15),
    (),
    "2025b",
)
_RFA = Numbering(
    "LCBP3-RFA:TER:RPT:-",
    "LCBP3-RFA",
    1,
    ("TER", "RPT"),
    "-",
    date(2024, 2, 29),
    (("REV", "A"), ("ZONE", "𝄞")),
    "2025b",
)
_DERIVED = replace(_RFA, date_is_derived=True)
_EVERYTHING = series(
    '{ORG}/"{TYPE}"\\{SEQ:5}-{FY}-{YEAR:BE}-{REV}{NOTE}',
    "EVERY.thing-1_0",
    key=("TYPE", "ORG"),
    dimensions={"ORG": Dimension(values=("คคง.", "สคฉ.3-01")), "TYPE": Dimension(chars="A-Z0-9ก-ฮ%/:-", min=2, max=6)},
    attributes={
        "REV": Attribute(Dimension(chars="A-Z", max=1), default="A"),
        "NOTE": Attribute(Dimension(values=("x", "y"))),
    },
    reset=Reset.FISCAL_YEAR,
    fiscal_year_start="10-01",
    timezone="Asia/Bangkok",
    date_order=DateOrder.PERIOD,
    start=0,
    max_value=50_000,
    overflow=Overflow.WIDEN,
    reuse=Reuse.GAPLESS,
    reservation_ttl_seconds=600,
    reservation_max_lifetime_seconds=7200,
    manual=False,
    warn_at_percent=(80,),
    description="ทุกอย่าง, everything",
)

# By file: the type, the version, and what sets the sample apart.
SAMPLES = {
    "SeriesDefined-1": Entry(1, SeriesDefined(_EVERYTHING), _ENVELOPE, 0, NOW),
    "SeriesDefined-1-defaults": Entry(2, SeriesDefined(PLAIN), _ANONYMOUS, 0, NOW),
    "SequenceReset-1": Entry(
        3, SequenceReset(_LETTER.sequence, "LETTER", 1, _LETTER.key, "2025", 1), _ENVELOPE, 0, NOW
    ),
    "NumbersReserved-1": Entry(4, NumbersReserved(_LETTER, _TOKEN, ((1, 10_000),), NOW + 1), _ENVELOPE, 1, NOW),
    "NumbersReserved-1-attributes": Entry(
        5, NumbersReserved(_RFA, _TOKEN, ((3, 3), (7, 9)), 2**53 - 1), _ANONYMOUS, 0, NOW
    ),
    "NumbersConfirmed-1": Entry(
        6,
        NumbersConfirmed(_RFA, _TOKEN, ((3, 3), (7, 8)), "D-1", ((3, "D-2"), (8, "ด-3")), ((9, 9),)),
        _ENVELOPE,
        0,
        NOW,
    ),
    "NumbersConfirmed-1-defaults": Entry(7, NumbersConfirmed(_RFA, _TOKEN, ((3, 3),)), _ANONYMOUS, 0, NOW),
    "ReservationExtended-1": Entry(8, ReservationExtended(_RFA.sequence, _TOKEN, NOW + SECOND), _ENVELOPE, 0, NOW),
    "ReservationCancelled-1": Entry(9, ReservationCancelled(_RFA, _TOKEN, ((3, 3), (7, 9))), _ENVELOPE, 0, NOW),
    "ReservationExpired-1": Entry(10, ReservationExpired(_RFA, _TOKEN, ((3, 3), (7, 9))), _ANONYMOUS, 0, NOW),
    "SeriesAmended-1": Entry(11, SeriesAmended(_EVERYTHING.as_version(2)), _ENVELOPE, 0, NOW),
    "NumbersImported-1": Entry(
        12,
        NumbersImported(
            _RFA.sequence,
            "LCBP3-RFA",
            1,
            _RFA.key,
            "-",
            "2025b",
            (
                Print(date(2024, 2, 29), (("REV", "A"), ("ZONE", "𝄞")), ((3, 3), (7, 9))),
                Print(date(2025, 6, 15), (("REV", "B"), ("ZONE", "x")), ((5, 5),)),
            ),
            ((1, 2), (4, 4), (6, 6)),
            (),
        ),
        _ENVELOPE,
        0,
        NOW,
    ),
    "NumbersImported-1-skipped": Entry(
        13,
        NumbersImported(
            "PLAIN:-", "PLAIN", 2, (), "-", "2025b", (Print(date(2025, 6, 15), (), ((9, 9),)),), (), ((1, 8),)
        ),
        _ANONYMOUS,
        0,
        NOW,
    ),
    "MaximumAdjusted-1": Entry(14, MaximumAdjusted("PLAIN", 2, 5000), _ENVELOPE, 0, NOW),
    "SeriesRetired-1": Entry(15, SeriesRetired("PLAIN", 2), _ENVELOPE, 0, NOW),
    "PeriodOpened-1": Entry(16, PeriodOpened("LETTER", 1, "2026"), _ENVELOPE, 0, NOW),
    "SequenceAdjusted-1": Entry(
        17, SequenceAdjusted(_LETTER.sequence, "LETTER", 1, _LETTER.key, "2025", ((4, 8),)), _ENVELOPE, 0, NOW
    ),
    "PeriodClosed-1": Entry(
        18,
        PeriodClosed(
            _LETTER.sequence,
            "LETTER",
            1,
            _LETTER.key,
            "2025",
            1,
            12,
            (
                (ValueState.CONFIRMED, ((1, 3), (9, 9))),
                (ValueState.VOIDED, ((12, 12),)),
                (ValueState.CANCELLED, ((10, 10),)),
                (ValueState.EXPIRED, ((11, 11),)),
                (ValueState.SKIPPED, ((5, 8),)),
                (ValueState.PRE_CONTROL, ((4, 4),)),
            ),
        ),
        _ENVELOPE,
        0,
        NOW,
    ),
    "PeriodClosed-1-unused": Entry(19, PeriodClosed("PLAIN:-", "PLAIN", 1, (), "-", 0, -1, ()), _ANONYMOUS, 0, NOW),
    "PeriodReopened-1": Entry(
        30, PeriodReopened(_LETTER.sequence, "LETTER", 1, _LETTER.key, "2025"), _ENVELOPE, 0, NOW
    ),
    "SeriesReopened-1": Entry(31, SeriesReopened("PLAIN", 2), _ENVELOPE, 0, NOW),
    "NumberAssigned-1": Entry(20, NumberAssigned(_RFA, 42, "D-1", ((3, 41),)), _ENVELOPE, 0, NOW),
    "NumberAssigned-1-free": Entry(21, NumberAssigned(_RFA, 3, "ด-3"), _ANONYMOUS, 0, NOW),
    "NumberVoided-1": Entry(22, NumberVoided(_LETTER, 3, SequenceValue(_LETTER.sequence, 9)), _ENVELOPE, 0, NOW),
    "NumberVoided-1-alone": Entry(23, NumberVoided(_RFA, 3), _ANONYMOUS, 0, NOW),
    "DocumentLinked-1": Entry(28, DocumentLinked(_LETTER, 3, "ด-4", "ด-3", _TOKEN), _ENVELOPE, 0, NOW),
    "DocumentLinked-1-first": Entry(29, DocumentLinked(_RFA, 3, "D-9"), _ANONYMOUS, 0, NOW),
    "RestoreFenced-1": Entry(
        24, RestoreFenced(2, 23, NOW - SECOND, 1_000, (("LETTER", "2026"), ("LETTER", "2027"))), _ENVELOPE, 0, NOW
    ),
    "RestoreFenced-1-margins": Entry(
        30, RestoreFenced(3, 29, NOW - SECOND, 1_000, (), (("GAPLESS", 0), ("PLAIN", 7))), _ENVELOPE, 0, NOW
    ),
    "RestoreFenced-1-empty": Entry(1, RestoreFenced(1, 0, 0, 10), _ANONYMOUS, 0, NOW),
    "ReservationFenced-1": Entry(25, ReservationFenced(_RFA, _TOKEN, ((3, 3), (7, 9))), _ENVELOPE, 1, NOW),
    "SequenceFenced-1": Entry(
        26, SequenceFenced(_LETTER.sequence, "LETTER", 1, _LETTER.key, "2025", ((13, 1_012),)), _ENVELOPE, 2, NOW
    ),
    "LedgerClosed-1": Entry(31, LedgerClosed(("/srv/archive", "redis://backup:6379/0")), _ENVELOPE, 0, NOW),
    "LedgerOpened-1": Entry(32, LedgerOpened(("/srv/archive",), ("redis://backup:6379/0",)), _ENVELOPE, 0, NOW),
    "LedgerOpened-1-all": Entry(33, LedgerOpened(("/srv/archive",)), _ANONYMOUS, 0, NOW),
    "StopAccepted-1": Entry(
        37,
        StopAccepted("LOG_BEHIND", "the log ends at position 36, but this process has seen 40", 40, "1f" * 32),
        _ENVELOPE,
        0,
        NOW,
    ),
    "StopAccepted-1-alone": Entry(38, StopAccepted("EARLIER_BUILD", "หยุดเพื่อบำรุงรักษา"), _ANONYMOUS, 1, NOW),
    "FormatRaised-1": Entry(28, FormatRaised(2), _ENVELOPE, 0, NOW),
    "NumbersReserved-1-derived": Entry(30, NumbersReserved(_DERIVED, _TOKEN, ((3, 3),), NOW + 1), _ENVELOPE, 1, NOW),
    "NumbersConfirmed-1-derived": Entry(31, NumbersConfirmed(_DERIVED, _TOKEN, ((3, 3),), "D-1"), _ENVELOPE, 2, NOW),
    "NumberAssigned-1-derived": Entry(32, NumberAssigned(_DERIVED, 3, "ด-3"), _ANONYMOUS, 0, NOW),
    "NumberVoided-1-derived": Entry(33, NumberVoided(_DERIVED, 3), _ANONYMOUS, 0, NOW),
    "DocumentLinked-1-derived": Entry(34, DocumentLinked(_DERIVED, 3, "D-9"), _ANONYMOUS, 0, NOW),
    "NumbersImported-1-derived": Entry(
        35,
        NumbersImported(
            "PLAIN:-",
            "PLAIN",
            2,
            (),
            "-",
            "2025b",
            (
                Print(date(2025, 6, 15), (), ((8, 8),)),
                Print(date(2025, 6, 15), (), ((7, 7), (9, 9)), date_is_derived=True),
            ),
            (),
            ((1, 6),),
            ((7, "ด-7"), (8, "D-8")),
        ),
        _ANONYMOUS,
        0,
        NOW,
    ),
    "StartLowered-1": Entry(36, StartLowered("PLAIN:-", "PLAIN", 2, (), "-", 24, ((24, 123),)), _ENVELOPE, 1, NOW),
    "SequenceFenced-1-last": Entry(27, SequenceFenced("PLAIN:-", "PLAIN", 2, (), "-", ()), _ANONYMOUS, 0, NOW),
}


def _imported(*rows: str | tuple[str, str, str], of: Series) -> Import:
    register = Register([of], NOW)
    for line, row in enumerate(rows, 2):
        register.add(line, *((row,) if isinstance(row, str) else row))
    return register.command(skip_bad=False)


_WRONG = "sent to the wrong party"
_D_1 = Original(1, date(2025, 6, 15), (), "D-1", "letters")
_D_2 = Original(1, date(2025, 6, 15), (), "D-2")
_D_10 = Original(1, date(2025, 6, 15), (), "D-10", date_is_derived=True)

# Each command comes some seconds after the one before. Every event and every end of a reservation is among them.
_COMMANDS: list[tuple[int, Decidable]] = [
    *((0, DefineSeries((each,))) for each in (LETTER, RFA, PLAIN, GAPLESS)),
    (1, Reserve("LETTER", "letters", LETTER_KEY, count=5)),
    (1, Reserve("LETTER", "old-letter", LETTER_KEY, document_date=date(2024, 2, 29))),
    (1, Confirm("letters", "D-1", (Choice("คคง.-สคฉ.3-01-0002-2568", "D-2"), Choice("คคง.-สคฉ.3-01-0004-2568")))),
    (1, Issue(Reserve("LCBP3-RFA", "rfa", RFA_KEY, count=3, attributes={"REV": "B"}), "D-3")),
    (1, Reserve("GAPLESS", "block", count=100)),
    (1, Confirm("block", None, (Choice("G0001"), Choice("G0050")), release_rest=False)),
    (1, Reserve("GAPLESS", "short", count=4, ttl_seconds=2)),
    (1, Extend("short", 5)),
    (5, Expire("short")),
    (1, Reserve("GAPLESS", "reused", count=2)),
    (1, Confirm("reused", "D-4", (Choice("G0102"),))),
    (1, Cancel("block")),
    (1, Reserve("GAPLESS", "open", count=60)),
    (1, Reserve("PLAIN", "plain", ttl_seconds=1)),
    (1, Expire("plain")),
    (1, Extend("open", 3600)),
    (1, Extend("old-letter", 1)),
    (1, DefineSeries((Series.define("LCBP3-RFA", replace(RFA.definition, description="amended")),))),
    (1, _imported("คคง.-สคฉ.3-0003-2566", "คคง.-สคฉ.3-0001-2566", "คคง.-สคฉ.3-01-0009-2568", of=LETTER)),
    (1, _imported("G0090", "G0400", of=GAPLESS)),
    (1, Reserve("GAPLESS", "after", count=3)),
    (1, WithOriginal(Void("คคง.-สคฉ.3-01-0002-2568", _WRONG, "replacement", replace=True), _D_2)),
    (1, WithOriginal(Void("คคง.-สคฉ.3-01-0010-2568", _WRONG, "none"), _D_2)),
    (1, Assign("คคง.-สคฉ.3-01-0003-2568", "D-5", "given on paper")),
    (1, Assign("คคง.-สคฉ.3-01-0014-2568", "D-6", "given on paper")),
    (1, AdjustSequence("LETTER:คคง.:สคฉ.3-01:2025", 20, "the book goes on at 20")),
    (1, AdjustMaximum("GAPLESS", 5000, "enough")),
    (1, OpenPeriod("LETTER", "2026")),
    (1, ResetSequence("LETTER:คคง.:สคฉ.3-01:2025", "2027")),
    (1, Cancel("after")),
    (1, Cancel("open")),
    (1, ClosePeriod("GAPLESS:-")),
    (1, DefineSeries((series("{YYYY}/{SEQ:4}", "PLAIN", reset=Reset.YEARLY),))),
    (1, Reserve("PLAIN", "era")),
    (1, RetireSeries("LCBP3-RFA")),
    (1, DefineSeries((series("R-{SEQ:4}", "POOLED", reuse=Reuse.GAPLESS, max_value=9),))),
    (1, Reserve("POOLED", "pooled", count=3)),
    (1, Confirm("pooled", "D-7", (Choice("R-0002"),))),
    (1, Reserve("LETTER", "lost", LETTER_KEY, count=2)),
    (1, Fence(10, NOW, 6, "restored from the archive of June", (("LETTER", "2028"),))),
    (1, Reserve("LETTER", "fenced", {"ORIGINATOR": "สคฉ.3", "RECIPIENT": "คคง."})),
    (1, OpenPeriod("LETTER", "2029")),
    (1, Fence(0, 0, 4, "restored once more")),
    (1, Reserve("LETTER", "twice", {"ORIGINATOR": "สคฉ.3", "RECIPIENT": "สคฉ.3"}, document_date=date(2029, 1, 1))),
    (1, RaiseFormat(2, "by numbering-ledger 0.1.0")),
    (1, WithOriginal(Link("คคง.-สคฉ.3-01-0004-2568", "D-8", "filed under another name"), _D_1)),
    (1, WithOriginal(Link("คคง.-สคฉ.3-01-0004-2568", "D-9", "and under another one"), _D_1)),
    (1, RaiseFormat(3, "by numbering-ledger 0.1.0")),
    (1, Assign("คคง.-สคฉ.3-01-0050-2568", "D-10", "given on paper")),
    (1, Assign("คคง.-สคฉ.3-01-0052-2568", "D-11", "given on paper", date(2025, 3, 31))),
    (1, _imported(("คคง.-สคฉ.3-01-0060-2568", "2025-04-01", "D-12"), "คคง.-สคฉ.3-01-0061-2568", of=LETTER)),
    (1, WithOriginal(Void("คคง.-สคฉ.3-01-0050-2568", _WRONG, "derived", replace=True), _D_10)),
    (1, DefineSeries((Series.define("LETTER", replace(LETTER.definition, start=0)),))),
    (1, Assign("คคง.-สคฉ.3-01-0000-2568", "D-13", "found in an old binder", date(2025, 1, 2))),
    (1, Fence(0, 0, 4, "restored with margins", (), (("POOLED", 1), ("LETTER", 0)))),
    (1, CloseLedger(("/srv/archive", "redis://backup:6379/0"), "the data centre moves")),
    (9, OpenLedger(("/srv/archive",), ("redis://backup:6379/0",), "it has moved")),
    (1, Reserve("LETTER", "behind", {"ORIGINATOR": "สคฉ.3", "RECIPIENT": "สคฉ.3"}, document_date=date(2029, 1, 1))),
    (1, ReopenSeries("LCBP3-RFA", "retired by mistake")),
    (1, OpenPeriod("LETTER", "2030", LETTER_KEY)),
    (1, ClosePeriod("LETTER:คคง.:สคฉ.3-01:2030")),
    (1, ReopenPeriod("LETTER:คคง.:สคฉ.3-01:2030", "closed by mistake")),
    (1, AcceptStops((StopAccepted(DATED_AHEAD, "a clock was wrong"),), "the clock was set right")),
]


def record(body: bytes, position: int, previous: bytes) -> Record:
    """Make the row of a body alone; its other columns are not read."""
    return Record(position, "", 0, "", None, b"", 0, body, at("2025-06-15T03:00:00Z"), chain.link(previous, body))


def log() -> list[Record]:
    """The golden log, read from its file."""
    records: list[Record] = []
    previous = chain.genesis(LEDGER_ID)
    for position, body in enumerate(LOG_FILE.read_bytes().splitlines(), 1):
        records.append(record(body, position, previous))
        previous = records[-1].hash
    return records


def folded(fold: Fold) -> bytes:
    """What a fold knows: where it stands, the hash of the whole log, and the state."""
    return f'{{"position":{fold.position},"hash":"{fold.hash.hex()}","state":{dump(fold.state)}}}\n'.encode()


def snapshot_lines(fold: Fold) -> bytes:
    """The body of a fold's snapshot before it is compressed."""
    with draft(fold) as made:
        return b"\n".join(made.lines)


def _lacking() -> Iterator[bytes]:
    """Give the bodies of the commands that the log does not hold yet."""
    fold, records = Fold(LEDGER_ID), log()
    fold.take(records)
    entries = [decode(record) for record in records]
    held = {entry.envelope.command_id for entry in entries}
    story = Story(now=entries[-1].recorded_at if entries else NOW)
    story.state = fold.state
    position, previous = fold.position, fold.hash
    for number, (seconds, command) in list(enumerate(_COMMANDS))[len(held) :]:
        story.now += seconds * SECOND
        envelope = Envelope(sha256(b"%d" % number).digest(), "somchai")
        for ordinal, event in enumerate(story.when(command)):
            position += 1
            encoded = encode(Entry(position, event, envelope, ordinal, story.now), previous)
            previous = encoded.hash
            yield encoded.body


def _write(path: Path, content: bytes) -> None:
    if not path.exists():
        path.write_bytes(content)
        print(path.relative_to(DIRECTORY))


def main() -> None:
    EVENTS.mkdir(exist_ok=True)
    for name, entry in SAMPLES.items():
        _write(EVENTS / f"{name}.json", encode(entry, bytes(32)).body)
    lacking = [body + b"\n" for body in _lacking()]
    with LOG_FILE.open("ab") as file:
        file.writelines(lacking)
    fold = Fold(LEDGER_ID)
    fold.take(log())
    _write(FOLD_FILE, folded(fold))
    _write(SNAPSHOT_FILE, snapshot_lines(fold))


if __name__ == "__main__":
    main()
