"""The append-only log, its head, and snapshots of the fold.

Every statement may run again: MariaDB commits each by itself, and the account may lack the right to the last.
"""

from uuid import uuid4

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql

from ledger import chain

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MARIADB = {
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}
POSITION = sa.BigInteger().with_variant(sa.Integer, "sqlite")
DIGEST = sa.LargeBinary(32).with_variant(mysql.BINARY(32), "mariadb")

# TRUNCATE passes triggers; it needs the DROP privilege, which the service's account does not have.
TRIGGERS = {
    "mariadb": (
        """
        CREATE TRIGGER IF NOT EXISTS events_refuse_update BEFORE UPDATE ON events FOR EACH ROW
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'events are append-only: UPDATE refused'
        """,
        """
        CREATE TRIGGER IF NOT EXISTS events_refuse_delete BEFORE DELETE ON events FOR EACH ROW
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'events are append-only: DELETE refused'
        """,
    ),
    "sqlite": (
        """
        CREATE TRIGGER IF NOT EXISTS events_refuse_update BEFORE UPDATE ON events
        BEGIN SELECT raise(ABORT, 'events are append-only: UPDATE refused'); END
        """,
        """
        CREATE TRIGGER IF NOT EXISTS events_refuse_delete BEFORE DELETE ON events
        BEGIN SELECT raise(ABORT, 'events are append-only: DELETE refused'); END
        """,
        # INSERT OR REPLACE deletes the row in its way without asking the other two.
        """
        CREATE TRIGGER IF NOT EXISTS events_refuse_insert BEFORE INSERT ON events
        WHEN NEW.position IS NOT (SELECT coalesce(max(position), 0) + 1 FROM events)
          OR EXISTS (SELECT 1 FROM events WHERE command_id = NEW.command_id AND ordinal = NEW.ordinal)
        BEGIN SELECT raise(ABORT, 'events are append-only: not the next position, or a known command'); END
        """,
    ),
}


def upgrade() -> None:
    _create_events()
    _create_head()
    _create_snapshots()
    for trigger in TRIGGERS[op.get_context().dialect.name]:
        op.execute(trigger)


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("position", POSITION, primary_key=True, autoincrement=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("stream", sa.String(512), nullable=False),
        sa.Column("token", sa.String(64)),
        sa.Column("command_id", DIGEST, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("body", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mariadb"), nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("hash", DIGEST, nullable=False),
        sa.UniqueConstraint("command_id", "ordinal", name="events_by_command"),
        if_not_exists=True,
        **MARIADB,
    )
    op.create_index("events_by_token", "events", ["token"], if_not_exists=True)
    op.create_index("events_by_stream", "events", ["stream", "position"], if_not_exists=True)


def _create_head() -> None:
    head = op.create_table(
        "ledger_head",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("hash", DIGEST, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("ledger_id", sa.CHAR(36), nullable=False),
        sa.Column("stopped", sa.Text),
        sa.CheckConstraint("id = 1", name="ledger_head_is_one_row"),
        if_not_exists=True,
        **MARIADB,
    )
    connection = op.get_bind()
    if connection.scalar(sa.select(head.c.id)) is None:
        ledger_id = context.config.attributes.get("ledger_id") or str(uuid4())
        genesis = chain.genesis(ledger_id)
        row = {"id": 1, "position": 0, "hash": genesis, "recorded_at": 0, "ledger_id": ledger_id}
        connection.execute(head.insert(), row)


def _create_snapshots() -> None:
    op.create_table(
        "snapshots",
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("fold_version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", DIGEST, nullable=False),
        sa.Column("body", sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mariadb"), nullable=False),
        sa.Column("sha256", DIGEST, nullable=False),
        if_not_exists=True,
        **MARIADB,
    )
