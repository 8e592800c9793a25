"""What auditors type: the ledger as it was, from any source, an archive alone among them."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.numbering.command import LETTER_KEY, asked, elsewhere_in, ran, rejection, said

FIRST, SECOND = "คคง.-สคฉ.3-0001-2568", "คคง.-สคฉ.3-0002-2568"
SEQUENCE = "LETTER:คคง.:สคฉ.3:2025"


@pytest.fixture(scope="module")
def archive(letters_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a ledger of two letters, of which one was voided."""
    directory = tmp_path_factory.mktemp("audited")  # another one when tests of this module come back to a worker
    shutil.copytree(letters_directory, directory, dirs_exist_ok=True)
    with elsewhere_in(directory):
        said("issue", "LETTER", *LETTER_KEY, "--document", "DOC-1")
        said("reserve", "LETTER", *LETTER_KEY, "--count", "2")
        said("void", FIRST, "--reason", "sent to somebody else")
        said("archive", "archive")
    return directory / "archive"


@pytest.fixture
def audited(elsewhere: Path, archive: Path) -> Path:
    """A directory with the archive, and without the ledger."""
    shutil.copytree(archive, elsewhere / "archive")
    return elsewhere


FROM = ("--from", "archive")


# replay


def test_the_end_is_shown_without_a_moment(audited: Path) -> None:
    answer = asked("replay", *FROM)
    assert answer["position"] == 8
    (sequence,) = answer["sequences"]
    assert (sequence["sequence"], sequence["high_water"], sequence["counts"]["VOIDED"]) == (SEQUENCE, 3, 1)
    (reservation,) = answer["reservations"]
    assert reservation["held"] == [{"first": 2, "last": 3}]
    table = said("replay", *FROM)
    assert "position     8\n" in table
    assert SEQUENCE in table
    assert reservation["token"] in table


def test_a_position_and_its_time_are_the_same_moment(audited: Path) -> None:
    then = asked("replay", *FROM, "--at", "6", "--numbers")
    assert asked("replay", *FROM, "--at", then["recorded_at"], "--numbers") == then
    ((number,), (sequence,)) = then["numbers"], then["sequences"]
    assert (number["number"], number["state"], number["document"]) == (FIRST, "CONFIRMED", "DOC-1")
    assert number["cause"]["event"] == "NumbersConfirmed"
    assert sequence["counts"]["CONFIRMED"] == 1


def test_numbers_are_listed_as_they_were(audited: Path) -> None:
    lines = said("replay", *FROM, "--numbers").splitlines()
    assert [line.split()[:3] for line in lines[-3:]] == [
        [FIRST, "1", "VOIDED"],
        [SECOND, "2", "RESERVED"],
        [SECOND.replace("2-", "3-", 1), "3", "RESERVED"],
    ]
    assert "sent to somebody else" in lines[-3]
    assert said("replay", *FROM, "--at", "2", "--numbers").endswith("\nno number had been given out\n")


def test_series_and_sequence_choose(audited: Path) -> None:
    assert asked("replay", *FROM, "--series", "RFA", "--numbers")["numbers"] == []
    assert len(asked("replay", *FROM, "--sequence", SEQUENCE, "--numbers")["numbers"]) == 3
    assert rejection("replay", *FROM, "--series", "NONE").startswith("NB001")
    assert rejection("replay", *FROM, "--at", "3", "--sequence", SEQUENCE).startswith("NB044")


def test_a_file_can_be_asked_in_sql(audited: Path) -> None:
    answer = asked("replay", *FROM, "--at", "7", "--sqlite", "then.db")
    assert (answer["file"], answer["position"]) == ("then.db", 7)
    with closing(sqlite3.connect(audited / "then.db")) as connection:
        counted = connection.execute("SELECT state, count(*) FROM numbers GROUP BY state ORDER BY state").fetchall()
    assert counted == [("CONFIRMED", 1), ("RESERVED", 2)]
    url = ("--database-url", "sqlite+aiosqlite:///then.db")
    assert "a copy of the ledger as of position 7" in rejection(
        "issue", "LETTER", *LETTER_KEY, "--document", "D", *url, exit_code=3
    )
    assert asked("replay", *url)["position"] == 7
    assert rejection("replay", *FROM, "--sqlite", "then.db").startswith("NB061")
    assert ran("replay", *FROM, "--sqlite", "other.db", "--numbers").exit_code == 2


@pytest.mark.parametrize(
    ("moment", "code", "exit_code"),
    [("99", "NB062", 1), ("0", "NB062", 1), ("2020-01-01T00:00:00Z", "NB062", 1), ("2026-01-31", "NB006", 2)],
)
def test_a_moment_that_is_none_is_refused(audited: Path, moment: str, code: str, exit_code: int) -> None:
    assert rejection("replay", *FROM, "--at", moment, exit_code=exit_code).startswith(code)
    assert rejection("replay", *FROM, "--at", moment, "--sqlite", "x.db", exit_code=exit_code).startswith(code)
    assert json.loads(ran("replay", *FROM, "--at", moment, "--numbers", "--json").stdout)["code"] == code
    assert not (audited / "x.db").exists()


def test_sources_are_read_as_one_and_must_agree(letters: Path) -> None:
    said("archive", "archive")
    said("issue", "LETTER", *LETTER_KEY, "--document", "DOC-1")
    url = "sqlite+aiosqlite:///numbering.db"
    assert asked("replay", *FROM, "--from", url)["position"] == 6
    said("migrate", "--database-url", "sqlite+aiosqlite:///other.db")
    assert rejection("replay", *FROM, "--from", "sqlite+aiosqlite:///other.db").startswith("NB060")
    assert rejection("replay", "--from", "nothing").startswith("NB059")


# history


def test_a_number_s_history_is_told_by_an_archive(audited: Path) -> None:
    answer = asked("history", FIRST, *FROM)
    assert (answer["state"], answer["document"], answer["position"]) == ("VOIDED", "DOC-1", 8)
    steps = answer["history"]
    assert [step["state"] for step in steps] == ["RESERVED", "CONFIRMED", "VOIDED"]
    assert all(len(step["hash"]) == 64 for step in steps)
    table = said("history", FIRST, *FROM)
    assert steps[2]["hash"] in table
    assert "sent to somebody else" in table


def test_history_tells_what_show_does(letters: Path) -> None:
    said("issue", "LETTER", *LETTER_KEY, "--document", "DOC-1")
    said("void", FIRST, "--reason", "sent to somebody else", "--replace")
    for number in (FIRST, SECOND):
        told = asked("history", number)
        for step in told["history"]:
            del step["hash"]
        assert told == asked("show", number)


def test_a_number_that_was_never_given_out_has_no_history(audited: Path) -> None:
    never = FIRST.replace("0001", "0009")
    assert rejection("history", never, *FROM) == (
        f"NB041 NUMBER_NOT_FOUND: {never!r} was never given out: sequence {SEQUENCE} has not passed value 9"
    )
    assert rejection("history", "X", *FROM).startswith("NB041")


# diff


def test_a_moment_beyond_what_a_source_is_known_to_hold_is_refused_or_marked(audited: Path) -> None:
    late = ("--at", "2099-01-01T00:00:00Z")
    for command in (("replay",), ("replay", "--numbers"), ("export", "numbers", "--out", "out")):
        assert "add --beyond" in rejection(*command, *FROM, *late)
    assert "add --beyond" in rejection("diff", "6", late[1], *FROM)
    first = said("replay", *FROM, *late, "--beyond").splitlines()[0]
    assert first.startswith("BEYOND what is known: the source is complete up to 20")
    answer = asked("replay", *FROM, *late, "--beyond")
    assert next(iter(answer)) == "beyond"
    assert answer["beyond"] == asked("diff", "6", late[1], *FROM, "--beyond")["beyond"]
    assert said("diff", "6", late[1], *FROM, "--beyond").startswith("BEYOND")
    assert said("export", "numbers", "--out", "out", *FROM, *late, "--beyond").startswith("beyond")
    assert "beyond" not in asked("replay", *FROM, "--at", "6", "--beyond")


def test_moments_are_compared(audited: Path) -> None:
    answer = asked("diff", "6", "8", *FROM)
    assert answer["events"] == {"NumberVoided": 1, "NumbersReserved": 1}
    (sequence,) = answer["sequences"]
    assert sequence["from"] == {"high_water": 1, "counts": {"CONFIRMED": 1}, "closed": False}
    assert sequence["to"] == {"high_water": 3, "counts": {"RESERVED": 2, "VOIDED": 1}, "closed": False}
    assert "1 -> 3" in said("diff", "6", "8", *FROM)
    assert asked("diff", "8", "6", *FROM) == answer
    assert asked("diff", answer["from"]["recorded_at"], answer["to"]["recorded_at"], *FROM) == answer
    assert rejection("diff", "5", "99", *FROM).startswith("NB062")


def test_copies_are_compared(letters: Path) -> None:
    said("archive", "one")
    url = "sqlite+aiosqlite:///numbering.db"
    assert said("diff", "one", url).startswith("the archive one and the database hold the same history")
    said("issue", "LETTER", *LETTER_KEY, "--document", "DOC-1")
    assert said("diff", "one", url).startswith("the database continues the archive one, from position 4 on\n")
    assert asked("diff", url, "one")["verdict"] == "continues"


def test_copies_that_differ_are_told_with_both_events(letters: Path) -> None:
    (letters / "fork.db").write_bytes((letters / "numbering.db").read_bytes())
    for file, document in (("numbering", "DOC-1"), ("fork", "DOC-2")):
        url = f"sqlite+aiosqlite:///{file}.db"
        said("issue", "LETTER", *LETTER_KEY, "--document", document, "--database-url", url)
        said("archive", file, "--database-url", url)
    answer = asked("diff", "numbering", "fork", exit_code=1)
    assert (answer["verdict"], answer["position"]) == ("differ", 4)
    assert [copy["event"]["type"] for copy in answer["copies"]] == ["SequenceReset", "SequenceReset"]
    told = said("diff", "numbering", "fork", exit_code=1)
    assert told.startswith("the archive numbering and the archive fork differ from position 4 on\n")
    assert "position 4 in the archive fork" in told


def test_copies_of_two_ledgers_are_apart(letters: Path) -> None:
    url = "sqlite+aiosqlite:///other.db"
    said("migrate", "--database-url", url)
    told = said("diff", "sqlite+aiosqlite:///numbering.db", url, exit_code=1)
    assert told.startswith("the database A and the database B are of two ledgers\n")
    assert ran("diff", "5", url).exit_code == 2


# export


def test_an_export_is_made_and_verified(audited: Path) -> None:
    answer = asked("export", "events", "--out", "out", *FROM)
    assert (answer["export"], answer["file"], answer["count"]) == ("out", "events.csv", 8)
    assert answer["head"] == f"8:{asked('history', FIRST, *FROM)['history'][2]['hash']}"
    assert said("export", "verify", "out") == "events.csv is as it was exported\n"
    assert said("export", "verify", "out", *FROM) == "events.csv is as it was exported, and the log says the same\n"
    (audited / "out" / "events.csv").write_text("position\n")
    assert "bytes, and the manifest says" in said("export", "verify", "out", exit_code=1)
    assert len(asked("export", "verify", "out", *FROM, exit_code=1)["differences"]) == 1


def test_numbers_are_exported_as_they_were(audited: Path) -> None:
    answer = asked("export", "numbers", "--out", "out", *FROM, "--at", "6", "--format", "jsonl", "--series", "LETTER")
    assert (answer["file"], answer["count"]) == ("numbers.jsonl", 1)
    (line,) = (audited / "out" / "numbers.jsonl").read_text().splitlines()
    assert json.loads(line)["state"] == "CONFIRMED"


def test_an_export_that_cannot_be_is_refused(audited: Path) -> None:
    out = ("--out", "out", *FROM)
    assert rejection("export", "events", *out, "--at", "99").startswith("NB062")
    assert rejection("export", "events", *out, "--since", "2026-01-01", exit_code=2).startswith("NB006")
    assert rejection("export", "events", *out, "--since", "7", exit_code=2).startswith("NB006")
    assert ran("export", "events", *out, "--bom", "--format", "jsonl").exit_code == 2
    assert not (audited / "out").exists()
    assert rejection("export", "events", "--out", "archive", *FROM).startswith("NB061")
    assert rejection("export", "verify", "archive").startswith("NB064")
