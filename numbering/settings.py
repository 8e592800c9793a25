"""Settings: environment variables `NUMBERING_…`, each also an option of the command line."""

import difflib
import ipaddress
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ledger.domain.text import flaw_of_text
from ledger.stores import parse_url

__all__ = ["PREFIX", "BadSettings", "Settings", "load"]

PREFIX = "NUMBERING_"
MIN_SECRET_LENGTH = 16
MAX_NAME_LENGTH = 100
MAX_RETENTION = 10**12
RESERVED_NAMES = ("anonymous", "ledger")  # in events they stand for nobody, and for the service itself

REDIS_OPTIONS = {"db", "username", "password"}
REDIS_TLS_OPTIONS = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
REDIS_FORMS = "redis://USER:PASSWORD@HOST:PORT/DB, the same with rediss://, or unix:///SOCKET?db=DB"
REDIS_OPTIONS_NAMED = "db, username and password (rediss: ssl_ca_certs, ssl_certfile, ssl_keyfile)"


class BadSettings(Exception):
    """One line that says which setting is wrong and what to write."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    database_url: str = Field(
        "sqlite+aiosqlite:///numbering.db",
        description="the ledger: sqlite+aiosqlite:///FILE or mariadb+asyncmy://USER:PASSWORD@HOST/DATABASE",
    )
    redis_url: str = Field(
        "",
        description="the Redis that mirrors the log, redis://USER:PASSWORD@HOST:PORT/DB or unix:///SOCKET; empty: none",
    )
    mirror_retention: Annotated[int, Field(ge=0, le=MAX_RETENTION)] = Field(
        0, description="events that the mirror keeps, as far as its consumers have read them; 0 keeps all"
    )
    archive: str = Field(
        "", description="the directory that holds the log's archive, with which it is compared at start; empty: none"
    )
    host: str = Field("127.0.0.1", description="address to listen on; not loopback needs credentials")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8080, description="port to listen on; 0 takes a free one")
    reservation_ttl: Annotated[int, Field(ge=1, le=86_400)] = Field(
        300, description="seconds that a reservation lives when neither it nor its series says"
    )
    lock_timeout: Annotated[int, Field(ge=2000, le=60_000)] = Field(
        5000, description="milliseconds that a command waits for its turn"
    )
    self_check: bool = Field(
        True, description="judge each command by the rules of `numbering verify` before it is committed"
    )
    verify_rate: Annotated[int, Field(ge=0, le=100_000)] = Field(
        200, description="events a second that the service reads again and verifies in the background; 0 reads none"
    )
    log_level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        "info", description="least severe messages to log"
    )
    credentials: str = Field(
        "",
        description="principals and their secrets, NAME:SECRET,NAME:SECRET; empty: anonymous, loopback only",
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _known_driver(cls, value: str) -> str:
        parse_url(value)
        return value

    @field_validator("redis_url")
    @classmethod
    def _of_redis(cls, value: str) -> str:
        if value and not _is_redis(value):
            raise ValueError(f"must be empty or {REDIS_FORMS}, with no more in its query than {REDIS_OPTIONS_NAMED}")
        return value

    @field_validator("credentials")
    @classmethod
    def _well_formed(cls, value: str) -> str:
        pairs = _pairs(value)
        if any(flaw_of_text(name, at_most=MAX_NAME_LENGTH) or name in RESERVED_NAMES for name, _ in pairs):
            raise ValueError(f"must be NAME:SECRET,… with printable names other than {' and '.join(RESERVED_NAMES)}")
        if any(len(secret) < MIN_SECRET_LENGTH or not _is_token(secret) for _, secret in pairs):
            raise ValueError(f"must have secrets of {MIN_SECRET_LENGTH} or more visible ASCII characters")
        if len(dict(pairs)) != len(pairs) or len({secret for _, secret in pairs}) != len(pairs):
            raise ValueError("has a principal or a secret twice")
        return value

    @model_validator(mode="after")
    def _loopback_without_credentials(self) -> Self:
        if not self.secrets() and not is_loopback(self.host):
            raise ValueError(
                f"{PREFIX}HOST is {self.host}, which others can reach: set {PREFIX}CREDENTIALS, or use 127.0.0.1"
            )
        return self

    def secrets(self) -> dict[str, str]:
        """Map each principal to its secret."""
        return dict(_pairs(self.credentials))


def load(options: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; `options` win over the environment. BadSettings when one is unknown or wrong."""
    for name in environment:
        if name.upper().startswith(PREFIX) and name[len(PREFIX) :].lower() not in Settings.model_fields:
            known = [field.upper() for field in Settings.model_fields]
            near = difflib.get_close_matches(name[len(PREFIX) :].upper(), known, n=1)
            hint = (
                f"did you mean {PREFIX}{near[0]}?" if near else f"known are {', '.join(PREFIX + one for one in known)}"
            )
            raise BadSettings(f"{name} is no setting; {hint}")
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        raise BadSettings("; ".join(map(_line, error.errors()))) from None


def _line(error: Any) -> str:
    message = error["ctx"]["error"] if error["type"] == "value_error" else error["msg"]
    if not error["loc"]:
        return str(message)
    name = PREFIX + str(error["loc"][0]).upper()
    return f"{name}: {message}"


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = [pair.partition(":") for pair in text.split(",") if pair.strip()]
    return [(name.strip(), secret) for name, _, secret in pairs]


def _is_redis(text: str) -> bool:
    """Whether redis-py would take it as it is meant; that silently takes a misspelt database for database 0."""
    try:
        url = urlsplit(text)
        options = parse_qs(url.query, strict_parsing=bool(url.query), keep_blank_values=True)
        port = url.port
    except ValueError:
        return False
    known = REDIS_OPTIONS | (REDIS_TLS_OPTIONS if url.scheme == "rediss" else set())
    if not set(options) <= known or not all(_is_number(db) for db in options.get("db", [])):
        return False
    match url.scheme:
        case "redis" | "rediss":
            path = url.path.removeprefix("/")
            return bool(url.hostname) and port != 0 and (not path or _is_number(path))
        case "unix":
            return bool(url.path.strip("/"))
        case _:
            return False


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _is_token(secret: str) -> bool:
    return secret.isascii() and secret.isprintable() and " " not in secret


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
