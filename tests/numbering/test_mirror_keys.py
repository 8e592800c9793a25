"""The file of the mirror's keys: what is one, and the one line that says why another is none."""

import base64
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from numbering.cli import main
from numbering.mirror_keys import mode_of, read_keys, write_new
from numbering.settings import BadSettings

KEY, OTHER = bytes(range(100, 132)), bytes(range(150, 198))
MANY = "\n".join(bytes(range(each, each + 32)).hex() for each in range(17))


def written(directory: Path, text: str, mode: int = 0o600) -> Path:
    path = directory / "keys"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "text",
    [
        f"{KEY.hex()}\n{OTHER.hex()}\n",
        f"{KEY.hex().upper()}\n{base64.b64encode(OTHER).decode()}",
        f"# made in 2026\n\n  {base64.b64encode(KEY).decode()}   # signs\n\n{OTHER.hex()} # verifies\n",
        f"{KEY.hex()}\r\n{OTHER.hex()}\r\n",
    ],
)
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_key_a_line_in_either_form(tmp_path: Path, text: str, mode: int) -> None:
    assert read_keys(written(tmp_path, text, mode)).secrets == (KEY, OTHER)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "holds no key: make one with `numbering mirror key FILE`"),
        ("# none\n\n", "holds no key"),
        (f"{KEY.hex()}\nno key\n", "line 2 is no key in hexadecimal or base64"),
        (f"{KEY.hex()[:-1]}\n", "line 1 "),
        (f"{KEY.hex()[:-2]}\n", "line 1 has 31 bytes: a key has 32 random ones or more"),
        (base64.b64encode(KEY[:16]).decode(), "line 1 has 16 bytes"),
        ("00" * 32, "line 1 is not random"),
        ("deadbeef" * 8, "line 1 is not random"),
        (f"{KEY.hex()}\n{base64.b64encode(KEY).decode()}\n", "must hold 16 keys at most, each once"),
        (MANY, "must hold 16 keys at most"),
        ("é" * 40, "is no file of keys"),
        ("# long\n" * 10_000, "is no file of keys"),
    ],
)
def test_what_is_none_is_one_line(tmp_path: Path, text: str, what: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadSettings) as told:
        read_keys(path)
    said = str(told.value)
    assert said.startswith(f"NUMBERING_MIRROR_KEY_FILE: {path} ")
    assert what in said
    assert "\n" not in said
    assert not any(line in said for line in text.split() if len(line) > 16), "a key is never told"


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o666, 0o777])
def test_what_everybody_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(BadSettings, match=rf"by everybody \(mode {mode:04o}\): run `chmod o= "):
        read_keys(written(tmp_path, KEY.hex(), mode))


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="No such file or directory; make one with"):
        read_keys(tmp_path / "none")
    with pytest.raises(BadSettings, match="Is a directory"):
        read_keys(tmp_path)


def test_a_new_file_is_for_its_owner_alone_and_never_replaces_one(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    before = os.umask(0)
    try:
        write_new(path)
    finally:
        os.umask(before)
    assert mode_of(path) == stat.S_IRUSR | stat.S_IWUSR
    (key,) = read_keys(path).secrets
    assert len(key) == 32
    with pytest.raises(FileExistsError):
        write_new(path)
    assert read_keys(path).secrets == (key,)


def test_the_command_makes_one_and_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the setting names a file that is not there yet."""
    path = tmp_path / "keys"
    monkeypatch.setenv("NUMBERING_MIRROR_KEY_FILE", str(path))
    made = CliRunner().invoke(main, ["mirror", "key", str(path)])
    assert made.exit_code == 0
    assert "back it up apart from the database" in made.output
    more = CliRunner().invoke(main, ["mirror", "key"])
    with path.open("a") as file:
        file.write(more.output)
    assert len(read_keys(path).secrets) == 2
    again = CliRunner().invoke(main, ["mirror", "key", str(path)])
    assert (again.exit_code, again.output) == (3, f"numbering: {path} cannot be made: File exists\n")


@pytest.mark.parametrize(
    "words",
    [
        ["gaps", "A"],
        ["mirror", "status"],
        ["verify"],
        ["serve"],
        ["restore", "--from", "x", "--into", "sqlite+aiosqlite:///y"],
    ],
)
def test_no_command_begins_with_a_bad_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NUMBERING_MIRROR_KEY_FILE", str(written(tmp_path, "no key")))
    ended = CliRunner().invoke(main, words)
    assert (ended.exit_code, ended.output.count("\n")) == (2, 1)
    assert "line 1 is no key" in ended.output
    assert os.listdir(tmp_path) == ["keys"]
