"""The file of the mirror's keys: one key a line, in hexadecimal or base64. The first signs, all verify."""

import base64
import binascii
import os
import re
import secrets
import stat
from pathlib import Path

from numbering.settings import PREFIX, BadSettings, Settings
from projections.mirror.macs import Keys

__all__ = ["SETTING", "check_keys", "keys_of", "mode_of", "new_key", "read_keys", "write_new"]

SETTING = f"{PREFIX}MIRROR_KEY_FILE"
MIN_BYTES = 32
MIN_DIFFERENT = 12  # bytes: of 32 random ones fewer differ by no chance, of a placeholder they do
MAX_KEYS = 16
MAX_FILE_BYTES = 64 << 10
HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
TITLE = "# Keys of the mirror: the first line signs, all verify. Back it up apart from the database."
MAKE = "make one with `numbering mirror key FILE`"


def keys_of(settings: Settings) -> Keys | None:
    """Read the keys that the settings name; None when they name none, BadSettings when the file is not fit."""
    return read_keys(Path(settings.mirror_key_file)) if settings.mirror_key_file else None


def check_keys(settings: Settings) -> None:
    """Raise BadSettings when the file of the keys is not fit."""
    keys_of(settings)


def read_keys(path: Path) -> Keys:
    text, mode = _read(path)
    if mode & stat.S_IRWXO:
        raise _bad(path, f"may be read or written by everybody (mode {mode:04o}): run `chmod o= {path}`")
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        written = line.partition("#")[0].strip()
        if written:
            keys.append(_key(path, number, written))
    if not keys:
        raise _bad(path, f"holds no key: {MAKE}")
    if len(keys) > MAX_KEYS or len(set(keys)) != len(keys):
        raise _bad(path, f"must hold {MAX_KEYS} keys at most, each once")
    return Keys(tuple(keys))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def new_key() -> str:
    """Give a new key, as a line of the file holds it."""
    return secrets.token_hex(MIN_BYTES)


def write_new(path: Path) -> None:
    """Make a file with one new key, for its owner alone; an OSError when it exists or cannot be made."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{TITLE}\n{new_key()}\n")
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> tuple[str, int]:
    try:
        with path.open("rb") as file:
            text, mode = file.read(MAX_FILE_BYTES + 1), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        advice = f"; {MAKE}" if isinstance(error, FileNotFoundError) else ""
        raise _bad(path, f"cannot be read: {error.strerror}{advice}") from None
    if len(text) > MAX_FILE_BYTES or not text.isascii():
        raise _bad(path, "is no file of keys: it must hold one key a line, in hexadecimal or base64")
    return text.decode("ascii"), mode


def _key(path: Path, number: int, written: str) -> bytes:
    """Read a line. What may be hexadecimal is: a random key in base64 has other letters too."""
    try:
        key = bytes.fromhex(written) if HEX.fullmatch(written) else base64.b64decode(written, validate=True)
    except (ValueError, binascii.Error):
        raise _bad(path, f"line {number} is no key in hexadecimal or base64") from None
    if len(key) < MIN_BYTES:
        raise _bad(path, f"line {number} has {len(key)} bytes: a key has {MIN_BYTES} random ones or more; {MAKE}")
    if len(set(key)) < MIN_DIFFERENT:
        raise _bad(path, f"line {number} is not random; {MAKE}")
    return key


def _bad(path: Path, what: str) -> BadSettings:
    return BadSettings(f"{SETTING}: {path} {what}")
