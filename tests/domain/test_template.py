from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.rejection import Code, Rejection
from ledger.domain.series import MAX_VALUE
from ledger.domain.template import DATE_TOKENS, Frame, Template
from tests.given import QUICK

SIDES = st.text(st.sampled_from("01-A"), max_size=3)
FRAMES = st.builds(Frame, SIDES, st.integers(1, 9), SIDES)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1 to 500 characters"),
        ("{SEQ:4}" + "x" * 494, "1 to 500 characters"),
        ("A-", "exactly once, not 0 times"),
        ("{SEQ:4}-{SEQ:4}", "exactly once, not 2 times"),
        ("{SEQ:4}{SEQ:3}", "exactly once, not 2 times"),
        ("{SEQ}", "unknown token {SEQ}"),
        ("{SEQ:0}", "unknown token {SEQ:0}"),
        ("{SEQ:10}", "unknown token {SEQ:10}"),
        ("{SEQ:04}", "unknown token {SEQ:04}"),
        ("{SEQ:๔}", "unknown token {SEQ:๔}"),
        ("{SEQ:-1}", "unknown token {SEQ:-1}"),
        ("{seq:4}", "unknown token {seq:4}"),
        ("{ SEQ:4}", "unknown token { SEQ:4}"),
        ("{}{SEQ:4}", "unknown token {}"),
        ("{YEAR:XX}{SEQ:4}", "unknown token {YEAR:XX}"),
        ("{YYYYY:BE}{SEQ:4}", "unknown token {YYYYY:BE}"),
        ("{1A}{SEQ:4}", "unknown token {1A}"),
        ("{ÄB}{SEQ:4}", "unknown token {ÄB}"),
        ("{" + "A" * 31 + "}{SEQ:4}", "unknown token"),
        ("{SEQ:4", "a single '{'"),
        ("SEQ:4}", "a single '}'"),
        ("{{SEQ:4}}", "a single '{'"),
        ("{SEQ:4}}", "a single '}'"),
        ("{A{SEQ:4}", "a single '{'"),
        ("A\u200b{SEQ:4}", "U+200B"),
        ("e\u0301{SEQ:4}", "NFC"),
        ("A\n{SEQ:4}", "U+000A"),
        (" {SEQ:4}", "space"),
    ],
)
def test_a_bad_template_is_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(Rejection) as caught:
        Template.parse(text)
    assert caught.value.code is Code.INVALID_FORMAT
    assert caught.value.errors[0][0] == "template"
    assert problem in caught.value.detail


@pytest.mark.parametrize(
    ("day", "fiscal", "texts"),
    [
        (date(2025, 3, 9), 2025, "2025 2025 2025 2025 2568 2568 25 68 03 09 2025"),
        (date(2000, 12, 31), 2001, "2000 2000 2000 2000 2543 2543 00 43 12 31 2001"),
        (date(2057, 2, 28), 2057, "2057 2057 2057 2057 2600 2600 57 00 02 28 2057"),
        (date(2099, 12, 31), 2100, "2099 2099 2099 2099 2642 2642 99 42 12 31 2100"),
    ],
)
def test_date_tokens(day: date, fiscal: int, texts: str) -> None:
    tokens = ["YYYY", "YEAR", "YEAR:CE", "YEAR:A.D.", "YEAR:BE", "YEAR:B.E.", "YY", "YY:BE", "MM", "DD", "FY"]
    assert set(tokens) == set(DATE_TOKENS)
    template = Template.parse(" ".join(f"{{{token}}}" for token in tokens) + "={SEQ:1}")
    assert template.frame(day, fiscal, {}).before == f"{texts}="


@pytest.mark.parametrize(
    ("text", "value", "number"),
    [
        ("{SEQ:1}", 0, "0"),
        ("{SEQ:4}", 42, "0042"),
        ("{SEQ:4}", 9999, "9999"),
        ("{SEQ:4}", 10_000, "10000"),
        ("{SEQ:9}", 42, "000000042"),
        ("LCBP3-C2-RFA-{TYPE}-{SEQ:4}-{REV}", 42, "LCBP3-C2-RFA-RPT-0042-A"),
        ("{TYPE}{SEQ:2}{TYPE}", 7, "RPT07RPT"),
        ("คคง.-สคฉ.3-{SEQ:4}-{YEAR:BE}", 1, "คคง.-สคฉ.3-0001-2568"),
        ("{MM}/{DD}_{SEQ:3}.{YY}", 5, "03/09_005.25"),
    ],
)
def test_a_number_as_printed(text: str, value: int, number: str) -> None:
    frame = Template.parse(text).frame(date(2025, 3, 9), 2025, {"TYPE": "RPT", "REV": "A"})
    assert frame.number(value) == number
    assert frame.value(number) == value


def test_fields_are_named_once_in_their_order() -> None:
    assert Template.parse("{B}{YY}{A_1}-{SEQ:1}{B}{C}").fields() == ("B", "A_1", "C")


@pytest.mark.parametrize(
    "number",
    [
        "",
        "1",
        "1A-",
        "A-A",
        "A--A",
        "A-42-A",
        "A-042-A",
        "A-00042-A",
        "A-0042-B",
        "B-0042-A",
        "A-0042-AA",
        "AA-0042-A",
        " A-0042-A",
        "A-+042-A",
        "A--042-A",
        "A-0_42-A",
        "A- 042-A",
        "A-๐๐๔๒-A",
        "A-００４２-A",
        "A-004²-A",
        "A-0042-A\n",
        "a-0042-a",
        "A-" + "9" * 5000 + "-A",
    ],
)
def test_only_what_the_frame_printed_has_a_value(number: str) -> None:
    assert Frame("A-", 4, "-A").value(number) is None


@QUICK
@given(FRAMES, st.integers(0, MAX_VALUE))
def test_value_is_the_inverse_of_number(frame: Frame, value: int) -> None:
    assert frame.value(frame.number(value)) == value


@QUICK
@given(FRAMES, st.text(st.sampled_from("01-A"), max_size=12))
def test_number_is_the_inverse_of_value(frame: Frame, number: str) -> None:
    value = frame.value(number)
    assert value is None or frame.number(value) == number
