import io
import sys
from collections.abc import Callable

import pytest

from ledger.domain.rejection import Code, Hint, Rejection
from ledger.ports import Fault
from numbering.cli import output


class Terminal(io.TextIOWrapper):
    """A standard output of its own encoding, which says that it is a terminal."""

    def __init__(self, encoding: str, is_terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def said(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode(self.encoding)


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Forty columns."""
    made = Terminal("utf-8", is_terminal=True)
    monkeypatch.setattr(sys, "stdout", made)
    for name, value in {"COLUMNS": "40", "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    return made


def pipe(monkeypatch: pytest.MonkeyPatch, encoding: str = "utf-8") -> Terminal:
    made = Terminal(encoding, is_terminal=False)
    monkeypatch.setattr(sys, "stdout", made)
    return made


def test_a_terminal_s_table_folds_what_is_too_long_and_cuts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    out = terminal(monkeypatch)
    output.say_table(("number", "document"), [("N" * 30, "D" * 50)])
    said = out.said()
    assert (said.count("N"), said.count("D")) == (30, 50)
    assert "…" not in said


def test_thai_text_is_aligned_by_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    out = pipe(monkeypatch)
    output.say_table(("number", "value"), [("ที่.น้ำ", 7), ("abcde", 12)], right=("value",))
    assert out.said() == "number  value\nที่.น้ำ        7\nabcde      12\n"


@pytest.mark.parametrize("place", [terminal, pipe])
def test_brackets_are_no_markup(
    monkeypatch: pytest.MonkeyPatch, place: Callable[[pytest.MonkeyPatch], Terminal]
) -> None:
    out = place(monkeypatch)
    output.say_table(("text",), [("[bold]x[/bold] :smile:",)])
    assert "[bold]x[/bold] :smile:" in out.said()


def test_what_the_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    out = pipe(monkeypatch, "ascii")
    output.say_facts({"number": "ก-1"})
    assert out.said() == "number  \\u0e01-1\n"


def test_facts_without_a_value_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    out = pipe(monkeypatch)
    output.say_facts({"expires_at": None, "description": "", "start": 0})
    assert out.said() == "start  0\n"


def test_nothing_to_say_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    out = pipe(monkeypatch)
    output.say_facts({})
    output.say_table(("code", "version"), [])
    assert out.said() == "code  version\n"


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (Rejection(Code.RESERVATION_CLOSED, "no"), 1),
        (output.Unreadable(Code.INVALID_FORMAT, "no"), 2),
        (Fault(Code.DATABASE_UNAVAILABLE, "no"), 3),
    ],
)
@pytest.mark.parametrize("json", [True, False])
def test_an_error_s_kind_is_its_exit_code(
    capsys: pytest.CaptureFixture[str], error: Rejection | Fault, exit_code: int, json: bool
) -> None:
    with pytest.raises(SystemExit) as ended, output.told(json=json):
        raise error
    assert ended.value.code == exit_code
    out, err = capsys.readouterr()
    assert (out, err) == (
        out if json else "",
        "" if json else f"numbering: {error.code.number} {error.code.name}: no\n",
    )


@pytest.mark.parametrize("hint", Hint)
def test_an_error_speaks_of_the_command_line(capsys: pytest.CaptureFixture[str], hint: Hint) -> None:
    for error in (Fault(Code.OUTCOME_UNKNOWN, "not known", hint=hint), Rejection(Code.NOT_FOUND, "none", hint=hint)):
        assert error.detail.endswith(f"; {hint.words}"), "what clients of the API are told"
        with pytest.raises(SystemExit):
            output.fail(error)
        said = capsys.readouterr().err
        assert hint.words not in said
        assert said.startswith(f"numbering: {error.code.number} {error.code.name}: {error.happened}; ")
