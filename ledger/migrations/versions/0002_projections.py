"""The projections: two slots of their tables, of which one is live, their checkpoints, and views of the live one.

Every statement may run again, as in 0001.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MARIADB = {
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}
DIGEST = sa.LargeBinary(32).with_variant(mysql.BINARY(32), "mariadb")
LONG = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mariadb")

SLOTS = ("a", "b")
TABLES = ("series", "sequences", "reservations", "numbers", "gaps")
NO_HASH = bytes(32)

# MariaDB names the account that made a view; it reads with the rights of the one who asks.
VIEW = {"mariadb": "CREATE OR REPLACE SQL SECURITY INVOKER VIEW", "sqlite": "CREATE VIEW IF NOT EXISTS"}


def upgrade() -> None:
    _create_checkpoints()
    for slot in SLOTS:
        _create_series(slot)
        _create_sequences(slot)
        _create_reservations(slot)
        _create_numbers(slot)
        _create_gaps(slot)
    for table in TABLES:
        _create_view(table)


def _text(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=False)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, primary_key=True, autoincrement=False)


def _create_checkpoints() -> None:
    projections = op.create_table(
        "projections",
        sa.Column("slot", sa.String(1), primary_key=True),
        sa.Column("live", sa.SmallInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        _count("epoch"),
        _count("position"),
        sa.Column("hash", DIGEST, nullable=False),
        _count("recorded_at"),
        sa.Column("failed", sa.Text),
        _count("failed_position"),
        _count("checked_position"),
        _count("checked_at"),
        sa.Column("disagreement", sa.Text),
        if_not_exists=True,
        **MARIADB,
    )
    connection = op.get_bind()
    there = connection.scalars(sa.select(projections.c.slot)).all()
    names = [column.name for column in projections.columns if not column.nullable and column.name != "slot"]
    for slot in SLOTS:
        if slot not in there:
            row = {"slot": slot, **dict.fromkeys(names, 0), "hash": NO_HASH}
            connection.execute(projections.insert(), row)


def _create_series(slot: str) -> None:
    op.create_table(
        f"series_{slot}",
        sa.Column("code", sa.String(50), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("present", sa.SmallInteger, nullable=False),
        sa.Column("definition", LONG, nullable=False),
        _count("max_value"),
        sa.Column("era", sa.Integer, nullable=False),
        sa.Column("first_used", sa.Integer, nullable=False),
        _count("retired"),
        _count("position"),
        _count("recorded_at"),
        _text("actor", 100),
        if_not_exists=True,
        **MARIADB,
    )


def _create_sequences(slot: str) -> None:
    op.create_table(
        f"sequences_{slot}",
        _key("sequence_at"),
        _text("id", 512),
        _text("series", 50),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("key", LONG, nullable=False),
        _text("period", 10),
        *map(_count, ("start", "high_water", "max_value")),
        *map(_count, ("reserved", "confirmed", "voided", "cancelled", "expired", "skipped", "pre_control")),
        *map(_count, ("released", "remaining", "percent")),
        sa.Column("per_day", sa.Double, nullable=False),
        _text("exhausted_on", 10),
        *map(_count, ("earlier_at", "earlier_high_water", "lately_at", "lately_high_water")),
        sa.Column("is_used", sa.SmallInteger, nullable=False),
        *map(_count, ("closed", "changed_position", "changed_at")),
        if_not_exists=True,
        **MARIADB,
    )
    _create_index("sequences", slot, "by_id", ["id"], unique=True)
    _create_index("sequences", slot, "by_series", ["series", "sequence_at"])


def _create_reservations(slot: str) -> None:
    op.create_table(
        f"reservations_{slot}",
        sa.Column("token", sa.String(64), primary_key=True),
        _count("sequence_at"),
        _text("series", 50),
        _text("state", 16),
        *map(_count, ("count", "held", "confirmed")),
        sa.Column("ranges", LONG, nullable=False),
        _text("actor", 100),
        *map(_count, ("position", "reserved_at", "expires_at", "closed_position", "closed_at")),
        if_not_exists=True,
        **MARIADB,
    )
    _create_index("reservations", slot, "by_position", ["position"])
    _create_index("reservations", slot, "by_state", ["state", "position"])


def _create_numbers(slot: str) -> None:
    op.create_table(
        f"numbers_{slot}",
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
        if_not_exists=True,
        **MARIADB,
    )
    _create_index("numbers", slot, "by_number", ["number"], unique=True)
    _create_index("numbers", slot, "by_position", ["position", "value"])
    for name in ("series", "state", "document", "actor"):
        _create_index("numbers", slot, f"by_{name}", [name, "position", "value"])


def _create_gaps(slot: str) -> None:
    op.create_table(
        f"gaps_{slot}",
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
        _count("given_position"),
        sa.Column("released", sa.SmallInteger, nullable=False),
        if_not_exists=True,
        **MARIADB,
    )
    _create_index("gaps", slot, "by_position", ["position"])


def _create_index(table: str, slot: str, name: str, columns: list[str], *, unique: bool = False) -> None:
    op.create_index(f"{table}_{slot}_{name}", f"{table}_{slot}", columns, unique=unique, if_not_exists=True)


def _create_view(table: str) -> None:
    """Show the live slot to people who report with SQL: only one of the two conditions is true."""
    parts = (
        f"SELECT * FROM {table}_{slot} WHERE EXISTS (SELECT 1 FROM projections WHERE slot = '{slot}' AND live = 1)"
        for slot in SLOTS
    )
    op.execute(f"{VIEW[op.get_context().dialect.name]} {table} AS {' UNION ALL '.join(parts)}")
