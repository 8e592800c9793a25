"""Exports: whole, as the log has it, and made again byte by byte."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from ledger.domain.rejection import Code, Rejection
from ledger.ports import Fault
from replay import export as module
from replay.export import NUMBER_COLUMNS, export, verify
from replay.export_manifest import MANIFEST, Export, Form, Manifest, What
from replay.moments import END, Moment, Past, folded
from replay.telling import EVENT_COLUMNS
from tests.given import at
from tests.replay.conftest import REASON
from tests.replay.past import Listed
from tests.replay.restoring import ignored

LAST = 12
NUMBER = "คคง.-สคฉ.3-000{}-2568"


def table(directory: Path, manifest: Manifest) -> list[dict[str, str]]:
    with (directory / manifest.file).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def lines(directory: Path, manifest: Manifest) -> list[dict[str, Any]]:
    text = (directory / manifest.file).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def entries(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def made(log: Listed, directory: Path, asked: Export, moment: Moment = END) -> Manifest:
    manifest = await export(log, asked, moment, directory, ignored)
    assert Manifest.read(directory) == manifest
    assert entries(directory) == sorted([MANIFEST, manifest.file])
    assert await verify(directory, log, ignored) == []
    return manifest


async def test_events_are_told_in_a_table(letters_log: Listed, tmp_path: Path) -> None:
    manifest = await made(letters_log, tmp_path / "out", Export(What.EVENTS))
    rows = table(tmp_path / "out", manifest)
    assert tuple(rows[0]) == EVENT_COLUMNS
    assert len(rows) == manifest.count == LAST
    assert [int(row["position"]) for row in rows] == list(range(1, LAST + 1))
    assert [row["hash"] for row in rows] == [hash.hex() for _, _, hash in letters_log.stored]
    assert [row["ranges"] for row in rows[3:5]] == ["RESERVED 1-2", "CONFIRMED 1-2"]
    assert (rows[4]["document"], rows[8]["reason"], rows[8]["ranges"]) == ("=DOC-1", REASON, "VOIDED 1")
    assert {(row["series"], row["period"]) for row in rows} == {("", ""), ("LETTER", ""), ("LETTER", "2025")}
    assert manifest.head["hash"] == letters_log.stored[-1][2].hex()


async def test_lines_hold_the_very_bytes_of_the_events(letters_log: Listed, tmp_path: Path) -> None:
    manifest = await made(letters_log, tmp_path / "out", Export(What.EVENTS, Form.JSONL))
    raw = (tmp_path / "out" / manifest.file).read_bytes().splitlines()
    assert raw == [b'{"hash":"%b","event":%b}' % (hash.hex().encode(), body) for _, body, hash in letters_log.stored]


async def test_numbers_are_told_as_they_were(letters_log: Listed, tmp_path: Path) -> None:
    manifest = await made(letters_log, tmp_path / "then", Export(What.NUMBERS), Moment(position=7))
    rows = table(tmp_path / "then", manifest)
    assert tuple(rows[0]) == NUMBER_COLUMNS
    assert [row["state"] for row in rows] == ["CONFIRMED", "CONFIRMED", "RESERVED", "RESERVED", "RESERVED"]
    manifest = await made(letters_log, tmp_path / "now", Export(What.NUMBERS, Form.JSONL))
    found = lines(tmp_path / "now", manifest)
    assert [each["state"] for each in found][:5] == ["VOIDED", "CONFIRMED", "CANCELLED", "CANCELLED", "RESERVED"]
    assert found[0]["number"] == NUMBER.format(1)
    assert (found[0]["document"], found[0]["reason"], found[0]["replaced_by"]) == ("=DOC-1", REASON, NUMBER.format(6))
    assert (found[5]["number"], found[5]["replaces"], found[5]["period"]) == (
        NUMBER.format(6),
        NUMBER.format(1),
        "2025",
    )


@pytest.mark.parametrize(
    ("what", "filters", "count"),
    [
        (What.EVENTS, {"series": "LETTER"}, LAST - 1),
        (What.EVENTS, {"series": "OTHER"}, 0),
        (What.EVENTS, {"period": "2025"}, LAST - 3),
        (What.EVENTS, {"actor": "anonymous"}, LAST - 1),
        (What.EVENTS, {"actor": "nobody"}, 0),
        (What.EVENTS, {"document": "=DOC-1"}, 2),
        (What.NUMBERS, {"document": "=DOC-1"}, 3),
        (What.NUMBERS, {"series": "LETTER", "period": "2025"}, 6),
        (What.NUMBERS, {"period": "2026"}, 0),
        (What.NUMBERS, {"actor": "nobody"}, 0),
    ],
)
async def test_filters_choose(
    letters_log: Listed, tmp_path: Path, what: What, filters: dict[str, str], count: int
) -> None:
    manifest = await made(letters_log, tmp_path / "out", Export(what, **filters))  # type: ignore[arg-type]
    rows = table(tmp_path / "out", manifest)
    assert len(rows) == manifest.count == count
    assert manifest.filters == filters
    heading = (tmp_path / "out" / manifest.file).read_bytes().partition(b"\r\n")[0].decode()
    assert tuple(heading.split(",")) == (EVENT_COLUMNS if what is What.EVENTS else NUMBER_COLUMNS)


@pytest.mark.parametrize("what", What)
async def test_times_choose_and_until_is_not_included(letters_log: Listed, tmp_path: Path, what: What) -> None:
    instants = sorted({json.loads(body)["recorded_at"] for _, body, _ in letters_log.stored})
    counts = []
    for number, (since, until) in enumerate(zip([None, *instants], [*instants, None], strict=True)):
        asked = Export(what, since=since, until=until)
        counts.append((await made(letters_log, tmp_path / str(number), asked)).count)
    assert counts[0] == 0
    assert sum(counts) == (LAST if what is What.EVENTS else 6)


async def test_a_mark_is_written_only_if_asked_for(letters_log: Listed, tmp_path: Path) -> None:
    for name, bom in (("with", True), ("without", False)):
        manifest = await made(letters_log, tmp_path / name, Export(What.EVENTS, bom=bom))
        raw = (tmp_path / name / manifest.file).read_bytes()
        assert raw.startswith(b"\xef\xbb\xbfposition," if bom else b"position,")


async def test_the_same_export_gives_the_same_bytes(letters_log: Listed, tmp_path: Path) -> None:
    one = await made(letters_log, tmp_path / "one", Export(What.NUMBERS))
    assert one == await made(letters_log, tmp_path / "other", Export(What.NUMBERS))


async def test_a_log_that_grew_does_not_matter(letters_log: Listed, tmp_path: Path) -> None:
    short = Listed(letters_log.ledger_id, [])
    short.stored = letters_log.stored[:6]
    await export(short, Export(What.NUMBERS), END, tmp_path / "out", ignored)
    assert await verify(tmp_path / "out", letters_log, ignored) == []


async def test_an_empty_log_is_exported(tmp_path: Path) -> None:
    for what in What:
        assert (await made(Listed("test", []), tmp_path / what, Export(what))).count == 0


async def test_a_moment_beyond_what_is_known_is_marked_in_the_manifest(letters_log: Listed, tmp_path: Path) -> None:
    late = Moment(time=at("2099-01-01T00:00:00Z"))
    with pytest.raises(Rejection, match="--beyond"):
        await export(letters_log, Export(What.NUMBERS), late, tmp_path / "out", ignored)
    manifest = await export(letters_log, Export(What.NUMBERS), late, tmp_path / "out", ignored, allow_beyond=True)
    assert manifest.beyond is not None
    assert Manifest.read(tmp_path / "out") == manifest
    assert await verify(tmp_path / "out", letters_log, ignored) == []


@pytest.mark.parametrize("form", Form)
async def test_with_the_skipped_ranges_every_value_is_accounted_for(
    numbered_log: Listed, tmp_path: Path, form: Form
) -> None:
    manifest = await made(numbered_log, tmp_path / "out", Export(What.NUMBERS, form, skipped=True))
    rows: list[dict[str, Any]] = (table if form is Form.CSV else lines)(tmp_path / "out", manifest)
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(row["sequence"], []).extend(range(int(row["value"]), int(row["last_value"]) + 1))
    fold = await folded(await Past.of(numbered_log))
    for sequence in fold.state.sequences():
        assert sorted(found[sequence.id]) == list(range(sequence.start, sequence.high_water + 1))
    states = {row["state"] for row in rows if not row["number"]}
    assert states == {"SKIPPED", "PRE_CONTROL"}
    assert {row["reason"] for row in rows if row["state"] == "SKIPPED"} == {REASON}


async def test_without_being_asked_no_range_is_told(numbered_log: Listed, tmp_path: Path) -> None:
    manifest = await made(numbered_log, tmp_path / "out", Export(What.NUMBERS))
    assert "skipped" not in manifest.options
    assert all(row["number"] for row in table(tmp_path / "out", manifest))
    chosen = await made(numbered_log, tmp_path / "one", Export(What.NUMBERS, series="OTHER", skipped=True))
    assert chosen.count == 0


# What is refused


async def test_a_directory_that_holds_something_is_refused(letters_log: Listed, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(Rejection, match="holds something") as refused:
        await export(letters_log, Export(What.EVENTS), END, tmp_path, ignored)
    assert refused.value.code is Code.TARGET_NOT_EMPTY
    assert entries(tmp_path) == ["mine.txt"]


async def test_an_empty_directory_is_taken(letters_log: Listed, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    await made(letters_log, tmp_path / "out", Export(What.EVENTS))


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
async def test_what_was_interrupted_leaves_nothing(
    letters_log: Listed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def failing(*_: object) -> bytes:
        raise failure

    monkeypatch.setattr(module, "_event_lines", failing)
    with pytest.raises((Fault, KeyboardInterrupt)):
        await export(letters_log, Export(What.EVENTS), END, tmp_path / "out", ignored)
    assert not entries(tmp_path)


async def test_what_is_not_in_history_is_refused(letters_log: Listed, tmp_path: Path) -> None:
    with pytest.raises(Rejection) as refused:
        await export(letters_log, Export(What.EVENTS), Moment(position=LAST + 1), tmp_path / "out", ignored)
    assert refused.value.code is Code.NOT_IN_HISTORY
    assert not entries(tmp_path)


# What verifying finds


@pytest.fixture
async def exported(letters_log: Listed, tmp_path: Path) -> Path:
    await made(letters_log, tmp_path / "out", Export(What.EVENTS))
    return tmp_path / "out"


def change(file: Path, old: bytes, new: bytes) -> None:
    content = file.read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new))


def forge(directory: Path, old: bytes, new: bytes) -> None:
    """Change the file and its manifest, so that they fit."""
    manifest = Manifest.read(directory)
    change(directory / manifest.file, old, new)
    size, digest = module._measured(directory / manifest.file)
    change(directory / MANIFEST, manifest.sha256.encode(), digest.encode())
    change(directory / MANIFEST, b'"bytes": %d' % manifest.size, b'"bytes": %d' % size)


async def test_a_changed_file_is_found(exported: Path) -> None:
    change(exported / "events.csv", b"=DOC-1", b"=DOC-2")
    assert await verify(exported, None, ignored) == [
        "events.csv was changed: its SHA-256 is not the one of the manifest"
    ]
    change(exported / "events.csv", b"=DOC-2", b"=DOC-22")
    (found,) = await verify(exported, None, ignored)
    assert "bytes, and the manifest says" in found
    (exported / "events.csv").unlink()
    assert await verify(exported, None, ignored) == ["events.csv cannot be read: No such file or directory"]


async def test_a_file_of_nobody_is_found(exported: Path) -> None:
    (exported / "other.csv").write_text("")
    assert await verify(exported, None, ignored) == ["other.csv is not named by the manifest"]


async def test_a_forgery_is_found_by_the_log(letters_log: Listed, exported: Path) -> None:
    forge(exported, b"=DOC-1", b"=DOC-2")
    assert await verify(exported, None, ignored) == []
    assert await verify(exported, letters_log, ignored) == [
        "the same export from the list gives another events.csv: it is not what the log says"
    ]


async def test_another_log_is_found(letters_log: Listed, exported: Path) -> None:
    short = Listed(letters_log.ledger_id, [])
    short.stored = letters_log.stored[:7]
    (found,) = await verify(exported, short, ignored)
    assert found == f"the log of the list ends at position 7, and the export was made from {LAST}"
    (found,) = await verify(exported, Listed("other", []), ignored)
    assert found == "the log of the list is of ledger other, and the export of test"
    change(exported / MANIFEST, letters_log.stored[-1][2].hex().encode(), b"0" * 64)
    (found,) = await verify(exported, letters_log, ignored)
    assert found == f"the event at position {LAST} of the list is not the one from which the export was made"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"export, version 1", b"export, version 2", "another format"),
        (b'"what": "events"', b'"what": "all"', "no export writes"),
        (b'"filters": {}', b'"filters": {"series": "A"}', "no export writes"),
        (b'"ledger_id"', b'"ledger"', "no export writes"),
        (b"{", b"", "no export writes"),
        (b'"position": 12', b'"position": "11"', "no export writes"),
    ],
)
async def test_a_manifest_of_nobody_is_refused(exported: Path, old: bytes, new: bytes, why: str) -> None:
    change(exported / MANIFEST, old, new)
    with pytest.raises(Rejection, match=why) as refused:
        await verify(exported, None, ignored)
    assert refused.value.code is Code.EXPORT_UNUSABLE


async def test_a_directory_without_a_manifest_is_refused(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "none"):
        with pytest.raises(Rejection, match="has no manifest") as refused:
            await verify(directory, None, ignored)
        assert refused.value.code is Code.EXPORT_UNUSABLE
