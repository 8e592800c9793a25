import re
from pathlib import Path

import pytest

from tests.numbering.command import LETTERS, asked, ran, rejection, said

pytestmark = pytest.mark.usefixtures("empty")

SIMPLE = '[series.{code}]\ntemplate = "{code}-{{SEQ:4}}"\n'


def wrote(name: str, content: str) -> str:
    Path(name).write_text(content, encoding="utf-8")
    return name


def simple(*codes: str) -> str:
    return "".join(SIMPLE.format(code=code) for code in codes)


# apply


def test_apply_defines_then_leaves_then_amends() -> None:
    assert asked("series", "apply", wrote("letters.toml", LETTERS)) == {
        "series": [
            {"code": "LETTER", "version": 1, "done": "defined"},
            {"code": "RFA", "version": 1, "done": "defined"},
        ],
        "position": 3,
    }
    unchanged = asked("series", "apply", "letters.toml")
    assert [each["done"] for each in unchanged["series"]] == ["unchanged", "unchanged"]
    assert unchanged["position"] == 3
    wrote("letters.toml", LETTERS + 'description = "requests"\n')
    amended = asked("series", "apply", "letters.toml")
    assert [(each["version"], each["done"]) for each in amended["series"]] == [(1, "unchanged"), (2, "amended")]
    assert amended["position"] == 4
    assert asked("series", "show", "RFA")["description"] == "requests"


def test_people_see_what_was_done() -> None:
    assert said("series", "apply", wrote("letters.toml", LETTERS)).splitlines() == [
        "code    version  done",
        "LETTER        1  defined",
        "RFA           1  defined",
    ]


def test_apply_takes_several_files_as_one_command() -> None:
    answer = asked("series", "apply", wrote("a.toml", simple("A", "B")), wrote("c.toml", simple("C")))
    assert [each["code"] for each in answer["series"]] == ["A", "B", "C"]


def test_a_mark_of_the_encoding_and_carriage_returns_do_no_harm() -> None:
    Path("a.toml").write_bytes(b"\xef\xbb\xbf" + LETTERS.replace("\n", "\r\n").encode())
    assert len(asked("series", "apply", "a.toml")["series"]) == 2


def test_apply_is_all_or_nothing() -> None:
    said("series", "apply", wrote("a.toml", simple("A")))
    said("issue", "A", "--document", "D")
    wrote("b.toml", simple("B") + '[series.C]\ntemplate = "A-{SEQ:4}"\n')
    assert rejection("series", "apply", "b.toml").startswith(
        "NB039 AMBIGUOUS_TEMPLATE: 'A-0001' would be value 1 of C "
    )
    assert [each["code"] for each in asked("series", "list")["series"]] == ["A"]


def test_apply_with_a_key_has_one_effect() -> None:
    words = ("series", "apply", wrote("a.toml", simple("A")), "--idempotency-key", "K")
    first = asked(*words)
    again = ran(*words, "--json")
    assert asked(*words) == first
    assert "the same answer as the first time" in again.stderr
    wrote("a.toml", simple("A") + "start = 5\n")
    assert rejection(*words).startswith("NB015 IDEMPOTENCY_KEY_REUSED")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (simple("A") + "reset = 'hourly'\n", "series.A.reset must be 'never', "),
        (simple("A") + "start = nan\n", "series.A.start must be a whole number, not nan"),
        (simple("A") + "timezone = 2025-01-01\n", "series.A.timezone must be a text, not datetime.date(2025, 1, 1)"),
        (simple("A") + f"max_value = {10**30}\n", "series.A.max_value must be"),
        (simple("A") + "dimension.X = 3\n", "series.A.dimension is not a known field; did you mean dim"),
        (simple("A") + "dimensions.X.value = 3\n", "series.A.dimensions.X.value is not a known field; did"),
        (simple("A") + "dimensions.X.values = ['x']\n", "series.A.template does not print X"),
        ("[series.A]\nreset = 'never'\n", "series.A.template is missing"),
        ("[series.A]\ntemplate = 'A'\n", "series.A.template "),
        ("[series.'ก']\ntemplate = '{SEQ:4}'\n", "series.ก must be 1 to 50 of A-Z a-z 0-9"),
        ("series.A = 3\n", "series.A is no table; write a table [series.CODE] for each series"),
        ("series = 3\n", "defines no series; write a table [series.CODE]"),
        ("[series]\n", "defines no series; write a table [series.CODE]"),
        ("", "defines no series; write a table [series.CODE]"),
        ("# nothing yet\n", "defines no series; write a table [series.CODE]"),
        ("[serie.A]\ntemplate = '{SEQ:4}'\n", "serie is not a known table; write a table [series.CODE]"),
        (simple("A") + "[other]\n", "other is not a known table"),
    ],
)  # fmt: skip
def test_an_error_names_the_file_and_the_path_in_it(content: str, told: str) -> None:
    wrote("good.toml", simple("GOOD"))
    line = rejection("series", "apply", "good.toml", wrote("bad.toml", content))
    assert line.startswith(f"NB006 INVALID_FORMAT: bad.toml: {told}"), line
    assert asked("series", "list") == {"series": [], "position": 0}


def test_an_error_as_json_names_the_path() -> None:
    problem = asked("series", "apply", wrote("a.toml", "[series.A]\ntemplat = 'x'\n"), exit_code=1)
    assert [each["field"] for each in problem["errors"]] == ["series.A.template", "series.A.templat"]


def test_a_series_may_be_in_one_file_only() -> None:
    wrote("a.toml", simple("A"))
    wrote("b.toml", simple("B", "A"))
    assert rejection("series", "apply", "a.toml", "b.toml") == (
        "NB006 INVALID_FORMAT: b.toml: series.A is in a.toml too; define it in one place"
    )


def test_what_is_no_toml_is_wrong_usage_with_its_line() -> None:
    line = rejection("series", "apply", wrote("a.toml", simple("A") + "reset never\n"), exit_code=2)
    assert re.fullmatch(r"NB006 INVALID_FORMAT: a\.toml: is not TOML: .* \(at line 3, column \d+\)", line)
    line = rejection("series", "apply", wrote("a.toml", simple("A") + simple("A")), exit_code=2)
    assert "is not TOML" in line  # one table twice


@pytest.mark.parametrize("encoding", ["cp874", "utf-16"])
def test_what_is_no_utf_8_is_wrong_usage(encoding: str) -> None:
    Path("a.toml").write_bytes(LETTERS.encode(encoding))
    line = 5 if encoding == "cp874" else 1
    assert rejection("series", "apply", "a.toml", exit_code=2) == (
        f"NB006 INVALID_FORMAT: a.toml: is not UTF-8 (at line {line}); save it as UTF-8"
    )


def test_a_file_that_cannot_be_read_is_wrong_usage() -> None:
    told = "cannot be read: No such file or directory"
    assert rejection("series", "apply", "no.toml", exit_code=2) == f"NB006 INVALID_FORMAT: no.toml: {told}"
    assert "cannot be read: Is a directory" in rejection("series", "apply", ".", exit_code=2)
    assert asked("series", "apply", "no.toml", exit_code=2)["detail"] == f"no.toml: {told}"
    wrote("large.toml", "#" * (1 << 20) + "\n")
    assert "large.toml: is larger than 1048576 bytes" in rejection("series", "apply", "large.toml", exit_code=2)
    wrote("deep.toml", "a = " + "[" * 100_000)
    assert "deep.toml: is not TOML" in rejection("series", "apply", "deep.toml", exit_code=2)


def test_apply_wants_a_file() -> None:
    said("series", "apply", exit_code=2)


# list and show


def test_list_of_nothing_says_what_to_do() -> None:
    result = ran("series", "list")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)
    assert "`numbering series apply FILE.toml`" in result.stderr


def test_list_shows_each_series_on_a_line() -> None:
    said("series", "apply", wrote("letters.toml", LETTERS))
    assert said("series", "list").splitlines() == [
        "code    version  template                       reset   description",
        "LETTER        1  {FROM}-{TO}-{SEQ:4}-{YEAR:BE}  yearly",
        "RFA           1  RFA-{TYPE}-{SEQ:4}-{REV}       never",
    ]


def test_show_tells_all_of_a_series() -> None:
    said("series", "apply", wrote("letters.toml", LETTERS))
    shown = said("series", "show", "RFA")
    facts = dict(re.split("  +", line, maxsplit=1) for line in shown.splitlines())
    assert facts["dimensions.TYPE"] == "chars A-Z, min 3, max 3"
    assert facts["attributes.REV"] == "chars A-Z, min 1, max 1, default A"
    assert facts["key"] == "TYPE"
    assert facts["manual"] == "yes"
    assert facts["warn at percent"] == "90 95"
    assert "dimensions.FROM" in said("series", "show", "LETTER")
    assert "values คคง. กทท." in said("series", "show", "LETTER")


def test_show_of_an_unknown_series_says_how_to_define_it() -> None:
    assert rejection("series", "show", "X") == (
        "NB001 CONFIG_NOT_FOUND: no series has the code 'X'; define it with `numbering series apply FILE.toml`"
    )
