"""The tables of a ledger as the newest migration leaves them; a test compares the two on both databases.

Text on MariaDB is `utf8mb4_nopad_bin`: its defaults hold `a` = `A`, equate Thai tone marks, and pad with spaces.
"""

from typing import Any

from sqlalchemy import (
    CHAR,
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql

__all__ = ["events", "ledger_head", "metadata", "processes", "schema_version", "snapshots", "stops"]

_MARIADB: dict[str, Any] = {
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}

# SQLite stores a table in the order of an INTEGER primary key, and by any other one only through a second tree.
_Position = BigInteger().with_variant(Integer, "sqlite")
_Digest = LargeBinary(32).with_variant(mysql.BINARY(32), "mariadb")

metadata = MetaData()

events = Table(
    "events",
    metadata,
    Column("position", _Position, primary_key=True, autoincrement=False),
    Column("type", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("stream", String(512), nullable=False),
    Column("token", String(64)),
    Column("command_id", _Digest, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("body", Text().with_variant(mysql.MEDIUMTEXT(), "mariadb"), nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("hash", _Digest, nullable=False),
    UniqueConstraint("command_id", "ordinal", name="events_by_command"),
    Index("events_by_token", "token"),
    Index("events_by_stream", "stream", "position"),
    **_MARIADB,
)

ledger_head = Table(
    "ledger_head",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    Column("hash", _Digest, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("ledger_id", CHAR(36), nullable=False),
    Column("stopped", Text),  # what builds of before the table of stops read and write
    Column("stops", Integer, nullable=False, server_default="0"),  # the count of that table's rows
    CheckConstraint("id = 1", name="ledger_head_is_one_row"),
    **_MARIADB,
)

# Read and changed under the head's lock alone, so that ids are dense and the head's count is right.
stops = Table(
    "stops",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("position", BigInteger),
    Column("hash", _Digest),
    Column("detail", Text, nullable=False),
    Column("stopped_at", BigInteger, nullable=False),
    **_MARIADB,
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("fold_version", Integer, primary_key=True, autoincrement=False),
    Column("hash", _Digest, nullable=False),
    Column("body", LargeBinary().with_variant(mysql.LONGBLOB(), "mariadb"), nullable=False),
    Column("sha256", _Digest, nullable=False),
    **_MARIADB,
)

# The last step that was applied. `alembic_version`, which only the first two builds' steps moved, says since then which
# step a build must know to work on the tables: see `ledger.stores.migration`.
schema_version = Table("schema_version", metadata, Column("version_num", String(32), primary_key=True), **_MARIADB)

processes = Table(
    "processes",
    metadata,
    Column("id", CHAR(32), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("build", String(100), nullable=False),
    Column("format", Integer, nullable=False),
    Column("connections", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    **_MARIADB,
)
