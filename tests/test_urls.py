"""Options of a database URL: what is misspelt or of a wrong type is named before anything is opened."""

from pathlib import Path

import pytest

from ledger.stores.mariadb import connect_arguments
from ledger.stores.urls import OPTIONS, parse_url

MARIADB = "mariadb+asyncmy://user:password@host/database"
SQLITE = "sqlite+aiosqlite:///numbering.db"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"{MARIADB}?conect_timeout=5", "conect_timeout, which there is not; did you mean connect_timeout?"),
        (f"{MARIADB}?zzz=5", "zzz, which there is not; known are connect_timeout,"),
        (
            f"{MARIADB}?connect_timeout=soon",
            "connect_timeout is 'soon', and must be a whole number of seconds, 1 to 3600",
        ),
        (f"{MARIADB}?connect_timeout=0", "must be a whole number of seconds"),
        (f"{MARIADB}?connect_timeout=-1", "must be a whole number of seconds"),
        (f"{MARIADB}?connect_timeout=99999", "must be a whole number of seconds"),
        (f"{MARIADB}?connect_timeout={'9' * 400}", "must be a whole number of seconds"),
        (f"{MARIADB}?connect_timeout=๕", "must be a whole number of seconds"),
        (f"{MARIADB}?connect_timeout=5&connect_timeout=6", "connect_timeout more than once"),
        (f"{MARIADB}?charset=latin1", "charset is 'latin1', and must be utf8mb4"),
        (f"{MARIADB}?ssl=yes", "ssl is 'yes', and must be true"),
        (f"{MARIADB}?ssl_ca=/missing/ca.pem", "must be a file that can be read"),
        (f"{MARIADB}?ssl_capath=/missing", "must be a directory"),
        (f"{MARIADB}?ssl_check_hostname=maybe", "must be true or false"),
        (f"{SQLITE}?mod=ro", "mod, which there is not; did you mean mode?"),
        (f"{SQLITE}?mode=read", "must be ro or rw or rwc"),
        (f"{SQLITE}?immutable=yes", "must be 0 or 1"),
        (f"{SQLITE}?uri=maybe", "must be true or false"),
    ],
)
def test_it_names_the_option_and_what_to_write(url: str, said: str) -> None:
    with pytest.raises(ValueError, match="the database URL") as error:
        parse_url(url)
    assert said in str(error.value)
    assert "password@" not in str(error.value)


def test_what_is_right_is_taken_by_the_driver(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    values = {
        "connect_timeout": "5",
        "read_timeout": "10",
        "unix_socket": "/run/socket",
        "program_name": "numbering",
        "charset": "utf8mb4",
        "ssl_ca": str(file),
        "ssl_capath": str(tmp_path),
        "ssl_cert": str(file),
        "ssl_key": str(file),
        "ssl_cipher": "HIGH",
        "ssl_check_hostname": "false",
    }
    assert set(values) | {"ssl"} == set(OPTIONS["mariadb+asyncmy"])
    arguments = connect_arguments(
        parse_url(f"{MARIADB}?{'&'.join(f'{name}={value}' for name, value in values.items())}")
    )
    assert arguments.pop("ssl") == {
        "ca": str(file),
        "capath": str(tmp_path),
        "cert": str(file),
        "key": str(file),
        "cipher": "HIGH",
        "check_hostname": False,
    }
    assert (arguments["connect_timeout"], arguments["read_timeout"], arguments["charset"]) == (5, 10, "utf8mb4")
    assert connect_arguments(parse_url(f"{MARIADB}?ssl=true"))["ssl"] is True
