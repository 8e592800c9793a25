"""Database URLs: which databases there are, and which options each takes. What is wrong is named before it is opened.

Neither SQLAlchemy nor the drivers look at an option before they connect, and then a misspelt one is a TypeError.
"""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy import URL, exc, make_url

__all__ = ["parse_url"]

MAX_SECONDS = 3600

Check = Callable[[str], str | None]


def parse_url(text: str) -> URL:
    """Read a ledger's database URL; a ValueError says what is wrong with it, and what to write."""
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        raise ValueError("the database URL is not of the form driver://user:password@host/name") from None
    match url.drivername:
        case "mariadb+asyncmy" if not url.database or not url.host:
            raise ValueError(
                "a MariaDB ledger needs a host and a database: mariadb+asyncmy://USER:PASSWORD@HOST/DATABASE"
            )
        case "sqlite+aiosqlite" if url.database in (None, "", ":memory:"):
            raise ValueError("a SQLite ledger needs a file; use MemoryStore for tests")
        case "mariadb+asyncmy" | "sqlite+aiosqlite":
            _check_options(url, OPTIONS[url.drivername])
            return url
        case other:
            raise ValueError(f"the database URL begins with {other}: use mariadb+asyncmy or sqlite+aiosqlite")


def _check_options(url: URL, checks: Mapping[str, Check]) -> None:
    for name, value in url.query.items():
        if name not in checks:
            near = difflib.get_close_matches(name, checks, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(checks)}"
            raise ValueError(f"the database URL has an option {name}, which there is not; {hint}")
        if not isinstance(value, str):
            raise ValueError(f"the database URL has the option {name} more than once")
        if found := checks[name](value):
            raise ValueError(f"the database URL's option {name} is {value!r}, and must be {found}")


def _seconds(value: str) -> str | None:
    is_one = value.isascii() and value.isdecimal() and 0 < int(value[:9]) <= MAX_SECONDS
    return None if is_one and len(value) < 9 else f"a whole number of seconds, 1 to {MAX_SECONDS}"


def _file(value: str) -> str | None:
    return None if Path(value).is_file() else "a file that can be read"


def _directory(value: str) -> str | None:
    return None if Path(value).is_dir() else "a directory"


def _text(value: str) -> str | None:
    return None if value else "not empty"


def _one_of(*known: str) -> Check:
    return lambda value: None if value in known else " or ".join(known)


# `charset` is always utf8mb4: any other would lose text. Of `ssl` there is only one value that asks for TLS.
OPTIONS: Mapping[str, Mapping[str, Check]] = {
    "mariadb+asyncmy": {
        "connect_timeout": _seconds,
        "read_timeout": _seconds,
        "unix_socket": _text,
        "program_name": _text,
        "charset": _one_of("utf8mb4"),
        "ssl": _one_of("true"),
        "ssl_ca": _file,
        "ssl_capath": _directory,
        "ssl_cert": _file,
        "ssl_key": _file,
        "ssl_cipher": _text,
        "ssl_check_hostname": _one_of("true", "false"),
    },
    "sqlite+aiosqlite": {
        "uri": _one_of("true", "false"),
        "mode": _one_of("ro", "rw", "rwc"),
        "immutable": _one_of("0", "1"),
        "nolock": _one_of("0", "1"),
        "vfs": _text,
    },
}
