"""The proof that a number has one reading, against the enumeration of all numbers."""

import json
from collections.abc import Iterator
from datetime import date
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ledger.domain import automaton, calendar, proof
from ledger.domain.automaton import TooComplex
from ledger.domain.calendar import Reset
from ledger.domain.proof import conflict, prove
from ledger.domain.reading import Reading, readings
from ledger.domain.rejection import Code, Rejection
from ledger.domain.series import Attribute, Definition, Dimension, Overflow, Series
from ledger.domain.template import DATE_TOKENS
from tests.profiles import rounds

LCBP3 = Path(__file__).parents[2] / "examples" / "lcbp3"
CODES = [each["code"] for each in json.loads((LCBP3 / "lcbp3-master.json").read_text())["organizations"]]


def among(*values: str) -> Dimension:
    return Dimension(values=values)


def chars(members: str, least: int = 1, most: int = 1) -> Dimension:
    return Dimension(chars=members, min=least, max=most)


def series(template: str, code: str = "S", version: int = 1, reset: str = "never", **fields: Any) -> Series:
    """Make a series; a field in capitals is a dimension, or an attribute if it is one."""
    forms = {name: fields.pop(name) for name in list(fields) if name.isupper()}
    definition = Definition(
        template=template,
        dimensions={name: form for name, form in forms.items() if isinstance(form, Dimension)},
        attributes={name: form for name, form in forms.items() if isinstance(form, Attribute)},
        reset=Reset(reset),
        **fields,
    )
    return Series.define(code, definition, version)


# Cases


ORGANIZATIONS = among(*CODES)
CORRESPONDENCE = "{ORIGINATOR}-{RECIPIENT}-{SEQ:4}-{YEAR:BE}"


def correspondence(code: str, template: str = CORRESPONDENCE) -> Series:
    return series(template, code, reset="yearly", ORIGINATOR=ORGANIZATIONS, RECIPIENT=ORGANIZATIONS)


def test_organizations_of_the_programme_extend_one_another() -> None:
    assert {"สคฉ.3", "สคฉ.3-01"} <= set(CODES)


ACCEPTED = {
    "a code that extends another, told apart by what follows": [correspondence("LETTER")],
    "two series with literals of their own": [
        correspondence("LETTER", "L-" + CORRESPONDENCE),
        correspondence("MEMO", "M-" + CORRESPONDENCE),
    ],
    "two series that end differently": [
        series("{X}-{SEQ:4}-A", "A", X=chars("A-Z-", 1, 20)),
        series("{X}-{SEQ:4}-B", "B", X=chars("A-Z-", 1, 20)),
    ],
    "two series of other lengths": [series("{SEQ:4}", "A"), series("{SEQ:5}", "B")],
    "two series of years that never meet": [
        series("{SEQ:4}-{YYYY}", "A", reset="yearly"),
        series("{SEQ:4}-{YEAR:BE}", "B", reset="yearly"),
    ],
    "text of any length before a value of one width": [series("{X}{SEQ:4}", X=chars("0-9", 1, 20))],
    "attributes that split differently": [
        series("{R}{Q}-{SEQ:2}", R=Attribute(chars("A-Z", 1, 2)), Q=Attribute(chars("A-Z", 1, 2)))
    ],
    "a value that widens before a year": [series("{SEQ:4}{YYYY}", reset="yearly", overflow=Overflow.WIDEN)],
    "a month that is told by two tokens": [series("{MM}-{SEQ:4}-{YY}", reset="monthly")],
    "a fiscal year that begins with a month": [
        series("{YYYY}{MM}-{SEQ:4}", reset="fiscal_year", fiscal_year_start="10-01")
    ],
    "a fiscal year by its own token": [series("{FY}-{SEQ:4}", reset="fiscal_year", fiscal_year_start="10-15")],
    "a quarter by the month": [series("{YY:BE}{MM}-{SEQ:4}", reset="quarterly")],
    "a field that is printed twice and said once": [series("{X}-{SEQ:2}-{X}", X=among("a", "a-01", "01-a"))],
    "dates that no window holds": [
        series("{X}{YYYY}{MM}{DD}{SEQ:4}", reset="daily", X=chars("0-9", 1, 2), overflow=Overflow.WIDEN)
    ],
    "an amendment that adds a value": [
        series("{X}-{SEQ:4}", X=among("A")),
        series("{X}-{SEQ:4}", version=2, X=among("A", "B")),
    ],
    "an amendment that widens": [
        series("{X}-{SEQ:3}", X=chars("A-Z", 1, 3)),
        series("{X}-{SEQ:4}", version=2, X=chars("A-Z", 1, 3)),
    ],
    "an amendment of the key with a literal": [series("A-{SEQ:4}"), series("B-{X}-{SEQ:4}", version=2, X=chars("A-Z"))],
}

REFUSED = {
    "letters and memos of one form": [correspondence("LETTER"), correspondence("MEMO")],
    "organizations that extend one another, before free text": [
        series("{ORIGINATOR}-{SUB}-{SEQ:4}", ORIGINATOR=among(*CODES), SUB=chars("A-Z0-9-", 1, 6))
    ],
    "a code that extends another, before a code": [
        series("{FROM}-{TO}-{SEQ:4}", FROM=among("A", "A-B"), TO=among("C", "B-C"))
    ],
    "a year that is not printed": [series("A-{SEQ:4}", reset="yearly")],
    "a month that is not printed": [series("A-{SEQ:4}-{YYYY}", reset="monthly")],
    "a quarter that a year does not tell": [series("{YYYY}-{SEQ:4}", reset="quarterly")],
    "a fiscal year that the year does not tell": [
        series("{YYYY}-{SEQ:4}", reset="fiscal_year", fiscal_year_start="10-01")
    ],
    "a fiscal year that begins within a month": [
        series("{YYYY}{MM}-{SEQ:4}", reset="fiscal_year", fiscal_year_start="10-15")
    ],
    "text of any length before a value that widens": [
        series("{X}{SEQ:4}", X=chars("0-9", 1, 2), overflow=Overflow.WIDEN)
    ],
    "two texts of any length": [series("{X}{Y}-{SEQ:4}", X=chars("A-Z", 1, 3), Y=chars("A-Z", 1, 3))],
    "one series within another": [series("{X}-{SEQ:4}", "A", X=chars("A-Z", 1, 3)), series("ABC-{SEQ:4}", "B")],
    "a value that another reads as text": [
        series("A-{SEQ:4}", "A"),
        series("{X}-{SEQ:2}{Y}", "B", X=chars("A-Z"), Y=chars("0-9", 2, 2)),
    ],
    "a value below the start, of a sequence that an earlier version began": [
        series("B-{SEQ:4}-{YYYY}", "B", reset="yearly"),
        series("B-0000-{YY}{SEQ:2}", "C", reset="yearly"),
    ],
    "an amendment of the key alone": [
        series("{X}-{SEQ:4}", X=chars("0-9")),
        series("{R}-{SEQ:4}", version=2, R=Attribute(chars("0-9"))),
    ],
    "an amendment of the reset alone": [series("{YYYY}-{SEQ:4}"), series("{YYYY}-{SEQ:4}", version=2, reset="yearly")],
    "an amendment that reads old numbers otherwise": [
        series("{SEQ:3}-{X}", X=among("1-a", "a")),
        series("00{SEQ:1}-{X}", version=2, X=among("1-a")),
        series("{SEQ:3}-1-{X}", version=3, X=among("a")),
    ],
    "an era that another version reads": [
        series("{YYYY}{SEQ:4}", reset="yearly"),
        series("{SEQ:4}{YYYY}", version=2, reset="yearly"),
    ],
}


@pytest.mark.parametrize("together", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepts(together: list[Series]) -> None:
    *others, last = together
    prove(last, others)


@pytest.mark.parametrize("together", REFUSED.values(), ids=REFUSED.keys())
def test_refuses_with_a_counterexample(together: list[Series]) -> None:
    *others, last = together
    with pytest.raises(Rejection) as refused:
        prove(last, others)
    assert refused.value.code is Code.AMBIGUOUS_TEMPLATE
    counterexample: Any = refused.value.members["counterexample"]
    one, two = counterexample["readings"]
    assert one != two
    assert counterexample["number"] in refused.value.detail
    for reading in counterexample["readings"]:
        by = next(
            each for each in together if (each.code, each.version) == (reading["series"], reading["series_version"])
        )
        told = readings(by, counterexample["number"], calendar.FIRST_DATE)
        assert (tuple(reading["key"].values()), reading["period"], reading["value"]) in [
            (each.key, each.period, each.value) for each in told
        ]


def test_says_the_same_every_time() -> None:
    """What is refused today is refused tomorrow, in the same words, by every process."""
    found = conflict(*REFUSED["letters and memos of one form"])
    assert found is not None
    assert found.number == "EN-EN-0001-2543"


def test_a_series_that_can_print_nothing_is_refused() -> None:
    with pytest.raises(Rejection, match="template prints no number of 100 characters or less; shorten it"):
        prove(series("L" * 93 + "{SEQ:8}"), [])
    prove(series("L" * 92 + "{SEQ:8}"), [])


def test_a_field_that_is_printed_twice_can_say_too_much() -> None:
    with pytest.raises(
        Rejection, match=r"prints \{X\} twice, which can be more than 1000 texts; print it once"
    ) as refused:
        prove(series("{X}-{SEQ:4}-{X}", X=chars("A-Z0-9-", 1, 20)), [])
    assert refused.value.code is Code.TEMPLATE_TOO_COMPLEX


@pytest.mark.parametrize(
    ("module", "bound", "detail"),
    [
        (automaton, "MAX_NODES", "its automaton has more than 8 nodes"),
        (proof, "MAX_STATES", "comparing them takes more than 8 states"),
        (proof, "MAX_STATES_IN_ALL", "beside all series together it takes more than 8 states"),
    ],
)
def test_bounds_are_named(module: ModuleType, bound: str, detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, bound, 8)
    with pytest.raises(Rejection, match=detail) as refused:
        prove(series(f"{bound}-{{SEQ:4}}"), [])
    assert refused.value.code is Code.TEMPLATE_TOO_COMPLEX


# Properties


TEXTS = st.text("a1_", min_size=1, max_size=3)
FORMS = st.one_of(
    st.lists(TEXTS, min_size=1, max_size=4, unique=True).map(lambda values: among(*values)),
    st.builds(
        lambda members, least, more: chars("".join(members), least, least + more),
        st.sets(st.sampled_from("a1_"), min_size=1).map(sorted),
        st.integers(1, 2),
        st.integers(0, 1),
    ),
)
TOKENS = st.sampled_from(["{X}", "{X}", "{Y}", "{R}", "{R}", "_", "a", "1", "{MM}", "{YY}"])


@st.composite
def all_series(draw: st.DrawFn, code: str = "S", version: int = 1) -> Series:
    tokens = draw(st.lists(TOKENS, max_size=4))
    tokens.insert(draw(st.integers(0, len(tokens))), "{SEQ:1}")
    template = "".join(tokens)
    forms: dict[str, Any] = {name: draw(FORMS) for name in ("X", "Y") if f"{{{name}}}" in tokens}
    if "{R}" in tokens:
        forms["R"] = Attribute(draw(FORMS))
    reset = draw(st.sampled_from(["never", "never", "yearly"]))
    overflow = draw(st.sampled_from([Overflow.ERROR, Overflow.ERROR, Overflow.WIDEN]))
    return series(template, code, version, reset, overflow=overflow, start=draw(st.integers(0, 1)), **forms)


def texts_of(form: Dimension) -> list[str]:
    if form.values:
        return list(form.values)
    lengths = range(form.min, form.max + 1)
    return ["".join(text) for length in lengths for text in product(form.chars, repeat=length)]


# Years and months that spell each other.
DAYS = [date(year, month, 1) for year in (2000, 2001, 2010, 2011, 2099) for month in (1, 10, 11)]
LAST_VALUE = {Overflow.ERROR: 9, Overflow.WIDEN: 99}

Identity = tuple[object, ...]


def numbers(of: Series) -> Iterator[tuple[str, Identity]]:
    """Print every number; of a series that widens those of two digits at most."""
    definition = of.definition
    attributes = {name: each.form for name, each in definition.attributes.items()}
    forms = {**definition.dimensions, **attributes}
    dated = of.definition.reset is not Reset.NEVER or any(f"{{{token}}}" in of.template.text for token in DATE_TOKENS)
    for day in DAYS if dated else DAYS[:1]:
        for texts in product(*map(texts_of, forms.values())):
            said = dict(zip(forms, texts, strict=True))
            key = tuple(said[name] for name in of.key)
            frame = of.frame(key, tuple((name, said[name]) for name in sorted(attributes)), day)
            for value in range(LAST_VALUE[definition.overflow] + 1):
                yield frame.number(value), (of.code, of.counting, key, of.period(day), value)


def has_two_readings(one: Series, other: Series) -> bool:
    """Ask the question of the proof of all numbers, one by one."""
    identities: dict[str, set[Identity]] = {}
    for number, identity in numbers(one):
        identities.setdefault(number, set()).add(identity)
    if any(len(found) > 1 for found in identities.values()):
        return True
    return any(identities.get(number, {identity}) != {identity} for number, identity in numbers(other))


def agrees(one: Series, other: Series) -> None:
    """The proof finds what the enumeration finds, and what it finds are numbers that both readings print.

    Where it comes to a bound it has found nothing, and accepts neither.
    """
    try:
        found = conflict(one, other)
    except TooComplex:
        with pytest.raises(Rejection):
            prove(one, [other])
        return
    if found:
        first, second = found.readings
        assert (first.series, second.series) == (one, other)
        assert identity_of(first) != identity_of(second)
        assert all(printed(each) == found.number for each in found.readings)
    elif one is not other:
        assume(is_accepted(one) and is_accepted(other))
        assert not has_two_readings(one, other)
    else:
        assert not has_two_readings(one, other)


def is_accepted(one: Series) -> bool:
    """Say whether the proof accepts a series by itself, which it does not where it comes to a bound."""
    try:
        prove(one, [])
    except Rejection:
        return False
    return True


def identity_of(reading: Reading) -> Identity:
    return reading.series.code, reading.series.counting, reading.key, reading.period, reading.value


def printed(reading: Reading) -> str:
    return reading.series.frame(reading.key, reading.attributes, reading.document_date).number(reading.value)


@given(all_series())
@settings(max_examples=rounds(80, thorough=400), deadline=None)
def test_one_series_against_the_enumeration(one: Series) -> None:
    agrees(one, one)


@given(all_series("A"), all_series("B"))
@settings(max_examples=rounds(60, thorough=250), deadline=None)
def test_two_series_against_the_enumeration(one: Series, other: Series) -> None:
    agrees(one, other)


@given(all_series("A"), all_series("A", version=2))
@settings(max_examples=rounds(60, thorough=250), deadline=None)
def test_two_versions_against_the_enumeration(one: Series, other: Series) -> None:
    agrees(one, other)


def test_what_takes_too_many_states_is_not_accepted() -> None:
    """A draw of the properties, which no enumeration refutes: the proof gives up and says so."""
    one, other = (
        series(template, "A", version, "yearly", overflow=Overflow.WIDEN, Y=among("1"))
        for version, template in enumerate(["{SEQ:1}{YY}{YY}{Y}{Y}", "{YY}{SEQ:1}{YY}{Y}{Y}"], 1)
    )
    with pytest.raises(TooComplex, match="more than 500000 states"):
        conflict(one, other)
    agrees(one, other)


@given(all_series(), st.data())
@settings(max_examples=rounds(60, thorough=250), deadline=None)
def test_what_is_printed_is_read(one: Series, data: st.DataObject) -> None:
    """parse(render(x)) == x, for every series that is accepted."""
    assume(is_accepted(one))
    number, identity = data.draw(st.sampled_from(list(numbers(one))[:2000]))
    (read,) = readings(one, number, date(2025, 6, 15))
    assert identity_of(read) == identity
    assert printed(read) == number
