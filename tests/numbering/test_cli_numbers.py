import asyncio
import getpass
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ledger import codec
from ledger.domain.commands import Envelope
from ledger.stores import open_store
from numbering.cli.caller import actor
from tests.api.client import RealTime, served
from tests.numbering.command import LETTER_KEY, asked, ran, rejection, said

pytestmark = pytest.mark.usefixtures("letters")

NO_TOKEN = "0" * 32


def reserved(*words: str) -> dict[str, Any]:
    return asked("reserve", "LETTER", *LETTER_KEY, *words)


def numbers_of(answer: dict[str, Any]) -> list[str]:
    return [each["number"] for each in answer["numbers"]]


def envelopes() -> list[Envelope]:
    """Who did what, as the log has it."""

    async def read() -> list[Envelope]:
        store = open_store("sqlite+aiosqlite:///numbering.db")
        try:
            return [codec.decode(record).envelope for record in await store.events(after=0, limit=1000)]
        finally:
            await store.close()

    return asyncio.run(read())


# The life of a reservation


def test_reserve_holds_numbers_until_they_are_confirmed() -> None:
    answer = reserved("--count", "2")
    assert numbers_of(answer) == ["คคง.-สคฉ.3-0001-2568", "คคง.-สคฉ.3-0002-2568"]
    confirmed = asked("confirm", answer["token"], "--document", "DOC-1")
    assert confirmed["state"] == "CONFIRMED"
    assert [each["document"] for each in confirmed["numbers"]] == ["DOC-1", "DOC-1"]


def test_confirm_takes_some_and_releases_the_rest() -> None:
    token = reserved("--count", "3")["token"]
    kept = asked("confirm", token, "--document", "A", "--number", "คคง.-สคฉ.3-0001-2568", "--keep-rest")
    assert kept["released"] == []
    rest = asked("confirm", token, "--document", "B", "--number", "คคง.-สคฉ.3-0003-2568")
    assert numbers_of({"numbers": rest["released"]}) == ["คคง.-สคฉ.3-0002-2568"]
    assert [(each["state"], each.get("document")) for each in asked("reservation", token)["numbers"]] == [
        ("CONFIRMED", "A"),
        ("CANCELLED", None),
        ("CONFIRMED", "B"),
    ]


def test_extend_holds_longer_and_cancel_lets_go() -> None:
    answer = reserved("--ttl", "60")
    assert asked("extend", answer["token"], "--ttl", "600")["expires_at"] > answer["expires_at"]
    assert asked("cancel", answer["token"], "--reason", "ไม่ได้ส่ง")["state"] == "CANCELLED"
    assert envelopes()[-1].reason == "ไม่ได้ส่ง"


def test_issue_reserves_and_confirms() -> None:
    answer = asked("issue", "RFA", "-k", "TYPE=RPT", "-a", "REV=B", "--document", "DOC-2")
    assert numbers_of(answer) == ["RFA-RPT-0001-B"]
    assert (answer["state"], answer["document"]) == ("CONFIRMED", "DOC-2")


def test_preview_holds_nothing() -> None:
    first = asked("preview", "LETTER", *LETTER_KEY, "--count", "2")
    assert first == asked("preview", "LETTER", *LETTER_KEY, "--count", "2")
    assert numbers_of(first) == ["คคง.-สคฉ.3-0001-2568", "คคง.-สคฉ.3-0002-2568"]
    assert len(envelopes()) == first["position"] == 3


def test_the_ttl_of_the_settings_serves_a_series_that_says_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBERING_RESERVATION_TTL", "86400")
    far = reserved()["expires_at"]
    monkeypatch.setenv("NUMBERING_RESERVATION_TTL", "10")
    assert reserved()["expires_at"] < far


# Tables


def test_people_see_a_table_and_what_the_numbers_have_in_common() -> None:
    table, facts = said("reserve", "LETTER", *LETTER_KEY, "--count", "2").split("\n\n")
    assert table.splitlines() == [
        "number                value",
        "คคง.-สคฉ.3-0001-2568      1",
        "คคง.-สคฉ.3-0002-2568      2",
    ]
    assert re.fullmatch(
        r"token       [0-9a-f]{32}\nstate       RESERVED\nsequence    LETTER:คคง.:สคฉ.3:2025\nperiod      2025\n"
        r"expires at  \S+Z\nposition    5\n",
        facts,
    )


def test_a_table_shows_what_became_of_each_number() -> None:
    token = reserved("--count", "2")["token"]
    shown = said("confirm", token, "--document", "D", "--number", "คคง.-สคฉ.3-0002-2568")
    assert "คคง.-สคฉ.3-0002-2568      2  CONFIRMED  D\nคคง.-สคฉ.3-0001-2568      1  released\n" in shown
    shown = said("reservation", token)
    assert "คคง.-สคฉ.3-0001-2568      1  CANCELLED\nคคง.-สคฉ.3-0002-2568      2  CONFIRMED  D\n" in shown


def test_what_has_no_numbers_is_facts_alone() -> None:
    token = reserved()["token"]
    assert said("extend", token, "--ttl", "600").startswith(f"token       {token}\n")


def test_a_piped_table_is_never_cut() -> None:
    document = "D" * 200
    token = reserved("--count", "3")["token"]
    said("confirm", token, "--document", document)
    shown = said("reservation", token)
    assert shown.count(document) == 3
    assert len(shown.split("\n\n")[0].splitlines()) == 4


# JSON is HTTP's

VARYING = (r"\b[0-9a-f]{32}\b", r"\d{4}-\d\d-\d\dT[\d:.]+Z")


def masked(text: str) -> str:
    for pattern in VARYING:
        text = re.sub(pattern, "-", text)
    return text


BODY = {"series": "LETTER", "key": {"FROM": "คคง.", "TO": "สคฉ.3"}, "document_date": "2025-03-01"}


async def http_answers(file: Path) -> list[str]:
    """The story that `cli_answers` tells, over HTTP."""
    stores = [open_store(f"sqlite+aiosqlite:///{file}") for _ in range(2)]
    try:
        async with served(*stores, clock=RealTime()) as api:
            post = api.http.post
            told = [await api.http.get("/v1/series"), await api.http.get("/v1/series/RFA")]
            told.append(await post("/v1/preview", json=BODY))
            told.append(await post("/v1/reservations", json=BODY | {"count": 2, "ttl_seconds": 60}))
            at = f"/v1/reservations/{told[-1].json()['token']}"
            told.append(await post(f"{at}/extend", json={"ttl_seconds": 600}))
            chosen = {"document": "D", "numbers": ["คคง.-สคฉ.3-0002-2568"]}
            told += [await post(f"{at}/confirm", json=chosen), await api.http.get(at)]
            told.append(await post(f"{at}/cancel", json={}))
            told.append(await post("/v1/issue", json=BODY | {"document": "E"}))
            told.append(await post("/v1/preview", json={"series": "LETTER", "key": {"FROM": "x", "FORM": "y"}}))
            told.append(await post("/v1/reservations", json=BODY | {"document_date": "2025-02-30"}))
    finally:
        for store in stores:
            await store.close()
    return [without_status(each) for each in told]


def without_status(response: httpx.Response) -> str:
    """The answer's own text; an error has a status, which only HTTP has."""
    return response.text.replace(f'"status":{response.status_code},', "")


def cli_answers() -> list[str]:
    def told(*words: str) -> str:
        return ran(*words, "--json").stdout

    answers = [told("series", "list"), told("series", "show", "RFA"), told("preview", "LETTER", *LETTER_KEY)]
    answers.append(told("reserve", "LETTER", *LETTER_KEY, "--count", "2", "--ttl", "60"))
    token = json.loads(answers[-1])["token"]
    answers.append(told("extend", token, "--ttl", "600"))
    answers.append(told("confirm", token, "--document", "D", "--number", "คคง.-สคฉ.3-0002-2568"))
    answers += [told("reservation", token), told("cancel", token)]
    answers.append(told("issue", "LETTER", *LETTER_KEY, "--document", "E"))
    answers.append(told("preview", "LETTER", "-k", "FROM=x", "-k", "FORM=y"))
    answers.append(told("reserve", "LETTER", *LETTER_KEY[:-1], "2025-02-30"))
    return answers


def test_json_is_what_http_answers(letters: Path) -> None:
    other = letters / "other.db"
    other.write_bytes((letters / "numbering.db").read_bytes())
    over_http = asyncio.run(http_answers(other))
    for ours, theirs in zip(cli_answers(), over_http, strict=True):
        assert masked(ours) == masked(theirs)


# Rejections


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("preview", "LETER"),
            "NB001 CONFIG_NOT_FOUND: no series has the code 'LETER'; define it with `numbering series apply FILE.toml`",
        ),
        (("reserve", "LETTER", "-k", "FROM=คคง."), "NB006 INVALID_FORMAT: key.TO is missing"),
        (("preview", "RFA", "-k", "TYPE=RPT", "--count", "0"), "NB006 INVALID_FORMAT: count must be 1 to 10000, not 0"),
        (
            ("preview", "RFA", "-k", "TYPE=RPT", "--date", "1.3.2025"),
            "NB006 INVALID_FORMAT: document_date must be a date written YYYY-MM-DD",
        ),
        (("confirm", NO_TOKEN, "--document", "D"), "NB009 RESERVATION_NOT_FOUND: no open reservation has the token 0"),
        (("reservation", NO_TOKEN), f"NB009 RESERVATION_NOT_FOUND: no reservation has the token {NO_TOKEN}"),
        (
            ("cancel", "1234"),
            "NB006 INVALID_FORMAT: token must be the 32 lower-case hexadecimal digits that the reservation gave",
        ),
        (("reservation", "X" * 32), "NB006 INVALID_FORMAT: token must be"),
        (("cancel", NO_TOKEN, "--reason", ""), "NB006 INVALID_FORMAT: reason must have 1 to 500 characters, not 0"),
        (("issue", "RFA", "-k", "TYPE=\x1b[m", "--document", "D"), "NB006 INVALID_FORMAT: key.TYPE holds a control"),
    ],
)  # fmt: skip
def test_what_the_rules_refuse_is_one_line(words: tuple[str, ...], line: str) -> None:
    assert rejection(*words).startswith(line)


@pytest.mark.parametrize("command", ["preview", "reserve"])
def test_a_name_with_control_characters_is_shown_escaped(command: str) -> None:
    line = rejection(command, "RFA", "-k", "A\n\x1b[2J=1")
    assert line.isprintable()
    assert r"key.A\n\x1b[2J" in line


def test_an_error_as_json_names_its_fields_on_stdout() -> None:
    problem = asked("preview", "LETTER", "-k", "FROM=คคง.", exit_code=1)
    assert problem == {
        "type": "urn:numbering-ledger:NB006",
        "title": "INVALID_FORMAT",
        "code": "NB006",
        "detail": "key.TO is missing",
        "retry": False,
        "errors": [{"field": "key.TO", "problem": "is missing"}],
    }
    assert ran("preview", "LETTER", "--json").stderr == ""


def test_nothing_refused_is_in_the_log() -> None:
    before = envelopes()
    rejection("reserve", "LETTER", "-k", "FROM=คคง.")
    rejection("issue", "RFA", "-k", "TYPE=RPT", "--document", "D" * 201)
    assert envelopes() == before


# Usage


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("preview", "LETTER", "-k", "FROM"), "'FROM' is not of the form NAME=VALUE"),
        (("preview", "LETTER", "-k", "=คคง."), "'=คคง.' is not of the form NAME=VALUE"),
        (("preview", "LETTER", "-a", ""), "'' is not of the form NAME=VALUE"),
        (("preview", "LETTER", "-k", "FROM=1", "-k", "FROM=2"), "'FROM' is given twice"),
        (("preview", "LETTER", "--count", "many"), "'many' is not a valid integer"),
        (("preview",), "Missing argument 'SERIES'"),
        (("issue", "LETTER", *LETTER_KEY), "Missing option '--document'"),
        (("extend", NO_TOKEN), "Missing option '--ttl'"),
        (("preview", "LETTER", "--idempotency-key", "K"), "No such option"),
    ],
)
def test_wrong_usage_is_told_with_its_option(words: tuple[str, ...], told: str) -> None:
    result = ran(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


def test_a_value_may_hold_an_equals_sign() -> None:
    assert "is 'A=B'" in rejection("preview", "LETTER", "-k", "FROM=A=B", "-k", "TO=สคฉ.3")


# Who, and how often


def test_a_repetition_with_the_same_key_gets_the_first_answer() -> None:
    words = ("reserve", "LETTER", *LETTER_KEY, "--idempotency-key", "letter-1")
    first = asked(*words)
    again = ran(*words, "--json")
    assert json.loads(again.stdout) == first
    assert again.stderr == "numbering: the same answer as the first time\n"
    assert asked(*words, "--count", "1") == first  # the default, said aloud


def test_a_key_is_for_one_command_only() -> None:
    key = ("--idempotency-key", "K")
    first, second = (reserved(*key) if number == 0 else reserved() for number in range(2))
    assert rejection("reserve", "RFA", "-k", "TYPE=RPT", *key).startswith("NB015 IDEMPOTENCY_KEY_REUSED")
    said("extend", first["token"], "--ttl", "60", *key)  # another operation
    assert rejection("extend", second["token"], "--ttl", "60", *key).startswith("NB015 IDEMPOTENCY_KEY_REUSED")


@pytest.mark.parametrize("key", ["", "ก", "a\nb", "k" * 201])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    assert "INVALID_FORMAT: Idempotency-Key " in rejection("reserve", "RFA", "-k", "TYPE=RPT", "--idempotency-key", key)


def test_the_actor_of_an_event_is_the_user() -> None:
    reserved()
    first, *others = envelopes()
    assert first.actor == "ledger"  # with which every ledger begins
    assert {each.actor for each in others} == {f"cli:{getpass.getuser()}"}


@pytest.mark.parametrize("name", ["a\x1bb", "ก" * 100, " "])
def test_a_name_that_may_not_enter_the_log_is_replaced_by_the_number(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LOGNAME", name)
    assert actor() == f"cli:{os.getuid()}"


def nobody() -> str:
    raise KeyError("getpwuid(): uid not found")


def no_name() -> str:
    raise OSError("No username set in the environment")


@pytest.mark.parametrize("unknown", [nobody, no_name])
def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch, unknown: Callable[[], str]) -> None:
    monkeypatch.setattr(getpass, "getuser", unknown)
    assert actor() == f"cli:{os.getuid()}"
