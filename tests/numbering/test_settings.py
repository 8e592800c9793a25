from typing import NoReturn

import pytest
from click.testing import CliRunner, Result
from redis.asyncio.connection import parse_url

from numbering import server
from numbering.cli import main
from numbering.settings import BadSettings, Settings, is_loopback, load

SECRET = "0123456789abcdef"


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without settings, to be filled."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"NUMBERING_{name.upper()}", raising=False)
    for name in ("prepare", "serve"):
        monkeypatch.setattr(server, name, accepted)
    return monkeypatch


def accepted(*_: object, **__: object) -> NoReturn:
    raise AssertionError("these settings were accepted")


def test_the_defaults_are_those_that_are_promised(clean: pytest.MonkeyPatch) -> None:
    settings = load({})
    assert settings.database_url == "sqlite+aiosqlite:///numbering.db"
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert (settings.reservation_ttl, settings.lock_timeout) == (300, 5000)
    assert settings.secrets() == {}


def test_the_environment_is_read(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("NUMBERING_PORT", "9001")
    clean.setenv("NUMBERING_LOG_LEVEL", "WARNING")
    clean.setenv("NUMBERING_DATABASE_URL", "mariadb+asyncmy://u:p@db.example/ledger")
    settings = load({})
    assert (settings.port, settings.log_level) == (9001, "warning")
    assert settings.database_url == "mariadb+asyncmy://u:p@db.example/ledger"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis://localhost",
        "redis://localhost:6379/0",
        "redis://:pass-word@[::1]:6379/15",
        "redis://user:p%40ss%2Fword@redis.example",
        "redis://localhost?db=1&password=pass-word",
        "rediss://user:pass-word@redis.example:6380/2?ssl_ca_certs=/etc/ssl/ca.pem",
        "unix:///run/redis/redis.sock",
        "unix://user:pass-word@/run/redis.sock?db=3",
    ],
)
def test_a_redis_is_named_as_its_client_takes_it(clean: pytest.MonkeyPatch, url: str) -> None:
    assert load({"redis_url": url}).redis_url == url
    if url:
        parse_url(url)


def test_an_option_wins_over_the_environment(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("NUMBERING_PORT", "9001")
    clean.setenv("NUMBERING_RESERVATION_TTL", "60")
    settings = load({"port": "9002", "reservation_ttl": None})
    assert (settings.port, settings.reservation_ttl) == (9002, 60)


def test_an_option_wins_over_a_bad_environment(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("NUMBERING_PORT", "many")
    assert load({"port": "9002"}).port == 9002


def test_other_variables_are_nobody_s_business(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("NUMBERINGS", "1")
    clean.setenv("MY_NUMBERING_PORT", "x")
    load({})


# What is refused

BAD = [
    ("database_url", ""),
    ("database_url", "ledger.db"),
    ("database_url", "postgresql+asyncpg://u:p@h/d"),
    ("database_url", "sqlite:///ledger.db"),
    ("database_url", "mysql+asyncmy://u:p@h/d"),
    ("database_url", "mariadb://u:p@h/d"),
    ("database_url", "sqlite+aiosqlite://"),
    ("database_url", "sqlite+aiosqlite:///"),
    ("database_url", "sqlite+aiosqlite:///:memory:"),
    ("database_url", "sqlite+aiosqlite:///ledger.db?timeout=soon"),
    ("database_url", "sqlite+aiosqlite:///ledger.db?mod=ro"),
    ("database_url", "mariadb+asyncmy://"),
    ("database_url", "mariadb+asyncmy://u:p@h"),
    ("database_url", "mariadb+asyncmy://u:p@h:port/d"),
    ("redis_url", "localhost:6379"),
    ("redis_url", "http://localhost"),
    ("redis_url", "redis+tls://localhost"),
    ("redis_url", "redis://"),
    ("redis_url", "redis:///0"),
    ("redis_url", "redis://localhost:port"),
    ("redis_url", "redis://localhost:0"),
    ("redis_url", "redis://localhost:65536"),
    ("redis_url", "redis://localhost/mirror"),
    ("redis_url", "redis://localhost/-1"),
    ("redis_url", "redis://localhost/0/1"),
    ("redis_url", "redis://localhost?db=one"),
    ("redis_url", "redis://localhost?timeout=1"),
    ("redis_url", "redis://localhost?ssl_ca_certs=/ca.pem"),
    ("redis_url", "redis://[::1"),
    ("redis_url", "unix://"),
    ("redis_url", "unix:///"),
    ("redis_url", "unix:///redis.sock?db=one"),
    ("host", ""),
    ("host", "0.0.0.0"),
    ("host", "::"),
    ("host", "192.168.1.5"),
    ("host", "ledger.example"),
    ("port", ""),
    ("port", "x"),
    ("port", "-1"),
    ("port", "65536"),
    ("port", "80.5"),
    ("port", "๘๐๘๐x"),
    ("reservation_ttl", "0"),
    ("reservation_ttl", "86401"),
    ("reservation_ttl", "5m"),
    ("lock_timeout", "1999"),
    ("lock_timeout", "60001"),
    ("lock_timeout", "5s"),
    ("log_level", "loud"),
    ("log_level", ""),
    ("credentials", "erp"),
    ("credentials", "erp:"),
    ("credentials", f":{SECRET}"),
    ("credentials", f" :{SECRET}"),
    ("credentials", "erp:too-short"),
    ("credentials", f"erp:{SECRET},dms"),
    ("credentials", f"erp:{SECRET},erp:{SECRET}X"),
    ("credentials", f"erp:{SECRET},dms:{SECRET}"),
    ("credentials", f"e\trp:{SECRET}"),
    ("credentials", f"e\u200brp:{SECRET}"),
    ("credentials", f"erp: {SECRET}"),
    ("credentials", f"erp:{SECRET}\t"),
    ("credentials", "erp:รหัสลับของงานสารบรรณ"),
    ("credentials", f"{'x' * 101}:{SECRET}"),
]


def refused(result: Result) -> str:
    """Expect one clear line, nothing else, and exit code 2."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("numbering: ")
    return line


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_variable_stops_the_start(clean: pytest.MonkeyPatch, name: str, value: str) -> None:
    clean.setenv(f"NUMBERING_{name.upper()}", value)
    with pytest.raises(BadSettings, match=f"^NUMBERING_{name.upper()}\\b"):
        load({})
    assert f"NUMBERING_{name.upper()}" in refused(CliRunner().invoke(main, ["serve"]))


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_option_stops_the_start(clean: pytest.MonkeyPatch, name: str, value: str) -> None:
    line = refused(CliRunner().invoke(main, ["serve", f"--{name.replace('_', '-')}={value}"]))
    assert f"NUMBERING_{name.upper()}" in line


def test_no_secret_is_shown(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("NUMBERING_CREDENTIALS", f"erp:{SECRET},dms:short-secret")
    clean.setenv("NUMBERING_DATABASE_URL", "mysql://user:pass-word@h/d")
    clean.setenv("NUMBERING_REDIS_URL", "http://user:word-pass@h?password=pass-pass")
    line = refused(CliRunner().invoke(main, ["serve"]))
    assert SECRET not in line
    assert "short-secret" not in line
    assert "pass-word" not in line
    assert "word-pass" not in line
    assert "pass-pass" not in line


def test_every_bad_value_is_told_in_one_line(clean: pytest.MonkeyPatch) -> None:
    line = refused(CliRunner().invoke(main, ["serve", "--port=x", "--reservation-ttl=0", "--log-level=loud"]))
    assert all(name in line for name in ("NUMBERING_PORT", "NUMBERING_RESERVATION_TTL", "NUMBERING_LOG_LEVEL"))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("NUMBERING_PROT", "did you mean NUMBERING_PORT?"),
        ("NUMBERING_DATABASE", "did you mean NUMBERING_DATABASE_URL?"),
        ("NUMBERING_", "known are NUMBERING_DATABASE_URL"),
        ("NUMBERING_XYZZY", "known are NUMBERING_DATABASE_URL"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_an_unknown_variable_stops_the_start(clean: pytest.MonkeyPatch, command: str, name: str, told: str) -> None:
    clean.setenv(name, "1")
    line = refused(CliRunner().invoke(main, [command]))
    assert f"{name} is no setting" in line
    assert told in line


# Who may be reached by others


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_credentials(clean: pytest.MonkeyPatch, host: str) -> None:
    assert is_loopback(host)
    assert load({"host": host}).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "ledger.example"])
def test_credentials_open_the_door_to_others(clean: pytest.MonkeyPatch, host: str) -> None:
    assert load({"host": host, "credentials": f"erp:{SECRET}"}).secrets() == {"erp": SECRET}


@pytest.mark.parametrize("credentials", ["", ",", ",,", " "])
def test_credentials_that_name_nobody_open_nothing(clean: pytest.MonkeyPatch, credentials: str) -> None:
    with pytest.raises(BadSettings):
        load({"host": "0.0.0.0", "credentials": credentials})


def test_credentials_are_pairs(clean: pytest.MonkeyPatch) -> None:
    settings = load({"credentials": f"erp:{SECRET}, งานสารบรรณ:{SECRET}:with:colons,"})
    assert settings.secrets() == {"erp": SECRET, "งานสารบรรณ": f"{SECRET}:with:colons"}
