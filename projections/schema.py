"""The tables that the log is folded into, in two slots of which one is live, and their checkpoints.

A rebuild fills the other slot and makes it live in the transaction in which it has caught up: the service's account may
not create tables. Every column has a value, '' and 0 where there is none: the driver sends a batch as one bulk
statement only if no column is NULL in every row. Instants are microseconds since 1970 UTC, as in the log.
"""

from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects import mysql

__all__ = ["PROJECTION_VERSION", "SLOTS", "Slot", "metadata", "projections"]

# Raise it whenever the same events would fold to other rows: a live slot of an older version is rebuilt.
PROJECTION_VERSION = 1

_MARIADB: dict[str, Any] = {
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}

_Digest = LargeBinary(32).with_variant(mysql.BINARY(32), "mariadb")
_Long = Text().with_variant(mysql.MEDIUMTEXT(), "mariadb")

metadata = MetaData()

projections = Table(
    "projections",
    metadata,
    Column("slot", String(1), primary_key=True),
    Column("live", SmallInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),  # counts how often it was begun anew or swapped
    Column("position", BigInteger, nullable=False),
    Column("hash", _Digest, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("failed", Text),
    Column("failed_position", BigInteger, nullable=False),
    Column("checked_position", BigInteger, nullable=False),
    Column("checked_at", BigInteger, nullable=False),
    Column("disagreement", Text),
    **_MARIADB,
)


class Slot(NamedTuple):
    """One set of the tables."""

    name: str
    series: Table
    sequences: Table
    reservations: Table
    numbers: Table
    gaps: Table
    links: Table

    @property
    def tables(self) -> tuple[Table, ...]:
        return self[1:]


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _text(name: str, length: int) -> Column[str]:
    return Column(name, String(length), nullable=False)


def _key(name: str, kind: Any = BigInteger) -> Column[Any]:
    return Column(name, kind, primary_key=True, autoincrement=False)


def _series(slot: str) -> Table:
    return Table(
        f"series_{slot}",
        metadata,
        _key("code", String(50)),
        _key("version", Integer),
        Column("present", SmallInteger, nullable=False),
        Column("definition", _Long, nullable=False),
        _count("max_value"),
        Column("era", Integer, nullable=False),
        Column("first_used", Integer, nullable=False),  # the version with which the series began to count, or 0
        _count("retired"),  # the position of the event, or 0
        _count("position"),
        _count("recorded_at"),
        _text("actor", 100),
        **_MARIADB,
    )


def _sequences(slot: str) -> Table:
    return Table(
        f"sequences_{slot}",
        metadata,
        _key("sequence_at"),
        _text("id", 512),
        _text("series", 50),
        Column("version", Integer, nullable=False),
        Column("key", _Long, nullable=False),
        _text("period", 10),
        *map(_count, ("start", "high_water", "max_value")),
        *map(_count, ("reserved", "confirmed", "voided", "cancelled", "expired", "skipped", "pre_control")),
        *map(_count, ("released", "remaining", "percent")),
        Column("per_day", Double, nullable=False),
        _text("exhausted_on", 10),
        *map(_count, ("earlier_at", "earlier_high_water", "lately_at", "lately_high_water")),
        Column("is_used", SmallInteger, nullable=False),
        *map(_count, ("closed", "changed_position", "changed_at")),
        Index(f"sequences_{slot}_by_id", "id", unique=True),
        Index(f"sequences_{slot}_by_series", "series", "sequence_at"),
        **_MARIADB,
    )


def _reservations(slot: str) -> Table:
    return Table(
        f"reservations_{slot}",
        metadata,
        _key("token", String(64)),
        _count("sequence_at"),
        _text("series", 50),
        _text("state", 16),
        *map(_count, ("count", "held", "confirmed")),
        Column("ranges", _Long, nullable=False),
        _text("actor", 100),
        *map(_count, ("position", "reserved_at", "expires_at", "closed_position", "closed_at")),
        Index(f"reservations_{slot}_by_position", "position"),
        Index(f"reservations_{slot}_by_state", "state", "position"),
        **_MARIADB,
    )


def _numbers(slot: str) -> Table:
    return Table(
        f"numbers_{slot}",
        metadata,
        _key("sequence_at"),
        _key("value"),
        _text("number", 100),
        _text("series", 50),
        _text("state", 16),
        *map(_count, ("position", "changed_position", "confirmed_position")),
        _text("event", 64),
        _text("actor", 100),
        _text("reason", 500),
        _text("token", 64),
        _text("document", 200),
        _text("document_date", 10),
        *map(_count, ("reserved_at", "confirmed_at", "changed_at")),
        *(_text(name, 100) for name in ("replaced_by", "replaces")),
        _count("earlier"),
        Column("date_is_derived", SmallInteger, nullable=False, server_default="0"),
        Index(f"numbers_{slot}_by_number", "number", unique=True),
        Index(f"numbers_{slot}_by_position", "position", "value"),
        Index(f"numbers_{slot}_by_series", "series", "position", "value"),
        Index(f"numbers_{slot}_by_state", "state", "position", "value"),
        Index(f"numbers_{slot}_by_document", "document", "position", "value"),
        Index(f"numbers_{slot}_by_actor", "actor", "position", "value"),
        **_MARIADB,
    )


def _gaps(slot: str) -> Table:
    return Table(
        f"gaps_{slot}",
        metadata,
        _key("sequence_at"),
        _key("first"),
        _count("last"),
        _text("state", 16),
        _count("position"),
        _text("event", 64),
        _text("actor", 100),
        _text("reason", 500),
        _text("token", 64),
        _count("recorded_at"),
        _count("given_position"),  # of the event that had given the values out, 0 when none had
        Column("released", SmallInteger, nullable=False),  # whether they may be reserved again
        Index(f"gaps_{slot}_by_position", "position"),
        **_MARIADB,
    )


def _links(slot: str) -> Table:
    """Where each number got another document: a number has few such events, and most have none."""
    return Table(
        f"links_{slot}",
        metadata,
        _key("sequence_at"),
        _key("value"),
        _key("position"),
        Index(f"links_{slot}_by_position", "position"),
        **_MARIADB,
    )


def _slot(name: str) -> Slot:
    return Slot(name, *(make(name) for make in (_series, _sequences, _reservations, _numbers, _gaps, _links)))


SLOTS = {name: _slot(name) for name in "ab"}
