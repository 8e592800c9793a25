"""The examples, run as a user runs them."""

import json
import shutil
import tomllib
from datetime import date
from itertools import product
from pathlib import Path

import pytest

from api.schemas import SeriesBody, checked
from ledger.domain.reading import readings
from ledger.domain.series import Series
from tests.numbering.process import run

EXAMPLES = Path(__file__).parents[1] / "examples"
LCBP3 = EXAMPLES / "lcbp3"
FILES = sorted(EXAMPLES.rglob("*.toml"))
MASTER = json.loads((LCBP3 / "lcbp3-master.json").read_text(encoding="utf-8"))
DRAWINGS = [
    word for code in ("SHOP-DRAWING", "SHOP-DRAWING-3", "SHOP-DRAWING-5", "LP3-DRAWING") for word in ("--series", code)
]
TODAY = date(2025, 6, 15)


def done(directory: Path, *words: str, exit_code: int = 0) -> str:
    ended = run(*words, cwd=directory)
    assert ended.returncode == exit_code, ended.stderr
    return ended.stdout


def defined() -> dict[str, Series]:
    tables = {code: table for file in FILES for code, table in tomllib.loads(file.read_text())["series"].items()}
    return {code: Series.define(code, checked(SeriesBody, table).definition()) for code, table in tables.items()}


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("applied")
    done(directory, "migrate")
    done(directory, "series", "apply", *map(str, FILES))
    return directory


@pytest.fixture
def ledger(applied: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(applied, tmp_path, dirs_exist_ok=True))


def test_they_are_applied_once(ledger: Path) -> None:
    again = json.loads(done(ledger, "series", "apply", *map(str, FILES), "--json"))
    assert {each["done"] for each in again["series"]} == {"unchanged"}
    assert len(again["series"]) == 11


@pytest.mark.parametrize(
    ("series", "fields", "number"),
    [
        ("LETTER", ["-k", "ORIGINATOR=คคง.", "-k", "RECIPIENT=สคฉ.3"], "คคง.-สคฉ.3-0001-2568"),
        (
            "TRANSMITTAL",
            ["-k", "ORIGINATOR=คคง.", "-k", "RECIPIENT=สคฉ.3", "-k", "SUB_TYPE=21"],
            "คคง.-สคฉ.3-21-0001-2568",
        ),
        (
            "RFA",
            ["-k", "PROJECT=LCBP3-C2", "-k", "DISCIPLINE=TER", "-k", "RFA_TYPE=RPT"],
            "LCBP3-C2-RFA-TER-RPT-0001-A",
        ),
        (
            "SHOP-DRAWING",
            ["-k", "CONTRACT=LCBP3-C2", "-k", "STRUCTURE=HV", "-k", "DISCIPLINE=STR"],
            "LCBP3-C2-SDW-HV-STR-0001",
        ),
        ("INVOICE", [], "INV-2025-000001"),
        ("VOUCHER", ["-k", "BOOK=PV"], "PV6803-0001"),
        ("PURCHASE-ORDER", ["-k", "DEPARTMENT=PW"], "PO-PW-2025-00001"),
    ],
)
def test_they_print_what_they_say(ledger: Path, series: str, fields: list[str], number: str) -> None:
    issued = json.loads(done(ledger, "issue", series, *fields, "--date", "2025-03-01", "--document", "D-1", "--json"))
    assert issued["numbers"] == [{"number": number, "value": 1}]


def test_the_register_is_imported_but_for_its_malformed_row(ledger: Path) -> None:
    register = str(LCBP3 / "shop-drawing-register.csv")
    refused = json.loads(done(ledger, "import", register, *DRAWINGS, "--json", exit_code=1))
    assert (refused["rows"], refused["fit"]) == (641, 640)
    (row,) = refused["rejected"]
    assert (row["line"], row["number"], row["title"]) == (453, "LCBP3-C2-SDW-HV-BST-051.1", "NO_TEMPLATE")
    imported = json.loads(done(ledger, "import", register, *DRAWINGS, "--skip-bad", "--json"))
    assert sum(each["numbers"] for each in imported["sequences"]) == 640
    for series, highest in (("SHOP-DRAWING", 201), ("SHOP-DRAWING-3", 90)):
        fields = ["-k", "CONTRACT=LCBP3-C2", "-k", "STRUCTURE=HV", "-k", "DISCIPLINE=ARC"]
        (above,) = json.loads(done(ledger, "preview", series, *fields, "--json"))["numbers"]
        assert above["value"] == highest + 1


def codes(name: str, field: str = "code") -> set[str]:
    return {entry[field] for entry in MASTER[name]}


def test_they_have_the_codes_of_the_programme() -> None:
    series = defined()
    form = {
        (code, name): set(form.values) for code in series for name, form in series[code].definition.dimensions.items()
    }
    assert form["LETTER", "ORIGINATOR"] == form["TRANSMITTAL", "RECIPIENT"] == codes("organizations")
    assert form["TRANSMITTAL", "SUB_TYPE"] == codes("correspondence_sub_types", "number")
    assert form["RFA", "PROJECT"] == codes("projects")
    assert form["RFA", "DISCIPLINE"] == codes("disciplines")
    assert form["RFA", "RFA_TYPE"] == codes("rfa_types")
    assert form["SHOP-DRAWING", "CONTRACT"] < codes("contracts")
    assert form["SHOP-DRAWING", "DISCIPLINE"] < codes("disciplines")


@pytest.mark.parametrize("code", ["LETTER", "TRANSMITTAL"])
def test_no_two_letters_print_alike(code: str) -> None:
    series = defined()
    printing = series[code]
    for key in product(*(printing.definition.dimensions[name].values for name in printing.key)):
        number = printing.frame(key, (), TODAY).number(1)
        read = [each for one in series.values() for each in readings(one, number, TODAY)]
        assert [(each.series.code, each.key, each.value) for each in read] == [(code, key, 1)]
