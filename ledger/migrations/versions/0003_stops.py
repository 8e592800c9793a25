"""Why writing is stopped, as rows of which several can stand at once, and their count in the head.

`ledger_head.stopped` stays: it is what builds of before read and write. Its text is read into rows whenever a database
is migrated (`ledger.stores.earlier`), because such a build may write one at any time.
Every statement may run again: MariaDB commits each by itself.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MARIADB = {
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}
DIGEST = sa.LargeBinary(32).with_variant(mysql.BINARY(32), "mariadb")


def upgrade() -> None:
    op.create_table(
        "stops",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("position", sa.BigInteger),
        sa.Column("hash", DIGEST),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("stopped_at", sa.BigInteger, nullable=False),
        if_not_exists=True,
        **MARIADB,
    )
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("ledger_head")}
    if "stops" not in columns:
        # A build of before inserts no head and names the columns that it reads: the default alone is for it.
        op.add_column("ledger_head", sa.Column("stops", sa.Integer, nullable=False, server_default="0"))
