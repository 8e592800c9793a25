"""What is done by hand, on the command line: the same story as over HTTP, told in the same JSON."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from ledger.domain.rejection import Code
from ledger.ports import Fault
from ledger.stores import open_store
from ledger.writer import Writer
from tests.api.client import RealTime, served
from tests.numbering.command import asked, ran, rejection, said

pytestmark = pytest.mark.usefixtures("invoices")

INVOICES = """\
[series.INV]
template = "INV/{YYYY}/{SEQ:4}-{REV}"
reset = "yearly"
max_value = 200
attributes.REV = { chars = "A-Z", max = 1, default = "A" }

[series.VOUCHER]
template = "{BOOK}-{YYYY}-{SEQ:2}"
reset = "yearly"
dimensions.BOOK.values = ["ร/1", "จ"]
"""
DATE = ("--date", "2025-03-01")
WHY = ("--reason", "ตามคำขอของผู้ตรวจ")
RUNNING, FAR = ("--accept", "running_period"), ("--accept", "far_period")
ACCEPT_RUNNING, ACCEPT_FAR = {"accept": ["running_period"]}, {"accept": ["far_period"]}


@pytest.fixture
def invoices(empty: Path) -> Path:
    Path("invoices.toml").write_text(INVOICES, encoding="utf-8")
    said("series", "apply", "invoices.toml")
    for number in range(1, 4):
        said("issue", "INV", *DATE, "--document", f"D-{number}")
    return empty


# The same as over HTTP

INV, REASON = "/v1/sequences/INV:2025", "ตามคำขอของผู้ตรวจ"
VOUCHER = {"series": "VOUCHER", "key": {"BOOK": "ร/1"}, "document_date": "2025-03-01", "document": "V"}
BATCH = [
    {"op": "issue", **VOUCHER},
    {"op": "void", "number": "จ-2025-01", "reason": "never given out at all"},
    {"op": "adjust_sequence", "sequence": "VOUCHER:ร%2F1:2025", "next_value": 5, "reason": "on paper"},
    {"op": "confirm", "token": "none"},
    {"op": "dance"},
]

# Words, method, path and body of each step.
STEPS: list[tuple[tuple[str, ...], str, str, dict[str, Any] | None]] = [
    (("assign", "INV/2025/0007-A", "--document", "D-7", *WHY), "POST", "/v1/assign",
     {"number": "INV/2025/0007-A", "document": "D-7", "reason": REASON}),
    (("assign", "INV/2025/0007-A", "--document", "D-8", *WHY), "POST", "/v1/assign",
     {"number": "INV/2025/0007-A", "document": "D-8", "reason": REASON}),
    (("link", "INV/2025/0001-A", "--document", "D-9", *WHY), "POST", "/v1/numbers/INV%2F2025%2F0001-A/document",
     {"document": "D-9", "reason": REASON}),
    (("link", "INV/2025/0001-B", "--document", "D-9", *WHY), "POST", "/v1/numbers/INV%2F2025%2F0001-B/document",
     {"document": "D-9", "reason": REASON}),
    (("show", "INV/2025/0001-A"), "GET", "/v1/numbers/INV%2F2025%2F0001-A", None),
    (("void", "INV/2025/0002-A", *WHY, "--replace"), "POST", "/v1/numbers/INV%2F2025%2F0002-A/void",
     {"reason": REASON, "replace": True}),
    (("void", "INV/2025/0002-A", *WHY), "POST", "/v1/numbers/INV%2F2025%2F0002-A/void", {"reason": REASON}),
    (("void", "INV/2025/0003-B", *WHY), "POST", "/v1/numbers/INV%2F2025%2F0003-B/void", {"reason": REASON}),
    (("void", "INV/2025/0003-A", "--reason", "short"), "POST", "/v1/numbers/INV%2F2025%2F0003-A/void",
     {"reason": "short"}),
    (("show", "INV/2025/0002-B"), "GET", "/v1/numbers/INV%2F2025%2F0002-B", None),
    (("show", "INV/2025/0099-A"), "GET", "/v1/numbers/INV%2F2025%2F0099-A", None),
    (("adjust", "INV:2025", "--next", "182", *WHY), "POST", f"{INV}/adjust", {"next_value": 182, "reason": REASON}),
    (("adjust", "INV:2025", "--next", "182", *WHY, "--dry-run"), "POST", f"{INV}/adjust",
     {"next_value": 182, "reason": REASON, "dry_run": True}),
    (("adjust", "INV:2025", "--next", "182", *WHY, "--max-skipped", "172"), "POST", f"{INV}/adjust",
     {"next_value": 182, "reason": REASON, "max_skipped": 172}),
    (("adjust", "INV:2025", "--next", "182", *WHY, "--max-skipped", "173"), "POST", f"{INV}/adjust",
     {"next_value": 182, "reason": REASON, "max_skipped": 173}),
    (("sequence", "INV:2025"), "GET", INV, None),
    (("sequence", "INV:1999"), "GET", "/v1/sequences/INV:1999", None),
    (("maximum", "INV", "500", *WHY), "POST", "/v1/series/INV/maximum", {"max_value": 500, "reason": REASON}),
    (("maximum", "INV", "400", *WHY, "--dry-run"), "POST", "/v1/series/INV/maximum",
     {"max_value": 400, "reason": REASON, "dry_run": True}),
    (("maximum", "INV", "50", *WHY), "POST", "/v1/series/INV/maximum", {"max_value": 50, "reason": REASON}),
    (("open", "VOUCHER", "2090"), "POST", "/v1/series/VOUCHER/periods", {"period": "2090"}),
    (("open", "VOUCHER", "2090", "--dry-run"), "POST", "/v1/series/VOUCHER/periods",
     {"period": "2090", "dry_run": True}),
    (("open", "VOUCHER", "2090", *FAR), "POST", "/v1/series/VOUCHER/periods", {"period": "2090", **ACCEPT_FAR}),
    (("open", "VOUCHER", "2090", *FAR), "POST", "/v1/series/VOUCHER/periods", {"period": "2090", **ACCEPT_FAR}),
    (("open", "VOUCHER", "2091", "-k", "BOOK=จ", *WHY, *FAR), "POST", "/v1/series/VOUCHER/periods",
     {"period": "2091", "key": {"BOOK": "จ"}, "reason": REASON, **ACCEPT_FAR}),
    (("reset", "INV:2025", "--period", "2092"), "POST", f"{INV}/reset", {"period": "2092"}),
    (("reset", "INV:2025", "--period", "2092", *FAR), "POST", f"{INV}/reset", {"period": "2092", **ACCEPT_FAR}),
    (("gaps", "INV:2025", "--all", "--first", "2", "--limit", "3"), "GET", f"{INV}/gaps?first=2&limit=3", None),
    (("gaps", "INV:2025", "--state", "VOIDED", "--state", "SKIPPED"), "GET", f"{INV}/gaps?state=VOIDED,SKIPPED", None),
    (("close", "INV:2025", *WHY), "POST", f"{INV}/close", {"reason": REASON}),
    (("close", "INV:2025"), "POST", f"{INV}/close", {}),
    (("close", "INV:2092"), "POST", "/v1/sequences/INV:2092/close", {}),
    (("close", "INV:2092", "--dry-run"), "POST", "/v1/sequences/INV:2092/close", {"dry_run": True}),
    (("close", "INV:2092", *RUNNING), "POST", "/v1/sequences/INV:2092/close", ACCEPT_RUNNING),
    (("reopen", "INV:2092", *WHY), "POST", "/v1/sequences/INV:2092/reopen", {"reason": REASON}),
    (("reopen", "INV:2092", *WHY), "POST", "/v1/sequences/INV:2092/reopen", {"reason": REASON}),
    (("gaps", "INV:2025", "--all"), "GET", f"{INV}/gaps", None),
    (("batch", "batch.json"), "POST", "/v1/batch", {"commands": BATCH}),
    (("batch", "batch.json", "--atomic"), "POST", "/v1/batch", {"commands": BATCH, "atomic": True}),
    (("sequences", "--series", "VOUCHER", "--limit", "1"), "GET", "/v1/sequences?series=VOUCHER&limit=1", None),
    (("sequences",), "GET", "/v1/sequences", None),
    (("retire", "VOUCHER", *WHY), "POST", "/v1/series/VOUCHER/retire", {"reason": REASON}),
    (("retire", "VOUCHER", *WHY, *RUNNING), "POST", "/v1/series/VOUCHER/retire", {"reason": REASON, **ACCEPT_RUNNING}),
    (("reopen", "VOUCHER", *WHY), "POST", "/v1/series/VOUCHER/reopen", {"reason": REASON}),
    (("retire", "VOUCHER", *RUNNING), "POST", "/v1/series/VOUCHER/retire", ACCEPT_RUNNING),
    (("series", "list"), "GET", "/v1/series", None),
]  # fmt: skip


def masked(text: str) -> str:
    text = re.sub(r'"(actor|time|token|exhausted_on|per_day)":("[^"]*"|[^,}]*)', r'"\1":"…"', text)
    return re.sub(r"by `?numbering[^\"]*|it first|(run|send) it again with [^,]*", "…", text)


async def http_answers(file: Path) -> list[str]:
    at = f"sqlite+aiosqlite:///{file}"
    clock = RealTime()
    stores = [open_store(at, now=clock.now), open_store(at)]
    try:
        async with served(*stores, clock=clock) as api:
            return [without_status(await api.http.request(method, path, json=body)) for _, method, path, body in STEPS]
    finally:
        for store in stores:
            await store.close()


def without_status(response: httpx.Response) -> str:
    """The answer's own text; an error has a status, which only HTTP has."""
    if response.status_code < 400:
        return response.text
    return response.text.replace(f'"status":{response.status_code},', "")


def test_json_is_what_http_answers(invoices: Path) -> None:
    Path("batch.json").write_text(json.dumps({"commands": BATCH}), encoding="utf-8")
    other = invoices / "other.db"
    other.write_bytes((invoices / "numbering.db").read_bytes())
    over_http = asyncio.run(http_answers(other))
    for (words, *_), theirs in zip(STEPS, over_http, strict=True):
        assert masked(ran(*words, "--json").stdout) == masked(theirs), words


# Tables for people


def test_a_history_is_told_step_by_step() -> None:
    said("void", "INV/2025/0002-A", *WHY, "--replace")
    told = [" ".join(line.split()) for line in said("show", "INV/2025/0002-C").splitlines()]
    assert told[:2] == ["number INV/2025/0002-A", "asked INV/2025/0002-C"]
    assert "replaced by INV/2025/0004-A" in told
    assert [line.split()[1] for line in told[-3:]] == ["RESERVED", "CONFIRMED", "VOIDED"]
    assert "ตามคำขอของผู้ตรวจ" in told[-1]
    assert re.search("^replaces +INV/2025/0002-A$", said("show", "INV/2025/0004-A"), re.MULTILINE)


def test_a_number_is_linked_to_another_document() -> None:
    told = " ".join(said("link", "INV/2025/0002-A", "--document", "D-9", *WHY).split())
    assert "document D-9 previous document D-2" in told
    shown = said("show", "INV/2025/0002-A")
    assert re.search("^document +D-9$", shown, re.MULTILINE)
    assert re.search("CONFIRMED +DocumentLinked .* D-9 .*ตามคำขอของผู้ตรวจ", shown)


def test_gaps_are_what_is_not_confirmed() -> None:
    said("adjust", "INV:2025", "--next", "10", *WHY)
    said("void", "INV/2025/0001-A", *WHY)
    told = said("gaps", "INV:2025").splitlines()
    assert [line.split()[:3] for line in told[-2:]] == [
        ["1", "VOIDED", "NumberVoided"],
        ["4-9", "SKIPPED", "SequenceAdjusted"],
    ]
    said("close", "INV:2025")
    assert "frozen high water  9" in said("gaps", "INV:2025").splitlines()


def test_more_than_a_page_is_said() -> None:
    said("void", "INV/2025/0002-A", *WHY)
    assert "go on with --first 3" in said("gaps", "INV:2025", "--all", "--limit", "2")
    said("issue", "VOUCHER", "-k", "BOOK=จ", *DATE, "--document", "V")
    assert "go on with --after INV:2025" in said("sequences", "--limit", "1")


def test_sequences_show_how_full_they_are() -> None:
    said("adjust", "INV:2025", "--next", "182", *WHY, "--max-skipped", "200")
    heading, line = said("sequences").splitlines()
    assert heading.split() == [
        "sequence",
        "high",
        "water",
        "next",
        "value",
        "max",
        "value",
        "percent",
        "warnings",
        "exhausted",
        "on",
        "closed",
    ]
    assert line.split() == ["INV:2025", "181", "182", "200", "90", "90", "no"]


def test_a_batch_tells_each_answer_and_ends_with_1_when_one_is_refused() -> None:
    Path("batch.json").write_text(json.dumps({"commands": BATCH}), encoding="utf-8")
    told = said("batch", "batch.json", exit_code=1).splitlines()
    assert [line.split()[1] for line in told[1:]] == ["201", "409", "200", "422", "422"]
    assert told[1].split()[2] == "ร/1-2025-01"
    Path("batch.json").write_text(json.dumps({"commands": [{"op": "issue", **VOUCHER}]}), encoding="utf-8")
    assert "ร/1-2025-05" in said("batch", "batch.json", "--atomic")


def test_a_batch_that_could_not_be_served_ends_with_3(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise Fault(Code.DATABASE_FULL, "no space left")

    monkeypatch.setattr(Writer, "enqueue", full)
    Path("batch.json").write_text(json.dumps({"commands": [{"op": "issue", **VOUCHER}]}), encoding="utf-8")
    assert "NB020 DATABASE_FULL: no space left" in said("batch", "batch.json", exit_code=3)


def test_a_batch_with_a_key_has_one_effect() -> None:
    Path("batch.json").write_text(json.dumps({"commands": [{"op": "issue", **VOUCHER}]}), encoding="utf-8")
    words = ("batch", "batch.json", "--idempotency-key", "K")
    first = asked(*words)
    again = ran(*words, "--json")
    assert json.loads(again.stdout) == first
    assert "the same answer as the first time" in again.stderr


def test_a_retired_series_is_listed_as_such() -> None:
    assert "retired" not in said("series", "list")
    said("retire", "VOUCHER", *RUNNING)
    told = said("series", "list").splitlines()
    assert told[0].split()[2] == "retired"
    assert [line.split()[2] == "yes" for line in told[1:]] == [False, True]


def test_a_series_without_a_sequence_is_said_to_have_none() -> None:
    assert "no sequence is here" in said("sequences", "--series", "VOUCHER")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("close", "VOUCHER:จ"), "NB044 SEQUENCE_NOT_FOUND: no sequence has the id 'VOUCHER:จ'; it is written CODE:"),
        (("gaps", "VOUCHER:จ:2025"), "NB044 SEQUENCE_NOT_FOUND: sequence VOUCHER:จ:2025 has not begun"),
        (("adjust", "INV:2025", "--next", "3", *WHY), "NB048 NOT_FORWARD: next_value 3 is not ahead"),
        (("void", "INV/2025/0009-A", *WHY), "NB042 NUMBER_NOT_CONFIRMED: 'INV/2025/0009-A'"),
        (("void", "INV", *WHY), "NB041 NUMBER_NOT_FOUND: no template of this ledger prints 'INV'"),
        (("open", "INV", "25"), "NB006 INVALID_FORMAT: period is '25', which is no yearly period"),
        (("retire", "NONE"), "NB001 CONFIG_NOT_FOUND: no series has the code 'NONE'"),
        (("maximum", "INV", "99999", *WHY), "NB006 INVALID_FORMAT: max_value must be"),
    ],
)  # fmt: skip
def test_what_the_rules_refuse_is_one_line(words: tuple[str, ...], line: str) -> None:
    assert rejection(*words).startswith(line)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("void", "INV/2025/0001-A"), "Missing option '--reason'"),
        (("gaps", "INV:2025", "--state", "LOST"), "'LOST' is not one of"),
        (("adjust", "INV:2025", "--next", "ten", *WHY), "'ten' is not a valid integer"),
        (("batch", "none.json"), "No such file"),
        (("batch", "invoices.toml"), "NB026 MALFORMED_JSON: FILE is not JSON"),
    ],
)  # fmt: skip
def test_wrong_usage_is_told(words: tuple[str, ...], told: str) -> None:
    assert told in said(*words, exit_code=2)
